//! The real Gemini CLI, unchanged.

#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::{Value, json};

use super::desk::{Desk, Ended};

/// Tokens as the CLI's `result` adds them up over all its models.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    pub cache_read: u64,
    pub output: u64,
}

/// A desk for the CLI, and the way to start it there.
pub struct Gemini {
    pub desk: Desk,
    arguments: Vec<String>,
    prompt: String,
}

impl Gemini {
    /// `None` if the CLI is not installed.
    pub fn new(base_url: &str) -> Option<Self> {
        let program = super::pins::newest("gemini", "", "bundle/gemini.js")?.to_str().unwrap().to_owned();
        let desk = Desk::new(&[
            ("GOOGLE_GEMINI_BASE_URL", base_url),
            ("GEMINI_API_KEY", "sk-of-the-test"),
            // Without it the CLI refuses to work in a directory that it does not know.
            ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
            // It would start itself a second time, and not pass on signals.
            ("GEMINI_CLI_NO_RELAUNCH", "true"),
        ]);
        let arguments = [&program, "--yolo", "--output-format", "stream-json"].map(str::to_owned);
        let gemini = Self { desk, arguments: arguments.into(), prompt: "Please do it.".into() };
        gemini.configure(json!({}));
        Some(gemini)
    }

    /// Writes the CLI's settings: one attempt, no look-ups of other hosts, and `more`.
    pub fn configure(&self, more: Value) {
        let mut settings = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "general": {"maxAttempts": 1, "enableAutoUpdate": false},
            "privacy": {"usageStatisticsEnabled": false},
        });
        let more = if let Value::Object(more) = more { more } else { panic!("settings are an object") };
        settings.as_object_mut().unwrap().extend(more);
        self.desk.home_file(".gemini/settings.json", &settings.to_string());
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.desk.variable(name, value);
        self
    }

    pub fn prompt(mut self, prompt: String) -> Self {
        self.prompt = prompt;
        self
    }

    /// Runs it to its end; `meanwhile` is called with its process id when it has started. It leaves without waiting for what it printed to
    /// be read: after a long prompt, which it repeats, the rest is cut.
    pub fn run(&self, meanwhile: impl FnOnce(u32)) -> Ended {
        self.desk.run("node", &self.arguments, &self.prompt, meanwhile)
    }
}

/// What it said at last.
pub fn answer(ended: &Ended) -> String {
    let said = ended.events.iter().filter(|event| event["type"] == "message" && event["role"] == "assistant");
    said.map(|event| event["content"].as_str().unwrap_or_default()).collect()
}

impl Reported {
    /// The totals of `stats`. It has no count of thoughts: they are in the total alone.
    pub fn of(ended: &Ended) -> Self {
        let stats = &ended.result()["stats"];
        let tokens = |name: &str| stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"));
        let input = tokens("input_tokens");
        Self { input, cache_read: tokens("cached"), output: tokens("total_tokens") - input }
    }
}
