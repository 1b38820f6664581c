//! The baseline: failures that are known, one by one and each with its reason. An entry that is not broken any more is stale and fails the
//! run.
//!
//! ```toml
//! [[known]]
//! id = "STR-003"
//! reason = "our log collector cuts lines; acme/app#12"
//! ```

use serde::Deserialize;

use super::requirement;
use super::selection::{UnknownRequirement, rows_named};
use super::verdict::Baseline;

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is not such a file.
    #[error("it is no baseline: {0}")]
    Malformed(#[from] toml::de::Error),
    /// An entry names nothing that there is.
    #[error(transparent)]
    Unknown(#[from] UnknownRequirement),
    /// An entry names more than one requirement.
    #[error("`{0}` is an area: known failures are listed one by one")]
    NotOne(String),
    /// An entry says no reason.
    #[error("the entry `{0}` gives no reason")]
    NoReason(String),
    /// A requirement is listed twice.
    #[error("the entry `{0}` stands there twice")]
    Twice(String),
}

/// Reads a baseline's text.
///
/// # Errors
/// It is no baseline, or an entry is none.
pub fn parse(text: &str) -> Result<Baseline, BaselineError> {
    /// The file.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        known: Vec<Entry>,
    }
    /// One known failure.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        id: String,
        #[serde(default)]
        reason: String,
    }
    let mut baseline = Baseline::new();
    for entry in toml::from_str::<File>(text)?.known {
        let Some(row) = requirement::find(&entry.id) else {
            rows_named(&entry.id)?;
            return Err(BaselineError::NotOne(entry.id));
        };
        if entry.reason.trim().is_empty() {
            return Err(BaselineError::NoReason(entry.id));
        }
        if baseline.insert(row.id.clone(), entry.reason).is_some() {
            return Err(BaselineError::Twice(entry.id));
        }
    }
    Ok(baseline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_id_or_slug_with_a_reason() {
        let baseline = parse("[[known]]\nid = 'interface-label'\nreason = 'soon'\n[[known]]\nid = 'img-002'\nreason = 'later'").unwrap();
        assert_eq!(baseline, Baseline::from([("IMG-001".into(), "soon".into()), ("IMG-002".into(), "later".into())]));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        for (text, wanted) in [
            ("known = 1", "it is no baseline"),
            ("[[known]]\nid = 'IMG-001'\nwhy = 'x'", "unknown field `why`"),
            ("[[known]]\nid = 'IMG-999'\nreason = 'x'", "no requirement, slug or area `IMG-999`"),
            ("[[known]]\nid = 'IMG'\nreason = 'x'", "one by one"),
            ("[[known]]\nid = 'IMG-001'", "gives no reason"),
            ("[[known]]\nid = 'IMG-001'\nreason = ' '", "gives no reason"),
            ("[[known]]\nid = 'IMG-001'\nreason = 'x'\n[[known]]\nid = 'interface-label'\nreason = 'y'", "twice"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
