//! The process dies at a planned place: what retention passes, between two of its writes, while events
//! arrive, are delivered and are pruned. The other places are planned in `tests/crash`.

use std::path::Path;
use std::time::Duration;

use outcome_bridge::fault::Point;

use super::{Harness, listen, spawn};

/// So long it may take until a segment is given back.
const PATIENCE: Duration = Duration::from_secs(60);

impl Harness {
    /// Runs the child until it dies at `point`.
    fn fall_once(&mut self, point: Point, passing: u32) {
        let fault = format!("{}:{passing}", point.as_str());
        let env = [
            ("CHILD_PRUNES", Path::new("1")),
            ("OUTCOME_BRIDGE_FAULT", Path::new(&fault)),
        ];
        let mut child = spawn(&self.dir(), self.known.next, &env);
        let heard = listen(&mut child);
        let begun = std::time::Instant::now();
        while let Ok(line) = heard.recv_timeout(PATIENCE) {
            self.known.hear(&line);
            if begun.elapsed() > PATIENCE {
                break;
            }
        }
        let ended = child.try_wait().unwrap();
        if ended.is_none() && begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{fault} was never passed");
        }
        let ended = child.wait().unwrap();
        heard.try_iter().for_each(|line| self.known.hear(&line));
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(9),
            "{fault}: it ended otherwise"
        );
    }
}

#[tokio::test]
async fn nothing_is_lost_when_it_dies_while_space_is_given_back() {
    let mut harness = Harness::new(5);
    let mut tried = 0;
    let retention = Point::ALL
        .iter()
        .filter(|point| point.as_str().starts_with("retention."));
    for point in retention {
        for passing in [1, 2] {
            harness.fall_once(*point, passing);
            harness.check().await;
            tried += 1;
        }
    }
    assert!(tried >= 8);
    harness.finish().await;
}
