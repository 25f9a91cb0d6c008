//! Permissions and channels: what the server was asked for, and what it has.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::time::{Instant, earlier};

use super::PeerError;
use super::framing::CHANNELS;

/// How long a permission lives at the server. [rfc8656-9-1]
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// How long a channel lives at the server. [rfc8656-12-p2]
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// How long after its end neither the number nor the peer of a channel is used otherwise.
/// [rfc8656-12-3]
const COOL_DOWN: Duration = Duration::from_secs(300);
/// How long before its end a permission is renewed at the latest: a request takes 39.5 s to fail.
const PERMISSION_MARGIN: Duration = Duration::from_secs(60);
/// The same for a channel.
const CHANNEL_MARGIN: Duration = Duration::from_secs(60);
/// By how much either is renewed earlier, at random.
const MARGIN_JITTER: Duration = Duration::from_secs(30);
/// How long after a request without an answer what still lives is asked for again.
const RETRY: Duration = Duration::from_secs(20);
/// Permissions that are due as soon as this are renewed with those that are due now.
const BATCH_WINDOW: Duration = Duration::from_secs(30);
/// The most addresses in one CreatePermission: what fits the least datagram that is assumed.
/// [rfc8489-6.1-6]
pub(super) const BATCH: usize = 10;
/// How long an address or channel that the server refused is not asked for again.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// What the server has of a permission or channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// Nothing; it is to be asked.
    Wanted,
    /// Nothing for sure; it was asked.
    Asked,
    /// All; it is to be asked to keep it from `renew_at` on.
    Granted { expires: Instant, renew_at: Instant },
    /// All; it was asked to keep it.
    Renewing { expires: Instant },
}

impl Grant {
    const fn due(self) -> Option<Instant> {
        match self {
            Self::Wanted => Some(Instant::ZERO),
            Self::Granted { renew_at, .. } => Some(renew_at),
            Self::Asked | Self::Renewing { .. } => None,
        }
    }

    fn is_due(self, now: Instant) -> bool {
        self.due().is_some_and(|at| at <= now)
    }

    fn asked(self, now: Instant) -> Self {
        match self {
            Self::Granted { expires, .. } | Self::Renewing { expires } if now < expires => {
                Self::Renewing { expires }
            }
            Self::Wanted | Self::Asked | Self::Granted { .. } | Self::Renewing { .. } => {
                Self::Asked
            }
        }
    }

    /// To be asked at once, whatever the server has.
    const fn again(self) -> Self {
        match self {
            Self::Wanted | Self::Asked => Self::Wanted,
            Self::Granted { expires, .. } | Self::Renewing { expires } => {
                Self::Granted { expires, renew_at: Instant::ZERO }
            }
        }
    }

    /// To be asked at once, unless that was done already.
    const fn confirmed(self) -> Self {
        match self {
            Self::Granted { .. } => self.again(),
            Self::Wanted | Self::Asked | Self::Renewing { .. } => self,
        }
    }

    /// A request had no answer: what the server still has is asked for again while it lives.
    fn unanswered(self, now: Instant) -> Self {
        match self {
            Self::Renewing { expires } => {
                Self::Granted { expires, renew_at: (now + RETRY).min(expires) }
            }
            Self::Wanted | Self::Asked | Self::Granted { .. } => self,
        }
    }

    const fn expires(self) -> Option<Instant> {
        match self {
            Self::Wanted | Self::Asked => None,
            Self::Granted { expires, .. } | Self::Renewing { expires } => Some(expires),
        }
    }

    /// Whether the server has it for sure.
    fn is_live(self, now: Instant) -> bool {
        self.expires().is_some_and(|expires| now < expires)
    }

    /// Whether the server may have it. [rfc8656-12-4]
    fn is_possible(self, now: Instant) -> bool {
        match self {
            Self::Wanted => false,
            Self::Asked => true,
            Self::Granted { expires, .. } | Self::Renewing { expires } => now < expires,
        }
    }
}

/// When something that the server was asked for at `asked` ends, and when it is renewed. The
/// server counts from when the request arrives, which is not before.
fn granted(asked: Instant, lifetime: Duration, margin: Duration, jitter: u64) -> Grant {
    let early = Duration::from_nanos(jitter % nanos(MARGIN_JITTER));
    let renew_at = asked + lifetime.saturating_sub(margin).saturating_sub(early);
    Grant::Granted { expires: asked + lifetime, renew_at }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A permission for an IP address, whatever the port. [rfc8656-9-p1]
#[derive(Clone, Copy, Debug)]
struct Permission {
    ip: IpAddr,
    grant: Grant,
    /// Whether it is wanted for itself, and not for a channel.
    pinned: bool,
    /// Whether it is asked for alone, as the server refused it in company.
    alone: bool,
}

/// A number and a peer that belong to each other.
#[derive(Clone, Copy, Debug)]
struct Channel {
    peer: SocketAddr,
    /// Before this neither is used otherwise; later only if the channel is kept.
    until: Instant,
    /// What the server has of a channel that is kept.
    grant: Option<Grant>,
    /// Why it is not asked for again before a time.
    refused: Option<(PeerError, Instant)>,
}

/// What is to be asked of the server next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PeerAsk {
    /// Permissions for these addresses.
    Permissions(Vec<IpAddr>),
    /// A channel.
    Channel { number: u16, peer: SocketAddr },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was granted, of a request that first left at this time.
    Granted(Instant),
    /// It was not.
    Failed(PeerError),
}

/// The permissions and channels of one allocation.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    max: usize,
    /// By address.
    permissions: Vec<Permission>,
    /// By number, from 0x4000 on.
    channels: Vec<Option<Channel>>,
    /// The numbers of the peers that have one, by peer.
    numbers: Vec<(SocketAddr, u16)>,
    /// Addresses that are not asked for again before a time, and why.
    refused: Vec<(IpAddr, PeerError, Instant)>,
}

impl Peers {
    pub(super) fn new(max: u16) -> Self {
        Self {
            max: max.into(),
            permissions: Vec::new(),
            channels: Vec::new(),
            numbers: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn find(&self, ip: IpAddr) -> Result<usize, usize> {
        self.permissions.binary_search_by(|permission| permission.ip.cmp(&ip))
    }

    fn permission(&self, ip: IpAddr) -> Option<&Permission> {
        self.permissions.get(self.find(ip).ok()?)
    }

    fn permission_mut(&mut self, ip: IpAddr) -> Option<&mut Permission> {
        let index = self.find(ip).ok()?;
        self.permissions.get_mut(index)
    }

    fn number(&self, peer: SocketAddr) -> Option<u16> {
        let index = self.numbers.binary_search_by(|(known, _)| known.cmp(&peer)).ok()?;
        self.numbers.get(index).map(|(_, number)| *number)
    }

    fn channel(&self, number: u16) -> Option<&Channel> {
        self.channels.get(usize::from(number.checked_sub(*CHANNELS.start())?))?.as_ref()
    }

    fn channel_mut(&mut self, number: u16) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(number.checked_sub(*CHANNELS.start())?))?.as_mut()
    }

    fn channel_of(&mut self, peer: SocketAddr) -> Option<&mut Channel> {
        self.channel_mut(self.number(peer)?)
    }

    /// Wants a permission.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), PeerError> {
        self.want_permission(now, ip)?.pinned = true;
        Ok(())
    }

    fn want_permission(&mut self, now: Instant, ip: IpAddr) -> Result<&mut Permission, PeerError> {
        let index = match self.find(ip) {
            Ok(index) => index,
            Err(index) => {
                self.refused.retain(|(_, _, until)| now < *until);
                if let Some((_, error, _)) = self.refused.iter().find(|(known, ..)| *known == ip) {
                    return Err(*error);
                }
                if self.permissions.len() >= self.max {
                    return Err(PeerError::Limit);
                }
                let grant = Grant::Wanted;
                self.permissions
                    .insert(index, Permission { ip, grant, pinned: false, alone: false });
                index
            }
        };
        self.permissions.get_mut(index).ok_or(PeerError::Limit)
    }

    /// Wants a channel, and the permission that it needs. A peer that had one gets its number
    /// again. [rfc8656-12-3] [rfc8656-12-p3]
    pub(super) fn bind(&mut self, now: Instant, peer: SocketAddr) -> Result<(), PeerError> {
        let known = self.channel_of(peer).map(|channel| channel.grant.is_some());
        let refused = self.channel_of(peer).and_then(|channel| channel.refused);
        if let Some((error, _)) = refused.filter(|(_, until)| now < *until) {
            return Err(error);
        }
        if known != Some(true) && self.kept_channels().count() >= self.max {
            return Err(PeerError::Limit);
        }
        self.want_permission(now, peer.ip())?;
        match known {
            Some(true) => {}
            Some(false) => {
                if let Some(channel) = self.channel_of(peer) {
                    channel.grant = Some(Grant::Wanted);
                }
            }
            None => {
                if !self.add_channel(now, peer) {
                    self.drop_unused(peer.ip());
                    return Err(PeerError::Limit);
                }
            }
        }
        Ok(())
    }

    fn kept_channels(&self) -> impl Iterator<Item = SocketAddr> {
        let channels = self.channels.iter().flatten();
        channels.filter(|channel| channel.grant.is_some()).map(|channel| channel.peer)
    }

    /// Gives a peer a number that was never used, or long enough ago; false if there is none.
    /// [rfc8656-12-3] [rfc8656-12-p1]
    fn add_channel(&mut self, now: Instant, peer: SocketAddr) -> bool {
        for slot in &mut self.channels {
            if let Some(Channel { peer, until, grant: None, .. }) = *slot
                && until <= now
            {
                *slot = None;
                self.numbers.retain(|(known, _)| *known != peer);
            }
        }
        let free = self.channels.iter().position(Option::is_none).unwrap_or(self.channels.len());
        let number = u16::try_from(free).ok().and_then(|free| CHANNELS.start().checked_add(free));
        let Some(number) = number.filter(|number| CHANNELS.contains(number)) else { return false };
        let grant = Some(Grant::Wanted);
        let channel = Some(Channel { peer, until: now, grant, refused: None });
        match self.channels.get_mut(free) {
            Some(slot) => *slot = channel,
            None => self.channels.push(channel),
        }
        if let Err(index) = self.numbers.binary_search_by(|(known, _)| known.cmp(&peer)) {
            self.numbers.insert(index, (peer, number));
        }
        true
    }

    /// The kept permissions, with port 0, and channels.
    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let pinned = self.permissions.iter().filter(|permission| permission.pinned);
        pinned.map(|permission| SocketAddr::new(permission.ip, 0)).chain(self.kept_channels())
    }

    /// Wants a permission (port 0) or channel no more.
    pub(super) fn forget(&mut self, peer: SocketAddr) {
        if peer.port() != 0 {
            if let Some(channel) = self.channel_of(peer) {
                channel.grant = None;
            }
        } else if let Some(permission) = self.permission_mut(peer.ip()) {
            permission.pinned = false;
        }
        self.drop_unused(peer.ip());
    }

    /// The server may have lost what it granted for a peer: it is asked again at once.
    pub(super) fn ask_again(&mut self, peer: SocketAddr) {
        if let Some(channel) = self.channel_of(peer) {
            channel.grant = channel.grant.map(Grant::again);
        }
        if let Some(permission) = self.permission_mut(peer.ip()) {
            permission.grant = permission.grant.again();
        }
    }

    /// The server may have lost anything that it granted.
    pub(super) fn ask_all_again(&mut self) {
        for permission in &mut self.permissions {
            permission.grant = permission.grant.confirmed();
        }
        for channel in self.channels.iter_mut().flatten() {
            channel.grant = channel.grant.map(Grant::confirmed);
        }
    }

    fn drop_unused(&mut self, ip: IpAddr) {
        if !self.kept_channels().any(|peer| peer.ip() == ip) {
            self.permissions.retain(|permission| permission.pinned || permission.ip != ip);
        }
    }

    /// When something is due; [`Instant::ZERO`] for what never was asked.
    pub(super) fn due(&self) -> Option<Instant> {
        let permissions = self.permissions.iter().filter_map(|permission| permission.grant.due());
        let channels = self.channels.iter().flatten().filter_map(|channel| channel.grant?.due());
        permissions.chain(channels).fold(None, |first, at| earlier(first, Some(at)))
    }

    /// Takes what is due, permissions first: several in one request. [rfc8656-10.1-1a]
    /// [rfc8656-10.1-1b] [rfc8656-10.1-2] [rfc8656-10.1-4]
    pub(super) fn next_ask(&mut self, now: Instant) -> Option<PeerAsk> {
        if self.permissions.iter().any(|permission| permission.grant.is_due(now)) {
            return Some(PeerAsk::Permissions(self.batch(now)));
        }
        for (number, slot) in CHANNELS.zip(&mut self.channels) {
            let Some(channel) = slot else { continue };
            if let Some(grant) = channel.grant
                && grant.is_due(now)
            {
                channel.grant = Some(grant.asked(now));
                channel.until = now + CHANNEL_LIFETIME + COOL_DOWN;
                return Some(PeerAsk::Channel { number, peer: channel.peer });
            }
        }
        None
    }

    fn batch(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut due = self.permissions.iter_mut().filter(|permission| permission.grant.is_due(now));
        if let Some(single) = due.find(|permission| permission.alone) {
            single.grant = single.grant.asked(now);
            return vec![single.ip];
        }
        let soon = now + BATCH_WINDOW;
        let batch = self
            .permissions
            .iter_mut()
            .filter(|permission| !permission.alone && permission.grant.is_due(soon));
        batch
            .take(BATCH)
            .map(|permission| {
                permission.grant = permission.grant.asked(now);
                permission.ip
            })
            .collect()
    }

    /// Notes what became of a permission that was asked for; returns whether that is of interest.
    pub(super) fn permission_answered(
        &mut self,
        now: Instant,
        ip: IpAddr,
        outcome: Outcome,
        jitter: u64,
    ) -> bool {
        let Some(permission) = self.permission_mut(ip) else { return false };
        if outcome == Outcome::Failed(PeerError::Timeout) && permission.grant.is_live(now) {
            permission.grant = permission.grant.unanswered(now);
            return false;
        }
        match outcome {
            Outcome::Granted(asked) => {
                permission.grant = granted(asked, PERMISSION_LIFETIME, PERMISSION_MARGIN, jitter);
                permission.alone = false;
            }
            Outcome::Failed(error) => {
                self.permissions.retain(|permission| permission.ip != ip);
                for channel in self.channels.iter_mut().flatten() {
                    if channel.peer.ip() == ip {
                        channel.grant = None;
                    }
                }
                if let PeerError::Refused(_) = error {
                    self.refused.retain(|(_, _, until)| now < *until);
                    if self.refused.len() < self.max {
                        self.refused.push((ip, error, now + REFUSED_FOR));
                    }
                }
            }
        }
        true
    }

    /// A request for several permissions was refused: asks for each of them alone.
    pub(super) fn split(&mut self, ips: &[IpAddr]) {
        for ip in ips {
            if let Some(permission) = self.permission_mut(*ip) {
                permission.alone = true;
                permission.grant = permission.grant.again();
            }
        }
    }

    /// Notes what became of a channel that was asked for; returns whether that is of interest.
    /// It renews the permission too. [rfc8656-9-p1]
    pub(super) fn channel_answered(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        outcome: Outcome,
        jitter: u64,
    ) -> bool {
        let Some(channel) = self.channel_of(peer) else { return false };
        channel.until = now + CHANNEL_LIFETIME + COOL_DOWN;
        let live = channel.grant.filter(|grant| grant.is_live(now));
        if let (Outcome::Failed(PeerError::Timeout), Some(grant)) = (outcome, live) {
            channel.grant = Some(grant.unanswered(now));
            return false;
        }
        if channel.grant.is_none() {
            return false;
        }
        match outcome {
            Outcome::Granted(asked) => {
                let grant = granted(asked, CHANNEL_LIFETIME, CHANNEL_MARGIN, jitter);
                channel.grant = Some(grant);
                if let Some(permission) = self.permission_mut(peer.ip()) {
                    permission.grant =
                        granted(asked, PERMISSION_LIFETIME, PERMISSION_MARGIN, jitter);
                }
            }
            Outcome::Failed(error) => {
                channel.grant = None;
                if let PeerError::Refused(_) = error {
                    channel.refused = Some((error, now + REFUSED_FOR));
                }
                self.drop_unused(peer.ip());
            }
        }
        true
    }

    /// Whether the server has this channel for sure, or had it.
    pub(super) fn was_bound(&mut self, peer: SocketAddr) -> bool {
        let grant = self.channel_of(peer).and_then(|channel| channel.grant);
        grant.is_some_and(|grant| grant.expires().is_some())
    }

    /// The channel that data to `peer` goes over: one that the server has for sure.
    /// [rfc8656-12-5]
    pub(super) fn channel_to(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = self.number(peer)?;
        self.channel(number)?.grant?.is_live(now).then_some(number)
    }

    /// Whether there is a permission to send, or a request for one before what is sent.
    /// [rfc8656-11.1-1]
    pub(super) fn may_send(&self, now: Instant, ip: IpAddr) -> bool {
        self.permission(ip).is_some_and(|permission| match permission.grant {
            Grant::Wanted | Grant::Asked => true,
            Grant::Granted { expires, .. } | Grant::Renewing { expires } => now < expires,
        })
    }

    /// Whether data from the address is wanted. [rfc8656-11.4-1] [rfc8656-11.6-1]
    pub(super) fn may_receive(&self, now: Instant, ip: IpAddr) -> bool {
        self.permission(ip).is_some_and(|permission| permission.grant.is_possible(now))
    }

    /// Whose data comes over a channel, from when it was asked for until the server has forgotten
    /// it, also if we gave it up before. [rfc8656-12-4] [rfc8656-12.6-1] [rfc8656-12.6-p1]
    pub(super) fn channel_from(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let channel = self.channel(number)?;
        let kept = channel.grant.is_some_and(|grant| grant.is_possible(now));
        let possible = kept || now + COOL_DOWN < channel.until;
        (possible && self.may_receive(now, channel.peer.ip())).then_some(channel.peer)
    }

    /// Drops those whose family has no relayed address, and returns them: port 0 for all of an
    /// address. [rfc8656-10.1-3] [rfc8656-12.1-1]
    pub(super) fn retain_families(&mut self, usable: impl Fn(IpAddr) -> bool) -> Vec<SocketAddr> {
        let dropped = self.permissions.iter().filter(|permission| !usable(permission.ip));
        let dropped = dropped.map(|permission| SocketAddr::new(permission.ip, 0)).collect();
        self.permissions.retain(|permission| usable(permission.ip));
        self.retain_channels(|channel| usable(channel.peer.ip()));
        dropped
    }

    /// The allocation is gone, and all of it with it: asks anew for what is wanted.
    /// [rfc8656-5-7]
    pub(super) fn start_afresh(&mut self) {
        for permission in &mut self.permissions {
            permission.grant = Grant::Wanted;
        }
        self.retain_channels(|channel| channel.grant.is_some());
        for channel in self.channels.iter_mut().flatten() {
            channel.grant = Some(Grant::Wanted);
        }
        self.refused.clear();
    }

    fn retain_channels(&mut self, keep: impl Fn(&Channel) -> bool) {
        for slot in &mut self.channels {
            if let Some(channel) = slot.take_if(|channel| !keep(channel)) {
                self.numbers.retain(|(peer, _)| *peer != channel.peer);
            }
        }
    }
}
