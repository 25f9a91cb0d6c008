//! What the tool says of a server that gave nothing: what happened, whose it is, what to do.

use std::net::SocketAddr;

use floe::event::GatherFailure;
use floe::net::{ConnectFailure, Transport};
use floe::stun::GiveUp;
use floe::turn;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Who typed the command.
    User,
    /// Who runs the server.
    Server,
    /// The network between.
    Network,
    /// Who built the tool.
    Build,
}

impl Fault {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Server => "server",
            Self::Network => "network",
            Self::Build => "build",
        }
    }
}

/// A failure of one server.
#[derive(Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) reason: GatherFailure,
}

impl Trouble {
    /// Which server it is, and how it was asked.
    pub(crate) fn place(&self) -> String {
        format!("server {} over {}", self.server, self.transport)
    }

    /// Whether it is of a TURN server, so that there is no relayed candidate.
    pub(crate) fn is_of_relay(&self) -> bool {
        matches!(
            self.reason,
            GatherFailure::Relay(_) | GatherFailure::Connect(_) | GatherFailure::Limit
        )
    }

    /// Who can mend it.
    pub(crate) fn fault(&self) -> Fault {
        self.advise().0
    }

    /// One sentence: what happened, and what to do.
    pub(crate) fn sentence(&self) -> String {
        format!("{}; {}", self.reason, self.advise().1)
    }

    fn advise(&self) -> (Fault, &'static str) {
        match self.reason {
            GatherFailure::Timeout => (
                Fault::Network,
                "check the URL, that the server runs, and whether UDP may leave this network",
            ),
            GatherFailure::Unreachable => {
                (Fault::Network, "check the address and port of the URL, and that the server runs")
            }
            GatherFailure::Refused(_) | GatherFailure::NoAddress => {
                (Fault::Server, "try another server, and tell who runs this one")
            }
            GatherFailure::Limit => (Fault::User, "use fewer servers or interfaces"),
            GatherFailure::Connect(failure) => self.connection(failure),
            GatherFailure::Relay(error) => self.relay(error),
            _ => (Fault::Server, "run again with -v"),
        }
    }

    /// No answer of a TURN server in time.
    fn silence(&self) -> (Fault, &'static str) {
        let advice = match self.transport {
            Transport::Udp => {
                "check the URL, that the server runs, and whether UDP may leave this network; \
                 where it may not, try the URL with ?transport=tcp, or turns:"
            }
            Transport::Tcp => {
                "check the URL; where a firewall drops TCP to this port, try turns: on port 443"
            }
            Transport::Tls => {
                "check the URL; where a firewall drops this port, ask for a server on port 443"
            }
            Transport::Dtls => {
                "check the URL, and whether UDP may leave this network; where it may not, try the \
                 URL with ?transport=tcp"
            }
        };
        (Fault::Network, advice)
    }

    fn connection(&self, failure: ConnectFailure) -> (Fault, &'static str) {
        match failure {
            ConnectFailure::Refused => (
                Fault::Server,
                "nothing listens there: check the port of the URL, and that the server runs and \
                 takes connections",
            ),
            ConnectFailure::Unreachable => {
                (Fault::Network, "check the URL, and the route and the firewalls on the way")
            }
            ConnectFailure::Timeout => self.silence(),
            ConnectFailure::Certificate => (
                Fault::Server,
                "write the name that the certificate is for into the URL, or have who runs the \
                 server renew it; floe never goes on without",
            ),
            ConnectFailure::Handshake => (
                Fault::Server,
                "check that this port speaks TLS (turns: is port 5349 unless the URL says \
                 otherwise), or use turn:",
            ),
            ConnectFailure::Unsupported => (
                Fault::Build,
                "build floe with --features tls or dtls, or use turn: with ?transport=tcp",
            ),
            ConnectFailure::Closed => {
                (Fault::Server, "check that this port is one of a TURN server, or try again later")
            }
            ConnectFailure::Limit => (Fault::User, "use fewer servers or interfaces"),
            _ => (Fault::Network, "run again with -v"),
        }
    }

    fn relay(&self, error: turn::Error) -> (Fault, &'static str) {
        match error {
            turn::Error::Timeout => self.silence(),
            turn::Error::Credentials(GiveUp::Credentials) => {
                (Fault::User, "check --username and --password, and whether they are still valid")
            }
            turn::Error::Credentials(_) => (
                Fault::Server,
                "the server is broken, or somebody changes its answers: try turns:, and tell who \
                 runs it",
            ),
            turn::Error::Integrity => (
                Fault::Network,
                "somebody changes its answers, or the server is broken: try turns:, and tell who \
                 runs it",
            ),
            turn::Error::Forbidden => {
                (Fault::Server, "ask who runs the server to allow it, or use another user")
            }
            turn::Error::Mismatch => {
                (Fault::User, "wait ten minutes until it expires, or bind to other ports")
            }
            turn::Error::Family => {
                (Fault::Server, "use another server, or the other of --ipv4 and --ipv6")
            }
            turn::Error::Protocol | turn::Error::NoAddress | turn::Error::Redirect => {
                (Fault::Server, "use another server, and tell who runs this one")
            }
            turn::Error::Quota => (
                Fault::User,
                "close other connections of this user, wait ten minutes until they expire, or ask \
                 who runs the server for a higher quota",
            ),
            turn::Error::Capacity => {
                (Fault::Server, "the server is full: try again later, or use another server")
            }
            turn::Error::Refused(_) => {
                (Fault::Server, "look for the code in RFC 8656, and tell who runs the server")
            }
            turn::Error::TooLong => (Fault::User, "use a shorter username or password"),
            _ => (Fault::Server, "run again with -v"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(error: turn::Error, transport: Transport) -> Trouble {
        let server = "192.0.2.1:3478".parse().unwrap();
        Trouble { server, transport, reason: GatherFailure::Relay(error) }
    }

    #[test]
    fn each_sentence_says_what_happened_whose_it_is_and_what_helps() {
        use turn::Error::{
            Capacity, Credentials, Family, Forbidden, Integrity, Mismatch, NoAddress, Protocol,
            Quota, Redirect, Refused, Timeout, TooLong,
        };
        let udp = Transport::Udp;
        for (error, transport, fault, words) in [
            (Credentials(GiveUp::Credentials), udp, Fault::User, "check --username and --password"),
            (Credentials(GiveUp::BidDown), udp, Fault::Server, "try turns:"),
            (Integrity, udp, Fault::Network, "try turns:"),
            (Quota, udp, Fault::User, "close other connections of this user"),
            (Capacity, udp, Fault::Server, "try again later"),
            (Forbidden, udp, Fault::Server, "allow it"),
            (Mismatch, udp, Fault::User, "until it expires"),
            (Family, udp, Fault::Server, "--ipv4 and --ipv6"),
            (Protocol, udp, Fault::Server, "another server"),
            (NoAddress, udp, Fault::Server, "another server"),
            (Redirect, udp, Fault::Server, "another server"),
            (Refused(499), udp, Fault::Server, "code 499"),
            (TooLong, udp, Fault::User, "shorter"),
            (Timeout, udp, Fault::Network, "?transport=tcp"),
            (Timeout, Transport::Tcp, Fault::Network, "turns: on port 443"),
            (Timeout, Transport::Tls, Fault::Network, "port 443"),
            (Timeout, Transport::Dtls, Fault::Network, "?transport=tcp"),
        ] {
            let trouble = relay(error, transport);
            let sentence = trouble.sentence();
            assert!(sentence.contains(words), "{sentence}");
            assert!(sentence.starts_with(&error.to_string()), "{sentence}");
            assert_eq!(trouble.fault(), fault, "{sentence}");
        }
    }

    #[test]
    fn a_certificate_is_never_passed_over() {
        let failure = ConnectFailure::Certificate;
        let reason = GatherFailure::Connect(failure);
        let trouble = Trouble { reason, ..relay(turn::Error::Timeout, Transport::Tls) };
        assert!(trouble.sentence().ends_with("floe never goes on without"));
        assert_eq!(trouble.fault(), Fault::Server);
    }

    #[test]
    fn nobody_is_told_of_tcp_for_a_stun_server() {
        let reason = GatherFailure::Timeout;
        let trouble = Trouble { reason, ..relay(turn::Error::Timeout, Transport::Udp) };
        assert!(trouble.sentence().contains("whether UDP may leave"));
        assert!(!trouble.sentence().contains("tcp"));
    }
}
