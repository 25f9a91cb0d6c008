//! From the URLs of servers to their addresses. [RFC 8489 §8.1] [RFC 5928]
//!
//! An address is used as it is, a name is asked for its A and AAAA records at the port of the URL or
//! the default one. With the feature `srv` a name without a port is asked for SRV records first; what
//! DNS answers is never a name that a certificate has to be for. Names below `.local` are mDNS and
//! are not resolved here.

use core::future::Future;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use tracing::debug;

use super::url::{Host, STUN_PORT, STUNS_PORT, ServerUrl};
use crate::net::Transport;

/// How long the names of servers may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(3);
/// Addresses used of one name, per family.
const MAX_ADDRESSES_PER_NAME: usize = 2;
/// Targets of SRV records used.
#[cfg(feature = "srv")]
const MAX_TARGETS: usize = 4;

/// How a server is reached, and where.
pub(super) type Place = (Transport, SocketAddr);

/// Resolves the servers all at once, in bounded time; what is not resolved has no places.
pub(super) async fn resolve(urls: &[ServerUrl]) -> Vec<Vec<Place>> {
    let resolver = Resolver::new(urls);
    let lookups: Vec<_> = urls
        .iter()
        .map(|url| {
            let (url, resolver) = (url.clone(), resolver.clone());
            tokio::spawn(async move { resolver.places(&url).await })
        })
        .collect();
    let mut resolved = Vec::new();
    for lookup in lookups {
        resolved.push(lookup.await.unwrap_or_default());
    }
    resolved
}

const fn default_port(transport: Transport) -> u16 {
    if transport.is_secure() { STUNS_PORT } else { STUN_PORT }
}

impl ServerUrl {
    fn transports(&self) -> &[Transport] {
        match self {
            Self::Stun(url) if url.is_secure() => &[Transport::Tls],
            Self::Stun(_) => &[Transport::Udp],
            Self::Turn(url) => url.transports(),
        }
    }
}

/// What answers questions about names.
#[derive(Clone, Default)]
struct Resolver {
    #[cfg(feature = "srv")]
    dns: Option<hickory_resolver::TokioResolver>,
}

impl Resolver {
    /// Uses what the system is configured to use.
    #[cfg(feature = "srv")]
    fn new(urls: &[ServerUrl]) -> Self {
        let asks = |url: &ServerUrl| url.port().is_none() && matches!(url.host(), Host::Name(_));
        if !urls.iter().any(asks) {
            return Self::default();
        }
        match hickory_resolver::TokioResolver::builder_tokio() {
            Ok(builder) => Self::with(builder),
            Err(error) => {
                debug!(%error, "the system names no DNS server");
                Self::default()
            }
        }
    }

    #[cfg(feature = "srv")]
    fn with(mut builder: srv::Builder) -> Self {
        let options = builder.options_mut();
        // Both families, whichever answers. [rfc8489-8.1-3]
        options.ip_strategy = hickory_resolver::config::LookupIpStrategy::Ipv4AndIpv6;
        Self { dns: builder.build().ok() }
    }

    #[cfg(not(feature = "srv"))]
    fn new(_urls: &[ServerUrl]) -> Self {
        Self::default()
    }

    /// Where a server is, for each of its transports. [rfc8489-8.1-p1] [rfc8656-5-p2]
    async fn places(&self, url: &ServerUrl) -> Vec<Place> {
        match url.host() {
            Host::Ip(ip) => at_port(url, &[*ip]),
            Host::Name(name) if is_mdns(name) => Vec::new(),
            Host::Name(name) => self.named(url, name, lookup(name)).await,
        }
    }

    /// What SRV records say where the URL gives no port, else the addresses of the name.
    /// [rfc8489-8.1-p1] [rfc7064-3.2-p1] [rfc7065-3.2-p1]
    async fn named(
        &self,
        url: &ServerUrl,
        name: &str,
        addresses: impl Future<Output = Vec<IpAddr>>,
    ) -> Vec<Place> {
        if url.port().is_some() {
            return at_port(url, &addresses.await);
        }
        let transports = url.transports();
        let (services, ips) = tokio::join!(self.services(url, name, transports), addresses);
        let without = at_port(url, &ips);
        let mut places = Vec::new();
        for (transport, found) in transports.iter().zip(services) {
            match found {
                Some(found) => places.extend(found.into_iter().map(|at| (*transport, at))),
                None => places.extend(without.iter().filter(|(of, _)| of == transport)),
            }
        }
        places
    }

    /// What SRV records say of each transport; `None` where there are none.
    #[cfg(feature = "srv")]
    async fn services(
        &self,
        url: &ServerUrl,
        name: &str,
        transports: &[Transport],
    ) -> Vec<Option<Vec<SocketAddr>>> {
        let service = match url {
            ServerUrl::Stun(_) => "stun",
            ServerUrl::Turn(_) => "turn",
        };
        let Some(dns) = &self.dns else { return vec![None; transports.len()] };
        let lookups: Vec<_> = transports
            .iter()
            .map(|transport| {
                let query = srv::query(service, *transport, name);
                let dns = dns.clone();
                tokio::spawn(tokio::time::timeout(RESOLVE, srv::lookup(dns, query)))
            })
            .collect();
        let mut found = Vec::new();
        for lookup in lookups {
            found.push(lookup.await.ok().and_then(Result::ok).flatten());
        }
        found
    }

    #[cfg(not(feature = "srv"))]
    async fn services(
        &self,
        _url: &ServerUrl,
        _name: &str,
        transports: &[Transport],
    ) -> Vec<Option<Vec<SocketAddr>>> {
        vec![None; transports.len()]
    }
}

/// The addresses at the port of the URL or the default one, for each transport.
fn at_port(url: &ServerUrl, ips: &[IpAddr]) -> Vec<Place> {
    let mut places = Vec::new();
    for transport in url.transports() {
        let port = url.port().unwrap_or(default_port(*transport));
        places.extend(ips.iter().map(|ip| (*transport, SocketAddr::new(*ip, port))));
    }
    places
}

/// Whether a name is of mDNS, which DNS servers are not to be asked.
fn is_mdns(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("local")
}

/// Asks the system for addresses, of both families. [rfc8489-8.1-3]
async fn lookup(name: &str) -> Vec<IpAddr> {
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await;
    match found {
        Ok(Ok(addresses)) => of_each_family(addresses.map(|address| address.ip())),
        Ok(Err(error)) => {
            debug!(name, %error, "not resolved");
            Vec::new()
        }
        Err(_) => {
            debug!(name, "not resolved in time");
            Vec::new()
        }
    }
}

/// The first addresses of each family.
fn of_each_family(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let all: Vec<IpAddr> = all.collect();
    let of = |family: fn(&IpAddr) -> bool| {
        all.iter().filter(move |ip| family(ip)).take(MAX_ADDRESSES_PER_NAME).copied()
    };
    of(IpAddr::is_ipv4).chain(of(IpAddr::is_ipv6)).collect()
}

/// SRV records. [RFC 2782]
#[cfg(feature = "srv")]
mod srv {
    use std::net::SocketAddr;

    use hickory_resolver::TokioResolver;
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{RData, RecordType};

    /// What a resolver is made of.
    pub(super) type Builder =
        hickory_resolver::ResolverBuilder<hickory_resolver::net::runtime::TokioRuntimeProvider>;

    use super::{MAX_TARGETS, is_mdns, of_each_family};
    use crate::net::Transport;

    /// The name to ask for: `_turns._tcp.example.org.`, absolute, so that no search list is tried.
    pub(super) fn query(service: &str, transport: Transport, name: &str) -> String {
        let secure = if transport.is_secure() { "s" } else { "" };
        let protocol = if transport.is_stream() { "tcp" } else { "udp" };
        let dot = if name.ends_with('.') { "" } else { "." };
        format!("_{service}{secure}._{protocol}.{name}{dot}")
    }

    /// The addresses of the targets, the preferred ones first; `None` if there are no records, and
    /// none at all where the records say that there is no such service. [rfc8489-8.1-2]
    /// [rfc8445-5.1.1.2-3]
    pub(super) async fn lookup(dns: TokioResolver, query: String) -> Option<Vec<SocketAddr>> {
        let found = dns.lookup(query, RecordType::SRV).await.ok()?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign")]
        let records = found.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv.clone()),
            _ => None,
        });
        let records = in_order(records.collect(), draw);
        if records.is_empty() {
            return None;
        }
        let mut places = Vec::new();
        for srv in records.into_iter().take(MAX_TARGETS) {
            let target = srv.target.to_ascii();
            if srv.target.is_root() || srv.port == 0 || is_mdns(&target) {
                continue;
            }
            let Ok(found) = dns.lookup_ip(target).await else { continue };
            for ip in of_each_family(found.iter()) {
                places.push(SocketAddr::new(ip, srv.port));
            }
        }
        Some(places)
    }

    /// A number below `bound`.
    fn draw(bound: u32) -> u32 {
        getrandom::u32().unwrap_or(0) % bound.max(1)
    }

    /// The order in which targets are to be tried: by priority, and within one by chance, the
    /// heavier the sooner. [RFC 2782]
    pub(super) fn in_order(mut records: Vec<SRV>, mut draw: impl FnMut(u32) -> u32) -> Vec<SRV> {
        records.sort_by_key(|srv| (srv.priority, srv.weight));
        let mut ordered = Vec::with_capacity(records.len());
        while let Some(priority) = records.first().map(|srv| srv.priority) {
            let alike = records.iter().take_while(|srv| srv.priority == priority);
            let total: u32 = alike.clone().map(|srv| u32::from(srv.weight)).sum();
            let chosen = draw(total.saturating_add(1));
            let mut sum = 0;
            let at = alike.clone().position(|srv| {
                sum += u32::from(srv.weight);
                sum >= chosen
            });
            ordered.push(records.remove(at.unwrap_or(0)));
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: &str) -> ServerUrl {
        ServerUrl::Turn(text.parse().unwrap())
    }

    /// [rfc8489-8.1-p1] [rfc7064-3.2-p1] [rfc7065-3.2-p1] [rfc8656-5-p2]
    #[tokio::test]
    async fn an_address_is_contacted_at_its_port_or_the_default_one() {
        let resolver = Resolver::default();
        for (text, places) in [
            ("turn:192.0.2.1", vec![(Transport::Udp, 3478), (Transport::Tcp, 3478)]),
            ("turn:192.0.2.1:9", vec![(Transport::Udp, 9), (Transport::Tcp, 9)]),
            ("turn:192.0.2.1?transport=tcp", vec![(Transport::Tcp, 3478)]),
            ("turns:192.0.2.1", vec![(Transport::Tls, 5349)]),
            ("turns:192.0.2.1?transport=udp", vec![(Transport::Dtls, 5349)]),
        ] {
            let place = |(t, port)| (t, SocketAddr::from(([192, 0, 2, 1], port)));
            let places: Vec<Place> = places.into_iter().map(place).collect();
            assert_eq!(resolver.places(&turn(text)).await, places, "{text}");
        }
        let stun = ServerUrl::Stun("stun:[2001:db8::1]".parse().unwrap());
        let place = (Transport::Udp, "[2001:db8::1]:3478".parse().unwrap());
        assert_eq!(resolver.places(&stun).await, [place]);
    }

    #[tokio::test]
    async fn names_below_local_are_asked_of_nobody() {
        for name in ["turn:relay.local", "turn:relay.LOCAL.:3478", "turn:local"] {
            assert_eq!(Resolver::default().places(&turn(name)).await, []);
        }
        assert!(!is_mdns("local.example"));
    }

    /// [rfc8489-8.1-3]
    #[test]
    fn of_many_addresses_some_of_each_family_are_used() {
        let v4 = (1..9).map(|n| IpAddr::from([192, 0, 2, n]));
        let v6 = (1..9).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
        let some = of_each_family(v4.chain(v6));
        assert_eq!(some.iter().filter(|ip| ip.is_ipv4()).count(), MAX_ADDRESSES_PER_NAME);
        assert_eq!(some.len(), 2 * MAX_ADDRESSES_PER_NAME);
    }

    #[cfg(feature = "srv")]
    mod with_srv {
        use std::net::Ipv4Addr;
        use std::sync::{Arc, Mutex};

        use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
        use hickory_resolver::net::runtime::TokioRuntimeProvider;
        use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
        use hickory_resolver::proto::rr::rdata::{A, SRV};
        use hickory_resolver::proto::rr::{Name, RData, Record};
        use tokio::net::UdpSocket;

        use super::super::*;
        use super::turn;

        fn name(text: &str) -> Name {
            Name::from_ascii(text).unwrap()
        }

        fn record(of: &str, data: RData) -> Record {
            Record::from_rdata(name(of), 60, data)
        }

        fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
            RData::SRV(SRV::new(priority, weight, port, name(target)))
        }

        /// A resolver whose one DNS server is in this process and knows `records` alone; and what
        /// it was asked.
        async fn resolver(records: Vec<Record>) -> (Resolver, Arc<Mutex<Vec<String>>>) {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let port = socket.local_addr().unwrap().port();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&asked);
            drop(tokio::spawn(async move {
                let mut buf = [0; 2048];
                loop {
                    let (len, from) = socket.recv_from(&mut buf).await.unwrap();
                    let query = Message::from_vec(&buf[..len]).unwrap();
                    let question = query.queries[0].clone();
                    let kind = question.query_type();
                    log.lock().unwrap().push(format!("{} {kind}", question.name()));
                    let mut answer = Message::response(query.metadata.id, OpCode::Query);
                    let same = |r: &&Record| r.name == *question.name() && r.record_type() == kind;
                    let found: Vec<Record> = records.iter().filter(same).cloned().collect();
                    if found.is_empty() {
                        answer.metadata.response_code = ResponseCode::NXDomain;
                    }
                    answer.add_query(question.clone());
                    answer.add_answers(found);
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }));
            let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
            server.connections[0].port = port;
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder =
                hickory_resolver::TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            (Resolver::with(builder), asked)
        }

        fn place(transport: Transport, ip: [u8; 4], port: u16) -> Place {
            (transport, SocketAddr::from((ip, port)))
        }

        /// [rfc8489-8.1-p1] [rfc8489-8.1-2] [rfc7065-3.2-p1] [rfc8445-5.1.1.2-3] [rfc8656-5-p2]
        #[tokio::test]
        async fn without_a_port_srv_records_say_where_each_transport_is() {
            let (resolver, asked) = resolver(vec![
                record("_turn._udp.relay.test.", srv(20, 0, 1002, "b.test.")),
                record("_turn._udp.relay.test.", srv(10, 0, 1001, "a.test.")),
                record("_turn._tcp.relay.test.", srv(10, 0, 443, "a.test.")),
                record("_turns._tcp.relay.test.", srv(10, 0, 444, "b.test.")),
                record("a.test.", RData::A(A::new(192, 0, 2, 1))),
                record("b.test.", RData::A(A::new(192, 0, 2, 2))),
            ])
            .await;
            let places = resolver.places(&turn("turn:relay.test")).await;
            let expected = [
                place(Transport::Udp, [192, 0, 2, 1], 1001),
                place(Transport::Udp, [192, 0, 2, 2], 1002),
                place(Transport::Tcp, [192, 0, 2, 1], 443),
            ];
            assert_eq!(places, expected);
            let places = resolver.places(&turn("turns:relay.test")).await;
            assert_eq!(places, [place(Transport::Tls, [192, 0, 2, 2], 444)]);
            assert!(asked.lock().unwrap().contains(&"a.test. AAAA".to_owned()));
        }

        #[tokio::test]
        async fn with_a_port_or_an_address_no_srv_record_is_asked_for() {
            let (resolver, asked) = resolver(Vec::new()).await;
            let _ = resolver.places(&turn("turn:127.0.0.1")).await;
            let _ = resolver.places(&turn("turn:localhost:3478")).await;
            assert_eq!(asked.lock().unwrap().len(), 0);
        }

        /// What the system would say of a name.
        async fn addresses() -> Vec<IpAddr> {
            vec![IpAddr::from([192, 0, 2, 9])]
        }

        /// [rfc8489-8.1-p1]
        #[tokio::test]
        async fn without_srv_records_the_addresses_at_the_default_port_count() {
            let (resolver, asked) = resolver(Vec::new()).await;
            let url = turn("turns:relay.test");
            let places = resolver.named(&url, "relay.test", addresses()).await;
            assert_eq!(places, [place(Transport::Tls, [192, 0, 2, 9], 5349)]);
            assert_eq!(asked.lock().unwrap()[0], "_turns._tcp.relay.test. SRV");
        }

        #[tokio::test]
        async fn a_service_that_is_said_not_to_exist_is_not_looked_for_elsewhere() {
            let records = vec![record("_turn._udp.relay.test.", srv(0, 0, 0, "."))];
            let (resolver, _) = resolver(records).await;
            let places = resolver.named(&turn("turn:relay.test"), "relay.test", addresses()).await;
            assert_eq!(places, [place(Transport::Tcp, [192, 0, 2, 9], 3478)]);
        }

        #[test]
        fn targets_are_tried_by_priority_and_the_heavier_sooner() {
            let record = |priority, weight, port| SRV::new(priority, weight, port, name("a.test."));
            let records =
                vec![record(2, 9, 4), record(1, 60, 3), record(1, 0, 1), record(1, 40, 2)];
            let ports = |draw: fn(u32) -> u32| {
                let ordered = super::super::srv::in_order(records.clone(), draw);
                ordered.into_iter().map(|srv| srv.port).collect::<Vec<_>>()
            };
            assert_eq!(ports(|_| 0), [1, 2, 3, 4]);
            assert_eq!(ports(|bound| bound - 1), [3, 2, 1, 4]);
        }
    }
}
