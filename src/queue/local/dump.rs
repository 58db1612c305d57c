//! All tables as readable text, for tests and support.

use std::fmt::Write;

use crate::queue::{QueueError, Result};

use super::index::Index;
use super::journal::Segments;
use super::lane_row::LaneRow;
use super::row::{DedupeRow, DeliveryRow, EventRow, Row};
use super::stage::resolve;
use super::state::State;
use super::tree::{self, Tree};

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
            let line = line(tree, &key, &row)?;
            writeln!(out, "{}  {line}", tree.name())
                .map_err(|error| QueueError::Storage(error.to_string().into()))?;
        }
    }
    Ok(out)
}

fn line(tree: Tree, key: &[u8], row: &[u8]) -> Result<String> {
    Ok(match tree {
        Tree::Event => format!("{}  {:?}", tree::event_of(key)?, EventRow::decode(row)?),
        Tree::Todo => tree::event_of(key)?.to_string(),
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
        Tree::Dedupe => format!("{}  {:?}", hex::encode(key), DedupeRow::decode(row)?),
        Tree::DedupeExpiry => format!("{}  {}", hex::encode(key), hex::encode(row)),
        Tree::Meta => format!("state  {:?}", State::decode(row)?),
    })
}
