//! Images as files: an OCI image layout (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>), the same as an archive,
//! and what `docker save` writes. They are read; nothing is started. Blobs are what their digest says, or nothing is believed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::rootfs::Rootfs;
use super::tree::Tree;
use super::{EngineError, archive, image_config, inside, unpack};
use crate::suite::subject::Subject;

/// Manifests and configurations are some kilobytes.
const DOCUMENT: u64 = 8 << 20;
/// An index may name another; none was seen that names a third.
const INDEXES: usize = 4;

/// An image as files.
#[derive(Debug)]
pub struct Layout {
    /// The image.
    pub subject: Subject,
    layers: Vec<Blob>,
    /// What is removed last, if it was an archive.
    _unpacked: Option<TempDir>,
}

/// A file, and the digest that it must have.
#[derive(Debug)]
struct Blob {
    path: PathBuf,
    digest: Option<String>,
}

impl Layout {
    /// An OCI image layout, as a directory.
    ///
    /// # Errors
    /// It is not there, or not what it should be.
    pub fn open(directory: &Path) -> Result<Self, EngineError> {
        let reference = format!("oci:{}", directory.display());
        oci(directory, reference.clone(), None).map_err(|error| no_image(&reference, &error))
    }

    /// An archive of an OCI image layout, or what `docker save` writes; compressed or not.
    ///
    /// # Errors
    /// It is not there, or not what it should be.
    pub fn open_archive(file: &Path, reference: &str) -> Result<Self, EngineError> {
        let open = || -> io::Result<Self> {
            let place = tempfile::Builder::new().prefix("agent-conformance-").tempdir()?;
            let root = place.path().to_owned();
            unpack::unpack(archive::decompress(File::open(file)?)?, &root, &mut unpack::LIMIT.clone())?;
            // `docker save` writes both since version 25
            if root.join("index.json").is_file() {
                oci(&root, reference.to_owned(), Some(place))
            } else {
                docker(&root, reference.to_owned(), place)
            }
        };
        open().map_err(|error| no_image(reference, &error))
    }

    /// Unpacks it, for engines that start root file systems.
    ///
    /// # Errors
    /// A layer that cannot be unpacked.
    pub fn unpack(self) -> Result<Rootfs, EngineError> {
        let reference = self.subject.reference.clone();
        let unpacked = || -> io::Result<(TempDir, PathBuf)> {
            let place = tempfile::Builder::new().prefix("agent-conformance-").tempdir()?;
            let root = place.path().join("root");
            fs::create_dir(&root)?;
            let mut left = unpack::LIMIT;
            for layer in &self.layers {
                layer.read(|contents| unpack::unpack(contents, &root, &mut left))?;
            }
            Ok((place, root))
        };
        let (place, root) = unpacked().map_err(|error| no_image(&reference, &error))?;
        Ok(Rootfs::unpacked(self.subject, root, place))
    }
}

fn no_image(reference: &str, error: &io::Error) -> EngineError {
    EngineError::NoImage { reference: reference.to_owned(), why: error.to_string() }
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn oci(directory: &Path, reference: String, unpacked: Option<TempDir>) -> io::Result<Layout> {
    let index = document(&directory.join("index.json"), None)?;
    let (manifest, digest) = manifest(directory, &index, INDEXES)?;
    let config_digest = string(&manifest["config"], "digest")?;
    let config = document(&blob(directory, config_digest)?, Some(config_digest))?;
    let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let layers = layers.iter().map(|layer| {
        let digest = string(layer, "digest")?;
        Ok(Blob { path: blob(directory, digest)?, digest: Some(digest.to_owned()) })
    });
    layout(reference, Some(digest), &config, layers.collect::<io::Result<_>>()?, unpacked)
}

/// The manifest for this machine, and its digest.
fn manifest(directory: &Path, index: &Value, depth: usize) -> io::Result<(Value, String)> {
    let entries = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |entry: &&Value| entry["platform"]["os"] == "linux" && entry["platform"]["architecture"] == architecture;
    let chosen = match entries {
        [] => return Err(malformed("its index names no image")),
        [one] => one,
        several => {
            several.iter().find(fits).ok_or_else(|| malformed(format!("its index names several images, none for linux/{architecture}")))?
        }
    };
    let digest = string(chosen, "digest")?;
    let found = document(&blob(directory, digest)?, Some(digest))?;
    match (found.get("manifests"), depth) {
        (Some(_), 0) => Err(malformed("its indexes name one another")),
        (Some(_), _) => manifest(directory, &found, depth - 1),
        (None, _) => Ok((found, digest.to_owned())),
    }
}

fn docker(directory: &Path, reference: String, unpacked: TempDir) -> io::Result<Layout> {
    let manifests =
        document(&directory.join("manifest.json"), None).map_err(|_| malformed("it has neither `index.json` nor `manifest.json`"))?;
    let [manifest] = manifests.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(malformed("it does not hold exactly one image"));
    };
    let config = inside::resolve(directory, Path::new(string(manifest, "Config")?))?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(bounded(&config)?)));
    let layers = manifest["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    // a layer may be a link to another image's
    let layers = layers.iter().map(|layer| {
        let path = layer.as_str().ok_or_else(|| malformed("a layer has no name"))?;
        Ok(Blob { path: inside::resolve(directory, Path::new(path))?, digest: None })
    });
    layout(reference, Some(digest), &document(&config, None)?, layers.collect::<io::Result<_>>()?, Some(unpacked))
}

fn layout(reference: String, digest: Option<String>, config: &Value, layers: Vec<Blob>, unpacked: Option<TempDir>) -> io::Result<Layout> {
    let config = image_config::parse(&config["config"])?;
    let subject = Subject { reference, digest, config, files: None };
    let mut tree = Tree::default();
    for layer in &layers {
        layer.read(|contents| tree.add_layer(contents))?;
    }
    let files = Some(tree.facts(&subject));
    Ok(Layout { subject: Subject { files, ..subject }, layers, _unpacked: unpacked })
}

impl Blob {
    /// Has its contents read, and holds them against the digest.
    fn read(&self, each: impl FnOnce(&mut dyn Read) -> io::Result<()>) -> io::Result<()> {
        let mut hashed = Hashed { from: File::open(&self.path)?, hash: Sha256::new() };
        each(&mut archive::decompress(&mut hashed)?)?;
        // what follows the archive's end is part of the blob, too
        io::copy(&mut hashed, &mut io::sink())?;
        let digest = format!("sha256:{}", hex(&hashed.hash.finalize()));
        match &self.digest {
            Some(wanted) if *wanted != digest => Err(malformed(format!("a layer should be {wanted} and is {digest}"))),
            _ => Ok(()),
        }
    }
}

struct Hashed {
    from: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

/// Where a blob is; the digest is from a stranger.
fn blob(directory: &Path, digest: &str) -> io::Result<PathBuf> {
    match digest.split_once(':') {
        Some(("sha256", hex)) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            inside::resolve(directory, &Path::new("blobs/sha256").join(hex))
        }
        _ => Err(malformed(format!("`{digest}` is no sha256 digest"))),
    }
}

fn document(path: &Path, digest: Option<&str>) -> io::Result<Value> {
    let bytes = bounded(path)?;
    let is = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
    match digest {
        Some(wanted) if wanted != is => Err(malformed(format!("`{}` should be {wanted} and is {is}", path.display()))),
        _ => Ok(serde_json::from_slice(&bytes)?),
    }
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(DOCUMENT).read_to_end(&mut bytes)).map_err(named)?;
    Ok(bytes)
}

fn string<'a>(value: &'a Value, name: &str) -> io::Result<&'a str> {
    value[name].as_str().ok_or_else(|| malformed(format!("its manifest has no `{name}`")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
