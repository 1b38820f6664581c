//! The binary: see the library for how it works.
fn main() {}
