//! How much work the expressions of one event may do.

use std::cell::Cell;

use super::value::Fault;

/// The units of work for one event. A unit is about a turn of a loop, or 64 bytes of text.
pub(in crate::mapping) const UNITS: u32 = 10_000;

/// What is left of the work that one event's expressions may do, together.
#[derive(Debug)]
pub struct Budget {
    left: Cell<u32>,
}

impl Default for Budget {
    fn default() -> Self {
        let left = Cell::new(UNITS);
        Self { left }
    }
}

impl Budget {
    /// Takes `units` out.
    ///
    /// # Errors
    /// [`Fault::Spent`] when there are not so many left; then nothing is left.
    pub(super) fn spend(&self, units: usize) -> Result<(), Fault> {
        let left = u32::try_from(units)
            .ok()
            .and_then(|units| self.left.get().checked_sub(units));
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Fault::Spent)
    }

    /// Takes out what reading or writing so many bytes of text costs.
    ///
    /// # Errors
    /// As [`Budget::spend`].
    pub(super) fn spend_text(&self, bytes: usize) -> Result<(), Fault> {
        self.spend(bytes / 64)
    }
}
