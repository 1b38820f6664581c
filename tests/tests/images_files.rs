//! The Dockerfiles and what they share, as files: what is alike stays alike, every agent has a checksum, every label is there; and the list
//! of parts in each image.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use agent_tests::clis;
use agent_tests::containers::{image, podman_ok, root};
use serde_json::Value;

const AGENTS: [&str; 4] = ["claude", "codex", "gemini", "opencode"];
const LABEL: &str = "io.github.agent-runner.";

fn dockerfile(name: &str) -> String {
    fs::read_to_string(root().join(format!("Dockerfile.{name}"))).unwrap()
}

/// The value of `ARG NAME=VALUE`.
fn argument<'a>(text: &'a str, name: &str) -> &'a str {
    let begin = format!("ARG {name}=");
    text.lines().find_map(|line| line.strip_prefix(begin.as_str())).unwrap_or_else(|| panic!("no {begin}"))
}

/// Rows of `images/versions`: agent, version, processor, path, checksum.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("images/versions")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_five_begin_alike() {
    let head = |name: &str| {
        let text = dockerfile(name);
        let begin = text.find("# --- What the five images begin with").unwrap();
        let end = text.find("# --- From here on they differ").unwrap();
        text[begin..end].to_owned()
    };
    let base = head("base");
    assert!(base.contains("ENTRYPOINT [\"/usr/local/bin/agent-runner\"]"));
    for agent in AGENTS {
        assert_eq!(head(agent), base, "Dockerfile.{agent}");
    }
}

#[test]
fn the_version_that_is_built_is_the_one_that_was_tried_and_has_a_checksum() {
    for agent in AGENTS {
        let version = argument(&dockerfile(agent), "VERSION").to_owned();
        assert_eq!(version, clis::versions(agent)[0], "{agent}: the tests' newest");
        let row = rows().into_iter().find(|row| row[0] == agent && row[1] == version && ["amd64", "any"].contains(&row[2].as_str()));
        assert!(row.is_some(), "images/versions has no {agent} {version}");
    }
    for row in rows() {
        assert_eq!(row.len(), 5, "{row:?}");
        assert!(row[3].contains(&row[1]), "another version's tarball: {row:?}");
        // 64 bytes in base64.
        assert!(row[4].strip_prefix("sha512-").is_some_and(|sum| sum.len() == 88 && sum.ends_with("==")), "{row:?}");
    }
    let runner = argument(&dockerfile("base"), "RUNNER_VERSION").to_owned();
    assert_eq!(runner, agent_runner::VERSION);
}

#[test]
fn a_package_with_another_checksum_is_not_taken() {
    let Some(image) = image("stand-in/tools") else { return };
    let (shared, row) = (root().join("images/shared"), rows().into_iter().find(|row| row[0] == "gemini").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let versions = directory.path().join("versions");
    // The package is there and whole; what was written of it is another's checksum.
    let wrong = rows().into_iter().find(|row| row[0] == "claude").unwrap()[4].clone();
    fs::write(&versions, format!("gemini {} any {} {wrong}\n", row[1], row[3])).unwrap();
    let (shared, versions) = (format!("{}:/images/shared:ro", shared.display()), format!("{}:/images/versions:ro", versions.display()));
    let script = format!(
        "apt-get update >/dev/null; apt-get install -y --no-install-recommends ca-certificates curl >/dev/null 2>&1
         ! /images/shared/fetch gemini {} amd64 /agent && test ! -e /agent && ! /images/shared/fetch gemini 0.0.1 amd64 /agent",
        row[1]
    );
    let output = podman_ok(&["run", "--rm", "--volume", &shared, "--volume", &versions, &image, "sh", "-c", &format!("({script}) 2>&1")]);
    assert!(output.contains("FAILED") && output.contains("has no checksum of gemini 0.0.1"), "{output}");
}

#[test]
fn every_image_says_what_it_is() {
    for name in ["base"].into_iter().chain(AGENTS) {
        let Some(image) = image(name) else { return };
        let config: Value = serde_json::from_str(&podman_ok(&["image", "inspect", &image])).unwrap();
        let config = &config[0]["Config"];
        let label = |key: &str| config["Labels"][format!("{LABEL}{key}")].as_str().unwrap_or_default().to_owned();
        let kind = if name == "base" { "command" } else { name };
        assert_eq!(label("interface"), agent_sdk::INTERFACE_VERSION);
        assert_eq!(label("agent"), kind);
        assert!(label("profiles").starts_with("image core workspace kubernetes hardened"), "{name}");
        assert_eq!(label("profiles").contains("agent"), name != "base");
        let env: BTreeSet<&str> = config["Env"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(env.contains(format!("AGENT_TYPE={kind}").as_str()), "{env:?}");
        assert!(env.iter().any(|entry| entry.starts_with("PATH=/home/agent/.local/bin:")), "{env:?}");
        assert_eq!((&config["User"], &config["Entrypoint"]), (&"61100:0".into(), &serde_json::json!(["/usr/local/bin/agent-runner"])));
        assert_eq!(config["Labels"]["org.opencontainers.image.version"], agent_runner::VERSION, "{name}");
        for key in ["title", "source", "licenses", "revision"] {
            assert!(config["Labels"][format!("org.opencontainers.image.{key}")].is_string(), "{name}: {key}");
        }
        if name != "base" {
            assert_eq!(label("agent.version"), clis::versions(name)[0]);
            // The agent's program is a file of its own, and the one that PATH finds; the links to the runner are links.
            let script = format!(
                "test -f '{0}' -a -x '{0}' -a ! -L '{0}' && test \"$(readlink -f \"$(command -v {name})\")\" = '{0}' &&
                 for link in /kelos_entrypoint.sh /kelos/kelos-capture; do test -L $link && test $link -ef /usr/local/bin/agent-runner || exit 1; done",
                label("agent.path")
            );
            podman_ok(&["run", "--rm", "--entrypoint", "sh", &image, "-c", &script]);
        }
    }
}

#[test]
fn the_list_of_parts_names_every_package_the_agent_and_the_runners_crates() {
    for name in ["base"].into_iter().chain(AGENTS) {
        let Some(image) = image(name) else { return };
        let inside = |script: &str| podman_ok(&["run", "--rm", "--entrypoint", "sh", &image, "-c", script]);
        let document: Value = serde_json::from_str(&inside("cat /usr/share/agent-runner/sbom.spdx.json")).unwrap();
        assert_eq!((&document["spdxVersion"], &document["dataLicense"]), (&"SPDX-2.3".into(), &"CC0-1.0".into()));
        let packages = document["packages"].as_array().unwrap();
        let ids: BTreeSet<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), packages.len(), "an id stands for one package");
        let related = document["relationships"].as_array().unwrap().iter().map(|relation| relation["relatedSpdxElement"].as_str().unwrap());
        assert_eq!(related.collect::<BTreeSet<_>>(), ids, "each is contained in the image");
        let purls: BTreeMap<&str, &str> = packages
            .iter()
            .filter_map(|package| Some((package["externalRefs"][0]["referenceLocator"].as_str()?, package["name"].as_str()?)))
            .collect();
        let named = |purl: &str| purls.keys().any(|known| known.starts_with(purl));
        for package in inside("dpkg-query --show --showformat '${Package}\\n'").lines().chain(["git", "ca-certificates"]) {
            assert!(named(&format!("pkg:deb/debian/{}@", package.replace('+', "%2B"))), "{name} lacks {package}");
        }
        assert!(named(&format!("pkg:cargo/agent-runner@{}", agent_runner::VERSION)) && named("pkg:cargo/gix@"), "{name}");
        if name != "base" {
            let version = format!("@{}", clis::versions(name)[0]);
            assert!(purls.keys().any(|purl| purl.starts_with("pkg:npm/") && purl.ends_with(&version)), "{name} lacks its agent");
        }
        assert_eq!(named("pkg:generic/node@"), name == "gemini", "only Gemini CLI needs Node");
    }
}

/// 130 MB beside the agent's own program, with the released runner. A developer's build of the runner is a larger one, and takes the
/// released one's place here.
#[test]
fn claudes_image_keeps_its_size() {
    let Some(image) = image("claude") else { return };
    let size: u64 = podman_ok(&["image", "inspect", "--format", "{{.Size}}", &image]).parse().unwrap();
    let programs = "stat --format %s /usr/local/bin/claude /usr/local/bin/agent-runner";
    let programs = podman_ok(&["run", "--rm", "--entrypoint", "sh", &image, "-c", programs]);
    let [claude, runner] = programs.lines().map(|line| line.parse::<u64>().unwrap()).collect::<Vec<_>>()[..] else { panic!("{programs}") };
    let released = if std::env::var("AGENT_TESTS_PROFILE").is_ok_and(|profile| profile == "release") { runner } else { 18_000_000 };
    assert!(
        size - claude - runner + released <= 130_000_000,
        "{} beside agent and runner, {runner} for the runner",
        size - claude - runner
    );
}
