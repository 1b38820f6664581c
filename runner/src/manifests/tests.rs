//! Manifests as people read them, and what of a task they hold.

use std::path::Path;

use agent_sdk::task::Task;
use serde_json::{Value, json};

use super::*;
use crate::inputs::Inputs;

fn key(secret: &str, key: &str) -> SecretKey {
    SecretKey { secret: secret.into(), key: key.into() }
}

/// As much as a task can say on every platform.
fn wishes() -> Wishes {
    Wishes {
        task: json!({
            "agent": {"type": "claude", "model": "opus"},
            "prompt": "Fix issue 42.\n\nRun `echo $(pwd)` first; it costs $$5.",
            "workspace": {"repo": "https://github.com/acme/app", "ref": "main", "branch": "fix-42", "baseBranch": "main"},
            "git": {"tokenFile": "/run/secrets/git/token"},
            "limits": {"timeout": "30m", "maxCostUsd": 2},
            "sinks": {"outputs": [{"name": "summary", "path": "summary.md", "default": "none"}]},
        }),
        image: "registry.example/claude".into(),
        runner: Runner::Init("registry.example/agent-runner".into()),
        name: None,
        namespace: Some("agents".into()),
        variables: vec![("ANTHROPIC_API_KEY".into(), key("anthropic", "api-key"))],
        files: vec![("/run/secrets/git/token".into(), key("git-token", "GITHUB_TOKEN"))],
        mcp_servers_file: None,
        retries: None,
    }
}

#[test]
fn each_platform_gets_what_it_reads() {
    for platform in [Platform::Job, Platform::Pod, Platform::Argo, Platform::Tekton, Platform::Kelos] {
        insta::assert_snapshot!(format!("{platform:?}").to_lowercase(), print(platform, &wishes()).unwrap());
    }
}

#[test]
fn the_runner_comes_from_where_it_is_said_to() {
    let from_volume = Wishes { runner: Runner::Volume("registry.example/agent-runner".into()), ..wishes() };
    insta::assert_snapshot!("pod_with_an_image_volume", print(Platform::Pod, &from_volume).unwrap());
    let text = print(Platform::Pod, &Wishes { runner: Runner::Image, ..wishes() }).unwrap();
    assert!(text.contains("command: [agent-runner]") && !text.contains("/runner"), "{text}");
}

#[test]
fn one_error_names_everything_that_is_wrong() {
    let wrong = Wishes {
        task: json!({
            "agent": {"type": "aider", "endpoint": "https://user:pass@gateway"},
            "workspace": {"repo": "/local/path", "depth": 0},
            "git": {"tokenFile": "/run/token", "sshKeyFile": "/run/key"},
            "limits": {"grace": "5m"},
            "mcpServers": {"a": {"url": "https://h", "headers": {"Authorization": "Bearer sekret"}}, "b": {"command": "c", "env": {"K": "sekret"}}},
        }),
        image: String::new(),
        name: Some("Fix_42".into()),
        variables: vec![("AGENT_PROMPT".into(), key("a", "b")), ("KEY".into(), key("a b", "c"))],
        files: vec![("relative".into(), key("a", "b"))],
        mcp_servers_file: Some("/run/mcp.json".into()),
        ..wishes()
    };
    let error = print(Platform::Kelos, &wrong).unwrap_err().to_string();
    assert!(!error.contains("sekret") && !error.contains("pass@"), "{error}");
    insta::assert_snapshot!("everything_wrong", error);
    let unknown = Wishes { task: json!({"agent": {"type": ""}, "promt": "x"}), ..wishes() };
    let error = print(Platform::Job, &unknown).unwrap_err().to_string();
    assert!(error.contains("agent.type: expected") && error.contains("did you mean `prompt`?"), "{error}");
}

#[test]
fn what_a_platform_would_replace_is_refused_there_and_only_there() {
    for (prompt, platform) in [("print {{x}}", Platform::Argo), ("print $(params.x)", Platform::Tekton)] {
        let mut wishes = wishes();
        wishes.task["prompt"] = prompt.into();
        assert!(print(platform, &wishes).unwrap_err().to_string().contains("prompt: holds"), "{prompt}");
        assert!(print(Platform::Job, &wishes).is_ok());
    }
}

#[test]
fn no_url_with_a_user_in_it_is_printed() {
    for (place, field) in [
        (json!({"workspace": {"repo": "https://ghp_sekret@github.com/a/b"}}), "workspace.repo: holds a user"),
        (
            json!({"workspace": {"repo": "https://host/a", "remotes": {"fork": "HTTPS://sekret@host/b"}}}),
            "workspace.remotes.fork: holds a user",
        ),
        (json!({"workspace": {"repo": "ssh://git:sekret@host/a"}}), "workspace.repo: expected a repository's URL without credentials"),
        (json!({"mcpServers": {"m": {"url": "u:sekret@host/mcp"}}}), "mcpServers.m.url: expected"),
        (json!({"agent": {"type": "claude", "endpoint": "u:sekret@host"}}), "agent.endpoint: expected"),
        (json!({"workspace": {"repo": "user:sekret@host/path"}}), "workspace.repo: repository `***@host/path`: before the `@` stands"),
        (json!({"workspace": {"repo": "https//user:sekret@host/path"}}), "workspace.repo: repository `***@host/path`: without a scheme"),
        (json!({"workspace": {"repo": "https:/user:sekret@host/path"}}), "workspace.repo: repository `***@host/path`: without a scheme"),
        (
            json!({"workspace": {"repo": "https://host/a", "remotes": {"fork": "user:sekret@host/path"}}}),
            "workspace.remotes.fork: repository `***@host/path`: before the `@` stands",
        ),
        (json!({"mcpServers": {"m": {"url": "https://u:sekret@host/mcp"}}}), "mcpServers.m.url: holds a user"),
        (json!({"mcpServers": {"m": {"url": "https://u:sekret/slash@host/mcp"}}}), "mcpServers.m.url: holds a user"),
    ] {
        let mut wishes = wishes();
        wishes.task.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        let error = print(Platform::Job, &wishes).unwrap_err().to_string();
        assert!(error.contains(field) && !error.contains("sekret"), "{error}");
    }
    let mut wishes = wishes();
    wishes.task["workspace"]["remotes"] = json!({"fork": "ssh://git@host/b", "scoped": "https://host/@scope/b"});
    assert!(print(Platform::Job, &wishes).is_ok());
}

#[test]
fn what_the_runner_would_not_clone_is_refused_here() {
    for (repo, remotes, problem) in [
        ("github.com/acme/app", json!({}), "workspace.repo: repository `github.com/acme/app`: without a scheme it is a path"),
        ("ext::sh -c x", json!({}), "workspace.repo: repository `ext::sh -c x`"),
        ("https://h/a", json!({"origin": "https://h/b"}), "workspace.remotes.origin: remote `origin`: that is the repository itself"),
        ("https://h/a", json!({"fork": "../b"}), "workspace.remotes.fork: repository `../b`: without a scheme it is a path"),
    ] {
        let said = said(Platform::Job, |wishes| wishes.task["workspace"] = json!({"repo": repo, "remotes": remotes}));
        assert!(said.contains(problem) && said.contains("hint: "), "{said}");
    }
    for repo in ["https://h/a", "git@h:a", "/srv/a.git", "file:///srv/a.git", "host:a"] {
        assert_eq!(said(Platform::Pod, |wishes| wishes.task["workspace"] = json!({"repo": repo})), "", "{repo}");
    }
}

/// What is said of the wishes after a change.
fn said(platform: Platform, change: impl Fn(&mut Wishes)) -> String {
    let mut wishes = wishes();
    change(&mut wishes);
    print(platform, &wishes).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_cannot_be_mounted_or_written_is_refused() {
    let secret = |path: &'static str| move |wishes: &mut Wishes| wishes.files.push((path.into(), key("a", "b")));
    for (platform, path, problem) in [
        (Platform::Job, "/workspace/repo/key", "`/workspace/repo` is in the work tree, which the clone needs empty"),
        (Platform::Kelos, "/workspace/repo/deep/key", "`/workspace/repo/deep` is in the work tree"),
        (Platform::Kelos, "/workspace/key", "`/workspace` is where another volume is mounted"),
        (Platform::Job, "/run/secrets/git/token", "`/run/secrets/git/token` is given twice"),
        (Platform::Argo, "/run/secrets/key", "`/run/secrets` is above `/run/secrets/kubernetes.io/serviceaccount`"),
        (Platform::Argo, "/var/run/secrets/key", "`/var/run/secrets` is above `/var/run/secrets/kubernetes.io/serviceaccount`"),
        (Platform::Kelos, "/run/key", "`/run` is above `/run/secrets/kubernetes.io/serviceaccount`"),
        (Platform::Argo, "/run/secrets/kubernetes.io/serviceaccount/key", "`/run/secrets/kubernetes.io/serviceaccount` is where"),
        (Platform::Pod, "/run/secrets/git/deep/key", "`/run/secrets/git/deep` is in `/run/secrets/git`, a read-only volume"),
        (Platform::Pod, "/runner/keys/key", "`/runner/keys` is in `/runner`, a read-only volume"),
        (Platform::Pod, "/home/key", "`/home` is above `/home/agent`"),
        (Platform::Pod, "/etc/key", "a volume at `/etc` would hide what the image has there"),
        (Platform::Pod, "/run/../etc/key", "`/run/../etc` holds `..` or `:`"),
    ] {
        let said = said(platform, secret(path));
        assert!(said.contains(&format!("--secret-file: {problem}")), "{path}: {said}");
    }
    for (platform, path) in
        [(Platform::Job, "/run/other/key"), (Platform::Argo, "/run/secrets/other/key"), (Platform::Pod, "/home/agent/.ssh/key")]
    {
        assert_eq!(said(platform, secret(path)), "", "{path}");
    }
    // It is Kelos that mounts the token.
    let token = |wishes: &mut Wishes| {
        wishes.task["git"]["tokenFile"] = "/run/secrets/token".into();
        wishes.files = vec![("/run/secrets/token".into(), key("git-token", "GITHUB_TOKEN"))];
    };
    assert_eq!(said(Platform::Kelos, token), "");
    assert!(said(Platform::Argo, token).contains("--secret-file: `/run/secrets` is above"));
    for dir in [
        "/",
        "/usr",
        "/usr/src",
        "/usr/bin/x",
        "/bin",
        "/lib64",
        "/etc/x",
        "/sbin/x",
        "/dev/x",
        "/proc/1/x",
        "/sys/fs/x",
        "/usr/local/repo",
    ] {
        let said = said(Platform::Job, |wishes| wishes.task["workspace"]["dir"] = dir.into());
        assert!(said.starts_with("1 input is wrong\n  workspace.dir: a volume at `") && said.contains("would hide"), "{dir}: {said}");
    }
    for dir in ["/usr/src/app/repo", "/repo", "/srv/repo", "/etc/agent/repo", "/library/repo"] {
        assert_eq!(said(Platform::Job, |wishes| wishes.task["workspace"]["dir"] = dir.into()), "", "{dir}");
    }
    for (platform, sinks, problem) in [
        (Platform::Pod, json!({"resultFile": "/result.json"}), "sinks.resultFile: is in `/` itself, which is read-only"),
        (Platform::Pod, json!({"eventsFile": "/etc/e.jsonl"}), "sinks.eventsFile: a volume at `/etc` would hide"),
        (Platform::Job, json!({"resultsDir": "/run/secrets/git/x"}), "sinks.resultsDir: `/run/secrets/git/x` is in `/run/secrets/git`, a"),
        (Platform::Tekton, json!({"resultsDir": "/results"}), "sinks.resultsDir: `/results` is not where Tekton reads results"),
        (Platform::Job, json!({"terminationLog": "/var/log/end"}), "sinks.terminationLog: `/var/log/end` is in no volume"),
    ] {
        let said = said(platform, |wishes| wishes.task["sinks"] = sinks.clone());
        assert!(said.starts_with("1 input is wrong\n") && said.contains(problem), "{said}");
    }
    for (platform, sinks) in [
        (Platform::Tekton, json!({"resultsDir": "/tekton/results"})),
        (Platform::Job, json!({"terminationLog": "/tmp/end"})),
        (Platform::Job, json!({"terminationLog": "/results/end", "resultsDir": "/results"})),
    ] {
        assert_eq!(said(platform, |wishes| wishes.task["sinks"] = sinks.clone()), "", "{sinks}");
    }
}

/// Another workflow takes the template alone.
#[test]
fn argos_template_needs_nothing_of_what_stands_around_it() {
    let printed: Value = serde_saphyr::from_str(&print(Platform::Argo, &wishes()).unwrap()).unwrap();
    let around: Vec<&str> = printed["spec"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(around, ["entrypoint", "templates"]);
    let template = &printed["spec"]["templates"][0];
    let volumes: Vec<_> = template["volumes"].as_array().unwrap().iter().map(|volume| &volume["name"]).collect();
    let containers = [&template["container"], &template["initContainers"][0]];
    for mount in containers.iter().flat_map(|container| container["volumeMounts"].as_array().unwrap()) {
        assert!(volumes.contains(&&mount["name"]), "{mount}");
    }
    assert_eq!(template["securityContext"]["fsGroup"], 61100);
    assert!(template["podSpecPatch"].as_str().unwrap().contains("terminationGracePeriodSeconds"), "{template}");
}

#[test]
fn secrets_can_be_read_where_kelos_mounts_no_workspace() {
    let overrides = |change: fn(&mut Wishes)| {
        let mut wishes = wishes();
        change(&mut wishes);
        let text = print(Platform::Kelos, &wishes).unwrap();
        let printed: Value = serde_saphyr::from_str(text.rsplit("---\n").next().unwrap()).unwrap();
        printed["spec"]["podOverrides"].clone()
    };
    let is_named = |list: &Value, name: &str| list.as_array().unwrap().iter().any(|item| item["name"] == name);
    let with = overrides(|_| {});
    assert!(with["podSecurityContext"].is_null() && !is_named(&with["env"], "AGENT_TOKEN_FILE"));
    assert!(!is_named(&with["volumes"], "secrets") && !is_named(&with["volumes"], "work"));
    // Then Kelos mounts neither token nor work tree.
    let without = overrides(|wishes| wishes.task["workspace"] = json!({}));
    assert_eq!(without["podSecurityContext"], json!({"fsGroup": 61100}));
    for list in ["volumes", "volumeMounts"] {
        assert!(is_named(&without[list], "secrets") && is_named(&without[list], "work"), "{without}");
        assert!(!is_named(&without[list], "workspace"), "{without}");
    }
    assert!(is_named(&without["env"], "AGENT_TOKEN_FILE"), "{without}");
}

#[test]
fn what_a_platform_would_refuse_is_refused_here() {
    let in_tmp: fn(&mut Wishes) = |wishes| wishes.task["workspace"]["dir"] = "/tmp/repo".into();
    assert!(said(Platform::Job, in_tmp).contains("workspace.dir: `/tmp` is where another volume is mounted"));
    assert!(!said(Platform::Kelos, in_tmp).contains("another volume"));
    let at_home: fn(&mut Wishes) = |wishes| wishes.task["workspace"]["dir"] = "/home/agent".into();
    assert!(said(Platform::Pod, at_home).contains("workspace.dir: `/home/agent` is where another volume is mounted"));
    let in_home: fn(&mut Wishes) = |wishes| wishes.files.push(("/home/agent/key".into(), key("a", "b")));
    assert!(said(Platform::Tekton, in_home).contains("--secret-file: `/home/agent` is where another volume is mounted"));
    let with_a_dot: fn(&mut Wishes) = |wishes| wishes.task["sinks"]["outputs"][0]["name"] = "coverage.percent".into();
    assert!(said(Platform::Argo, with_a_dot).contains("sinks.outputs[0].name: `coverage.percent` cannot be"));
    assert_eq!(said(Platform::Tekton, with_a_dot), "");
    assert_eq!(said(Platform::Job, |wishes| wishes.namespace = Some("a".repeat(63))), "");
    assert!(said(Platform::Job, |wishes| wishes.namespace = Some("a".repeat(64))).contains("--namespace: expected at most 63"));
    let tries: fn(&mut Wishes) = |wishes| wishes.retries = Some(0);
    assert_eq!((said(Platform::Job, tries), said(Platform::Argo, tries)), (String::new(), String::new()));
    assert!(said(Platform::Tekton, tries).contains("--retries: only a Job and Argo"));
}

#[test]
fn a_sink_that_lies_in_no_volume_gets_one() {
    let mut wishes = wishes();
    wishes.task["sinks"] = json!({
        "resultFile": "/results/result.json", "eventsFile": "/results/deep/events.jsonl", "resultsDir": "/other",
        "terminationLog": "/dev/termination-log",
    });
    let text = print(Platform::Pod, &wishes).unwrap();
    for part in ["{name: sinks, mountPath: /other}", "{name: sinks-2, mountPath: /results}", "{name: sinks-2, emptyDir: {}}"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("sinks-3"), "{text}");
    wishes.task["sinks"] = json!({"resultFile": "/tmp/r.json", "eventsFile": "/workspace/e.jsonl", "resultsDir": "/home/agent/x"});
    assert!(!print(Platform::Job, &wishes).unwrap().contains("sinks"));
    // Argo reads results from a volume of its own.
    wishes.task["sinks"] = json!({"resultFile": "/results/r.json", "resultsDir": "/other"});
    assert!(!print(Platform::Argo, &wishes).unwrap().contains("name: sinks"));
}

#[test]
fn the_budget_of_the_message_is_shared_with_all_containers_of_the_pod() {
    let budget = |platform, runner| {
        let text = print(platform, &Wishes { runner, ..wishes() }).unwrap();
        text.split("AGENT_TERMINATION_BUDGET, value: ").nth(1).map(|rest| rest[..6].to_owned())
    };
    let init = || Runner::Init("registry.example/agent-runner".into());
    assert_eq!(budget(Platform::Job, init()).as_deref(), Some("\"4096\""));
    // The runner's, Argo's `init` and `wait`, and the agent's.
    assert_eq!(budget(Platform::Argo, init()).as_deref(), Some("\"3072\""));
    assert_eq!(budget(Platform::Argo, Runner::Image).as_deref(), Some("\"4096\""));
    // Six of Kelos' own may have been before it, and one may stand beside it.
    assert_eq!(budget(Platform::Kelos, Runner::Image).as_deref(), Some("\"1536\""));
    assert_eq!(budget(Platform::Tekton, init()), None);
}

/// What Kubernetes makes of a variable's value:
/// <https://github.com/kubernetes/kubernetes/blob/master/third_party/forked/golang/expansion/expand.go>.
fn expanded(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = match rest[at + 1..].chars().next() {
            Some('$') => {
                text.push('$');
                &rest[at + 2..]
            }
            Some('(') => panic!("a variable is put in its place: {value}"),
            _ => {
                text.push('$');
                &rest[at + 1..]
            }
        };
    }
    text + rest
}

/// All variables of a container that have a value.
fn env_of(container: &Value) -> Vec<(String, String)> {
    let entries = container["env"].as_array().unwrap().iter();
    let valued = entries.filter_map(|entry| Some((entry["name"].as_str()?.to_owned(), expanded(entry["value"].as_str()?))));
    valued.collect()
}

/// The printed variables make the same task again, whatever stands in its texts.
#[test]
fn the_container_is_told_the_whole_task() {
    for prompt in
        ["Fix it.", "- a list\n- $(rm -rf /) $$ $x ${y}\n", "  indented\n\ttab \u{85}é\n\n", "yes", "{{not argo}} \"quoted\" \\ 'single'"]
    {
        let mut wishes = wishes();
        wishes.task["prompt"] = prompt.into();
        wishes.task["setupCommand"] = json!(["sh", "-c", "echo $HOME $(date)"]);
        wishes.task["mcpServers"] = json!({"a": {"command": "c", "args": ["--x"]}});
        wishes.task["agent"]["extraArgs"] = json!(["--y"]);
        wishes.task["workspace"]["submodules"] = json!(true);
        wishes.task["limits"]["maxTurns"] = json!(7);
        let text = print(Platform::Job, &wishes).unwrap();
        let printed: Value = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let container = &printed["spec"]["template"]["spec"]["containers"][0];
        let env = env_of(container).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let given = Inputs::of(&["agent-runner".into()], env, &|_| false);
        let resolved = given.resolve(|path: &Path| panic!("{} is read", path.display())).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        let mut expected = Task::from_value(&wishes.task).unwrap();
        expected.workspace.dir = "/workspace/repo".into();
        assert_eq!(resolved.task, expected);
    }
}

#[test]
fn a_name_is_made_from_the_branch() {
    for (branch, name) in [("fix-42", "fix-42"), ("Feature/Über_x", "feature--ber-x"), ("...", "agent-task")] {
        let mut wishes = wishes();
        wishes.task["workspace"]["branch"] = branch.into();
        match print(Platform::Pod, &wishes) {
            Ok(text) => assert!(text.contains(&format!("name: {name}\n")), "{text}"),
            Err(error) => assert!(error.to_string().contains("workspace.branch"), "{error}"),
        }
    }
}
