//! What the suite's agent looks at: how it was started, where its prompt is, what lies around.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{PROMPT, SCRIPTS};
use crate::suite::evidence::{AgentEvent, HeadFact, PromptWay};
use crate::suite::git::object::Object;

/// The longest text of an argument or a variable that is written down.
const TEXT_LIMIT: usize = 4096;
/// The longest stdin and the longest file that is looked through.
const SEARCH_LIMIT: u64 = 8 << 20;
/// The most files that are listed or looked through.
const FILE_LIMIT: usize = 20_000;
/// Where no image's files are; a home may be the root.
const KERNEL_S_OWN: [&str; 3] = ["/dev", "/proc", "/sys"];
/// The most files that are named in a list.
const LIST_LIMIT: usize = 100;

/// SIGPIPE in the kernel's mask.
const PIPE_BIT: u64 = 1 << (nix::libc::SIGPIPE - 1);
/// Whether SIGPIPE was ignored when this program was started. Rust's own start ignores it, so that has to be seen before.
static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

// SAFETY: the C library calls what stands in this section once, before `main`, with nothing else running.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_at_pipe;

extern "C" fn look_at_pipe() {
    // SAFETY: a zeroed `sigaction` is a place to write to, and a null pointer asks only.
    let ignored = unsafe {
        let mut action: nix::libc::sigaction = std::mem::zeroed();
        nix::libc::sigaction(nix::libc::SIGPIPE, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == nix::libc::SIG_IGN
    };
    PIPE_WAS_IGNORED.store(ignored, Ordering::Relaxed);
}

/// How this process was started.
pub(super) fn started() -> AgentEvent {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        let field = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        field.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    };
    AgentEvent::Started {
        args: std::env::args_os().map(|arg| short(arg.as_bytes())).collect(),
        env: std::env::vars_os().map(|(name, value)| (short(name.as_bytes()), short(value.as_bytes()))).collect(),
        cwd: std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        blocked: mask("SigBlk"),
        ignored: mask("SigIgn") & !(if PIPE_WAS_IGNORED.load(Ordering::Relaxed) { 0 } else { PIPE_BIT }),
    }
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_LIMIT)]).into_owned()
}

/// Reads stdin to its end, and looks for the prompt in all that this process was given.
pub(super) fn prompt(stage: &Path) -> AgentEvent {
    let mut stdin = Vec::new();
    // Stdin may be closed, or a terminal that is gone: then it has no bytes.
    let _ = std::io::stdin().lock().read_to_end(&mut stdin);
    let wanted = fs::read(stage.join(PROMPT)).unwrap_or_default();
    let holds = |bytes: &[u8]| !wanted.is_empty() && contains(bytes, &wanted);
    let args: Vec<Vec<u8>> = std::env::args_os().skip(1).map(|arg| arg.as_bytes().to_owned()).collect();
    let way = if holds(&stdin) {
        Some(PromptWay::Stdin)
    } else if args.iter().any(|arg| holds(arg)) {
        Some(PromptWay::Argument)
    } else if args.iter().any(|arg| named_file(arg).is_some_and(|bytes| holds(&bytes))) {
        Some(PromptWay::File)
    } else {
        let others = std::env::vars_os().filter(|(name, _)| name != "AGENT_PROMPT");
        others.into_iter().any(|(_, value)| holds(value.as_bytes())).then_some(PromptWay::Variable)
    };
    AgentEvent::StdinEnded { bytes: stdin.len() as u64, prompt: way }
}

/// The content of the file that an argument names, also as `--option=FILE` or `@FILE`.
fn named_file(arg: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(arg).ok()?;
    let path = text.rsplit_once('=').map_or(text, |(_, path)| path).trim_start_matches('@');
    read_regular(Path::new(path))
}

fn read_regular(path: &Path) -> Option<Vec<u8>> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > SEARCH_LIMIT {
        return None;
    }
    let mut bytes = Vec::new();
    // Files of the kernel's say that they are empty, and may have no end.
    fs::File::open(path).ok()?.take(SEARCH_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// HEAD of the working directory, and its files.
pub(super) fn head() -> HeadFact {
    head_of(Path::new("."))
}

/// HEAD of a directory, as far as plain files say it, and its files.
pub fn head_of(dir: &Path) -> HeadFact {
    let git = dir.join(".git");
    let text = fs::read_to_string(git.join("HEAD")).unwrap_or_default();
    let reference = text.trim().strip_prefix("ref: ").map(str::to_owned);
    let commit = match &reference {
        Some(name) => resolve(&git, name),
        None => Some(text.trim().to_owned()).filter(|id| !id.is_empty()),
    };
    let branch = reference.map(|name| name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned());
    let id = |path: &Path| read_regular(path).map(|content| Object::blob(&content).id()).unwrap_or_default();
    let mut paths = walk(dir, &|path| path.file_name().is_some_and(|name| name == ".git"));
    paths.sort();
    paths.truncate(LIST_LIMIT);
    let files = paths.iter().filter_map(|path| Some((path.strip_prefix(dir).ok()?.display().to_string(), id(path)))).collect();
    HeadFact { branch, commit, files }
}

fn resolve(git: &Path, name: &str) -> Option<String> {
    if let Ok(id) = fs::read_to_string(git.join(name)) {
        return Some(id.trim().to_owned());
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix(' ').map(str::to_owned))
}

/// Files below HOME and the temporary directories that hold a canary, stages aside: path and permission bits.
pub(super) fn secret_files(stage: &Path, canaries: &[String]) -> BTreeMap<String, u32> {
    let roots = ["HOME", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from).chain([PathBuf::from("/tmp")]);
    let mut found = BTreeMap::new();
    for path in roots.flat_map(|root| {
        walk(&root, &|path| path == stage || path.join(SCRIPTS).exists() || KERNEL_S_OWN.iter().any(|own| path == Path::new(own)))
    }) {
        let Some(bytes) = read_regular(&path) else { continue };
        if canaries.iter().any(|canary| contains(&bytes, canary.as_bytes())) {
            let mode = fs::metadata(&path).map_or(0, |meta| meta.mode() & 0o7777);
            found.insert(path.display().to_string(), mode);
        }
    }
    found
}

/// The regular files below a directory, links not followed, but for what is left out.
fn walk(root: &Path, left_out: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !left_out(&path) => dirs.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
            if files.len() >= FILE_LIMIT {
                return files;
            }
        }
    }
    files
}

/// Whether bytes hold others.
pub fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

/// How many zombies are children of PID 1.
pub(super) fn zombies_of_init() -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_zombie = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        (fields.next()? == "Z" && fields.next()? == "1").then_some(())
    };
    processes.filter_map(is_zombie).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_kernels_is_not_read_for_ever() {
        // It says that it is empty, and has 8 bytes for each page of the address space.
        assert!(read_regular(Path::new("/proc/self/pagemap")).is_none_or(|bytes| bytes.len() as u64 <= SEARCH_LIMIT));
    }
}
