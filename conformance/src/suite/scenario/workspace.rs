//! A workspace that the image clones.

use nix::sys::signal::Signal::SIGTERM;

use super::stage::TOKEN;
use super::{Act, Scenario, Stage, Unfit};
use crate::suite::fake::Step;
use crate::suite::git::repository::REF;
use crate::suite::git::{Conduct, Repository};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "clone", about: "a clone, a working branch, and a commit of the agent", needs: &[], prepare: clone, course: &[] },
    Scenario { name: "clone-token", about: "a clone that needs the token", needs: &[], prepare: clone_token, course: &[] },
    Scenario { name: "clone-refused", about: "a clone with a token that is refused", needs: &[], prepare: clone_refused, course: &[] },
    Scenario { name: "clone-no-ref", about: "a clone of a ref that is not there", needs: &[], prepare: clone_no_ref, course: &[] },
    Scenario {
        name: "clone-signal",
        about: "SIGTERM while the git server does not answer",
        needs: &[],
        prepare: clone_signal,
        course: &[Act::AwaitGit, Act::Send(SIGTERM)],
    },
];

/// The working branch.
const BRANCH: &str = "conformance/work";

/// A clone of [`REF`] on a working branch, with everything configured that an image may write files for.
pub(super) fn clone(stage: &mut Stage) -> Result<(), Unfit> {
    stage.serve(Conduct::Open)?;
    on_branch(stage);
    stage.env("AGENT_INSTRUCTIONS", "Instructions of the suite.");
    let server =
        serde_json::json!({"mcpServers": {"conformance": {"command": stage.path("bin/setup"), "args": ["mcp"], "env": {"A": "b"}}}});
    stage.env("AGENT_MCP_SERVERS", &server.to_string());
    let repository = Repository::default();
    stage.know("work", repository.work());
    stage.agent_that([Step::LookAtHead, Step::Commit { id: repository.work(), objects: repository.work_objects() }]);
    Ok(())
}

fn on_branch(stage: &mut Stage) {
    stage.env("AGENT_REF", REF);
    stage.env("AGENT_BRANCH", BRANCH);
    stage.know("branch", BRANCH);
    stage.know("tip", Repository::default().tip(REF));
}

fn clone_token(stage: &mut Stage) -> Result<(), Unfit> {
    let token = stage.canary(TOKEN);
    stage.serve(Conduct::Token(token.clone()))?;
    stage.token(&token)?;
    on_branch(stage);
    stage.agent_that([Step::LookAtHead]);
    Ok(())
}

fn clone_refused(stage: &mut Stage) -> Result<(), Unfit> {
    stage.serve(Conduct::Token("some-other-token-than-that".into()))?;
    stage.token(&stage.canary(TOKEN))?;
    on_branch(stage);
    stage.agent_that([]);
    Ok(())
}

fn clone_no_ref(stage: &mut Stage) -> Result<(), Unfit> {
    stage.serve(Conduct::Open)?;
    stage.env("AGENT_REF", "no-such-branch");
    stage.agent_that([]);
    Ok(())
}

fn clone_signal(stage: &mut Stage) -> Result<(), Unfit> {
    stage.serve(Conduct::Silent)?;
    on_branch(stage);
    stage.agent_that([]);
    Ok(())
}
