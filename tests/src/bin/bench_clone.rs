//! Times the runner's shallow clone against `git clone --depth 1`, and the facts, paired, on a made repository of some 46,000
//! files served by `git daemon`, onto tmpfs. Prints the medians and the ratio; asserts nothing.
//!
//! `bench_clone [FILES] [ROUNDS]`

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agent_runner::workspace::facts::{Base, facts};
use agent_tests::git_servers::git_daemon;
use agent_tests::repo::{Job, git, git_ok};

fn main() {
    let number = |at: usize, default: u32| std::env::args().nth(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (files, rounds) = (number(1, 46_000), number(2, 3));
    let root = tempfile::tempdir_in("/dev/shm").expect("a tmpfs at /dev/shm");
    let bare = root.path().join("srv/big.git");
    make(&bare, files);
    let server = git_daemon(&root.path().join("srv"));
    let url = format!("git://{}/big.git", server.address());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut work = [0.0; 3];
    for round in 0..rounds {
        let dir = root.path().join("clone");
        let before = processor();
        theirs.push(timed(|| drop(git_ok(root.path(), ["clone", "-q", "--depth", "1", &url, dir.to_str().expect("UTF-8")]))));
        fs::remove_dir_all(&dir).expect("the clone can be removed");
        let between = processor();
        ours.push(timed(|| drop(Job::new(&url, &dir).run().expect("the clone succeeds"))));
        let after = processor();
        work = [after.0 - between.0, after.1 - between.1, between.1 - before.1];
        if round == 0 {
            assert_eq!(git_ok(&dir, ["status", "--porcelain"]), "", "both clones are the same");
        }
        fs::remove_dir_all(&dir).expect("the clone can be removed");
    }
    let (ours, theirs) = (median(ours), median(theirs));
    // On a busy machine the clock says little; the work done says more. The server's share is the same in both.
    println!("processor time: ours {:.2} s and its server {:.2} s, git and its server {:.2} s", work[0], work[1], work[2]);
    println!(
        "shallow clone of {files} files, median of {rounds}: ours {:.2} s, git {:.2} s, ratio {:.2}",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );

    let small = root.path().join("srv/small.git");
    make(&small, 30);
    let prepared =
        Job::new(&format!("git://{}/small.git", server.address()), &root.path().join("small")).run().expect("the clone succeeds");
    fs::write(prepared.dir.join("new"), "new\n").expect("a file can be written");
    git_ok(&prepared.dir, ["add", "-A"]);
    git_ok(&prepared.dir, ["commit", "-qm", "new"]);
    let base = Base::from(&prepared);
    let times = (0..50).map(|_| timed(|| drop(facts(&prepared.dir, &base).expect("facts can be had")))).collect();
    println!("facts of a small repository, median of 50: {:.2} ms", median(times).as_secs_f64() * 1000.0);
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// Seconds of processor time: this process's, and those of all programs that it has waited for.
fn processor() -> (f64, f64) {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let seconds = |who| {
        let usage = getrusage(who).expect("getrusage(2) works");
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    };
    (seconds(UsageWho::RUSAGE_SELF), seconds(UsageWho::RUSAGE_CHILDREN))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Files of some 5 KB of text each, in directories of a hundred, in one commit.
fn make(bare: &Path, files: u32) {
    fs::create_dir_all(bare).expect("a directory can be made");
    git_ok(bare, ["init", "-q", "--bare", "-b", "main"]);
    let mut child = git(bare).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git starts");
    let mut input = std::io::BufWriter::new(child.stdin.take().expect("stdin is piped"));
    let mut state = 88_172_645_463_325_252_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("word{:x} ", state % 50_000)
    };
    let mut body = || -> std::io::Result<()> {
        write!(input, "commit refs/heads/main\ncommitter T <t@example.org> 1700000000 +0000\ndata 1\nx\n")?;
        for file in 0..files {
            let text: String = (0..500).map(|at| if at % 12 == 11 { "\n".to_owned() } else { word() }).collect();
            write!(input, "M 100644 inline d{}/e{}/f{file}.txt\ndata {}\n{text}\n", file % 20, file / 100, text.len())?;
        }
        input.flush()
    };
    body().expect("git reads");
    drop(input);
    assert!(child.wait().expect("git ends").success());
    git_ok(bare, ["repack", "-adq"]);
}
