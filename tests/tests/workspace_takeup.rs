//! Clones that are there: taken up without losing work; facts about them; and what `trust` does to them.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use agent_runner::workspace::facts::{Base, Facts, facts};
use agent_runner::workspace::trust::{Request, apply, plain::SetAside};
use agent_runner::workspace::{Prepared, WhenHeld, workdir};
use agent_sdk::agent::RepositoryPower::{Executes, Instructs};
use agent_sdk::agent::{RepositoryPath, RepositoryPower};
use agent_sdk::task::{InjectedFile, Trust};
use agent_tests::repo::{Job, Source, git, git_ok};

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_else(|error| format!("<{:?}>", error.kind()))
}

fn commit_all(dir: &Path) {
    git_ok(dir, ["add", "-A"]);
    git_ok(dir, ["commit", "-q", "--allow-empty", "-m", "work"]);
}

#[test]
fn a_clone_is_taken_up_and_fast_forwarded_and_uncommitted_work_stays() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).run().unwrap();
    fs::write(first.dir.join("file1.txt"), "changed\n").unwrap();
    fs::write(first.dir.join("new.txt"), "untracked\n").unwrap();
    git_ok(&source.work, ["rm", "-q", "file3.txt"]);
    let tip = source.commit("sub/file4.txt", "content 4\n");
    source.push();
    // What a killed agent leaves.
    fs::write(first.dir.join(".git/index.lock"), "").unwrap();

    let again = Job::of(&source, root.path()).run().unwrap();
    assert!(again.taken_up);
    assert_eq!((again.head.as_deref(), again.base_commit.as_deref()), (Some(tip.as_str()), Some(tip.as_str())));
    let notes = again.notes.join("\n");
    for said in ["took up", "index.lock", "fast-forwarded `main`", "kept 2 uncommitted changes"] {
        assert!(notes.contains(said), "{notes}");
    }
    assert_eq!(read(&again.dir, "file1.txt"), "changed\n");
    assert_eq!(read(&again.dir, "sub/file4.txt"), "content 4\n");
    assert_eq!(git_ok(&again.dir, ["status", "--porcelain"]), "M file1.txt\n?? new.txt");
    git_ok(&again.dir, ["fsck", "--strict"]);
}

#[test]
fn uncommitted_work_in_the_way_is_a_conflict_that_names_it_and_changes_nothing() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).run().unwrap();
    for (name, file) in [("changed", "file1.txt"), ("untracked", "file4.txt"), ("directory", "file5/x")] {
        let path = first.dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
    }
    source.commit("file1.txt", "theirs\n");
    source.commit("file4.txt", "theirs\n");
    source.commit("file5", "theirs\n");
    source.push();
    let before = git_ok(&first.dir, ["rev-parse", "HEAD"]);
    let error = Job::of(&source, root.path()).run().unwrap_err();
    assert_eq!(error.reason().as_str(), "WorkspaceConflict");
    for name in ["file1.txt", "file4.txt", "file5"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!((read(&first.dir, "file1.txt").as_str(), read(&first.dir, "file4.txt").as_str()), ("changed", "untracked"));
    assert_eq!(git_ok(&first.dir, ["rev-parse", "HEAD"]), before);
}

#[test]
fn a_branch_of_the_same_name_is_reconciled() {
    let (root, source) = Source::alone();
    // The remote has the working branch.
    let first = Job::of(&source, root.path()).on("feature").depth(0).run().unwrap();
    assert_eq!(first.head.unwrap(), source.rev("feature"));
    // Local commits that are nowhere else.
    fs::write(first.dir.join("mine.txt"), "mine\n").unwrap();
    commit_all(&first.dir);
    let mine = git_ok(&first.dir, ["rev-parse", "HEAD"]);
    let ahead = Job::of(&source, root.path()).on("feature").depth(0).run().unwrap();
    assert_eq!(ahead.head.as_deref(), Some(mine.as_str()));
    assert!(ahead.notes.join("\n").contains("has commits that the remote has not"), "{:?}", ahead.notes);
    // And then others' too.
    git_ok(&source.work, ["checkout", "-q", "feature"]);
    let theirs = source.commit("theirs.txt", "theirs\n");
    source.push();
    let diverged = Job::of(&source, root.path()).on("feature").depth(0).run().unwrap();
    assert_eq!(diverged.head.as_deref(), Some(mine.as_str()));
    assert!(diverged.notes.join("\n").contains("diverged"), "{:?}", diverged.notes);
    assert_eq!(git_ok(&diverged.dir, ["rev-parse", "origin/feature"]), theirs);
    // Another branch of the same clone, from another ref.
    let other = Job::of(&source, root.path()).at("v1").on("other").depth(0).run().unwrap();
    assert_eq!((other.head.unwrap(), git_ok(&other.dir, ["branch", "--show-current"])), (source.rev("v1"), "other".to_owned()));
    assert_eq!(git_ok(&other.dir, ["status", "--porcelain"]), "");
}

#[test]
fn a_whole_history_stays_whole_also_where_a_tag_is_asked_for() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).depth(0).run().unwrap();
    source.commit("more", "x");
    source.push();
    let again = Job::of(&source, root.path()).at("v1").depth(1).run().unwrap();
    assert_eq!(again.base_commit, Some(source.rev("main")));
    assert!(!first.dir.join(".git/shallow").exists());
    assert_eq!(git_ok(&first.dir, ["rev-list", "--count", "origin/main"]), "4");
}

#[test]
fn a_merge_in_progress_stays_on_its_branch_and_is_taken_nowhere_else() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).on("work").depth(0).run().unwrap();
    git_ok(&first.dir, ["fetch", "-q", "origin", "feature"]);
    let merge = ["merge", "-q", "--no-ff", "--no-commit", "FETCH_HEAD"].as_slice();
    for (state, begin) in [("merge", merge), ("revert", &["revert", "--no-commit", "HEAD"])] {
        git_ok(&first.dir, begin);
        let before = git_ok(&first.dir, ["rev-parse", "HEAD"]);
        for other in [Job::of(&source, root.path()).on("other").depth(0), Job::of(&source, root.path()).at("v1").depth(0)] {
            let error = other.run().unwrap_err();
            assert_eq!(error.reason().as_str(), "WorkspaceConflict");
            assert!(error.to_string().contains(&format!("a {state} is in progress on `work`")), "{error}");
        }
        assert_eq!(git_ok(&first.dir, ["rev-parse", "HEAD"]), before);
        assert_eq!(git_ok(&first.dir, ["branch", "--show-current"]), "work");
        let same = Job::of(&source, root.path()).on("work").depth(0).run().unwrap();
        assert!(same.notes.join("\n").contains(&format!("a {state} that was begun")), "{:?}", same.notes);
        git_ok(&first.dir, [state, "--abort"]);
    }
    assert_eq!(Job::of(&source, root.path()).on("other").depth(0).run().unwrap().branch.as_deref(), Some("other"));
}

#[test]
fn something_else_in_the_directory_is_a_conflict() {
    let (root, source) = Source::alone();
    let dir = root.path().join("clone");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("thesis.tex"), "years of work").unwrap();
    let error = Job::of(&source, root.path()).run().unwrap_err();
    assert!(error.reason().as_str() == "WorkspaceConflict" && error.to_string().contains("thesis.tex"), "{error}");
    git_ok(&dir, ["init", "-q"]);
    let error = Job::of(&source, root.path()).run().unwrap_err();
    assert!(error.to_string().contains("without a remote"), "{error}");
    git_ok(&dir, ["remote", "add", "origin", "https://user:hunter2@example.org/x"]);
    let error = Job::of(&source, root.path()).run().unwrap_err();
    assert!(error.to_string().contains("clone of `https://example.org/x`") && !error.to_string().contains("hunter2"), "{error}");
    assert_eq!(read(&dir, "thesis.tex"), "years of work");
}

#[test]
fn what_a_killed_runner_left_is_cloned_anew() {
    let (root, source) = Source::alone();
    let dir = root.path().join("clone");
    fs::create_dir_all(dir.join(".git/objects/pack")).unwrap();
    fs::write(dir.join(".git/agent-runner-unfinished"), "").unwrap();
    fs::write(dir.join("half.txt"), "half").unwrap();
    let prepared = Job::of(&source, root.path()).run().unwrap();
    assert!(!prepared.taken_up && !dir.join("half.txt").exists() && !dir.join(".git/agent-runner-unfinished").exists());
}

#[test]
fn a_directory_in_which_another_run_clones_is_left_to_it() {
    let (root, source) = Source::alone();
    let silent = agent_tests::git_servers::silent();
    let marker = root.path().join("clone/.git/agent-runner-unfinished");
    let first = Job::new(&format!("git://{}/r.git", silent.address()), &root.path().join("clone"));
    let (second, third) = std::thread::scope(|scope| {
        let running = scope.spawn(|| first.run().unwrap_err());
        agent_tests::runs::wait_until("the first clone's mark", || marker.exists() && !first.progress.lock().unwrap().is_empty());
        let at_once = Job { when_held: WhenHeld::Wait(Duration::ZERO), ..Job::of(&source, root.path()) };
        let second = at_once.run().unwrap_err();
        // Where files cannot be locked, a third run takes the directory; the first one has nothing there any more.
        fs::remove_dir_all(root.path().join("clone/.git")).unwrap();
        let third = Job::of(&source, root.path()).run().unwrap();
        first.cancel.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(running.join().unwrap().reason().as_str(), "Cancelled");
        (second, third)
    });
    assert_eq!(second.reason().as_str(), "WorkspaceConflict");
    assert!(second.to_string().contains("another run is cloning"), "{second}");
    assert_eq!(git_ok(&third.dir, ["status", "--porcelain"]), "");
    assert_eq!(read(&third.dir, "file1.txt"), "content 1\n");
}

#[test]
fn files_are_injected_after_the_checkout_and_a_link_of_the_repository_is_refused() {
    let (root, source) = Source::alone();
    symlink("/etc", source.work.join("link")).unwrap();
    source.commit("x", "x");
    source.push();
    let file = |path: &str| InjectedFile { path: path.into(), content: "injected".into(), executable: false };
    let mut good = Job::of(&source, root.path());
    good.workspace.files = vec![file("file1.txt"), file("a/b")];
    let prepared = good.run().unwrap();
    assert_eq!((read(&prepared.dir, "file1.txt"), read(&prepared.dir, "a/b")), ("injected".into(), "injected".into()));
    let mut bad = Job::new(source.bare.to_str().unwrap(), &root.path().join("bad"));
    bad.workspace.files = vec![file("link/agent-runner-test")];
    assert_eq!(bad.run().unwrap_err().reason().as_str(), "WorkspaceConflict");
    assert!(!Path::new("/etc/agent-runner-test").exists() && !root.path().join("bad").exists());
}

fn facts_of(prepared: &Prepared) -> Facts {
    facts(&prepared.dir, &Base::from(prepared)).unwrap().unwrap()
}

#[test]
fn facts_are_what_git_says() {
    let (root, source) = Source::alone();
    for depth in [0, 1] {
        let dir = root.path().join(format!("facts{depth}"));
        let prepared = Job::new(source.bare.to_str().unwrap(), &dir).on(&format!("work{depth}")).depth(depth).run().unwrap();
        let before = facts_of(&prepared);
        assert_eq!((before.commits, before.files_changed, before.dirty, before.pushed), (Some(0), Some(0), Some(false), Some(false)));
        fs::write(dir.join("file1.txt"), "one\ntwo\n").unwrap();
        fs::rename(dir.join("file2.txt"), dir.join("renamed.txt")).unwrap();
        fs::write(dir.join("binary"), [0, 1, 2, 0]).unwrap();
        commit_all(&dir);
        fs::remove_file(dir.join("file3.txt")).unwrap();
        commit_all(&dir);
        let facts = facts_of(&prepared);
        let stat = git_ok(&dir, ["diff", "--shortstat", "-M", prepared.base_commit.as_deref().unwrap(), "HEAD"]);
        let numbers: Vec<u64> = stat.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        assert_eq!([facts.files_changed, facts.insertions, facts.deletions].map(Option::unwrap).as_slice(), numbers, "{stat}");
        assert_eq!((facts.commits, facts.dirty, facts.pushed), (Some(2), Some(false), Some(false)));
        assert_eq!(facts.commit, Some(git_ok(&dir, ["rev-parse", "HEAD"])));
        git_ok(&dir, ["push", "-q"]);
        assert_eq!(facts_of(&prepared).pushed, Some(true));
        fs::write(dir.join("untracked"), "").unwrap();
        fs::write(dir.join(".git/index.lock"), "").unwrap();
        assert_eq!(facts_of(&prepared).dirty, Some(true));
        fs::remove_file(dir.join(".git/index.lock")).unwrap();
        git_ok(&dir, ["checkout", "-q", "--detach"]);
        assert_eq!((facts_of(&prepared).branch, facts_of(&prepared).pushed), (None, Some(true)));
        git_ok(&dir, ["checkout", "-q", "--orphan", "unborn"]);
        assert_eq!(facts_of(&prepared).commit, None);
    }
    assert_eq!(facts(root.path(), &Base::default()).unwrap(), None);
}

#[test]
fn a_branch_that_was_taken_up_shallow_counts_what_this_run_did() {
    let (root, source) = Source::alone();
    let prepared = Job::of(&source, root.path()).on("feature").run().unwrap();
    fs::write(prepared.dir.join("more"), "1\n2\n").unwrap();
    commit_all(&prepared.dir);
    let facts = facts_of(&prepared);
    assert_eq!((facts.commits, facts.files_changed, facts.insertions), (Some(1), Some(1), Some(2)));
}

/// A FIFO would hold whoever opens it for ever.
#[test]
fn what_is_no_file_in_a_files_place_is_a_conflict() {
    let (root, source) = Source::alone();
    let dir = Job::of(&source, root.path()).run().unwrap().dir;
    for name in [".git/index", ".gitignore", ".git/refs/heads/fifo", ".git/objects/info/alternates"] {
        let path = dir.join(name);
        let content = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut as_it_is = Job::new("", &dir);
        as_it_is.workspace.repo = None;
        for job in [Job::of(&source, root.path()), as_it_is] {
            let error = job.run().unwrap_err();
            assert!(error.to_string().ends_with(&format!("`{name}` is no regular file")), "{error}");
        }
        fs::remove_file(&path).unwrap();
        content.map_or(Ok(()), |content| fs::write(&path, content)).unwrap();
    }
}

#[test]
fn a_directory_that_others_prepared_is_looked_at_as_it_is() {
    let (root, source) = Source::alone();
    let dir = root.path().join("theirs");
    git_ok(root.path(), ["clone", "-q", source.bare.to_str().unwrap(), dir.to_str().unwrap()]);
    fs::write(dir.join("file1.txt"), "theirs\n").unwrap();
    let mut as_it_is = Job::new("", &dir);
    as_it_is.workspace.repo = None;
    let prepared = as_it_is.run().unwrap();
    assert_eq!((prepared.branch.as_deref(), prepared.base_branch.as_deref()), (Some("main"), Some("main")));
    assert_eq!(prepared.base_commit.as_deref(), Some(source.rev("main").as_str()));
    assert_eq!(read(&dir, "file1.txt"), "theirs\n");

    let mut plain = Job::new("", &root.path().join("plain"));
    plain.workspace.repo = None;
    assert_eq!(plain.run().unwrap().git_dir, None);
}

// --- trust -------------------------------------------------------------------------------------------------------------

const PATHS: &[RepositoryPath] = &[
    path(".claude", Executes),
    path(".claude/skills", Instructs),
    path("CLAUDE.md", Instructs),
    path(".mcp.json", Executes),
    path(".env", Executes),
];

const fn path(path: &'static str, power: RepositoryPower) -> RepositoryPath {
    RepositoryPath { path, power }
}

/// A base with some configuration, and a branch `evil` that changes, adds and deletes some.
fn turn(source: &Source) {
    let write = |files: &[(&str, &str)]| {
        for (name, content) in files {
            let path = source.work.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        source.commit("marker", &format!("{files:?}"));
    };
    symlink("AGENTS.md", source.work.join("CLAUDE.md")).unwrap();
    write(&[
        ("AGENTS.md", "base agents"),
        (".claude/settings.json", "base settings"),
        (".claude/skills/a/SKILL.md", "base skill"),
        (".mcp.json", "base mcp"),
        ("sub/.claude/settings.json", "base sub"),
    ]);
    git_ok(&source.work, ["checkout", "-q", "-b", "evil"]);
    git_ok(&source.work, ["rm", "-q", ".mcp.json"]);
    fs::remove_file(source.work.join("CLAUDE.md")).unwrap();
    write(&[
        ("AGENTS.md", "evil agents"),
        ("CLAUDE.md", "evil claude"),
        (".claude/settings.json", "evil settings"),
        (".claude/hooks/h.sh", "evil hook"),
        (".claude/skills/a/SKILL.md", "evil skill"),
        (".env", "evil env"),
        ("sub/.claude/settings.json", "evil sub"),
    ]);
    source.push();
    git_ok(&source.work, ["checkout", "-q", "main"]);
}

/// A clone of that branch.
fn turned(root: &Path, source: &Source) -> Prepared {
    turn(source);
    let mut job = Job::of(source, root).on("evil");
    job.workspace.subdirectory = Some("sub".into());
    let prepared = job.run().unwrap();
    assert_eq!(workdir(&prepared, &job.workspace).unwrap(), prepared.dir.join("sub"));
    prepared
}

/// A server of these branches that leaves out what nobody asks for, and its URL.
fn promising(source: &Source) -> (agent_tests::git_servers::Listener, String) {
    turn(source);
    git_ok(&source.bare, ["config", "uploadpack.allowFilter", "true"]);
    let server = agent_tests::git_servers::git_daemon(&source.root);
    let url = format!("git://{}/r.git", server.address());
    (server, url)
}

fn trust(prepared: &Prepared, trust: Trust) -> Vec<String> {
    with_home(prepared, trust, Path::new("/nonexistent"))
}

fn with_home(prepared: &Prepared, trust: Trust, home: &Path) -> Vec<String> {
    applied(prepared, trust, home, &[])
}

fn applied(prepared: &Prepared, trust: Trust, home: &Path, given: &[InjectedFile]) -> Vec<String> {
    let (dir, workdir, base_commit) = (&prepared.dir, &prepared.dir.join("sub"), prepared.base_commit.as_deref());
    apply(&Request { dir, workdir, home, trust, paths: PATHS, base_commit, given }).unwrap()
}

/// The agent commits everything that it sees; the branch must not have changed but for its own file.
fn agent_commits_only_its_own(prepared: &Prepared) {
    assert_eq!(git_ok(&prepared.dir, ["status", "--porcelain"]), "");
    assert_eq!(facts_of(prepared).dirty, Some(false));
    fs::write(prepared.dir.join("work.txt"), "work").unwrap();
    git_ok(&prepared.dir, ["add", "-A"]);
    git_ok(&prepared.dir, ["commit", "-q", "-a", "-m", "work"]);
    assert_eq!(git_ok(&prepared.dir, ["diff", "--name-status", "HEAD~1", "HEAD"]), "A\twork.txt");
}

#[test]
fn with_trust_base_the_agent_sees_the_bases_configuration_and_commits_none_of_it() {
    let (root, source) = Source::alone();
    let prepared = turned(root.path(), &source);
    let put_back = trust(&prepared, Trust::Base);
    let dir = &prepared.dir;
    assert_eq!(
        put_back,
        [
            ".claude/hooks/h.sh",
            ".claude/settings.json",
            ".claude/skills/a/SKILL.md",
            ".env",
            ".mcp.json",
            "CLAUDE.md",
            "sub/.claude/settings.json"
        ]
    );
    for (name, content) in [
        (".claude/settings.json", "base settings"),
        (".claude/hooks/h.sh", "<NotFound>"),
        (".claude/skills/a/SKILL.md", "base skill"),
        (".mcp.json", "base mcp"),
        (".env", "<NotFound>"),
        // A link in the base: its content there, not what the branch made of the link's target.
        ("CLAUDE.md", "base agents"),
        ("sub/.claude/settings.json", "base sub"),
        // Not in the list.
        ("AGENTS.md", "evil agents"),
    ] {
        assert_eq!(read(dir, name), content, "{name}");
    }
    agent_commits_only_its_own(&prepared);

    // Taken up again with all trust, the branch's own files are back.
    let again = Job::of(&source, root.path()).on("evil").run().unwrap();
    assert!(again.notes.iter().all(|note| !note.contains("uncommitted")), "{:?}", again.notes);
    assert_eq!(trust(&again, Trust::Repository), Vec::<String>::new());
    for (name, content) in [
        (".claude/settings.json", "evil settings"),
        (".claude/hooks/h.sh", "evil hook"),
        (".mcp.json", "<NotFound>"),
        ("CLAUDE.md", "evil claude"),
    ] {
        assert_eq!(read(dir, name), content, "{name}");
    }
    assert_eq!(git_ok(dir, ["status", "--porcelain"]), "");
    assert_eq!(git_ok(dir, ["ls-files", "-v"]).lines().filter(|line| line.starts_with('S')).count(), 0);
}

#[test]
fn a_partial_clone_has_what_is_read_of_it_and_says_what_it_does_not_know() {
    let (root, source) = Source::alone();
    let (_server, url) = promising(&source);
    let job = || Job::new(&url, &root.path().join("clone")).on("evil").depth(0);
    let mut first = job();
    first.workspace.filter = Some("blob:none".into());
    first.workspace.subdirectory = Some("sub".into());
    first.config_paths = PATHS.to_vec();
    let prepared = first.run().unwrap();
    let lacks = || git_ok(&prepared.dir, ["rev-list", "--objects", "--all", "--missing=print"]).lines().any(|line| line.starts_with('?'));
    assert!(lacks());
    let facts = facts_of(&prepared);
    assert_eq!((facts.commits, facts.insertions, facts.deletions), (Some(1), None, None));
    assert!(facts.files_changed.is_some_and(|files| files > 5), "{facts:?}");
    assert!(trust(&prepared, Trust::Base).contains(&"CLAUDE.md".to_owned()));
    assert_eq!(read(&prepared.dir, "CLAUDE.md"), "base agents", "what a link leads to");
    assert_eq!(read(&prepared.dir, ".mcp.json"), "base mcp");

    git_ok(&source.work, ["checkout", "-q", "evil"]);
    source.commit("file1.txt", "newer\n");
    source.push();
    let again = job().run().unwrap();
    assert_eq!(again.head, Some(source.rev("evil")));
    assert_eq!((read(&again.dir, "file1.txt").as_str(), read(&again.dir, "CLAUDE.md").as_str()), ("newer\n", "evil claude"));
    let other = job().on("main").run().unwrap();
    assert_eq!((read(&other.dir, "file1.txt").as_str(), read(&other.dir, ".mcp.json").as_str()), ("content 1\n", "base mcp"));
    assert_eq!(git_ok(&other.dir, ["status", "--porcelain"]), "");
    assert_eq!(git_ok(&other.dir, ["config", "remote.origin.promisor"]), "true");
}

/// Whoever made the clone has written its configuration; the runner's git would go by it before anything is known of him.
#[test]
fn no_git_is_started_by_a_configuration_that_starts_programs() {
    let (root, source) = Source::alone();
    let (_server, url) = promising(&source);
    let started = root.path().join("started");
    let program = format!("touch {}; false", started.display());
    for (key, value) in [("core.sshCommand", program.as_str()), ("core.gitProxy", &program), ("url.ssh://evil/.insteadOf", "git:")] {
        let dir = root.path().join("clone");
        let mut job = Job::new(&url, &dir).on("evil");
        job.workspace.filter = Some("blob:none".into());
        job.config_paths = PATHS.to_vec();
        let _ = job.run().unwrap();
        git_ok(&dir, ["config", key, value]);
        source.commit("file1.txt", key);
        source.push();
        let error = job.on("main").run().unwrap_err();
        assert!(error.to_string().contains("its git configuration sets `"), "{error}");
        assert!(!started.exists(), "{key}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_run_on_a_partial_clone_gives_the_agent_the_bases_configuration() {
    let origin = agent_tests::runs::Origin::with(|source| {
        turn(source);
        git_ok(&source.bare, ["config", "uploadpack.allowFilter", "true"]);
    });
    let directory = tempfile::tempdir().unwrap();
    let agent = directory.path().join("agent");
    fs::write(&agent, "#!/bin/sh\ncat CLAUDE.md >&2\n").unwrap();
    fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let scene = agent_tests::runs::Scene::of(origin, "claude", &agent, &agent_tests::runs::nobody());
    let ended = scene.with("AGENT_BRANCH", "evil").with("AGENT_FILTER", "blob:none").with("ANTHROPIC_API_KEY", "key").run();
    assert_eq!(ended.message["phase"], "agent", "{ended}");
    assert!(ended.stderr.contains("base agents"), "{ended}");
}

#[test]
fn with_trust_instructions_nothing_that_executes_is_left() {
    let (root, source) = Source::alone();
    let prepared = turned(root.path(), &source);
    let put_back = trust(&prepared, Trust::Instructions);
    assert_eq!(put_back, [".claude/hooks/h.sh", ".claude/settings.json", ".env", "sub/.claude/settings.json"]);
    assert_eq!(read(&prepared.dir, ".claude/skills/a/SKILL.md"), "evil skill");
    assert_eq!(read(&prepared.dir, "CLAUDE.md"), "evil claude");
    agent_commits_only_its_own(&prepared);
}

/// Whoever gives the task is trusted with it.
#[test]
fn what_the_task_puts_into_the_tree_counts_whatever_of_the_repository_does() {
    for trust in [Trust::Base, Trust::Instructions] {
        let (root, source) = Source::alone();
        turn(&source);
        let given = [("CLAUDE.md", "the task's"), (".claude/settings.json", "{}"), ("sub/.mcp.json", "{}")];
        let given = given.map(|(path, content)| InjectedFile { path: path.into(), content: content.into(), executable: false });
        let mut job = Job::of(&source, root.path()).on("evil");
        job.workspace.files = given.to_vec();
        job.workspace.subdirectory = Some("sub".into());
        let prepared = job.run().unwrap();
        let put_back = applied(&prepared, trust, Path::new("/nonexistent"), &given);
        assert!(put_back.contains(&".claude/hooks/h.sh".to_owned()), "{put_back:?}");
        for file in &given {
            assert_eq!(read(&prepared.dir, file.path.to_str().unwrap()), file.content, "{trust:?}");
        }
    }
}

#[test]
fn an_unchanged_branch_is_left_alone() {
    let (root, source) = Source::alone();
    let _ = turned(&root.path().join("x"), &source);
    let prepared = Job::of(&source, root.path()).on("new").run().unwrap();
    assert_eq!(read(&prepared.dir, "CLAUDE.md"), "base agents");
    assert_eq!(trust(&prepared, Trust::Base), Vec::<String>::new());
    assert!(prepared.dir.join("CLAUDE.md").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn links_in_the_way_are_replaced_and_never_followed() {
    for (link, target) in [
        (".claude", "OUTSIDE"),
        (".claude", "innocent"),
        (".claude/settings.json", "OUTSIDE/settings.json"),
        (".mcp.json", "nowhere"),
        (".claude", ".claude"),
    ] {
        for mode in [Trust::Base, Trust::Instructions] {
            let (root, source) = Source::alone();
            let outside = root.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("settings.json"), "untouched").unwrap();
            source.commit(".claude/settings.json", "base settings");
            git_ok(&source.work, ["checkout", "-q", "-b", "evil"]);
            git_ok(&source.work, ["rm", "-rq", "--cached", ".claude"]);
            fs::remove_dir_all(source.work.join(".claude")).unwrap();
            fs::create_dir_all(source.work.join(link).parent().unwrap()).unwrap();
            symlink(target.replace("OUTSIDE", outside.to_str().unwrap()), source.work.join(link)).unwrap();
            fs::create_dir_all(source.work.join("sub")).unwrap();
            fs::write(source.work.join("sub/x"), "").unwrap();
            source.commit("innocent/settings.json", "evil settings");
            source.push();
            let prepared = Job::of(&source, root.path()).on("evil").run().unwrap();
            let put_back = trust(&prepared, mode);
            assert!(!put_back.is_empty(), "{link} {target} {mode:?}");
            let expected = if mode == Trust::Base { "base settings" } else { "<NotFound>" };
            assert_eq!(read(&prepared.dir, ".claude/settings.json"), expected, "{link} {target} {mode:?}");
            for name in [".claude", ".mcp.json", ".claude/settings.json"] {
                assert!(
                    !prepared.dir.join(name).symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()),
                    "{name}: {link} {target} {mode:?}"
                );
            }
            assert_eq!((read(&outside, "settings.json").as_str(), fs::read_dir(&outside).unwrap().count()), ("untouched", 1));
            agent_commits_only_its_own(&prepared);
        }
    }
}

#[test]
fn what_the_branch_only_deleted_is_back() {
    let (root, source) = Source::alone();
    source.commit(".mcp.json", "base mcp");
    git_ok(&source.work, ["checkout", "-q", "-b", "evil"]);
    git_ok(&source.work, ["rm", "-q", ".mcp.json"]);
    source.commit("sub/x", "");
    source.push();
    let prepared = Job::of(&source, root.path()).on("evil").run().unwrap();
    assert_eq!(trust(&prepared, Trust::Base), [".mcp.json"]);
    assert_eq!(read(&prepared.dir, ".mcp.json"), "base mcp");
    agent_commits_only_its_own(&prepared);
}

/// A directory that is no repository, as somebody mounted it.
fn mounted(root: &Path) -> Job {
    let dir = root.join("clone");
    for (name, content) in [
        ("CLAUDE.md", "instructions"),
        (".claude/settings.json", "settings"),
        (".claude/skills/a/SKILL.md", "skill"),
        (".env", "env"),
        ("sub/.mcp.json", "mcp"),
    ] {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), content).unwrap();
    }
    fs::create_dir(dir.join(".claude/hooks")).unwrap();
    fs::set_permissions(dir.join(".claude/hooks"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.join(".claude/hooks/h.sh"), "hook").unwrap();
    let mut job = Job::new("unused", &dir);
    job.workspace.repo = None;
    job
}

#[test]
fn in_a_directory_that_is_no_repository_nothing_that_executes_is_left_and_all_of_it_comes_back() {
    for mode in [Trust::Base, Trust::Instructions] {
        let root = tempfile::tempdir().unwrap();
        let job = mounted(root.path());
        let prepared = job.run().unwrap();
        assert_eq!(trust(&prepared, Trust::Repository), Vec::<String>::new());
        let put_back = trust(&prepared, mode);
        assert_eq!(put_back, [".claude/hooks/h.sh", ".claude/settings.json", ".env", "sub/.mcp.json"], "{mode:?}");
        assert_eq!(read(&prepared.dir, "CLAUDE.md") + &read(&prepared.dir, ".claude/skills/a/SKILL.md"), "instructionsskill");
        for name in &put_back {
            assert_eq!(read(&prepared.dir, name), "<NotFound>");
        }
        // What the agent made meanwhile stays.
        fs::write(prepared.dir.join(".env"), "the agent's").unwrap();
        drop(SetAside::of(&prepared));
        assert_eq!(read(&prepared.dir, ".env"), "the agent's");
        assert_eq!(read(&prepared.dir, ".agent-runner/set-aside/.env"), "env");
        fs::remove_file(prepared.dir.join(".env")).unwrap();
        // The next run, also of one that was killed.
        let again = job.run().unwrap();
        for (name, content) in [(".claude/settings.json", "settings"), (".env", "env"), ("sub/.mcp.json", "mcp")] {
            assert_eq!(read(&again.dir, name), content);
        }
        assert_eq!(fs::metadata(again.dir.join(".claude/hooks")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!again.dir.join(".agent-runner").exists());
    }
}

/// Content alone could else be moved to wherever a link leads, with the runner's rights.
#[test]
fn a_link_where_what_is_set_aside_is_kept_is_refused() {
    for place in [".agent-runner", ".agent-runner/set-aside", ".agent-runner/set-aside/.claude"] {
        let root = tempfile::tempdir().unwrap();
        let prepared = mounted(root.path()).run().unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join("set-aside/.claude")).unwrap();
        fs::create_dir_all(prepared.dir.join(place).parent().unwrap()).unwrap();
        symlink(&home, prepared.dir.join(place)).unwrap();
        let (dir, workdir, base_commit) = (&prepared.dir, &prepared.dir, None);
        let request = Request { dir, workdir, home: Path::new("/nonexistent"), trust: Trust::Base, paths: PATHS, base_commit, given: &[] };
        let error = apply(&request).unwrap_err();
        assert!(error.to_string().contains("is no directory"), "{error}");
        let moved = [home.join("settings.json"), home.join(".claude/settings.json"), home.join("set-aside/.claude/settings.json")];
        assert!(moved.iter().all(|path| !path.exists()), "{place}");
        assert_eq!(read(&prepared.dir, ".claude/settings.json"), "settings");
    }
}

#[test]
fn what_was_set_aside_is_never_lost_to_what_an_agent_puts_in_its_place() {
    let root = tempfile::tempdir().unwrap();
    let job = mounted(root.path());
    for run in ["first", "second"] {
        let prepared = job.run().unwrap();
        let _ = trust(&prepared, Trust::Base);
        fs::write(prepared.dir.join(".env"), run).unwrap();
        drop(SetAside::of(&prepared));
    }
    let dir = root.path().join("clone");
    assert_eq!((read(&dir, ".env").as_str(), read(&dir, ".agent-runner/set-aside/.env").as_str()), ("second", "env"));
    // An agent that was killed had made a repository of it.
    fs::remove_file(dir.join(".env")).unwrap();
    git_ok(&dir, ["init", "-q"]);
    let _ = job.run().unwrap();
    assert_eq!(read(&dir, ".env"), "env");
}

#[test]
fn a_home_that_is_the_workspace_holds_the_users_own() {
    let root = tempfile::tempdir().unwrap();
    let prepared = mounted(root.path()).run().unwrap();
    let home = root.path().join("home");
    symlink(&prepared.dir, &home).unwrap();
    assert_eq!(with_home(&prepared, Trust::Base, &home), ["sub/.mcp.json"]);
}

#[test]
fn the_agents_git_is_told_of_a_directory_of_another_owner_and_of_no_other() {
    let (root, source) = Source::alone();
    if !nix::unistd::geteuid().is_root() {
        agent_tests::skipped!(
            "the_agents_git_is_told_of_a_directory_of_another_owner_and_of_no_other: only root can give a directory away"
        );
    }
    let dir = root.path().join("clone");
    fs::create_dir(&dir).unwrap();
    nix::unistd::chown(&dir, Some(nix::unistd::Uid::from_raw(4711)), None).unwrap();
    let prepared = Job::of(&source, root.path()).run().unwrap();
    assert!(!git(&dir).arg("status").output().unwrap().status.success(), "git refuses by itself");
    assert!(git(&dir).arg("status").envs(prepared.env.clone()).output().unwrap().status.success(), "{:?}", prepared.env);
    assert!(prepared.env.iter().all(|(_, value)| value != "*"));
    assert_eq!(facts_of(&prepared).dirty, Some(false));
    assert!(Job::of(&source, root.path()).run().unwrap().taken_up);
}
