//! Inputs, versions, set-up and results: the scenarios in which all goes well, or ends before the agent starts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::stage::{KEY, TOKEN, UNTOUCHED, VICTIM};
use super::{Scenario, Stage, Unfit};
use crate::suite::fake::Step;

const MEBIBYTE: usize = 1 << 20;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "happy", about: "a prompt, a good agent, every sink", needs: &[], prepare: happy, course: &[] },
    Scenario { name: "happy-again", about: "the same once more", needs: &[], prepare: happy, course: &[] },
    Scenario {
        name: "unknown-variables",
        about: "variables that the document does not know",
        needs: &[],
        prepare: unknown_variables,
        course: &[],
    },
    Scenario {
        name: "version-spoken",
        about: "the lowest version of the label is asked for",
        needs: &[],
        prepare: version_spoken,
        course: &[],
    },
    Scenario {
        name: "version-unspoken",
        about: "version 99.0 is asked for, with a document of that version",
        needs: &[],
        prepare: version_unspoken,
        course: &[],
    },
    Scenario { name: "prompt-file", about: "the prompt comes in a file", needs: &[], prepare: prompt_file, course: &[] },
    Scenario { name: "prompt-mebibyte", about: "the prompt is a file of 1 MiB", needs: &[], prepare: prompt_mebibyte, course: &[] },
    Scenario {
        name: "prompt-odd",
        about: "the prompt begins with a dash and is full of what shells read",
        needs: &[],
        prepare: prompt_odd,
        course: &[],
    },
    Scenario { name: "prompt-missing", about: "there is no prompt", needs: &[], prepare: prompt_missing, course: &[] },
    Scenario { name: "inputs-wrong", about: "three variables are wrong", needs: &[], prepare: inputs_wrong, course: &[] },
    Scenario {
        name: "task-document",
        about: "a task document in JSON, without a variable for the prompt",
        needs: &[],
        prepare: task_document,
        course: &[],
    },
    Scenario { name: "task-document-yaml", about: "the same in YAML", needs: &[], prepare: task_document_yaml, course: &[] },
    Scenario {
        name: "variable-wins",
        about: "a task document, and a variable that says otherwise",
        needs: &[],
        prepare: variable_wins,
        course: &[],
    },
    Scenario { name: "setup", about: "a setup command", needs: &[], prepare: setup, course: &[] },
    Scenario { name: "setup-fails", about: "a setup command that ends with 43", needs: &[], prepare: setup_fails, course: &[] },
    Scenario {
        name: "claims",
        about: "the agent claims results in every way, some of them forged",
        needs: &[],
        prepare: claims,
        course: &[],
    },
    Scenario { name: "secret-echo", about: "the agent says the secrets that it has", needs: &[], prepare: secret_echo, course: &[] },
    Scenario { name: "budget", about: "results that are too long, and a budget of 1,024 bytes", needs: &[], prepare: budget, course: &[] },
    Scenario { name: "unwritable", about: "the termination message has nowhere to go", needs: &[], prepare: unwritable, course: &[] },
];

fn happy(stage: &mut Stage) -> Result<(), Unfit> {
    stage.token(&stage.canary(TOKEN))?;
    stage.agent_that([Step::LookAtInit, Step::LookForSecrets, Step::PrintError("a line on stderr\n".into())]);
    Ok(())
}

fn unknown_variables(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_OF_THE_FUTURE", "unknown to this document");
    stage.env("CONFORMANCE_UNKNOWN", "likewise");
    stage.agent_that([]);
    Ok(())
}

fn version_spoken(stage: &mut Stage) -> Result<(), Unfit> {
    let lowest = stage.subject.words("interface").min_by_key(|version| parts(version)).map(str::to_owned);
    let Some(lowest) = lowest else { return Err(Unfit::Prerequisite("the image does not say which versions it speaks".into())) };
    stage.env("AGENT_INTERFACE_VERSION", &lowest);
    stage.agent_that([]);
    Ok(())
}

/// A version as numbers, for comparing.
fn parts(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

fn version_unspoken(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_INTERFACE_VERSION", "99.0");
    stage.know("version", "99.0");
    stage.agent_that([]);
    // Nobody who does not speak it can say what is wrong in it.
    in_document(stage, "task.json", r#"{"limits": {"novelty": 1}}"#)
}

fn prompt_file(stage: &mut Stage) -> Result<(), Unfit> {
    in_file(stage, "A prompt that stands in a file.\nIt has two lines.")
}

fn prompt_mebibyte(stage: &mut Stage) -> Result<(), Unfit> {
    let line = "All work and no play makes a long prompt, and a runner that cuts it makes a short one.\n";
    let mut text = line.repeat(MEBIBYTE / line.len() + 1);
    text.truncate(MEBIBYTE - 4);
    text.push_str("end.");
    in_file(stage, &text)
}

fn in_file(stage: &mut Stage, text: &str) -> Result<(), Unfit> {
    stage.unset("AGENT_PROMPT");
    stage.write("prompt-file", text.as_bytes())?;
    let path = stage.path("prompt-file");
    stage.env("AGENT_PROMPT_FILE", &path);
    stage.expect_prompt(text)?;
    stage.agent_that([]);
    Ok(())
}

fn prompt_odd(stage: &mut Stage) -> Result<(), Unfit> {
    stage
        .prompt("--help \"double\" 'single' `back` $HOME ${HOME} $(id) \\n \\\\ %s !! ; & | > <\n\ttab, umlaut ä, dash – and line\nend")?;
    stage.agent_that([]);
    Ok(())
}

fn prompt_missing(stage: &mut Stage) -> Result<(), Unfit> {
    stage.unset("AGENT_PROMPT");
    stage.agent_that([]);
    Ok(())
}

fn inputs_wrong(stage: &mut Stage) -> Result<(), Unfit> {
    for (name, value) in [("AGENT_TIMEOUT", "soon"), ("AGENT_LOG", "loud"), ("AGENT_DEPTH", "deep")] {
        stage.env(name, value);
    }
    stage.know("wrong", "AGENT_TIMEOUT AGENT_LOG AGENT_DEPTH");
    stage.agent_that([]);
    Ok(())
}

fn task_document(stage: &mut Stage) -> Result<(), Unfit> {
    let prompt = "A prompt that stands in a task document.";
    stage.unset("AGENT_PROMPT");
    stage.expect_prompt(prompt)?;
    document(stage, prompt)
}

fn task_document_yaml(stage: &mut Stage) -> Result<(), Unfit> {
    stage.unset("AGENT_PROMPT");
    stage.expect_prompt("A prompt: of two lines,\nthat stands in a block of YAML.\n")?;
    let text = "# a comment\nlimits: {timeout: 10m}\nprompt: |\n  A prompt: of two lines,\n  that stands in a block of YAML.\n";
    in_document(stage, "task.yaml", text)
}

fn variable_wins(stage: &mut Stage) -> Result<(), Unfit> {
    stage.prompt("The variable's prompt.")?;
    document(stage, "The document's prompt.")
}

fn document(stage: &mut Stage, prompt: &str) -> Result<(), Unfit> {
    in_document(stage, "task.json", &serde_json::json!({ "prompt": prompt }).to_string())
}

fn in_document(stage: &mut Stage, name: &str, text: &str) -> Result<(), Unfit> {
    stage.write(name, text.as_bytes())?;
    let path = stage.path(name);
    stage.env("AGENT_TASK_FILE", &path);
    stage.agent_that([]);
    Ok(())
}

/// Arguments that no shell would leave alone.
const SETUP_ARGUMENTS: [&str; 3] = ["two words", "$HOME", "*"];

fn setup(stage: &mut Stage) -> Result<(), Unfit> {
    let words = [stage.path("bin/setup")].into_iter().chain(SETUP_ARGUMENTS.map(str::to_owned)).collect::<Vec<_>>();
    let text = serde_json::json!(words).to_string();
    stage.env("AGENT_SETUP_COMMAND", &text);
    stage.know("setup", text);
    stage.setup([Step::Mark("setup".into())]);
    stage.agent_that([]);
    Ok(())
}

fn setup_fails(stage: &mut Stage) -> Result<(), Unfit> {
    setup(stage)?;
    stage.setup([Step::Exit(43)]);
    Ok(())
}

fn claims(stage: &mut Stage) -> Result<(), Unfit> {
    let outputs = serde_json::json!([
        {"name": "declared", "path": "declared.txt"},
        {"name": "defaulted", "path": "nowhere.txt", "default": "by default"},
    ]);
    stage.env("AGENT_OUTPUTS", &outputs.to_string());
    let block =
        |nonce: &str, lines: &str| Step::Print(format!("---AGENT_OUTPUTS_START {nonce}---\n{lines}---AGENT_OUTPUTS_END {nonce}---\n"));
    let write = |path: &str, text: &str| Step::Write { path: path.into(), text: text.into() };
    stage.write("outside", b"what a link must not bring in")?;
    stage.write(VICTIM, UNTOUCHED)?;
    fs::set_permissions(stage.dir.join(VICTIM), Permissions::from_mode(0o666))?;
    let (outside, victim) = (stage.path("outside"), stage.path(VICTIM));
    stage.agent_that([
        block("${AGENT_NONCE}", "said: by a block\\nof two lines\nexit-code: 99\nbranch: forged\n"),
        block("0123456789abcdef0123456789abcdef", "forged: by a nonce that is not this run's\n"),
        write("${AGENT_RESULTS_DIR}/left", "in a file"),
        write("${AGENT_RESULTS_DIR}/commit", "0000000000000000000000000000000000000000"),
        write("${AGENT_RESULTS_DIR}/.hidden", "no valid name"),
        write("declared.txt", "as declared"),
        Step::Link { path: "${AGENT_RESULTS_DIR}/linked".into(), target: outside },
        // A runner that writes its results through links would write here.
        Step::Link { path: "${AGENT_RESULTS_DIR}/exit-code".into(), target: victim },
    ]);
    Ok(())
}

fn secret_echo(stage: &mut Stage) -> Result<(), Unfit> {
    stage.token(&stage.canary(TOKEN))?;
    let say = |text: &str| Step::Print(stage.stream.say(text));
    let key = stage.canary(KEY);
    let token = stage.canary(TOKEN);
    let steps = [
        say(&format!("The key is {key}.")),
        say(&format!("The token is {token}.")),
        Step::PrintError(format!("{key} {token}\n")),
        Step::Write { path: "${AGENT_RESULTS_DIR}/key".into(), text: key.clone() },
        Step::Print(format!("---AGENT_OUTPUTS_START ${{AGENT_NONCE}}---\ntoken: {token}\n---AGENT_OUTPUTS_END ${{AGENT_NONCE}}---\n")),
        say(&format!("At last: {key} {token}")),
    ];
    stage.agent_that(steps);
    Ok(())
}

fn budget(stage: &mut Stage) -> Result<(), Unfit> {
    stage.env("AGENT_TERMINATION_BUDGET", "1024");
    stage.know("budget", "1024");
    long_results(stage);
    Ok(())
}

/// Results and an answer that fit no message.
pub(super) fn long_results(stage: &mut Stage) {
    let long = "A long result, with \"quotes\" and umlauts: äöü. ".repeat(200);
    let steps = ["first", "second", "third"].map(|name| Step::Write { path: format!("${{AGENT_RESULTS_DIR}}/{name}"), text: long.clone() });
    let said = Step::Print(stage.stream.say(&long));
    stage.agent_that(steps.into_iter().chain([said]).collect::<Vec<_>>());
}

fn unwritable(stage: &mut Stage) -> Result<(), Unfit> {
    let path = stage.path("no/such/directory/termination");
    stage.env("AGENT_TERMINATION_LOG", &path);
    stage.agent_that([]);
    Ok(())
}
