//! An entry point that cannot be run: what container engines and runtimes say of it, as they have no other way to tell it from their own
//! failures.

/// The exit code for it, 126 or 127, if that is what was said. Both runtimes, runc and crun, name the `exec`
/// (<https://github.com/containers/podman/blob/main/libpod/define/errors.go>).
pub(super) fn code_of_refusal(words: &str) -> Option<u8> {
    let words = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    match () {
        () if says(&["a command that was not found", "executable file not found", "` not found in $path"]) => Some(127),
        () if says(&["exec: ", "executable"]) && says(&["no such file"]) => Some(127),
        () if says(&["exec: ", "executable"]) && says(&["permission denied", "is a directory", "exec format error"]) => Some(126),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runtimes_say() {
        let runc = "runc: runc create failed: unable to start container process:";
        for (words, code) in [
            (
                format!(
                    "{runc} exec: \"/nowhere\": stat /nowhere: no such file or directory: OCI runtime attempted to invoke a command that was not found"
                ),
                Some(127),
            ),
            (format!("{runc} exec: \"nowhere\": executable file not found in $PATH"), Some(127)),
            (format!("{runc} exec: \"/etc/passwd\": permission denied: OCI permission denied"), Some(126)),
            (
                format!("{runc} error during container init: error setting rlimit type 6: operation not permitted: OCI permission denied"),
                None,
            ),
            ("crun: executable file `nowhere` not found in $PATH: No such file or directory".to_owned(), Some(127)),
            ("crun: open executable: Permission denied: OCI permission denied".to_owned(), Some(126)),
            ("crun: cgroup: no such file or directory".to_owned(), None),
        ] {
            assert_eq!(code_of_refusal(&words), code, "{words}");
        }
    }
}
