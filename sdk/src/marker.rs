//! Marker blocks.
