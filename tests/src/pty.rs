//! A terminal with a person at it: a pty, what they type, and what they see.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    fcntl::{self, OFlag},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::stat::Mode,
    unistd::{pipe2, setsid},
};

use crate::probe::TOO_LONG;

/// A program whose three streams are a terminal, with which it leads a session.
#[derive(Debug)]
pub struct Terminal {
    /// The program.
    pub child: Child,
    master: File,
    screen: mpsc::Receiver<Vec<u8>>,
    reader: Option<OwnedFd>,
    seen: String,
    read: usize,
}

impl Terminal {
    /// Starts a command on a new terminal of 80 by 24.
    ///
    /// # Panics
    /// No pty, no process.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let (master, slave) = open().unwrap_or_else(|error| panic!("no pty: {error}"));
        let stream = || Stdio::from(copy(&slave));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: two system calls, which is all that may happen between fork and exec.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // the command keeps copies otherwise, and the screen would never end
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(slave);
        resize(&master, 80, 24);
        let (until, reader) = pipe2(OFlag::O_CLOEXEC).unwrap_or_else(|error| panic!("no pipe: {error}"));
        let screen = screen_of(copy(&master).into(), until);
        Self { child, master, screen, reader: Some(reader), seen: String::new(), read: 0 }
    }

    /// Types this.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap_or_else(|error| panic!("cannot type: {error}"));
    }

    /// Waits until this is on the screen, after what was expected before.
    ///
    /// # Panics
    /// The program ends, or says nothing for too long, without it.
    pub fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            match self.screen.recv_timeout(TOO_LONG) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("no `{text}` ({error}) on the screen:\n{}", self.seen),
            }
        }
    }

    /// Waits until a line that was typed is there twice: as the terminal echoes it, and as the program under it says it again. Lines of a log may
    /// stand between the two, since a log is written beside what the program says.
    ///
    /// # Panics
    /// As [`Terminal::expect`].
    pub fn expect_echo(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.expect(&line);
        self.expect(&line);
    }

    /// Changes the size of the window.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        resize(&self.master, columns, rows);
    }

    /// The process group in the foreground.
    ///
    /// # Panics
    /// The terminal is gone.
    #[must_use]
    pub fn foreground(&self) -> i32 {
        nix::unistd::tcgetpgrp(&self.master).map_or_else(|error| panic!("{error}"), nix::unistd::Pid::as_raw)
    }

    /// Pulls the plug; how the program ended.
    ///
    /// # Panics
    /// It cannot be waited for.
    #[must_use]
    pub fn hang_up(mut self) -> ExitStatus {
        // the reader has a copy of our side, and lets go of it when this pipe ends
        drop(self.reader.take());
        while self.screen.recv().is_ok() {}
        let null = File::open("/dev/null").unwrap_or_else(|error| panic!("{error}"));
        drop(std::mem::replace(&mut self.master, null));
        self.child.wait().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads to the end of the screen; how the program ended, and all that was seen.
    ///
    /// # Panics
    /// It does not end.
    #[must_use]
    pub fn finish(mut self) -> (ExitStatus, String) {
        loop {
            match self.screen.recv_timeout(TOO_LONG) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("no end ({error}), screen:\n{}", self.seen),
            }
        }
        let status = self.child.wait().unwrap_or_else(|error| panic!("{error}"));
        (status, std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    /// A test that fails leaves nobody behind: the hang-up and the death of init end the rest.
    fn drop(&mut self) {
        // after `finish` there is nobody to kill or to wait for any more
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides, close-on-exec from the start (`openpty` leaves them open for every child, and then no side ever hangs up).
fn open() -> nix::Result<(File, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = fcntl::open(ptsname_r(&master)?.as_str(), flags, Mode::empty())?;
    Ok((File::from(OwnedFd::from(master)), slave))
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the master is open, and the call reads the size.
    let answer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(answer, 0, "cannot resize");
}

fn copy(descriptor: &impl std::os::fd::AsFd) -> OwnedFd {
    descriptor.as_fd().try_clone_to_owned().unwrap_or_else(|error| panic!("{error}"))
}

/// Reads until the terminal or the pipe `until` has ended.
fn screen_of(mut master: File, until: OwnedFd) -> mpsc::Receiver<Vec<u8>> {
    let (sender, screen) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let mut both = [PollFd::new(master.as_fd(), PollFlags::POLLIN), PollFd::new(until.as_fd(), PollFlags::POLLIN)];
            if poll(&mut both, PollTimeout::NONE).is_err() || both[1].any() == Some(true) {
                return;
            }
            // EIO is how a pty says that nobody is on the other side any more
            let Ok(length @ 1..) = master.read(&mut buffer) else {
                return;
            };
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    screen
}
