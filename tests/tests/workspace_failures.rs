//! What goes wrong on the way to a clone: each has its reason, leaves nothing behind, and tells no secret.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be made is a failed test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use agent_runner::workspace::WorkspaceError;
use agent_tests::git_servers::{Authority, HttpServer, Listener, Proxy, cutting, git_daemon, refusing_first, silent};
use agent_tests::repo::{Job, Source, git, git_ok, holds_text};
use agent_tests::runs::wait_until;
use agent_tests::skipped;

const SECRET: &str = "t0ken-that-nobody-may-see";

fn reason(error: &WorkspaceError) -> &'static str {
    error.reason().as_str()
}

fn with_token(mut job: Job, root: &Path, token: &str) -> Job {
    let file = root.join("token");
    fs::write(&file, token).unwrap();
    job.access.token_file = Some(file);
    job
}

/// A big enough repository that a pack does not fit into one read.
fn heavy(root: &Path) -> Source {
    let source = Source::empty(root, "heavy.git");
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    for number in 0..8 {
        let text: String = (0..400_000).map(|_| noise()).collect();
        source.commit(&format!("noise{number}"), &text);
    }
    source.push();
    source
}

#[test]
fn a_wrong_password_is_an_authentication_failure_that_is_tried_once_and_names_no_secret() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let server = HttpServer::start(&source.root, None);
    server.allow(&["x-access-token:right"]);
    let dir = root.path().join("deep/er/clone");
    let mut job = with_token(Job::new(&server.url("r.git"), &dir), root.path(), SECRET);
    job.attempts = 3;
    let error = job.run().unwrap_err();
    assert_eq!(reason(&error), "CloneAuthFailed");
    assert!(error.to_string().contains("401") && error.to_string().contains("who are you?"), "{error}");
    assert!(!format!("{error} {error:?} {} {:?}", error.hint(), job.progress.lock().unwrap()).contains(SECRET));
    assert_eq!(server.seen().len(), 2, "once without credentials, once with them: {:?}", server.seen());
    assert!(!root.path().join("deep").exists(), "parents that were made are gone too");

    // None at all, and in the URL.
    let error = Job::new(&server.url("r.git"), &dir).run().unwrap_err();
    assert!(reason(&error) == "CloneAuthFailed" && error.hint().contains("AGENT_TOKEN_FILE"), "{error}");
    let url = server.url("r.git").replace("://", &format!("://user:{SECRET}@"));
    let error = Job::new(&url, &dir).run().unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    assert_eq!(server.seen().last().unwrap().1.as_deref(), Some(format!("user:{SECRET}").as_str()));
}

#[test]
fn a_token_stands_nowhere_and_the_agents_own_push_uses_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let server = HttpServer::start(&source.root, None);
    server.allow(&[&format!("x-access-token:{SECRET}")]);
    let dir = root.path().join("clone");
    let mut job = with_token(Job::new(&server.url("r.git"), &dir).on("work"), root.path(), SECRET);
    job.program = env!("CARGO_BIN_EXE_credential_helper").into();
    job.run().unwrap();
    assert_eq!(holds_text(&dir, SECRET), None);

    // The token changes within the hour; the file is read at each use.
    let newer = "a-newer-t0ken";
    fs::write(root.path().join("token"), format!("{newer}\n")).unwrap();
    server.allow(&[&format!("x-access-token:{newer}")]);
    git_ok(&dir, ["commit", "-q", "--allow-empty", "-m", "work"]);
    let output = git(&dir).args(["push"]).env("GIT_TRACE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(newer) && !said.contains("LEAK"), "{said}");
    assert_eq!(holds_text(&dir, newer), None);
    assert_eq!(git_ok(&source.bare, ["rev-parse", "work"]), git_ok(&dir, ["rev-parse", "HEAD"]));
}

#[test]
fn a_redirect_is_followed_but_takes_no_credentials_to_another_host() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let other = HttpServer::start(&source.root, None);
    let first = HttpServer::start(&source.root, None);
    first.allow(&[&format!("x-access-token:{SECRET}")]);
    *first.behaviour.redirect.lock().unwrap() = Some(("/moved.git".into(), other.url("r.git")));
    let job = |name: &str, dir: &str| with_token(Job::new(&first.url(name), &root.path().join(dir)), root.path(), SECRET);
    job("moved.git", "one").run().unwrap();
    assert!(other.seen().len() >= 2 && other.seen().iter().all(|(_, authorization)| authorization.is_none()), "{:?}", other.seen());

    // Even if the other one asks.
    other.allow(&["x:y"]);
    let error = job("moved.git", "two").run().unwrap_err();
    assert_eq!(reason(&error), "CloneAuthFailed");
    assert!(other.seen().iter().all(|(_, authorization)| authorization.is_none()));

    // A log-in page is no repository.
    other.allow(&[]);
    *first.behaviour.redirect.lock().unwrap() = Some(("/moved.git".into(), other.url("login?next=")));
    let error = job("moved.git", "three").run().unwrap_err();
    assert_eq!(reason(&error), "RepositoryNotFound", "{error}");
}

#[test]
fn what_is_transient_is_tried_again_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let dir = |name: &str| root.path().join(name);

    let daemon = git_daemon(&source.root);
    let (server, count) = refusing_first(daemon.address(), 2);
    let mut job = Job::new(&format!("git://{}/r.git", server.address()), &dir("reset"));
    job.attempts = 3;
    job.run().unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 3);

    let http = HttpServer::start(&source.root, None);
    *http.behaviour.failures.lock().unwrap() = vec![429, 503];
    let mut job = Job::new(&http.url("r.git"), &dir("busy"));
    job.attempts = 3;
    job.run().unwrap();

    *http.behaviour.failures.lock().unwrap() = vec![500; 9];
    let mut job = Job::new(&http.url("r.git"), &dir("down"));
    job.attempts = 3;
    let error = job.run().unwrap_err();
    assert!(reason(&error) == "NetworkFailed" && error.to_string().contains("HTTP 500"), "{error}");
    assert_eq!(http.behaviour.failures.lock().unwrap().len(), 6, "three tries");
    http.behaviour.failures.lock().unwrap().clear();

    // Nobody listens there any more.
    let gone = Listener::start(drop).address();
    for url in [format!("git://{gone}/r.git"), format!("http://{gone}/r.git")] {
        let mut job = Job::new(&url, &dir("refused"));
        job.attempts = 2;
        let error = job.run().unwrap_err();
        assert_eq!(reason(&error), "NetworkFailed", "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert_eq!(job.progress.lock().unwrap().iter().filter(|line| line.starts_with("Fetching")).count(), 2);
    }

    let mut job = Job::new(&http.url("none.git"), &dir("none"));
    job.attempts = 3;
    assert_eq!(reason(&job.run().unwrap_err()), "RepositoryNotFound");
    assert_eq!(job.progress.lock().unwrap().iter().filter(|line| line.starts_with("Fetching")).count(), 1);
    for name in ["down", "refused", "none"] {
        assert!(!dir(name).exists());
    }
}

#[test]
fn a_connection_that_is_cut_in_mid_pack_leaves_the_directory_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let source = heavy(root.path());
    let daemon = git_daemon(&source.root);
    let http = HttpServer::start(&source.root, None);
    let there = root.path().join("there");
    fs::create_dir(&there).unwrap();
    for bytes in [0, 100, 5_000, 100_000, 1_000_000] {
        for (scheme, target) in [("git", daemon.address()), ("http", http.address())] {
            let server = cutting(target, bytes);
            let url = format!("{scheme}://{}/heavy.git", server.address());
            for dir in [there.clone(), root.path().join("made/here")] {
                let error = Job::new(&url, &dir).depth(0).run().unwrap_err();
                assert_eq!(reason(&error), "NetworkFailed", "{scheme} {bytes}: {error}");
            }
            assert_eq!(fs::read_dir(&there).unwrap().count(), 0);
            assert!(!root.path().join("made").exists());
        }
    }
}

#[test]
fn a_raised_flag_stops_it_in_the_middle_of_waiting() {
    let root = tempfile::tempdir().unwrap();
    let server = silent();
    for scheme in ["git", "http", "https"] {
        let dir = root.path().join(scheme);
        let job = Job::new(&format!("{scheme}://{}/r.git", server.address()), &dir);
        let cancel = job.cancel.clone();
        let error = std::thread::scope(|scope| {
            let running = scope.spawn(|| job.run().unwrap_err());
            while job.progress.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            cancel.store(true, Ordering::SeqCst);
            running.join().unwrap()
        });
        assert_eq!(reason(&error), "Cancelled", "{scheme}: {error}");
        assert!(!dir.exists());
    }
}

/// git starts others to do it, which outlive it.
#[test]
fn a_raised_flag_ends_what_git_has_started_too() {
    let (root, source) = Source::alone();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("git://{}/sub.git", server.local_addr().unwrap());
    git_ok(&source.work, ["config", "--file", ".gitmodules", "submodule.sub.path", "sub"]);
    git_ok(&source.work, ["config", "--file", ".gitmodules", "submodule.sub.url", &url]);
    fs::create_dir(source.work.join("sub")).unwrap();
    git_ok(&source.work, ["update-index", "--add", "--cacheinfo", "160000", &source.rev("HEAD"), "sub"]);
    source.commit("with", "a submodule");
    source.push();
    let mut job = Job::of(&source, root.path());
    job.workspace.submodules = true;
    let error = std::thread::scope(|scope| {
        let running = scope.spawn(|| job.run().unwrap_err());
        let mut asked = None;
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("git asks", || {
                asked = server.accept().ok();
                asked.is_some() || running.is_finished()
            });
        }));
        // In any case, or the scope would wait for ever.
        job.cancel.store(true, Ordering::SeqCst);
        let error = running.join().unwrap();
        waited.unwrap();
        let (mut asked, _) = asked.unwrap();
        asked.set_nonblocking(false).unwrap();
        // Whoever asked is gone.
        asked.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        std::io::copy(&mut asked, &mut std::io::sink()).unwrap();
        error
    });
    assert_eq!(reason(&error), "Cancelled", "{error}");
    assert!(!root.path().join("clone").exists());
}

#[test]
fn a_full_disk_is_a_full_disk_and_is_cleaned_up() {
    let root = tempfile::tempdir().unwrap();
    let source = heavy(root.path());
    let dir = root.path().join("small");
    fs::create_dir(&dir).unwrap();
    let mounted = nix::mount::mount(Some("tmpfs"), &dir, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=4m"));
    if let Err(error) = mounted {
        skipped!("a_full_disk_is_a_full_disk_and_is_cleaned_up: cannot mount a tmpfs: {error}");
    }
    // Once while the pack arrives, once while files are written.
    let results: Vec<_> =
        [0, 1].map(|depth| (Job::new(source.bare.to_str().unwrap(), &dir).depth(depth).run(), fs::read_dir(&dir).unwrap().count())).into();
    nix::mount::umount(&dir).unwrap();
    for (result, left) in results {
        let error = result.unwrap_err();
        assert_eq!((reason(&error), left), ("DiskFull", 0), "{error}");
    }
}

#[test]
fn a_repository_with_sha_256_is_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let bare = root.path().join("srv/r.git");
    fs::create_dir_all(&bare).unwrap();
    git_ok(&bare, ["init", "-q", "--bare", "-b", "main", "--object-format=sha256"]);
    let tree = git_ok(&bare, ["mktree", "--missing", "-z"]);
    let commit = git_ok(&bare, ["commit-tree", &tree, "-m", "one"]);
    git_ok(&bare, ["update-ref", "refs/heads/main", &commit]);
    let server = git_daemon(&root.path().join("srv"));
    let dir = root.path().join("clone");
    for url in [format!("git://{}/r.git", server.address()), bare.display().to_string()] {
        let error = Job::new(&url, &dir).run().unwrap_err();
        assert!(reason(&error) == "CloneFailed" && error.to_string().contains("SHA-256"), "{error}");
        assert!(!dir.exists());
    }
}

#[test]
fn a_proxy_is_used_unless_the_host_is_excepted() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let authority = Authority::new(root.path());
    let secure = HttpServer::start(&source.root, Some(authority.server.clone()));
    let plain = HttpServer::start(&source.root, None);
    let proxy = Proxy::start();
    let job = |url: &str, no_proxy: &str, name: &str| {
        let mut job = Job::new(url, &root.path().join(name));
        job.access.ca_bundle_file = Some(authority.pem.clone());
        job.env.insert("HTTPS_PROXY".into(), proxy.url());
        job.env.insert("http_proxy".into(), proxy.url());
        job.env.insert("NO_PROXY".into(), no_proxy.into());
        job
    };
    job(&secure.url("r.git"), "", "secure").run().unwrap();
    assert!(proxy.seen.lock().unwrap().contains(&secure.address().to_string()));
    job(&plain.url("r.git"), "elsewhere", "plain").run().unwrap();
    assert!(proxy.seen.lock().unwrap().contains(&plain.address().to_string()));
    proxy.seen.lock().unwrap().clear();
    job(&secure.url("r.git"), "127.0.0.0/8", "direct").run().unwrap();
    assert!(proxy.seen.lock().unwrap().is_empty());
}

/// A commit of a tree that no honest git would write.
fn hostile(source: &Source, entries: &[(&str, &str, &[u8])]) -> String {
    let object = |kind: &str, bytes: &[u8]| {
        let mut child = git(&source.work)
            .args(["hash-object", "-w", "--literally", "--stdin", "-t", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let raw = |id: &str| (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect::<Vec<_>>();
    let tree = |entries: &[(&str, &str, Vec<u8>)]| {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(id);
        }
        object("tree", &bytes)
    };
    let entries: Vec<(&str, &str, Vec<u8>)> = entries
        .iter()
        .map(|(mode, name, content)| match *mode {
            // A directory with one file in it.
            "40000" => ("40000", *name, raw(&tree(&[("100644", "config", raw(&object("blob", content)))]))),
            mode => (mode, *name, raw(&object("blob", content))),
        })
        .collect();
    let commit = git_ok(&source.work, ["commit-tree", "-m", "hostile", &tree(&entries)]);
    git_ok(&source.work, ["push", "-q", "--force", "origin", &format!("{commit}:refs/heads/hostile")]);
    commit
}

#[test]
fn a_hostile_tree_writes_nothing_outside_the_work_tree_and_nothing_into_git() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let out = outside.to_str().unwrap().as_bytes();
    let evil = b"[core]\n\tfsmonitor = touch PWNED\n\thooksPath = .\n".as_slice();
    let trees: [&[(&str, &str, &[u8])]; 9] = [
        &[("40000", ".git", evil)],
        &[("40000", ".GIT", evil)],
        &[("40000", "git~1", evil)],
        &[("40000", "..", evil)],
        &[("100644", "..", evil)],
        &[("100644", "../config", evil)],
        &[("100644", "a/../../config", evil)],
        &[("120000", "a", out), ("40000", "a", evil)],
        &[("120000", ".gitmodules", out)],
    ];
    for (number, entries) in trees.iter().enumerate() {
        hostile(&source, entries);
        let dir = root.path().join(format!("clone{number}"));
        let result = Job::new(source.bare.to_str().unwrap(), &dir).at("hostile").run();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{entries:?}");
        for place in [root.path().join("config"), root.path().join("PWNED"), dir.join("PWNED")] {
            assert!(!place.exists(), "{entries:?}");
        }
        match result {
            Ok(_) => assert!(!fs::read_to_string(dir.join(".git/config")).unwrap().contains("PWNED"), "{entries:?}"),
            Err(error) => assert!(!dir.exists(), "{error}"),
        }
    }
}

#[test]
fn nothing_that_a_repository_names_is_run() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::new(root.path(), "r.git");
    let witness = root.path().join("PWNED");
    let run = format!("touch '{}'", witness.display());
    source.commit(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    source.commit(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = -u./payload\n\tupdate = !touch PWNED\n");
    source.push();
    // The user's own settings know a filter of that name; the clone does not read them.
    let home = root.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".gitconfig"), format!("[filter \"evil\"]\n\tsmudge = {run}\n\trequired = true\n[core]\n\tfsmonitor = {run}\n"))
        .unwrap();
    let mut job = Job::new(source.bare.to_str().unwrap(), &root.path().join("clone"));
    job.env.insert("HOME".into(), home.display().to_string());
    let prepared = job.run().unwrap();
    assert!(!witness.exists());

    // A clone whose settings an agent has turned is taken up without running them.
    let config = prepared.dir.join(".git/config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[filter \"evil\"]\n\tsmudge = {run}\n\tclean = {run}\n\tprocess = {run}\n[core]\n\tfsmonitor = {run}\n\tsshCommand = {run}\n[include]\n\tpath = /nonexistent\n")).unwrap();
    fs::create_dir_all(prepared.dir.join(".git/hooks")).unwrap();
    for hook in ["post-checkout", "post-merge", "reference-transaction", "post-index-change"] {
        let path = prepared.dir.join(".git/hooks").join(hook);
        fs::write(&path, format!("#!/bin/sh\n{run}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    source.commit("new.txt", "new\n");
    source.push();
    let prepared = Job::new(source.bare.to_str().unwrap(), &root.path().join("clone")).run().unwrap();
    assert!(prepared.taken_up && prepared.dir.join("new.txt").exists(), "{:?}", prepared.notes);
    agent_runner::workspace::facts::facts(&prepared.dir, &(&prepared).into()).unwrap().unwrap();
    assert!(!witness.exists());
}
