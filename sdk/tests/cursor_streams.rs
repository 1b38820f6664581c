//! Every described stream of Cursor's CLI: verdict, usage and counts as one table that people review, and what a reader sees of one.

mod described;

use agent_sdk::agent::Detail;
use agent_sdk::agents::cursor::Cursor;

#[test]
fn every_described_run_gets_its_verdict() {
    insta::assert_snapshot!(described::table(&Cursor));
}

#[test]
fn what_is_said_thought_and_called_is_seen() {
    insta::assert_snapshot!(described::events(&Cursor, "success"));
    insta::assert_snapshot!(described::events(&Cursor, "tools"));
    insta::assert_snapshot!(described::events(&Cursor, "new-events"));
}

/// `inputTokens` of a recorded run of six steps was less than its `cacheReadTokens`, so the one is no part of the other.
#[test]
fn what_the_cache_gave_is_input_too() {
    let tools = described::all("cursor").into_iter().find(|run| run.name == "tools").expect("the description");
    let usage = described::read(&Cursor, &tools.stream, Detail::Verdict).0.usage;
    assert_eq!((usage.input_tokens, usage.cache_read_tokens), (Some(48565 + 68672), Some(68672)));
}

#[test]
fn no_stream_does_harm() {
    described::assert_robust(&Cursor);
}
