//! Who descends from a process, as `/proc` says; one look, which may be out of date when it returns.
//!
//! Leaves to its callers (`tree`, `init::sweep`) what to do about it and how often to look again. Processes that entered a
//! container from outside (`kubectl exec`) have parent 0, descend from nobody here, and are never found.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    str::FromStr,
};

use nix::unistd::{Pid, getpid};

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
    /// How many threads it has; one that is dead counts until it is buried.
    pub threads: u32,
}

impl Process {
    /// Dead, and only waiting for its parent to take note of it. Where its first thread alone has ended the state says the same, and the
    /// others live on.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    /// Stopped by a signal; it will not act on a TERM until it is continued.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Whether nothing descends from `root` but `only`, its child, and from that nothing but `dead`, its child, that has ended.
///
/// One look is enough for that, unlike for a list. A program has left its children to `root` (who takes in orphans) before its own end can
/// be seen, so whoever is alive then is below a child of `root`'s; and of these there is one.
pub fn nobody_but(root: Pid, only: Pid, dead: Pid) -> bool {
    let has_none_but = |parent: Pid, child: Pid| {
        children(parent, parent).is_ok_and(|found| found == [child])
            && other_threads(parent).into_iter().all(|thread| children(parent, thread).is_ok_and(|found| found.is_empty()))
    };
    is_our_namespace() && has_none_but(root, only) && has_none_but(only, dead)
}

/// Everything alive that descends from `root`, except `spared`, whose children count all the same.
///
/// # Errors
/// `/proc` is not there, or not that of our PID namespace.
pub fn descendants(root: Pid, spared: Pid) -> io::Result<Vec<Process>> {
    if !is_our_namespace() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "`/proc` is not that of our PID namespace"));
    }
    // the file needs CONFIG_PROC_CHILDREN, and `hidepid` hides init, who is not dumpable, from other users than root
    by_children_files(root, spared).or_else(|_| by_whole_table(root, spared))
}

/// Whether the numbers in `/proc` mean to us what they say: that of another namespace calls us by another one, or not at all.
fn is_our_namespace() -> bool {
    fs::read_link("/proc/self").is_ok_and(|link| link.to_str().and_then(parse_pid) == Some(getpid()))
}

/// Follows `/proc/PID/task/TID/children`: touches only our own tree, however many processes the machine has.
fn by_children_files(root: Pid, spared: Pid) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    // without the root's own file nothing is known, so that error counts; a process below that has gone meanwhile does not
    let mut open = vec![(root, children(root, root)?)];
    while let Some((parent, mut its_children)) = open.pop().or_else(|| late_orphans(root, &seen)) {
        for thread in other_threads(parent) {
            its_children.extend(children(parent, thread).unwrap_or_default());
        }
        for child in its_children {
            if !seen.insert(child) {
                continue;
            }
            if child != spared {
                match read_process(child) {
                    // the dead have no children: these have gone to somebody whom we look at too
                    Some(process) if process.is_dead() => continue,
                    Some(process) => found.push(process),
                    None => {}
                }
            }
            open.push((child, children(child, child).unwrap_or_default()));
        }
    }
    Ok(found)
}

/// Who has come to the root, which takes in orphans, while the others were looked at.
fn late_orphans(root: Pid, seen: &HashSet<Pid>) -> Option<(Pid, Vec<Pid>)> {
    let late: Vec<Pid> = children(root, root).ok()?.into_iter().filter(|child| !seen.contains(child)).collect();
    (!late.is_empty()).then_some((root, late))
}

/// The threads of a process beside its first: a child hangs on the thread that forked it, so every one is asked.
fn other_threads(process: Pid) -> Vec<Pid> {
    let directory = format!("/proc/{process}/task");
    // `.` and `..` of it, and one link a thread: most have one, and then there is nothing to list
    if fs::metadata(&directory).is_ok_and(|directory| directory.nlink() == 3) {
        return Vec::new();
    }
    let threads = fs::read_dir(directory).into_iter().flatten().flatten();
    threads.filter_map(|thread| parse_pid(thread.file_name().to_str()?)).filter(|thread| *thread != process).collect()
}

/// The children that this thread forked.
fn children(process: Pid, thread: Pid) -> io::Result<Vec<Pid>> {
    let text = read(&format!("/proc/{process}/task/{thread}/children"))?;
    Ok(text.split(u8::is_ascii_whitespace).filter_map(|number| parse_pid(str::from_utf8(number).ok()?)).collect())
}

/// A file of `/proc`, whose length nobody knows before.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 1024];
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
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
    // not the root, which may be hidden from us while who descends from it is not
    if !table.contains_key(&getpid()) {
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
    let stat = read(&format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// `pid (name) state ppid pgrp …`, and the number of threads as the 20th (`proc_pid_stat(5)`); the name may hold blanks and brackets, so
/// what counts starts after the last `)`.
fn parse_stat(pid: Pid, stat: &[u8]) -> Option<Process> {
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = i32::from_str(fields.next()?).ok()?;
    let group = i32::from_str(fields.next()?).ok()?;
    // from the 5th, the group, on
    let threads = u32::from_str(fields.nth(14)?).ok()?;
    Some(Process { pid, parent: Pid::from_raw(parent), group: Pid::from_raw(group), state, threads })
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
        let process = parse_stat(Pid::from_raw(7), b"7 (a) b (c)) T 3 5 1 0 -1 4227084 135 0 0 0 0 0 0 0 20 0 2 0 175638");
        let expected = Process { pid: Pid::from_raw(7), parent: Pid::from_raw(3), group: Pid::from_raw(5), state: b'T', threads: 2 };
        assert_eq!(process, Some(expected));
    }

    /// A parent that dies while the list is made leaves its child to the root, whose children were read before.
    #[test]
    fn whoever_loses_a_parent_meanwhile_is_found() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        use nix::sys::prctl::set_child_subreaper;
        use nix::sys::signal::{Signal, kill};
        use nix::sys::wait::waitpid;

        set_child_subreaper(true).unwrap();
        for round in 0..150 {
            let mut parent = Command::new("sh").args(["-c", "sleep 60 >/dev/null & echo $!; wait"]).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let child = Pid::from_raw(line.trim().parse().unwrap());
            let (mut looked, mut dying) = (0, true);
            let killer = std::thread::spawn(move || {
                for _ in 0..round * 40 {
                    std::hint::spin_loop();
                }
                parent.kill().unwrap();
                parent.wait().unwrap();
            });
            while dying {
                dying = !killer.is_finished();
                let found = by_children_files(getpid(), Pid::from_raw(0)).unwrap();
                assert!(found.iter().any(|process| process.pid == child), "round {round}, look {looked}: {found:?}");
                looked += 1;
            }
            killer.join().unwrap();
            kill(child, Signal::SIGKILL).unwrap();
            waitpid(child, None).unwrap();
        }
    }

    #[test]
    fn cut_lines_are_no_process() {
        for line in ["", "7", "7 (x", "7 (x)", "7 (x) S", "7 (x) S 1", "7 (x) S a b", "7 (x) S 1 2 3 4 5"] {
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
