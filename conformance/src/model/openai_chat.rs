//! OpenAI Chat Completions, as agents with a provider that is "compatible with OpenAI" need it.
//!
//! The format is <https://platform.openai.com/docs/api-reference/chat-streaming>. On this wire `prompt_tokens` includes the cache's
//! tokens and `completion_tokens` the reasoning; a stream tells its usage at its end only, and only if
//! `stream_options.include_usage` asks for it. Reasoning is shown as `reasoning_content`, which is not OpenAI's own but what compatible
//! servers say and clients read.

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::openai;
use super::protocol::{Answer, Ask, Call, Piece, Protocol, Said, Told, part_size, text_parts};
use super::scenario::{Fault, Stop, Usage};
use super::tools::OfferedTool;

/// The protocol of `/v1/chat/completions`.
pub struct OpenAiChat;

impl Protocol for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn read(&self, method: &Method, path: &str, body: &[u8]) -> Option<Call> {
        (method == Method::POST && path == "/v1/chat/completions").then(|| read_body(body))
    }

    fn stream(&self, answer: &Answer) -> Vec<Piece> {
        let silent = |bytes| Piece { bytes, told: None };
        let delta = |delta: Value| silent(chunk(answer, json!([choice(json!({"delta": delta}), Value::Null)]), Value::Null));
        let mut pieces = vec![delta(json!({"role": "assistant", "content": ""}))];
        let mut calls = 0;
        for said in &answer.content {
            match said {
                Said::Text(text) => pieces.extend(parts_of(text).map(|part| delta(json!({"content": part})))),
                Said::Thinking(text) => pieces.extend(parts_of(text).map(|part| delta(json!({"reasoning_content": part})))),
                Said::Call { name, input } => {
                    let call = |fields: Value| delta(json!({"tool_calls": [fields]}));
                    let start = json!({"name": name, "arguments": ""});
                    pieces.push(call(json!({"index": calls, "id": call_id(answer, calls), "type": "function", "function": start})));
                    let text = input.to_string();
                    pieces.extend(parts_of(&text).map(|part| call(json!({"index": calls, "function": {"arguments": part}}))));
                    calls += 1;
                }
            }
        }
        let last = Some(Told { usage: openai::sayable(answer.usage), last: true });
        let end = chunk(answer, json!([choice(json!({"delta": {}}), json!(finish_reason(answer.stop)))]), Value::Null);
        // Nobody is told, and it is billed all the same.
        pieces.push(Piece { bytes: end, told: last.filter(|_| !answer.stream_usage) });
        if answer.stream_usage {
            pieces.push(Piece { bytes: chunk(answer, json!([]), usage(answer.usage)), told: last });
        }
        pieces.push(silent("data: [DONE]\n\n".into()));
        pieces
    }

    fn whole(&self, answer: &Answer) -> Piece {
        let choice = choice(json!({"message": message(answer)}), json!(finish_reason(answer.stop)));
        let mut body = head(answer, "chat.completion", json!([choice]));
        body["usage"] = usage(answer.usage);
        Piece { bytes: body.to_string().into(), told: Some(Told { usage: openai::sayable(answer.usage), last: true }) }
    }

    fn token_count(&self, tokens: u64) -> Bytes {
        // This wire has no such call, and `read` finds none.
        json!({"input_tokens": tokens}).to_string().into()
    }

    fn fault(&self, fault: &Fault) -> Option<(u16, String)> {
        openai::fault(fault)
    }

    fn error(&self, status: u16, message: &str, _request_id: &str) -> Bytes {
        openai::error(status, message)
    }

    fn overloaded_event(&self) -> Bytes {
        let (status, message) = openai::overloaded();
        event(&json!({"error": openai::error_fields(status, message)}))
    }
}

fn read_body(body: &[u8]) -> Call {
    let request: Value = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Call::Malformed(format!("We could not parse the JSON body of your request: {error}")),
    };
    if !request["model"].is_string() {
        return Call::Malformed("you must provide a model parameter".into());
    }
    let Some(messages) = request["messages"].as_array() else {
        return Call::Malformed("Missing required parameter: 'messages'.".into());
    };
    let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let offered = |tool: &Value| OfferedTool { name: text_of(&tool["function"]["name"]), schema: tool["function"]["parameters"].clone() };
    Call::Ask(Ask {
        model: text_of(&request["model"]),
        stream: request["stream"] == true,
        stream_usage: request["stream_options"]["include_usage"] == true,
        tools: tools.iter().map(offered).collect(),
        rounds: rounds(messages),
        started: None,
        first_prompt: messages.iter().find(|message| message["role"] == "user").map(message_text).unwrap_or_default(),
        max_output: request["max_completion_tokens"].as_u64().or_else(|| request["max_tokens"].as_u64()),
        schema: request["response_format"]["json_schema"].get("schema").cloned(),
    })
}

/// Each result is a message of its own here; those of one round follow each other.
fn rounds(messages: &[Value]) -> usize {
    let is_result = |message: &Value| message["role"] == "tool";
    let begins = |(index, message): &(usize, &Value)| is_result(message) && (*index == 0 || !is_result(&messages[index - 1]));
    messages.iter().enumerate().filter(begins).count()
}

fn message_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The whole message, in one piece.
fn message(answer: &Answer) -> Value {
    let texts = |wanted: fn(&Said) -> Option<&str>| answer.content.iter().filter_map(wanted).collect::<Vec<_>>().join("");
    let text = texts(|said| if let Said::Text(text) = said { Some(text) } else { None });
    let reasoning = texts(|said| if let Said::Thinking(text) = said { Some(text) } else { None });
    let calls = answer.content.iter().filter_map(|said| if let Said::Call { name, input } = said { Some((name, input)) } else { None });
    let calls: Vec<Value> = calls
        .enumerate()
        .map(|(index, (name, input))| {
            json!({"id": call_id(answer, index), "type": "function", "function": {"name": name, "arguments": input.to_string()}})
        })
        .collect();
    let mut message = Map::from_iter([("role".to_owned(), json!("assistant")), ("content".to_owned(), json!(text))]);
    if !reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(reasoning));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), json!(calls));
    }
    message.into()
}

fn call_id(answer: &Answer, index: usize) -> String {
    format!("call_{}_{index}", answer.id)
}

/// The one choice that there is.
fn choice(said: Value, finish_reason: Value) -> Value {
    let mut choice = said;
    choice["index"] = json!(0);
    choice["finish_reason"] = finish_reason;
    choice
}

fn head(answer: &Answer, object: &str, choices: Value) -> Value {
    // The time of creation, which clients pass by, is the same for every answer.
    json!({"id": format!("chatcmpl-{}", answer.id), "object": object, "created": 1_700_000_000, "model": answer.model, "choices": choices})
}

fn chunk(answer: &Answer, choices: Value, usage: Value) -> Bytes {
    let mut chunk = head(answer, "chat.completion.chunk", choices);
    if answer.stream_usage {
        chunk["usage"] = usage;
    }
    event(&chunk)
}

fn usage(usage: Usage) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn => "stop",
        Stop::ToolUse => "tool_calls",
        Stop::MaxTokens => "length",
        Stop::Refusal => "content_filter",
    }
}

fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text_parts(text, part_size(text.len())).into_iter()
}

/// One server-sent event; on this wire they have no names.
fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage { input: 1000, output: 50, cache_read: 200, cache_write: 30, reasoning: 10 };
    /// What this wire can say of it.
    const SAID: Usage = Usage { input: 1030, output: 50, cache_read: 200, cache_write: 0, reasoning: 10 };

    fn answer(content: Vec<Said>, stream_usage: bool) -> Answer {
        Answer { id: "abc_1".into(), model: "gpt-x".into(), content, stop: Stop::ToolUse, usage: USAGE, stream_usage }
    }

    /// Takes the bytes apart exactly as they must be framed: `data: JSON\n\n`, nothing between or after, and `[DONE]` at the end.
    fn events(pieces: &[Piece]) -> Vec<Value> {
        let mut texts: Vec<&str> = pieces
            .iter()
            .map(|piece| {
                let text = std::str::from_utf8(&piece.bytes).unwrap();
                let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
                assert!(!data.contains('\n'), "a line break would end the data: {data}");
                data
            })
            .collect();
        assert_eq!(texts.pop(), Some("[DONE]"));
        texts.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn text_and_a_tool_call_stream_as_these_chunks() {
        let call = Said::Call { name: "bash".into(), input: json!({"command": "git commit\n-m 'ü'"}) };
        let pieces = OpenAiChat.stream(&answer(vec![Said::Thinking("Hm".into()), Said::Text("Hi".into()), call], true));
        let part = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
        let start = json!({"index": 0, "id": "call_abc_1_0", "type": "function", "function": {"name": "bash", "arguments": ""}});
        let deltas = [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "Hm"}),
            json!({"content": "Hi"}),
            json!({"tool_calls": [start]}),
            part(r#"{"command":"git comm"#),
            part(r#"it\n-m 'ü'"}"#),
            json!({}),
        ];
        let events = events(&pieces);
        let (usage, chunks) = events.split_last().unwrap();
        for (index, (chunk, delta)) in chunks.iter().zip(&deltas).enumerate() {
            let finish = if index + 1 == deltas.len() { json!("tool_calls") } else { Value::Null };
            let wanted = json!({"id": "chatcmpl-abc_1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-x",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null});
            assert_eq!(chunk, &wanted);
        }
        assert_eq!(chunks.len(), deltas.len());
        assert_eq!(usage["choices"], json!([]));
        let wanted = json!({"prompt_tokens": 1230, "completion_tokens": 50, "total_tokens": 1280,
            "prompt_tokens_details": {"cached_tokens": 200}, "completion_tokens_details": {"reasoning_tokens": 10}});
        assert_eq!(usage["usage"], wanted);
    }

    #[test]
    fn the_usage_is_told_at_the_end_and_only_if_it_is_asked_for() {
        for (asked, from_the_end) in [(true, 2), (false, 2)] {
            let pieces = OpenAiChat.stream(&answer(vec![Said::Text("Hi".into())], asked));
            let told: Vec<usize> = (0..pieces.len()).filter(|&index| pieces[index].told.is_some()).collect();
            assert_eq!(told, [pieces.len() - from_the_end]);
            assert_eq!(pieces[told[0]].told, Some(Told { usage: SAID, last: true }));
            assert_eq!(events(&pieces).iter().any(|chunk| chunk["usage"].is_object()), asked);
        }
    }

    #[test]
    fn an_answer_in_one_piece_says_everything() {
        let call = Said::Call { name: "bash".into(), input: json!({"command": "ls"}) };
        let piece = OpenAiChat.whole(&answer(vec![Said::Thinking("Hm".into()), Said::Text("Hi".into()), call], false));
        let body: Value = serde_json::from_slice(&piece.bytes).unwrap();
        let call = json!({"id": "call_abc_1_0", "type": "function", "function": {"name": "bash", "arguments": r#"{"command":"ls"}"#}});
        let message = json!({"role": "assistant", "content": "Hi", "reasoning_content": "Hm", "tool_calls": [call]});
        assert_eq!(body["choices"], json!([{"index": 0, "message": message, "finish_reason": "tool_calls"}]));
        assert_eq!(body["usage"]["prompt_tokens"], 1230);
        assert_eq!(piece.told, Some(Told { usage: SAID, last: true }));
    }

    #[test]
    fn rounds_are_runs_of_results_not_single_results() {
        let request = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9, "messages": [
            {"role": "system", "content": "be good"},
            {"role": "user", "content": [{"type": "text", "text": "do"}, {"type": "text", "text": "it"}]},
            {"role": "assistant", "tool_calls": []},
            {"role": "tool", "content": "a"},
            {"role": "tool", "content": "b"},
            {"role": "assistant", "content": "said", "tool_calls": []},
            {"role": "tool", "content": "c"},
            {"role": "user", "content": "go on"},
        ], "tools": [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]});
        let Call::Ask(ask) = read_body(request.to_string().as_bytes()) else { panic!("not an ask") };
        assert_eq!((ask.rounds, ask.first_prompt.as_str(), ask.max_output), (2, "do\nit", Some(9)));
        assert!(ask.stream && ask.stream_usage);
        assert_eq!(ask.tools, [OfferedTool { name: "bash".into(), schema: json!({"type": "object"}) }]);
    }

    #[test]
    fn a_body_that_is_no_request_is_malformed_and_says_why() {
        for (body, wanted) in [("{", "JSON"), ("{}", "model"), (r#"{"model":"m"}"#, "messages")] {
            let call = OpenAiChat.read(&Method::POST, "/v1/chat/completions", body.as_bytes());
            let Some(Call::Malformed(message)) = call else { panic!("{call:?}") };
            assert!(message.contains(wanted), "{message}");
        }
        assert_eq!(OpenAiChat.read(&Method::GET, "/v1/chat/completions", b""), None);
    }
}
