//! Users of a root file system, as its `/etc/passwd` and `/etc/group` have them.

use std::path::Path;

use super::inside;

/// Real files of this kind are below a megabyte.
const LIMIT: u64 = 1 << 20;

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// User.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// Other groups.
    pub(super) groups: Vec<u32>,
    /// The home directory.
    pub(super) home: String,
}

/// The account of a start: the one that it names, else the image's.
pub(super) fn of_start(root: &Path, image: &str, start: Option<(u32, u32)>) -> Result<Account, String> {
    match start {
        Some((uid, gid)) => Ok(by_number(root, uid, gid)),
        None => by_name(root, image),
    }
}

/// The account that numbers stand for; the home directory is the user's, if it is known.
fn by_number(root: &Path, uid: u32, gid: u32) -> Account {
    let home = passwd(root).into_iter().find(|line| line.uid == uid).map_or_else(|| "/".to_owned(), |line| line.home);
    Account { uid, gid, groups: Vec::new(), home }
}

/// The account that `USER` of an image configuration stands for: `user`, `user:group`, each by name or number; empty is root.
fn by_name(root: &Path, user: &str) -> Result<Account, String> {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    let known = passwd(root).into_iter().find(|line| line.name == name || name.parse() == Ok(line.uid));
    let uid = match (&known, name.parse()) {
        (Some(line), _) => line.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(format!("the image has no user `{name}`")),
    };
    let groups = groups(root);
    let (gid, others) = match group {
        Some(group) => {
            let known = groups.iter().find(|line| line.name == group).map(|line| line.gid);
            (known.or_else(|| group.parse().ok()).ok_or_else(|| format!("the image has no group `{group}`"))?, Vec::new())
        }
        None => {
            let account = known.as_ref().map(|line| line.name.clone()).unwrap_or_default();
            let others = groups.iter().filter(|line| line.members.contains(&account)).map(|line| line.gid);
            (known.as_ref().map_or(0, |line| line.gid), others.collect())
        }
    };
    Ok(Account { uid, gid, groups: others, home: known.map_or_else(|| "/".to_owned(), |line| line.home) })
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

fn passwd(root: &Path) -> Vec<User> {
    let text = inside::read(root, "/etc/passwd", LIMIT).unwrap_or_default();
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let users = lines.filter_map(|fields| match fields[..] {
        [name, _, uid, gid, _, home, ..] => {
            Some(User { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.to_owned() })
        }
        _ => None,
    });
    users.collect()
}

fn groups(root: &Path) -> Vec<Group> {
    let text = inside::read(root, "/etc/group", LIMIT).unwrap_or_default();
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let groups = lines.filter_map(|fields| match fields[..] {
        [name, _, gid, members] => {
            Some(Group { name: name.to_owned(), gid: gid.parse().ok()?, members: members.split(',').map(str::to_owned).collect() })
        }
        _ => None,
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn users_by_name_and_by_number() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1001::/home/agent:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nagent:x:1001:\ngit:x:50:nobody,agent\n").unwrap();
        let agent = Account { uid: 1000, gid: 1001, groups: vec![50], home: "/home/agent".into() };
        assert_eq!(by_name(root, "agent").unwrap(), agent);
        assert_eq!(by_name(root, "1000").unwrap(), agent);
        assert_eq!(by_name(root, "agent:git").unwrap(), Account { gid: 50, groups: vec![], ..agent.clone() });
        assert_eq!(by_name(root, "7:8").unwrap(), Account { uid: 7, gid: 8, groups: vec![], home: "/".into() });
        assert_eq!(by_name(root, "").unwrap(), Account { uid: 0, gid: 0, groups: vec![], home: "/root".into() });
        assert!(by_name(root, "nobody").is_err());
        assert!(by_name(root, "agent:wheel").is_err());
        assert_eq!(by_number(root, 1000, 0).home, "/home/agent");
    }
}
