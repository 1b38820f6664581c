//! The repository that every scenario serves: a default branch of two commits, a branch with other content, one that nobody asks for, and a
//! commit that nobody has yet.

use std::collections::BTreeMap;

use base64::Engine as _;

use super::object::{Object, pack};

/// The default branch.
pub const DEFAULT_BRANCH: &str = "main";
/// The branch that tasks start from.
pub const REF: &str = "release";
/// A branch that no task names.
pub const UNWANTED: &str = "unwanted";
/// A file that only [`REF`] has.
pub const REF_FILE: &str = "release.txt";
/// What the repository's own instruction files say.
pub const INSTRUCTIONS: &str = "Sentinel of the repository's own instructions: heron-4177.";
/// The instruction files of the agents that are known.
const INSTRUCTION_FILES: [&str; 3] = ["AGENTS.md", "CLAUDE.md", "GEMINI.md"];

/// A repository.
#[derive(Debug)]
pub struct Repository {
    files: Vec<Object>,
    /// The files of [`REF`].
    of_ref: Vec<(&'static str, Object)>,
    /// Root, its tree; tips and their trees.
    root: (Object, Object),
    tips: Vec<(&'static str, Object, Object)>,
    /// What the agent commits: blob, tree, commit.
    work: (Object, Object, Object),
}

impl Default for Repository {
    fn default() -> Self {
        let readme = Object::blob(b"# A repository of the conformance suite\n");
        let instructions = Object::blob(format!("{INSTRUCTIONS}\n").as_bytes());
        let release = Object::blob(b"only here\n");
        let unwanted = Object::blob(b"nobody asked for this\n");
        let done = Object::blob(b"done\n");
        let mut entries = vec![("README.md", &readme)];
        let root_tree = Object::tree(&entries);
        let root = Object::commit(&root_tree, None, "a beginning");
        entries.extend(INSTRUCTION_FILES.map(|name| (name, &instructions)));
        let tip = |extra: &[(&str, &Object)], message| {
            let tree = Object::tree(&[entries.as_slice(), extra].concat());
            let commit = Object::commit(&tree, Some(&root), message);
            (commit, tree)
        };
        let (main, main_tree) = tip(&[], "instructions");
        let (reference, reference_tree) = tip(&[(REF_FILE, &release)], "a release");
        let (other, other_tree) = tip(&[("unwanted.txt", &unwanted)], "something else");
        let work_tree = Object::tree(&[entries.as_slice(), &[(REF_FILE, &release), ("done.txt", &done)]].concat());
        let work = Object::commit(&work_tree, Some(&reference), "the work is done");
        let of_ref = entries.iter().chain(&[(REF_FILE, &release)]).map(|(name, object)| (*name, (*object).clone())).collect();
        let tips = vec![(DEFAULT_BRANCH, main, main_tree), (REF, reference, reference_tree), (UNWANTED, other, other_tree)];
        Self { files: vec![readme, instructions, release, unwanted], of_ref, root: (root, root_tree), tips, work: (done, work_tree, work) }
    }
}

impl Repository {
    /// The branches and their commits, the default one first.
    #[must_use]
    pub fn branches(&self) -> Vec<(&'static str, String)> {
        self.tips.iter().map(|(name, commit, _)| (*name, commit.id())).collect()
    }

    /// The commit of a branch.
    #[must_use]
    pub fn tip(&self, branch: &str) -> String {
        self.tips.iter().find(|(name, ..)| *name == branch).map(|(_, commit, _)| commit.id()).unwrap_or_default()
    }

    /// The files of [`REF`], each with the id of its content.
    #[must_use]
    pub fn files_of_ref(&self) -> BTreeMap<String, String> {
        self.of_ref.iter().map(|(name, content)| ((*name).to_owned(), content.id())).collect()
    }

    /// The commit that the agent makes on [`REF`].
    #[must_use]
    pub fn work(&self) -> String {
        self.work.2.id()
    }

    /// Its objects as loose ones, for a script: id, and what stands in the file, in base 64.
    #[must_use]
    pub fn work_objects(&self) -> Vec<(String, String)> {
        let (blob, tree, commit) = &self.work;
        let encode = |object: &Object| (object.id(), base64::engine::general_purpose::STANDARD.encode(object.loose()));
        [blob, tree, commit].map(encode).into()
    }

    /// A pack of what these commits hold, and the commits at which it is cut where only their tips are wanted.
    #[must_use]
    pub fn pack(&self, wants: &[String], only_tips: bool) -> (Vec<u8>, Vec<String>) {
        let wanted: Vec<_> = self.tips.iter().filter(|(_, commit, _)| wants.contains(&commit.id())).collect();
        let mut objects: Vec<&Object> = wanted.iter().flat_map(|(_, commit, tree)| [commit, tree]).collect();
        objects.extend(&self.files);
        let mut cut = Vec::new();
        if only_tips {
            cut.extend(wanted.iter().map(|(_, commit, _)| commit.id()));
        } else {
            objects.extend([&self.root.0, &self.root.1]);
        }
        (pack(&objects), cut)
    }
}
