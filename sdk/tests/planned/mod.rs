//! Plans of agents, as people review them.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use agent_sdk::agent::{Agent, FileContent, Installed, Plan, PlanError, PlanRequest, Plugin, Surroundings};
use agent_sdk::task::Task;
use serde_json::Value;

/// A container with this key in its environment.
pub fn surroundings(key: &str) -> Surroundings {
    Surroundings {
        env: [("HOME", "/home/agent"), (key, "sk-secret")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        home: "/home/agent".into(),
        work_tree: "/workspace/repo".into(),
        workdir: "/workspace/repo".into(),
        private_dir: "/tmp/agent-runner-1".into(),
        ..Surroundings::default()
    }
}

/// A plugin with these skills and sub-agents.
pub fn plugin(name: &str, skills: &[&str], agents: &[&str]) -> Plugin {
    let text = "---\nname: x\ndescription: Fits it.\nmodel: sonnet\n---\nFit.\n";
    Plugin {
        name: name.into(),
        dir: format!("/plugins/{name}").into(),
        skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        agents: agents.iter().map(|name| ((*name).to_owned(), text.as_bytes().to_vec())).collect(),
    }
}

/// An agent's plan for a task document.
pub fn plan(agent: &dyn Agent, task: &Value, surroundings: &Surroundings, plugins: &[Plugin]) -> Result<Plan, Vec<PlanError>> {
    agent.plan(&PlanRequest { task: &Task::from_value(task).unwrap(), surroundings, plugins })
}

/// A plan as text.
pub fn shown(plan: &Plan) -> String {
    let mut text = format!("{} {}\n", plan.program, plan.args.join("\n  "));
    for (name, value) in &plan.env {
        writeln!(text, "{name} = {}", value.as_deref().unwrap_or("(taken away)")).unwrap();
    }
    writeln!(text, "stdin: {:?}", String::from_utf8_lossy(&plan.stdin)).unwrap();
    for file in &plan.files {
        let content = match &file.content {
            FileContent::Replace(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            FileContent::MergeJson(fields) => format!("merged: {:#}", Value::Object(fields.clone())),
            FileContent::Install(all) => all.iter().fold(String::new(), |text, (path, what)| match what {
                Installed::File(content) => format!("{text}{}:\n{}", path.display(), String::from_utf8_lossy(content)),
                Installed::Tree(source) => format!("{text}{}: a copy of {}\n", path.display(), source.display()),
            }),
            other => format!("{other:?}"),
        };
        writeln!(text, "--- {}{}\n{}", file.path.display(), if file.private { " (private)" } else { "" }, content.trim_end()).unwrap();
    }
    plan.warnings.iter().for_each(|warning| writeln!(text, "warning: {warning}").unwrap());
    text
}
