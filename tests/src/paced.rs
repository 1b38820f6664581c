//! What the program `paced_agent` prints and is billed, for it and for the tests that hold the runner against it.

use crate::runs::Counted;

/// Prompt tokens of each message that were read from the cache.
pub const CACHE_READ: u64 = 200;
/// Prompt tokens of each message that were written to the cache.
pub const CACHE_WRITE: u64 = 30;

/// Prompt tokens of a message beside the cache's: of each another number, so that a sum tells which messages are in it.
#[must_use]
pub fn fresh(number: u64) -> u64 {
    1000 + number
}

/// Generated tokens of a message.
#[must_use]
pub fn generated(number: u64) -> u64 {
    50 + number
}

/// What the first so many messages cost.
#[must_use]
pub fn billed(messages: u64) -> Counted {
    let of_cache = |each: u64| Some(each * messages);
    let fresh: u64 = (0..messages).map(fresh).sum();
    Counted {
        input: Some(fresh + (CACHE_READ + CACHE_WRITE) * messages),
        cache_read: of_cache(CACHE_READ),
        cache_write: of_cache(CACHE_WRITE),
        output: Some((0..messages).map(generated).sum()),
    }
}

/// What the stream has told when so many messages were printed: of each only the first generated token.
#[must_use]
pub fn told(messages: u64) -> Counted {
    if messages == 0 { Counted::default() } else { Counted { output: Some(messages), ..billed(messages) } }
}
