//! All checks, a file per area of the specification. Each reads like its sentence.
//!
//! What an image must *not* do is also not done by one that does nothing; so such a check asks first whether the image did its task where
//! nothing stood against it (`read::control`), and says "not testable" if it did not.

mod agent;
mod cfg;
mod env;
mod img;
mod out;
mod read;
mod run;
mod schema;
mod sec;
mod str;
mod term;
mod ver;
mod ws;

pub use read::{Block, last_block};

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

/// The areas; what needs a model stands last.
const AREAS: &[&[Check]] = &[
    img::CHECKS,
    ver::CHECKS,
    env::CHECKS,
    ws::CHECKS,
    cfg::CHECKS,
    run::CHECKS,
    str::CHECKS,
    term::CHECKS,
    out::CHECKS,
    sec::CHECKS,
    agent::CHECKS,
];
