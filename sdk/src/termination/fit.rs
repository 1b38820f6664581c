//! Fitting an outcome into a budget of bytes.
//!
//! If everything fits, everything is written. If not, room is given out in this order, and what gets none is left out:
//!
//! 1. `status`, `reason`, `exitCode`: always, whole.
//! 2. `phase`, `origin`, `retry`, each whole.
//! 3. `message`, up to a quarter of the budget, shortened in its middle.
//! 4. `parameters` with known keys (facts, and `pr`), in order of worth, each whole: half a commit id is worse than none.
//! 5. `resultFile`, then `resultSha256`: where the whole stands.
//! 6. `agent`, `agentExitCode`, `signal`, `usageComplete`, `claims`, `interfaceVersion`, `hint`, `warnings`, each whole.
//! 7. Claims of up to 128 bytes, whole, by name; then longer ones, each an equal share of what is left, shortened at the end.
//! 8. The names of what was left out, in `cut`, up to an eighth of the budget; `*` stands for those that found no room.
//! 9. The rest of `message`, then `answer`.
//!
//! Something that does not fit does not stop what comes after it. The order of *writing* is that of
//! [`TerminationMessage`](super::TerminationMessage)'s fields.

use crate::outcome::Outcome;

use super::CUT_MORE;
use super::draft::{Draft, Parameter, Written};
use super::shorten::{Keep, quote, quoted_len_within, shorten};

/// Where the whole outcome stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeAt {
    /// The path of the result file in the container.
    pub path: String,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// The outcome as one JSON object of at most `budget` bytes, in UTF-8.
///
/// From 128 bytes on, status, reason and exit code are always there, first and whole. Below that they are dropped from the end, down to
/// `{}`; in less than two bytes there is no object, and nothing is returned.
#[must_use]
pub fn fit(outcome: &Outcome, budget: usize, whole: Option<&WholeAt>) -> String {
    Draft::of_outcome(outcome, whole).fit(budget)
}

impl Draft<'_> {
    /// The message of at most `budget` bytes.
    pub(super) fn fit(&self, budget: usize) -> String {
        let first =
            [("status", quote(self.status.as_str())), ("reason", quote(self.reason.as_str())), ("exitCode", self.exit_code.to_string())];
        self.whole(&first, budget).unwrap_or_else(|| Page::new(budget).fill(self, &first))
    }
}

/// What a field costs: `"name":json,`. The last comma pays for the closing brace, the page's first byte for the opening one.
fn cost(name: &str, json: &str) -> usize {
    name.len() + 3 + json.len() + 1
}

/// What opening `"parameters":{},` and `"cut":[],` costs.
const PARAMETERS: usize = 16;
const CUT: usize = 9;
/// A claim up to this long (as JSON) counts as small: a URL, a file name, a verdict; together with its name it takes a thirtieth of a full
/// budget.
const SMALL_CLAIM: usize = 128;

/// A message for which there is too little room.
struct Page<'a> {
    budget: usize,
    left: usize,
    written: Written<'a>,
    /// The parameters that were taken, by their place in the order of worth.
    taken: Vec<(usize, String)>,
    /// Names of what is left out, not in `cut` yet.
    left_out: Vec<String>,
}

impl<'a> Page<'a> {
    fn new(budget: usize) -> Self {
        Self { budget, left: budget.saturating_sub(1), written: Written::default(), taken: Vec::new(), left_out: Vec::new() }
    }

    /// Takes `amount` bytes if they are there.
    fn pay(&mut self, amount: usize) -> bool {
        let enough = amount <= self.left;
        if enough {
            self.left -= amount;
        }
        enough
    }

    fn fill(mut self, draft: &'a Draft<'a>, first: &[(&'static str, String)]) -> String {
        for (name, json) in first {
            if !self.pay(cost(name, json)) {
                return self.bare();
            }
            self.written.first.push((name, json.clone()));
        }
        // That something was cut must be said, so its room is kept from the start.
        let more = quote(CUT_MORE);
        if !self.pay(CUT + more.len() + 1) {
            return self.bare();
        }
        // So is the answer's name: it comes last, and long answers are the rule.
        let reserved = if draft.answer.is_some() && self.pay(cut_cost("answer")) { cut_cost("answer") } else { 0 };
        for (name, json) in draft.second() {
            if self.pay(cost(name, &json)) {
                self.written.first.push((name, json));
            } else {
                self.left_out.push(name.to_owned());
            }
        }
        let mut message = self.text("message", draft.message, (self.budget / 4).max(64));
        let parameters = self.pay(PARAMETERS);
        self.facts(draft, parameters);
        self.place_of_the_whole(draft);
        for (name, json) in &draft.small {
            if self.pay(cost(name, json)) {
                self.written.small.push((name, json.clone()));
            } else {
                self.left_out.push((*name).to_owned());
            }
        }
        self.claims(draft, parameters);
        let mut all_named = self.name_what_is_left_out(draft);

        if message.is_some() {
            message = self.grow("message", draft.message, message);
        }
        self.written.message = message;
        self.left += reserved;
        if let Some(answer) = draft.answer {
            self.written.answer = self.text("answer", answer, usize::MAX);
            all_named &= self.left_out.pop().is_none_or(|name| self.name(&name));
        }
        if !all_named || draft.cut.contains(&CUT_MORE) {
            self.written.cut.push(more);
        }
        if parameters {
            self.taken.sort_by_key(|(place, _)| *place);
            let taken = std::mem::take(&mut self.taken);
            self.written.parameters = Some(taken.into_iter().map(|(place, json)| (draft.parameters[place].name, json)).collect());
        }
        self.written.to_json()
    }

    /// What there is when not even the first fields and `cut` fit.
    fn bare(self) -> String {
        let text = self.written.to_json();
        if text.len() <= self.budget { text } else { String::new() }
    }

    /// A text that may be shortened in its middle, of at most `most` bytes of JSON. Pays for it, and for its name in `cut` if it is cut.
    fn text(&mut self, name: &str, text: &str, most: usize) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        let field = cost(name, "");
        if let Some(len) = quoted_len_within(text, most.min(self.left.saturating_sub(field))) {
            self.left -= field + len;
            return Some(quote(text));
        }
        let room = self.left.saturating_sub(field + cut_cost(name)).min(most);
        let Some(short) = shorten(text, room, Keep::HeadAndTail) else {
            self.left_out.push(name.to_owned());
            return None;
        };
        let json = quote(&short);
        self.left -= field + json.len();
        self.name(name);
        Some(json)
    }

    /// Gives a text that was cut all that is left.
    fn grow(&mut self, name: &str, text: &str, now: Option<String>) -> Option<String> {
        let now = now?;
        let quoted = quote(name);
        let Some(at) = self.written.cut.iter().position(|cut| *cut == quoted) else { return Some(now) };
        let room = self.left + now.len();
        if let Some(len) = quoted_len_within(text, room + cut_cost(name)) {
            self.written.cut.remove(at);
            self.left = room + cut_cost(name) - len;
            return Some(quote(text));
        }
        let grown = shorten(text, room, Keep::HeadAndTail).map_or(now, |short| quote(&short));
        self.left = room - grown.len();
        Some(grown)
    }

    /// Parameters that are whole or absent.
    fn facts(&mut self, draft: &Draft<'a>, parameters: bool) {
        for (place, parameter) in draft.parameters.iter().enumerate().filter(|(_, parameter)| !parameter.shortenable) {
            let room = self.left.saturating_sub(parameter_cost(parameter));
            match quoted_len_within(&parameter.value, room) {
                Some(len) if parameters => {
                    self.left -= parameter_cost(parameter) + len;
                    self.taken.push((place, quote(&parameter.value)));
                }
                _ => self.left_out.push(parameter_name(parameter.name)),
            }
        }
    }

    fn place_of_the_whole(&mut self, draft: &Draft<'a>) {
        let Some(path) = draft.result_file.map(quote) else { return };
        if !self.pay(cost("resultFile", &path)) {
            self.left_out.push("resultFile".to_owned());
            return;
        }
        self.written.result_file = Some(path);
        let Some(digest) = draft.result_sha256.map(quote) else { return };
        if self.pay(cost("resultSha256", &digest)) {
            self.written.result_sha256 = Some(digest);
        } else {
            self.left_out.push("resultSha256".to_owned());
        }
    }

    /// Parameters that may be shortened: small ones first, then an equal share for each of the others.
    fn claims(&mut self, draft: &Draft<'a>, parameters: bool) {
        let claims = draft.parameters.iter().enumerate().filter(|(_, parameter)| parameter.shortenable);
        let (small, mut large): (Vec<_>, Vec<_>) =
            claims.partition(|(_, parameter)| quoted_len_within(&parameter.value, SMALL_CLAIM).is_some());
        for (place, parameter) in small {
            let json = quote(&parameter.value);
            if parameters && self.pay(parameter_cost(parameter) + json.len()) {
                self.taken.push((place, json));
            } else {
                self.left_out.push(parameter_name(parameter.name));
            }
        }
        // Shortest first, so that what a short one does not need goes to the longer ones.
        large.sort_by_key(|(_, parameter)| parameter.value.len());
        // The names of what is left out need some room too.
        let mut shared = self.left.saturating_sub(self.budget / 16);
        let mut waiting = large.len();
        for (place, parameter) in large {
            let name = parameter_name(parameter.name);
            let overhead = parameter_cost(parameter);
            let share = (shared / waiting).saturating_sub(overhead);
            waiting -= 1;
            let paid = if !parameters {
                None
            } else if let Some(len) = quoted_len_within(&parameter.value, share) {
                self.taken.push((place, quote(&parameter.value)));
                Some(overhead + len)
            } else {
                let room = share.saturating_sub(cut_cost(&name));
                shorten(&parameter.value, room, Keep::Head).map(|short| {
                    let json = quote(&short);
                    let paid = overhead + json.len() + cut_cost(&name);
                    self.written.cut.push(quote(&name));
                    self.taken.push((place, json));
                    paid
                })
            };
            match paid {
                Some(paid) => {
                    self.left -= paid;
                    shared -= paid;
                }
                None => self.left_out.push(name),
            }
        }
    }

    /// Puts names into `cut`, and says whether all found room.
    fn name_what_is_left_out(&mut self, draft: &Draft<'_>) -> bool {
        let before = draft.cut.iter().filter(|name| **name != CUT_MORE).map(|name| (*name).to_owned());
        let names: Vec<String> = std::mem::take(&mut self.left_out).into_iter().chain(before).collect();
        let mut allowance = self.budget / 8;
        let mut all = true;
        for name in names {
            if self.written.cut.contains(&quote(&name)) {
                continue;
            }
            let price = cut_cost(&name);
            if price <= allowance && self.name(&name) {
                allowance -= price;
            } else {
                all = false;
            }
        }
        all
    }

    /// Puts a name into `cut` if there is room.
    fn name(&mut self, name: &str) -> bool {
        let fits = self.pay(cut_cost(name));
        if fits {
            self.written.cut.push(quote(name));
        }
        fits
    }
}

/// What a name in `cut` costs.
fn cut_cost(name: &str) -> usize {
    quote(name).len() + 1
}

/// What a parameter costs beside its value: `"name":,`.
fn parameter_cost(parameter: &Parameter<'_>) -> usize {
    quote(parameter.name).len() + 2
}

fn parameter_name(name: &str) -> String {
    format!("parameters.{name}")
}
