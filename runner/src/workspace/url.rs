//! The repository's URL: taken apart once, compared, and shown, never with the credentials that it may have come with.

use std::fmt;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::url::Scheme;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::error::WorkspaceError;

/// How a repository is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Smart HTTP, with or without TLS.
    Http,
    /// The `ssh` program.
    Ssh {
        /// Who logs in, if the URL says so.
        user: Option<String>,
    },
    /// git's own protocol, unauthenticated.
    Git,
    /// A path on this machine.
    Local(PathBuf),
}

/// A repository's URL. Its text holds no credentials; those that stood in it are [`RepoUrl::userinfo`].
#[derive(Clone)]
pub struct RepoUrl {
    text: String,
    scheme: &'static str,
    transport: Transport,
    host: String,
    port: Option<u16>,
    path: String,
    userinfo: Option<(String, String)>,
}

impl RepoUrl {
    /// Takes a URL, a `user@host:path`, or a path apart. A relative path is relative to the current directory.
    ///
    /// # Errors
    /// If it is none of those, or if a part of it could be taken for an option by a program.
    pub fn parse(given: &str) -> Result<Self, WorkspaceError> {
        let invalid =
            |problem: &str| WorkspaceError::InvalidUrl { url: without_what_may_be_a_password(given), problem: problem.to_owned() };
        if given.contains(['\n', '\r', '\0']) {
            return Err(invalid("it holds a line break or NUL"));
        }
        if is_url_without_scheme(given) {
            return Err(invalid("before the `@` stands what looks like a user and a password: a URL begins with https://"));
        }
        // People write blanks in URLs; git takes them, the standard does not.
        let encoded = if given.contains("://") && !given.starts_with("file:") { encode(given) } else { given.to_owned() };
        let url =
            gix::url::parse(encoded.as_bytes().as_bstr()).map_err(|_| invalid("it is neither a URL, nor `user@host:path`, nor a path"))?;
        let path = url.path.to_str().map_err(|_| invalid("its path is not UTF-8"))?.to_owned();
        let host = url.host().unwrap_or_default().to_owned();
        let user = url.user().filter(|user| !user.is_empty()).map(str::to_owned);
        if host.starts_with('-') || user.as_deref().is_some_and(|user| user.starts_with('-')) {
            return Err(invalid("host and user may not begin with a dash"));
        }
        let (scheme, transport) = match url.scheme {
            Scheme::Https => ("https", Transport::Http),
            Scheme::Http => ("http", Transport::Http),
            Scheme::Ssh => ("ssh", Transport::Ssh { user: user.clone() }),
            Scheme::Git => ("git", Transport::Git),
            Scheme::File => {
                let path = if given.starts_with("file:") { meant(&path).map_err(invalid)? } else { path };
                let local = std::path::absolute(Path::new(&path)).map_err(|error| invalid(&error.to_string()))?;
                let text = local.to_str().ok_or_else(|| invalid("its path is not UTF-8"))?.to_owned();
                return Ok(Self {
                    text: text.clone(),
                    scheme: "file",
                    transport: Transport::Local(local),
                    host,
                    port: None,
                    path: text,
                    userinfo: None,
                });
            }
            other => return Err(invalid(&format!("`{other}` is not supported: use https, http, ssh, git, file, or a path"))),
        };
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        // A server would take such a path for an option of its git-upload-pack.
        if matches!(transport, Transport::Ssh { .. }) && path.trim_start_matches('/').is_empty() || path.starts_with('-') {
            return Err(invalid("its path is empty or begins with a dash"));
        }
        let userinfo = match (&transport, user, url.password()) {
            (Transport::Http, Some(user), password) => Some((user, password.unwrap_or_default().to_owned())),
            _ => None,
        };
        let text = match &transport {
            Transport::Http => {
                let mut plain = url.clone();
                plain.set_user(None);
                plain.set_password(None);
                plain.to_bstring().to_string()
            }
            Transport::Ssh { .. } => {
                let mut plain = url.clone();
                plain.set_password(None);
                plain.to_bstring().to_string()
            }
            _ => url.to_bstring().to_string(),
        };
        Ok(Self { text, scheme, transport, host, port: url.port, path, userinfo })
    }

    /// The URL without credentials, as it is written to `.git/config`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is reached.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The host; empty for a path.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one is given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The path on the server.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// User and password that stood in the URL.
    #[must_use]
    pub fn userinfo(&self) -> Option<(&str, &str)> {
        self.userinfo.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// `scheme://host[:port]`, for http and https: the place that credentials belong to.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        matches!(self.transport, Transport::Http).then(|| match self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
            None => format!("{}://{}", self.scheme, self.host),
        })
    }

    /// Whether both mean the same repository, whatever way each is written: by transport, user, case of the host, default
    /// port, trailing slash or `.git`.
    #[must_use]
    pub fn is_same_repository(&self, other: &Self) -> bool {
        if let (Transport::Local(ours), Transport::Local(theirs)) = (&self.transport, &other.transport) {
            let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
            return real(ours) == real(theirs);
        }
        let local = |url: &Self| matches!(url.transport, Transport::Local(_));
        !local(self) && !local(other) && self.place() == other.place()
    }

    fn place(&self) -> (String, Option<u16>, &str) {
        let default = match self.scheme {
            "https" => 443,
            "http" => 80,
            "ssh" => 22,
            _ => 9418,
        };
        let path = self.path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        (self.host.to_ascii_lowercase(), self.port.filter(|port| *port != default), path)
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RepoUrl").field(&self.text).finish()
    }
}

/// The path that a `file:` URL means, which is encoded as every URL's.
fn meant(path: &str) -> Result<String, &'static str> {
    let path = percent_decode_str(path).decode_utf8().map_err(|_| "its path is not UTF-8")?;
    if path.contains(['\n', '\r', '\0']) { Err("it holds a line break or NUL") } else { Ok(path.into_owned()) }
}

/// Percent-encodes what may not stand in a URL; what is encoded already stays.
pub(crate) fn encode(url: &str) -> String {
    utf8_percent_encode(url, NOT_IN_URLS).to_string()
}

/// What RFC 3986 lets stand nowhere in a URL.
const NOT_IN_URLS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// For text that may not even be a URL: what stands between `://` and the last `@` of the authority is left out.
#[must_use]
pub fn without_userinfo(text: &str) -> String {
    let Some(begin) = text.find("://").map(|at| at + 3) else { return text.to_owned() };
    let end = text[begin..].find('/').map_or(text.len(), |at| begin + at);
    match text[begin..end].rfind('@') {
        Some(at) => format!("{}{}", &text[..begin], &text[begin + at + 1..]),
        None => text.to_owned(),
    }
}

/// As [`without_userinfo`], for what is known to be no URL.
pub(crate) fn without_what_may_be_a_password(text: &str) -> String {
    agent_sdk::task::without_credentials(text, "").into_owned()
}

/// `user:password@host/path`, which would be a path on the host `user`.
fn is_url_without_scheme(given: &str) -> bool {
    let start = given.split('/').next().unwrap_or_default();
    let behind = start.split_once(':').filter(|(host, _)| !host.contains('@')).map_or("", |(_, behind)| behind);
    behind.find('@').is_some_and(|at| at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_kept_apart_and_never_shown() {
        let url = RepoUrl::parse("https://bob:hunter2@example.org/a/b.git").unwrap();
        assert_eq!(url.as_str(), "https://example.org/a/b.git");
        assert_eq!(url.userinfo(), Some(("bob", "hunter2")));
        assert!(!format!("{url} {url:?}").contains("hunter2"));
        assert_eq!(without_userinfo("foo://a:b@c@host/x@y"), "foo://host/x@y");
        for forgotten in ["bob:hunter2@example.org/a/b.git", "https//bob:hunter2@example.org/a", "https:/bob:hunter2@h/a"] {
            assert!(!without_what_may_be_a_password(forgotten).contains("hunter2"), "{forgotten}");
        }
        let error = RepoUrl::parse("bob:hunter2@example.org/a/b.git").unwrap_err().to_string();
        assert!(error.contains("https://") && !error.contains("hunter2"), "{error}");
        for whole in ["git@host:@scope/b.git", "git@host:a@b/c", "host:@scope/b", "./bob:x@y"] {
            assert!(RepoUrl::parse(whole).is_ok(), "{whole}");
        }
        let error = RepoUrl::parse("https://bob:pa/ssw0rd@127.0.0.1/r.git").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ssw0rd") && error.to_string().contains("https://127.0.0.1/r.git"), "{error}");
    }

    #[test]
    fn one_repository_has_many_urls() {
        let all = [
            "https://example.org/a/b.git",
            "https://example.org/a/b",
            "https://EXAMPLE.org:443/a/b/",
            "https://user@example.org/a/b.git",
            "git@example.org:a/b.git",
            "ssh://git@example.org:22/a/b",
        ];
        for one in all {
            for two in all {
                assert!(RepoUrl::parse(one).unwrap().is_same_repository(&RepoUrl::parse(two).unwrap()), "{one} {two}");
            }
        }
        for other in
            ["https://example.org/a/c", "https://example.com/a/b", "https://example.org:8443/a/b", "/a/b", "https://example.org/a/B"]
        {
            assert!(!RepoUrl::parse(all[0]).unwrap().is_same_repository(&RepoUrl::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn nothing_that_a_program_could_take_for_an_option_is_let_through() {
        for bad in [
            "ssh://-oProxyCommand=x/y",
            "ssh://-l@host/y",
            "-oProxyCommand=x@host:y",
            "ssh://host/",
            "host:-x",
            "https:///x",
            "ext::sh -c x",
            "https://h/a\nb",
        ] {
            assert!(
                RepoUrl::parse(bad).is_err()
                    || matches!(RepoUrl::parse(bad).unwrap().transport(), Transport::Local(path) if path.is_absolute()),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_with_blanks_is_encoded_once() {
        assert_eq!(encode("http://h/my repo%20x/é.git"), "http://h/my%20repo%20x/%C3%A9.git");
        for url in ["git://h/my repo.git", "ssh://h/my%20repo.git", "https://h/my repo.git"] {
            assert_eq!(RepoUrl::parse(url).unwrap().path(), "/my repo.git");
        }
    }

    #[test]
    fn a_path_is_absolute_and_local() {
        let url = RepoUrl::parse("file:///srv/my repo.git").unwrap();
        assert_eq!(url.transport(), &Transport::Local(PathBuf::from("/srv/my repo.git")));
        let encoded = RepoUrl::parse("file:///srv/my%20repo%C3%A9.git").unwrap();
        assert_eq!(encoded.transport(), &Transport::Local(PathBuf::from("/srv/my repo\u{e9}.git")));
        let no_digits = RepoUrl::parse("file:///srv/a%+5b").unwrap();
        assert_eq!(no_digits.transport(), &Transport::Local(PathBuf::from("/srv/a%+5b")));
        let plain = RepoUrl::parse("/srv/my%20repo.git").unwrap();
        assert_eq!(plain.transport(), &Transport::Local(PathBuf::from("/srv/my%20repo.git")));
        for bad in ["file:///srv/a%0Ab", "file:///srv/a%00b", "file:///srv/a%ffb"] {
            assert!(RepoUrl::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(RepoUrl::parse("some/dir").unwrap().transport(), Transport::Local(path) if path.is_absolute()));
    }
}
