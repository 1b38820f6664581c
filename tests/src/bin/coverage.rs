//! Makes the table of agents and abilities in `docs/agents.md` of what the tests noted: `coverage NOTES DOCUMENT` says whether the table
//! is what was seen, and with `UPDATE_GENERATED=1` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

use agent_tests::coverage::{ABILITIES, Ability, Seen, Support};

/// Real CLIs that are run in the tests: each ability must have been tried.
const RUN: &[&str] = &["claude", "codex", "gemini", "opencode"];
const BEGIN: &str = "<!-- generated: abilities -->\n";
const END: &str = "<!-- end of generated -->\n";

fn main() -> ExitCode {
    match run() {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("coverage: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [notes, path] = &arguments[..] else { return Err("usage: coverage NOTES DOCUMENT".into()) };
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let notes = read(notes)?.lines().map(serde_json::from_str).collect::<Result<Vec<Seen>, _>>().map_err(|error| error.to_string())?;
    let table = table(&notes)?;
    let document = read(path)?;
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (old, after)) = parts.ok_or_else(|| format!("{path} has no place for the table"))?;
    if old == table {
        return Ok(format!("{path}: the table is what the tests saw"));
    }
    if std::env::var_os("UPDATE_GENERATED").is_none() {
        let of = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (old, new) = (of(old), of(&table));
        let lines = |mark: &str, lines: Vec<&String>| lines.iter().map(|line| format!("\n{mark} {line}")).collect::<String>();
        let (gone, come) = (lines("-", old.difference(&new).collect()), lines("+", new.difference(&old).collect()));
        return Err(format!("{path} does not say what the tests saw; `UPDATE_GENERATED=1 tests/run` writes it anew:{gone}{come}"));
    }
    std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).map_err(|error| format!("{path}: {error}"))?;
    Ok(format!("{path}: written"))
}

/// All that was noted of one agent and ability, taken together: what restricts counts, in an order that does not depend on the tests'.
fn together(notes: &[Seen]) -> BTreeMap<(&str, Ability), Support> {
    let mut all: BTreeMap<(&str, Ability), (bool, BTreeSet<&str>)> = BTreeMap::new();
    for Seen { agent, ability, support } in notes {
        let (works, restrictions) = all.entry((agent, *ability)).or_default();
        *works |= !matches!(support, Support::No(_));
        if let Support::Partly(reason) | Support::No(reason) = support {
            restrictions.insert(reason);
        }
    }
    let support = |works: bool, restrictions: BTreeSet<&str>| {
        let reasons = restrictions.into_iter().collect::<Vec<_>>().join("; ");
        match (works, reasons.is_empty()) {
            (_, true) => Support::Yes,
            (true, false) => Support::Partly(reasons),
            (false, false) => Support::No(reasons),
        }
    };
    all.into_iter().map(|(key, (works, restrictions))| (key, support(works, restrictions))).collect()
}

fn table(notes: &[Seen]) -> Result<String, String> {
    let seen = together(notes);
    let mut agents: Vec<&str> = seen.keys().map(|(agent, _)| *agent).collect();
    agents.dedup();
    agents.sort_by_key(|agent| (RUN.iter().position(|run| run == agent).unwrap_or(RUN.len()), *agent));
    let mut missing = Vec::new();
    let mut table =
        format!("| |{}\n|---|{}\n", agents.iter().map(|agent| format!(" {agent} |")).collect::<String>(), "---|".repeat(agents.len()));
    let mut footnotes = Vec::new();
    for (ability, words) in ABILITIES {
        let _ = write!(table, "| {words} |");
        for agent in &agents {
            let cell = match seen.get(&(*agent, *ability)) {
                Some(Support::Yes) => "yes".to_owned(),
                Some(Support::Partly(reason)) => format!("partly [{}]", footnote(&mut footnotes, reason)),
                Some(Support::No(reason)) => format!("no [{}]", footnote(&mut footnotes, reason)),
                None => {
                    if RUN.contains(agent) {
                        missing.push(format!("{agent}: {words}"));
                    }
                    "–".to_owned()
                }
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    if !missing.is_empty() {
        return Err(format!("not tried by any test:\n  {}", missing.join("\n  ")));
    }
    table.push('\n');
    for (number, reason) in footnotes.iter().enumerate() {
        let _ = writeln!(table, "{}. {reason}", number + 1);
    }
    Ok(table)
}

fn footnote(footnotes: &mut Vec<String>, reason: &str) -> usize {
    let known = footnotes.iter().position(|known| known == reason);
    known.unwrap_or_else(|| {
        footnotes.push(reason.to_owned());
        footnotes.len() - 1
    }) + 1
}
