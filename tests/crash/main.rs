//! The crash test: the real process is killed at random moments under load, again and again over the
//! same data, and afterwards nothing that was acknowledged is missing, every destination was told the
//! truth last, and never an older truth after a newer one.
//!
//! The judge stands outside the process: a vendor that keeps a book of what was acknowledged (`ledger`,
//! `sender`), destinations that outlive the bridge and fail at times (`destination`), and a model of
//! what is true that shares no code with the program (`story`, `verdict`).
//!
//! `OUTCOME_BRIDGE_CRASHES=500` asks for so many kills; `OUTCOME_BRIDGE_CRASH_SEED` repeats the events,
//! the moments and the failures of an earlier run (how threads interleave is not repeated).
//! Besides, it dies where that is planned: between every two writes, see `planned`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "this is a test"
)]

mod bridge;
mod destination;
mod ledger;
#[cfg(debug_assertions)]
mod planned;
mod sender;
mod story;
mod verdict;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use bridge::Home;
use destination::{Destination, Manners};
use ledger::Ledger;
use sender::Senders;
use story::Story;
use verdict::Verdict;

/// Kills, unless the environment asks for more.
const CRASHES: u64 = 8;

/// Connections that post at the same time.
const SENDERS: u64 = 12;

/// So many more events are acknowledged long before this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// When a life ends.
#[derive(Debug)]
enum Moment {
    /// While it starts.
    Starting(Duration),
    /// So long after the so-manieth event that it acknowledged.
    Loaded(u64, Duration),
}

impl Moment {
    fn draw(rng: &mut StdRng, start: Duration) -> Self {
        if rng.random_bool(0.2) {
            return Self::Starting(start.mul_f64(rng.random_range(0.0..1.2)));
        }
        // At once is the worst moment for whoever acknowledges before it has written.
        let delay = if rng.random_bool(0.5) {
            0
        } else {
            rng.random_range(0..5_000)
        };
        Self::Loaded(rng.random_range(1..500), Duration::from_micros(delay))
    }
}

fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is `{text}`, expected a number")),
    )
}

fn story() -> Story {
    let seed = asked("OUTCOME_BRIDGE_CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("seed: OUTCOME_BRIDGE_CRASH_SEED={seed}");
    Story { seed }
}

/// Lets the bridge finish its work and looks at what came of it.
async fn conclude(home: Home, ledger: &Ledger, destination: &Destination) -> Verdict {
    let settled = home.settled(PATIENCE).await;
    let mut verdict = verdict::reach(&home, ledger, destination).await;
    if !settled {
        verdict.mistakes.push("it does not come to rest".to_owned());
    }
    if !verdict.mistakes.is_empty() {
        let kept = home.keep();
        panic!(
            "{verdict}; files are in {}\n{}",
            kept.display(),
            verdict.mistakes.join("\n")
        );
    }
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_truth_grows_old_whenever_it_is_killed() {
    let begun = Instant::now();
    let crashes = asked("OUTCOME_BRIDGE_CRASHES").unwrap_or(CRASHES);
    let story = story();
    let mut rng = StdRng::seed_from_u64(story.seed ^ 3);
    let manners = Manners {
        unavailable: 0.08,
        hang_up: 0.04,
    };
    let destination = Destination::start(story, manners).await;
    let mut home = Home::new(destination.address);
    let ledger = Arc::new(Ledger::new(story));
    let senders = Senders::start(SENDERS, home.inlet, &ledger);
    let mut slowest = Duration::ZERO;
    for crash in 0..crashes {
        destination.next_life().await;
        let mut life = home.start();
        match Moment::draw(&mut rng, slowest) {
            // The first life shows how long a start takes.
            Moment::Starting(moment) if crash > 0 => tokio::time::sleep(moment).await,
            Moment::Loaded(count, moment) => {
                slowest = slowest.max(home.ready(&mut life).await);
                assert!(
                    ledger.progress(count, PATIENCE).await,
                    "life {crash} takes no events"
                );
                if !moment.is_zero() {
                    tokio::time::sleep(moment).await;
                }
            }
            Moment::Starting(_) => slowest = home.ready(&mut life).await,
        }
        life.kill().await;
    }
    destination.next_life().await;
    let mut life = home.start();
    slowest = slowest.max(home.ready(&mut life).await);
    assert!(
        ledger.progress(100, PATIENCE).await,
        "the last life takes no events"
    );
    senders.stop().await;
    let verdict = conclude(home, &ledger, &destination).await;
    eprintln!(
        "{crashes} kills in {:.1} s, slowest start {:.2} s, {} repeats by the vendor: {verdict}",
        begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64(),
        ledger.repeats(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_ends_well_loses_nothing_and_repeats_nothing() {
    let story = story();
    let manners = Manners {
        unavailable: 0.08,
        hang_up: 0.0,
    };
    let destination = Destination::start(story, manners).await;
    let mut home = Home::new(destination.address);
    let ledger = Arc::new(Ledger::new(story));
    let senders = Senders::start(SENDERS, home.inlet, &ledger);
    for stop in 0..3 {
        destination.next_life().await;
        let mut life = home.start();
        home.ready(&mut life).await;
        assert!(
            ledger.progress(300, PATIENCE).await,
            "life {stop} takes no events"
        );
        let ended = life.terminate().await;
        assert!(ended.success(), "stop {stop}: {ended}; seed {}", story.seed);
    }
    destination.next_life().await;
    let mut life = home.start();
    home.ready(&mut life).await;
    assert!(
        ledger.progress(100, PATIENCE).await,
        "the last life takes no events"
    );
    senders.stop().await;
    let verdict = conclude(home, &ledger, &destination).await;
    eprintln!("3 stops: {verdict}");
    assert_eq!(
        verdict.duplicates, 0,
        "delivered twice, although nobody was killed"
    );
}
