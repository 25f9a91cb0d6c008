//! Offers and answers of a data channel, around the ICE of a connection.
//! [RFC 8841] [RFC 8842] [RFC 9143] [RFC 9429]
//!
//! ICE says how packets get through; a browser also wants to know what they are: DTLS with a
//! certificate of this fingerprint, SCTP on this port. [`DataChannelSignaling`] stands between a
//! connection and its signalling. It adds this to what the connection says, and takes it out of
//! what the peer says. DTLS and SCTP themselves are the application's, over
//! [`Connection::send`](crate::Connection::send) and [`Connection::recv`](crate::Connection::recv).
//!
//! The peer may offer more, such as sound and pictures: what is no data channel is rejected, and
//! keeps its place in all further bodies. [RFC 3264 §6, §8]
//!
//! ```no_run
//! use floe::Node;
//! use floe::adapters::data_channel::{DataChannel, DataChannelSignaling, DtlsRole, Fingerprint};
//! use floe::signaling::Signaling;
//!
//! # async fn run(
//! #     signaling: impl Signaling + 'static,
//! #     digest: [u8; 32],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let ours = DataChannel::new(Fingerprint::sha256(digest));
//! let (signaling, mut agreements) = DataChannelSignaling::new(signaling, ours);
//! let connection = Node::builder().bind().await?.connect(signaling).await?;
//! let agreed = agreements.next().await.ok_or("the peer is gone")?;
//! match agreed.role {
//!     DtlsRole::Client => { /* begin the handshake over `connection` */ }
//!     DtlsRole::Server => { /* wait for it */ }
//! }
//! // Then compare the peer's certificate with `agreed.peer.fingerprints`.
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
mod tests;

use core::fmt;
use core::str::FromStr;
use core::task::{Context, Poll, ready};
use std::io::Cursor;

use sdp::description::common::Attribute;
use sdp::description::media::{MediaDescription, RangedPort};
use sdp::description::session::SessionDescription;
use tokio::sync::watch;

use crate::sdp::MAX_BODY;
use crate::signaling::{CandidateInit, Signal, SignalError, Signaling, SignalingError};

/// The most `m=` sections of a body.
const MAX_SECTIONS: usize = 64;
/// The most fingerprints of a section that are kept.
const MAX_FINGERPRINTS: usize = 8;
/// The longest digest, octets: that of SHA-512.
const MAX_DIGEST: usize = 64;
/// The port of SCTP if a body names none.
const SCTP_PORT: u16 = 5000;
/// The longest message if a body names no length. [RFC 8841 §6.1]
const MESSAGE_SIZE: u64 = 64 * 1024;

/// What one side says of its end of a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataChannel {
    /// The fingerprints of its certificate; one that matches is enough. [RFC 8122 §5]
    pub fingerprints: Vec<Fingerprint>,
    /// Its SCTP port, within DTLS: 5000 as a rule. [RFC 8841 §5]
    pub sctp_port: u16,
    /// The longest message that it takes, octets; 0 is any. [RFC 8841 §6]
    pub max_message_size: u64,
    /// The name of the DTLS association, as the peer said it; ours is made where it is needed.
    /// [RFC 8842 §4]
    pub tls_id: Option<String>,
}

impl DataChannel {
    /// Describes an end with this fingerprint, SCTP port 5000, and messages up to 256 KiB.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprints: vec![fingerprint],
            sctp_port: SCTP_PORT,
            max_message_size: 256 * 1024,
            tls_id: None,
        }
    }

    /// Whether what was said earlier of the same end stands for the same DTLS association: the
    /// certificates are the same, and so is its name, where both times there was one.
    /// [RFC 8842 §4]
    #[must_use]
    pub fn is_associated_as(&self, earlier: &Self) -> bool {
        let named = self.tls_id.as_ref().zip(earlier.tls_id.as_ref());
        let (now, then) = (&self.fingerprints, &earlier.fingerprints);
        now.len() == then.len()
            && now.iter().all(|print| then.contains(print))
            && named.is_none_or(|(now, then)| now == then)
    }
}

/// The digest of a certificate. [RFC 8122 §5]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The name of the hash function, in small letters: `sha-256` as a rule.
    pub hash: String,
    /// The digest of the certificate in DER.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// The fingerprint with this SHA-256 digest.
    #[must_use]
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self { hash: "sha-256".into(), digest: digest.into() }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hash)?;
        for (index, octet) in self.digest.iter().enumerate() {
            let before = if index == 0 { ' ' } else { ':' };
            write!(f, "{before}{octet:02X}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = BodyError;

    fn from_str(text: &str) -> Result<Self, BodyError> {
        let (hash, digest) = text.trim().split_once(' ').ok_or(BodyError::Fingerprint)?;
        let octets = digest.trim().split(':').map(|octet| {
            let is_octet = octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(octet, 16).ok().filter(|_| is_octet)
        });
        let digest: Option<Vec<u8>> = octets.take(MAX_DIGEST + 1).collect();
        let digest = digest.filter(|digest| digest.len() <= MAX_DIGEST);
        let is_name = !hash.is_empty() && hash.len() <= 16 && hash.bytes().all(is_token);
        match digest {
            Some(digest) if is_name => Ok(Self { hash: hash.to_ascii_lowercase(), digest }),
            Some(_) | None => Err(BodyError::Fingerprint),
        }
    }
}

const fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-'
}

/// Whether this may be the name of an association. [RFC 8842 §4]
fn is_tls_id(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"+/-_".contains(&octet);
    (20..=255).contains(&name.len()) && name.bytes().all(allowed)
}

/// Who begins the handshake of DTLS. [RFC 8842 §5.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We do: `a=setup:active`.
    Client,
    /// The peer does: `a=setup:passive`.
    Server,
}

/// What an exchange of offer and answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement {
    /// Our part in the handshake.
    pub role: DtlsRole,
    /// What the peer said of its end.
    pub peer: DataChannel,
}

impl Agreement {
    /// The agreement that `peer` was told of in another way than by SDP.
    #[must_use]
    pub const fn new(role: DtlsRole, peer: DataChannel) -> Self {
        Self { role, peer }
    }
}

/// Why a body is of no use for a data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// Longer than [`MAX_BODY`] octets, or of more than 64 sections: say less.
    TooLong,
    /// Not SDP: write the lines as RFC 8866 has them.
    Syntax,
    /// It offers no data channel: add the section
    /// `m=application 9 UDP/DTLS/SCTP webrtc-datachannel`.
    NoDataChannel,
    /// There is no `a=fingerprint` that can be read: add that of the certificate.
    Fingerprint,
    /// There is no `a=setup`, or none that goes with what was offered: an offer says `actpass`, an
    /// answer `active`.
    Setup,
    /// The `a=sctp-port` is none: 5000 will do.
    SctpPort,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the body is too long; say less",
            Self::Syntax => "the body is not SDP; write the lines as RFC 8866 has them",
            Self::NoDataChannel => {
                "the body has no data channel; add \"m=application 9 UDP/DTLS/SCTP \
                 webrtc-datachannel\""
            }
            Self::Fingerprint => "the body has no a=fingerprint; add that of the certificate",
            Self::Setup => "the a=setup does not fit; an offer says actpass, an answer active",
            Self::SctpPort => "the a=sctp-port is not a port; write 5000",
        })
    }
}

impl core::error::Error for BodyError {}

/// Signalling that describes a data channel around the ICE of a connection.
///
/// Give it to [`Node::connect`](crate::Node::connect) or [`Node::accept`](crate::Node::accept) in
/// place of the signalling that it wraps. A body of the peer that is of no use is a
/// [`SignalError::Body`]; signalling goes on.
#[derive(Debug)]
pub struct DataChannelSignaling<S> {
    inner: S,
    bodies: Bodies,
    /// Taken, but not by the channel yet.
    outgoing: Option<Signal>,
    agreements: watch::Sender<Option<Agreement>>,
}

/// What the offers and answers of a session came to.
#[derive(Debug)]
pub struct Agreements(watch::Receiver<Option<Agreement>>);

impl Agreements {
    /// Waits for the next exchange to be agreed upon; `None` when there will be none. A peer that
    /// [is associated](DataChannel::is_associated_as) as before calls for no new handshake.
    /// Dropping it loses nothing; of several exchanges the last one is told.
    pub async fn next(&mut self) -> Option<Agreement> {
        loop {
            self.0.changed().await.ok()?;
            let agreement = self.0.borrow_and_update().clone();
            if agreement.is_some() {
                return agreement;
            }
        }
    }
}

impl<S: Signaling> DataChannelSignaling<S> {
    /// Wraps `inner`; `ours` is what the peer is to be told of our end.
    pub fn new(inner: S, ours: DataChannel) -> (Self, Agreements) {
        let (agreements, receiver) = watch::channel(None);
        let mut id = [0; 16];
        let name = getrandom::fill(&mut id).ok().map(|()| u128::from_be_bytes(id));
        let bodies = Bodies::new(ours, name);
        (Self { inner, bodies, outgoing: None, agreements }, Agreements(receiver))
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        if self.outgoing.is_some() {
            let sent = ready!(self.inner.poll_send(cx, &mut self.outgoing));
            self.outgoing = None;
            sent?;
        }
        Poll::Ready(Ok(()))
    }

    fn agree(&self, agreement: Option<Agreement>) {
        if let Some(agreement) = agreement {
            let _ = self.agreements.send(Some(agreement));
        }
    }
}

impl<S: Signaling> Signaling for DataChannelSignaling<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        ready!(self.poll_outgoing(cx))?;
        let Some(signal) = signal.take() else { return Poll::Ready(Ok(())) };
        let (signal, agreement) = self.bodies.write(signal).map_err(SignalError::Body)?;
        self.agree(agreement);
        self.outgoing = Some(signal);
        match self.poll_outgoing(cx) {
            Poll::Ready(sent) => Poll::Ready(sent),
            // It is ours now, and goes out with the next message or flush.
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        ready!(self.poll_outgoing(cx))?;
        self.inner.poll_flush(cx)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        loop {
            let Some(received) = ready!(self.inner.poll_recv(cx)) else { return Poll::Ready(None) };
            return Poll::Ready(Some(match received {
                Err(error) => Err(error),
                Ok(signal) => match self.bodies.read(signal) {
                    // A candidate of another section.
                    Ok((None, _)) => continue,
                    Ok((Some(signal), agreement)) => {
                        self.agree(agreement);
                        Ok(signal)
                    }
                    Err(error) => Err(SignalError::Body(error).into()),
                },
            }));
        }
    }
}

/// What bodies say beside ICE.
#[derive(Debug)]
struct Bodies {
    ours: DataChannel,
    /// What the names of our DTLS associations begin with; none without randomness.
    name: Option<u128>,
    /// DTLS associations of this session before the one that is used, or offered.
    associations: u32,
    /// Whether an offer of ours is unanswered.
    offering: bool,
    /// The peer's last offer, unless it was answered.
    offered: Option<Offer>,
    agreed: Option<Agreed>,
}

/// An offer of the peer.
#[derive(Debug)]
struct Offer {
    layout: Layout,
    setup: Setup,
    peer: DataChannel,
}

/// What was agreed upon.
#[derive(Debug)]
struct Agreed {
    layout: Layout,
    agreement: Agreement,
}

/// The sections of a session, and which of them is the data channel.
#[derive(Clone, Debug)]
struct Layout {
    sections: Vec<MediaDescription>,
    chosen: usize,
    /// The section whose candidates are those of the data channel, for it stands in a bundle only.
    transport: usize,
}

/// The `a=setup` attribute. [RFC 8842 §5.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    ActPass,
    Active,
    Passive,
}

impl Layout {
    fn mid(&self) -> Option<&str> {
        value(&self.sections.get(self.chosen)?.attributes, "mid")
    }

    /// Whether the candidates of a section are those of the data channel.
    fn has_candidates_of(&self, mid: Option<&str>, index: Option<u16>) -> bool {
        let ours = [self.chosen, self.transport];
        let named = |index: &usize| value(&self.sections.get(*index)?.attributes, "mid");
        match (mid, self.mid(), index) {
            (Some(mid), Some(_), _) => ours.iter().filter_map(named).any(|ours| ours == mid),
            (_, _, Some(index)) => ours.contains(&index.into()),
            // The end of all candidates names none.
            (_, _, None) => true,
        }
    }
}

impl Bodies {
    fn new(ours: DataChannel, name: Option<u128>) -> Self {
        Self { ours, name, associations: 0, offering: false, offered: None, agreed: None }
    }

    /// Writes what the connection says for the peer.
    fn write(&mut self, signal: Signal) -> Result<(Signal, Option<Agreement>), BodyError> {
        match signal {
            Signal::Offer { sdp } => {
                let layout = self.agreed.as_ref().map(|agreed| &agreed.layout);
                let sdp = self.body(&sdp, Setup::ActPass, self.tls_id(), layout)?;
                self.offering = true;
                Ok((Signal::Offer { sdp }, None))
            }
            Signal::Answer { sdp } => {
                let offer = self.offered.take().ok_or(BodyError::NoDataChannel)?;
                let lasting = self.lasting_role(&offer.peer);
                if self.agreed.is_some() && lasting.is_none() {
                    self.associations = self.associations.wrapping_add(1);
                }
                let (setup, role) = match (offer.setup, lasting) {
                    (Setup::Active, _) | (Setup::ActPass, Some(DtlsRole::Server)) => {
                        (Setup::Passive, DtlsRole::Server)
                    }
                    (Setup::Passive, _) | (Setup::ActPass, Some(DtlsRole::Client) | None) => {
                        (Setup::Active, DtlsRole::Client)
                    }
                };
                // Who offers without a name may not understand one. [RFC 8842 §5.3]
                let tls_id = self.tls_id().filter(|_| offer.peer.tls_id.is_some());
                let sdp = self.body(&sdp, setup, tls_id, Some(&offer.layout))?;
                self.offering = false;
                let agreement = Agreement { role, peer: offer.peer };
                self.agreed = Some(Agreed { layout: offer.layout, agreement: agreement.clone() });
                Ok((Signal::Answer { sdp }, Some(agreement)))
            }
            Signal::Candidate(mut init) => {
                if let Some(layout) = self.layout() {
                    init.sdp_m_line_index = u16::try_from(layout.chosen).ok();
                    init.sdp_mid = layout.mid().map(str::to_owned);
                }
                Ok((Signal::Candidate(init), None))
            }
        }
    }

    /// Our part in an association that goes on.
    fn lasting_role(&self, peer: &DataChannel) -> Option<DtlsRole> {
        let known = &self.agreed.as_ref()?.agreement;
        peer.is_associated_as(&known.peer).then_some(known.role)
    }

    /// The name of our association: with each new one a new name. [RFC 8842 §4]
    fn tls_id(&self) -> Option<String> {
        Some(format!("{:032x}{:x}", self.name?, self.associations))
    }

    /// The layout of what candidates belong to.
    fn layout(&self) -> Option<&Layout> {
        let offered = self.offered.as_ref().map(|offer| &offer.layout);
        offered.or(self.agreed.as_ref().map(|agreed| &agreed.layout))
    }

    /// Adds to a body of ICE what a data channel needs, and the sections that are rejected.
    fn body(
        &self,
        ice: &str,
        setup: Setup,
        tls_id: Option<String>,
        layout: Option<&Layout>,
    ) -> Result<String, BodyError> {
        let mut body = parse(ice)?;
        let mut section = body.media_descriptions.pop().ok_or(BodyError::Syntax)?;
        for fingerprint in &self.ours.fingerprints {
            add(&mut section, "fingerprint", &fingerprint.to_string());
        }
        add(&mut section, "setup", setup.word());
        if let Some(id) = &tls_id {
            add(&mut section, "tls-id", id);
        }
        add(&mut section, "sctp-port", &self.ours.sctp_port.to_string());
        add(&mut section, "max-message-size", &self.ours.max_message_size.to_string());
        let mut sections = layout.map_or_else(Vec::new, |layout| layout.sections.clone());
        if let Some(place) = layout.and_then(|layout| sections.get_mut(layout.chosen)) {
            // In the form, and under the name, that were agreed upon. [RFC 8841 §10.3]
            section.media_name.protos.clone_from(&place.media_name.protos);
            section.attributes.retain(|line| !is(line, "mid"));
            section.attributes.splice(..0, core::mem::take(&mut place.attributes));
            *place = section.clone();
        } else {
            sections.push(section.clone());
        }
        body.attributes.retain(|line| !is(line, "group"));
        if let Some(mid) = value(&section.attributes, "mid") {
            let group = Attribute::new("group".into(), Some(format!("BUNDLE {mid}")));
            body.attributes.push(group);
        }
        body.media_descriptions = sections;
        Ok(body.marshal())
    }

    /// Reads what the peer says for the connection: nothing of a section that was rejected.
    fn read(&mut self, signal: Signal) -> Result<(Option<Signal>, Option<Agreement>), BodyError> {
        match signal {
            Signal::Offer { sdp } => {
                let (sdp, section, layout) = reduce(&sdp, None)?;
                let peer = section.data_channel()?;
                self.offered = Some(Offer { layout, setup: section.setup()?, peer });
                Ok((Some(Signal::Offer { sdp }), None))
            }
            Signal::Answer { sdp } => {
                let known = self.agreed.as_ref().map(|agreed| &agreed.layout);
                let (sdp, section, layout) = reduce(&sdp, known)?;
                let peer = section.data_channel()?;
                let said = match section.setup()? {
                    Setup::Active => DtlsRole::Server,
                    Setup::Passive => DtlsRole::Client,
                    Setup::ActPass => return Err(BodyError::Setup),
                };
                // Firefox says that it is active each time it answers, whatever it is.
                let role = self.lasting_role(&peer).unwrap_or(said);
                // The connection refuses an answer that it did not ask for.
                if !core::mem::take(&mut self.offering) {
                    return Ok((Some(Signal::Answer { sdp }), None));
                }
                let agreement = Agreement { role, peer };
                self.agreed = Some(Agreed { layout, agreement: agreement.clone() });
                Ok((Some(Signal::Answer { sdp }), Some(agreement)))
            }
            Signal::Candidate(init) => Ok((self.candidate(init).map(Signal::Candidate), None)),
        }
    }

    /// A candidate as it is for the only section that the connection knows; `None` for others.
    fn candidate(&self, mut init: CandidateInit) -> Option<CandidateInit> {
        let Some(layout) = self.layout() else { return Some(init) };
        let named = init.sdp_mid.take().filter(|mid| !mid.is_empty());
        let is_ours = layout.has_candidates_of(named.as_deref(), init.sdp_m_line_index);
        init.sdp_m_line_index = Some(0);
        is_ours.then_some(init)
    }
}

/// The section of the data channel, with what the session says for all.
struct Section {
    attributes: Vec<Attribute>,
}

impl Section {
    fn data_channel(&self) -> Result<DataChannel, BodyError> {
        let lines = self.attributes.iter().filter(|line| is(line, "fingerprint"));
        let values = lines.filter_map(|line| line.value.as_deref()?.parse().ok());
        let fingerprints: Vec<Fingerprint> = values.take(MAX_FINGERPRINTS).collect();
        if fingerprints.is_empty() {
            return Err(BodyError::Fingerprint);
        }
        let port = value(&self.attributes, "sctp-port");
        let port = match (port, self.old_port()) {
            (Some(port), _) | (None, Some(port)) => port.trim().parse().ok(),
            (None, None) => Some(SCTP_PORT),
        };
        let sctp_port = port.filter(|port| *port != 0).ok_or(BodyError::SctpPort)?;
        let size = value(&self.attributes, "max-message-size");
        let size = size.and_then(|size| size.trim().parse().ok());
        let max_message_size = size.unwrap_or(MESSAGE_SIZE);
        let tls_id = value(&self.attributes, "tls-id").map(str::trim).filter(|id| is_tls_id(id));
        Ok(DataChannel {
            fingerprints,
            sctp_port,
            max_message_size,
            tls_id: tls_id.map(str::to_owned),
        })
    }

    /// The port as drafts of RFC 8841 wrote it: `a=sctpmap:5000 webrtc-datachannel 1024`.
    fn old_port(&self) -> Option<&str> {
        value(&self.attributes, "sctpmap")?.trim().split(' ').next()
    }

    fn setup(&self) -> Result<Setup, BodyError> {
        let word = value(&self.attributes, "setup").ok_or(BodyError::Setup)?;
        let all = [Setup::ActPass, Setup::Active, Setup::Passive];
        all.into_iter().find(|setup| setup.word() == word.trim()).ok_or(BodyError::Setup)
    }
}

impl Setup {
    const fn word(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// Reduces a body to its data channel: the section of `known`, else the first that is one.
fn reduce(sdp: &str, known: Option<&Layout>) -> Result<(String, Section, Layout), BodyError> {
    let mut body = parse(sdp)?;
    let chosen = match known {
        Some(layout) => Some(layout.chosen),
        None => body.media_descriptions.iter().position(is_data_channel),
    };
    let chosen = chosen.ok_or(BodyError::NoDataChannel)?;
    let sections = core::mem::take(&mut body.media_descriptions);
    let section = sections.get(chosen).filter(|section| is_data_channel(section));
    let mut section = section.ok_or(BodyError::NoDataChannel)?.clone();
    let mut transport = chosen;
    if value(&section.attributes, "ice-ufrag").is_none()
        && let Some(index) = tagged(&body, &section, &sections)
    {
        // What is bundled only has its transport from the first of the bundle. [RFC 9143 §7.1]
        transport = index;
        let lines = sections.get(index).into_iter().flat_map(|tagged| &tagged.attributes);
        section.attributes.extend(lines.filter(|line| is_transport(line)).cloned());
    }
    // A data channel is at hand, whatever bundle it stands in.
    body.attributes.retain(|line| !is(line, "group"));
    let attributes = section.attributes.iter().chain(&body.attributes).cloned().collect();
    let sections = sections.into_iter().map(rejected).collect();
    let layout = Layout { sections, chosen, transport };
    body.media_descriptions = vec![section];
    Ok((body.marshal(), Section { attributes }, layout))
}

fn parse(text: &str) -> Result<SessionDescription, BodyError> {
    if text.len() > MAX_BODY {
        return Err(BodyError::TooLong);
    }
    let body = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()));
    let body = body.map_err(|_| BodyError::Syntax)?;
    if body.media_descriptions.len() > MAX_SECTIONS {
        return Err(BodyError::TooLong);
    }
    Ok(body)
}

/// Whether a section is a data channel that is not rejected. [RFC 8841 §4.3]
fn is_data_channel(section: &MediaDescription) -> bool {
    let name = &section.media_name;
    let is_there = name.port.value != 0 || section.attributes.iter().any(|a| is(a, "bundle-only"));
    let protos = name.protos.iter().map(String::as_str);
    name.media == "application"
        && protos.filter(|proto| *proto == "DTLS" || *proto == "SCTP").count() == 2
        && is_there
}

/// The first section of the bundle that a section stands in.
fn tagged(
    body: &SessionDescription,
    section: &MediaDescription,
    sections: &[MediaDescription],
) -> Option<usize> {
    let mid = value(&section.attributes, "mid")?;
    let groups = body.attributes.iter().filter(|line| is(line, "group"));
    let bundles = groups.filter_map(|line| line.value.as_deref()?.strip_prefix("BUNDLE "));
    let bundle = bundles.into_iter().find(|mids| mids.split(' ').any(|one| one == mid))?;
    let first = bundle.split(' ').next();
    sections.iter().position(|section| value(&section.attributes, "mid") == first)
}

/// Whether an attribute is of the transport, which a bundle shares. [RFC 8859]
fn is_transport(line: &Attribute) -> bool {
    const SHARED: [&str; 7] = [
        "ice-ufrag",
        "ice-pwd",
        "candidate",
        "end-of-candidates",
        "fingerprint",
        "setup",
        "tls-id",
    ];
    SHARED.iter().any(|name| is(line, name))
}

/// The section as one says it that wants none of it. [RFC 3264 §6]
fn rejected(section: MediaDescription) -> MediaDescription {
    let keep = |line: &Attribute| is(line, "mid");
    let mut name = section.media_name;
    name.port = RangedPort { value: 0, range: None };
    MediaDescription {
        media_name: name,
        connection_information: section.connection_information,
        attributes: section.attributes.into_iter().filter(keep).collect(),
        ..MediaDescription::default()
    }
}

fn is(line: &Attribute, name: &str) -> bool {
    line.key.eq_ignore_ascii_case(name)
}

/// The value of the first attribute of a name.
fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|line| is(line, name))?.value.as_deref()
}

fn add(section: &mut MediaDescription, name: &str, value: &str) {
    section.attributes.push(Attribute::new(name.into(), Some(value.into())));
}
