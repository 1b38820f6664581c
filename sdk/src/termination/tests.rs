//! The message at every budget, for every length of text.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::agent::ProcessEnd;
use crate::outcome::Outcome;
use crate::results::key;
use crate::usage::Usage;

fn outcome(message: &str) -> Outcome {
    let mut outcome = Outcome::new("0.1.0", Phase::Agent, Origin::Agent, Reason::ContextWindowExceeded, message);
    outcome.agent = Some("claude".to_owned());
    outcome.results.set_fact(key::BRANCH, "feature/a-branch-with-a-name");
    outcome.results.set_fact(key::COMMIT, "9fceb02d0ae598e95dc970b74767f19372d61af8");
    outcome.results.set_fact(key::COMMITS, 3_u64);
    outcome.results.set_fact(key::DIRTY, false);
    outcome.results.claim(key::PR, "https://forge.example/acme/app/pull/17").unwrap();
    outcome.usage = Usage { input_tokens: Some(2430), output_tokens: Some(110), cost_usd: Some(0.0123), ..Usage::default() };
    outcome
}

fn whole_at() -> WholeAt {
    WholeAt { path: "/results/result.json".to_owned(), sha256: "ab".repeat(32) }
}

/// Everything that a reader may rely on, at any budget from 128 on.
fn assert_sound(outcome: &Outcome, budget: usize, whole: Option<&WholeAt>) -> TerminationMessage {
    let text = fit(outcome, budget, whole);
    assert!(text.len() <= budget, "{} bytes in a budget of {budget}: {text}", text.len());
    let first =
        format!(r#"{{"status":"{}","reason":"{}","exitCode":{}"#, outcome.status.as_str(), outcome.reason.as_str(), outcome.exit_code);
    assert!(text.starts_with(&first), "{text}");
    let message = TerminationMessage::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let json: Value = serde_json::from_str(&text).unwrap();
    let cut = |name: &str| message.cut.iter().any(|cut| cut == name);
    let more = cut(CUT_MORE);

    let original: Vec<(&str, String)> = outcome.parameters();
    for (name, value) in &message.parameters {
        let expected = &original.iter().find(|(key, _)| key == name).expect("no parameter comes from nowhere").1;
        let same = value == expected;
        assert!(same || cut(&format!("parameters.{name}")), "{name} was shortened and is not named: {text}");
        if key::ALL.contains(&name.as_str()) {
            assert!(same, "the fact {name} was shortened");
        }
        if !same {
            let (head, rest) = value.rsplit_once('…').unwrap();
            assert!(expected.starts_with(head) && rest.is_empty());
        }
    }
    for (name, _) in &original {
        assert!(message.parameters.contains_key(*name) || cut(&format!("parameters.{name}")) || more, "{name} is gone unnamed: {text}");
    }
    for (name, whole) in [("message", Some(outcome.message.as_str())), ("answer", outcome.answer.as_deref())] {
        match (json.get(name).and_then(Value::as_str), whole.filter(|text| !text.is_empty())) {
            (Some(kept), Some(whole)) if kept != whole => {
                assert!(cut(name), "{name} was shortened and is not named: {text}");
                let at = kept.char_indices().filter(|(_, c)| *c == '…').map(|(at, _)| at);
                let joint = |at: usize| whole.starts_with(&kept[..at]) && whole.ends_with(&kept[at + '…'.len_utf8()..]);
                assert!(at.clone().any(joint), "{kept} is not head and tail of {whole}");
            }
            (Some(_), Some(_)) => assert!(!cut(name), "{name} is whole and named as cut"),
            (None, Some(_)) => assert!(cut(name) || more, "{name} is gone unnamed: {text}"),
            (kept, None) => assert!(kept.is_none()),
        }
    }
    for name in ["phase", "origin", "retry", "agent", "interfaceVersion", "hint", "usageComplete"] {
        assert!(json.get(name).is_some() || cut(name) || more, "{name} is gone unnamed: {text}");
    }
    if whole.is_some() {
        assert!(message.result_file.is_some() || cut("resultFile") || more);
    }
    message
}

/// A letter of one byte, one of two, an escape of two, a control character of six, an emoji of four.
const LETTERS: [char; 5] = ['a', 'é', '"', '\u{1}', '😀'];

#[test]
fn every_budget_with_a_set_of_lengths() {
    for budget in 128..=4096 {
        for (letter, len) in LETTERS.iter().zip([0, 1, 90, 700, 4200]) {
            assert_sound(&outcome(&letter.to_string().repeat(len)), budget, Some(&whole_at()));
        }
    }
}

#[test]
fn every_length_with_a_set_of_budgets() {
    for len in 0..4200 {
        for (at, budget) in [128, 200, 341, 1024, 4096].into_iter().enumerate() {
            let letter = LETTERS[(len + at) % LETTERS.len()];
            assert_sound(&outcome(&letter.to_string().repeat(len)), budget, None);
        }
    }
}

#[test]
fn every_reason_fits_the_smallest_budget_with_status_and_code() {
    for reason in Reason::ALL {
        let mut outcome = Outcome::new("0.1.0", Phase::Workspace, Origin::Runner, *reason, "é".repeat(5000));
        outcome.exit_code = 255;
        outcome.answer = Some("\u{1}".repeat(5000));
        assert_sound(&outcome, 128, Some(&whole_at()));
    }
}

#[test]
fn below_the_smallest_budget_it_is_still_an_object_or_nothing() {
    for budget in 0..128 {
        let text = fit(&outcome("x"), budget, Some(&whole_at()));
        assert!(text.len() <= budget);
        if budget < 2 {
            assert_eq!(text, "");
        } else {
            let object: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
            assert!(
                object.keys().all(|key| ["status", "reason", "exitCode", "phase", "origin", "retry", "cut", "parameters", "message"]
                    .contains(&key.as_str())),
                "{text}"
            );
        }
    }
}

#[test]
fn what_fits_is_whole_and_names_nothing_as_cut() {
    let mut outcome = outcome("it failed");
    outcome.answer = Some("done\nwith \"quotes\"".to_owned());
    outcome.results.claim("summary", "a summary").unwrap();
    insta::assert_snapshot!(fit(&outcome, 4096, Some(&whole_at())));
}

#[test]
fn a_long_outcome_is_shortened_by_the_written_order() {
    let mut outcome = outcome(&format!("cause {} end", "m".repeat(9000)));
    outcome.answer = Some("w".repeat(100_000));
    outcome.results.claim("summary", "s".repeat(3000)).unwrap();
    outcome.results.claim("plan", "p".repeat(3000)).unwrap();
    outcome.results.claim("verdict", "good").unwrap();
    insta::assert_snapshot!(fit(&outcome, 1228, Some(&whole_at())));
}

#[test]
fn the_longest_exact_fit_is_not_cut_and_one_byte_less_is() {
    let mut outcome = outcome("m");
    outcome.results.claim("summary", "s".repeat(300)).unwrap();
    let whole = fit(&outcome, 4096, None);
    assert_eq!(fit(&outcome, whole.len(), None), whole);
    let message = assert_sound(&outcome, whole.len() - 1, None);
    assert_eq!(message.cut, ["parameters.summary"]);
}

#[test]
fn many_claims_never_push_out_facts_or_the_message() {
    let mut outcome = outcome(&"why ".repeat(400));
    for i in 0..2000 {
        outcome.results.claim(&format!("a{i}"), "v".repeat(i % 300)).unwrap();
    }
    let message = assert_sound(&outcome, 1024, Some(&whole_at()));
    assert_eq!(message.parameters["commit"], "9fceb02d0ae598e95dc970b74767f19372d61af8");
    assert_eq!(message.parameters["input-tokens"], "2430");
    assert!(message.message.unwrap().len() > 200);
    assert!(message.result_sha256.is_some());
}

#[test]
fn an_interim_message_is_true_if_it_is_the_last() {
    let mut known = outcome("");
    known.results.set_fact(key::TURNS, 4_u64);
    let progress =
        Progress { runner_version: "0.1.0", phase: Phase::Agent, agent: Some("claude"), results: &known.results, usage: &known.usage };
    insta::assert_snapshot!(fit(&interim(&progress), 4096, None));
}

#[test]
fn last_words_keep_what_was_known_and_name_the_death() {
    let known = outcome("");
    let progress =
        Progress { runner_version: "0.1.0", phase: Phase::Agent, agent: Some("claude"), results: &known.results, usage: &known.usage };
    let before = fit(&interim(&progress), 4096, None);
    let oom = last_words(before.as_bytes(), Death { end: ProcessEnd::Signaled(9), out_of_memory: true, phase: None }, 4096);
    assert_eq!((oom.exit_code, oom.reason), (137, Reason::OutOfMemory));
    insta::assert_snapshot!(oom.message);
    let segv = last_words(before.as_bytes(), Death { end: ProcessEnd::Signaled(11), out_of_memory: false, phase: None }, 4096);
    assert_eq!((segv.exit_code, segv.reason), (70, Reason::RunnerFault));
}

#[test]
fn last_words_do_not_believe_an_earlier_success() {
    let mut done = outcome("all done");
    (done.status, done.reason, done.exit_code) = (Status::Succeeded, Reason::Completed, 0);
    let words =
        last_words(fit(&done, 4096, None).as_bytes(), Death { end: ProcessEnd::Signaled(9), out_of_memory: false, phase: None }, 4096);
    let message = TerminationMessage::parse(words.message.as_bytes()).unwrap();
    assert_eq!((message.status, message.reason, message.exit_code), (Status::Failed, Reason::Killed, 137));
    assert_eq!(
        message.message.unwrap(),
        "the runner was killed by signal 9 after it had written its outcome (succeeded, Completed): all done"
    );
    assert_eq!(message.parameters["commit"], "9fceb02d0ae598e95dc970b74767f19372d61af8");
}

#[test]
fn last_words_without_a_past_are_whole() {
    for garbage in [&b""[..], b"   ", b"not json", b"{\"status\":\"failed\"}", b"\xff\xfe", b"{}{}", b"null"] {
        for end in (0..=255).map(ProcessEnd::Exited).chain((1..=64).map(ProcessEnd::Signaled)) {
            let words = last_words(garbage, Death { end, out_of_memory: false, phase: None }, 4096);
            let message = TerminationMessage::parse(words.message.as_bytes()).unwrap();
            assert_ne!(words.exit_code, 0);
            assert_eq!(message.exit_code, words.exit_code);
            assert_ne!(message.status, Status::Succeeded);
        }
    }
}

fn any_text(most: usize) -> impl Strategy<Value = String> {
    let c = prop_oneof![any::<char>(), proptest::char::range('\0', '\u{1f}'), Just('"'), Just('\\'), Just('😀'), Just('…'), Just('a')];
    prop::collection::vec(c, 0..most).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_outcome_at_any_budget(
        budget in 128_usize..=4096,
        message in any_text(1500),
        answer in prop::option::of(any_text(1500)),
        hint in prop::option::of(any_text(100)),
        branch in any_text(300),
        claims in prop::collection::btree_map("[a-z0-9][a-z0-9._-]{0,62}", any_text(600), 0..12),
        warnings in prop::collection::vec(any_text(80), 0..4),
        reason in prop::sample::select(Reason::ALL),
        path in "/[a-z/\"é]{1,200}",
    ) {
        let mut outcome = Outcome::new("0.1.0", Phase::Agent, Origin::Agent, reason, message);
        outcome.hint = hint;
        outcome.answer = answer;
        outcome.agent = Some("claude".into());
        outcome.usage.input_tokens = Some(u64::MAX);
        outcome.warnings = warnings;
        outcome.results.set_fact(key::BRANCH, branch);
        for (name, value) in claims {
            // A known key is refused, which is a test of its own.
            let _refused = outcome.results.claim(&name, value);
        }
        // The sound message asserts hint's naming only if there is one.
        outcome.hint.get_or_insert_with(String::new);
        let whole = WholeAt { path, sha256: "0".repeat(64) };
        assert_sound(&outcome, budget, Some(&whole));

        // What init makes of it is sound at any budget too.
        let before = fit(&outcome, 4096, Some(&whole));
        let words = last_words(before.as_bytes(), Death { end: ProcessEnd::Signaled(9), out_of_memory: false, phase: None }, budget);
        prop_assert!(words.message.len() <= budget);
        let message = TerminationMessage::parse(words.message.as_bytes()).unwrap();
        prop_assert_eq!(message.reason, Reason::Killed);
        let before = TerminationMessage::parse(before.as_bytes()).unwrap();
        let more = message.cut.iter().any(|name| name == CUT_MORE);
        for (name, value) in &before.parameters {
            let named = message.cut.contains(&format!("parameters.{name}"));
            match message.parameters.get(name) {
                Some(kept) => prop_assert!(kept == value || named),
                None => prop_assert!(named || more),
            }
        }
    }
}
