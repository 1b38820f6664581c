//! What a program is started with, and why it could not be started. The starting itself is `child`'s.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{self, Path, PathBuf},
};

use nix::libc;

use crate::files::is_same;

/// A program with everything that it will see; nothing is inherited that is not said here, except descriptors 0 to 2.
#[derive(Debug, Clone)]
pub struct Launch {
    /// A path, or a name that is looked for in `PATH` of [`Self::env`].
    pub program: OsString,
    /// What follows the name in `argv`.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts; ours if not said.
    pub cwd: Option<PathBuf>,
    /// Where it reads.
    pub stdin: Input,
    /// Where it writes.
    pub stdout: Output,
    /// Where it complains.
    pub stderr: Output,
    /// What it is apart from us in.
    pub placement: Placement,
    /// Secrets, each in a pipe of its own that reads as these bytes and then ends; the variable gets the descriptor's number.
    /// Unlike a variable's value they are gone once they are read, and are inherited by nobody.
    pub descriptors: Vec<(OsString, Vec<u8>)>,
}

/// A child's stdin.
#[derive(Debug, Clone)]
pub enum Input {
    /// Ends at once.
    Null,
    /// Ours.
    Inherit,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
}

/// A child's stdout or stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To us.
    Pipe,
    /// Where ours goes.
    Inherit,
    /// Nowhere.
    Null,
}

/// What a child is apart from us in, so that signals to it reach all that it started, and none of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// A process group of its own: in the same session, so job control and the terminal work.
    Group,
    /// A session of its own, without a terminal: a program that would ask on `/dev/tty` (git, ssh) gets an error at once,
    /// where in a group in the background it would be stopped for ever.
    Session,
}

impl Launch {
    /// `program` with our environment, our stdin and our stderr, its stdout piped to us, in a group of its own.
    #[must_use]
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().collect(),
            env: env::vars_os().collect(),
            cwd: None,
            stdin: Input::Inherit,
            stdout: Output::Pipe,
            stderr: Output::Inherit,
            placement: Placement::Group,
            descriptors: Vec::new(),
        }
    }

    /// Starts it in a directory, and says so in `PWD`, where ours says another: some programs (OpenCode) believe that before they ask the
    /// system. To be called when the environment is there.
    pub fn start_in(&mut self, directory: PathBuf) {
        let said = self.env.iter().find(|(name, _)| name == "PWD").map(|(_, value)| Path::new(value));
        // A way to it by links is as good.
        let is_said = said.is_some_and(|said| said.is_absolute() && is_same(said, &directory));
        if !is_said {
            self.env.retain(|(name, _)| name != "PWD" && name != "OLDPWD");
            // Without it a program has to ask.
            self.env.extend(path::absolute(&directory).ok().map(|whole| ("PWD".into(), whole.into())));
        }
        self.cwd = Some(directory);
    }

    /// `PATH` of the child, if the program is looked for there.
    fn search_path(&self) -> Option<&OsStr> {
        if self.program.as_bytes().contains(&b'/') {
            return None;
        }
        let path = self.env.iter().rev().find(|(name, _)| name == "PATH");
        // what the C library takes when there is none
        Some(path.map_or_else(|| OsStr::new("/bin:/usr/bin"), |(_, value)| value))
    }

    /// The paths to try, in order, from where it starts: as `execvp(3)` does it. Each has a slash.
    pub(super) fn candidates(&self) -> Vec<PathBuf> {
        match self.search_path() {
            None => vec![self.program.clone().into()],
            Some(_) if self.program.is_empty() => Vec::new(),
            Some(path) => env::split_paths(path)
                // an empty one is the directory at hand
                .map(|directory| if directory.as_os_str().is_empty() { ".".into() } else { directory })
                .map(|directory: PathBuf| directory.join(&self.program))
                .collect(),
        }
    }
}

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No such file, or none of that name in `PATH`.
    #[error("`{}` was not found", program.display())]
    NotFound {
        /// As it was asked for.
        program: OsString,
        /// `PATH`, if it was looked for there.
        path: Option<OsString>,
    },
    /// The file is there, and the kernel does not run it.
    #[error("`{}` cannot be executed", program.display())]
    NotExecutable {
        /// As it was asked for.
        program: OsString,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file is a script or a dynamic binary, and what is to interpret it is not there.
    #[error("`{}` needs `{}`, which was not found", program.display(), interpreter.display())]
    InterpreterNotFound {
        /// As it was asked for.
        program: OsString,
        /// From its first line, or its program header.
        interpreter: PathBuf,
    },
    /// E2BIG.
    #[error("the arguments and the environment of `{}` are too large ({total} bytes; the largest is {largest} with {largest_bytes})", program.display())]
    TooLarge {
        /// As it was asked for.
        program: OsString,
        /// Of all strings.
        total: usize,
        /// `argument 3`, or `variable NAME`.
        largest: String,
        /// Of that one, with its final NUL.
        largest_bytes: usize,
    },
    /// The directory to start in is not one, or not ours to enter.
    #[error("`{}` cannot be the working directory of `{}`", directory.display(), program.display())]
    WorkingDirectory {
        /// As it was asked for.
        program: OsString,
        /// The directory.
        directory: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// No pipe, no memory for the input.
    #[error("no pipes for `{}`", program.display())]
    Pipes {
        /// As it was asked for.
        program: OsString,
        /// The kernel's word.
        source: io::Error,
    },
    /// fork failed.
    #[error("no process for `{}`", program.display())]
    NoProcess {
        /// As it was asked for.
        program: OsString,
        /// The kernel's word.
        source: io::Error,
    },
    /// An argument or a variable holds a NUL, or a variable has no name.
    #[error("an argument or a variable of `{}` holds a NUL byte", program.display())]
    NulByte {
        /// As it was asked for.
        program: OsString,
    },
}

impl LaunchError {
    /// 127 when there is no such program, 126 when there is and it does not start: as shells, `env` and `timeout` do it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. }
            | Self::InterpreterNotFound { .. }
            | Self::TooLarge { .. }
            | Self::WorkingDirectory { .. }
            | Self::Pipes { .. }
            | Self::NoProcess { .. }
            | Self::NulByte { .. } => 126,
        }
    }

    /// What to change.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { program, path: Some(path) } => {
                format!("install `{}` in the image, or give its whole path; PATH is `{}`", program.display(), path.display())
            }
            Self::NotFound { program, path: None } => format!(
                "`{}` is not a file in this image; look for a typing error, or leave the directory out to search PATH",
                program.display()
            ),
            Self::NotExecutable { program, .. } => format!(
                "`chmod a+x {}`, see that its file system is not mounted `noexec`, and that it was built for this machine",
                program.display()
            ),
            Self::InterpreterNotFound { interpreter, .. } => format!(
                "install `{}` in the image; a script with Windows line ends, or a binary for another C library, looks like this too",
                interpreter.display()
            ),
            Self::TooLarge { .. } => "one string may have 131,071 bytes, all together about a quarter of the stack limit \
                                      (`ulimit -s`); pass long text by file or stdin"
                .into(),
            Self::WorkingDirectory { .. } => "create the directory, or let this user enter it".into(),
            Self::Pipes { .. } => "raise the limit of open files (`ulimit -n`), or of memory".into(),
            Self::NoProcess { .. } => "raise the limit of processes (`pids` of the container, `ulimit -u`), or of memory".into(),
            Self::NulByte { .. } => "pass binary data by file or stdin".into(),
        }
    }

    /// Finds the reason behind what fork or exec answered.
    ///
    /// exec says ENOENT for a missing program, a missing interpreter, and a missing directory alike, so the answer is looked
    /// for in the file system; who changes that meanwhile gets the less exact message, nothing worse.
    pub(crate) fn diagnose(launch: &Launch, source: io::Error) -> Self {
        let program = launch.program.clone();
        if let Some(directory) = &launch.cwd
            && let Err(refusal) = fs::read_dir(directory).map(drop)
            && matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES))
            && (refusal.kind() != io::ErrorKind::PermissionDenied
                || nix::unistd::access(directory.as_path(), nix::unistd::AccessFlags::X_OK).is_err())
        {
            let directory = directory.clone();
            return Self::WorkingDirectory { program, directory, source };
        }
        match source.raw_os_error() {
            Some(libc::E2BIG) => too_large(launch),
            Some(libc::EAGAIN | libc::ENOMEM) => Self::NoProcess { program, source },
            Some(libc::EMFILE | libc::ENFILE) => Self::Pipes { program, source },
            None if source.kind() == io::ErrorKind::InvalidInput => Self::NulByte { program },
            _ => match (find(launch), source.raw_os_error()) {
                (Some(file), Some(libc::ENOENT)) => match interpreter(&file) {
                    Some(interpreter) => Self::InterpreterNotFound { program, interpreter },
                    None => Self::NotExecutable { program, source },
                },
                (None, Some(libc::ENOENT | libc::ENOTDIR)) => Self::NotFound { program, path: launch.search_path().map(OsStr::to_owned) },
                _ => Self::NotExecutable { program, source },
            },
        }
    }
}

/// The program's file: the one that is named, or the first of the path that can be executed.
fn find(launch: &Launch) -> Option<PathBuf> {
    let start = launch.cwd.as_deref().unwrap_or(Path::new(""));
    let is_named = launch.search_path().is_none();
    let is_program = |file: &PathBuf| fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    launch.candidates().iter().map(|file| start.join(file)).find(|file| if is_named { file.exists() } else { is_program(file) })
}

/// What the file's first line names (`#!`), or its ELF program header: the part of it within the first page, where linkers
/// put it.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let bytes = if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii_start();
        line.split(|&byte| byte == b' ' || byte == b'\t').next()?
    } else if head.starts_with(b"\x7fELF") {
        let at = head.windows(4).position(|four| four == b"/lib")?;
        head.get(at..)?.split(|&byte| byte == 0).next()?
    } else {
        return None;
    };
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

fn too_large(launch: &Launch) -> LaunchError {
    let mut total = launch.program.len() + 1;
    let (mut largest, mut largest_bytes) = ("argument 0".to_owned(), total);
    let mut note = |bytes: usize, name: &dyn Fn() -> String| {
        total += bytes;
        if bytes > largest_bytes {
            (largest, largest_bytes) = (name(), bytes);
        }
    };
    for (at, argument) in launch.args.iter().enumerate() {
        note(argument.len() + 1, &|| format!("argument {}", at + 1));
    }
    for (name, value) in &launch.env {
        note(name.len() + value.len() + 2, &|| format!("variable {}", name.display()));
    }
    LaunchError::TooLarge { program: launch.program.clone(), total, largest, largest_bytes }
}

#[cfg(test)]
mod tests {
    use std::{fs, io, os::unix::fs::PermissionsExt};

    use nix::libc;

    use super::{Launch, LaunchError};

    fn diagnose(launch: &Launch, errno: i32) -> LaunchError {
        LaunchError::diagnose(launch, io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_script_without_its_interpreter_is_not_a_missing_program() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#! /no/such/shell -e\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let error = diagnose(&Launch::new(&script, []), libc::ENOENT);
        assert!(
            matches!(&error, LaunchError::InterpreterNotFound { interpreter, .. } if interpreter.as_os_str() == "/no/such/shell"),
            "{error:?}"
        );
        assert_eq!(error.code(), 126);
    }

    #[test]
    fn a_missing_directory_is_not_a_missing_program() {
        let mut launch = Launch::new("true", []);
        launch.cwd = Some("/no/such/directory".into());
        let error = diagnose(&launch, libc::ENOENT);
        assert!(matches!(error, LaunchError::WorkingDirectory { .. }), "{error:?}");
    }

    #[test]
    fn too_large_names_the_largest() {
        let mut launch = Launch::new("true", ["x".into(), "y".repeat(200_000).into()]);
        launch.env = vec![("SMALL".into(), "1".into())];
        let text = diagnose(&launch, libc::E2BIG).to_string();
        assert_eq!(text, "the arguments and the environment of `true` are too large (200016 bytes; the largest is argument 2 with 200001)");
    }

    #[test]
    fn what_is_not_in_the_path_is_not_found() {
        let mut launch = Launch::new("no-such-program", []);
        launch.env = vec![("PATH".into(), "/bin".into())];
        let error = diagnose(&launch, libc::ENOENT);
        assert_eq!(error.code(), 127);
        assert_eq!(error.to_string(), "`no-such-program` was not found");
        assert!(error.hint().contains("PATH is `/bin`"), "{}", error.hint());
    }
}
