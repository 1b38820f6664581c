//! What a task asks for and a manifest's agent does not have: what it cannot be given, limits that nothing holds, and what nobody hands
//! over where somebody else starts it.

use std::path::Path;

use super::check::{is_in, uses};
use super::plan::Planner;
use super::rules::{self, EventRule};
use super::schema::Ability;
use super::template::Template;
use crate::agent::{PlanError, PlanRequest, Plugin};
use crate::agents::limits::Limit;
use crate::agents::{later, limits};
use crate::task::McpServer;

impl Planner<'_> {
    fn is_asked_for(&self, ability: Ability, plugins: &[Plugin]) -> bool {
        let task = self.task;
        let servers = |kind: fn(&McpServer) -> bool| task.mcp_servers.values().any(kind);
        match ability {
            Ability::Model => task.agent.model.is_some(),
            Ability::Effort => task.agent.effort.is_some(),
            Ability::Endpoint => task.agent.endpoint.is_some(),
            Ability::Resume => task.agent.resume.is_some(),
            Ability::Instructions => task.instructions.is_some(),
            Ability::Skills => plugins.iter().any(|plugin| !plugin.skills.is_empty()),
            Ability::SubAgents => plugins.iter().any(|plugin| !plugin.agents.is_empty()),
            Ability::McpStdio => servers(|server| matches!(server, McpServer::Stdio { .. })),
            Ability::McpHttp => servers(|server| matches!(server, McpServer::Http { .. })),
            Ability::McpSse => servers(|server| matches!(server, McpServer::Sse { .. })),
        }
    }

    pub(super) fn warn_of_what_lacks(&mut self, plugins: &[Plugin]) {
        for ability in &self.manifest.lacks {
            let is_asked_for = self.is_asked_for(*ability, plugins);
            // Whoever names a gateway must not find that the key went elsewhere.
            if is_asked_for && *ability == Ability::Endpoint {
                let problem = format!("`{}` cannot be given a model gateway", self.manifest.name);
                self.errors.push(PlanError { field: "agent.endpoint".into(), problem, hint: "leave AGENT_ENDPOINT out".into() });
            } else if is_asked_for {
                self.plan.warnings.push(format!("`{}` cannot be given `{}`; it is left out", self.manifest.name, ability.as_str()));
            }
        }
    }

    /// A limit is held by the runner, by what the stream says, or by the agent, which is told it.
    pub(super) fn warn_of_limits(&mut self) {
        let manifest = self.manifest;
        let format = manifest.stream.format.as_str();
        let rules = manifest.ledgers.iter().flat_map(|ledger| &ledger.events).chain(&manifest.stream.events);
        let is_unfed = |limit: Limit| match format {
            rules::JSON_LINES => !rules.clone().any(|rule| feeds(rule, limit)),
            _ => limits::unsaid_alone(format).contains(&limit),
        };
        let unheld: Vec<Limit> = Limit::ALL.into_iter().filter(|limit| is_unfed(*limit) && !uses(manifest, limit.placeholder())).collect();
        self.plan.warnings.extend(limits::without_effect(&format!("`{}`", manifest.name), self.task, &unheld));
    }

    pub(super) fn warn_of_what_is_left_to_others(&mut self, request: &PlanRequest<'_>) {
        let left = |ability: Ability| {
            !self.manifest.lacks.contains(&ability) && self.is_asked_for(ability, request.plugins) && !self.lasts(ability)
        };
        // A session to go on with is in no agent's file.
        let choices = Ability::ALL.into_iter().filter(|ability| *ability != Ability::Resume);
        let choices: Vec<(&str, bool)> = choices.map(|ability| (ability.field(), left(ability))).collect();
        let mut warnings: Vec<String> = later::left_to_others(&format!("`{}`", self.manifest.name), request, &choices).collect();
        warnings.dedup();
        self.plan.warnings.extend(warnings);
    }

    /// Whether what the task asks for stands in a file that the agent finds by itself.
    fn lasts(&self, ability: Ability) -> bool {
        let manifest = self.manifest;
        let lasting =
            |path: &Template| path.expand(&self.values).is_some_and(|path| !Path::new(&path).starts_with(&self.surroundings.private_dir));
        let in_file = |name: &str| manifest.files.iter().any(|file| lasting(&file.path) && is_in(file, name));
        let plugins = manifest.plugins.as_ref();
        match ability {
            Ability::Instructions => {
                let file = manifest.instructions.as_ref().and_then(|instructions| instructions.file.as_ref());
                file.is_some_and(lasting) || in_file("instructions")
            }
            Ability::Skills => plugins.and_then(|plugins| plugins.skills.as_ref()).is_some_and(lasting),
            Ability::SubAgents => plugins.and_then(|plugins| plugins.sub_agents.as_ref()).is_some_and(lasting),
            Ability::McpStdio | Ability::McpHttp | Ability::McpSse => {
                manifest.mcp.as_ref().and_then(|mcp| mcp.file.as_ref()).is_some_and(lasting)
            }
            choice => in_file(choice.as_str()),
        }
    }
}

/// Whether a rule can feed a limit, while the agent is not done.
fn feeds(rule: &EventRule, limit: Limit) -> bool {
    let usage = rule.usage.as_ref().filter(|_| rule.end.is_none());
    match limit {
        Limit::Cost => usage.is_some_and(|usage| usage.cost_usd.is_some()),
        Limit::Turns => rule.turn,
        Limit::OutputTokens => usage.is_some_and(|usage| usage.output.is_some()),
        Limit::Retries => rule.error.as_ref().is_some_and(|error| error.retry),
    }
}
