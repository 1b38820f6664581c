//! The specification's prose, its rows and the suite's checks say the same.
//!
//! What stands in `spec/v1/spec.md` is held against `spec/v1/requirements.toml`, sentence by sentence, and both against the checks. Whether
//! the examples are right is shown by the whole project's tests, which have the runner.

use std::collections::{BTreeMap, BTreeSet};

use agent_conformance::suite::checks;
use agent_conformance::suite::profile::Profile;
use agent_conformance::suite::requirement::{self, Level, Requirement, Verify};

const PROSE: &str = include_str!("../../spec/v1/spec.md");

/// The words of RFC 2119 and RFC 8174, in capitals.
const KEYWORDS: &[&str] = &["MUST", "SHALL", "SHOULD", "MAY", "REQUIRED", "RECOMMENDED", "OPTIONAL"];

/// A requirement as it stands in the prose.
struct Sentence<'a> {
    id: &'a str,
    text: &'a str,
    section: &'a str,
}

/// The line's id and text, if it is a requirement.
fn requirement_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("- **")?.split_once("** ")
}

fn sentences() -> Vec<Sentence<'static>> {
    let mut section = "";
    let mut sentences = Vec::new();
    for line in PROSE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.split(' ').next().unwrap_or_default();
        } else if let Some((id, text)) = requirement_of(line) {
            sentences.push(Sentence { id, text, section });
        }
    }
    sentences
}

/// Text without what stands in code spans and code blocks.
fn without_code(text: &str) -> String {
    let mut in_block = false;
    let mut plain = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            plain.extend(line.split('`').step_by(2));
            plain.push('\n');
        }
    }
    plain
}

fn keywords(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| KEYWORDS.contains(word)).collect()
}

#[test]
fn every_row_stands_in_the_prose_once_word_by_word_in_its_section() {
    let sentences = sentences();
    let mut by_id: BTreeMap<&str, Vec<&Sentence<'_>>> = BTreeMap::new();
    for sentence in &sentences {
        by_id.entry(sentence.id).or_default().push(sentence);
    }
    for row in requirement::all() {
        match by_id.remove(row.id.as_str()).as_deref() {
            Some([sentence]) => {
                assert_eq!(sentence.text, row.text, "{}", row.id);
                assert_eq!(sentence.section, row.section, "{} stands in another section than its row says", row.id);
            }
            Some(several) => panic!("{} stands {} times in the prose", row.id, several.len()),
            None => panic!("{} does not stand in the prose", row.id),
        }
    }
    assert!(by_id.is_empty(), "in the prose without a row: {:?}", by_id.keys());
}

#[test]
fn a_keyword_in_capitals_stands_only_in_a_requirement() {
    let plain = without_code(PROSE);
    for line in plain.lines().filter(|line| requirement_of(line).is_none()) {
        assert!(keywords(line).is_empty(), "a keyword outside of a requirement: {line}");
    }
}

#[test]
fn a_requirement_has_one_keyword_which_is_its_level() {
    for row in requirement::all() {
        let plain = without_code(&row.text);
        assert_eq!(keywords(&plain).len(), 1, "{}: one requirement, one keyword: {}", row.id, row.text);
        let negated = plain.contains("MUST NOT") || plain.contains("SHOULD NOT");
        let level = match (keywords(&plain)[0], negated) {
            ("MUST", false) => Level::Must,
            ("MUST", true) => Level::MustNot,
            ("SHOULD", false) => Level::Should,
            ("SHOULD", true) => Level::ShouldNot,
            ("MAY", _) => Level::May,
            (other, _) => panic!("{}: the keyword {other} is not one of this specification", row.id),
        };
        assert_eq!(row.level, level, "{}", row.id);
    }
}

#[test]
fn ids_and_slugs_are_unique_and_ids_rise_within_their_area() {
    let (mut ids, mut slugs) = (BTreeSet::new(), BTreeSet::new());
    let mut last: BTreeMap<&str, u32> = BTreeMap::new();
    for row in requirement::all() {
        assert!(ids.insert(&row.id), "{} stands twice", row.id);
        assert!(slugs.insert(&row.slug), "the slug {} stands twice", row.slug);
        assert!(row.slug.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}: {}", row.id, row.slug);
        let (area, number) = row.id.split_once('-').unwrap();
        assert!(number.len() == 3 && area.chars().all(|c| c.is_ascii_uppercase()), "{}", row.id);
        let number = number.parse().unwrap();
        assert!(last.insert(area, number).is_none_or(|before| before < number), "{} is out of order", row.id);
    }
}

/// Whoever fails a check reads these two, and nothing else.
#[test]
fn every_row_says_why_it_matters_and_how_to_mend_it() {
    for row in requirement::all() {
        for (name, text) in [("why", &row.why), ("fix", &row.fix)] {
            assert!(text.len() >= 40 && text.ends_with(['.', '`']), "{}: {name} is too little: {text}", row.id);
            let plain = without_code(text);
            assert!(keywords(&plain).is_empty(), "{}: {name} speaks in requirements", row.id);
        }
        assert_eq!(row.verify == Verify::Excluded, !row.excluded.is_empty(), "{}: excluded, and the reason for it", row.id);
    }
}

#[test]
fn the_table_of_profiles_lists_the_rows_of_each() {
    let table = &PROSE[PROSE.find("| profile | its own requirements |").unwrap()..];
    for profile in Profile::ALL {
        let line = table.lines().find(|line| line.starts_with(&format!("| `{profile}` |"))).unwrap();
        let listed: Vec<&str> = line.split('|').nth(2).unwrap().split_whitespace().collect();
        let rows: Vec<&str> = requirement::all().iter().filter(|row| row.profile == profile).map(|row| row.id.as_str()).collect();
        assert_eq!(listed, rows, "{profile}");
    }
}

/// The prose repeats the closed table for people; programs read the generated one.
#[test]
fn the_table_of_reasons_is_the_generated_one() {
    let reasons: Vec<serde_json::Value> = serde_json::from_str(include_str!("../../spec/v1/reasons.json")).unwrap();
    let table = &PROSE[PROSE.find("| reason | status | exit code | again? | when |").unwrap()..];
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').skip(1).map(str::trim).take(4).collect())
        .collect();
    let expected: Vec<(String, &str, Option<String>, &str)> = reasons
        .iter()
        .map(|reason| {
            let again = if reason["retry"].as_bool().unwrap() { "yes" } else { "no" };
            let code = reason["exitCode"].as_u64().map(|code| code.to_string());
            (format!("`{}`", reason["reason"].as_str().unwrap()), reason["status"].as_str().unwrap(), code, again)
        })
        .collect();
    assert_eq!(rows.len(), expected.len());
    for (row, (reason, status, code, again)) in rows.iter().zip(&expected) {
        assert_eq!((row[0], row[1], row[3]), (reason.as_str(), *status, *again));
        match code {
            Some(code) => assert_eq!(row[2], code, "{reason}"),
            None => assert!(["own", "128 + N"].contains(&row[2]), "{reason}: {}", row[2]),
        }
    }
}

/// Every setting of the generated table is explained, and nothing else that looks like one.
#[test]
fn every_variable_of_the_interface_is_explained() {
    let variables = |text: &'static str| -> BTreeSet<&'static str> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("AGENT_") && !word.ends_with('_') && !word.starts_with("AGENT_OUTPUTS_"))
            .collect()
    };
    let mut known = variables(include_str!("../../spec/v1/settings.md"));
    known.insert("AGENT_NONCE");
    assert_eq!(variables(PROSE), known);
}

/// A link that leads nowhere is a part of the specification that is missing.
#[test]
fn every_link_of_the_prose_leads_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/v1");
    let anchors: BTreeSet<String> = PROSE
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(',', "").replace(' ', "-"))
        .collect();
    for target in PROSE.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "{target}"),
            None => assert!(root.join(target).exists(), "{target}"),
        }
    }
}

/// A requirement that nobody looks at is a wish; a check without a sentence is an opinion.
#[test]
fn every_binding_row_has_one_check_and_every_check_a_row() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for check in checks::all() {
        *counts.entry(check.id).or_default() += 1;
    }
    for id in counts.keys() {
        assert!(requirement::find(id).is_some(), "the check {id} has no row");
    }
    let tested = |row: &&Requirement| row.verify != Verify::Excluded && row.level.is_binding();
    for row in requirement::all().iter().filter(tested) {
        assert_eq!(counts.get(row.id.as_str()), Some(&1), "{}: {}", row.id, row.text);
    }
}
