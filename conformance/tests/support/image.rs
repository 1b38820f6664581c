//! An image for tests: bash and a few programs of this machine, with the libraries that they need.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agent_conformance::suite::subject::ImageConfig;
use tempfile::TempDir;

const PROGRAMS: &[&str] = &["bash", "cat", "head", "id", "ls", "mkdir", "sleep", "touch"];

/// Set where only docker is to be tried.
pub const ONLY_DOCKER: &str = "AGENT_CONFORMANCE_TESTS_ONLY_DOCKER";

/// The image, as a root file system, and in an engine's storage where it works.
pub struct Image {
    dir: TempDir,
    /// What the engine calls it.
    pub name: String,
    imported: Option<&'static str>,
}

impl Image {
    /// The one that all running tests share. The last of them removes it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Image>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    /// The root file system.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Its configuration.
    pub fn config() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/bin/bash".into(), "-c".into()],
            cmd: vec!["echo from the image".into()],
            env: vec!["PATH=/bin".into(), "AGENT_TYPE=command".into(), "COLOUR=red".into()],
            user: "agent".into(),
            working_dir: "/home/agent".into(),
            labels: [("agent", "command"), ("agent.path", "/bin/agent")]
                .map(|(name, value)| (format!("io.github.agent-runner.{name}"), value.to_owned()))
                .into(),
            volumes: BTreeSet::new(),
        }
    }

    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for path in ["bin", "etc", "home/agent", "opt/agent/bin", "real", "tmp"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(root.join("home/agent"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/bash\nagent:x:1000:1000::/home/agent:/bin/bash\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nagent:x:1000:\n").unwrap();
        fs::write(root.join("opt/agent/bin/agent"), "#!/bin/bash\necho the real agent\n").unwrap();
        fs::set_permissions(root.join("opt/agent/bin/agent"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
        fs::write(root.join("etc/ssl/certs/ca-certificates.crt"), "certificates\n").unwrap();
        fs::copy("/bin/true", root.join("bin/raised")).unwrap();
        fs::set_permissions(root.join("bin/raised"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/opt/agent/bin/agent", root.join("bin/agent")).unwrap();
        symlink("../real", root.join("opt/link")).unwrap();
        for program in PROGRAMS {
            let from = fs::canonicalize(find(program)).unwrap();
            fs::copy(&from, root.join("bin").join(program)).unwrap();
            for library in libraries(&from) {
                let to = root.join(library.strip_prefix("/").unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&library, &to).unwrap();
            }
        }
        let config = serde_json::json!({"config": Self::config()});
        fs::write(dir.path().join("root.config.json"), config.to_string()).unwrap();
        let name = format!("localhost/agent-conformance-engines-{}:latest", std::process::id());
        let engine = if std::env::var_os(ONLY_DOCKER).is_some() { "docker" } else { "podman" };
        let mut image = Self { dir, name, imported: None };
        image.imported = image.import(engine).then_some(engine);
        image
    }

    fn import(&self, engine: &str) -> bool {
        let config = Self::config();
        let tar = self.dir.path().join("root.tar");
        run(Command::new("tar").arg("-C").arg(self.root()).arg("-cf").arg(&tar).arg("."));
        let mut import = Command::new(engine);
        import.arg("import");
        import.arg("--change").arg(format!("ENTRYPOINT {}", serde_json::to_string(&config.entrypoint).unwrap()));
        import.arg("--change").arg(format!("CMD {}", serde_json::to_string(&config.cmd).unwrap()));
        for variable in &config.env {
            import.arg("--change").arg(format!("ENV {variable}"));
        }
        for (name, value) in &config.labels {
            import.arg("--change").arg(format!("LABEL {name}={value}"));
        }
        import.arg("--change").arg(format!("USER {}", config.user)).arg("--change").arg(format!("WORKDIR {}", config.working_dir));
        import.arg(&tar).arg(&self.name).stdin(Stdio::null());
        let imported = import.output().is_ok_and(|output| output.status.success());
        fs::remove_file(tar).unwrap();
        imported
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Some(engine) = self.imported {
            run(Command::new(engine).args(["rmi", "--force", &self.name]));
        }
    }
}

/// Runs a program that has to succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    path.split(':').map(|dir| Path::new(dir).join(program)).find(|place| place.is_file()).unwrap()
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = run(Command::new("ldd").arg(program));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
