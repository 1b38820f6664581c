//! Which turn answers a request: a function of the conversation's round and of what was used up in that round.
//!
//! `rounds` is how many rounds of tool calls the request carries the results of. The turns of a script are laid out
//! over rounds: a turn that calls a tool ends its round (and `times - 1` further ones that are its alone); all others
//! stand in the round of the next such turn. A session that is resumed brings the rounds of its past with it; so rounds
//! are counted from the first request of a run.

use std::collections::HashMap;

use super::scenario::Turn;

/// What was used up, per turn and round, of one run's one conversation.
#[derive(Debug, Default)]
pub struct Used {
    /// Rounds that the first request brought with it.
    past: Option<usize>,
    /// Uses by turn and round.
    uses: HashMap<(usize, usize), u32>,
}

impl Used {
    /// The round of a request that carries the results of `rounds` rounds of tool calls.
    pub fn round(&mut self, rounds: usize) -> usize {
        rounds.saturating_sub(*self.past.get_or_insert(rounds))
    }

    /// The index of the turn that answers a request of this [`round`](Self::round); counts its use.
    pub fn next_turn(&mut self, turns: &[Turn], round: usize) -> usize {
        let candidates = turns_of_round(turns, round);
        let fresh = candidates.iter().copied().find(|&index| self.uses(index, round) < turns[index].times.unwrap_or(1));
        // The last of a round goes on: a client that asks again after a tool call has not seen it, and gets it again.
        let index = fresh.or(candidates.last().copied()).unwrap_or(turns.len() - 1);
        *self.uses.entry((index, round)).or_default() += 1;
        index
    }

    fn uses(&self, turn: usize, round: usize) -> u32 {
        self.uses.get(&(turn, round)).copied().unwrap_or(0)
    }
}

/// The turns that stand in a round, in order; none after the script's end.
fn turns_of_round(turns: &[Turn], round: usize) -> Vec<usize> {
    let mut found = Vec::new();
    let mut first = 0_usize;
    for (index, turn) in turns.iter().enumerate() {
        if turn.advances() {
            let count = if turn.forever { usize::MAX } else { turn.times.unwrap_or(1) as usize };
            let end = first.saturating_add(count);
            if (first..end).contains(&round) {
                found.push(index);
            }
            first = end;
        } else if first == round {
            found.push(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Block, Fault, Nothing, Reply, Usage};
    use super::*;

    fn reply(block: Block) -> Turn {
        let reply = Reply { content: vec![block], usage: Usage::default(), stop: None };
        Turn { reply: Some(reply), ..Turn::default() }
    }

    fn tool() -> Turn {
        reply(Block::Shell("true".into()))
    }

    fn text() -> Turn {
        reply(Block::Text("done".into()))
    }

    fn fault(times: u32) -> Turn {
        Turn { fault: Some(Fault::Close(Nothing {})), times: Some(times), ..Turn::default() }
    }

    fn played(turns: &[Turn], rounds: &[usize]) -> Vec<usize> {
        let mut used = Used::default();
        rounds.iter().map(|&round| used.next_turn(turns, round)).collect()
    }

    #[test]
    fn a_repeated_request_gets_the_same_tool_call_again() {
        assert_eq!(played(&[tool(), text()], &[0, 0, 1, 1, 0]), [0, 0, 1, 1, 0]);
    }

    #[test]
    fn faults_come_first_and_so_many_times() {
        assert_eq!(played(&[fault(2), tool(), fault(1), text()], &[0, 0, 0, 0, 1, 1, 1]), [0, 0, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_tool_call_with_times_is_one_round_each() {
        let thrice = Turn { times: Some(3), ..tool() };
        assert_eq!(played(&[thrice, text()], &[0, 1, 2, 3]), [0, 0, 0, 1]);
    }

    #[test]
    fn a_resumed_session_starts_at_round_0() {
        let mut used = Used::default();
        assert_eq!([3, 3, 4, 5, 1].map(|rounds| used.round(rounds)), [0, 0, 1, 2, 0]);
    }

    #[test]
    fn a_loop_never_ends() {
        let endless = Turn { forever: true, ..tool() };
        assert_eq!(played(&[tool(), endless], &[0, 1, 2, 1000]), [0, 1, 1, 1]);
    }

    #[test]
    fn replies_without_a_call_follow_each_other_in_one_round() {
        assert_eq!(played(&[text(), text()], &[0, 0, 0]), [0, 1, 1]);
    }

    #[test]
    fn after_the_scripts_end_the_last_turn_repeats() {
        assert_eq!(played(&[tool(), text()], &[5, 5]), [1, 1]);
        assert_eq!(played(&[tool()], &[1]), [0]);
    }
}
