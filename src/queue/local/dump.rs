//! All tables as readable text, for tests and support.

use std::fmt::Write;

use crate::queue::{QueueError, Result};

use super::index::Index;
use super::journal::Segments;
use super::lane_row::LaneRow;
use super::records::RecordRow;
use super::row::{DedupeRow, DeliveryRow, EventRow, Row};
use super::stage::resolve;
use super::state::State;
use super::tree::{self, Tree};
use super::{line, registry_key, watches};

/// Every row of every table, one a line, in order. Payloads are not shown, but hashes and places of
/// them are; the checkpoint is left out, since it depends on when the index was last synced.
pub(super) fn dump(index: &Index, segments: &Segments) -> Result<String> {
    let mut out = String::new();
    for tree in Tree::ALL {
        for row in index.range(tree, &[], &[]) {
            let (key, value) = row?;
            if tree == Tree::Meta && *key != *tree::STATE {
                continue;
            }
            let row = resolve(&value, segments)?;
            let line = shown(tree, &key, &row)?;
            writeln!(out, "{}  {line}", tree.name())
                .map_err(|error| QueueError::Storage(error.to_string().into()))?;
        }
    }
    Ok(out)
}

fn shown(tree: Tree, key: &[u8], row: &[u8]) -> Result<String> {
    Ok(match tree {
        Tree::Event => format!("{}  {:?}", tree::event_of(key)?, EventRow::decode(row)?),
        Tree::Todo => {
            let mark = watches::mark_number(row)?;
            format!("{}  {mark}", tree::event_of(key)?)
        }
        Tree::Delivery => {
            let row = DeliveryRow::decode(row)?;
            format!("{}  {row:?}", tree::delivery_of(key)?)
        }
        Tree::Dead => tree::delivery_of(key)?.to_string(),
        Tree::Lane => format!("{}  {:?}", hex::encode(key), LaneRow::decode(row)?),
        Tree::Due => {
            let (destination, due_ms, lane) = tree::due_of(key)?;
            format!("{destination}  {due_ms}  {}", hex::encode(lane))
        }
        Tree::Record => format!("{}  {:?}", hex::encode(key), RecordRow::decode(row)?),
        Tree::Place => {
            let (place, record) = registry_key::place_of(key)?;
            let found = hex::encode(place.key.0);
            format!("{found}  {}  {}", place.at, hex::encode(record.0))
        }
        Tree::Watch => {
            let (watch, event) = registry_key::watch_of(key, row)?;
            let watched = hex::encode(watch.key.0);
            format!("{watched}  {} to {}  {event}", watch.from, watch.to)
        }
        Tree::Wake => {
            let (due_ms, event) = registry_key::wake_of(key)?;
            format!("{due_ms}  {event}")
        }
        Tree::Line => {
            let (lane, turn, delivery) = line::place_of(key)?;
            format!("{}  {turn}  {delivery}", hex::encode(lane))
        }
        Tree::Dedupe => format!("{}  {:?}", hex::encode(key), DedupeRow::decode(row)?),
        Tree::DedupeExpiry => format!("{}  {}", hex::encode(key), hex::encode(row)),
        Tree::Meta => format!("state  {:?}", State::decode(row)?),
    })
}
