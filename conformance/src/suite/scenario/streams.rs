//! What the agent prints, and how its stream ends.

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
const INPUT_PRICE: f64 = 2000.0;
const CACHE_READ_PRICE: f64 = 500.0;
const CACHE_WRITE_PRICE: f64 = 10_000.0;
const OUTPUT_PRICE: f64 = 30_000.0;

fn usage_priced(stage: &mut Stage) -> Result<(), Unfit> {
    let price = json!({"input": INPUT_PRICE, "cacheRead": CACHE_READ_PRICE, "cacheWrite": CACHE_WRITE_PRICE, "output": OUTPUT_PRICE});
    stage.env("AGENT_PRICES", &json!({"*": price}).to_string());
    stage.agent_that([]);
    Ok(())
}

/// What these tokens, by the names of their results, cost by these prices.
#[must_use]
pub fn price(tokens: &[(&str, u64)]) -> f64 {
    let count = |name: &str| tokens.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
    let (read, written) = (count("cache-read-tokens"), count("cache-write-tokens"));
    let plain = count("input-tokens") - read - written;
    let parts = [(plain, INPUT_PRICE), (read, CACHE_READ_PRICE), (written, CACHE_WRITE_PRICE), (count("output-tokens"), OUTPUT_PRICE)];
    parts.iter().map(|(tokens, price)| *tokens as f64 * price).sum::<f64>() / 1e6
}

fn events_log(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_LOG", "events");
    stage.agent_that([]);
    Ok(())
}
