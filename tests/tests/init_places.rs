//! Where a runner must work: as any user, on a root file system that is read-only, and in an image with nothing in it.

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
