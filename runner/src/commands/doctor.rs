//! `agent-runner doctor`: says what is missing in this image or task before a task does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_sdk::agent::PlanRequest;
use agent_sdk::task::Task;

use super::supervised::inputs;
use crate::agents;
use crate::cli::setting_flags::SettingFlags;
use crate::configure;
use crate::inputs::{Inputs, read_input_file};
use crate::run::phases::check_version;
use crate::run::place::Place;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// As it should be.
    Good,
    /// A task can do without.
    Lacking,
    /// A task will fail.
    Wrong,
}

impl Finding {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Lacking => "note",
            Self::Wrong => "FAIL",
        }
    }
}

/// What was found, a line each.
#[derive(Debug, Default)]
struct Findings(Vec<(Finding, String)>);

impl Findings {
    fn add(&mut self, finding: Finding, text: impl Into<String>) {
        self.0.push((finding, text.into()));
    }
}

/// Runs the command: 0 if a task can run, 69 if not.
#[must_use]
pub fn run(settings: SettingFlags) -> ExitCode {
    let mut findings = Findings::default();
    let given = Inputs { needs_agent: false, ..inputs(settings) };
    match given.resolve(read_input_file) {
        Err(errors) => {
            // Of another version nothing else can be wrong.
            let version = check_version(errors.version.as_deref()).err().map(|failure| failure.to_string());
            findings.add(Finding::Wrong, version.unwrap_or_else(|| errors.to_string()));
        }
        Ok(resolved) => {
            resolved.warnings.into_iter().for_each(|warning| findings.add(Finding::Lacking, warning));
            if let Err(failure) = check_version(resolved.task.interface_version.as_deref()) {
                findings.add(Finding::Wrong, failure.to_string());
            }
            check_place(&given, &mut findings);
            check_agent(&given, &resolved.task, &mut findings);
            check_programs(&resolved.task, &mut findings);
            check_files(&resolved.task, &mut findings);
            check_directories(&resolved.task, &mut findings);
        }
    }
    let mut text = String::new();
    for (finding, line) in &findings.0 {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<5} {line}", finding.word());
    }
    let wrong = findings.0.iter().any(|(finding, _)| *finding == Finding::Wrong);
    let printed = super::print(&text);
    if wrong { ExitCode::from(69) } else { printed }
}

fn check_place(given: &Inputs, findings: &mut Findings) {
    let pid_one = std::process::id() == 1;
    findings.add(
        Finding::Good,
        format!("agent-runner {}, pid {}{}", crate::VERSION, std::process::id(), if pid_one { " (PID 1)" } else { "" }),
    );
    match Place::make(&given.env) {
        Ok(place) => {
            let surroundings = place.surroundings(&given.env, Path::new("/"), Path::new("/"), BTreeMap::new());
            findings
                .add(Finding::Good, format!("private files: {}", surroundings.private_dir.parent().unwrap_or(Path::new("/")).display()));
            let own_home = given.variable("HOME").is_some_and(|home| Path::new(home) == surroundings.home);
            if own_home {
                findings.add(Finding::Good, format!("HOME can be written: {}", surroundings.home.display()));
            } else {
                findings.add(Finding::Lacking, "HOME is not set or cannot be written; the agent gets one that goes with the run");
            }
        }
        Err(error) => findings.add(Finding::Wrong, format!("{error}; mount a writable /tmp")),
    }
    if !Path::new("/proc/self").exists() {
        findings.add(Finding::Lacking, "there is no /proc: processes that escape the agent's group can only be ended as PID 1");
    }
}

fn check_agent(given: &Inputs, task: &Task, findings: &mut Findings) {
    let agent = match agents::find(task) {
        Ok(agent) => agent,
        Err(error) => return findings.add(Finding::Wrong, format!("{error}; {}", error.hint())),
    };
    if task.agent.kind == agent_sdk::agents::command::NAME {
        findings.add(Finding::Lacking, "no agent is named (AGENT_TYPE), so none is looked for");
        return;
    }
    let Ok(place) = Place::make(&given.env) else { return };
    let surroundings = place.surroundings(&given.env, &task.workspace.dir, &task.workspace.dir, BTreeMap::new());
    match agent.plan(&PlanRequest { task, surroundings: &surroundings, plugins: &[] }) {
        Err(errors) => errors.iter().for_each(|error| findings.add(Finding::Wrong, format!("{error}; {}", error.hint))),
        Ok(plan) => {
            match find_program(&plan.program, given.variable("PATH").unwrap_or_default()) {
                Some(path) => findings.add(Finding::Good, format!("agent `{}`: {}", agent.name(), path.display())),
                None => findings.add(Finding::Wrong, format!("agent `{}`: the program `{}` is not on PATH", agent.name(), plan.program)),
            }
            plan.warnings.into_iter().for_each(|warning| findings.add(Finding::Lacking, warning));
        }
    }
    let secrets = agent.secret_variables();
    if !secrets.is_empty() && !secrets.iter().any(|name| given.variable(name).is_some()) {
        findings.add(Finding::Lacking, format!("none of {} is set; the agent may have credentials of its own", secrets.join(", ")));
    }
}

fn check_programs(task: &Task, findings: &mut Findings) {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut need = |program: &str, needed: bool, why: &str| match find_program(program, &path) {
        Some(found) => findings.add(Finding::Good, format!("{program}: {}", found.display())),
        None if needed => findings.add(Finding::Wrong, format!("{program} is not on PATH: {why}")),
        None => findings.add(Finding::Lacking, format!("{program} is not on PATH: {why}")),
    };
    let ssh =
        task.workspace.repo.as_deref().is_some_and(|repo| repo.starts_with("ssh://") || (repo.contains('@') && !repo.contains("://")));
    need("git", task.workspace.submodules || task.workspace.lfs || task.workspace.filter.is_some(), "the agent commits and pushes with it");
    if ssh {
        need("ssh", true, "the repository is reached by ssh");
    }
    let has_ssh = find_program("ssh", &path).is_some();
    if task.workspace.lfs {
        need("git-lfs", true, "AGENT_LFS was asked for");
    }
    if let Some(program) = task.setup_command.first() {
        need(program, true, "it is the setup command");
    }
    let user = nix::unistd::geteuid();
    // What cannot be looked up is not said to be missing.
    let is_known = nix::unistd::User::from_uid(user).map_or(true, |entry| entry.is_some());
    if has_ssh && !is_known {
        findings.0.push(of_unknown_user(user.as_raw(), ssh));
    }
}

/// What a user without an entry in /etc/passwd means for ssh, which does not start for one.
fn of_unknown_user(user: u32, is_needed: bool) -> (Finding, String) {
    let finding = if is_needed { Finding::Wrong } else { Finding::Lacking };
    let remedy = format!("add one to the image, for instance by `useradd -u {user} agent`, or clone and push by https");
    (finding, format!("user {user} has no entry in /etc/passwd, and ssh does not start without one: {remedy}"))
}

fn check_files(task: &Task, findings: &mut Findings) {
    let git = &task.git;
    let files = [
        ("AGENT_TOKEN_FILE", &git.token_file),
        ("AGENT_SSH_KEY_FILE", &git.ssh_key_file),
        ("AGENT_KNOWN_HOSTS_FILE", &git.known_hosts_file),
        ("AGENT_CA_BUNDLE_FILE", &git.ca_bundle_file),
    ];
    for (name, path) in files {
        let Some(path) = path else { continue };
        match std::fs::File::open(path) {
            Ok(_) => findings.add(Finding::Good, format!("{name}: {} can be read", path.display())),
            Err(error) => findings.add(Finding::Wrong, format!("{name}: {} cannot be read: {error}", path.display())),
        }
    }
    let log = &task.sinks.termination_log;
    match std::fs::OpenOptions::new().write(true).open(log) {
        Ok(_) => findings.add(Finding::Good, format!("termination message: {} can be written", log.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.add(Finding::Lacking, format!("termination message: {} is not there (outside Kubernetes it never is)", log.display()));
        }
        Err(error) => findings.add(Finding::Wrong, format!("termination message: {} cannot be written: {error}", log.display())),
    }
}

fn check_directories(task: &Task, findings: &mut Findings) {
    if let Some(dir) = &task.plugin_dir {
        match configure::read_plugins(dir) {
            Ok(plugins) => findings.add(Finding::Good, format!("AGENT_PLUGIN_DIR: {} plugins in {}", plugins.len(), dir.display())),
            Err(error) => findings.add(Finding::Wrong, format!("AGENT_PLUGIN_DIR: {error}; {}", error.hint())),
        }
    }
    let dir = std::path::absolute(&task.workspace.dir).unwrap_or_else(|_| task.workspace.dir.clone());
    // What is not there is made, in what is.
    let Some(there) = dir.ancestors().find(|dir| dir.symlink_metadata().is_ok()) else { return };
    let can_write = nix::unistd::access(there, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK);
    let problem = match can_write {
        _ if !there.is_dir() => Some(format!("{} is no directory", there.display())),
        Err(error) => Some(format!("{} cannot be written: {}", there.display(), error.desc())),
        Ok(()) => None,
    };
    match problem {
        None => findings.add(Finding::Good, format!("workspace: {} can be written", dir.display())),
        Some(problem) if task.workspace.repo.is_some() => findings.add(Finding::Wrong, format!("AGENT_WORKSPACE_DIR: {problem}")),
        Some(problem) => findings.add(Finding::Lacking, format!("AGENT_WORKSPACE_DIR: {problem}; the agent can change nothing there")),
    }
}

/// The program as a path, or found on PATH.
fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    let executable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| executable(path));
    }
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_wrong_only_where_ssh_is_needed() {
        for (is_needed, finding) in [(true, Finding::Wrong), (false, Finding::Lacking)] {
            let (found, text) = of_unknown_user(61100, is_needed);
            assert_eq!(found, finding);
            assert!(text.contains("useradd -u 61100"), "{text}");
        }
    }
}
