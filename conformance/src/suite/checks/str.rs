//! The agent's stream.

use super::read::{control, did_its_task, message_at_hand, parameter, parameter_is, quote, started, status, story, unwanted_parameter};
use super::schema;
use crate::suite::check::{Check, Finding, Judged, Seen};
use crate::suite::evidence::Evidence;
use crate::suite::fake::contains;
use crate::suite::scenario::streams::{ODD_STDERR, odd_bytes, price};
use crate::suite::stream::Stream;

pub(super) const CHECKS: &[Check] = &[
    Check { id: "STR-001", scenarios: &["stream-odd"], judge: stdout_unchanged },
    Check { id: "STR-002", scenarios: &["stream-odd"], judge: stderr_passes },
    Check { id: "STR-003", scenarios: &["stream-odd", "happy"], judge: unknown_lines },
    Check { id: "STR-004", scenarios: &["happy"], judge: usage },
    Check { id: "STR-005", scenarios: &["usage-untold", "happy"], judge: usage_absent },
    Check { id: "STR-006", scenarios: &["stream-failed", "happy"], judge: stream_first },
    Check { id: "STR-007", scenarios: &["stream-cut"], judge: truncated },
    Check { id: "STR-008", scenarios: &["events-log"], judge: events_log },
    Check { id: "STR-011", scenarios: &["usage-priced"], judge: priced },
];

fn stream(evidence: &Evidence) -> Stream {
    Stream::of(evidence.about.subject.stream()).unwrap_or(Stream::Other)
}

fn stdout_unchanged(evidence: &Evidence) -> Judged {
    let seen = evidence.run("stream-odd")?;
    started(&seen)?;
    let printed = odd_bytes(stream(evidence));
    let same = printed.iter().zip(&seen.stdout).take_while(|(printed, shown)| printed == shown).count();
    let actual = format!("{} bytes, of which the first {same} are the same; then {}", seen.stdout.len(), quote(&seen.stdout[same..]));
    seen.expect(contains(&seen.stdout, &printed), format!("the {} bytes that the agent printed, in one piece", printed.len()), actual)
}

fn stderr_passes(evidence: &Evidence) -> Judged {
    let seen = evidence.run("stream-odd")?;
    started(&seen)?;
    let lacking = ODD_STDERR.lines().find(|line| !contains(&seen.stderr, line.as_bytes()));
    seen.expect(lacking.is_none(), "what the agent wrote to stderr", format!("without {:?}", lacking.unwrap_or_default()))
}

fn unknown_lines(evidence: &Evidence) -> Judged {
    control(evidence)?;
    did_its_task(&evidence.run("stream-odd")?)
}

/// The results that follow from what the suite's agent tells of its tokens.
fn tokens(evidence: &Evidence) -> Result<Vec<(&'static str, u64)>, Finding> {
    let tokens = stream(evidence).tokens();
    if tokens.is_empty() { Err(Finding::NotApplicable("its agent's stream tells of no tokens".into())) } else { Ok(tokens) }
}

fn usage(evidence: &Evidence) -> Judged {
    let tokens = tokens(evidence)?;
    let seen = evidence.run("happy")?;
    tokens.into_iter().try_for_each(|(name, count)| parameter_is(&seen, name, &count.to_string()))
}

fn usage_absent(evidence: &Evidence) -> Judged {
    control(evidence)?;
    let seen = evidence.run("usage-untold")?;
    started(&seen)?;
    ["input-tokens", "output-tokens", "cache-read-tokens", "cache-write-tokens", "reasoning-tokens"].into_iter().try_for_each(|name| {
        let told = unwanted_parameter(&seen, name)?;
        seen.expect(told.is_none(), format!("no parameter `{name}`"), told.unwrap_or_default())
    })
}

/// Half a cent is within what an implementation may round away.
const ROUNDED: f64 = 0.005;

fn priced(evidence: &Evidence) -> Judged {
    let wanted = price(&tokens(evidence)?);
    let seen = evidence.run("usage-priced")?;
    started(&seen)?;
    parameter_is(&seen, "cost-source", "price-table")?;
    let told = parameter(&seen, "cost-usd")?.unwrap_or_default();
    let is_right = told.parse::<f64>().is_ok_and(|cost| (cost - wanted).abs() <= ROUNDED);
    seen.expect(is_right, format!("parameter `cost-usd` {wanted}"), format!("{told:?}"))
}

fn stream_first(evidence: &Evidence) -> Judged {
    let seen = evidence.run("stream-failed")?;
    control(evidence)?;
    started(&seen)?;
    message_at_hand(&seen)?;
    let status = super::read::field(&seen, "status")?;
    seen.expect(status != "succeeded", "another status than `succeeded`", format!("`{status}`; {}", story(&seen)))
}

fn truncated(evidence: &Evidence) -> Judged {
    let seen = evidence.run("stream-cut")?;
    started(&seen)?;
    status(&seen, "incomplete")
}

fn events_log(evidence: &Evidence) -> Judged {
    has_events(evidence)?;
    let seen = evidence.run("events-log")?;
    started(&seen)?;
    let text = String::from_utf8_lossy(&seen.stdout);
    let lines: Vec<_> = text.lines().take_while(|line| !line.starts_with("---AGENT_OUTPUTS_START ")).collect();
    are_events(&seen, "stdout", &lines)
}

/// Something is read of the agent's stdout, so that there are events.
pub(super) fn has_events(evidence: &Evidence) -> Judged {
    match stream(evidence) {
        Stream::None => Err(Finding::NotApplicable("nothing is read of its agent's stdout, so there are no events".into())),
        _ => Ok(()),
    }
}

/// There are lines, and each is an event.
pub(super) fn are_events(seen: &Seen<'_>, place: &str, lines: &[&str]) -> Judged {
    seen.expect(!lines.is_empty(), format!("events on {place}"), "no line at all")?;
    lines.iter().try_for_each(|line| {
        let Ok(event) = serde_json::from_str(line) else { return Err(seen.broken(format!("events on {place}"), quote(line.as_bytes()))) };
        let faults = schema::faults(&schema::EVENT, &event);
        seen.expect(faults.is_empty(), format!("events by the schema on {place}"), faults)
    })
}
