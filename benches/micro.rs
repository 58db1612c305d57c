//! What single steps cost, without network and disk: verification, mapping, rendering, the store's codec.
//!
//! ```text
//! cargo bench                    all of them
//! cargo bench -- verify/stripe   those whose name contains this
//! ```
//!
//! Requests, rules and outcomes are those of the connectors' own cases.

#![expect(
    clippy::panic,
    reason = "a benchmark that has lost its case has nothing better to do"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use outcome_bridge::connector::{
    Case, CaseKind, Catalogue, Connector, InboundCase, InboundRequest, Reading, Reception,
    RenderInput, destination_of, outcome_of, request_of, source_of,
};
use outcome_bridge::mapping::LookedUp;
use outcome_bridge::model::{DeliveryId, EventId};
use outcome_bridge::queue::local::bench_codec::CodecSample;
use outcome_bridge::queue::{Mark, StoredEvent};
use serde_json::Map;

/// Sources by how they are verified: HMAC in its shapes, Ed25519, a token in the body.
const VERIFIED: [(&str, &str); 6] = [
    ("standard-webhooks", "outcome"),
    ("stripe", "invoice-paid"),
    ("hubspot", "deal-won"),
    ("calendly", "booked"),
    ("highlevel", "opportunity-won"),
    ("salesforce", "won"),
];
const RENDERED: [(&str, &str); 2] = [("phonely", "won-by-phone"), ("webhook", "closed")];

fn case_of<'a>(catalogue: &'a Catalogue, name: &str, case: &str) -> (&'a Connector, &'a Case) {
    let connector = catalogue.iter().find(|one| one.name.as_str() == name);
    let connector = connector.unwrap_or_else(|| panic!("there is no connector {name}"));
    let found = connector.cases.iter().find(|one| one.name == case);
    let found = found.unwrap_or_else(|| panic!("{name} has no case {case}"));
    (connector, found)
}

fn inbound(case: &Case) -> &InboundCase {
    match &case.kind {
        CaseKind::Inbound(inbound) => inbound,
        CaseKind::Outbound(_) => panic!("{} is about a destination", case.name),
    }
}

/// A request until it is known to be genuine and everything to store is there.
fn verify(criterion: &mut Criterion) {
    let catalogue = Catalogue::embedded();
    let mut group = criterion.benchmark_group("verify");
    for (name, case) in VERIFIED {
        let (connector, case) = case_of(&catalogue, name, case);
        let source = source_of(connector, case, inbound(case)).expect("the case has a source");
        let parts = request_of(&source, case, inbound(case))
            .expect("it can be signed")
            .into_parts();
        group.throughput(Throughput::Bytes(parts.body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let reception = source.receive(InboundRequest::new(parts.clone()), case.now);
                assert!(matches!(black_box(reception), Reception::Verified(_)));
            });
        });
    }
}

/// A stored event until its facts are known: the body is read and every rule asked.
fn map(criterion: &mut Criterion) {
    let catalogue = Catalogue::embedded();
    let mut group = criterion.benchmark_group("map");
    for (name, case) in VERIFIED {
        let (connector, case) = case_of(&catalogue, name, case);
        let source = source_of(connector, case, inbound(case)).expect("the case has a source");
        let request = request_of(&source, case, inbound(case)).expect("it can be signed");
        let Reception::Verified(request) = source.receive(request, case.now) else {
            panic!("{name}: not verified");
        };
        let new = request.into_new_event(source.source().clone(), case.now);
        let event = StoredEvent {
            id: EventId(1),
            source: new.source,
            received_at: new.received_at,
            event_type: new.event_type,
            headers: new.headers,
            query: new.query,
            body: new.body,
            mark: Mark::default(),
        };
        let reading = Reading {
            rules: connector.rules.as_ref().expect("it has rules"),
            setting: source.settings_value(),
            region: None,
        };
        group.throughput(Throughput::Bytes(event.body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let derived = source.derive(&event, &reading, &mut |_, _| LookedUp::nothing());
                black_box(derived).expect("the body reads")
            });
        });
    }
}

/// An outcome until its request can be sent.
fn render(criterion: &mut Criterion) {
    let catalogue = Catalogue::embedded();
    let mut group = criterion.benchmark_group("render");
    for (name, case) in RENDERED {
        let (connector, case) = case_of(&catalogue, name, case);
        let CaseKind::Outbound(outbound) = &case.kind else {
            panic!("{} is about a source", case.name);
        };
        let destination = destination_of(connector, case).expect("the case has a destination");
        let outcome = outcome_of(outbound).expect("the case's fields are right");
        let outcome = outcome.expect("the case has an outcome");
        let receipt = Map::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let target = destination
                    .target(&outcome.outcome)
                    .expect("it has an address");
                let request = destination.render(RenderInput {
                    target: &target.address,
                    outcome: Some(&outcome),
                    receipt: &receipt,
                    delivery: DeliveryId {
                        event: EventId(1),
                        ordinal: 0,
                    },
                    now: case.now,
                });
                black_box(request).expect("it can be rendered")
            });
        });
    }
}

/// An accepted event as bytes of the journal, and back.
fn codec(criterion: &mut Criterion) {
    let mut sample = CodecSample::new(1450);
    let record = sample.write().expect("it is small").to_vec();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(record.len() as u64));
    group.bench_function("write", |bencher| {
        bencher.iter(|| black_box(sample.write()).map(<[u8]>::len));
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| CodecSample::read(black_box(&record)).expect("it is a record"));
    });
}

criterion_group!(micro, verify, map, render, codec);
criterion_main!(micro);
