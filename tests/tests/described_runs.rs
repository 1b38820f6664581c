//! Agents that cannot be had here, played from their described streams by a program in their place, through the real runner: how they are
//! started, what is written for them, how the run ends, and what it cost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agent_tests::probe;
use agent_tests::runs::{Counted, Ended, KEY, Scene, wanted};
use serde_json::{Value, json};

fn recording(agent: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures").join(agent).join(name)
}

/// A task of an agent that plays a recording.
fn scene(agent: &str, key: &str, name: &str) -> Scene {
    let scene = Scene::new(agent, &probe::program("recorded_agent"), "http://127.0.0.1:9").without("AGENT_ENDPOINT");
    let notes = scene.path("notes");
    scene.with(key, KEY).with("RECORDING", recording(agent, name)).with("RECORDED_NOTES", notes)
}

fn notes(scene: &Scene) -> Value {
    serde_json::from_slice(&fs::read(scene.path("notes")).unwrap()).unwrap()
}

/// What both agents are given and leave.
fn assert_whole_task(agent: &str, key: &str, own: &str) -> (Scene, Ended) {
    let servers = json!({"mcpServers": {"sky": {"type": "http", "url": "http://127.0.0.1:9", "headers": {"X-Key": "header-of-the-task"}}}});
    let scene = scene(agent, key, "success").with("RECORDED_WORK", "work.txt").with("AGENT_PROMPT", "- do \"it\"\n");
    for (path, text) in [("kit/skills/sew/SKILL.md", "Sew."), ("kit/agents/tailor.md", "Fit.")] {
        let path = scene.path("plugins").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let plugins = scene.path("plugins");
    let scene =
        scene.with("AGENT_PLUGIN_DIR", plugins).with("AGENT_INSTRUCTIONS", "Be kind.").with("AGENT_MCP_SERVERS", servers.to_string());
    let ended = scene.run();
    ended.assert(wanted("succeeded", "Completed", 0, false));
    assert_eq!(ended.message["answer"], "Done: the change is committed.", "{ended}");
    let commit = scene.git(&["rev-parse", "HEAD"]);
    assert_eq!((ended.parameter("commit"), ended.parameter("commits")), (Some(commit.as_str()), Some("1")), "{ended}");
    assert_eq!(scene.git(&["show", "--name-only", "--format="]), "work.txt", "nothing of ours is in the repository's tree");

    let notes = notes(&scene);
    assert_eq!(notes["stdin"], "- do \"it\"\n");
    let args = notes["args"].to_string();
    assert!(!args.contains("do \\\"it") && !args.contains(KEY) && !args.contains("header-of-the-task"), "{args}");
    assert_eq!(notes["env"][key], KEY);
    let home = scene.path("home").join(own);
    assert!(fs::read_to_string(home.join("AGENTS.md")).unwrap().contains("Be kind."));
    assert_eq!(fs::read_to_string(home.join("skills/kit:sew/SKILL.md")).unwrap(), "Sew.");
    let servers = home.join("mcp.json");
    assert!(fs::read_to_string(&servers).unwrap().contains("header-of-the-task"));
    assert_eq!(fs::metadata(servers).unwrap().permissions().mode() & 0o777, 0o600);
    (scene, ended)
}

#[test]
fn cursor_does_a_task() {
    let (scene, ended) = assert_whole_task("cursor", "CURSOR_API_KEY", ".cursor");
    // 19373 that were new, and 19360 of the cache.
    let counted = Counted { input: Some(38733), cache_read: Some(19360), cache_write: Some(0), output: Some(268) };
    assert_eq!((ended.tokens(), &ended.message["usageComplete"]), (counted, &true.into()), "{ended}");
    assert!(fs::read_to_string(scene.path("home/.cursor/agents/tailor.md")).unwrap().ends_with("\nFit.\n"));
    // What a later task does not ask for is gone.
    let later =
        scene.without("AGENT_PLUGIN_DIR").without("AGENT_INSTRUCTIONS").without("AGENT_MCP_SERVERS").with("RECORDED_WORK", "later.txt");
    later.run().assert(wanted("succeeded", "Completed", 0, false));
    for gone in ["AGENTS.md", "agents/tailor.md", "skills/kit:sew/SKILL.md"] {
        assert!(!later.path("home/.cursor").join(gone).exists(), "{gone}");
    }
    let servers = fs::read_to_string(later.path("home/.cursor/mcp.json")).unwrap_or_default();
    assert!(!servers.contains("header-of-the-task"), "{servers}");
}

#[test]
fn kodelet_does_a_task() {
    let (scene, ended) = assert_whole_task("kodelet", "ANTHROPIC_API_KEY", ".kodelet");
    assert_eq!((ended.tokens(), ended.parameter("turns")), (Counted::default(), Some("2")), "what is not said is absent: {ended}");
    let notes = notes(&scene);
    assert_eq!(notes["env"]["KODELET_CONFIG_FILE_MODE"], "isolated");
    assert!(ended.message["warnings"].to_string().contains("`kit/agents/tailor`"), "{ended}");
}

#[test]
fn each_end_has_its_reason_and_code() {
    for (agent, key, name, end) in [
        ("cursor", "CURSOR_API_KEY", "bad-key", wanted("failed", "AuthenticationFailed", 77, false)),
        ("cursor", "CURSOR_API_KEY", "usage-limit", wanted("failed", "QuotaExceeded", 69, false)),
        ("cursor", "CURSOR_API_KEY", "rate-limited", wanted("failed", "RateLimited", 75, true)),
        ("cursor", "CURSOR_API_KEY", "bad-model", wanted("failed", "ModelNotFound", 78, false)),
        ("cursor", "CURSOR_API_KEY", "error-result", wanted("failed", "ServerError", 75, true)),
        ("cursor", "CURSOR_API_KEY", "cut", wanted("incomplete", "TruncatedStream", 75, true)),
        ("cursor", "CURSOR_API_KEY", "killed", wanted("failed", "Killed", 143, true)),
        ("kodelet", "ANTHROPIC_API_KEY", "http-401", wanted("failed", "AuthenticationFailed", 77, false)),
        ("kodelet", "ANTHROPIC_API_KEY", "http-529", wanted("failed", "Overloaded", 75, true)),
        ("kodelet", "ANTHROPIC_API_KEY", "quota", wanted("failed", "QuotaExceeded", 69, false)),
        ("kodelet", "ANTHROPIC_API_KEY", "cut", wanted("incomplete", "TruncatedStream", 75, true)),
        ("kodelet", "ANTHROPIC_API_KEY", "too-new", wanted("failed", "UnsupportedVersion", 76, false)),
    ] {
        scene(agent, key, name).run().assert(end);
    }
}

#[test]
fn cursor_behind_a_gateway_is_refused_before_anything_starts() {
    let scene = scene("cursor", "CURSOR_API_KEY", "success").with("AGENT_ENDPOINT", "http://127.0.0.1:9");
    let ended = scene.run();
    assert_ne!(ended.code, 0);
    assert!(ended.message["message"].as_str().unwrap().contains("`agent.endpoint`"), "{ended}");
    assert!(!scene.path("notes").exists());
}
