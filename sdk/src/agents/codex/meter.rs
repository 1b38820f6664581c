//! Usage while the run goes on, and at its end.
//!
//! # What says what
//! - The stream's `turn.completed` has the tokens of the *thread*: after a resumption that includes every earlier run. A turn that failed
//!   has none at all, though its answers were billed. Sub-agents are in neither.
//! - The rollouts, files that Codex writes beside its stream, one a thread, have the thread's total after each answer: as
//!   `token_usage_record` (0.158.0 and newer) as soon as the answer is there, and as `token_count` a little later. What stood there before
//!   this run is taken off. A sub-agent's thread names the session that it belongs to; threads of other sessions are left out.
//!
//! Totals are used, never differences between lines: a line that is told twice, or lost, costs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::usage::{Usage, UsageByModel};

/// The running total of one run.
#[derive(Default)]
pub(super) struct Meter {
    /// The main thread.
    session: Option<String>,
    /// Its total, as the stream said it last.
    told: Option<Usage>,
    threads: BTreeMap<PathBuf, Thread>,
}

/// One thread's rollout.
#[derive(Default)]
struct Thread {
    /// Its own id, and the session that it belongs to: those of the file's first line.
    id: Option<String>,
    session: Option<String>,
    version: Option<String>,
    model: Option<String>,
    /// The total before this run.
    before: Usage,
    /// The total now; `None` while nothing was counted in this run.
    total: Option<Usage>,
    /// What each model added to it.
    by_model: UsageByModel,
    /// Answers of this run.
    answers: u64,
}

/// What a line of a rollout changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The total is another one now.
    pub(super) counted: bool,
    /// The model or the version is known now, or is another one.
    pub(super) named: bool,
}

/// The counts as Codex says them, which is as we define them: the cache's parts are within the input, the reasoning within the output.
fn usage(counts: &Value) -> Option<Usage> {
    let count = |name: &str| counts.get(name).and_then(Value::as_u64);
    let usage = Usage {
        input_tokens: count("input_tokens"),
        cache_read_tokens: count("cached_input_tokens"),
        cache_write_tokens: count("cache_write_input_tokens"),
        output_tokens: count("output_tokens"),
        reasoning_tokens: count("reasoning_output_tokens"),
        ..Usage::default()
    };
    (!usage.is_empty()).then_some(usage)
}

/// `total` without `before`, part by part; never below nothing.
fn minus(total: &Usage, before: &Usage) -> Usage {
    let less = |total: Option<u64>, before: Option<u64>| total.map(|total| total.saturating_sub(before.unwrap_or(0)));
    Usage {
        input_tokens: less(total.input_tokens, before.input_tokens),
        cache_read_tokens: less(total.cache_read_tokens, before.cache_read_tokens),
        cache_write_tokens: less(total.cache_write_tokens, before.cache_write_tokens),
        output_tokens: less(total.output_tokens, before.output_tokens),
        reasoning_tokens: less(total.reasoning_tokens, before.reasoning_tokens),
        ..Usage::default()
    }
}

impl Meter {
    /// The main thread has this id.
    pub(super) fn begin(&mut self, session: &str) {
        self.session = Some(session.to_owned());
    }

    /// What the stream said at the end of a turn. True if that changes the total.
    pub(super) fn turn(&mut self, counts: &Value) -> bool {
        let told = usage(counts);
        let changed = told.is_some() && told != self.told;
        self.told = told.or(self.told);
        changed
    }

    /// A line of a rollout. `earlier`: it was there before the agent started.
    pub(super) fn line(&mut self, file: &Path, earlier: bool, line: &[u8]) -> Seen {
        // Most lines are messages, which tell nothing here, and may be long.
        let mentions = |word: &[u8]| memchr::memmem::find(&line[..line.len().min(200)], word).is_some();
        let kinds: [&[u8]; 4] = [b"session_meta", b"turn_context", b"token_usage_record", b"token_count"];
        if !kinds.iter().any(|kind| mentions(kind)) {
            return Seen::default();
        }
        let Ok(entry) = serde_json::from_slice::<Value>(line) else { return Seen::default() };
        let payload = &entry["payload"];
        let thread = self.threads.entry(file.to_owned()).or_default();
        match (entry["type"].as_str().unwrap_or_default(), payload["type"].as_str()) {
            ("session_meta", _) if thread.id.is_none() => {
                let text = |name: &str| payload[name].as_str().map(str::to_owned);
                (thread.id, thread.version) = (text("id"), text("cli_version"));
                // Older versions name the parent only.
                let parent = payload["source"]["subagent"]["thread_spawn"]["parent_thread_id"].as_str().map(str::to_owned);
                thread.session = text("session_id").or(parent).or_else(|| thread.id.clone());
                Seen { named: true, ..Seen::default() }
            }
            ("turn_context", _) => {
                thread.model = payload["model"].as_str().map(str::to_owned).or(thread.model.take());
                Seen { named: true, ..Seen::default() }
            }
            ("token_usage_record", _) if payload["thread_id"].as_str() == thread.id.as_deref() => {
                Seen { counted: thread.count(usage(&payload["thread_token_usage"]), earlier), ..Seen::default() }
            }
            ("event_msg", Some("token_count")) => {
                Seen { counted: thread.count(usage(&payload["info"]["total_token_usage"]), earlier), ..Seen::default() }
            }
            _ => Seen::default(),
        }
    }

    fn is_main(&self, thread: &Thread) -> bool {
        thread.id.is_some() && thread.id == self.session
    }

    /// Every thread of this run; a sub-agent of a sub-agent is of the same session.
    fn ours(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values().filter(|thread| self.session.is_some() && (self.is_main(thread) || thread.session == self.session))
    }

    fn main(&self) -> Option<&Thread> {
        self.threads.values().find(|thread| self.is_main(thread))
    }

    /// All of it, so far.
    pub(super) fn total(&self) -> Usage {
        let main = self.main();
        let before = main.map(|thread| thread.before).unwrap_or_default();
        let of_main = self.told.map(|told| minus(&told, &before)).or_else(|| main.and_then(Thread::used)).unwrap_or_default();
        let others = self.ours().filter(|thread| !self.is_main(thread)).filter_map(Thread::used);
        others.fold(of_main, |sum, one| sum.plus(&one))
    }

    /// The same by model, as far as the rollouts say it.
    pub(super) fn by_model(&self) -> UsageByModel {
        let mut all = UsageByModel::new();
        for (model, usage) in self.ours().flat_map(|thread| &thread.by_model) {
            let of_model = all.entry(model.clone()).or_default();
            *of_model = of_model.plus(usage);
        }
        all
    }

    /// How often the main thread's model answered; `None` without a rollout.
    pub(super) fn answers(&self) -> Option<u64> {
        self.main().map(|thread| thread.answers)
    }

    /// The model that the main thread asks.
    pub(super) fn model(&self) -> Option<&str> {
        self.main()?.model.as_deref()
    }

    /// Codex' own version.
    pub(super) fn version(&self) -> Option<&str> {
        self.main()?.version.as_deref()
    }
}

impl Thread {
    fn count(&mut self, total: Option<Usage>, earlier: bool) -> bool {
        let Some(total) = total else { return false };
        if earlier {
            self.before = total;
            return false;
        }
        let known = self.total.unwrap_or(self.before);
        if known == total {
            return false;
        }
        let more = minus(&total, &known);
        if let Some(model) = &self.model {
            let of_model = self.by_model.entry(model.clone()).or_default();
            *of_model = of_model.plus(&more);
        }
        self.total = Some(total);
        self.answers += 1;
        true
    }

    /// What this run used of it.
    fn used(&self) -> Option<Usage> {
        self.total.map(|total| minus(&total, &self.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MAIN: &str = "2026/01/01/rollout-main.jsonl";

    fn meta(meter: &mut Meter, file: &str, id: &str, session: &str) {
        let line = json!({"type": "session_meta", "payload": {"id": id, "session_id": session, "cli_version": "9"}});
        meter.line(Path::new(file), false, line.to_string().as_bytes());
    }

    fn count(meter: &mut Meter, file: &str, earlier: bool, input: u64, output: u64) -> bool {
        let total = json!({"input_tokens": input, "output_tokens": output});
        let line = json!({"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": total}}});
        meter.line(Path::new(file), earlier, line.to_string().as_bytes()).counted
    }

    fn tokens(meter: &Meter) -> (Option<u64>, Option<u64>) {
        let total = meter.total();
        (total.input_tokens, total.output_tokens)
    }

    #[test]
    fn what_stood_there_before_the_run_is_taken_off_the_thread_s_total() {
        let mut meter = Meter::default();
        meter.begin("m");
        meta(&mut meter, MAIN, "m", "m");
        assert!(!count(&mut meter, MAIN, true, 2000, 100));
        assert!(count(&mut meter, MAIN, false, 3000, 150));
        assert!(!count(&mut meter, MAIN, false, 3000, 150), "told twice");
        assert_eq!((tokens(&meter), meter.answers()), ((Some(1000), Some(50)), Some(1)));
        assert!(meter.turn(&json!({"input_tokens": 4000, "output_tokens": 170})));
        assert_eq!(tokens(&meter), (Some(2000), Some(70)));
    }

    #[test]
    fn sub_agents_count_and_other_sessions_do_not() {
        let mut meter = Meter::default();
        meter.begin("m");
        for (file, id, session, input) in [(MAIN, "m", "m", 10), ("sub", "s", "m", 5), ("other", "o", "o", 1000)] {
            meta(&mut meter, file, id, session);
            count(&mut meter, file, false, input, 1);
        }
        assert_eq!(tokens(&meter), (Some(15), Some(2)));
        assert_eq!(meter.version(), Some("9"));
    }

    #[test]
    fn a_forked_thread_s_own_first_line_says_whose_it_is() {
        let mut meter = Meter::default();
        meter.begin("m");
        meta(&mut meter, "sub", "s", "m");
        // The history that it was given begins with its parent's.
        meta(&mut meter, "sub", "m", "m");
        count(&mut meter, "sub", false, 5, 1);
        assert_eq!((tokens(&meter), meter.answers()), ((Some(5), Some(1)), None));
    }

    #[test]
    fn lines_that_are_none_cost_nothing() {
        let mut meter = Meter::default();
        for line in
            [&b"{"[..], b"[1]", b"{\"type\":\"token_count\"}", b"", b"{\"type\":\"session_meta\",\"payload\":3}", b"\xff token_count"]
        {
            meter.line(Path::new(MAIN), false, line);
        }
        assert!(meter.total().is_empty());
    }
}
