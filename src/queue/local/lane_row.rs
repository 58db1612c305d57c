//! The row of a lane: what it was told, what its target holds, and what is open there.

use jiff::Timestamp;

use crate::model::{Basis, DeliveryId, EventId, Mode, OutcomeKind, Precedence};
use crate::queue::LaneChange;
use crate::truth::{self, Entry, Revision, Withdrawal, Withdrawn};

use super::codec::{Corrupt, Get, Put};
use super::row::{Row, get_choice, get_list, get_outcome_id, put_choice, put_list, put_outcome_id};

/// What the target holds, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing of ours: nothing was ever delivered, or it was cleared.
    Nothing,
    /// What has this fingerprint.
    Content(u64),
    /// Nobody knows: an attempt was made whose effect is uncertain.
    Unknown,
}

/// The delivery that a lane waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Open {
    pub delivery: DeliveryId,
    pub due_ms: u64,
}

/// What a lane knows of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub precedence: Precedence,
    /// Whether it can be told that nothing holds any more.
    pub can_clear: bool,
    /// Whether it counts how far a call came.
    pub counts_progress: bool,
}

impl Rules {
    /// What a change says of its destination.
    pub(super) fn of(change: &LaneChange) -> Self {
        Self {
            precedence: change.precedence,
            can_clear: change.can_clear,
            counts_progress: change.counts_progress,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct LaneRow {
    pub destination: String,
    pub target: String,
    pub rules: Rules,
    /// Since version 2, as is [`LaneRow::last_turn`].
    pub mode: Mode,
    /// With [`Mode::Each`]: the last place given out in the lane's line, see [`super::line`].
    pub last_turn: u64,
    pub entries: Vec<Entry>,
    pub holds: Holds,
    pub open: Option<Open>,
    /// What earlier answers gave back, as a JSON object; empty when they gave nothing.
    pub receipt: Vec<u8>,
}

impl LaneRow {
    /// The furthest that the lead came, see [`truth::furthest`]; a lane that delivers each revision does not know.
    pub(super) fn furthest(&self) -> Option<OutcomeKind> {
        match self.mode {
            Mode::Newest => truth::furthest(&self.entries),
            Mode::Each => None,
        }
    }

    /// The event that tells again what a lost delivery would have brought, when it is processed again.
    pub(super) fn teller(&self, lost: DeliveryId) -> EventId {
        let truth = match self.mode {
            Mode::Newest => truth::current(&self.entries, self.rules.precedence),
            // Each has its own to tell, whatever others said since.
            Mode::Each => None,
        };
        truth.map_or(lost.event, |truth| truth.outcome.event)
    }
}

const PRECEDENCES: [Precedence; 2] = [Precedence::FinalFirst, Precedence::Newest];
/// Flags of [`Rules`], in one byte.
const CAN_CLEAR: u8 = 1;
const COUNTS_PROGRESS: u8 = 2;
const MODES: [Mode; 2] = [Mode::Newest, Mode::Each];
const BASES: [Basis; 3] = [Basis::Inferred, Basis::Reported, Basis::Manual];

pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Outcome(revision) => {
            put_choice(out, Some(revision.basis), &BASES);
            put_choice(out, Some(revision.kind), &OutcomeKind::ALL);
            put_outcome_id(out, revision.outcome);
            out.put_time(revision.occurred_at);
            out.extend_from_slice(&revision.origin.to_be_bytes());
            out.extend_from_slice(&revision.fingerprint.to_be_bytes());
            out.put_u8(u8::from(revision.not_before.is_some()));
            if let Some(at) = revision.not_before {
                out.put_time(at);
            }
        }
        Entry::Withdrawal(withdrawal) => {
            out.put_u8(0);
            let kind = match withdrawal.what {
                Withdrawn::Kind(kind) => Some(kind),
                Withdrawn::Manual => None,
            };
            put_choice(out, kind, &OutcomeKind::ALL);
            out.extend_from_slice(&withdrawal.event.0.to_be_bytes());
            out.put_time(withdrawal.up_to);
            out.extend_from_slice(&withdrawal.origin.to_be_bytes());
        }
    }
}

fn get_entry(get: &mut Get<'_>, version: u8) -> Result<Entry, Corrupt> {
    let corrupt = get.corrupt();
    let basis = get_choice(get, &BASES)?;
    let kind = get_choice(get, &OutcomeKind::ALL)?;
    Ok(match basis {
        Some(basis) => Entry::Outcome(Revision {
            outcome: get_outcome_id(get)?,
            kind: kind.ok_or(corrupt)?,
            basis,
            occurred_at: get.time()?,
            origin: u64::from_be_bytes(get.array()?),
            fingerprint: u64::from_be_bytes(get.array()?),
            not_before: match version {
                1 => None,
                _ => get_not_before(get)?,
            },
        }),
        None => Entry::Withdrawal(Withdrawal {
            event: EventId(u64::from_be_bytes(get.array()?)),
            what: kind.map_or(Withdrawn::Manual, Withdrawn::Kind),
            up_to: get.time()?,
            origin: u64::from_be_bytes(get.array()?),
        }),
    })
}

fn get_not_before(get: &mut Get<'_>) -> Result<Option<Timestamp>, Corrupt> {
    match get.u8()? {
        0 => Ok(None),
        _ => get.time().map(Some),
    }
}

impl Row for LaneRow {
    const WHAT: &'static str = "lane row";
    const VERSION: u8 = 2;

    fn write(&self, out: &mut Vec<u8>) {
        out.put_text(&self.destination);
        out.put_text(&self.target);
        put_choice(out, Some(self.rules.precedence), &PRECEDENCES);
        let flags = [
            (self.rules.can_clear, CAN_CLEAR),
            (self.rules.counts_progress, COUNTS_PROGRESS),
        ];
        out.put_u8(flags.iter().map(|(set, flag)| u8::from(*set) * flag).sum());
        match self.holds {
            Holds::Nothing => out.put_u8(0),
            Holds::Unknown => out.put_u8(1),
            Holds::Content(fingerprint) => {
                out.put_u8(2);
                out.extend_from_slice(&fingerprint.to_be_bytes());
            }
        }
        out.put_u8(u8::from(self.open.is_some()));
        if let Some(open) = self.open {
            out.extend_from_slice(&open.delivery.event.0.to_be_bytes());
            out.put_number(u64::from(open.delivery.ordinal));
            out.put_number(open.due_ms);
        }
        out.put_bytes(&self.receipt);
        put_list(out, &self.entries, put_entry);
        put_choice(out, Some(self.mode), &MODES);
        out.put_number(self.last_turn);
    }

    fn read(get: &mut Get<'_>, version: u8) -> Result<Self, Corrupt> {
        let corrupt = get.corrupt();
        let (destination, target) = (get.text()?.to_owned(), get.text()?.to_owned());
        let precedence = get_choice(get, &PRECEDENCES)?.ok_or(corrupt)?;
        let flags = get.u8()?;
        let mut lane = Self {
            destination,
            target,
            rules: Rules {
                precedence,
                can_clear: flags & CAN_CLEAR != 0,
                counts_progress: flags & COUNTS_PROGRESS != 0,
            },
            mode: Mode::Newest,
            last_turn: 0,
            holds: match get.u8()? {
                0 => Holds::Nothing,
                1 => Holds::Unknown,
                2 => Holds::Content(u64::from_be_bytes(get.array()?)),
                _ => return Err(corrupt),
            },
            open: match get.u8()? {
                0 => None,
                _ => Some(Open {
                    delivery: DeliveryId {
                        event: EventId(u64::from_be_bytes(get.array()?)),
                        ordinal: get.small()?,
                    },
                    due_ms: get.number()?,
                }),
            },
            receipt: get.bytes()?.to_owned(),
            entries: get_list(get, |get| get_entry(get, version))?,
        };
        if version > 1 {
            lane.mode = get_choice(get, &MODES)?.ok_or(corrupt)?;
            lane.last_turn = get.number()?;
        }
        Ok(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OutcomeId;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        (
            any::<(u64, u16)>(),
            0..5usize,
            0..5usize,
            0..9_000_000_000i64,
            any::<[u64; 2]>(),
            prop::option::of(0..9_000_000_000i64),
        )
            .prop_map(
                |((event, ordinal), kind, basis, at, [origin, fingerprint], not_before)| {
                    let (event, kind) = (EventId(event), OutcomeKind::ALL[kind]);
                    let at = Timestamp::from_second(at).unwrap();
                    match BASES.get(basis) {
                        Some(&basis) => Entry::Outcome(Revision {
                            outcome: OutcomeId { event, ordinal },
                            kind,
                            basis,
                            occurred_at: at,
                            origin,
                            fingerprint,
                            not_before: not_before.map(|s| Timestamp::from_second(s).unwrap()),
                        }),
                        None => Entry::Withdrawal(Withdrawal {
                            event,
                            what: match basis {
                                3 => Withdrawn::Kind(kind),
                                _ => Withdrawn::Manual,
                            },
                            up_to: at,
                            origin,
                        }),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn lane_rows_read_back(
            (destination, target) in any::<(String, String)>(),
            (newest, can_clear, counts_progress) in any::<(bool, bool, bool)>(),
            holds in any::<Option<Option<u64>>>(),
            (each, last_turn) in any::<(bool, u64)>(),
            open in any::<Option<(u64, u16, u64)>>(),
            receipt: Vec<u8>,
            entries in prop::collection::vec(entry(), 0..9),
        ) {
            let row = LaneRow {
                destination,
                target,
                rules: Rules {
                    precedence: PRECEDENCES[usize::from(newest)],
                    can_clear,
                    counts_progress,
                },
                mode: MODES[usize::from(each)],
                last_turn,
                entries,
                holds: match holds {
                    None => Holds::Nothing,
                    Some(None) => Holds::Unknown,
                    Some(Some(n)) => Holds::Content(n),
                },
                open: open.map(|(event, ordinal, due_ms)| Open {
                    delivery: DeliveryId { event: EventId(event), ordinal },
                    due_ms,
                }),
                receipt,
            };
            prop_assert_eq!(LaneRow::decode(&row.encode()).unwrap(), row);
        }

        #[test]
        fn any_bytes_are_a_lane_row_or_refused(mut bytes: Vec<u8>) {
            bytes.insert(0, 1);
            let _ = LaneRow::decode(&bytes);
            bytes[0] = 2;
            let _ = LaneRow::decode(&bytes);
        }
    }
}
