//! The runner's own log: one line per thing on stderr, for people. Machine output goes to stdout and files.

use tracing_subscriber::EnvFilter;

/// The variable that says how much is logged, in the syntax of `tracing-subscriber`'s filters: `warn`, `debug`, …
pub const VARIABLE: &str = "AGENT_RUNNER_LOG";

/// Starts it. Only warnings of libraries are shown, everything of ours from `info` on.
pub fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("warn,agent_runner=info"));
    // A stderr that is gone (a terminal that hung up) must not end the run: the subscriber would say so on stderr, and panic.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .without_time()
        .log_internal_errors(false);
    // A second start, in tests, leaves the first one in place.
    let _ = subscriber.try_init();
}
