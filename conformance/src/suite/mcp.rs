//! The suite's MCP servers, with one tool: on stdin and stdout, as a program in the container; and over HTTP, on loopback.
//!
//! The protocol is <https://modelcontextprotocol.io/specification/2025-06-18/basic/transports>, as small as agents bear it: JSON-RPC
//! requests are answered one by one, and nothing is streamed.

use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::evidence::McpRequest;
use super::loopback::LoopbackServer;

/// The one tool.
pub const TOOL: &str = "conformance_echo";
/// The header that the HTTP server wants to see.
pub const HEADER: &str = "x-conformance";
/// No request of an agent is nearly so long.
const BODY_LIMIT: usize = 8 << 20;

/// The answer to a message; none to a notification.
#[must_use]
pub fn answer(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"].as_str().unwrap_or("2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "conformance", "version": env!("CARGO_PKG_VERSION")},
        }),
        "tools/list" => json!({"tools": [{
            "name": TOOL,
            "description": "Answers with the text that it was given.",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        }]}),
        "tools/call" => json!({"content": [{"type": "text", "text": format!("echo: {}", message["params"]["arguments"]["text"])}]}),
        "ping" => json!({}),
        _ => return Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no such method"}})),
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// Serves on stdin and stdout until stdin ends, and tells of each method that is called.
///
/// # Errors
/// Stdin or stdout is broken.
pub fn serve_stdio(called: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        called(message["method"].as_str().unwrap_or_default());
        if let Some(answer) = answer(&message) {
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
    Ok(())
}

/// A server over HTTP. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    requests: Arc<Mutex<Vec<McpRequest>>>,
    server: LoopbackServer,
}

impl HttpServer {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, or no thread.
    pub fn start() -> io::Result<Self> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = LoopbackServer::start("mcp", move |request| respond(Arc::clone(&kept), request))?;
        Ok(Self { requests, server })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.server.address())
    }

    /// What was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<McpRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn respond(requests: Arc<Mutex<Vec<McpRequest>>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let header = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_post = request.method() == Method::POST;
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    requests.lock().unwrap_or_else(PoisonError::into_inner).push(McpRequest { method, header });
    let (status, text) = match answer(&message) {
        // There is no stream to GET, and no session to DELETE.
        _ if !is_post => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        Some(answer) => (StatusCode::OK, answer.to_string()),
        None => (StatusCode::ACCEPTED, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
