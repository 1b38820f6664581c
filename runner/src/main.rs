//! The binary. Whatever starts programs runs below init, which is forked before anything else happens; the rest needs no second process.

use std::process::ExitCode;

use agent_runner::{
    init::{self, Death, Options, RunnerSide, Slot},
    process::{Ending, ExecOptions, Launch, LaunchError, Signals, copy::Copy, exec, launch::Output},
};

/// EX_USAGE of `sysexits.h`.
const USAGE: i32 = 64;

/// A third of what Kubernetes gives for the whole end, unless `AGENT_GRACE` says another.
const GRACE: Duration = Duration::from_secs(10);

fn main() {
    let mut arguments = env::args_os().skip(1);
    let called = [arguments.next(), arguments.next()];
    let (["exec", "--"], Some(program)) =
        (called.each_ref().map(|word| word.as_deref().and_then(OsStr::to_str).unwrap_or("")), arguments.next())
    else {
        eprintln!("usage: agent-runner exec -- COMMAND [ARGUMENT]...");
        exit(USAGE);
    };
    let mut launch = Launch::new(program, arguments);
    if stdout().is_terminal() {
        launch.stdout = Output::Inherit;
    }
    let grace = match env::var("AGENT_GRACE").map(|text| humantime::parse_duration(&text)) {
        Ok(Ok(grace)) => grace,
        Err(_) => GRACE,
        Ok(Err(error)) => {
            eprintln!("agent-runner: `AGENT_GRACE` is no duration: {error}\n\nhint: `90s`, `30m`");
            exit(USAGE);
        }
    };
    let options = Options { last_words: no_last_words, parent_death: None, grace };
    init::enter(options, move |side| run(&side, &launch, grace))
}

fn no_last_words(_said: &Slot, _death: Death) {}

fn run(side: &RunnerSide, launch: &Launch, grace: Duration) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut signals = Signals::install()?;
            let options = ExecOptions { grace, ending: Ending::default() };
            Ok(exec(side, &mut signals, launch, &options, &mut Copy::new()).await)
        })
    });
    match outcome {
        Ok(Ok(finished)) => finished.code(),
        Ok(Err(error)) => {
            complain(&error);
            error.code()
        }
        Err(error) => {
            eprintln!("agent-runner: no runtime: {error}");
            70
        }
    }
}

fn complain(error: &LaunchError) {
    match std::error::Error::source(error) {
        Some(source) => eprintln!("agent-runner: {error}: {source}"),
        None => eprintln!("agent-runner: {error}"),
    }
    eprintln!("\nhint: {}", error.hint());
}
