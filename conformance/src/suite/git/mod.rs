//! The suite's git server: one small repository, served over HTTP on loopback to whatever the image clones with.
//!
//! | file | subject |
//! |---|---|
//! | [`object`] | blobs, trees and commits, as loose objects and as a pack |
//! | [`repository`] | the repository that every scenario serves |
//! | [`upload_pack`] | what `git-upload-pack` answers, in protocol versions 0 and 2 |
//! | [`server`] | sockets, credentials, and what is written down |

pub mod object;
pub mod repository;
pub mod server;
pub mod upload_pack;

pub use repository::Repository;
pub use server::{Conduct, GitServer};
