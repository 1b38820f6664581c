//! What users call images, and which engine is taken for them.
//!
//! | reference | image | engines, best first |
//! |---|---|---|
//! | `NAME`, `podman NAME`, `docker NAME` | in an engine's storage | podman, docker |
//! | `oci:DIRECTORY` | an OCI image layout | runc, namespace, static |
//! | `oci-archive:FILE`, `docker-archive:FILE` | what `podman save` and `docker save` write | runc, namespace, static |
//! | `rootfs:DIRECTORY` | a root file system, with `DIRECTORY.config.json` beside it | runc, namespace, static |
//! | `exec:COMMAND ARGUMENT…` | a command on the host | exec |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::docker::{self, Docker};
use super::exec::Exec;
use super::layout::Layout;
use super::namespace::{self, Namespace};
use super::podman::{self, Podman};
use super::rootfs::{self, Rootfs};
use super::runc::{self, Runc};
use super::unstarted::Unstarted;
use super::{Engine, EngineError, Program};
use crate::suite::evidence::Ability;
use crate::suite::subject::ImageConfig;

/// The engines' names, best first.
pub const NAMES: [&str; 6] = ["podman", "docker", "runc", "namespace", "exec", "static"];

/// What the user may say beside the reference.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The engine; absent means the best that works here.
    pub engine: Option<String>,
    /// A file with the image's configuration, for root file systems and commands.
    pub config: Option<PathBuf>,
    /// The suite's program.
    pub program: Program,
}

/// What a user called an image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reference {
    Name(String),
    Oci(PathBuf),
    Archive(PathBuf),
    Rootfs(PathBuf),
    Exec(Vec<String>),
}

/// Opens an image with an engine.
///
/// # Errors
/// No engine that is fit works here, or there is no such image.
pub fn open(reference: &str, choice: &Choice) -> Result<Box<dyn Engine>, EngineError> {
    let (engine, image) = parse(reference, choice.engine.as_deref())?;
    let unfit = |why: &str| EngineError::Unfit {
        engine: engine.unwrap_or_default().to_owned(),
        reference: reference.to_owned(),
        why: why.to_owned(),
    };
    if let Some(engine) = engine.filter(|engine| !NAMES.contains(engine)) {
        return Err(EngineError::Unfit {
            engine: engine.to_owned(),
            reference: reference.to_owned(),
            why: format!("there are {}", NAMES.join(", ")),
        });
    }
    match (image, engine) {
        (Reference::Name(name), Some("podman")) => Ok(Box::new(Podman::new(&name)?)),
        (Reference::Name(name), Some("docker")) => Ok(Box::new(Docker::new(&name)?)),
        (Reference::Name(name), None) => named(&name),
        (Reference::Name(_), Some(_)) => Err(unfit(
            "it takes no image from an engine's storage; `podman save --format oci-archive` and `oci-archive:FILE` bring it there",
        )),
        (Reference::Exec(command), None | Some("exec")) => {
            let config = choice.config.as_deref().map(rootfs::read_config).transpose();
            let config = config.map_err(|why| EngineError::NoImage { reference: reference.to_owned(), why })?.unwrap_or_default();
            Ok(Box::new(Exec::new(command, config, choice.program.clone())?))
        }
        (Reference::Exec(_), Some(_)) => Err(unfit("a command on the host is for the engine `exec`")),
        (image, engine) => files(image, engine, reference, choice).unwrap_or_else(|why| Err(unfit(why))),
    }
}

/// An image in the storage of the first engine that works and has it; many machines have both, and build with one.
fn named(name: &str) -> Result<Box<dyn Engine>, EngineError> {
    let why = match Podman::new(name) {
        Ok(podman) if podman.has_image() => return Ok(Box::new(podman)),
        Ok(podman) => match Docker::new(name) {
            Ok(docker) if docker.has_image() => return Ok(Box::new(docker)),
            _ => return Ok(Box::new(podman)),
        },
        Err(EngineError::Unusable { why, .. }) => why,
        Err(error) => return Err(error),
    };
    match Docker::new(name) {
        Ok(engine) => Ok(Box::new(engine)),
        Err(EngineError::Unusable { why: docker, .. }) => {
            Err(EngineError::Unusable { engine: "podman", why: format!("{why}; nor `docker`: {docker}") })
        }
        Err(error) => Err(error),
    }
}

/// An image that lies there as files. The outer error says why the engine is not for it.
fn files(
    image: Reference,
    engine: Option<&str>,
    reference: &str,
    choice: &Choice,
) -> Result<Result<Box<dyn Engine>, EngineError>, &'static str> {
    let program = || choice.program.clone();
    let engine = match engine {
        Some(engine @ ("runc" | "namespace" | "static")) => engine,
        Some("podman" | "docker") => {
            return Err("it has images in a storage of its own; `podman load` and `docker load` bring an archive there");
        }
        Some(_) => return Err("for files and directories there are runc, namespace and static"),
        None if runc::usable(&program()).is_ok() => "runc",
        None if namespace::usable(&program()).is_ok() => "namespace",
        None => "static",
    };
    let unpack = engine != "static";
    let opened = || -> Result<Box<dyn Engine>, EngineError> {
        let rootfs = match image {
            Reference::Rootfs(directory) => Rootfs::open(&directory, choice.config.as_deref())?,
            Reference::Oci(directory) => match Layout::open(&directory)? {
                layout if unpack => layout.unpack()?,
                layout => return Ok(Box::new(Unstarted::new(layout.subject))),
            },
            Reference::Archive(file) => match Layout::open_archive(&file, reference)? {
                layout if unpack => layout.unpack()?,
                layout => return Ok(Box::new(Unstarted::new(layout.subject))),
            },
            Reference::Name(_) | Reference::Exec(_) => {
                return Err(EngineError::NoImage { reference: reference.to_owned(), why: "it is no file".to_owned() });
            }
        };
        Ok(match engine {
            "runc" => Box::new(Runc::of(rootfs, program())?),
            "namespace" => Box::new(Namespace::of(rootfs, program())?),
            _ => Box::new(Unstarted::new(rootfs.subject)),
        })
    };
    Ok(opened())
}

fn parse<'a>(reference: &'a str, engine: Option<&'a str>) -> Result<(Option<&'a str>, Reference), EngineError> {
    let no_image = |why: &str| EngineError::NoImage { reference: reference.to_owned(), why: why.to_owned() };
    let path =
        |path: &str| if path.is_empty() { Err(no_image("a path is missing after the colon")) } else { Ok(Path::new(path).to_owned()) };
    let image = match reference.split_once(':') {
        Some(("oci", dir)) => Reference::Oci(path(dir)?),
        Some(("oci-archive" | "docker-archive", file)) => Reference::Archive(path(file)?),
        Some(("rootfs", dir)) => Reference::Rootfs(path(dir)?),
        Some(("exec", command)) => Reference::Exec(command.split_whitespace().map(str::to_owned).collect()),
        _ => {
            let (engine, name) = match reference.split_once(' ') {
                Some((engine @ ("podman" | "docker"), name)) => (Some(engine), name.trim()),
                _ => (engine, reference),
            };
            if name.is_empty() || name.starts_with('-') || name.contains(char::is_whitespace) {
                return Err(no_image("this is no name of an image"));
            }
            return Ok((engine, Reference::Name(name.to_owned())));
        }
    };
    Ok((engine, image))
}

/// An engine, as the command `engines` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Whether it can be used here.
    pub usable: bool,
    /// Its version and what is to be known of it; or why it cannot be used.
    pub about: String,
    /// What it can do.
    pub abilities: BTreeSet<Ability>,
}

/// All engines, best first, each asked whether it works here.
#[must_use]
pub fn engines(program: &Program) -> Vec<Known> {
    let known = |name: &'static str| {
        let asked = match name {
            "podman" => podman::usable(),
            "docker" => docker::usable(),
            "runc" => runc::usable(program),
            "namespace" => namespace::usable(program).map(Option::unwrap_or_default),
            "exec" => Ok("commands on the host, not isolated".to_owned()),
            _ => Ok("looks at images and starts none".to_owned()),
        };
        let abilities = match name {
            "exec" => {
                Exec::new(vec![name.to_owned()], ImageConfig::default(), program.clone()).map(|exec| exec.abilities()).unwrap_or_default()
            }
            "static" => Unstarted::new(Default::default()).abilities(),
            _ => Ability::ALL.into(),
        };
        let usable = asked.is_ok();
        let (Ok(about) | Err(about)) = asked;
        Known { name, usable, about, abilities }
    };
    NAMES.into_iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let image = |text: &str| parse(text, None).map(|(engine, image)| (engine.map(str::to_owned), image)).ok();
        assert_eq!(image("localhost/claude:1"), Some((None, Reference::Name("localhost/claude:1".into()))));
        assert_eq!(image("docker claude"), Some((Some("docker".into()), Reference::Name("claude".into()))));
        assert_eq!(image("oci:/a b"), Some((None, Reference::Oci("/a b".into()))));
        assert_eq!(image("docker-archive:x.tar"), Some((None, Reference::Archive("x.tar".into()))));
        assert_eq!(image("rootfs:dir"), Some((None, Reference::Rootfs("dir".into()))));
        assert_eq!(image("exec:agent-runner run"), Some((None, Reference::Exec(vec!["agent-runner".into(), "run".into()]))));
        for wrong in ["", "--privileged", "oci:", "two names"] {
            assert_eq!(image(wrong), None, "{wrong}");
        }
    }
}
