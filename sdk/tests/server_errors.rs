//! What a model's server, or a gateway before it, answers with a status that says "later": the same with every agent, whatever the words
//! beside it. No table of an agent has a row for these statuses; the recordings have other ones.

// The lint knows `#[test]` functions only, not what they call.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use agent_sdk::agent::{Agent, Detail, Finding, LedgerEntry, ProcessEnd, Seen};
use agent_sdk::agents::by_name;
use agent_sdk::verdict::Reason;

const NAMES: [(u16, &str); 8] = [
    (408, "Request Timeout"),
    (429, "Too Many Requests"),
    (500, "Internal Server Error"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (520, "Web Server Returned an Unknown Error"),
    (524, "A Timeout Occurred"),
];

/// The finding of a run that exited with this code, by the lines of its stream, its ledger and its stderr.
fn judged(agent: &dyn Agent, code: u8, stream: &str, ledger: &str, stderr: &str) -> Finding {
    let mut reader = agent.reader(Detail::Verdict);
    stream.lines().for_each(|line| reader.read_line(line.as_bytes(), &mut |_| ()));
    for line in ledger.lines() {
        let entry = LedgerEntry { ledger: 0, file: Path::new("ledger.jsonl"), earlier: false, content: line.as_bytes() };
        reader.read_ledger(&entry, &mut |_| ());
    }
    agent.judge(&Seen { stream: reader.summary(), process: ProcessEnd::Exited(code), stderr_tail: stderr }).unwrap()
}

/// It is worth a retry, and the exit code says so.
#[track_caller]
fn assert_later(finding: &Finding, what: &str) {
    let reason = finding.reason;
    let is_wanted = matches!(reason, Reason::RateLimited | Reason::ServerError | Reason::Overloaded);
    assert!(is_wanted, "{what}: {finding:?}");
    assert_eq!((reason.code_rule().exit_code(Some(1), None), reason.retry()), (75, true), "{what}");
    assert!(!reason.hint().is_empty(), "{what}");
}

fn agent(name: &str) -> Box<dyn Agent> {
    by_name(name).unwrap()
}

#[test]
fn opencode_s_status_of_a_gateway_is_worth_a_retry() {
    for (status, words) in NAMES {
        // What it says is no name of a status: the number alone counts.
        for words in [words, "Please try later."] {
            let line = format!(
                r#"{{"type":"error","sessionID":"s","error":{{"name":"APIError","data":{{"message":"{words}","statusCode":{status}}}}}}}"#
            );
            assert_later(&judged(&*agent("opencode"), 1, &line, "", ""), &line);
        }
    }
    let line = r#"{"type":"error","sessionID":"s","error":{"name":"APIError","data":{"message":"Bad Gateway","statusCode":502}}}"#;
    let finding = judged(&*agent("opencode"), 1, line, "", "");
    assert_eq!(finding, Finding { reason: Reason::ServerError, message: "Bad Gateway".to_owned() });
}

#[test]
fn opencode_s_retry_tells_a_status_by_its_name() {
    let retry = |words: &str| {
        let line = format!(
            r#"{{"type":"session.status","properties":{{"sessionID":"s","status":{{"type":"retry","attempt":2,"message":"{words}"}}}}}}"#
        );
        judged(&*agent("opencode"), 1, "", &line, "")
    };
    for (status, words) in &NAMES[..6] {
        let wanted = if *status == 429 { Reason::RateLimited } else { Reason::ServerError };
        assert_eq!(retry(words).reason, wanted, "{words}");
        assert_eq!(retry(&format!("{words}: <html>")).reason, wanted, "{words}");
    }
    for words in ["Please try later.", "the tool made too many requests to 502 files", "exit status 502"] {
        assert_eq!(retry(words).reason, Reason::AgentFailed, "{words}");
    }
}

#[test]
fn codex_s_status_of_a_gateway_is_worth_a_retry() {
    for (status, words) in NAMES {
        for message in [
            format!("exceeded retry limit, last status: {status} {words}"),
            format!("exceeded retry limit, last status: {status} {words}, request id: 1"),
            format!("unexpected status {status} {words}: <html>, url: http://x/v1/responses"),
        ] {
            let failed = format!(r#"{{"type":"turn.failed","error":{{"message":"{message}"}}}}"#);
            assert_later(&judged(&*agent("codex"), 1, &failed, "", ""), &message);
            // It was killed while it tried.
            let trying = format!(r#"{{"type":"error","message":"Reconnecting... 2/5 ({message})"}}"#);
            assert_later(&judged(&*agent("codex"), 137, &trying, "", ""), &message);
        }
    }
    let reason = |message: &str| {
        judged(&*agent("codex"), 1, &format!(r#"{{"type":"turn.failed","error":{{"message":"{message}"}}}}"#), "", "").reason
    };
    assert_eq!(reason("HTTP error: 504 Gateway Timeout"), Reason::ServerError);
    for message in ["the command ended with 502", "502", "line 504 of the patch", "unexpected status 418 I'm a teapot: Bad Gateway"] {
        assert_eq!(reason(message), Reason::AgentFailed, "{message}");
    }
}

#[test]
fn gemini_s_status_of_a_gateway_is_worth_a_retry() {
    for (status, words) in NAMES {
        for message in [
            format!(r#"[API Error: {{\"error\":{{\"code\":{status},\"message\":\"said\",\"status\":\"{words}\"}}}}]"#),
            format!(r#"[API Error: {{\"error\":{{\"message\":\"<html>\",\"code\":{status},\"status\":\"{words}\"}}}}]"#),
        ] {
            let line = format!(r#"{{"type":"result","status":"error","error":{{"type":"Error","message":"{message}"}}}}"#);
            assert_later(&judged(&*agent("gemini"), 1, &line, "", ""), &line);
        }
    }
    // The exit code has the status that its message has lost.
    let lost = r#"{"type":"result","status":"error","error":{"type":"Error","message":"[API Error: said]"}}"#;
    for status in [500_u16, 502, 503, 504] {
        assert_later(&judged(&*agent("gemini"), (status & 0xff) as u8, lost, "", ""), &status.to_string());
        assert_later(&judged(&*agent("gemini"), (status & 0xff) as u8, "", "", "said"), &status.to_string());
    }
    assert_eq!(judged(&*agent("gemini"), 1, lost, "", "").reason, Reason::AgentFailed);
}

#[test]
fn claude_s_status_of_a_gateway_is_worth_a_retry() {
    for (status, words) in NAMES {
        let line = format!(
            r#"{{"type":"result","subtype":"success","is_error":true,"api_error_status":{status},"result":"API Error: {status} {words}"}}"#
        );
        assert_later(&judged(&*agent("claude"), 1, &line, "", ""), &line);
        let line = format!(r#"{{"type":"system","subtype":"api_retry","attempt":3,"error_status":{status},"error":"unknown"}}"#);
        assert_later(&judged(&*agent("claude"), 1, &line, "", ""), &line);
    }
}

#[test]
fn kodelet_s_status_of_a_gateway_is_worth_a_retry() {
    for (status, words) in NAMES {
        let stderr = format!(r#"[ERROR] POST "https://x/v1/messages": {status} {words} {{"message":"connection refused"}}"#);
        assert_later(&judged(&*agent("kodelet"), 0, "", "", &stderr), &stderr);
    }
    let reason = |stderr: &str| judged(&*agent("kodelet"), 1, "", "", stderr).reason;
    assert_eq!(reason("[ERROR] error, status code: 502, status: 502 Bad Gateway, message: x"), Reason::ServerError);
    assert_eq!(reason("[ERROR] the tool ended with 502"), Reason::AgentFailed);
}

#[test]
fn cursor_s_name_of_a_status_is_worth_a_retry_and_what_a_tool_was_answered_is_not() {
    assert_later(&judged(&*agent("cursor"), 1, "Error: 502 Bad Gateway", "", ""), "stdout");
    assert_later(&judged(&*agent("cursor"), 1, "", "", "Error: Gateway Timeout"), "stderr");
    let result =
        r#"{"type":"tool_call","subtype":"completed","tool_call":{"shellToolCall":{"result":{"success":{"stdout":"Bad Gateway"}}}}}"#;
    let finding = judged(&*agent("cursor"), 1, result, "", &format!("{result}\nsomething broke"));
    assert_eq!(finding, Finding { reason: Reason::AgentFailed, message: "something broke".to_owned() });
}
