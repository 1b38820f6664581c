//! The engines, each with real containers: what one does, all do.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/image.rs"]
mod image;
#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_conformance::suite::engine::choose::{self, Choice};
use agent_conformance::suite::engine::exec::Exec;
use agent_conformance::suite::engine::podman::Podman;
use agent_conformance::suite::engine::{Container, Engine, EngineError, Mount, OUTPUT_LIMIT, Program, Start};
use agent_conformance::suite::evidence::{Ability, Ended};
use agent_conformance::suite::subject::{FileFact, FileFacts, ImageConfig, LOADERS};
use image::{Image, ONLY_DOCKER};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use skip::skip;
use tempfile::TempDir;

/// Much more than anything here takes: a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn program() -> Program {
    Program(Some(env!("CARGO_BIN_EXE_agent-conformance").into()))
}

/// All engines that work here and isolate, with the test's image.
fn engines() -> (Arc<Image>, Vec<Box<dyn Engine>>) {
    let image = Image::shared();
    let rootfs = format!("rootfs:{}", image.root().display());
    let tried = [("podman", &image.name), ("runc", &rootfs), ("namespace", &rootfs)];
    let tried = if std::env::var_os(ONLY_DOCKER).is_some() { vec![("docker", &image.name)] } else { tried.to_vec() };
    let engines = tried.into_iter().filter_map(|(name, reference)| match choose::open(reference, &by(name)) {
        Ok(engine) => Some(engine),
        Err(EngineError::Unusable { engine, why }) => {
            skip(&format!("{engine}: {why}"));
            None
        }
        Err(error) => panic!("{error}"),
    });
    (image.clone(), engines.collect())
}

fn by(engine: &str) -> Choice {
    Choice { engine: Some(engine.to_owned()), program: program(), ..Choice::default() }
}

/// What became of a container.
struct Seen {
    ended: Ended,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Seen {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end()
    }
}

/// A container that runs, with its output.
struct Running {
    container: Box<dyn Container>,
    dir: TempDir,
}

fn begin(engine: &dyn Engine, start: Start) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let start = Start { stdout: dir.path().join("stdout"), stderr: dir.path().join("stderr"), ..start };
    let container = engine.start(&start).unwrap_or_else(|error| panic!("{}: {error}", engine.name()));
    Running { container, dir }
}

impl Running {
    fn end(mut self) -> Seen {
        let ended = self.container.wait(PATIENCE).unwrap().expect("it ends");
        let read = |name: &str| fs::read(self.dir.path().join(name)).unwrap();
        Seen { ended, stdout: read("stdout"), stderr: read("stderr") }
    }

    /// Waits until it has said `ready`.
    fn ready(&mut self) {
        loop {
            let said = fs::read_to_string(self.dir.path().join("stdout")).unwrap();
            if said.contains("ready\n") {
                return;
            }
            let ended = self.container.wait(Duration::from_millis(20)).unwrap();
            assert_eq!(ended, None, "it has ended, and said {said:?} {:?}", fs::read_to_string(self.dir.path().join("stderr")));
        }
    }
}

fn script(script: &str) -> Start {
    Start { args: Some(vec![script.to_owned()]), ..Start::default() }
}

fn run(engine: &dyn Engine, start: Start) -> Seen {
    begin(engine, start).end()
}

/// What is to be known of the test image's files.
fn facts() -> FileFacts {
    let agent = FileFact { path: "/opt/agent/bin/agent".into(), regular: true, mode: 0o755, size: 32 };
    FileFacts {
        agent: Some(agent),
        interpreter: None,
        loaders: LOADERS.iter().filter(|path| Path::new(path).exists()).map(|path| (*path).to_owned()).collect(),
        certificates: vec!["/etc/ssl/certs/ca-certificates.crt".into()],
        set_id: vec!["/bin/raised".into()],
    }
}

#[test]
fn the_image_runs_as_its_configuration_says() {
    let (_image, engines) = engines();
    for engine in engines {
        let name = engine.name();
        assert_eq!(engine.abilities(), Ability::ALL.into(), "{name}");
        let subject = engine.inspect().unwrap();
        assert_eq!(subject.config, Image::config(), "{name}");
        assert_eq!(subject.files, Some(facts()), "{name}");
        let seen = run(&*engine, Start::default());
        assert_eq!((seen.ended, seen.text()), (Ended::Code(0), "from the image"), "{name}");
        let seen = run(&*engine, script("id -u; id -g; pwd; echo $HOME; echo $$"));
        assert_eq!(seen.text(), "1000\n1000\n/home/agent\n/home/agent\n1", "{name}");
    }
}

#[test]
fn exit_codes_are_the_images_own() {
    let (_image, engines) = engines();
    for engine in engines {
        for code in [0, 1, 17, 125, 126, 127, 137, 255] {
            assert_eq!(run(&*engine, script(&format!("exit {code}"))).ended, Ended::Code(code), "{}", engine.name());
        }
    }
}

#[test]
fn an_entry_point_that_is_not_there_is_no_error_of_the_engine() {
    let image = Image::shared();
    let entries = [("/nowhere/agent", 127), ("nowhere", 127), ("/etc/passwd", 126)];
    for (engine, (entry, code)) in ["namespace", "runc"].into_iter().flat_map(|engine| entries.map(|entry| (engine, entry))) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        fs::write(&config, serde_json::to_vec(&ImageConfig { entrypoint: vec![entry.into()], ..Image::config() }).unwrap()).unwrap();
        let reference = format!("rootfs:{}", image.root().display());
        match choose::open(&reference, &Choice { config: Some(config), ..by(engine) }) {
            Ok(made) => assert_eq!(run(&*made, Start::default()).ended, Ended::Code(code), "{engine} {entry}"),
            Err(error) => skip(&error.to_string()),
        }
    }
    if let Err(error) = Podman::new(&image.name) {
        return skip(&error.to_string());
    }
    for (entry, code) in entries {
        let name = format!("localhost/agent-conformance-entry-{}:latest", std::process::id());
        let container = image::run(std::process::Command::new("podman").args(["create", &image.name]));
        let container = String::from_utf8(container.stdout).unwrap();
        let container = container.trim();
        let change = format!("ENTRYPOINT [\"{entry}\"]");
        image::run(std::process::Command::new("podman").args(["commit", "--quiet", "--change", &change, container, &name]));
        image::run(std::process::Command::new("podman").args(["rm", container]));
        let engine = Podman::new(&name).unwrap();
        let first = run(&engine, Start::default()).ended;
        let second = run(&engine, Start::default()).ended;
        image::run(std::process::Command::new("podman").args(["rmi", "--force", &name]));
        assert_eq!((first, second), (Ended::Code(code), Ended::Code(code)), "{entry}");
    }
}

#[test]
fn variables_come_whole_and_those_of_the_start_win() {
    let (_image, engines) = engines();
    let mut env = BTreeMap::from([("COLOUR".to_owned(), "blue".to_owned()), ("EMPTY".to_owned(), String::new())]);
    env.insert("PROMPT".to_owned(), "two\nlines = \"quoted\" $PATH #\u{e9}".to_owned());
    env.insert("LONG".to_owned(), "x".repeat(100_000));
    env.insert("HOME".to_owned(), "/tmp/home".to_owned());
    for engine in engines {
        let print = "printf '%s|%s|%s|%s|%s|%s' \"$AGENT_TYPE\" \"$COLOUR\" \"${EMPTY-absent}\" \"$PROMPT\" \"$HOME\" \"${#LONG}\"";
        let seen = run(&*engine, Start { env: env.clone(), ..script(print) });
        assert_eq!(seen.text(), "command|blue||two\nlines = \"quoted\" $PATH #\u{e9}|/tmp/home|100000", "{}", engine.name());
    }
}

#[test]
fn output_is_kept_byte_by_byte_and_apart() {
    let (_image, engines) = engines();
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = dir.path().join("bytes");
    fs::write(&file, &bytes).unwrap();
    let mounts = vec![Mount { host: file, container: "/bytes".into(), read_only: true }];
    for engine in engines {
        let seen = run(
            &*engine,
            Start {
                mounts: mounts.clone(),
                ..script("cat /bytes; head -c 70000 /bytes >&2; printf 'no newline \\xff\\x00\\r' > /dev/stderr")
            },
        );
        assert_eq!(seen.ended, Ended::Code(0), "{}", engine.name());
        assert!(seen.stdout == bytes, "{}: {} bytes of {}", engine.name(), seen.stdout.len(), bytes.len());
        let errors = [&bytes[..70_000], b"no newline \xff\x00\r"].concat();
        assert!(seen.stderr == errors, "{}: {} bytes of {}", engine.name(), seen.stderr.len(), errors.len());
    }
}

#[test]
fn endless_output_is_cut_and_stops_nothing() {
    let (_image, engines) = engines();
    for engine in engines {
        let length = OUTPUT_LIMIT + 1_000_000;
        let seen = run(&*engine, script(&format!("head -c {length} /dev/zero; exit 3")));
        assert_eq!((seen.ended, seen.stdout.len() as u64), (Ended::Code(3), OUTPUT_LIMIT), "{}", engine.name());
    }
}

#[test]
fn any_user_with_nothing_but_scratch() {
    let (_image, engines) = engines();
    for engine in engines {
        // podman's service, which tests take for docker's, mounts a tmpfs there that nobody asked for
        let run_too = if engine.name() == "docker" { "" } else { "/run" };
        let start = Start {
            user: Some((4711, 0)),
            read_only: true,
            scratch: vec!["/tmp".into(), "/made/for/this".into()],
            no_capabilities: true,
            env: BTreeMap::from([("RUN_TOO".to_owned(), run_too.to_owned())]),
            ..script(
                "id -u; id -g; for place in / /home/agent /opt /tmp /made/for/this /dev $RUN_TOO; do
                    if [ -d $place ]; then touch $place/file 2>/dev/null && echo can write $place; fi; done
                 echo '#!/bin/bash' > /tmp/run; echo 'echo runs' >> /tmp/run; /bin/bash -c 'cat /tmp/run > /made/for/this/run'; /bin/bash /made/for/this/run
                 while read name value; do case $name in CapEff:|CapPrm:|CapBnd:|CapAmb:|NoNewPrivs:) echo $name $value;; esac; done < /proc/self/status",
            )
        };
        let seen = run(&*engine, start);
        let none = "0000000000000000";
        let expected = format!(
            "4711\n0\ncan write /tmp\ncan write /made/for/this\nruns\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\nNoNewPrivs: 1"
        );
        assert_eq!(seen.text(), expected, "{}: {}", engine.name(), String::from_utf8_lossy(&seen.stderr));
    }
}

#[test]
fn root_without_capabilities_has_none() {
    let (_image, engines) = engines();
    let show = "while read name value; do case $name in CapEff:|NoNewPrivs:) echo $name $value;; esac; done < /proc/self/status";
    let mut with = Vec::new();
    for engine in engines {
        let seen = run(&*engine, Start { user: Some((0, 0)), no_capabilities: true, ..script(show) });
        assert_eq!(seen.text(), "CapEff: 0000000000000000\nNoNewPrivs: 1", "{}", engine.name());
        let seen = run(&*engine, Start { user: Some((0, 0)), ..script(show) });
        with.push((engine.name(), seen.text().to_owned()));
    }
    let same = with.iter().all(|(_, seen)| seen.contains("NoNewPrivs: 0") && *seen == with[0].1);
    assert!(same && !with.is_empty(), "the same on all engines: {with:?}");
}

#[test]
fn a_signal_reaches_pid_1() {
    let (_image, engines) = engines();
    for engine in engines {
        let mut running = begin(&*engine, script("trap 'echo heard; exit 42' TERM; echo ready; while :; do sleep 0.05; done"));
        running.ready();
        running.container.signal(Signal::SIGTERM).unwrap();
        let seen = running.end();
        assert_eq!((seen.ended, seen.text()), (Ended::Code(42), "ready\nheard"), "{}", engine.name());
    }
}

#[test]
fn death_by_a_signal_is_not_the_suites_kill() {
    let (_image, engines) = engines();
    for engine in engines {
        let mut running = begin(&*engine, script("echo ready; while :; do sleep 0.05; done"));
        running.ready();
        running.container.signal(Signal::SIGKILL).unwrap();
        assert_eq!(running.end().ended, Ended::Code(137), "{}", engine.name());

        let mut running =
            begin(&*engine, script("trap '' TERM; (while :; do sleep 0.05; done) & echo ready; while :; do sleep 0.05; done"));
        running.ready();
        assert_eq!(running.container.wait(Duration::from_millis(1)).unwrap(), None, "{}", engine.name());
        running.container.kill().unwrap();
        assert_eq!(running.end().ended, Ended::Killed, "{}", engine.name());
    }
}

#[test]
fn a_container_that_is_dropped_is_gone() {
    let (_image, engines) = engines();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for engine in engines {
        let lock = dir.path().join(engine.name());
        fs::write(&lock, "").unwrap();
        let mounts = vec![Mount { host: lock.clone(), container: "/lock".into(), read_only: true }];
        let mut running = begin(
            &*engine,
            Start { mounts, ..script("exec 9< /lock; (while :; do sleep 0.05; done) & echo ready; while :; do sleep 0.05; done") },
        );
        running.ready();
        assert_ne!(holders(&lock), Vec::<PathBuf>::new(), "{}: the test sees them while they run", engine.name());
        drop(running);
        assert_eq!(holders(&lock), Vec::<PathBuf>::new(), "{}", engine.name());
    }
}

/// Processes that have a file open.
fn holders(file: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let wanted = fs::metadata(file).map(|file| (file.dev(), file.ino())).unwrap();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let holds = |process: &PathBuf| {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut files = descriptors.filter_map(|entry| fs::metadata(entry.path()).ok());
        files.any(|file| (file.dev(), file.ino()) == wanted)
    };
    processes.filter(holds).collect()
}

#[test]
fn mounts_stand_over_files_and_links_and_where_nothing_was() {
    let (image, engines) = engines();
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let agent = file("agent", "#!/bin/bash\necho the fake agent\n", 0o755);
    let told = file("told", "told\n", 0o666);
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::set_permissions(&below, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(below.join("seen"), "seen\n").unwrap();
    for engine in engines {
        let name = engine.name();
        let log = file(&format!("log-{name}"), "", 0o666);
        let mount = |host: &Path, container: &str, read_only| Mount { host: host.to_owned(), container: container.into(), read_only };
        let mounts = vec![
            mount(&agent, "/bin/agent", true),
            mount(&told, "/opt/link/deep/told", true),
            mount(&log, "/dev/termination-log", false),
            mount(&below, "/tmp/below", false),
        ];
        assert_eq!(engine.container_path(&mounts[0]), Path::new("/bin/agent"));
        for read_only in [false, true] {
            let start = Start {
                mounts: mounts.clone(),
                read_only,
                scratch: vec!["/tmp".into()],
                ..script(
                    "agent; /opt/agent/bin/agent; cat /real/deep/told; cat /tmp/below/seen; echo message > /dev/termination-log; echo x > /tmp/below/new-$BASHPID
                     echo changed 2>/dev/null > /real/deep/told || echo read-only",
                )
            };
            let seen = run(&*engine, start);
            let expected = "the fake agent\nthe fake agent\ntold\nseen\nread-only";
            assert_eq!((seen.ended, seen.text()), (Ended::Code(0), expected), "{name}: {}", String::from_utf8_lossy(&seen.stderr));
            assert_eq!(fs::read_to_string(&log).unwrap(), "message\n", "{name}");
        }
        assert_eq!(fs::read_to_string(&told).unwrap(), "told\n");
        assert_eq!(fs::read_to_string(image.root().join("opt/agent/bin/agent")).unwrap(), "#!/bin/bash\necho the real agent\n");
        let seen = run(&*engine, script("agent; [ -e /real/deep ] && echo changed"));
        assert_eq!(seen.text(), "the real agent", "{name}: the image is as it was");
    }
}

#[test]
fn what_a_container_writes_is_gone_with_it() {
    let (image, engines) = engines();
    for engine in engines {
        let seen = run(
            &*engine,
            Start { user: Some((0, 0)), ..script("echo evil > /opt/agent/bin/agent; mkdir /new; touch /new/file; echo done") },
        );
        assert_eq!(seen.text(), "done", "{}", engine.name());
        let seen = run(&*engine, script("agent; ls / | while read name; do [ $name = new ] && echo $name; done"));
        assert_eq!(seen.text(), "the real agent", "{}", engine.name());
        assert!(!image.root().join("new").exists(), "{}", engine.name());
    }
}

#[test]
fn the_network_is_the_hosts() {
    let (_image, engines) = engines();
    for engine in engines {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut running = begin(&*engine, script(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo question >&3; cat <&3")));
        listener.set_nonblocking(true).unwrap();
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let ended = running.container.wait(Duration::from_millis(20)).unwrap();
                    assert_eq!(ended, None, "{}: it ended without a word", engine.name());
                }
                Err(error) => panic!("{error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        let mut question = [0; 9];
        stream.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"question\n");
        stream.write_all(b"answer\n").unwrap();
        drop(stream);
        assert_eq!(running.end().text(), "answer", "{}", engine.name());
    }
}

#[test]
fn an_image_that_is_not_there_is_said_to_be_absent() {
    let Ok(engine) = Podman::new("localhost/nobody-has-this:latest") else {
        return skip("podman does not work here");
    };
    let error = engine.inspect().unwrap_err();
    assert!(matches!(&error, EngineError::NoImage { reference, .. } if reference == "localhost/nobody-has-this:latest"), "{error}");
}

#[test]
fn a_command_on_the_host_gets_what_the_start_says_and_leaves_nothing() {
    let config = ImageConfig { env: vec!["AGENT_TYPE=command".into()], ..ImageConfig::default() };
    let engine = Exec::new(vec!["/bin/bash".into(), "-c".into()], config, program()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lock = dir.path().join("lock");
    fs::write(&lock, "").unwrap();
    let mount = Mount { host: lock.clone(), container: "/lock".into(), read_only: true };
    assert_eq!(engine.container_path(&mount), lock);

    let env =
        BTreeMap::from([("SAID".to_owned(), "so".to_owned()), ("LOCK".to_owned(), engine.container_path(&mount).display().to_string())]);
    let seen = run(
        &engine,
        Start { env: env.clone(), ..script("echo $AGENT_TYPE $SAID $CARGO_MANIFEST_DIR $USER; cd; [ \"$PWD\" = \"$HOME\" ] && exit 17") },
    );
    assert_eq!((seen.ended, seen.text()), (Ended::Code(17), "command so"));

    // an orphan in a session of its own holds the output, too
    let orphan = "exec 9< $LOCK; setsid bash -c 'while :; do sleep 0.05; done' & echo ready; exit 3";
    let seen = run(&engine, Start { env: env.clone(), ..script(orphan) });
    assert_eq!(seen.ended, Ended::Code(3));
    assert_eq!(holders(&lock), Vec::<PathBuf>::new());

    let mut running = begin(&engine, Start { env: env.clone(), ..script("trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done") });
    running.ready();
    running.container.signal(Signal::SIGTERM).unwrap();
    assert_eq!(running.end().ended, Ended::Code(42));

    let mut running =
        begin(&engine, Start { env, ..script("exec 9< $LOCK; setsid bash -c 'while :; do sleep 0.05; done' & echo ready; sleep 1000") });
    running.ready();
    drop(running);
    assert_eq!(holders(&lock), Vec::<PathBuf>::new());
    assert!(engine.start(&Start { read_only: true, ..Start::default() }).is_err(), "it cannot do that, and says so");
}

#[test]
fn archives_are_read_as_what_was_saved_and_started_from_there() {
    let image = Image::shared();
    let Ok(podman) = Podman::new(&image.name) else {
        return skip("podman does not work here, and nothing else here writes archives");
    };
    let dir = tempfile::tempdir().unwrap();
    for format in ["oci-archive", "docker-archive", "oci-dir"] {
        let file = dir.path().join(format);
        image::run(
            std::process::Command::new("podman").args(["save", "--quiet", "--format", format, "--output"]).arg(&file).arg(&image.name),
        );
        let reference = format!("{}:{}", if format == "oci-dir" { "oci" } else { format }, file.display());
        let subject = choose::open(&reference, &by("static")).unwrap().inspect().unwrap();
        assert_eq!((&subject.config, &subject.files), (&Image::config(), &Some(facts())), "{format}");
        if format == "oci-archive" {
            assert!(podman.inspect().unwrap().digest.is_some_and(|digest| digest.starts_with("sha256:")));
            assert!(subject.digest.is_some_and(|digest| digest.starts_with("sha256:")));
        }
        match choose::open(&reference, &by("namespace")) {
            Ok(engine) => assert_eq!(run(&*engine, script("agent; id -u")).text(), "the real agent\n1000", "{format}"),
            Err(error) => skip(&error.to_string()),
        }
    }
    let broken = dir.path().join("oci-dir/blobs/sha256");
    let layer =
        fs::read_dir(&broken).unwrap().map(|entry| entry.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let error = choose::open(&format!("oci:{}", dir.path().join("oci-dir").display()), &by("static")).unwrap_err();
    assert!(matches!(error, EngineError::NoImage { .. }), "{error}");
}

#[test]
fn docker_does_the_same_by_the_service_that_answers() {
    if std::env::var_os(ONLY_DOCKER).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    // a service decides of the limits, not its client; where the machine may not raise them, its own defaults would be too high
    let most = |resource, most: u64| getrlimit(resource).unwrap().1.min(most);
    let (files, processes) = (most(Resource::RLIMIT_NOFILE, u64::MAX), most(Resource::RLIMIT_NPROC, 16_384));
    let limits = format!("default_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]");
    let config = dir.path().join("containers.conf");
    fs::write(&config, format!("[containers]\n{limits}\n")).unwrap();
    let service = std::process::Command::new("podman")
        .args(["system", "service", "--time", "0", &format!("unix://{}", socket.display())])
        .env("CONTAINERS_CONF", &config)
        .stderr(std::process::Stdio::null())
        .spawn();
    let docker = std::process::Command::new("docker").arg("--version").output();
    let (Ok(mut service), Ok(_)) = (service, docker) else {
        return skip("there is no podman to serve docker's client, or no such client");
    };
    // it listens when the socket can be connected to
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert_eq!(service.try_wait().unwrap(), None, "the service has ended");
        std::thread::yield_now();
    }
    // A machine that has both, and the image in docker's storage alone.
    let image = Image::shared();
    let empty = dir.path().join("storage.conf");
    let at = dir.path().display();
    fs::write(&empty, format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{at}/graph\"\nrunroot = \"{at}/run\"\n")).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_agent-conformance"));
    check.args(["check", "--profile", "image", "--only", "IMG-005", "--report", "json=-", &image.name]);
    check.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("CONTAINERS_STORAGE_CONF", &empty);
    let checked = check.output();
    let tests = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "archives", "--skip", "host_gets", "--skip", "entry_point", "--skip", "absent"])
        .env(ONLY_DOCKER, "1")
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .output()
        .unwrap();
    service.kill().unwrap();
    service.wait().unwrap();
    let checked = checked.unwrap();
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(report.contains("\"engine\": \"docker\""), "{report}{}", String::from_utf8_lossy(&checked.stderr));
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stdout));
}

#[test]
fn engines_tell_of_themselves() {
    let known = choose::engines(&program());
    assert_eq!(known.iter().map(|engine| engine.name).collect::<Vec<_>>(), choose::NAMES);
    assert!(known.iter().filter(|engine| !engine.usable).all(|engine| !engine.about.is_empty()), "{known:?}");
    let static_one = known.last().unwrap();
    assert!(static_one.usable && !static_one.abilities.contains(&Ability::Start), "{static_one:?}");
    let error = choose::open("image", &by("kubernetes")).unwrap_err();
    assert!(error.to_string().contains("podman, docker, runc, namespace, exec, static"), "{error}");
}
