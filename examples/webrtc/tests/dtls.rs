//! DTLS of webrtc-rs over two connections on loopback.

use std::sync::Arc;
use std::time::Duration;

use dtls::config::{ClientAuthType, Config};
use dtls::conn::DTLSConn;
use dtls::crypto::Certificate;
use floe::signaling::memory;
use floe::{Connection, Node};
use tokio::time::timeout;
use webrtc_util::Conn;

const SOON: Duration = Duration::from_secs(20);

async fn pair() -> (Connection, Connection) {
    let bind = || Node::builder().address("127.0.0.1:0".parse().unwrap()).bind();
    let (left, right) = tokio::try_join!(bind(), bind()).unwrap();
    let (near, far) = memory::pair(16);
    tokio::try_join!(left.connect(near), right.accept(far)).unwrap()
}

fn config() -> Config {
    Config {
        certificates: vec![Certificate::generate_self_signed(["floe".to_owned()]).unwrap()],
        client_auth: ClientAuthType::RequireAnyClientCert,
        insecure_skip_verify: true,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dtls_runs_over_a_connection_through_a_restart_and_closes_it() {
    let (left, right) = timeout(SOON, pair()).await.unwrap();
    let handles = [left.clone(), right.clone()];
    let client = DTLSConn::new(Arc::new(left), config(), true, None);
    let server = DTLSConn::new(Arc::new(right), config(), false, None);
    let both = async { tokio::try_join!(client, server) };
    let (client, server) = timeout(SOON, both).await.unwrap().unwrap();

    let mut buf = [0; 2048];
    for text in ["hello", "once more, a little longer", "while ICE restarts"] {
        if text.contains("restarts") {
            handles[0].restart().await;
        }
        client.send(text.as_bytes()).await.unwrap();
        let length = timeout(SOON, server.recv(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf[..length], text.as_bytes());
        server.send(&buf[..length]).await.unwrap();
        let length = timeout(SOON, client.recv(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf[..length], text.as_bytes());
    }

    // Closed from the top: the other side hears of it, and the connection below is closed.
    timeout(SOON, Conn::close(&client)).await.unwrap().unwrap();
    let farewell = timeout(SOON, server.recv(&mut buf)).await.unwrap();
    assert!(farewell.is_err() || farewell == Ok(0), "{farewell:?}");
    assert_eq!(handles[0].state(), floe::AgentState::Closed);
}
