//! Clones: each kind of ref by each transport, with real servers.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::path::Path;

use agent_runner::workspace::Prepared;
use agent_runner::workspace::facts::{Base, facts};
use agent_tests::git_servers::{Authority, HttpServer, Sshd, git_daemon};
use agent_tests::repo::{Job, Source, git, git_ok};
use agent_tests::skipped;

/// A repository name with a blank and a dash first is a name like any other.
const NAME: &str = "-my repo.git";

fn check(prepared: &Prepared, commit: &str, branch: Option<&str>) {
    let dir = &prepared.dir;
    assert_eq!(prepared.head.as_deref(), Some(commit));
    assert_eq!(prepared.branch.as_deref(), branch);
    assert!(!prepared.taken_up);
    assert_eq!(git_ok(dir, ["rev-parse", "HEAD"]), commit);
    assert_eq!(git_ok(dir, ["branch", "--show-current"]), branch.unwrap_or_default());
    assert_eq!(git_ok(dir, ["status", "--porcelain"]), "");
    assert_eq!(git_ok(dir, ["config", "remote.origin.fetch"]), "+refs/heads/*:refs/remotes/origin/*");
    git_ok(dir, ["fsck", "--strict"]);
}

/// All kinds of ref, by one transport.
fn each_kind_of_ref(root: &Path, source: &Source, job: impl Fn(&Path) -> Job) {
    let (main, feature, tag, light) = (source.rev("main"), source.rev("feature"), source.rev("v1"), source.rev("light"));
    let dir = |name: &str| root.join("clones").join(name);

    for (name, job) in [("head", job(&dir("head"))), ("said-head", job(&dir("said-head")).at("HEAD"))] {
        let prepared = job.run().unwrap();
        check(&prepared, &main, Some("main"));
        assert_eq!((prepared.base_branch.as_deref(), prepared.base_commit.as_deref()), (Some("main"), Some(main.as_str())), "{name}");
    }
    assert_eq!(git_ok(&dir("head"), ["rev-list", "--count", "HEAD"]), "1", "depth 1 is one commit");

    let prepared = job(&dir("branch")).at("feature").run().unwrap();
    check(&prepared, &feature, Some("feature"));
    assert_eq!(prepared.base_branch.as_deref(), Some("feature"));
    assert_eq!(git_ok(&prepared.dir, ["for-each-ref", "--format=%(refname)", "refs/remotes"]), "refs/remotes/origin/feature");

    let prepared = job(&dir("tag")).at("v1").run().unwrap();
    check(&prepared, &tag, None);
    assert_eq!((prepared.base_branch.as_deref(), prepared.base_commit.as_deref()), (Some("main"), Some(main.as_str())));

    let prepared = job(&dir("light")).at("refs/tags/light").on("work/one").run().unwrap();
    check(&prepared, &light, Some("work/one"));

    let prepared = job(&dir("commit")).at(&tag).on("work").run().unwrap();
    check(&prepared, &tag, Some("work"));
    assert_eq!(prepared.base_branch.as_deref(), Some("main"));

    let prepared = job(&dir("whole")).on("feature").depth(0).run().unwrap();
    check(&prepared, &feature, Some("feature"));
    assert_eq!(prepared.base_branch.as_deref(), Some("main"));
    assert_eq!(git_ok(&prepared.dir, ["rev-list", "--count", "HEAD"]), "4");
    assert_eq!(git_ok(&prepared.dir, ["config", "branch.feature.merge"]), "refs/heads/feature");

    let error = job(&dir("missing")).at("nothing").run().unwrap_err();
    assert_eq!(error.reason().as_str(), "RefNotFound", "{error}");
    assert!(error.to_string().contains("`nothing`"), "{error}");
    let unknown = "0123456789012345678901234567890123456789";
    let mut of_unknown = job(&dir("missing")).at(unknown);
    // A server that says no may hang up while it is still being asked: then a run asks again, as it does by default.
    of_unknown.attempts = 5;
    let error = of_unknown.run().unwrap_err();
    assert_eq!(error.reason().as_str(), "RefNotFound", "{error}");
    assert!(error.to_string().contains(unknown), "{error}");
    assert!(!dir("missing").exists());
}

/// A repository that is not there, by one transport.
fn missing_repository(root: &Path, job: Job) {
    let error = job.run().unwrap_err();
    assert_eq!(error.reason().as_str(), "RepositoryNotFound", "{error}");
    assert!(!root.join("clones").exists());
}

#[test]
fn each_kind_of_ref_from_git_daemon() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    let server = git_daemon(&source.root);
    let url = format!("git://{}/{NAME}", server.address());
    missing_repository(root.path(), Job::new(&format!("git://{}/none.git", server.address()), &root.path().join("clones/x")));
    each_kind_of_ref(root.path(), &source, |dir| Job::new(&url, dir));
}

#[test]
fn each_kind_of_ref_from_http_with_a_password() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    let server = HttpServer::start(&source.root, None);
    server.allow(&["x-access-token:s3cret"]);
    let token = root.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let job = |url: &str, dir: &Path| {
        let mut job = Job::new(url, dir);
        job.access.token_file = Some(token.clone());
        job
    };
    missing_repository(root.path(), job(&server.url("none.git"), &root.path().join("clones/x")));
    each_kind_of_ref(root.path(), &source, |dir| job(&server.url(NAME), dir));
}

#[test]
fn each_kind_of_ref_from_https_with_an_authority_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    let authority = Authority::new(root.path());
    let server = HttpServer::start(&source.root, Some(authority.server.clone()));
    let job = |url: &str, dir: &Path| {
        let mut job = Job::new(url, dir);
        job.access.ca_bundle_file = Some(authority.pem.clone());
        job
    };
    missing_repository(root.path(), job(&server.url("none.git"), &root.path().join("clones/x")));
    each_kind_of_ref(root.path(), &source, |dir| job(&server.url(NAME), dir));

    // Without the authority the clone fails and says why; with it in the environment alone all is well.
    let error = Job::new(&server.url(NAME), &root.path().join("untrusted")).run().unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer") && error.hint().contains("CA bundle"), "{error}");
    let mut job = Job::new(&server.url(NAME), &root.path().join("by-env"));
    job.env.insert("SSL_CERT_FILE".into(), authority.pem.display().to_string());
    job.run().unwrap();
}

#[test]
fn each_kind_of_ref_from_sshd() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    let server = match Sshd::start(root.path(), true) {
        Ok(server) => server,
        Err(why) => skipped!("each_kind_of_ref_from_sshd: {why}"),
    };
    let job = |path: &Path, dir: &Path| {
        let mut job = Job::new(&server.url(path), dir);
        job.access.ssh_key_file = Some(server.key.clone());
        job.access.known_hosts_file = Some(server.known_hosts.clone());
        job
    };
    missing_repository(root.path(), job(&source.root.join("none.git"), &root.path().join("clones/x")));
    each_kind_of_ref(root.path(), &source, |dir| job(&source.bare, dir));

    // An unknown server is not trusted, and a wrong key is refused.
    let mut unknown = job(&source.bare, &root.path().join("unknown"));
    fs::write(root.path().join("none"), "").unwrap();
    unknown.access.known_hosts_file = Some(root.path().join("none"));
    let error = unknown.run().unwrap_err();
    assert!(error.to_string().contains("Host key verification failed") && error.hint().contains("known hosts"), "{error}");
    let mut wrong = job(&source.bare, &root.path().join("wrong"));
    wrong.access.ssh_key_file = Some(root.path().join("ssh/host"));
    let error = wrong.run().unwrap_err();
    assert_eq!(error.reason().as_str(), "CloneAuthFailed", "{error}");

    // The agent's own git goes the same way.
    let dir = root.path().join("clones/head");
    assert_eq!(git_ok(&dir, ["ls-remote", "origin", "refs/heads/main"]).split_whitespace().next(), Some(source.rev("main").as_str()));
}

#[test]
fn each_kind_of_ref_from_a_server_of_protocol_version_0() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    let server = match Sshd::start(root.path(), false) {
        Ok(server) => server,
        Err(why) => skipped!("each_kind_of_ref_from_a_server_of_protocol_version_0: {why}"),
    };
    each_kind_of_ref(root.path(), &source, |dir| {
        let mut job = Job::new(&server.url(&source.bare), dir);
        job.access.ssh_key_file = Some(server.key.clone());
        job.access.known_hosts_file = Some(server.known_hosts.clone());
        job
    });
}

#[test]
fn each_kind_of_ref_from_a_path() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), NAME);
    missing_repository(root.path(), Job::new("/nonexistent/none.git", &root.path().join("clones/x")));
    each_kind_of_ref(root.path(), &source, |dir| Job::new(source.bare.to_str().unwrap(), dir));
    let url = format!("file://{}", source.bare.display());
    let encoded = url.replace(' ', "%20");
    assert_ne!(url, encoded);
    Job::new(&url, &root.path().join("by-url")).run().unwrap();
    Job::new(&encoded, &root.path().join("by-encoded-url")).run().unwrap();
}

#[test]
fn of_two_thousand_branches_one_is_fetched() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "many.git");
    let main = source.rev("main");
    let lines: String = (0..2000).map(|number| format!("create refs/heads/b{number} {main}\n")).collect();
    let mut child =
        agent_tests::repo::git(&source.bare).args(["update-ref", "--stdin"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let server = git_daemon(&source.root);
    let prepared = Job::new(&format!("git://{}/many.git", server.address()), &root.path().join("c")).at("b1999").on("work").run().unwrap();
    assert_eq!(git_ok(&prepared.dir, ["for-each-ref", "--format=%(refname)"]), "refs/heads/work\nrefs/remotes/origin/b1999");
    assert_eq!(git_ok(&prepared.dir, ["rev-list", "--count", "--all"]), "1");
    // The rest is there for whoever asks.
    git_ok(&prepared.dir, ["fetch", "-q", "origin"]);
    assert_eq!(git_ok(&prepared.dir, ["for-each-ref", "refs/remotes"]).lines().count(), 2002);
}

#[test]
fn an_empty_repository_is_a_place_to_begin() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::empty(root.path(), "empty.git");
    let prepared = Job::new(source.bare.to_str().unwrap(), &root.path().join("c")).on("first").run().unwrap();
    assert_eq!((prepared.branch.as_deref(), prepared.head), (Some("first"), None));
    assert_eq!(git_ok(&prepared.dir, ["branch", "--show-current"]), "first");
}

#[test]
fn a_repository_whose_head_points_nowhere_is_not_taken_for_an_empty_one() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    git_ok(&source.bare, ["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let server = HttpServer::start(&source.root, None);
    let daemon = git_daemon(&source.root);
    for url in [server.url("r.git"), format!("git://{}/r.git", daemon.address())] {
        let dir = root.path().join("c");
        let error = Job::new(&url, &dir).on("work").run().unwrap_err();
        assert_eq!(error.reason().as_str(), "RefNotFound", "{error}");
        assert!(error.to_string().contains("`trunk` not found") && error.to_string().contains("AGENT_REF"), "{error}");
        assert!(!dir.exists());
        Job::new(&url, &dir).at("main").on("work").run().unwrap();
        let error = Job::new(&url, &dir).on("other").run().unwrap_err();
        assert_eq!(error.reason().as_str(), "RefNotFound", "also where a clone is taken up: {error}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_mount_points_lost_and_found_is_no_obstacle_and_is_never_committed() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let dir = root.path().join("volume");
    fs::create_dir_all(dir.join("lost+found")).unwrap();
    fs::write(dir.join("lost+found/x"), "").unwrap();
    let prepared = Job::new(source.bare.to_str().unwrap(), &dir).run().unwrap();
    assert_eq!(git_ok(&prepared.dir, ["status", "--porcelain"]), "");
    let error = Job::new("/nonexistent.git", &dir).run().unwrap_err();
    assert_eq!(error.reason().as_str(), "WorkspaceConflict");
}

#[test]
fn submodules_and_partial_clones_go_by_the_git_program() {
    let root = tempfile::tempdir().unwrap();
    let inner = Source::new(&root.path().join("inner"), "inner.git");
    let source = Source::new(&root.path().join("outer"), "outer.git");
    let inner_server = git_daemon(&inner.root);
    let server = git_daemon(&source.root);
    let url = format!("git://{}/inner.git", inner_server.address());
    git_ok(&source.work, ["submodule", "--quiet", "add", &url, "sub"]);
    git_ok(&source.work, ["commit", "-qm", "sub"]);
    source.push();
    let url = format!("git://{}/outer.git", server.address());
    let mut job = Job::new(&url, &root.path().join("with"));
    job.workspace.submodules = true;
    let prepared = job.run().unwrap();
    assert_eq!(fs::read_to_string(prepared.dir.join("sub/file1.txt")).unwrap(), "content 1\n");
    assert_eq!(git_ok(&prepared.dir, ["status", "--porcelain"]), "");

    let mut without = Job::new(&url, &root.path().join("without"));
    without.workspace.submodules = true;
    without.env.insert("PATH".into(), "/nonexistent".into());
    let error = without.run().unwrap_err();
    assert!(error.to_string().contains("needs the `git` program"), "{error}");
    assert!(!root.path().join("without").exists());

    git_ok(&source.bare, ["config", "uploadpack.allowFilter", "true"]);
    let mut partial = Job::new(&url, &root.path().join("partial")).on("work").depth(0);
    partial.workspace.filter = Some("blob:none".into());
    let prepared = partial.run().unwrap();
    check(&prepared, &source.rev("main"), Some("work"));
    assert_eq!(git_ok(&prepared.dir, ["config", "remote.origin.partialclonefilter"]), "blob:none");
}

/// A repository with a submodule, both private and on the same server.
fn with_submodule(root: &Path, url_of_inner: &str) -> Source {
    let source = Source::new(root, "outer.git");
    git_ok(root, ["clone", "-q", "--bare", source.bare.to_str().unwrap(), source.root.join("inner.git").to_str().unwrap()]);
    let inner = source.rev("main");
    fs::write(source.work.join(".gitmodules"), format!("[submodule \"in/ner\"]\n\tpath = sub\n\turl = {url_of_inner}\n")).unwrap();
    git_ok(&source.work, ["update-index", "--add", "--cacheinfo", &format!("160000,{inner},sub")]);
    git_ok(&source.work, ["add", ".gitmodules"]);
    git_ok(&source.work, ["commit", "-qm", "a submodule"]);
    source.push();
    source
}

#[test]
fn a_private_submodule_is_fetched_with_the_token_and_the_agent_can_fetch_it_too() {
    let root = tempfile::tempdir().unwrap();
    let source = with_submodule(root.path(), "../inner.git");
    let server = HttpServer::start(&source.root, None);
    server.allow(&["x-access-token:s3cret"]);
    let token = root.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let dir = root.path().join("clone");
    fs::create_dir(&dir).unwrap();
    // As a volume of somebody else's, where there may be one.
    let _ = nix::unistd::chown(&dir, Some(4711.into()), None);
    let mut job = Job::new(&server.url("outer.git"), &dir);
    job.access.token_file = Some(token);
    job.program = env!("CARGO_BIN_EXE_credential_helper").into();
    job.workspace.submodules = true;
    let prepared = job.run().unwrap();
    let sub = prepared.dir.join("sub");
    assert_eq!(fs::read_to_string(sub.join("file1.txt")).unwrap(), "content 1\n");
    git_ok(&sub, ["fetch", "-q", "origin", "feature"]);
    assert_eq!(agent_tests::repo::holds_text(&dir, "s3cret"), None);
    assert!(job.run().unwrap().taken_up);

    // A clone that is handed on without credentials has none in its submodules either.
    agent_runner::workspace::forget_access(&prepared).unwrap();
    assert!(!git(&sub).args(["fetch", "-q", "origin", "feature"]).env("GIT_TERMINAL_PROMPT", "0").output().unwrap().status.success());
}

#[test]
fn a_submodule_of_another_server_gets_no_token() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = Source::new(&root.path().join("elsewhere"), "inner.git");
    let other = HttpServer::start(&elsewhere.root, None);
    other.allow(&["x-access-token:s3cret"]);
    let source = with_submodule(root.path(), &other.url("inner.git"));
    let server = HttpServer::start(&source.root, None);
    let token = root.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let mut job = Job::new(&server.url("outer.git"), &root.path().join("clone"));
    job.access.token_file = Some(token);
    job.program = env!("CARGO_BIN_EXE_credential_helper").into();
    job.workspace.submodules = true;
    let error = job.run().unwrap_err();
    assert!(error.to_string().contains("git submodule update"), "{error}");
    assert!(!other.seen().is_empty() && other.seen().iter().all(|(_, authorization)| authorization.is_none()), "{:?}", other.seen());
}

#[test]
fn a_submodule_by_ssh_is_fetched_with_the_tasks_key() {
    let root = tempfile::tempdir().unwrap();
    let sshd = match Sshd::start(root.path(), true) {
        Ok(sshd) => sshd,
        Err(why) => skipped!("a_submodule_by_ssh_is_fetched_with_the_tasks_key: {why}"),
    };
    let source = with_submodule(root.path(), "../inner.git");
    let mut job = Job::new(&sshd.url(&source.bare), &root.path().join("clone"));
    job.access.ssh_key_file = Some(sshd.key.clone());
    job.access.known_hosts_file = Some(sshd.known_hosts.clone());
    job.workspace.submodules = true;
    let prepared = job.run().unwrap();
    let sub = prepared.dir.join("sub");
    assert_eq!(fs::read_to_string(sub.join("file1.txt")).unwrap(), "content 1\n");
    git_ok(&sub, ["fetch", "-q", "origin", "feature"]);
}

/// Of a repository that it does not trust gix would hold no more than 16 MiB at a time.
#[test]
fn a_file_of_many_megabytes_is_a_file_like_any_other() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::empty(root.path(), "r.git");
    let large: String = (0..1_200_000).map(|line| format!("line {line} of many\n")).collect();
    source.commit("large.txt", &large);
    // The second comes as what has changed in the first.
    source.commit("large.txt", &format!("{large}end\n"));
    source.push();
    git_ok(&source.bare, ["repack", "-adq"]);
    let prepared = Job::of(&source, root.path()).depth(0).run().unwrap();
    assert_eq!(fs::read_to_string(prepared.dir.join("large.txt")).unwrap(), format!("{large}end\n"));
    assert_eq!(git_ok(&prepared.dir, ["status", "--porcelain"]), "");
    fs::write(prepared.dir.join("large.txt"), format!("{large}more\nend\n")).unwrap();
    git_ok(&prepared.dir, ["commit", "-qam", "more"]);
    let facts = facts(&prepared.dir, &Base::from(&prepared)).unwrap().unwrap();
    assert_eq!((facts.commits, facts.insertions, facts.deletions, facts.dirty), (Some(1), Some(1), Some(0), Some(false)));
}
