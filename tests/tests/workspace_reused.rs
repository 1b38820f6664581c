//! A volume that task after task works on: what was pushed, locked, renamed, linked and configured there meanwhile.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use agent_runner::workspace::Prepared;
use agent_runner::workspace::facts::{Base, facts};
use agent_runner::workspace::trust::{Request, apply};
use agent_sdk::agent::RepositoryPath;
use agent_sdk::agent::RepositoryPower::{Executes, Instructs};
use agent_sdk::task::Trust;
use agent_tests::git_servers::{Listener, git_daemon};
use agent_tests::repo::{Job, Source, git_ok};
use agent_tests::runs::{Origin, Scene, nobody};

fn commit(dir: &Path, name: &str, content: &str) {
    fs::write(dir.join(name), content).unwrap();
    git_ok(dir, ["add", "-A"]);
    git_ok(dir, ["commit", "-q", "-m", name]);
}

#[test]
fn a_branch_that_was_written_anew_at_the_remote_is_followed_if_nothing_here_was_not_there() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).on("feature").depth(0).run().unwrap();
    commit(&first.dir, "agent.txt", "work");
    git_ok(&first.dir, ["push", "-q", "origin", "feature"]);
    // Somebody amends what the agent pushed.
    git_ok(&source.work, ["fetch", "-q", source.bare.to_str().unwrap(), "feature"]);
    git_ok(&source.work, ["checkout", "-q", "--detach", "FETCH_HEAD"]);
    git_ok(&source.work, ["commit", "-q", "--amend", "-m", "amended"]);
    let amended = source.rev("HEAD");
    git_ok(&source.work, ["push", "-q", "-f", source.bare.to_str().unwrap(), "HEAD:feature"]);
    let again = Job::of(&source, root.path()).on("feature").depth(0).run().unwrap();
    assert_eq!(again.head, Some(amended), "{:?}", again.notes);
    assert!(again.notes.join("\n").contains("was written anew"), "{:?}", again.notes);
    // What is nowhere else stays.
    commit(&again.dir, "mine.txt", "mine");
    let mine = git_ok(&again.dir, ["rev-parse", "HEAD"]);
    git_ok(&source.work, ["commit", "-q", "--amend", "-m", "amended again"]);
    git_ok(&source.work, ["push", "-q", "-f", source.bare.to_str().unwrap(), "HEAD:feature"]);
    assert_eq!(Job::of(&source, root.path()).on("feature").depth(0).run().unwrap().head, Some(mine));
}

#[test]
fn only_the_branch_of_that_name_at_the_remote_makes_it_pushed() {
    let (root, source) = Source::alone();
    let prepared = Job::of(&source, root.path()).on("w").depth(0).run().unwrap();
    commit(&prepared.dir, "work.txt", "work");
    let pushed = |dir: &Path| facts(dir, &Base::from(&prepared)).unwrap().unwrap().pushed;
    git_ok(&prepared.dir, ["push", "-q", "origin", "HEAD:refs/heads/team/w"]);
    assert_eq!(pushed(&prepared.dir), Some(false));
    git_ok(&prepared.dir, ["push", "-q", "origin", "w"]);
    assert_eq!(pushed(&prepared.dir), Some(true));
    // Another remote may have it, under a name with a slash.
    commit(&prepared.dir, "more.txt", "more");
    git_ok(&prepared.dir, ["remote", "add", "my/fork", source.bare.to_str().unwrap()]);
    git_ok(&prepared.dir, ["update-ref", "refs/remotes/my/fork/w", "HEAD"]);
    assert_eq!(pushed(&prepared.dir), Some(true));
    // What lies behind a tip is there too, and so is what any branch has of a HEAD that is on none.
    git_ok(&prepared.dir, ["checkout", "-q", "--detach", "HEAD~1"]);
    assert_eq!(pushed(&prepared.dir), Some(true));
}

#[test]
fn a_branch_by_whose_side_there_can_be_none_is_forgotten_or_named() {
    let (root, source) = Source::alone();
    git_ok(&source.work, ["push", "-q", source.bare.to_str().unwrap(), "main:fix"]);
    let first = Job::of(&source, root.path()).at("fix").run().unwrap();
    git_ok(&first.dir, ["pack-refs", "--all"]);
    git_ok(&source.work, ["push", "-q", source.bare.to_str().unwrap(), ":fix", "main:fix/1"]);
    let work = first.dir.clone();
    git_ok(&work, ["checkout", "-q", "--detach"]);
    git_ok(&work, ["branch", "-q", "-D", "fix"]);
    assert_eq!(Job::of(&source, root.path()).at("fix/1").run().unwrap().head, Some(source.rev("main")));
    // And back again.
    git_ok(&work, ["checkout", "-q", "--detach"]);
    git_ok(&work, ["branch", "-q", "-D", "fix/1"]);
    git_ok(&source.work, ["push", "-q", source.bare.to_str().unwrap(), ":fix/1", "main:fix"]);
    assert_eq!(Job::of(&source, root.path()).at("fix").run().unwrap().head, Some(source.rev("main")));
    // Of branches that are here nobody but their owner can say that they may go.
    let error = Job::of(&source, root.path()).at("main").on("fix/2").run().unwrap_err();
    assert_eq!(error.reason().as_str(), "WorkspaceConflict");
    assert!(error.to_string().contains("the branch `fix` is here"), "{error}");
}

#[test]
fn locks_of_references_that_a_killed_git_left_are_removed() {
    let (root, source) = Source::alone();
    let first = Job::of(&source, root.path()).on("work").run().unwrap();
    source.commit("file9.txt", "new");
    source.push();
    let locks = ["refs/heads/work.lock", "refs/remotes/origin/main.lock", "packed-refs.lock"].map(|lock| first.dir.join(".git").join(lock));
    for lock in &locks {
        fs::write(lock, "").unwrap();
    }
    let again = Job::of(&source, root.path()).on("work").run().unwrap();
    assert!(locks.iter().all(|lock| !lock.exists()), "{:?}", again.notes);
    assert!(again.notes.join("\n").contains("removed `refs/heads/work.lock`"), "{:?}", again.notes);
}

#[test]
fn what_a_link_in_the_tree_leads_to_is_not_removed() {
    let (root, source) = Source::alone();
    source.commit("d/f", "tracked");
    source.push();
    let first = Job::of(&source, root.path()).run().unwrap();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("f"), "precious").unwrap();
    git_ok(&first.dir, ["update-index", "--skip-worktree", "d/f"]);
    fs::remove_dir_all(first.dir.join("d")).unwrap();
    symlink(&outside, first.dir.join("d")).unwrap();
    fs::write(first.dir.join(".git/info/exclude"), "/d\n").unwrap();
    git_ok(&source.work, ["rm", "-q", "d/f"]);
    source.commit("other", "other");
    source.push();
    let again = Job::of(&source, root.path()).run().unwrap();
    assert_eq!(again.head, Some(source.rev("main")));
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "precious");
}

/// An agent of before wrote it; with the next task comes the next task's key.
#[test]
fn no_way_around_the_check_of_a_clones_configuration() {
    let started = |root: &Path| root.join("started");
    let serve = |source: &Source| -> (Listener, String) {
        git_ok(&source.bare, ["config", "uploadpack.allowFilter", "true"]);
        let server = git_daemon(&source.root);
        let url = format!("git://{}/r.git", server.address());
        (server, url)
    };
    let refused = |root: &Path, source: &Source, change: &dyn Fn(&Path, &str)| {
        let (_server, url) = serve(source);
        let dir = root.join("clone");
        let mut job = Job::new(&url, &dir);
        job.workspace.filter = Some("blob:none".into());
        job.workspace.submodules = source.work.join(".gitmodules").exists();
        let _ = job.run().unwrap();
        change(&dir, &format!("touch {}; false", started(root).display()));
        source.commit("file1.txt", "new");
        source.push();
        let error = job.run().unwrap_err();
        assert!(error.to_string().contains("its git configuration sets `"), "{error}");
        assert!(!started(root).exists());
    };
    // What begins as git-lfs' own does.
    let (root, source) = Source::alone();
    refused(root.path(), &source, &|dir, program| drop(git_ok(dir, ["config", "core.gitProxy", &format!("git-lfs x; {program}")])));
    // A git directory under another name.
    let (root, source) = Source::alone();
    refused(root.path(), &source, &|dir, program| {
        fs::write(dir.join(".git/more"), format!("[remote \"origin\"]\n\tuploadpack = {program}\n")).unwrap();
        git_ok(dir, ["config", "include.path", "more"]);
        fs::rename(dir.join(".git"), dir.join(".elsewhere")).unwrap();
        fs::write(dir.join(".git"), "gitdir: .elsewhere\n").unwrap();
    });
    // A submodule's.
    for (key, value) in [("filter.x.smudge", None), ("core.worktree", Some("/tmp"))] {
        let (root, source) = Source::alone();
        let inner = Source::new(&root.path().join("inner"), "inner.git");
        let inner_server = git_daemon(&inner.root);
        git_ok(&source.work, ["submodule", "--quiet", "add", &format!("git://{}/inner.git", inner_server.address()), "sub"]);
        source.commit("with", "a submodule");
        source.push();
        refused(root.path(), &source, &|dir, program| {
            let config = dir.join(".git/modules/sub/config");
            git_ok(dir, ["config", "--file", config.to_str().unwrap(), key, value.unwrap_or(program)]);
        });
    }
}

#[test]
fn a_submodule_that_the_remote_removed_goes_or_stays_and_is_no_failure() {
    let (root, source) = Source::alone();
    let inner = Source::new(&root.path().join("inner"), "inner.git");
    let (inner_server, server) = (git_daemon(&inner.root), git_daemon(&source.root));
    for name in ["empty", "filled"] {
        git_ok(&source.work, ["submodule", "--quiet", "add", &format!("git://{}/inner.git", inner_server.address()), name]);
    }
    source.commit("with", "submodules");
    source.push();
    let job = || Job::new(&format!("git://{}/r.git", server.address()), &root.path().join("clone"));
    let first = job().run().unwrap();
    fs::write(first.dir.join("filled/mine"), "mine").unwrap();
    git_ok(&source.work, ["rm", "-q", "-f", "empty", "filled"]);
    source.commit("without", "submodules");
    source.push();
    let again = job().run().unwrap();
    assert!(!again.dir.join("empty").exists() && again.dir.join("filled/mine").exists());
    assert!(again.notes.join("\n").contains("`filled` is no longer of the repository"), "{:?}", again.notes);
}

/// git has no use for the key, and whatever it might be made to start would have; and what cannot be ended holds up the end of the run.
#[test]
fn git_has_no_models_key_in_its_environment_and_no_signal_blocked() {
    let origin = Origin::with(|source| drop(git_ok(&source.bare, ["config", "uploadpack.allowFilter", "true"])));
    let directory = tempfile::tempdir().unwrap();
    let (seen, programs) = (directory.path().join("seen"), directory.path().join("bin"));
    fs::create_dir(&programs).unwrap();
    let path = std::env::var("PATH").unwrap();
    // The real one, after its environment is written down.
    let script = format!(
        // The shell itself is looked at, before it starts anything: some clear their mask then.
        "#!/bin/sh\n{{ while read -r line; do case $line in SigBlk:*) echo \"$line\";; esac; done </proc/$$/status; env; }} >> {}\nPATH={path} exec git \"$@\"\n",
        seen.display()
    );
    fs::write(programs.join("git"), script).unwrap();
    fs::set_permissions(programs.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    let scene = Scene::of(origin, "claude", Path::new("true"), &nobody()).with("PATH", format!("{}:{path}", programs.display()));
    let scene = scene.with("AGENT_FILTER", "blob:none").with("ANTHROPIC_API_KEY", "sk-model").with("OPENAI_API_KEY", "sk-other");
    let ended = scene.with("GH_TOKEN", "ghp-of-git-itself").run();
    let seen = fs::read_to_string(seen).unwrap_or_else(|error| panic!("{error}: {ended}"));
    assert!(!seen.contains("sk-model") && !seen.contains("sk-other") && seen.contains("ghp-of-git-itself"), "{seen}");
    assert!(
        seen.contains("SigBlk:\t0000000000000000") && seen.matches("SigBlk:").count() == seen.matches(":\t0000000000000000").count(),
        "{seen}"
    );
}

// --- trust -------------------------------------------------------------------------------------------------------------

const PATHS: &[RepositoryPath] = &[
    RepositoryPath { path: ".claude", power: Executes },
    RepositoryPath { path: ".claude/skills", power: Instructs },
    RepositoryPath { path: "AGENTS.md", power: Instructs },
    RepositoryPath { path: ".mcp.json", power: Executes },
];

fn trust(prepared: &Prepared, trust: Trust) -> Result<Vec<String>, agent_runner::workspace::WorkspaceError> {
    let (dir, base_commit) = (&prepared.dir, prepared.base_commit.as_deref());
    apply(&Request { dir, workdir: dir, home: Path::new("/nonexistent"), trust, paths: PATHS, base_commit, given: &[] })
}

/// A base with instructions, and a branch that changes them and adds a server.
fn turned(source: &Source) {
    source.commit("AGENTS.md", "base");
    git_ok(&source.work, ["checkout", "-q", "-b", "turned"]);
    source.commit("AGENTS.md", "turned");
    source.commit(".mcp.json", "turned");
    source.push();
    git_ok(&source.work, ["checkout", "-q", "main"]);
}

fn read(prepared: &Prepared, name: &str) -> String {
    fs::read_to_string(prepared.dir.join(name)).unwrap_or_else(|error| format!("<{:?}>", error.kind()))
}

#[test]
fn what_the_agent_changes_of_what_was_put_back_is_told_and_kept() {
    let (root, source) = Source::alone();
    turned(&source);
    let first = Job::of(&source, root.path()).on("turned").run().unwrap();
    assert_eq!(trust(&first, Trust::Base).unwrap(), [".mcp.json", "AGENTS.md"]);
    let dirty = |prepared: &Prepared| facts(&prepared.dir, &Base::from(prepared)).unwrap().unwrap().dirty;
    assert_eq!(dirty(&first), Some(false));
    fs::write(first.dir.join("AGENTS.md"), "base, and the agent's").unwrap();
    fs::write(first.dir.join(".mcp.json"), "the agent's").unwrap();
    assert_eq!(dirty(&first), Some(true));
    // Nothing of it is lost to the next run, and the branch's own is not taken for it.
    let again = Job::of(&source, root.path()).on("turned").run().unwrap();
    assert_eq!((read(&again, "AGENTS.md").as_str(), read(&again, ".mcp.json").as_str()), ("base, and the agent's", "the agent's"));
    assert!(again.notes.join("\n").contains("`AGENTS.md` was changed since"), "{:?}", again.notes);
    assert_eq!(trust(&again, Trust::Base).unwrap(), [".mcp.json", "AGENTS.md"]);
    assert_eq!((read(&again, "AGENTS.md").as_str(), read(&again, ".mcp.json").as_str()), ("base", "<NotFound>"));
    let last = Job::of(&source, root.path()).on("turned").run().unwrap();
    assert_eq!((read(&last, "AGENTS.md").as_str(), read(&last, ".mcp.json").as_str()), ("base, and the agent's", "the agent's"));
}

#[test]
fn what_cannot_be_put_back_whole_is_not_put_back_in_part() {
    let (root, source) = Source::alone();
    turned(&source);
    let first = Job::of(&source, root.path()).on("turned").run().unwrap();
    // Left by a git that was killed, or held by one that works.
    let lock = first.dir.join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    assert!(trust(&first, Trust::Base).is_err());
    assert_eq!((read(&first, "AGENTS.md").as_str(), read(&first, ".mcp.json").as_str()), ("turned", "turned"));
    fs::remove_file(&lock).unwrap();
    assert_eq!(git_ok(&first.dir, ["status", "--porcelain"]), "");
    // A run that is killed while it notes the next thing has not done that; what is kept of somebody's is not taken for it.
    assert!(trust(&first, Trust::Base).is_ok());
    let state = first.dir.join(".git/agent-runner");
    let mut list = fs::OpenOptions::new().append(true).open(state.join("put-back")).unwrap();
    list.write_all(b"\0file1.txt\0file1").unwrap();
    fs::write(state.join("set-aside/new.txt"), "somebody's").unwrap();
    // What is noted is put back once, and not taken away again.
    for _ in 0..2 {
        let again = Job::of(&source, root.path()).on("turned").run().unwrap();
        assert_eq!((read(&again, "AGENTS.md").as_str(), read(&again, ".mcp.json").as_str()), ("turned", "turned"));
        assert_eq!(git_ok(&again.dir, ["status", "--porcelain"]), "");
    }
}

#[test]
fn a_submodule_with_skills_is_hidden_and_its_removal_is_in_no_commit() {
    let (root, source) = Source::alone();
    let inner = Source::new(&root.path().join("inner"), "inner.git");
    inner.commit("rev/SKILL.md", "a skill");
    inner.push();
    let (inner_server, server) = (git_daemon(&inner.root), git_daemon(&source.root));
    git_ok(&source.work, ["submodule", "--quiet", "add", &format!("git://{}/inner.git", inner_server.address()), ".claude/skills"]);
    source.commit("with", "a submodule");
    source.push();
    let mut job = Job::new(&format!("git://{}/r.git", server.address()), &root.path().join("clone")).on("work");
    job.workspace.submodules = true;
    let prepared = job.run().unwrap();
    assert_eq!(read(&prepared, ".claude/skills/rev/SKILL.md"), "a skill");
    assert!(trust(&prepared, Trust::Base).unwrap().contains(&".claude/skills/rev/SKILL.md".to_owned()));
    commit(&prepared.dir, "work.txt", "work");
    assert_eq!(git_ok(&prepared.dir, ["diff", "--name-status", "HEAD~1", "HEAD"]), "A\twork.txt");
    let again = job.run().unwrap();
    assert_eq!(read(&again, ".claude/skills/rev/SKILL.md"), "a skill");
}
