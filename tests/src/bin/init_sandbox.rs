//! Starts a program as PID 1 of a PID namespace of its own, as a container runtime would, and leaves with its code.
//!
//! `init_sandbox [--user ID] [--read-only] [--proc foreign|hidden] [--bare DIRECTORY [--bind DIRECTORY:PLACE]...] [--processes N] --
//! PROGRAM [ARGUMENT]...`; `--bare` makes an empty directory the root, with nothing in it but the system's libraries, the directories of
//! the programs, `/proc`, and what `--bind` puts there, as volumes are mounted: no shell. `--proc foreign` leaves `/proc` that of the
//! namespace outside, `hidden` mounts it with `hidepid=2`. Leaves with 125 when this machine does not let it.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{
            fs::PermissionsExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Command, exit},
};

use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{ForkResult, chdir, chroot, fork, setgid, setgroups, setuid},
};

/// What a runtime could not do for us: as `docker run` has it.
const REFUSED: i32 = 125;

#[derive(Default)]
struct Wishes {
    user: Option<u32>,
    read_only: bool,
    proc: Option<OsString>,
    bare: Option<OsString>,
    binds: Vec<(String, String)>,
    processes: Option<u64>,
    command: Vec<OsString>,
}

fn main() {
    let wishes = parse();
    if let Err(error) = unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS) {
        eprintln!("init_sandbox: no namespaces: {error}");
        exit(REFUSED);
    }
    // SAFETY: this program has no threads.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            // a test that fails leaves nobody behind
            set_pdeathsig(Signal::SIGKILL).unwrap();
            if let Err(error) = prepare(&wishes) {
                eprintln!("init_sandbox: not prepared: {error}");
                exit(REFUSED);
            }
            let error = Command::new(&wishes.command[0]).args(&wishes.command[1..]).exec();
            panic!("{}: {error}", wishes.command[0].display());
        }
        Ok(ForkResult::Parent { child }) => {
            let mut status = 0;
            // SAFETY: waits for our own child.
            while unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) } < 0 {}
            let status = std::process::ExitStatus::from_raw(status);
            exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        Err(error) => panic!("{error}"),
    }
}

fn parse() -> Wishes {
    let mut wishes = Wishes::default();
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap();
        match argument.to_str() {
            Some("--user") => wishes.user = Some(value().to_str().unwrap().parse().unwrap()),
            Some("--processes") => wishes.processes = Some(value().to_str().unwrap().parse().unwrap()),
            Some("--read-only") => wishes.read_only = true,
            Some("--proc") => wishes.proc = Some(value()),
            Some("--bare") => wishes.bare = Some(value()),
            Some("--bind") => {
                let both = value().into_string().unwrap();
                let (from, to) = both.split_once(':').unwrap();
                wishes.binds.push((from.to_owned(), to.to_owned()));
            }
            Some("--") => break,
            _ => panic!("unknown option {}", argument.display()),
        }
    }
    wishes.command = arguments.collect();
    wishes
}

fn prepare(wishes: &Wishes) -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let root = match &wishes.bare {
        Some(root) => {
            let root = Path::new(root);
            mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), none)?;
            for (from, to) in &wishes.binds {
                let place = root.join(to.trim_start_matches('/'));
                fs::create_dir_all(&place).unwrap();
                mount(Some(from.as_str()), &place, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
            }
            // After what was asked for: the checkout may be below a directory that something else is mounted over.
            for inside in [Path::new("/lib"), Path::new("/lib64"), Path::new("/usr/lib"), &programs()] {
                if !inside.exists() {
                    continue;
                }
                let place = root.join(inside.strip_prefix("/").unwrap());
                fs::create_dir_all(&place).unwrap();
                mount(Some(inside), &place, none, MsFlags::MS_BIND, none)?;
            }
            fs::create_dir(root.join("proc")).unwrap();
            root
        }
        None => {
            if wishes.user.is_some() {
                open_to_everybody(&programs())?;
            }
            Path::new("/")
        }
    };
    let hidden = wishes.proc.as_ref().map(|_| "hidepid=2");
    if wishes.proc.as_ref().is_none_or(|proc| proc != "foreign") {
        mount(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty(), hidden)?;
    }
    if wishes.read_only {
        // a root that is no mount of its own is made one
        mount(Some(root), root, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
        chdir(root)?;
        mount(none, root, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, none)?;
    }
    if wishes.bare.is_some() {
        chdir(root)?;
        chroot(".")?;
        chdir("/")?;
    }
    if let Some(user) = wishes.user {
        setgroups(&[])?;
        setgid(user.into())?;
        setuid(user.into())?;
        // the change of user has cleared it
        set_pdeathsig(Signal::SIGKILL)?;
    }
    if let Some(processes) = wishes.processes {
        setrlimit(Resource::RLIMIT_NPROC, processes, processes)?;
    }
    Ok(())
}

/// Where the tests' programs are.
fn programs() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Lets every user of the sandbox reach a directory, also one below somebody's private directory: in the place of that is an empty one, in
/// which only the way to the directory stands.
fn open_to_everybody(directory: &Path) -> nix::Result<()> {
    let is_private = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o001 == 0;
    // From the inside outwards, each with what is in it on this way.
    let way = directory.ancestors().skip(1).zip(directory.ancestors());
    let private: Vec<(&Path, &Path)> = way.filter(|(path, _)| is_private(path)).collect();
    let (Some((_, inside)), Some((outermost, _))) = (private.first(), private.last()) else { return Ok(()) };
    let kept = File::open(inside).unwrap();
    mount(Some("tmpfs"), *outermost, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    fs::create_dir_all(inside).unwrap();
    let kept = format!("/proc/self/fd/{}", kept.as_raw_fd());
    mount(Some(kept.as_str()), *inside, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
}
