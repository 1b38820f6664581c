//! Requirements: the rows of `spec/v1/requirements.toml`, one per normative sentence, read as data.

use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// The file of the rows as it stood when the suite was built.
pub const SOURCE: &str = include_str!("../../../spec/v1/requirements.toml");

/// The keyword of a sentence, by RFC 2119. It alone is the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Level {
    /// An image that breaks it does not conform.
    #[serde(rename = "MUST")]
    Must,
    /// Likewise.
    #[serde(rename = "MUST NOT")]
    MustNot,
    /// Breaking it is a warning.
    #[serde(rename = "SHOULD")]
    Should,
    /// Likewise.
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    /// Nothing breaks it.
    #[serde(rename = "MAY")]
    May,
}

impl Level {
    /// The keyword.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }

    /// Whether an image that breaks it does not conform.
    #[must_use]
    pub fn is_binding(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a requirement is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// By the image as it lies there.
    Static,
    /// By running it with the suite's agent in place of its own.
    Dynamic,
    /// By running it with its own agent and a scripted model.
    Model,
    /// Not at all; the row says why.
    Excluded,
}

/// One normative sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Requirement {
    /// `AREA-NNN`, for ever.
    pub id: String,
    /// The same in words.
    pub slug: String,
    /// Its keyword.
    pub level: Level,
    /// The interface version that first had it.
    pub since: String,
    /// The profile that it belongs to.
    pub profile: Profile,
    /// The section of the specification that it stands in.
    pub section: String,
    /// How it is tested.
    pub verify: Verify,
    /// The sentence, verbatim.
    pub text: String,
    /// What goes wrong for somebody when an image breaks it.
    #[serde(default)]
    pub why: String,
    /// How an image author mends it.
    #[serde(default)]
    pub fix: String,
    /// Why it is not tested, where [`Verify::Excluded`].
    #[serde(default)]
    pub excluded: String,
}

impl Requirement {
    /// Its area: the letters before the dash.
    #[must_use]
    pub fn area(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }
}

/// All rows, in the order of the file.
#[must_use]
pub fn all() -> &'static [Requirement] {
    /// The file's one table.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rows {
        requirement: Vec<Requirement>,
    }
    static ALL: LazyLock<Vec<Requirement>> = LazyLock::new(|| match toml::from_str::<Rows>(SOURCE) {
        Ok(rows) => rows.requirement,
        // The file is part of the program, and a test reads it.
        Err(error) => panic!("spec/v1/requirements.toml: {error}"),
    });
    &ALL
}

/// The row with this id or slug, in any case of letters.
#[must_use]
pub fn find(name: &str) -> Option<&'static Requirement> {
    all().iter().find(|row| row.id.eq_ignore_ascii_case(name) || row.slug.eq_ignore_ascii_case(name))
}
