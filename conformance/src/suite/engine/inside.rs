//! Paths inside a root file system that does not run: links are followed as a process would that has it as its root, so never out of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// How many links are followed, as in Linux.
const LINKS: usize = 40;

/// Where a path of the image is on the host. What is missing of it is kept as it is named, so that it can be made there.
pub(super) fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut place = PathBuf::new();
    let mut ahead: VecDeque<OsString> = words(path).collect();
    let mut links = 0;
    while let Some(word) = ahead.pop_front() {
        if word == ".." {
            // the parent of the root is the root
            place.pop();
            continue;
        }
        match fs::read_link(root.join(&place).join(&word)) {
            Ok(target) => {
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other(format!("too many links in `{}`", path.display())));
                }
                if target.is_absolute() {
                    place = PathBuf::new();
                }
                for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(word);
                }
            }
            // no link, or not there
            Err(_) => place.push(word),
        }
    }
    Ok(root.join(place))
}

/// A file of the image, if it is a regular one, and at most so much of it.
pub(super) fn read(root: &Path, path: &str, limit: u64) -> Option<String> {
    use io::Read as _;
    let place = resolve(root, Path::new(path)).ok()?;
    // a pipe would block, a device do anything
    fs::symlink_metadata(&place).ok().filter(fs::Metadata::is_file)?;
    let mut text = String::new();
    fs::File::open(place).ok()?.take(limit).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A place for a mount: the file or directory at a path of the image, made if it is not there.
pub(super) fn make(root: &Path, path: &Path, directory: bool) -> io::Result<PathBuf> {
    let place = resolve(root, path)?;
    if directory {
        fs::create_dir_all(&place)?;
    } else {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if fs::symlink_metadata(&place).is_err() {
            fs::File::create_new(&place)?;
        }
    }
    Ok(place)
}

pub(super) fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(word) => Some(word.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_never_lead_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/usr/../../../../etc", root.join("out")).unwrap();
        symlink("../../../../../tmp", root.join("usr/up")).unwrap();
        symlink("round", root.join("round")).unwrap();
        let found = |path: &str| resolve(root, Path::new(path)).unwrap().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        assert_eq!(found("/bin/claude"), "usr/bin/claude");
        assert_eq!(found("bin/../bin"), "usr/bin");
        assert_eq!(found("/out/passwd"), "etc/passwd");
        assert_eq!(found("/usr/up/x"), "tmp/x");
        assert_eq!(found("/../../etc"), "etc");
        assert!(resolve(root, Path::new("/round")).is_err());
    }
}
