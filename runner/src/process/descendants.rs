//! Who descends from a process, as `/proc` says; one look, which may be out of date when it returns.
//!
//! Leaves to its callers (`tree`, `init::sweep`) what to do about it and how often to look again. Processes that entered a
//! container from outside (`kubectl exec`) have parent 0, descend from nobody here, and are never found.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    str::FromStr,
};

use nix::unistd::Pid;

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent's id.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// One letter, as `ps` shows it: R, S, D, T, Z …
    pub state: u8,
}

impl Process {
    /// Dead, and only waiting for its parent to take note of it.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Stopped by a signal; it will not act on a TERM until it is continued.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Everything alive that descends from `root`, except `spared`, whose children count all the same.
///
/// # Errors
/// `/proc` is not there, or not that of our PID namespace.
pub fn descendants(root: Pid, spared: Pid) -> io::Result<Vec<Process>> {
    match by_children_files(root, spared) {
        // the file needs CONFIG_PROC_CHILDREN
        Err(error) if error.kind() == io::ErrorKind::NotFound => by_whole_table(root, spared),
        found => found,
    }
}

/// Follows `/proc/PID/task/TID/children`: touches only our own tree, however many processes the machine has.
fn by_children_files(root: Pid, spared: Pid) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    // without the root's own file nothing is known, so that error counts; a process below that has gone meanwhile does not
    fs::metadata(format!("/proc/{root}/task/{root}/children"))?;
    while let Some(parent) = open.pop() {
        // a child hangs on the thread that forked it, so every thread is asked
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let Ok(children) = fs::read_to_string(thread.path().join("children")) else {
                continue;
            };
            for child in children.split_ascii_whitespace().filter_map(parse_pid) {
                if !seen.insert(child) {
                    continue;
                }
                open.push(child);
                if child != spared
                    && let Some(process) = read_process(child)
                    && !process.is_dead()
                {
                    found.push(process);
                }
            }
        }
    }
    Ok(found)
}

/// Reads the whole table and follows the parents.
fn by_whole_table(root: Pid, spared: Pid) -> io::Result<Vec<Process>> {
    let mut table = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(parse_pid)
            && let Some(process) = read_process(pid)
        {
            table.insert(pid, process);
        }
    }
    if !table.contains_key(&root) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "`/proc` does not show our processes"));
    }
    // a parent that died between two reads has left its children to an ancestor: ask those again
    let orphans: Vec<Pid> = table
        .values()
        .filter(|process| process.parent.as_raw() != 0 && !table.contains_key(&process.parent))
        .map(|process| process.pid)
        .collect();
    for pid in orphans {
        match read_process(pid) {
            Some(process) => table.insert(pid, process),
            None => table.remove(&pid),
        };
    }
    Ok(table
        .values()
        .filter(|process| process.pid != root && process.pid != spared && !process.is_dead())
        .filter(|process| descends(process.pid, root, &table))
        .copied()
        .collect())
}

fn descends(pid: Pid, root: Pid, table: &HashMap<Pid, Process>) -> bool {
    let mut at = pid;
    // a table read while pids are reused could hold a ring, so the way up is as long as the table at most
    for _ in 0..table.len() {
        match table.get(&at) {
            Some(process) if process.parent == root => return true,
            Some(process) => at = process.parent,
            None => return false,
        }
    }
    false
}

/// The process as it is now; `None` when it is gone.
#[must_use]
pub fn read_process(pid: Pid) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// `pid (name) state ppid pgrp …`; the name may hold blanks and brackets, so what counts starts after the last `)`.
fn parse_stat(pid: Pid, stat: &[u8]) -> Option<Process> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = i32::from_str(fields.next()?).ok()?;
    let group = i32::from_str(fields.next()?).ok()?;
    Some(Process { pid, parent: Pid::from_raw(parent), group: Pid::from_raw(group), state })
}

fn parse_pid(text: &str) -> Option<Pid> {
    i32::from_str(text).ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Pid, getpid, getppid};

    use super::{Process, by_children_files, by_whole_table, parse_stat, read_process};

    #[test]
    fn reads_a_name_with_blanks_and_brackets() {
        let process = parse_stat(Pid::from_raw(7), b"7 (a) b (c)) T 3 5 1 0 -1");
        assert_eq!(process, Some(Process { pid: Pid::from_raw(7), parent: Pid::from_raw(3), group: Pid::from_raw(5), state: b'T' }));
    }

    #[test]
    fn cut_lines_are_no_process() {
        for line in ["", "7", "7 (x", "7 (x)", "7 (x) S", "7 (x) S 1", "7 (x) S a b"] {
            assert_eq!(parse_stat(Pid::from_raw(7), line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn knows_ourselves() {
        let me = read_process(getpid()).unwrap();
        assert_eq!(me.parent, getppid());
        assert_eq!(read_process(Pid::from_raw(i32::MAX)), None);
    }

    #[test]
    fn both_ways_find_a_child_and_spare_it_when_told() {
        let mut child = std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        for way in [by_children_files, by_whole_table] {
            // other tests of this process have children too, so only ours is looked for
            let found = |spared| way(getpid(), spared).unwrap().iter().any(|p| p.pid == pid);
            assert!(found(Pid::from_raw(0)));
            assert!(!found(pid));
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
