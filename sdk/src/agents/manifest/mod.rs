//! Anybody's coding agent, by a file `agent.toml` and without code.
//!
//! The file's fields are in `schema`; a text is held against their shape in `structure` and against their meaning in `check` and `rules`.
//! Placeholders are in `template`, what is written and started in `plan`, what the agent lacks in `lacking`, what the stream means in
//! `stream`, why it ended in `reasons`. Where manifests lie and how they are read is for the runner. `docs/agent-manifest.md` teaches how to
//! write one.

mod check;
mod lacking;
mod plan;
mod reasons;
pub mod rules;
pub mod schema;
mod stream;
mod structure;
pub mod template;

use std::fmt;
use std::sync::Arc;

pub use schema::Manifest;

use crate::agent::{Agent, Detail, Finding, Plan, PlanError, PlanRequest, RepositoryPath, Seen, StreamReader};

/// The largest manifest that is read: a real one has some KiB.
pub const MANIFEST_LIMIT: u64 = 1 << 20;

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The line, from 1, as far as one is at fault.
    pub line: Option<usize>,
    /// The field, dotted; empty where the text is no TOML at all.
    pub path: String,
    /// What is wrong, a fragment that follows the field.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}` ", self.path)?;
        }
        write!(f, "{}", self.problem)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

/// The agent that a manifest describes.
pub struct ManifestAgent {
    manifest: Arc<Manifest>,
    /// The built-in agent whose stream it is read as.
    like: Option<Box<dyn Agent>>,
    // In the form that the trait asks for.
    held_against: Vec<&'static str>,
    secret_variables: Vec<&'static str>,
    repository_config: Vec<RepositoryPath>,
}

impl fmt::Debug for ManifestAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManifestAgent").field(&self.manifest.name).finish()
    }
}

/// The trait's tables are those of built-in agents, which live as long as the program. A program reads a manifest or two, so theirs may
/// too.
fn keep(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

impl ManifestAgent {
    /// The agent of a manifest's text.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its fields.
    pub fn parse(text: &str) -> Result<Self, Vec<ManifestError>> {
        let manifest = check::parse(text)?;
        let repository = manifest.repository.iter().map(|row| RepositoryPath { path: keep(&row.path), power: row.power.into() });
        Ok(Self {
            like: crate::agents::by_name(&manifest.stream.format),
            held_against: manifest.held_against.iter().map(|version| keep(version)).collect(),
            secret_variables: manifest.environment.secrets.iter().map(|name| keep(name)).collect(),
            repository_config: repository.collect(),
            manifest: Arc::new(manifest),
        })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Agent for ManifestAgent {
    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn about(&self) -> &str {
        &self.manifest.about
    }

    fn held_against(&self) -> &[&str] {
        &self.held_against
    }

    fn secret_variables(&self) -> &[&str] {
        &self.secret_variables
    }

    fn repository_config(&self) -> &[RepositoryPath] {
        &self.repository_config
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
        plan::plan(&self.manifest, request)
    }

    fn reader(&self, detail: Detail) -> Box<dyn StreamReader> {
        match &self.like {
            Some(like) => like.reader(detail),
            None if self.manifest.stream.format == rules::NONE => Box::<stream::Silent>::default(),
            None if self.manifest.stream.format == rules::TEXT => Box::<stream::Plain>::default(),
            None => Box::new(stream::Reader::new(Arc::clone(&self.manifest), detail)),
        }
    }

    fn judge(&self, seen: &Seen<'_>) -> Option<Finding> {
        reasons::judge(&self.manifest, self.like.as_deref(), seen)
    }
}
