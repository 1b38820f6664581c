//! Workspace: a repository at a ref, on its working branch, in a directory.
