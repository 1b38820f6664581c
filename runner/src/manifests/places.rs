//! Where the container's volumes go, and what cannot stand beside each other there.
//!
//! Kubernetes mounts one volume at a path, and none in a read-only one. The clone needs its directory empty. A volume hides what the image
//! has at its path, and the root is read-only: so what a task writes outside the volumes that every manifest has gets one of its own.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use agent_sdk::task::{DEFAULT_TERMINATION_LOG, Sinks, Task};

use super::request::{Runner, Wishes, wrong};
use super::{Platform, argo, pod};
use crate::dialects::tekton;
use crate::inputs::InputError;

/// Where the kubelet mounts the token of a ServiceAccount. `/var/run` is a link to `/run` in most images.
const SERVICE_ACCOUNT: [&str; 2] = ["/run/secrets/kubernetes.io/serviceaccount", "/var/run/secrets/kubernetes.io/serviceaccount"];
/// Where to put a Secret.
const SECRET_HINT: &str = "a directory of its own, for instance /run/secrets/git";
/// Where to put the work tree.
const WORK_TREE_HINT: &str = "a directory elsewhere, for instance /workspace/repo";
/// Where to put what is to be read after the run.
const SINK_HINT: &str = "a directory of its own, for instance /results";

/// A volume in the container.
#[derive(Debug, Clone, Copy)]
struct Mount<'a> {
    path: &'a Path,
    /// The field or the flag that put it there, and what to say instead; nothing for what every manifest has.
    asked: Option<(&'static str, &'static str)>,
    is_read_only: bool,
}

/// All volumes but those of sinks: those of every manifest first.
fn mounts<'a>(platform: Platform, task: &Task, work_tree: &'a Path, wishes: &'a Wishes) -> Vec<Mount<'a>> {
    let own = |path: &'static str| Mount { path: Path::new(path), asked: None, is_read_only: false };
    let mut mounts = vec![own(pod::HOME), own(pod::TMP)];
    if platform == Platform::Argo {
        mounts.push(own(argo::RESULTS));
    }
    if wishes.runner != Runner::Image {
        mounts.push(Mount { is_read_only: true, ..own(pod::RUNNER) });
    }
    // The others get no token.
    if matches!(platform, Platform::Argo | Platform::Kelos) {
        mounts.extend(SERVICE_ACCOUNT.map(|path| Mount { is_read_only: true, ..own(path) }));
    }
    // Kelos' own controller mounts the workspace, and the token, where there is a repository.
    let is_theirs = platform == Platform::Kelos && task.workspace.repo.is_some();
    let asked = (!is_theirs).then_some(("workspace.dir", WORK_TREE_HINT));
    mounts.push(Mount { path: pod::workspace_volume(work_tree), asked, is_read_only: false });
    let theirs = task.git.token_file.as_ref().filter(|_| is_theirs);
    let files = wishes.files.iter().filter(|(path, _)| Some(path) != theirs);
    let directories: BTreeSet<&Path> = files.filter_map(|(path, _)| path.parent()).collect();
    // What is no path of a file in a directory is named already.
    let directories = directories.into_iter().filter(|directory| directory.is_absolute() && directory.parent().is_some());
    mounts.extend(directories.map(|path| Mount { path, asked: Some(("--secret-file", SECRET_HINT)), is_read_only: true }));
    mounts
}

/// What cannot be mounted, or be written where it is to be.
pub(super) fn check(platform: Platform, task: &Task, work_tree: &Path, wishes: &Wishes, errors: &mut Vec<InputError>) {
    let mounts = mounts(platform, task, work_tree, wishes);
    for (number, mount) in mounts.iter().enumerate() {
        let Some((source, hint)) = mount.asked else { continue };
        if let Some(problem) = problem_of(mount.path).or_else(|| conflict(mount, number, &mounts)) {
            errors.push(wrong(source, problem, hint));
        }
    }
    let is_within = |path: &Path| path.starts_with(work_tree) && path != pod::workspace_volume(work_tree);
    // All of them are, in a directory that is refused already.
    for mount in mounts.iter().filter(|mount| is_within(mount.path) && problem_of(work_tree).is_none()) {
        let another = format!("`{}` is where another volume is mounted", mount.path.display());
        match mount.asked {
            Some((source, hint)) => {
                errors.push(wrong(source, format!("`{}` is in the work tree, which the clone needs empty", mount.path.display()), hint));
            }
            None if platform != Platform::Kelos => errors.push(wrong("workspace.dir", another, WORK_TREE_HINT)),
            None => {}
        }
    }
    check_sinks(platform, task, &mounts, errors);
}

/// Why a volume cannot stand beside the others.
fn conflict(mount: &Mount<'_>, number: usize, mounts: &[Mount<'_>]) -> Option<String> {
    let path = mount.path.display();
    if mounts[..number].iter().any(|other| other.path == mount.path) {
        return Some(format!("`{path}` is where another volume is mounted"));
    }
    let is_below = |below: &Path, above: &Path| below != above && below.starts_with(above);
    if let Some(above) = mounts.iter().find(|other| other.is_read_only && is_below(mount.path, other.path)) {
        return Some(format!("`{path}` is in `{}`, a read-only volume, in which none can be mounted", above.path.display()));
    }
    // Of two that were asked for, the lower one is named.
    let below = mounts.iter().find(|other| mount.is_read_only && other.asked.is_none() && is_below(other.path, mount.path))?;
    Some(format!("`{path}` is above `{}`, and no volume can be mounted in a read-only one", below.path.display()))
}

/// Why no volume goes there, whatever else there is.
fn problem_of(path: &Path) -> Option<String> {
    let is_odd = path.components().any(|part| part == Component::ParentDir) || path.as_os_str().as_encoded_bytes().contains(&b':');
    if is_odd {
        return Some(format!("`{}` holds `..` or `:`, and no volume is mounted so", path.display()));
    }
    hides_the_system(path).then(|| format!("a volume at `{}` would hide what the image has there", path.display()))
}

/// Whether programs, libraries, or the kernel's own files are there.
fn hides_the_system(path: &Path) -> bool {
    let names: Vec<&str> = path.components().skip(1).filter_map(|part| part.as_os_str().to_str()).collect();
    let of_programs = |name: &str| matches!(name, "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" | "libexec");
    match names[..] {
        [] | ["dev" | "etc"] | ["proc" | "sys", ..] | ["usr"] | ["usr", "local"] => true,
        [name] | ["usr", name] | ["usr", "local", name] => of_programs(name),
        _ => false,
    }
}

/// The sinks that write to a directory of their own, each with its field.
fn directories(platform: Platform, sinks: &Sinks) -> Vec<(&'static str, &Path)> {
    let files = [("sinks.resultFile", &sinks.result_file), ("sinks.eventsFile", &sinks.events_file)];
    let files = files.into_iter().filter_map(|(field, file)| Some((field, file.as_deref()?.parent()?)));
    // Argo's results are in a volume of its own, whatever the task says.
    let results = sinks.results_dir.as_deref().filter(|_| platform != Platform::Argo).map(|directory| ("sinks.resultsDir", directory));
    // What is relative is so to a directory that only the image knows.
    files.chain(results).filter(|(_, directory)| directory.is_absolute()).collect()
}

fn check_sinks(platform: Platform, task: &Task, mounts: &[Mount<'_>], errors: &mut Vec<InputError>) {
    let read_only = |path: &Path| mounts.iter().find(|mount| mount.is_read_only && path.starts_with(mount.path));
    let is_writable = |path: &Path| mounts.iter().any(|mount| !mount.is_read_only && path.starts_with(mount.path));
    let directories = directories(platform, &task.sinks);
    for (field, directory) in &directories {
        let problem = match read_only(directory) {
            Some(mount) => Some(format!("`{}` is in `{}`, a read-only volume", directory.display(), mount.path.display())),
            None if directory.parent().is_none() => Some("is in `/` itself, which is read-only".to_owned()),
            None => problem_of(directory).filter(|_| !is_writable(directory)),
        };
        errors.extend(problem.map(|problem| wrong(field, problem, SINK_HINT)));
    }
    if platform == Platform::Tekton
        && let Some(other) = task.sinks.results_dir.as_deref().filter(|directory| *directory != Path::new(tekton::RESULTS))
    {
        let problem = format!("`{}` is not where Tekton reads results, which is `{}`", other.display(), tekton::RESULTS);
        errors.push(wrong("sinks.resultsDir", problem, "leave it out"));
    }
    let log = &task.sinks.termination_log;
    let has_volume = is_writable(log) || directories.iter().any(|(_, directory)| log.starts_with(directory));
    if log.is_absolute() && log != Path::new(DEFAULT_TERMINATION_LOG) && !has_volume {
        let problem = format!("`{}` is in no volume, and the kubelet reads `{DEFAULT_TERMINATION_LOG}`", log.display());
        errors.push(wrong("sinks.terminationLog", problem, "leave it out"));
    }
}

/// Where sinks write that no volume is for.
pub(super) fn sink_directories(platform: Platform, task: &Task, work_tree: &Path, wishes: &Wishes) -> BTreeSet<PathBuf> {
    let mounts = mounts(platform, task, work_tree, wishes);
    let of_platform = (platform == Platform::Tekton).then_some(Path::new("/tekton"));
    let taken: Vec<&Path> = mounts.iter().map(|mount| mount.path).chain(of_platform).collect();
    let needed = directories(platform, &task.sinks).into_iter().map(|(_, directory)| directory);
    let needed: BTreeSet<&Path> = needed.filter(|directory| !taken.iter().any(|taken| directory.starts_with(taken))).collect();
    let is_above = |above: &Path, directory: &Path| above != directory && directory.starts_with(above);
    needed
        .iter()
        .filter(|directory| !needed.iter().any(|above| is_above(above, directory)))
        .map(|directory| directory.to_path_buf())
        .collect()
}
