//! What a request is answered: which scenario, which conversation, which turn, with what in its templates.
//! Nothing here touches a socket; [`super::server`] does what a [`Plan`] says.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;

use super::play::Used;
use super::protocol::{Answer, Ask, Call, Piece, Protocol, Said};
use super::record::{Kind, Record, Run};
use super::scenario::{AuxiliaryRule, Block, Delivery, Fault, Reply, Scenario, ScenarioError, Stop, Turn};
use super::tools::{self, Chosen};
use super::{structured, template};

/// The scripts, and how far each run has come in them.
#[derive(Debug)]
pub struct Stage {
    address: SocketAddr,
    scenarios: BTreeMap<String, Arc<Scenario>>,
    used: Mutex<HashMap<(Run, Conversation), Used>>,
}

/// A sub-agent's name in the scenario, or `None` for the main conversation.
type Conversation = Option<String>;

impl Stage {
    /// A stage on the server at `address`; these scenarios take precedence over built-in ones of the same name.
    pub fn new(address: SocketAddr, scenarios: impl IntoIterator<Item = Scenario>) -> Result<Self, ScenarioError> {
        let checked: Result<Vec<Scenario>, ScenarioError> = scenarios.into_iter().map(Scenario::checked).collect();
        let named = checked?.into_iter().map(|scenario| (scenario.name.clone(), Arc::new(scenario)));
        Ok(Self { address, scenarios: named.collect(), used: Mutex::default() })
    }

    /// The scenario of that name.
    pub fn scenario(&self, name: &str) -> Result<Arc<Scenario>, ScenarioError> {
        match self.scenarios.get(name) {
            Some(scenario) => Ok(Arc::clone(scenario)),
            None => Scenario::builtin(name).map(Arc::new),
        }
    }

    /// Decides what is answered, and enters into the record what was understood.
    pub fn plan(&self, scenario: &Scenario, prefix: &str, protocol: &'static dyn Protocol, call: Call, record: &mut Record) -> Plan {
        let ask = match call {
            Call::Ask(ask) => ask,
            Call::Probe => {
                record.kind = Kind::Probe;
                return Plan::Plain(200, Bytes::new());
            }
            Call::Upgrade => {
                record.kind = Kind::Probe;
                return Plan::error(426, "this model is spoken to by HTTP only".into());
            }
            Call::CountTokens { model } => {
                record.kind = Kind::CountTokens;
                record.model = Some(model);
                // Nobody bills it; four bytes a token is what people reckon with.
                return Plan::Plain(200, protocol.token_count(record.body.len() as u64 / 4));
            }
            Call::Malformed(message) => {
                record.kind = Kind::Malformed;
                record.note = Some(message.clone());
                return Plan::error(400, message);
            }
        };
        let values = self.values(scenario, prefix, &ask);
        let is_auxiliary = scenario.auxiliary.rule == AuxiliaryRule::NoTools && (ask.tools.is_empty() || ask.max_output == Some(1));
        record.model = Some(ask.model.clone());
        record.tools = ask.tools.iter().map(|tool| tool.name.clone()).collect();
        if is_auxiliary {
            record.kind = Kind::Auxiliary;
            let auxiliary = &scenario.auxiliary;
            let text = match &ask.schema {
                Some(schema) => structured::instance(schema, &auxiliary.text).to_string(),
                None => auxiliary.text.clone(),
            };
            let reply = Reply { content: vec![Block::Text(text)], usage: auxiliary.usage, stop: None };
            return reply_plan(&reply, &Delivery::default(), &ask, &values, record);
        }
        let subagent = scenario.subagents.iter().find(|subagent| ask.first_prompt.contains(&template::fill(&subagent.prompt, &values)));
        let turns = subagent.map_or(&scenario.turns, |subagent| &subagent.turns);
        let conversation = subagent.map(|subagent| subagent.name.clone());
        record.kind = conversation.clone().map_or(Kind::Main, Kind::Subagent);
        let index = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let used = used.entry((record.run.clone(), conversation)).or_default();
            record.round = used.round(ask.rounds);
            used.next_turn(turns, record.round)
        };
        record.turn = Some(index);
        let turn = &turns[index];
        match turn {
            Turn { fault: Some(fault), delivery, .. } => fault_plan(fault, delivery, protocol, &ask, &values),
            Turn { reply: Some(reply), delivery, .. } => reply_plan(reply, delivery, &ask, &values, record),
            // `checked` refuses it.
            Turn { .. } => Plan::error(500, "the scenario has an empty turn".into()),
        }
    }

    fn values(&self, scenario: &Scenario, prefix: &str, ask: &Ask) -> BTreeMap<String, String> {
        let own = [
            ("host", self.address.ip().to_string()),
            ("port", self.address.port().to_string()),
            ("path", prefix.to_owned()),
            ("model", ask.model.clone()),
        ];
        let mut values: BTreeMap<String, String> = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // A parameter's default may use the server's own names, and no other parameter.
        let parameters: Vec<(String, String)> =
            scenario.parameters.iter().map(|(name, value)| (name.clone(), template::fill_reserved(value, &values))).collect();
        values.extend(parameters);
        values
    }
}

/// What is to be done for a request.
pub enum Plan {
    /// A short answer outside the script.
    Plain(u16, Bytes),
    /// An HTTP error in the protocol's form.
    Error {
        /// HTTP status.
        status: u16,
        /// For the error's body.
        message: String,
        /// What the script had to say about it.
        fault: Option<Fault>,
        /// Before it.
        delay: Duration,
    },
    /// The connection is closed.
    Close {
        /// Before it.
        delay: Duration,
    },
    /// Nothing, for ever.
    Silence,
    /// An answer that tells in its stream what went wrong.
    Failure {
        /// Its events.
        pieces: Vec<Piece>,
        /// Before it.
        delay: Duration,
    },
    /// An answer of the model.
    Reply {
        /// What is said; the server gives it its id.
        answer: Answer,
        /// Whether as a stream.
        stream: bool,
        /// How its bytes travel.
        delivery: Delivery,
    },
}

impl Plan {
    /// An HTTP error with no more to it.
    pub fn error(status: u16, message: String) -> Self {
        Self::Error { status, message, fault: None, delay: Duration::ZERO }
    }
}

fn reply_plan(reply: &Reply, delivery: &Delivery, ask: &Ask, values: &BTreeMap<String, String>, record: &mut Record) -> Plan {
    let mut content = Vec::new();
    for block in &reply.content {
        // What is missing is said in the conversation and in the record: a test that looks at either sees why nothing ran.
        content.extend(say(block, ask, values).unwrap_or_else(|missing| {
            record.note = Some(missing.clone());
            vec![Said::Text(missing)]
        }));
    }
    let calls = content.iter().any(|said| matches!(said, Said::Call { .. }));
    let stop = match reply.stop() {
        Stop::ToolUse if !calls => Stop::EndTurn,
        stop => stop,
    };
    let model = ask.model.clone();
    let answer = Answer { id: String::new(), model, content, stop, usage: reply.usage, stream_usage: ask.stream_usage };
    Plan::Reply { answer, stream: ask.stream, delivery: delivery.clone() }
}

fn fault_plan(fault: &Fault, delivery: &Delivery, protocol: &dyn Protocol, ask: &Ask, values: &BTreeMap<String, String>) -> Plan {
    let delay = Duration::from_millis(delivery.delay_ms);
    if let Some(pieces) = protocol.streamed_fault(fault, &ask.model).filter(|_| ask.stream) {
        return Plan::Failure { pieces, delay };
    }
    match protocol.fault(fault) {
        Some((status, message)) => Plan::Error { status, message: template::fill(&message, values), fault: Some(fault.clone()), delay },
        None if matches!(fault, Fault::Silence(_)) => Plan::Silence,
        None => Plan::Close { delay },
    }
}

/// A block with its templates filled and its tools chosen, or the sentence that says which tool is missing.
fn say(block: &Block, ask: &Ask, values: &BTreeMap<String, String>) -> Result<Vec<Said>, String> {
    let filled = |text: &str| template::fill(text, values);
    let (chosen, wanted): (Vec<Chosen>, String) = match block {
        Block::Text(text) => return Ok(vec![Said::Text(filled(text))]),
        Block::Thinking(text) => return Ok(vec![Said::Thinking(filled(text))]),
        Block::Shell(command) => (tools::shell_call(&ask.tools, &filled(command)).into_iter().collect(), "for shell commands".into()),
        Block::Subagent(prompt) => (tools::subagent_call(&ask.tools, ask.started.as_deref(), &filled(prompt)), "for sub-agents".into()),
        Block::Tool(call) => {
            let name = filled(&call.name);
            let input = template::fill_value(&call.input, values);
            (tools::named_call(&ask.tools, &name, &input).into_iter().collect(), format!("`{name}`"))
        }
        Block::Mcp(call) => {
            let mut call = call.clone();
            call.tool = filled(&call.tool);
            call.server = call.server.as_deref().map(filled);
            call.input = template::fill_value(&call.input, values);
            (tools::mcp_call(&ask.tools, &call).into_iter().collect(), format!("`{}` of an MCP server", call.tool))
        }
    };
    if chosen.is_empty() {
        let offered: Vec<&str> = ask.tools.iter().map(|tool| tool.name.as_str()).collect();
        return Err(format!("no tool {wanted} is offered; there are: {}", offered.join(", ")));
    }
    Ok(chosen.into_iter().map(|call| Said::Call { name: call.name, input: call.input }).collect())
}
