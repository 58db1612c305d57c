//! A data directory as version 1 wrote it opens, and what stands in it goes on. The rows are put together here
//! byte by byte, as the first release did it.

use super::*;
use crate::model::{DeliveryState, OutcomeKind, VerdictKind};
use crate::queue::contract::attempt;
use crate::queue::local::codec::Put;
use crate::queue::local::journal::record::Builder;
use crate::queue::local::journal::{Position, SEGMENT_HEADER};
use crate::queue::local::row::Pointer;
use crate::queue::local::tree::Tree;

const EVENT: EventId = EventId(1_800_000_000_000 << 20);

fn event_row(body: &Pointer, outcome: &Pointer, lane: &[u8; 16]) -> Vec<u8> {
    let mut row = vec![1];
    row.put_text("crm");
    row.put_time(start());
    row.put_u8(1);
    row.put_text("deal.won");
    // The second of the dispositions: mapped.
    row.put_u8(2);
    row.put_text("a rule matched");
    row.put_number(3);
    row.put_number(5);
    body.write(&mut row);
    row.put_number(1);
    outcome.write(&mut row);
    row.put_number(1);
    row.extend_from_slice(lane);
    row.put_number(1);
    row
}

fn delivery_row(lane: &[u8; 16], due_ms: u64) -> Vec<u8> {
    let mut row = vec![1];
    row.put_text("crm-a");
    row.extend_from_slice(lane);
    // The first of the kinds: shown.
    row.put_u8(1);
    row.extend_from_slice(&EVENT.0.to_be_bytes());
    row.put_number(0);
    row.extend_from_slice(&77u64.to_be_bytes());
    // The first of the states: pending.
    row.put_u8(1);
    row.put_text("");
    row.put_number(0);
    row.put_time(start());
    row.put_time(start());
    for number in [due_ms, 1000, due_ms + 1000, 1] {
        row.put_number(number);
    }
    row.put_number(0);
    row
}

fn lane_row(due_ms: u64) -> Vec<u8> {
    let mut row = vec![1];
    row.put_text("crm-a");
    row.put_text("t");
    // Final first; cannot be cleared; the target holds nothing; a delivery is open.
    for byte in [1, 0, 0, 1] {
        row.put_u8(byte);
    }
    row.extend_from_slice(&EVENT.0.to_be_bytes());
    row.put_number(0);
    row.put_number(due_ms);
    row.put_bytes(b"");
    row.put_number(2);
    // A revision: reported, shown.
    row.put_u8(2);
    row.put_u8(1);
    row.extend_from_slice(&EVENT.0.to_be_bytes());
    row.put_number(0);
    row.put_time(start());
    row.extend_from_slice(&0u64.to_be_bytes());
    row.extend_from_slice(&77u64.to_be_bytes());
    // A withdrawal: of no_show.
    row.put_u8(0);
    row.put_u8(2);
    row.extend_from_slice(&EVENT.0.to_be_bytes());
    row.put_time(start());
    row.extend_from_slice(&0u64.to_be_bytes());
    row
}

fn state() -> Vec<u8> {
    let mut row = vec![1];
    for number in [EVENT.0, 1, 1, 1, 1] {
        row.put_number(number);
    }
    row.put_text("crm-a");
    row.put_number(1);
    row.put_number(0);
    row
}

/// Writes one commit of version 1: an event that is to be processed again, with an open delivery.
fn write(dir: &Path) {
    let journal = dir.join("journal");
    std::fs::create_dir_all(&journal).unwrap();
    let place = Position {
        segment: 1,
        offset: SEGMENT_HEADER,
    };
    let mut writer = Writer::open(&journal, place, 64 << 10, SyncMode::Off).unwrap();
    let due_ms = start().as_millisecond() as u64;
    let event = tree::event(EVENT);
    let delivery = tree::delivery(DeliveryId {
        event: EVENT,
        ordinal: 0,
    });
    let lane = tree::lane(&DestinationName::new("crm-a").unwrap(), "t");
    let json = serde_json::to_vec(&outcome(EVENT, OutcomeKind::Shown, 0)).unwrap();
    let mut record = Builder::default();
    record.begin(writer.place().unwrap());
    let head = crate::queue::local::blob::head(&[], "");
    let body = record.blob(Tree::Event, &event, &[&head, b"hello"]);
    let content = record.blob(Tree::Event, &event, &[&json]);
    record.put(Tree::Event, &event, &event_row(&body, &content, &lane));
    record.put(Tree::Delivery, &delivery, &delivery_row(&lane, due_ms));
    record.put(Tree::Lane, &lane, &lane_row(due_ms));
    record.put(Tree::Due, &tree::due("crm-a", due_ms, &lane), b"");
    record.put(Tree::Todo, &event, b"");
    record.put(Tree::Meta, tree::STATE, &state());
    writer.append(record.finish().unwrap()).unwrap();
}

#[tokio::test]
async fn a_directory_of_version_1_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let (queue, report) = open(dir.path());
    assert_eq!((report.events, report.unprocessed), (1, 1));
    assert_eq!(report.open_deliveries, 1);
    assert_eq!(report.quarantined, Vec::<PathBuf>::new());
    let waiting = queue.unprocessed(None, 9).await.unwrap().remove(0);
    assert_eq!(
        (waiting.id, waiting.body),
        (EVENT, bytes::Bytes::from("hello"))
    );
    let (summary, _) = queue.event_detail(EVENT).await.unwrap();
    assert_eq!(summary.disposition, Disposition::Mapped);
    assert_eq!((summary.duplicates, summary.body_bytes), (3, 5));
    let to = DestinationName::new("crm-a").unwrap();
    let claim = queue.claim(&to, 9).await.unwrap().remove(0);
    assert_eq!(claim.target, "t");
    let retry = Settlement::Retry {
        attempt: attempt(1, VerdictKind::Retry),
        due_at: start(),
    };
    queue.settle(claim.delivery, retry).await.unwrap();
    // Settled anew with what only later versions know, it reads back after a rebuild.
    let processed = Processed {
        watches: vec![Watch::record(RegistryKey([7; 16]))],
        wake_at: Some(start()),
        mark: waiting.mark,
        ..mapped(
            vec![Fact::Outcome(outcome(EVENT, OutcomeKind::Closed, 9))],
            vec![change("crm-a", "t", Change::Outcome(0))],
        )
    };
    queue.settle_event(EVENT, processed).await.unwrap();
    let states: Vec<_> = queue.deliveries_of(EVENT).await.unwrap();
    let states: Vec<_> = states.into_iter().map(|view| view.state).collect();
    assert_eq!(states, [DeliveryState::Superseded, DeliveryState::Pending]);
    let dump = queue.dump().unwrap();
    drop(queue);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (queue, _) = open(dir.path());
    assert_eq!(queue.dump().unwrap(), dump);
}
