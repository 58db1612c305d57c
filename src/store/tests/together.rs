//! Deliveries that are written together, and figures that are kept in step: both must be as if everything was done one by one,
//! and at the end.

use serde_json::json;

use super::changes::{call, says};
use super::*;
use crate::model::Basis;
use crate::store::figure;

/// Everything in the tables, with the numbers of series and words replaced by what they stand for.
const TABLES: [&str; 5] = [
    "SELECT json_array(no, id, target, revision, reached, platform, agent_id, call_id, phone, email, direction, \
     started_at, ended_at, created_at, updated_at, seen, fields, metadata) FROM calls ORDER BY no",
    "SELECT json_array(call_no, outcome_id, kind, label, value_minor, value, currency, notes, metadata, basis, \
     occurred_at, source, actor, event_id, rule, recorded_at) FROM outcomes ORDER BY call_no",
    "SELECT json_array(id, call_no, revision, actor, changed, event_id, outcome_id, previous_kind, previous_value, kind, \
     value, metadata, basis, occurred_at, status, failure_reason) FROM outcome_log ORDER BY id",
    "SELECT json_array(f.call_no, f.at, f.value_minor, f.outcome_at, f.delay_ms, f.person, f.first_at, f.last_at, \
     s.agent_id, s.direction, s.source, s.kind, s.label, s.currency, s.basis, s.reached, a.agent_id, a.kind, a.reached, \
     b.agent_id, b.kind, b.reached) FROM figures f JOIN series s ON s.id = f.series \
     LEFT JOIN series a ON a.id = f.first_series LEFT JOIN series b ON b.id = f.last_series ORDER BY f.call_no",
    "SELECT json_array(t.call_no, k.word, w.word, t.at, t.value_minor, s.agent_id, s.kind, s.source) FROM tags t \
     JOIN words k ON k.id = t.key JOIN words w ON w.id = t.word JOIN series s ON s.id = t.series \
     ORDER BY t.call_no, k.word",
];

async fn connect(bench: &Bench) -> SqliteConnection {
    let url = format!("sqlite://{}", bench.path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn dump(connection: &mut SqliteConnection) -> Vec<String> {
    let mut rows = Vec::new();
    for table in TABLES {
        let found: Vec<(String,)> = sqlx::query_as(table)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        rows.extend(found.into_iter().map(|(row,)| row));
    }
    rows
}

/// What is done to a store.
#[derive(Debug, Clone)]
enum Step {
    Deliver(Record),
    Change(Change),
    Calls(Vec<CallRecord>),
}

impl Step {
    async fn take(self, store: &Store) -> String {
        match self {
            Self::Deliver(record) => format!("{:?}", store.record(record).await.unwrap()),
            Self::Change(change) => format!("{:?}", store.change(change).await.unwrap()),
            Self::Calls(calls) => format!("{:?}", store.record_calls(calls).await.unwrap()),
        }
    }
}

const PHONE: &str = "+14155551234";
const TARGETS: [&str; 6] = [
    "call/c0",
    "call/c1",
    "call/c2",
    "call/new",
    "phone/+14155551234",
    "deal/crm/7",
];

fn step((number, kind, said): (u64, usize, u8)) -> Step {
    // A delivery that comes again comes to the same target.
    let target = TARGETS[(number % 6) as usize];
    if said == 0 && target.starts_with("call/c") {
        let basis = [Basis::Manual, Basis::Reported][kind % 2];
        let mut change = says(&target["call/".len()..], "Sold", basis);
        change.metadata = json!({ "campaign": kind }).as_object().cloned();
        return Step::Change(change);
    }
    if said > 5 && target.starts_with("call/") {
        return Step::Calls(corrected(&target["call/".len()..], number, kind, said));
    }
    let Some(kind) = OutcomeKind::ALL.get(kind).copied() else {
        return Step::Deliver(clears(number, target));
    };
    let mut record = sets(number, target, kind);
    let outcome = &mut record.outcome.as_mut().unwrap().outcome;
    outcome.occurred_at = noon() - SignedDuration::from_hours(i64::from(said) * 20);
    outcome.metadata = json!({ "plan": said % 2 }).as_object().unwrap().clone();
    let subject = &mut outcome.subject;
    subject.call_id = target.strip_prefix("call/").map(str::to_owned);
    subject.agent_id = (said % 3 == 0).then(|| "a".to_owned());
    if said % 2 == 0 {
        subject.phone = None;
    }
    Step::Deliver(record)
}

/// Calls of one caller; one of an agent of its own, two of one id, one without its phone.
fn calls() -> Vec<CallRecord> {
    vec![
        call("c0", Some("a"), Some(PHONE), 10),
        call("c1", Some("a"), None, 20),
        call("c2", Some("b"), Some(PHONE), 30),
        call("c2", Some("a"), Some(PHONE), 5),
    ]
}

/// Something else of a call: its start, its caller, its direction, its agent.
fn corrected(id: &str, number: u64, kind: usize, said: u8) -> Vec<CallRecord> {
    let which = |place: usize| (number as usize / 6 + place).is_multiple_of(2);
    let phone = [PHONE, "+14155550000"][usize::from(kind.is_multiple_of(3))];
    let agent = ["a", "b"][usize::from(said.is_multiple_of(2))];
    let mut record = call(
        id,
        which(0).then_some(agent),
        which(1).then_some(phone),
        // Two calls may start at the same moment, and some after their outcomes.
        10 * kind as i64,
    );
    record.started_at = record.started_at.filter(|_| kind < 5);
    record.direction = kind.is_multiple_of(2).then(|| format!("d{said}"));
    record.as_of = Some(noon());
    vec![record]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn deliveries_written_together_are_as_if_written_one_by_one_and_figures_as_if_made_at_the_end(
        steps in proptest::collection::vec((0u64..60, 0usize..6, 0u8..9), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (together, apart) = (bench().await, bench().await);
            for bench in [&together, &apart] {
                bench.store.record_calls(calls()).await.unwrap();
            }
            let at_once = steps.iter().map(|said| step(*said).take(&together.store));
            let at_once = futures_util::future::join_all(at_once).await;
            let mut one_by_one = Vec::new();
            for said in &steps {
                one_by_one.push(step(*said).take(&apart.store).await);
            }
            assert_eq!(at_once, one_by_one);
            let (mut one, mut other) = (connect(&together).await, connect(&apart).await);
            let kept = dump(&mut one).await;
            assert_eq!(kept, dump(&mut other).await);
            for table in ["DELETE FROM figures", "DELETE FROM tags"] {
                sqlx::query(table).execute(&mut one).await.unwrap();
            }
            figure::build_all(&mut one).await.unwrap();
            assert_eq!(kept, dump(&mut one).await);
        });
    }
}
