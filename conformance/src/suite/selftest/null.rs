//! The null image: a program that ends well and does nothing. It has to break every requirement that can be seen broken by running an
//! image, and none of that may be anybody else's fault.

use std::collections::BTreeSet;

use super::{Proof, Shown, difference, find, scenarios};
use crate::suite::check::Check;
use crate::suite::checks;
use crate::suite::engine::Engine;
use crate::suite::requirement::{self, Verify};
use crate::suite::scenario::{GatherOptions, gather};
use crate::suite::subject::Subject;

/// Starts it in every scenario.
pub fn judge(engine: &dyn Engine, subject: &Subject, options: &GatherOptions) -> Proof {
    let evidence = gather(engine, subject, &scenarios(), options, &|_| {});
    let is_dynamic = |check: &Check| requirement::find(check.id).is_some_and(|row| row.verify == Verify::Dynamic);
    let found = find(&evidence, is_dynamic);
    let all = checks::all().filter(|check| is_dynamic(check)).map(|check| check.id.to_owned());
    let expected: BTreeSet<String> = all.filter(|id| !found.unseen.contains(id)).collect();
    Proof { name: "null image".to_owned(), shown: difference(&expected, &found).map_or(Shown::Yes, Shown::No) }
}
