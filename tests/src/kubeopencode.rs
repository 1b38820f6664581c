//! A pod as KubeOpenCode's controller builds it, played on this machine: its init containers and its worker, each PID 1, all with volumes
//! in common, as a user that the machine does not know, and a reader of what it leaves, written from its own description
//! (<https://github.com/kubeopencode/kubeopencode>).
//!
//! The volumes are directories of one place, so their paths are those that the variables say. Of the user's own are the model's endpoint
//! and key.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use agent_sdk::termination::TerminationMessage;
use nix::unistd::chown;
use serde_json::Value;

use crate::git_servers::{Listener, answer, read_request};
use crate::probe;
use crate::repo::Source;
use crate::sandbox::{namespaces_work, sandbox};

/// As OpenShift has it: any user, of a group that all containers of the pod share.
pub const UID: u32 = 1_000_730_000;

/// A pod's volumes.
#[derive(Debug)]
pub struct Pod {
    directory: tempfile::TempDir,
    /// What is cloned.
    pub source: Source,
}

/// How a container ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its log.
    pub log: String,
    /// Its termination message; null if it left none.
    pub message: Value,
}

impl Ended {
    /// What the controller's collector makes of the message: the task's outputs.
    #[must_use]
    pub fn outputs(&self) -> BTreeMap<String, String> {
        let parameters = self.message["parameters"].as_object().unwrap_or_else(|| panic!("{self:?}"));
        parameters.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }
}

impl Pod {
    /// With empty volumes. `None`, said loudly, where this machine allows no PID namespaces.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !namespaces_work() {
            crate::skip::skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so no pod was played");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path(), "origin.git");
        let pod = Self { directory, source };
        fs::set_permissions(pod.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for volume in ["workspace", "git", "tmp", "tools", "plugins", "configmap-files", "configmap-dir-0"] {
            fs::create_dir(pod.path(volume)).unwrap();
            pod.give(volume);
        }
        symlink(probe::runner(), pod.path("kubeopencode")).unwrap();
        symlink(probe::runner(), pod.path("agent-runner")).unwrap();
        Some(pod)
    }

    /// A path of this pod.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path as text, for a variable.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a path the pod's user's.
    pub fn give(&self, name: &str) {
        chown(&self.path(name), Some(UID.into()), Some(0.into())).unwrap();
    }

    /// A key of a ConfigMap, as the kubelet puts it into a volume: a link to a link to a file.
    pub fn config_map(&self, volume: &str, key: &str, content: &str) {
        let data = self.path(volume).join("..2026_08_01_12_00_00.1");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join(key), content).unwrap();
        let current = self.path(volume).join("..data");
        if !current.is_symlink() {
            symlink("..2026_08_01_12_00_00.1", &current).unwrap();
        }
        symlink(Path::new("..data").join(key), self.path(volume).join(key)).unwrap();
    }

    /// Runs an init container's command.
    #[must_use]
    pub fn init(&self, command: &str, env: &[(&str, &str)]) -> Ended {
        self.container("kubeopencode", &[command], env)
    }

    /// Runs the worker: the Agent's command is the runner.
    #[must_use]
    pub fn worker(&self, env: &[(&str, &str)]) -> Ended {
        let workspace = self.text("workspace");
        let own = [("TASK_NAME", "fix-42"), ("TASK_NAMESPACE", "team"), ("WORKSPACE_DIR", workspace.as_str())];
        self.container("agent-runner", &[], &[&own, env].concat())
    }

    fn container(&self, program: &str, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let termination = self.path("termination");
        fs::write(&termination, "").unwrap();
        fs::set_permissions(&termination, PermissionsExt::from_mode(0o666)).unwrap();
        let mut command = sandbox(&["--user", &UID.to_string()], self.path(program));
        let path = format!("{}:{}", self.text("tools"), std::env::var("PATH").unwrap());
        let own = [("HOME", self.text("tmp")), ("TMPDIR", self.text("tmp")), ("SHELL", "/bin/bash".into()), ("PATH", path)];
        command.args(args).env_clear().envs(own).env("AGENT_TERMINATION_LOG", &termination).env("GIT_CONFIG_NOSYSTEM", "1");
        command.envs(env.iter().copied()).current_dir(self.path("workspace"));
        let Output { status, stdout, stderr } = probe::output(&mut command);
        let log = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        let bytes = fs::read(&termination).unwrap();
        let message = if bytes.is_empty() {
            Value::Null
        } else {
            TerminationMessage::parse(&bytes).unwrap_or_else(|error| panic!("{error}\n{log}"));
            serde_json::from_slice(&bytes).unwrap()
        };
        Ended { code: status.code().unwrap(), log, message }
    }

    /// Every path below a volume with its permissions, links left out.
    #[must_use]
    pub fn modes(&self, volume: &str) -> Vec<(PathBuf, u32)> {
        let mut found = Vec::new();
        collect(&self.path(volume), &mut found);
        found
    }
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_symlink() {
            continue;
        }
        found.push((entry.path(), metadata.mode() & 0o7777));
        if metadata.is_dir() {
            collect(&entry.path(), found);
        }
    }
}

/// What a web server was asked: the path, and the headers that came with it.
pub type Asked = (String, BTreeMap<String, String>);
/// Path and headers to status line, more headers, and content.
type Answer = dyn Fn(&str, &BTreeMap<String, String>) -> (&'static str, String, Vec<u8>) + Send + Sync;

/// A web server, and what it was asked.
#[derive(Debug)]
pub struct Web {
    listener: Listener,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    /// Answers by a function.
    #[must_use]
    pub fn start(respond: impl Fn(&str, &BTreeMap<String, String>) -> (&'static str, String, Vec<u8>) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, respond): (_, Box<Answer>) = (Arc::clone(&asked), Box::new(respond));
        let listener = Listener::start(move |stream| {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read_request(&mut stream) {
                seen.lock().unwrap().push((request.target.clone(), request.headers.clone()));
                let (status, headers, body) = respond(&request.target, &request.headers);
                let Ok(()) = stream.get_mut().write_all(&answer(status, &headers, &body)) else { return };
            }
        });
        Self { listener, asked }
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener.address())
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
