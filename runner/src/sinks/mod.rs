//! Sinks: the places where the outcome is written, a file each.
