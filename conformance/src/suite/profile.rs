//! Profiles: what an image may claim, and what it must then pass whole.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named set of requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What can be seen of the image as it lies there.
    Image,
    /// One task in a directory as it is: inputs, processes, stream, results.
    Core,
    /// The same on a clone that the image makes.
    Workspace,
    /// What a Kubernetes cluster with restricted pods asks for beside.
    Kubernetes,
    /// Secrets in no sink, and no network before the agent.
    Hardened,
    /// The image's own agent, with a scripted model in the loop.
    Agent,
}

/// No profile has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile `{0}`; there are {list}", list = Profile::ALL.map(Profile::as_str).join(", "))]
pub struct UnknownProfile(pub String);

impl Profile {
    /// All of them, in the order of the specification.
    pub const ALL: [Self; 6] = [Self::Image, Self::Core, Self::Workspace, Self::Kubernetes, Self::Hardened, Self::Agent];

    /// Its name in labels and on command lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Core => "core",
            Self::Workspace => "workspace",
            Self::Kubernetes => "kubernetes",
            Self::Hardened => "hardened",
            Self::Agent => "agent",
        }
    }

    /// This profile and those that it includes. `image` is in `core` is in `workspace`; the others stand beside and build on `core`.
    #[must_use]
    pub fn with_included(self) -> BTreeSet<Self> {
        let below: &[Self] = match self {
            Self::Image => &[],
            Self::Core => &[Self::Image],
            Self::Workspace | Self::Kubernetes | Self::Hardened | Self::Agent => &[Self::Image, Self::Core],
        };
        below.iter().copied().chain([self]).collect()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text).ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
