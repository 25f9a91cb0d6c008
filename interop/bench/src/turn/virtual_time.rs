//! How many round trips an allocation takes.

use std::time::Duration;

use turn_client_proto::api::TurnClientApi;

use super::server::{Memory, floe_client, floe_flight, floe_time, proto_client, proto_flight};
use crate::report::{Report, Table};

const RTT: Duration = Duration::from_millis(50);
/// More than anybody takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Moves the time on, a round trip for each flight and a millisecond where there is none, until
/// `step` says that it is done.
fn round_trips(mut step: impl FnMut(Duration) -> (bool, bool)) -> f64 {
    let mut now = Duration::ZERO;
    while now < PATIENCE {
        let (sent, done) = step(now);
        now += if sent { RTT } else { Duration::from_millis(1) };
        if done {
            return now.as_secs_f64() / RTT.as_secs_f64();
        }
    }
    f64::INFINITY
}

/// Runs the part.
pub fn run(report: &mut Report) {
    let mut server = Memory::new();
    let mut first = floe_client(None);
    let cold = round_trips(|now| {
        let sent = floe_flight(&mut first, &mut server, now, RTT);
        (sent, first.relayed().next().is_some())
    });
    // The same 5-tuple again, once the server has it back.
    let credentials = first.credentials().clone();
    first.close(floe_time(2 * RTT));
    floe_flight(&mut first, &mut server, 2 * RTT, Duration::ZERO);
    let mut second = floe_client(Some(credentials));
    let warm = round_trips(|now| {
        let sent = floe_flight(&mut second, &mut server, now, RTT);
        (sent, second.relayed().next().is_some())
    });
    let (mut peer, mut server) = (proto_client(), Memory::new());
    let proto = round_trips(|now| {
        let sent = proto_flight(&mut peer, &mut server, now, RTT);
        (sent, peer.relayed_addresses().next().is_some())
    });

    println!("\n### Round trips to a relayed address, virtual time\n");
    Table::begin(&["client", "round trips"]);
    Table::row(&["floe", &format!("{cold:.2}")]);
    Table::row(&["floe, with the nonce of an allocation before", &format!("{warm:.2}")]);
    Table::row(&["turn-client-proto 0.7", &format!("{proto:.2}")]);
    report.headline(
        "round trips to a relayed address, virtual time",
        &format!("{proto:.2} (turn-client-proto 0.7)"),
        "2 (1 with a nonce)",
        &format!("{cold:.2}, with the nonce from before {warm:.2}"),
        "2, 1",
    );
    report.gate("round trips to a relayed address", Some(cold), 2.0);
    report.gate("round trips with the nonce from before", Some(warm), 1.0);
}
