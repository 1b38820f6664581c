//! What the agent prints, and how its stream ends.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Scenario, Stage, Unfit};
use crate::suite::fake::Step;
use crate::suite::stream::{Saying, Stream};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "stream-odd", about: "lines that are unknown, malformed, binary, endless", needs: &[], prepare: odd, course: &[] },
    Scenario {
        name: "stream-failed",
        about: "the stream says that the agent failed, and the agent ends with 0",
        needs: &[],
        prepare: failed,
        course: &[],
    },
    Scenario { name: "stream-cut", about: "the agent ends with 0 in the middle of its stream", needs: &[], prepare: cut, course: &[] },
    Scenario { name: "usage-untold", about: "a stream that tells of no tokens", needs: &[], prepare: usage_untold, course: &[] },
    Scenario { name: "usage-priced", about: "the task says what models cost", needs: &[], prepare: usage_priced, course: &[] },
    Scenario { name: "events-log", about: "the log shows events", needs: &[], prepare: events_log, course: &[] },
];

fn odd(stage: &mut Stage) -> Result<(), Unfit> {
    stage.write("odd", &odd_bytes(stage.stream))?;
    stage.agent([Step::PrintError(ODD_STDERR.into()), Step::PrintFile("odd".into())]);
    Ok(())
}

/// What the agent of `stream-odd` writes to stderr.
pub const ODD_STDERR: &str = "stderr, line 1\nand no line feed after line 2";

/// What it prints: bytes of all kinds between good lines, and no line feed at the end.
#[must_use]
pub fn odd_bytes(stream: Stream) -> Vec<u8> {
    let mut bytes = stream.begin().into_bytes();
    bytes.extend_from_slice(
        b"\xff\xfe\x00 not UTF-8 \x1b[31m\r\n{\"type\":\"of-the-future\",\"n\":[1,2,{}]}\n{\"type\":\"assistant\",\"mess\n\n   \n[]\n",
    );
    bytes.extend(std::iter::repeat_n(b'x', 3 << 20));
    bytes.extend_from_slice(b"\n---AGENT_OUTPUTS_START \n::error::no workflow command\n");
    bytes.extend_from_slice(stream.say("Done.").as_bytes());
    let end = stream.end(Saying::Succeeded, true);
    bytes.extend_from_slice(end.trim_end_matches('\n').as_bytes());
    bytes
}

fn failed(stage: &mut Stage) -> Result<(), Unfit> {
    if !stage.stream.has_failure() {
        return Err(Unfit::Inapplicable("its agent's stream cannot say that the agent failed".into()));
    }
    let lines = stage.stream.begin() + &stage.stream.end(Saying::Failed("the suite's agent failed on purpose"), false);
    stage.agent([Step::Print(lines)]);
    Ok(())
}

fn cut(stage: &mut Stage) -> Result<(), Unfit> {
    stage.needs_stream_end()?;
    let lines = stage.stream.begin() + &stage.stream.say("I shall now");
    stage.agent([Step::Print(lines)]);
    Ok(())
}

fn usage_untold(stage: &mut Stage) -> Result<(), Unfit> {
    let stream = stage.stream;
    // Claude's answers always tell something; so this one says nothing.
    stage.agent([Step::Print(stream.begin() + &stream.end(Saying::Succeeded, false))]);
    Ok(())
}

/// What any model costs in `usage-priced`, US dollars for a million tokens: so much that it shows in cents.
const INPUT: u32 = 2000;
const CACHE_READ: u32 = 500;
const CACHE_WRITE: u32 = 10_000;
const OUTPUT: u32 = 30_000;

fn usage_priced(stage: &mut Stage) -> Result<(), Unfit> {
    let price = json!({"input": INPUT, "cacheRead": CACHE_READ, "cacheWrite": CACHE_WRITE, "output": OUTPUT});
    stage.env("AGENT_PRICES", &json!({"*": price}).to_string());
    stage.agent_that([]);
    Ok(())
}

/// What the tokens that the suite's agent tells of cost by these prices; nothing, where it tells of none.
#[must_use]
pub fn price(stream: Stream) -> Option<f64> {
    let tokens: BTreeMap<_, _> = stream.tokens().into_iter().collect();
    let count = |name: &str| tokens.get(name).copied().unwrap_or(0);
    let (read, written) = (count("cache-read-tokens"), count("cache-write-tokens"));
    let plain = tokens.get("input-tokens")?.saturating_sub(read + written);
    let parts = [(plain, INPUT), (read, CACHE_READ), (written, CACHE_WRITE), (count("output-tokens"), OUTPUT)];
    Some(parts.iter().map(|(tokens, price)| *tokens as f64 * f64::from(*price)).sum::<f64>() / 1e6)
}

fn events_log(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_LOG", "events");
    stage.agent_that([]);
    Ok(())
}
