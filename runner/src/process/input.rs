//! Bytes for a child's stdin, as a file in memory: a prompt of any length neither blocks us nor can deadlock with a child
//! that writes before it reads, and the child sees an end of input at once after the last byte.

use std::{
    env,
    ffi::CStr,
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    libc,
    sys::memfd::{MFdFlags, memfd_create},
};

/// A descriptor that reads as `bytes`, from the start, and cannot be changed by the child where the kernel can see to that.
///
/// # Errors
/// No memory or no space in any place for temporary files.
pub fn from_bytes(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = match in_memory() {
        Ok(file) => file,
        // a seccomp profile may know no memfd
        Err(_) => unlinked()?,
    };
    file.write_all(bytes)?;
    file.rewind()?;
    // the fallback is on a disk that may know no seals; then the child alone could change its own prompt
    let _ = fcntl(
        file.as_fd(),
        FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE),
    );
    Ok(file.into())
}

/// A pipe that reads as `secret` and then ends, once: nobody who opens it later through `/proc` reads it again.
///
/// # Errors
/// No descriptors are left, or the secret is longer than a pipe holds.
pub fn from_secret(secret: &[u8]) -> io::Result<OwnedFd> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
    let mut writer = File::from(writer);
    // non-blocking, so that what does not fit is an error and not a wait for ever
    writer.write_all(secret)?;
    // the flag is the end's own: the reader's must block like any other
    fcntl(reader.as_fd(), FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
    Ok(reader)
}

fn in_memory() -> nix::Result<File> {
    const NAME: &CStr = c"agent-stdin";
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // systems with `vm.memfd_noexec=2` give no other; kernels before 6.3 do not know the flag
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    memfd_create(NAME, flags | no_exec).or_else(|_| memfd_create(NAME, flags)).map(File::from)
}

fn unlinked() -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for directory in [env::temp_dir(), "/dev/shm".into(), "/tmp".into()] {
        match OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(directory) {
            Ok(file) => return Ok(file),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek, Write},
    };

    use super::{from_bytes, unlinked};

    #[test]
    fn reads_as_what_was_given() {
        for length in [0, 1, 65_536, 1 << 20, (1 << 20) + 1] {
            let bytes: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
            let mut file = File::from(from_bytes(&bytes).unwrap());
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length} bytes came back as {}", read.len());
        }
    }

    #[test]
    fn cannot_be_changed_by_the_child() {
        let mut file = File::from(from_bytes(b"prompt").unwrap());
        assert!(file.write_all(b"other").is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn a_file_without_a_name_serves_where_there_is_no_memfd() {
        let mut file = unlinked().unwrap();
        file.write_all(b"x").unwrap();
        file.rewind().unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
    }
}
