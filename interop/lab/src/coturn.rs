//! coturn, started as each test wants it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certificate::Authority;
use crate::network::{Network, SERVERS, SERVERS6};
use crate::scratch::Scratch;

/// The user that every server of the lab knows.
pub const USER: &str = "user-of-the-lab";
/// The password of that user: no secret.
pub const PASSWORD: &str = "not-a-secret";
/// The realm of every server of the lab.
pub const REALM: &str = "lab.test";

/// How long a server may take to start.
const START: Duration = Duration::from_secs(15);

/// coturn on the server's host of a [`Network`]: UDP and TCP on port 3478, TLS and DTLS on 5349,
/// for IPv4 and IPv6. Ends when dropped; a test that panics shows the end of its log.
pub struct Coturn {
    process: Option<Child>,
    authority: Authority,
    configuration: Vec<String>,
    files: Scratch,
}

impl Coturn {
    /// Where it serves UDP and TCP over IPv4.
    pub const PLAIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVERS[0]), 3478);
    /// The same over IPv6.
    pub const PLAIN6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(SERVERS6[0]), 3478);
    /// Where it serves TLS and DTLS over IPv4.
    pub const SECURE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVERS[0]), 5349);
    /// The same over IPv6.
    pub const SECURE6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(SERVERS6[0]), 5349);

    /// Starts it with these lines in its configuration beside the lab's own, for [`USER`] with
    /// [`PASSWORD`], and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it is not installed, or does not start.
    pub fn start(network: &Network, options: &[&str]) -> Self {
        let user = format!("user={USER}:{PASSWORD}");
        Self::start_for(network, &[&[user.as_str()], options].concat())
    }

    /// The same without any user but those of the options.
    ///
    /// # Panics
    ///
    /// If it is not installed, or does not start.
    pub fn start_for(network: &Network, options: &[&str]) -> Self {
        let files = Scratch::new();
        let authority = Authority::new();
        files.write("certificate.pem", &authority.certificate);
        files.write("key.pem", &authority.key);
        let configuration = options.iter().map(ToString::to_string).collect();
        let mut coturn = Self { process: None, authority, configuration, files };
        coturn.restart(network);
        coturn
    }

    /// Changes a line of the configuration, for the next start.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    pub fn replace_option(&mut self, line: &str, by: &str) {
        let line = self.configuration.iter_mut().find(|known| *known == line);
        by.clone_into(line.expect("a line of the configuration"));
    }

    /// Ends the process, if it runs, without a word to its clients.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends it, and starts it anew with nothing kept. Returns when it answers, and since when.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self, network: &Network) -> Instant {
        self.stop();
        let configuration = self.files.write("turnserver.conf", &self.configuration());
        let log = File::create(self.files.path().join("log")).expect("a log");
        let process = network.server.run(move || spawn(&configuration, log));
        self.process = Some(process);
        self.wait_until_it_answers()
    }

    /// Who signed its certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// CPU time of the process up to now, if it runs.
    pub fn cpu(&self) -> Option<Duration> {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.process.as_ref()?.id())).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields.split(' ').skip(11);
        let mut ticks = || times.next()?.parse::<u64>().ok();
        // A tick is 10 ms on every Linux that Rust runs on.
        Some(Duration::from_millis((ticks()? + ticks()?) * 10))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.files.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn configuration(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for address in
            SERVERS.map(|ip| ip.to_string()).into_iter().chain(SERVERS6.map(|ip| ip.to_string()))
        {
            lines.push(format!("listening-ip={address}"));
        }
        lines.push(format!("relay-ip={}", SERVERS[0]));
        lines.push(format!("relay-ip={}", SERVERS6[0]));
        lines.push(format!("realm={REALM}"));
        for file in ["cert=certificate.pem", "pkey=key.pem", "userdb=users", "pidfile=pid"] {
            let (key, name) = file.split_once('=').unwrap_or((file, ""));
            lines.push(format!("{key}={}", self.files.path().join(name).display()));
        }
        for line in ["lt-cred-mech", "fingerprint", "no-cli", "no-multicast-peers", "verbose"] {
            lines.push(line.into());
        }
        for line in
            ["listening-port=3478", "tls-listening-port=5349", "log-file=stdout", "simple-log"]
        {
            lines.push(line.into());
        }
        lines.extend(self.configuration.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }

    fn wait_until_it_answers(&mut self) -> Instant {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let status =
                self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            assert!(status.is_none(), "coturn ended, {status:?}:\n{}", self.log());
            let over_udp = !self.configuration.iter().any(|line| line == "no-udp");
            if [Self::PLAIN, Self::PLAIN6].iter().all(|server| answers(*server, over_udp)) {
                return Instant::now();
            }
        }
        panic!("coturn does not answer after {START:?}:\n{}", self.log());
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the end of coturn's log:\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

fn spawn(configuration: &Path, log: File) -> Child {
    let errors = log.try_clone().expect("a log");
    let mut command = Command::new("turnserver");
    command.arg("-c").arg(configuration).stdin(Stdio::null()).stdout(log).stderr(errors);
    // SAFETY: one system call between fork and exec. Should the host's thread die, so does coturn.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.spawn().expect("coturn is missing: run interop/setup")
}

/// Whether a STUN server answers there within a tenth of a second.
fn answers(server: SocketAddr, over_udp: bool) -> bool {
    let wait = Duration::from_millis(100);
    let mut request = [0; 20];
    request[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
    let mut answer = [0; 548];
    if !over_udp {
        let Ok(mut stream) = TcpStream::connect_timeout(&server, wait) else { return false };
        stream.set_read_timeout(Some(wait)).expect("a timeout");
        return stream.write_all(&request).is_ok() && stream.read_exact(&mut answer[..20]).is_ok();
    }
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(wait)).expect("a timeout");
    let sent = socket.send_to(&request, server).is_ok();
    sent && matches!(socket.recv_from(&mut answer), Ok((20.., from)) if from == server)
}
