//! One run: the phases in order, and the one report at the end of every path.

pub mod limits;
pub mod place;
pub mod verdict;
