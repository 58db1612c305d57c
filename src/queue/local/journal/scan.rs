//! Reading the journal from a place to its end, telling a torn tail from damage.
//!
//! A record that does not read is the torn tail if no valid record follows, in this segment or a
//! later one: the normal trace of a crash. If one follows it is damage. Records start at multiples of
//! 8 and carry a magic number, so the next valid one is found by looking.

use std::io;
use std::path::Path;

use super::record::{self, ALIGN, HEADER, MAGIC};
use super::{Position, SEGMENT_HEADER, segments};

/// Bytes of a segment that hold no readable record although valid records follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue::local) struct Damage {
    pub at: Position,
    pub bytes: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::queue::local) struct Found {
    /// Where the next record goes.
    pub tail: Position,
    /// Valid records.
    pub records: u64,
    pub damages: Vec<Damage>,
    /// Segment numbers that are missing between others.
    pub missing: Vec<u64>,
    /// What is missing before the place where reading began: the segment ends earlier.
    pub cut: Option<Damage>,
}

/// Gives every valid record from `from` on to `each`, with its place.
pub(in crate::queue::local) fn scan<E: From<io::Error>>(
    dir: &Path,
    from: Position,
    mut each: impl FnMut(Position, &[u8]) -> Result<(), E>,
) -> Result<Found, E> {
    let mut found = Found {
        tail: from,
        records: 0,
        damages: Vec::new(),
        missing: Vec::new(),
        cut: None,
    };
    // Bad stretches that are damage as soon as a valid record follows them.
    let mut suspects: Vec<Damage> = Vec::new();
    let all = segments::list(dir)?;
    found.missing = missing(&all, from.segment);
    for number in all {
        if number < from.segment {
            continue;
        }
        let bytes = segments::read_file(&segments::path(dir, number))?;
        // A header is no loss: the process may have been killed before it was written.
        let end = (bytes.len() as u64).max(SEGMENT_HEADER);
        if number == from.segment && end < from.offset {
            found.cut = Some(Damage {
                at: Position {
                    segment: number,
                    offset: end,
                },
                bytes: from.offset - end,
            });
        }
        let start = if number == from.segment {
            from.offset
        } else {
            SEGMENT_HEADER
        };
        let mut at = start as usize;
        while at < bytes.len() {
            let position = Position {
                segment: number,
                offset: at as u64,
            };
            if let Some((payload, length)) = record::parse(&bytes[at..], position) {
                each(position, payload)?;
                at += length;
                found.records += 1;
                found.damages.append(&mut suspects);
                found.tail = Position {
                    segment: number,
                    offset: at as u64,
                };
            } else {
                let next = next_record(&bytes, at, number);
                suspects.push(Damage {
                    at: position,
                    bytes: (next - at) as u64,
                });
                at = next;
            }
        }
    }
    Ok(found)
}

/// The numbers that are missing between the first of `all` and `from`, or the last of them.
fn missing(all: &[u64], from: u64) -> Vec<u64> {
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return Vec::new();
    };
    let missing = |number: &u64| all.binary_search(number).is_err();
    (*first..=from.max(*last)).filter(missing).collect()
}

/// The offset of the next valid record after `at`, or the end.
fn next_record(bytes: &[u8], at: usize, segment: u64) -> usize {
    let magic = MAGIC.to_be_bytes();
    let mut candidate = at.next_multiple_of(ALIGN);
    if candidate == at {
        candidate += ALIGN;
    }
    while candidate + HEADER <= bytes.len() {
        if bytes[candidate..candidate + 4] == magic {
            let position = Position {
                segment,
                offset: candidate as u64,
            };
            if record::parse(&bytes[candidate..], position).is_some() {
                return candidate;
            }
        }
        candidate += ALIGN;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::super::record::Builder;
    use super::*;
    use crate::queue::local::options::SyncMode;
    use crate::queue::local::tree::Tree;

    const START: Position = Position {
        segment: 1,
        offset: SEGMENT_HEADER,
    };

    fn write(dir: &Path, count: u8, segment_bytes: u64) -> Vec<Position> {
        let mut writer = Writer::open(dir, START, segment_bytes, SyncMode::Off).unwrap();
        let mut builder = Builder::default();
        (0..count)
            .map(|n| {
                let place = writer.place().unwrap();
                builder.begin(place);
                builder.put(Tree::Lane, &[n], &[n; 50]);
                writer.append(builder.finish().unwrap()).unwrap();
                place
            })
            .collect()
    }

    fn read(dir: &Path) -> (Vec<u8>, Found) {
        let mut keys = Vec::new();
        let found = scan::<io::Error>(dir, START, |_, payload| {
            let frame = record::frames(payload).next().unwrap().unwrap();
            let record::Frame::Put { key, .. } = frame else {
                panic!("a put was written");
            };
            keys.push(key[0]);
            Ok(())
        })
        .unwrap();
        (keys, found)
    }

    fn flip(dir: &Path, at: Position) {
        let path = segments::path(dir, at.segment);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at.offset as usize + 20] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn records_are_read_across_segments_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let places = write(dir.path(), 20, 300);
        assert!(places[19].segment > 3);
        let (keys, found) = read(dir.path());
        assert_eq!(keys, (0..20).collect::<Vec<_>>());
        assert_eq!(found.damages, []);
        assert_eq!(found.tail.segment, places[19].segment);
    }

    #[test]
    fn a_torn_last_record_is_the_tail_and_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let places = write(dir.path(), 5, 10_000);
        flip(dir.path(), places[4]);
        let (keys, found) = read(dir.path());
        assert_eq!(keys, [0, 1, 2, 3]);
        assert_eq!(found.damages, []);
        assert_eq!(found.tail, places[4]);
        Writer::open(dir.path(), found.tail, 10_000, SyncMode::Off).unwrap();
        let path = segments::path(dir.path(), 1);
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes[found.tail.offset as usize..].iter().all(|&b| b == 0));
    }

    #[test]
    fn damage_before_valid_records_is_stepped_over_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let places = write(dir.path(), 20, 300);
        flip(dir.path(), places[1]);
        flip(dir.path(), places[7]);
        let (keys, found) = read(dir.path());
        assert_eq!(keys.len(), 18);
        assert_eq!(found.damages.len(), 2);
        assert_eq!(found.damages[0].at, places[1]);
    }

    #[test]
    fn a_missing_segment_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 20, 300);
        std::fs::remove_file(segments::path(dir.path(), 2)).unwrap();
        assert_eq!(read(dir.path()).1.missing, [2]);
    }
}
