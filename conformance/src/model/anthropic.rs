//! Anthropic Messages, as Claude Code (and others with Anthropic's SDKs) need it.
//!
//! The format is <https://docs.anthropic.com/en/api/messages-streaming>; errors are
//! <https://docs.anthropic.com/en/api/errors>. On this wire `input_tokens` excludes the cache's tokens, the prompt's
//! part of the usage comes with `message_start` (with a first output token or so), the output's with `message_delta`,
//! and reasoning has no count of its own.

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::protocol::{Answer, Ask, Call, Piece, Protocol, Said, Told, part_size, text_parts};
use super::scenario::{Fault, Stop, Usage};
use super::tools::OfferedTool;

/// The protocol of `/v1/messages`.
pub struct Anthropic;

impl Protocol for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn read(&self, method: &Method, path: &str, body: &[u8]) -> Option<Call> {
        match (method, path) {
            // Claude Code's first request: does anybody live at the base URL?
            (&Method::HEAD, "" | "/") => Some(Call::Probe),
            (&Method::POST, "/v1/messages") => Some(read_body(body, read_ask)),
            (&Method::POST, "/v1/messages/count_tokens") => {
                Some(read_body(body, |request| Call::CountTokens { model: text_of(&request["model"]) }))
            }
            _ => None,
        }
    }

    fn stream(&self, answer: &Answer) -> Vec<Piece> {
        let at_start = usage_at_start(answer.usage);
        let message = message(answer, &[], Value::Null, at_start);
        let mut pieces =
            vec![Piece { bytes: event("message_start", json!({"message": message})), told: Some(Told { usage: at_start, last: false }) }];
        let silent = |bytes| Piece { bytes, told: None };
        pieces.push(silent(event("ping", json!({}))));
        for (index, said) in answer.content.iter().enumerate() {
            let (empty, deltas) = block_events(answer, index, said);
            pieces.push(silent(event("content_block_start", json!({"index": index, "content_block": empty}))));
            pieces.extend(deltas.into_iter().map(|delta| silent(event("content_block_delta", json!({"index": index, "delta": delta})))));
            pieces.push(silent(event("content_block_stop", json!({"index": index}))));
        }
        let delta = json!({"stop_reason": stop_reason(answer.stop), "stop_sequence": null});
        let usage = json!({"output_tokens": answer.usage.output});
        pieces.push(Piece {
            bytes: event("message_delta", json!({"delta": delta, "usage": usage})),
            told: Some(Told { usage: answer.usage, last: true }),
        });
        pieces.push(silent(event("message_stop", json!({}))));
        pieces
    }

    fn whole(&self, answer: &Answer) -> Piece {
        let content: Vec<Value> = answer.content.iter().enumerate().map(|(index, said)| whole_block(answer, index, said)).collect();
        let message = message(answer, &content, json!(stop_reason(answer.stop)), answer.usage);
        Piece { bytes: message.to_string().into(), told: Some(Told { usage: answer.usage, last: true }) }
    }

    fn token_count(&self, tokens: u64) -> Bytes {
        json!({"input_tokens": tokens}).to_string().into()
    }

    fn fault(&self, fault: &Fault) -> Option<(u16, String)> {
        match fault {
            Fault::Status(status) => {
                let message = status.message.clone().unwrap_or_else(|| default_message(status.code).into());
                Some((status.code, message))
            }
            Fault::ContextLength(length) => Some((400, format!("prompt is too long: {} tokens > {} maximum", length.tokens, length.limit))),
            Fault::Credit(_) => Some((
                400,
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade \
                 or purchase credits."
                    .into(),
            )),
            Fault::Silence(_) | Fault::Close(_) => None,
        }
    }

    fn error(&self, status: u16, message: &str, request_id: &str) -> Bytes {
        let error = json!({"type": error_type(status), "message": message});
        json!({"type": "error", "error": error, "request_id": request_id}).to_string().into()
    }

    fn overloaded_event(&self) -> Bytes {
        event("error", json!({"error": {"type": error_type(529), "message": default_message(529)}}))
    }
}

fn read_body(body: &[u8], read: impl FnOnce(&Value) -> Call) -> Call {
    match serde_json::from_slice::<Value>(body) {
        Ok(request) if request["model"].is_string() => read(&request),
        Ok(_) => Call::Malformed("model: Field required".into()),
        Err(error) => Call::Malformed(format!("the request body is not valid JSON: {error}")),
    }
}

fn read_ask(request: &Value) -> Call {
    let Some(messages) = request["messages"].as_array() else {
        return Call::Malformed("messages: Field required".into());
    };
    let user_messages = || messages.iter().filter(|message| message["role"] == "user");
    let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    Call::Ask(Ask {
        model: text_of(&request["model"]),
        stream: request["stream"] == true,
        stream_usage: true,
        tools: tools.iter().map(|tool| OfferedTool { name: text_of(&tool["name"]), schema: tool["input_schema"].clone() }).collect(),
        rounds: user_messages().filter(|message| has_tool_result(message)).count(),
        started: None,
        first_prompt: user_messages().next().map(message_text).unwrap_or_default(),
        max_output: request["max_tokens"].as_u64(),
        schema: None,
    })
}

/// What a search for tools has found does not count, since the agent asks again with it.
fn has_tool_result(message: &Value) -> bool {
    let found =
        |result: &Value| result["content"].as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_reference"));
    let blocks = message["content"].as_array();
    blocks.is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result" && !found(block)))
}

fn message_text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What `message_start` says: the prompt is known, and the model has just begun.
fn usage_at_start(usage: Usage) -> Usage {
    Usage { output: usage.output.min(1), reasoning: 0, ..usage }
}

fn message(answer: &Answer, content: &[Value], stop_reason: Value, usage: Usage) -> Value {
    json!({
        "id": format!("msg_{}", answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": usage.input,
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cache_read,
            "output_tokens": usage.output,
            "service_tier": "standard",
        },
    })
}

fn tool_use_id(answer: &Answer, index: usize) -> String {
    format!("toolu_{}_{index}", answer.id)
}

fn whole_block(answer: &Answer, index: usize, said: &Said) -> Value {
    match said {
        Said::Text(text) => json!({"type": "text", "text": text}),
        Said::Thinking(text) => {
            json!({"type": "thinking", "thinking": text, "signature": signature(answer)})
        }
        Said::Call { name, input } => {
            json!({"type": "tool_use", "id": tool_use_id(answer, index), "name": name, "input": input})
        }
    }
}

/// The empty block that starts it, and the deltas that fill it.
fn block_events(answer: &Answer, index: usize, said: &Said) -> (Value, Vec<Value>) {
    match said {
        Said::Text(text) => {
            let deltas = parts_of(text).map(|part| json!({"type": "text_delta", "text": part})).collect();
            (json!({"type": "text", "text": ""}), deltas)
        }
        Said::Thinking(text) => {
            let mut deltas: Vec<Value> = parts_of(text).map(|part| json!({"type": "thinking_delta", "thinking": part})).collect();
            deltas.push(json!({"type": "signature_delta", "signature": signature(answer)}));
            (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas)
        }
        Said::Call { name, input } => {
            let text = input.to_string();
            // The first delta of a tool call is empty on the real wire, too.
            let deltas =
                std::iter::once("").chain(parts_of(&text)).map(|part| json!({"type": "input_json_delta", "partial_json": part})).collect();
            let start = json!({"type": "tool_use", "id": tool_use_id(answer, index), "name": name, "input": {}});
            (start, deltas)
        }
    }
}

fn parts_of(text: &str) -> impl Iterator<Item = &str> {
    text_parts(text, part_size(text.len())).into_iter()
}

/// Clients send it back and never look into it.
fn signature(answer: &Answer) -> String {
    format!("c2NyaXB0ZWQ{}", answer.id.replace('_', ""))
}

fn stop_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn => "end_turn",
        Stop::ToolUse => "tool_use",
        Stop::MaxTokens => "max_tokens",
        Stop::Refusal => "refusal",
    }
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ if status < 500 => "invalid_request_error",
        _ => "api_error",
    }
}

fn default_message(status: u16) -> &'static str {
    match status {
        401 => "invalid x-api-key",
        402 => "there is a problem with this account's billing",
        403 => "this API key may not use the requested resource",
        404 => "model: {{model}}",
        413 => "request exceeds the maximum allowed number of bytes",
        429 => "this request would exceed your account's rate limit. Please try again later.",
        503 => "service unavailable",
        504 => "request timed out",
        529 => "Overloaded",
        _ if status < 500 => "the scripted model finds this request invalid",
        _ => "Internal server error",
    }
}

/// One server-sent event; its data repeats its name as `type`.
fn event(name: &str, mut data: Value) -> Bytes {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: Vec<Said>, usage: Usage) -> Answer {
        Answer { id: "abc_1".into(), model: "claude-x".into(), content, stop: Stop::ToolUse, usage, stream_usage: true }
    }

    const USAGE: Usage = Usage { input: 1000, output: 50, cache_read: 200, cache_write: 30, reasoning: 10 };

    /// Takes the bytes apart exactly as they must be framed: `event: NAME\ndata: JSON\n\n`, nothing between or after.
    fn events(pieces: &[Piece]) -> Vec<(String, Value)> {
        pieces
            .iter()
            .map(|piece| {
                let text = std::str::from_utf8(&piece.bytes).unwrap();
                let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
                let data = data.strip_suffix("\n\n").unwrap();
                assert!(!data.contains('\n'), "a line break would end the data: {data}");
                (name.to_owned(), serde_json::from_str(data).unwrap())
            })
            .collect()
    }

    #[test]
    fn text_and_a_tool_call_stream_as_these_events() {
        let call = Said::Call { name: "Bash".into(), input: json!({"command": "git commit\n-m 'ü'"}) };
        let pieces = Anthropic.stream(&answer(vec![Said::Text("Hi".into()), call], USAGE));
        let usage = json!({"input_tokens": 1000, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 200,
            "output_tokens": 1, "service_tier": "standard"});
        let message = json!({"id": "msg_abc_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
        let text = json!({"type": "text", "text": ""});
        let tool = json!({"type": "tool_use", "id": "toolu_abc_1_1", "name": "Bash", "input": {}});
        let part = |json: &str| json!({"type": "input_json_delta", "partial_json": json});
        let wanted = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": text}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": tool}),
            json!({"type": "content_block_delta", "index": 1, "delta": part("")}),
            json!({"type": "content_block_delta", "index": 1, "delta": part(r#"{"command":"git comm"#)}),
            json!({"type": "content_block_delta", "index": 1, "delta": part(r#"it\n-m 'ü'"}"#)}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": {"output_tokens": 50}}),
            json!({"type": "message_stop"}),
        ];
        let events = events(&pieces);
        for ((name, data), wanted) in events.iter().zip(&wanted) {
            assert_eq!(data, wanted);
            assert_eq!(wanted["type"], name.as_str());
        }
        assert_eq!(events.len(), wanted.len());
    }

    #[test]
    fn the_prompt_is_told_first_and_the_output_before_the_last_event() {
        let pieces = Anthropic.stream(&answer(vec![Said::Thinking("hm".into())], USAGE));
        let told: Vec<Option<Told>> = pieces.iter().map(|piece| piece.told).collect();
        let first = told[0].unwrap();
        assert_eq!((first.usage.input, first.usage.cache_read, first.usage.output, first.last), (1000, 200, 1, false));
        assert_eq!(told[told.len() - 2], Some(Told { usage: USAGE, last: true }));
        assert_eq!(told.iter().flatten().count(), 2);
    }

    #[test]
    fn an_answer_in_one_piece_says_everything() {
        let piece = Anthropic.whole(&answer(vec![Said::Text("Hi".into())], USAGE));
        let message: Value = serde_json::from_slice(&piece.bytes).unwrap();
        assert_eq!(message["content"], json!([{"type": "text", "text": "Hi"}]));
        assert_eq!(message["usage"]["output_tokens"], 50);
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(piece.told, Some(Told { usage: USAGE, last: true }));
    }

    #[test]
    fn rounds_are_messages_with_tool_results_not_single_results() {
        let request = json!({"model": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "do"}, {"type": "text", "text": "it"}]},
            {"role": "assistant", "content": []},
            {"role": "user", "content": [{"type": "tool_result"}, {"type": "tool_result"}]},
            {"role": "assistant", "content": "said"},
            {"role": "user", "content": [{"type": "text", "text": "note"}, {"type": "tool_result"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "tool_reference", "tool_name": "t"}]}]},
            {"role": "user", "content": "go on"},
        ]});
        let Call::Ask(ask) = read_ask(&request) else { panic!("not an ask") };
        assert_eq!((ask.rounds, ask.first_prompt.as_str()), (2, "do\nit"));
    }

    #[test]
    fn a_body_that_is_no_request_is_malformed_and_says_why() {
        for (body, wanted) in [("{", "JSON"), ("{}", "model"), (r#"{"model":"m"}"#, "messages")] {
            let call = Anthropic.read(&Method::POST, "/v1/messages", body.as_bytes());
            let Some(Call::Malformed(message)) = call else { panic!("{call:?}") };
            assert!(message.contains(wanted), "{message}");
        }
        assert_eq!(Anthropic.read(&Method::GET, "/v1/models", b""), None);
    }
}
