//! The calendar: from which moment to which, in which steps, in which time zone. Pure.
//!
//! Days and weeks are civil: the day on which clocks change has 23 or 25 hours, and a zone may be half an hour off. So
//! boundaries are computed here, and the database only compares numbers.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// The length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The whole period is one.
    Whole,
    /// A day.
    Day,
    /// A week, and the day on which it begins.
    Week(Weekday),
}

/// Where days begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The time zone.
    pub zone: TimeZone,
    /// The length of a bucket.
    pub step: Step,
}

/// From a moment to another, which is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Period {
    /// The first moment in it.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// Why a period cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeriodError {
    /// It ends before it begins.
    #[error("the period ends before it begins")]
    Backwards,
    /// It has too many buckets.
    #[error("the period has over {MOST_BUCKETS} days or weeks; ask for less, or for weeks")]
    TooLong,
    /// Its boundaries are beyond the calendar.
    #[error("the period is beyond the calendar")]
    Beyond,
}

/// Buckets of one answer at most: three years of days.
const MOST_BUCKETS: usize = 1_100;

impl Calendar {
    /// The buckets of a period, without gaps. The first and the last one are cut off at its ends.
    ///
    /// # Errors
    /// [`PeriodError`] when there are none or too many.
    pub fn buckets(&self, period: Period) -> Result<Vec<Period>, PeriodError> {
        if period.to <= period.from {
            return Err(PeriodError::Backwards);
        }
        if self.step == Step::Whole {
            return Ok(vec![period]);
        }
        let mut day = self.first_day(period.from)?;
        let mut buckets = Vec::new();
        let mut from = period.from;
        while from < period.to {
            if buckets.len() == MOST_BUCKETS {
                return Err(PeriodError::TooLong);
            }
            let length: Span = if self.step == Step::Day {
                1.day()
            } else {
                7.days()
            };
            // The day after the last one of the calendar begins after every moment.
            let next = day.checked_add(length).ok();
            let start = next.and_then(|next| self.start_of(next).ok());
            let to = start.unwrap_or(period.to).min(period.to);
            if to > from {
                buckets.push(Period { from, to });
                from = to;
            }
            match next {
                Some(next) => day = next,
                None => break,
            }
        }
        Ok(buckets)
    }

    fn first_day(&self, from: Timestamp) -> Result<Date, PeriodError> {
        let day = self.zone.to_datetime(from).date();
        match self.step {
            Step::Whole | Step::Day => Ok(day),
            Step::Week(start) => {
                let back = i64::from(start.until(day.weekday()));
                day.checked_sub(back.days())
                    .map_err(|_beyond| PeriodError::Beyond)
            }
        }
    }

    /// The first moment of a day; later than midnight where clocks change then.
    ///
    /// # Errors
    /// [`PeriodError::Beyond`] beyond the calendar.
    pub fn start_of(&self, day: Date) -> Result<Timestamp, PeriodError> {
        day.to_zoned(self.zone.clone())
            .and_then(|midnight| midnight.start_of_day())
            .map(|start| start.timestamp())
            .map_err(|_beyond| PeriodError::Beyond)
    }

    /// The period of the same length right before: as many days when it is made of whole days, else as many seconds.
    ///
    /// # Errors
    /// [`PeriodError::Beyond`] beyond the calendar.
    pub fn before(&self, period: Period) -> Result<Period, PeriodError> {
        let (first, end) = (self.day_starting(period.from), self.day_starting(period.to));
        let from = match (first, end) {
            (Some(first), Some(end)) => {
                let days = first.until(end).map_err(|_beyond| PeriodError::Beyond)?;
                let before = first
                    .checked_sub(days)
                    .map_err(|_beyond| PeriodError::Beyond)?;
                self.start_of(before)?
            }
            _ => {
                let length = period.to.duration_since(period.from);
                period
                    .from
                    .checked_sub(length)
                    .map_err(|_beyond| PeriodError::Beyond)?
            }
        };
        Ok(Period {
            from,
            to: period.from,
        })
    }

    /// The day that begins at this very moment.
    fn day_starting(&self, at: Timestamp) -> Option<Date> {
        let day = self.zone.to_datetime(at).date();
        (self.start_of(day).ok()? == at).then_some(day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calendar(zone: &str, step: Step) -> Calendar {
        Calendar {
            zone: TimeZone::get(zone).unwrap(),
            step,
        }
    }

    fn period(from: &str, to: &str) -> Period {
        Period {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        }
    }

    fn starts(calendar: &Calendar, period: Period) -> Vec<String> {
        calendar
            .buckets(period)
            .unwrap()
            .iter()
            .map(|b| b.from.to_string())
            .collect()
    }

    #[test]
    fn the_day_on_which_clocks_change_is_longer_or_shorter() {
        let berlin = calendar("Europe/Berlin", Step::Day);
        let spring = period("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z");
        assert_eq!(
            starts(&berlin, spring),
            [
                "2026-03-27T23:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z"
            ]
        );
    }

    #[test]
    fn zones_may_be_half_an_hour_off_and_days_may_lack_their_midnight() {
        let india = calendar("Asia/Kolkata", Step::Day);
        let two = period("2026-05-05T18:30:00Z", "2026-05-07T18:30:00Z");
        assert_eq!(
            starts(&india, two),
            ["2026-05-05T18:30:00Z", "2026-05-06T18:30:00Z"]
        );
        // Clocks went from midnight to one o'clock.
        let cairo = calendar("Africa/Cairo", Step::Day);
        let days = period("2026-04-22T22:00:00Z", "2026-04-24T21:00:00Z");
        assert_eq!(
            starts(&cairo, days),
            ["2026-04-22T22:00:00Z", "2026-04-23T22:00:00Z"]
        );
        let lord_howe = calendar("Australia/Lord_Howe", Step::Day);
        let autumn = period("2026-04-03T13:00:00Z", "2026-04-05T13:30:00Z");
        assert_eq!(
            starts(&lord_howe, autumn),
            ["2026-04-03T13:00:00Z", "2026-04-04T13:00:00Z"]
        );
    }

    #[test]
    fn weeks_begin_on_the_day_that_was_chosen() {
        let span = period("2026-05-06T00:00:00Z", "2026-05-20T00:00:00Z");
        let monday = calendar("UTC", Step::Week(Weekday::Monday));
        assert_eq!(
            starts(&monday, span),
            [
                "2026-05-06T00:00:00Z",
                "2026-05-11T00:00:00Z",
                "2026-05-18T00:00:00Z"
            ]
        );
        let sunday = calendar("UTC", Step::Week(Weekday::Sunday));
        assert_eq!(starts(&sunday, span)[1], "2026-05-10T00:00:00Z");
    }

    #[test]
    fn the_period_before_has_as_many_days() {
        let berlin = calendar("Europe/Berlin", Step::Day);
        let week = period("2026-03-29T22:00:00Z", "2026-04-05T22:00:00Z");
        let before = berlin.before(week).unwrap();
        assert_eq!(
            before,
            period("2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z")
        );
    }

    #[test]
    fn far_dates_are_an_answer_or_a_clear_error() {
        let day = calendar("UTC", Step::Day);
        let all = Period {
            from: Timestamp::MIN,
            to: Timestamp::MAX,
        };
        assert_eq!(day.buckets(all), Err(PeriodError::TooLong));
        let backwards = period("2026-05-06T00:00:00Z", "2026-05-06T00:00:00Z");
        assert_eq!(day.buckets(backwards), Err(PeriodError::Backwards));
        let last = Period {
            from: "9999-12-29T00:00:00Z".parse().unwrap(),
            to: Timestamp::MAX,
        };
        assert!(!day.buckets(last).unwrap().is_empty());
        assert_eq!(day.before(all), Err(PeriodError::Beyond));
    }

    proptest! {
        #[test]
        fn buckets_leave_no_gap_and_no_overlap(
            from in 0i64..4_000_000_000, length in 1i64..20_000_000, zone in 0usize..5, week: bool,
        ) {
            let zone = ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia", "Africa/Cairo"][zone];
            let step = if week { Step::Week(Weekday::Monday) } else { Step::Day };
            let whole = Period {
                from: Timestamp::from_second(from).unwrap(),
                to: Timestamp::from_second(from + length).unwrap(),
            };
            let buckets = calendar(zone, step).buckets(whole).unwrap();
            prop_assert_eq!(buckets[0].from, whole.from);
            prop_assert_eq!(buckets[buckets.len() - 1].to, whole.to);
            prop_assert!(buckets.windows(2).all(|two| two[0].to == two[1].from && two[0].from < two[0].to));
        }
    }
}
