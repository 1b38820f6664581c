//! SIGKILL of the whole container, at any instant: what the termination message says then.
//!
//! Most of the runs are of a stand-in that prints Claude's stream (`paced_agent`), since only so hundreds of instants can be tried in
//! bounded time; some are of the real CLI. `AGENT_TESTS_SEED` repeats a series of instants.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent_sdk::termination::TerminationMessage;
use agent_tests::agent_run::AgentRun;
use agent_tests::clis;
use agent_tests::paced;
use agent_tests::probe::{self, TOO_LONG};
use agent_tests::runs::{Counted, KEY, Origin, PATIENCE, Scene, wait_until, wanted};
use agent_tests::sandbox::{Place, namespaces_work, only_child};
use agent_tests::skip::skip;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use serde_json::Value;

/// How many instants are tried with the stand-in, and with the real CLI.
const INSTANTS: (usize, usize) = (180, 20);
/// Messages of the stand-in, and the time between them: long enough that the message is rewritten in the middle, which it is once a second.
const MESSAGES: u64 = 15;
const PACE_MS: u64 = 120;
/// Runs at once. Nearly all that the stand-in's do is wait.
const AT_ONCE: (usize, usize) = (12, 2);

fn can_kill() -> bool {
    let works = namespaces_work();
    if !works {
        skip("no PID namespace may be made here (root, or CAP_SYS_ADMIN, is needed), so no container was killed");
    }
    works
}

/// Pseudo-random instants (SplitMix64), the same for the same seed.
#[derive(Clone, Copy)]
struct Instants {
    seed: u64,
    window: Duration,
}

impl Instants {
    fn within(window: Duration) -> Self {
        let chosen = std::env::var("AGENT_TESTS_SEED").ok().map(|text| text.parse().unwrap());
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        Self { seed: chosen.unwrap_or_else(clock), window }
    }

    fn get(self, number: usize) -> Duration {
        let mut mixed = self.seed.wrapping_add((number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        self.window.mul_f64(mixed as f64 / u64::MAX as f64)
    }
}

/// Calls `each` with every number, some at a time; who fails says with which seed.
fn at_once(threads: usize, count: usize, seed: u64, each: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || {
            while let number = next.fetch_add(1, Ordering::Relaxed)
                && number < count
            {
                if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| each(number))) {
                    eprintln!("run {number} of AGENT_TESTS_SEED={seed}");
                    std::panic::resume_unwind(panic);
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
}

/// The message as its readers parse it; nothing if nothing was written yet.
fn parse(bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    TerminationMessage::parse(bytes).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(bytes)));
    Some(serde_json::from_slice(bytes).unwrap())
}

/// A container that was killed, and what its message said just before and after.
struct Killed {
    code: i32,
    before: Option<Value>,
    after: Option<Value>,
}

/// Starts it, lets the time pass, and kills it.
fn kill_after(scene: &Scene, delay: Duration) -> Killed {
    let started = scene.start();
    started.wait_for_init();
    // No synchronisation: the instant is the test's subject.
    thread::sleep(delay);
    let before = parse(&scene.termination().unwrap_or_default());
    let (code, after) = started.kill_container();
    Killed { code, before, after: parse(&after) }
}

impl Killed {
    fn counted(&self) -> Counted {
        self.after.as_ref().map(Counted::of_message).unwrap_or_default()
    }

    /// What holds of every container that was killed, whatever it was doing.
    fn assert(&self, had_begun: bool, bill: Counted) {
        let Some(after) = &self.after else {
            assert!(self.before.is_none() && !had_begun, "the message was there, and is gone: {:#?}", self.before);
            return;
        };
        let said = (after["status"].as_str().unwrap(), after["reason"].as_str().unwrap(), after["exitCode"].as_i64().unwrap());
        let is_final = said == ("succeeded", "Completed", 0);
        assert!(is_final || said == ("failed", "Killed", 137), "{after:#}");
        assert!(self.code == 137 || (self.code == 0 && is_final), "code {} with {after:#}", self.code);
        let counted = self.counted();
        assert!(counted.is_within(bill), "{bill:?} were billed: {after:#}");
        if let Some(before) = &self.before {
            assert!(Counted::of_message(before).is_within(counted), "what was known is lost: {before:#} {after:#}");
        }
    }
}

fn paced_scene(origin: &Arc<Origin>) -> Scene {
    let program = probe::program("paced_agent");
    let scene = Scene::of(origin.clone(), "claude", &program, "http://127.0.0.1:9").with("ANTHROPIC_API_KEY", KEY).at(Place::PidOne);
    let bill = scene.path("bill");
    scene.with("BILL", bill).with("MESSAGES", MESSAGES.to_string()).with("PACE_MS", PACE_MS.to_string())
}

#[test]
fn a_container_that_is_killed_at_any_instant_leaves_a_valid_message() {
    if !can_kill() {
        return;
    }
    let origin = Origin::start();
    let begun = Instant::now();
    let whole = paced_scene(&origin).run();
    let instants = Instants::within(begun.elapsed());
    whole.assert(wanted("succeeded", "Completed", 0, false));
    assert_eq!(whole.tokens(), paced::billed(MESSAGES), "{whole}");

    at_once(AT_ONCE.0, INSTANTS.0, instants.seed, |number| {
        let scene = paced_scene(&origin);
        let killed = kill_after(&scene, instants.get(number));
        let billed = fs::read(scene.path("bill")).map(|bill| bill.len() as u64);
        killed.assert(billed.is_ok(), paced::billed(billed.unwrap_or(0)));
        // Nothing between: a number of whole messages, or the agent's own total.
        let counted = killed.counted();
        let is_whole = (0..=MESSAGES).any(|messages| paced::told(messages) == counted);
        assert!(is_whole || counted == paced::billed(MESSAGES), "{counted:?}");
    });
}

#[test]
fn a_message_that_was_streamed_is_in_the_message_of_a_container_that_is_killed_then() {
    if !can_kill() {
        return;
    }
    let origin = Origin::start();
    for messages in 1..=4 {
        let scene = paced_scene(&origin);
        let gate = scene.path("gate");
        nix::unistd::mkfifo(&gate, Mode::S_IRWXU).unwrap();
        let scene = scene.with("GATE", &gate);
        let started = scene.start();
        // For reading too, so that it opens at once, and stays open for whoever reads.
        let mut open: File = OpenOptions::new().read(true).write(true).open(&gate).unwrap();
        open.write_all(&vec![b'.'; messages]).unwrap();
        let told = paced::told(messages as u64);
        let known = || parse(&scene.termination().unwrap_or_default()).is_some_and(|message| Counted::of_message(&message) == told);
        wait_until("the message with all that was printed", known);
        let (code, after) = started.kill_container();
        let after = parse(&after).unwrap();
        assert_eq!((code, &after["reason"]), (137, &"Killed".into()), "{after:#}");
        assert_eq!((&after["phase"], Counted::of_message(&after)), (&"agent".into(), told), "{after:#}");
    }
}

#[test]
fn the_real_cli_s_container_that_is_killed_at_any_instant_leaves_a_valid_message() {
    if !can_kill() || clis::newest("claude").is_none() {
        return;
    }
    let run = || {
        let mut run = AgentRun::of("claude", "success").unwrap();
        run.scene = run.scene.at(Place::PidOne);
        run
    };
    let begun = Instant::now();
    let whole = run();
    whole.scene.run().assert(wanted("succeeded", "Completed", 0, false));
    let instants = Instants::within(begun.elapsed());
    at_once(AT_ONCE.1, INSTANTS.1, instants.seed, |number| {
        let run = run();
        let killed = kill_after(&run.scene, instants.get(number));
        killed.assert(!run.model.requests().is_empty(), Counted::billed(run.model.bill().total));
        // Only ever a number of whole prompts.
        let input = killed.counted().input.unwrap_or(0);
        assert!([0, 1230, 2430].contains(&input), "{input}\n{}", run.requests());
    });
}

#[test]
fn the_real_cli_s_container_that_is_killed_while_a_tool_runs_keeps_what_the_first_answer_cost() {
    if !can_kill() {
        return;
    }
    let Some(mut run) = AgentRun::of("claude", "tool-sleep") else { return };
    run.scene = run.scene.at(Place::PidOne);
    let started = run.scene.start();
    run.model.wait_for_mark("tool", PATIENCE).unwrap();
    let counted = || parse(&run.scene.termination().unwrap_or_default()).map(|message| Counted::of_message(&message)).unwrap_or_default();
    wait_until("the first answer's tokens in the message", || counted().input.is_some());
    let (code, after) = started.kill_container();
    let after = parse(&after).unwrap();
    assert_eq!((code, &after["reason"], &after["phase"]), (137, &"Killed".into(), &"agent".into()), "{after:#}");
    let billed = Counted::billed(run.model.bill().finished);
    assert_eq!(Counted { output: billed.output, ..counted() }, billed, "{after:#}");
}

#[test]
fn a_runner_that_is_killed_alone_is_spoken_for_and_its_tool_is_ended() {
    for place in Place::all() {
        let Some(mut run) = AgentRun::of("claude", "tool-sleep") else { return };
        run.scene = run.scene.at(place);
        let started = run.scene.start();
        run.model.wait_for_mark("tool", PATIENCE).unwrap();
        let counted =
            || parse(&run.scene.termination().unwrap_or_default()).map(|message| Counted::of_message(&message)).unwrap_or_default();
        wait_until("the first answer's tokens in the message", || counted().input.is_some());
        let runner = only_child(started.init());
        kill(runner, Signal::SIGKILL).unwrap();
        let ended = started.finish();
        ended.assert(wanted("failed", "Killed", 137, true));
        assert_eq!(ended.message["signal"], 9, "{ended}");
        let billed = Counted::billed(run.model.bill().finished);
        assert_eq!(Counted { output: billed.output, ..ended.tokens() }, billed, "{ended}");
    }
}

#[test]
fn the_instants_of_a_seed_are_always_the_same_and_all_over_the_window() {
    let instants = Instants { seed: 7, window: TOO_LONG };
    let all: Vec<_> = (0..INSTANTS.0).map(|number| instants.get(number)).collect();
    assert_eq!(all, (0..INSTANTS.0).map(|number| instants.get(number)).collect::<Vec<_>>());
    for tenth in 0..10 {
        let part = TOO_LONG / 10;
        assert!(all.iter().any(|instant| (part * tenth..part * (tenth + 1)).contains(instant)), "none in tenth {tenth}");
    }
}
