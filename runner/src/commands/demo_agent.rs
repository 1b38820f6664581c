//! `agent-runner demo-agent`: the scripted agent of `demo`. It reads a prompt, makes one commit, and prints the interface's events.
//!
//! It is also the smallest example of an agent of the kind `native`. It asks no model; its usage is what it counted: words.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use agent_sdk::event::Event;
use agent_sdk::usage::Usage;
use gix::bstr::BStr;

/// The file that it writes.
const FILE: &str = "HELLO.md";

/// Makes `content` the text of `file` in a commit on HEAD, with index and work tree following. Returns the commit.
///
/// # Errors
/// What git's object database or the file system says.
pub fn commit_file(
    work_tree: &Path,
    file: &str,
    content: &str,
    message: &str,
) -> Result<gix::ObjectId, Box<dyn std::error::Error + Send + Sync>> {
    let repository = gix::open(work_tree)?;
    let parent = repository.head_id().ok().map(gix::Id::detach);
    let base = match parent {
        Some(parent) => repository.find_commit(parent)?.tree_id()?.detach(),
        None => repository.empty_tree().id,
    };
    let blob = repository.write_blob(content)?;
    let mut editor = repository.edit_tree(base)?;
    editor.upsert(BStr::new(file), gix::object::tree::EntryKind::Blob, blob)?;
    let tree = editor.write()?.detach();
    let time = gix::date::Time::now_utc().to_string();
    let who = gix::actor::SignatureRef { name: "agent-runner demo".into(), email: "demo@localhost".into(), time: &time };
    let commit = repository.commit_as(who, who, "HEAD", message, tree, parent)?.detach();
    repository.index_from_tree(&tree)?.write(gix::index::write::Options::default())?;
    std::fs::write(work_tree.join(file), content)?;
    Ok(commit)
}

/// Runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let mut prompt = String::new();
    let worked = std::io::stdin().read_to_string(&mut prompt).map_err(Into::into).and_then(|_| work(&prompt));
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Event::Error { message: error.to_string(), http_status: None });
            say(&Event::Ended { succeeded: false, detail: Some(error.to_string()) });
            ExitCode::FAILURE
        }
    }
}

fn work(prompt: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let words = |text: &str| text.split_whitespace().count() as u64;
    say(&Event::Started { session_id: None, model: Some("scripted".into()), agent_version: Some(crate::VERSION.into()) });
    say(&Event::Text { text: format!("I was asked: {}", prompt.trim()), parent: None });
    let content = format!("# Hello\n\nAn agent was here and was asked:\n\n> {}\n", prompt.trim().replace('\n', "\n> "));
    say(&Event::ToolCall { id: "1".into(), name: "write-and-commit".into(), input: serde_json::json!({"file": FILE}), parent: None });
    let commit = commit_file(Path::new("."), FILE, &content, "Say hello")?;
    say(&Event::ToolResult { id: "1".into(), failed: false, output: format!("committed {commit}") });
    let answer = format!("Wrote {FILE} and committed it.");
    let usage = Usage { input_tokens: Some(words(prompt)), output_tokens: Some(words(&content) + words(&answer)), ..Usage::default() };
    say(&Event::Usage { usage, complete: true });
    say(&Event::Text { text: answer, parent: None });
    say(&Event::Ended { succeeded: true, detail: None });
    Ok(())
}

fn say(event: &Event) {
    let line = serde_json::to_string(event).unwrap_or_default();
    // A runner that went away wants no more events.
    let _ = writeln!(std::io::stdout(), "{line}");
}
