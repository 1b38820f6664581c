//! Gemini's generateContent, as Gemini CLI (and others with Google's SDKs) need it.
//!
//! The format is <https://ai.google.dev/api/generate-content>; errors are <https://google.aip.dev/193>. On this wire the model and
//! whether a stream is wanted stand in the path; `promptTokenCount` includes the cache's tokens and nobody says what was
//! written to the cache; `candidatesTokenCount` excludes reasoning, which has `thoughtsTokenCount`. Every event carries the
//! usage as it stands, and the last content is there before the event that says why it ended.

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::protocol::{Answer, Ask, Call, Piece, Protocol, Said, Told, part_size, text_parts};
use super::scenario::{Fault, Stop, Usage};
use super::tools::OfferedTool;

/// The protocol of `/v1beta/models/MODEL:generateContent`, Vertex AI's longer paths included.
pub struct Gemini;

/// What the real service says when a day's quota is used up; it says so in `details`, too, which is what clients go by.
const QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. \
                     For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";
/// The beginning of what it says about a key that nobody knows: with 400, not with 401.
const KEY_INVALID: &str = "API key not valid";

impl Protocol for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn read(&self, method: &Method, path: &str, body: &[u8]) -> Option<Call> {
        let (model, verb) = path.rsplit_once("/models/")?.1.split_once(':')?;
        let is_versioned = path.starts_with("/v1");
        match verb {
            "generateContent" | "streamGenerateContent" if is_versioned && method == Method::POST => {
                Some(read_body(body, |request| read_ask(model, verb == "streamGenerateContent", request)))
            }
            "countTokens" if is_versioned && method == Method::POST => {
                Some(read_body(body, |_| Call::CountTokens { model: model.to_owned() }))
            }
            _ => None,
        }
    }

    fn stream(&self, answer: &Answer) -> Vec<Piece> {
        let answer = &as_the_service_would(answer);
        let mut contents: Vec<Value> =
            answer.content.iter().enumerate().flat_map(|(index, said)| said_in_parts(answer, index, said)).collect();
        let end = response(answer, Vec::new(), Some(finish_reason(answer.stop)), answer.usage);
        let last = contents.pop();
        let at_start = usage_at_start(answer.usage);
        // The first event tells the prompt's tokens: without content of its own if the only content is the last, which tells all.
        let first = if contents.is_empty() { Vec::new() } else { vec![contents.remove(0)] };
        let mut pieces =
            vec![Piece { bytes: event(&response(answer, first, None, at_start)), told: Some(Told { usage: told(at_start), last: false }) }];
        pieces.extend(contents.into_iter().map(|part| Piece { bytes: event(&response(answer, vec![part], None, at_start)), told: None }));
        let whole = Some(Told { usage: told(answer.usage), last: true });
        pieces.extend(last.map(|part| Piece { bytes: event(&response(answer, vec![part], None, answer.usage)), told: whole }));
        pieces.push(Piece { bytes: event(&end), told: whole });
        pieces
    }

    fn whole(&self, answer: &Answer) -> Piece {
        let answer = &as_the_service_would(answer);
        let parts = answer.content.iter().enumerate().map(|(index, said)| whole_part(answer, index, said)).collect();
        let message = response(answer, parts, Some(finish_reason(answer.stop)), answer.usage);
        Piece { bytes: message.to_string().into(), told: Some(Told { usage: told(answer.usage), last: true }) }
    }

    fn token_count(&self, tokens: u64) -> Bytes {
        json!({"totalTokens": tokens}).to_string().into()
    }

    fn fault(&self, fault: &Fault) -> Option<(u16, String)> {
        match fault {
            Fault::Status(status) => {
                let message = status.message.clone().unwrap_or_else(|| default_message(status.code).into());
                Some((status.code, message))
            }
            Fault::ContextLength(length) => {
                let (tokens, limit) = (length.tokens, length.limit);
                Some((400, format!("The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit}).")))
            }
            Fault::Credit(_) => Some((429, QUOTA.into())),
            Fault::Silence(_) | Fault::Close(_) => None,
        }
    }

    fn error(&self, status: u16, message: &str, _request_id: &str) -> Bytes {
        error_body(status, message, &[]).to_string().into()
    }

    fn fault_body(&self, fault: &Fault, status: u16, message: &str, _request_id: &str) -> Bytes {
        error_body(status, message, &details(fault, message)).to_string().into()
    }

    fn overloaded_event(&self) -> Bytes {
        event(&error_body(503, default_message(503), &[]))
    }
}

fn read_body(body: &[u8], read: impl FnOnce(&Value) -> Call) -> Call {
    match serde_json::from_slice::<Value>(body) {
        Ok(request) if request["contents"].is_array() => read(&request),
        Ok(_) => Call::Malformed("* GenerateContentRequest.contents: contents is not specified".into()),
        Err(error) => Call::Malformed(format!("Invalid JSON payload received. {error}")),
    }
}

fn read_ask(model: &str, stream: bool, request: &Value) -> Call {
    let contents = list(&request["contents"]);
    // A client that asks in a single line may leave the role out; answers of tools come from `user` or `function`.
    let is_users = |content: &&Value| content["role"] != "model";
    let declarations = list(&request["tools"]).iter().flat_map(|tool| list(&tool["functionDeclarations"]));
    Call::Ask(Ask {
        model: model.to_owned(),
        stream,
        stream_usage: true,
        tools: declarations.map(|tool| OfferedTool { name: text_of(&tool["name"]), schema: schema_of(tool) }).collect(),
        rounds: contents.iter().filter(is_users).filter(|content| has_tool_result(content)).count(),
        started: None,
        // Gemini CLI says where it runs before it says what is wanted, in a message of its own or in the same one.
        first_prompt: contents.iter().take_while(is_users).map(content_text).collect::<Vec<_>>().join("\n"),
        max_output: request["generationConfig"]["maxOutputTokens"].as_u64(),
        schema: ["responseJsonSchema", "responseSchema"]
            .iter()
            .map(|name| request["generationConfig"][name].clone())
            .find(Value::is_object),
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn schema_of(declaration: &Value) -> Value {
    let schema = &declaration["parametersJsonSchema"];
    if schema.is_null() { declaration["parameters"].clone() } else { schema.clone() }
}

fn has_tool_result(content: &Value) -> bool {
    list(&content["parts"]).iter().any(|part| part["functionResponse"].is_object())
}

fn content_text(content: &Value) -> String {
    let texts: Vec<&str> = list(&content["parts"]).iter().filter_map(|part| part["text"].as_str()).collect();
    texts.join("\n")
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The service holds back what it found unsafe: "candidate.content is empty if content filters blocked the output".
fn as_the_service_would(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    if answer.stop == Stop::Refusal {
        answer.content.clear();
    }
    answer
}

/// What the first event says: the prompt is known, and the model has just begun.
fn usage_at_start(usage: Usage) -> Usage {
    Usage { output: usage.output.min(1), reasoning: 0, ..usage }
}

/// The usage as this wire can tell it: what was written to the cache is a part of the prompt like any other.
fn told(usage: Usage) -> Usage {
    Usage { input: usage.input + usage.cache_write, cache_write: 0, ..usage }
}

fn response(answer: &Answer, parts: Vec<Value>, finish_reason: Option<&str>, usage: Usage) -> Value {
    let mut candidate = json!({"index": 0});
    if !parts.is_empty() {
        candidate["content"] = json!({"role": "model", "parts": parts});
    }
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = json!(reason);
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": usage_metadata(usage),
        "modelVersion": answer.model,
        "responseId": format!("resp_{}", answer.id),
    })
}

fn usage_metadata(usage: Usage) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    let mut metadata = json!({
        "promptTokenCount": prompt,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": prompt + usage.output,
    });
    // The real service leaves out what is none.
    if usage.cache_read > 0 {
        metadata["cachedContentTokenCount"] = json!(usage.cache_read);
    }
    if usage.reasoning > 0 {
        metadata["thoughtsTokenCount"] = json!(usage.reasoning);
    }
    metadata
}

fn whole_part(answer: &Answer, index: usize, said: &Said) -> Value {
    match said {
        Said::Text(text) => json!({"text": text}),
        Said::Thinking(text) => json!({"text": text, "thought": true}),
        // Clients send the signature back and never look into it; without one the service refuses the next question.
        Said::Call { name, input } => json!({
            "functionCall": {"id": format!("call_{}_{index}", answer.id), "name": name, "args": input},
            "thoughtSignature": format!("c2NyaXB0ZWQ{}", answer.id.replace('_', "")),
        }),
    }
}

/// The parts of a stream that say it: a call comes whole, as it does from the real service.
fn said_in_parts(answer: &Answer, index: usize, said: &Said) -> Vec<Value> {
    let each = |text: &str, part: &dyn Fn(&str) -> Said| {
        let parts = text_parts(text, part_size(text.len())).into_iter();
        parts.map(|text| whole_part(answer, index, &part(text))).collect()
    };
    match said {
        Said::Text(text) => each(text, &|part| Said::Text(part.into())),
        Said::Thinking(text) => each(text, &|part| Said::Thinking(part.into())),
        Said::Call { .. } => vec![whole_part(answer, index, said)],
    }
}

/// A tool call ends as any other answer does.
fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn | Stop::ToolUse => "STOP",
        Stop::MaxTokens => "MAX_TOKENS",
        Stop::Refusal => "SAFETY",
    }
}

fn error_body(status: u16, message: &str, details: &[Value]) -> Value {
    let mut error = json!({"code": status, "message": message, "status": status_name(status)});
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    json!({"error": error})
}

/// What the service adds for programs; Gemini CLI decides by it whether to try again, and when.
fn details(fault: &Fault, message: &str) -> Vec<Value> {
    let detail = |kind: &str, mut fields: Value| {
        fields["@type"] = json!(format!("type.googleapis.com/google.rpc.{kind}"));
        fields
    };
    match fault {
        Fault::Credit(_) => {
            let violation = json!({
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                "quotaValue": "50",
            });
            vec![detail("QuotaFailure", json!({"violations": [violation]}))]
        }
        Fault::Status(status) => {
            let delay = status.retry_after.map(|seconds| detail("RetryInfo", json!({"retryDelay": format!("{seconds}s")})));
            let key = message.starts_with(KEY_INVALID).then(|| {
                let (reason, domain) = ("API_KEY_INVALID", "googleapis.com");
                let metadata = json!({"service": "generativelanguage.googleapis.com"});
                detail("ErrorInfo", json!({"reason": reason, "domain": domain, "metadata": metadata}))
            });
            key.into_iter().chain(delay).collect()
        }
        Fault::ContextLength(_) | Fault::Silence(_) | Fault::Close(_) => Vec::new(),
    }
}

/// The names of <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>.
fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ if status < 500 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

fn default_message(status: u16) -> &'static str {
    match status {
        401 => {
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
             valid authentication credential."
        }
        403 => "The caller does not have permission",
        404 => "models/{{model}} is not found for API version v1beta, or is not supported for generateContent.",
        429 => "Resource has been exhausted (e.g. check quota).",
        503 | 529 => "The model is overloaded. Please try again later.",
        504 => "The request timed out. Please try again.",
        _ if status < 500 => "Request contains an invalid argument.",
        _ => "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    }
}

/// One server-sent event: this wire names none.
fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{ContextLength, Credit, StatusFault};
    use super::*;

    fn answer(content: Vec<Said>, stop: Stop) -> Answer {
        Answer { id: "abc_1".into(), model: "gemini-x".into(), content, stop, usage: USAGE, stream_usage: true }
    }

    const USAGE: Usage = Usage { input: 1000, output: 50, cache_read: 200, cache_write: 30, reasoning: 10 };
    /// What a client can know of it: nobody tells what was written to the cache.
    const TOLD: Usage = Usage { input: 1030, output: 50, cache_read: 200, cache_write: 0, reasoning: 10 };

    /// Takes the bytes apart exactly as they must be framed: `data: JSON\n\n`, nothing between or after.
    fn events(pieces: &[Piece]) -> Vec<Value> {
        pieces
            .iter()
            .map(|piece| {
                let text = std::str::from_utf8(&piece.bytes).unwrap();
                let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
                assert!(!data.contains('\n'), "a line break would end the data: {data}");
                serde_json::from_str(data).unwrap()
            })
            .collect()
    }

    fn parts(events: &[Value]) -> Vec<Value> {
        events.iter().flat_map(|event| list(&event["candidates"][0]["content"]["parts"])).cloned().collect()
    }

    fn ask(path: &str, request: &Value) -> Ask {
        let call = Gemini.read(&Method::POST, path, request.to_string().as_bytes());
        let Some(Call::Ask(ask)) = call else { panic!("{call:?}") };
        ask
    }

    fn body(fault: &Fault) -> (u16, Value) {
        let (status, message) = Gemini.fault(fault).unwrap();
        let body = Gemini.fault_body(fault, status, &message, "req_1");
        (status, serde_json::from_slice::<Value>(&body).unwrap()["error"].take())
    }

    #[test]
    fn text_and_a_tool_call_stream_as_these_events() {
        let call = Said::Call { name: "run_shell_command".into(), input: json!({"command": "git commit\n-m 'ü'"}) };
        let pieces = Gemini.stream(&answer(vec![Said::Thinking("hm".into()), Said::Text("Hi".into()), call], Stop::ToolUse));
        let at_start =
            json!({"promptTokenCount": 1230, "candidatesTokenCount": 1, "totalTokenCount": 1231, "cachedContentTokenCount": 200});
        let whole = json!({"promptTokenCount": 1230, "candidatesTokenCount": 40, "totalTokenCount": 1280, "cachedContentTokenCount": 200,
            "thoughtsTokenCount": 10});
        let event = |candidate: Value, usage: &Value| {
            json!({"candidates": [candidate], "usageMetadata": usage, 
                "modelVersion": "gemini-x", "responseId": "resp_abc_1"})
        };
        let says = |part: Value| json!({"index": 0, "content": {"role": "model", "parts": [part]}});
        let call = json!({"functionCall": {"id": "call_abc_1_2", "name": "run_shell_command", "args": {"command": "git commit\n-m 'ü'"}},
            "thoughtSignature": "c2NyaXB0ZWQabc1"});
        let wanted = [
            event(says(json!({"text": "hm", "thought": true})), &at_start),
            event(says(json!({"text": "Hi"})), &at_start),
            event(says(call), &whole),
            event(json!({"index": 0, "finishReason": "STOP"}), &whole),
        ];
        let events = events(&pieces);
        for (event, wanted) in events.iter().zip(&wanted) {
            assert_eq!(event, wanted);
        }
        assert_eq!(events.len(), wanted.len());
    }

    #[test]
    fn the_prompt_is_told_first_and_the_output_before_the_last_event() {
        let at_start = Told { usage: Usage { output: 1, reasoning: 0, ..TOLD }, last: false };
        let whole = Told { usage: TOLD, last: true };
        for content in [vec![Said::Text("a text of more than twenty bytes".into())], vec![Said::Text("Hi".into())], Vec::new()] {
            let is_empty = content.is_empty();
            let pieces = Gemini.stream(&answer(content, Stop::EndTurn));
            let told: Vec<Option<Told>> = pieces.iter().map(|piece| piece.told).collect();
            assert_eq!((told[0], told[told.len() - 1]), (Some(at_start), Some(whole)));
            assert_eq!(told[told.len() - 2], Some(if is_empty { at_start } else { whole }));
        }
    }

    #[test]
    fn an_answer_in_one_piece_says_everything() {
        let piece = Gemini.whole(&answer(vec![Said::Text("Hi".into())], Stop::MaxTokens));
        let message: Value = serde_json::from_slice(&piece.bytes).unwrap();
        assert_eq!(parts(std::slice::from_ref(&message)), [json!({"text": "Hi"})]);
        assert_eq!(message["candidates"][0]["finishReason"], "MAX_TOKENS");
        assert_eq!(message["usageMetadata"]["thoughtsTokenCount"], 10);
        assert_eq!(piece.told, Some(Told { usage: TOLD, last: true }));
    }

    #[test]
    fn what_is_refused_is_held_back() {
        let pieces = Gemini.stream(&answer(vec![Said::Text("No.".into())], Stop::Refusal));
        let events = events(&pieces);
        assert_eq!(parts(&events), Vec::<Value>::new());
        assert_eq!(events[events.len() - 1]["candidates"][0]["finishReason"], "SAFETY");
    }

    #[test]
    fn model_and_stream_stand_in_the_path_and_rounds_are_messages_with_tool_results() {
        let request = json!({
            "contents": [
                {"parts": [{"text": "where"}]},
                {"role": "user", "parts": [{"text": "do"}, {"text": "it"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "a"}}, {"functionCall": {"name": "b"}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "a"}}, {"functionResponse": {"name": "b"}}]},
                {"role": "model", "parts": [{"text": "said"}]},
                {"role": "function", "parts": [{"functionResponse": {"name": "a"}}]},
                {"role": "user", "parts": [{"text": "go on"}]},
            ],
            "tools": [{"functionDeclarations": [
                {"name": "old", "parameters": {"type": "OBJECT"}},
                {"name": "new", "parametersJsonSchema": {"type": "object"}},
            ]}, {"googleSearch": {}}],
            "generationConfig": {"maxOutputTokens": 9, "responseJsonSchema": {"type": "object"}},
        });
        let asked = ask("/v1beta/models/gemini-x:streamGenerateContent", &request);
        assert_eq!((asked.model.as_str(), asked.stream, asked.rounds), ("gemini-x", true, 2));
        assert_eq!((asked.first_prompt.as_str(), asked.max_output), ("where\ndo\nit", Some(9)));
        let tools: Vec<(&str, &Value)> = asked.tools.iter().map(|tool| (tool.name.as_str(), &tool.schema["type"])).collect();
        assert_eq!(tools, [("old", &json!("OBJECT")), ("new", &json!("object"))]);
        assert_eq!(asked.schema, Some(json!({"type": "object"})));
        let vertex = "/v1beta1/projects/p/locations/global/publishers/google/models/gemini-y:generateContent";
        let asked = ask(vertex, &request);
        assert_eq!((asked.model.as_str(), asked.stream), ("gemini-y", false));
    }

    #[test]
    fn a_body_that_is_no_request_is_malformed_and_other_paths_are_nobodys() {
        for (body, wanted) in [("{", "JSON"), ("{}", "contents")] {
            let call = Gemini.read(&Method::POST, "/v1beta/models/m:generateContent", body.as_bytes());
            let Some(Call::Malformed(message)) = call else { panic!("{call:?}") };
            assert!(message.contains(wanted), "{message}");
        }
        for path in ["/v1beta/models", "/v1beta/models/m", "/v1beta/models/m:embedContent", "/models/m:generateContent", "/v1/messages"] {
            assert_eq!(Gemini.read(&Method::POST, path, b"{\"contents\":[]}"), None, "{path}");
        }
        let counted = Gemini.read(&Method::POST, "/v1beta/models/m:countTokens", b"{\"contents\":[]}");
        assert_eq!(counted, Some(Call::CountTokens { model: "m".into() }));
    }

    #[test]
    fn errors_have_the_details_that_clients_go_by() {
        let status = |code, retry_after, message: Option<&str>| {
            Fault::Status(StatusFault { code, retry_after, message: message.map(str::to_owned) })
        };
        let (code, error) = body(&status(429, Some(2), None));
        let retry = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]);
        assert_eq!((code, &error["status"], &error["details"]), (429, &json!("RESOURCE_EXHAUSTED"), &retry));

        let (code, error) = body(&Fault::Credit(Credit {}));
        let quota = &error["details"][0]["violations"][0]["quotaId"];
        assert_eq!((code, quota), (429, &json!("GenerateRequestsPerDayPerProjectPerModel-FreeTier")));

        let (code, error) = body(&status(400, None, Some("API key not valid. Please pass a valid API key.")));
        let reason = &error["details"][0]["reason"];
        assert_eq!((code, &error["status"], reason), (400, &json!("INVALID_ARGUMENT"), &json!("API_KEY_INVALID")));

        let (code, error) = body(&Fault::ContextLength(ContextLength { tokens: 2, limit: 1 }));
        let message = "The input token count (2) exceeds the maximum number of tokens allowed (1).";
        assert_eq!((code, error), (400, json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT"})));

        let (code, error) = body(&status(503, None, None));
        assert_eq!((code, &error["code"], &error["status"]), (503, &json!(503), &json!("UNAVAILABLE")));
    }
}
