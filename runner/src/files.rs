//! Directories in which a link must not lead us astray.
//!
//! A path is only as safe as its weakest component: whoever can put a link anywhere on it chooses the file that is written. So a
//! [`Directory`] is an open descriptor, and everything below it is reached name by name with `openat(2)` and `O_NOFOLLOW`. Only
//! the path to the first one is taken as it is: it must be one that we chose. (`openat2(2)` could do the same in one call, but
//! sandboxes such as gVisor and older seccomp profiles refuse it.)
//!
//! Every write is a new file that is renamed into place: a reader sees the old content or the new, never half of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

/// Why a file below a directory could not be reached, read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A component of the path is a link.
    #[error("`{path}` is a symbolic link, and is not followed")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// There is something, and it is not what was expected.
    #[error("`{path}` is not {expected}")]
    NotA {
        /// What is there.
        path: PathBuf,
        /// What was expected: `a directory`, `a regular file`.
        expected: &'static str,
    },
    /// The path leads out of the directory: it is absolute, or has `..` in it.
    #[error("`{path}` leads out of its directory")]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than it may be.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was allowed.
        limit: u64,
    },
    /// The system refused.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// What was tried: `open`, `write`, …
        doing: &'static str,
        /// What with.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    /// Whether it says that there is nothing at that path.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// Device and inode: the same directory under any name, bind mounts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// Which directory or file a path leads to, with every link followed.
///
/// # Errors
/// There is none, or it cannot be looked at.
pub fn identity_of(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// Whether two paths lead to one directory or file.
#[must_use]
pub fn is_same(one: &Path, other: &Path) -> bool {
    identity_of(one).is_ok_and(|one| identity_of(other).is_ok_and(|other| one == other))
}

/// An open directory, and the path by which it is called in messages.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// With `O_PATH` a directory need not be readable: `/home` often lets people through without letting them look.
const OPEN_DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

/// The names of a relative path.
fn names(path: &Path) -> Result<Vec<&Path>, FileError> {
    path.components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(Path::new(name)),
            _ => Err(FileError::Outside { path: path.to_owned() }),
        })
        .collect()
}

impl Directory {
    /// Opens a directory that we chose: links on the way to it are followed.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let fd = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| FileError::io("open", path, errno))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// By what path it was reached.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its device and inode.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn identity(&self) -> Result<Identity, FileError> {
        let stat = fstat(&self.fd).map_err(|errno| FileError::io("look at", &self.path, errno))?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Whether it is that directory, or anywhere below it.
    ///
    /// # Errors
    /// A directory above it cannot be looked at.
    pub fn is_within(&self, other: Identity) -> Result<bool, FileError> {
        let mut at = self.identity()?;
        let mut above =
            Self { fd: self.fd.try_clone().map_err(|error| FileError::io("open", &self.path, error))?, path: self.path.clone() };
        loop {
            if at == other {
                return Ok(true);
            }
            let fd =
                openat(&above.fd, "..", OPEN_DIRECTORY, Mode::empty()).map_err(|errno| FileError::io("look above", &self.path, errno))?;
            above = Self { fd, path: self.path.clone() };
            let next = above.identity()?;
            // The parent of the root is the root.
            if next == at {
                return Ok(false);
            }
            at = next;
        }
    }

    /// The directory of a name, if it is one and no link.
    fn enter(&self, name: &Path) -> Result<Self, FileError> {
        let path = self.path.join(name);
        match openat(&self.fd, name, OPEN_DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            // With O_DIRECTORY, Linux says ENOTDIR of a link too.
            Err(Errno::ELOOP | Errno::ENOTDIR) => match self.kind_of(name)? {
                Some(Kind::Link) => Err(FileError::Link { path }),
                _ => Err(FileError::NotA { path, expected: "a directory" }),
            },
            Err(errno) => Err(FileError::io("open", &path, errno)),
        }
    }

    /// The directory of a path below this one; no link is followed.
    ///
    /// # Errors
    /// A component is missing, a link, or no directory.
    pub fn descend(&self, path: &Path) -> Result<Self, FileError> {
        let mut at = Self { fd: self.fd.try_clone().map_err(|error| FileError::io("open", &self.path, error))?, path: self.path.clone() };
        for name in names(path)? {
            at = at.enter(name)?;
        }
        Ok(at)
    }

    /// The same, and directories that are missing are made with these permissions.
    ///
    /// # Errors
    /// A component is a link or no directory, or cannot be made.
    pub fn descend_or_make(&self, path: &Path, permissions: u32) -> Result<Self, FileError> {
        let mut at = self.descend(Path::new(""))?;
        for name in names(path)? {
            at = match at.enter(name) {
                Err(error) if error.is_missing() => {
                    let below = at.path.join(name);
                    match mkdirat(&at.fd, name, Mode::from_bits_truncate(permissions)) {
                        // Somebody else was faster; what they made is looked at like any other.
                        Ok(()) | Err(Errno::EEXIST) => at.enter(name)?,
                        Err(errno) => return Err(FileError::io("make", &below, errno)),
                    }
                }
                other => other?,
            };
        }
        Ok(at)
    }

    /// What a name in this directory stands for; `None` if there is nothing.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn kind_of(&self, name: &Path) -> Result<Option<Kind>, FileError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(kind(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(FileError::io("look at", &self.path.join(name), errno)),
        }
    }

    /// The content and permissions of a regular file; `None` if there is nothing.
    ///
    /// # Errors
    /// It is a link or no regular file, larger than `limit`, or cannot be read.
    pub fn read(&self, name: &Path, limit: u64) -> Result<Option<(Vec<u8>, u32)>, FileError> {
        let Some((file, stat)) = self.open_file(name)? else { return Ok(None) };
        let path = self.path.join(name);
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content).map_err(|error| FileError::io("read", &path, error))?;
        if content.len() as u64 > limit {
            return Err(FileError::TooLarge { path, limit });
        }
        Ok(Some((content, stat.st_mode & 0o7777)))
    }

    /// A regular file, open for reading, and what the system says of it; `None` if there is nothing.
    ///
    /// # Errors
    /// It is a link or no regular file, or cannot be opened.
    pub fn open_file(&self, name: &Path) -> Result<Option<(File, FileStat)>, FileError> {
        let path = self.path.join(name);
        // Non-blocking, since a pipe in a file's place would make the open itself wait.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(FileError::Link { path }),
            Err(Errno::ENXIO) => return Err(FileError::NotA { path, expected: "a regular file" }),
            Err(errno) => return Err(FileError::io("open", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| FileError::io("look at", &path, errno))?;
        if kind(&stat) != Kind::File {
            return Err(FileError::NotA { path, expected: "a regular file" });
        }
        Ok(Some((File::from(fd), stat)))
    }

    /// Puts a file in place of what has that name, in one step. A link or anything else but a regular file there is an error.
    ///
    /// # Errors
    /// Something is in the way, or the system refused; what was there is still there then.
    pub fn write(&self, name: &Path, mut content: &[u8], permissions: u32) -> Result<(), FileError> {
        self.write_from(name, &mut content, permissions)
    }

    /// [`Self::write`] with the content read from somewhere else.
    ///
    /// # Errors
    /// As there, and if it cannot be read.
    pub fn write_from(&self, name: &Path, content: &mut dyn Read, permissions: u32) -> Result<(), FileError> {
        let path = self.path.join(name);
        self.expect_file_or_nothing(name)?;
        let temporary = self.temporary_name(name);
        let written = self
            .write_new(&temporary, content, permissions)
            .and_then(|()| renameat(&self.fd, &temporary, &self.fd, name).map_err(|errno| FileError::io("put in place", &path, errno)));
        if written.is_err() {
            // The first error is the one to report, and what cannot be removed now is named so that a person knows whose it is.
            let _ = unlinkat(&self.fd, &temporary, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Puts a link of another directory here, leading where it leads there. A file or link of that name goes.
    ///
    /// # Errors
    /// There is no such link, something else is in the way, or the system refused.
    pub fn copy_link(&self, from: &Self, name: &Path) -> Result<(), FileError> {
        let path = self.path.join(name);
        let target = readlinkat(&from.fd, name).map_err(|errno| FileError::io("read", &from.path.join(name), errno))?;
        if !matches!(self.kind_of(name)?, None | Some(Kind::File | Kind::Link)) {
            return Err(FileError::NotA { path, expected: "a symbolic link" });
        }
        let temporary = self.temporary_name(name);
        symlinkat(target.as_os_str(), &self.fd, &temporary).map_err(|errno| FileError::io("create", &path, errno))?;
        let placed = renameat(&self.fd, &temporary, &self.fd, name).map_err(|errno| FileError::io("put in place", &path, errno));
        if placed.is_err() {
            // The first error is the one to report.
            let _ = unlinkat(&self.fd, &temporary, UnlinkatFlags::NoRemoveDir);
        }
        placed
    }

    /// The check of [`Self::write`] alone.
    ///
    /// # Errors
    /// Something else but a regular file has that name.
    pub fn expect_file_or_nothing(&self, name: &Path) -> Result<Option<Kind>, FileError> {
        let path = self.path.join(name);
        match self.kind_of(name)? {
            found @ (None | Some(Kind::File)) => Ok(found),
            Some(Kind::Link) => Err(FileError::Link { path }),
            Some(_) => Err(FileError::NotA { path, expected: "a regular file" }),
        }
    }

    fn temporary_name(&self, name: &Path) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        // A name may be 255 bytes long; what is added must fit.
        let stem = &name.as_os_str().as_bytes()[..name.as_os_str().len().min(200)];
        temporary.push(std::ffi::OsStr::from_bytes(stem));
        temporary.push(format!(".agent-runner-{}-{number}", std::process::id()));
        temporary.into()
    }

    fn write_new(&self, name: &Path, content: &mut dyn Read, permissions: u32) -> Result<(), FileError> {
        let path = self.path.join(name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Private until it is whole: the permissions asked for are given last, and past the umask.
        let open = || openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        // One that is there was left by a runner that was killed and had our process id, as all have that are first in their containers.
        let opened = open().or_else(|errno| match errno {
            Errno::EEXIST => unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir).and_then(|()| open()),
            errno => Err(errno),
        });
        let fd = opened.map_err(|errno| FileError::io("create", &path, errno))?;
        let mut file = File::from(fd);
        io::copy(content, &mut file).map_err(|error| FileError::io("write", &path, error))?;
        fchmod(file.as_fd(), Mode::from_bits_truncate(permissions)).map_err(|errno| FileError::io("set permissions of", &path, errno))
    }

    /// Removes a regular file. True if there was one.
    ///
    /// # Errors
    /// It is a link or something else, or cannot be removed.
    pub fn remove(&self, name: &Path) -> Result<bool, FileError> {
        if self.expect_file_or_nothing(name)?.is_none() {
            return Ok(false);
        }
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| FileError::io("remove", &self.path.join(name), errno))?;
        Ok(true)
    }

    /// Removes whatever stands there but a directory: of a link the link itself.
    ///
    /// # Errors
    /// It is a directory, or cannot be removed.
    pub fn unlink(&self, name: &Path) -> Result<(), FileError> {
        unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| FileError::io("remove", &self.path.join(name), errno))
    }

    /// Removes a directory if nothing is in it. True if it is gone.
    #[must_use]
    pub fn remove_if_empty(&self, name: &Path) -> bool {
        unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir).is_ok()
    }

    /// The names in it and what they stand for, sorted.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn entries(&self) -> Result<Vec<(PathBuf, Kind)>, FileError> {
        // A descriptor that can be read, and has a position of its own.
        let failed = |errno| FileError::io("list", &self.path, errno);
        let fd = openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in nix::dir::Dir::from_fd(fd).map_err(failed)?.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(PathBuf::from(std::ffi::OsStr::from_bytes(name)));
            }
        }
        names.sort();
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            // What vanished meanwhile is left out.
            if let Some(kind) = self.kind_of(&name)? {
                entries.push((name, kind));
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_anywhere_on_the_path_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("real")).unwrap();
        symlink(elsewhere.path(), place.path().join("link")).unwrap();
        symlink(elsewhere.path(), place.path().join("real/link")).unwrap();
        symlink("/etc/passwd", place.path().join("real/file")).unwrap();
        let root = Directory::open(place.path()).unwrap();
        for path in ["link", "link/x", "real/link", "real/link/y/z"] {
            assert!(matches!(root.descend_or_make(Path::new(path), 0o755), Err(FileError::Link { .. })), "{path}");
        }
        let real = root.descend(Path::new("real")).unwrap();
        assert!(matches!(real.write(Path::new("file"), b"x", 0o644), Err(FileError::Link { .. })));
        assert!(matches!(real.read(Path::new("file"), 10), Err(FileError::Link { .. })));
        assert!(matches!(real.remove(Path::new("file")), Err(FileError::Link { .. })));
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert_eq!(real.entries().unwrap(), [("file".into(), Kind::Link), ("link".into(), Kind::Link)]);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let root = Directory::open(place.path()).unwrap();
        for path in ["..", "a/../..", "/etc"] {
            assert!(matches!(root.descend_or_make(Path::new(path), 0o755), Err(FileError::Outside { .. })), "{path}");
        }
    }

    #[test]
    fn a_write_is_whole_private_from_the_start_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let root = Directory::open(place.path()).unwrap();
        let below = root.descend_or_make(Path::new("a/b"), 0o700).unwrap();
        let name = "n".repeat(255);
        below.write(Path::new(&name), b"one", 0o600).unwrap();
        below.write(Path::new(&name), b"two", 0o600).unwrap();
        assert_eq!(below.read(Path::new(&name), 10).unwrap(), Some((b"two".to_vec(), 0o600)));
        assert_eq!(below.entries().unwrap(), [(name.into(), Kind::File)]);
        let mode = std::fs::metadata(place.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_written_nor_waited_for() {
        let place = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&place.path().join("pipe"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(place.path().join("dir")).unwrap();
        let root = Directory::open(place.path()).unwrap();
        for name in ["pipe", "dir"] {
            assert!(matches!(root.read(Path::new(name), 10), Err(FileError::NotA { .. })), "{name}");
            assert!(matches!(root.write(Path::new(name), b"", 0o600), Err(FileError::NotA { .. })), "{name}");
        }
        std::fs::write(place.path().join("big"), [0; 11]).unwrap();
        assert!(matches!(root.read(Path::new("big"), 10), Err(FileError::TooLarge { .. })));
        assert_eq!(root.read(Path::new("none"), 10).unwrap(), None);
    }

    #[test]
    fn knows_a_directory_by_any_name() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("tree/sub")).unwrap();
        symlink(place.path().join("tree/sub"), place.path().join("alias")).unwrap();
        let tree = identity_of(&place.path().join("tree")).unwrap();
        assert!(Directory::open(&place.path().join("alias")).unwrap().is_within(tree).unwrap());
        assert!(Directory::open(&place.path().join("tree")).unwrap().is_within(tree).unwrap());
        assert!(!Directory::open(place.path()).unwrap().is_within(tree).unwrap());
    }

    #[test]
    fn what_a_killed_writer_of_the_same_process_id_left_is_in_nobodys_way() {
        let place = tempfile::tempdir().unwrap();
        let root = Directory::open(place.path()).unwrap();
        let name = Path::new("file");
        let taken = root.temporary_name(name);
        let (stem, number) = taken.to_str().unwrap().rsplit_once('-').unwrap();
        // Other tests count, too.
        for number in (1..1000).map(|more| number.parse::<u64>().unwrap() + more) {
            std::fs::write(place.path().join(format!("{stem}-{number}")), "half").unwrap();
        }
        root.write(name, b"whole", 0o600).unwrap();
        assert_eq!(root.read(name, 10).unwrap(), Some((b"whole".to_vec(), 0o600)));
    }
}
