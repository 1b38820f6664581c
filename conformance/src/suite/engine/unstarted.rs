//! Engine `static`: an image that is looked at and never started.

use std::collections::BTreeSet;

use super::{Container, Engine, EngineError, Start};
use crate::suite::evidence::Ability;
use crate::suite::subject::Subject;

const NAME: &str = "static";

/// See the [module](self).
#[derive(Debug)]
pub struct Unstarted {
    subject: Subject,
}

impl Unstarted {
    /// The engine, with what is known of an image.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self { subject }
    }
}

impl Engine for Unstarted {
    fn name(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> BTreeSet<Ability> {
        [Ability::Configuration, Ability::Files].into()
    }

    fn inspect(&self) -> Result<Subject, EngineError> {
        Ok(self.subject.clone())
    }

    fn start(&self, _: &Start) -> Result<Box<dyn Container>, EngineError> {
        Err(EngineError::Failed { engine: NAME, what: "start the image", why: "it only looks at it".to_owned() })
    }
}
