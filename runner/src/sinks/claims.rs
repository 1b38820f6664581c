//! What files say: values read from the results directory and from declared outputs, before the runner vouches for or against them.

use agent_sdk::results::Results;

/// The longest value that a file may give. It goes whole into `result.json`, and shortened into small places.
pub const MAX_VALUE: u64 = 1 << 20;
/// The most files of a results directory that count.
pub const MAX_FILES: usize = 256;
/// The most bytes that all of them may have together.
pub const MAX_BYTES: usize = 8 << 20;

/// Values by key, and what was amiss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Key and value.
    pub values: Vec<(String, String)>,
    /// What was not taken, and why.
    pub warnings: Vec<String>,
}

impl Claims {
    /// Puts the claims into `results`, as far as they may stand there, and gives back all warnings.
    #[must_use = "a claim that was refused has to be told"]
    pub fn apply(self, results: &mut Results) -> Vec<String> {
        let mut warnings = self.warnings;
        for (key, value) in self.values {
            if let Err(error) = results.claim(&key, value) {
                warnings.push(format!("claim not taken: {error}"));
            }
        }
        warnings
    }
}
