//! A certificate authority that nobody else trusts.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::network::{SERVERS, SERVERS6};

/// The name of the server, in its certificate and in the network's hosts file.
pub const NAME: &str = "turn.lab.test";

/// A certificate authority, and the certificate of a server that it signed. All in PEM.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The certificate of the authority: what clients are to trust.
    pub root: String,
    /// The certificate of the server, for [`NAME`] and its addresses.
    pub certificate: String,
    /// The private key of the server.
    pub key: String,
}

impl Authority {
    /// Makes one, with new keys.
    pub fn new() -> Self {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "floe's lab");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(root, key()).expect("a root certificate");

        let key = key();
        let mut server = CertificateParams::new([NAME.to_owned()]).expect("a name");
        server.distinguished_name.push(DnType::CommonName, NAME);
        let addresses = SERVERS.map(IpAddr::V4).into_iter().chain(SERVERS6.map(IpAddr::V6));
        server.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        let certificate = server.signed_by(&key, &root).expect("a certificate");
        Self { root: root.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key pair")
}
