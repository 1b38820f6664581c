//! What `check`, `verify` and `badge` have in common: which suite this is, and a certificate from a file.

use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::error::CommandError;
use super::output;
use crate::suite::certificate::{Certificate, CertifyingSuite};
use crate::suite::report::Report;
use crate::suite::report::text::tame;
use crate::suite::requirement;

/// The certificate of a run to a file, if there is one; if not, stderr says why.
pub fn certify(report: &Report, path: &Path) -> Result<(), CommandError> {
    let issued = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    match Certificate::of(report, this_suite()?, issued) {
        Ok(certificate) => {
            let failed =
                |error: serde_json::Error| CommandError::File { what: "write", path: path.to_owned(), source: error.into(), given: false };
            let text = serde_json::to_string_pretty(&certificate).map_err(failed)?;
            output::write_file(path, &(text + "\n"))
        }
        Err(why) => {
            output::tell(&format!("no certificate: {why}"));
            Ok(())
        }
    }
}

/// This suite, as a certificate names it.
pub fn this_suite() -> Result<CertifyingSuite, CommandError> {
    let failed = |source| CommandError::File { what: "read", path: "/proc/self/exe".into(), source, given: false };
    let executable = std::fs::read("/proc/self/exe").map_err(failed)?;
    Ok(CertifyingSuite { version: env!("CARGO_PKG_VERSION").to_owned(), executable: digest(&executable), requirements: requirements() })
}

/// The digest of the requirements that this suite judges by.
pub fn requirements() -> String {
    digest(requirement::SOURCE.as_bytes())
}

/// What was read of a file that should be a certificate, and what does not fit of it.
pub fn read(path: &Path) -> Result<(Option<Certificate>, Vec<String>), CommandError> {
    let text = output::read_given(path)?;
    Ok(match serde_json::from_str::<Certificate>(&text) {
        Ok(certificate) => {
            let objections = certificate.verify(&requirements()).iter().map(|objection| tame(objection)).collect();
            (Some(certificate), objections)
        }
        Err(error) => (None, vec![tame(&format!("it is no certificate: {error}"))]),
    })
}

fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}
