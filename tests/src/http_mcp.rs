//! An MCP server by HTTP on loopback, with one tool, that remembers the headers of what it was asked.
//!
//! It speaks both transports, each in its smallest form. Streamable HTTP
//! (<https://modelcontextprotocol.io/specification/2025-06-18/basic/transports#streamable-http>): a POST to `/mcp` is answered with one
//! JSON object. Server-sent events (<https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>): a GET of
//! `/sse` opens the stream, whose first event says where to POST; the answers are events of the stream.

#![allow(clippy::unwrap_used, reason = "a fixture that fails is a failed test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// One request: its headers, names in lower case, and its JSON-RPC message.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Lines `name: value`.
    pub headers: Vec<String>,
    /// The message; null if there was none.
    pub message: Value,
}

/// A running server; its threads end with the test's process.
#[derive(Debug)]
pub struct HttpMcp {
    origin: String,
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    asked: Mutex<Vec<Asked>>,
    /// The open streams of server-sent events, in the order of their opening.
    streams: Mutex<Vec<TcpStream>>,
}

impl HttpMcp {
    /// Starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let memory = Arc::new(Memory::default());
        let server = Self { origin, memory: Arc::clone(&memory) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let memory = Arc::clone(&memory);
                // A client that breaks off is no failure of the test.
                std::thread::spawn(move || drop(serve(stream, &memory)));
            }
        });
        server
    }

    /// Its URL for streamable HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// Its URL for server-sent events.
    #[must_use]
    pub fn sse_url(&self) -> String {
        format!("{}/sse", self.origin)
    }

    /// What it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.memory.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, memory: &Memory) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let headers: Vec<String> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| format!("{}: {}", name.to_ascii_lowercase(), value.trim()))
            .collect();
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let message: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        memory.asked.lock().unwrap().push(Asked { headers, message: message.clone() });
        if head[0].starts_with("GET /sse") {
            let mut streams = memory.streams.lock().unwrap();
            let number = streams.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: endpoint\ndata: /post/{number}\n\n")?;
            streams.push(stream.try_clone()?);
            continue;
        }
        if let Some(number) = head[0].strip_prefix("POST /post/") {
            let number: usize = number.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
            write!(stream, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
            if let (Some(answer), Some(stream)) = (answer(&message), memory.streams.lock().unwrap().get_mut(number)) {
                write!(stream, "event: message\ndata: {answer}\n\n")?;
            }
            continue;
        }
        let answer = answer(&message).map(|answer| answer.to_string()).unwrap_or_default();
        let status = match (head[0].starts_with("POST "), answer.is_empty()) {
            (false, _) => "405 Method Not Allowed",
            (true, true) => "202 Accepted",
            (true, false) => "200 OK",
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())?;
    }
}

fn answer(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "http-mcp", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{
            "name": "weather",
            "description": "Tells the weather.",
            "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        }]}),
        "tools/call" => json!({"content": [{"type": "text", "text": "it rains by http"}]}),
        _ => json!({}),
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}
