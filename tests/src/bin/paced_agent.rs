//! A stand-in for Claude Code where hundreds of runs are needed: prints a Claude stream, message by message, and keeps the bill.
//!
//! Usage: `BILL=FILE MESSAGES=N [GATE=FIFO | PACE_MS=N] paced_agent [ANYTHING]...`. A message's line goes to `BILL` before the message
//! goes to stdout, as a provider bills before the client prints. Before each message and before the result a byte is read from `GATE`,
//! so that a test says when; or time passes, so that it can be killed anywhere.

#![allow(clippy::unwrap_used, reason = "a fixture: whatever is unexpected here is a failed test")]

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::thread::sleep;
use std::time::Duration;

use agent_tests::paced::{CACHE_READ, CACHE_WRITE, billed, fresh, generated};
use serde_json::json;

fn number(name: &str) -> u64 {
    env::var(name).ok().map_or(0, |text| text.parse().unwrap())
}

fn main() {
    let mut prompt = Vec::new();
    std::io::stdin().read_to_end(&mut prompt).unwrap();
    let mut gate = env::var_os("GATE").map(|path| File::open(path).unwrap());
    let pace = Duration::from_millis(number("PACE_MS"));
    let mut wait = || match &mut gate {
        Some(gate) => gate.read_exact(&mut [0]).unwrap(),
        None => sleep(pace),
    };
    let mut bill = OpenOptions::new().append(true).create(true).open(env::var_os("BILL").unwrap()).unwrap();
    let say = |line: serde_json::Value| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).unwrap();
    };

    say(
        json!({"type": "system", "subtype": "init", "session_id": "s", "model": "m", "claude_code_version": "2.1.197", "tools": [], "mcp_servers": []}),
    );
    let messages = number("MESSAGES");
    for number in 0..messages {
        wait();
        bill.write_all(b".").unwrap();
        // As the real one: the prompt's tokens are final, of those that are generated only the first is there.
        let usage = json!({
            "input_tokens": fresh(number), "output_tokens": 1,
            "cache_read_input_tokens": CACHE_READ, "cache_creation_input_tokens": CACHE_WRITE,
        });
        let content = json!([{"type": "text", "text": format!("message {number}")}]);
        let id = format!("msg_{number}");
        say(
            json!({"type": "assistant", "message": {"id": id, "model": "m", "role": "assistant", "usage": usage, "content": content}, "parent_tool_use_id": null, "session_id": "s"}),
        );
    }
    wait();
    let total = billed(messages);
    let of_model = json!({
        "inputTokens": (0..messages).map(fresh).sum::<u64>(), "outputTokens": (0..messages).map(generated).sum::<u64>(),
        "cacheReadInputTokens": total.cache_read, "cacheCreationInputTokens": total.cache_write, "costUSD": 0.01,
    });
    say(json!({
        "type": "result", "subtype": "success", "is_error": false, "num_turns": messages, "result": "done", "stop_reason": "end_turn", "session_id": "s",
        "total_cost_usd": 0.01, "usage": {"input_tokens": 0, "output_tokens": 0}, "modelUsage": {"m": of_model},
    }));
}
