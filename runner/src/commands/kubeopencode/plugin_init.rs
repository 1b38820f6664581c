//! `plugin-init`: installs OpenCode's plugins, which are npm packages, into a volume. npm does it, and must be in the image.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{InitError, Variables, check, open_or_make, wrong};
use crate::files::Kind;

/// npm installs into the nearest directory with such a file: without one here, that would be one above.
const PACKAGE: &str = "package.json";

pub(super) fn run(env: &Variables) -> Result<String, InitError> {
    let mut errors = Vec::new();
    env.require("PLUGIN_PACKAGES", &mut errors);
    let packages: Vec<String> = env.json("PLUGIN_PACKAGES", &mut errors);
    for package in packages.iter().filter(|package| package.is_empty() || package.starts_with('-')) {
        errors.push(wrong("PLUGIN_PACKAGES", format!("`{package}` is no package")));
    }
    check(errors)?;
    if packages.is_empty() {
        return Ok("no plugins to install".to_owned());
    }
    let path = PathBuf::from(env.get_or("PLUGIN_DIR", "/plugins"));
    let directory = open_or_make(&path)?;
    if directory.kind_of(Path::new(PACKAGE))? != Some(Kind::File) {
        directory.write(Path::new(PACKAGE), b"{\"private\":true}\n", 0o664)?;
    }
    let status = Command::new("npm")
        .args(["install", "--omit=dev", "--no-audit", "--no-fund", "--"])
        .args(&packages)
        .current_dir(&path)
        .stdin(Stdio::null())
        .status()
        .map_err(InitError::NoNpm)?;
    match status.code() {
        Some(0) => Ok(format!("{} plugins installed in `{}`", packages.len(), path.display())),
        code => Err(InitError::Npm(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}
