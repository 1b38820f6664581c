//! The image's own agent, unchanged, with a scripted model in the loop.

use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;

use super::{Act, Scenario, Stage, Unfit};
use crate::model::{Scenario as Script, ScriptedModel};
use crate::suite::fake::MCP;
use crate::suite::git::repository::{INSTRUCTIONS, REF};
use crate::suite::git::{Conduct, Repository};
use crate::suite::mcp::{HEADER, HttpServer, TOOL};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "model-task", about: "the model asks for a commit", needs: &[], prepare: task, course: &[] },
    Scenario {
        name: "model-configured",
        about: "instructions, a skill, a sub-agent, an MCP server by command",
        needs: &[],
        prepare: configured,
        course: &[],
    },
    Scenario { name: "model-mcp-http", about: "an MCP server by URL", needs: &[], prepare: mcp_http, course: &[] },
    Scenario { name: "model-prompt", about: "a prompt of 1 MiB less 1 KiB", needs: &[], prepare: prompt, course: &[] },
    Scenario { name: "model-401", about: "the model endpoint answers 401", needs: &[], prepare: unauthorised, course: &[] },
    Scenario { name: "model-429", about: "the model endpoint goes on answering 429", needs: &[], prepare: rate_limit, course: &[] },
    Scenario { name: "model-500", about: "the model endpoint goes on answering 500", needs: &[], prepare: server_error, course: &[] },
    Scenario { name: "model-refused", about: "nothing listens at the model endpoint", needs: &[], prepare: refused, course: &[] },
    Scenario { name: "model-cut", about: "each answer is cut in its middle", needs: &[], prepare: cut, course: &[] },
    Scenario {
        name: "model-too-long",
        about: "the model endpoint says that the prompt is too long",
        needs: &[],
        prepare: too_long,
        course: &[],
    },
    Scenario {
        name: "model-signal",
        about: "SIGTERM while the model is asked",
        needs: &[],
        prepare: signal,
        course: &[Act::AwaitModel, Act::Send(SIGTERM)],
    },
];

/// What the task says that the whole of it may take: an agent may need half a minute of a busy machine before it asks anything.
const TIMEOUT: Duration = Duration::from_secs(150);
/// What the suite waits for: the same, and time for the image to end by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(TIMEOUT.as_secs() + 30);
/// The name of both MCP servers.
const SERVER: &str = "conformance";
/// The value that an MCP server is to be given.
const GIVEN: &str = "given-to-the-mcp-server";
/// A commit, by a shell and the git of the image.
const COMMIT: &str = "printf 'done\\n' > done.txt && git add done.txt && \
    git -c user.name=Conformance -c user.email=conformance@localhost commit -q -m 'the work is done'";

/// A stage with a clone, the image's own agent, and a model that plays this.
fn play(stage: &mut Stage, name: &str, parameters: &[(&str, &str)]) -> Result<(), Unfit> {
    if stage.subject.label("agent.model").is_none() {
        return Err(Unfit::Prerequisite("the image does not say which model protocol its agent speaks".into()));
    }
    if !stage.subject.asks_playable_model() {
        return Err(Unfit::Inapplicable("its agent speaks to a kind of model that the suite does not play".into()));
    }
    let fault = |error: &dyn std::error::Error| Unfit::Fault(format!("the scripted model: {error}"));
    let script = Script::builtin(name).map_err(|error| fault(&error))?;
    let script = parameters.iter().try_fold(script, |script, (name, value)| script.with(name, value)).map_err(|error| fault(&error))?;
    let model = ScriptedModel::start(script).map_err(|error| fault(&error))?;
    stage.env("AGENT_ENDPOINT", &model.base_url());
    stage.model = Some(model);
    if let Some(model) = stage.subject.label("agent.model.name").map(str::to_owned) {
        stage.env("AGENT_MODEL", &model);
        stage.know("model", model);
    }
    stage.own_agent();
    stage.serve(Conduct::Open)?;
    stage.env("AGENT_REF", REF);
    stage.know("tip", Repository::default().tip(REF));
    stage.env("AGENT_TIMEOUT", &format!("{}s", TIMEOUT.as_secs()));
    Ok(())
}

/// The same with limits on how long an agent may try in vain.
fn in_vain(stage: &mut Stage, name: &str) -> Result<(), Unfit> {
    play(stage, name, &[])?;
    stage.env("AGENT_MAX_RETRIES", "2");
    stage.env("AGENT_SILENCE_TIMEOUT", "60s");
    Ok(())
}

fn task(stage: &mut Stage) -> Result<(), Unfit> {
    play(stage, "success", &[("command", COMMIT)])
}

fn configured(stage: &mut Stage) -> Result<(), Unfit> {
    play(stage, "mcp-call", &[("tool", TOOL), ("server", SERVER)])?;
    let described = |name: &str, text: &str| format!("---\nname: {name}\ndescription: {text:?}\n---\nDo as you are told.\n");
    let sentinels = [
        ("instructions", "Sentinel of the task's instructions: kingfisher-2210."),
        ("repository", INSTRUCTIONS),
        ("skill", "Sentinel of a skill: bittern-9034."),
        ("sub-agent", "Sentinel of a sub-agent: dipper-5561."),
    ];
    stage.write_below("plugins/conformance/skills/wade/SKILL.md", described("wade", sentinels[2].1).as_bytes())?;
    stage.write_below("plugins/conformance/agents/diver.md", described("diver", sentinels[3].1).as_bytes())?;
    let plugins = stage.path("plugins");
    stage.env("AGENT_PLUGIN_DIR", &plugins);
    stage.env("AGENT_INSTRUCTIONS", sentinels[0].1);
    let server = serde_json::json!({"command": stage.path("bin/mcp"), "args": ["two words"], "env": {"CONFORMANCE_MCP": GIVEN}});
    stage.env("AGENT_MCP_SERVERS", &serde_json::json!({"mcpServers": {SERVER: server}}).to_string());
    stage.script.roles.insert(MCP.to_owned(), Vec::new());
    stage.know("given", GIVEN);
    sentinels.iter().for_each(|(name, text)| stage.look_for(name, text));
    Ok(())
}

fn mcp_http(stage: &mut Stage) -> Result<(), Unfit> {
    play(stage, "mcp-call", &[("tool", TOOL), ("server", SERVER)])?;
    let server = HttpServer::start()?;
    let entry = serde_json::json!({"type": "http", "url": server.url(), "headers": {HEADER: GIVEN}});
    stage.env("AGENT_MCP_SERVERS", &serde_json::json!({"mcpServers": {SERVER: entry}}).to_string());
    stage.mcp = Some(server);
    stage.know("given", GIVEN);
    Ok(())
}

fn prompt(stage: &mut Stage) -> Result<(), Unfit> {
    play(stage, "text-only", &[])?;
    // The agent's own choice of a model: what another model can take is not what is asked here.
    stage.unset("AGENT_MODEL");
    let line = "This line is one of many in a prompt that a model has to get whole. ";
    let mut text = line.repeat((1 << 20) / line.len());
    text.truncate((1 << 20) - 1024 - 4);
    text.push_str("end.");
    stage.unset("AGENT_PROMPT");
    stage.write("prompt-file", text.as_bytes())?;
    let path = stage.path("prompt-file");
    stage.env("AGENT_PROMPT_FILE", &path);
    stage.look_for("prompt", &text);
    Ok(())
}

fn unauthorised(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "http-401")
}

fn rate_limit(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "http-429")
}

fn server_error(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "http-500")
}

fn refused(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "text-only")?;
    // No service has that port, and no machine chooses it for a program that asks for any.
    stage.env("AGENT_ENDPOINT", "http://127.0.0.1:4");
    Ok(())
}

fn cut(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "cut-mid-stream")
}

fn too_long(stage: &mut Stage) -> Result<(), Unfit> {
    in_vain(stage, "context-too-long")
}

fn signal(stage: &mut Stage) -> Result<(), Unfit> {
    play(stage, "silence", &[])
}
