//! The driver over real sockets on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "tokio")]

#[path = "driver_turn/talk.rs"]
mod talk;

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floe::config::{DataClass, EndpointConfig, Gathering, Mode, Role, Trickle};
use floe::driver::{
    AddressSource, BindError, ConnectError, Events, InterfaceError, NodeBuilder, PathFilter,
    SignalRejected, TransmitError,
};
use floe::signaling::memory::{self, Memory};
use floe::signaling::{CandidateInit, Signal, SignalingExt};
use floe::{AgentState, Connection, ConnectionEvent, Node};
use talk::{bounded, connect, say};

fn loopback() -> NodeBuilder {
    Node::builder().address("127.0.0.1:0".parse().unwrap())
}

async fn node() -> Node {
    loopback().bind().await.unwrap()
}

async fn until(events: &mut Events, wanted: impl Fn(&ConnectionEvent) -> bool) -> ConnectionEvent {
    bounded(async {
        loop {
            let event = events.next().await.expect("closed");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

async fn tasks_fall_to(count: usize) {
    let metrics = tokio::runtime::Handle::current().metrics();
    bounded(async {
        while metrics.num_alive_tasks() > count {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(metrics.num_alive_tasks(), count);
}

fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[tokio::test]
async fn two_nodes_connect_and_talk() {
    let (left, right) = (node().await, node().await);
    let (left, right) = connect(&left, &right).await;
    say(&left, &right, b"hello").await;
    say(&right, &left, b"hello yourself").await;
    let pair = left.selected();
    assert!(pair.is_none_or(|pair| pair.base.ip().is_loopback()));
}

#[tokio::test]
async fn both_sides_select_the_same_pair_and_measure_it() {
    let (left, right) = (node().await, node().await);
    let (left, right) = connect(&left, &right).await;
    for connection in [&left, &right] {
        let mut events = connection.events();
        until(&mut events, |event| matches!(event, ConnectionEvent::Selected(_))).await;
    }
    let (near, far) = (left.selected().unwrap(), right.selected().unwrap());
    assert_eq!((near.base, near.remote.address), (far.remote.address, far.base));
    assert!(near.rtt.is_some());
    assert_eq!(left.stats().pairs.iter().filter(|pair| pair.selected).count(), 1);
}

#[tokio::test]
async fn many_connections_of_two_nodes_share_their_sockets() {
    let (left, right) = (node().await, node().await);
    let mut pairs = Vec::new();
    for _ in 0..30 {
        pairs.push(connect(&left, &right).await);
    }
    assert_eq!((left.local_addresses().len(), right.local_addresses().len()), (1, 1));
    for (near, far) in &pairs {
        assert!(near.selected().is_some() || near.state() == AgentState::Connected);
        assert!(far.state() != AgentState::Failed);
    }
}

#[tokio::test]
async fn data_that_belongs_to_two_connections_alike_is_counted() {
    let (left, right) = (node().await, node().await);
    let (near, _far) = connect(&left, &right).await;
    let (_near, _other) = connect(&left, &right).await;
    bounded(async {
        while right.driver_stats().unclaimed == 0 {
            near.send(b"whose?").await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_of_one_node_to_many_peers_keep_their_data_apart() {
    let hub = node().await;
    let mut pairs = Vec::new();
    for n in b'a'..=b'h' {
        let spoke = node().await;
        pairs.push((n, connect(&hub, &spoke).await));
    }
    for (n, (near, far)) in &pairs {
        say(near, far, &[*n]).await;
        say(far, near, &[*n, *n]).await;
    }
    assert_eq!(hub.local_addresses().len(), 1);
}

#[tokio::test]
async fn dropping_the_last_handle_leaves_nothing_behind() {
    let (left, right) = (node().await, node().await);
    let addresses = [left.local_addresses(), right.local_addresses()].concat();
    let (near, far) = connect(&left, &right).await;
    let again = near.clone();
    drop((left, right, near));
    assert_ne!(again.state(), AgentState::Closed);
    say(&again, &far, b"still here").await;
    drop((again, far));
    tasks_fall_to(0).await;
    assert!(addresses.into_iter().all(is_free));
}

#[tokio::test]
async fn a_connection_that_never_came_about_leaves_nothing_behind() {
    let node = node().await;
    let (near, far) = memory::pair(1);
    let waiting = node.accept(near);
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
    drop((node, far));
    tasks_fall_to(0).await;
}

#[tokio::test]
async fn close_is_clean() {
    let (left, right) = (node().await, node().await);
    let address = left.local_addresses()[0];
    let (near, far) = connect(&left, &right).await;
    near.close().await;
    assert_eq!(near.state(), AgentState::Closed);
    assert_eq!(near.send(b"late").await, Err(TransmitError::Closed));
    assert!(near.recv(&mut [0; 8]).await.is_err());
    assert_eq!(near.ready().await, Err(ConnectError::Closed));
    let mut events = near.events();
    until(&mut events, |event| *event == ConnectionEvent::State(AgentState::Closed)).await;
    assert_eq!(events.next().await, None);
    left.close().await;
    assert!(is_free(address));
    right.close().await;
    assert_eq!(far.state(), AgentState::Closed);
    let (near, _far) = memory::pair(1);
    assert_eq!(left.connect(near).await.unwrap_err(), ConnectError::Closed);
    tasks_fall_to(0).await;
}

#[tokio::test]
async fn a_restart_makes_a_new_generation_and_loses_no_data_path() {
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    for restarts in [&near, &far] {
        let (mut near_events, mut far_events) = (near.events(), far.events());
        until(&mut near_events, |event| matches!(event, ConnectionEvent::Selected(_))).await;
        until(&mut far_events, |event| matches!(event, ConnectionEvent::Selected(_))).await;
        restarts.restart().await;
        say(&near, &far, b"during the restart").await;
        say(&far, &near, b"the same back").await;
    }
    until(&mut near.events(), |event| matches!(event, ConnectionEvent::Selected(_))).await;
    say(&near, &far, b"after it").await;
}

/// The answer to the first offer must not be taken for that to the second.
#[tokio::test]
async fn a_restart_before_the_answer_waits_for_it() {
    let (near, mut near_out, far, mut far_out) = by_hand().await;
    let mut events = near.events();
    let (mut offers, mut restarts, mut restarted) = (0, 0, false);
    let mut count = |event: &ConnectionEvent| {
        assert!(!matches!(event, ConnectionEvent::SignalRejected(_)), "{event:?}");
        restarts += usize::from(*event == ConnectionEvent::Restarting { by_peer: false });
    };
    bounded(async {
        while offers < 2 || near.state() != AgentState::Completed {
            tokio::select! {
                Some(Ok(signal)) = near_out.recv() => {
                    if matches!(signal, Signal::Offer { .. }) {
                        offers += 1;
                    }
                    if !restarted {
                        restarted = true;
                        near.restart().await;
                        near.restart().await;
                    }
                    far_out.send(signal).await.unwrap();
                }
                Some(Ok(signal)) = far_out.recv() => near_out.send(signal).await.unwrap(),
                Some(event) = events.next() => count(&event),
            }
        }
    })
    .await;
    assert_eq!(offers, 2);
    say(&near, &far, b"one exchange after the other").await;
    near.close().await;
    while let Some(event) = events.next().await {
        count(&event);
    }
    assert_eq!(restarts, 1);
}

#[tokio::test]
async fn fresh_sockets_escape_a_dead_path() {
    let dead = Arc::new(Mutex::new(None::<SocketAddr>));
    let filter: PathFilter = {
        let dead = Arc::clone(&dead);
        Arc::new(move |local, _| *dead.lock().unwrap() != Some(local))
    };
    let left = loopback().path_filter(filter).bind().await.unwrap();
    let right = node().await;
    let (near, far) = connect(&left, &right).await;
    let before = left.local_addresses();
    *dead.lock().unwrap() = Some(before[0]);
    near.rebind().await;
    assert_ne!(left.local_addresses(), before);
    let told = |event: &ConnectionEvent| match event {
        ConnectionEvent::Selected(pair) => pair.base != before[0],
        _ => false,
    };
    until(&mut near.events(), told).await;
    say(&near, &far, b"back").await;
    say(&far, &near, b"again").await;
    assert!(is_free(before[0]));
}

#[tokio::test]
async fn a_port_that_was_named_stays_bound() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let named = free.local_addr().unwrap();
    drop(free);
    let left = Node::builder().address(named).bind().await.unwrap();
    let right = node().await;
    let (near, far) = connect(&left, &right).await;
    near.rebind().await;
    assert!(left.local_addresses().contains(&named));
    bounded(near.ready()).await.unwrap();
    say(&near, &far, b"hello").await;
}

#[tokio::test]
async fn sockets_that_another_connection_still_checks_on_stay() {
    let (left, right, third) = (node().await, node().await, node().await);
    let (near, _far) = connect(&left, &right).await;
    let before = left.local_addresses();
    let (inside, mut outside) = memory::pair(16);
    let slow = left.open(left.agent_config(Role::Controlling), inside);
    let Some(Ok(offer)) = bounded(outside.recv()).await else { panic!("no offer") };
    for _ in 0..3 {
        near.rebind().await;
    }
    assert!(before.iter().all(|address| left.local_addresses().contains(address)));
    let (inside, mut peer) = memory::pair(16);
    let other = third.open(third.agent_config(Role::Controlled), inside);
    bounded(async {
        peer.send(offer).await.unwrap();
        let Some(Ok(answer)) = peer.recv().await else { panic!("no answer") };
        outside.send(answer).await.unwrap();
        tokio::try_join!(slow.ready(), other.ready()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn after_rebinding_ready_waits_until_data_can_be_sent() {
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    for _ in 0..3 {
        near.rebind().await;
        let bound = left.local_addresses();
        assert!(near.selected().is_none_or(|pair| bound.contains(&pair.base)));
        bounded(near.ready()).await.unwrap();
        assert_eq!(near.send(b"hello").await, Ok(()));
        say(&near, &far, b"hello").await;
    }
}

#[tokio::test]
async fn after_a_failure_and_a_restart_ready_waits_for_the_new_checks() {
    let open = Arc::new(Mutex::new(false));
    let filter: PathFilter = {
        let open = Arc::clone(&open);
        Arc::new(move |_, _| *open.lock().unwrap())
    };
    let quick = |node: NodeBuilder| {
        node.auto_restart(false).agent(|agent| {
            agent.patience = Duration::from_millis(100);
            (agent.retransmission.rc, agent.retransmission.rm) = (2, 1);
        })
    };
    let left = quick(loopback()).path_filter(filter).bind().await.unwrap();
    let right = quick(loopback()).bind().await.unwrap();
    let (near, far) = memory::pair(16);
    let near = left.open(left.agent_config(Role::Controlling), near);
    let _far = right.open(right.agent_config(Role::Controlled), far);
    let failed = bounded(near.ready()).await;
    assert!(matches!(failed, Err(ConnectError::Failed(_))), "{failed:?}");
    *open.lock().unwrap() = true;
    near.restart().await;
    assert_ne!(near.state(), AgentState::Failed);
    bounded(near.ready()).await.unwrap();
}

#[tokio::test]
async fn without_trickle_two_messages_are_enough() {
    let half = || loopback().agent(|agent| agent.trickle = Trickle::Half);
    let (left, right) = (half().bind().await.unwrap(), half().bind().await.unwrap());
    let (near, mut near_out) = memory::pair(4);
    let (far, mut far_out) = memory::pair(4);
    let near = left.open(left.agent_config(Role::Controlling), near);
    let far = right.open(right.agent_config(Role::Controlled), far);
    bounded(async {
        far_out.send(near_out.recv().await.unwrap().unwrap()).await.unwrap();
        near_out.send(far_out.recv().await.unwrap().unwrap()).await.unwrap();
        near.ready().await.unwrap();
        far.ready().await.unwrap();
    })
    .await;
    say(&near, &far, b"hello").await;
}

#[tokio::test]
async fn two_offers_at_once_end_in_one_connection() {
    let (left, right) = (node().await, node().await);
    let (near, far) = memory::pair(16);
    let (near, far) =
        bounded(async { tokio::try_join!(left.connect(near), right.connect(far)) }).await.unwrap();
    say(&near, &far, b"hello").await;
    say(&far, &near, b"hello").await;
}

#[tokio::test]
async fn the_end_of_signalling_before_the_answer_is_an_error_at_once() {
    let node = node().await;
    let (near, far) = memory::pair(4);
    drop(far);
    let outcome = bounded(node.connect(near)).await;
    assert_eq!(outcome.unwrap_err(), ConnectError::SignalingEnded);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_reported_in_time() {
    let node = loopback().connect_timeout(Duration::from_millis(50)).bind().await.unwrap();
    let (near, _far) = memory::pair(16);
    let Err(ConnectError::TimedOut(report)) = bounded(node.connect(near)).await else {
        panic!("not timed out");
    };
    assert!(!report.described);
    assert!(report.to_string().contains("never came"));
}

/// Hands `signal` to a waiting connection and returns why it was not used.
async fn rejected(signal: Signal) -> SignalRejected {
    let node = node().await;
    let (near, mut far): (Memory, Memory) = memory::pair(4);
    let connection = node.open(node.agent_config(Role::Controlled), near);
    far.send(signal).await.unwrap();
    let told = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SignalRejected(_));
    let event = until(&mut connection.events(), told).await;
    assert_ne!(connection.state(), AgentState::Closed);
    let ConnectionEvent::SignalRejected(reason) = event else { panic!("{event:?}") };
    reason
}

#[tokio::test]
async fn a_bad_signal_is_reported_and_changes_nothing() {
    let offer = rejected(Signal::Offer { sdp: "nonsense".into() }).await;
    assert!(matches!(offer, SignalRejected::Sdp(_)));
    let answer = rejected(Signal::Answer { sdp: "v=0\r\n".into() }).await;
    assert_eq!(answer, SignalRejected::UnexpectedAnswer);
    let offer = rejected(Signal::Offer { sdp: "v=0\r\ns=-\r\nt=0 0\r\n".into() }).await;
    assert!(matches!(offer, SignalRejected::Description(_)));
}

#[tokio::test]
async fn candidates_before_the_description_are_bounded() {
    let node = node().await;
    let (near, mut far) = memory::pair(4);
    let connection = node.open(node.agent_config(Role::Controlled), near);
    let told = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SignalRejected(_));
    bounded(async {
        for _ in 0..65 {
            far.send(Signal::Candidate(CandidateInit::default())).await.unwrap();
        }
    })
    .await;
    let event = until(&mut connection.events(), told).await;
    assert_eq!(event, ConnectionEvent::SignalRejected(SignalRejected::TooEarly));
}

/// Two connections, each with what carries its signals, which the test passes on.
async fn by_hand() -> (Connection, Memory, Connection, Memory) {
    let (left, right) = (node().await, node().await);
    let (near, near_out) = memory::pair(16);
    let (far, far_out) = memory::pair(16);
    let near = left.open(left.agent_config(Role::Controlling), near);
    let far = right.open(right.agent_config(Role::Controlled), far);
    (near, near_out, far, far_out)
}

/// A bad candidate among the early ones must cost neither the others nor the answer.
#[tokio::test]
async fn a_bad_early_candidate_is_reported_and_the_offer_is_answered() {
    let (near, mut near_out, far, mut far_out) = by_hand().await;
    let early = |text: &str| {
        Signal::Candidate(CandidateInit { candidate: text.into(), ..CandidateInit::default() })
    };
    let good = "candidate:1 1 udp 2130706431 192.0.2.7 9 typ host";
    bounded(async {
        let Some(Ok(offer)) = near_out.recv().await else { panic!("no offer") };
        let Signal::Offer { sdp } = offer else { panic!("no offer") };
        let offer = Signal::Offer { sdp: sdp.replace("a=end-of-candidates\r\n", "") };
        for text in ["candidate:nonsense", good, "candidate:worse"] {
            far_out.send(early(text)).await.unwrap();
        }
        far_out.send(offer).await.unwrap();
        let Some(Ok(answer)) = far_out.recv().await else { panic!("no answer") };
        assert!(matches!(answer, Signal::Answer { .. }));
        near_out.send(answer).await.unwrap();
        tokio::try_join!(near.ready(), far.ready()).unwrap();
    })
    .await;
    let mut events = far.events();
    until(&mut events, |event| matches!(event, ConnectionEvent::SignalRejected(_))).await;
    let good = |event: &ConnectionEvent| match event {
        ConnectionEvent::RemoteCandidate(candidate) => candidate.to_string().contains("192.0.2.7"),
        _ => false,
    };
    until(&mut events, good).await;
    until(&mut events, |event| matches!(event, ConnectionEvent::SignalRejected(_))).await;
}

/// Of two lite sides the one that controls offers once more, and names the pair that it chose.
/// [rfc8445-8.2-2] [rfc8839-4.4.1.3-6]
#[tokio::test]
async fn a_lite_side_tells_a_lite_one_what_it_chose() {
    let both = || loopback().address("[::1]:0".parse().unwrap());
    let nodes = [both().bind().await.unwrap(), both().bind().await.unwrap()];
    let [(near, mut near_out), (far, mut far_out)] =
        [(&nodes[0], Role::Controlling), (&nodes[1], Role::Controlled)].map(|(node, role)| {
            let (signaling, out) = memory::pair(16);
            let mut config = node.agent_config(role);
            config.mode = Mode::Lite;
            (node.open(config, signaling), out)
        });
    let offers = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&offers);
    tokio::spawn(async move {
        loop {
            let carried = tokio::select! {
                Some(Ok(signal)) = near_out.recv() => {
                    if let Signal::Offer { sdp } = &signal {
                        let count = |what| sdp.matches(what).count();
                        let counts = [count("a=candidate:"), count("a=remote-candidates:")];
                        heard.lock().unwrap().push(counts);
                    }
                    far_out.send(signal).await
                }
                Some(Ok(signal)) = far_out.recv() => near_out.send(signal).await,
                else => return,
            };
            carried.unwrap();
        }
    });
    let completed =
        |event: &ConnectionEvent| *event == ConnectionEvent::State(AgentState::Completed);
    let mut events = [near.events(), far.events()];
    for events in &mut events {
        until(events, completed).await;
    }
    assert_eq!(*offers.lock().unwrap(), [[2, 0], [1, 1]]);
    say(&near, &far, b"chosen").await;
    // Where the other one offers, it is told once that is answered.
    far.restart().await;
    for events in &mut events {
        until(events, completed).await;
    }
    assert_eq!(*offers.lock().unwrap(), [[2, 0], [1, 1], [1, 1]]);
    say(&near, &far, b"chosen anew").await;
}

/// Whoever offers names the streams: an answer, its candidates and later offers call them the same.
#[tokio::test]
async fn an_answer_takes_over_the_mids_of_the_offer() {
    let (near, mut near_out, far, mut far_out) = by_hand().await;
    bounded(async {
        let Some(Ok(Signal::Offer { sdp })) = near_out.recv().await else { panic!("no offer") };
        let sdp = sdp.replace("a=mid:0\r\n", "a=mid:data\r\n");
        far_out.send(Signal::Offer { sdp }).await.unwrap();
        let Some(Ok(Signal::Answer { sdp })) = far_out.recv().await else { panic!("no answer") };
        assert!(sdp.contains("a=mid:data\r\n"), "{sdp}");
        near_out.send(Signal::Answer { sdp }).await.unwrap();
        tokio::try_join!(near.ready(), far.ready()).unwrap();
        far.restart().await;
        loop {
            match far_out.recv().await {
                Some(Ok(Signal::Candidate(init))) => {
                    assert_eq!(init.sdp_mid.as_deref(), Some("data"));
                }
                Some(Ok(Signal::Offer { sdp })) => {
                    assert!(sdp.contains("a=mid:data\r\n"), "{sdp}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_answer_does_not_use_up_the_offer() {
    let (near, mut near_out, far, mut far_out) = by_hand().await;
    bounded(async {
        let Some(Ok(offer)) = near_out.recv().await else { panic!("no offer") };
        let bad = Signal::Answer { sdp: "v=0\r\ns=-\r\nt=0 0\r\n".into() };
        near_out.send(bad).await.unwrap();
        let told = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SignalRejected(_));
        let event = until(&mut near.events(), told).await;
        let rejected = ConnectionEvent::SignalRejected;
        assert_ne!(event, rejected(SignalRejected::UnexpectedAnswer));
        far_out.send(offer).await.unwrap();
        let Some(Ok(answer)) = far_out.recv().await else { panic!("no answer") };
        near_out.send(answer).await.unwrap();
        tokio::try_join!(near.ready(), far.ready()).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_datagram_that_no_path_carries_is_an_error() {
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    for length in [65_508, 65_536, 1 << 20] {
        assert_eq!(near.send(&vec![b'x'; length]).await, Err(TransmitError::TooLong));
    }
    say(&near, &far, b"shorter").await;
}

/// [rfc7983-7-1a]
#[tokio::test]
async fn data_that_the_peer_would_not_take_for_data_is_an_error() {
    let known = |config: &mut EndpointConfig| config.data_class = DataClass::KnownProtocol;
    let left = loopback().endpoint(known).bind().await.unwrap();
    let right = loopback().endpoint(known).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    for first in 0..16 {
        assert_eq!(near.send(&[first, b'x']).await, Err(TransmitError::NotData));
    }
    assert_eq!(near.send(b"").await, Err(TransmitError::NotData));
    for first in 16..=255 {
        say(&near, &far, &[first, b'x']).await;
    }
}

#[tokio::test]
async fn data_may_begin_with_any_octet_but_not_as_stun_does() {
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    for first in 0..=255 {
        say(&near, &far, &[first, b'x']).await;
    }
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    assert_eq!(near.send(&stun).await, Err(TransmitError::NotData));
}

#[tokio::test]
async fn what_nobody_receives_is_dropped_and_counted() {
    let left = node().await;
    let right = loopback().receive_queue(4, 1 << 16).bind().await.unwrap();
    let (near, far) = connect(&left, &right).await;
    bounded(async {
        while far.dropped() == 0 {
            near.send(b"flood").await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    let kept = std::iter::from_fn(|| far.try_recv(&mut [0; 8])).count();
    assert_eq!(kept, 4);
}

#[tokio::test]
async fn before_there_is_a_pair_nothing_is_sent() {
    let node = node().await;
    let (near, _far) = memory::pair(4);
    let connection = node.open(node.agent_config(Role::Controlling), near);
    assert_eq!(connection.send(b"too early").await, Err(TransmitError::NotReady));
}

#[tokio::test]
async fn what_cannot_be_bound_says_what_to_change() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Node::builder().address(address).bind().await.unwrap_err();
    assert!(matches!(error, BindError::Socket { .. }), "{error}");
    let error = Node::builder().address("0.0.0.0:0".parse().unwrap()).bind().await.unwrap_err();
    assert!(matches!(error, BindError::NotConcrete(_)), "{error}");
    let error = Node::builder().interface("no such interface").bind().await.unwrap_err();
    let unknown = matches!(&error, BindError::Interfaces(InterfaceError::Unknown { .. }));
    assert!(unknown && error.to_string().contains("name one of"), "{error}");
    assert!(Node::builder().stun("stun://example.org").is_err());
}

/// [rfc8445-5.1.1.1-4]
#[tokio::test]
async fn a_loopback_interface_is_used_when_it_is_named() {
    let node = Node::builder().interface("lo").ipv4_only().bind().await.unwrap();
    assert!(node.local_addresses().iter().all(|address| address.ip().is_loopback()));
    assert!(!node.local_addresses().is_empty());
}

#[tokio::test]
async fn noise_from_strangers_disturbs_nobody() {
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..200 {
        stranger.send_to(&vec![0; length], left.local_addresses()[0]).unwrap();
    }
    say(&near, &far, b"hello").await;
    say(&far, &near, b"hello").await;
    assert_eq!(near.try_recv(&mut [0; 8]), None);
}

/// The addresses of a machine that a test gives and takes away.
#[derive(Clone)]
struct Addresses(Arc<Mutex<Vec<&'static str>>>);

impl Addresses {
    fn new(ips: &[&'static str]) -> Self {
        Self(Arc::new(Mutex::new(ips.to_vec())))
    }

    fn become_(&self, ips: &[&'static str]) {
        *self.0.lock().unwrap() = ips.to_vec();
    }

    fn node(&self) -> NodeBuilder {
        let ips = Arc::clone(&self.0);
        let source: AddressSource = Arc::new(move || {
            ips.lock().unwrap().iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
        });
        Node::builder().addresses_from(source)
    }
}

fn base(connection: &Connection) -> String {
    connection.selected().map(|pair| pair.base.ip().to_string()).unwrap_or_default()
}

/// Both sides are heard, if not at once, and the left one sends from `ip`.
async fn both_talk_from(ip: &str, left: &Connection, right: &Connection) {
    bounded(async {
        let (mut heard, mut buf) = ([false; 2], [0; 9]);
        while heard != [true; 2] || base(left) != ip {
            for ((from, to), heard) in [(left, right), (right, left)].iter().zip(&mut heard) {
                let _ = from.send(b"hello").await;
                let received = tokio::time::timeout(Duration::from_millis(20), to.recv(&mut buf));
                *heard |= received.await.is_ok();
            }
        }
    })
    .await;
}

/// [rfc8445-5.1.1.4-3]
#[tokio::test]
async fn an_address_that_goes_takes_its_socket_along_and_data_goes_on_over_another() {
    let addresses = Addresses::new(&["127.0.0.2", "127.0.0.3"]);
    let node = addresses.node().bind().await.unwrap();
    let other = self::node().await;
    let (left, right) = connect(&node, &other).await;
    both_talk_from(&base(&left), &left, &right).await;
    assert!(node.network_changed().await.is_empty());

    let (gone, stays) = match &*base(&left) {
        "127.0.0.2" => ("127.0.0.2", "127.0.0.3"),
        _ => ("127.0.0.3", "127.0.0.2"),
    };
    addresses.become_(&[stays]);
    let change = node.network_changed().await;
    assert!(change.added.is_empty() && change.removed.len() == 1);
    assert_eq!(change.removed[0].ip().to_string(), gone);
    assert!(is_free(change.removed[0]));
    both_talk_from(stays, &left, &right).await;
}

/// [rfc8445-5.1.1.4-3]
#[tokio::test]
async fn an_address_that_turns_up_is_offered_in_a_restart() {
    let addresses = Addresses::new(&["127.0.0.2"]);
    let node = addresses.node().bind().await.unwrap();
    let other = self::node().await;
    let (left, right) = connect(&node, &other).await;
    let (mut ours, mut theirs) = (left.events(), right.events());

    addresses.become_(&["127.0.0.2", "127.0.0.3"]);
    assert_eq!(node.network_changed().await.added.len(), 1);
    let restarted = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Restarting { .. });
    assert_eq!(until(&mut ours, restarted).await, ConnectionEvent::Restarting { by_peer: false });
    let told = |event: &ConnectionEvent| match event {
        ConnectionEvent::RemoteCandidate(candidate) => {
            candidate.socket_address().is_some_and(|at| at.ip().to_string() == "127.0.0.3")
        }
        _ => false,
    };
    until(&mut theirs, told).await;

    addresses.become_(&["127.0.0.3"]);
    assert_eq!(node.network_changed().await.removed.len(), 1);
    both_talk_from("127.0.0.3", &left, &right).await;
}

/// [rfc8445-5.1.1.4-3]
#[tokio::test]
async fn gathering_continually_an_address_that_turns_up_is_trickled() {
    let addresses = Addresses::new(&["127.0.0.2"]);
    let continual = |agent: &mut floe::config::AgentConfig| agent.gathering = Gathering::Continual;
    let node = addresses.node().agent(continual).bind().await.unwrap();
    let other = self::node().await;
    let (left, right) = connect(&node, &other).await;
    let selected = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Selected(_));
    let mut theirs = right.events();
    until(&mut theirs, selected).await;

    addresses.become_(&["127.0.0.2", "127.0.0.3"]);
    node.network_changed().await;
    let next = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::RemoteCandidate(_) | ConnectionEvent::Restarting { .. })
    };
    let ConnectionEvent::RemoteCandidate(candidate) = until(&mut theirs, next).await else {
        panic!("a restart");
    };
    assert_eq!(candidate.socket_address().unwrap().ip().to_string(), "127.0.0.3");
    addresses.become_(&["127.0.0.3"]);
    node.network_changed().await;
    both_talk_from("127.0.0.3", &left, &right).await;
}

#[tokio::test]
async fn a_machine_without_a_network_comes_back_when_it_has_one() {
    let addresses = Addresses::new(&["127.0.0.2"]);
    let node = addresses.node().bind().await.unwrap();
    let other = self::node().await;
    let (left, right) = connect(&node, &other).await;
    both_talk_from("127.0.0.2", &left, &right).await;

    addresses.become_(&[]);
    assert_eq!(node.network_changed().await.removed.len(), 1);
    assert!(node.local_addresses().is_empty() && left.selected().is_none());
    addresses.become_(&["127.0.0.3"]);
    assert_eq!(node.network_changed().await.added.len(), 1);
    both_talk_from("127.0.0.3", &left, &right).await;
}
