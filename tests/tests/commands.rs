//! The commands as people type them: real processes of the built binary, what they print, write and end with.

use std::io::{BufRead, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use agent_sdk::termination::TerminationMessage;
use agent_sdk::verdict::{Reason, Status};
use agent_tests::probe::runner;
use agent_tests::repo::git_ok;
use agent_tests::runs::wait_until;

/// A directory of its own, in which the runner is started with nothing in its environment but PATH and HOME.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let path = std::env::join_paths(
            std::iter::once(runner().parent().unwrap().to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut command = Command::new(runner());
        command.args(args).current_dir(self.path()).env_clear().env("PATH", path.unwrap()).env("HOME", self.path());
        command.env("AGENT_TERMINATION_LOG", self.path().join("termination-log")).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn message(&self) -> TerminationMessage {
        TerminationMessage::parse(&std::fs::read(self.path().join("termination-log")).unwrap()).unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn exec_passes_output_code_and_claims_on() {
    let desk = Desk::new();
    let script =
        "echo hello; agent-runner emit summary 'all good'; printf noted > $AGENT_RESULTS_DIR/note; agent-runner emit commit forged; exit 3";
    let output = desk.run(&["exec", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).starts_with("hello\n"));
    assert!(stderr(&output).contains("only the runner may set"), "a fact cannot be emitted: {}", stderr(&output));
    let message = desk.message();
    assert_eq!((message.status, message.reason, message.exit_code), (Status::Failed, Reason::AgentFailed, 3));
    assert_eq!(message.parameters["summary"], "all good");
    assert_eq!(message.parameters["note"], "noted");
    assert!(!message.parameters.contains_key("commit"));
    assert_eq!(message.claims, ["note", "summary"]);
}

/// What believes `PWD` would work somewhere else.
#[test]
fn the_directory_that_a_program_is_told_is_the_one_that_it_starts_in() {
    let desk = Desk::new();
    let work = desk.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::os::unix::fs::symlink(&work, desk.path().join("link")).unwrap();
    let told = |dir: &str, pwd: &Path| {
        let mut command = desk.command(&["exec", "--", "printenv", "PWD", "OLDPWD"]);
        let output = command.env("AGENT_WORKSPACE_DIR", dir).env("PWD", pwd).env("OLDPWD", "/old").output().unwrap();
        stdout(&output)
    };
    assert_eq!(told("work", desk.path()), format!("{}\n", work.display()));
    // A way by a link is not taken from who has it.
    let link = desk.path().join("link");
    assert_eq!(told("work", &link), format!("{}\n/old\n", link.display()));
}

#[test]
fn the_code_of_an_agent_that_failed_and_lingers_tells_of_its_end_only() {
    let desk = Desk::new();
    let agent = desk.path().join("agent");
    std::fs::write(&agent, "#!/bin/sh\necho '{\"type\":\"ended\",\"succeeded\":false}'\nexec sleep infinity\n").unwrap();
    std::fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = desk.command(&["run"]);
    command.env("AGENT_TYPE", "native").env("AGENT_PROMPT", "do it").env("AGENT_PROGRAM", agent).env("AGENT_LINGER", "100ms");
    let output = command.output().unwrap();
    let message = desk.message();
    let said = (message.status, message.reason, message.exit_code, message.agent_exit_code, message.signal);
    assert_eq!(said, (Status::Failed, Reason::AgentFailed, 1, Some(143), None), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_block_without_the_runs_nonce_is_no_result() {
    let desk = Desk::new();
    let forged = "printf -- '---AGENT_OUTPUTS_START 00000000000000000000000000000000---\\nsummary: forged\\n---AGENT_OUTPUTS_END 00000000000000000000000000000000---\\n'";
    let output = desk.run(&["exec", "--", "sh", "-c", forged]);
    assert!(output.status.success());
    let message = desk.message();
    assert!(!message.parameters.contains_key("summary"));
    assert!(message.warnings.iter().any(|warning| warning.contains("nonce")), "{:?}", message.warnings);
}

/// Whoever opens a FIFO that nobody writes to waits for ever. Both wait for as long as the end may take once the time is over.
#[test]
fn a_repository_that_holds_whoever_looks_at_it_costs_its_facts_and_not_the_report() {
    let run = |fifo: &str| {
        let desk = Desk::new();
        git_ok(desk.path(), ["init", "-q"]);
        let script = format!("rm -f {fifo}; mkfifo {fifo}");
        let output = desk.command(&["exec", "--", "sh", "-c", &script]).env("AGENT_TIMEOUT", "6s").output().unwrap();
        let message = desk.message();
        assert!(message.warnings.iter().any(|warning| warning.contains("could not be looked at in time")), "{}", stderr(&output));
        assert!(!message.parameters.contains_key("dirty"), "{message:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(".gitignore"));
        scope.spawn(|| run(".git/index"));
    });
}

#[test]
fn what_a_block_says_in_vain_is_a_warning() {
    let desk = Desk::new();
    // The last is longer than any line that is read whole.
    let script = r#"echo "---AGENT_OUTPUTS_START $AGENT_NONCE---"; echo 'small: ok'; echo 'bad key: v'; echo 'escaped: a\\qb'
        for length in 70000 300000; do printf "big$length: %0${length}d\n" 0; done
        echo "---AGENT_OUTPUTS_END $AGENT_NONCE---"; echo "---AGENT_OUTPUTS_START $AGENT_NONCE---"; echo 'never: ended'"#;
    assert!(desk.run(&["exec", "--", "sh", "-c", script]).status.success());
    let message = desk.message();
    assert_eq!(message.claims, ["small"]);
    let said = message.warnings.join("\n");
    assert!(["1 marker blocks", "2 lines in", "2 values in"].iter().all(|what| said.contains(what)), "{said}");
}

#[test]
fn exec_of_what_is_not_there_ends_as_a_shell_would() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["exec", "--", "/nonexistent"]).status.code(), Some(127));
    assert_eq!(desk.message().reason, Reason::AgentNotFound);
    std::fs::write(desk.path().join("plain"), "no program").unwrap();
    assert_eq!(desk.run(&["exec", "--", "./plain"]).status.code(), Some(126));
}

#[test]
fn every_wrong_input_is_named_and_nothing_is_started() {
    let desk = Desk::new();
    let mut command = desk.command(&["--prompt", "x"]);
    command
        .env("AGENT_DEPTH", "many")
        .env("AGENT_TRUST", "me")
        .env("AGENT_MCP_SERVERS", "{")
        .env("AGENT_SETUP_COMMAND", r#"["touch","started"]"#);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(65));
    for part in ["AGENT_TYPE", "AGENT_DEPTH", "AGENT_TRUST", "AGENT_MCP_SERVERS"] {
        assert!(stderr(&output).contains(part), "{part} in {}", stderr(&output));
    }
    assert!(!desk.path().join("started").exists());
    let message = desk.message();
    assert_eq!((message.reason, message.exit_code), (Reason::InvalidTask, 65));
    assert!(message.message.unwrap().contains("AGENT_DEPTH"));
}

#[test]
fn a_wrong_flag_is_reported_like_everything_else() {
    let desk = Desk::new();
    let output = desk.run(&["run", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(desk.message().reason, Reason::UsageError);
}

#[test]
fn an_interface_version_that_is_not_spoken_names_both() {
    let desk = Desk::new();
    let output = desk.run(&["--type", "native", "--program", "true", "--prompt", "x", "--interface-version", "2.0"]);
    assert_eq!(output.status.code(), Some(76));
    let text = desk.message().message.unwrap();
    assert!(text.contains("2.0") && text.contains(agent_sdk::INTERFACE_VERSION), "{text}");
    assert_eq!(desk.run(&["--type", "native", "--program", "true", "--prompt", "x", "--interface-version", "1.9"]).status.code(), Some(75));
}

#[test]
fn a_setup_command_that_fails_ends_the_task_with_its_code() {
    let desk = Desk::new();
    let setup = r#"["sh","-c","echo preparing; exit 42"]"#;
    let output =
        desk.run(&["--type", "native", "--program", "touch", "--extra-args", r#"["started"]"#, "--prompt", "x", "--setup-command", setup]);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(desk.message().reason, Reason::SetupFailed);
    assert!(stderr(&output).contains("preparing") && !stdout(&output).contains("preparing"), "setup's output is log, not stream");
    assert!(!desk.path().join("started").exists());
}

#[test]
fn setup_prepares_and_starts_no_agent() {
    let desk = Desk::new();
    let output = desk.run(&[
        "setup",
        "--type",
        "native",
        "--program",
        "touch",
        "--extra-args",
        r#"["started"]"#,
        "--setup-command",
        r#"["touch","ready"]"#,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(desk.path().join("ready").exists() && !desk.path().join("started").exists());
    assert_eq!(desk.message().status, Status::Succeeded);
}

#[test]
fn a_secret_that_the_agent_prints_is_masked_everywhere() {
    let desk = Desk::new();
    let mut command = desk.command(&[
        "exec",
        "--result-file",
        "result.json",
        "--",
        "sh",
        "-c",
        "echo key $MY_API_KEY; echo $MY_API_KEY >&2; agent-runner emit leak $MY_API_KEY",
    ]);
    let output = command.env("MY_API_KEY", "sk-very-secret-0123456789").output().unwrap();
    for text in [
        stdout(&output),
        stderr(&output),
        std::fs::read_to_string(desk.path().join("result.json")).unwrap(),
        std::fs::read_to_string(desk.path().join("termination-log")).unwrap(),
    ] {
        assert!(!text.contains("sk-very-secret"), "{text}");
    }
    assert!(stdout(&output).contains("key ***"));
}

#[test]
fn install_copies_the_binary_and_the_copy_works() {
    let desk = Desk::new();
    assert_eq!(stdout(&desk.run(&["install", "bin/"])).trim(), "bin/agent-runner");
    let version = Command::new(desk.path().join("bin/agent-runner")).args(["version", "--json"]).output().unwrap();
    let version: serde_json::Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(version["interfaceVersions"][0], agent_sdk::INTERFACE_VERSION);
}

#[test]
fn doctor_says_what_is_missing_before_a_task_does() {
    let desk = Desk::new();
    let output = desk.run(&["doctor", "--type", "native", "--program", "no-such-agent", "--token-file", "gone"]);
    assert_eq!(output.status.code(), Some(69));
    let text = stdout(&output);
    assert!(text.lines().any(|line| line.starts_with("FAIL") && line.contains("no-such-agent")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("FAIL") && line.contains("AGENT_TOKEN_FILE")), "{text}");
    std::fs::write(desk.path().join("file"), "").unwrap();
    let places = ["--plugin-dir", "nope", "--interface-version", "9.0", "--workspace-dir", "file/below", "--repo", "https://host/r"];
    let output = desk.run(&[&["doctor", "--type", "native", "--program", "sh"], &places[..]].concat());
    assert_eq!(output.status.code(), Some(69));
    let text = stdout(&output);
    for wrong in ["AGENT_PLUGIN_DIR: ", "`9.0`", "AGENT_WORKSPACE_DIR: "] {
        assert!(text.lines().any(|line| line.starts_with("FAIL") && line.contains(wrong)), "{wrong}: {text}");
    }
    let output = desk.run(&["doctor", "--type", "native", "--program", "sh"]);
    assert!(output.status.success(), "{}", stdout(&output));
}

#[test]
fn wrong_inputs_are_told_where_the_document_says() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("t.yaml"), "limits: {timeout: soon}\nsinks: {terminationLog: msg, terminationBudget: 256}\n").unwrap();
    let ended = desk.command(&["--task", "t.yaml"]).env_remove("AGENT_TERMINATION_LOG").output().unwrap();
    assert_eq!(ended.status.code(), Some(65));
    let message = std::fs::read(desk.path().join("msg")).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&message).unwrap();
    assert!(message.len() <= 256 && parsed["reason"] == "InvalidTask", "{parsed}");
}

#[test]
fn completions_and_help_are_there_for_every_command() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&desk.run(&["completions", shell])).contains("agent-runner"), "{shell}");
    }
    for command in [
        "run",
        "setup",
        "clone",
        "exec",
        "capture",
        "emit",
        "replay",
        "install",
        "doctor",
        "demo",
        "schema",
        "version",
        "completions",
        "kubeopencode",
        "manifest",
        "git-credential",
        "gh",
    ] {
        let output = desk.run(&[command, "--help"]);
        assert!(output.status.success() && stdout(&output).contains("Example"), "{command}");
    }
}

#[test]
fn capture_forwards_to_the_byte_and_reports() {
    let desk = Desk::new();
    let stream = concat!(
        r#"{"type":"text","text":"hi"}"#,
        "\nnot json \u{1b}[31m\n",
        r#"{"type":"usage","usage":{"inputTokens":3},"complete":true}"#,
        "\n",
        r#"{"type":"ended","succeeded":true}"#,
        "\n"
    );
    let mut child =
        desk.command(&["capture", "--type", "native", "--marker=false"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(stdout(&output), stream);
    assert!(output.status.success());
    assert_eq!(desk.message().parameters["input-tokens"], "3");
}

#[test]
fn what_an_agent_only_counts_is_priced_by_the_task() {
    let stream = concat!(
        r#"{"type":"started","sessionId":"s","model":"small-3"}"#,
        "\n",
        r#"{"type":"usage","usage":{"inputTokens":1200,"cacheReadTokens":200,"outputTokens":60},"complete":true}"#,
        "\n",
        r#"{"type":"ended","succeeded":true}"#,
        "\n"
    );
    let unpriced = "`prices` has no row for the model `small-3`";
    for (prices, cost, warning) in [
        (r#"{"small-3": {"input": 2, "cacheRead": 0.5, "output": 10}, "*": {"input": 99, "output": 99}}"#, Some("0.0027"), None),
        (r#"{"*": {"input": 0, "output": "0.5"}}"#, Some("0.00003"), None),
        (r#"{"large-3": {"input": 2, "output": 10}}"#, None, Some(unpriced)),
    ] {
        let desk = Desk::new();
        let mut command = desk.command(&["capture", "--type", "native", "--marker=false", "--prices", prices]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), stream.as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        let parameters = desk.message().parameters;
        let told = ["cost-usd", "cost-source"].map(|key| parameters.get(key).map(String::as_str));
        assert_eq!(told, [cost, cost.map(|_| "price-table")], "{prices}: {said}");
        assert_eq!(said.contains("WARN"), warning.is_some(), "{said}");
        assert!(said.contains(warning.unwrap_or_default()), "{said}");
    }
}

/// In a run whose tokens grow, and in one that tells none.
#[test]
fn prices_that_do_not_reach_are_told_once() {
    let started = r#"echo '{"type":"started","sessionId":"s","model":"small-3"}'"#;
    let usage = |tokens: u32| format!(r#"echo '{{"type":"usage","usage":{{"inputTokens":{tokens},"outputTokens":1}},"complete":false}}'"#);
    // The second comes when the first has been made known.
    let grows = format!("{}; until grep -q input-tokens termination-log; do sleep 0.05; done; {}", usage(10), usage(20));
    for (said, warning) in [(grows.as_str(), "`prices` has no row for the model `small-3`"), (":", "`prices` has no effect")] {
        let desk = Desk::new();
        let script = format!(r#"{started}; {said}; echo '{{"type":"ended","succeeded":true}}'"#);
        let args = serde_json::json!(["-c", script]).to_string();
        let prices = r#"{"large-3": {"input": 1, "output": 1}}"#;
        let output = desk.run(&["run", "--type", "native", "--prompt", "x", "--program", "sh", "--extra-args", &args, "--prices", prices]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!((stderr(&output).matches(warning).count(), stderr(&output).matches("WARN").count()), (1, 1), "{}", stderr(&output));
        assert_eq!(desk.message().parameters.get("cost-usd"), None);
    }
}

/// A filter has no grace that would be over: half of its last words would be none.
#[test]
fn the_block_of_a_filter_waits_for_whoever_reads_it() {
    let desk = Desk::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    // So much that the stream still fits, and the block does not.
    let text = "a".repeat(4000);
    let stream = format!("{{\"type\":\"text\",\"text\":\"{text}\"}}\n{{\"type\":\"ended\",\"succeeded\":true}}\n");
    let mut child = desk.command(&["capture", "--type", "native"]).stdin(Stdio::piped()).stdout(writer).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    let writes = format!("{} 0x1 ", nix::libc::SYS_write);
    let doing = format!("/proc/{}/syscall", child.id());
    wait_until("the filter stands in the writing of its block", || {
        std::fs::read_to_string(&doing).is_ok_and(|call| call.starts_with(&writes))
    });
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let block = printed.strip_prefix(&stream).unwrap();
    assert!(block.starts_with("---AGENT_OUTPUTS_START") && block.trim_end().ends_with("---"), "{block}");
}

#[test]
fn replay_shows_the_outcome_of_a_recorded_stream() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("stream.jsonl"), "{\"type\":\"text\",\"text\":\"hi\"}\n").unwrap();
    let output = desk.run(&["replay", "--type", "native", "stream.jsonl"]);
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["reason"], "TruncatedStream");
    assert_eq!(outcome["answer"], "hi");
}

/// Runs `exec` of a script that prints 300 kB to a stream of ours that nobody reads meanwhile; what is read there at last.
fn nobody_reads(desk: &Desk, descriptor: u8) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = format!("head -c 300000 /dev/zero | tr '\\0' x >&{descriptor}; echo; echo done");
    let mut command = desk.command(&["exec", "--result-file", "result.json", "--", "sh", "-c", &script]);
    command.env("AGENT_MARKER", "true").stdout(Stdio::null()).stderr(Stdio::null());
    match descriptor {
        1 => command.stdout(writer),
        _ => command.stderr(writer),
    };
    let mut running = command.spawn().unwrap();
    drop(command);
    assert!(running.wait().unwrap().success());
    assert_eq!(desk.message().status, Status::Succeeded);
    assert!(desk.path().join("result.json").exists());
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_no_result() {
    let desk = Desk::new();
    nobody_reads(&desk, 2);
    let warnings = desk.message().warnings;
    assert!(matches!(&warnings[..], [warning] if warning.contains("our stderr is not read in time")), "{warnings:?}");
}

#[test]
fn a_stdout_that_nobody_reads_gets_no_block_and_the_result_says_so() {
    let desk = Desk::new();
    let text = nobody_reads(&desk, 1);
    assert!(!text.contains("OUTPUTS_START"), "{}", &text[text.len() - 200..]);
    let warnings = desk.message().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("no marker block")), "{warnings:?}");
}

#[test]
fn a_stdout_that_is_read_late_costs_the_log_its_end_and_the_verdict_nothing() {
    let desk = Desk::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // More than waits in our hands and in a pipe's usual buffer; the rest stays in the agent's.
    let script = "head -c 900000 /dev/zero | tr '\\0' x; echo; echo '{\"type\":\"ended\",\"succeeded\":true}'";
    let mut command = desk.command(&["run", "--type", "native", "--prompt", "x", "--program", "sh", "--extra-args"]);
    command.arg(serde_json::json!(["-c", script]).to_string()).stdout(writer).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    drop(command);
    assert!(running.wait().unwrap().success());
    let message = desk.message();
    assert_eq!(message.reason, Reason::Completed);
    assert!(message.warnings.iter().any(|warning| warning.contains("our stdout is not read in time")), "{:?}", message.warnings);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.bytes().all(|byte| byte == b'x'), "nothing is missing in the middle");
}

/// What a repository may not say, a user may say in a HOME that is the workspace, too.
#[test]
fn the_users_own_configuration_is_no_repositorys() {
    let desk = Desk::new();
    let settings = desk.path().join(".cursor/mcp.json");
    std::fs::create_dir(settings.parent().unwrap()).unwrap();
    std::fs::write(&settings, r#"{"mcpServers":{"m":{"url":"https://h/mcp","headers":{"Authorization":"Bearer ${env:MINE}"}}}}"#).unwrap();
    let reason = |home: &Path| {
        let mut command = desk.command(&["--type", "cursor", "--program", "true", "--trust", "repository", "do it"]);
        command.env("HOME", home).env("CURSOR_API_KEY", "key").output().unwrap();
        desk.message().reason
    };
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(reason(elsewhere.path()), Reason::InvalidTask);
    assert_ne!(reason(desk.path()), Reason::InvalidTask);
}

#[test]
fn a_script_goes_on_after_its_agents_last_word() {
    let desk = Desk::new();
    // Longer than an agent may linger where nobody says how long.
    let script = "echo '{\"type\":\"ended\",\"succeeded\":true}'; sleep 6; echo pushed > pushed";
    let output = desk.run(&["exec", "--type", "native", "--", "sh", "-c", script]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(desk.path().join("pushed").exists());
    // What it fails at then is its failure.
    let script = "echo '{\"type\":\"ended\",\"succeeded\":true}'; exit 3";
    assert_eq!(desk.run(&["exec", "--type", "native", "--", "sh", "-c", script]).status.code(), Some(3));
    assert_eq!(desk.message().reason, Reason::AgentFailed);
}

/// A pipe that can always be read must not keep the runner from signals and limits.
#[test]
fn an_agent_that_never_stops_talking_is_ended_all_the_same() {
    let chatter = "touch started; exec yes '{\"type\":\"text\",\"text\":\"more\"}'";
    for (more, wanted) in [(&["--timeout", "3s"][..], Reason::DeadlineExceeded), (&[], Reason::Cancelled)] {
        let desk = Desk::new();
        let args = [&["exec", "--type", "native"], more, &["--", "sh", "-c", chatter]].concat();
        let mut running = desk.command(&args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if wanted == Reason::Cancelled {
            wait_until("it talks", || desk.path().join("started").exists());
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        wait_until("it ends", || running.try_wait().unwrap().is_some());
        assert_eq!(desk.message().reason, wanted);
    }
}

/// What is wrong is quoted before the task is known, and with it all of its secrets.
#[test]
fn a_wrong_input_shows_no_secret_of_the_environment() {
    const SECRET: &str = "ghp_0123456789abcdef";
    for (variable, value) in [
        ("AGENT_ENDPOINT", format!("https//user:{SECRET}@gateway.example")),
        ("AGENT_FILES", format!("\"{SECRET}\"")),
        ("AGENT_REPO", format!("x-access-token:{SECRET}@github.com/a/b")),
    ] {
        let desk = Desk::new();
        let output = desk.command(&["--type", "claude", "do it"]).env("GITHUB_TOKEN", SECRET).env(variable, value).output().unwrap();
        let message = std::fs::read_to_string(desk.path().join("termination-log")).unwrap();
        assert_eq!(desk.message().reason, Reason::InvalidTask, "{message}");
        assert!(stderr(&output).contains(variable), "{}", stderr(&output));
        assert!(!stderr(&output).contains(SECRET) && !message.contains(SECRET), "{message}\n{}", stderr(&output));
    }
}

/// What is logged while a run goes on passes no report that would hide anything in it.
#[test]
fn the_log_shows_no_secret_of_the_environment() {
    const SECRET: &str = "ghp_0123456789abcdef";
    let desk = Desk::new();
    let repo = format!("{}/{SECRET}.git", agent_tests::runs::nobody());
    let mut command = desk.command(&["--type", "claude", "--repo", &repo, "--workspace-dir", "work", "do it"]);
    let mut running = command.env("GITHUB_TOKEN", SECRET).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(running.stderr.take().unwrap()).lines();
    let retry = lines.map(Result::unwrap).find(|line| line.contains("trying again")).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
    running.wait().unwrap();
    assert!(retry.contains("***") && !retry.contains(SECRET), "{retry}");
}

/// A log driver that is slow is no reader who does not read: as long as he takes something, all of it waits for him.
#[test]
fn a_reader_who_is_slow_gets_everything() {
    let desk = Desk::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // It ends at once: all of it fits into the pipe between it and us.
    let script = "head -c 700000 /dev/zero | tr '\\0' x; echo; echo last";
    let mut command = desk.command(&["exec", "--", "sh", "-c", script]);
    command.env("AGENT_MARKER", "true").stdout(writer).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    drop(command);
    let mut text = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        // Slower than all that would be read within any of our limits, and a chunk of ours well within one.
        if text.len() < 600_000 {
            std::thread::sleep(std::time::Duration::from_millis(900));
        }
        match reader.read(&mut piece).unwrap() {
            0 => break,
            length => text.extend_from_slice(&piece[..length]),
        }
    }
    assert!(running.wait().unwrap().success());
    let warnings = desk.message().warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
    let text = String::from_utf8(text).unwrap();
    let rest = text.trim_start_matches('x');
    assert_eq!(text.len() - rest.len(), 700_000);
    assert!(rest.starts_with("\nlast\n---AGENT_OUTPUTS_START "), "{rest}");
}

#[test]
fn an_output_that_takes_nothing_is_told() {
    for (redirection, wanted) in [(">/dev/full", "our stdout is broken (No space left on device)"), ("2>/dev/full", "our stderr is broken")]
    {
        let desk = Desk::new();
        let mut shell = desk.command(&[]);
        let script = format!("{} exec -- sh -c 'echo out; echo err >&2' {redirection}", runner().display());
        let environment: Vec<_> = shell.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        shell = Command::new("sh");
        shell.current_dir(desk.path()).env_clear().envs(environment).args(["-c", &script]);
        assert!(shell.output().unwrap().status.success());
        let warnings = desk.message().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(wanted)), "{redirection}: {warnings:?}");
    }
}

#[test]
fn an_input_that_never_ends_does_not_keep_a_signal_waiting() {
    let desk = Desk::new();
    let pipe = desk.path().join("prompt");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut running = desk.command(&["run", "--type", "native", "--program", "true", "--prompt-file", "prompt"]).spawn().unwrap();
    // Without a reader it cannot be opened.
    let mut held = None;
    wait_until("the runner reads", || {
        assert!(running.try_wait().unwrap().is_none(), "it has ended");
        let mut options = std::fs::OpenOptions::new();
        held = std::os::unix::fs::OpenOptionsExt::custom_flags(options.write(true), nix::libc::O_NONBLOCK).open(&pipe).ok();
        held.is_some()
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_until("it ends", || running.try_wait().unwrap().is_some());
    drop(held);
    assert_eq!(running.wait().unwrap().code(), Some(143));
    assert_eq!(desk.message().reason, Reason::Cancelled);
}

/// Within the work tree it would be committed.
#[test]
fn a_results_directory_that_is_refused_is_given_to_nobody() {
    let desk = Desk::new();
    let work = desk.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git_ok(&work, ["init", "-q"]);
    let script = "printf said > \"$AGENT_RESULTS_DIR/summary\"";
    let output = desk.run(&["exec", "--workspace-dir", "work", "--results-dir", "work/out", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!work.join("out").exists() && stderr(&output).contains("work/out"), "{}", stderr(&output));
    assert_eq!(desk.message().parameters.get("summary").map(|value| value.as_str()), Some("said"));
}

#[test]
fn a_users_directory_for_programs_is_there_before_setup() {
    let desk = Desk::new();
    let local_bin = desk.path().join(".local/bin");
    let path = format!("{}:{}", local_bin.display(), std::env::var("PATH").unwrap());
    let setup = serde_json::json!(["sh", "-c", "cp /bin/true ~/.local/bin/installed"]).to_string();
    let mut command = desk.command(&["exec", "--setup-command", &setup, "--", "installed"]);
    let output = command.env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// What another version's document may say nobody knows who does not speak it; of a newer minor version the rest counts.
#[test]
fn a_document_of_another_version_is_refused_as_such_and_of_a_newer_minor_is_read() {
    let desk = Desk::new();
    let task = |version: &str| format!("interfaceVersion: '{version}'\nnovelty: 1\nlimits: {{novelty: 2, timeout: 1h}}\n");
    let run = |version: &str| {
        std::fs::write(desk.path().join("task.yaml"), task(version)).unwrap();
        desk.run(&["exec", "--task-file", "task.yaml", "--", "true"])
    };
    assert_eq!((run("2.0").status.code(), desk.message().reason), (Some(76), Reason::UnsupportedVersion));
    assert_eq!((run("1.0").status.code(), desk.message().reason), (Some(65), Reason::InvalidTask));
    assert_eq!((run("1.1").status.code(), desk.message().reason), (Some(0), Reason::Completed));
    let warnings = desk.message().warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("`limits.novelty` is of a newer interface than 1.0")), "{warnings:?}");
}

/// A repository may have a program at the same path.
#[test]
fn a_relative_path_begins_where_the_runner_was_started() {
    let desk = Desk::new();
    for (dir, said) in [("bin", "the image's"), ("work/bin", "the repository's")] {
        let dir = desk.path().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let script = format!(
            "#!/bin/sh\nprintf '%s' \"{said}\" > \"$AGENT_RESULTS_DIR/summary\"\necho '{{\"type\":\"ended\",\"succeeded\":true}}'\n"
        );
        std::fs::write(dir.join("agent"), script).unwrap();
        std::fs::set_permissions(dir.join("agent"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let args =
        ["run", "--type", "native", "--program", "bin/agent", "--prompt", "x", "--workspace-dir", "work", "--results-dir", "results"];
    let output = desk.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(desk.path().join("results/summary")).unwrap(), "the image's");
}

/// There is nothing that could be committed.
#[test]
fn a_results_directory_within_a_workspace_that_is_no_repository_counts() {
    let desk = Desk::new();
    let output = desk.run(&["exec", "--results-dir", "results", "--", "sh", "-c", "printf said > \"$AGENT_RESULTS_DIR/summary\""]);
    assert_eq!((output.status.code(), desk.message().warnings.len()), (Some(0), 0), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(desk.path().join("results/status")).unwrap(), "succeeded");
}

#[test]
fn what_an_agent_cannot_take_is_told_with_its_variable() {
    let desk = Desk::new();
    let output = desk.run(&["run", "--type", "claude", "--prompt", "x", "--endpoint", "http://127.0.0.1:1/v1"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("which Claude adds itself (AGENT_ENDPOINT)"), "{}", stderr(&output));
}
