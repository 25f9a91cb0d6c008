//! Section 6.2: transactions.

use std::time::Duration;

use floe::Instant;
use floe::config::Retransmission;
use floe::stun::{ClientTransaction, RtoEstimator, TransactionStep};

fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Polls at each deadline; returns when the request was sent and when it failed.
fn run(mut transaction: ClientTransaction) -> (Vec<u64>, u64) {
    let mut sent = vec![0];
    loop {
        let now = transaction.deadline();
        let just_before = Instant::from_nanos(now.as_nanos() - 1);
        assert_eq!(transaction.poll(just_before), TransactionStep::Wait);
        let millis = now.as_nanos() / 1_000_000;
        match transaction.poll(now) {
            TransactionStep::Retransmit => sent.push(millis),
            TransactionStep::TimedOut => {
                assert_eq!(usize::from(transaction.sent()), sent.len());
                return (sent, millis);
            }
            TransactionStep::Wait => panic!("the deadline has passed"),
        }
    }
}

/// [rfc8489-6.2.1-1] [rfc8489-6.2.1-2] [rfc8489-6.2.1-4] [rfc8489-6.2.1-5] [rfc8489-6.2.1-11b]
/// [rfc8489-6.2.1-12] [rfc8489-6.2.1-13b]
#[test]
fn a_request_is_sent_seven_times_and_fails_after_39_and_a_half_seconds() {
    let schedule = Retransmission::default();
    let (sent, end) = run(ClientTransaction::start(ms(0), &schedule));
    assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(end, 39_500);
}

/// [rfc8489-6.2.1-3] [rfc8489-6.2.1-6] [rfc8489-6.2.1-11a] [rfc8489-6.2.1-13a]
#[test]
fn rto_rc_and_rm_are_configurable() {
    let mut schedule = Retransmission::default();
    schedule.rc = 3;
    schedule.rm = 4;
    let rto = Duration::from_millis(101);
    let (sent, end) = run(ClientTransaction::start_with_rto(ms(0), rto, &schedule));
    assert_eq!((sent, end), (vec![0, 101, 303], 707));
    schedule.rc = 1;
    let (sent, end) = run(ClientTransaction::start_with_rto(ms(0), rto, &schedule));
    assert_eq!((sent, end), (vec![0], 404));
}

/// [rfc8489-6.2.2-2a] [rfc8489-6.2.2-2b]
#[test]
fn over_a_stream_a_request_is_sent_once() {
    let mut schedule = Retransmission::default();
    let (sent, end) = run(ClientTransaction::start_reliable(ms(0), &schedule));
    assert_eq!((sent, end), (vec![0], 39_500));
    schedule.ti = Duration::from_secs(3);
    let (_, end) = run(ClientTransaction::start_reliable(ms(0), &schedule));
    assert_eq!(end, 3_000);
}

/// [rfc8489-6.2.1-1]
#[test]
fn a_late_poll_sends_once() {
    let mut transaction = ClientTransaction::start(ms(0), &Retransmission::default());
    assert_eq!(transaction.poll(ms(20_000)), TransactionStep::Retransmit);
    assert_eq!(transaction.poll(ms(20_000)), TransactionStep::Wait);
    assert_eq!(transaction.deadline(), ms(21_000));
}

#[test]
fn a_transaction_that_stopped_sending_waits_as_long_as_it_would_have() {
    let schedule = Retransmission::default();
    for polls in 0..7 {
        let mut transaction = ClientTransaction::start(ms(0), &schedule);
        for _ in 0..polls {
            let _ = transaction.poll(transaction.deadline());
        }
        let sent = transaction.sent();
        transaction.stop_retransmitting();
        transaction.stop_retransmitting();
        assert_eq!(transaction.deadline(), ms(39_500), "{polls}");
        assert_eq!(transaction.poll(ms(39_499)), TransactionStep::Wait);
        assert_eq!(transaction.poll(ms(39_500)), TransactionStep::TimedOut);
        assert_eq!(transaction.sent(), sent);
    }
    assert!(size_of::<ClientTransaction>() <= 40);
}

/// [rfc8489-6.2.1-7] [rfc8489-6.2.1-8]
#[test]
fn only_a_request_sent_once_gives_a_round_trip_time() {
    let mut transaction = ClientTransaction::start(ms(100), &Retransmission::default());
    assert_eq!(transaction.rtt(ms(142)), Some(Duration::from_millis(42)));
    assert_eq!(transaction.poll(ms(600)), TransactionStep::Retransmit);
    assert_eq!(transaction.rtt(ms(642)), None);
}

/// The process stood still: the answer may have waited for it.
#[test]
fn an_answer_read_when_a_retransmission_was_due_gives_no_round_trip_time() {
    let transaction = ClientTransaction::start(ms(100), &Retransmission::default());
    assert_eq!(transaction.rtt(ms(599)), Some(Duration::from_millis(499)));
    assert_eq!(transaction.rtt(ms(35_000)), None);
}

/// [rfc8489-9.1.4-2] [rfc8489-9.1.4-3] [rfc8489-9.1.4-4a] [rfc8489-9.1.4-4b] [rfc8489-9.2.5-16]
/// [rfc8489-9.2.5-17] [rfc8489-9.2.5-18a] [rfc8489-9.2.5-18b]
#[test]
fn a_discarded_response_ends_a_transaction_over_a_stream_alone() {
    let schedule = Retransmission::default();
    let mut datagram = ClientTransaction::start(ms(0), &schedule);
    assert!(!datagram.integrity_violated());
    datagram.response_discarded(ms(50));
    assert_eq!(datagram.deadline(), ms(500));
    assert_eq!(datagram.poll(ms(500)), TransactionStep::Retransmit);
    assert!(datagram.integrity_violated());
    let mut stream = ClientTransaction::start_reliable(ms(0), &schedule);
    stream.response_discarded(ms(50));
    assert_eq!(stream.poll(ms(50)), TransactionStep::TimedOut);
    assert!(stream.integrity_violated());
}

/// [rfc8489-6.2.1-2] [rfc8489-6.2.1-8] [rfc8489-6.2.1-9] [rfc8489-6.2.1-10]
#[test]
fn the_rto_of_a_server_is_kept_for_ten_minutes() {
    let schedule = Retransmission::default();
    let second = Duration::from_secs(1);
    let mut server = RtoEstimator::new();
    assert_eq!(server.rto(ms(0), &schedule), schedule.rto);
    server.finished(ms(0), None);
    assert_eq!(server.rto(ms(0), &schedule), schedule.rto);
    server.finished(ms(0), Some(second));
    assert_eq!(server.rto(ms(0), &schedule), 3 * second);
    server.finished(ms(0), Some(second));
    assert_eq!(server.rto(ms(600_000), &schedule), Duration::from_millis(2_500));
    assert_eq!(server.rto(ms(600_001), &schedule), schedule.rto);
    // A transaction without a sample keeps the estimate from aging.
    server.finished(ms(600_000), None);
    assert_eq!(server.rto(ms(1_200_000), &schedule), Duration::from_millis(2_500));
    // A quick server is not asked again before 500 ms.
    let mut quick = RtoEstimator::new();
    quick.finished(ms(0), Some(Duration::from_millis(1)));
    assert_eq!(quick.rto(ms(0), &schedule), schedule.rto);
}
