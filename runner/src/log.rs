//! The runner's own log: one line per thing on stderr, for people. Machine output goes to stdout and files.
//!
//! A subscriber of our own, since there are no spans here, and the usual one makes room for thousands of them when it starts. The filter is
//! the library's. Nobody waits for whoever reads stderr, or does not ([`Queue`]).

use std::borrow::Cow;
use std::fmt::{self, Debug, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;

use crate::stream::Queue;
use crate::stream::mask::Secrets;
use crate::stream::output::FLUSH_LIMIT;

/// The variable that says how much is logged: a level (`warn`, `debug`, …), or levels by target (`warn,agent_runner=debug`).
pub const VARIABLE: &str = "AGENT_RUNNER_LOG";

/// Starts it. Only warnings of libraries are shown, everything of ours from `info` on.
pub fn start() {
    let asked = std::env::var(VARIABLE).ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN).with_target("agent_runner", LevelFilter::INFO));
    // A second start, in tests, leaves the first one in place.
    let _ = tracing::subscriber::set_global_default(Log { filter });
}

/// From now on no line shows these, or those that are added to them.
pub fn hide(secrets: &Secrets) {
    // A second run in one process is a test's.
    let _ = HIDDEN.set(secrets.clone());
}

/// What no line shows.
static HIDDEN: OnceLock<Secrets> = OnceLock::new();

/// Prints a text on stderr as it stands, in its turn among the lines.
pub fn print(text: &str) {
    if let Some(stderr) = stderr() {
        stderr.put(text.as_bytes().to_vec());
    }
}

/// Waits until all lines are written, but not for a reader who does not read: before something follows them in the container's log, and
/// before the end.
pub fn flush() {
    if let Some(stderr) = stderr() {
        // The log cannot say that the log was not read.
        let _ = stderr.flush(FLUSH_LIMIT);
    }
}

/// `None` if it is closed: then nobody can be told.
fn stderr() -> Option<&'static Queue> {
    static STDERR: OnceLock<Option<Queue>> = OnceLock::new();
    STDERR.get_or_init(|| Some(Queue::new("log", std::io::stderr().as_fd().try_clone_to_owned().ok()?))).as_ref()
}

/// Writes each event that passes the filter.
struct Log {
    filter: Targets,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.filter.would_enable(metadata.target(), metadata.level())
    }

    fn event(&self, event: &Event<'_>) {
        // In one write, so that lines of several processes stay whole.
        let line = line(event);
        print(&HIDDEN.get().map_or(Cow::Borrowed(&*line), |secrets| secrets.mask_text(&line)));
    }

    // There are no spans here, and those of libraries are not wanted.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Level, message, fields.
fn line(event: &Event<'_>) -> String {
    let mut line = Line { message: String::new(), fields: String::new() };
    event.record(&mut line);
    format!("{:>5} {}{}\n", event.metadata().level(), line.message, line.fields)
}

/// An event, taken apart.
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing into a text does not fail.
        let _ = match field.name() {
            "message" => write!(Harmless(&mut self.message), "{value:?}"),
            name => write!(Harmless(&mut self.fields), " {name}={value:?}"),
        };
    }
}

/// Takes from a text what would steer a terminal: it may come from a repository, a server, or an agent. Lines stay lines.
struct Harmless<'a>(&'a mut String);

impl fmt::Write for Harmless<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '\n' | '\t' => self.0.push(character),
                control if control.is_control() => self.0.extend(control.escape_default()),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what [`Log`] would write.
    struct Kept {
        log: Log,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.log.enabled(metadata)
        }
        fn event(&self, event: &Event<'_>) {
            self.lines.lock().unwrap().push(line(event));
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.log.new_span(span)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn lines_of(filter: &str, log: impl FnOnce()) -> Vec<String> {
        let lines = Arc::default();
        let kept = Kept { log: Log { filter: filter.parse().unwrap() }, lines: Arc::clone(&lines) };
        tracing::subscriber::with_default(kept, log);
        let lines = lines.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_line_has_level_message_and_fields() {
        let lines = lines_of("info", || {
            tracing::info!(phase = "setup", tries = 3, "phase");
            tracing::error!("cannot {}", "start");
        });
        assert_eq!(lines, [" INFO phase phase=\"setup\" tries=3\n", "ERROR cannot start\n"]);
    }

    #[test]
    fn the_filter_knows_levels_and_targets() {
        let log = || {
            tracing::info!(target: "agent_runner::run", "ours");
            tracing::info!(target: "somebody", "theirs");
            tracing::warn!(target: "somebody", "amiss");
        };
        assert_eq!(lines_of("warn,agent_runner=info", log), [" INFO ours\n", " WARN amiss\n"]);
        assert_eq!(lines_of("error", log), Vec::<String>::new());
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let lines = lines_of("info", || tracing::info!(name = "\u{9b}2J", "a\x1b]0;title\x07b\rc\n  d\te"));
        assert_eq!(lines, [" INFO a\\u{1b}]0;title\\u{7}b\\rc\n  d\te name=\"\\u{9b}2J\"\n"]);
    }
}
