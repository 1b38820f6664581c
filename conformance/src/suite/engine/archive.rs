//! Tar archives from strangers: entries one by one, with bounds on all that is kept in memory. Nothing is written here.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType, Header, PaxExtensions};

use crate::suite::stop;

/// Names that are longer than in a header. Linux takes no path longer than 4 KiB.
const NAME: u64 = 64 << 10;
/// Extended attributes of an entry.
const ATTRIBUTES: u64 = 1 << 20;
/// Entries of an image. Large ones have some hundred thousand.
const ENTRIES: u64 = 4_000_000;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// A symbolic link, with what it says.
    Link(PathBuf),
    /// Another name of an earlier file.
    HardLink(PathBuf),
    /// A device, a pipe, or what else nobody needs here.
    Other,
}

/// An entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Below the archive's root, without `.` and `..`.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A path of an archive, if it is one below its root.
pub(super) fn below(path: &Path) -> io::Result<PathBuf> {
    let mut below = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(word) => below.push(word),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(malformed(format!("a path of the archive leads out of it: `{}`", path.display())));
            }
        }
    }
    Ok(below)
}

/// The stream as it is, or what it is the compression of.
pub(super) fn decompress<'a>(mut from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::new();
    from.by_ref().take(4).read_to_end(&mut magic)?;
    let whole = io::Cursor::new(magic.clone()).chain(from);
    match magic[..] {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd] => Err(malformed("it is compressed with zstd, which this suite does not read; with gzip it does")),
        _ => Ok(Box::new(whole)),
    }
}

/// Calls for each entry, with its contents.
pub(super) fn entries(from: impl Read, mut each: impl FnMut(Entry, &mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    let mut archive = Archive::new(from);
    let (mut name, mut target) = (None, None);
    let mut count = 0;
    // raw, since the library would hold names and attributes of any size in memory
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if let Some(signal) = stop::asked() {
            return Err(io::Error::other(format!("{signal} came")));
        }
        count += 1;
        if count > ENTRIES {
            return Err(malformed(format!("it has more than {ENTRIES} entries")));
        }
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::GNULongName => name = Some(text(&mut entry, NAME)?),
            EntryType::GNULongLink => target = Some(text(&mut entry, NAME)?),
            EntryType::XHeader => {
                let attributes = bytes(&mut entry, ATTRIBUTES)?;
                for attribute in PaxExtensions::new(&attributes) {
                    let attribute = attribute?;
                    let value = || PathBuf::from(OsString::from_vec(attribute.value_bytes().to_vec()));
                    match attribute.key() {
                        Ok("path") => name = Some(value()),
                        Ok("linkpath") => target = Some(value()),
                        // a file of 8 GiB or more; its header says less, and what follows would be read from its middle
                        Ok("size") => return Err(malformed("a file in it is too large")),
                        _ => {}
                    }
                }
            }
            EntryType::XGlobalHeader => {}
            _ => {
                let made = made(&header, name.take(), target.take())?;
                each(made, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn made(header: &Header, name: Option<PathBuf>, target: Option<PathBuf>) -> io::Result<Entry> {
    let path = name.map_or_else(|| header.path().map(|path| path.into_owned()), Ok)?;
    let target = || target.map_or_else(|| Ok(header.link_name()?.unwrap_or_default().into_owned()), Ok::<_, io::Error>);
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Symlink => Kind::Link(target()?),
        EntryType::Link => Kind::HardLink(below(&target()?)?),
        _ => Kind::Other,
    };
    // a field that was left empty is root, as container engines read it
    let number = |number: io::Result<u64>| {
        number.map_or(Ok(0), |number| u32::try_from(number).map_err(|_| malformed("a user or group number is too large")))
    };
    let size = if kind == Kind::File { header.size()? } else { 0 };
    Ok(Entry { path: below(&path)?, kind, mode: header.mode()? & 0o7777, uid: number(header.uid())?, gid: number(header.gid())?, size })
}

fn bytes(from: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(malformed("a name in it is too long")) } else { Ok(bytes) }
}

fn text(from: &mut impl Read, limit: u64) -> io::Result<PathBuf> {
    let mut bytes = bytes(from, limit)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(OsString::from_vec(bytes).into())
}
