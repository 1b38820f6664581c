//! Manifest agents: a manifest that is wrong is told everything at once, one that is right plans and reads as its author wrote, and hostile
//! text harms nobody.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use agent_sdk::agent::{
    Agent, Detail, FileContent, LedgerEntry, Plan, PlanError, PlanRequest, Plugin, ProcessEnd, RepositoryFile, Seen, StreamSummary,
    Surroundings,
};
use agent_sdk::agents::claude::Claude;
use agent_sdk::agents::manifest::ManifestAgent;
use agent_sdk::event::Event;
use agent_sdk::task::Task;
use agent_sdk::verdict::Reason;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A block of the guide, by the words after its fence.
fn of_the_guide(fence: &str) -> String {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agent-manifest.md")).unwrap();
    let start = guide.find(&format!("```{fence}\n")).unwrap() + fence.len() + 4;
    guide[start..start + guide[start..].find("```").unwrap()].to_owned()
}

fn guide() -> ManifestAgent {
    parse(&of_the_guide("toml manifest"))
}

fn parse(text: &str) -> ManifestAgent {
    ManifestAgent::parse(text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn errors(text: &str) -> String {
    let errors = ManifestAgent::parse(text).map(|_| ()).unwrap_err();
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn lines_for_people_are_looked_at_by_the_reasons_and_the_last_are_kept() {
    let rows = "[[reason]]\nexit = 0\ntext = \"AuthenticationError\"\nreason = \"AuthenticationFailed\"\n";
    let agent = parse(&small(&format!("[stream]\nformat = \"text\"\n{rows}")));
    assert_eq!(reason(&agent, "hello", 0, ""), None);
    let found = judged(&agent, "hello\nlitellm.AuthenticationError: no\nbye", 0, "a warning");
    assert_eq!(found, Some((Reason::AuthenticationFailed, "litellm.AuthenticationError: no".into())));
    let long: String = (0..2000).map(|number| format!("line ä {number}\n")).collect();
    let answer = read(&agent, &long).0.answer.unwrap();
    assert!(answer.len() <= 4096 && answer.starts_with("line ä") && answer.ends_with("line ä 1999"), "{answer}");
    assert!(read(&agent, &"ä".repeat(9000)).0.answer.unwrap().len() <= 4096);
}

/// A manifest of few words, with more in it.
fn small(more: &str) -> String {
    let lacks = "lacks = [\"model\", \"effort\", \"endpoint\", \"resume\", \"instructions\", \"skills\", \"sub-agents\", \"mcp-stdio\", \"mcp-http\", \"mcp-sse\"]\n";
    format!("name = \"small\"\nabout = \"small\"\n{lacks}\n[command]\nprogram = \"small\"\n{more}")
}

fn surroundings() -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), ("SMITH_KEY", "sk-secret")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        home: "/home/agent".into(),
        work_tree: "/workspace".into(),
        workdir: "/workspace".into(),
        private_dir: "/tmp/private".into(),
        ..Surroundings::default()
    }
}

fn plan_in(agent: &ManifestAgent, task: &Value, surroundings: &Surroundings) -> Result<Plan, Vec<PlanError>> {
    let task = Task::from_value(task).unwrap();
    let plugin = |name: &str, skills: &[&str]| Plugin {
        name: name.into(),
        dir: format!("/plugins/{name}").into(),
        skills: skills.iter().map(|&skill| skill.into()).collect(),
        agents: [(format!("{name}-helper"), b"helps".to_vec())].into(),
    };
    let plugins = [plugin("one", &["sew", "knit"]), plugin("two", &["cook"])];
    agent.plan(&PlanRequest { task: &task, surroundings, plugins: &plugins })
}

fn plan(agent: &ManifestAgent, task: &Value) -> Plan {
    plan_in(agent, task, &surroundings()).unwrap()
}

fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            FileContent::MergeJson(fields) => format!("merged JSON {:#}", Value::Object(fields.clone())),
            FileContent::MergeToml(fields) => format!("merged TOML {:#}", Value::Object(fields.clone())),
            other => format!("{other:?}"),
        };
        writeln!(text, "--- {}{}\n{}", file.path.display(), if file.private { " (private)" } else { "" }, content.trim_end()).unwrap();
    }
    plan.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").unwrap());
    text
}

fn everything() -> Value {
    json!({
        "agent": {"type": "x", "model": "m-1", "effort": "high", "endpoint": "http://gateway:8080", "resume": "0000", "extraArgs": ["--more"]},
        "prompt": "- Do it.",
        "instructions": "Be kind.",
        "mcpServers": {
            "local": {"command": "serve", "args": ["--fast"], "env": {"A": "b"}},
            "remote": {"url": "http://mcp", "headers": {"Authorization": "Bearer t"}},
            "old": {"type": "sse", "url": "http://sse"}
        },
        "limits": {"maxTurns": 7}
    })
}

fn read(agent: &dyn Agent, lines: &str) -> (StreamSummary, Vec<Event>) {
    let mut reader = agent.reader(Detail::Full);
    let mut events = Vec::new();
    lines.lines().for_each(|line| reader.read_line(line.as_bytes(), &mut |event| events.push(event)));
    (reader.summary().clone(), events)
}

fn judged(agent: &ManifestAgent, lines: &str, code: u8, stderr: &str) -> Option<(Reason, String)> {
    let stream = read(agent, lines).0;
    let seen = Seen { stream: &stream, process: ProcessEnd::Exited(code), stderr_tail: stderr };
    agent.judge(&seen).map(|finding| (finding.reason, finding.message))
}

fn reason(agent: &ManifestAgent, lines: &str, code: u8, stderr: &str) -> Option<Reason> {
    judged(agent, lines, code, stderr).map(|(reason, _)| reason)
}

#[test]
fn the_guides_manifest_plans_what_it_says() {
    insta::assert_snapshot!("the_guides_manifest_with_everything", shown(&plan(&guide(), &everything())));
    insta::assert_snapshot!(
        "the_guides_manifest_with_nothing",
        shown(&plan(&guide(), &json!({"agent": {"type": "x"}, "prompt": "Do it."})))
    );
}

#[test]
fn the_guides_stream_means_what_it_says() {
    let (summary, events) = read(&guide(), &of_the_guide("json stream"));
    insta::assert_json_snapshot!("the_guides_stream", events);
    assert_eq!((summary.unknown_lines, summary.malformed_lines, summary.turns), (0, 0, Some(1)));
    assert_eq!(summary.answer.as_deref(), Some("The test is there."));
    assert_eq!(judged(&guide(), &of_the_guide("json stream"), 1, ""), Some((Reason::Completed, "the agent is done".into())));
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let misshapen = r#"
nmae = "x"
about = 7
held-against = "1.0"
lacks = ["modle", "skills"]
[command]
program = "x"
args = ["a", ["b", 3], { c = 1 }]
prompt = "stdio"
[environment]
set = { A = 1 }
[[file]]
text = "t"
[stream]
format = "none"
[[stream.event]]
usage = { counts = "all" }
turn = "yes"
[[reason]]
status = 70000
reason = "NoSuch"
[[repository]]
path = 1979-05-27
power = "executes"
"#;
    insta::assert_snapshot!("misshapen", errors(misshapen));
    let meaningless = r#"
name = "Claude Code"
about = "two\nlines"
lacks = ["model"]
[command]
program = " "
args = ["--m={model}", "{prompt}", "{env:KEY}", "{modle}", "{"]
prompt = "argument"
[environment]
set = { "1A" = "{private}", B = "{prompt}" }
unset = ["1A"]
[[file]]
path = "{workspace}/x"
text = "{effort}"
merge = { a = "{resume}" }
[[file]]
path = "{home}/../x"
[instructions]
file = "/etc/x"
in-prompt = true
[mcp]
pointer = "servers"
[stream]
format = "json-lnes"
[[stream.event]]
when = { type = "x", "/y" = { z = 1 } }
has = ["z"]
text = "text"
when-item = { "/a" = 1 }
usage = { counts = "each", cache-read = "/c", reasoning = "/r" }
[[reason]]
reason = "TurnLimit"
[[reason]]
status = 42
reason = "TurnLimit"
[[repository]]
path = "../x"
power = "executes"
"#;
    insta::assert_snapshot!("meaningless", errors(meaningless));
    assert_eq!(errors("name = \"x\nabout = 1"), "line 1: is not TOML: invalid basic string, expected `\"`\n");
}

#[test]
fn a_prompt_gets_in_by_every_way() {
    let task = |prompt: &str| json!({"agent": {"type": "x", "extraArgs": ["--more"]}, "prompt": prompt});
    let manifest = |command: &str| parse(&small(&format!("{command}\n[stream]\nformat = \"none\"\n")));

    let by_argument = manifest("args = [\"run\", [\"--\", \"{prompt}\"]]\nprompt = \"argument\"");
    assert_eq!(plan(&by_argument, &task("- a list")).args, ["run", "--more", "--", "- a list"]);
    let long = "x".repeat(131_072);
    let error = plan_in(&by_argument, &task(&long), &surroundings()).unwrap_err();
    assert_eq!((error.len(), error[0].field.as_str()), (1, "prompt"));
    assert!(plan_in(&by_argument, &task(&long[1..]), &surroundings()).is_ok());

    let by_file = manifest("args = [\"--message-file={prompt-file}\"]\nprompt = \"file\"");
    let planned = plan(&by_file, &task(&long));
    assert_eq!(planned.args, ["--message-file=/tmp/private/small/prompt.md", "--more"]);
    assert_eq!(planned.files[0].content, FileContent::Replace(long.clone().into_bytes()));
    assert!(planned.files[0].private && planned.stdin.is_empty());

    let by_variable = manifest("prompt = \"variable\"\n[environment]\nset = { PROMPT = \"{prompt}\" }");
    assert_eq!(plan(&by_variable, &task("do")).env["PROMPT"].as_deref(), Some("do"));
    assert!(plan_in(&by_variable, &task(&long), &surroundings()).is_err());
    assert_eq!(plan(&manifest(""), &task(&long)).stdin, long.into_bytes());
}

#[test]
fn instructions_stand_before_the_prompt_whichever_way_it_gets_in() {
    let task = json!({"agent": {"type": "x"}, "prompt": "Do it.", "instructions": "Be kind.\n"});
    let planned = |command: &str| {
        let text = small(&format!("{command}\n[instructions]\nin-prompt = true\n[stream]\nformat = \"none\"\n"));
        plan(&parse(&text.replace("\"instructions\", ", "")), &task)
    };
    let both = "Be kind.\n\nDo it.";
    assert_eq!(planned("args = [\"--\", \"{prompt}\"]\nprompt = \"argument\"").args, ["--", both]);
    let by_variable = planned("prompt = \"variable\"\n[environment]\nset = { PROMPT = \"{prompt}\" }");
    assert_eq!(by_variable.env["PROMPT"].as_deref(), Some(both));
    assert_eq!(planned("").stdin, both.as_bytes());
    let by_file = planned("args = [\"{prompt-file}\"]\nprompt = \"file\"");
    assert_eq!(by_file.files[0].content, FileContent::Replace(both.into()));
}

#[test]
fn an_endpoint_with_the_version_that_the_manifest_adds_is_refused() {
    let task = json!({"agent": {"type": "x", "endpoint": "http://gateway/v1"}, "prompt": "p"});
    for (template, is_refused) in [("{endpoint}/v1", true), ("{endpoint|http://x}/v1/chat", true), ("{endpoint}", false)] {
        let text = small(&format!("[environment]\nset = {{ URL = \"{template}\" }}\n[stream]\nformat = \"none\"\n"));
        let planned = plan_in(&parse(&text.replace("\"endpoint\", ", "")), &task, &surroundings());
        let fields: Vec<String> = planned.err().into_iter().flatten().map(|error| error.field).collect();
        assert_eq!(fields, if is_refused { vec!["agent.endpoint"] } else { vec![] }, "{template}");
    }
}

#[test]
fn a_limit_that_no_rule_feeds_and_no_placeholder_hands_over_is_told_to_have_no_effect() {
    let limits = json!({"maxCostUsd": 1, "maxTurns": 2, "maxOutputTokens": 3, "maxRetries": 4});
    let unheld = |more: &str| {
        let task = json!({"agent": {"type": "x"}, "prompt": "p", "limits": limits});
        let warnings = plan(&parse(&small(more)), &task).warnings;
        let names = ["maxCostUsd", "maxTurns", "maxOutputTokens", "maxRetries"];
        names
            .into_iter()
            .filter(|name| warnings.iter().any(|warning| warning.contains(&format!("`limits.{name}` has no effect"))))
            .collect::<Vec<_>>()
    };
    let rules = "[stream]\nformat = \"json-lines\"\n[[stream.event]]\nturn = true\nerror = { message = \"/e\", retry = true }\n";
    let usage = |end: &str| format!("[[stream.event]]\nusage = {{ counts = \"total\", output = \"/o\", cost-usd = \"/c\" }}\n{end}");
    assert_eq!(unheld("[stream]\nformat = \"none\"\n"), ["maxCostUsd", "maxTurns", "maxOutputTokens", "maxRetries"]);
    assert_eq!(unheld("args = [\"--turns={max-turns}\"]\n[stream]\nformat = \"text\"\n"), ["maxCostUsd", "maxOutputTokens", "maxRetries"]);
    assert_eq!(unheld(rules), ["maxCostUsd", "maxOutputTokens"]);
    assert_eq!(unheld(&format!("{rules}{}", usage(""))), [""; 0]);
    // What comes with the end is too late to hold anything.
    assert_eq!(unheld(&format!("{rules}{}", usage("end = { succeeded = true }\n"))), ["maxCostUsd", "maxOutputTokens"]);
    assert_eq!(unheld("[stream]\nformat = \"codex\"\n"), ["maxCostUsd"]);
    // What the built-in agent is held to by a flag, or tells beside its stream.
    assert_eq!(unheld("[stream]\nformat = \"claude\"\n"), ["maxCostUsd", "maxOutputTokens"]);
    assert_eq!(unheld("[stream]\nformat = \"gemini\"\n"), ["maxCostUsd", "maxOutputTokens", "maxRetries"]);
}

#[test]
fn for_later_what_no_lasting_file_carries_is_told() {
    let text = r#"
args = [["--model", "{model}"], ["--resume", "{resume}"], ["--rules", "{instructions-file}"]]
[config-dir]
default = "{home}/.small"
[[file]]
path = "{config}/config.json"
merge = { effort = "{effort}" }
[plugins]
skills = "{config}/skills"
sub-agents = "{private}/agents"
[mcp]
file = "{config}/mcp.json"
stdio = { command = "{command}" }
http = { url = "{url}" }
sse = { url = "{url}" }
[stream]
format = "none"
"#;
    let lacks = "\"model\", \"effort\", \"endpoint\", \"resume\", \"instructions\", \"skills\", \"sub-agents\", \"mcp-stdio\", \"mcp-http\", \"mcp-sse\"";
    let agent = parse(&small(text).replace(lacks, "\"endpoint\""));
    let mut task = everything();
    task["agent"]["endpoint"] = Value::Null;
    task["limits"] = Value::Null;
    let fields = ["agent.model", "instructions", "pluginDir", "agent.resume", "agent.extraArgs"];
    let told = fields.map(|field| format!("`small` has no file for `{field}`, so whoever starts it has to say it"));
    assert_eq!(plan_in(&agent, &task, &Surroundings { for_later: true, ..surroundings() }).unwrap().warnings, told);
    assert_eq!(plan(&agent, &task).warnings, [""; 0]);
}

#[test]
fn a_fork_of_codex_has_its_ledgers_so_that_earlier_runs_are_not_counted_again() {
    let ledgers = |more: &str| plan(&parse(&small(more)), &json!({"agent": {"type": "x"}, "prompt": "p"})).ledgers;
    let own = ledgers("[config-dir]\ndefault = \"{home}/.fork\"\n[stream]\nformat = \"codex\"\n");
    assert_eq!((own.len(), own[0].dir.as_path()), (1, Path::new("/home/agent/.fork/sessions")));
    assert_eq!(ledgers("[stream]\nformat = \"codex\"\n")[0].dir, Path::new("/home/agent/.codex/sessions"));
    assert_eq!(ledgers("[stream]\nformat = \"claude\"\n"), []);
}

#[test]
fn what_must_not_stand_in_argv_does_not() {
    let endpoint = small("args = [[\"--url\", \"{endpoint}\"]]\n[stream]\nformat = \"none\"\n").replace("\"endpoint\", ", "");
    let agent = parse(&endpoint);
    let task = |url: &str| json!({"agent": {"type": "x", "endpoint": url}, "prompt": "p"});
    assert_eq!(plan(&agent, &task("http://gateway")).args, ["--url", "http://gateway"]);
    assert!(plan_in(&agent, &task("http://user:password@gateway"), &surroundings()).is_err());
    assert!(errors(&small("args = [\"{env:KEY}\"]\n[stream]\nformat = \"none\"\n")).contains("can be seen by every process"));
}

#[test]
fn several_things_go_into_one_file_and_two_sub_agents_of_one_name_do_not() {
    let text = r#"
[environment]
secrets = ["SMITH_KEY"]
[config-dir]
default = "{home}/.small"
[[file]]
path = "{config}/config.toml"
merge = { a = 1, mcp = { strict = true, key = "{env:SMITH_KEY}", gone = "{env:NO_SUCH}" } }
[plugins]
skills = "{config}/skills"
sub-agents = "{config}/agents"
[mcp]
file = "{config}/config.toml"
pointer = "/mcp/servers"
stdio = { command = "{command}", args = "{args}", title = "the {name}" }
[stream]
format = "none"
"#;
    let agent = parse(&small(text).replace("\"skills\", \"sub-agents\", \"mcp-stdio\", ", ""));
    let mut task = everything();
    task["agent"]["endpoint"] = Value::Null;
    insta::assert_snapshot!("one_file", shown(&plan(&agent, &task)));

    let task = Task::from_value(&json!({"agent": {"type": "x"}, "prompt": "p"})).unwrap();
    let plugin = |name: &str| Plugin { name: name.into(), dir: "/p".into(), skills: vec![], agents: [("tailor".into(), vec![])].into() };
    let plugins = [plugin("one"), plugin("two")];
    let error = agent.plan(&PlanRequest { task: &task, surroundings: &surroundings(), plugins: &plugins }).unwrap_err();
    assert!(error[0].problem.contains("would both be installed as `tailor.md`"), "{error:?}");
}

#[test]
fn an_agent_does_not_start_where_the_repository_can_redirect_it() {
    let text = small("[stream]\nformat = \"none\"\n[[repository]]\npath = \".env\"\npower = \"redirects\"\n");
    let agent = parse(&text);
    let held = Surroundings { repository_files: [("sub/.env".into(), RepositoryFile::Other)].into(), ..surroundings() };
    let task = |trust: &str| json!({"agent": {"type": "x"}, "prompt": "p", "trust": trust});
    for trust in ["base", "instructions"] {
        let error = plan_in(&agent, &task(trust), &held).unwrap_err();
        assert!(error[0].problem.contains("`sub/.env`") && error[0].field == "trust");
        assert!(plan_in(&agent, &task(trust), &surroundings()).is_ok());
    }
    assert!(plan_in(&agent, &task("repository"), &held).is_ok());
}

#[test]
fn a_gateway_that_the_agent_cannot_be_given_is_no_warning() {
    let agent = parse(&small("[stream]\nformat = \"none\"\n"));
    let error = plan_in(&agent, &everything(), &surroundings()).unwrap_err();
    assert_eq!(error[0].field, "agent.endpoint");
}

/// The rules that a stranger would write for Claude's stream, against what the built-in reader makes of the same recordings.
#[test]
fn pointers_read_a_recorded_stream_as_the_built_in_reader_does() {
    let text = r#"
[stream]
format = "json-lines"
[[stream.event]]
when = { "/type" = "system", "/subtype" = "init" }
session-id = "/session_id"
model = "/model"
version = "/claude_code_version"
[[stream.event]]
when = { "/type" = "system", "/subtype" = "api_retry" }
error = { message = "/error", status = "/error_status", retry = true }
[[stream.event]]
when = { "/type" = "assistant" }
each = "/message/content"
when-item = { "/type" = "text" }
text = "/text"
[[stream.event]]
when = { "/type" = "assistant" }
each = "/message/content"
when-item = { "/type" = "tool_use" }
tool-call = { id = "/id", name = "/name", input = "/input" }
[[stream.event]]
when = { "/type" = "assistant" }
usage = { counts = "each", once-per = "/message/id", input = "/message/usage/input_tokens", cache-read = "/message/usage/cache_read_input_tokens", cache-write = "/message/usage/cache_creation_input_tokens", input-has-cache = false, output = "/message/usage/output_tokens" }
[[stream.event]]
when = { "/type" = "user" }
each = "/message/content"
when-item = { "/type" = "tool_result" }
tool-result = { id = "/tool_use_id", output = "/content", failed = "/is_error" }
[[stream.event]]
when = { "/type" = "result" }
usage = { counts = "total", cost-usd = "/total_cost_usd", input = "/usage/input_tokens", cache-read = "/usage/cache_read_input_tokens", cache-write = "/usage/cache_creation_input_tokens", input-has-cache = false, output = "/usage/output_tokens" }
[[stream.event]]
when = { "/type" = "result", "/is_error" = false }
end = { succeeded = true, message = "/result" }
[[stream.event]]
when = { "/type" = "result", "/is_error" = true }
end = { succeeded = false, message = "/result", status = "/api_error_status" }
[[reason]]
text = "unable to connect"
reason = "NetworkFailed"
"#;
    let agent = parse(&small(text));
    let like = parse(&small("[stream]\nformat = \"claude\"\n"));
    for recording in ["success", "err401-max2", "err429-max2", "err403"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/claude-2.1.197/{recording}.jsonl"));
        let lines = std::fs::read_to_string(path).unwrap();
        let (ours, events) = read(&agent, &lines);
        let (theirs, their_events) = read(&Claude, &lines);
        assert_eq!(ours.usage, theirs.usage, "{recording}");
        assert_eq!(
            (&ours.session_id, &ours.model, &ours.agent_version),
            (&theirs.session_id, &theirs.model, &theirs.agent_version),
            "{recording}"
        );
        assert_eq!(ours.tool_open, theirs.tool_open, "{recording}");
        let end = |summary: &StreamSummary| summary.end.clone().map(|end| (end.succeeded, end.reason));
        assert_eq!(end(&ours), end(&theirs), "{recording}");
        let calls = |events: &[Event]| {
            events.iter().filter(|event| matches!(event, Event::ToolCall { .. } | Event::ToolResult { .. })).cloned().collect::<Vec<_>>()
        };
        assert_eq!(calls(&events), calls(&their_events), "{recording}");
        // A format by name is the built-in reader itself.
        assert_eq!(read(&like, &lines), (theirs, their_events), "{recording}");
    }
}

#[test]
fn pieces_of_a_text_are_joined_and_idle_steps_counted() {
    let text = "[stream]\nformat = \"json-lines\"\n[[stream.event]]\nhas = [\"/t\"]\ntext = \"/t\"\ndelta = true\n[[stream.event]]\nhas = [\"/u\"]\nturn = true\nusage = { counts = \"each\", input = \"/u\" }\n";
    let agent = parse(&small(text));
    let summary = read(&agent, "{\"t\":\"a\"}\n{\"t\":\"b\"}\n{\"u\":5}\n{\"t\":\"c\"}\n{\"t\":\"d\"}\n{\"u\":0}\n{\"u\":0}\n{}\nx\n\n").0;
    assert_eq!(summary.answer.as_deref(), Some("cd"));
    assert_eq!((summary.turns, summary.empty_steps, summary.usage.input_tokens), (Some(3), 2, Some(5)));
    assert_eq!((summary.unknown_lines, summary.malformed_lines), (1, 1));
    // An agent that tells no tokens, but says something at each step.
    assert_eq!(read(&agent, &"{\"t\":\"a\"}\n{\"u\":0}\n".repeat(30)).0.empty_steps, 1);
}

#[test]
fn a_deeply_nested_neighbour_costs_no_usage() {
    let text = "[stream]\nformat = \"json-lines\"\n[[stream.event]]\nhas = [\"/u\"]\nusage = { counts = \"each\", input = \"/u\" }\n";
    let line = format!("{{\"arguments\":{}{},\"u\":5}}\n", "[".repeat(1000), "]".repeat(1000));
    let summary = read(&parse(&small(text)), &line).0;
    assert_eq!((summary.usage.input_tokens, summary.malformed_lines), (Some(5), 0));
}

#[test]
fn the_last_row_that_fits_is_the_reason() {
    let agent = guide();
    let problem = |status: u16, message: &str| json!({"type": "problem", "http": status, "message": message}).to_string();
    let failed = |lines: &str| format!("{lines}\n{{\"type\":\"bye\",\"ok\":false}}");
    assert_eq!(judged(&agent, &failed(&problem(401, "no")), 1, ""), Some((Reason::AuthenticationFailed, "no".into())));
    assert_eq!(reason(&agent, &failed(&problem(429, "slow down")), 1, ""), Some(Reason::RateLimited));
    for status in [408, 500, 502, 504, 520, 524] {
        assert_eq!(reason(&agent, &failed(&problem(status, "no")), 1, ""), Some(Reason::ServerError), "{status}");
    }
    let named = |message: &str| failed(&json!({"type": "problem", "message": message}).to_string());
    assert_eq!(reason(&agent, &named("Bad Gateway"), 1, ""), Some(Reason::ServerError));
    assert_eq!(reason(&agent, &named("exit status 502"), 1, ""), Some(Reason::AgentFailed));
    assert_eq!(reason(&agent, &failed(&problem(418, "Too many STEPS")), 1, ""), Some(Reason::TurnLimit));
    assert_eq!(reason(&agent, &failed(&problem(418, "tea")), 1, ""), Some(Reason::AgentFailed));
    // What the stream does not say, code and stderr may.
    assert_eq!(judged(&agent, "", 7, "warming up\nno licence\n"), Some((Reason::AuthenticationFailed, "no licence".into())));
    assert_eq!(judged(&agent, "", 1, "oh\n"), Some((Reason::AgentFailed, "oh".into())));
    assert_eq!(reason(&agent, &problem(500, "down"), 1, ""), Some(Reason::ServerError));
    // It never said that it was done.
    assert_eq!(reason(&agent, "", 0, ""), Some(Reason::TruncatedStream));
    // It says that it is done: what it said before and its code are no matter.
    assert_eq!(reason(&agent, &format!("{}\n{{\"type\":\"bye\",\"ok\":true}}", problem(500, "once")), 7, ""), Some(Reason::Completed));
}

#[test]
fn without_a_stream_the_code_is_the_word_unless_a_row_says_otherwise() {
    let text = "[stream]\nformat = \"none\"\n[[reason]]\nexit = 0\ntext = \"gave up\"\nreason = \"Stalled\"\n[[reason]]\ntext = \"401\"\nreason = \"AuthenticationFailed\"\n";
    let agent = parse(&small(text));
    assert_eq!(reason(&agent, "anything at all", 0, "fine"), None);
    assert_eq!(reason(&agent, "", 0, "GET / 401"), None);
    assert_eq!(judged(&agent, "", 0, "I gave up"), Some((Reason::Stalled, "I gave up".into())));
    assert_eq!(reason(&agent, "", 1, "GET / 401"), Some(Reason::AuthenticationFailed));
}

#[test]
fn what_never_ends_is_told_of_the_last_line() {
    for text in ["name = \"\"\"x\ny\n", "name = \"\"\"x\ny"] {
        let errors = ManifestAgent::parse(text).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [Some(2)], "{text:?}: {errors:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = ManifestAgent::parse(&text);
    }

    /// Near misses of a right one: the places where a parser thinks that it knows what comes.
    #[test]
    fn no_damage_makes_the_parser_panic(at in 0usize..4000, length in 0usize..40, with in "[\\PC\n\"{}\\[\\]=.|~]{0,12}") {
        let text = of_the_guide("toml manifest");
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let end = (0..=(at + length).min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap().max(at);
        let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
        match ManifestAgent::parse(&damaged) {
            // What passed the check can be planned, whatever is in it.
            Ok(agent) => { let _ = plan_in(&agent, &everything(), &surroundings()); }
            Err(errors) => prop_assert!(errors.iter().all(|error| error.line.is_none_or(|line| line <= damaged.lines().count().max(1)))),
        }
    }

    #[test]
    fn no_line_makes_the_reader_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20), kind in "(hello|say|call|called|step|problem|bye)", number in any::<f64>(), text in "\\PC{0,20}") {
        let agent = guide();
        let mut reader = agent.reader(Detail::Full);
        for line in &lines {
            reader.read_line(line, &mut |_| ());
        }
        let odd = json!({"type": kind, "session": number, "text": [text], "tool": text, "tokens": {"prompt": number, "cached": -1, "generated": text}, "http": number, "message": {"a": text}, "ok": number > 0.0, "why": null});
        reader.read_line(odd.to_string().as_bytes(), &mut |_| ());
        let seen = Seen { stream: reader.summary(), process: ProcessEnd::Exited(1), stderr_tail: &text };
        let _ = agent.judge(&seen);
    }
}

/// The manifests that come with the project.
fn of_the_project(name: &str) -> ManifestAgent {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/agents");
    parse(&std::fs::read_to_string(dir.join(format!("{name}.toml"))).unwrap())
}

#[test]
fn the_projects_manifests_are_right_and_named_as_their_files() {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/agents")).unwrap();
    let names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().trim_end_matches(".toml").to_owned()).collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let agent = of_the_project(&name);
        assert_eq!(agent.name(), name);
        assert!(!agent.held_against().is_empty(), "{name}");
        plan(&agent, &everything());
    }
}

#[test]
fn the_projects_manifests_read_recorded_streams() {
    let recordings = [
        ("qwen", "0.24.4", "success", Reason::Completed, Some((2430, 110))),
        ("qwen", "0.24.4", "http-401", Reason::AuthenticationFailed, Some((0, 0))),
        ("qwen", "0.24.4", "context-too-long", Reason::ContextWindowExceeded, Some((0, 0))),
        ("copilot", "1.0.102", "success", Reason::Completed, Some((2430, 110))),
        ("copilot", "1.0.102", "http-401", Reason::AuthenticationFailed, None),
    ];
    for (name, version, recording, expected, tokens) in recordings {
        let agent = of_the_project(name);
        let file =
            |ending: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}-{version}/{recording}{ending}"));
        let mut reader = agent.reader(Detail::Full);
        let lines = std::fs::read_to_string(file(".jsonl")).unwrap();
        lines.lines().for_each(|line| reader.read_line(line.as_bytes(), &mut |_| ()));
        // What another run left there before counts for nothing.
        for line in std::fs::read_to_string(file(".ledger.jsonl")).unwrap_or_default().lines() {
            for earlier in [true, false] {
                let entry = LedgerEntry { ledger: 0, file: Path::new("x/events.jsonl"), earlier, content: line.as_bytes() };
                reader.read_ledger(&entry, &mut |_| ());
            }
        }
        let stream = reader.summary();
        let at = format!("{name} {recording}: {stream:#?}");
        assert_eq!((stream.unknown_lines, stream.malformed_lines), (0, 0), "{at}");
        assert_eq!(stream.usage.input_tokens.zip(stream.usage.output_tokens), tokens, "{at}");
        assert!(stream.session_id.is_some() && stream.model.is_some(), "{at}");
        let code = u8::from(expected != Reason::Completed);
        let finding = agent.judge(&Seen { stream, process: ProcessEnd::Exited(code), stderr_tail: "" }).unwrap();
        assert_eq!(finding.reason, expected, "{at}");
    }
}
