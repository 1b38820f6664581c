//! Objects of a git repository, as loose objects and as a pack
//! (<https://git-scm.com/docs/gitformat-pack>, <https://git-scm.com/book/en/v2/Git-Internals-Git-Objects>).

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A commit.
    Commit,
    /// A directory.
    Tree,
    /// A file.
    Blob,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub content: Vec<u8>,
}

impl Object {
    /// A file.
    #[must_use]
    pub fn blob(content: &[u8]) -> Self {
        Self { kind: Kind::Blob, content: content.to_owned() }
    }

    /// A directory of files; they are put in git's order.
    #[must_use]
    pub fn tree(files: &[(&str, &Object)]) -> Self {
        let mut files = files.to_vec();
        files.sort_by_key(|(name, _)| *name);
        let mut content = Vec::new();
        for (name, object) in files {
            content.extend_from_slice(format!("100644 {name}\0").as_bytes());
            content.extend_from_slice(&object.digest());
        }
        Self { kind: Kind::Tree, content }
    }

    /// A commit.
    #[must_use]
    pub fn commit(tree: &Object, parent: Option<&Object>, message: &str) -> Self {
        let parent = parent.map(|parent| format!("parent {}\n", parent.id())).unwrap_or_default();
        let who = "Conformance <conformance@localhost> 1767225600 +0000";
        let content = format!("tree {}\n{parent}author {who}\ncommitter {who}\n\n{message}\n", tree.id()).into_bytes();
        Self { kind: Kind::Commit, content }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.digest().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What stands in its file as a loose object.
    #[must_use]
    pub fn loose(&self) -> Vec<u8> {
        compressed(&self.whole())
    }

    fn digest(&self) -> [u8; 20] {
        Sha1::digest(self.whole()).into()
    }

    fn whole(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
        };
        let mut whole = format!("{kind} {}\0", self.content.len()).into_bytes();
        whole.extend_from_slice(&self.content);
        whole
    }
}

/// A pack of these objects, without deltas.
#[must_use]
pub fn pack(objects: &[&Object]) -> Vec<u8> {
    let count = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    let mut pack = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &count.to_be_bytes()].concat();
    for object in objects {
        let kind: u8 = match object.kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
        };
        // The size: four bits beside the kind, then seven a byte, lowest first.
        let mut size = object.content.len();
        let mut byte = (kind << 4) | u8::try_from(size & 0xf).unwrap_or_default();
        size >>= 4;
        while size > 0 {
            pack.push(byte | 0x80);
            byte = u8::try_from(size & 0x7f).unwrap_or_default();
            size >>= 7;
        }
        pack.push(byte);
        pack.extend_from_slice(&compressed(&object.content));
    }
    let digest: [u8; 20] = Sha1::digest(&pack).into();
    pack.extend_from_slice(&digest);
    pack
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a vector does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that `git hash-object` gives.
    #[test]
    fn ids_are_gits() {
        assert_eq!(Object::blob(b"hello\n").id(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(Object::tree(&[]).id(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }
}
