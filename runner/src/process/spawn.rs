//! fork and exec, without a copy of this process: until it has executed, the child runs in our memory, on a stack of its own, and the
//! thread that made it waits (`CLONE_VM | CLONE_VFORK`, as `posix_spawn(3)` does it). A fork would copy our page tables, and after it each
//! page that we write would be copied once more: milliseconds, and more of them the larger a clone or a stream has made us.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString},
    io,
    num::NonZeroUsize,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    ptr,
    sync::{Mutex, PoisonError},
};

use nix::{
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
    unistd::Pid,
};

use super::launch::Launch;

/// What the child's few calls need; the pages that are not touched cost nothing. The C library's own searching of interpreters needs a
/// pointer for each argument besides.
const STACK: usize = 64 * 1024;

/// Starts a program with `env` as its whole environment and `stdio` as its 0, 1 and 2, ours where there is none; when this returns, exec
/// has succeeded. `prepare` runs in the child, with its descriptors and its directory in place.
///
/// # Errors
/// What clone, `prepare`, or exec answered; `InvalidInput` for a NUL byte.
///
/// # Safety
/// `prepare` makes system calls only: it must neither allocate nor take a lock nor write to memory that anybody else looks at.
pub unsafe fn spawn(
    launch: &Launch,
    env: &BTreeMap<&OsStr, OsString>,
    stdio: [Option<BorrowedFd<'_>>; 3],
    prepare: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Pid> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let candidates = launch.candidates().iter().map(|path| text(path.as_os_str())).collect::<io::Result<Vec<_>>>()?;
    let args = std::iter::once(&launch.program).chain(&launch.args).map(|arg| text(arg)).collect::<io::Result<Vec<_>>>()?;
    let env = env.iter().map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from));
    let env = env.collect::<io::Result<Vec<_>>>()?;
    let cwd = launch.cwd.as_ref().map(|directory| text(directory.as_os_str())).transpose()?;
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let mut child = Child {
        candidates: &candidates,
        argv: &pointers(&args),
        envp: &pointers(&env),
        cwd: cwd.as_ref(),
        stdio: stdio.map(|source| source.map(|source| source.as_raw_fd())),
        prepare,
        error: 0,
    };
    let stack = Stack::of_at_least(STACK + size_of::<usize>() * args.len())?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is the child's alone and longer than its calls need; the context outlives the child's use of it, since this thread
    // goes on only after exec or exit; the child allocates nothing and takes no lock, as `begin` and the promise for `prepare` say.
    let pid = unsafe { libc::clone(begin, stack.top(), flags, (&raw mut child).cast()) };
    let refused = io::Error::last_os_error();
    stack.keep();
    if pid == -1 {
        return Err(refused);
    }
    // SAFETY: plain memory of ours; read anew, since the child has written it behind the compiler's back.
    let error = unsafe { ptr::read_volatile(&raw const child.error) };
    if error == 0 {
        return Ok(Pid::from_raw(pid));
    }
    // It ends right after it has said why; a reaper that was quicker is as good.
    let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
    Err(io::Error::from_raw_os_error(error))
}

/// All that the child needs, made before it begins.
struct Child<'a> {
    candidates: &'a [CString],
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    cwd: Option<&'a CString>,
    stdio: [Option<libc::c_int>; 3],
    prepare: &'a mut dyn FnMut() -> io::Result<()>,
    /// What went wrong, an errno.
    error: libc::c_int,
}

/// The child, from its first instruction.
extern "C" fn begin(context: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes a context that is this child's alone while its thread waits.
    let child = unsafe { &mut *context.cast::<Child<'_>>() };
    let error = child.execute();
    // SAFETY: as above; written where the waiting thread reads it.
    unsafe { ptr::write_volatile(&raw mut child.error, error) };
    // SAFETY: ends this process at once, and nothing of what it shares with us.
    unsafe { libc::_exit(127) }
}

impl Child<'_> {
    /// Returns only if it did not work, with the reason's errno.
    fn execute(&mut self) -> libc::c_int {
        for (target, source) in (0..).zip(self.stdio) {
            // SAFETY: takes two integers; our own descriptors are above 2, so the copy is no close-on-exec one.
            if source.is_some_and(|source| unsafe { libc::dup2(source, target) } == -1) {
                return errno();
            }
        }
        // SAFETY: a string of ours that ends.
        if self.cwd.is_some_and(|directory| unsafe { libc::chdir(directory.as_ptr()) } == -1) {
            return errno();
        }
        if let Err(error) = (self.prepare)() {
            return error.raw_os_error().unwrap_or(libc::EINVAL);
        }
        let mut last = libc::ENOENT;
        let mut refused = false;
        for candidate in self.candidates {
            // SAFETY: strings and lists of ours, each with its end. Every candidate has a slash, so this neither searches nor reads our own
            // environment; what it adds to exec is the shell for a script that names no interpreter.
            unsafe { libc::execvpe(candidate.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
            last = errno();
            match last {
                libc::EACCES => refused = true,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return last,
            }
        }
        if refused { libc::EACCES } else { last }
    }
}

/// The calling thread's; the child's is its waiting maker's.
fn errno() -> libc::c_int {
    nix::errno::Errno::last_raw()
}

/// Memory for the child to run on.
struct Stack {
    memory: ptr::NonNull<libc::c_void>,
    length: NonZeroUsize,
}

/// The last child's, for the next: to take memory away every processor on which a child used it has to be told.
static SPARE: Mutex<Option<Stack>> = Mutex::new(None);

// SAFETY: plain memory that nobody refers to while nobody runs on it.
unsafe impl Send for Stack {}

impl Stack {
    fn of_at_least(length: usize) -> io::Result<Self> {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.filter(|spare| spare.length.get() >= length).map_or_else(|| Self::new(length), Ok)
    }

    /// For the next one. The child has executed, or has ended.
    fn keep(self) {
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    fn new(length: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(length.next_multiple_of(4096)).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_STACK | MapFlags::MAP_NORESERVE;
        // SAFETY: new memory, at an address of the kernel's choice.
        let memory = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
        Ok(Self { memory, length })
    }

    /// Where it begins: stacks grow downwards on every architecture that we build for.
    fn top(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of our own mapping; page sizes are multiples of 16, as the stack's start has to be.
        unsafe { self.memory.as_ptr().byte_add(self.length.get()) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody runs on any more. It cannot fail for one.
        let _ = unsafe { munmap(self.memory, self.length.get()) };
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, io, os::unix::fs::PermissionsExt, path::Path};

    use nix::{
        libc,
        sys::wait::{WaitStatus, waitpid},
    };

    use super::{Launch, spawn};

    /// The program's code, or the errno with which it did not start.
    fn code(launch: &Launch, prepare: &mut dyn FnMut() -> io::Result<()>) -> Result<i32, Option<i32>> {
        let env: BTreeMap<_, _> = launch.env.iter().map(|(name, value)| (name.as_os_str(), value.clone())).collect();
        // SAFETY: what the tests prepare is nothing, or makes an error of a number.
        let pid = unsafe { spawn(launch, &env, [None; 3], prepare) }.map_err(|error| error.raw_os_error())?;
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => Ok(code),
            other => panic!("{other:?}"),
        }
    }

    fn run(program: impl AsRef<Path>, args: &[&str], path: &str) -> Result<i32, Option<i32>> {
        let mut launch = Launch::new(program.as_ref(), args.iter().map(Into::into));
        launch.env = vec![("PATH".into(), path.into())];
        code(&launch, &mut || Ok(()))
    }

    fn script(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_of_the_path_that_can_be_executed() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        script(&first.path().join("prog"), "#!/bin/sh\nexit 1", 0o644);
        script(&second.path().join("prog"), "#!/bin/sh\nexit $1", 0o755);
        let [one, two] = [&first, &second].map(|directory| directory.path().to_str().unwrap());
        assert_eq!(run("prog", &["7"], &["/no/such/directory", one, two].join(":")), Ok(7));
        assert_eq!(run("prog", &[], one), Err(Some(libc::EACCES)));
        assert_eq!(run("prog", &[], "/no/such/directory"), Err(Some(libc::ENOENT)));
        assert_eq!(run("", &[], two), Err(Some(libc::ENOENT)));
    }

    #[test]
    fn a_script_without_a_first_line_is_the_shells() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prog");
        script(&path, "exit $#", 0o755);
        assert_eq!(run(&path, &["x"; 200], "/bin"), Ok(200));
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        assert_eq!(run("/no/such/program", &[], "/bin"), Err(Some(libc::ENOENT)));
        let refused = code(&Launch::new("/bin/true", []), &mut || Err(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(refused, Err(Some(libc::EPERM)));
    }
}
