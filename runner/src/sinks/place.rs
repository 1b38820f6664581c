//! The system calls beneath all sinks: opening, replacing and reading files in places where an agent may have left traps.
//!
//! The rules, the same for every file: no symbolic link is followed in a path's last part; nothing but a regular file is opened, and
//! opening never blocks (a FIFO without a reader would); what is replaced is replaced by a rename in the same directory, so that no reader
//! sees half of it. Links in the *parents* of a path that the platform gave are its own business (`/var/run`), and are followed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, renameat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::SinkError;

/// Readable by everybody: a platform's sidecar reads results under another user. What is in them has been masked.
pub(super) const RESULT_MODE: Mode = Mode::from_bits_truncate(0o644);

/// Never block, never become a controlling terminal, never follow a link in the last part; close on exec is the standard library's own
/// habit.
const CAREFUL: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// How often another name is tried for a temporary file; more than a handful are only there if somebody puts them there.
const TEMPORARY_TRIES: u32 = 16;

/// What may happen to something that is no regular file and stands where a file is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InTheWay {
    /// It stays, and writing fails: the path is the platform's, and may be `/dev/null`.
    Keep,
    /// It goes, unless it is a directory: the directory is ours, and a link in it is a trap.
    Replace,
}

/// Opens a regular file that is there, for writing in place.
pub(super) fn open_in_place(path: &Path) -> Result<File, SinkError> {
    opened(path, OpenOptions::new().write(true))
}

/// Opens a regular file for appending and for reading its end, and creates it if it is missing.
pub(super) fn open_for_append(path: &Path) -> Result<File, SinkError> {
    opened(path, OpenOptions::new().read(true).append(true).create(true).mode(RESULT_MODE.bits()))
}

fn opened(path: &Path, options: &mut OpenOptions) -> Result<File, SinkError> {
    let flags = CAREFUL.bits();
    let file = options.custom_flags(flags).open(path).map_err(|error| SinkError::of_io("open", path, error))?;
    let metadata = file.metadata().map_err(|error| SinkError::of_io("look at", path, error))?;
    match kind_of(metadata.mode()) {
        None => Ok(file),
        Some(kind) => Err(SinkError::NotAFile { path: path.to_owned(), kind }),
    }
}

/// What a mode says that a thing is, if it is no regular file.
fn kind_of(mode: libc::mode_t) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFSOCK => Some("a socket"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        _ => Some("a device"),
    }
}

/// Tells whether a file is still the same and unchanged. Unlike the time of modification, the time of change cannot be set by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    inode: u64,
    changed: (i64, i64),
}

/// A directory, held open so that nobody can exchange it for a link in the middle of our work.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that the platform named; a link to one is followed.
    pub(super) fn open(path: &Path) -> Result<Self, SinkError> {
        // O_PATH: no right to list it is needed for what is done relative to it.
        Self::open_with(path, OFlag::O_PATH)
    }

    /// Opens a directory that holds what an agent wrote; a link is refused. It can be listed.
    pub(super) fn open_strictly(path: &Path) -> Result<Self, SinkError> {
        match Self::open_with(path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW) {
            // O_DIRECTORY with O_NOFOLLOW says ENOTDIR of a link.
            Err(SinkError::NotADirectory(path)) if path.symlink_metadata().is_ok_and(|data| data.is_symlink()) => {
                Err(SinkError::Link(path))
            }
            other => other,
        }
    }

    fn open_with(path: &Path, flags: OFlag) -> Result<Self, SinkError> {
        let flags = flags | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| SinkError::of_errno("open", path, errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The path of something in it.
    pub(super) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The names in it, at most `most`, sorted.
    pub(super) fn names(&self, most: usize) -> Result<Vec<std::ffi::OsString>, SinkError> {
        use std::os::unix::ffi::OsStringExt;
        let failed = |errno| SinkError::of_errno("list", &self.path, errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(std::ffi::OsString::from_vec(name));
            }
            if names.len() == most {
                break;
            }
        }
        names.sort();
        Ok(names)
    }

    fn stat(&self, name: &Path) -> Result<Option<FileStat>, SinkError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(SinkError::of_errno("look at", &self.join(name), errno)),
        }
    }

    /// What stands under this name, if something does.
    pub(super) fn identity(&self, name: &Path) -> Result<Option<Identity>, SinkError> {
        Ok(self.stat(name)?.map(|stat| Identity { inode: stat.st_ino, changed: (stat.st_ctime, stat.st_ctime_nsec) }))
    }

    /// How long a file is; 0 for what cannot be looked at, which reading it will tell.
    pub(super) fn length(&self, name: &Path) -> i64 {
        self.stat(name).ok().flatten().map_or(0, |stat| stat.st_size)
    }

    /// Writes a file so that a reader sees the old one or the new one, never a part.
    pub(super) fn replace(&self, name: &Path, bytes: &[u8], in_the_way: InTheWay) -> Result<(), SinkError> {
        let path = self.join(name);
        if let Some(kind) = self.stat(name)?.and_then(|stat| kind_of(stat.st_mode)) {
            match (kind, in_the_way) {
                ("a symbolic link", InTheWay::Keep) => return Err(SinkError::Link(path)),
                ("a directory", _) | (_, InTheWay::Keep) => return Err(SinkError::NotAFile { path, kind }),
                (_, InTheWay::Replace) => {}
            }
        }
        let (temporary, mut file) = self.create_temporary(&path)?;
        let written = fchmod(&file, RESULT_MODE)
            .map_err(|errno| SinkError::of_errno("set the mode of", &path, errno))
            .and_then(|()| file.write_all(bytes).map_err(|error| SinkError::of_io("write", &path, error)))
            .and_then(|()| {
                renameat(&self.fd, temporary.as_path(), &self.fd, name).map_err(|errno| SinkError::of_errno("replace", &path, errno))
            });
        if written.is_err() {
            // The error that counts is the first one; if this fails too, an empty file with a dot in front stays.
            let _ = unlinkat(&self.fd, temporary.as_path(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn create_temporary(&self, path: &Path) -> Result<(PathBuf, File), SinkError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | CAREFUL;
        let mut last = Errno::EEXIST;
        for _ in 0..TEMPORARY_TRIES {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = PathBuf::from(format!(".agent-runner.{}.{number}.tmp", std::process::id()));
            match openat(&self.fd, name.as_path(), flags, RESULT_MODE) {
                Ok(fd) => return Ok((name, File::from(fd))),
                Err(errno) => last = errno,
            }
            if last != Errno::EEXIST {
                break;
            }
            // Left by an earlier container on the same volume that was killed here and had our process id. Whether it goes shows at the
            // next try.
            let _ = unlinkat(&self.fd, name.as_path(), UnlinkatFlags::NoRemoveDir);
        }
        Err(SinkError::of_errno("write", path, last))
    }

    /// Removes what stands there under this name, unless it is a directory. That nothing is there is no error.
    pub(super) fn remove(&self, name: &Path) -> Result<(), SinkError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(SinkError::of_errno("remove", &self.join(name), errno)),
        }
    }

    /// Reads a regular file of at most `limit` bytes of text that stands right here, not behind a link.
    pub(super) fn read_text(&self, name: &Path, limit: u64) -> Result<String, SinkError> {
        let path = self.join(name);
        let fd =
            openat(&self.fd, name, OFlag::O_RDONLY | CAREFUL, Mode::empty()).map_err(|errno| SinkError::of_errno("read", &path, errno))?;
        read_text(File::from(fd), path, limit)
    }

    /// The same for a path of several parts below here. Links are followed as long as they stay below.
    pub(super) fn read_text_beneath(&self, relative: &Path, limit: u64) -> Result<String, SinkError> {
        let path = self.join(relative);
        let fd = self.open_beneath(relative).map_err(|errno| match errno {
            Errno::EXDEV => SinkError::OutsideWorkTree(path.clone()),
            errno => SinkError::of_errno("read", &path, errno),
        })?;
        read_text(File::from(fd), path, limit)
    }

    fn open_beneath(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        for _ in 0..4 {
            match openat2(&self.fd, relative, OpenHow::new().flags(flags).resolve(resolve)) {
                // Somebody renamed directories meanwhile, so the kernel could not tell; see openat2(2).
                Err(Errno::EAGAIN) => {}
                // Kernels before 5.6, gVisor, and seccomp profiles that do not know the call.
                Err(Errno::ENOSYS | Errno::EPERM) => return self.walk_beneath(relative, flags),
                result => return result,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Part by part, where the kernel cannot do it at once. No link is followed then, not even one that would stay below.
    fn walk_beneath(&self, relative: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        use std::path::Component;
        let parts: Vec<_> = relative.components().filter(|part| *part != Component::CurDir).collect();
        let Some((last, parents)) = parts.split_last() else { return Err(Errno::EISDIR) };
        if parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Errno::EXDEV);
        }
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for part in parents {
            let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = openat(from, part.as_os_str(), directory, Mode::empty())?;
            at = Some(next);
        }
        openat(at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd), last.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty())
    }
}

fn read_text(file: File, path: PathBuf, limit: u64) -> Result<String, SinkError> {
    let stat = fstat(&file).map_err(|errno| SinkError::of_errno("look at", &path, errno))?;
    if let Some(kind) = kind_of(stat.st_mode) {
        return Err(SinkError::NotAFile { path, kind });
    }
    let mut bytes = Vec::new();
    // One byte more tells whether it grew while it was read.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| SinkError::of_io("read", &path, error))?;
    if bytes.len() as u64 > limit {
        let bytes = u64::try_from(stat.st_size).unwrap_or(limit).max(limit + 1);
        return Err(SinkError::TooLarge { path, bytes, limit });
    }
    String::from_utf8(bytes).map_err(|_| SinkError::NotText(path))
}

/// Writes a file of ours: replaced atomically, or in place where it is a mount of its own or its directory may not be written.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let (Some(name), parent) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else {
        return Err(SinkError::NotAFile { path: path.to_owned(), kind: "a directory" });
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let error = match Directory::open(parent).and_then(|directory| directory.replace(Path::new(name), bytes, InTheWay::Keep)) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let in_place = match &error {
        SinkError::Denied { .. } | SinkError::ReadOnly(_) => true,
        SinkError::Io { source, .. } => matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EXDEV)),
        _ => false,
    };
    if !in_place {
        return Err(error);
    }
    // What hinders the second way says more, unless there is no file to take it.
    match open_in_place(path) {
        Err(SinkError::Missing(_)) => Err(error),
        Err(error) => Err(error),
        Ok(mut file) => {
            file.write_all(bytes).map_err(|error| SinkError::of_io("write", path, error))?;
            file.set_len(bytes.len() as u64).map_err(|error| SinkError::of_io("cut", path, error))
        }
    }
}

/// An error if a directory lies within a repository's work tree.
pub(super) fn outside_repository(directory: &Path, repository: &Path) -> Result<(), SinkError> {
    // The directory may not exist yet; then its nearest parent that does says where it will be.
    let existing = directory.ancestors().find_map(|ancestor| {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        ancestor.canonicalize().ok()
    });
    match (existing, repository.canonicalize()) {
        (Some(existing), Ok(tree)) if existing.starts_with(&tree) => {
            Err(SinkError::InsideRepository { path: directory.to_owned(), repository: repository.to_owned() })
        }
        _ => Ok(()),
    }
}

/// True for what `read_dir` of a results directory passes over: our own temporary files.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(".agent-runner.") && name.ends_with(".tmp")
}
