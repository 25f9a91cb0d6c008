//! The servers of a node.

use core::fmt;
use std::sync::Arc;

use tracing::debug;

use super::resolve::Place;
use super::shared::Core;
use super::url::{Host, ServerUrl, UrlError};
use crate::stun::{CredentialsTooLong, LongTerm};
use crate::{Server, Turn};

/// Why a TURN server cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerError {
    /// The URL is not one of a TURN server.
    Url(UrlError),
    /// Username or password is too long: use others.
    Credentials(CredentialsTooLong),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Credentials(error) => write!(f, "{error}; use shorter ones"),
        }
    }
}

impl core::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Credentials(error) => Some(error),
        }
    }
}

impl From<UrlError> for ServerError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl From<CredentialsTooLong> for ServerError {
    fn from(error: CredentialsTooLong) -> Self {
        Self::Credentials(error)
    }
}

/// A server as the application gave it.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) url: ServerUrl,
    /// Username and password at a TURN server.
    pub(super) login: Option<LongTerm>,
}

impl Asked {
    /// What the endpoint is told of one of the places where the server is. Its name is what the
    /// application wrote, whatever DNS said on the way. [rfc8489-6.2.3-10]
    fn server(&self, (transport, address): Place, group: u32) -> Server {
        let server = match &self.login {
            None => Server::stun(address),
            Some(login) => Server::turn(address, transport, login.clone()),
        };
        let mut server = server.in_group(group);
        if let Some(Turn { name, .. }) = &mut server.turn {
            *name = match self.url.host() {
                Host::Ip(_) => None,
                Host::Name(host) => Some(Arc::from(host.as_str())),
            };
        }
        server
    }
}

impl Core {
    /// Tells the endpoint of the servers: those of one host are a group. Returns the ones whose
    /// names have no address.
    pub(super) fn add_servers(
        &mut self,
        servers: Vec<Asked>,
        places: Vec<Vec<Place>>,
    ) -> Vec<ServerUrl> {
        let now = self.clock.now();
        let mut hosts: Vec<Host> = Vec::new();
        let mut unresolved = Vec::new();
        for (asked, places) in servers.into_iter().zip(places) {
            if places.is_empty() {
                debug!(url = %asked.url, "server name not resolved");
                unresolved.push(asked.url);
                continue;
            }
            let host = asked.url.host();
            let group = hosts.iter().position(|known| known.is_same(host)).unwrap_or_else(|| {
                hosts.push(host.clone());
                hosts.len() - 1
            });
            for place in places {
                let group = u32::try_from(group).unwrap_or(u32::MAX);
                let id = self.endpoint.add_server(now, asked.server(place, group));
                self.servers.insert(id, place);
            }
        }
        unresolved
    }
}
