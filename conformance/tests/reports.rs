//! Reports: each format as its reader sees it, with all verdicts and with whatever an image may say.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/reported.rs"]
mod reported;

use agent_conformance::suite::report::redact::Redactor;
use agent_conformance::suite::report::{Format, Report, ReportError, human, json};
use agent_conformance::suite::verdict::Verdict;
use proptest::prelude::*;
use reported::{CANARY, VERDICTS, about, all_verdicts, any_report, judgement, report};

fn render(report: &Report, format: Format) -> String {
    format.render(report, &Redactor::new(&about("").canaries)).unwrap()
}

#[test]
fn a_person_reads_what_is_broken_why_it_matters_and_what_to_do() {
    insta::assert_snapshot!(render(&all_verdicts(), Format::Human));
}

#[test]
fn a_cause_that_many_share_is_said_once() {
    let rows = (1..=9).map(|number| (number, format!("scenario `s{number}`: the image has no agent")));
    let judgements: Vec<_> = rows.map(|(number, said)| judgement(&format!("IMG-{number:03}"), Verdict::NotTestable, &said)).collect();
    let text = render(&report(&about("image"), &judgements, false), Format::Human);
    assert_eq!(text.matches("the image has no agent").count(), 1, "{text}");
    assert!(text.contains("not-testable  9 requirements, by one cause") && text.contains("IMG-001 IMG-002 IMG-003"), "{text}");
    let text = render(&report(&about("image"), &judgements[..3], false), Format::Human);
    assert_eq!(text.matches("the image has no agent").count(), 3, "{text}");
}

#[test]
fn colour_says_nothing_that_words_do_not_say() {
    let report = all_verdicts();
    let plain = human::render(&report, human::Look::PLAIN);
    let colored = human::render(&report, human::Look { color: true, ..human::Look::PLAIN });
    assert!(colored.contains("\x1b[") && !plain.contains('\x1b'));
    let mut stripped = String::new();
    for (number, part) in colored.split("\x1b[").enumerate() {
        stripped += if number == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(stripped, plain);
}

#[test]
fn json_is_read_back_as_the_same_value_and_fits_its_schema() {
    let report = all_verdicts();
    let text = render(&report, Format::Json);
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    let schema = serde_json::from_str(&json::schema().unwrap()).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut value = serde_json::from_str(&text).unwrap();
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).next());
    value["conclusion"] = "fine".into();
    assert!(!validator.is_valid(&value), "the schema takes anything");
}

#[test]
fn the_schema_of_the_json_report_has_not_drifted() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
    let schema = json::schema().unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, schema, "{} has drifted from the code: run `make generate` and look at the change", path.display());
}

#[test]
fn no_canary_gets_into_a_report_in_any_form() {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{CANARY}"));
    let said = format!(
        "url https://x:{}@host/ header Basic {basic} raw {CANARY}",
        CANARY.replace('+', "%2B").replace('/', "%2F").replace('&', "%26").replace('<', "%3C")
    );
    let judgements: Vec<_> =
        VERDICTS.iter().zip(1..).map(|(verdict, number)| judgement(&format!("IMG-{number:03}"), *verdict, &said)).collect();
    let report = report(&about(&format!("registry/{CANARY}:1")), &judgements, false);
    for format in Format::ALL {
        let text = render(&report, format);
        assert!(text.contains("[canary token]") || text.contains("\\[canary token\\]"), "{text}");
    }
}

#[test]
fn a_canary_that_got_into_a_value_all_the_same_stops_every_report() {
    let redactor = Redactor::new(&about("").canaries);
    for format in Format::ALL {
        let mut report = all_verdicts();
        report.results[1].actual = Some(format!("a {CANARY} b"));
        let failed = format.render(&report, &redactor);
        assert!(matches!(&failed, Err(ReportError::Secret { name, .. }) if name == "token"), "{failed:?}");
    }
}

/// A log line that GitHub, Azure or TeamCity would take for a command.
fn commands_a_ci(line: &str) -> bool {
    line.trim().starts_with("::") || ["##[", "##vso[", "##teamcity["].iter().any(|marker| line.contains(marker))
}

fn controls(text: &str) -> bool {
    text.chars().any(|character| (character.is_control() && character != '\n') || ('\u{202a}'..='\u{202e}').contains(&character))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_image_says_commands_no_terminal_and_no_ci(report in any_report()) {
        for format in Format::ALL {
            let text = render(&report, format);
            prop_assert!(!controls(&text), "{}: {}", format.as_str(), text);
            // Annotations are commands; their own test reads them back.
            for line in text.lines().filter(|_| format != Format::Github) {
                prop_assert!(!commands_a_ci(line), "{}: {}", format.as_str(), line);
            }
        }
    }

    #[test]
    fn json_holds_whatever_it_was(report in any_report()) {
        prop_assert_eq!(serde_json::from_str::<Report>(&render(&report, Format::Json)).unwrap(), report);
    }

    #[test]
    fn the_sentence_and_the_exit_code_agree(report in any_report()) {
        let bad = report.count(&[Verdict::Fail, Verdict::NotTestable]) + if report.asked.strict { report.count(&[Verdict::Warn]) } else { 0 };
        prop_assert_eq!(report.exit_code == 1, bad > 0);
        prop_assert_eq!(report.exit_code == 0, report.summary.starts_with("conformant"));
    }
}

#[test]
fn megabytes_from_an_image_make_a_report_of_some_pages() {
    let flood = "\x1b[31mx\n".repeat(1_000_000);
    let judgements: Vec<_> = (1..=15).map(|number| judgement(&format!("IMG-{number:03}"), Verdict::Fail, &flood)).collect();
    let report = report(&about(&flood), &judgements, false);
    for format in Format::ALL {
        let length = render(&report, format).len();
        assert!(length < 400_000, "{}: {length} bytes", format.as_str());
    }
}
