//! Sockets, routes and the thread: the scripted model as something that tests start and drop.
//!
//! | path | what |
//! |---|---|
//! | a protocol's own, as `/v1/messages` | a run of the scenario that the server was started with |
//! | `/s/SCENARIO/RUN/…` | a run of its own, with its own state, of a scenario that was added or is built in |
//! | `…/mark/NAME` | recorded as [`Kind::Mark`]: a scenario's shell command tells that it runs |
//! | any other | 404 in the first protocol's form, recorded |

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::archive::Archive;
use super::bill::Bill;
use super::delivery::{CutHere, Ending, Entry, Script, interrupted, paced};
use super::ledger::{Ledger, WaitError};
use super::protocol::{PROTOCOLS, Piece, Protocol};
use super::record::{Kind, Record, Run, State, keep_headers, keep_path};
use super::scenario::{Fault, Scenario, ScenarioError};
use super::stage::{Plan, Stage};

/// A request of the real services may have 32 MB; twice that is surely a fault, and memory must have a bound.
const BODY_LIMIT: usize = 64 << 20;
/// The run of requests whose path has no prefix.
const DEFAULT_RUN: &str = "default";

/// Why the model could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Anybody who can reach the port could spend a test's answers.
    #[error("will not listen on `{0}`: a scripted model listens on loopback addresses only, as 127.0.0.1:0")]
    NotLoopback(SocketAddr),
    /// The address is not free.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The directory for the records cannot be used.
    #[error("cannot keep records in `{}`", directory.display())]
    Archive {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread, or no event loop.
    #[error("cannot start the server's thread")]
    Thread(#[source] io::Error),
}

/// What a model is started with.
#[derive(Debug)]
pub struct Builder {
    scenarios: Vec<Scenario>,
    listen: SocketAddr,
    archive: Option<PathBuf>,
}

impl Builder {
    /// A further scenario, for paths `/s/NAME/RUN/…`. It takes precedence over a built-in one of the same name.
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenarios.push(scenario);
        self
    }

    /// The address; by default a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// A directory for the records; see [`Archive`].
    pub fn record_to(mut self, directory: impl Into<PathBuf>) -> Self {
        self.archive = Some(directory.into());
        self
    }

    /// Starts it. It answers from the moment that this returns.
    pub fn start(self) -> Result<ScriptedModel, StartError> {
        if !self.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(self.listen));
        }
        let archive = match self.archive {
            Some(directory) => Some(Archive::open(&directory).map_err(|source| StartError::Archive { directory, source })?),
            None => None,
        };
        let fail = |source| StartError::Listen { address: self.listen, source };
        let listener = TcpListener::bind(self.listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;

        let ledger = Ledger::new(archive);
        let default = self.scenarios[0].name.clone();
        let server = Arc::new(Server { stage: Stage::new(address, self.scenarios)?, default, ledger: Arc::clone(&ledger), nonce: nonce() });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("scripted-model".into())
            .spawn(move || runtime.block_on(serve(listener, server, stopped)))
            .map_err(StartError::Thread)?;
        Ok(ScriptedModel { address, ledger, stop: Some(stop), thread: Some(thread) })
    }
}

/// A running model. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedModel {
    /// Starts a model on a free port of 127.0.0.1 that plays this scenario.
    pub fn start(scenario: Scenario) -> Result<Self, StartError> {
        Self::builder(scenario).start()
    }

    /// As [`start`](Self::start), with more to say.
    pub fn builder(scenario: Scenario) -> Builder {
        Builder { scenarios: vec![scenario], listen: (Ipv4Addr::LOCALHOST, 0).into(), archive: None }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, as Claude Code wants it. Agents with OpenAI's or AI SDK's habits want `/v1` after it.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL of a run of its own, of an added or built-in scenario.
    pub fn run_url(&self, scenario: &str, run: &str) -> String {
        format!("http://{}/s/{scenario}/{run}", self.address)
    }

    /// All requests so far, in the order of arrival. Bodies are shared, not copied.
    pub fn requests(&self) -> Vec<Record> {
        self.ledger.snapshot()
    }

    /// How many connections there were, also those on which nothing was asked.
    pub fn connections(&self) -> u64 {
        self.ledger.connections()
    }

    /// The requests of one run.
    pub fn requests_of(&self, run: &str) -> Vec<Record> {
        let mut records = self.requests();
        records.retain(|record| record.run.name == run);
        records
    }

    /// What all requests were billed.
    pub fn bill(&self) -> Bill {
        Bill::of(&self.requests())
    }

    /// What one run was billed.
    pub fn bill_of(&self, run: &str) -> Bill {
        Bill::of(&self.requests_of(run))
    }

    /// Waits, without polling, until `is_reached` holds for the requests; returns them. `is_reached` is called with the
    /// ledger locked: it must not ask this model for anything.
    pub fn wait_for(&self, is_reached: impl FnMut(&[Record]) -> bool, timeout: Duration) -> Result<Vec<Record>, WaitError> {
        self.ledger.wait_for(is_reached, timeout)
    }

    /// Waits until a scenario's shell command has told that it reached the mark `name`.
    pub fn wait_for_mark(&self, name: &str, timeout: Duration) -> Result<Vec<Record>, WaitError> {
        let is_mark = |record: &Record| matches!(&record.kind, Kind::Mark(mark) if mark == name);
        self.wait_for(|records| records.iter().any(is_mark), timeout)
    }

    /// Waits until a conversation's question is open: the agent waits for the model just then.
    pub fn wait_for_question(&self, timeout: Duration) -> Result<Vec<Record>, WaitError> {
        let is_open = |record: &Record| record.is_question() && record.is_open();
        self.wait_for(|records| records.iter().any(is_open), timeout)
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        // The other end is gone if the thread is.
        let _ = self.stop.take().map(|stop| stop.send(()));
        // A panic there was printed there.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Distinguishes this server's ids from those that an earlier server left in a conversation that is resumed here.
fn nonce() -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    letters(since_epoch.as_nanos() & 0xffff_ffff_ffff)
}

/// A number in letters. OpenCode takes an error for a passing one if `500`, or another such status, stands anywhere in its body: with
/// digits in the ids chance would decide whether it asks again.
fn letters(number: u128) -> String {
    format!("{number:012x}").bytes().map(|digit| char::from(if digit.is_ascii_digit() { digit - b'0' + b'g' } else { digit })).collect()
}

async fn serve(listener: TcpListener, server: Arc<Server>, mut stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("scripted-model: cannot use the listening socket: {error}"),
    };
    // Connections are tasks of this runtime: when it goes, they go.
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely; without a pause this would spin until one is free.
                eprintln!("scripted-model: cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        server.ledger.connected();
        // Events are small; held back for more they would come late. Without it they are late, not lost.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|request| Arc::clone(&server).respond(request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // It ends with an error when a scenario cuts it and when a client goes; both are in the ledger.
            let _ = connection.await;
        });
    }
}

/// What all connections share.
#[derive(Debug)]
struct Server {
    stage: Stage,
    /// Name of the scenario that requests without a prefix run against.
    default: String,
    ledger: Arc<Ledger>,
    /// See [`nonce`].
    nonce: String,
}

type Answered = Result<Response<Script>, CutHere>;

impl Server {
    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        let whole = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let (prefix, run, rest) = split_path(whole, &self.default);
        let (headers, mut credentials) = keep_headers(&head.headers);
        let kept_path = keep_path(&rest, &mut credentials);
        let (body, is_whole) = read_whole(body).await;

        let scenario = self.stage.scenario(&run.scenario);
        let path = rest.split('?').next().unwrap_or("");
        let known = PROTOCOLS.iter().find_map(|speaks| Some((*speaks, speaks.read(&head.method, path, &body)?)));
        let (protocol, call) = known.map_or((PROTOCOLS[0], None), |(protocol, call)| (protocol, Some(call)));
        let mut record = Record {
            index: 0,
            run: run.clone(),
            at: self.ledger.now(),
            ended_at: None,
            method: head.method.to_string(),
            path: kept_path,
            headers,
            credentials,
            body,
            kind: Kind::Unknown,
            model: None,
            tools: Vec::new(),
            round: 0,
            turn: None,
            status: None,
            state: State::Waiting,
            sent: 0,
            billed: None,
            note: None,
        };
        let plan = if !is_whole {
            record.note = Some("the body did not arrive whole".into());
            Plan::error(413, "the request's body is too large, or was cut".into())
        } else if let Some(name) = path.strip_prefix("/mark/") {
            record.kind = Kind::Mark(name.into());
            Plan::Plain(204, Bytes::new())
        } else {
            match (call, scenario) {
                (None, _) => {
                    record.note = Some("no protocol knows this path".into());
                    Plan::error(404, format!("{} {path}: no such route", record.method))
                }
                (Some(_), Err(error)) => {
                    record.note = Some(error.to_string());
                    Plan::error(404, error.to_string())
                }
                (Some(call), Ok(scenario)) => self.stage.plan(&scenario, &prefix, protocol, call, &mut record),
            }
        };
        let model = record.model.clone().unwrap_or_default();
        let index = self.ledger.enter(record);
        let entry = Entry::new(Arc::clone(&self.ledger), index, model);
        self.perform(plan, protocol, entry, index).await
    }

    async fn perform(&self, plan: Plan, protocol: &dyn Protocol, entry: Entry, index: usize) -> Answered {
        let id = format!("{}_{index}", self.nonce);
        match plan {
            Plan::Plain(status, bytes) => {
                entry.begin(status);
                let length = bytes.len();
                let piece = Piece { bytes, told: None };
                let head = Response::builder().status(status).header("content-type", "application/json");
                // A response without content must not announce any.
                let head = if status == 204 { head } else { head.header("content-length", length) };
                Ok(finish(head, Script::whole(piece, entry)))
            }
            Plan::Error { status, message, fault, delay } => {
                tokio::time::sleep(delay).await;
                entry.begin(status);
                let id = format!("req_{id}");
                let bytes = match &fault {
                    Some(fault) => protocol.fault_body(fault, status, &message, &id),
                    None => protocol.error(status, &message, &id),
                };
                let retry_after = match fault {
                    Some(Fault::Status(status)) => status.retry_after,
                    _ => None,
                };
                let mut head = Response::builder()
                    .status(status)
                    .header("content-type", "application/json")
                    .header("request-id", id)
                    .header("content-length", bytes.len());
                if let Some(seconds) = retry_after {
                    head = head.header("retry-after", seconds);
                }
                Ok(finish(head, Script::whole(Piece { bytes, told: None }, entry)))
            }
            Plan::Close { delay } => {
                tokio::time::sleep(delay).await;
                entry.settle(State::Cut);
                Err(CutHere)
            }
            Plan::Failure { pieces, delay } => {
                tokio::time::sleep(delay).await;
                entry.begin(200);
                let head = Response::builder().status(200).header("content-type", "text/event-stream");
                Ok(finish(head, Script::new(pieces, Ending::Whole, None, entry)))
            }
            Plan::Silence => std::future::pending().await,
            Plan::Reply { mut answer, stream, delivery } => {
                tokio::time::sleep(Duration::from_millis(delivery.delay_ms)).await;
                entry.begin(200);
                answer.id.clone_from(&id);
                let mut head = Response::builder().status(200).header("request-id", format!("req_{id}"));
                let pieces = if stream {
                    head = head.header("content-type", "text/event-stream").header("cache-control", "no-cache");
                    protocol.stream(&answer)
                } else {
                    let piece = protocol.whole(&answer);
                    head = head.header("content-type", "application/json").header("content-length", piece.bytes.len());
                    vec![piece]
                };
                let overloaded = stream.then(|| protocol.overloaded_event());
                let (pieces, ending) = match delivery.interrupt {
                    Some(interrupt) => interrupted(pieces, interrupt, overloaded),
                    None => (pieces, Ending::Whole),
                };
                let (pieces, pause) = match delivery.pace {
                    Some(pace) => (paced(pieces, pace), Some(Duration::from_millis(pace.every_ms))),
                    None => (pieces, None),
                };
                Ok(finish(head, Script::new(pieces, ending, pause, entry)))
            }
        }
    }
}

/// Prefix of the run (empty for the default one), the run, and the path after the prefix.
fn split_path(path: &str, default: &str) -> (String, Run, String) {
    let mut parts = path.strip_prefix("/s/").unwrap_or("").splitn(3, '/');
    match (parts.next(), parts.next()) {
        (Some(scenario), Some(name)) if !scenario.is_empty() && !name.is_empty() => {
            // `HEAD /s/x/y` is a probe, as `HEAD /` is.
            let name = name.split('?').next().unwrap_or(name);
            let prefix = format!("/s/{scenario}/{name}");
            let rest = path[prefix.len()..].to_owned();
            let run = Run { scenario: scenario.into(), name: name.into() };
            (prefix, run, if rest.is_empty() { "/".into() } else { rest })
        }
        _ => (String::new(), Run { scenario: default.into(), name: DEFAULT_RUN.into() }, path.to_owned()),
    }
}

/// The body, and whether it is whole.
async fn read_whole(mut body: Incoming) -> (Bytes, bool) {
    let mut whole = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        match frame {
            None => return (whole.into(), true),
            Some(Err(_)) => return (whole.into(), false),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
                if whole.len() > BODY_LIMIT {
                    return (whole.into(), false);
                }
            }
        }
    }
}

fn finish(head: hyper::http::response::Builder, body: Script) -> Response<Script> {
    // The parts are all ours and well-formed; the builder only fails for names and values that are not.
    head.body(body).unwrap_or_else(|_| unreachable!("status and headers are well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_reads_as_a_status() {
        assert_eq!(letters(0x0500_0429_0503), "glgggkipglgj");
    }
}
