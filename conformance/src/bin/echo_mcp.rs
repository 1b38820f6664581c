//! `echo-mcp`: an MCP server on standard input and output with one tool, `echo`, that answers with the text it got.
//!
//! For tests that want to see an agent list an MCP tool, call it, and pass on its answer. What it was asked is
//! appended to the file named by `ECHO_MCP_LOG`, a JSON-RPC message a line; the file's first line has its arguments and
//! the names (never the values) of the environment's variables, for tests of what an agent gives to such servers.
//!
//! The protocol is <https://modelcontextprotocol.io/specification/2025-06-18/basic/lifecycle>.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Write as _};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let mut log = match std::env::var_os("ECHO_MCP_LOG") {
        Some(path) => Some(OpenOptions::new().append(true).create(true).open(path)?),
        None => None,
    };
    let names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    write_line(&mut log, &json!({ "arguments": arguments, "environment": names }))?;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        write_line(&mut log, &message)?;
        if let Some(answer) = answer(&message) {
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
    Ok(())
}

fn write_line(log: &mut Option<File>, message: &Value) -> io::Result<()> {
    log.as_mut().map_or(Ok(()), |log| writeln!(log, "{message}"))
}

/// The answer to a request; none to a notification.
fn answer(message: &Value) -> Option<Value> {
    let id = message.get("id")?;
    let parameters = &message["params"];
    let result = match message["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": parameters["protocolVersion"].as_str().unwrap_or("2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo-mcp", "version": env!("CARGO_PKG_VERSION")},
        }),
        "ping" => json!({}),
        "tools/list" => json!({"tools": [{
            "name": "echo",
            "description": "Answers with the text that it is given.",
            "inputSchema": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        }]}),
        "tools/call" if parameters["name"] == "echo" => {
            let text = parameters["arguments"]["text"].as_str().unwrap_or_default();
            json!({"content": [{"type": "text", "text": format!("echo: {text}")}]})
        }
        method => {
            let error = json!({"code": -32601, "message": format!("`{method}` is not known here")});
            return Some(json!({"jsonrpc": "2.0", "id": id, "error": error}));
        }
    };
    Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
}
