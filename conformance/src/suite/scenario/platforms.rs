//! What platforms do to an image: other users, a root file system that cannot be written, no capabilities, little room for a message, a
//! model gateway.

use super::{Scenario, Stage, Unfit, workspace};
use crate::model;
use crate::suite::evidence::Ability;

/// A user that no image knows.
const SOMEBODY: u32 = 54_321;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "any-user", about: "started as user 54321 of group 0", needs: &[Ability::User], prepare: any_user, course: &[] },
    Scenario {
        name: "read-only-root",
        about: "started with a root file system that cannot be written",
        needs: &[Ability::ReadOnlyRoot],
        prepare: read_only_root,
        course: &[],
    },
    Scenario {
        name: "no-capabilities",
        about: "started without capabilities, with no_new_privs",
        needs: &[Ability::NoCapabilities],
        prepare: no_capabilities,
        course: &[],
    },
    Scenario {
        name: "small-budget",
        about: "a clone, results that are too long, and a budget of 512 bytes",
        needs: &[],
        prepare: small_budget,
        course: &[],
    },
    Scenario { name: "gateway", about: "a model endpoint that only the agent may ask", needs: &[], prepare: gateway, course: &[] },
];

fn any_user(stage: &mut Stage) -> Result<(), Unfit> {
    stage.start.user = Some((SOMEBODY, 0));
    stage.own_home();
    stage.agent_that([]);
    Ok(())
}

fn read_only_root(stage: &mut Stage) -> Result<(), Unfit> {
    stage.start.read_only = true;
    stage.start.scratch.push("/tmp".into());
    stage.own_home();
    stage.agent_that([]);
    Ok(())
}

fn no_capabilities(stage: &mut Stage) -> Result<(), Unfit> {
    stage.start.no_capabilities = true;
    stage.agent_that([]);
    Ok(())
}

fn small_budget(stage: &mut Stage) -> Result<(), Unfit> {
    workspace::clone(stage)?;
    stage.env("AGENT_TERMINATION_BUDGET", "512");
    stage.know("budget", "512");
    super::core::long_results(stage);
    Ok(())
}

fn gateway(stage: &mut Stage) -> Result<(), Unfit> {
    if !stage.subject.asks_playable_model() {
        return Err(Unfit::Inapplicable("it does not say that its agent asks a model in a protocol that the suite speaks".into()));
    }
    let fault = |error: &dyn std::error::Error| Unfit::Fault(format!("the scripted model: {error}"));
    let scenario = model::Scenario::builtin("text-only").map_err(|error| fault(&error))?;
    let server = model::ScriptedModel::start(scenario).map_err(|error| fault(&error))?;
    stage.env("AGENT_ENDPOINT", &server.base_url());
    stage.model = Some(server);
    stage.agent_that([]);
    Ok(())
}
