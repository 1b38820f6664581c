//! Following a stream without a running agent: `capture`, a filter on stdin, and `replay`, a recorded stream.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use agent_sdk::agent::StreamSummary;

use super::follow::{Follower, Forward, StreamCounts};
use super::output::{BUFFER, write_all};

/// What a followed stream came to.
#[derive(Debug)]
pub struct Followed {
    /// What the stream said.
    pub summary: StreamSummary,
    /// What was counted in it.
    pub counts: StreamCounts,
    /// Why not all of it was written. Reading went on.
    pub output_error: Option<io::Error>,
    /// Why reading ended before the end. What was read until then counts.
    pub input_error: Option<io::Error>,
    /// Whether what was written ended with a line's end, or nothing was written.
    pub ends_in_line_start: bool,
}

/// Forwards `input` to `output` (as the follower's log says) up to its end. If `output` breaks, `input` is still read to its end, so that
/// the program that writes it is not hurt.
///
/// Takes a descriptor, since a program's stdout buffers by lines, and may be non-blocking by somebody else's doing.
pub fn capture(follower: Follower, input: &mut dyn Read, output: BorrowedFd<'_>) -> Followed {
    follow(follower, input, &mut |bytes| write_all(output.as_fd(), bytes))
}

/// Reads a recorded stream, and writes what the follower's log shows of it.
pub fn replay(follower: Follower, stream: &mut dyn Read, output: &mut dyn Write) -> Followed {
    follow(follower, stream, &mut |bytes| output.write_all(bytes))
}

fn follow(mut follower: Follower, input: &mut dyn Read, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Followed {
    let mut chunk = vec![0; BUFFER];
    let mut out = Vec::new();
    let mut output_error = None;
    let mut last_byte = None;
    let mut put = |bytes: &[u8]| {
        last_byte = bytes.last().copied().or(last_byte);
        if output_error.is_none() && !bytes.is_empty() {
            output_error = write(bytes).err();
        }
    };
    let input_error = loop {
        match input.read(&mut chunk) {
            Ok(0) => break None,
            Ok(got) => {
                match follower.push(&chunk[..got], SystemTime::now(), &mut out) {
                    Forward::Chunk => put(&chunk[..got]),
                    Forward::Out => put(&out),
                }
                out.clear();
                out.shrink_to(2 * BUFFER);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    follower.finish(SystemTime::now(), &mut out);
    put(&out);
    let ends_in_line_start = last_byte.is_none_or(|byte| byte == b'\n');
    Followed { summary: follower.summary().clone(), counts: follower.counts(), output_error, input_error, ends_in_line_start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::double::JsonDouble;
    use crate::stream::follow::Log;
    use crate::stream::mask::Secrets;
    use std::fs::File;

    fn follower(log: Log) -> Follower {
        Follower::new(Box::new(JsonDouble::default()), log, &Secrets::new())
    }

    const STREAM: &[u8] = b"{\"text\":\"hi\"}\r\n\n{\"usage\":{\"in\":1,\"out\":2}}\nnot json\xff\0\n{\"end\":true}";

    #[test]
    fn replay_gives_the_summary_and_the_counts() {
        let mut out = Vec::new();
        let done = replay(follower(Log::Raw), &mut &*STREAM, &mut out);
        assert_eq!(out, STREAM);
        assert_eq!((done.counts.lines, done.counts.blank, done.summary.malformed_lines), (5, 1, 1));
        assert_eq!(done.summary.answer.as_deref(), Some("hi"));
        assert!(done.summary.end.is_some_and(|end| end.succeeded));
        assert!(done.output_error.is_none() && done.input_error.is_none());
    }

    #[test]
    fn capture_goes_on_reading_when_its_output_is_full() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let stream = STREAM.repeat(10_000);
        let done = capture(follower(Log::Raw), &mut &*stream, full.as_fd());
        assert_eq!(done.output_error.unwrap().raw_os_error(), Some(nix::libc::ENOSPC));
        assert_eq!(done.counts.bytes, stream.len() as u64);
    }

    #[test]
    fn what_was_read_before_an_input_error_counts() {
        struct Breaks(bool);
        impl Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("cable"));
                }
                into[..STREAM.len()].copy_from_slice(STREAM);
                Ok(STREAM.len())
            }
        }
        let mut out = Vec::new();
        let done = replay(follower(Log::Raw), &mut Breaks(false), &mut out);
        assert_eq!(out, STREAM);
        assert_eq!(done.input_error.unwrap().to_string(), "cable");
        assert!(done.summary.end.is_some());
    }
}
