//! `url-fetch`: puts what is behind a URL into a file, whole or not at all.
//!
//! Credentials and headers go to the URL's own place only, also where it redirects, and stand in no message.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;

use super::{InitError, Variables, check, open_parent, wrong};
use crate::dialects::kubeopencode::CA_FILE;
use crate::workspace::web::{self, Get};

/// Which permissions the file gets.
const FILE: u32 = 0o664;

pub(super) fn run(env: &Variables) -> Result<String, InitError> {
    let mut errors = Vec::new();
    let url = env.require("URL_SOURCE", &mut errors);
    let target = env.require("URL_TARGET", &mut errors);
    let mut headers: BTreeMap<String, String> = env.json("URL_HEADERS", &mut errors);
    let timeout = env.get_or("URL_TIMEOUT", "30").parse().map(Duration::from_secs).unwrap_or_else(|_| {
        errors.push(wrong("URL_TIMEOUT", "expected a number of seconds"));
        Duration::ZERO
    });
    if !url.is_empty() && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        errors.push(wrong("URL_SOURCE", "expected a URL that begins with http:// or https://"));
    }
    check(errors)?;
    if let Some(value) = authorization(env) {
        headers.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        headers.insert("Authorization".to_owned(), value);
    }
    let insecure = env.is_true("URL_INSECURE");
    if insecure {
        tracing::warn!("URL_INSECURE: the server's certificate is not checked");
    }
    let get = Get { url: &url, headers: &headers, timeout, ca_bundle_file: env.get(CA_FILE).map(PathBuf::from), insecure };
    let shown = web::shown(&url);
    let answer = web::get(&get, &env.0)?;
    let mut body = match answer.body {
        Some(body) => body,
        None => return Err(InitError::Answered { url: shown, status: answer.status }),
    };
    let (directory, name) = open_parent(env.workspace(), &PathBuf::from(&target))?;
    let written = directory.write_from(&name, &mut body, FILE);
    if let Some(failure) = body.failure() {
        return Err(failure.into());
    }
    written?;
    Ok(format!("`{shown}` is in `{target}`"))
}

/// A token goes before user and password, and these before a header of the same kind.
fn authorization(env: &Variables) -> Option<String> {
    if let Some(token) = env.get("URL_AUTH_TOKEN") {
        return Some(format!("Bearer {}", token.trim()));
    }
    let (user, password) = (env.get("URL_AUTH_USERNAME")?, env.get("URL_AUTH_PASSWORD")?);
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))))
}
