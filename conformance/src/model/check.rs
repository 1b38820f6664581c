//! Whether a scenario that parses can be played. Everything that could go wrong in mid-run is found here, all at once,
//! each with its place in the file.

use serde_json::Value;

use super::scenario::{Block, Fault, Reply, Scenario, Stop, Turn, Usage};
use super::template;

/// What is wrong with `scenario`, each fault with its place; empty if it can be played.
pub fn faults(scenario: &Scenario) -> Vec<String> {
    let mut faults = Vec::new();
    let speakable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if scenario.name.is_empty() || !scenario.name.chars().all(speakable) {
        faults.push(format!("name `{}`: letters, digits, `-`, `_`, `.` only, for it stands in paths", scenario.name));
    }
    for name in scenario.parameters.keys().filter(|name| template::RESERVED.contains(&name.as_str())) {
        faults.push(format!("parameters.{name}: the server sets this name itself"));
    }
    check_usage("auxiliary", &scenario.auxiliary.usage, &mut faults);
    check_template(scenario, "auxiliary.text", &scenario.auxiliary.text, &mut faults);
    check_turns(scenario, "turns", &scenario.turns, &mut faults);
    for (index, subagent) in scenario.subagents.iter().enumerate() {
        let place = format!("subagents[{index}]");
        if subagent.prompt.is_empty() {
            faults.push(format!("{place}.prompt: empty, so it would take the main conversation for the sub-agent's"));
        }
        check_template(scenario, &format!("{place}.prompt"), &subagent.prompt, &mut faults);
        check_turns(scenario, &format!("{place}.turns"), &subagent.turns, &mut faults);
    }
    faults
}

fn check_turns(scenario: &Scenario, place: &str, turns: &[Turn], faults: &mut Vec<String>) {
    if turns.is_empty() {
        faults.push(format!("{place}: none; there must be at least one"));
    }
    for (index, turn) in turns.iter().enumerate() {
        let place = format!("{place}[{index}]");
        match (&turn.reply, &turn.fault) {
            (None, None) => faults.push(format!("{place}: has neither a `reply` nor a `fault`")),
            (Some(_), Some(_)) => faults.push(format!("{place}: has a `reply` and a `fault`; make it two turns")),
            (Some(reply), None) => check_reply(scenario, &place, reply, faults),
            (None, Some(fault)) => check_fault(scenario, &place, fault, faults),
        }
        if turn.times == Some(0) {
            faults.push(format!("{place}.times: 0 would never be played; leave the turn out"));
        }
        if turn.times.is_some() && turn.forever {
            faults.push(format!("{place}: has both `times` and `forever`"));
        }
        if turn.delivery.pace.is_some_and(|pace| pace.bytes == 0) {
            faults.push(format!("{place}.delivery.pace.bytes: 0 would never end; for that use an interrupt by `silence`"));
        }
        if turn.fault.is_some() && turn.delivery.interrupt.is_some() {
            faults.push(format!("{place}.delivery.interrupt: only a `reply` can be interrupted"));
        }
        if turn.forever && index + 1 < turns.len() {
            faults.push(format!("{place}.forever: the turns after it are never played"));
        }
    }
}

fn check_reply(scenario: &Scenario, place: &str, reply: &Reply, faults: &mut Vec<String>) {
    check_usage(&format!("{place}.reply"), &reply.usage, faults);
    if reply.stop == Some(Stop::ToolUse) && !reply.calls() {
        faults.push(format!("{place}.reply.stop: `tool-use`, and no tool is called"));
    }
    for (index, block) in reply.content.iter().enumerate() {
        let place = format!("{place}.reply.content[{index}]");
        let empty = Value::Null;
        let (texts, input): (Vec<&str>, &Value) = match block {
            Block::Text(text) | Block::Thinking(text) | Block::Shell(text) | Block::Subagent(text) => (vec![text], &empty),
            Block::Tool(call) => (vec![&call.name], &call.input),
            Block::Mcp(call) => (vec![&call.tool, call.server.as_deref().unwrap_or("")], &call.input),
        };
        for text in texts {
            check_template(scenario, &place, text, faults);
        }
        if !input.is_null() && !input.is_object() {
            faults.push(format!("{place}.input: must be an object"));
        }
        template::each_string(input, &mut |text| check_template(scenario, &place, text, faults));
    }
}

fn check_fault(scenario: &Scenario, place: &str, fault: &Fault, faults: &mut Vec<String>) {
    if let Fault::Status(status) = fault {
        if !(400..=599).contains(&status.code) {
            faults.push(format!("{place}.fault.status.code: {} is not an error; 400 to 599", status.code));
        }
        check_template(scenario, place, status.message.as_deref().unwrap_or(""), faults);
    }
}

fn check_usage(place: &str, usage: &Usage, faults: &mut Vec<String>) {
    if usage.reasoning > usage.output {
        faults.push(format!("{place}.usage: reasoning {} is more than the output {} that it is a part of", usage.reasoning, usage.output));
    }
}

fn check_template(scenario: &Scenario, place: &str, text: &str, faults: &mut Vec<String>) {
    for name in template::names(text) {
        if !scenario.parameters.contains_key(name) && !template::RESERVED.contains(&name) {
            faults.push(format!("{place}: `{{{{{name}}}}}` is no parameter of this scenario"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_senseless_scenario_is_told_at_once() {
        let scenario = Scenario::from_toml(
            r#"
            name = "a/b"
            [[turns]]
            times = 0
            [[turns]]
            forever = true
            fault = { status = { code = 200 } }
            [[turns]]
            reply = { content = [{ text = "{{who}}" }], usage = { input = 1, output = 1, reasoning = 2 }, stop = "tool-use" }
            delivery = { pace = { bytes = 0, every-ms = 1 } }
            [[turns]]
            reply = { content = [{ tool = { name = "x", input = { deep = ["{{nobody}}"] } } }], usage = { input = 1, output = 1 } }
            "#,
        );
        let error = scenario.expect_err("makes no sense").to_string();
        for wanted in [
            "name `a/b`",
            "turns[0]: has neither",
            "turns[0].times: 0",
            "turns[1].forever",
            "turns[1].fault.status.code: 200",
            "`{{who}}`",
            "reasoning 2",
            "turns[2].reply.stop",
            "turns[2].delivery.pace.bytes",
            "`{{nobody}}`",
        ] {
            assert!(error.contains(wanted), "`{wanted}` is missing in:\n{error}");
        }
    }
}
