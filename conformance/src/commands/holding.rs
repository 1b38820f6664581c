//! `reproduce --hold`: sets the stages of a check's scenarios, prints what a person would type to play them, and holds them until a signal
//! comes.

use std::fmt::Write as _;
use std::time::Duration;

use super::error::CommandError;
use super::gathering::{can_start_the_suite, no_directory, workplace};
use super::output;
use crate::suite::engine::{Engine, Typed};
use crate::suite::fake::RECORDS;
use crate::suite::report::text::{shell_word, tame};
use crate::suite::scenario::stage::TERMINATION;
use crate::suite::scenario::{self, Act, Scenario, Stage, Unfit};
use crate::suite::stop;

/// How often it is looked whether a signal has come.
const INTERVAL: Duration = Duration::from_millis(100);

/// Sets them, prints the commands, and waits for Ctrl-C or SIGTERM. Then stages and servers are gone.
pub fn hold(engine: &dyn Engine, scenarios: &[&str]) -> Result<(), CommandError> {
    let subject = engine.inspect()?;
    if !scenarios.is_empty() {
        can_start_the_suite(&subject)?;
    }
    let (work, options) = workplace(1, Duration::MAX)?;
    // The image may run as another user, who has to come through.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(work.path(), open).map_err(no_directory)?;
    let mut stages: Vec<Stage> = Vec::new();
    for scenario in scenarios.iter().filter_map(|name| scenario::find(name)) {
        let mut text = format!("\nScenario {}: {}\n", scenario.name, scenario.about);
        match scenario::set(scenario, engine, &subject, &options) {
            Ok(stage) => {
                let name = format!("agent-conformance-{}", scenario.name);
                let place = stage.dir.join("engine");
                std::fs::create_dir_all(&place).map_err(no_directory)?;
                text += &match engine.typed(&stage.start, &name, &place)? {
                    Some(typed) => commands(scenario, &stage, &typed),
                    None => format!("  The engine `{}` has no command line; `--run` plays it.\n", engine.name()),
                };
                stages.push(stage);
            }
            Err(Unfit::Inapplicable(why) | Unfit::Prerequisite(why) | Unfit::Fault(why)) => {
                let _ = writeln!(text, "  It cannot be played: {}", tame(&why));
            }
        }
        output::print(&text)?;
    }
    output::print("\nFiles and servers are held until Ctrl-C.\n")?;
    while stop::asked().is_none() {
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// What is typed, in order.
fn commands(scenario: &Scenario, stage: &Stage, typed: &Typed) -> String {
    let mut text = String::new();
    for words in &typed.start {
        text += &format!("\n{}\n", line(words));
    }
    if !scenario.course.is_empty() {
        text += "\nand while it runs, in another terminal:\n";
    }
    let signal = |name: &str| match &typed.signal {
        Some(words) => line(&words.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>()),
        None => format!("kill -s {} PID    # of the command", name.trim_start_matches("SIG")),
    };
    let records = shell_word(&stage.dir.join(RECORDS).display().to_string());
    for act in scenario.course {
        // Writing to a string cannot fail.
        let _ = match act {
            Act::AwaitMark(mark) => writeln!(text, "\nuntil grep -q '\"name\":\"{mark}\"' {records}; do sleep 0.1; done"),
            Act::AwaitGit => writeln!(text, "\n# as soon as the git server is asked"),
            Act::AwaitModel => writeln!(text, "\n# as soon as the model is asked"),
            Act::Send(wanted) => writeln!(text, "\n{}", signal(wanted.as_str())),
            Act::Kill => writeln!(text, "\n{}", signal("SIGKILL")),
        };
    }
    let termination = stage.dir.join(TERMINATION);
    let _ = writeln!(
        text,
        "\nThe termination message is then in {}, what the suite's agent saw in {records}.",
        shell_word(&termination.display().to_string())
    );
    text
}

/// Words of a command as a shell reads them, an option a line.
fn line(words: &[String]) -> String {
    let mut text = String::new();
    let mut before: Option<&str> = None;
    for word in words {
        let breaks = match before {
            None => false,
            Some(before) => word.starts_with('-') || (word.contains('=') && !before.starts_with('-')),
        };
        if before.is_some() {
            text += if breaks { " \\\n  " } else { " " };
        }
        text += &shell_word(word);
        before = Some(word);
    }
    text
}
