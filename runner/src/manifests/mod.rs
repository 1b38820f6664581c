//! Manifests: what runs a task document on a platform, printed for people to look at, keep and apply.
//!
//! [`Request::new`] takes a task document and the wishes of the command line apart and names everything that is wrong; where volumes cannot
//! go is in `places`. What all platforms have in common, the container with its variables, volumes and security context, is in [`pod`];
//! each platform is a file with one function, `documents`. Nothing here reads or writes anything.

mod argo;
mod job;
mod kelos;
mod places;
pub mod pod;
mod request;
mod tekton;
#[cfg(test)]
mod tests;
pub mod yaml;

pub use request::{Request, Runner, SecretKey, Wishes};

use crate::inputs::InputErrors;

/// A platform that a manifest can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Platform {
    /// A Kubernetes Job, which tries again where that may help.
    Job,
    /// A Kubernetes Pod.
    Pod,
    /// A WorkflowTemplate of Argo Workflows.
    Argo,
    /// A Task of Tekton, and a TaskRun of it.
    Tekton,
    /// A Task of Kelos, and its Workspace.
    Kelos,
}

/// The manifest, as YAML.
///
/// # Errors
/// Everything that is wrong with the task or the wishes.
pub fn print(platform: Platform, wishes: &Wishes) -> Result<String, InputErrors> {
    let request = Request::new(platform, wishes)?;
    let documents = match platform {
        Platform::Job => job::documents(&request),
        Platform::Pod => pod::documents(&request),
        Platform::Argo => argo::documents(&request),
        Platform::Tekton => tekton::documents(&request),
        Platform::Kelos => kelos::documents(&request),
    };
    Ok(yaml::print(&documents))
}
