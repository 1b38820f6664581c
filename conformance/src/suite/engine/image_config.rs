//! The configuration of an image, as engines and layouts have it: JSON in which what is not set may be absent, `null` or empty.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::suite::subject::ImageConfig;

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Raw {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    volumes: Value,
}

/// The configuration, from the object that holds `Entrypoint` and its neighbours.
pub(super) fn parse(value: &Value) -> Result<ImageConfig, serde_json::Error> {
    let raw: Option<Raw> = serde_json::from_value(value.clone())?;
    let raw = raw.unwrap_or_default();
    // an object with empty objects; as evidence is kept, a list
    let volumes: BTreeSet<String> = match raw.volumes {
        Value::Object(volumes) => volumes.into_iter().map(|(path, _)| path).collect(),
        Value::Null => BTreeSet::new(),
        other => serde_json::from_value(other)?,
    };
    Ok(ImageConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        labels: raw.labels.unwrap_or_default(),
        volumes,
    })
}
