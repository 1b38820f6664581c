//! Reading evidence: what checks have in common.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::suite::check::{Finding, Judged, Seen};
use crate::suite::evidence::{AgentEvent, AgentRecord, Ended, Evidence};

/// The longest piece of output that is quoted.
const QUOTE: usize = 300;

/// The image did its task where nothing stood against it, so that what it did not do elsewhere says something.
pub(super) fn control(evidence: &Evidence) -> Judged {
    let happy = evidence.run("happy")?;
    if happy.agent_started().is_some() && happy.facts.ended == Ended::Code(0) {
        return Ok(());
    }
    Err(Finding::NotTestable("the image does not do its task even in the scenario `happy`, so this says nothing".into()))
}

/// The agent's start.
pub(super) fn started<'a>(seen: &Seen<'a>) -> Result<Start<'a>, Finding> {
    let record = seen.run.agent_started().ok_or_else(|| seen.broken("the agent is started", format!("it was not; {}", story(seen))))?;
    match &record.event {
        AgentEvent::Started { args, env, cwd, uid, blocked, ignored, .. } => {
            Ok(Start { args, env, cwd, uid: *uid, blocked: *blocked, ignored: *ignored })
        }
        _ => Err(Finding::Error("a record of a start is none".into())),
    }
}

/// How a program of the suite was started.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) args: &'a [String],
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) cwd: &'a str,
    pub(super) uid: u32,
    pub(super) blocked: u64,
    pub(super) ignored: u64,
}

/// The agent was not started.
pub(super) fn not_started(seen: &Seen<'_>) -> Judged {
    seen.expect(seen.agent_started().is_none(), "the agent is not started", "it was")
}

/// The container ended with this code.
pub(super) fn code(seen: &Seen<'_>, wanted: u8) -> Judged {
    let expected = format!("exit code {wanted}");
    seen.expect(seen.facts.ended == Ended::Code(wanted), expected, story(seen))
}

/// The container ended well, and says so, after the agent was started.
pub(super) fn succeeded(seen: &Seen<'_>) -> Judged {
    started(seen)?;
    code(seen, 0)?;
    status(seen, "succeeded")
}

/// The image did its task: the agent was started, the container ended with 0, and a message does not say otherwise. That there is one is
/// another requirement, and that it says `succeeded` a third.
pub(super) fn did_its_task(seen: &Seen<'_>) -> Judged {
    started(seen)?;
    code(seen, 0)?;
    let said = seen.message().and_then(|message| message["status"].as_str().map(str::to_owned));
    seen.expect(
        said.as_deref().is_none_or(|status| status == "succeeded"),
        "status `succeeded`",
        format!("status {said:?}; {}", story(seen)),
    )
}

/// What another check finds, as the premise of this one: where that is broken this says nothing. What the engine cannot see, or the suite
/// did wrong, stays what it is.
pub(super) fn premise<T>(found: Result<T, Finding>, otherwise: &str) -> Result<T, Finding> {
    found.map_err(|finding| match finding {
        Finding::Broken { .. } | Finding::NotTestable(_) => Finding::NotTestable(otherwise.to_owned()),
        other => other,
    })
}

/// The message, where a requirement is about what must not stand in it: without one, nothing is kept and nothing broken.
pub(super) fn message_at_hand(seen: &Seen<'_>) -> Result<Value, Finding> {
    premise(message(seen), &format!("scenario `{}`: there is no termination message to look into", seen.name))
}

/// The termination message.
pub(super) fn message(seen: &Seen<'_>) -> Result<Value, Finding> {
    let expected = "a termination message that is one JSON object";
    let Some(bytes) = &seen.termination else { return Err(seen.broken(expected, format!("the file is empty; {}", story(seen)))) };
    match serde_json::from_slice(bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(seen.broken(expected, format!("other JSON: {}", quote(bytes)))),
        Err(error) => Err(seen.broken(expected, format!("{error}: {}", quote(bytes)))),
    }
}

/// The text of a field of the message.
pub(super) fn field(seen: &Seen<'_>, name: &str) -> Result<String, Finding> {
    let value = message(seen)?;
    value[name]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| seen.broken(format!("a text `{name}` in the message"), format!("{}", value[name])))
}

/// The message's status.
pub(super) fn status(seen: &Seen<'_>, wanted: &str) -> Judged {
    let status = field(seen, "status")?;
    seen.expect(status == wanted, format!("status `{wanted}`"), format!("status `{status}`; {}", story(seen)))
}

/// The message's reason.
pub(super) fn reason(seen: &Seen<'_>, wanted: &str) -> Judged {
    let reason = field(seen, "reason")?;
    seen.expect(reason == wanted, format!("reason `{wanted}`"), format!("reason `{reason}`; {}", story(seen)))
}

/// A parameter of the message.
pub(super) fn parameter(seen: &Seen<'_>, name: &str) -> Result<Option<String>, Finding> {
    Ok(message(seen)?["parameters"][name].as_str().map(str::to_owned))
}

/// A parameter that must not stand in the message.
pub(super) fn unwanted_parameter(seen: &Seen<'_>, name: &str) -> Result<Option<String>, Finding> {
    Ok(message_at_hand(seen)?["parameters"][name].as_str().map(str::to_owned))
}

/// A parameter of the message has this value.
pub(super) fn parameter_is(seen: &Seen<'_>, name: &str, wanted: &str) -> Judged {
    let actual = parameter(seen, name)?;
    let text = actual.as_ref().map_or_else(|| "no such parameter".to_owned(), |actual| format!("{actual:?}"));
    seen.expect(actual.as_deref() == Some(wanted), format!("parameter `{name}` {wanted:?}"), text)
}

/// What the agent wrote down of a kind.
pub(super) fn record<'a, T>(seen: &Seen<'a>, role: &'a str, pick: impl Fn(&'a AgentEvent) -> Option<T>) -> Option<T> {
    seen.run.records(role).find_map(|record: &'a AgentRecord| pick(&record.event))
}

/// How a run went, in a half sentence.
pub(super) fn story(seen: &Seen<'_>) -> String {
    let said = seen.message().and_then(|message| Some(format!("; its message: {}", message["message"].as_str()?)));
    let stderr = String::from_utf8_lossy(&seen.stderr);
    let last =
        stderr.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!("; last on stderr: {}", quote(line.as_bytes())));
    format!("{}{}", seen.facts.ended, said.or(last).unwrap_or_default())
}

/// The beginning of some bytes, as text.
pub(super) fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE * 4)]);
    let mut quoted: String = text.chars().take(QUOTE).collect();
    if quoted.len() < bytes.len() {
        quoted.push('…');
    }
    quoted
}

/// A marker block: its nonce and its lines, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The word that makes it this run's.
    pub nonce: String,
    /// Its results.
    pub entries: BTreeMap<String, String>,
}

/// The marker block that is the last of some output, if it is well formed.
#[must_use]
pub fn last_block(stdout: &[u8]) -> Option<Block> {
    let text = String::from_utf8_lossy(stdout);
    let mut lines = text.strip_suffix('\n')?.rsplit('\n');
    let nonce = lines.next()?.strip_prefix("---AGENT_OUTPUTS_END ")?.strip_suffix("---")?.to_owned();
    let begin = format!("---AGENT_OUTPUTS_START {nonce}---");
    let mut entries = BTreeMap::new();
    for line in lines {
        if line == begin {
            return Some(Block { nonce, entries });
        }
        let (key, value) = line.split_once(": ").or_else(|| line.strip_suffix(':').map(|key| (key, "")))?;
        // Lines are read backwards, and the last of a key wins.
        entries.entry(key.to_owned()).or_insert(unescape(value)?);
    }
    None
}

/// A value of a block as it was before it was put on one line.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match characters.next()? {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let digits: String = characters.by_ref().take(4).collect();
                char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?)?
            }
            _ => return None,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_one_only_as_the_last_of_the_output() {
        let block = "before\n---AGENT_OUTPUTS_START abc---\na: 1\nb: two\\nlines\\u0020\n---AGENT_OUTPUTS_END abc---\n";
        let read = last_block(block.as_bytes()).unwrap();
        assert_eq!(read.nonce, "abc");
        assert_eq!(read.entries, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "two\nlines ".into())]));
        for bad in
            [format!("{block}after\n"), block.replace("START abc", "START abd"), block.replace("\\n", "\\q"), block.trim_end().to_owned()]
        {
            assert_eq!(last_block(bad.as_bytes()), None, "{bad}");
        }
    }
}
