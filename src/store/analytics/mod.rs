//! Questions about many calls: how many, which outcomes, worth what, when, compared with what.
//!
//! Every number is a sum over cells: how many calls of one series fall into one bucket of the calendar, and what they are
//! worth (`cells`). One query brings the cells, as ranges of an index; the answers are put together here, in
//! memory, from a few thousand numbers. So each answer agrees with every other one, and with the list of the calls
//! behind it, which takes the same conditions.
//!
//! A call counts at its start; one whose start is not known at its outcome. Its outcome counts where its call does, or, by first
//! or last touch, where the caller's first call does, or the last one before the outcome. Counts and worth are then those of the outcomes, shares those of the
//! calls that have any: a share is never over one.

mod answer;
mod ask;
mod cells;
mod condition;
mod delay;
mod period;
mod shared;

pub use answer::{
    Breakdown, Conversion, Delay, Funnel, Part, PartTrend, Report, Stage, Tally, Trend,
};
pub use ask::Split;
pub use condition::{Attribution, Behind, Condition, Group, Reached};
pub use period::{Calendar, Period, PeriodError, Step};
