//! The bytes of an answer on their way: paced, cut, silenced; and what was billed when they stopped.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Sleep, sleep};

use super::bill::Charge;
use super::ledger::Ledger;
use super::protocol::{Piece, Told};
use super::record::State;
use super::scenario::{Interrupt, Means, Pace, Place};

/// An entry of the ledger whose answer is under way. Dropped before it is settled, the client has gone.
#[derive(Debug)]
pub struct Entry {
    ledger: Arc<Ledger>,
    index: usize,
    model: String,
    settled: bool,
}

impl Entry {
    /// The answering of the ledger's request `index`, billed to `model`.
    pub fn new(ledger: Arc<Ledger>, index: usize, model: String) -> Self {
        Self { ledger, index, model, settled: false }
    }

    /// The answer begins, with this status.
    pub fn begin(&self, status: u16) {
        self.ledger.change(self.index, |record| {
            record.status = Some(status);
            record.state = State::Answering;
        });
    }

    /// The answer is over.
    pub fn settle(mut self, state: State) {
        self.end(state);
    }

    fn sent(&self, bytes: usize, told: Option<Told>) {
        let charge = told.map(|told| Charge { model: self.model.clone(), tokens: told.usage.into(), finished: told.last });
        self.ledger.change(self.index, |record| {
            record.sent += bytes;
            record.billed = charge.or(record.billed.take());
        });
    }

    fn end(&mut self, state: State) {
        self.settled = true;
        let now = self.ledger.now();
        self.ledger.change(self.index, |record| {
            record.state = state;
            record.ended_at = Some(now);
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.settled {
            self.end(State::Left);
        }
    }
}

/// How the sending ends after the last piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Whole,
    /// The connection is closed.
    Cut,
    /// Nothing comes any more.
    Silence,
}

/// The pieces that are sent of an interrupted answer, and how it ends then.
pub fn interrupted(pieces: Vec<Piece>, interrupt: Interrupt, overloaded: Option<Bytes>) -> (Vec<Piece>, Ending) {
    let mut kept = match interrupt.at {
        Place::Headers => Vec::new(),
        Place::Start if pieces.len() > 1 => pieces.into_iter().take(1).collect(),
        // An answer in one piece tells nothing before its end.
        Place::End if pieces.len() > 1 => {
            let all_but_one = pieces.len() - 1;
            pieces.into_iter().take(all_but_one).collect()
        }
        Place::Start | Place::Middle | Place::End => first_half(pieces),
    };
    let ending = match (interrupt.by, overloaded) {
        (Means::Silence, _) => Ending::Silence,
        (Means::Overloaded, Some(bytes)) => {
            // An event can only stand after a whole one.
            if kept.last().is_some_and(|last| !last.bytes.ends_with(b"\n\n")) {
                kept.pop();
            }
            kept.push(Piece { bytes, told: None });
            Ending::Whole
        }
        (Means::Cut | Means::Overloaded, _) => Ending::Cut,
    };
    (kept, ending)
}

/// Half of the bytes; what the piece in the middle tells is not told, for it is not whole.
fn first_half(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut left = pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>() / 2;
    let mut kept = Vec::new();
    for piece in pieces {
        if piece.bytes.len() > left {
            kept.push(Piece { bytes: piece.bytes.slice(..left), told: None });
            break;
        }
        left -= piece.bytes.len();
        kept.push(piece);
    }
    kept
}

/// The same bytes in pieces of at most so many; a price is told by the last part of its piece.
pub fn paced(pieces: Vec<Piece>, pace: Pace) -> Vec<Piece> {
    let mut parts = Vec::new();
    for piece in pieces {
        let mut rest = piece.bytes;
        while rest.len() > pace.bytes {
            parts.push(Piece { bytes: rest.split_to(pace.bytes), told: None });
        }
        parts.push(Piece { bytes: rest, told: piece.told });
    }
    parts
}

/// A body that sends a script's pieces and keeps the ledger.
pub struct Script {
    pieces: VecDeque<Piece>,
    ending: Ending,
    wait: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Set while an answer is under way.
    entry: Option<Entry>,
    flushed: bool,
}

/// The scenario cuts the connection here. hyper, told so, drops it.
#[derive(Debug)]
pub struct CutHere;

impl fmt::Display for CutHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scenario cuts the connection here")
    }
}

impl std::error::Error for CutHere {}

impl Script {
    /// The body that sends `pieces` for `entry`.
    pub fn new(pieces: Vec<Piece>, ending: Ending, pause: Option<Duration>, entry: Entry) -> Self {
        Self { pieces: pieces.into(), ending, wait: pause.map(|pause| (pause, Box::pin(sleep(pause)))), entry: Some(entry), flushed: false }
    }

    /// A short answer outside the script. It counts as answered at once: hyper does not ask for a body's pieces where
    /// HTTP allows none (HEAD, 204), and nobody interrupts these.
    pub fn whole(piece: Piece, entry: Entry) -> Self {
        entry.sent(piece.bytes.len(), piece.told);
        entry.settle(State::Answered);
        Self { pieces: VecDeque::from([piece]), ending: Ending::Whole, wait: None, entry: None, flushed: false }
    }

    fn settle(&mut self, state: State) {
        if let Some(entry) = self.entry.take() {
            entry.settle(state);
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = CutHere;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutHere>>> {
        let this = self.get_mut();
        if let Some((pause, wait)) = this.wait.as_mut().filter(|_| !this.pieces.is_empty()) {
            ready!(wait.as_mut().poll(cx));
            *wait = Box::pin(sleep(*pause));
        }
        if let Some(piece) = this.pieces.pop_front() {
            if let Some(entry) = &this.entry {
                entry.sent(piece.bytes.len(), piece.told);
            }
            if this.pieces.is_empty() && this.ending == Ending::Whole {
                // hyper need not ask again when the length that was announced is reached.
                this.settle(State::Answered);
            }
            return Poll::Ready(Some(Ok(Frame::data(piece.bytes))));
        }
        match this.ending {
            Ending::Whole => {
                this.settle(State::Answered);
                Poll::Ready(None)
            }
            Ending::Silence => Poll::Pending,
            // hyper writes its buffer when a body has nothing for it, and throws it away when a body fails.
            Ending::Cut if !this.flushed => {
                this.flushed = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Cut => {
                this.settle(State::Cut);
                Poll::Ready(Some(Err(CutHere)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.ending == Ending::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Usage;
    use super::*;

    fn pieces(texts: &[&'static str]) -> Vec<Piece> {
        let told = |output| Some(Told { usage: Usage { output, ..Usage::default() }, last: output > 0 });
        let last = texts.len() - 1;
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| Piece {
                bytes: Bytes::from_static(text.as_bytes()),
                told: if index == 0 {
                    told(0)
                } else if index == last {
                    told(9)
                } else {
                    None
                },
            })
            .collect()
    }

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| String::from_utf8_lossy(&piece.bytes).into_owned()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn an_answer_can_be_cut_at_every_place() {
        for (at, wanted) in
            [(Place::Headers, ""), (Place::Start, "one\n\n"), (Place::Middle, "one\n\n|tw"), (Place::End, "one\n\n|two\n\n")]
        {
            let (kept, ending) = interrupted(pieces(&["one\n\n", "two\n\n", "end\n\n"]), Interrupt { at, by: Means::Cut }, None);
            assert_eq!((text(&kept).as_str(), ending), (wanted, Ending::Cut), "{at:?}");
        }
    }

    #[test]
    fn half_of_a_single_piece_tells_no_price() {
        for at in [Place::Start, Place::Middle, Place::End] {
            let (kept, _) = interrupted(pieces(&["abcdef"]), Interrupt { at, by: Means::Silence }, None);
            assert_eq!(text(&kept), "abc");
            assert!(kept.iter().all(|piece| piece.told.is_none()));
        }
    }

    #[test]
    fn an_error_event_stands_after_whole_events_only() {
        let interrupt = Interrupt { at: Place::Middle, by: Means::Overloaded };
        let (kept, ending) = interrupted(pieces(&["one\n\n", "two\n\n", "end\n\n"]), interrupt, Some("err\n\n".into()));
        assert_eq!((text(&kept).as_str(), ending), ("one\n\n|err\n\n", Ending::Whole));
    }

    #[test]
    fn paced_pieces_are_the_same_bytes_and_tell_the_price_at_the_same_byte() {
        let parts = paced(pieces(&["abcdefg", "hi"]), Pace { bytes: 3, every_ms: 0 });
        assert_eq!(text(&parts), "abc|def|g|hi");
        let told: Vec<bool> = parts.iter().map(|part| part.told.is_some()).collect();
        assert_eq!(told, [false, false, true, true]);
    }
}
