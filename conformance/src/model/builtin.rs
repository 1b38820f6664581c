//! The named scenarios. Each is a TOML file in `conformance/scenarios/`, built in, and an example to copy from.

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// Name and text of each, in the order of lists.
        const SCENARIOS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*];
    };
}

scenarios![
    "success",
    "text-only",
    "thinking",
    "tool-fails",
    "tool-sleep",
    "subagent",
    "mcp-call",
    "loop",
    "empty",
    "max-tokens",
    "refusal",
    "context-too-long",
    "quota",
    "http-400",
    "http-401",
    "http-403",
    "http-404",
    "http-429",
    "http-429-retry-after",
    "http-429-retry-after-hour",
    "http-500",
    "http-503",
    "http-529",
    "flaky-429",
    "flaky-500",
    "late-401",
    "late-500",
    "slow",
    "silence",
    "silence-mid-stream",
    "cut-before-headers",
    "cut-mid-stream",
    "cut-late",
    "overloaded-mid-stream",
];

/// All names, in the order of lists.
pub fn names() -> impl Iterator<Item = &'static str> {
    SCENARIOS.iter().map(|(name, _)| *name)
}

/// The TOML of one.
pub fn text(name: &str) -> Option<&'static str> {
    SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn each_can_be_played_under_its_own_name_and_says_what_it_is() {
        for name in names() {
            let scenario = Scenario::builtin(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty(), "{name} has no `about`");
        }
    }

    #[test]
    fn each_file_in_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".toml").to_owned())
            .collect();
        assert_eq!(files, names().map(str::to_owned).collect());
    }
}
