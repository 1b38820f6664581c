//! A certificate: that an image of this digest kept all that it claims, as this suite judged it.
//!
//! It is given for a whole run alone: every claimed profile, nothing left out, nothing broken, known or unseen. It is not signed: who wants
//! to know that nobody made it up signs the file, or runs the suite again. [`Certificate::verify`] derives its conclusion from its own
//! judgements anew.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::profile::Profile;
use super::report::{INTERFACE, Report};
use super::requirement::{self, Verify};
use super::verdict::{Conclusion, Judgement, Verdict};

/// What the file says it is.
pub const KIND: &str = "agent-image-interface-certificate/1";

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// [`KIND`].
    pub kind: String,
    /// The interface version that the image was judged by.
    pub interface: String,
    /// The image.
    pub image: CertifiedImage,
    /// What judged it.
    pub suite: CertifyingSuite,
    /// The engine that it was started with.
    pub engine: String,
    /// When, by RFC 3339 in UTC.
    pub issued: String,
    /// The profiles that the image claims.
    pub profiles: BTreeSet<Profile>,
    /// What became of each of their requirements.
    pub judgements: BTreeMap<String, Verdict>,
    /// What follows: always that it is conformant.
    pub conclusion: Conclusion,
}

/// The image that a certificate speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertifiedImage {
    /// What it was called.
    pub reference: String,
    /// What it is.
    pub digest: String,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// The suite that gave a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertifyingSuite {
    /// Its version.
    pub version: String,
    /// The digest of its executable.
    pub executable: String,
    /// The digest of the requirements that it judged by.
    pub requirements: String,
}

/// Why there is no certificate for a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificate {
    /// Only a part was asked for.
    #[error("the run was limited by `--only`")]
    Limited,
    /// A claimed profile was not judged.
    #[error("the image also claims {0}, which the run did not judge")]
    NotAllClaims(String),
    /// It claims nothing.
    #[error("the image claims no profile")]
    NoClaims,
    /// There is something to object to.
    #[error("the run was not without fault: {0}")]
    NotConformant(String),
    /// A failure is known.
    #[error("a baseline excuses {0}")]
    Excused(String),
    /// The image has no digest.
    #[error("the engine `{0}` knows no digest of the image")]
    NoDigest(String),
}

impl Certificate {
    /// The certificate of a run, if it deserves one.
    ///
    /// # Errors
    /// It does not.
    pub fn of(report: &Report, suite: CertifyingSuite, issued: String) -> Result<Self, NoCertificate> {
        let with = |verdict: Verdict| report.results.iter().filter(move |row| row.verdict == verdict).map(|row| row.id.as_str());
        if !report.asked.only.is_empty() {
            return Err(NoCertificate::Limited);
        }
        if report.image.claims.is_empty() {
            return Err(NoCertificate::NoClaims);
        }
        let unjudged: Vec<&str> = report.image.claims.difference(&report.asked.profiles).map(|profile| profile.as_str()).collect();
        if !unjudged.is_empty() {
            return Err(NoCertificate::NotAllClaims(unjudged.join(" ")));
        }
        if report.conclusion != Conclusion::Conformant {
            return Err(NoCertificate::NotConformant(report.summary.clone()));
        }
        let excused: Vec<&str> = with(Verdict::KnownFail).collect();
        if !excused.is_empty() {
            return Err(NoCertificate::Excused(excused.join(" ")));
        }
        let digest = report.image.digest.clone().ok_or_else(|| NoCertificate::NoDigest(report.engine.clone()))?;
        // More may have been asked for than the image claims.
        let of_claims = required(&report.image.claims);
        Ok(Self {
            kind: KIND.to_owned(),
            interface: report.interface.clone(),
            image: CertifiedImage { reference: report.image.reference.clone(), digest, agent: report.image.agent.clone() },
            suite,
            engine: report.engine.clone(),
            issued,
            profiles: report.image.claims.clone(),
            judgements: report
                .results
                .iter()
                .filter(|row| of_claims.contains(row.id.as_str()))
                .map(|row| (row.id.clone(), row.verdict))
                .collect(),
            conclusion: report.conclusion,
        })
    }

    /// What does not fit, if anything: the conclusion is derived anew, by the requirements of this suite.
    #[must_use]
    pub fn verify(&self, requirements: &str) -> Vec<String> {
        let mut objections = Vec::new();
        let mut object = |holds: bool, objection: String| {
            if !holds {
                objections.push(objection);
            }
        };
        object(self.kind == KIND, format!("it is a `{}`, not a `{KIND}`", self.kind));
        object(self.interface == INTERFACE, format!("it is about interface {}; this suite judges by {INTERFACE}", self.interface));
        object(
            self.suite.requirements == requirements,
            format!("it was judged by other requirements ({}) than this suite has ({requirements})", self.suite.requirements),
        );
        object(is_digest(&self.image.digest), format!("`{}` is no digest of an image", self.image.digest));
        object(is_digest(&self.suite.executable), format!("`{}` is no digest of an executable", self.suite.executable));
        object(humantime::parse_rfc3339(&self.issued).is_ok(), format!("`{}` is no time", self.issued));
        object(!self.profiles.is_empty(), "it names no profile".to_owned());
        let required = required(&self.profiles);
        let judged: BTreeSet<&str> = self.judgements.keys().map(String::as_str).collect();
        let list = |ids: Vec<&&str>| ids.into_iter().copied().collect::<Vec<_>>().join(" ");
        let (missing, foreign) = (list(required.difference(&judged).collect()), list(judged.difference(&required).collect()));
        object(missing.is_empty(), format!("it does not judge {missing}"));
        object(foreign.is_empty(), format!("it judges {foreign}, which is not of its profiles"));
        for (id, verdict) in &self.judgements {
            let fits = matches!(verdict, Verdict::Pass | Verdict::Warn | Verdict::NotApplicable);
            object(fits, format!("{id} came to {}", verdict.as_str()));
        }
        let judgement = |(id, verdict): (&String, &Verdict)| Judgement {
            id: id.clone(),
            verdict: *verdict,
            expected: None,
            actual: None,
            scenario: None,
            reason: None,
        };
        let judgements: Vec<Judgement> = self.judgements.iter().map(judgement).collect();
        let derived = Conclusion::of(&judgements, false);
        object(
            derived == self.conclusion && derived == Conclusion::Conformant,
            format!("it concludes `{}`; what follows is `{}`", self.conclusion.as_str(), derived.as_str()),
        );
        objections
    }
}

/// What an image that claims these profiles is judged by.
fn required(profiles: &BTreeSet<Profile>) -> BTreeSet<&'static str> {
    let profiles: BTreeSet<Profile> = profiles.iter().flat_map(|profile| profile.with_included()).collect();
    let rows = requirement::all().iter().filter(|row| profiles.contains(&row.profile) && row.verify != Verify::Excluded);
    rows.map(|row| row.id.as_str()).collect()
}

/// Whether it is a SHA-256 digest as OCI writes it.
fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
