//! Section 8: the termination message. It is true at every instant, fits its budget, and says what was cut.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::mutants::broken;
use crate::results::Outcome;

/// Texts that may be shortened are cut to this part of the budget at first.
const TEXT_SHARE: usize = 4;

/// Shorter pieces say nothing.
const SHORTEST: usize = 24;

/// Where the message goes.
#[derive(Debug)]
pub struct Place {
    pub path: PathBuf,
    pub budget: usize,
}

impl Place {
    /// Leaves a message there: padded to what stood there, in one write, then cut; so that one whole message stands there at every instant.
    pub fn write(&self, message: &str) -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
        let file = options.open(&self.path)?;
        // The agent may have made it as long as it liked; the message itself is never longer than 4 KiB.
        let before = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(64 << 10);
        let mut bytes = message.as_bytes().to_vec();
        bytes.resize(bytes.len().max(before), b' ');
        file.write_all_at(&bytes, 0)?;
        file.set_len(message.len() as u64)
    }
}

/// The outcome as one JSON object of at most so many bytes.
pub fn fit(outcome: &Outcome, result_file: Option<&str>, budget: usize) -> String {
    let mut wanted = fields(outcome, result_file);
    let whole = compose(outcome, &wanted, &[]);
    if whole.len() <= budget || broken("budget") {
        return whole;
    }
    if budget <= 512 && broken("small-budget") {
        wanted.retain(|(name, _)| !matches!(name.as_str(), "parameters.commit" | "parameters.branch"));
    }
    // An eighth is for the names of what is cut.
    let room = budget - budget / 8;
    let mut kept: Vec<(String, Value)> = Vec::new();
    let mut cut: Vec<String> = Vec::new();
    for (name, value) in wanted {
        let fits = |kept: &[(String, Value)]| compose(outcome, kept, &["*".to_owned()]).len() <= room;
        kept.push((name.clone(), value.clone()));
        let may_be_long = !is_text(outcome, &name) || value.to_string().len() <= budget / TEXT_SHARE;
        if may_be_long && fits(&kept) {
            continue;
        }
        kept.pop();
        cut.push(name.clone());
        let used = compose(outcome, &kept, &["*".to_owned()]).len() + name.len() + 4;
        let most = room.saturating_sub(used).min(budget / TEXT_SHARE);
        if is_text(outcome, &name)
            && let Some(short) = value.as_str().and_then(|text| shorten(text, most))
        {
            kept.push((name, Value::from(short)));
            if !fits(&kept) {
                kept.pop();
            }
        }
    }
    if broken("cut-is-named") {
        return compose(outcome, &kept, &[]);
    }
    // As many names as there is room for; `*` stands for the others.
    for named in (0..=cut.len()).rev() {
        let mut names = cut[..named].to_vec();
        if named < cut.len() {
            names.push("*".to_owned());
        }
        let message = compose(outcome, &kept, &names);
        if message.len() <= budget {
            return message;
        }
    }
    compose(outcome, &[], &[])
}

/// Whether a part of it is worth something.
fn is_text(outcome: &Outcome, name: &str) -> bool {
    let claim = name.strip_prefix("parameters.").is_some_and(|key| outcome.claims.contains_key(key) && key != "pr");
    claim || matches!(name, "message" | "answer" | "hint")
}

/// Everything beside status, reason and exit code, in the order of its worth.
fn fields(outcome: &Outcome, result_file: Option<&str>) -> Vec<(String, Value)> {
    let parameters = outcome.parameters();
    let claims: Vec<&str> = parameters.iter().filter(|(_, _, is_claim)| *is_claim).map(|(key, ..)| key.as_str()).collect();
    let retry = if broken("schema") { json!("perhaps") } else { json!(outcome.retry) };
    let mut fields =
        vec![("phase".to_owned(), json!(outcome.phase)), ("origin".to_owned(), json!(outcome.origin)), ("retry".to_owned(), retry)];
    let facts = parameters.iter().filter(|(_, _, is_claim)| !is_claim);
    fields.extend(facts.map(|(key, value, _)| (format!("parameters.{key}"), json!(value))));
    fields.push(("message".to_owned(), json!(outcome.message)));
    let optional = [
        ("interfaceVersion", Some(json!(outcome.version)).filter(|_| !broken("message-names-version"))),
        ("agent", outcome.agent.as_ref().map(|agent| json!(agent))),
        ("agentExitCode", outcome.agent_exit_code.map(|code| json!(code))),
        ("signal", outcome.signal.map(|signal| json!(signal))),
        ("usageComplete", (!outcome.usage.is_empty()).then(|| json!(outcome.usage_complete))),
        ("resultFile", result_file.map(|path| json!(path))),
        ("claims", (!claims.is_empty()).then(|| json!(claims))),
        ("hint", (!outcome.hint.is_empty()).then(|| json!(outcome.hint))),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let claimed = parameters.iter().filter(|(_, _, is_claim)| *is_claim);
    fields.extend(claimed.map(|(key, value, _)| (format!("parameters.{key}"), json!(value))));
    let last = [
        ("warnings", (!outcome.warnings.is_empty()).then(|| json!(outcome.warnings))),
        ("answer", outcome.answer.as_ref().map(|answer| json!(answer))),
    ];
    fields.extend(last.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    fields
}

/// The object: status, reason and exit code first.
fn compose(outcome: &Outcome, fields: &[(String, Value)], cut: &[String]) -> String {
    let code = if broken("exit-code") { 0 } else { outcome.exit_code };
    let mut parts = vec![
        format!("\"status\":{}", json!(outcome.status)),
        format!("\"reason\":{}", json!(outcome.reason)),
        format!("\"exitCode\":{code}"),
    ];
    let mut parameters = Map::new();
    for (name, value) in fields {
        match name.strip_prefix("parameters.") {
            Some(key) => {
                parameters.insert(key.to_owned(), value.clone());
            }
            None => parts.push(format!("{}:{value}", json!(name))),
        }
    }
    if !parameters.is_empty() {
        parts.push(format!("\"parameters\":{}", Value::Object(parameters)));
    }
    if !cut.is_empty() {
        parts.push(format!("\"cut\":{}", json!(cut)));
    }
    format!("{{{}}}", parts.join(","))
}

/// The beginning of a text, as a JSON string of at most so many bytes.
fn shorten(text: &str, most: usize) -> Option<String> {
    let mut end = text.len().min(most);
    while end >= SHORTEST {
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let short = format!("{}…", &text[..end]);
        if json!(short).to_string().len() <= most {
            return Some(short);
        }
        end = end * 7 / 8;
    }
    None
}
