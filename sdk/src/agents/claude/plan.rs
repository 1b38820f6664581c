//! How Claude Code is configured and started.
use crate::agent::{Plan, PlanError, PlanRequest, RepositoryPath};
pub(super) const SECRET_VARIABLES: &[&str] = &[];
pub(super) const REPOSITORY_CONFIG: &[RepositoryPath] = &[];
pub(super) fn plan(_: &PlanRequest<'_>) -> Result<Plan, Vec<PlanError>> {
    Ok(Plan::default())
}
