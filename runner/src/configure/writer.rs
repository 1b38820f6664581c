//! The one place that writes files for an agent.
//!
//! All of it is checked before any of it is written: an error leaves everything as it was. A file is written only if its bytes
//! or permissions are to be others, so that a second run changes nothing.

use std::path::{Path, PathBuf};

use agent_sdk::agent::{FileContent, FileWrite};
use serde_json::{Map, Value};

use super::error::ConfigureError;
use super::merge::{self, Format, Merged};
use super::section;
use super::tree::{Sources, Tree};
use crate::files::{Directory, FileError, Identity, identity_of};

/// Files that fields are merged into are read up to this size: Claude's own, with years of history in it, has some MiB.
const MERGE_LIMIT: u64 = 64 << 20;
/// Permissions of files and directories that may hold secrets.
const PRIVATE: (u32, u32) = (0o600, 0o700);
/// Permissions of others.
const PUBLIC: (u32, u32) = (0o644, 0o755);

/// Where may be written.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Directories that the runner chose, HOME and its private directory: links on the way to them are followed, below them none
    /// is. For a path below none of them no link is followed at all.
    pub trusted: &'a [&'a Path],
    /// The repository's tree, into which nothing is written.
    pub forbidden: Option<&'a Path>,
    /// The plugin directory, by its real path: what is copied from there may be links that stay within it.
    pub plugins: Option<&'a Path>,
}

/// What was written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Files that are new or changed.
    pub written: Vec<PathBuf>,
    /// Files that were as they should be.
    pub unchanged: Vec<PathBuf>,
    /// Files that were removed.
    pub removed: Vec<PathBuf>,
    /// What was left out.
    pub warnings: Vec<String>,
}

/// One thing to do, checked.
struct Step {
    root: Directory,
    /// The directory of the file, below the root.
    below: PathBuf,
    name: PathBuf,
    modes: (u32, u32),
    action: Action,
}

enum Action {
    Write(Vec<u8>),
    Merge(Merged),
    Remove,
    Install(Tree),
    Nothing,
}

/// Writes files.
///
/// # Errors
/// The first thing that is wrong. If it was found by the checks, nothing was written.
pub fn apply(files: &[FileWrite], places: Places<'_>) -> Result<Report, ConfigureError> {
    let forbidden =
        places.forbidden.map(|path| identity_of(path).map_err(|source| FileError::Io { doing: "look at", path: path.to_owned(), source }));
    let forbidden = forbidden.transpose()?;
    let mut report = Report::default();
    let steps = files.iter().map(|file| check(file, places, forbidden, &mut report)).collect::<Result<Vec<_>, _>>()?;
    for step in steps {
        write(step, &mut report)?;
    }
    Ok(report)
}

/// Finds out whether a file can be written, and what its bytes will be.
fn check(file: &FileWrite, places: Places<'_>, forbidden: Option<Identity>, report: &mut Report) -> Result<Step, ConfigureError> {
    let bad_path = || ConfigureError::BadPath { path: file.path.clone() };
    let inside = || ConfigureError::InsideRepository { path: file.path.clone() };
    let below_trusted = |trusted: &&Path| file.path.strip_prefix(trusted).is_ok_and(|rest| !rest.as_os_str().is_empty());
    // The longest, since one may lie within another.
    let root =
        places.trusted.iter().copied().filter(below_trusted).max_by_key(|trusted| trusted.as_os_str().len()).unwrap_or(Path::new("/"));
    let rest = file.path.strip_prefix(root).map_err(|_| bad_path())?;
    let (below, name) = (rest.parent().ok_or_else(bad_path)?, Path::new(rest.file_name().ok_or_else(bad_path)?));
    let root = Directory::open(root)?;

    // Every directory that is there already, from the top: a component may be the repository's tree itself.
    if let Some(forbidden) = forbidden
        && root.is_within(forbidden)?
    {
        return Err(inside());
    }
    let mut at = Some(root.descend(Path::new(""))?);
    for component in below.components() {
        let Some(here) = at else { break };
        at = match here.descend(Path::new(component.as_os_str())) {
            Ok(next) if Some(next.identity()?) == forbidden => return Err(inside()),
            Ok(next) => Some(next),
            // It and what is below it will be made.
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error.into()),
        };
    }

    let action = match &file.content {
        FileContent::Replace(bytes) => {
            at.as_ref().map(|dir| dir.expect_file_or_nothing(name)).transpose()?;
            Action::Write(bytes.clone())
        }
        FileContent::MergeJson(fields) => merged(Format::Json, file, at.as_ref(), name, fields)?,
        FileContent::MergeToml(fields) => merged(Format::Toml, file, at.as_ref(), name, fields)?,
        FileContent::Section(text) => {
            let old = at.as_ref().map(|dir| dir.read(name, MERGE_LIMIT)).transpose()?.flatten();
            let is_there = old.is_some();
            let old = old.map(|(bytes, _)| String::from_utf8(bytes)).transpose();
            let old = old.map_err(|error| ConfigureError::NotText { path: file.path.clone(), problem: error.utf8_error().to_string() })?;
            match section::put(old.as_deref(), text) {
                Some(text) => Action::Write(text.into_bytes()),
                None if is_there => Action::Remove,
                None => Action::Nothing,
            }
        }
        FileContent::Absent => {
            at.as_ref().map(|dir| dir.expect_file_or_nothing(name)).transpose()?;
            Action::Remove
        }
        FileContent::Install(wanted) => {
            let tree = Tree::gather(wanted, Sources { repository: places.forbidden, plugins: places.plugins })?;
            let left_out =
                |path: &PathBuf| format!("`{}` was not copied: it is no regular file, or a link out of its place", path.display());
            report.warnings.extend(tree.left_out.iter().map(left_out));
            match &at {
                Some(dir) => tree.check(dir, name)?,
                None if tree.is_empty() => {
                    return Ok(Step { root, below: below.to_owned(), name: name.to_owned(), modes: PUBLIC, action: Action::Nothing });
                }
                None => {}
            }
            Action::Install(tree)
        }
    };
    Ok(Step { root, below: below.to_owned(), name: name.to_owned(), modes: if file.private { PRIVATE } else { PUBLIC }, action })
}

/// What a file will be with these fields in it.
fn merged(
    format: Format,
    file: &FileWrite,
    at: Option<&Directory>,
    name: &Path,
    fields: &Map<String, Value>,
) -> Result<Action, ConfigureError> {
    let read = |name: &Path| Ok::<_, FileError>(at.map(|dir| dir.read(name, MERGE_LIMIT)).transpose()?.flatten().map(|(bytes, _)| bytes));
    let (old, earlier) = (read(name)?, read(&merge::list_name(name))?.unwrap_or_default());
    let merged = merge::merge(format, &file.path, old.as_deref(), &earlier, fields)?;
    Ok(merged.map_or(Action::Nothing, Action::Merge))
}

fn write(step: Step, report: &mut Report) -> Result<(), ConfigureError> {
    let (file_mode, directory_mode) = step.modes;
    if let Action::Nothing = step.action {
        return Ok(());
    }
    if let Action::Remove = step.action {
        let directory = match step.root.descend(&step.below) {
            Err(error) if error.is_missing() => return Ok(()),
            other => other?,
        };
        if directory.remove(&step.name)? {
            report.removed.push(directory.path().join(&step.name));
        }
        return Ok(());
    }
    let directory = step.root.descend_or_make(&step.below, directory_mode)?;
    match step.action {
        Action::Write(bytes) => put(&directory, &step.name, &bytes, file_mode, report)?,
        Action::Merge(merged) => {
            put(&directory, &step.name, &merged.document, file_mode, report)?;
            // Last: a run that broke off leaves the list of what it may have undone already, which does no harm.
            let list = merge::list_name(&step.name);
            if merged.list.is_empty() {
                directory.remove(&list)?;
            } else {
                // The list is no news.
                put(&directory, &list, &merged.list, file_mode, &mut Report::default())?;
            }
        }
        Action::Install(tree) => tree.install(&directory, &step.name, step.modes, report)?,
        Action::Remove | Action::Nothing => {}
    }
    Ok(())
}

/// Writes a file unless it is there already, bytes and permissions.
pub(super) fn put(directory: &Directory, name: &Path, bytes: &[u8], mode: u32, report: &mut Report) -> Result<(), FileError> {
    let path = directory.path().join(name);
    let same = match directory.read(name, bytes.len() as u64) {
        Ok(old) => old.is_some_and(|(old, old_mode)| old == bytes && old_mode == mode),
        Err(FileError::TooLarge { .. }) => false,
        // What we may replace we need not be allowed to read.
        Err(FileError::Io { .. }) => false,
        Err(error) => return Err(error),
    };
    if same {
        report.unchanged.push(path);
    } else {
        directory.write(name, bytes, mode)?;
        report.written.push(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use agent_sdk::agent::Installed;
    use serde_json::json;

    use super::super::tree;
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["home", "repo"] {
                std::fs::create_dir(dir.path().join(name)).unwrap();
            }
            Self { dir }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn apply(&self, files: &[FileWrite]) -> Result<Report, ConfigureError> {
            let (home, repo) = (self.path("home"), self.path("repo"));
            let plugins = self.path("plugins");
            apply(files, Places { trusted: &[&home], forbidden: Some(&repo), plugins: Some(&plugins) })
        }

        fn file(&self, path: &str, content: FileContent, private: bool) -> FileWrite {
            FileWrite { path: self.path(path), content, private }
        }

        fn replace(&self, path: &str, text: &str) -> FileWrite {
            self.file(path, FileContent::Replace(text.into()), false)
        }
    }

    fn install(source: PathBuf) -> FileContent {
        FileContent::Install([(PathBuf::new(), Installed::Tree(source))].into())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn writes_what_is_asked_and_nothing_the_second_time() {
        let place = Place::new();
        let files = [
            place.replace("home/.claude/rules/agent-runner.md", "be kind"),
            place.file("home/.private/mcp.json", FileContent::Replace(b"{}".to_vec()), true),
            place.file("home/gone", FileContent::Absent, false),
        ];
        let first = place.apply(&files).unwrap();
        assert_eq!(first.written.len(), 2);
        assert_eq!(std::fs::read_to_string(&files[0].path).unwrap(), "be kind");
        assert_eq!((mode(&files[0].path), mode(files[0].path.parent().unwrap())), (0o644, 0o755));
        assert_eq!((mode(&files[1].path), mode(files[1].path.parent().unwrap())), (0o600, 0o700));
        let second = place.apply(&files).unwrap();
        assert_eq!((second.written, second.unchanged), (vec![], first.written));
    }

    #[test]
    fn permissions_that_are_too_open_are_put_right() {
        let place = Place::new();
        std::fs::write(place.path("home/secret"), "s").unwrap();
        std::fs::set_permissions(place.path("home/secret"), PermissionsExt::from_mode(0o644)).unwrap();
        let file = place.file("home/secret", FileContent::Replace(b"s".to_vec()), true);
        assert_eq!(place.apply(&[file]).unwrap().written, [place.path("home/secret")]);
        assert_eq!(mode(&place.path("home/secret")), 0o600);
    }

    #[test]
    fn a_link_in_the_way_stops_everything_before_anything_is_written() {
        for link in ["home/.claude", "home/.claude/rules", "home/.claude/rules/agent-runner.md"] {
            let place = Place::new();
            std::fs::create_dir_all(place.path(link).parent().unwrap()).unwrap();
            symlink(place.path("repo"), place.path(link)).unwrap();
            let files = [place.replace("home/first", "x"), place.replace("home/.claude/rules/agent-runner.md", "x")];
            let error = place.apply(&files).unwrap_err();
            assert!(matches!(error, ConfigureError::File(FileError::Link { .. })), "{link}: {error}");
            assert!(error.to_string().contains(link) && !error.hint().is_empty());
            assert!(!place.path("home/first").exists(), "{link}");
            assert_eq!(std::fs::read_dir(place.path("repo")).unwrap().count(), 0, "{link}");
        }
    }

    #[test]
    fn nothing_goes_into_the_repository_by_any_name() {
        let place = Place::new();
        std::fs::create_dir(place.path("repo/sub")).unwrap();
        symlink(place.path("repo/sub"), place.path("alias")).unwrap();
        let repo = place.path("repo");
        for (root, path) in [("repo", "repo/f"), ("repo/sub", "repo/sub/f"), ("alias", "alias/f"), ("", "repo/f"), ("", "repo/new/f")] {
            let root = place.path(root);
            let file = place.replace(path, "x");
            let error = apply(&[file], Places { trusted: &[&root], forbidden: Some(&repo), plugins: None }).unwrap_err();
            assert!(matches!(error, ConfigureError::InsideRepository { .. }), "{path}: {error}");
        }
        assert_eq!(std::fs::read_dir(&repo).unwrap().count(), 1);
    }

    #[test]
    fn a_path_below_no_trusted_directory_may_have_no_link_at_all() {
        let place = Place::new();
        symlink(place.path("home"), place.path("alias")).unwrap();
        let real = std::fs::canonicalize(place.path("home")).unwrap().join("f");
        let write = |path: PathBuf| {
            let files = [FileWrite { path, content: FileContent::Replace(vec![]), private: false }];
            apply(&files, Places { trusted: &[], forbidden: None, plugins: None })
        };
        assert!(write(real).is_ok());
        assert!(matches!(write(place.path("alias/f")), Err(ConfigureError::File(FileError::Link { .. }))));
        assert!(matches!(write("relative".into()), Err(ConfigureError::BadPath { .. })));
        assert!(matches!(write("/tmp/../etc/x".into()), Err(ConfigureError::File(FileError::Outside { .. }))));
    }

    #[test]
    fn merging_keeps_what_it_does_not_know() {
        let place = Place::new();
        std::fs::write(place.path("home/s.json"), r#"{"keep":[1],"env":{"A":"1","B":"2"},"n":null}"#).unwrap();
        let Value::Object(fields) = json!({"env":{"B":"3","C":{"d":1}},"n":{"x":1}}) else { unreachable!() };
        let file = place.file("home/s.json", FileContent::MergeJson(fields), false);
        place.apply(std::slice::from_ref(&file)).unwrap();
        let bytes = std::fs::read(place.path("home/s.json")).unwrap();
        let merged: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(merged, json!({"keep":[1],"env":{"A":"1","B":"3","C":{"d":1}},"n":{"x":1}}));
        assert_eq!(place.apply(&[file]).unwrap().unchanged.len(), 1);
        assert_eq!(std::fs::read(place.path("home/s.json")).unwrap(), bytes);
    }

    #[test]
    fn a_file_that_is_no_object_is_an_error_and_stays() {
        for text in ["{", "[1]", "7"] {
            let place = Place::new();
            std::fs::write(place.path("home/s.json"), text).unwrap();
            let error = place.apply(&[place.file("home/s.json", FileContent::MergeJson(Map::new()), false)]).unwrap_err();
            assert!(matches!(error, ConfigureError::NotAnObject { .. }), "{text}");
            assert_eq!(std::fs::read_to_string(place.path("home/s.json")).unwrap(), text);
        }
    }

    #[test]
    fn an_absent_file_is_removed_and_nothing_else_is() {
        let place = Place::new();
        std::fs::write(place.path("home/old"), "x").unwrap();
        std::fs::write(place.path("home/other"), "x").unwrap();
        let absent = [place.file("home/old", FileContent::Absent, false), place.file("home/no/such", FileContent::Absent, false)];
        assert_eq!(place.apply(&absent).unwrap().removed, [place.path("home/old")]);
        assert!(place.path("home/other").exists() && !place.path("home/no").exists());
    }

    #[test]
    fn a_copied_tree_follows_its_source_and_leaves_the_users_files_alone() {
        let place = Place::new();
        let source = place.path("repo/.claude/skills");
        std::fs::create_dir_all(source.join("one/scripts")).unwrap();
        std::fs::write(source.join("one/SKILL.md"), "one").unwrap();
        std::fs::write(source.join("one/scripts/run"), "#!").unwrap();
        std::fs::set_permissions(source.join("one/scripts/run"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("/etc", source.join("etc")).unwrap();
        let file = place.file("home/plugin/skills", install(source.clone()), false);
        let report = place.apply(std::slice::from_ref(&file)).unwrap();
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
        assert!(!place.path("home/plugin/skills/etc").exists());
        assert_eq!(mode(&place.path("home/plugin/skills/one/scripts/run")), 0o755);
        assert_eq!(place.apply(std::slice::from_ref(&file)).unwrap().written, Vec::<PathBuf>::new());

        std::fs::write(place.path("home/plugin/skills/one/mine"), "the user's").unwrap();
        std::fs::remove_dir_all(source.join("one")).unwrap();
        std::fs::create_dir(source.join("two")).unwrap();
        std::fs::write(source.join("two/SKILL.md"), "two").unwrap();
        let report = place.apply(&[file]).unwrap();
        assert_eq!(report.removed.len(), 2, "{:?}", report.removed);
        assert!(!place.path("home/plugin/skills/one/SKILL.md").exists() && !place.path("home/plugin/skills/one/scripts").exists());
        assert_eq!(std::fs::read_to_string(place.path("home/plugin/skills/one/mine")).unwrap(), "the user's");
        assert_eq!(std::fs::read_to_string(place.path("home/plugin/skills/two/SKILL.md")).unwrap(), "two");
    }

    #[test]
    fn the_source_of_a_copy_may_be_no_link_within_the_repository() {
        let place = Place::new();
        std::fs::create_dir_all(place.path("secret/skills")).unwrap();
        std::fs::write(place.path("secret/skills/key"), "k").unwrap();
        symlink(place.path("secret"), place.path("repo/.claude")).unwrap();
        let file = place.file("home/skills", install(place.path("repo/.claude/skills")), false);
        assert!(matches!(place.apply(&[file]), Err(ConfigureError::File(FileError::Link { .. }))));
        assert!(!place.path("home/skills").exists());
    }

    #[test]
    fn a_mounted_plugins_links_are_followed_within_the_plugin_directory_only() {
        let place = Place::new();
        let skill = place.path("plugins/kit/skills/review");
        std::fs::create_dir_all(skill.join("..2026_01/scripts")).unwrap();
        std::fs::write(skill.join("..2026_01/SKILL.md"), "one").unwrap();
        std::fs::write(skill.join("..2026_01/scripts/run"), "#!").unwrap();
        std::fs::write(place.path("plugins/kit/shared"), "shared").unwrap();
        for (target, link) in [
            ("..2026_01", "..data"),
            ("..data/SKILL.md", "SKILL.md"),
            ("..data/scripts", "scripts"),
            ("../../shared", "shared"),
            ("/etc/passwd", "out"),
            ("..", "round"),
            ("nowhere", "nowhere"),
        ] {
            symlink(target, skill.join(link)).unwrap();
        }
        let report = place.apply(&[place.file("home/skills/kit:review", install(skill.clone()), false)]).unwrap();
        let copied = |name: &str| std::fs::read_to_string(place.path("home/skills/kit:review").join(name)).unwrap();
        assert_eq!([copied("SKILL.md"), copied("scripts/run"), copied("shared")], ["one", "#!", "shared"]);
        assert_eq!(std::fs::read_dir(place.path("home/skills/kit:review")).unwrap().count(), 3, "{:?}", report.written);
        assert_eq!(report.warnings.len(), 3, "{:?}", report.warnings);
    }

    #[test]
    fn a_list_that_was_tampered_with_removes_nothing_outside() {
        let place = Place::new();
        std::fs::create_dir_all(place.path("repo/s")).unwrap();
        std::fs::write(place.path("home/precious"), "x").unwrap();
        std::fs::write(place.path(&format!("home/{}", tree::list_name(Path::new("skills")).display())), "../precious\n/etc/passwd\n")
            .unwrap();
        let file = place.file("home/skills", install(place.path("repo/s")), false);
        place.apply(&[file]).unwrap();
        assert!(place.path("home/precious").exists());
    }

    #[test]
    fn what_is_installed_no_more_goes_and_its_neighbours_stay() {
        let place = Place::new();
        std::fs::create_dir_all(place.path("plugins/a/skills/one")).unwrap();
        std::fs::write(place.path("plugins/a/skills/one/SKILL.md"), "one").unwrap();
        std::fs::create_dir_all(place.path("home/skills/mine")).unwrap();
        let wanted = [
            (PathBuf::from("a:one"), Installed::Tree(place.path("plugins/a/skills/one"))),
            (PathBuf::from("b.toml"), Installed::File(b"b".to_vec())),
        ];
        let all = place.file("home/skills", FileContent::Install(wanted.clone().into()), false);
        assert_eq!(place.apply(std::slice::from_ref(&all)).unwrap().written.len(), 2);
        assert_eq!(place.apply(&[all]).unwrap().unchanged.len(), 2);
        let fewer = place.file("home/skills", FileContent::Install(wanted[1..].iter().cloned().collect()), false);
        assert_eq!(place.apply(&[fewer]).unwrap().removed, [place.path("home/skills/a:one/SKILL.md")]);
        assert!(!place.path("home/skills/a:one").exists() && place.path("home/skills/b.toml").exists());
        let none = place.file("home/skills", FileContent::Install([].into()), false);
        assert_eq!(place.apply(std::slice::from_ref(&none)).unwrap().removed, [place.path("home/skills/b.toml")]);
        assert_eq!(place.apply(&[none]).unwrap(), Report::default());
        let left: Vec<_> = std::fs::read_dir(place.path("home/skills")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((left, std::fs::read_dir(place.path("home")).unwrap().count()), (vec!["mine".into()], 1));
    }

    #[test]
    fn a_section_leaves_the_users_text_and_goes_without_a_trace() {
        let place = Place::new();
        std::fs::write(place.path("home/A.md"), "mine\n").unwrap();
        let section = |name: &str, text: &str| place.file(name, FileContent::Section(text.to_owned()), false);
        place.apply(&[section("home/A.md", "ours"), section("home/B.md", "ours")]).unwrap();
        assert!(std::fs::read_to_string(place.path("home/A.md")).unwrap().contains("ours"));
        assert_eq!(place.apply(&[section("home/A.md", "ours"), section("home/B.md", "ours")]).unwrap().written, Vec::<PathBuf>::new());
        place.apply(&[section("home/A.md", ""), section("home/B.md", ""), section("home/none/C.md", "")]).unwrap();
        assert_eq!(std::fs::read_to_string(place.path("home/A.md")).unwrap(), "mine\n");
        assert!(!place.path("home/B.md").exists() && !place.path("home/none").exists());
        std::fs::write(place.path("home/A.md"), [0xff]).unwrap();
        assert!(matches!(place.apply(&[section("home/A.md", "ours")]), Err(ConfigureError::NotText { .. })));
    }

    #[test]
    fn the_list_of_what_was_merged_is_as_private_as_the_file() {
        let place = Place::new();
        let Value::Object(fields) = json!({"servers": {"a": {"key": "k"}}}) else { unreachable!() };
        place.apply(&[place.file("home/c.toml", FileContent::MergeToml(fields), true)]).unwrap();
        assert_eq!((mode(&place.path("home/c.toml")), mode(&place.path("home/.c.toml.agent-runner-merged"))), (0o600, 0o600));
        place.apply(&[place.file("home/c.toml", FileContent::MergeToml(Map::new()), true)]).unwrap();
        assert_eq!(std::fs::read_to_string(place.path("home/c.toml")).unwrap(), "");
        assert!(!place.path("home/.c.toml.agent-runner-merged").exists());
    }
}
