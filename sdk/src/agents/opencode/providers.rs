//! OpenCode's providers: which variables hold their keys, and what comes after an endpoint's address.
//!
//! The variables are those of <https://models.dev>, from where OpenCode takes them. A provider that is not in the table is one that the
//! user's own configuration defines, or a gateway that is "compatible with OpenAI".

use std::collections::BTreeMap;

use crate::task::Task;

/// A provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Provider {
    /// The part of a model's name before the slash.
    name: &'static str,
    /// The variables that may hold its key, the first one first.
    variables: &'static [&'static str],
    /// What OpenCode wants after an endpoint's address.
    path: &'static str,
}

const fn provider(name: &'static str, variables: &'static [&'static str], path: &'static str) -> Provider {
    Provider { name, variables, path }
}

const PROVIDERS: &[Provider] = &[
    provider("anthropic", &["ANTHROPIC_API_KEY"], "/v1"),
    provider("openai", &["OPENAI_API_KEY"], "/v1"),
    provider("google", &["GEMINI_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY"], "/v1beta"),
    provider("groq", &["GROQ_API_KEY"], "/v1"),
    provider("xai", &["XAI_API_KEY"], "/v1"),
    provider("zai", &["ZHIPU_API_KEY"], "/v1"),
    provider("zai-coding-plan", &["ZHIPU_API_KEY"], "/v1"),
    provider("openrouter", &["OPENROUTER_API_KEY"], "/v1"),
    provider("deepseek", &["DEEPSEEK_API_KEY"], "/v1"),
    provider("mistral", &["MISTRAL_API_KEY"], "/v1"),
    provider("opencode", &[ANY_KEY], "/v1"),
];

/// The variable that holds the key of whichever provider the model names.
pub(super) const ANY_KEY: &str = "OPENCODE_API_KEY";

/// The variables that hold secrets of OpenCode's providers.
pub(super) const SECRET_VARIABLES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "OPENCODE_API_KEY",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_CONSOLE_TOKEN",
    "OPENCODE_SERVER_PASSWORD",
    "OPENROUTER_API_KEY",
    "XAI_API_KEY",
    "ZHIPU_API_KEY",
];

/// Which providers a run asks, and with which keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The provider of the task's model.
    pub(super) provider: String,
    /// What comes after its endpoint's address.
    pub(super) path: &'static str,
    /// Whether it is one that OpenCode knows.
    pub(super) known: bool,
    /// Keys by provider, for all of those that have one.
    pub(super) keys: BTreeMap<String, String>,
    /// The variables that the asked provider's key came from.
    pub(super) used: Vec<&'static str>,
    /// All variables that hold a key.
    pub(super) held: Vec<&'static str>,
    /// What the user is to know.
    pub(super) warning: Option<String>,
}

/// Chooses by the prefix of the task's model.
pub(super) fn choose(task: &Task, env: &BTreeMap<String, String>) -> Choice {
    let value = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let asked = task.agent.model.as_deref().and_then(|model| model.split_once('/')).map(|(prefix, _)| prefix);
    // OpenCode's own models are also known by the name of its service.
    let asked = asked.map(|prefix| if prefix == "zen" { "opencode" } else { prefix });
    let known = PROVIDERS.iter().find(|provider| Some(provider.name) == asked);
    // Without a name the first of them that has a key is the one that OpenCode's default model comes from.
    let has_key = |provider: &&Provider| provider.name != "opencode" && provider.variables.iter().any(|name| value(name).is_some());
    let fallback = || PROVIDERS.iter().find(has_key).unwrap_or(&PROVIDERS[0]);
    let name = asked.unwrap_or_else(|| fallback().name);
    let mut choice = Choice {
        provider: name.to_owned(),
        path: known.or_else(|| PROVIDERS.iter().find(|provider| provider.name == name)).map_or("/v1", |provider| provider.path),
        known: known.is_some() || asked.is_none(),
        ..Choice::default()
    };
    for provider in PROVIDERS.iter().filter(|provider| provider.name != "opencode" || name == "opencode") {
        let Some(variable) = provider.variables.iter().find(|variable| value(variable).is_some()) else { continue };
        choice.keys.insert(provider.name.to_owned(), value(variable).cloned().unwrap_or_default());
        if provider.name == name {
            choice.used.push(variable);
        }
    }
    if let Some(key) = value(ANY_KEY).filter(|_| name != "opencode") {
        let owner = if choice.known || task.agent.endpoint.is_some() { name } else { "anthropic" };
        if owner != name || asked.is_none() {
            choice.warning =
                Some(format!("`{ANY_KEY}` is taken for the key of {owner}, since the model does not name a provider that is known"));
        }
        // A provider's own variable is the better word.
        choice.keys.entry(owner.to_owned()).or_insert_with(|| key.clone());
        choice.used.push(ANY_KEY);
    }
    choice.held = SECRET_VARIABLES.iter().copied().filter(|name| name.ends_with("_API_KEY") && value(name).is_some()).collect();
    choice
}

/// The providers whose key is the one for all, and that do not look for it themselves.
pub(super) fn with_the_one_key<'a>(choice: &'a Choice, env: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a str> {
    let is_the_one = |provider: &str, key: &String| provider != "opencode" && env.get(ANY_KEY) == Some(key);
    choice.keys.iter().filter(move |(provider, key)| is_the_one(provider, key)).map(|(provider, _)| provider.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(model: Option<&str>, env: &[(&str, &str)]) -> Choice {
        let document = serde_json::json!({"agent": {"type": "opencode", "model": model}, "prompt": "x"});
        let task = Task::from_value(&document).unwrap();
        choose(&task, &env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_one_key_belongs_to_the_provider_that_the_model_names() {
        for (model, provider) in
            [("anthropic/x", "anthropic"), ("openai/x", "openai"), ("google/x", "google"), ("zai-coding-plan/x", "zai-coding-plan")]
        {
            let choice = chosen(Some(model), &[("OPENCODE_API_KEY", "k")]);
            assert_eq!(choice.keys, [(provider.to_owned(), "k".to_owned())].into(), "{model}");
            assert_eq!((choice.provider.as_str(), choice.warning), (provider, None));
        }
        for model in ["opencode/x", "zen/x"] {
            assert_eq!(chosen(Some(model), &[("OPENCODE_API_KEY", "k")]).keys, [("opencode".to_owned(), "k".to_owned())].into());
        }
        for model in [Some("unheard-of/x"), Some("no-slash"), None] {
            let choice = chosen(model, &[("OPENCODE_API_KEY", "k")]);
            assert_eq!(choice.keys, [("anthropic".to_owned(), "k".to_owned())].into(), "{model:?}");
            assert!(choice.warning.is_some_and(|warning| warning.contains("anthropic")));
        }
    }

    #[test]
    fn a_provider_s_own_variable_goes_before_the_one_key() {
        let choice = chosen(Some("openai/x"), &[("OPENCODE_API_KEY", "any"), ("OPENAI_API_KEY", "own"), ("XAI_API_KEY", "other")]);
        assert_eq!(choice.keys, [("openai".to_owned(), "own".to_owned()), ("xai".to_owned(), "other".to_owned())].into());
        assert_eq!(choice.held, ["OPENAI_API_KEY", "OPENCODE_API_KEY", "XAI_API_KEY"]);
    }
}
