//! The fixed marker block that Kelos' controller looks for in the last 50 lines of a pod's log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::outcome::Outcome;
use crate::results::key;

/// The line that begins the block.
pub const KELOS_BEGIN: &str = "---KELOS_OUTPUTS_START---";
/// The line that ends it.
pub const KELOS_END: &str = "---KELOS_OUTPUTS_END---";
/// How many lines of the log its controller reads.
pub const KELOS_LAST_LINES: usize = 50;

/// The key of the agent's last message, in base64.
pub(super) const RESPONSE: &str = "response";

/// Container runtimes store a long line in pieces of this size, and the kubelet counts each piece as a line when it is asked for the last
/// 50.
const STORED_LINE: usize = 16 << 10;
/// The longest answer that is sent. Its base64 is six stored lines, and it becomes a part of an API object, of which etcd takes 1.5 MB.
const MAX_RESPONSE: usize = 64 << 10;

const KEYS: &[&str] = &[key::BRANCH, key::PR, key::COMMIT, key::BASE_BRANCH, key::COST_USD, key::INPUT_TOKENS, key::OUTPUT_TOKENS];

/// The block of an outcome: the keys that Kelos knows, other results as far as they fit, the response last. It never takes more than the
/// last 50 lines as a container runtime stores them. Its reader knows no escapes: line ends and control characters in a value become
/// spaces.
#[must_use]
pub fn kelos_block(outcome: &Outcome) -> String {
    let response = outcome
        .answer
        .as_deref()
        .filter(|answer| !answer.is_empty())
        .map(|answer| format!("{RESPONSE}: {}", STANDARD.encode(head(answer))));
    let parameters = outcome.parameters();
    let known = KEYS.iter().filter_map(|key| parameters.iter().find(|(name, _)| name == key));
    let others = parameters.iter().filter(|(key, _)| !KEYS.contains(key) && *key != RESPONSE);
    let entries = known.chain(others).flat_map(|(key, value)| {
        // Several pull requests are a line each.
        let values: Vec<&str> = if *key == key::PR { value.lines().collect() } else { vec![value] };
        let is_sure = KEYS.contains(key) && *key != key::PR;
        values.into_iter().map(move |value| (is_sure, format!("{key}: {}", one_line(value))))
    });
    let entries: Vec<(bool, String)> = entries.collect();
    let mut room = KELOS_LAST_LINES - 2 - response.as_deref().map_or(0, stored_lines);
    // Pull requests may be claimed, as many as an agent likes: they stand before facts, and get what these leave.
    let mut reserved: usize = entries.iter().filter(|(is_sure, _)| *is_sure).map(|(_, line)| stored_lines(line)).sum();
    let mut lines = Vec::new();
    for (is_sure, line) in entries {
        let price = stored_lines(&line);
        if is_sure {
            reserved -= price;
        }
        if price + reserved <= room {
            room -= price;
            lines.push(line);
        }
    }
    lines.extend(response);
    let whole = [KELOS_BEGIN].into_iter().chain(lines.iter().map(String::as_str)).chain([KELOS_END]);
    whole.flat_map(|line| [line, "\n"]).collect()
}

/// As much of the answer as is sent, cut on a character's border.
fn head(answer: &str) -> &str {
    let end = (0..=MAX_RESPONSE.min(answer.len())).rev().find(|end| answer.is_char_boundary(*end)).unwrap_or(0);
    &answer[..end]
}

/// How many lines the log file has for this one.
fn stored_lines(line: &str) -> usize {
    line.len().div_ceil(STORED_LINE).max(1)
}

fn one_line(value: &str) -> String {
    let flat: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    flat.trim().to_owned()
}

/// The text of a `response`, if it is one.
pub(super) fn decode_response(value: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&STANDARD.decode(value.trim()).ok()?).into_owned())
}
