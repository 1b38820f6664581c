//! A client that hides nothing: it tells a body that ended in order from one that was cut, and can stop reading at will.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// What a client sees of an exchange.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body ended as HTTP says that it must: all of its length, or the last chunk.
    pub is_whole: bool,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The data of each whole server-sent event.
    pub fn events(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let (whole, _) = text.rsplit_once("\n\n").unwrap_or(("", ""));
        let data = whole.split("\n\n").filter_map(|event| event.split_once("\ndata: "));
        data.map(|(_, data)| serde_json::from_str(data).expect("an event's data is JSON")).collect()
    }
}

/// A request on its way, its connection open.
pub struct Exchange {
    stream: TcpStream,
    raw: Vec<u8>,
}

impl Exchange {
    pub fn start(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).expect("the model listens");
        // Only so that a test of a server that hangs fails in the end.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        head += &format!("content-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        Self { stream, raw: Vec::new() }
    }

    /// Reads until the server closes. `None` if it closed without a byte.
    pub fn finish(mut self) -> Option<Seen> {
        match self.stream.read_to_end(&mut self.raw) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
        (!self.raw.is_empty()).then(|| parse(&self.raw))
    }

    /// Reads until the body so far has `length` bytes, and leaves the connection open.
    pub fn read_body(&mut self, length: usize) -> Seen {
        loop {
            if self.raw.windows(4).any(|window| window == b"\r\n\r\n") {
                let seen = parse(&self.raw);
                if seen.body.len() >= length {
                    return seen;
                }
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).expect("more of the body");
            assert_ne!(count, 0, "the server closed before {length} bytes of the body");
            self.raw.extend_from_slice(&buffer[..count]);
        }
    }

    /// Whether there is neither a byte nor an end to read just now.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read(&mut [0; 1]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn parse(raw: &[u8]) -> Seen {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").expect("whole headers");
    let head = std::str::from_utf8(&raw[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").expect("a header")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut seen = Seen { status, headers, body: raw[end + 4..].to_vec(), is_whole: false };
    if seen.header("transfer-encoding") == Some("chunked") {
        (seen.body, seen.is_whole) = unchunk(&seen.body);
    } else {
        let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        seen.is_whole = seen.body.len() == length;
    }
    seen
}

fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let data = &raw[line + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        if data.len() < size + 2 {
            break;
        }
        raw = &data[size + 2..];
    }
    (body, false)
}

/// A question as a coding agent asks it, with a shell tool and so many rounds of tool results.
pub fn question(rounds: usize, stream: bool) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "Please do it."})];
    for round in 0..rounds {
        let id = format!("toolu_{round}");
        messages.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "Bash", "input": {}}]}));
        messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "ok"}]}));
    }
    let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]});
    json!({
        "model": "claude-test",
        "max_tokens": 1000,
        "stream": stream,
        "messages": messages,
        "tools": [{"name": "Bash", "description": "runs a command", "input_schema": schema}],
    })
}

/// Asks and waits for the end.
pub fn ask(address: SocketAddr, question: &Value) -> Option<Seen> {
    start(address, question).finish()
}

/// Asks.
pub fn start(address: SocketAddr, question: &Value) -> Exchange {
    let body = question.to_string();
    Exchange::start(address, "POST", "/v1/messages?beta=true", &[("x-api-key", "sk-of-the-test")], body.as_bytes())
}
