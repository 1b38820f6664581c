//! The Agent Image Interface as types.
