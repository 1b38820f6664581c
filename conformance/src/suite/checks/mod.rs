//! All checks, a file per area of the specification. Each reads like its sentence.

use super::check::Check;

/// All checks, in the order of the specification.
pub fn all() -> impl Iterator<Item = &'static Check> {
    AREAS.iter().copied().flatten()
}

/// The check of a requirement.
#[must_use]
pub fn of(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}

/// The areas.
const AREAS: &[&[Check]] = &[];
