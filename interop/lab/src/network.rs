//! Two hosts and a cable.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::cable::{carry, compute_checksums};
use crate::certificate::NAME;
use crate::scratch::Scratch;

/// The addresses of the client's host, in 203.0.113.0/24.
pub const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
/// Its addresses in 2001:db8::/64.
pub const CLIENTS6: [Ipv6Addr; 2] = [v6(1), v6(2)];
/// The addresses of the server's host.
pub const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11)];
/// Its addresses in 2001:db8::/64.
pub const SERVERS6: [Ipv6Addr; 2] = [v6(0x10), v6(0x11)];

/// How long a cable may take until it carries.
const CARRIER: Duration = Duration::from_secs(5);

const fn v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)
}

/// A host of its own, without any link yet: a thread in a network namespace.
pub struct Host {
    thread: Option<JoinHandle<()>>,
    work: Option<mpsc::Sender<Work>>,
    id: libc::pid_t,
}

type Work = Box<dyn FnOnce() + Send>;

impl Host {
    /// Makes one.
    fn new() -> Self {
        let (work, queue) = mpsc::channel::<Work>();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            leave_the_network();
            let _ = ready.send(thread_id());
            queue.into_iter().for_each(|work| work());
        });
        let id = started.recv().expect("a network namespace");
        Self { thread: Some(thread), work: Some(work), id }
    }

    /// Does `work` on this host: the processes, threads and sockets that it makes stay there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let work = Box::new(move || drop(done.send(work())));
        self.work.as_ref().and_then(|queue| queue.send(work).ok()).expect("the host is up");
        result.recv().expect("the work on the other host panicked")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The network that the current thread lives in: the client's host, and a cable to the server's.
pub struct Network {
    /// The other end of the cable.
    pub server: Host,
    /// Where a cable that takes its time lies.
    _cable: Option<Host>,
    _names: Scratch,
}

impl Network {
    /// Moves this thread, and whatever it starts from now on, into a network of its own. Whoever
    /// looks up [`NAME`] there, or a name below it, finds [`SERVERS`].
    ///
    /// # Panics
    ///
    /// If that is not allowed, or `ip` is missing.
    pub fn enter() -> Self {
        leave_the_network();
        let names = know_the_server();
        let server = Host::new();
        ip(&format!(
            "link add client mtu 1500 type veth peer name server mtu 1500 netns {}",
            server.id
        ));
        Self::between(server, None, names)
    }

    /// The same, with a cable that everything takes `delay` to get through.
    ///
    /// # Panics
    ///
    /// As [`enter`](Self::enter).
    pub fn enter_far(delay: Duration) -> Self {
        leave_the_network();
        let names = know_the_server();
        let (server, cable) = (Host::new(), Host::new());
        let (client, far) = (thread_id(), server.id);
        cable.run(move || {
            for (link, end, host) in [("left", "client", client), ("right", "server", far)] {
                ip(&format!("link add {link} type veth peer name {end} netns {host}"));
                ip(&format!("link set {link} up"));
            }
            carry(["left", "right"], delay);
        });
        compute_checksums("client");
        server.run(|| compute_checksums("server"));
        Self::between(server, Some(cable), names)
    }

    /// Gives both ends their addresses, and waits until the cable carries.
    fn between(server: Host, cable: Option<Host>, names: Scratch) -> Self {
        configure("client", CLIENTS, CLIENTS6);
        server.run(|| {
            configure("server", SERVERS, SERVERS6);
            wait_until_it_carries("server");
        });
        wait_until_it_carries("client");
        Self { server, _cable: cable, _names: names }
    }

    /// Takes the server off the network, or brings it back: what is sent meanwhile is lost without
    /// a word.
    pub fn set_link(&self, up: bool) {
        self.server.run(move || {
            ip(if up { "link set server up" } else { "link set server down" });
            if up {
                // Going down took the addresses of IPv6 away.
                SERVERS6.iter().for_each(|address| add6("server", *address));
            }
        });
    }
}

fn thread_id() -> libc::pid_t {
    // SAFETY: no more than a number is read.
    unsafe { libc::gettid() }
}

fn configure(link: &str, addresses: [Ipv4Addr; 2], addresses6: [Ipv6Addr; 2]) {
    for address in addresses {
        ip(&format!("address add {address}/24 dev {link}"));
    }
    addresses6.iter().for_each(|address| add6(link, *address));
    ip("link set lo up");
    ip(&format!("link set {link} up"));
}

/// Waits until a link carries: until then some programs leave its addresses out.
fn wait_until_it_carries(link: &str) {
    let deadline = Instant::now() + CARRIER;
    while !ip(&format!("link show dev {link}")).contains("LOWER_UP") {
        assert!(Instant::now() < deadline, "{link} does not carry");
    }
}

/// Adds an address that is used at once: without a look for another host that has it.
fn add6(link: &str, address: Ipv6Addr) {
    ip(&format!("-6 address replace {address}/64 dev {link} nodad"));
}

/// Runs `ip`, and returns what it says.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("`ip` is missing: run interop/setup");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Does `work` on a host of its own, which is gone afterwards: [`Network::enter`] moves the thread
/// that it is called on.
///
/// # Errors
///
/// What `work` returns, or a sentence if it panics.
pub fn on_a_host<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err("it panicked".into()))
}

/// Moves this thread into a namespace of networks and of mounts of its own.
fn leave_the_network() {
    // SAFETY: this concerns the current thread alone.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    let error = std::io::Error::last_os_error();
    assert_eq!(left, 0, "these tests need root for network namespaces of their own: {error}");
}

/// Puts files of our own over the system's, for this thread and what it starts: the one has the
/// names of the server, the other a resolver that is not there, for an answer would never come.
fn know_the_server() -> Scratch {
    let scratch = Scratch::new();
    let address = SERVERS[0];
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{address} {NAME} other.{NAME}\n");
    mount(None, "/", libc::MS_REC | libc::MS_PRIVATE);
    for (name, content) in [("hosts", hosts.as_str()), ("resolv.conf", "nameserver 127.0.0.1\n")] {
        let file = scratch.write(name, content);
        let file = file.to_str().expect("an ordinary path");
        mount(Some(file), &format!("/etc/{name}"), libc::MS_BIND);
    }
    assert!(fs::read_to_string("/etc/hosts").is_ok_and(|hosts| hosts.contains(NAME)));
    scratch
}

fn mount(from: Option<&str>, to: &str, flags: libc::c_ulong) {
    let path = |path: &str| std::ffi::CString::new(path).expect("a path");
    let (from, target) = (from.map(path), path(to));
    let source = from.as_ref().map_or(std::ptr::null(), |from| from.as_ptr());
    let none = std::ptr::null();
    // SAFETY: the strings outlive the call, and the others are not looked at.
    let mounted = unsafe { libc::mount(source, target.as_ptr(), none, flags, none.cast()) };
    assert_eq!(mounted, 0, "mount over {to}: {}", std::io::Error::last_os_error());
}
