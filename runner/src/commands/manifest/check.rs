//! `agent-runner manifest check FILE`: everything that is wrong with a manifest, or what it would start and write.
//!
//! What is shown is planned for a made-up task that asks for as much as there is, and for one that asks for nothing but its prompt: the
//! difference is what the manifest leaves out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent_sdk::agent::{Agent, FileContent, Plan, PlanRequest, Plugin, Surroundings};
use agent_sdk::agents::manifest::ManifestAgent;
use agent_sdk::task::Task;
use serde_json::json;

use crate::agents::{self, AgentError};
use crate::cli::ManifestCheckArgs;

/// EX_DATAERR of `sysexits.h`.
const WRONG: u8 = 65;
/// EX_NOINPUT of `sysexits.h`.
const NO_INPUT: u8 = 66;

/// Runs the command: 0 if the manifest is right, 65 if it is wrong.
#[must_use]
pub fn run(args: &ManifestCheckArgs) -> ExitCode {
    match agents::read(&args.file) {
        Ok(agent) => crate::commands::print(&describe(&agent)),
        Err(AgentError::Wrong { path, errors }) => {
            for error in &errors {
                crate::commands::tell(&format!("{}: {error}", path.display()));
            }
            let plural = if errors.len() == 1 { "thing is" } else { "things are" };
            crate::commands::complain(
                &format!("{} {plural} wrong with `{}`", errors.len(), path.display()),
                Some("`agent-runner schema manifest` prints what it may hold"),
            );
            ExitCode::from(WRONG)
        }
        Err(error) => {
            crate::commands::complain(&error.to_string(), Some(&error.hint()));
            ExitCode::from(NO_INPUT)
        }
    }
}

fn describe(agent: &ManifestAgent) -> String {
    let manifest = agent.manifest();
    let mut text = format!("{}: {}\n", manifest.name, manifest.about);
    let tried = if manifest.held_against.is_empty() { "no version".to_owned() } else { manifest.held_against.join(", ") };
    // Writing to a string does not fail.
    let _ = writeln!(text, "held against: {tried}\nstream: {}", manifest.stream.format);
    if !manifest.lacks.is_empty() {
        let lacks: Vec<_> = manifest.lacks.iter().map(|ability| ability.as_str()).collect();
        let _ = writeln!(text, "lacks: {}", lacks.join(", "));
    }
    for (title, everything) in [("a task that asks for everything", true), ("a task that asks for nothing", false)] {
        let _ = writeln!(text, "\n{title}:");
        match sample(agent, everything) {
            Ok(plan) => show(&plan, &mut text),
            Err(errors) => errors.iter().for_each(|error| text.push_str(&format!("  cannot be done: {error} ({})\n", error.hint))),
        }
    }
    text
}

/// The plan for a task that is made up.
fn sample(agent: &ManifestAgent, everything: bool) -> Result<Plan, Vec<agent_sdk::agent::PlanError>> {
    let lacks_endpoint = agent.manifest().lacks.iter().any(|ability| ability.as_str() == "endpoint");
    let document = if everything {
        json!({
            "agent": {
                "type": "sample", "model": "MODEL", "effort": "EFFORT", "resume": "SESSION",
                "endpoint": if lacks_endpoint { json!(null) } else { json!("https://gateway.example") },
            },
            "prompt": "PROMPT",
            "instructions": "INSTRUCTIONS",
            "mcpServers": {
                "local": {"command": "COMMAND", "args": ["ARGUMENT"], "env": {"NAME": "VALUE"}},
                "remote": {"url": "https://mcp.example", "headers": {"Name": "VALUE"}},
            },
            "limits": {"maxTurns": 10, "maxRetries": 3, "maxCostUsd": 1.5, "maxOutputTokens": 1000},
        })
    } else {
        json!({"agent": {"type": "sample"}, "prompt": "PROMPT"})
    };
    let task = Task::from_value(&document).map_err(|_| Vec::new())?;
    let surroundings = Surroundings {
        home: "/home/agent".into(),
        work_tree: "/workspace".into(),
        workdir: "/workspace".into(),
        private_dir: "/tmp/private".into(),
        ..Surroundings::default()
    };
    let plugin = Plugin {
        name: "PLUGIN".into(),
        dir: PathBuf::from("/plugins/PLUGIN"),
        skills: vec!["SKILL".into()],
        agents: [("HELPER".into(), Vec::new())].into(),
    };
    let plugins: &[Plugin] = if everything { std::slice::from_ref(&plugin) } else { &[] };
    agent.plan(&PlanRequest { task: &task, surroundings: &surroundings, plugins })
}

fn show(plan: &Plan, text: &mut String) {
    let quote = |word: &String| {
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&byte));
        if plain { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let words: Vec<String> = std::iter::once(&plan.program).chain(&plan.args).map(quote).collect();
    let _ = writeln!(text, "  starts  {}", words.join(" "));
    if !plan.stdin.is_empty() {
        let _ = writeln!(text, "  stdin   {}", String::from_utf8_lossy(&plan.stdin).replace('\n', "\\n"));
    }
    for (name, value) in plan.env.iter().filter(|(name, _)| *name != "HOME") {
        let _ = match value {
            Some(value) => writeln!(text, "  sets    {name}={}", quote(value)),
            None => writeln!(text, "  unsets  {name}"),
        };
    }
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => format!("with {}", String::from_utf8_lossy(bytes).replace('\n', "\\n")),
            FileContent::MergeJson(fields) | FileContent::MergeToml(fields) if fields.is_empty() => continue,
            FileContent::MergeJson(fields) | FileContent::MergeToml(fields) => {
                format!("merging {}", serde_json::Value::Object(fields.clone()))
            }
            FileContent::Section(words) if words.is_empty() => continue,
            FileContent::Section(words) => format!("with a section {words}"),
            FileContent::Install(items) if items.is_empty() => continue,
            FileContent::Install(items) => {
                let names: Vec<_> = items.keys().map(|path| path.display().to_string()).collect();
                format!("with copies of {}", names.join(", "))
            }
            FileContent::Absent => continue,
        };
        let _ = writeln!(text, "  writes  {} {content}", display(&file.path));
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "  warns   {warning}");
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
