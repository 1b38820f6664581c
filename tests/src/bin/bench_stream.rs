//! Benchmark: 256 MiB of Claude-like stream-json through a pipe, through our filter and through its peers, paired in one run.
//!
//! `bench_stream [--rounds N] [--mib N] [--ours PROGRAM [ARG…]]`: per round each filter once, in turn, so that whatever else the machine
//! does meets all alike. Printed: the median of MB/s, the ratio to `cat`, the filter's own processor time per GB (which other load on the
//! machine moves least), and its peak resident memory. The data is made up here in the shape of recorded streams: `tools` is a run that
//! reads files (tool results of some KB), `chatty` is nothing but short lines, `line` is one line.

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const SHAPES: &[&str] = &["tools", "chatty", "line"];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut rounds, mut mib) = (5, 256);
    let mut ours = vec![beside("agent-runner")];
    ours.extend(["capture", "--type", "claude", "--marker=false"].map(str::to_owned));
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--produce" => return produce(&args.next().unwrap_or_default(), args.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
            "--rounds" => rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(rounds),
            "--mib" => mib = args.next().and_then(|n| n.parse().ok()).unwrap_or(mib),
            "--ours" => ours = args.by_ref().collect(),
            other => {
                eprintln!("error: unknown argument `{other}`");
                return ExitCode::from(64);
            }
        }
    }
    let filters = [("cat", vec!["cat".to_owned()]), ("ours", ours), ("line_filter", vec![beside("line_filter")])];
    // Ours would tell of the repository that it is in, too.
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("error: no directory to work in: {error}");
            return ExitCode::FAILURE;
        }
    };
    for shape in SHAPES {
        let mut seen = vec![Vec::new(); filters.len()];
        for _ in 0..rounds {
            for (at, (name, command)) in filters.iter().enumerate() {
                match measure(shape, mib, command, dir.path()) {
                    Ok(run) => seen[at].push(run),
                    Err(error) => {
                        eprintln!("error: `{name}` on `{shape}`: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
        }
        let medians: Vec<f64> = seen.iter().map(|runs| median(runs.iter().map(Run::megabytes_per_second))).collect();
        for (at, (name, _)) in filters.iter().enumerate() {
            let peak = seen[at].iter().map(|run| run.peak_kib).max().unwrap_or(0) as f64 * 1024.0 / 1e6;
            let cpu = median(seen[at].iter().map(Run::cpu_ms_per_gigabyte));
            let speed = format!("{:>6.0} MB/s  {:>6.3} of cat", medians[at], medians[at] / medians[0]);
            let line = format!("{shape:<6} {name:<11} {speed}  cpu {cpu:>6.0} ms/GB  peak {peak:>6.1} MB");
            if writeln!(io::stdout(), "{line}").is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// The path of a program that was built with this one.
fn beside(name: &str) -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(name));
    own.with_file_name(name).to_string_lossy().into_owned()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[derive(Clone)]
struct Run {
    bytes: u64,
    time: Duration,
    cpu: Duration,
    peak_kib: i64,
}

impl Run {
    fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    fn cpu_ms_per_gigabyte(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / (self.bytes as f64 / 1e9)
    }
}

/// `producer | filter | us`: the time until the last byte has arrived here, and what the filter used.
fn measure(shape: &str, mib: usize, filter: &[String], dir: &Path) -> io::Result<Run> {
    let start = Instant::now();
    let mut producer = Command::new(std::env::current_exe()?);
    let mut producer = producer.args(["--produce", shape, &mib.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let from = producer.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let (program, args) = filter.split_first().ok_or_else(|| io::Error::other("no program"))?;
    let mut child = Command::new(program).args(args).current_dir(dir).stdin(from).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = File::from(OwnedFd::from(child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?));
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match out.read(&mut buffer)? {
            0 => break,
            got => bytes += got as u64,
        }
    }
    let time = start.elapsed();
    let used = wait_with_usage(&child)?;
    producer.wait()?;
    let wanted = (mib as u64) << 20;
    if bytes < wanted {
        return Err(io::Error::other(format!("only {bytes} of {wanted} bytes came through")));
    }
    let cpu =
        [used.ru_utime, used.ru_stime].map(|part| Duration::new(part.tv_sec.unsigned_abs(), part.tv_usec.unsigned_abs() as u32 * 1000));
    Ok(Run { bytes, time, cpu: cpu[0] + cpu[1], peak_kib: used.ru_maxrss })
}

/// Waits for a child, and says what it used. This program itself stays small, since a child's peak memory begins with its parent's.
fn wait_with_usage(child: &Child) -> io::Result<nix::libc::rusage> {
    let mut usage = MaybeUninit::<nix::libc::rusage>::zeroed();
    let mut status = 0;
    let pid = nix::libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: both pointers are to memory of the right type that lives through the call; the pid is that of our child, not waited for yet.
    let waited = unsafe { nix::libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    // A filter that judges the stream ends with a code that says that this one, made up, has no end; only a death by signal spoils a
    // figure.
    if !nix::libc::WIFEXITED(status) {
        return Err(io::Error::other(format!("wait status {status}")));
    }
    // SAFETY: wait4 has filled it in, and all zeroes would be a valid value too.
    Ok(unsafe { usage.assume_init() })
}

/// Writes so many MiB of a shape to stdout.
fn produce(shape: &str, mib: usize) -> ExitCode {
    let total = mib << 20;
    let done = if shape == "line" { produce_line(total) } else { produce_lines(&block(shape == "chatty"), total) };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One block again and again, so that the producer is no bottleneck.
fn produce_lines(block: &[u8], total: usize) -> io::Result<()> {
    let mut out = raw_stdout()?;
    let mut left = total;
    while left > 0 {
        out.write_all(block)?;
        left = left.saturating_sub(block.len());
    }
    Ok(())
}

/// One line: an assistant's message with a text of so many bytes, and its usage behind it.
fn produce_line(total: usize) -> io::Result<()> {
    let mut out = raw_stdout()?;
    out.write_all(br#"{"type":"assistant","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-4-8","#)?;
    out.write_all(br#""content":[{"type":"text","text":""#)?;
    let text = "All work and no play makes Jack a dull boy.\\n".repeat(1500);
    let mut left = total;
    while left > 0 {
        out.write_all(text.as_bytes())?;
        left = left.saturating_sub(text.len());
    }
    out.write_all(br#""}],"stop_reason":null,"usage":{"input_tokens":1000,"output_tokens":50}},"#)?;
    out.write_all(b"\"parent_tool_use_id\":null,\"session_id\":\"s\",\"uuid\":\"u\"}\n")
}

fn raw_stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// About a MiB of lines: the agent says something, reads a file, and is shown it.
fn block(chatty: bool) -> Vec<u8> {
    let mut out = String::new();
    let ids = r#""parent_tool_use_id":null,"session_id":"df53844b-dd44-4e2e-93d2-fc408dcb5b35""#;
    let mut n = 0;
    while out.len() < 1 << 20 {
        n += 1;
        // From a few lines to a few hundred, as source files are.
        let lines = if chatty { 1 } else { [4, 10, 25, 60, 120, 400][n * 7 % 6] };
        let file: String =
            (0..lines).map(|at| format!(r#"{at:>6}\tfn line_{at}(input: &str) -> Result<\"T\", Error> {{ input.parse() }}\n"#)).collect();
        let head = format!(
            r#"{{"type":"assistant","message":{{"id":"msg_{n:08}","type":"message","role":"assistant","model":"claude-opus-4-8","content":["#
        );
        let usage =
            format!(r#""usage":{{"input_tokens":{},"cache_creation_input_tokens":30,"cache_read_input_tokens":{},"#, 1000 + n, 20_000 + n)
                + &format!(r#""output_tokens":{},"service_tier":"standard"}}"#, n % 300 + 1);
        let tail = format!(
            r#"],"stop_reason":null,"stop_sequence":null,{usage},"context_management":null}},{ids},"uuid":"2a3c879d-6f90-4b64-{n:017}"}}"#
        );
        let said = format!(r#"{{"type":"text","text":"Let me look at src/file_{n}.rs, which should hold the parser."}}"#);
        let call =
            format!(r#"{{"type":"tool_use","id":"toolu_{n:08}","name":"Read","input":{{"file_path":"/workspace/repo/src/file_{n}.rs"}}}}"#);
        let answer = format!(r#"{{"tool_use_id":"toolu_{n:08}","type":"tool_result","content":"{file}","is_error":false}}"#);
        let detail =
            format!(r#"{{"type":"text","file":{{"filePath":"/workspace/repo/src/file_{n}.rs","content":"{file}","totalLines":{lines}}}}}"#);
        out.push_str(&format!("{head}{said}{tail}\n{head}{call}{tail}\n"));
        out.push_str(&format!(
            r#"{{"type":"user","message":{{"role":"user","content":[{answer}]}},{ids},"uuid":"1a3f279c-8cf5-4529-{n:017}","#
        ));
        out.push_str(&format!(r#""timestamp":"2026-01-01T00:00:00.000Z","tool_use_result":{detail}}}"#));
        out.push('\n');
    }
    out.into_bytes()
}
