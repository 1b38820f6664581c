//! MCP servers, in the form that all agents' documentation uses.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::McpServer;
use super::super::fields::{FieldError, Fields, Got, quote};
use super::{Errors, is_http_url, read_text_map, read_words};

/// Checks the value of `mcpServers`; with the wrapping object `{"mcpServers":{…}}` or without.
///
/// # Errors
/// Every wrong field, with paths that begin with `mcpServers`.
pub fn parse_mcp_servers(value: &Value) -> Result<BTreeMap<String, McpServer>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let inner = value.get("mcpServers").unwrap_or(value);
    let servers = match inner.as_object() {
        Some(servers) => read_mcp_servers("mcpServers", servers, &mut errors),
        None => {
            errors.push(FieldError {
                path: "mcpServers".into(),
                got: Got::Quoted(quote(inner)),
                expected: "an object of servers by name".into(),
                hint: None,
            });
            BTreeMap::new()
        }
    };
    if errors.is_empty() { Ok(servers) } else { Err(errors) }
}

pub(super) fn read_mcp_servers(prefix: &str, servers: &Map<String, Value>, e: Errors<'_>) -> BTreeMap<String, McpServer> {
    let mut read = BTreeMap::new();
    for (name, value) in servers {
        let path = format!("{prefix}.{name}");
        // Agents build tool names from it (mcp__NAME__tool), and TOML and JSON keys.
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            e.push(FieldError {
                path: path.clone(),
                got: Got::Unquoted,
                expected: "a server name of 1 to 64 letters, digits, `-` and `_`".into(),
                hint: None,
            });
        }
        let Some(object) = value.as_object() else {
            e.push(FieldError { path, got: Got::Quoted(quote(value)), expected: "an object".into(), hint: None });
            continue;
        };
        if let Some(server) = read_mcp_server(&path, object, e) {
            read.insert(name.clone(), server);
        }
    }
    read
}

fn read_mcp_server(path: &str, object: &Map<String, Value>, e: Errors<'_>) -> Option<McpServer> {
    let mut s = Fields::new(path, object);
    let kind = s.read("type", "`stdio`, `http` or `sse`", e, |value| match value.as_str()? {
        "stdio" => Some("stdio"),
        "http" | "streamable-http" | "streamableHttp" => Some("http"),
        "sse" => Some("sse"),
        _ => None,
    });
    let kind = kind.or_else(|| match (object.contains_key("command"), object.contains_key("url"), object.contains_key("type")) {
        (_, _, true) => None,
        (true, false, _) => Some("stdio"),
        (false, true, _) => Some("http"),
        _ => {
            e.push(FieldError {
                path: path.to_owned(),
                got: Got::Missing,
                expected: "either `command` or `url`".into(),
                hint: Some("`command` for a program, `url` for a server by HTTP".into()),
            });
            None
        }
    });
    let server = match kind {
        Some("stdio") => {
            let command = require(&mut s, "command", e);
            let args = read_words(&mut s, "args", e);
            let env = read_text_map(&mut s, "env", e);
            command.map(|command| McpServer::Stdio { command, args, env })
        }
        Some(kind) => {
            let url = require(&mut s, "url", e);
            if let Some(url) = &url
                && !is_http_url(url)
            {
                // Its query may hold a token.
                let expected = "a URL that begins with http:// or https://".into();
                e.push(FieldError { path: s.path("url"), got: Got::Unquoted, expected, hint: None });
            }
            let headers = read_text_map(&mut s, "headers", e);
            url.map(|url| if kind == "sse" { McpServer::Sse { url, headers } } else { McpServer::Http { url, headers } })
        }
        // The kind is wrong: unknown fields cannot be told from known ones.
        None => return None,
    };
    s.finish(e);
    server
}

fn require(fields: &mut Fields<'_>, name: &'static str, e: Errors<'_>) -> Option<String> {
    if fields.value(name).is_none() {
        fields.missing(name, "a value", e);
    }
    fields.text(name, e)
}
