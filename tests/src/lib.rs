//! Fixtures shared by the whole-project tests.
