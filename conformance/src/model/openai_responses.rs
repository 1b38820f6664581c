//! OpenAI Responses, as Codex (and others with OpenAI's SDKs) need it.
//!
//! The format is <https://platform.openai.com/docs/api-reference/responses-streaming>. On this wire `input_tokens`
//! includes the cache's tokens, the reasoning is counted, and the whole usage comes with the last event: an answer that is
//! cut before it has told no price at all.
//!
//! Tools have three forms. A *function* takes JSON, a *custom* tool takes text; a *namespace* holds functions and custom
//! tools, and a call names it beside the tool. A request offers them in `tools`, and in the items `additional_tools` and
//! `tool_search_output` of its input (what a search of deferred tools has found). Here a tool of a namespace is named
//! `namespace.tool`, which no plain name can be, and a call whose input is text is one of a custom tool.

use std::collections::BTreeSet;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::openai;
use super::protocol::{Answer, Ask, Call, Piece, Protocol, Said, Told, part_size, text_parts};
use super::scenario::{Fault, Stop, Usage};
use super::tools::{OfferedTool, START_BESIDE, WAIT_FOR};

/// The namespace of tools that have none.
const PLAIN_NAMESPACE: &str = "functions";

/// The protocol of `/v1/responses`.
pub struct OpenAiResponses;

impl Protocol for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn read(&self, method: &Method, path: &str, body: &[u8]) -> Option<Call> {
        match (method, path) {
            (&Method::POST, "/v1/responses") => Some(read_body(body, read_ask)),
            (&Method::POST, "/v1/responses/input_tokens") => {
                Some(read_body(body, |request| Call::CountTokens { model: text_of(&request["model"]) }))
            }
            // Codex' built-in provider asks for a WebSocket first. Told 426 it goes on by HTTP at once; told anything else it
            // asks six times more, for as many seconds.
            (&Method::GET, "/v1/responses") => Some(Call::Upgrade),
            _ => None,
        }
    }

    fn stream(&self, answer: &Answer) -> Vec<Piece> {
        let mut events = Events::default();
        let begun = response(answer, "in_progress", &[], None);
        events.push("response.created", json!({"response": begun}));
        events.push("response.in_progress", json!({"response": begun}));
        for (index, said) in answer.content.iter().enumerate() {
            item_events(&mut events, answer, index, said);
        }
        let (status, last) = ending(answer.stop);
        let response = response(answer, status, &items(answer), Some(answer.usage));
        events.push(last, json!({"response": response}));
        if let Some(piece) = events.pieces.last_mut() {
            piece.told = Some(Told { usage: answer.usage, last: true });
        }
        events.pieces
    }

    fn whole(&self, answer: &Answer) -> Piece {
        let (status, _) = ending(answer.stop);
        let response = response(answer, status, &items(answer), Some(answer.usage));
        Piece { bytes: response.to_string().into(), told: Some(Told { usage: answer.usage, last: true }) }
    }

    fn token_count(&self, tokens: u64) -> Bytes {
        json!({"object": "response.input_tokens", "input_tokens": tokens}).to_string().into()
    }

    fn fault(&self, fault: &Fault) -> Option<(u16, String)> {
        openai::fault(fault)
    }

    /// A prompt that is too long is found out when the answer has begun.
    fn streamed_fault(&self, fault: &Fault, model: &str) -> Option<Vec<Piece>> {
        let (Fault::ContextLength(_), Some((status, message))) = (fault, openai::fault(fault)) else { return None };
        let answer = Answer {
            id: "failed".into(),
            model: model.into(),
            content: Vec::new(),
            stop: Stop::EndTurn,
            usage: Usage::default(),
            stream_usage: true,
        };
        let mut events = Events::default();
        events.push("response.created", json!({"response": response(&answer, "in_progress", &[], None)}));
        let mut failed = response(&answer, "failed", &[], None);
        failed["error"] = streamed_error(status, &message);
        events.push("response.failed", json!({"response": failed}));
        Some(events.pieces)
    }

    fn error(&self, status: u16, message: &str, _request_id: &str) -> Bytes {
        openai::error(status, message)
    }

    fn overloaded_event(&self) -> Bytes {
        let (status, message) = openai::overloaded();
        let response = json!({"id": "resp_failed", "object": "response", "status": "failed", "error": streamed_error(status, message)});
        event("response.failed", json!({"response": response}))
    }
}

/// Within a stream an error has no type.
fn streamed_error(status: u16, message: &str) -> Value {
    json!({"code": openai::error_fields(status, message)["code"], "message": message})
}

fn read_body(body: &[u8], read: impl FnOnce(&Value) -> Call) -> Call {
    match serde_json::from_slice::<Value>(body) {
        Ok(request) if request["model"].is_string() => read(&request),
        Ok(_) => Call::Malformed("Missing required parameter: 'model'.".into()),
        Err(error) => Call::Malformed(format!("We could not parse the JSON body of your request: {error}")),
    }
}

fn read_ask(request: &Value) -> Call {
    let (items, first_prompt) = match &request["input"] {
        Value::String(text) => (&[][..], text.clone()),
        Value::Array(items) => (items.as_slice(), first_prompt(items)),
        _ => return Call::Malformed("Missing required parameter: 'input'.".into()),
    };
    let mut tools = Vec::new();
    add_tools(&request["tools"], None, &mut tools);
    for item in items.iter().filter(|item| item["type"] == "additional_tools" || item["type"] == "tool_search_output") {
        add_tools(&item["tools"], None, &mut tools);
    }
    let starts = starts(items, &tools);
    Call::Ask(Ask {
        model: text_of(&request["model"]),
        stream: request["stream"] == true,
        stream_usage: true,
        tools,
        rounds: rounds(items, &starts),
        started: started(items, &starts),
        first_prompt,
        max_output: request["max_output_tokens"].as_u64(),
        schema: request["text"]["format"].get("schema").cloned(),
    })
}

/// The tools of one list; a namespace's are named with it.
fn add_tools(list: &Value, namespace: Option<&str>, tools: &mut Vec<OfferedTool>) {
    for tool in list.as_array().map(Vec::as_slice).unwrap_or_default() {
        let kind = tool["type"].as_str().unwrap_or_default();
        // What the provider itself runs has a type and no name.
        let name = tool["name"].as_str().unwrap_or(kind);
        if kind == "namespace" {
            add_tools(&tool["tools"], Some(name).filter(|name| *name != PLAIN_NAMESPACE), tools);
            continue;
        }
        let name = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"));
        tools.push(OfferedTool { name, schema: tool["parameters"].clone() });
    }
}

/// The ids of the calls that started a sub-agent which must then be waited for by its name.
fn starts<'a>(items: &'a [Value], tools: &[OfferedTool]) -> BTreeSet<&'a str> {
    if tools.iter().all(|tool| tool.name != WAIT_FOR) {
        return BTreeSet::new();
    }
    let is_start = |item: &&Value| format!("{}.{}", text_of(&item["namespace"]), text_of(&item["name"])) == START_BESIDE;
    items.iter().filter(is_start).filter_map(|item| item["call_id"].as_str()).collect()
}

/// The sub-agent whose start is the last that happened.
fn started(items: &[Value], starts: &BTreeSet<&str>) -> Option<String> {
    let result = items.last().filter(|item| item["call_id"].as_str().is_some_and(|id| starts.contains(id)))?;
    let result: Value = serde_json::from_str(result["output"].as_str()?).ok()?;
    result["agent_id"].as_str().map(str::to_owned)
}

/// The answers whose calls have results. Which answer a call was in stands in the ids that are given here; an answer that only
/// searched for a tool is no round, since the agent asks again with what it found, and neither is one that only started what
/// is then waited for.
fn rounds(items: &[Value], starts: &BTreeSet<&str>) -> usize {
    let results = items.iter().filter(|item| item["type"] == "function_call_output" || item["type"] == "custom_tool_call_output");
    let ids = results.filter_map(|item| item["call_id"].as_str()).filter(|id| !starts.contains(id));
    ids.map(|id| id.rsplit_once('_').map_or(id, |(answer, _)| answer)).collect::<BTreeSet<_>>().len()
}

/// What is said to the model before it first says anything: agents put remarks of their own into messages of the user too, and a
/// sub-agent's task is a message of the agent that started it.
fn first_prompt(items: &[Value]) -> String {
    let is_heard = |item: &&Value| item["type"] == "agent_message" || item["role"].is_string() && item["role"] != "assistant";
    let is_asked = |item: &&Value| item["type"] == "agent_message" || item["role"] == "user";
    let texts: Vec<String> = items.iter().take_while(is_heard).filter(is_asked).map(message_text).collect();
    texts.join("\n")
}

fn message_text(message: &Value) -> String {
    let part_text = |part: &Value| ["text", "encrypted_content"].iter().find_map(|field| Some(part[*field].as_str()?.to_owned()));
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part_text).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The status of a response that ends so, and its last event.
fn ending(stop: Stop) -> (&'static str, &'static str) {
    match stop {
        Stop::MaxTokens => ("incomplete", "response.incomplete"),
        Stop::EndTurn | Stop::ToolUse | Stop::Refusal => ("completed", "response.completed"),
    }
}

fn response(answer: &Answer, status: &str, output: &[Value], usage: Option<Usage>) -> Value {
    let incomplete = (status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
    json!({
        "id": format!("resp_{}", answer.id),
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": null,
        "incomplete_details": incomplete,
        "model": answer.model,
        "output": output,
        "usage": usage.map(wire_usage),
    })
}

/// The prompt's tokens with the cache's among them. Newer answers say what was written to the cache, too.
fn wire_usage(usage: Usage) -> Value {
    let input = usage.input + usage.cache_read + usage.cache_write;
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input + usage.output,
    })
}

/// The items of an answer, whole.
fn items(answer: &Answer) -> Vec<Value> {
    answer.content.iter().enumerate().map(|(index, said)| item(answer, index, said, "completed")).collect()
}

fn item(answer: &Answer, index: usize, said: &Said, status: &str) -> Value {
    let id = |kind: &str| format!("{kind}_{}_{index}", answer.id);
    match said {
        Said::Text(text) => {
            json!({"type": "message", "id": id("msg"), "role": "assistant", "status": status, "content": [text_part(answer, text)]})
        }
        Said::Thinking(text) => json!({"type": "reasoning", "id": id("rs"), "summary": [{"type": "summary_text", "text": text}],
            "encrypted_content": format!("c2NyaXB0ZWQ{}", answer.id.replace('_', ""))}),
        Said::Call { name, input } if name == "tool_search" => {
            json!({"type": "tool_search_call", "id": id("ts"), "call_id": id("call"), "execution": "client", "status": status, "arguments": input})
        }
        Said::Call { name, input } => {
            let (namespace, name) = name.split_once('.').map_or((None, name.as_str()), |(namespace, name)| (Some(namespace), name));
            let mut call = match input {
                Value::String(text) => json!({"type": "custom_tool_call", "id": id("ctc"), "input": text}),
                input => json!({"type": "function_call", "id": id("fc"), "arguments": input.to_string()}),
            };
            call["call_id"] = json!(id("call"));
            call["name"] = json!(name);
            call["status"] = json!(status);
            if let Some(namespace) = namespace {
                call["namespace"] = json!(namespace);
            }
            call
        }
    }
}

/// Text is said or, where the model refuses, refused.
fn text_part(answer: &Answer, text: &str) -> Value {
    match answer.stop {
        Stop::Refusal => json!({"type": "refusal", "refusal": text}),
        _ => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
    }
}

/// The events of one item: it is added empty, filled, and done.
fn item_events(events: &mut Events, answer: &Answer, index: usize, said: &Said) {
    let whole = item(answer, index, said, "completed");
    let mut empty = item(answer, index, said, "in_progress");
    for (list, nothing) in [("content", json!([])), ("summary", json!([])), ("arguments", json!("")), ("input", json!(""))] {
        if !empty[list].is_null() && empty["type"] != "tool_search_call" {
            empty[list] = nothing;
        }
    }
    let at = json!({"item_id": whole["id"], "output_index": index});
    let with = |more: Value| merged(&at, more);
    events.push("response.output_item.added", json!({"output_index": index, "item": empty}));
    match said {
        Said::Text(text) => {
            let refused = answer.stop == Stop::Refusal;
            let (delta, done, field) = if refused {
                ("response.refusal.delta", "response.refusal.done", "refusal")
            } else {
                ("response.output_text.delta", "response.output_text.done", "text")
            };
            let nothing = text_part(answer, "");
            events.push("response.content_part.added", with(json!({"content_index": 0, "part": nothing})));
            for part in parts_of(text) {
                events.push(delta, with(json!({"content_index": 0, "delta": part})));
            }
            events.push(done, with(json!({"content_index": 0, field: text})));
            events.push("response.content_part.done", with(json!({"content_index": 0, "part": text_part(answer, text)})));
        }
        Said::Thinking(text) => {
            let part = |text: &str| json!({"type": "summary_text", "text": text});
            events.push("response.reasoning_summary_part.added", with(json!({"summary_index": 0, "part": part("")})));
            for text in parts_of(text) {
                events.push("response.reasoning_summary_text.delta", with(json!({"summary_index": 0, "delta": text})));
            }
            events.push("response.reasoning_summary_text.done", with(json!({"summary_index": 0, "text": text})));
            events.push("response.reasoning_summary_part.done", with(json!({"summary_index": 0, "part": part(text)})));
        }
        Said::Call { name, .. } if name == "tool_search" => {}
        Said::Call { input: Value::String(text), .. } => {
            for part in parts_of(text) {
                events.push("response.custom_tool_call_input.delta", with(json!({"delta": part})));
            }
            events.push("response.custom_tool_call_input.done", with(json!({"input": text})));
        }
        Said::Call { input, .. } => {
            let text = input.to_string();
            for part in parts_of(&text) {
                events.push("response.function_call_arguments.delta", with(json!({"delta": part})));
            }
            events.push("response.function_call_arguments.done", with(json!({"arguments": text})));
        }
    }
    events.push("response.output_item.done", json!({"output_index": index, "item": whole}));
}

fn merged(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text_parts(text, part_size(text.len())).into_iter()
}

/// Events, numbered as they are sent.
#[derive(Default)]
struct Events {
    pieces: Vec<Piece>,
}

impl Events {
    fn push(&mut self, name: &str, mut data: Value) {
        data["sequence_number"] = json!(self.pieces.len());
        self.pieces.push(Piece { bytes: event(name, data), told: None });
    }
}

/// One server-sent event; its data repeats its name as `type`.
fn event(name: &str, mut data: Value) -> Bytes {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{ContextLength, Credit};
    use super::*;

    const USAGE: Usage = Usage { input: 1000, output: 50, cache_read: 200, cache_write: 30, reasoning: 10 };

    fn answer(content: Vec<Said>, stop: Stop) -> Answer {
        Answer { id: "abc_1".into(), model: "gpt-x".into(), content, stop, usage: USAGE, stream_usage: true }
    }

    /// Takes the bytes apart exactly as they must be framed: `event: NAME\ndata: JSON\n\n`, nothing between or after, and numbered.
    fn events(pieces: &[Piece]) -> Vec<Value> {
        let parse = |(number, piece): (usize, &Piece)| {
            let text = std::str::from_utf8(&piece.bytes).unwrap();
            let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
            let data = data.strip_suffix("\n\n").unwrap();
            assert!(!data.contains('\n'), "a line break would end the data: {data}");
            let mut data: Value = serde_json::from_str(data).unwrap();
            assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
            data.as_object_mut().unwrap().remove("sequence_number");
            data
        };
        pieces.iter().enumerate().map(parse).collect()
    }

    fn types(pieces: &[Piece]) -> Vec<String> {
        events(pieces).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn text_and_a_tool_call_stream_as_these_events() {
        let call = Said::Call { name: "exec_command".into(), input: json!({"cmd": "git commit\n-m 'ü'"}) };
        let pieces = OpenAiResponses.stream(&answer(vec![Said::Text("Hi".into()), call], Stop::ToolUse));
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
        let message = |status: &str, content: Value| json!({"type": "message", "id": "msg_abc_1_0", "role": "assistant", "status": status, "content": content});
        let call = |status: &str, arguments: &str| {
            json!({"type": "function_call", "id": "fc_abc_1_1", "call_id": "call_abc_1_1", "name": "exec_command",
            "status": status, "arguments": arguments})
        };
        let (text, tool) = (json!({"item_id": "msg_abc_1_0", "output_index": 0}), json!({"item_id": "fc_abc_1_1", "output_index": 1}));
        let arguments = r#"{"cmd":"git commit\n-m 'ü'"}"#;
        let at = |of: &Value, name: &str, more: Value| merged(&merged(of, json!({"type": name})), more);
        let wanted = [
            json!({"type": "response.output_item.added", "output_index": 0, "item": message("in_progress", json!([]))}),
            at(&text, "response.content_part.added", json!({"content_index": 0, "part": part("")})),
            at(&text, "response.output_text.delta", json!({"content_index": 0, "delta": "Hi"})),
            at(&text, "response.output_text.done", json!({"content_index": 0, "text": "Hi"})),
            at(&text, "response.content_part.done", json!({"content_index": 0, "part": part("Hi")})),
            json!({"type": "response.output_item.done", "output_index": 0, "item": message("completed", json!([part("Hi")]))}),
            json!({"type": "response.output_item.added", "output_index": 1, "item": call("in_progress", "")}),
            at(&tool, "response.function_call_arguments.delta", json!({"delta": r#"{"cmd":"git commit\n"#})),
            at(&tool, "response.function_call_arguments.delta", json!({"delta": r#"-m 'ü'"}"#})),
            at(&tool, "response.function_call_arguments.done", json!({"arguments": arguments})),
            json!({"type": "response.output_item.done", "output_index": 1, "item": call("completed", arguments)}),
        ];
        let events = events(&pieces);
        assert_eq!(events[2..events.len() - 1], wanted);
        let (first, last) = (&events[0], &events[events.len() - 1]);
        assert_eq!((&first["type"], &first["response"]["usage"]), (&json!("response.created"), &Value::Null));
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.completed"), &json!("completed")));
        assert_eq!(last["response"]["output"].as_array().unwrap().len(), 2);
        let usage = json!({"input_tokens": 1230, "input_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 30},
            "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 1280});
        assert_eq!(last["response"]["usage"], usage);
    }

    #[test]
    fn the_whole_price_is_told_by_the_last_event_alone() {
        for stop in [Stop::EndTurn, Stop::MaxTokens, Stop::Refusal] {
            let pieces = OpenAiResponses.stream(&answer(vec![Said::Thinking("hm".into()), Said::Text("no".into())], stop));
            let told: Vec<usize> = (0..pieces.len()).filter(|&index| pieces[index].told.is_some()).collect();
            assert_eq!(told, [pieces.len() - 1]);
            assert_eq!(pieces[told[0]].told, Some(Told { usage: USAGE, last: true }));
        }
    }

    #[test]
    fn each_end_is_said_in_its_own_way() {
        let said = |stop| OpenAiResponses.stream(&answer(vec![Said::Text("no".into())], stop));
        let incomplete = said(Stop::MaxTokens);
        let last = events(&incomplete).pop().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.incomplete"), &json!("incomplete")));
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
        let refused = said(Stop::Refusal);
        assert!(types(&refused).contains(&"response.refusal.delta".into()));
        assert_eq!(events(&refused).pop().unwrap()["response"]["output"][0]["content"], json!([{"type": "refusal", "refusal": "no"}]));
    }

    #[test]
    fn a_call_has_the_form_of_its_tool() {
        let call = |name: &str, input: Value| {
            let answer = answer(vec![Said::Call { name: name.into(), input }], Stop::ToolUse);
            serde_json::from_slice::<Value>(&OpenAiResponses.whole(&answer).bytes).unwrap()["output"][0].clone()
        };
        let custom = call("exec", json!("text(1)"));
        assert_eq!((&custom["type"], &custom["input"]), (&json!("custom_tool_call"), &json!("text(1)")));
        let inner = call("mcp__probe.echo", json!({"text": "x"}));
        assert_eq!((&inner["type"], &inner["namespace"], &inner["name"]), (&json!("function_call"), &json!("mcp__probe"), &json!("echo")));
        assert_eq!(inner["arguments"], r#"{"text":"x"}"#);
        let search = call("tool_search", json!({"query": "echo"}));
        assert_eq!((&search["type"], &search["arguments"]), (&json!("tool_search_call"), &json!({"query": "echo"})));
    }

    #[test]
    fn tools_are_found_wherever_they_are_offered() {
        let function = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
        let request = json!({"model": "m", "stream": true, "tools": [function("one"), {"type": "web_search"}], "input": [
            {"type": "additional_tools", "tools": [{"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]},
                {"type": "namespace", "name": "team", "tools": [function("spawn")]}]},
            {"type": "tool_search_output", "tools": [{"type": "namespace", "name": "mcp__probe", "tools": [function("echo")]}]},
        ]});
        let Call::Ask(ask) = read_ask(&request) else { panic!("not an ask") };
        let names: Vec<&str> = ask.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["one", "web_search", "exec", "team.spawn", "mcp__probe.echo"]);
        assert_eq!((&ask.tools[0].schema, &ask.tools[2].schema), (&json!({"type": "object"}), &Value::Null));
    }

    #[test]
    fn rounds_are_answers_whose_calls_have_results_and_searches_are_none() {
        let user = |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
        let request = json!({"model": "m", "max_output_tokens": 9, "input": [
            user("about this place"),
            {"type": "message", "role": "developer", "content": "be good"},
            user("do it"),
            {"type": "tool_search_call", "call_id": "call_a_0_0"}, {"type": "tool_search_output", "call_id": "call_a_0_0", "tools": []},
            {"type": "function_call", "call_id": "call_a_1_0"}, {"type": "function_call_output", "call_id": "call_a_1_0"},
            {"type": "function_call", "call_id": "call_a_1_1"}, {"type": "function_call_output", "call_id": "call_a_1_1"},
            {"type": "message", "role": "assistant", "content": []},
            {"type": "custom_tool_call", "call_id": "call_a_2_0"}, {"type": "custom_tool_call_output", "call_id": "call_a_2_0"},
            {"type": "custom_tool_call_output", "call_id": "call_a_2_0"},
            user("go on"),
        ]});
        let Call::Ask(ask) = read_ask(&request) else { panic!("not an ask") };
        assert_eq!((ask.rounds, ask.first_prompt.as_str(), ask.max_output), (2, "about this place\ndo it", Some(9)));
    }

    #[test]
    fn a_sub_agent_that_must_be_waited_for_is_told_and_its_start_is_no_round() {
        let tools = json!([{"type": "namespace", "name": "multi_agent_v1", "tools": [{"name": "spawn_agent"}, {"name": "wait_agent"}]}]);
        let call = |id: &str, name: &str| json!({"type": "function_call", "call_id": id, "namespace": "multi_agent_v1", "name": name});
        let output = |id: &str, output: &str| json!({"type": "function_call_output", "call_id": id, "output": output});
        let start = [call("call_a_0_0", "spawn_agent"), output("call_a_0_0", r#"{"agent_id":"it","nickname":"Hooke"}"#)];
        let wait = [call("call_a_1_0", "wait_agent"), output("call_a_1_0", r#"{"status":{}}"#)];
        let read = |tools: &Value, input: &[Value]| {
            let Call::Ask(ask) = read_ask(&json!({"model": "m", "tools": tools, "input": input})) else { panic!("not an ask") };
            (ask.rounds, ask.started)
        };
        assert_eq!(read(&tools, &start), (0, Some("it".into())));
        assert_eq!(read(&tools, &[start.clone(), wait].concat()), (1, None));
        assert_eq!(read(&json!([]), &start), (1, None), "where nothing can wait");
    }

    #[test]
    fn a_sub_agents_task_is_its_first_prompt() {
        let content = json!([{"type": "input_text", "text": "New task"}, {"type": "encrypted_content", "encrypted_content": "look"}]);
        let request = json!({"model": "m", "input": [{"type": "agent_message", "author": "/root", "content": content}]});
        let Call::Ask(ask) = read_ask(&request) else { panic!("not an ask") };
        assert_eq!(ask.first_prompt, "New task\nlook");
    }

    #[test]
    fn a_long_prompt_fails_within_the_stream_and_no_money_before_it() {
        let long = Fault::ContextLength(ContextLength { tokens: 2, limit: 1 });
        let pieces = OpenAiResponses.streamed_fault(&long, "gpt-x").expect("in the stream");
        assert_eq!(types(&pieces), ["response.created", "response.failed"]);
        assert_eq!(events(&pieces)[1]["response"]["error"]["code"], "context_length_exceeded");
        assert!(OpenAiResponses.streamed_fault(&Fault::Credit(Credit {}), "gpt-x").is_none());
        assert_eq!(OpenAiResponses.fault(&Fault::Credit(Credit {})).map(|(status, _)| status), Some(429));
    }

    #[test]
    fn a_websocket_and_what_is_no_request_are_understood_as_such() {
        assert_eq!(OpenAiResponses.read(&Method::GET, "/v1/responses", b""), Some(Call::Upgrade));
        for (body, wanted) in [("{", "JSON"), ("{}", "model"), (r#"{"model":"m"}"#, "input")] {
            let call = OpenAiResponses.read(&Method::POST, "/v1/responses", body.as_bytes());
            let Some(Call::Malformed(message)) = call else { panic!("{call:?}") };
            assert!(message.contains(wanted), "{message}");
        }
        assert_eq!(OpenAiResponses.read(&Method::GET, "/v1/models", b""), None);
    }
}
