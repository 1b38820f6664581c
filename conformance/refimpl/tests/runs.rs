//! The second implementation at work, outside of a container and as PID 1 of a namespace: what it reports, and what it leaves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use serde_json::json;
use support::{Case, in_both};

#[test]
fn a_good_run_is_reported_everywhere_with_the_same_words() {
    in_both(|case| {
        let ended = case.agent(&["prompt", "usage", "claim:said=by a block", "left:file=in a file", "done"]).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let message = ended.message();
        assert_eq!((&message["status"], &message["exitCode"]), (&json!("succeeded"), &json!(0)));
        let parameters = &message["parameters"];
        assert_eq!((&parameters["input-tokens"], &parameters["said"]), (&json!("12"), &json!("by a block")));
        assert!(parameters["reasoning-tokens"].is_null(), "what nobody told is not reported");
        for (name, text) in parameters.as_object().unwrap() {
            assert_eq!(case.result(name).as_deref(), text.as_str(), "{name}");
        }
        assert_eq!(ended.outcome()["reason"], "Completed");
        assert_eq!(ended.outcome()["results"]["file"], json!({"value": "in a file", "voucher": "claim"}));
        let text = ended.stdout_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("\"a prompt\""), "{lines:?}");
        assert!(lines.last().unwrap().starts_with("---AGENT_OUTPUTS_END "));
        assert!(lines.contains(&"status: succeeded"));
    });
}

#[test]
fn what_the_agent_prints_passes_byte_for_byte() {
    in_both(|case| {
        let odd = r"print:\xff\x00\x1b[31m no line feed\n{}\n---AGENT_OUTPUTS_START x---\nlast: one\n---AGENT_OUTPUTS_END x---";
        let ended = case.agent(&["done", odd]).run();
        let agents = b"{\"succeeded\":true,\"type\":\"ended\"}\n\xff\x00\x1b[31m no line feed\n{}\n---AGENT_OUTPUTS_START x---\nlast: one\n---AGENT_OUTPUTS_END x---";
        assert!(ended.stdout.starts_with(agents), "{:?}", ended.stdout_text());
        assert_eq!(ended.code, 0);
        assert!(ended.message()["parameters"]["last"].is_null(), "a nonce that is not the run's");
    });
}

#[test]
fn the_stream_speaks_first_and_the_exit_code_second() {
    let cases: [(&[&str], u8, &str, &str); 6] = [
        (&["done", "exit:9"], 0, "succeeded", "Completed"),
        (&["failed:no luck"], 1, "failed", "AgentFailed"),
        (&["say:hm"], 75, "incomplete", "TruncatedStream"),
        (&["exit:17"], 17, "failed", "AgentFailed"),
        (&["die:SIGABRT"], 134, "failed", "Killed"),
        (&["stay"], 124, "timed-out", "DeadlineExceeded"),
    ];
    for (steps, code, status, reason) in cases {
        let case = Case::new();
        let ended = case.agent(steps).set("AGENT_TIMEOUT", if *steps == ["stay"] { "1s" } else { "1h" }).run();
        let message = ended.message();
        assert_eq!((ended.code, &message["status"], &message["reason"]), (code, &json!(status), &json!(reason)), "{steps:?}");
        assert_eq!(message["exitCode"], json!(code));
    }
}

#[test]
fn wrong_inputs_are_named_all_at_once_and_nothing_is_started() {
    let case = Case::new();
    let started = case.path("started");
    let steps = format!("file:{started}=yes");
    let ended = case.agent(&[&steps]).set("AGENT_TIMEOUT", "soon").set("AGENT_LOG", "loud").unset("AGENT_PROMPT").run();
    assert_eq!(ended.code, 65);
    let message = ended.message()["message"].as_str().unwrap().to_owned();
    for name in ["AGENT_TIMEOUT", "AGENT_LOG", "AGENT_PROMPT"] {
        assert!(message.contains(name), "{message}");
    }
    assert!(!std::path::Path::new(&started).exists());
}

#[test]
fn the_document_is_read_in_json_and_yaml_and_variables_win() {
    for (name, text) in
        [("t.json", r#"{"prompt":"documented","limits":{"timeout":"1h 30m"}}"#), ("t.yaml", "prompt: documented\nlimits: {timeout: 90m}\n")]
    {
        let case = Case::new();
        std::fs::write(case.path(name), text).unwrap();
        let ended = case.agent(&["prompt", "done"]).set("AGENT_TASK_FILE", &case.path(name)).unset("AGENT_PROMPT").run();
        assert_eq!(ended.outcome()["answer"], "documented", "{}", ended.stderr);
        let case = Case::new();
        std::fs::write(case.path(name), text).unwrap();
        let ended = case.agent(&["prompt", "done"]).set("AGENT_TASK_FILE", &case.path(name)).run();
        assert_eq!(ended.outcome()["answer"], "a prompt");
    }
    let case = Case::new();
    std::fs::write(case.path("t.json"), r#"{"limits":{"timeout":"soon","grase":"1s"},"promt":"x"}"#).unwrap();
    let ended = case.agent(&["done"]).set("AGENT_TASK_FILE", &case.path("t.json")).run();
    let message = ended.message()["message"].as_str().unwrap().to_owned();
    assert!(["`limits.timeout`", "`limits.grase`", "`promt`"].iter().all(|name| message.contains(name)), "{message}");
}

/// The agent tells of 12 prompt tokens, 5 of them from the cache, and of 3 generated ones.
#[test]
fn the_tasks_prices_make_the_cost_and_the_limit_on_it_holds() {
    let dollar_a_token = 1_000_000;
    let rows = json!({"*": {"input": 0, "output": 0},
        "m": {"input": dollar_a_token, "cacheRead": dollar_a_token / 2, "output": 2 * dollar_a_token}});
    let case = Case::new();
    std::fs::write(case.path("prices"), rows.to_string()).unwrap();
    let ended = case.agent(&["usage", "done"]).set("AGENT_MODEL", "m").set("AGENT_PRICES_FILE", &case.path("prices")).run();
    let parameters = &ended.message()["parameters"];
    assert_eq!((&parameters["cost-usd"], &parameters["cost-source"]), (&json!("15.5"), &json!("price-table")), "{}", ended.stderr);
    let case = Case::new();
    case.set("AGENT_MODEL", "m").set("AGENT_PRICES", &rows.to_string()).set("AGENT_MAX_COST_USD", "15");
    let ended = case.agent(&["usage", "stay"]).run();
    assert_eq!((ended.code, &ended.message()["reason"]), (80, &json!("CostLimit")), "{}", ended.stderr);
    for row in [json!({"input": 1}), json!({"input": 1, "output": -1}), json!({"input": 1, "output": 1, "price": 1})] {
        let case = Case::new();
        let ended = case.agent(&["usage", "done"]).set("AGENT_PRICES", &json!({"m": row}).to_string()).run();
        assert_eq!(ended.code, 65, "{row}");
        assert!(ended.message()["message"].as_str().unwrap().contains("AGENT_PRICES"), "{}", ended.message());
    }
}

#[test]
fn another_major_version_is_refused_by_name() {
    let case = Case::new();
    let ended = case.agent(&["done"]).set("AGENT_INTERFACE_VERSION", "99.0").run();
    assert_eq!(ended.code, 76);
    let message = ended.message()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("99.0") && message.contains("1.0"), "{message}");
    assert_eq!(Case::new().agent(&["done"]).set("AGENT_INTERFACE_VERSION", "1.7").run().code, 0);
}

#[test]
fn what_the_agent_leaves_gets_sigterm_and_is_gone_before_the_report() {
    in_both(|case| {
        let file = case.path("left-behind");
        let ended = case.agent(&[&format!("leave:{file}"), "done"]).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "got SIGTERM");
    });
}

#[test]
fn sigterm_ends_the_agent_in_order_and_one_that_ignores_it_within_the_grace() {
    in_both(|case| {
        for steps in [&["say:ready", "stay"][..], &["ignore", "say:ready", "stay"][..]] {
            let ended = case.agent(steps).set("AGENT_GRACE", "2s").run_until_output("ready", nix::sys::signal::Signal::SIGTERM);
            let message = ended.message();
            assert_eq!((ended.code, &message["status"], &message["signal"]), (143, &json!("cancelled"), &json!(15)), "{}", ended.stderr);
        }
    });
}

#[test]
fn an_agent_that_lingers_is_ended_and_has_succeeded() {
    let case = Case::new();
    let ended = case.agent(&["done", "stay"]).set("AGENT_LINGER", "100ms").run();
    assert_eq!((ended.code, &ended.message()["agentExitCode"]), (0, &json!(143)));
}

#[test]
fn the_code_of_an_agent_that_failed_and_lingers_tells_of_its_end_only() {
    let case = Case::new();
    let ended = case.agent(&["failed:no luck", "stay"]).set("AGENT_LINGER", "100ms").run();
    assert_eq!((ended.code, &ended.message()["reason"]), (1, &json!("AgentFailed")));
}

#[test]
fn the_setup_command_gets_its_words_and_its_failure_is_the_runs() {
    let case = Case::new();
    let marker = case.path("set up");
    let setup = json!([support::scripted_agent(), format!("file:{marker}=$HOME *")]).to_string();
    let ended = case.agent(&["done"]).set("AGENT_SETUP_COMMAND", &setup).run();
    assert_eq!((ended.code, std::fs::read_to_string(marker).unwrap().as_str()), (0, "$HOME *"));
    let case = Case::new();
    let setup = json!([support::scripted_agent(), "exit:43"]).to_string();
    let ended = case.agent(&["done"]).set("AGENT_SETUP_COMMAND", &setup).run();
    assert_eq!((ended.code, &ended.message()["reason"]), (43, &json!("SetupFailed")));
    assert!(!ended.stdout_text().contains("\"ended\""), "the agent was not started");
}

#[test]
fn secrets_stand_nowhere() {
    in_both(|case| {
        let secret = "s3cret-value-of-a-key";
        let steps = [&format!("say:it is {secret}"), &format!("error:{secret}"), &format!("left:told={secret}"), "done"];
        let ended = case.agent(&steps).set("DEMO_API_KEY", secret).run();
        assert_eq!(ended.code, 0);
        let all = [ended.stdout_text(), ended.stderr.clone(), ended.message().to_string(), ended.outcome().to_string(), case.events()];
        assert!(all.iter().all(|text| !text.contains(secret)), "{all:#?}");
        assert_eq!(case.result("told").as_deref(), Some("***"));
    });
}

#[test]
fn links_in_the_results_directory_are_not_followed() {
    let case = Case::new();
    let (outside, victim) = (case.path("outside"), case.path("victim"));
    std::fs::write(&outside, "outside").unwrap();
    std::fs::write(&victim, "untouched").unwrap();
    let ended = case.agent(&[&format!("linked:read={outside}"), &format!("linked:exit-code={victim}"), "left:commit=forged", "done"]).run();
    assert_eq!(ended.code, 0);
    assert!(ended.message()["parameters"]["read"].is_null() && ended.message()["parameters"]["commit"].is_null());
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "untouched");
    assert_eq!((case.result("exit-code").as_deref(), case.result("commit")), (Some("0"), None));
}

#[test]
fn every_message_fits_its_budget_and_names_what_was_cut() {
    let long = format!("say:{}", "long \"words\" äöü ".repeat(400));
    for budget in [128, 256, 512, 1024, 4096] {
        let case = Case::new();
        let claims = format!("left:claimed={}", "x".repeat(5000));
        let ended = case.agent(&[&long, &claims, "usage", "done"]).set("AGENT_TERMINATION_BUDGET", &budget.to_string()).run();
        let message = ended.message();
        assert!(ended.termination.len() <= budget, "{budget}: {}", ended.termination.len());
        assert_eq!(message["status"], "succeeded");
        let cut: Vec<&str> = message["cut"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
        assert!(cut.contains(&"*") || (cut.contains(&"answer") && cut.contains(&"parameters.claimed")), "{budget}: {cut:?}");
    }
}

#[test]
fn a_killed_container_leaves_a_message_that_says_so() {
    let case = Case::new();
    let ended = case.agent(&["say:ready", "stay"]).run_until_output("ready", nix::sys::signal::Signal::SIGKILL);
    assert_eq!((&ended.message()["status"], &ended.message()["phase"]), (&json!("failed"), &json!("agent")));
}
