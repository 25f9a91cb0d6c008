//! What the system tells of its network: that something changed, not what.
//!
//! On Linux a netlink socket says so at once; elsewhere, and where that is not allowed, the
//! addresses are looked at every few seconds.

use core::time::Duration;

use tokio::time::{Interval, interval};

/// How often the addresses are looked at where nobody tells of changes.
const POLL: Duration = Duration::from_secs(5);

/// Tells of changes.
#[derive(Debug)]
pub(super) enum Changes {
    /// The application tells of them.
    Told,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Netlink(netlink::Route),
    Polled(Interval),
}

impl Changes {
    /// Asks the system to tell of changes from now on; needs a runtime.
    pub(super) fn of_system() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        match netlink::Route::open() {
            Ok(route) => return Self::Netlink(route),
            Err(error) => tracing::debug!(%error, "changes of the network are polled for"),
        }
        Self::Polled(interval(POLL))
    }

    /// Waits until something may have changed.
    pub(super) async fn next(&mut self) {
        match self {
            Self::Told => core::future::pending().await,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Netlink(route) => {
                if route.changed().await.is_err() {
                    *self = Self::Polled(interval(POLL));
                }
            }
            Self::Polled(ticks) => {
                ticks.tick().await;
            }
        }
    }

    /// Forgets what was told up to now.
    pub(super) fn drain(&self) {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Netlink(route) => route.drain(),
            Self::Told | Self::Polled(_) => {}
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod netlink {
    use std::io;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram as Datagrams;

    use netlink_sys::protocols::NETLINK_ROUTE;
    use netlink_sys::{Socket, SocketAddr};
    use tokio::net::UnixDatagram;

    /// The groups whose messages are received: links, and addresses of both families.
    /// (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`)
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;
    /// Messages taken at once; the rest are news of their own.
    const MESSAGES: usize = 256;
    /// `ENOBUFS`: messages were lost.
    const LOST: i32 = 105;

    /// A socket that the kernel tells of changes. To the runtime it is one for datagrams like any.
    #[derive(Debug)]
    pub(in crate::driver) struct Route(UnixDatagram);

    impl Route {
        pub(super) fn open() -> io::Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            let datagrams = Datagrams::from(socket.as_fd().try_clone_to_owned()?);
            datagrams.set_nonblocking(true)?;
            Ok(Self(UnixDatagram::from_std(datagrams)?))
        }

        /// Waits for a message. That some were lost is one, too.
        pub(super) async fn changed(&self) -> io::Result<()> {
            match self.0.recv(&mut [0; 64]).await {
                Err(error) if error.raw_os_error() != Some(LOST) => Err(error),
                Ok(_) | Err(_) => Ok(()),
            }
        }

        pub(super) fn drain(&self) {
            for _ in 0..MESSAGES {
                if self.0.try_recv(&mut [0; 64]).is_err() {
                    return;
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test]
        async fn the_kernel_lets_anybody_listen() {
            let route = Route::open().unwrap();
            route.drain();
            let nothing = route.0.try_recv(&mut [0; 64]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
