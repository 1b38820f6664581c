//! The second implementation as an image: a root file system of what lies on this machine, and the configuration that goes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Proof, Shown, difference, find, in_scope, scenarios};
use crate::suite::engine::Engine;
use crate::suite::evidence::Evidence;
use crate::suite::scenario::{GatherOptions, gather};
use crate::suite::subject::{CERTIFICATE_BUNDLES, FileFact, FileFacts, ImageConfig, LABEL_PREFIX, Subject};

/// Where the image has its runner.
pub const REFIMPL: &str = "/usr/local/bin/refimpl";
/// Where it has its agent.
pub const AGENT: &str = "/usr/local/bin/agent";
/// The user that it runs as.
const USER: &str = "65532:65532";

/// The configuration of the image, with another entry point if that is wanted.
#[must_use]
pub fn config(entrypoint: &str) -> ImageConfig {
    let ours = [
        ("interface", "1.0"),
        ("profiles", "image core workspace kubernetes hardened"),
        ("agent", "native"),
        ("agent.path", AGENT),
        ("agent.version", "0.0.0"),
        ("agent.stream", "native"),
        // It hands AGENT_ENDPOINT on, so what it does before its agent starts can be seen. The profile `agent` it does not claim.
        ("agent.model", "anthropic"),
    ];
    let standard = [("version", env!("CARGO_PKG_VERSION")), ("source", env!("CARGO_PKG_REPOSITORY")), ("licenses", "Apache-2.0")];
    let labels = ours.map(|(name, value)| (format!("{LABEL_PREFIX}{name}"), value.to_owned()));
    let standard = standard.map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()));
    ImageConfig {
        entrypoint: vec![entrypoint.to_owned()],
        env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned(), "AGENT_TYPE=native".to_owned(), format!("AGENT_PROGRAM={AGENT}")],
        user: USER.to_owned(),
        labels: labels.into_iter().chain(standard).collect::<BTreeMap<_, _>>(),
        ..ImageConfig::default()
    }
}

/// The image, as it lies in its root file system.
#[must_use]
pub fn subject(config: ImageConfig, root: &Path) -> Subject {
    let agent = fs::metadata(root.join(AGENT.trim_start_matches('/'))).ok().map(|meta| FileFact {
        path: AGENT.to_owned(),
        regular: meta.is_file(),
        mode: meta.permissions().mode() & 0o7777,
        size: meta.len(),
    });
    let certificates = CERTIFICATE_BUNDLES.iter().filter(|path| root.join(path.trim_start_matches('/')).exists());
    Subject {
        reference: "refimpl".to_owned(),
        digest: None,
        config,
        files: Some(FileFacts { agent, certificates: certificates.map(|path| (*path).to_owned()).collect(), ..FileFacts::default() }),
    }
}

/// Makes the root file system in an empty directory: the programs at these paths of it, `git` and `sh` of this machine, and what they load.
///
/// # Errors
/// A program is not there, or cannot be copied.
pub fn make_root(root: &Path, programs: &[(&Path, &str)]) -> io::Result<()> {
    for dir in ["tmp", "workspace", "etc/ssl/certs", "usr/local/bin", "bin"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for dir in ["tmp", "workspace"] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nagent:x:65532:65532:agent:/workspace:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nagent:x:65532:\n")?;
    // Nobody starts it: the suite's agent takes its place.
    fs::write(root.join(AGENT.trim_start_matches('/')), "#!/bin/sh\nexit 69\n")?;
    fs::set_permissions(root.join(AGENT.trim_start_matches('/')), fs::Permissions::from_mode(0o755))?;
    for (program, path) in programs {
        copy(program, &root.join(path.trim_start_matches('/')))?;
        copy_libraries(program, root)?;
    }
    copy_git(root)?;
    let shell = fs::canonicalize("/bin/sh")?;
    copy(&shell, &root.join("bin/sh"))?;
    copy_libraries(&shell, root)?;
    match CERTIFICATE_BUNDLES.iter().find(|path| Path::new(path).is_file()) {
        Some(bundle) => copy(Path::new(bundle), &root.join(CERTIFICATE_BUNDLES[0].trim_start_matches('/'))),
        None => fs::write(root.join(CERTIFICATE_BUNDLES[0].trim_start_matches('/')), ""),
    }
}

/// Git, and its helper for http.
fn copy_git(root: &Path) -> io::Result<()> {
    let output = Command::new("git").arg("--exec-path").output()?;
    let exec_path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let git = std::env::split_paths(&path).map(|dir| dir.join("git")).find(|git| git.is_file());
    let git = git.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the program `git` is needed"))?;
    copy(&git, &root.join("usr/local/bin/git"))?;
    copy_libraries(&git, root)?;
    let helpers = root.join(exec_path.strip_prefix("/").unwrap_or(&exec_path));
    let helper = exec_path.join("git-remote-http");
    copy(&helper, &helpers.join("git-remote-http"))?;
    copy_libraries(&helper, root)?;
    symlink("git-remote-http", helpers.join("git-remote-https"))?;
    symlink("/usr/local/bin/git", helpers.join("git"))
}

/// What a program loads, at the same paths; nothing for one that loads nothing.
fn copy_libraries(program: &Path, root: &Path) -> io::Result<()> {
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let paths: BTreeSet<&str> = text.split_whitespace().filter(|word| word.starts_with('/')).collect();
    paths.into_iter().map(Path::new).filter(|path| path.is_file()).try_for_each(|path| {
        let place = root.join(path.strip_prefix("/").unwrap_or(path));
        if place.exists() { Ok(()) } else { copy(path, &place) }
    })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot copy `{}`: {error}", from.display()));
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop).map_err(named)
}

/// Starts it in every scenario, and asks every check. The evidence is good, if it passed.
pub fn judge(engine: &dyn Engine, subject: &Subject, options: &GatherOptions) -> (Proof, Evidence) {
    let evidence = gather(engine, subject, &scenarios(), options, &|_| {});
    let found = find(&evidence, in_scope);
    let shown = difference(&BTreeSet::new(), &found).map_or(Shown::Yes, Shown::No);
    (Proof { name: "second implementation".to_owned(), shown }, evidence)
}
