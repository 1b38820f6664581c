//! A stand-in for a coding agent in the benchmark of added time: stamps its start and end, and prints a finished Claude stream in between.
//!
//! Usage: `STAMPS=FILE stamp_agent [ANYTHING]...`; the file gets two lines, nanoseconds of CLOCK_MONOTONIC.

use std::io::Write;

const STREAM: &str = concat!(
    r#"{"type":"system","subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.197","tools":[],"mcp_servers":[]}"#,
    "\n",
    r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"done","stop_reason":"end_turn","session_id":"s","total_cost_usd":0.01,"usage":{"input_tokens":5,"output_tokens":6},"modelUsage":{"m":{"inputTokens":5,"outputTokens":6,"cacheReadInputTokens":0,"cacheCreationInputTokens":0,"costUSD":0.01}}}"#,
    "\n"
);

fn now() -> u128 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(|time| std::time::Duration::from(time).as_nanos()).unwrap_or_default()
}

fn main() -> std::io::Result<()> {
    let start = now();
    std::io::stdout().write_all(STREAM.as_bytes())?;
    std::io::stdout().flush()?;
    if let Some(path) = std::env::var_os("STAMPS") {
        std::fs::write(path, format!("{start}\n{}\n", now()))?;
    }
    Ok(())
}
