//! Reports built by hand: one with all nine verdicts, and ones with whatever an image may say.

#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use agent_conformance::suite::evidence::About;
use agent_conformance::suite::profile::Profile;
use agent_conformance::suite::report::Report;
use agent_conformance::suite::requirement::Level;
use agent_conformance::suite::selection::{Selection, Wanted};
use agent_conformance::suite::subject::{ImageConfig, Subject};
use agent_conformance::suite::verdict::{Judgement, Verdict};
use proptest::prelude::*;

/// All verdicts, in their order.
pub const VERDICTS: [Verdict; 9] = [
    Verdict::Pass,
    Verdict::Fail,
    Verdict::Warn,
    Verdict::NotApplicable,
    Verdict::NotTestable,
    Verdict::NotObservable,
    Verdict::Error,
    Verdict::KnownFail,
    Verdict::Stale,
];

/// The secret that no report may hold.
pub const CANARY: &str = "canary-7Q2+/&<w9";

/// Evidence about an image of this name.
pub fn about(reference: &str) -> About {
    let labels = [("interface", "1.0"), ("profiles", "image core"), ("agent", "claude")];
    let labels = labels.map(|(name, value)| (format!("io.github.agent-runner.{name}"), value.to_owned()));
    let config = ImageConfig { labels: labels.into(), ..ImageConfig::default() };
    let subject = Subject { reference: reference.to_owned(), digest: Some(format!("sha256:{}", "5".repeat(64))), config, files: None };
    let canaries = BTreeMap::from([("token".to_owned(), CANARY.to_owned())]);
    About { suite_version: "0.1.0".into(), engine: "podman".into(), subject, canaries, ..About::default() }
}

/// A judgement with everything that one of its verdict says.
pub fn judgement(id: &str, verdict: Verdict, said: &str) -> Judgement {
    let text = |wanted: &[Verdict]| wanted.contains(&verdict).then(|| said.to_owned());
    Judgement {
        id: id.to_owned(),
        verdict,
        expected: text(&[Verdict::Fail, Verdict::Warn, Verdict::KnownFail]),
        actual: (verdict != Verdict::Pass && verdict != Verdict::Stale).then(|| said.to_owned()),
        scenario: text(&[Verdict::Fail, Verdict::Warn, Verdict::KnownFail]).map(|_| "happy".to_owned()),
        reason: text(&[Verdict::KnownFail, Verdict::Stale]),
    }
}

/// The report of judgements.
pub fn report(about: &About, judgements: &[Judgement], strict: bool) -> Report {
    let wanted = Wanted::new([], vec![]).unwrap();
    let selection = Selection { profiles: [Profile::Image, Profile::Core].into(), ..Selection::default() };
    Report::new(about, &wanted, &selection, judgements, strict, Duration::from_millis(41_234))
}

/// A report with all verdicts; its rows are as they stand here, whatever the specification says at the moment.
pub fn all_verdicts() -> Report {
    let said = "the last line of stdout:\n::error::no such file `x`\n\x1b[31mred\x1b[0m";
    let judgements: Vec<Judgement> =
        VERDICTS.iter().zip(1..).map(|(verdict, number)| judgement(&format!("IMG-{number:03}"), *verdict, said)).collect();
    let mut report = report(&about("ghcr.io/acme/agent:1.2"), &judgements, false);
    for (row, name) in report.results.iter_mut().zip(VERDICTS) {
        row.slug = format!("that-comes-to-{}", name.as_str());
        row.level = if name == Verdict::Warn { Level::Should } else { Level::Must };
        row.text = format!(
            "The image {} do what comes to `{}`, and <nothing> else & more than a line of this report can hold.",
            row.level,
            name.as_str()
        );
        if !matches!(name, Verdict::Error | Verdict::Stale) {
            row.why = "Whoever reads the log sees the wrong line, and the operator retries what cannot succeed.".into();
            row.fix = "Put `ENTRYPOINT [\"agent-runner\"]` in the image's Dockerfile.".into();
        }
    }
    report
}

/// What images may print: markers, markup, commands, control characters, and anything else.
pub fn hostile() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "::error file=x::y",
        "::stop-commands::z",
        "##[error]x",
        "##vso[task.complete]",
        "EOF",
        "]]>",
        "<![CDATA[",
        "</script>",
        "<img src=x onerror=a>",
        "---",
        "...",
        "not ok 1",
        "ok 2 # SKIP",
        "1..0",
        "Bail out!",
        "```",
        "~~~~",
        "| a | b |",
        "@user",
        "[x](javascript:y)",
        "</details>",
        "\x1b]0;t\x07",
        "\x1b[2J",
        "\u{202e}",
        "\u{feff}",
        "\r\n",
        "\n",
        "\u{0}",
        "%0A",
        "%25",
        "&amp;",
        "{{ x }}",
        "{% y %}",
        "\\",
        "\u{fffe}",
        "\u{1f9e8}",
        " # ",
    ]);
    prop::collection::vec(prop_oneof![3 => known.prop_map(str::to_owned), 1 => "\\PC{0,8}", 1 => "[\\x00-\\x7f]{0,8}"], 0..12)
        .prop_map(|parts| parts.concat())
}

/// Judgements with any verdicts, that say anything.
pub fn any_report() -> impl Strategy<Value = Report> {
    let one = (prop::sample::select(VERDICTS.to_vec()), hostile());
    (prop::collection::vec(one, 0..8), hostile(), any::<bool>()).prop_map(|(judgements, reference, strict)| {
        let judgements: Vec<_> =
            judgements.iter().zip(1..).map(|((verdict, said), number)| judgement(&format!("IMG-{number:03}"), *verdict, said)).collect();
        report(&about(&reference), &judgements, strict)
    })
}
