//! Which requests of a vendor count as repeats of one another: a repeated attempt does, another fact does not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use outcome_bridge::connector::{CaseKind, Catalogue, InboundRequest, Reception, source_of};
use outcome_bridge::model::ConnectorName;

/// The duplicate keys of a case's request after each of the edits `from` → `to`, the unedited one first.
fn keys(connector: &str, case: &str, edits: &[&[(&str, &str)]]) -> Vec<[u8; 16]> {
    let catalogue = Catalogue::embedded();
    let connector = catalogue
        .get(&ConnectorName::new(connector).unwrap())
        .unwrap();
    let case = connector
        .cases
        .iter()
        .find(|known| known.name == case)
        .unwrap();
    let CaseKind::Inbound(inbound) = &case.kind else {
        panic!("{} is no request", case.name);
    };
    let source = source_of(connector, case, inbound).unwrap();
    let mut keys = Vec::new();
    for edit in std::iter::once(&[][..]).chain(edits.iter().copied()) {
        let mut parts = inbound.request.clone();
        let mut body = String::from_utf8(parts.body.to_vec()).unwrap();
        for (from, to) in edit {
            if parts.query == *from {
                (*to).clone_into(&mut parts.query);
                continue;
            }
            let in_header = parts.headers.iter_mut().find(|(_, value)| value == from);
            match in_header {
                Some((_, value)) => (*to).clone_into(value),
                None => {
                    assert!(body.contains(from), "`{from}` is nowhere in the request");
                    body = body.replacen(from, to, 1);
                }
            }
        }
        parts.body = body.into();
        let signed = source.sign(parts, case.now).unwrap();
        let parts = signed.into_parts();
        match source.receive(InboundRequest::new(parts), case.now) {
            Reception::Verified(request) => keys.push(request.dedupe_key()),
            other => panic!("{other:?}"),
        }
    }
    keys
}

fn same(connector: &str, case: &str, edit: &[(&str, &str)]) {
    let keys = keys(connector, case, &[edit]);
    assert_eq!(keys[0], keys[1], "{connector}/{case} after {edit:?}");
}

fn different(connector: &str, case: &str, edit: &[(&str, &str)]) {
    let keys = keys(connector, case, &[edit]);
    assert_ne!(keys[0], keys[1], "{connector}/{case} after {edit:?}");
}

#[test]
fn a_batch_is_known_by_all_its_items() {
    // Only the last of three events differs.
    different("hubspot", "batch", &[("3816279343", "3816279399")]);
    different("hubspot", "batch", &[("NO_SHOW", "COMPLETED")]);
    different(
        "salesforce",
        "batch",
        &[("04l1I000000fztGQAQ", "04l1I000000fztHQAQ")],
    );
}

#[test]
fn a_shorter_batch_is_not_the_longer_one() {
    let keys = keys(
        "salesforce",
        "batch",
        &[&[("<Id>04l1I000000fztGQAQ</Id>", "")]],
    );
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn another_attempt_is_a_repeat() {
    let attempts = [("\"attemptNumber\":1", "\"attemptNumber\":2")];
    same("hubspot", "batch", &attempts);
    same(
        "pipedrive",
        "deal-won",
        &[("\"attempt\":1", "\"attempt\":2")],
    );
    same(
        "salesforce",
        "won",
        &[("04k1I000000bmsHQAQ", "04k1I000000bmsZQAQ")],
    );
    same(
        "highlevel",
        "opportunity-won",
        &[("09:15:00.000Z", "09:25:00.000Z")],
    );
    same("close", "won", &[("req_4S2L", "req_9999")]);
    same(
        "cal-com",
        "meeting-ended",
        &[("\"rating\":null", "\"rating\":5")],
    );
}

#[test]
fn another_fact_about_the_same_thing_is_no_repeat() {
    // Marked again after the mark was taken back.
    different(
        "calendly",
        "no-show",
        &[("invitee_no_shows/NS1", "invitee_no_shows/NS2")],
    );
    different(
        "calendly",
        "no-show-undone",
        &[("2026-05-06T17:00:00", "2026-05-06T18:00:00")],
    );
    different(
        "cal-com",
        "guest-no-show",
        &[("16:10:00.000Z", "16:30:00.000Z")],
    );
    different(
        "pipedrive",
        "deal-won",
        &[("09:15:00.089Z", "09:16:00.089Z")],
    );
    different("close", "won", &[("ev_2sYKRjcrA79yKxi3S4Crd7", "ev_3")]);
    different(
        "shopify",
        "order-paid",
        &[("orders/paid", "orders/updated")],
    );
    different(
        "shopify",
        "order-paid",
        &[("2026-01-02T09:15:01-05:00", "2026-01-02T09:20:00-05:00")],
    );
    different("call2me", "ended", &[("15:01:51Z", "15:01:52Z")]);
}

#[test]
fn the_same_body_under_another_query_is_no_repeat() {
    different(
        "hubspot-workflow",
        "stated-no-show",
        &[("outcome=no_show", "outcome=shown")],
    );
}

#[test]
fn shopifys_id_of_a_delivery_does_not_make_it_another_event() {
    let edit = [(
        "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        "00000000-0000-4000-8000-000000000000",
    )];
    same("shopify", "order-paid", &edit);
}
