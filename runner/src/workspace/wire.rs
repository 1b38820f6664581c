//! Bytes from a peer: a socket or a pipe whose waiting ends when the run is to stop, or when the peer has been silent for too long.
//!
//! Everything that reads from a git server goes through here, so that one flag stops it within [`TICK`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, getsockopt, socket, sockopt};

/// How often a wait looks at the flag: fast for a person, nothing for a machine.
const TICK: Duration = Duration::from_millis(50);

/// A git server that works says something at least every 5 s (`uploadpack.keepAlive`); a minute of silence is a dead one.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// Linux sends SYN at 0, 1, 3, 7 and 15 s: this sees four of them out.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

/// The flag that stops everything.
pub type Cancel = Arc<AtomicBool>;

/// What a read or write fails with when the flag was raised.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// A file descriptor, watched.
#[derive(Debug)]
pub(crate) struct Watched<F> {
    inner: F,
    cancel: Cancel,
}

impl<F: AsFd> Watched<F> {
    pub(crate) fn new(inner: F, cancel: Cancel) -> Self {
        Self { inner, cancel }
    }

    fn wait(&self, events: PollFlags, limit: Duration) -> io::Result<()> {
        wait(&self.inner, events, limit, &self.cancel)
    }
}

fn wait(fd: &impl AsFd, events: PollFlags, limit: Duration, cancel: &AtomicBool) -> io::Result<()> {
    let begin = Instant::now();
    let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other(Stopped));
        }
        let mut fds = [PollFd::new(fd.as_fd(), events)];
        match poll(&mut fds, tick) {
            Ok(0) if begin.elapsed() >= limit => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", limit.as_secs())));
            }
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl<F: AsFd + Read> Read for Watched<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLIN, SILENCE)?;
        self.inner.read(buffer)
    }
}

impl<F: AsFd + Write> Write for Watched<F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLOUT, SILENCE)?;
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Watched<TcpStream> {
    /// A second handle to the same socket.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: self.inner.try_clone()?, cancel: self.cancel.clone() })
    }

    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.inner
    }
}

/// Connects to the first address that answers.
pub(crate) fn connect_tcp(addresses: &[SocketAddr], cancel: &Cancel) -> io::Result<Watched<TcpStream>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match connect_one(*address, cancel) {
            Ok(stream) => return Ok(Watched::new(stream, cancel.clone())),
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<Stopped>()) => return Err(error),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

fn connect_one(address: SocketAddr, cancel: &Cancel) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    let connected = match address {
        SocketAddr::V4(address) => connect(fd.as_raw_fd(), &SockaddrIn::from(address)),
        SocketAddr::V6(address) => connect(fd.as_raw_fd(), &SockaddrIn6::from(address)),
    };
    match connected {
        Ok(()) => {}
        // EINTR too: the attempt goes on in the background (connect(2)).
        Err(nix::errno::Errno::EINPROGRESS | nix::errno::Errno::EINTR) => {
            wait(&fd, PollFlags::POLLOUT, CONNECT, cancel)?;
            let code = getsockopt(&fd, sockopt::SocketError)?;
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code));
            }
        }
        Err(error) => return Err(error.into()),
    }
    // SAFETY: the descriptor is an open stream socket that nothing else owns: it was made above and given up by `into_raw_fd`.
    let stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits, unless the flag is raised: then it says so at once.
pub(crate) fn pause(duration: Duration, cancel: &AtomicBool) -> Result<(), Stopped> {
    let begin = Instant::now();
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(Stopped);
        }
        let left = duration.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_flag_ends_a_wait_for_a_silent_peer() {
        let (reader, _writer) = io::pipe().unwrap();
        let cancel: Cancel = Arc::default();
        let mut watched = Watched::new(reader, cancel.clone());
        let waiting = std::thread::spawn(move || watched.read(&mut [0; 8]).unwrap_err());
        cancel.store(true, Ordering::Relaxed);
        assert!(waiting.join().unwrap().get_ref().unwrap().is::<Stopped>());
    }

    #[test]
    fn refused_is_refused() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = connect_tcp(&[port], &Cancel::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
