//! Conformance suite: for now, the scripted model server.
