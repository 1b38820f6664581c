//! The image as it lies there, and versions.

use super::{Alteration, message, run, start_agent};
use crate::suite::evidence::{Ended, Evidence};
use crate::suite::subject::{FileFacts, LABEL_PREFIX};

pub(super) const ALTERATIONS: &[Alteration] = &[
    Alteration {
        name: "interface-label",
        about: "no label with versions",
        alter: |evidence| label(evidence, "interface", None),
        kills: &["IMG-001", "IMG-002", "VER-001", "VER-004"],
    },
    Alteration {
        name: "interface-version-form",
        about: "a version `v2` in the label",
        alter: |evidence| label(evidence, "interface", Some("1.0 v2")),
        kills: &["IMG-002"],
    },
    Alteration {
        name: "interface-version-form.zero",
        about: "a version with a leading zero",
        alter: |evidence| label(evidence, "interface", Some("1.0 0.01")),
        kills: &["IMG-002"],
    },
    Alteration {
        name: "profiles-label",
        about: "a profile that nobody knows",
        alter: |evidence| label(evidence, "profiles", Some("core fast")),
        kills: &["IMG-003"],
    },
    Alteration {
        name: "profiles-label.absent",
        about: "no label with profiles",
        alter: |evidence| label(evidence, "profiles", None),
        kills: &["IMG-003"],
    },
    Alteration {
        name: "exec-form-entrypoint",
        about: "a shell as the entry point",
        alter: |evidence| evidence.about.subject.config.entrypoint = vec!["/bin/sh".into(), "-c".into(), "refimpl".into()],
        kills: &["IMG-004"],
    },
    Alteration {
        name: "exec-form-entrypoint.init",
        about: "an init and a shell as the entry point",
        alter: |evidence| evidence.about.subject.config.entrypoint = ["/usr/bin/tini", "-g", "--", "/bin/bash"].map(str::to_owned).into(),
        kills: &["IMG-004"],
    },
    Alteration {
        name: "exec-form-entrypoint.script",
        about: "a script of bash as the entry point",
        alter: |evidence| files(evidence, |files| files.interpreter = Some("/bin/bash".into())),
        kills: &["IMG-004"],
    },
    Alteration {
        name: "exec-form-entrypoint.none",
        about: "no entry point",
        alter: |evidence| evidence.about.subject.config.entrypoint.clear(),
        kills: &["IMG-004"],
    },
    Alteration {
        name: "agent-label",
        about: "no label with the agent's name",
        alter: |evidence| label(evidence, "agent", None),
        kills: &["IMG-005", "IMG-007"],
    },
    Alteration {
        name: "agent-path",
        about: "no file at the agent's path",
        alter: |evidence| files(evidence, |files| files.agent = None),
        kills: &["IMG-006"],
    },
    Alteration {
        name: "agent-path.relative",
        about: "a relative path",
        alter: |evidence| label(evidence, "agent.path", Some("bin/agent")),
        kills: &["IMG-006"],
    },
    Alteration {
        name: "agent-path.mode",
        about: "a file that cannot be executed",
        alter: |evidence| files(evidence, |files| files.agent.iter_mut().for_each(|file| file.mode = 0o644)),
        kills: &["IMG-006"],
    },
    Alteration {
        name: "agent-path.directory",
        about: "something else than a regular file",
        alter: |evidence| files(evidence, |files| files.agent.iter_mut().for_each(|file| file.regular = false)),
        kills: &["IMG-006"],
    },
    Alteration {
        name: "agent-type-variable",
        about: "AGENT_TYPE is another than the label's",
        alter: |evidence| variable(evidence, "AGENT_TYPE=another"),
        kills: &["IMG-007"],
    },
    Alteration {
        name: "stream-label",
        about: "a stream that nobody knows",
        alter: |evidence| label(evidence, "agent.stream", Some("chatter")),
        kills: &["IMG-008", "STR-001"],
    },
    Alteration {
        name: "no-baked-credentials",
        about: "a token in the configuration",
        alter: |evidence| variable(evidence, "FORGE_TOKEN=0123456789"),
        kills: &["IMG-009"],
    },
    Alteration {
        name: "standard-labels",
        about: "no label with licences",
        alter: |evidence| drop(evidence.about.subject.config.labels.remove("org.opencontainers.image.licenses")),
        kills: &["IMG-010"],
    },
    Alteration {
        name: "certificates",
        about: "no bundle of certificates",
        alter: |evidence| files(evidence, |files| files.certificates.clear()),
        kills: &["IMG-011"],
    },
    Alteration {
        name: "no-volumes",
        about: "a volume",
        alter: |evidence| evidence.about.subject.config.volumes.extend(["/workspace".to_owned()]),
        kills: &["IMG-012"],
    },
    Alteration {
        name: "numeric-user",
        about: "a user by name",
        alter: |evidence| evidence.about.subject.config.user = "agent".into(),
        kills: &["IMG-013"],
    },
    Alteration {
        name: "numeric-user.root",
        about: "user 0",
        alter: |evidence| evidence.about.subject.config.user = "0:0".into(),
        kills: &["IMG-013"],
    },
    Alteration {
        name: "numeric-user.none",
        about: "no user",
        alter: |evidence| evidence.about.subject.config.user.clear(),
        kills: &["IMG-013"],
    },
    Alteration {
        name: "no-setuid",
        about: "a file with the set-user-ID bit",
        alter: |evidence| files(evidence, |files| files.set_id.push("/usr/bin/su".into())),
        kills: &["IMG-014"],
    },
    Alteration {
        name: "default-version",
        about: "another version is followed where none is asked for",
        alter: |evidence| message(evidence, "happy", |message| message["interfaceVersion"] = "0.9".into()),
        kills: &["VER-001"],
    },
    Alteration {
        name: "spoken-version",
        about: "a version of the label is refused",
        alter: |evidence| run(evidence, "version-spoken").facts.ended = Ended::Code(76),
        kills: &["VER-002"],
    },
    Alteration {
        name: "unspoken-version-code",
        about: "version 99.0 ends with 65",
        alter: |evidence| run(evidence, "version-unspoken").facts.ended = Ended::Code(65),
        kills: &["VER-003"],
    },
    Alteration {
        name: "unspoken-version-names-both",
        about: "only the version that was asked for is named",
        alter: |evidence| message(evidence, "version-unspoken", |message| message["message"] = "not 99.0".into()),
        kills: &["VER-004"],
    },
    Alteration {
        name: "unspoken-version-no-agent",
        about: "the agent is started for version 99.0",
        alter: |evidence| start_agent(evidence, "version-unspoken"),
        kills: &["VER-005"],
    },
    Alteration {
        name: "message-names-version",
        about: "no version in the message",
        alter: |evidence| message(evidence, "happy", |message| message["interfaceVersion"] = serde_json::Value::Null),
        kills: &["VER-001", "VER-006"],
    },
];

fn label(evidence: &mut Evidence, name: &str, value: Option<&str>) {
    let name = format!("{LABEL_PREFIX}{name}");
    let labels = &mut evidence.about.subject.config.labels;
    match value {
        Some(value) => drop(labels.insert(name, value.to_owned())),
        None => drop(labels.remove(&name)),
    }
}

fn files(evidence: &mut Evidence, change: impl FnOnce(&mut FileFacts)) {
    change(evidence.about.subject.files.get_or_insert_default());
}

/// Sets a variable of the configuration.
fn variable(evidence: &mut Evidence, entry: &str) {
    let name = entry.split('=').next().unwrap_or_default();
    let env = &mut evidence.about.subject.config.env;
    env.retain(|other| other.split('=').next() != Some(name));
    env.push(entry.to_owned());
}
