//! A running `floe serve`.

use std::net::SocketAddr;
use std::process::Stdio;

use floe::driver::Room;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::process::floe;
use crate::talk::bounded;

pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0", None).await
    }

    /// One that asks clients of WHIP for this token.
    pub(crate) async fn with_token(token: &str) -> Self {
        Self::listen("127.0.0.1:0", Some(token)).await
    }

    async fn listen(on: &str, token: Option<&str>) -> Self {
        let mut command = floe(&["serve", "--listen", on]);
        command.env_remove("FLOE_WHIP_TOKEN").stderr(Stdio::inherit());
        command.envs(token.map(|token| ("FLOE_WHIP_TOKEN", token)));
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = bounded(lines.next_line()).await.unwrap().unwrap();
        let url = line.split(' ').next().unwrap();
        let address = url.strip_prefix("http://").unwrap().strip_suffix('/').unwrap();
        Self { process, address: address.parse().unwrap() }
    }

    pub(crate) async fn restart(&mut self) {
        self.process.kill().await.unwrap();
        *self = Self::listen(&self.address.to_string(), None).await;
    }

    /// The URL of a room.
    pub(crate) fn url(&self, room: &str) -> String {
        format!("ws://{}/room/{room}", self.address)
    }

    pub(crate) async fn join(&self, room: &str) -> Room {
        bounded(Room::join(&self.url(room))).await.unwrap()
    }

    /// The status of a request, and the whole answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (host, length) = (self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        // A server that has seen enough may close before it took all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut octets = Vec::new();
        let _ = bounded(stream.read_to_end(&mut octets)).await;
        let text = String::from_utf8(octets).unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), text)
    }
}
