//! Engine `runc`: an OCI runtime on a root file system, without a container engine. Needs root and cgroups that may be written.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::account::Account;
use super::launch::{self, MASKED, Namespace as Wishes, Plan, READ_ONLY, default_capabilities, depth};
use super::process::{Process, process};
use super::rootfs::Rootfs;
use super::typed::words;
use super::{Container, Engine, EngineError, Mount, Program, Start, Typed, account};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "runc";

/// See the [module](self).
#[derive(Debug)]
pub struct Runc {
    image: Rootfs,
    program: Program,
}

impl Runc {
    /// The engine, with an image whose root file system lies in a directory.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn new(subject: Subject, root: &Path, program: Program) -> Result<Self, EngineError> {
        Self::of(Rootfs::known(subject, root), program)
    }

    /// The same with one that may be gone when it is no longer needed.
    ///
    /// # Errors
    /// It cannot be used here.
    pub fn of(image: Rootfs, program: Program) -> Result<Self, EngineError> {
        usable(&program).map_err(|why| EngineError::Unusable { engine: NAME, why })?;
        Ok(Self { image, program })
    }
}

/// Whether it can be used here, with its version and what is to be known of how; or why not.
///
/// # Errors
/// Why not.
pub fn usable(program: &Program) -> Result<String, String> {
    let output = Command::new(NAME).arg("--version").output().map_err(|error| format!("`{NAME}`: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout);
    let version = version.lines().next().unwrap_or_default().trim_start_matches("runc version ").to_owned();
    let note = launch::probe(program)?;
    Ok(note.map_or_else(|| version.clone(), |note| format!("{version}; {note}")))
}

impl Engine for Runc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        Ability::ALL.into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        Ok(self.image.subject.clone())
    }

    fn start(&self, start: &Start) -> Result<Box<dyn Container>, EngineError> {
        let failed = |why: String| EngineError::Failed { engine: NAME, what: "start the image", why };
        let config = &self.image.subject.config;
        let account = account::of_start(&self.image.root, &config.user, start.user).map_err(failed)?;
        let process = process(NAME, config, &account, start)?;
        let work = launch::work(NAME)?;
        let namespace = self.wishes(account, start, work.path());
        write_bundle(work.path(), &bundle(&namespace, &process)).map_err(|error| failed(error.to_string()))?;
        let plan = Plan { args: process.args, env: process.env, cwd: process.cwd.into(), namespace: Some(namespace) };
        Ok(Box::new(launch::launch(NAME, &self.program, &plan, start, work)?))
    }

    fn typed(&self, start: &Start, name: &str, place: &Path) -> Result<Option<Typed>, EngineError> {
        let failed = |why: String| EngineError::Failed { engine: NAME, what: "start the image", why };
        let config = &self.image.subject.config;
        let account = account::of_start(&self.image.root, &config.user, start.user).map_err(failed)?;
        let process = process(NAME, config, &account, start)?;
        let wishes = self.wishes(account, start, place);
        write_bundle(place, &bundle(&wishes, &process)).map_err(|error| failed(error.to_string()))?;
        for index in 0..start.scratch.len() {
            let scratch = launch::scratch_directory(place, index);
            let made = fs::create_dir_all(&scratch).and_then(|()| fs::set_permissions(&scratch, Permissions::from_mode(0o1777)));
            made.map_err(|error| failed(error.to_string()))?;
        }
        let bundle = launch::bundle_directory(place);
        let (root, bundle) = (self.image.root.display().to_string(), bundle.display().to_string());
        // the suite lays a layer over the image's files; a copy does the same for somebody who has time
        let copy = words(["cp", "-a", &format!("{root}/."), &format!("{bundle}/rootfs/")]);
        let run = words([NAME, "run", "--bundle", &bundle, name]);
        Ok(Some(Typed { start: vec![copy, run], signal: Some(words([NAME, "kill", name])) }))
    }
}

impl Runc {
    fn wishes(&self, account: Account, start: &Start, work: &Path) -> Wishes {
        Wishes {
            image: self.image.root.clone(),
            work: work.to_owned(),
            user: (account.uid, account.gid, account.groups),
            mounts: start.mounts.clone(),
            scratch: start.scratch.clone(),
            read_only: start.read_only,
            no_capabilities: start.no_capabilities,
            pids_limit: start.pids_limit,
            runc: true,
        }
    }
}

/// The bundle's configuration holds the environment, so it is for nobody else.
fn write_bundle(work: &Path, config: &Value) -> std::io::Result<()> {
    let bundle = launch::bundle_directory(work);
    fs::create_dir_all(bundle.join("rootfs"))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(bundle.join("config.json"))?;
    file.write_all(&serde_json::to_vec(config)?)
}

/// The configuration of a bundle (<https://github.com/opencontainers/runtime-spec/blob/main/config.md>).
fn bundle(wishes: &Wishes, process: &Process) -> Value {
    let capabilities = if wishes.no_capabilities { Vec::new() } else { default_capabilities() };
    let (uid, gid, groups) = &wishes.user;
    let held = if *uid == 0 { capabilities.clone() } else { Vec::new() };
    let env: Vec<String> = process.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let namespaces = ["pid", "mount", "uts", "ipc"].map(|kind| json!({"type": kind}));
    let mut resources = json!({});
    if let Some(limit) = wishes.pids_limit {
        resources["pids"] = json!({"limit": limit});
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": "agent",
        "root": {"path": "rootfs", "readonly": wishes.read_only},
        "process": {
            "terminal": false,
            "user": {"uid": uid, "gid": gid, "additionalGids": groups},
            "args": process.args,
            "env": env,
            "cwd": process.cwd,
            "capabilities": {"bounding": capabilities, "effective": held, "permitted": held},
            "noNewPrivileges": wishes.no_capabilities,
        },
        "mounts": mounts(wishes),
        "linux": {"namespaces": namespaces, "resources": resources, "maskedPaths": MASKED, "readonlyPaths": READ_ONLY},
    })
}

fn mounts(wishes: &Wishes) -> Vec<Value> {
    let fixed = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": fixed}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}),
    ];
    let scratch = wishes.scratch.iter().enumerate().map(|(index, path)| Mount {
        // made there before runc starts: runc before 1.1.9 gives a tmpfs the mode of the directory that it hides
        host: launch::scratch_directory(&wishes.work, index),
        container: path.clone(),
        read_only: false,
    });
    let mut binds: Vec<Mount> = scratch.chain(wishes.mounts.iter().cloned()).collect();
    // parents before what is below them
    binds.sort_by_key(|mount| depth(&mount.container));
    mounts.extend(binds.iter().map(|mount| {
        let options: [&str; 2] = if mount.read_only { ["rbind", "ro"] } else { ["rbind", "rw"] };
        json!({"destination": mount.container, "type": "bind", "source": mount.host, "options": options})
    }));
    mounts
}
