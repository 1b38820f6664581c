//! What `git-upload-pack` answers over HTTP, in protocol versions 0 and 2
//! (<https://git-scm.com/docs/gitprotocol-v2>, <https://git-scm.com/docs/gitprotocol-pack>). Pure functions from bytes to bytes.
//!
//! It knows one repository and never negotiates: whoever says `done` gets all that was wanted. Any depth but 0 cuts at the tips, since the
//! history is two commits long.

use super::repository::{DEFAULT_BRANCH, Repository};

/// The longest payload of a side band: 65,520 bytes of a packet less its head and its band.
const BAND: usize = 65_515;

/// A packet line, or one of the special ones.
#[derive(Debug, PartialEq, Eq)]
enum Packet<'a> {
    Line(&'a [u8]),
    Flush,
    Delimiter,
}

/// What is told of the refs, before anything is asked.
#[must_use]
pub fn advertise(repository: &Repository, version_2: bool) -> Vec<u8> {
    let mut out = Vec::new();
    line(&mut out, b"# service=git-upload-pack\n");
    out.extend_from_slice(b"0000");
    if version_2 {
        for text in ["version 2\n", "agent=agent-conformance\n", "ls-refs\n", "fetch=shallow\n", "object-format=sha1\n"] {
            line(&mut out, text.as_bytes());
        }
    } else {
        let head = repository.tip(DEFAULT_BRANCH);
        let abilities =
            format!("side-band-64k shallow no-progress symref=HEAD:refs/heads/{DEFAULT_BRANCH} object-format=sha1 agent=agent-conformance");
        line(&mut out, format!("{head} HEAD\0{abilities}\n").as_bytes());
        for (name, id) in sorted(repository) {
            line(&mut out, format!("{id} {name}\n").as_bytes());
        }
    }
    out.extend_from_slice(b"0000");
    out
}

/// An answer, and what was wanted.
#[derive(Debug, Default)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// The object ids that were asked for.
    pub wants: Vec<String>,
}

/// Answers a request.
#[must_use]
pub fn answer(repository: &Repository, version_2: bool, request: &[u8]) -> Answer {
    let packets = packets(request);
    let lines: Vec<String> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Line(bytes) => Some(String::from_utf8_lossy(bytes).trim_end().to_owned()),
            Packet::Flush | Packet::Delimiter => None,
        })
        .collect();
    if version_2 && lines.iter().any(|line| line == "command=ls-refs") {
        return Answer { body: list_refs(repository, &lines), wants: Vec::new() };
    }
    let wants: Vec<String> =
        lines.iter().filter_map(|line| line.strip_prefix("want ")).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let deepen = lines.iter().any(|line| line.starts_with("deepen"));
    let done = lines.iter().any(|line| line == "done");
    let (pack, cut) = repository.pack(&wants, deepen);
    let mut body = Vec::new();
    if version_2 {
        if !done {
            line(&mut body, b"acknowledgments\n");
            line(&mut body, b"NAK\n");
            body.extend_from_slice(b"0000");
            return Answer { body, wants };
        }
        if deepen {
            line(&mut body, b"shallow-info\n");
            cut.iter().for_each(|id| line(&mut body, format!("shallow {id}\n").as_bytes()));
            body.extend_from_slice(b"0001");
        }
        line(&mut body, b"packfile\n");
        bands(&mut body, &pack);
    } else {
        if deepen {
            cut.iter().for_each(|id| line(&mut body, format!("shallow {id}").as_bytes()));
            body.extend_from_slice(b"0000");
        }
        if done {
            line(&mut body, b"NAK\n");
            if lines.iter().any(|line| line.contains("side-band-64k")) {
                bands(&mut body, &pack);
            } else {
                body.extend_from_slice(&pack);
            }
        } else if !deepen {
            line(&mut body, b"NAK\n");
        }
    }
    Answer { body, wants }
}

fn list_refs(repository: &Repository, lines: &[String]) -> Vec<u8> {
    let prefixes: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("ref-prefix ")).collect();
    let asked = |name: &str| prefixes.is_empty() || prefixes.iter().any(|prefix| name.starts_with(prefix));
    let mut out = Vec::new();
    if asked("HEAD") {
        let target = lines.iter().any(|line| line == "symrefs").then(|| format!(" symref-target:refs/heads/{DEFAULT_BRANCH}"));
        line(&mut out, format!("{} HEAD{}\n", repository.tip(DEFAULT_BRANCH), target.unwrap_or_default()).as_bytes());
    }
    for (name, id) in sorted(repository).into_iter().filter(|(name, _)| asked(name)) {
        line(&mut out, format!("{id} {name}\n").as_bytes());
    }
    out.extend_from_slice(b"0000");
    out
}

fn sorted(repository: &Repository) -> Vec<(String, String)> {
    let mut refs: Vec<_> = repository.branches().into_iter().map(|(name, id)| (format!("refs/heads/{name}"), id)).collect();
    refs.sort();
    refs
}

fn line(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(format!("{:04x}", payload.len() + 4).as_bytes());
    out.extend_from_slice(payload);
}

/// A pack on side band 1, and the end.
fn bands(out: &mut Vec<u8>, pack: &[u8]) {
    for chunk in pack.chunks(BAND) {
        line(out, &[&[1], chunk].concat());
    }
    out.extend_from_slice(b"0000");
}

/// The packets of a request, as far as it is well formed.
fn packets(mut bytes: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(4) {
        let Some(length) = std::str::from_utf8(head).ok().and_then(|text| usize::from_str_radix(text, 16).ok()) else { break };
        match length {
            0 => packets.push(Packet::Flush),
            1..4 => packets.push(Packet::Delimiter),
            _ => {
                let Some(payload) = rest.get(..length - 4) else { break };
                packets.push(Packet::Line(payload));
                bytes = &rest[length - 4..];
                continue;
            }
        }
        bytes = rest;
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_any_bytes_do_no_harm() {
        for bytes in [b"".as_slice(), b"0", b"zzzz", b"ffff", b"0003", b"0010want", b"00000001000900\xff\xfe1"] {
            let _ = answer(&Repository::default(), true, bytes);
            let _ = answer(&Repository::default(), false, bytes);
        }
    }
}
