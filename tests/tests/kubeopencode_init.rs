//! The commands of KubeOpenCode's init containers, as its controller calls them: the same effect as its own, without their faults.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use agent_tests::git_servers::HttpServer;
use agent_tests::kubeopencode::{Pod, Web};
use agent_tests::repo::{git, git_ok, holds_text};
use serde_json::json;

fn head(dir: &Path) -> String {
    git_ok(dir, ["-c", "safe.directory=*", "rev-parse", "HEAD"])
}

#[test]
fn a_ref_is_a_branch_a_tag_or_a_commit() {
    let Some(pod) = Pod::new() else { return };
    let first = pod.source.rev("main~1");
    for (reference, expected) in [("HEAD", "main"), ("feature", "feature"), ("v1", "v1^{commit}"), (first.as_str(), "main~1")] {
        let url = format!("file://{}", pod.source.bare.display());
        let root = pod.text("git");
        let link = format!("at-{}", &reference[..2]);
        let env = [("GIT_REPO", url.as_str()), ("GIT_REF", reference), ("GIT_DEPTH", "1"), ("GIT_ROOT", &root), ("GIT_LINK", &link)];
        let ended = pod.init("git-init", &env);
        assert_eq!(ended.code, 0, "{reference}: {}", ended.log);
        assert_eq!(head(&pod.path("git").join(link)), pod.source.rev(expected), "{reference}");
    }
    let writable_by_all: Vec<_> = pod.modes("git").into_iter().filter(|(_, mode)| mode & 0o002 != 0).collect();
    assert!(writable_by_all.is_empty(), "{writable_by_all:?}");
    // But another user of the pod's group can work in it.
    assert!(pod.modes("git").iter().any(|(path, mode)| path.ends_with("file2.txt") && *mode == 0o664), "{:?}", pod.modes("git"));
    assert!(!pod.path("tmp/.gitconfig").exists(), "no `safe.directory` for everything");
}

/// The controller mounts it by `subPath` into the worker, and says `GIT_CONFIG_GLOBAL`; the clone stands where the context says.
#[test]
fn the_workers_git_finds_a_configuration_that_trusts_the_clone_wherever_it_is_mounted() {
    let Some(pod) = Pod::new() else { return };
    let (url, root) = (format!("file://{}", pod.source.bare.display()), pod.text("git"));
    for _ in 0..2 {
        let ended = pod.init("git-init", &[("GIT_REPO", url.as_str()), ("GIT_ROOT", &root)]);
        assert_eq!(ended.code, 0, "{}", ended.log);
        let config = pod.path("git/.gitconfig");
        let (_, mode) = pod.modes("git").into_iter().find(|(path, _)| *path == config).unwrap();
        assert_eq!(mode, 0o644);
        // Packs, too, are for the pod's group.
        let packs: Vec<_> = pod.modes("git").into_iter().filter(|(path, _)| path.parent().unwrap().ends_with("objects/pack")).collect();
        assert!(!packs.is_empty() && packs.iter().all(|(_, mode)| mode & 0o440 == 0o440), "{packs:?}");
    }
    let mounted = pod.path("workspace").join("somewhere else");
    fs::rename(pod.path("git/repo"), &mounted).unwrap();
    // Of another user, as this test is.
    let asked = |config: &Path| git(&mounted).env("GIT_CONFIG_GLOBAL", config).args(["log", "-1", "--format=%H"]).output().unwrap();
    let output = asked(&pod.path("git/.gitconfig"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), pod.source.rev("main"), "{output:?}");
    assert!(String::from_utf8_lossy(&asked(Path::new("/dev/null")).stderr).contains("dubious ownership"));
}

#[test]
fn credentials_of_any_characters_open_the_server_and_stay_nowhere() {
    let Some(pod) = Pod::new() else { return };
    let password = "p@ss:w/ord%41 #?";
    let server = HttpServer::start(&pod.source.root, None);
    server.allow(&[&format!("some@body:{password}")]);
    let (url, root) = (server.url("origin.git"), pod.text("git"));
    let env = [("GIT_REPO", url.as_str()), ("GIT_ROOT", &root), ("GIT_USERNAME", "some@body"), ("GIT_PASSWORD", password)];
    let ended = pod.init("git-init", &env);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(head(&pod.path("git/repo")), pod.source.rev("main"));
    assert!(!ended.log.contains(password), "{}", ended.log);
    for volume in ["git", "tmp"] {
        for secret in [password, "some@body", "p%40ss", "git-credential"] {
            assert_eq!(holds_text(&pod.path(volume), secret), None, "{secret}");
        }
    }
    // A wrong password is said as such, and not tried three times.
    let before = server.seen().len();
    let env = [("GIT_REPO", url.as_str()), ("GIT_ROOT", &root), ("GIT_LINK", "other"), ("GIT_USERNAME", "x"), ("GIT_PASSWORD", "wrong")];
    let ended = pod.init("git-init", &env);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (77, Some("CloneAuthFailed")), "{}", ended.log);
    assert!(server.seen().len() - before <= 2, "{:?}", server.seen());
    assert!(!pod.path("git/other").exists() && fs::read_dir(pod.path("tmp")).unwrap().next().is_none());
}

#[test]
fn what_a_server_refuses_for_the_moment_is_tried_again() {
    let Some(pod) = Pod::new() else { return };
    let server = HttpServer::start(&pod.source.root, None);
    *server.behaviour.failures.lock().unwrap() = vec![503, 503];
    let (url, root) = (server.url("origin.git"), pod.text("git"));
    let env = [("GIT_REPO", url.as_str()), ("GIT_ROOT", &root), ("GIT_CLONE_RETRIES", "3"), ("GIT_CLONE_RETRY_DELAY", "10ms")];
    let ended = pod.init("git-init", &env);
    assert_eq!(ended.code, 0, "{}", ended.log);
}

#[test]
fn a_part_of_a_repository_is_merged_into_the_workspace() {
    let Some(pod) = Pod::new() else { return };
    pod.source.commit("docs/guide/start.md", "start here");
    pod.source.commit("docs/task.md", "of the repository");
    symlink("start.md", pod.source.work.join("docs/guide/link")).unwrap();
    pod.source.commit("docs/last", "x");
    pod.source.push();
    fs::write(pod.path("workspace/kept"), "kept").unwrap();
    let (url, root, workspace) = (format!("file://{}", pod.source.bare.display()), pod.text("git"), pod.text("workspace"));
    let env = [("GIT_REPO", url.as_str()), ("GIT_ROOT", &root), ("GIT_WORKSPACE_DIR", &workspace)];
    let ended = pod.init("git-init", &[&env[..], &[("GIT_REPO_SUBPATH", "docs")]].concat());
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(fs::read_to_string(pod.path("workspace/guide/start.md")).unwrap(), "start here");
    assert_eq!(fs::read_link(pod.path("workspace/guide/link")).unwrap(), Path::new("start.md"));
    assert!(pod.path("workspace/kept").exists() && !pod.path("workspace/.git").exists());
    // All of it is a repository of its own there.
    let ended = pod.init("git-init", &env);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(head(&pod.path("workspace")), pod.source.rev("main"));
    // A link in the repository's subpath leads nowhere else.
    symlink("/etc", pod.source.work.join("out")).unwrap();
    pod.source.commit("x", "y");
    pod.source.push();
    let ended = pod.init("git-init", &[&env[..], &[("GIT_REPO_SUBPATH", "out"), ("GIT_LINK", "again")]].concat());
    assert_eq!((ended.code, ended.message["reason"].as_str()), (73, Some("WorkspaceConflict")), "{}", ended.log);
}

#[test]
fn wrong_variables_are_one_error() {
    let Some(pod) = Pod::new() else { return };
    let ended = pod.init("git-init", &[("GIT_REF", "a..b"), ("GIT_DEPTH", "deep")]);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (65, Some("InvalidTask")), "{}", ended.log);
    for part in ["GIT_REPO: expected", "GIT_REF: expected", "GIT_DEPTH: expected"] {
        assert!(ended.message["message"].as_str().unwrap().contains(part), "{part}: {}", ended.message);
    }
    // What its binary does besides is not ours.
    assert_eq!(pod.init("controller", &[]).code, 64);
}

#[test]
fn a_context_is_copied_with_its_modes_and_without_the_kubelets_own_entries() {
    let Some(pod) = Pod::new() else { return };
    pod.config_map("configmap-files", "workspace-task.md", "- do it\n");
    pod.config_map("configmap-files", "run.sh", "#!/bin/sh\n");
    pod.config_map("configmap-dir-0", "a.md", "one");
    let workspace = pod.text("workspace");
    let files = json!([
        {"key": "workspace-task.md", "targetPath": pod.path("workspace/task.md")},
        {"key": "run.sh", "targetPath": pod.path("workspace/bin/run.sh"), "fileMode": 0o4755},
    ]);
    let directories = json!([{"sourcePath": pod.path("configmap-dir-0"), "targetPath": pod.path("workspace/guides")}]);
    let (from, files, directories) = (pod.text("configmap-files"), files.to_string(), directories.to_string());
    let env = [("WORKSPACE_DIR", workspace.as_str()), ("CONFIGMAP_PATH", &from), ("FILE_MAPPINGS", &files), ("DIR_MAPPINGS", &directories)];
    for _ in 0..2 {
        let ended = pod.init("context-init", &env);
        assert_eq!(ended.code, 0, "{}", ended.log);
    }
    let mut modes = pod.modes("workspace");
    modes.sort();
    let inside: Vec<_> =
        modes.iter().map(|(path, mode)| (path.strip_prefix(pod.path("workspace")).unwrap().to_str().unwrap(), *mode)).collect();
    assert_eq!(inside, [("bin", 0o775), ("bin/run.sh", 0o755), ("guides", 0o775), ("guides/a.md", 0o664), ("task.md", 0o664)]);
    assert_eq!(fs::read_to_string(pod.path("workspace/task.md")).unwrap(), "- do it\n");
}

#[test]
fn a_file_of_the_context_that_cannot_be_copied_ends_the_pod_and_is_named() {
    let Some(pod) = Pod::new() else { return };
    pod.config_map("configmap-files", "there", "x");
    let elsewhere = pod.path("tmp");
    symlink(&elsewhere, pod.path("workspace/link")).unwrap();
    let (workspace, from) = (pod.text("workspace"), pod.text("configmap-files"));
    let files = json!([
        {"key": "missing", "targetPath": "/nowhere/x"},
        {"key": "there", "targetPath": pod.path("workspace/link/stolen")},
        {"key": "there", "targetPath": "relative.md"},
    ])
    .to_string();
    let ended = pod.init("context-init", &[("WORKSPACE_DIR", workspace.as_str()), ("CONFIGMAP_PATH", &from), ("FILE_MAPPINGS", &files)]);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (73, Some("WorkspaceConflict")), "{}", ended.log);
    let message = ended.message["message"].as_str().unwrap();
    assert!(message.starts_with("2 parts of the context could not be copied:"), "{message}");
    assert!(message.contains("missing`") && message.contains("is a symbolic link, and is not followed"), "{message}");
    assert!(pod.path("workspace/relative.md").exists(), "the others are there");
    assert!(fs::read_dir(elsewhere).unwrap().next().is_none(), "nothing went through the link");
    let ended = pod.init("context-init", &[("FILE_MAPPINGS", r#"[{"key":"../etc/passwd","targetPath":"x"}]"#), ("DIR_MAPPINGS", "{")]);
    assert_eq!(ended.code, 65, "{}", ended.log);
    for part in ["FILE_MAPPINGS: `../etc/passwd` is no key", "DIR_MAPPINGS: expected JSON"] {
        assert!(ended.log.contains(part), "{part}: {}", ended.log);
    }
}

#[test]
fn a_url_is_fetched_with_its_credentials_and_no_other_place_gets_them() {
    let Some(pod) = Pod::new() else { return };
    let other = Web::start(|_, _| ("200 OK", String::new(), b"openapi: 3.0".to_vec()));
    let target = other.url("/moved");
    let web = Web::start(move |path, _| match path.split('?').next().unwrap_or_default() {
        "/here" => ("200 OK", String::new(), b"from here".to_vec()),
        "/near" => ("302 Found", "Location: /here\r\n".to_owned(), Vec::new()),
        "/far" => ("302 Found", format!("Location: {target}\r\n"), Vec::new()),
        "/forbidden" => ("403 Forbidden", String::new(), b"secret page".to_vec()),
        _ => ("404 Not Found", String::new(), Vec::new()),
    });
    let workspace = pod.text("workspace");
    let fetch = |path: &str, to: &str, more: &[(&str, &str)]| {
        let (url, target) = (web.url(path), pod.path("workspace").join(to).to_str().unwrap().to_owned());
        let env = [("WORKSPACE_DIR", workspace.as_str()), ("URL_SOURCE", &url), ("URL_TARGET", &target)];
        pod.init("url-fetch", &[&env[..], more].concat())
    };
    let token = [("URL_AUTH_TOKEN", "the-token"), ("URL_HEADERS", r#"{"X-Custom":"custom-value","authorization":"Basic other"}"#)];
    for (path, content) in [("/here", "from here"), ("/near", "from here"), ("/far", "openapi: 3.0")] {
        let ended = fetch(path, "specs/file.yaml", &token);
        assert_eq!(ended.code, 0, "{path}: {}", ended.log);
        assert_eq!(fs::read_to_string(pod.path("workspace/specs/file.yaml")).unwrap(), content, "{path}");
        assert!(!ended.log.contains("the-token") && !ended.log.contains("custom-value"), "{}", ended.log);
    }
    for (path, headers) in web.asked() {
        let given = |name: &str| headers.get(name).map(String::as_str);
        assert_eq!((given("authorization"), given("x-custom")), (Some("Bearer the-token"), Some("custom-value")), "{path}");
    }
    for (path, headers) in other.asked() {
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x-custom"), "{path}: {headers:?}");
    }
    let ended = fetch("/here", "basic", &[("URL_AUTH_USERNAME", "u"), ("URL_AUTH_PASSWORD", "p")]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(web.asked().last().unwrap().1["authorization"], "Basic dTpw");
    for (path, code) in [("/forbidden?token=query-secret", 77), ("/missing", 66)] {
        let ended = fetch(path, "never", &token);
        assert_eq!(ended.code, code, "{}", ended.log);
        assert!(!pod.path("workspace/never").exists());
        assert!(!format!("{ended:?}").contains("query-secret"), "{}", ended.log);
    }
}

#[test]
fn a_server_that_does_not_answer_in_time_is_a_network_failure() {
    let Some(pod) = Pod::new() else { return };
    let silent = agent_tests::git_servers::silent();
    let (url, target) = (format!("http://{}/x", silent.address()), pod.text("workspace/x"));
    let ended = pod.init("url-fetch", &[("URL_SOURCE", url.as_str()), ("URL_TARGET", &target), ("URL_TIMEOUT", "3")]);
    assert_eq!((ended.code, ended.message["reason"].as_str()), (75, Some("NetworkFailed")), "{}", ended.log);
    assert!(ended.log.contains("no answer within 3 seconds"), "{}", ended.log);
}

#[test]
fn a_download_that_breaks_off_or_stops_is_a_network_failure_and_leaves_no_file() {
    use std::io::Write;
    let Some(pod) = Pod::new() else { return };
    for (stays, said) in [(false, "http://127.0.0.1"), (true, "not all of it came within 3 seconds")] {
        let web = agent_tests::git_servers::Listener::start(move |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly the start").unwrap();
            if stays {
                // Until the other side has gone.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        });
        let (url, target) = (format!("http://{}/x", web.address()), pod.text("workspace/x"));
        let ended = pod.init("url-fetch", &[("URL_SOURCE", url.as_str()), ("URL_TARGET", &target), ("URL_TIMEOUT", "3")]);
        assert_eq!((ended.code, ended.message["reason"].as_str()), (75, Some("NetworkFailed")), "{}", ended.log);
        assert!(ended.log.contains(said), "{}", ended.log);
        assert!(!pod.path("workspace/x").exists());
    }
}

/// With the real npm, which needs no registry for a package that is a directory.
#[test]
fn plugins_are_installed_by_npm_where_opencode_looks_for_them() {
    let Some(pod) = Pod::new() else { return };
    if std::process::Command::new("npm").arg("--version").output().is_err() {
        return agent_tests::skip::skip("npm is not here");
    }
    let package = pod.path("safety-net");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("package.json"), r#"{"name":"safety-net","version":"1.0.0","main":"index.js"}"#).unwrap();
    fs::write(package.join("index.js"), "export default {}").unwrap();
    let (packages, dir) = (json!([format!("file:{}", package.display())]).to_string(), pod.text("plugins"));
    let ended = pod.init("plugin-init", &[("PLUGIN_PACKAGES", packages.as_str()), ("PLUGIN_DIR", &dir)]);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(pod.path("plugins/node_modules/safety-net/index.js").exists(), "{}", ended.log);
    let ended = pod.init("plugin-init", &[("PLUGIN_PACKAGES", r#"["--global"]"#), ("PLUGIN_DIR", &dir)]);
    assert_eq!(ended.code, 65, "{}", ended.log);
    let ended = pod.init("plugin-init", &[("PLUGIN_PACKAGES", r#"["file:/no/such/directory"]"#), ("PLUGIN_DIR", &dir)]);
    assert!(ended.code != 0 && ended.message["reason"] == "SetupFailed", "{}", ended.log);
    let ended = pod.init("plugin-init", &[("PLUGIN_PACKAGES", r#"["x"]"#), ("PLUGIN_DIR", &dir), ("PATH", "/nonexistent")]);
    assert_eq!(ended.code, 127, "{}", ended.log);
}
