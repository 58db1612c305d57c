//! How a destination is spoken to: what a worker needs of a connector, and no more.

use jiff::SignedDuration;

use crate::connector::{DestinationAnswer, Outbound, PreparedRequest, RenderInput, Verdict};

/// A request that could not be made of a delivery. Trying again would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrenderable(
    /// What is missing or wrong, in words.
    pub String,
);

/// Makes requests of deliveries and judges answers. Pure; connectors are the real one, tests script
/// their own.
pub trait Dialect: Send + Sync + 'static {
    /// The request that brings this delivery. What it shows of itself holds no secrets.
    ///
    /// # Errors
    /// [`Unrenderable`] with the reason; the delivery becomes a dead letter.
    fn render(&self, input: RenderInput<'_>) -> Result<PreparedRequest, Unrenderable>;

    /// What an answer means for a delivery that has been answered with this status for so long, with a reason that holds no
    /// secrets.
    fn judge(&self, answer: &DestinationAnswer<'_>, lasted: SignedDuration) -> Verdict;

    /// The text without this destination's secrets. Destinations repeat them in answers.
    fn scrub(&self, text: &str) -> String;
}

impl Dialect for Outbound {
    fn render(&self, input: RenderInput<'_>) -> Result<PreparedRequest, Unrenderable> {
        self.render(input)
            .map_err(|error| Unrenderable(self.scrub(&error.to_string())))
    }

    fn judge(&self, answer: &DestinationAnswer<'_>, lasted: SignedDuration) -> Verdict {
        self.judge(answer, lasted)
    }

    fn scrub(&self, text: &str) -> String {
        self.scrub(text)
    }
}
