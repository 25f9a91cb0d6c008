//! What the tests of the driver share.

use std::future::Future;
use std::time::Duration;

use floe::signaling::memory;
use floe::{Connection, Node};

/// Nothing here takes longer unless it is broken.
pub(crate) async fn bounded<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("takes too long")
}

pub(crate) async fn connect(left: &Node, right: &Node) -> (Connection, Connection) {
    let (near, far) = memory::pair(16);
    bounded(async { tokio::try_join!(left.connect(near), right.accept(far)) }).await.unwrap()
}

/// Sends until it arrives: datagrams may be lost, even here, or be so late that they come twice.
pub(crate) async fn say(from: &Connection, to: &Connection, data: &[u8]) {
    bounded(async {
        let mut buf = [0; 2048];
        loop {
            from.send(data).await.unwrap();
            let received = tokio::time::timeout(Duration::from_millis(500), to.recv(&mut buf));
            if let Ok(length) = received.await
                && &buf[..length.unwrap()] == data
            {
                return;
            }
        }
    })
    .await;
}
