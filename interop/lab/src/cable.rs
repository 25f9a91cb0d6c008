//! A cable that takes its time: what goes in at one end comes out at the other after a while.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any frame.
const FRAME: usize = 2048;
/// Frames that are on their way; more are lost.
const MAX_FRAMES: usize = 10_000;
/// The order of `ethtool` that a link computes checksums for what it sends, or does not.
const SET_TX_CHECKSUMS: u32 = 0x17;

/// Frames on their way, and when they are there.
type Way = VecDeque<(Instant, Vec<u8>)>;

/// Carries frames between two links of this host, for as long as they are up.
pub fn carry(links: [&str; 2], delay: Duration) {
    let ends = links.map(|link| open(link).unwrap_or_else(|error| panic!("{link}: {error}")));
    thread::spawn(move || forward(&ends, delay));
}

/// Has the frames of a link carry checksums of their own: on a real cable none are left out.
pub fn compute_checksums(link: &str) {
    #[repr(C)]
    struct Value {
        order: u32,
        data: u32,
    }
    let mut value = Value { order: SET_TX_CHECKSUMS, data: 0 };
    // SAFETY: zeroes are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    name(&mut request, link);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // SAFETY: the request and what it points to outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    assert_eq!(done, 0, "checksums of {link}: {}", io::Error::last_os_error());
}

/// Says which link a request is about.
fn name(request: &mut libc::ifreq, link: &str) {
    for (octet, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *octet = from.cast_signed();
    }
}

/// A socket that sees all frames of a link.
fn open(link: &str) -> io::Result<OwnedFd> {
    let name = CString::new(link)?;
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the name and the address outlive the calls; the descriptor is ours.
    unsafe {
        let socket = check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, protocol.into()))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        check(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
        Ok(socket)
    }
}

/// Carries frames until one of the links is gone.
fn forward(ends: &[OwnedFd; 2], delay: Duration) -> io::Result<()> {
    let mut ways = [Way::new(), Way::new()];
    let mut buf = [0; FRAME];
    loop {
        let now = Instant::now();
        for (way, to) in ways.iter_mut().zip([&ends[1], &ends[0]]) {
            while let Some((due, _)) = way.front()
                && *due <= now
                && let Some((_, frame)) = way.pop_front()
            {
                send(to, &frame);
            }
        }
        let next = ways.iter().filter_map(|way| Some(way.front()?.0)).min();
        let wait = next.map(|due| due.saturating_duration_since(now));
        let mut polled = [0, 1].map(|end: usize| libc::pollfd {
            fd: ends[end].as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        wait_for(&mut polled, wait)?;
        for (end, polled) in polled.iter().enumerate() {
            if polled.revents & (libc::POLLERR | libc::POLLHUP) != 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            while polled.revents & libc::POLLIN != 0
                && let Some(length) = receive(&ends[end], &mut buf)
            {
                if ways[end].len() < MAX_FRAMES && length > 0 {
                    ways[end].push_back((Instant::now() + delay, buf[..length].to_vec()));
                }
            }
        }
    }
}

fn wait_for(polled: &mut [libc::pollfd; 2], wait: Option<Duration>) -> io::Result<()> {
    let limit = wait.map(|wait| libc::timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the two entries and the limit outlive the call.
    match check(unsafe { libc::ppoll(polled.as_mut_ptr(), 2, limit, std::ptr::null()) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Takes a frame that came from outside, if there is one; 0 octets are one that we sent.
fn receive(socket: &OwnedFd, buf: &mut [u8; FRAME]) -> Option<usize> {
    // SAFETY: zeroes are an address of no family, and all of it outlives the call.
    unsafe {
        let mut from: libc::sockaddr_ll = std::mem::zeroed();
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let received = libc::recvfrom(
            socket.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            FRAME,
            libc::MSG_DONTWAIT,
            (&raw mut from).cast(),
            &raw mut length,
        );
        let received = usize::try_from(received).ok()?;
        Some(if from.sll_pkttype == libc::PACKET_OUTGOING { 0 } else { received })
    }
}

/// A frame that cannot be sent is lost, as on a cable.
fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the frame outlives the call.
    unsafe {
        libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
    };
}

fn check(outcome: libc::c_int) -> io::Result<libc::c_int> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
