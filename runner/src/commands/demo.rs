//! `agent-runner demo`: a whole task on a repository made for it, with the scripted agent: no network, no API key, no git program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use agent_sdk::termination::TerminationMessage;

use super::demo_agent::commit_file;
use crate::cli::DemoArgs;
use crate::init::RunnerSide;
use crate::inputs::Inputs;
use crate::run::{self, Extent, Order};

/// What the demo's agent is asked.
const PROMPT: &str = "Please write a friendly HELLO.md and commit it.";

/// Runs the command.
#[must_use]
pub fn run(side: RunnerSide, args: &DemoArgs) -> u8 {
    let dir = std::env::temp_dir().join(format!("agent-runner-demo-{}", run::nonce().as_str()));
    let code = match prepare(&dir) {
        Ok(inputs) => {
            super::tell(&format!(
                "A repository was made in {}. agent-runner now does what it would do in a container:\n",
                dir.join("origin").display()
            ));
            let code = run::run(side, &Order { inputs, extent: Extent::Agent });
            show(&dir, args.keep);
            code
        }
        Err(error) => {
            super::complain(
                &format!("the demo cannot prepare `{}`: {error}", dir.display()),
                Some("set TMPDIR to a directory that can be written"),
            );
            73
        }
    };
    if !args.keep {
        // Best effort: it is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&dir);
    }
    code
}

fn prepare(dir: &Path) -> Result<Inputs, Box<dyn std::error::Error + Send + Sync>> {
    // Ours alone, and made here: others may write where it stands, too.
    std::fs::DirBuilder::new().mode(0o700).create(dir)?;
    let origin = dir.join("origin");
    std::fs::create_dir(&origin)?;
    gix::init(&origin)?;
    commit_file(&origin, "README.md", "# A repository for the demo\n", "Begin")?;
    let text = |path: &Path| path.display().to_string();
    let program = std::env::current_exe()?;
    let flags = BTreeMap::from([
        ("AGENT_TYPE", "native".to_owned()),
        ("AGENT_PROGRAM", text(&program)),
        ("AGENT_EXTRA_ARGS", r#"["demo-agent"]"#.to_owned()),
        ("AGENT_PROMPT", PROMPT.to_owned()),
        ("AGENT_REPO", text(&origin)),
        ("AGENT_BRANCH", "demo".to_owned()),
        ("AGENT_WORKSPACE_DIR", text(&dir.join("work"))),
        ("AGENT_LOG", "pretty".to_owned()),
        ("AGENT_MARKER", "false".to_owned()),
        ("AGENT_TERMINATION_LOG", text(&dir.join("termination-log"))),
        ("AGENT_RESULT_FILE", text(&dir.join("result.json"))),
        ("AGENT_EVENTS_FILE", text(&dir.join("events.jsonl"))),
    ]);
    // The machine's own settings for agents are not the demo's.
    let ours = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("AGENT_") && !name.starts_with("AGENT_RUNNER_"));
    let env = std::env::vars_os().filter(|(name, _)| !ours(name)).collect();
    Ok(Inputs { env, flags, needs_agent: true, ..Inputs::default() })
}

/// What Kubernetes would read, as people read it.
fn show(dir: &Path, keep: bool) {
    let message = std::fs::read(dir.join("termination-log")).unwrap_or_default();
    let pretty = TerminationMessage::parse(&message).and_then(|message| serde_json::to_string_pretty(&message));
    super::tell(&format!("\nThe termination message that Kubernetes would read ({} bytes):\n", message.len()));
    super::print(&format!("{}\n", pretty.unwrap_or_else(|_| String::from_utf8_lossy(&message).into_owned())));
    if keep {
        super::tell(&format!("\nKept: {0}/work (the clone), {0}/result.json (the whole outcome), {0}/events.jsonl", dir.display()));
    } else {
        super::tell("\nTo look at the clone, the whole outcome and the events: agent-runner demo --keep");
    }
}
