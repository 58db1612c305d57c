//! Planned faults: the places on the durable path at which a test lets the process die.
//!
//! Between every two writes stands a named [`Point`]. A build with debug assertions reads
//! `OUTCOME_BRIDGE_FAULT=journal.written` (or `journal.written:7` for the seventh time that the point is
//! passed) and dies there by SIGKILL, in the middle of whatever all its threads do. In a release build
//! [`pass`] is empty. `tests/crash` and `tests/durability` go through [`Point::ALL`]: a new point is proved
//! from its first day on.

macro_rules! points {
    ($($(#[doc = $text:literal])+ $point:ident => $word:literal,)+) => {
        /// A place between two writes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $text])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Its name in the environment.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$point => $word,)+
                }
            }
        }
    };
}

points! {
    /// The token of the admin API is in its unfinished file, which does not have its name yet.
    AdminTokenWritten => "admin-token.written",
    /// Opening: the journal was applied to the index, and the index does not know up to where.
    JournalReplayed => "journal.replayed",
    /// Opening: the file that says whether the last stop was orderly is empty.
    MarkEmptied => "mark.emptied",
    /// Opening: the header of the journal's last segment was written anew, its torn end is still there.
    TailHeaded => "tail.headed",
    /// Opening: the torn end was wiped, and that is not synced.
    TailWiped => "tail.wiped",
    /// A segment has its name and nothing in it.
    SegmentCreated => "segment.created",
    /// A segment has its header and no room.
    SegmentHeaded => "segment.headed",
    /// A segment has its room, not synced.
    SegmentAllocated => "segment.allocated",
    /// A segment is synced, its name in the directory is not.
    SegmentSynced => "segment.synced",
    /// A segment is full, the next one is ready and not used yet.
    SegmentLeft => "segment.left",
    /// A record stands in the journal, not synced.
    JournalWritten => "journal.written",
    /// A record is durable, and the index does not know it.
    JournalSynced => "journal.synced",
    /// A record is durable and visible, and nobody was answered.
    IndexApplied => "index.applied",
    /// Of the index one tree more was written (pass it several times for the later ones).
    IndexTreeWritten => "index.tree-written",
    /// The index was written, not flushed.
    IndexWritten => "index.written",
    /// Of the tables that are looked up one more is durable (pass it several times for the later ones).
    IndexTableFlushed => "index.table-flushed",
    /// The index was flushed, its file is not synced.
    IndexFlushed => "index.flushed",
    /// The index is synced, its checkpoint is an older one.
    IndexSynced => "index.synced",
    /// The checkpoint was written, not synced.
    CheckpointNoted => "checkpoint.noted",
    /// An event is durable, its sender was not answered.
    EventCommitted => "event.committed",
    /// The rules have run, and what they made of the events is not stored.
    EventDerived => "event.derived",
    /// What the rules made of the events is stored, and the processor has not gone on.
    EventSettled => "event.settled",
    /// A destination has answered, and that is not recorded.
    AttemptAnswered => "attempt.answered",
    /// It is recorded, and the worker has not gone on.
    AttemptRecorded => "attempt.recorded",
    /// The store's transaction is written and not committed.
    StoreWritten => "store.written",
    /// It is committed, and nobody was answered.
    StoreCommitted => "store.committed",
    /// Old events are gone, and nothing was given back.
    RetentionPruned => "retention.pruned",
    /// What lives in the oldest segment was carried forward, and the index may still need the segment.
    RetentionCarried => "retention.carried",
    /// The oldest segment may go, and is still there.
    RetentionCheckpointed => "retention.checkpointed",
    /// The oldest segment is gone, its directory is not synced.
    RetentionRemoved => "retention.removed",
}

/// Dies here, if that is planned.
#[cfg(debug_assertions)]
pub(crate) fn pass(point: Point) {
    planned::pass(point);
}

/// Nothing: faults are planned in test builds only.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_point: Point) {}

#[cfg(debug_assertions)]
mod planned {
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    const VARIABLE: &str = "OUTCOME_BRIDGE_FAULT";

    /// The point to die at, and how often it is still to be passed.
    static PLANNED: LazyLock<Option<(Point, AtomicU32)>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let Some((point, passing)) = read(&text) else {
            say(&format!("{VARIABLE} is `{text}`: there is no such point"));
            std::process::exit(2);
        };
        Some((point, AtomicU32::new(passing)))
    });

    /// `name` or `name:n`.
    pub(super) fn read(text: &str) -> Option<(Point, u32)> {
        let (name, passing) = text.split_once(':').unwrap_or((text, "1"));
        let point = Point::ALL.iter().find(|point| point.as_str() == name)?;
        let passing: u32 = passing.parse().ok()?;
        (passing > 0).then_some((*point, passing))
    }

    pub(super) fn pass(point: Point) {
        let Some((planned, left)) = &*PLANNED else {
            return;
        };
        if *planned != point || left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        say(&format!("planned fault at {}", point.as_str()));
        // Like `kill -9`: no destructor runs, and no other thread finishes anything.
        let _unlikely = kill_process(getpid(), Signal::KILL);
        std::process::abort();
    }

    fn say(line: &str) {
        let _nobody_reads = writeln!(std::io::stderr(), "{line}");
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_with_the_passing_that_is_meant() {
        assert_eq!(
            planned::read("journal.written"),
            Some((Point::JournalWritten, 1))
        );
        assert_eq!(
            planned::read("index.tree-written:9"),
            Some((Point::IndexTreeWritten, 9))
        );
        for wrong in ["", "journal", "journal.written:", "journal.written:0"] {
            assert_eq!(planned::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_two_points_have_the_same_name() {
        let names: std::collections::BTreeSet<_> = Point::ALL.iter().map(|p| p.as_str()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
