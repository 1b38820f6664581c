//! Where a runner must work: as any user, on a root file system that is read-only, and in an image with nothing in it.

use agent_sdk::{termination::TerminationMessage, verdict::Reason};
use agent_tests::{
    probe,
    sandbox::{namespaces_work, sandbox},
    skip::skip,
};
use nix::unistd::geteuid;

#[test]
fn as_any_user_on_a_read_only_root_without_a_shell() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("an empty root file system needs a mount namespace (root)");
    }
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = root.path().to_str().unwrap();
    for user in ["0", "1000", "1879048191"] {
        let mut command = sandbox(&["--user", user, "--read-only", "--bare", root], probe::runner());
        let output = probe::output(command.args(["exec", "--"]).arg(probe::program("init_probe")).arg("state").current_dir("/"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(probe::code(&output), 0, "user {user}: {output:?}");
        assert!(text.contains("leads its group:true"), "{text}");

        let mut command = sandbox(&["--user", user, "--read-only", "--bare", root], probe::runner());
        let output = probe::output(command.args(["exec", "--", "sh"]).current_dir("/"));
        assert_eq!(probe::code(&output), 127, "the empty image has a shell?");
    }
}

#[test]
fn without_a_place_for_private_files_the_tasks_own_sinks_say_so() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("an empty root file system needs a mount namespace (root)");
    }
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let out = tempfile::tempdir_in("/var/tmp").unwrap();
    let bind = format!("{}:/out", out.path().display());
    let mut command = sandbox(&["--read-only", "--bare", root.path().to_str().unwrap(), "--bind", &bind], probe::runner());
    command.args(["run", "--type", "native", "--prompt", "x", "--workspace-dir", "/out", "--result-file", "/out/result.json", "--program"]);
    let output = probe::output(command.arg(probe::program("init_probe")).env_remove("TMPDIR").current_dir("/"));
    assert_eq!(probe::code(&output), 78, "{output:?}");
    let result = std::fs::read(out.path().join("result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["reason"], "ConfigurationFailed");
    assert!(result["hint"].as_str().unwrap().contains("TMPDIR"), "{result}");
}

#[test]
fn where_no_second_process_can_be_had_the_message_says_so() {
    if !namespaces_work() || !geteuid().is_root() {
        return skip("a limit of processes needs a user of its own (root)");
    }
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let message = directory.path().join("message");
    let mut command = sandbox(&["--user", "1879048187", "--processes", "1"], probe::runner());
    let output = probe::output(command.args(["exec", "--", "true"]).env("AGENT_TERMINATION_LOG", &message));
    assert_eq!(probe::code(&output), 70, "{output:?}");
    let message = TerminationMessage::parse(&std::fs::read(message).unwrap()).unwrap();
    assert_eq!((message.reason, message.exit_code), (Reason::RunnerFault, 70));
    assert!(message.message.unwrap().contains("no second process"));
    assert!(message.hint.unwrap().contains("limit of processes"));
}
