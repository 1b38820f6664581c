//! Configure: plans become files, in one safe place.
use agent_sdk::agent::{FileWrite, Plugin};
use std::path::Path;
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError { #[error("x")] X }
impl ConfigureError { pub fn hint(&self) -> &'static str { "" } }
pub struct Report { pub warnings: Vec<String> }
pub fn read_plugins(_d: &Path) -> Result<Vec<Plugin>, ConfigureError> { Ok(vec![]) }
pub fn apply(files: &[FileWrite], _no: &Path) -> Result<Report, ConfigureError> {
    for f in files { if let agent_sdk::agent::FileContent::Replace(b) = &f.content { let _ = std::fs::create_dir_all(f.path.parent().unwrap()); std::fs::write(&f.path, b).map_err(|_| ConfigureError::X)?; } }
    Ok(Report { warnings: vec![] })
}
