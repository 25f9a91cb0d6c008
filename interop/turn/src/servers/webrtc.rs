//! The server of `turn`, the crate of webrtc-rs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

/// The server, on a runtime of its own until it is dropped. It relays for one family alone.
pub struct Webrtc {
    server: Option<Server>,
    runtime: Runtime,
}

struct Users;

impl AuthHandler for Users {
    fn auth_handle(&self, user: &str, realm: &str, _: SocketAddr) -> Result<Vec<u8>, turn::Error> {
        if user != lab::USER {
            return Err(turn::Error::ErrNoSuchUser);
        }
        Ok(generate_auth_key(user, realm, lab::PASSWORD))
    }
}

impl Webrtc {
    /// Starts it at `listen`, relaying from an address of the host.
    ///
    /// # Panics
    ///
    /// If the host does not have the addresses.
    pub fn start(listen: SocketAddr, relay: IpAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(async {
            let socket = UdpSocket::bind(listen).await.expect("an address of this host");
            let relays = RelayAddressGeneratorStatic {
                relay_address: relay,
                address: relay.to_string(),
                net: Arc::new(Net::new(None)),
            };
            Server::new(ServerConfig {
                conn_configs: vec![ConnConfig {
                    conn: Arc::new(socket),
                    relay_addr_generator: Box::new(relays),
                }],
                realm: lab::REALM.into(),
                auth_handler: Arc::new(Users),
                channel_bind_timeout: std::time::Duration::ZERO,
                alloc_close_notify: None,
            })
            .await
            .expect("a server")
        });
        Self { server: Some(server), runtime }
    }
}

impl Drop for Webrtc {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = self.runtime.block_on(server.close());
        }
    }
}
