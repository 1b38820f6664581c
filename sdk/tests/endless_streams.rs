//! Streams that never come to an end of an answer, or that name ever new ids: what a reader keeps of them is bounded.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use agent_sdk::agent::{Agent, Detail, LedgerEntry, StreamReader};
use agent_sdk::agents::by_name;
use agent_sdk::agents::manifest::ManifestAgent;
use agent_sdk::event::Event;

/// As much of an answer is kept, and what says how much is not.
const ANSWER_LIMIT: usize = 256 << 10;
/// So much is gathered before it is shown, and a piece.
const CHUNK_LIMIT: usize = 64 << 10;
/// What a model goes on to say, all in all.
const SAID: usize = 32 << 20;
/// In pieces of a size that no limit is a multiple of, of characters that a cut may hit.
const PIECE: usize = 8 * 1021;

fn piece() -> String {
    "ä€\u{1f600}".repeat(PIECE / 9)
}

/// What was kept of `said` bytes is their beginning, and says how much more there was.
fn assert_beginning(answer: &str, said: usize) {
    let (kept, more) = answer.split_once(" … (").unwrap();
    assert!((ANSWER_LIMIT - 3..=ANSWER_LIMIT).contains(&kept.len()), "{}", kept.len());
    assert!(piece().repeat(ANSWER_LIMIT / piece().len() + 1).starts_with(kept));
    assert_eq!(more, format!("{} bytes more)", said - kept.len()));
}

#[test]
fn gemini_s_endless_answer_is_kept_up_to_a_limit_and_shown_in_parts() {
    for detail in [Detail::Verdict, Detail::Full] {
        let mut reader = by_name("gemini").unwrap().reader(detail);
        let line = format!(r#"{{"type":"message","role":"assistant","delta":true,"content":"{}"}}"#, piece());
        let (mut said, mut shown) = (0, 0);
        let mut show = |event: Event| match event {
            Event::Text { text, .. } => {
                assert!(text.len() <= CHUNK_LIMIT + PIECE, "{}", text.len());
                shown += text.len();
            }
            other => assert!(matches!(other, Event::Ended { .. }), "{other:?}"),
        };
        while said < SAID {
            reader.read_line(line.as_bytes(), &mut show);
            said += piece().len();
            let answer = reader.summary().answer.as_ref().unwrap();
            assert!(answer.capacity() <= 3 * ANSWER_LIMIT, "{}", answer.capacity());
        }
        reader.read_line(br#"{"type":"result","status":"success"}"#, &mut show);
        assert_eq!(shown, if detail == Detail::Full { said } else { 0 });
        assert_beginning(reader.summary().answer.as_ref().unwrap(), said);
        assert!(reader.summary().end.as_ref().unwrap().succeeded);
        // The next answer is whole again.
        reader.read_line(br#"{"type":"tool_result","tool_id":"t","status":"success"}"#, &mut |_| ());
        reader.read_line(br#"{"type":"message","role":"assistant","delta":true,"content":"done"}"#, &mut |_| ());
        assert_eq!(reader.summary().answer.as_deref(), Some("done"));
    }
}

#[test]
fn an_answer_of_a_manifest_s_agent_has_no_holes() {
    let lacks = r#"lacks = ["model","effort","endpoint","resume","instructions","skills","sub-agents","mcp-stdio","mcp-http","mcp-sse"]"#;
    let stream = "[stream]\nformat = \"json-lines\"\n[[stream.event]]\nhas = [\"/d\"]\ntext = \"/d\"\ndelta = true\n";
    let agent =
        ManifestAgent::parse(&format!("name = \"small\"\nabout = \"small\"\n{lacks}\n[command]\nprogram = \"small\"\n{stream}")).unwrap();
    let mut reader = agent.reader(Detail::Verdict);
    let line = format!(r#"{{"d":"{}"}}"#, piece());
    let mut said = 0;
    while said < SAID {
        reader.read_line(line.as_bytes(), &mut |_| ());
        said += piece().len();
    }
    reader.read_line(br#"{"d":"x"}"#, &mut |_| ());
    assert_beginning(reader.summary().answer.as_ref().unwrap(), said + 1);
}

/// A reader that was told of so many ids counts each once, and those that are told again soon after are known.
#[test]
fn opencode_s_steps_are_counted_once_each_though_old_ones_are_forgotten() {
    let mut reader = by_name("opencode").unwrap().reader(Detail::Verdict);
    let steps = 20_000;
    for number in 0..steps {
        let part = format!(
            r#"{{"type":"step-finish","id":"p{number}","messageID":"m{number}","reason":"stop","tokens":{{"input":1,"output":0}},"cost":0}}"#
        );
        let message = format!(r#"{{"id":"m{number}","providerID":"a","modelID":"b"}}"#);
        reader.read_line(format!(r#"{{"type":"step_finish","sessionID":"s","part":{part}}}"#).as_bytes(), &mut |_| ());
        told(&mut *reader, &format!(r#"{{"type":"message.updated","properties":{{"info":{message}}}}}"#));
        told(&mut *reader, &format!(r#"{{"type":"message.part.updated","properties":{{"sessionID":"s","part":{part}}}}}"#));
    }
    let summary = reader.summary();
    assert_eq!((summary.turns, summary.usage.input_tokens), (Some(steps), Some(steps)));
    assert_eq!(summary.usage_by_model["a/b"].input_tokens, Some(steps), "the model of a late step is known too");
}

fn told(reader: &mut dyn StreamReader, line: &str) {
    let entry = LedgerEntry { ledger: 0, file: Path::new("ledger.jsonl"), earlier: false, content: line.as_bytes() };
    reader.read_ledger(&entry, &mut |_| ());
}

#[test]
fn codex_s_items_that_are_never_over_leave_the_last_ones_open() {
    let mut reader = by_name("codex").unwrap().reader(Detail::Verdict);
    let item =
        |kind: &str, number: u32| format!(r#"{{"type":"item.{kind}","item":{{"id":"{number}{}","type":"web_search"}}}}"#, "x".repeat(2000));
    for number in 0..20_000 {
        reader.read_line(item("started", number).as_bytes(), &mut |_| ());
    }
    assert!(reader.summary().tool_open);
    for number in 0..20_000 {
        reader.read_line(item("completed", number).as_bytes(), &mut |_| ());
    }
    assert!(!reader.summary().tool_open);
}
