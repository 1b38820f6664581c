//! Configure: plans become files, in one safe place.
