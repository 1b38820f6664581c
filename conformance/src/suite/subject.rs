//! The subject: the image as it lies there. Engines read it from wherever they keep images; nothing here does.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// What all labels of the interface begin with.
pub const LABEL_PREFIX: &str = "io.github.agent-runner.";

/// An image: what it is called, what its configuration says, and what is known of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// What the user called it.
    pub reference: String,
    /// The digest of its manifest or configuration (`sha256:…`), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The image configuration, as OCI has it.
    pub config: ImageConfig,
    /// What was found in its file system; absent where the engine cannot look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FileFacts>,
}

/// The part of an OCI image configuration that matters here
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// The entry point, in exec form.
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    pub cmd: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// User, or user:group, by number or name; empty is root.
    pub user: String,
    /// Where programs start.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Paths that are declared as volumes.
    pub volumes: BTreeSet<String>,
}

/// What was found in the image's file system, as far as checks want to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileFacts {
    /// The file at `agent.path`, links followed within the image; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<FileFact>,
    /// What runs the program of the entry point, if that is a script: the first word after `#!`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Paths of dynamic loaders that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loaders: Vec<String>,
    /// Paths of CA bundles that are there.
    pub certificates: Vec<String>,
    /// Files with the set-user-ID or set-group-ID bit.
    pub set_id: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileFact {
    /// Where it stands when all links are followed.
    pub path: String,
    /// Whether it is a regular file.
    pub regular: bool,
    /// Its permission bits.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
}

/// The protocols in which the suite's scripted model can be asked, by the words of the label `agent.model`.
pub const MODEL_PROTOCOLS: [&str; 4] = ["anthropic", "openai-responses", "openai-chat", "gemini"];

/// The loaders of glibc, by which programs are started that are linked dynamically: the suite's own too, unless it is static.
pub const LOADERS: &[&str] = &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// Where TLS libraries look for a bundle of CA certificates.
pub const CERTIFICATE_BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"];

/// Programs that start another one and do nothing of their own, by their file names.
const INITS: [&str; 5] = ["tini", "tini-static", "dumb-init", "catatonit", "docker-init"];

impl Subject {
    /// The program that the entry point comes to: what an init starts, if it begins with one.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        let mut words = self.config.entrypoint.iter().chain(&self.config.cmd).map(String::as_str).peekable();
        self.config.entrypoint.first()?;
        let mut program = words.next()?;
        while INITS.contains(&program.rsplit('/').next().unwrap_or(program)) {
            if words.clone().any(|word| word == "--") {
                words.find(|word| *word == "--");
            } else {
                while words.next_if(|word| word.starts_with('-')).is_some() {}
            }
            program = words.next()?;
        }
        Some(program)
    }

    /// A label of the interface, by the name after the prefix.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(&format!("{LABEL_PREFIX}{name}")).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The words of such a label.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.label(name).unwrap_or_default().split_whitespace()
    }

    /// The profiles that it claims and that exist.
    #[must_use]
    pub fn claimed(&self) -> BTreeSet<Profile> {
        self.words("profiles").filter_map(|word| word.parse().ok()).collect()
    }

    /// Whether its agent asks a model in a protocol that the suite's speaks.
    #[must_use]
    pub fn asks_playable_model(&self) -> bool {
        self.words("agent.model").any(|word| MODEL_PROTOCOLS.contains(&word))
    }

    /// What its stdout is, by its label.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.label("agent.stream").unwrap_or("none")
    }

    /// A variable of its configuration.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.config.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_what_an_init_starts() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let program = |entrypoint: &[&str], cmd: &[&str]| {
            let config = ImageConfig { entrypoint: words(entrypoint), cmd: words(cmd), ..ImageConfig::default() };
            Subject { config, ..Subject::default() }.program().map(str::to_owned)
        };
        assert_eq!(program(&["/runner", "--", "sh"], &["bash"]).as_deref(), Some("/runner"));
        assert_eq!(program(&["/usr/bin/tini", "-p", "SIGTERM", "--", "/entry.sh"], &[]).as_deref(), Some("/entry.sh"));
        assert_eq!(program(&["dumb-init", "--verbose", "bash", "-c", "x"], &[]).as_deref(), Some("bash"));
        assert_eq!(program(&["tini", "--"], &["/entry.sh"]).as_deref(), Some("/entry.sh"));
        assert_eq!(program(&["tini", "--", "dumb-init", "runner"], &[]).as_deref(), Some("runner"));
        assert_eq!(program(&["tini"], &[]), None);
        assert_eq!(program(&[], &["sh"]), None);
    }
}
