//! Generated files and tables: what stands in the tree is what the code says. `make generate` (UPDATE_GENERATED=1) writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_runner::cli::{Cli, SchemaDocument};
use agent_runner::commands::schema::{name, schema};
use agent_runner::inputs::settings::{Kind, SETTINGS, TASK_FILE};
use agent_sdk::verdict::{CodeRule, Reason};
use clap::CommandFactory;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Compares a file with what it should hold, or writes it.
fn hold(path: &str, expected: &str) {
    let path = root().join(path);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        // in one step, since the tests beside this one read it meanwhile
        let new = path.with_extension("new");
        std::fs::write(&new, expected).unwrap();
        std::fs::rename(&new, &path).unwrap();
    } else {
        panic!("{} has drifted from the code: run `make generate` and look at the change", path.display());
    }
}

/// The text of a file with one of its generated sections replaced.
fn with_section(text: &str, section: &str, content: &str) -> String {
    let begin = format!("<!-- generated: {section} -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("no section {section}")) + begin.len();
    let end = start + text[start..].find("<!-- end -->").unwrap();
    format!("{}{content}{}", &text[..start], &text[end..])
}

fn code_text(rule: CodeRule) -> String {
    match rule {
        CodeRule::Fixed(code) => code.to_string(),
        CodeRule::Own(_) => "the program's own".into(),
        CodeRule::Signal(_) => "128+n".into(),
    }
}

fn settings_table() -> String {
    let mut table = String::from("| variable | flag | in the document | meaning |\n|---|---|---|---|\n");
    let _ = writeln!(table, "| `{TASK_FILE}` | `--task-file` | | Task document, YAML or JSON |");
    for setting in SETTINGS {
        let help = setting.help.replace('|', "\\|");
        // A switch takes its value after the sign only.
        let value = if matches!(setting.kind, Kind::Switch) { "[=BOOL]" } else { "" };
        let _ = writeln!(table, "| `{}` | `--{}{value}` | `{}` | {help} |", setting.variable, setting.flag(), setting.path);
    }
    table
}

fn exit_code_rows() -> String {
    let mut by_code: BTreeMap<(u16, String, &str, bool), Vec<&str>> = BTreeMap::new();
    for reason in Reason::ALL {
        let rule = reason.code_rule();
        // the first column sorts: fixed codes by number, the others after them
        let order = match rule {
            CodeRule::Fixed(code) => u16::from(code),
            CodeRule::Own(_) => 256,
            CodeRule::Signal(_) => 257,
        };
        by_code.entry((order, code_text(rule), reason.status().as_str(), reason.retry())).or_default().push(reason.as_str());
    }
    let mut rows = String::new();
    for ((_, code, status, retry), reasons) in by_code {
        let reasons = reasons.iter().map(|reason| format!("`{reason}`")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(rows, "| {code} | {status} | {reasons} | {} |", if retry { "yes" } else { "no" });
    }
    rows
}

fn commands_table() -> String {
    let mut table = String::from("| command | what it does |\n|---|---|\n");
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let _ = writeln!(table, "| `{}` | {} |", command.get_name(), command.get_about().map(ToString::to_string).unwrap_or_default());
    }
    table
}

#[test]
fn the_readme_tables_follow_the_code() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    // the exit codes stand below a header that is prose, so that the table stays one table
    let header = "| code | status | reasons | again? |\n|---|---|---|---|\n";
    let text = text.replace(&format!("{header}<!-- generated: exit-codes -->"), "<!-- generated: exit-codes -->");
    let text = with_section(&text, "exit-codes", &format!("{header}{}", exit_code_rows()));
    let text = with_section(&text, "variables", &settings_table());
    let text = with_section(&text, "commands", &commands_table());
    let text = with_section(&text, "manifest job", &manifest("job"));
    hold("README.md", &text);
}

#[test]
fn the_specs_tables_follow_the_code() {
    hold("spec/v1/settings.md", &format!("# Settings\n\nGenerated from the table that the runner parses by.\n\n{}", settings_table()));
    let mut reasons = String::from(
        "# Reasons\n\nGenerated from the table that the runner decides by. The list is closed.\n\n| reason | status | exit code | retry | hint |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let retry = if reason.retry() { "yes" } else { "no" };
        let _ = writeln!(
            reasons,
            "| `{}` | {} | {} | {retry} | {} |",
            reason.as_str(),
            reason.status().as_str(),
            code_text(reason.code_rule()),
            reason.hint()
        );
    }
    hold("spec/v1/reasons.md", &reasons);
}

/// The same table for programs: whoever judges an image reads the closed list from here.
#[test]
fn the_specs_reasons_are_data_too() {
    let rows: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            // a code that depends on the run is null
            let code = match reason.code_rule() {
                CodeRule::Fixed(code) => code.to_string(),
                CodeRule::Own(_) | CodeRule::Signal(_) => "null".into(),
            };
            let (name, status) = (reason.as_str(), reason.status().as_str());
            format!(r#"  {{"reason": "{name}", "status": "{status}", "exitCode": {code}, "retry": {}}}"#, reason.retry())
        })
        .collect();
    hold("spec/v1/reasons.json", &format!("[\n{}\n]\n", rows.join(",\n")));
}

#[test]
fn the_schemas_follow_the_types() {
    for document in
        [SchemaDocument::Task, SchemaDocument::Outcome, SchemaDocument::Event, SchemaDocument::Termination, SchemaDocument::Manifest]
    {
        hold(&format!("spec/v1/{}.schema.json", name(document)), &schema(document));
    }
}

/// The task document that the README and the pages of the platforms print manifests of.
fn example_task() -> String {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let start = text.find("cat > task.yaml <<'END'\n").unwrap() + "cat > task.yaml <<'END'\n".len();
    text[start..start + text[start..].find("END\n").unwrap()].to_owned()
}

/// What the command prints that stands above it on each page.
fn manifest(platform: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let task = directory.path().join("task.yaml");
    std::fs::write(&task, example_task()).unwrap();
    let image: &[&str] = match platform {
        "kelos" => &["--image", "registry.example/claude-for-kelos"],
        _ => &["--image", "registry.example/any-image-with-claude", "--runner-image", "registry.example/agent-runner"],
    };
    let token = if platform == "kelos" { "GITHUB_TOKEN" } else { "token" };
    let mut command = std::process::Command::new(agent_tests::probe::runner());
    command.arg("manifest").arg("--task").arg(&task).args(["--for", platform]).args(image);
    command.args(["--secret", "ANTHROPIC_API_KEY=anthropic/api-key"]);
    let output = command.args(["--secret-file", &format!("/run/secrets/git/token=git-token/{token}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("```yaml\n{}```\n", String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_pages_of_the_platforms_show_what_is_printed() {
    for (page, platform) in
        [("docs/kubernetes.md", "job"), ("docs/argo.md", "argo"), ("docs/tekton.md", "tekton"), ("docs/kelos.md", "kelos")]
    {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        hold(page, &with_section(&text, &format!("manifest {platform}"), &manifest(platform)));
    }
    let page = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    assert!(page.contains(&format!("<<'END'\n{}END\n", example_task())), "the page's task is not the README's");
}

/// The README's Job tells Kubernetes what not to try again: exactly the codes whose reasons say so.
#[test]
fn the_readmes_failure_policy_follows_the_reasons() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let list = |action: &str| -> Vec<u8> {
        let after = &text[text.find(&format!("action: {action}")).unwrap()..];
        let list = &after[after.find("values: [").unwrap() + 9..];
        list[..list.find(']').unwrap()].split(',').map(|code| code.trim().parse().unwrap()).collect()
    };
    let (fail, count) = (list("FailJob"), list("Count"));
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Completed) {
        let CodeRule::Fixed(code) = reason.code_rule() else { continue };
        // one code can stand for a retry and for none: then the Job counts it
        let some_retry = Reason::ALL.iter().any(|other| other.code_rule() == CodeRule::Fixed(code) && other.retry());
        let memory = *reason == Reason::OutOfMemory;
        assert_eq!(fail.contains(&code), !some_retry && !memory, "{} {code}", reason.as_str());
    }
    assert!(fail.iter().all(|code| !count.contains(code)));
}

/// What `runner/link/names.awk` makes of the names in a file, without a list or with one.
fn linked_names(names: &Path, list: Option<&Path>) -> String {
    let mut awk = Command::new("awk");
    awk.arg("-f").arg(root().join("runner/link/names.awk"));
    if let Some(list) = list {
        awk.arg("-v").arg(format!("list={}", list.display()));
    }
    let output = awk.arg(names).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A hash in the list would be found by the compiler that made it, and by no other.
#[test]
fn the_functions_that_stand_together_are_named_without_hashes() {
    let list = root().join("runner/link/functions");
    let names = std::fs::read_to_string(&list).unwrap();
    assert!(names.lines().any(|name| name.contains("12agent_runner3run")), "the runner's own functions are in it");
    assert!(linked_names(&list, None) == names, "run `runner/link/record`");
}

#[test]
fn functions_are_found_in_another_build_in_the_order_of_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let [list, build] = ["list", "build"].map(|name| dir.path().join(name));
    std::fs::write(&list, "_RNvNtC-9agent_sdk5usage3add\n_RINvMC-12agent_runnerINtB-3VecEE\nmemcpy\n_RNvC-9agent_sdk4gone\n").unwrap();
    let names = "_RINvMCshn60kVNSdhg_12agent_runnerINtB3_3VecEE\n_RNvCs1_9agent_sdk5other\n_RNvNtCs4fqI2P2rA04_9agent_sdk5usage3add\n";
    std::fs::write(&build, names).unwrap();
    let found = linked_names(&build, Some(&list));
    assert_eq!(found, "_RNvNtCs4fqI2P2rA04_9agent_sdk5usage3add\n_RINvMCshn60kVNSdhg_12agent_runnerINtB3_3VecEE\nmemcpy\n");
}
