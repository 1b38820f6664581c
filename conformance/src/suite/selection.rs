//! Selection: which requirements a run judges, by the profiles that the image claims or that were asked for, and by `--only`.
//!
//! What is selected and not claimed is not tested, and said so; what no check can test is named with its reason.

use std::collections::BTreeSet;

use super::check::Check;
use super::checks;
use super::evidence::Evidence;
use super::profile::Profile;
use super::requirement::{self, Requirement, Verify};
use super::verdict::{Baseline, Judgement, Verdict, judge};

/// No requirement has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no requirement, slug or area `{name}`")]
pub struct UnknownRequirement {
    /// What was asked for.
    pub name: String,
    /// Names that look like it, the nearest first.
    pub near: Vec<String>,
}

/// Which requirements are wanted, as a command line says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Profiles to judge instead of the claimed ones; none means those that the image claims.
    pub profiles: BTreeSet<Profile>,
    /// Ids, slugs and areas, as they were given; none means all.
    pub only: Vec<String>,
    /// The ids that `only` comes to.
    ids: BTreeSet<&'static str>,
}

impl Wanted {
    /// Looks the names up.
    ///
    /// # Errors
    /// A name that is neither id nor slug nor area.
    pub fn new(profiles: impl IntoIterator<Item = Profile>, only: Vec<String>) -> Result<Self, UnknownRequirement> {
        let mut ids = BTreeSet::new();
        for name in &only {
            ids.extend(rows_named(name)?.into_iter().map(|row| row.id.as_str()));
        }
        Ok(Self { profiles: profiles.into_iter().collect(), only, ids })
    }

    /// What follows for an image that claims these profiles.
    #[must_use]
    pub fn of(&self, claimed: &BTreeSet<Profile>) -> Selection {
        let mut notes = Vec::new();
        let mut roots = if self.profiles.is_empty() { claimed.clone() } else { self.profiles.clone() };
        if roots.is_empty() {
            roots.insert(Profile::Image);
            notes.push("the image claims no profile, so `image` alone was judged; `--profile core` judges more".to_owned());
        }
        let profiles: BTreeSet<Profile> = roots.iter().flat_map(|profile| profile.with_included()).collect();
        let mut selection = Selection { profiles, notes, ..Selection::default() };
        for row in requirement::all() {
            let named = self.ids.contains(row.id.as_str());
            match (selection.profiles.contains(&row.profile), self.only.is_empty() || named) {
                (true, true) if row.verify == Verify::Excluded => selection.excluded.push(row),
                (true, true) => selection.tested.push(row),
                (false, true) if named => selection.unclaimed.push(row),
                _ => {}
            }
        }
        selection
    }
}

/// The rows with this id, slug or area, in any case of letters.
///
/// # Errors
/// There is none.
pub fn rows_named(name: &str) -> Result<Vec<&'static Requirement>, UnknownRequirement> {
    if let Some(row) = requirement::find(name) {
        return Ok(vec![row]);
    }
    let rows: Vec<_> = requirement::all().iter().filter(|row| row.area().eq_ignore_ascii_case(name)).collect();
    if rows.is_empty() { Err(UnknownRequirement { name: name.to_owned(), near: near(name) }) } else { Ok(rows) }
}

/// At most three names that look like this one.
fn near(name: &str) -> Vec<String> {
    let wanted = name.to_ascii_lowercase();
    let names = requirement::all().iter().flat_map(|row| [row.id.as_str(), row.slug.as_str(), row.area()]).collect::<BTreeSet<_>>();
    let mut scored: Vec<(f64, &str)> =
        names.into_iter().map(|known| (strsim::jaro_winkler(&wanted, &known.to_ascii_lowercase()), known)).collect();
    scored.retain(|(score, _)| *score > 0.75);
    scored.sort_by(|left, right| right.0.total_cmp(&left.0));
    scored.into_iter().take(3).map(|(_, known)| known.to_owned()).collect()
}

/// The requirements of a run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The profiles that are judged, with those that they include.
    pub profiles: BTreeSet<Profile>,
    /// Rows that are tested.
    pub tested: Vec<&'static Requirement>,
    /// Rows that were asked for by name and belong to a profile that is not judged.
    pub unclaimed: Vec<&'static Requirement>,
    /// Rows that no check can test.
    pub excluded: Vec<&'static Requirement>,
    /// What a reader of the report should know about the choice.
    pub notes: Vec<String>,
}

impl Selection {
    /// The scenarios whose evidence the checks read.
    #[must_use]
    pub fn scenarios(&self) -> BTreeSet<&'static str> {
        self.checks().flat_map(|(_, check)| check.scenarios).copied().collect()
    }

    /// The tested rows that have a check.
    fn checks(&self) -> impl Iterator<Item = (&'static Requirement, &'static Check)> {
        self.tested.iter().filter_map(|row| Some((*row, checks::of(&row.id)?)))
    }

    /// Judges evidence, in the order of the specification.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence, baseline: &Baseline) -> Vec<Judgement> {
        let pairs: Vec<_> = self.checks().collect();
        let mut judgements = judge(evidence, &pairs, baseline);
        for row in &self.tested {
            if checks::of(&row.id).is_none() {
                judgements.push(untested(row, Verdict::Error, "this suite has no check of it".to_owned()));
            }
        }
        for row in &self.unclaimed {
            let why = format!("the image does not claim the profile `{0}`; `--profile {0}` judges it all the same", row.profile);
            judgements.push(untested(row, Verdict::NotApplicable, why));
        }
        let place = |judgement: &Judgement| requirement::all().iter().position(|row| row.id == judgement.id);
        judgements.sort_by_key(place);
        judgements
    }
}

fn untested(row: &Requirement, verdict: Verdict, why: String) -> Judgement {
    Judgement { id: row.id.clone(), verdict, expected: None, actual: Some(why), scenario: None, reason: None }
}
