//! `git-credential` as the runner has it, and, while git waits for it, a search of all processes' arguments for the secret.

use std::io::Write;
use std::process::ExitCode;

use agent_runner::workspace::credential::{HelperArgs, read_token, serve};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1)).cloned().unwrap_or_default();
    let args = HelperArgs { token_file: after("--token-file").into(), origin: after("--origin"), username: after("--username") };
    if let Ok(token) = read_token(&args.token_file) {
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
            if line.windows(token.len()).any(|part| part == token.as_bytes()) {
                let _ = writeln!(std::io::stderr(), "LEAK {}", String::from_utf8_lossy(&line));
            }
        }
    }
    let action = words.last().cloned().unwrap_or_default();
    serve(&action, &args, &mut std::io::stdin().lock(), &mut std::io::stdout(), &mut std::io::stderr())
}
