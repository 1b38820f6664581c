//! The root file system of a container: the image's with a layer over it that can be written, and the file systems that belong in it.
//!
//! All is mounted in a mount namespace of our own and gone with it. The image's files are not changed.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::super::inside;
use super::{Namespace, bundle_directory, depth, scratch_directory};

/// Devices that every container has.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// What would let an image change the host, so that it can only be read: as runc has it.
pub(in crate::suite::engine) const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What would tell an image of the host, so that it is empty: as runc has it.
pub(in crate::suite::engine) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];

const NONE: Option<&str> = None;

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> io::Error {
    move |error| io::Error::other(format!("cannot {what}: {error}"))
}

/// Whether an image's root file system can be had here; and what is to be known of how.
pub(super) fn probe() -> io::Result<Option<String>> {
    private()?;
    let place = tempfile::tempdir()?;
    let work = place.path();
    let tried = tmpfs(work, "size=1m").and_then(|()| {
        fs::create_dir(work.join("image"))?;
        Ok(overlay(&work.join("image"), work).is_err())
    });
    // a directory with mounts in it cannot be removed
    let _ = umount2(&work.join("root"), MntFlags::MNT_DETACH);
    let _ = umount2(work, MntFlags::MNT_DETACH);
    Ok(tried?.then(|| "the image is copied for each start, since overlay file systems cannot be mounted here".to_owned()))
}

/// Makes the root file system without anything in it but the image's files, for runc to do the rest.
pub(super) fn make_for_runc(namespace: &Namespace) -> io::Result<()> {
    let root = layered(namespace)?;
    bind(&root, &bundle_directory(&namespace.work).join("rootfs"), false)?;
    let scratch = namespace.work.join("scratch");
    fs::create_dir(&scratch)?;
    tmpfs(&scratch, "mode=0755")?;
    for index in 0..namespace.scratch.len() {
        let place = scratch_directory(&namespace.work, index);
        fs::create_dir(&place)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}

/// Makes the root file system, and says where it is.
pub(super) fn make(namespace: &Namespace) -> io::Result<PathBuf> {
    let root = layered(namespace)?;
    devices(&root)?;
    mount(Some("sysfs"), &inside::make(&root, Path::new("/sys"), true)?, Some("sysfs"), FIXED | MsFlags::MS_RDONLY, NONE)
        .map_err(failed("mount /sys"))?;
    inside::make(&root, Path::new("/proc"), true)?;
    let scratch = namespace.scratch.iter().map(|path| (path, None));
    let mounts = namespace.mounts.iter().map(|mount| (&mount.container, Some(mount)));
    let mut wanted: Vec<_> = scratch.chain(mounts).collect();
    // parents before what is below them
    wanted.sort_by_key(|(path, _)| depth(path));
    for (path, bind) in wanted {
        match bind {
            None => tmpfs(&inside::make(&root, path, true)?, "mode=1777")?,
            Some(wish) => bind_host(&root, &wish.host, &wish.container, wish.read_only)?,
        }
    }
    Ok(root)
}

const FIXED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC).union(MsFlags::MS_NODEV);

/// Makes it the root of the calling process, which is PID 1 by now.
pub(super) fn enter(namespace: &Namespace, root: &Path) -> io::Result<()> {
    let proc = inside::resolve(root, Path::new("/proc"))?;
    mount(Some("proc"), &proc, Some("proc"), FIXED, NONE).map_err(failed("mount /proc"))?;
    std::env::set_current_dir(root)?;
    // the old root lies over the new one for a moment: man 2 pivot_root
    pivot_root(".", ".").map_err(failed("make it the root"))?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")?;
    for path in READ_ONLY.iter().map(Path::new).filter(|path| path.exists()) {
        bind(path, path, true)?;
    }
    for path in MASKED.iter().map(Path::new).filter(|path| path.exists()) {
        if path.is_dir() {
            mount(Some("tmpfs"), path, Some("tmpfs"), FIXED | MsFlags::MS_RDONLY, Some("size=0k")).map_err(failed("mask a file"))?;
        } else {
            bind(Path::new("/dev/null"), path, true)?;
        }
    }
    if namespace.read_only {
        mount(NONE, "/", NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NONE)
            .map_err(failed("make the root read-only"))?;
    }
    Ok(())
}

/// The image's files, to be written without changing them.
fn layered(namespace: &Namespace) -> io::Result<PathBuf> {
    private()?;
    let layers = namespace.work.join("layers");
    fs::create_dir(&layers)?;
    tmpfs(&layers, "mode=0700")?;
    match overlay(&namespace.image, &layers) {
        Ok(root) => Ok(root),
        Err(_) => copy(&namespace.image, &namespace.work.join("root")),
    }
}

/// What is mounted here is seen nowhere else.
fn private() -> io::Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).map_err(failed("make mounts private"))
}

fn tmpfs(place: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options)).map_err(failed(format!("mount a tmpfs at `{}`", place.display())))
}

/// The image below, an empty layer above.
fn overlay(image: &Path, layers: &Path) -> io::Result<PathBuf> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| layers.join(name));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    // the root directory is the upper one: it must be as the image has it
    let mode = fs::metadata(image)?.permissions().mode();
    fs::set_permissions(&upper, fs::Permissions::from_mode(mode & 0o7777))?;
    let escaped = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let options = format!("lowerdir={},upperdir={},workdir={}", escaped(image), escaped(&upper), escaped(&work));
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(failed("mount an overlay"))?;
    Ok(root)
}

/// A copy of the image, which shares blocks where the file system can, and is a mount of its own.
fn copy(image: &Path, root: &Path) -> io::Result<PathBuf> {
    let copied = Command::new("cp").args(["-a", "--reflink=auto", "--"]).args([image, root]).output()?;
    if !copied.status.success() {
        return Err(io::Error::other(format!("cannot copy the image: {}", String::from_utf8_lossy(&copied.stderr).trim())));
    }
    bind(root, root, false)?;
    Ok(root.to_owned())
}

fn devices(root: &Path) -> io::Result<()> {
    let dev = inside::make(root, Path::new("/dev"), true)?;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=0755,size=64k"))
        .map_err(failed("mount /dev"))?;
    for name in DEVICES {
        let place = dev.join(name);
        fs::File::create_new(&place)?;
        bind(&Path::new("/dev").join(name), &place, false)?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    let pts = Some("newinstance,ptmxmode=0666,mode=0620");
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, pts)
        .map_err(failed("mount /dev/pts"))?;
    mount(Some("tmpfs"), &dev.join("shm"), Some("tmpfs"), FIXED, Some("mode=1777,size=64m")).map_err(failed("mount /dev/shm"))?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (target, name) in links {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}

fn bind_host(root: &Path, host: &Path, container: &Path, read_only: bool) -> io::Result<()> {
    let is_dir = fs::metadata(host).map_err(failed(format!("mount `{}`", host.display())))?.is_dir();
    bind(host, &inside::make(root, container, is_dir)?, read_only)
}

fn bind(from: &Path, to: &Path, read_only: bool) -> io::Result<()> {
    let said = || format!("mount `{}` at `{}`", from.display(), to.display());
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(failed(said()))?;
    if read_only {
        // a bind is read-only in a second step only: man 8 mount
        mount(NONE, to, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, NONE).map_err(failed(said()))?;
    }
    Ok(())
}
