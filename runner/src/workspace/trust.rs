//! Trust: what of the repository's own agent configuration counts.
pub(crate) fn undo(_repo: &gix::Repository) -> Result<(), super::WorkspaceError> {
    Ok(())
}
pub(crate) fn exclude(_git_dir: &std::path::Path, _patterns: &[String]) -> Result<(), super::WorkspaceError> {
    Ok(())
}
