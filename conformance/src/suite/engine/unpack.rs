//! Layers to a root file system on the host. They come from strangers: nothing is written through a link that leads out.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::archive::{self, Entry, Kind};
use super::inside;
use super::tree::{Whiteout, whiteout};

/// What all layers of an image may hold when they are unpacked.
pub(super) const LIMIT: u64 = 32 << 30;

/// Lays a layer over what is in the directory. `left` is what may still be written.
pub(super) fn unpack(layer: impl Read, root: &Path, left: &mut u64) -> io::Result<()> {
    let mut new = BTreeSet::new();
    let mut directories = Vec::new();
    archive::entries(layer, |entry, contents| {
        let place = place(root, &entry.path)?;
        match whiteout(&place) {
            Some(Whiteout::File(gone)) => remove(&gone),
            Some(Whiteout::Opaque(dir)) => clear(&dir, &new),
            None => {
                *left = left.checked_sub(entry.size).ok_or_else(|| io::Error::other(format!("the image holds more than {LIMIT} bytes")))?;
                write(root, &place, &entry, contents)?;
                if entry.kind == Kind::Directory {
                    directories.push(entry);
                }
                new.insert(place);
                Ok(())
            }
        }
    })?;
    // at the end, since a directory that cannot be written would take none of its files
    for entry in directories.iter().rev() {
        // what the archive has put in its place since then may be a link
        let place = place(root, &entry.path)?;
        if fs::symlink_metadata(&place).is_ok_and(|there| there.is_dir()) {
            own(&place, entry)?;
        }
    }
    Ok(())
}

/// Where an entry comes to stand: links of its directory are followed inside of the root, the entry's own is not.
fn place(root: &Path, path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(inside::resolve(root, parent)?.join(name)),
        _ => Ok(root.to_owned()),
    }
}

fn write(root: &Path, place: &Path, entry: &Entry, contents: &mut dyn Read) -> io::Result<()> {
    if place != root {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let there = fs::symlink_metadata(place);
        if there.is_ok_and(|there| !(there.is_dir() && entry.kind == Kind::Directory)) {
            remove(place)?;
        }
    }
    match &entry.kind {
        Kind::Directory => {
            fs::create_dir_all(place)?;
            fs::set_permissions(place, Permissions::from_mode(0o755))
        }
        Kind::File => {
            let mut file = File::create_new(place)?;
            io::copy(&mut contents.take(entry.size), &mut file)?;
            own(place, entry)
        }
        Kind::Link(target) => {
            symlink(target, place)?;
            if geteuid().is_root() { lchown(place, Some(entry.uid), Some(entry.gid)) } else { Ok(()) }
        }
        Kind::HardLink(target) => fs::hard_link(self::place(root, target)?, place),
        // a device of a stranger is not made; those that are needed, engines mount
        Kind::Other => Ok(()),
    }
}

/// Owner first, since a change of it takes the set-user-ID bit away.
fn own(place: &Path, entry: &Entry) -> io::Result<()> {
    if geteuid().is_root() {
        lchown(place, Some(entry.uid), Some(entry.gid))?;
    }
    fs::set_permissions(place, Permissions::from_mode(entry.mode))
}

fn remove(place: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(place) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(error) => Err(error),
    };
    match result {
        // a whiteout of what is not there hides nothing
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Takes away what lower layers have in a directory.
fn clear(dir: &Path, new: &BTreeSet<PathBuf>) -> io::Result<()> {
    if !fs::symlink_metadata(dir).is_ok_and(|there| there.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !new.iter().any(|kept| kept.starts_with(&path)) {
            remove(&path)?;
        }
    }
    Ok(())
}
