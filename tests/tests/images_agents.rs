//! The images of the agents, each built from its Dockerfile, as real containers: the real CLI in them does a task before a scripted model,
//! as the image's own user and as one whom nobody knows, with nothing that a pod can take away left.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use agent_conformance::model::{Record, Scenario, ScriptedModel};
use agent_tests::clis;
use agent_tests::containers::{Container, HARDENED, RANDOM_UID, UID, image};
use agent_tests::kelos::Outputs;
use agent_tests::repo::{Source, git_ok};
use agent_tests::runs::{Counted, KEY, Origin, PATIENCE};

/// An agent, and the model by which the tests' server is found.
struct Kind {
    agent: &'static str,
    kelos: &'static str,
    kelos_key: &'static str,
    model: Option<&'static str>,
}

const CLAUDE: Kind = Kind { agent: "claude", kelos: "claude-code", kelos_key: "ANTHROPIC_API_KEY", model: None };
const CODEX: Kind = Kind { agent: "codex", kelos: "codex", kelos_key: "CODEX_API_KEY", model: Some("gpt-5.5") };
const GEMINI: Kind = Kind { agent: "gemini", kelos: "gemini", kelos_key: "GEMINI_API_KEY", model: Some("gemini-2.5-pro") };
const OPENCODE: Kind =
    Kind { agent: "opencode", kelos: "opencode", kelos_key: "OPENCODE_API_KEY", model: Some("anthropic/claude-sonnet-4-5") };

/// A container of the agent's image with a task that the model answers.
fn container(kind: &Kind, image: &str, model: &ScriptedModel, origin: &Origin) -> Container {
    let container = Container::of(image)
        .with(clis::key_variable(kind.agent), KEY)
        .with("AGENT_ENDPOINT", &model.base_url())
        .with("AGENT_MAX_RETRIES", "1")
        .with("AGENT_PROMPT", "Please do it.")
        .with("AGENT_REPO", &origin.url())
        .with("AGENT_BRANCH", "work")
        .with("AGENT_WORKSPACE_DIR", "/workspace/repo");
    match kind.model {
        Some(name) => container.with("AGENT_MODEL", name),
        None => container,
    }
}

/// The bill as a message can say it: nobody tells Gemini what was written to the cache.
fn billed(kind: &Kind, model: &ScriptedModel) -> Counted {
    let billed = Counted::billed(model.bill().finished);
    if kind.agent == "gemini" { Counted { cache_write: None, ..billed } } else { billed }
}

/// The model's requests, a line each.
fn requests(model: &ScriptedModel) -> String {
    model.requests().iter().map(Record::to_string).collect::<Vec<_>>().join("\n")
}

/// A commit is made and told, and the tokens are what was billed: as each user, with nothing that a pod can take away left.
fn does_a_task_as_any_user_and_hardened(kind: &Kind) {
    let Some(image) = image(kind.agent) else { return };
    for user in [UID, RANDOM_UID] {
        let (origin, model) = (Origin::start(), ScriptedModel::start(Scenario::builtin("success").unwrap()).unwrap());
        let container = container(kind, &image, &model, &origin).options(HARDENED).options(&["--user", user]);
        let ended = container.run();
        ended.assert("succeeded", "Completed", 0);
        let commit = container.git("repo", &["rev-parse", "HEAD"]);
        assert_eq!(container.git("repo", &["log", "-1", "--format=%s", "work"]), "scripted change");
        assert_eq!((ended.parameter("branch"), ended.parameter("commit")), (Some("work"), Some(commit.as_str())), "{ended}");
        assert_eq!(ended.parameter("commits"), Some("1"), "{ended}");
        assert_eq!(ended.tokens(), billed(kind, &model), "as {user}: {}\n{ended}", requests(&model));
    }
}

/// `podman stop`, when the model has been asked: the message is whole, says so, and comes within the grace.
fn stopped_in_mid_run_leaves_a_valid_message(kind: &Kind) {
    let Some(image) = image(kind.agent) else { return };
    let (origin, model) = (Origin::start(), ScriptedModel::start(Scenario::builtin("silence").unwrap()).unwrap());
    let container = container(kind, &image, &model, &origin).options(HARDENED);
    let started = container.start();
    model.wait_for_question(PATIENCE).unwrap();
    started.stop(60);
    let ended = started.finish();
    // Not 137: it was not the engine's KILL.
    ended.assert("cancelled", "Cancelled", 143);
    assert_eq!(ended.parameter("branch"), Some("work"), "{ended}");
}

/// The pod as Kelos' controller builds it: `/kelos_entrypoint.sh PROMPT` as the image's user, in a clone that its init containers made.
fn works_as_the_image_of_a_kelos_task(kind: &Kind) {
    let Some(image) = image(kind.agent) else { return };
    let model = ScriptedModel::start(Scenario::builtin("success").unwrap()).unwrap();
    let mut pod = Container::of(&image).options(&["--entrypoint", "/kelos_entrypoint.sh", "--workdir", "/workspace/repo"]);
    let source = Source::new(&pod.path("."), "origin.git");
    let (origin, repo) = (format!("file://{}", source.bare.display()), pod.path("workspace/repo"));
    git_ok(&pod.path("workspace"), ["clone", "-q", "--depth", "1", "--no-single-branch", &origin, "repo"]);
    git_ok(&repo, ["checkout", "-q", "-b", "work"]);
    let given = std::process::Command::new("chown").args(["-R", "61100:61100"]).arg(&repo).status().unwrap();
    assert!(given.success());
    let variables = [
        ("KELOS_AGENT_TYPE", kind.kelos),
        ("KELOS_BRANCH", "work"),
        ("KELOS_BASE_BRANCH", "main"),
        ("KELOS_SETUP_COMMAND", r#"["sh", "-c", "touch \"$HOME/.local/bin/from-the-setup-command\""]"#),
        (kind.kelos_key, KEY),
        // The user's own `podOverrides.env`.
        ("AGENT_ENDPOINT", &model.base_url()),
        ("AGENT_MAX_RETRIES", "1"),
    ];
    pod = variables.into_iter().chain(kind.model.map(|model| ("KELOS_MODEL", model))).fold(pod, |pod, (name, value)| pod.with(name, value));
    // fsGroup and user of the pod.
    let ended = pod.options(&["--user", "61100:61100"]).args(&["Please do it."]).run();
    ended.assert("succeeded", "Completed", 0);
    let outputs = Outputs::read(&ended.log);
    for key in ["branch", "commit", "base-branch", "cost-usd", "input-tokens", "output-tokens"] {
        assert_eq!(outputs.get(key), ended.parameter(key), "{key}\n{ended}");
    }
    assert_eq!(outputs.get("branch"), Some("work"), "{ended}");
    assert!(outputs.response().is_some_and(|response| response.contains("Done: the change is committed.")), "{ended}");
}

macro_rules! agents {
    ($($agent:ident: $kind:ident;)*) => {
        $(mod $agent {
            #[test]
            fn does_a_task_as_any_user_and_hardened() {
                super::does_a_task_as_any_user_and_hardened(&super::$kind);
            }

            #[test]
            fn stopped_in_mid_run_leaves_a_valid_message() {
                super::stopped_in_mid_run_leaves_a_valid_message(&super::$kind);
            }

            #[test]
            fn works_as_the_image_of_a_kelos_task() {
                super::works_as_the_image_of_a_kelos_task(&super::$kind);
            }
        })*
    };
}

agents! {
    claude: CLAUDE;
    codex: CODEX;
    gemini: GEMINI;
    opencode: OPENCODE;
}
