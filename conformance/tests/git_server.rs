//! The suite's git server, with the real git as its client: in both protocol versions, whole and shallow, with credentials and without.

use std::path::Path;
use std::process::{Command, Output};

use agent_conformance::suite::git::repository::{REF, REF_FILE, UNWANTED};
use agent_conformance::suite::git::{Conduct, GitServer, Repository};

fn git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir);
    command.env("GIT_TERMINAL_PROMPT", "0").output().unwrap_or_else(|error| panic!("git: {error}"))
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn git_clones_it_in_both_protocol_versions_whole_and_shallow() {
    for (version, depth, commits) in [("2", None, "2"), ("2", Some("--depth=1"), "1"), ("0", None, "2"), ("0", Some("--depth=1"), "1")] {
        let server = GitServer::start(Conduct::Open).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (protocol, url) = (format!("protocol.version={version}"), server.url());
        let mut args = vec!["-c", &protocol, "clone", "--quiet", "--single-branch", "--branch", REF];
        args.extend(depth);
        args.extend([url.as_str(), "clone"]);
        text(git(dir.path(), &args));

        let clone = dir.path().join("clone");
        let repository = Repository::default();
        assert_eq!(text(git(&clone, &["rev-parse", "HEAD"])), repository.tip(REF));
        assert_eq!(text(git(&clone, &["rev-list", "--count", "HEAD"])), commits, "version {version}, {depth:?}");
        text(git(&clone, &["fsck", "--strict", "--full"]));
        assert!(clone.join(REF_FILE).is_file());
        let wants: Vec<_> = server.requests().into_iter().flat_map(|request| request.wants).collect();
        assert!(wants.contains(&repository.tip(REF)) && !wants.contains(&repository.tip(UNWANTED)), "{wants:?}");
    }
}

#[test]
fn whoever_has_no_right_token_is_refused() {
    let server = GitServer::start(Conduct::Token("right".into())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = |token: &str| server.url().replace("http://", &format!("http://x:{token}@"));
    assert!(!git(dir.path(), &["clone", &server.url(), "none"]).status.success());
    assert!(!git(dir.path(), &["clone", &url("wrong"), "wrong"]).status.success());
    text(git(dir.path(), &["clone", "--quiet", &url("right"), "right"]));
    let seen: Vec<_> = server.requests().into_iter().map(|request| (request.credentials, request.status)).collect();
    assert!(seen.contains(&(None, 401)) && seen.contains(&(Some(false), 401)) && seen.contains(&(Some(true), 200)), "{seen:?}");
}
