//! A peer that says back what it hears.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A UDP socket that sends every datagram back where it came from, until it is dropped.
pub struct Echo {
    address: SocketAddr,
    heard: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts one on a free port of this address of the host.
    ///
    /// # Panics
    ///
    /// If the host does not have the address.
    pub fn start(ip: impl Into<IpAddr>) -> Self {
        let socket = UdpSocket::bind((ip.into(), 0)).expect("an address of this host");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let address = socket.local_addr().expect("bound");
        let (heard, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (heard, over) = (Arc::clone(&heard), Arc::clone(&over));
            move || {
                let mut buffer = [0; 65_536];
                while !over.load(Ordering::Relaxed) {
                    let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                    heard.fetch_add(1, Ordering::Relaxed);
                    let _ = socket.send_to(buffer.get(..len).unwrap_or_default(), from);
                }
            }
        });
        Self { address, heard, over, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams came.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
