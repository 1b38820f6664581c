//! Reports through readers that others wrote, and JUnit against its schema: each understands what was meant, and is content exactly when
//! the exit code is 0.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/reported.rs"]
mod reported;
#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use agent_conformance::suite::report::redact::Redactor;
use agent_conformance::suite::report::{Format, Report};
use agent_conformance::suite::verdict::{Judgement, Verdict};
use html5gum::{Token, Tokenizer};
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};
use reported::{VERDICTS, about, all_verdicts, any_report, judgement, report};

fn render(report: &Report, format: Format) -> String {
    format.render(report, &Redactor::default()).unwrap()
}

/// Prints a file with another version: what is used of TAP 14 is in TAP 13 too, and perl's consumer knows no later one.
const AS_13: &str = "sed 1s/14/13/";

/// A report on each verdict alone, strict and not, and one on nothing.
fn one_of_each() -> Vec<Report> {
    let strict = [false, true];
    let mut reports: Vec<Report> = strict
        .iter()
        .flat_map(|strict| VERDICTS.map(|verdict| report(&about("image"), &[judgement("IMG-001", verdict, "a\n# b\\c")], *strict)))
        .collect();
    reports.push(report(&about("image"), &[], false));
    reports.push(all_verdicts());
    reports
}

#[test]
fn tap_is_green_in_perls_consumer_exactly_when_the_exit_code_is_0() {
    if !skip::have("prove", "perl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for report in one_of_each() {
        let file = dir.path().join("report.tap");
        std::fs::write(&file, render(&report, Format::Tap)).unwrap();
        let proved = Command::new("prove").args(["-e", AS_13]).arg(&file).output().unwrap();
        assert_eq!(proved.status.success(), report.exit_code == 0, "{}\n{proved:?}", render(&report, Format::Tap));
        let said = String::from_utf8_lossy(&proved.stdout);
        assert!(!said.contains("Parse errors"), "{said}");
    }
}

#[test]
fn tap_has_a_point_for_each_requirement_with_its_directive_as_perl_reads_it() {
    if !skip::have("prove", "perl") {
        return;
    }
    let script = r#"use TAP::Parser; local $/; my $p = TAP::Parser->new({tap => scalar <STDIN>});
        while (my $r = $p->next) { print join("|", $r->number, $r->is_actual_ok ? "ok" : "not ok", $r->has_skip ? "skip" : $r->has_todo ? "todo" : "", $r->description), "\n" if $r->is_test }
        die join("; ", $p->parse_errors) if $p->parse_errors;"#;
    let mut perl = Command::new("perl").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut perl.stdin.take().unwrap(), render(&all_verdicts(), Format::Tap).replacen("14", "13", 1).as_bytes())
        .unwrap();
    let said = perl.wait_with_output().unwrap();
    assert!(said.status.success(), "{said:?}");
    insta::assert_snapshot!(String::from_utf8(said.stdout).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_word_of_an_image_adds_a_line_to_tap(report in any_report()) {
        let text = render(&report, Format::Tap);
        let mut lines = text.lines();
        prop_assert_eq!(lines.next(), Some("TAP version 14"));
        prop_assert_eq!(lines.next().unwrap(), format!("1..{}", report.results.len() + 1));
        let (mut points, mut block) = (0, false);
        for line in lines {
            match line {
                "  ---" if !block => block = true,
                "  ..." if block => block = false,
                _ if block => {
                    let value = line.strip_prefix("  ").unwrap().split_once(": ").unwrap().1;
                    if line.starts_with("  actual: ") {
                        let value: String = serde_json::from_str(value).unwrap();
                        prop_assert_eq!(Some(value), report.results[points - 1].actual.clone());
                    }
                }
                _ => {
                    points += 1;
                    let rest = line.strip_prefix("not ").unwrap_or(line);
                    prop_assert!(rest.starts_with(&format!("ok {points} - ")), "{}", line);
                }
            }
        }
        prop_assert_eq!(points, report.results.len() + 1);
    }

    #[test]
    fn junit_holds_whatever_it_was_in_the_form_that_jenkins_reads(report in any_report()) {
        let text = render(&report, Format::Junit);
        let document = roxmltree::Document::parse(&text).unwrap();
        fits_jenkins(document.root_element());
        let cases: Vec<_> = document.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        prop_assert_eq!(cases.len(), report.results.len() + 1);
        let with = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count().to_string();
        let root = document.root_element();
        prop_assert_eq!(root.attribute("failures").unwrap(), with("failure"));
        prop_assert_eq!(root.attribute("errors").unwrap(), with("error"));
        prop_assert_eq!(with("failure") == "0" && with("error") == "0", report.exit_code == 0);
        for (case, row) in cases.iter().zip(&report.results) {
            let said: String = case.descendants().filter_map(|node| node.is_text().then(|| node.text()).flatten()).collect();
            if let Some(actual) = &row.actual {
                prop_assert!(said.contains(actual.as_str()), "{}", said);
            }
        }
    }

    #[test]
    fn html_shows_whatever_it_was_and_makes_nothing_of_it(report in any_report()) {
        let text = render(&report, Format::Html);
        let mut names = BTreeMap::<String, usize>::new();
        let (mut quoted, mut within) = (Vec::new(), false);
        for token in Tokenizer::new(&text) {
            match token.unwrap() {
                Token::StartTag(tag) => {
                    let name = String::from_utf8(tag.name.to_vec()).unwrap();
                    for (attribute, value) in &tag.attributes {
                        let attribute = String::from_utf8_lossy(attribute).into_owned();
                        let known = ["charset", "class", "content", "for", "href", "http-equiv", "id", "lang", "name", "open", "rel", "role", "type", "checked", "aria-label"];
                        prop_assert!(known.contains(&attribute.as_str()), "{}", attribute);
                        prop_assert!(attribute != "href" || &***value == b"data:,");
                    }
                    within = name == "pre";
                    if within {
                        quoted.push(String::new());
                    }
                    *names.entry(name).or_default() += 1;
                }
                Token::EndTag(_) => within = false,
                Token::String(text) if within => {
                    // a line feed at the beginning of <pre> is no part of it
                    let text = String::from_utf8(text.to_vec()).unwrap();
                    let last = quoted.last_mut().unwrap();
                    let text = if last.is_empty() { text.strip_prefix('\n').unwrap_or(&text) } else { &text };
                    last.push_str(text);
                }
                _ => {}
            }
        }
        let known = ["body", "br", "code", "details", "div", "h1", "h2", "head", "html", "input", "label", "li", "link", "main", "meta", "p", "pre", "span", "style", "summary", "title", "ul"];
        prop_assert!(names.keys().all(|name| known.contains(&name.as_str())), "{:?}", names);
        prop_assert_eq!(names.get("details").copied().unwrap_or_default(), report.results.len());
        for row in &report.results {
            if let Some(actual) = row.actual.as_ref().filter(|actual| !actual.is_empty()) {
                prop_assert!(quoted.contains(actual), "{:?} is not in {:?}", actual, quoted);
            }
        }
    }

    #[test]
    fn markdown_quotes_whatever_it_was_and_makes_nothing_of_it(report in any_report()) {
        let text = render(&report, Format::Markdown);
        let (mut blocks, mut block) = (Vec::new(), None::<String>);
        for event in Parser::new_ext(&text, Options::all()) {
            match event {
                Event::Start(Tag::CodeBlock(_)) => block = Some(String::new()),
                Event::End(pulldown_cmark::TagEnd::CodeBlock) => blocks.extend(block.take()),
                Event::Text(text) if block.is_some() => block.as_mut().unwrap().push_str(&text),
                Event::Html(html) | Event::InlineHtml(html) => {
                    let html = html.trim();
                    prop_assert!(html.is_empty() || html.starts_with("<details><summary>") || html == "</details>", "{}", html);
                }
                Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::FootnoteDefinition(_)) => prop_assert!(false, "{}", text),
                _ => {}
            }
        }
        for row in report.results.iter().filter(|row| matches!(row.verdict, Verdict::Fail | Verdict::NotTestable | Verdict::Error)) {
            let wanted = format!("{}\n", row.actual.as_deref().unwrap());
            prop_assert!(blocks.contains(&wanted), "{:?} is not in {:?}", wanted, blocks);
        }
    }

    #[test]
    fn annotations_are_read_back_as_they_were_meant(report in any_report()) {
        for line in render(&report, Format::Github).lines() {
            let (kind, title, message) = as_the_runner_reads(line).unwrap();
            prop_assert!(["error", "warning", "notice"].contains(&kind.as_str()));
            let row = report.results.iter().find(|row| title == format!("{} {}", row.id, row.slug));
            match row {
                // It trims the line, so space at the message's end is lost.
                Some(row) => prop_assert!(message.contains(row.actual.as_deref().or(row.reason.as_deref()).unwrap_or_default().trim_end())),
                None => prop_assert_eq!(message, report.summary.clone()),
            }
        }
    }
}

/// The elements and attributes of the schema of Jenkins' xUnit plugin, as far as they are used here.
fn fits_jenkins(node: roxmltree::Node<'_, '_>) {
    let (children, attributes): (&[&str], &[&str]) = match node.tag_name().name() {
        "testsuites" => (&["testsuite"], &["name", "time", "tests", "failures", "errors"]),
        "testsuite" => (&["properties", "testcase"], &["name", "tests", "failures", "errors", "skipped", "time"]),
        "properties" => (&["property"], &[]),
        "property" => (&[], &["name", "value"]),
        "testcase" => (&["skipped", "error", "failure", "system-out"], &["name", "classname", "time"]),
        "skipped" | "error" | "failure" => (&[], &["type", "message"]),
        "system-out" => (&[], &[]),
        other => panic!("<{other}>"),
    };
    for attribute in node.attributes() {
        assert!(attributes.contains(&attribute.name()), "{} in <{}>", attribute.name(), node.tag_name().name());
    }
    for child in node.children().filter(roxmltree::Node::is_element) {
        assert!(children.contains(&child.tag_name().name()), "<{}> in <{}>", child.tag_name().name(), node.tag_name().name());
        fits_jenkins(child);
    }
}

/// A workflow command as the runner's `ActionCommand.TryParseV2` reads a line of a log: kind, title, message.
fn as_the_runner_reads(line: &str) -> Option<(String, String, String)> {
    let (head, message) = line.trim().strip_prefix("::")?.split_once("::")?;
    let (kind, properties) = head.split_once(' ')?;
    let mut read = BTreeMap::new();
    for property in properties.split(',') {
        let (name, value) = property.trim().split_once('=')?;
        read.insert(name, value.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%"));
    }
    let message = message.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    Some((kind.to_owned(), read.remove("title")?, message))
}

#[test]
fn of_each_kind_there_are_at_most_ten_annotations_and_the_rest_is_counted() {
    for count in 0..25 {
        let judgements: Vec<Judgement> = (0..count)
            .flat_map(|number| [(number, Verdict::Fail), (number + 25, Verdict::Warn), (number + 50, Verdict::KnownFail)])
            .map(|(number, verdict)| {
                let row = &agent_conformance::suite::requirement::all()[number];
                judgement(&row.id, verdict, "x")
            })
            .collect();
        let report = report(&about("image"), &judgements, false);
        let text = render(&report, Format::Github);
        for kind in ["error", "warning", "notice"] {
            let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("::{kind} "))).collect();
            // A run in which nothing was tested is an error of its own.
            let wanted = if count == 0 && kind == "error" { 1 } else { count.min(10) };
            assert_eq!(lines.len(), wanted, "{count} {kind}: {text}");
            if count > 10 {
                assert!(lines[9].contains(&format!("::{} more: ", count - 9)), "{}", lines[9]);
            }
        }
    }
}

#[test]
fn annotations_are_silent_exactly_when_there_is_nothing_to_say() {
    for report in one_of_each() {
        let text = render(&report, Format::Github);
        assert_eq!(text.contains("::error "), report.exit_code != 0, "{text}");
    }
}

#[test]
fn junit_is_valid_against_its_schema() {
    if !skip::have("xmllint", "libxml2-utils") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.xml");
    let valid = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/junit.xsd");
        Command::new("xmllint").args(["--noout", "--nonet", "--schema", schema]).arg(&file).output().unwrap()
    };
    for report in one_of_each() {
        let linted = valid(&render(&report, Format::Junit));
        assert!(linted.status.success(), "{linted:?}");
    }
    // And it is one that can fail.
    let good = render(&all_verdicts(), Format::Junit);
    for (from, to) in [
        ("type=", "kind="),
        ("classname=", "class="),
        ("time=\"0.000\"", "time=\"soon\""),
        ("<testsuite name=\"IMG\"", "<testsuite name=\"the image\""),
        ("IMG-001 that-comes-to-pass", "IMG-002 that-comes-to-fail"),
    ] {
        let bad = good.replace(from, to);
        assert!(bad != good && !valid(&bad).status.success(), "{from} as {to} is valid");
    }
}

/// What breaks out of a block quoted with three backticks: longer fences, fences of the other kind, fences with blanks before them, ends of
/// HTML.
const BREAKOUTS: &[&str] = &[
    "```\n# a heading",
    "````\n# a heading\n````",
    "   ```\n[link](https://evil.example)",
    "~~~\n<script>alert(1)</script>",
    "`````````````````````````````\n![image](https://evil.example/x.png)",
    "x\n```text\ny\n```\n\n- [ ] a task",
    "</details><details open><summary>```",
    "```` `` ``` ` <!-- ",
    "```\r\n# a heading",
    "\u{2028}```\u{2029}# a heading",
];

#[test]
fn no_fence_of_an_image_ends_the_quotation() {
    for breakout in BREAKOUTS {
        let verdicts = [Verdict::Fail, Verdict::Warn, Verdict::NotTestable, Verdict::NotObservable, Verdict::Error];
        let ids = agent_conformance::suite::requirement::all().iter().map(|row| row.id.as_str());
        let judgements: Vec<_> = ids.zip(verdicts).map(|(id, verdict)| judgement(id, verdict, breakout)).collect();
        let text = render(&report(&about(breakout), &judgements, false), Format::Markdown);
        for event in Parser::new_ext(&text, Options::all()) {
            match event {
                Event::Html(html) | Event::InlineHtml(html) => {
                    let html = html.trim();
                    assert!(html.is_empty() || html.starts_with("<details><summary>") || html == "</details>", "{html}\n{text}");
                }
                Event::Start(Tag::Heading { level, .. }) => assert_ne!(level, pulldown_cmark::HeadingLevel::H1, "{text}"),
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) | Event::TaskListMarker(_) => panic!("{text}"),
                _ => {}
            }
        }
    }
}

#[test]
fn each_format_looks_as_reviewed() {
    let report = all_verdicts();
    for format in [Format::Tap, Format::Junit, Format::Markdown, Format::Github] {
        insta::assert_snapshot!(format!("as_{}", format.as_str()), render(&report, format));
    }
}
