//! Layers from strangers: what is in them comes to stand in the image and nowhere else, and what is too much is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use agent_conformance::suite::engine::layout::Layout;
use agent_conformance::suite::engine::rootfs::Rootfs;
use agent_conformance::suite::subject::FileFacts;
use serde_json::json;
use tar::{Builder, EntryType, Header};

/// An entry: type, path, mode, contents or where it leads.
type Entry<'a> = (EntryType, &'a str, u32, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, mode, text) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // as it stands there: the library would refuse what leads out
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let contents = if *kind == FILE { text.as_bytes() } else { b"" };
        if matches!(*kind, LINK | HARD) {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        // our own, so that this runs as any user
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_size(contents.len() as u64);
        header.set_cksum();
        tar.append(&header, contents).unwrap();
    }
    tar.into_inner().unwrap()
}

/// What `docker save` writes, of these layers.
fn archive(file: &Path, layers: &[Vec<u8>]) {
    let mut tar = Builder::new(File::create(file).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    let labels = json!({"io.github.agent-runner.agent.path": "/usr/bin/agent"});
    add("config.json", json!({"config": {"Labels": labels}}).to_string().as_bytes());
    add("manifest.json", json!([{"Config": "config.json", "Layers": names}]).to_string().as_bytes());
    tar.finish().unwrap();
}

fn open(layers: &[Vec<u8>]) -> Result<(FileFacts, Rootfs), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    archive(&file, layers);
    let layout = Layout::open_archive(&file, "docker-archive:image.tar").map_err(|error| error.to_string())?;
    let facts = layout.subject.files.clone().unwrap();
    Ok((facts, layout.unpack().map_err(|error| error.to_string())?))
}

/// All files of an unpacked image, with what they hold or where they lead.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(dir) = ahead.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let data = fs::symlink_metadata(&path).unwrap();
            if data.is_dir() {
                ahead.push(path);
            } else if data.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(path).unwrap().display()));
            } else {
                found.push(format!("{name}: {}", fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn layers_lie_over_one_another() {
    let below = layer(&[
        (DIR, "usr/bin", 0o755, ""),
        (LINK, "bin", 0o777, "usr/bin"),
        (FILE, "usr/bin/agent", 0o4755, "below"),
        (FILE, "etc/gone", 0o644, "gone"),
        (FILE, "etc/ssl/certs/ca-certificates.crt", 0o644, "certificates"),
        (FILE, "opaque/old", 0o644, "old"),
        (FILE, "opaque/deep/old", 0o644, "old"),
    ]);
    let above = layer(&[
        (FILE, "bin/tool", 0o755, "through the link"),
        (HARD, "usr/bin/other", 0o755, "bin/tool"),
        (FILE, "etc/.wh.gone", 0o644, ""),
        (FILE, "opaque/new", 0o644, "new"),
        (FILE, "opaque/.wh..wh..opq", 0o644, ""),
        (FILE, "usr/bin/agent", 0o755, "above"),
        (DIR, "closed", 0o555, ""),
        (FILE, "closed/file", 0o400, "in it"),
    ]);
    let (facts, rootfs) = open(&[below, above]).unwrap();
    let expected = [
        "bin -> usr/bin",
        "closed/file: in it",
        "etc/ssl/certs/ca-certificates.crt: certificates",
        "opaque/new: new",
        "usr/bin/agent: above",
        "usr/bin/other: through the link",
        "usr/bin/tool: through the link",
    ];
    assert_eq!(listing(&rootfs.root), expected);
    let agent = facts.agent.unwrap();
    assert_eq!((agent.path.as_str(), agent.regular, agent.mode, agent.size), ("/usr/bin/agent", true, 0o755, 5));
    assert_eq!(facts.certificates, ["/etc/ssl/certs/ca-certificates.crt"]);
    assert_eq!(facts.set_id, Vec::<String>::new(), "the upper agent has no such bit");
    assert_eq!(fs::metadata(rootfs.root.join("closed")).unwrap().permissions().mode() & 0o7777, 0o555);
    // so that it can be removed by whom it belongs to
    fs::set_permissions(rootfs.root.join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nothing_is_written_outside_of_the_image() {
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(outside.path().join("kept"), "kept").unwrap();
    let target = outside.path().to_str().unwrap();
    let hostile = [
        vec![
            (LINK, "way", 0o777, target),
            (FILE, "way/evil", 0o644, "evil"),
            (FILE, "way/.wh.kept", 0o644, ""),
            (FILE, "way/.wh..wh..opq", 0o644, ""),
        ],
        vec![(LINK, "way", 0o777, target), (HARD, "stolen", 0o644, "way/kept"), (FILE, "stolen", 0o644, "evil")],
        vec![(DIR, "way", 0o777, ""), (FILE, ".wh.way", 0o644, ""), (LINK, "way", 0o777, target)],
        vec![(DIR, "a/b", 0o777, ""), (FILE, ".wh.a", 0o644, ""), (LINK, "a", 0o777, target)],
        vec![(FILE, "../../../../../../../../tmp/evil", 0o644, "evil")],
        vec![(HARD, "stolen", 0o644, "../../../../../../etc/passwd")],
        vec![(FILE, ".wh...", 0o644, ""), (FILE, ".wh..", 0o644, "")],
        vec![(LINK, "", 0o777, target)],
        vec![(EntryType::Block, "disk", 0o666, ""), (EntryType::Fifo, "usr/bin/agent", 0o666, "")],
    ];
    for entries in hostile {
        let opened = open(&[layer(&entries)]);
        assert_eq!(listing(outside.path()), ["kept: kept"], "{entries:?}");
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o7777, 0o700, "{entries:?}");
        if let Ok((facts, rootfs)) = opened {
            assert!(facts.agent.is_none_or(|agent| !agent.regular), "{entries:?}");
            assert!(!listing(&rootfs.root).iter().any(|line| line.contains("kept:")), "{entries:?}");
        }
    }
    assert!(open(&[layer(&[(FILE, "../evil", 0o644, "evil")])]).unwrap_err().contains("leads out"));
}

#[test]
fn an_agent_behind_links_is_found_inside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    symlink("/../../etc/agent", root.join("usr/bin/agent")).unwrap();
    fs::write(dir.path().join("root.config.json"), json!({"Labels": {"io.github.agent-runner.agent.path": "/usr/bin/agent"}}).to_string())
        .unwrap();
    assert_eq!(Rootfs::open(&root, None).unwrap().subject.files.unwrap().agent, None);
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/agent"), "agent").unwrap();
    let agent = Rootfs::open(&root, None).unwrap().subject.files.unwrap().agent.unwrap();
    assert_eq!((agent.path.as_str(), agent.regular, agent.size), ("/etc/agent", true, 5));
}

#[test]
fn a_name_without_an_end_is_not_held_in_memory() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    std::io::repeat(b'x').take(1 << 20).read_to_end(&mut bytes).unwrap();
    let error = open(&[bytes]).unwrap_err();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no archive, and long enough for nothing").unwrap();
    for error in [
        Layout::open_archive(&file, "oci-archive:file").unwrap_err().to_string(),
        Layout::open_archive(&dir.path().join("nothing"), "oci-archive:nothing").unwrap_err().to_string(),
        Layout::open(dir.path()).unwrap_err().to_string(),
        Rootfs::open(&dir.path().join("nothing"), None).unwrap_err().to_string(),
    ] {
        assert!(error.starts_with("there is no image `"), "{error}");
    }
}
