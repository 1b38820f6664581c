//! The scripted model on the wire: every built-in scenario and fault, seen by a client that hides nothing.
//!
//! What is expected stands here, from the providers' documentation; what is billed is compared with the scenario.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use agent_conformance::model::scenario::{Pace, Turn};
use agent_conformance::model::{Bill, Kind, Record, Scenario, ScriptedModel, State, Tokens, Usage};
use serde_json::{Value, json};
use support::http::{Exchange, Seen, ask, question, start};

/// Long enough for a loaded machine; a wait that succeeds ends at once.
const PATIENCE: Duration = Duration::from_secs(60);

fn model(scenario: &str) -> ScriptedModel {
    ScriptedModel::start(Scenario::builtin(scenario).unwrap()).unwrap()
}

/// What the scenario says that its turn costs.
fn usage(scenario: &str, turn: usize) -> Usage {
    Scenario::builtin(scenario).unwrap().turns[turn].reply.as_ref().unwrap().usage
}

fn last(model: &ScriptedModel) -> Record {
    model.requests().pop().expect("a request")
}

/// What a client of Anthropic's API adds up from a stream.
fn usage_in(seen: &Seen) -> (u64, u64, u64, u64) {
    let events = seen.events();
    let of = |kind: &str| events.iter().find(|event| event["type"] == kind);
    let start = of("message_start").map_or(Value::Null, |event| event["message"]["usage"].clone());
    let end = of("message_delta").map_or(Value::Null, |event| event["usage"].clone());
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    (
        number(&start["input_tokens"]),
        number(&start["cache_read_input_tokens"]),
        number(&start["cache_creation_input_tokens"]),
        number(end.get("output_tokens").unwrap_or(&start["output_tokens"])),
    )
}

fn types(seen: &Seen) -> Vec<String> {
    let mut types: Vec<String> = seen.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    types.dedup();
    types
}

#[test]
fn success_calls_the_tool_then_ends_and_bills_both_turns() {
    let model = model("success");
    let first = ask(model.address(), &question(0, true)).unwrap();
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/event-stream")));
    assert!(first.is_whole);
    assert_eq!(
        types(&first),
        ["message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    );
    let input: String = first.events().iter().filter_map(|event| event["delta"]["partial_json"].as_str().map(str::to_owned)).collect();
    let input: Value = serde_json::from_str(&input).unwrap();
    assert!(input["command"].as_str().unwrap().contains("git add -A"), "{input}");

    let second = ask(model.address(), &question(1, true)).unwrap();
    let end = second.events().into_iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(end["delta"]["stop_reason"], "end_turn");

    let (one, two) = (usage("success", 0), usage("success", 1));
    assert_eq!(usage_in(&first), (one.input, one.cache_read, one.cache_write, one.output));
    assert_eq!(usage_in(&second), (two.input, two.cache_read, two.cache_write, two.output));
    let bill = model.bill();
    assert_eq!(bill.total.input_tokens, one.input + one.cache_read + one.cache_write + two.input);
    assert_eq!(bill.total.output_tokens, one.output + two.output);
    assert_eq!((bill.answers, bill.unfinished, bill.finished), (2, 0, bill.total));
    assert_eq!(bill.by_model.keys().collect::<Vec<_>>(), ["claude-test"]);
}

#[test]
fn without_streaming_the_same_answer_comes_in_one_piece() {
    let model = model("success");
    let seen = ask(model.address(), &question(0, false)).unwrap();
    let message = seen.json();
    assert!(seen.is_whole);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(message["content"][0]["name"], "Bash");
    let wanted = usage("success", 0);
    assert_eq!(message["usage"]["output_tokens"], wanted.output);
    assert_eq!(message["usage"]["cache_read_input_tokens"], wanted.cache_read);
    assert_eq!(model.bill().finished, Tokens::from(wanted));
}

#[test]
fn each_http_fault_has_its_status_type_and_message() {
    // https://docs.anthropic.com/en/api/errors
    let cases = [
        ("http-400", 400, "invalid_request_error", ""),
        ("http-401", 401, "authentication_error", "invalid x-api-key"),
        ("http-403", 403, "permission_error", ""),
        ("http-404", 404, "not_found_error", "model: claude-test"),
        ("http-429", 429, "rate_limit_error", ""),
        ("http-500", 500, "api_error", ""),
        ("http-503", 503, "api_error", ""),
        ("http-529", 529, "overloaded_error", "Overloaded"),
        ("context-too-long", 400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
        ("quota", 400, "invalid_request_error", "credit balance is too low"),
    ];
    for (scenario, status, kind, message) in cases {
        let model = model(scenario);
        for _ in 0..3 {
            let seen = ask(model.address(), &question(0, true)).unwrap();
            let body = seen.json();
            assert_eq!((seen.status, seen.is_whole), (status, true), "{scenario}");
            assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{scenario}");
            let said = body["error"]["message"].as_str().unwrap();
            assert!(!said.is_empty() && said.contains(message), "{scenario}: {said}");
            assert_eq!(seen.header("retry-after"), None);
        }
        assert_eq!((model.bill(), last(&model).status), (Bill::default(), Some(status)));
    }
}

#[test]
fn a_rate_limit_can_say_when_it_ends() {
    for (scenario, seconds) in [("http-429-retry-after", "1"), ("http-429-retry-after-hour", "3600")] {
        let seen = ask(model(scenario).address(), &question(0, true)).unwrap();
        assert_eq!((seen.status, seen.header("retry-after")), (429, Some(seconds)));
    }
}

#[test]
fn a_flaky_model_fails_first_and_a_late_one_afterwards() {
    for (scenario, rounds, wanted) in [
        ("flaky-429", [0, 0, 1], [429, 200, 200]),
        ("flaky-500", [0, 0, 1], [500, 200, 200]),
        ("late-401", [0, 1, 1], [200, 401, 401]),
        ("late-500", [0, 1, 1], [200, 500, 500]),
    ] {
        let model = model(scenario);
        let statuses = rounds.map(|rounds| ask(model.address(), &question(rounds, true)).unwrap().status);
        assert_eq!(statuses, wanted, "{scenario}");
    }
}

#[test]
fn an_answer_can_end_in_other_ways() {
    for (scenario, reason, blocks) in [
        ("empty", "end_turn", 0),
        ("max-tokens", "max_tokens", 1),
        ("refusal", "refusal", 1),
        ("text-only", "end_turn", 1),
        ("thinking", "tool_use", 3),
    ] {
        let model = model(scenario);
        let seen = ask(model.address(), &question(0, true)).unwrap();
        let events = seen.events();
        let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
        assert_eq!(end["delta"]["stop_reason"], reason, "{scenario}");
        let starts = events.iter().filter(|event| event["type"] == "content_block_start").count();
        assert_eq!(starts, blocks, "{scenario}");
        assert_eq!(model.bill().finished, Tokens::from(usage(scenario, 0)));
    }
}

#[test]
fn a_loop_calls_the_tool_in_every_round() {
    let model = model("loop");
    for rounds in 0..5 {
        let seen = ask(model.address(), &question(rounds, false)).unwrap();
        assert_eq!(seen.json()["stop_reason"], "tool_use");
    }
    assert_eq!(model.bill().total.output_tokens, 5 * usage("loop", 0).output);
}

#[test]
fn closing_before_the_headers_sends_no_byte_and_bills_nothing() {
    let model = model("cut-before-headers");
    assert!(ask(model.address(), &question(0, true)).is_none());
    let record = last(&model);
    assert_eq!((record.state, record.status, record.sent, record.billed), (State::Cut, None, 0, None));
}

#[test]
fn a_stream_that_is_cut_in_the_middle_bills_what_it_said_by_then() {
    let model = model("cut-mid-stream");
    let seen = ask(model.address(), &question(0, true)).unwrap();
    assert_eq!((seen.status, seen.is_whole), (200, false));
    assert!(!types(&seen).contains(&"message_delta".into()), "the usage was told after all");
    let records = model.wait_for(|records| records[0].state == State::Cut, PATIENCE).unwrap();
    assert_eq!(records[0].sent, seen.body.len(), "every byte that was handed on arrived");
    let bill = model.bill();
    let wanted = usage("cut-mid-stream", 0);
    let (input, read, write, output) = usage_in(&seen);
    assert_eq!((input, read, write), (wanted.input, wanted.cache_read, wanted.cache_write));
    assert_eq!(bill.total.input_tokens, input + read + write);
    assert_eq!(bill.total.output_tokens, output);
    assert!(output < wanted.output);
    assert_eq!((bill.answers, bill.unfinished, bill.finished), (1, 1, Tokens::default()));
}

#[test]
fn an_answer_in_one_piece_that_is_cut_bills_nothing() {
    let model = model("cut-mid-stream");
    let seen = ask(model.address(), &question(0, false)).unwrap();
    assert_eq!((seen.status, seen.is_whole, seen.json()), (200, false, Value::Null));
    assert_eq!(model.bill(), Bill::default());
}

#[test]
fn every_place_of_a_cut_is_where_it_says() {
    for (at, wanted) in [
        ("headers", vec![]),
        ("start", vec!["message_start"]),
        ("end", vec!["message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]),
    ] {
        let scenario = format!(
            r#"
            name = "cut"
            [[turns]]
            reply = {{ content = [{{ text = "Hello." }}], usage = {{ input = 5, output = 9 }} }}
            delivery = {{ interrupt = {{ at = "{at}", by = "cut" }} }}
            "#
        );
        let model = ScriptedModel::start(Scenario::from_toml(&scenario).unwrap()).unwrap();
        let seen = ask(model.address(), &question(0, true)).unwrap();
        assert_eq!((types(&seen), seen.is_whole), (wanted.into_iter().map(str::to_owned).collect(), false), "{at}");
        let records = model.wait_for(|records| records[0].state == State::Cut, PATIENCE).unwrap();
        let billed = records[0].billed.as_ref().map(|charge| (charge.tokens.output_tokens, charge.finished));
        assert_eq!(
            billed,
            match at {
                "headers" => None,
                "start" => Some((1, false)),
                _ => Some((9, true)),
            }
        );
    }
}

#[test]
fn an_overloaded_model_says_so_in_the_stream_and_ends_it_in_order() {
    let model = model("overloaded-mid-stream");
    let seen = ask(model.address(), &question(0, true)).unwrap();
    assert!(seen.is_whole);
    let end = seen.events().pop().unwrap();
    assert_eq!((&end["type"], &end["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    assert_eq!(model.bill().unfinished, 1);
}

#[test]
fn silence_keeps_the_connection_and_notices_when_the_client_goes() {
    let model = model("silence");
    let mut exchange = start(model.address(), &question(0, true));
    let records = model.wait_for_question(PATIENCE).unwrap();
    assert_eq!((records[0].state, records[0].status), (State::Waiting, None));
    // Another request is answered whole meanwhile: the server lives, and still this one is quiet.
    let probe = Exchange::start(model.address(), "HEAD", "/", &[], b"").finish().unwrap();
    assert_eq!(probe.status, 200);
    assert!(exchange.is_quiet());
    drop(exchange);
    let records = model.wait_for(|records| records[0].state == State::Left, PATIENCE).unwrap();
    assert_eq!((records[0].sent, records[0].billed.as_ref()), (0, None));
}

#[test]
fn silence_in_the_middle_sends_half_and_stays_open() {
    let half = {
        let model = model("cut-mid-stream");
        ask(model.address(), &question(0, true)).unwrap().body.len()
    };
    let model = model("silence-mid-stream");
    let mut exchange = start(model.address(), &question(0, true));
    // Ids differ in nothing but their characters, so the half is as long.
    let seen = exchange.read_body(half);
    assert_eq!((seen.body.len(), seen.is_whole), (half, false));
    assert!(exchange.is_quiet());
    let record = last(&model);
    assert_eq!((record.state, record.sent), (State::Answering, half));
    assert!(!record.billed.as_ref().unwrap().finished);
    drop(exchange);
    model.wait_for(|records| records[0].state == State::Left, PATIENCE).unwrap();
}

#[test]
fn a_slow_answer_comes_in_small_pieces_and_is_the_same_answer() {
    let mut scenario = Scenario::builtin("slow").unwrap();
    // One byte a piece shows the most; without a pause, so that the test is quick.
    scenario.turns[0].delivery.pace = Some(Pace { bytes: 1, every_ms: 0 });
    let model = ScriptedModel::start(scenario).unwrap();
    let mut exchange = start(model.address(), &question(0, true));
    let first = exchange.read_body(1);
    assert!(!first.is_whole);
    let seen = exchange.finish().unwrap();
    assert!(seen.is_whole);
    let text: String = seen.events().iter().filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned)).collect();
    assert_eq!(text, "This is a plain answer without any tool.");
    assert_eq!(model.bill().finished, Tokens::from(usage("slow", 0)));
}

#[test]
fn the_built_in_slow_scenario_is_slow() {
    let turns: Vec<Turn> = Scenario::builtin("slow").unwrap().turns;
    let pace = turns[0].delivery.pace.unwrap();
    assert!(pace.bytes < 100 && pace.every_ms > 0, "{pace:?}");
}

#[test]
fn calls_without_tools_are_answered_apart_and_use_up_no_turn() {
    let model = model("flaky-500");
    let mut title = question(0, false);
    title.as_object_mut().unwrap().remove("tools");
    title["model"] = json!("claude-small");
    let seen = ask(model.address(), &title).unwrap();
    assert_eq!((seen.status, &seen.json()["stop_reason"]), (200, &json!("end_turn")));
    let mut probe = question(0, true);
    probe["max_tokens"] = json!(1);
    assert_eq!(ask(model.address(), &probe).unwrap().status, 200);
    assert_eq!(ask(model.address(), &question(0, true)).unwrap().status, 500, "the first turn is still the fault");
    let kinds: Vec<Kind> = model.requests().into_iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::Auxiliary, Kind::Auxiliary, Kind::Main]);
    let auxiliary = Scenario::builtin("flaky-500").unwrap().auxiliary.usage;
    assert_eq!(model.bill().total.input_tokens, 2 * auxiliary.input);
    assert_eq!(model.bill().by_model["claude-small"], Tokens::from(auxiliary));
}

#[test]
fn a_sub_agents_conversation_has_its_own_turns() {
    let model = model("subagent");
    let mut main = question(0, false);
    main["tools"].as_array_mut().unwrap().push(json!({"name": "Agent", "input_schema": {}}));
    let call = ask(model.address(), &main).unwrap().json();
    assert_eq!(call["content"][0]["name"], "Agent");
    let mut sub = question(0, false);
    sub["messages"][0]["content"] =
        json!([{"type": "text", "text": "<context/>"}, {"type": "text", "text": call["content"][0]["input"]["prompt"]}]);
    let answer = ask(model.address(), &sub).unwrap().json();
    assert_eq!(answer["stop_reason"], "end_turn");
    let record = last(&model);
    assert_eq!(record.kind, Kind::Subagent("helper".into()));
    let wanted = Scenario::builtin("subagent").unwrap().subagents[0].turns[0].reply.as_ref().unwrap().usage;
    assert_eq!(record.billed.unwrap().tokens, Tokens::from(wanted));
}

#[test]
fn a_tool_that_nobody_offers_is_said_in_the_answer_and_in_the_record() {
    let model = model("mcp-call");
    let answer = ask(model.address(), &question(0, false)).unwrap().json();
    assert_eq!(answer["stop_reason"], "end_turn");
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("`echo`"), "{answer}");
    assert!(last(&model).note.unwrap().contains("Bash"));
}

#[test]
fn runs_on_one_server_have_their_own_state_and_bill() {
    let model = model("text-only");
    let path = |run: &str| model.run_url("flaky-500", run).split_once(&model.address().to_string()).unwrap().1.to_owned();
    let body = question(0, true).to_string();
    let ask = |run: &str| {
        let path = format!("{}/v1/messages", path(run));
        Exchange::start(model.address(), "POST", &path, &[], body.as_bytes()).finish().unwrap().status
    };
    assert_eq!([ask("a"), ask("b"), ask("a"), ask("a")], [500, 500, 200, 200]);
    assert_eq!((model.bill_of("a").answers, model.bill_of("b").answers), (2, 0));
    assert_eq!(model.requests_of("a").len(), 3);
    assert_eq!(model.requests_of("a")[0].path, "/v1/messages");
    assert_eq!(model.requests_of("a")[0].run.scenario, "flaky-500");
}

#[test]
fn unknown_paths_and_scenarios_are_404_in_the_protocols_form_and_recorded() {
    let model = model("success");
    for (path, wanted) in [("/v1/nothing", "/v1/nothing"), ("/s/nosuch/run/v1/messages", "`nosuch`")] {
        let body = question(0, true).to_string();
        let seen = Exchange::start(model.address(), "POST", path, &[], body.as_bytes()).finish().unwrap();
        assert_eq!((seen.status, &seen.json()["error"]["type"]), (404, &json!("not_found_error")));
        assert!(seen.json()["error"]["message"].as_str().unwrap().contains(wanted));
        assert_eq!(last(&model).kind, Kind::Unknown);
        assert!(last(&model).note.is_some());
    }
}

#[test]
fn a_malformed_request_is_refused_as_the_real_service_does() {
    let model = model("success");
    let seen = Exchange::start(model.address(), "POST", "/v1/messages", &[], b"{").finish().unwrap();
    assert_eq!((seen.status, &seen.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!((last(&model).kind, model.bill()), (Kind::Malformed, Bill::default()));
}

#[test]
fn counting_tokens_is_answered_and_not_billed() {
    let model = model("success");
    let body = question(0, true).to_string();
    let seen = Exchange::start(model.address(), "POST", "/v1/messages/count_tokens", &[], body.as_bytes()).finish().unwrap();
    assert!(seen.json()["input_tokens"].as_u64().unwrap() > 0);
    assert_eq!((last(&model).kind, model.bill()), (Kind::CountTokens, Bill::default()));
}

#[test]
fn a_body_of_megabytes_is_kept_whole() {
    let model = model("text-only");
    let mut big = question(0, true);
    big["messages"][0]["content"] = json!("sentinel ü\n".repeat(300_000));
    let body = big.to_string();
    assert!(body.len() > 3 << 20);
    assert_eq!(ask(model.address(), &big).unwrap().status, 200);
    let record = last(&model);
    assert_eq!(record.body.len(), body.len());
    assert!(record.body == body.as_bytes(), "the body differs");
    assert!(record.mentions("ü\nsentinel") && !record.mentions("never said"));
}

#[test]
fn a_key_is_known_again_and_never_kept() {
    let directory = tempfile::tempdir().unwrap();
    let key = "sk-very-secret-0123456789";
    let builder = ScriptedModel::builder(Scenario::builtin("text-only").unwrap());
    let model = builder.record_to(directory.path().join("records")).start().unwrap();
    let body = question(0, true).to_string();
    let ask = |path: &str, headers: &[(&str, &str)]| {
        Exchange::start(model.address(), "POST", path, headers, body.as_bytes()).finish().unwrap();
        last(&model)
    };
    let bearer = format!("Bearer {key}");
    let records = [
        ask("/v1/messages", &[("x-api-key", key)]),
        ask("/v1/messages", &[("authorization", &bearer)]),
        ask(&format!("/v1/messages?key={key}"), &[]),
    ];
    let carriers = records.each_ref().map(|record| record.credentials[0].carrier.as_str());
    assert_eq!(carriers, ["x-api-key", "authorization", "?key"]);
    for record in &records {
        assert!(record.saw_key(key) && !record.saw_key("sk-another"));
        assert!(!format!("{record:?}").contains(key));
    }
    assert!(!ask("/v1/messages", &[]).saw_key(key));
    let mut files = 0;
    for file in std::fs::read_dir(directory.path().join("records")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(key), "{text}");
        files += 1;
    }
    assert_eq!(files, 9, "four requests, four bodies, one bill");
}

#[test]
fn the_archive_holds_what_the_server_knows() {
    let directory = tempfile::tempdir().unwrap();
    let builder = ScriptedModel::builder(Scenario::builtin("success").unwrap());
    let model = builder.record_to(directory.path()).start().unwrap();
    ask(model.address(), &question(0, true)).unwrap();
    let records = model.wait_for(|records| records[0].state == State::Answered, PATIENCE).unwrap();
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let bill: Bill = serde_json::from_slice(&read("bill.json")).unwrap();
    assert_eq!(bill, model.bill());
    assert_eq!(read("0000.body"), records[0].body);
    let record: Record = serde_json::from_slice(&read("0000.json")).unwrap();
    assert_eq!((record.kind, record.billed, record.tools), (Kind::Main, records[0].billed.clone(), vec!["Bash".into()]));
    drop(model);
    let again = ScriptedModel::builder(Scenario::builtin("success").unwrap()).record_to(directory.path()).start();
    assert!(again.unwrap_err().to_string().contains("records"), "two servers' records would mix");
}

#[test]
fn it_listens_on_loopback_only() {
    let builder = ScriptedModel::builder(Scenario::builtin("success").unwrap());
    let error = builder.listen("0.0.0.0:0".parse().unwrap()).start().unwrap_err().to_string();
    assert!(error.contains("0.0.0.0") && error.contains("loopback"), "{error}");
}

#[test]
fn a_wait_in_vain_shows_what_there_was() {
    let model = model("text-only");
    ask(model.address(), &question(0, true)).unwrap();
    let error = model.wait_for(|records| records.len() > 5, Duration::from_millis(1)).unwrap_err().to_string();
    assert!(error.contains("POST /v1/messages"), "{error}");
}

#[test]
fn dropping_the_model_frees_its_port_and_its_connections() {
    let model = model("silence");
    let address = model.address();
    let exchange = start(address, &question(0, true));
    model.wait_for_question(PATIENCE).unwrap();
    drop(model);
    assert!(exchange.finish().is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
}
