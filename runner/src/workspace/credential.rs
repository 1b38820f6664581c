//! Credentials: the token file, read anew at each use, and git's credential protocol for the agent's own `git push`.
//!
//! The clone's `.git/config` names this program and the *path* of the token file as the helper for the repository's own
//! `scheme://host[:port]`. git asks with `get` on stdin (`gitcredentials(7)`, `git-credential(1)`); the answer goes to that place
//! only, never to another host, whatever the question says.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::error::WorkspaceError;
use super::url::RepoUrl;

/// The user name that goes with a token where the task names none: GitHub, GitLab and Forgejo accept it.
pub const DEFAULT_USERNAME: &str = "x-access-token";

/// A token is a line. Anything longer is another file.
const MAX_TOKEN: u64 = 64 * 1024;

/// Reads the token file.
///
/// # Errors
/// If it cannot be read, is empty, or holds more than one line.
pub fn read_token(path: &Path) -> Result<String, WorkspaceError> {
    let wrong = |problem: String| WorkspaceError::TokenFile { path: path.to_owned(), problem };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_TOKEN).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    if token.contains(|character: char| character.is_control()) {
        return Err(wrong("it holds more than one line".to_owned()));
    }
    Ok(token.to_owned())
}

/// What the helper was started with; see [`HelperArgs::config_value`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperArgs {
    /// The file that holds the token.
    pub token_file: std::path::PathBuf,
    /// `scheme://host[:port]`, the only place that gets the token.
    pub origin: String,
    /// The user name that goes with the token.
    pub username: String,
}

impl HelperArgs {
    /// The value of git's `credential.<url>.helper`. The `!` makes git hand it to the shell as it stands, with the action appended.
    #[must_use]
    pub fn config_value(&self, program: &Path) -> String {
        let quoted = [
            shell_quote(&program.to_string_lossy()),
            "git-credential".to_owned(),
            "--token-file".to_owned(),
            shell_quote(&self.token_file.to_string_lossy()),
            "--origin".to_owned(),
            shell_quote(&self.origin),
            "--username".to_owned(),
            shell_quote(&self.username),
        ];
        format!("!{}", quoted.join(" "))
    }
}

/// One word for a POSIX shell.
#[must_use]
pub(crate) fn shell_quote(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-:@%+=,".contains(character);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Answers git: the body of `agent-runner git-credential`. `store` and `erase` do nothing, since the file is not ours to change.
///
/// The exit code is 0 except where the token file cannot be read: then stderr says why, and git is told to ask nobody else.
pub fn serve(action: &str, args: &HelperArgs, stdin: &mut dyn BufRead, stdout: &mut dyn Write, stderr: &mut dyn Write) -> ExitCode {
    if action != "get" {
        // git may get SIGPIPE if its question is not read.
        let _ = io::copy(stdin, &mut io::sink());
        return ExitCode::SUCCESS;
    }
    let (mut protocol, mut host) = (String::new(), String::new());
    for line in stdin.lines().map_while(Result::ok) {
        match line.split_once('=') {
            Some(("protocol", value)) => protocol = value.to_owned(),
            Some(("host", value)) => host = value.to_owned(),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    if !is_same_origin(&format!("{protocol}://{host}"), &args.origin) {
        return ExitCode::SUCCESS;
    }
    // A reader that has gone away is git's own affair.
    match read_token(&args.token_file) {
        Ok(token) => {
            let _ = write!(stdout, "username={}\npassword={token}\n", args.username);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(stderr, "agent-runner: {error}\nhint: {}", error.hint());
            let _ = stdout.write_all(b"quit=1\n");
            ExitCode::FAILURE
        }
    }
}

/// Whether both are the same scheme, host and port; a port that is the scheme's default may be left out.
#[must_use]
pub(crate) fn is_same_origin(one: &str, other: &str) -> bool {
    let place = |origin: &str| {
        let url = RepoUrl::parse(&format!("{origin}/x")).ok()?;
        let scheme = url.as_str().split("://").next()?.to_owned();
        let port = url.port().unwrap_or(if scheme == "https" { 443 } else { 80 });
        url.origin().map(|_| (scheme, url.host().to_ascii_lowercase(), port))
    };
    place(one).is_some_and(|one| Some(one) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: &str, action: &str) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "s3cret\n").unwrap();
        let args = HelperArgs { token_file, origin: "https://example.org".into(), username: "bob".into() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        serve(action, &args, &mut question.as_bytes(), &mut out, &mut err);
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_repositorys_own_host_gets_the_token() {
        for host in ["example.org", "EXAMPLE.org", "example.org:443"] {
            assert_eq!(ask(&format!("protocol=https\nhost={host}\n\n"), "get").0, "username=bob\npassword=s3cret\n");
        }
    }

    #[test]
    fn nobody_else_gets_the_token() {
        for question in [
            "protocol=https\nhost=evil.org\n\n",
            "protocol=http\nhost=example.org\n\n",
            "protocol=https\nhost=example.org:8443\n\n",
            "protocol=https\nhost=example.org.evil.org\n\n",
            "protocol=https\nhost=x@evil.org\n\n",
            "protocol=https\nhost=example.org@evil.org\n\n",
            "host=example.org\n\n",
            "",
        ] {
            assert_eq!(ask(question, "get"), (String::new(), String::new()), "{question}");
        }
        for action in ["store", "erase", "capability"] {
            assert_eq!(ask("protocol=https\nhost=example.org\n\n", action).0, "");
        }
    }

    #[test]
    fn a_missing_token_file_says_so_and_ends_the_asking() {
        let args = HelperArgs { token_file: "/nonexistent/token".into(), origin: "https://h".into(), username: "u".into() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        serve("get", &args, &mut &b"protocol=https\nhost=h\n\n"[..], &mut out, &mut err);
        assert_eq!(out, b"quit=1\n");
        assert!(String::from_utf8(err).unwrap().contains("/nonexistent/token"));
    }

    #[test]
    fn a_path_with_blanks_and_quotes_survives_the_shell() {
        let args = HelperArgs { token_file: "/run/it's a token".into(), origin: "https://h".into(), username: "u".into() };
        assert_eq!(
            args.config_value(Path::new("/opt/my bin/agent-runner")),
            r"!'/opt/my bin/agent-runner' git-credential --token-file '/run/it'\''s a token' --origin https://h --username u"
        );
    }
}
