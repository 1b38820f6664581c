//! What stands in Gemini's settings for one task: merged into the user's own `settings.json`, where what is not named here stays.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::plan::SECRET_VARIABLES;
use crate::agent::Surroundings;
use crate::task::{McpServer, Task};

/// Instruction files, in the user's directory and in the repository.
const INSTRUCTION_FILES: &[&str] = &["GEMINI.md", "AGENTS.md", "CLAUDE.md"];
/// It refuses more attempts than this.
const MOST_ATTEMPTS: u32 = 10;

/// How an effort is said: a budget of tokens to the 2.5 models, a level to later ones.
const EFFORTS: &[(&str, i64, &str)] =
    &[("minimal", 512, "MINIMAL"), ("low", 1024, "LOW"), ("medium", 8192, "MEDIUM"), ("high", 24_576, "HIGH")];

/// Parts of names and values at which Gemini takes a variable out of what its shell inherits, once it is told to do that at all.
const REDACTED_NAMES: &[&str] = &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "AUTH", "CREDENTIAL", "CREDS", "PRIVATE", "CERT"];
const REDACTED_VALUES: &[&str] = &["-----BEGIN ", "GHP_", "GHO_", "GHU_", "GHS_", "GHR_", "GITHUB_PAT_", "AIZASY", "AKIA", "EYJ", "XOX"];
const REDACTED_FULL_NAMES: &[&str] = &[
    "CLIENT_ID",
    "DB_URI",
    "CONNECTION_STRING",
    "AWS_DEFAULT_REGION",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "SLACK_WEBHOOK_URL",
    "TWILIO_ACCOUNT_SID",
    "DATABASE_URL",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_ACCOUNT",
    "FIREBASE_PROJECT_ID",
];

/// The way of logging in that the container's variables mean. `None` leaves it to the user's own settings.
pub(super) fn auth_type(surroundings: &Surroundings) -> Option<&'static str> {
    let has = |name: &str| surroundings.env.get(name).is_some_and(|value| !value.is_empty());
    let is_vertex = surroundings.env.get("GOOGLE_GENAI_USE_VERTEXAI").is_some_and(|value| value == "true" || value == "1");
    match () {
        () if is_vertex => Some("vertex-ai"),
        () if has("GEMINI_API_KEY") => Some("gemini-api-key"),
        () if has("GOOGLE_API_KEY") => Some("vertex-ai"),
        () => None,
    }
}

/// The settings, and what is to be said about them.
pub(super) fn settings(task: &Task, surroundings: &Surroundings) -> (Map<String, Value>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut general = json!({"enableAutoUpdate": false, "enableAutoUpdateNotification": false});
    if let Some(retries) = task.limits.max_retries {
        general["maxAttempts"] = json!(retries.saturating_add(1).min(MOST_ATTEMPTS));
    }
    let mut settings = json!({
        "general": general,
        "privacy": {"usageStatisticsEnabled": false},
        "advanced": {"ignoreLocalEnv": true},
        "context": {"fileName": INSTRUCTION_FILES},
    });
    let mut security = Map::new();
    if let Some(auth) = auth_type(surroundings) {
        security.insert("auth".into(), json!({"selectedType": auth}));
    }
    match redaction(surroundings) {
        Ok(redaction) => _ = security.insert("environmentVariableRedaction".into(), redaction),
        Err(lost) => warnings.push(format!(
            "the model's shell inherits the API key: Gemini's own way to hide it would hide `{lost}`, too, which may be needed there"
        )),
    }
    settings["security"] = Value::Object(security);
    if let Some(turns) = task.limits.max_turns {
        settings["model"]["maxSessionTurns"] = json!(turns);
    }
    if surroundings.for_later {
        if let Some(model) = &task.agent.model {
            settings["model"]["name"] = json!(model);
        }
        warnings.extend(without_dollar(task));
    }
    if let Some((model, effort)) = task.agent.model.as_ref().zip(task.agent.effort.as_ref()) {
        match thinking(model, effort) {
            Some(thinking) => {
                let config = json!({"generateContentConfig": {"thinkingConfig": thinking}});
                settings["modelConfigs"] = json!({"customOverrides": [{"match": {"model": model}, "modelConfig": config}]});
            }
            None => {
                let known: Vec<&str> = EFFORTS.iter().map(|(name, ..)| *name).collect();
                warnings.push(format!("Gemini has no effort `{effort}`; known are {}, or a number of tokens", known.join(", ")));
            }
        }
    }
    if !task.mcp_servers.is_empty() {
        warnings.extend(not_handed_over(task));
        settings["mcpServers"] = task.mcp_servers.iter().map(|(name, server)| (name.clone(), mcp_server(server))).collect();
    }
    let settings = if let Value::Object(settings) = settings { settings } else { Map::new() };
    (settings, warnings)
}

fn mcp_server(server: &McpServer) -> Value {
    match server {
        McpServer::Stdio { command, args, env } => {
            let args: Vec<String> = args.iter().map(|argument| kept_once(argument)).collect();
            json!({"command": kept_once(command), "args": args, "env": kept_twice(env)})
        }
        McpServer::Http { url, headers } => json!({"httpUrl": kept_once(url), "headers": kept_twice(headers)}),
        McpServer::Sse { url, headers } => json!({"url": kept_once(url), "type": "sse", "headers": kept_twice(headers)}),
    }
}

/// Gemini puts variables' values in place of `$NAME` and `${NAME}` wherever they stand in its settings; there is no way to write a dollar
/// that stays one before a name, but the value of a variable is not looked at again.
fn kept_once(text: &str) -> String {
    text.replace('$', &format!("${{{DOLLAR}}}"))
}

/// In servers' variables and headers it does so once more, in another manner: there a backslash keeps the dollar.
fn kept_twice(fields: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let twice = |value: &String| value.replace('$', &format!("\\${{{DOLLAR}}}"));
    fields.iter().map(|(name, value)| (name.clone(), twice(value))).collect()
}

/// Servers that are others than the task says where nobody sets the variable.
fn without_dollar(task: &Task) -> impl Iterator<Item = String> {
    let with_dollar = task.mcp_servers.iter().filter(|(_, server)| mcp_server(server).to_string().contains(DOLLAR));
    with_dollar.map(|(name, _)| format!("the MCP server `{name}` has a `$` in it, for which whoever starts Gemini has to set {DOLLAR}='$'"))
}

/// Variables that Gemini does not hand to an MCP server, since they make programs load code.
const NOT_HANDED_OVER: &[&str] = &[
    "BASH_ENV",
    "CLASSPATH",
    "ENV",
    "JAVA_TOOL_OPTIONS",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5LIB",
    "PERL5OPT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "_JAVA_OPTIONS",
];

fn not_handed_over(task: &Task) -> impl Iterator<Item = String> {
    task.mcp_servers.iter().flat_map(|(server, definition)| {
        let env = if let McpServer::Stdio { env, .. } = definition { Some(env) } else { None };
        let names = env.into_iter().flat_map(|env| env.keys()).filter(|name| NOT_HANDED_OVER.contains(&name.as_str()));
        names.map(move |name| format!("Gemini does not hand the variable `{name}` to the MCP server `{server}`"))
    })
}

/// A variable whose value is a dollar.
pub(super) const DOLLAR: &str = "GEMINI_CLI_RUNNER_DOLLAR";

/// The effort in the words of the model's family.
fn thinking(model: &str, effort: &str) -> Option<Value> {
    let known = EFFORTS.iter().find(|(name, ..)| *name == effort);
    if let Ok(budget) = effort.parse::<i64>() {
        return Some(json!({"thinkingBudget": budget}));
    }
    let (_, budget, level) = known?;
    Some(if model.contains("2.5") { json!({"thinkingBudget": budget}) } else { json!({"thinkingLevel": level}) })
}

/// What keeps the key from the model's shell. Gemini then leaves out every variable that looks like a secret, allowed or not: the error is
/// the first that is none of its own keys.
fn redaction(surroundings: &Surroundings) -> Result<Value, String> {
    let lost = surroundings.env.iter().find(|(name, value)| {
        let (upper, value) = (name.to_uppercase(), value.to_uppercase());
        let is_kept = upper.starts_with("GEMINI_CLI_") || upper.starts_with("GIT_CONFIG_") || OWN.contains(&upper.as_str());
        let is_redacted = REDACTED_FULL_NAMES.contains(&upper.as_str())
            || REDACTED_NAMES.iter().any(|part| upper.contains(part))
            || REDACTED_VALUES.iter().any(|part| value.contains(part));
        is_redacted && !is_kept && !SECRET_VARIABLES.contains(&name.as_str())
    });
    match lost {
        Some((name, _)) => Err(name.clone()),
        None => Ok(json!({"enabled": true, "blocked": SECRET_VARIABLES})),
    }
}

/// Variables of the runner's own, of which nothing in the shell has need.
const OWN: &[&str] = &["AGENT_TOKEN_FILE", "AGENT_SSH_KEY_FILE", "AGENT_MAX_OUTPUT_TOKENS"];
