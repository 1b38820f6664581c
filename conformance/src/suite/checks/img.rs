//! The image as it lies there: labels, configuration, files.

use crate::suite::check::{Check, Finding, Judged, broken};
use crate::suite::evidence::{Ability, Evidence};
use crate::suite::profile::Profile;
use crate::suite::stream::Stream;
use crate::suite::subject::{FileFacts, LABEL_PREFIX, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check { id: "IMG-001", scenarios: &[], judge: interface_label },
    Check { id: "IMG-002", scenarios: &[], judge: version_form },
    Check { id: "IMG-003", scenarios: &[], judge: profiles_label },
    Check { id: "IMG-004", scenarios: &[], judge: entry_point },
    Check { id: "IMG-005", scenarios: &[], judge: agent_label },
    Check { id: "IMG-006", scenarios: &[], judge: agent_path },
    Check { id: "IMG-007", scenarios: &[], judge: agent_type },
    Check { id: "IMG-008", scenarios: &[], judge: stream_label },
    Check { id: "IMG-009", scenarios: &[], judge: no_credentials },
    Check { id: "IMG-010", scenarios: &[], judge: standard_labels },
    Check { id: "IMG-011", scenarios: &[], judge: certificates },
    Check { id: "IMG-012", scenarios: &[], judge: no_volumes },
    Check { id: "IMG-013", scenarios: &[], judge: numeric_user },
    Check { id: "IMG-014", scenarios: &[], judge: no_set_id },
];

/// Shells, by their file names.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "busybox"];
/// What names of variables with credentials end in.
const CREDENTIAL_ENDINGS: [&str; 4] = ["_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD"];

fn config(evidence: &Evidence) -> Result<&Subject, Finding> {
    if evidence.about.abilities.contains(&Ability::Configuration) {
        Ok(&evidence.about.subject)
    } else {
        Err(unseen(evidence, Ability::Configuration))
    }
}

fn files(evidence: &Evidence) -> Result<&FileFacts, Finding> {
    evidence.about.subject.files.as_ref().ok_or_else(|| unseen(evidence, Ability::Files))
}

fn unseen(evidence: &Evidence, ability: Ability) -> Finding {
    Finding::NotObservable(format!("the engine `{}` cannot {}", evidence.about.engine, ability.about()))
}

fn label<'a>(subject: &'a Subject, name: &str, meaning: &str) -> Result<&'a str, Finding> {
    subject.label(name).ok_or_else(|| broken(format!("the label `{LABEL_PREFIX}{name}` with {meaning}"), "no such label, or an empty one"))
}

fn interface_label(evidence: &Evidence) -> Judged {
    label(config(evidence)?, "interface", "the interface versions").map(drop)
}

fn version_form(evidence: &Evidence) -> Judged {
    let subject = config(evidence)?;
    label(subject, "interface", "the interface versions")?;
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
    let is_version = |word: &str| word.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor));
    match subject.words("interface").find(|word| !is_version(word)) {
        None => Ok(()),
        Some(word) => Err(broken("versions as `1.0`", format!("`{word}`"))),
    }
}

fn profiles_label(evidence: &Evidence) -> Judged {
    let subject = config(evidence)?;
    label(subject, "profiles", "the profiles that it claims")?;
    match subject.words("profiles").find(|word| word.parse::<Profile>().is_err()) {
        None => Ok(()),
        Some(word) => Err(broken(format!("names of profiles: {}", Profile::ALL.map(Profile::as_str).join(", ")), format!("`{word}`"))),
    }
}

fn entry_point(evidence: &Evidence) -> Judged {
    let subject = config(evidence)?;
    let words = &subject.config.entrypoint;
    let Some(program) = subject.program() else { return Err(broken("an entry point", "none; the image has at most a default command")) };
    let is_shell = |path: &str| SHELLS.contains(&path.rsplit('/').next().unwrap_or(path));
    let wanted = "an entry point that is the runner itself";
    if is_shell(program) {
        return Err(broken(wanted, format!("{words:?}, a shell")));
    }
    match subject.files.as_ref().and_then(|files| files.interpreter.as_deref()) {
        Some(interpreter) if is_shell(interpreter) => Err(broken(wanted, format!("{words:?}: `{program}` is a script of `{interpreter}`"))),
        _ => Ok(()),
    }
}

fn agent_label(evidence: &Evidence) -> Judged {
    label(config(evidence)?, "agent", "the agent's name").map(drop)
}

fn agent_path(evidence: &Evidence) -> Judged {
    let path = label(config(evidence)?, "agent.path", "the path of the agent's program")?;
    if !path.starts_with('/') {
        return Err(broken("an absolute path", format!("`{path}`")));
    }
    match &files(evidence)?.agent {
        None => Err(broken(format!("a file at `{path}`"), "there is none")),
        Some(file) if !file.regular => Err(broken(format!("a regular file at `{path}`"), format!("`{}` is none", file.path))),
        Some(file) if file.mode & 0o111 == 0 => {
            Err(broken("a file that may be executed", format!("`{}` with mode {:o}", file.path, file.mode)))
        }
        Some(_) => Ok(()),
    }
}

fn agent_type(evidence: &Evidence) -> Judged {
    let subject = config(evidence)?;
    let agent = label(subject, "agent", "the agent's name")?;
    match subject.variable("AGENT_TYPE") {
        Some(kind) if kind == agent => Ok(()),
        Some(kind) => Err(broken(format!("AGENT_TYPE={agent}"), format!("AGENT_TYPE={kind}"))),
        None => Err(broken(format!("AGENT_TYPE={agent}"), "AGENT_TYPE is not set")),
    }
}

fn stream_label(evidence: &Evidence) -> Judged {
    let stream = label(config(evidence)?, "agent.stream", "what the agent's stdout is")?;
    Stream::of(stream).map(drop).ok_or_else(|| broken("a stream that the specification names", format!("`{stream}`")))
}

fn no_credentials(evidence: &Evidence) -> Judged {
    let names = config(evidence)?.config.env.iter().filter_map(|entry| entry.split_once('=')).filter(|(_, value)| !value.is_empty());
    let given: Vec<_> = names.map(|(name, _)| name).filter(|name| CREDENTIAL_ENDINGS.iter().any(|end| name.ends_with(end))).collect();
    if given.is_empty() {
        Ok(())
    } else {
        Err(broken("no value for a variable of a credential", format!("values for {}", given.join(", "))))
    }
}

fn standard_labels(evidence: &Evidence) -> Judged {
    let labels = &config(evidence)?.config.labels;
    let wanted = ["version", "source", "licenses"].map(|name| format!("org.opencontainers.image.{name}"));
    let missing: Vec<_> = wanted.into_iter().filter(|name| labels.get(name).is_none_or(String::is_empty)).collect();
    if missing.is_empty() { Ok(()) } else { Err(broken("the standard labels", format!("without {}", missing.join(", ")))) }
}

fn certificates(evidence: &Evidence) -> Judged {
    if files(evidence)?.certificates.is_empty() { Err(broken("a bundle of CA certificates", "none at the usual paths")) } else { Ok(()) }
}

fn no_volumes(evidence: &Evidence) -> Judged {
    let volumes: Vec<_> = config(evidence)?.config.volumes.iter().map(String::as_str).collect();
    if volumes.is_empty() { Ok(()) } else { Err(broken("no volumes", volumes.join(", "))) }
}

fn numeric_user(evidence: &Evidence) -> Judged {
    let user = &config(evidence)?.config.user;
    let number = user.split(':').next().unwrap_or_default().parse::<u32>();
    match number {
        Ok(1..) => Ok(()),
        Ok(0) => Err(broken("a user other than root", format!("`{user}`"))),
        Err(_) if user.is_empty() => Err(broken("a user by number", "none, so it is root")),
        Err(_) => Err(broken("a user by number", format!("`{user}`"))),
    }
}

fn no_set_id(evidence: &Evidence) -> Judged {
    let found = &files(evidence)?.set_id;
    let some = found.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    if found.is_empty() { Ok(()) } else { Err(broken("no such files", format!("{}: {some}", found.len()))) }
}
