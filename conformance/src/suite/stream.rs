//! What the suite's agent prints: the stream formats of the agent label, spoken well enough to begin, say something, tell tokens, and end.
//!
//! Shapes are taken from recordings of the agents that speak so; an image's runner reads them as it would read its own agent's.

use serde_json::{Value, json};

/// A stream format, by the label `agent.stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The interface's own events.
    Native,
    /// Claude Code's `stream-json`.
    Claude,
    /// `codex exec --json`.
    Codex,
    /// Gemini CLI's `stream-json`.
    Gemini,
    /// `opencode run --format json`.
    OpenCode,
    /// Cursor's `stream-json`.
    Cursor,
    /// Kodelet's.
    Kodelet,
    /// Nothing is read of it.
    None,
    /// A format that the suite does not speak.
    Other,
}

/// How the agent says that it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    /// Well.
    Succeeded,
    /// Not well, with this text.
    Failed(&'static str),
}

/// The tokens that the suite's agent tells of: a prompt of 1,230, 200 of it read from a cache and 30 written to it; 56 generated, 6 of them
/// reasoning.
const FRESH: u64 = 1000;
const CACHE_READ: u64 = 200;
const CACHE_WRITE: u64 = 30;
const TEXT: u64 = 50;
const REASONING: u64 = 6;

/// The model and the session that it names.
const MODEL: &str = "conformance-model";
/// See [`MODEL`].
const SESSION: &str = "c04f0a0e-0000-4000-8000-000000000001";

impl Stream {
    /// The format of this name.
    #[must_use]
    pub fn of(label: &str) -> Option<Self> {
        Some(match label {
            "native" => Self::Native,
            "claude" => Self::Claude,
            "codex" => Self::Codex,
            "gemini" => Self::Gemini,
            "opencode" => Self::OpenCode,
            "cursor" => Self::Cursor,
            "kodelet" => Self::Kodelet,
            "none" => Self::None,
            "other" => Self::Other,
            _ => return None,
        })
    }

    /// Whether the format has an event that ends it, so that a stream without it is cut.
    #[must_use]
    pub fn has_end(self) -> bool {
        matches!(self, Self::Native | Self::Claude | Self::Codex | Self::Gemini | Self::Cursor)
    }

    /// Whether the suite can say in it that the agent failed.
    #[must_use]
    pub fn has_failure(self) -> bool {
        self.has_end() || self == Self::OpenCode
    }

    /// The first lines.
    #[must_use]
    pub fn begin(self) -> String {
        match self {
            Self::Native => line(json!({"type": "started", "sessionId": SESSION, "model": MODEL, "agentVersion": "0.0.0"})),
            Self::Claude => {
                line(json!({"type": "system", "subtype": "init", "cwd": "/", "session_id": SESSION, "tools": [], "mcp_servers": [],
                "model": MODEL, "permissionMode": "bypassPermissions", "apiKeySource": "none", "claude_code_version": "0.0.0", "uuid": SESSION}))
            }
            Self::Codex => line(json!({"type": "thread.started", "thread_id": SESSION})) + &line(json!({"type": "turn.started"})),
            Self::Gemini => line(json!({"type": "init", "timestamp": "2026-01-01T00:00:00.000Z", "session_id": SESSION, "model": MODEL})),
            Self::OpenCode => line(json!({"type": "step_start", "timestamp": 1, "sessionID": SESSION,
                "part": {"id": "prt_1", "messageID": "msg_1", "sessionID": SESSION, "type": "step-start"}})),
            Self::Cursor => line(json!({"type": "system", "subtype": "init", "apiKeySource": "env", "cwd": "/", "session_id": SESSION,
                "model": MODEL, "permissionMode": "default"})),
            Self::Kodelet | Self::None | Self::Other => String::new(),
        }
    }

    /// Lines by which the agent says this.
    #[must_use]
    pub fn say(self, text: &str) -> String {
        match self {
            Self::Native => line(json!({"type": "text", "text": text})),
            Self::Claude => {
                line(json!({"type": "assistant", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
                "content": [{"type": "text", "text": text}], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": FRESH, "cache_creation_input_tokens": CACHE_WRITE, "cache_read_input_tokens": CACHE_READ,
                    "output_tokens": 1}}, "parent_tool_use_id": null, "session_id": SESSION, "uuid": SESSION}))
            }
            Self::Codex => line(json!({"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": text}})),
            Self::Gemini => line(
                json!({"type": "message", "timestamp": "2026-01-01T00:00:00.000Z", "role": "assistant", "content": text, "delta": true}),
            ),
            Self::OpenCode => line(json!({"type": "text", "timestamp": 2, "sessionID": SESSION,
                "part": {"id": "prt_2", "messageID": "msg_1", "sessionID": SESSION, "type": "text", "text": text, "time": {"start": 1, "end": 2}}})),
            Self::Cursor => {
                line(json!({"type": "assistant", "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
                "session_id": SESSION}))
            }
            Self::Kodelet => line(json!({"kind": "text", "content": text, "conversation_id": SESSION, "role": "assistant"})),
            Self::None | Self::Other => format!("{text}\n"),
        }
    }

    /// The last lines: what was consumed, where `told`, and how it ends.
    #[must_use]
    pub fn end(self, saying: Saying, told: bool) -> String {
        let failure = match saying {
            Saying::Succeeded => None,
            Saying::Failed(text) => Some(text),
        };
        match self {
            Self::Native => {
                let usage = json!({"type": "usage", "complete": true, "usage": {"inputTokens": FRESH + CACHE_READ + CACHE_WRITE,
                    "cacheReadTokens": CACHE_READ, "cacheWriteTokens": CACHE_WRITE, "outputTokens": TEXT + REASONING, "reasoningTokens": REASONING}});
                let ended = json!({"type": "ended", "succeeded": failure.is_none(), "detail": failure.unwrap_or("done")});
                if told { line(usage) + &line(ended) } else { line(ended) }
            }
            Self::Claude => {
                let mut result = json!({"type": "result", "subtype": if failure.is_none() { "success" } else { "error_during_execution" },
                    "is_error": failure.is_some(), "duration_ms": 1, "duration_api_ms": 1, "num_turns": 1, "session_id": SESSION,
                    "result": failure.unwrap_or("done"), "uuid": SESSION});
                if told {
                    result["usage"] = json!({"input_tokens": FRESH, "cache_creation_input_tokens": CACHE_WRITE,
                        "cache_read_input_tokens": CACHE_READ, "output_tokens": TEXT + REASONING});
                    result["modelUsage"] = json!({MODEL: {"inputTokens": FRESH, "outputTokens": TEXT + REASONING,
                        "cacheReadInputTokens": CACHE_READ, "cacheCreationInputTokens": CACHE_WRITE, "costUSD": 0.01}});
                    result["total_cost_usd"] = json!(0.01);
                }
                line(result)
            }
            Self::Codex => match failure {
                Some(text) => line(json!({"type": "turn.failed", "error": {"message": text}})),
                None if told => line(json!({"type": "turn.completed", "usage": {"input_tokens": FRESH + CACHE_READ + CACHE_WRITE,
                    "cached_input_tokens": CACHE_READ, "output_tokens": TEXT + REASONING, "reasoning_output_tokens": REASONING}})),
                None => line(json!({"type": "turn.completed"})),
            },
            Self::Gemini => {
                let mut result = json!({"type": "result", "timestamp": "2026-01-01T00:00:00.000Z",
                    "status": if failure.is_none() { "success" } else { "error" }});
                if told {
                    let stats = json!({"total_tokens": FRESH + CACHE_READ + TEXT, "input_tokens": FRESH + CACHE_READ, "output_tokens": TEXT,
                        "cached": CACHE_READ, "input": FRESH});
                    result["stats"] = stats.clone();
                    result["stats"]["duration_ms"] = json!(1);
                    result["stats"]["tool_calls"] = json!(0);
                    result["stats"]["models"] = json!({MODEL: stats});
                }
                if let Some(text) = failure {
                    result["error"] = json!({"type": "Error", "message": text});
                }
                line(result)
            }
            Self::OpenCode => match failure {
                Some(text) => line(
                    json!({"type": "error", "timestamp": 3, "sessionID": SESSION, "error": {"name": "UnknownError", "data": {"message": text}}}),
                ),
                None => {
                    let mut part =
                        json!({"id": "prt_3", "messageID": "msg_1", "sessionID": SESSION, "type": "step-finish", "reason": "stop"});
                    if told {
                        part["tokens"] = json!({"total": FRESH + CACHE_READ + CACHE_WRITE + TEXT + REASONING, "input": FRESH, "output": TEXT,
                            "reasoning": REASONING, "cache": {"write": CACHE_WRITE, "read": CACHE_READ}});
                        part["cost"] = json!(0.01);
                    }
                    line(json!({"type": "step_finish", "timestamp": 3, "sessionID": SESSION, "part": part}))
                }
            },
            Self::Cursor => {
                let mut result = json!({"type": "result", "subtype": if failure.is_none() { "success" } else { "error" }, "duration_ms": 1,
                    "duration_api_ms": 1, "is_error": failure.is_some(), "result": failure.unwrap_or("done"), "session_id": SESSION});
                if told {
                    result["usage"] = json!({"inputTokens": FRESH + CACHE_READ + CACHE_WRITE, "outputTokens": TEXT + REASONING,
                        "cacheReadTokens": CACHE_READ, "cacheWriteTokens": CACHE_WRITE});
                }
                line(result)
            }
            Self::Kodelet => line(json!({"kind": "content-end", "conversation_id": SESSION, "role": "assistant"})),
            Self::None | Self::Other => String::new(),
        }
    }

    /// The results that have to follow from a stream whose end told what was consumed; none where the format tells nothing.
    #[must_use]
    pub fn tokens(self) -> Vec<(&'static str, u64)> {
        let prompt = ("input-tokens", FRESH + CACHE_READ + CACHE_WRITE);
        let (read, written) = (("cache-read-tokens", CACHE_READ), ("cache-write-tokens", CACHE_WRITE));
        let (output, reasoning) = (("output-tokens", TEXT + REASONING), ("reasoning-tokens", REASONING));
        match self {
            Self::Native | Self::OpenCode => vec![prompt, read, written, output, reasoning],
            Self::Claude => vec![prompt, read, written, output],
            Self::Codex => vec![prompt, read, output, reasoning],
            Self::Gemini => vec![("input-tokens", FRESH + CACHE_READ), read, ("output-tokens", TEXT)],
            // What Cursor's fields include is nowhere documented.
            Self::Cursor | Self::Kodelet | Self::None | Self::Other => Vec::new(),
        }
    }
}

fn line(value: Value) -> String {
    format!("{value}\n")
}
