//! Plugins for agents that know none: their skills and sub-agents are installed one by one, and two must not come to the same place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::{Installed, PlanError, Plugin};

/// What is to be installed, and which plugin each piece is from.
struct Installation {
    wanted: BTreeMap<PathBuf, Installed>,
    sources: BTreeMap<PathBuf, String>,
    errors: Vec<PlanError>,
}

impl Installation {
    fn add(&mut self, to: PathBuf, source: &Path, what: Installed) {
        let source = source.display().to_string();
        if let Some(other) = self.sources.get(&to) {
            self.errors.push(PlanError {
                field: "pluginDir".into(),
                problem: format!("`{other}` and `{source}` would both be installed as `{}`", to.display()),
                hint: "rename one of the plugins, or one of the two".into(),
            });
            return;
        }
        self.sources.insert(to.clone(), source);
        self.wanted.insert(to, what);
    }
}

/// Every plugin's skills as `plugin:skill`.
pub(super) fn skills(plugins: &[Plugin]) -> Result<BTreeMap<PathBuf, Installed>, Vec<PlanError>> {
    install(plugins, |plugin, add| {
        for skill in &plugin.skills {
            let source = plugin.dir.join("skills").join(skill);
            add(format!("{}:{skill}", plugin.name).into(), &source, Installed::Tree(source.clone()));
        }
    })
}

/// Every plugin's sub-agents, as `form` writes them: the file's name, and what stands in it.
pub(super) fn sub_agents(
    plugins: &[Plugin],
    form: impl Fn(&str, &SubAgent) -> (PathBuf, Vec<u8>),
) -> Result<BTreeMap<PathBuf, Installed>, Vec<PlanError>> {
    install(plugins, |plugin, add| {
        for (name, content) in &plugin.agents {
            let (to, content) = form(name, &SubAgent::parse(content));
            add(to, &plugin.dir.join("agents").join(format!("{name}.md")), Installed::File(content));
        }
    })
}

/// Every plugin's sub-agents as they are, `NAME.md` each.
pub(super) fn sub_agent_files(plugins: &[Plugin]) -> Result<BTreeMap<PathBuf, Installed>, Vec<PlanError>> {
    install(plugins, |plugin, add| {
        for (name, content) in &plugin.agents {
            let file = format!("{name}.md");
            add(PathBuf::from(&file), &plugin.dir.join("agents").join(&file), Installed::File(content.clone()));
        }
    })
}

fn install(
    plugins: &[Plugin],
    each: impl Fn(&Plugin, &mut dyn FnMut(PathBuf, &Path, Installed)),
) -> Result<BTreeMap<PathBuf, Installed>, Vec<PlanError>> {
    let mut all = Installation { wanted: BTreeMap::new(), sources: BTreeMap::new(), errors: Vec::new() };
    for plugin in plugins {
        each(plugin, &mut |to, source, what| all.add(to, source, what));
    }
    if all.errors.is_empty() { Ok(all.wanted) } else { Err(all.errors) }
}

/// A sub-agent as `agents/NAME.md` describes it: fields between two lines of `---`, and its prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SubAgent {
    /// The fields, as plain text: `description`, `model`, …
    pub(super) fields: BTreeMap<String, String>,
    /// The prompt.
    pub(super) prompt: String,
}

impl SubAgent {
    /// Reads the file. The fields are YAML of the simplest kind, as all agents' documentation shows it: one value a line, in quotes or
    /// not, or a block after `|` or `>`. What is no text at all comes through as the prompt, its odd bytes replaced.
    fn parse(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content).replace("\r\n", "\n");
        let Some((head, prompt)) = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
            return Self { fields: BTreeMap::new(), prompt: text.trim().to_owned() };
        };
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut block: Option<(String, char)> = None;
        for line in head.lines() {
            if let Some((name, style)) = block.as_ref().filter(|_| line.is_empty() || line.starts_with([' ', '\t'])) {
                let value = fields.entry(name.clone()).or_default();
                if !value.is_empty() {
                    value.push(if *style == '|' { '\n' } else { ' ' });
                }
                value.push_str(line.trim());
                continue;
            }
            let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.starts_with([' ', '#', '-'])) else { continue };
            let value = value.trim();
            let style = value.chars().next().filter(|first| matches!(first, '|' | '>') && value.len() <= 2);
            block = style.map(|style| (name.to_owned(), style));
            fields.insert(name.to_owned(), if style.is_some() { String::new() } else { unquoted(value).to_owned() });
        }
        Self { fields, prompt: prompt.trim().to_owned() }
    }
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, skills: &[&str], agents: &[(&str, &str)]) -> Plugin {
        Plugin {
            name: name.into(),
            dir: Path::new("/plugins").join(name),
            skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
            agents: agents.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect(),
        }
    }

    #[test]
    fn two_that_come_to_the_same_place_are_an_error_that_names_both() {
        let plugins = [plugin("alpha", &["bravo:charlie"], &[("a", "1")]), plugin("alpha:bravo", &["charlie"], &[("a", "2")])];
        let of_agents = sub_agents(&plugins, |name, agent| (name.into(), agent.prompt.clone().into_bytes()));
        for (errors, both) in [
            (skills(&plugins).unwrap_err(), ["/plugins/alpha/skills/bravo:charlie", "/plugins/alpha:bravo/skills/charlie"]),
            (of_agents.unwrap_err(), ["/plugins/alpha/agents/a.md", "/plugins/alpha:bravo/agents/a.md"]),
        ] {
            assert_eq!(errors.len(), 1);
            assert!(both.iter().all(|one| errors[0].problem.contains(one)), "{}", errors[0].problem);
        }
    }

    #[test]
    fn skills_are_named_with_their_plugin() {
        let wanted = skills(&[plugin("kit", &["sew", "cut"], &[])]).unwrap();
        let names: Vec<_> = wanted.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names, ["kit:cut", "kit:sew"]);
    }

    #[test]
    fn a_sub_agents_fields_and_prompt_are_told_apart() {
        let agent = SubAgent::parse(
            b"---\nname: \"tailor\"\ndescription: >-\n  Sews: all\n  day.\ntools:\n  - Bash\nmodel: 'x'\n---\n\nYou sew.\n---\n",
        );
        let field = |name: &str| agent.fields[name].as_str();
        assert_eq!((field("name"), field("description"), field("model")), ("tailor", "Sews: all day.", "x"));
        assert_eq!(agent.prompt, "You sew.\n---");
        assert_eq!(SubAgent::parse(b"No fields.\n").prompt, "No fields.");
    }
}
