//! What the program is started with.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Who nominates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Controlling,
    Controlled,
}

/// Which addresses are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    /// Whether `ip` is of this family.
    pub fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

/// A TURN server that is reached over UDP.
#[derive(Clone, Debug)]
pub struct Relay {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
}

impl Relay {
    /// `HOST:PORT,USER,PASSWORD`
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ',');
        let (place, user, password) = (parts.next()?, parts.next()?, parts.next()?);
        let (host, port) = place.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.parse().ok()?;
        Some(Self { host, port, user: user.to_owned(), password: password.to_owned() })
    }

    /// The host as a URL has it.
    pub fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// Where the server is.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found = found.map_err(|error| format!("{} is not found: {error}", self.host))?;
        found.into_iter().next().ok_or_else(|| format!("{} has no address", self.host))
    }
}

/// The arguments after the name of the library.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub role: Role,
    pub family: Family,
    pub lite: bool,
    pub relay: Option<Relay>,
}

impl Arguments {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut role, mut family, mut lite, mut relay) = (None, Family::Any, false, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
            match word.as_str() {
                "--role" => role = Some(parse_role(&value()?)?),
                "--family" => family = parse_family(&value()?)?,
                "--lite" => lite = true,
                "--relay" => relay = Some(parse_relay(&value()?)?),
                _ => return Err(format!("there is no argument {word}")),
            }
        }
        let role = role.ok_or("--role controlling or --role controlled is missing")?;
        Ok(Self { role, family, lite, relay })
    }

    pub fn is_controlling(&self) -> bool {
        self.role == Role::Controlling
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    match text {
        "controlling" => Ok(Role::Controlling),
        "controlled" => Ok(Role::Controlled),
        _ => Err("a role is controlling or controlled".into()),
    }
}

fn parse_family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err("a family is 4 or 6".into()),
    }
}

fn parse_relay(text: &str) -> Result<Relay, String> {
    Relay::parse(text).ok_or_else(|| "--relay takes HOST:PORT,USER,PASSWORD".into())
}
