//! What the answers of the server mean.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::net::{DropReason, canonical};
use crate::stun::{
    AttributeType, Discard, GiveUp, IntegrityError, LongTermStep, Message, MessageClass,
    TransactionId,
};
use crate::time::Instant;

use super::client::{Client, Event, State, Then};
use super::peers::Outcome;
use super::request::{Ask, Transaction};
use super::tcp::ConnectError;
use super::{Error, Families, PeerError};

/// The bounds that a lifetime is put into, whatever the server says.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// A shorter lifetime than the least has the allocation refreshed earlier, down to this; less makes
/// no sense, and counts as the least.
const SENSIBLE_MIN: Duration = Duration::from_secs(20);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// How long before its end an allocation is refreshed, if it lives twice as long. [rfc8656-8-1]
const REFRESH_MARGIN: Duration = Duration::from_secs(60);
/// The shortest time between a refresh that failed and the next.
const REFRESH_RETRY: Duration = Duration::from_secs(5);
/// How often a refresh may fail in a row before the allocation is left to expire.
/// [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3]
const MAX_REFRESH_FAILURES: u8 = 4;
/// How often an allocation may be lost, or the 5-tuple taken, before the client gives up.
const MAX_MISMATCHES: u8 = 2;
/// How often at most that starts anew as the server is not at fault: peers were heard through an
/// allocation, or a NAT gave us another address.
const ANEW: Duration = Duration::from_secs(5);
/// How often less may be asked for: no don't-fragment bit, and one family after the other.
const MAX_FALLBACKS: u8 = 3;

impl Client {
    /// [rfc8489-6.3-p1]
    pub(super) fn handle_response(&mut self, message: &Message<'_>) -> Result<(), DropReason> {
        let id = message.transaction_id();
        let Some(transaction) = self.transactions.find(id) else {
            return self.answered_again(message);
        };
        if transaction.ask.method() != message.method() {
            return Err(DropReason::UnexpectedMessage);
        }
        let code = match message.class() {
            MessageClass::Error => Some(message.error_code().map_or(0, |error| error.code())),
            MessageClass::Success | MessageClass::Request | MessageClass::Indication => None,
        };
        if let Some(401 | 438) = code {
            self.answered = true;
            self.challenged(id, message);
            return Ok(());
        }
        self.verify(id, message)?;
        self.answered = true;
        let Some(transaction) = self.transactions.finish(self.now, id) else { return Ok(()) };
        match code {
            None => self.granted(transaction, message),
            Some(code) => self.refused(transaction, code, message),
        }
        Ok(())
    }

    /// A request for an allocation that was sent twice may have got two: the NAT gave us another
    /// address meanwhile, or the server had forgotten the first. What we send goes to the second,
    /// and the address that the peer was told is that of the first: starts afresh.
    fn answered_again(&mut self, message: &Message<'_>) -> Result<(), DropReason> {
        let is_it = message.class() == MessageClass::Success
            && self.allocated_by == Some(message.transaction_id())
            && matches!(self.state, State::Allocated { .. })
            && relayed(self.families, message) != self.relayed
            && self.config.credentials.verify(message).is_ok();
        if !is_it {
            return Err(DropReason::UnknownTransaction);
        }
        self.out_of_step();
        Ok(())
    }

    /// All but a challenge must be signed, redirections and refusals too. [rfc8489-9.2.5-14]
    /// [rfc8489-9.2.5-15] [rfc8489-9.2.5-16] [rfc8489-9.2.5-18a] [rfc8489-14.8-7b]
    fn verify(&mut self, id: TransactionId, message: &Message<'_>) -> Result<(), DropReason> {
        let Err(discard) = self.config.credentials.verify(message) else { return Ok(()) };
        if let Some(transaction) = self.transactions.find(id) {
            transaction.timing.response_discarded(self.now);
        }
        Err(match discard {
            Discard::Integrity(IntegrityError::Missing) | Discard::UnprotectedBadRequest => {
                DropReason::Unauthenticated
            }
            Discard::Integrity(IntegrityError::Wrong | IntegrityError::Algorithm)
            | Discard::BidDown => DropReason::Integrity,
        })
    }

    /// A request that was sent before the last challenge is sent again with the answer to that;
    /// only what the answer leads to counts. [rfc8656-8.3-p1] [rfc8656-7.4-4] [rfc8656-7.4-5]
    fn challenged(&mut self, id: TransactionId, message: &Message<'_>) {
        if !self.transactions.is_outdated(id) {
            match self.config.credentials.handle_challenge(message) {
                LongTermStep::Retry => self.transactions.challenged(),
                LongTermStep::GiveUp(reason) => return self.give_up(id, reason),
            }
        }
        if !self.transactions.retry(self.now, id, &self.config, &self.seed) {
            self.give_up(id, GiveUp::TooMany);
        }
    }

    /// Our credentials are not taken: then for nothing. [rfc8656-7.4-4] [rfc8656-7.4-5]
    fn give_up(&mut self, id: TransactionId, reason: GiveUp) {
        let released = matches!(self.transactions.finish(self.now, id), Some(transaction)
            if matches!(transaction.ask, Ask::Release));
        if released { self.released() } else { self.fail(Error::Credentials(reason)) }
    }

    /// A success with attributes that we would have to understand is none. [rfc8489-6.3.3-p1]
    fn granted(&mut self, transaction: Transaction, message: &Message<'_>) {
        let strange = message.unknown_required(|kind| kind.name().is_some()).next().is_some();
        match transaction.ask {
            Ask::Allocate { .. } if strange => self.unusable(),
            Ask::Refresh | Ask::Permissions(_) | Ask::Channel { .. } if strange => {
                self.refused(transaction, UNKNOWN_ATTRIBUTE, message);
            }
            Ask::Allocate { families, .. } => {
                self.allocated_by = (transaction.timing.sent() > 1).then_some(transaction.id);
                self.allocated(transaction.started, families, message);
            }
            Ask::Refresh => {
                // One that was asked for because of a doubt proves nothing yet.
                if !self.doubted {
                    self.mismatches = 0;
                }
                self.refresh_failures = 0;
                self.allocated_by = None;
                self.live(transaction.started, message);
            }
            Ask::Release => self.released(),
            Ask::Permissions(ips) => {
                self.doubted = false;
                for ip in ips {
                    self.permission(ip, Outcome::Granted(transaction.started));
                }
            }
            Ask::Channel { peer, .. } => self.channel(peer, Outcome::Granted(transaction.started)),
            Ask::Connect(peer) => self.connected(peer, message),
        }
    }

    /// There is an allocation: of the families that were asked for, or it is given back.
    /// [rfc8656-7.3-1] [rfc8489-6.3.3-1]
    fn allocated(&mut self, asked: Instant, families: Families, message: &Message<'_>) {
        let before =
            core::mem::replace(&mut self.mapped, message.xor_mapped_address().map(canonical));
        if before.is_some() && before != self.mapped {
            self.served();
        }
        let mapped =
            self.mapped.is_some() || message.attribute(AttributeType::XOR_MAPPED_ADDRESS).is_none();
        self.relayed = relayed(families, message);
        if !mapped || self.relayed == [None; 2] {
            return self.unusable();
        }
        self.note_missing_family(message);
        self.live(asked, message);
        self.events.push_back(Event::Allocated);
        let relayed = self.relayed;
        let usable =
            |ip: IpAddr| relayed.iter().flatten().any(|relayed| relayed.is_ipv4() == ip.is_ipv4());
        for peer in self.peers.retain_families(usable) {
            self.events.push_back(Event::PeerFailed { peer, error: PeerError::Family });
        }
    }

    /// The allocation is of use, or was: its loss is not counted with those before.
    pub(super) fn served(&mut self) {
        if self.mismatches > 0 && self.now - self.anew_at >= ANEW {
            self.mismatches = 0;
            self.anew_at = self.now;
        }
    }

    /// Gives back an allocation that is of no use. [rfc8656-7.3-2a] [rfc8656-7.3-2b]
    fn unusable(&mut self) {
        self.release(Then::Fail(Error::NoAddress));
    }

    /// A family that the server does not have is not asked for again, should the allocation be
    /// lost; one that it has no room for is not either, in this client. [rfc8656-7.3-3]
    /// [rfc8656-7.3-4] [rfc8656-18.12-1b]
    fn note_missing_family(&mut self, message: &Message<'_>) {
        if message.address_error_code().is_some() {
            match self.relayed {
                [Some(_), None] => self.families = Families::Ipv4,
                [None, Some(_)] => self.families = Families::Ipv6,
                [Some(_), Some(_)] | [None, None] => {}
            }
        }
    }

    /// Notes how long the allocation lives: as the server says, within bounds. It is refreshed a
    /// minute before its end, or at half its life, and a little earlier. [rfc8656-7.3-p1]
    /// [rfc8656-8-1]
    fn live(&mut self, asked: Instant, message: &Message<'_>) {
        let told = message.lifetime().unwrap_or(LIFETIME_MIN);
        let lifetime = told.clamp(LIFETIME_MIN, LIFETIME_MAX);
        let told = if told < SENSIBLE_MIN { lifetime } else { told.min(LIFETIME_MAX) };
        let wait = told.saturating_sub(REFRESH_MARGIN).max(told / 2);
        let [high, low, ..] = self.draw().to_be_bytes();
        let early = wait / 10 * u32::from(u16::from_be_bytes([high, low])) / 65_536;
        let refresh_at = asked + (wait - early);
        self.state = State::Allocated { expires: asked + lifetime, refresh_at };
    }

    fn permission(&mut self, ip: IpAddr, outcome: Outcome) {
        let jitter = self.draw();
        let known = self.peers.permission_answered(self.now, ip, outcome, jitter);
        if let (Outcome::Failed(error), true) = (outcome, known) {
            let peer = SocketAddr::new(ip, 0);
            self.events.push_back(Event::PeerFailed { peer, error });
        }
    }

    fn channel(&mut self, peer: SocketAddr, outcome: Outcome) {
        let jitter = self.draw();
        let known = self.peers.channel_answered(self.now, peer, outcome, jitter);
        if let (Outcome::Failed(error), true) = (outcome, known) {
            self.events.push_back(Event::PeerFailed { peer, error });
        }
    }

    /// A request was refused, for sure; code 0 if the server does not say why.
    /// [rfc8656-7.4-17] [rfc8489-6.3.4-p1] [rfc8489-6.3.4-1]
    fn refused(&mut self, transaction: Transaction, code: u16, message: &Message<'_>) {
        match transaction.ask {
            Ask::Allocate { families, dont_fragment } => {
                self.allocation_refused(families, dont_fragment, code, message);
            }
            Ask::Release => self.released(),
            Ask::Refresh | Ask::Permissions(_) | Ask::Channel { .. } | Ask::Connect(_)
                if code == 437 =>
            {
                self.lost();
            }
            Ask::Refresh => self.refresh_refused(code),
            Ask::Permissions(ips) if code == 400 && !self.doubted => self.doubt(&ips),
            Ask::Permissions(ips) => self.permissions_failed(&ips, PeerError::Refused(code)),
            Ask::Channel { peer, .. } if code == 400 && self.peers.was_bound(peer) => {
                self.out_of_step();
            }
            Ask::Channel { peer, .. } => {
                self.channel(peer, Outcome::Failed(PeerError::Refused(code)));
            }
            Ask::Connect(peer) => self.connect_failed(peer, ConnectError::of(code)),
        }
    }

    /// The table of RFC 8656 §7.4. Nothing is asked for again that was refused; who owns the
    /// client may do so after [`Error::retry_after`]. [rfc8656-7.4-3a] [rfc8656-7.4-3b]
    /// [rfc8656-7.4-6a] [rfc8656-7.4-6b] [rfc8656-7.4-12a] [rfc8656-7.4-13a]
    /// [rfc8656-7.4-7] [rfc8656-7.4-11] [rfc8656-7.4-12b] [rfc8656-7.4-13b] [rfc8489-14.8-8]
    fn allocation_refused(
        &mut self,
        families: Families,
        dont_fragment: bool,
        code: u16,
        message: &Message<'_>,
    ) {
        let lists = |kind: AttributeType| message.unknown_attributes().any(|known| known == kind.0);
        match code {
            300 => self.redirected(message),
            420 if dont_fragment && lists(AttributeType::DONT_FRAGMENT) => {
                self.dont_fragment = false;
                self.fall_back(Error::Refused(code));
            }
            420 if families == Families::Both
                && lists(AttributeType::ADDITIONAL_ADDRESS_FAMILY) =>
            {
                self.families = Families::Ipv4;
                self.fall_back(Error::Family);
            }
            420 if lists(AttributeType::REQUESTED_ADDRESS_FAMILY) => self.fail(Error::Family),
            437 => self.in_use(),
            440 => self.without_family(families),
            code => self.fail(error(code)),
        }
    }

    /// Asks for an allocation of another kind.
    fn fall_back(&mut self, error: Error) {
        self.fallbacks += 1;
        if self.fallbacks > MAX_FALLBACKS {
            self.fail(error);
        }
    }

    /// The server lacks the family: what was refused is not asked for again, but where both were
    /// asked for each is asked for alone, which is another request. The RFC has a server without
    /// IPv4 refuse both; servers without IPv6 do so too. [rfc8656-7.4-11]
    fn without_family(&mut self, families: Families) {
        self.families = match (families, self.config.families) {
            (Families::Both, _) => Families::Ipv4,
            (Families::Ipv4, Families::Both) => Families::Ipv6,
            (Families::Ipv4, Families::Ipv4 | Families::Ipv6) | (Families::Ipv6, _) => {
                return self.fail(Error::Family);
            }
        };
        self.fall_back(Error::Family);
    }

    /// Tells where the server sends us, and is over: whose certificate is to be there, and whether
    /// it was tried already, is the owner's to know. [rfc8656-7.4-2] [rfc8489-10-6] [rfc8489-10-8]
    fn redirected(&mut self, message: &Message<'_>) {
        let to = message.alternate_servers().map(canonical).find(is_server);
        let event = match to {
            Some(to) => {
                let domain = message.alternate_domain().map(Into::into);
                Event::Redirected { to, domain }
            }
            None => Event::Failed(Error::Redirect),
        };
        self.end(Some(event));
    }

    /// The 5-tuple has an allocation already. It may be our own, of a life before or of a request
    /// whose answer was lost: gives it back, and asks again. There is no other 5-tuple to be had
    /// here. [rfc8656-7.4-8] [rfc8656-7.4-9]
    fn in_use(&mut self) {
        self.mismatches += 1;
        if self.mismatches > MAX_MISMATCHES {
            return self.fail(Error::Mismatch);
        }
        self.release(Then::Allocate);
    }

    /// The allocation is gone: asks for another. [rfc8656-5-7] [rfc8656-8.3-p1]
    pub(super) fn lost(&mut self) {
        self.mismatches += 1;
        if self.mismatches > MAX_MISMATCHES {
            return self.fail(Error::Mismatch);
        }
        self.forget_allocation();
        self.state = State::Allocating;
        self.events.push_back(Event::Lost);
    }

    /// A channel that we had is not what the server has: starts afresh. [rfc8656-12.3-1]
    fn out_of_step(&mut self) {
        self.lost();
        if matches!(self.state, State::Allocating) {
            self.state = State::Releasing(Then::Allocate);
        }
    }

    /// Some servers, coturn 4.6 among them, have a 400 where 437 belongs: a refresh tells whether
    /// the allocation lives, and then the permissions are asked for again, once.
    fn doubt(&mut self, ips: &[IpAddr]) {
        self.doubted = true;
        self.peers.split(ips);
        if let State::Allocated { refresh_at, .. } = &mut self.state {
            *refresh_at = self.now;
        }
    }

    fn forget_allocation(&mut self) {
        self.doubted = false;
        self.allocated_by = None;
        self.transactions.clear();
        self.peers.start_afresh();
        self.forget_connections();
        self.relayed = [None; 2];
        self.refresh_failures = 0;
    }

    /// A refusal for good ends the client; one that may pass is tried again while there is time.
    /// [rfc8489-6.3.4-2a] [rfc8489-6.3.4-2b] [rfc8489-6.3.4-3]
    fn refresh_refused(&mut self, code: u16) {
        match code {
            0 | 500..600 => self.refresh_later(),
            code => self.fail(error(code)),
        }
    }

    fn refresh_later(&mut self) {
        let State::Allocated { expires, refresh_at } = &mut self.state else { return };
        self.refresh_failures += 1;
        let wait = ((*expires - self.now) / 4).max(REFRESH_RETRY);
        let given_up = self.refresh_failures > MAX_REFRESH_FAILURES;
        *refresh_at = if given_up { Instant::MAX } else { self.now + wait };
    }

    /// One that is forbidden must not fail the others.
    fn permissions_failed(&mut self, ips: &[IpAddr], error: PeerError) {
        if let [ip] = ips {
            self.permission(*ip, Outcome::Failed(error));
        } else {
            self.peers.split(ips);
        }
    }

    /// A request had no answer, or none that is signed. [rfc8489-9.2.5-17] [rfc8489-9.2.5-18b]
    pub(super) fn timed_out(&mut self, transaction: Transaction) {
        let violated = transaction.timing.integrity_violated();
        match transaction.ask {
            Ask::Allocate { .. } if violated => self.fail(Error::Integrity),
            Ask::Allocate { .. } => self.fail(Error::Timeout),
            Ask::Refresh => self.refresh_later(),
            Ask::Release => self.released(),
            Ask::Permissions(ips) if violated => {
                self.permissions_failed(&ips, PeerError::Timeout);
            }
            Ask::Permissions(ips) => {
                for ip in ips {
                    self.permission(ip, Outcome::Failed(PeerError::Timeout));
                }
            }
            Ask::Channel { peer, .. } => self.channel(peer, Outcome::Failed(PeerError::Timeout)),
            Ask::Connect(peer) => self.connect_failed(peer, ConnectError::Timeout),
        }
    }

    /// A request does not fit: nor would it alone, as the credentials are what is long.
    pub(super) fn too_long(&mut self, ask: Ask) {
        match ask {
            Ask::Permissions(ips) if ips.len() > 1 => self.peers.split(&ips),
            Ask::Release => self.released(),
            Ask::Allocate { .. }
            | Ask::Refresh
            | Ask::Permissions(_)
            | Ask::Channel { .. }
            | Ask::Connect(_) => {
                self.fail(Error::TooLong);
            }
        }
    }

    /// Gives back what there is at the server.
    pub(super) fn release(&mut self, then: Then) {
        self.forget_allocation();
        self.state = State::Releasing(then);
    }

    /// The allocation was given back, or nobody knows of it any more. [rfc8656-8.3-p1]
    fn released(&mut self) {
        match self.state {
            State::Releasing(Then::Close) => self.end(Some(Event::Closed)),
            State::Releasing(Then::Fail(error)) => self.end(Some(Event::Failed(error))),
            State::Releasing(Then::Allocate) => self.state = State::Allocating,
            State::Allocating | State::Allocated { .. } | State::Over => {}
        }
    }

    fn fail(&mut self, error: Error) {
        let releasing = matches!(self.state, State::Releasing(Then::Close | Then::Fail(_)));
        if releasing { self.released() } else { self.end(Some(Event::Failed(error))) }
    }

    /// Nothing comes after this.
    pub(super) fn end(&mut self, event: Option<Event>) {
        self.forget_allocation();
        self.state = State::Over;
        self.events.extend(event);
    }
}

/// What an answer with attributes that we would have to understand counts as.
const UNKNOWN_ATTRIBUTE: u16 = 420;

/// The first usable relayed address of each family that was asked for. Where both were, one is
/// better than none. [rfc8656-7.3-1]
fn relayed(families: Families, message: &Message<'_>) -> [Option<SocketAddr>; 2] {
    let first = |ipv4: bool| {
        let mut usable = message.xor_relayed_addresses().map(canonical).filter(is_server);
        usable.find(|relayed| relayed.is_ipv4() == ipv4)
    };
    match families {
        Families::Ipv4 => [first(true), None],
        Families::Ipv6 => [None, first(false)],
        Families::Both => [first(true), first(false)],
    }
}

/// Whether something can be sent to an address.
fn is_server(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

/// What a code that an Allocate or Refresh was refused with means.
const fn error(code: u16) -> Error {
    match code {
        403 => Error::Forbidden,
        408 => Error::Timeout,
        437 => Error::Mismatch,
        440 => Error::Family,
        442 => Error::Protocol,
        486 => Error::Quota,
        508 => Error::Capacity,
        code => Error::Refused(code),
    }
}
