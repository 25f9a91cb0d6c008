//! The server's side of long-term credentials (RFC 8489 §9.2.4).

use core::time::Duration;

use floe::Instant;
use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, PasswordAlgorithm, userhash,
};

use crate::world::BEGINNING;
use crate::world::rng::hash;

/// Username and password of everybody.
pub(crate) const USER: &str = "the-user";
pub(crate) const PASSWORD: &str = "the-password-of-the-user";

/// Which password algorithms a server lists, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithms {
    /// None: MD5, and MESSAGE-INTEGRITY, as RFC 5389 has it.
    Unlisted,
    Md5,
    Sha256,
}

/// What a request deserves.
pub(crate) enum Verdict {
    /// This error.
    Challenge(Vec<u8>),
    Authentic {
        key: IntegrityKey,
        user: Vec<u8>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) realm: String,
    pub(crate) password: String,
    pub(crate) algorithms: Algorithms,
    /// Whether USERHASH is taken for USERNAME.
    pub(crate) anonymous: bool,
    /// How long a nonce is good.
    pub(crate) nonce_lifetime: Duration,
    key: u64,
    /// Nonces that were given out in a storm.
    storm: u64,
}

impl Auth {
    pub(crate) fn new(key: u64) -> Self {
        Self {
            realm: "sim.example".to_owned(),
            password: PASSWORD.to_owned(),
            algorithms: Algorithms::Sha256,
            anonymous: false,
            nonce_lifetime: Duration::from_secs(3_600),
            key,
            storm: 0,
        }
    }

    /// Nonces of before are stale.
    pub(crate) fn new_key(&mut self, key: u64) {
        self.key = key;
    }

    fn nonce(&self, now: Instant) -> String {
        let lists = u8::from(self.algorithms != Algorithms::Unlisted);
        let features = lists + 2 * u8::from(self.anonymous);
        let letter = char::from(b'A' + features);
        let epoch = now.since(BEGINNING).as_secs() / self.nonce_lifetime.as_secs().max(1);
        let tag = hash(format!("{:x} {epoch} {}", self.key, self.storm).as_bytes());
        format!("obMatJos2AAA{letter}{tag:016x}")
    }

    fn list(&self) -> Option<Vec<u8>> {
        let entry = |number: u16| {
            let [n0, n1] = number.to_be_bytes();
            [n0, n1, 0, 0]
        };
        let order = match self.algorithms {
            Algorithms::Unlisted => return None,
            Algorithms::Md5 => vec![PasswordAlgorithm::MD5],
            Algorithms::Sha256 => vec![PasswordAlgorithm::SHA256, PasswordAlgorithm::MD5],
        };
        Some(order.into_iter().flat_map(entry).collect())
    }

    /// Judges a request; in a storm every nonce is stale as soon as it was given out.
    pub(crate) fn judge(&mut self, now: Instant, message: &Message<'_>, storm: bool) -> Verdict {
        if !message.has_integrity() {
            return self.refuse(now, message, 401, true);
        }
        let named = message.username().is_some() || message.userhash().is_some();
        let (Some(realm), Some(nonce), true) = (message.realm(), message.nonce(), named) else {
            return self.refuse(now, message, 400, false);
        };
        if !self.algorithms_fit(message) {
            return self.refuse(now, message, 400, false);
        }
        let known = match message.userhash() {
            Some(hash) => {
                self.anonymous && hash == userhash(USER.as_bytes(), self.realm.as_bytes())
            }
            None => message.username() == Some(USER.as_bytes()),
        };
        let key = self.key_of(message);
        let verified = message.verify(&key).is_ok();
        if !known || realm != self.realm.as_bytes() || !verified {
            return self.refuse(now, message, 401, true);
        }
        if nonce != self.nonce(now).as_bytes() || storm {
            self.storm += u64::from(storm);
            return self.refuse(now, message, 438, true);
        }
        Verdict::Authentic { key, user: USER.into() }
    }

    /// The client sends our own list and one of its algorithms, or nothing where we list none.
    fn algorithms_fit(&self, message: &Message<'_>) -> bool {
        let list = message.attribute(AttributeType::PASSWORD_ALGORITHMS);
        let chosen = message.password_algorithm();
        match (self.list(), list, chosen) {
            (None, None, None) | (Some(_), None, None) => true,
            (Some(ours), Some(theirs), Some(chosen)) => {
                ours == theirs && ours.chunks(4).any(|entry| entry[1] == chosen.number as u8)
            }
            _ => false,
        }
    }

    fn key_of(&self, message: &Message<'_>) -> IntegrityKey {
        let (user, realm) = (USER.as_bytes(), self.realm.as_bytes());
        let password = self.password.as_bytes();
        match message.password_algorithm().map(|chosen| chosen.number) {
            Some(PasswordAlgorithm::SHA256) => {
                IntegrityKey::long_term_sha256(user, realm, password)
            }
            Some(_) => IntegrityKey::long_term_md5_listed(user, realm, password),
            None => IntegrityKey::long_term_md5(user, realm, password),
        }
    }

    fn refuse(&self, now: Instant, message: &Message<'_>, code: u16, challenge: bool) -> Verdict {
        let mut buf = [0; 512];
        let id = message.transaction_id();
        let mut encoder =
            Encoder::new(&mut buf, MessageClass::Error, message.method(), id).error_code(code, "");
        if challenge {
            encoder = encoder
                .attribute(AttributeType::REALM, self.realm.as_bytes())
                .attribute(AttributeType::NONCE, self.nonce(now).as_bytes());
            if let Some(list) = self.list() {
                encoder = encoder.attribute(AttributeType::PASSWORD_ALGORITHMS, &list);
            }
        }
        let len = encoder.finish().unwrap();
        Verdict::Challenge(buf[..len].to_vec())
    }
}
