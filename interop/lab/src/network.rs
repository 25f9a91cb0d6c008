//! Two hosts and a cable.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

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
            // SAFETY: no more than a number is read.
            let _ = ready.send(unsafe { libc::gettid() });
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
        configure("client", CLIENTS, CLIENTS6);
        server.run(|| configure("server", SERVERS, SERVERS6));
        Self { server, _names: names }
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

fn configure(link: &str, addresses: [Ipv4Addr; 2], addresses6: [Ipv6Addr; 2]) {
    for address in addresses {
        ip(&format!("address add {address}/24 dev {link}"));
    }
    addresses6.iter().for_each(|address| add6(link, *address));
    ip("link set lo up");
    ip(&format!("link set {link} up"));
}

/// Adds an address that is used at once: without a look for another host that has it.
fn add6(link: &str, address: Ipv6Addr) {
    ip(&format!("-6 address replace {address}/64 dev {link} nodad"));
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("`ip` is missing: run interop/setup");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

/// Moves this thread into a namespace of networks and of mounts of its own.
fn leave_the_network() {
    // SAFETY: this concerns the current thread alone.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    let error = std::io::Error::last_os_error();
    assert_eq!(left, 0, "these tests need root for network namespaces of their own: {error}");
}

/// Puts a hosts file of our own over the system's, for this thread and what it starts.
fn know_the_server() -> Scratch {
    let scratch = Scratch::new();
    let address = SERVERS[0];
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{address} {NAME} other.{NAME}\n");
    let hosts = scratch.write("hosts", &hosts);
    let hosts = hosts.to_str().expect("an ordinary path");
    mount(None, "/", libc::MS_REC | libc::MS_PRIVATE);
    mount(Some(hosts), "/etc/hosts", libc::MS_BIND);
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
