//! How to say "run this shell command" or "give this to a sub-agent" in the tools that an agent offers.
//!
//! Known agents' tools are a table; any other tool is taken by its schema, so that an agent that nobody here has
//! seen can be asked to run a command, too.

use serde_json::{Value, json};

use super::scenario::McpCall;

/// A tool that a request offers.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTool {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its input.
    pub schema: Value,
}

/// A tool call with everything that the scenario left open decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The offered tool's name.
    pub name: String,
    /// Its input.
    pub input: Value,
}

/// A shell tool, by name, with the input that it wants for a command.
type ShellInput = fn(&str) -> Value;

/// Seen in the requests of the agents named at each line.
const SHELLS: &[(&str, ShellInput)] = &[
    // Claude Code
    ("Bash", |command| json!({"command": command, "description": "a command of the scripted model"})),
    // OpenCode
    ("bash", |command| json!({"command": command, "description": "a command of the scripted model"})),
    // Gemini CLI
    ("run_shell_command", |command| json!({"command": command, "description": "a command of the scripted model"})),
    // Codex
    ("exec_command", |command| json!({"cmd": command})),
    ("shell", |command| json!({"command": ["bash", "-lc", command]})),
];

/// Tools that start a sub-agent: Claude Code (two names), OpenCode, Gemini CLI, Codex (two names).
const SUBAGENTS: &[&str] = &["Agent", "Task", "task", "invoke_agent", "collaboration.spawn_agent", START_BESIDE];

/// How some versions of Codex start a sub-agent: it goes on beside the one that started it, and tells its id.
pub const START_BESIDE: &str = "multi_agent_v1.spawn_agent";
/// How they wait for it, by that id.
pub const WAIT_FOR: &str = "multi_agent_v1.wait_agent";

/// Codex' tool of newer models: JavaScript, in which all other tools are functions of `tools`. It takes text, so it has no schema.
const CODE: &str = "exec";
/// Tools that find others which are not offered at first, those of MCP servers, and how each wants to be told how many: Codex, Claude Code.
const SEARCHES: &[(&str, &str)] = &[("tool_search", "limit"), ("ToolSearch", "max_results")];

fn offers_code(offered: &[OfferedTool]) -> bool {
    offered.iter().any(|tool| tool.name == CODE && tool.schema.is_null())
}

fn code(script: String) -> Chosen {
    Chosen { name: CODE.into(), input: Value::String(script) }
}

/// The call that runs `command`.
pub fn shell_call(offered: &[OfferedTool], command: &str) -> Option<Chosen> {
    let known = SHELLS.iter().find(|(name, _)| offered.iter().any(|tool| tool.name == *name));
    if let Some((name, input)) = known {
        return Some(Chosen { name: (*name).into(), input: input(command) });
    }
    if offers_code(offered) {
        return Some(code(format!("text((await tools.exec_command({})).output)", json!({"cmd": command}))));
    }
    // A tool that asks for a string `command` (or `cmd`) and for nothing else that it could not do without.
    offered.iter().find_map(|tool| {
        let field = ["command", "cmd"].into_iter().find(|field| tool.schema["properties"][field]["type"] == "string")?;
        let required = tool.schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let only_this = required.iter().all(|name| name == field);
        only_this.then(|| Chosen { name: tool.name.clone(), input: json!({ field: command }) })
    })
}

/// The calls that give `prompt` to a sub-agent and wait for it; none if no tool for it is offered. What is already `started` is
/// waited for.
pub fn subagent_call(offered: &[OfferedTool], started: Option<&str>, prompt: &str) -> Vec<Chosen> {
    if let Some(id) = started {
        return vec![Chosen { name: WAIT_FOR.into(), input: json!({"targets": [id]}) }];
    }
    let Some(name) = SUBAGENTS.iter().find(|name| offered.iter().any(|tool| tool.name == **name)) else {
        return Vec::new();
    };
    let mut calls = Vec::new();
    let input = match *name {
        "collaboration.spawn_agent" => {
            // It goes on beside the one that started it, unless that one waits.
            calls.push(Chosen { name: "collaboration.wait_agent".into(), input: json!({}) });
            json!({"task_name": "scripted_task", "message": prompt, "fork_turns": "none"})
        }
        START_BESIDE => json!({"message": prompt}),
        "invoke_agent" => json!({"agent_name": "generalist", "prompt": prompt}),
        "task" => {
            json!({"description": "scripted task", "prompt": prompt, "subagent_type": "general"})
        }
        _ => {
            json!({"description": "scripted task", "prompt": prompt, "subagent_type": "general-purpose"})
        }
    };
    calls.insert(0, Chosen { name: (*name).into(), input });
    calls
}

/// The call of an MCP server's tool or, where it must be looked for first, of the search for it.
pub fn mcp_call(offered: &[OfferedTool], call: &McpCall) -> Option<Chosen> {
    let server = call.server.as_deref().unwrap_or("");
    let input = if call.input.is_null() { json!({}) } else { call.input.clone() };
    let found = offered.iter().find(|tool| {
        let prefix = tool.name.strip_suffix(&call.tool);
        prefix.is_some_and(|prefix| prefix.ends_with(['_', '.', '-', '/']) && prefix.contains(server))
    });
    if let Some(found) = found {
        return Some(Chosen { name: found.name.clone(), input });
    }
    if offers_code(offered) {
        let (tool, server) = (json!(call.tool), json!(server));
        return Some(code(format!(
            "const found = ALL_TOOLS.find(({{name}}) => name.endsWith({tool}) && name.includes({server}) && name !== {tool});\n\
             if (!found) text('no tool {} of an MCP server'); else text(JSON.stringify(await tools[found.name]({input})))",
            call.tool
        )));
    }
    let (name, limit) = SEARCHES.iter().find(|(name, _)| offered.iter().any(|tool| tool.name == *name))?;
    Some(Chosen { name: (*name).into(), input: json!({"query": format!("{server} {}", call.tool).trim(), *limit: 8}) })
}

/// The call of the tool of that very name.
pub fn named_call(offered: &[OfferedTool], name: &str, input: &Value) -> Option<Chosen> {
    let input = if input.is_null() { json!({}) } else { input.clone() };
    offered.iter().any(|tool| tool.name == name).then(|| Chosen { name: name.into(), input })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(names: &[&str]) -> Vec<OfferedTool> {
        names.iter().map(|name| OfferedTool { name: (*name).into(), schema: json!({}) }).collect()
    }

    #[test]
    fn the_shell_tool_of_each_known_agent_gets_the_command_where_it_looks_for_it() {
        for (name, pointer) in [
            ("Bash", "/command"),
            ("bash", "/command"),
            ("run_shell_command", "/command"),
            ("exec_command", "/cmd"),
            ("shell", "/command/2"),
        ] {
            let chosen = shell_call(&offer(&["Read", name, "Write"]), "make").expect(name);
            assert_eq!((chosen.name.as_str(), chosen.input.pointer(pointer)), (name, Some(&json!("make"))));
        }
    }

    #[test]
    fn a_tool_that_runs_code_is_told_to_run_the_command_and_to_find_the_mcp_tool() {
        let custom = [OfferedTool { name: "exec".into(), schema: Value::Null }];
        let chosen = shell_call(&custom, "echo 'a\n\"b\"'").unwrap();
        assert_eq!(chosen.input, json!(r#"text((await tools.exec_command({"cmd":"echo 'a\n\"b\"'"})).output)"#));
        let call = McpCall { tool: "echo".into(), server: None, input: json!({"text": "hi"}) };
        let script = mcp_call(&custom, &call).unwrap().input;
        assert!(script.as_str().unwrap().contains(r#"tools[found.name]({"text":"hi"})"#), "{script}");
        // A tool of that name which takes JSON is another one.
        assert_eq!(shell_call(&offer(&["exec"]), "make"), None);
    }

    #[test]
    fn a_deferred_mcp_tool_is_searched_for_and_then_called() {
        let call = McpCall { tool: "echo".into(), server: Some("probe".into()), input: Value::Null };
        let mut offered = offer(&["exec_command", "tool_search"]);
        let search = mcp_call(&offered, &call).unwrap();
        assert_eq!((search.name.as_str(), &search.input["query"]), ("tool_search", &json!("probe echo")));
        offered.extend(offer(&["mcp__probe.echo"]));
        assert_eq!(mcp_call(&offered, &call).unwrap().name, "mcp__probe.echo");
        let search = mcp_call(&offer(&["Bash", "ToolSearch"]), &call).unwrap();
        assert_eq!((search.name.as_str(), search.input), ("ToolSearch", json!({"query": "probe echo", "max_results": 8})));
    }

    #[test]
    fn an_unknown_shell_tool_is_found_by_its_schema() {
        let schema =
            |required: &[&str]| json!({"properties": {"cmd": {"type": "string"}, "host": {"type": "string"}}, "required": required});
        let mut offered = offer(&["look"]);
        offered.push(OfferedTool { name: "remote".into(), schema: schema(&["cmd", "host"]) });
        assert_eq!(shell_call(&offered, "make"), None);
        offered.push(OfferedTool { name: "run".into(), schema: schema(&["cmd"]) });
        let chosen = shell_call(&offered, "make").unwrap();
        assert_eq!((chosen.name.as_str(), chosen.input), ("run", json!({"cmd": "make"})));
    }

    #[test]
    fn an_mcp_tool_is_found_behind_any_agents_prefix_and_not_by_half_a_word() {
        let call = |server: Option<&str>| McpCall { tool: "echo".into(), server: server.map(str::to_owned), input: Value::Null };
        for name in ["mcp__probe__echo", "mcp_probe_echo", "probe_echo"] {
            assert_eq!(mcp_call(&offer(&["Bash", name]), &call(Some("probe"))).expect(name).name, name);
        }
        assert_eq!(mcp_call(&offer(&["mcp__probe__reecho"]), &call(None)), None);
        assert_eq!(mcp_call(&offer(&["mcp__other__echo"]), &call(Some("probe"))), None);
    }
}
