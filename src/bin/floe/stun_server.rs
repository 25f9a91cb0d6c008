//! A STUN server of the least kind: it answers Binding requests with XOR-MAPPED-ADDRESS.
//!
//! The answer is never longer than 44 octets where the request has at least 20, and goes to
//! the sender alone: for the demo on this machine, not for the internet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floe::stun::{AttributeType, Encoder, Message, MessageClass, Method};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// A running server; ends when it is dropped.
pub(crate) struct StunServer {
    address: SocketAddr,
    answered: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl StunServer {
    /// Starts a server on any free port of `ip`.
    pub(crate) async fn bind(ip: IpAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        let address = socket.local_addr()?;
        let answered = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(socket, Arc::clone(&answered)));
        Ok(Self { address, answered, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for StunServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, answered: Arc<AtomicU64>) {
    let (mut request, mut response) = ([0; 1500], [0; 64]);
    loop {
        let Ok((len, from)) = socket.recv_from(&mut request).await else { continue };
        let Some(len) = answer(request.get(..len).unwrap_or_default(), from, &mut response) else {
            continue;
        };
        if socket.send_to(response.get(..len).unwrap_or_default(), from).await.is_ok() {
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes the answer to `request`, if it deserves one, and returns its length.
fn answer(request: &[u8], from: SocketAddr, response: &mut [u8]) -> Option<usize> {
    let request = Message::parse(request).ok()?;
    if request.class() != MessageClass::Request || request.method() != Method::BINDING {
        return None;
    }
    Encoder::new(response, MessageClass::Success, Method::BINDING, request.transaction_id())
        .xor_address(AttributeType::XOR_MAPPED_ADDRESS, from)
        .finish()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use floe::stun::TransactionId;

    #[test]
    fn a_binding_request_is_answered_with_the_address_it_came_from() {
        let mut buf = [0; 64];
        let id = TransactionId([7; 12]);
        let len = Encoder::new(&mut buf, MessageClass::Request, Method::BINDING, id);
        let len = len.finish().unwrap();
        let from = "[2001:db8::1]:4711".parse().unwrap();
        let mut response = [0; 64];
        let written = answer(&buf[..len], from, &mut response).unwrap();
        assert!(written <= 44);
        let response = Message::parse(&response[..written]).unwrap();
        assert_eq!(response.xor_mapped_address(), Some(from));
        assert_eq!(response.transaction_id(), id);
    }

    #[test]
    fn nothing_else_is_answered() {
        let from = "192.0.2.1:1".parse().unwrap();
        let mut buf = [0; 64];
        let id = TransactionId([7; 12]);
        let len = Encoder::new(&mut buf, MessageClass::Indication, Method::BINDING, id);
        let len = len.finish().unwrap();
        assert_eq!(answer(&buf[..len], from, &mut [0; 64]), None);
        assert_eq!(answer(b"hello", from, &mut [0; 64]), None);
    }
}
