//! What the shape of a document does not tell: whether there is such an agent, and whether a clone takes a URL or a remote's name.

use std::path::Path;

use serde_json::Value;

use crate::agents;
use crate::workspace::config::check_remote;
use crate::workspace::url::RepoUrl;

/// Something that is of the right kind, and cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    /// Dotted path in the document.
    pub(super) path: String,
    /// What is wrong, a fragment.
    pub(super) problem: String,
    /// What to do.
    pub(super) hint: String,
}

/// Everything in a document that cannot be meant so. What is of the wrong kind is passed over: that is named already.
pub(super) fn check(document: &Value) -> Vec<Meant> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let mut meant = Vec::new();
    if let Some(name) = text("/agent/type")
        && let Err(error) = agents::check_name(name, text("/agent/manifestDir").map(Path::new))
    {
        meant.push(Meant { path: "agent.type".into(), problem: error.to_string(), hint: error.hint() });
    }
    if let Some(Err(error)) = text("/workspace/repo").map(RepoUrl::parse) {
        meant.push(Meant { path: "workspace.repo".into(), problem: error.to_string(), hint: error.hint().to_owned() });
    }
    for (name, url) in document.pointer("/workspace/remotes").and_then(Value::as_object).into_iter().flatten() {
        if let Some(Err(error)) = url.as_str().map(|url| check_remote(name, url)) {
            meant.push(Meant { path: format!("workspace.remotes.{name}"), problem: error.to_string(), hint: error.hint().to_owned() });
        }
    }
    meant
}
