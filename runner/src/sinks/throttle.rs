//! Not more often than, latest state wins, and the last one is never lost: a pure type, for which the caller is the clock.

use std::time::{Duration, Instant};

/// Lets states through at most once per interval. What comes too early waits; a newer state takes its place.
#[derive(Debug)]
pub struct Throttle<T> {
    interval: Duration,
    last: Option<Instant>,
    waiting: Option<T>,
}

impl<T> Throttle<T> {
    /// At most one state per `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, waiting: None }
    }

    /// Offers a state: it comes back if it may pass now, and otherwise waits until [`due`](Self::due) is asked at
    /// [`deadline`](Self::deadline).
    pub fn offer(&mut self, state: T, now: Instant) -> Option<T> {
        self.waiting = Some(state);
        self.due(now)
    }

    /// The state that waits, if its time has come.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        if self.waiting.is_none() || self.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            return None;
        }
        self.last = Some(now);
        self.waiting.take()
    }

    /// A state that passed but could not be used waits again, unless a newer one does.
    pub fn put_back(&mut self, state: T) {
        self.waiting.get_or_insert(state);
    }

    /// When a state passes at once: nothing before the first one.
    #[must_use]
    pub fn open_again(&self) -> Option<Instant> {
        self.last.map(|last| last + self.interval)
    }

    /// When to ask again; nothing while nothing waits, so that an idle run has no timer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref()?;
        self.last.map(|last| last + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_passes_and_the_latest_of_the_others_follows() {
        let start = Instant::now();
        let mut throttle = Throttle::new(SECOND);
        assert_eq!(throttle.deadline(), None);
        assert_eq!(throttle.offer(1, start), Some(1));
        assert_eq!(throttle.offer(2, start), None);
        assert_eq!(throttle.offer(3, start + SECOND / 2), None);
        assert_eq!(throttle.deadline(), Some(start + SECOND));
        assert_eq!(throttle.due(start + SECOND - Duration::from_nanos(1)), None);
        assert_eq!(throttle.due(start + SECOND), Some(3));
        assert_eq!(throttle.deadline(), None);
    }

    #[test]
    fn what_is_put_back_waits_but_never_before_something_newer() {
        let start = Instant::now();
        let mut throttle = Throttle::new(SECOND);
        let passed = throttle.offer(1, start).unwrap();
        throttle.put_back(passed);
        assert_eq!(throttle.due(start), None);
        assert_eq!(throttle.offer(2, start), None);
        throttle.put_back(1);
        assert_eq!(throttle.due(start + SECOND), Some(2));
    }

    proptest! {
        #[test]
        fn never_twice_within_the_interval_and_the_last_always_arrives(steps in prop::collection::vec(0_u64..3000, 1..60)) {
            let start = Instant::now();
            let mut throttle = Throttle::new(SECOND);
            let mut now = start;
            let mut passed = Vec::new();
            for (state, step) in steps.iter().enumerate() {
                // The caller wakes at the deadline if it comes before the next state.
                let next = now + Duration::from_millis(*step);
                if let Some(deadline) = throttle.deadline().filter(|deadline| *deadline <= next) {
                    passed.extend(throttle.due(deadline).map(|state| (deadline, state)));
                }
                now = next;
                passed.extend(throttle.offer(state, now).map(|state| (now, state)));
            }
            if let Some(deadline) = throttle.deadline() {
                passed.extend(throttle.due(deadline).map(|state| (deadline, state)));
            }
            prop_assert!(passed.windows(2).all(|pair| pair[1].0 - pair[0].0 >= SECOND && pair[0].1 < pair[1].1));
            prop_assert_eq!(passed.last().map(|(_, state)| *state), Some(steps.len() - 1));
        }
    }
}
