//! Every described stream of Kodelet: verdict and counts as one table that people review, and what a reader sees of one.

mod described;

use agent_sdk::agents::kodelet::Kodelet;

#[test]
fn every_described_run_gets_its_verdict() {
    insta::assert_snapshot!(described::table(&Kodelet));
}

#[test]
fn what_is_said_thought_and_called_is_seen() {
    insta::assert_snapshot!(described::events(&Kodelet, "success"));
    insta::assert_snapshot!(described::events(&Kodelet, "tools"));
}

#[test]
fn no_stream_does_harm() {
    described::assert_robust(&Kodelet);
}
