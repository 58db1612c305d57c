//! What the disk and the engine can do if nothing is asked of them but to keep bytes: the baselines
//! that `outcome-bridge bench` compares the bridge with.
//!
//! The engine's baseline is the design in its barest form: one thread takes whatever has queued up,
//! appends it with a checksum to a file, syncs once, puts one row into each of two sled trees, and answers;
//! the index is synced twice a second. No duplicate keys, no domain rules, no rows to decode.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// The most requests that share a sync.
const GROUP: usize = 1024;
/// How often the index is made durable, as in the queue.
const INDEX_SYNC: Duration = Duration::from_millis(500);

/// How long things took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// How many there were.
    pub count: u64,
    /// How long all of them took.
    pub took: Duration,
    /// Half took at most this.
    pub p50: Duration,
    /// 99 of 100 took at most this.
    pub p99: Duration,
}

impl Figures {
    fn of(mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |share: usize| {
            let place = (times.len() * share / 100).min(times.len().saturating_sub(1));
            times.get(place).copied().unwrap_or_default()
        };
        Self {
            count: times.len() as u64,
            took,
            p50: at(50),
            p99: at(99),
        }
    }
}

/// Appends 4 KB and syncs, again and again, for `span`.
///
/// # Errors
/// When the file cannot be written.
pub fn sync(dir: &Path, span: Duration) -> io::Result<Figures> {
    let mut file = File::create(dir.join("baseline-sync"))?;
    let block = [7u8; 4096];
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < span {
        let one = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    Ok(Figures::of(times, begun.elapsed()))
}

type Request = (u64, Arc<[u8]>, oneshot::Sender<()>);

/// Commits bodies of `bytes` bytes from `producers` tasks for `span`, each waiting for its answer.
///
/// # Errors
/// When files cannot be written.
pub async fn engine(
    dir: &Path,
    producers: usize,
    bytes: usize,
    span: Duration,
) -> io::Result<Figures> {
    std::fs::create_dir_all(dir)?;
    let (requests, inbox) = mpsc::channel::<Request>(GROUP * 2);
    let home = dir.to_owned();
    let committer = std::thread::spawn(move || commit(&home, inbox));
    let body: Arc<[u8]> = vec![b'x'; bytes].into();
    let begun = Instant::now();
    let until = begun + span;
    let mut tasks = tokio::task::JoinSet::new();
    for producer in 0..producers as u64 {
        tasks.spawn(produce(
            requests.clone(),
            producer << 40,
            Arc::clone(&body),
            until,
        ));
    }
    drop(requests);
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended.map_err(io::Error::other)?);
    }
    let took = begun.elapsed();
    committer
        .join()
        .map_err(|_panic| io::Error::other("the committer panicked"))??;
    Ok(Figures::of(times, took))
}

async fn produce(
    requests: mpsc::Sender<Request>,
    first: u64,
    body: Arc<[u8]>,
    until: Instant,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for id in first.. {
        let begun = Instant::now();
        let (answer, answered) = oneshot::channel();
        let sent = requests.send((id, Arc::clone(&body), answer)).await;
        if begun >= until || sent.is_err() || answered.await.is_err() {
            break;
        }
        times.push(begun.elapsed());
    }
    times
}

fn commit(dir: &Path, mut inbox: mpsc::Receiver<Request>) -> io::Result<()> {
    let mut journal = File::create(dir.join("baseline-journal"))?;
    let index = sled::Config::new()
        .path(dir.join("index"))
        .cache_capacity(64 << 20)
        .flush_every_ms(Some(500))
        .open()
        .map_err(io::Error::other)?;
    let items = index.open_tree("item").map_err(io::Error::other)?;
    let due = index.open_tree("due").map_err(io::Error::other)?;
    let mut record = Vec::new();
    let mut synced = Instant::now();
    while let Some(first) = inbox.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = inbox.try_recv()
        {
            group.push(next);
        }
        record.clear();
        let (mut item_rows, mut due_rows) = (sled::Batch::default(), sled::Batch::default());
        for (id, body, _) in &group {
            let place = (record.len() as u64).to_be_bytes();
            record.extend_from_slice(body);
            item_rows.insert(&id.to_be_bytes(), &place);
            due_rows.insert([place, id.to_be_bytes()].concat(), &[]);
        }
        journal.write_all(&crc32fast::hash(&record).to_be_bytes())?;
        journal.write_all(&record)?;
        journal.sync_data()?;
        items.apply_batch(item_rows).map_err(io::Error::other)?;
        due.apply_batch(due_rows).map_err(io::Error::other)?;
        if synced.elapsed() > INDEX_SYNC {
            // sled's own flush does not reach the disk on Linux.
            index.flush().map_err(io::Error::other)?;
            File::open(dir.join("index/db"))?.sync_data()?;
            synced = Instant::now();
        }
        for (.., answer) in group {
            // A producer that has stopped listening has all it wanted.
            let _gone = answer.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn baselines_measure_something() {
        let dir = tempfile::tempdir().unwrap();
        let span = Duration::from_millis(50);
        assert!(sync(dir.path(), span).unwrap().count > 0);
        let figures = engine(&dir.path().join("engine"), 4, 100, span)
            .await
            .unwrap();
        assert!(figures.count > 0 && figures.p50 <= figures.p99);
    }
}
