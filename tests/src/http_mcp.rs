//! An MCP server by streamable HTTP on loopback, with one tool, `echo`, that answers with the text it got; it keeps the headers it saw.
//!
//! The protocol is <https://modelcontextprotocol.io/specification/2025-06-18/basic/transports>, as far as a server needs it that only answers.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::git_servers::{HttpRequest, Listener, answer, read_request};

/// The server; gone when dropped.
#[derive(Debug)]
pub struct HttpMcp {
    listener: Listener,
    seen: Arc<Mutex<Vec<Call>>>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The JSON-RPC method; empty for requests without a body.
    pub method: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl HttpMcp {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let listener = Listener::start(move |stream| {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read_request(&mut stream) {
                let answer = respond(request, &log);
                let Ok(()) = stream.get_mut().write_all(&answer) else { return };
            }
        });
        Self { listener, seen }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.listener.address())
    }

    /// What it was asked so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Call> {
        self.seen.lock().unwrap().clone()
    }
}

fn respond(request: HttpRequest, log: &Mutex<Vec<Call>>) -> Vec<u8> {
    let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    log.lock().unwrap().push(Call { method: method.clone(), headers: request.headers });
    if request.method != "POST" {
        // No stream of the server's own, and no sessions to end.
        return answer("405 Method Not Allowed", "", b"");
    }
    let Some(id) = message.get("id") else { return answer("202 Accepted", "", b"") };
    let parameters = &message["params"];
    let result = match method.as_str() {
        "initialize" => json!({
            "protocolVersion": parameters["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "http-mcp", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{
            "name": "echo", "description": "Answers with the text that it is given.",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        }]}),
        "tools/call" => {
            let text = parameters["arguments"]["text"].as_str().unwrap_or_default();
            json!({"content": [{"type": "text", "text": format!("over http: {text}")}]})
        }
        _ => json!({}),
    };
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    answer("200 OK", "Content-Type: application/json\r\n", body.as_bytes())
}
