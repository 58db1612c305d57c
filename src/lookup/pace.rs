//! How fast a source's questions go out: evenly at its rate, and not while the vendor wants to be left alone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest time for which one `Retry-After` stops a whole source.
const AT_MOST: Duration = Duration::from_secs(300);

/// The pace of one source.
#[derive(Debug)]
pub(super) struct Pace {
    between: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many requests per second.
    pub(super) fn new(rate: f64) -> Self {
        Self {
            between: Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default(),
            next: Mutex::default(),
        }
    }

    /// Waits for the next place.
    pub(super) async fn wait(&self) {
        let place = self.take(Instant::now());
        tokio::time::sleep_until(place).await;
    }

    fn take(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let place = next.map_or(now, |next| next.max(now));
        *next = Some(place + self.between);
        place
    }

    /// Gives no place before `wait` is over.
    pub(super) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait.min(AT_MOST);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(until, |next| next.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_lie_evenly_apart_and_unused_time_is_not_saved_up() {
        let pace = Pace::new(4.0);
        let start = Instant::now();
        let quarter = Duration::from_millis(250);
        assert_eq!(pace.take(start), start);
        assert_eq!(pace.take(start), start + quarter);
        assert_eq!(pace.take(start), start + quarter * 2);
        let later = start + quarter * 20;
        assert_eq!(pace.take(later), later);
        assert_eq!(pace.take(later), later + quarter);
    }

    #[tokio::test]
    async fn a_pause_moves_the_next_place() {
        let pace = Pace::new(1_000.0);
        let before = Instant::now();
        pace.pause(Duration::from_secs(60));
        assert!(pace.take(before) >= before + Duration::from_secs(60));
    }
}
