//! An image as a root file system on the host: one that lies there, or one that was unpacked from an archive for as long as it is needed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::tree::Tree;
use super::{EngineError, image_config};
use crate::suite::subject::{ImageConfig, Subject};

/// See the [module](self).
#[derive(Debug)]
pub struct Rootfs {
    /// The image.
    pub subject: Subject,
    /// Where its root is.
    pub root: PathBuf,
    /// What is removed last, if it was unpacked.
    unpacked: Option<TempDir>,
}

impl Rootfs {
    /// A directory, with the image's configuration from a file: the one that is named, else `DIRECTORY.config.json`.
    ///
    /// # Errors
    /// They are not there, or cannot be read.
    pub fn open(directory: &Path, config: Option<&Path>) -> Result<Self, EngineError> {
        let reference = format!("rootfs:{}", directory.display());
        let no_image = |why: String| EngineError::NoImage { reference: reference.clone(), why };
        let root = fs::canonicalize(directory).map_err(|error| no_image(error.to_string()))?;
        if !root.is_dir() {
            return Err(no_image("it is not a directory".to_owned()));
        }
        let beside = PathBuf::from(format!("{}.config.json", root.display()));
        let config = read_config(config.unwrap_or(&beside)).map_err(no_image)?;
        let subject = Subject { reference: reference.clone(), config, ..Subject::default() };
        let files = Tree::of_directory(&root).map_err(|error| no_image(error.to_string()))?.facts(&subject);
        Ok(Self { subject: Subject { files: Some(files), ..subject }, root, unpacked: None })
    }

    /// A directory, with what is known of the image.
    #[must_use]
    pub fn known(subject: Subject, root: &Path) -> Self {
        Self { subject, root: root.to_owned(), unpacked: None }
    }

    /// One that was unpacked to `root` in a directory that is removed with it.
    pub(super) fn unpacked(subject: Subject, root: PathBuf, directory: TempDir) -> Self {
        Self { subject, root, unpacked: Some(directory) }
    }

    /// Whether it is gone when nobody needs it.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.unpacked.is_some()
    }
}

/// An image configuration from a file: a whole one, as OCI has it, or only its `config`.
pub(super) fn read_config(path: &Path) -> Result<ImageConfig, String> {
    let read = || -> Result<ImageConfig, Box<dyn std::error::Error>> {
        let whole: Value = serde_json::from_slice(&fs::read(path)?)?;
        Ok(image_config::parse(whole.get("config").unwrap_or(&whole))?)
    };
    read().map_err(|error| format!("its configuration `{}`: {error}", path.display()))
}
