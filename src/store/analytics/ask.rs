//! Putting answers together from cells.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::Row;

use super::answer::{
    Breakdown, Conversion, Funnel, Part, PartTrend, Report, Stage, Tally, Trend, amount, growth,
    rate, wilson,
};
use super::cells::{Base, Cell, Tag};
use super::condition::{
    Attribution, Behind, Condition, Group, Reached, UNKNOWN, has_outcome, named,
};
use super::period::{Calendar, Period};
use super::shared::{Shared, surplus};
use crate::queue::{Page, PageRequest};
use crate::store::figure::Series;
use crate::store::query::pages_of_calls;
use crate::store::{CallRow, RowCursor, Store, StoreError};

/// What a breakdown goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// The voice agent.
    Agent,
    /// The voice platform.
    Platform,
    /// Inbound or outbound.
    Direction,
    /// The source of the outcome.
    Source,
    /// The kind of outcome.
    Kind,
    /// The outcome's label.
    Label,
    /// How the outcome is known.
    Basis,
    /// A key of metadata.
    Metadata(String),
}

impl std::str::FromStr for Split {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "agent" => Self::Agent,
            "platform" => Self::Platform,
            "direction" => Self::Direction,
            "source" => Self::Source,
            "kind" => Self::Kind,
            "label" => Self::Label,
            "basis" => Self::Basis,
            // Conditions name key and value as `KEY=VALUE`: a key with an equals sign could not lead to its calls.
            other => match other.strip_prefix("metadata.") {
                Some(key) if !key.is_empty() && !key.contains('=') => {
                    Self::Metadata(key.to_owned())
                }
                _ => return Err(()),
            },
        })
    }
}

impl Split {
    /// The calls of one line of the breakdown.
    pub fn condition(&self, value: &str) -> Condition {
        let one = || vec![if value.is_empty() { UNKNOWN } else { value }.to_owned()];
        let mut condition = Condition::default();
        match self {
            Self::Agent => condition.agents = one(),
            Self::Platform => condition.platforms = one(),
            Self::Direction => condition.directions = one(),
            Self::Source => condition.sources = one(),
            Self::Kind => condition.kinds = one(),
            Self::Label => condition.labels = one(),
            Self::Basis => condition.bases = one(),
            Self::Metadata(key) => condition.metadata = Some(format!("{key}={value}")),
        }
        condition
    }
}

/// Values of one key of metadata that a breakdown shows by themselves; the most frequent ones.
const MOST_WORDS: i64 = 100;
/// What the line of all others is called.
const OTHERS: &str = "others";
/// Outcomes that a report shows by themselves; the most frequent ones.
const MOST_PARTS: usize = 100;

/// A scope with everything that is needed to ask about it.
pub(super) struct Asked {
    pub(super) series: Vec<(i64, Series)>,
    /// The series that fit, by their places.
    pub(super) wanted: Vec<usize>,
    /// Where its cells come from; `None`: no call can fit.
    pub(super) base: Option<Base>,
}

impl Asked {
    pub(super) async fn load(
        store: &Store,
        scope: &Condition,
        attribution: Attribution,
    ) -> Result<Self, StoreError> {
        let series = store.all_series().await?;
        let wanted = (0..series.len())
            .filter(|place| scope.takes(&series[*place].1))
            .collect();
        Ok(Self {
            base: store.base(scope, attribution).await?,
            series,
            wanted,
        })
    }

    /// The numbers of the series that fit.
    fn ids(&self) -> Vec<String> {
        let wanted = self.wanted.iter();
        wanted
            .map(|place| self.series[*place].0.to_string())
            .collect()
    }
}

/// The cells of a question: all calls, and those with an outcome where attribution puts them.
struct Picture {
    scope: Condition,
    attribution: Attribution,
    series: Vec<(i64, Series)>,
    calls: Vec<Cell>,
    outcomes: Vec<Cell>,
    /// Calls that several of these outcomes are credited to.
    shared: Vec<Shared>,
    buckets: usize,
}

/// Outcomes where they count by touch, and the calls that several of them count at; `None` where they count at their own
/// calls.
async fn touched(
    store: &Store,
    base: &Base,
    attribution: Attribution,
    series: &[(i64, Series)],
    wanted: &[usize],
    buckets: &[Period],
) -> Result<Option<(Vec<Cell>, Vec<Shared>)>, StoreError> {
    if attribution == Attribution::Recorded {
        return Ok(None);
    }
    let wanted = wanted.iter().copied();
    let wanted: Vec<usize> = wanted
        .filter(|place| has_outcome(&series[*place].1))
        .collect();
    let base = Base {
        attribution,
        ..base.clone()
    };
    let outcomes = store.cells(&base, series, &wanted, buckets).await?;
    let shared = store.shared(&base, series, &outcomes, buckets).await?;
    Ok(Some((outcomes, shared)))
}

impl Picture {
    async fn take(
        store: &Store,
        scope: &Condition,
        attribution: Attribution,
        buckets: &[Period],
    ) -> Result<Self, StoreError> {
        let asked = Asked::load(store, scope, Attribution::Recorded).await?;
        let Asked {
            series,
            wanted,
            base,
        } = asked;
        let (calls, touched) = match &base {
            None => (Vec::new(), None),
            Some(base) => {
                let calls = store.cells(base, &series, &wanted, buckets);
                let touched = touched(store, base, attribution, &series, &wanted, buckets);
                tokio::try_join!(calls, touched)?
            }
        };
        let (outcomes, shared) = touched.unwrap_or_else(|| {
            let outcomes = calls.iter().copied();
            let outcomes = outcomes.filter(|cell| has_outcome(&series[cell.series].1));
            (outcomes.collect(), Vec::new())
        });
        Ok(Self {
            scope: scope.clone(),
            attribution,
            series,
            calls,
            outcomes,
            shared,
            buckets: buckets.len(),
        })
    }

    /// What to ask for to have the calls of a part.
    fn behind(&self, condition: &Condition) -> Behind {
        Behind::of(&self.scope, condition, self.attribution)
    }

    /// The calls that fit a condition: with their outcomes where it asks for them.
    fn cells(&self, condition: &Condition) -> Vec<Cell> {
        let from = if condition.is_about_outcomes() {
            &self.outcomes
        } else {
            &self.calls
        };
        from.iter()
            .copied()
            .filter(|cell| condition.takes(&self.series[cell.series].1))
            .collect()
    }

    fn totals(&self) -> Vec<i64> {
        self.by_bucket(&self.calls)
    }

    fn by_bucket(&self, cells: &[Cell]) -> Vec<i64> {
        let mut counts = vec![0; self.buckets];
        for cell in cells {
            counts[cell.bucket] += cell.calls;
        }
        counts
    }

    /// How many calls the cells of a condition count at, by bucket: by touch, several outcomes may count at one.
    fn credited(&self, condition: &Condition, cells: &[Cell]) -> Vec<i64> {
        let mut counts = self.by_bucket(cells);
        if condition.is_about_outcomes() {
            let taken: HashSet<usize> = cells.iter().map(|cell| cell.series).collect();
            let surplus = surplus(&self.shared, |place| taken.contains(&place).then_some(0));
            for ((_, bucket), calls) in surplus {
                counts[bucket] -= calls;
            }
        }
        counts
    }

    fn part(&self, name: &str, condition: &Condition) -> Part {
        self.part_of(name, condition, &self.cells(condition))
    }

    fn part_of(&self, name: &str, condition: &Condition, cells: &[Cell]) -> Part {
        let by_bucket = self.by_bucket(cells);
        let (rate, rate_by_bucket) = shares(&self.credited(condition, cells), &self.totals());
        Part {
            name: name.to_owned(),
            kind: None,
            behind: self.behind(condition),
            tally: Tally {
                calls: by_bucket.iter().sum(),
                rate,
                values: self.values(cells),
            },
            rate_by_bucket,
            by_bucket,
        }
    }

    fn values(&self, cells: &[Cell]) -> BTreeMap<String, Decimal> {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for cell in cells.iter().filter(|cell| cell.value != 0) {
            *sums
                .entry(&self.series[cell.series].1.currency)
                .or_default() += i128::from(cell.value);
        }
        sums.into_iter()
            .map(|(code, minor)| (code.to_owned(), amount(minor, code)))
            .collect()
    }

    /// The groups that were asked for, or each outcome by itself, most frequent first.
    fn parts(&self, groups: &[Group]) -> Vec<Part> {
        if !groups.is_empty() {
            return groups
                .iter()
                .map(|group| self.part(&group.name, &group.condition))
                .collect();
        }
        let mut outcomes: BTreeMap<(&str, &str), Vec<Cell>> = BTreeMap::new();
        for cell in &self.outcomes {
            let series = &self.series[cell.series].1;
            outcomes
                .entry((named(&series.label), named(&series.kind)))
                .or_default()
                .push(*cell);
        }
        let mut parts: Vec<Part> = outcomes
            .into_iter()
            .map(|((label, kind), cells)| {
                let listed =
                    |word: &str| vec![if word.is_empty() { UNKNOWN } else { word }.to_owned()];
                let condition = Condition {
                    labels: listed(label),
                    kinds: listed(kind),
                    has_outcome: Some(true),
                    ..Condition::default()
                };
                let name = if label.is_empty() { kind } else { label };
                Part {
                    kind: (!kind.is_empty()).then(|| kind.to_owned()),
                    ..self.part_of(name, &condition, &cells)
                }
            })
            .collect();
        parts.sort_by_key(|part| Reverse(part.tally.calls));
        parts
    }

    fn all(&self) -> Part {
        self.part("all", &Condition::default())
    }

    fn with_outcome(&self) -> Part {
        let condition = Condition {
            has_outcome: Some(true),
            ..Condition::default()
        };
        self.part("with_outcome", &condition)
    }
}

impl Store {
    /// Counts, worth and rates of the calls of `scope` over time: by outcome, or by the groups given. With `compared`,
    /// against the period before.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read or the period has too many buckets.
    pub async fn report(
        &self,
        scope: &Condition,
        groups: &[Group],
        attribution: Attribution,
        (period, calendar): (Period, &Calendar),
        compared: bool,
    ) -> Result<Report, StoreError> {
        let buckets = calendar.buckets(period)?;
        let picture = Picture::take(self, scope, attribution, &buckets).await?;
        let mut parts = self.with_tagged(&picture, groups, &buckets).await?;
        parts.truncate(MOST_PARTS);
        let all = picture.all();
        let trend = match compared {
            false => None,
            true => {
                let before = calendar.before(period)?;
                let then = Picture::take(self, scope, attribution, &[before]).await?;
                let parts_then = self.with_tagged(&then, groups, &[before]).await?;
                Some(trend(before, &then, &all, &parts, &parts_then))
            }
        };
        Ok(Report {
            period,
            attribution,
            with_outcome: picture.with_outcome(),
            all,
            parts,
            buckets,
            trend,
        })
    }

    /// The parts of a picture; groups that ask for what no series tells need cells of their own.
    async fn with_tagged(
        &self,
        picture: &Picture,
        groups: &[Group],
        buckets: &[Period],
    ) -> Result<Vec<Part>, StoreError> {
        let mut parts = picture.parts(groups);
        let totals = picture.totals();
        for (part, group) in parts.iter_mut().zip(groups) {
            if !group.condition.is_beyond_series() {
                continue;
            }
            let both = picture.scope.with(&group.condition);
            let own = Picture::take(self, &both, picture.attribution, buckets).await?;
            let cells = own.cells(&group.condition);
            let (rate, rate_by_bucket) = shares(&own.credited(&group.condition, &cells), &totals);
            let found = own.part_of("", &group.condition, &cells);
            part.tally = Tally {
                rate,
                ..found.tally
            };
            part.rate_by_bucket = rate_by_bucket;
            part.by_bucket = found.by_bucket;
        }
        Ok(parts)
    }

    /// The calls of `scope` by what they share.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn breakdown(
        &self,
        scope: &Condition,
        split: &Split,
        attribution: Attribution,
        period: Period,
    ) -> Result<Vec<Breakdown>, StoreError> {
        let mut lines = match split {
            Split::Metadata(key) => self.by_metadata(scope, key, period).await?,
            split => {
                let picture = Picture::take(self, scope, attribution, &[period]).await?;
                by_series(&picture, split)
            }
        };
        let order = |line: &Breakdown| (line.others, Reverse(line.calls));
        lines.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.value.cmp(&b.value)));
        Ok(lines)
    }

    async fn by_metadata(
        &self,
        scope: &Condition,
        key: &str,
        period: Period,
    ) -> Result<Vec<Breakdown>, StoreError> {
        let asked = Asked::load(self, scope, Attribution::Recorded).await?;
        let Some(base) = &asked.base else {
            return Ok(Vec::new());
        };
        let cells = async |base: &Base| {
            self.cells(base, &asked.series, &asked.wanted, &[period])
                .await
        };
        let mut found = Vec::new();
        let mut without = cells(base).await?;
        if let Some(key) = self.word(key).await? {
            let (words, are_all) = self.words_of(key, &asked, base, period).await?;
            for (word, value) in words {
                let mut base = base.clone();
                base.tags.insert(0, Tag::Is(key, word));
                found.push((value, false, cells(&base).await?));
            }
            if !are_all {
                let mut base = base.clone();
                base.tags.push(Tag::Known(key));
                let mut others = cells(&base).await?;
                for (_, _, some) in &found {
                    take_off(&mut others, some);
                }
                found.push((OTHERS.to_owned(), true, others));
            }
            for (_, _, some) in &found {
                take_off(&mut without, some);
            }
        }
        found.push((String::new(), false, without));
        let mut lines = Vec::with_capacity(found.len());
        for (value, others, cells) in found {
            let outcomes = cells
                .iter()
                .copied()
                .filter(|cell| has_outcome(&asked.series[cell.series].1))
                .collect();
            let picture = Picture {
                scope: Condition::default(),
                attribution: Attribution::Recorded,
                series: asked.series.clone(),
                calls: cells,
                outcomes,
                shared: Vec::new(),
                buckets: 1,
            };
            if !picture.calls.is_empty() {
                let line = line(&picture, value, &picture.calls, &picture.outcomes, 0);
                lines.push(Breakdown { others, ..line });
            }
        }
        Ok(lines)
    }

    /// The values of a key, and whether these are all: found by skipping through the index, or, of many, the most frequent
    /// ones among the calls that are asked about.
    async fn words_of(
        &self,
        key: i64,
        asked: &Asked,
        base: &Base,
        period: Period,
    ) -> Result<(Vec<(i64, String)>, bool), StoreError> {
        let skipping = format!(
            "WITH RECURSIVE t(word) AS (SELECT MIN(word) FROM tags WHERE key = {key} UNION ALL \
             SELECT (SELECT MIN(g.word) FROM tags g WHERE g.key = {key} AND g.word > t.word) FROM t \
             WHERE t.word IS NOT NULL) SELECT w.id, w.word FROM (SELECT word FROM t LIMIT {MOST_WORDS} + 1) t \
             JOIN words w ON w.id = t.word"
        );
        // Numbers only go into the text of the queries, and they are ours.
        let read = async |sql: String| -> Result<Vec<(i64, String)>, StoreError> {
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_all(&self.readers)
                .await?;
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect()
        };
        let few = read(skipping).await?;
        if i64::try_from(few.len()).is_ok_and(|found| found <= MOST_WORDS) {
            return Ok((few, true));
        }
        let mut of_key = base.clone();
        of_key.tags.insert(0, Tag::Known(key));
        let (table, of, at, mut conditions) = of_key.parts();
        let ids = asked.ids();
        if ids.is_empty() {
            return Ok((Vec::new(), true));
        }
        if ids.len() < asked.series.len() {
            conditions.push_str(&format!(" AND f.{of} IN ({})", ids.join(", ")));
        }
        let counting = format!(
            "SELECT w.id, w.word FROM (SELECT f.word, COUNT(*) AS calls FROM {table} f \
             WHERE f.{at} >= {} AND f.{at} < {}{conditions} \
             GROUP BY f.word ORDER BY calls DESC, f.word LIMIT {MOST_WORDS}) t JOIN words w ON w.id = t.word",
            period.from.as_millisecond(),
            period.to.as_millisecond(),
        );
        Ok((read(counting).await?, false))
    }

    /// How many calls of `scope` came to `wanted`. Calls younger than `mature_until` are shown apart: they may still come
    /// to it, and would make every recent week look bad.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn conversion(
        &self,
        scope: &Condition,
        wanted: &Condition,
        attribution: Attribution,
        period: Period,
        mature_until: Timestamp,
    ) -> Result<Conversion, StoreError> {
        let cut = mature_until.clamp(period.from, period.to);
        let buckets = [
            Period {
                from: period.from,
                to: cut,
            },
            Period {
                from: cut,
                to: period.to,
            },
        ];
        let picture = Picture::take(self, scope, attribution, &buckets).await?;
        let sum = |cells: &[Cell], bucket| -> i64 {
            cells
                .iter()
                .filter(|cell| cell.bucket == bucket)
                .map(|cell| cell.calls)
                .sum()
        };
        let hits = picture.cells(wanted);
        let (calls, converted) = (sum(&picture.calls, 0), sum(&hits, 0));
        let credited = picture.credited(wanted, &hits)[0].min(calls);
        let interval = wilson(credited, calls);
        Ok(Conversion {
            calls,
            converted,
            rate: rate(credited, calls),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            mature_until: cut,
            young: sum(&picture.calls, 1),
            young_converted: sum(&hits, 1),
        })
    }

    /// How far the calls of `scope` came: call, booked, shown, closed.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn funnel(&self, scope: &Condition, period: Period) -> Result<Funnel, StoreError> {
        let picture = Picture::take(self, scope, Attribution::Recorded, &[period]).await?;
        let count = |reached: Option<Reached>| -> i64 {
            let condition = Condition {
                reached,
                ..Condition::default()
            };
            let cells = picture.cells(&condition);
            cells.iter().map(|cell| cell.calls).sum()
        };
        let all = count(None);
        let mut previous = None;
        let stages = std::iter::once(None).chain(Reached::ALL.map(Some));
        let stages = stages.map(|reached| {
            let calls = count(reached);
            let of_previous = previous.and_then(|before| rate(calls, before));
            previous = Some(calls);
            Stage {
                name: reached.map_or("call", Reached::as_str),
                calls,
                rate: rate(calls, all),
                of_previous,
                behind: picture.behind(&Condition {
                    reached,
                    ..Condition::default()
                }),
            }
        });
        Ok(Funnel {
            stages: stages.collect(),
        })
    }

    /// The calls behind a number: those of `scope` in the period, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn calls_behind(
        &self,
        scope: &Condition,
        attribution: Attribution,
        period: Period,
        page: PageRequest<RowCursor>,
    ) -> Result<Page<CallRow, RowCursor>, StoreError> {
        let asked = Asked::load(self, scope, credited(scope, attribution)).await?;
        let ids = asked.ids();
        let Some(base) = asked.base.filter(|_| !ids.is_empty()) else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        };
        let (of, at) = base.columns();
        let mut query = pages_of_calls();
        query
            .push(format!(" WHERE f.{at} >= "))
            .push_bind(period.from.as_millisecond());
        query
            .push(format!(" AND f.{at} < "))
            .push_bind(period.to.as_millisecond());
        if ids.len() < asked.series.len() {
            // The plus sign keeps the planner on the index that is in the order of the list.
            query.push(format!(" AND +f.{of} IN ({})", ids.join(", ")));
        }
        query.push(base.conditions());
        self.page_of_calls(query, page.after, page.limit.clamp(1, 1_000))
            .await
    }

    /// How many calls [`Self::calls_behind`] lists.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub async fn count_behind(
        &self,
        scope: &Condition,
        attribution: Attribution,
        period: Period,
    ) -> Result<i64, StoreError> {
        let asked = Asked::load(self, scope, credited(scope, attribution)).await?;
        let Some(base) = &asked.base else {
            return Ok(0);
        };
        let cells = self
            .cells(base, &asked.series, &asked.wanted, &[period])
            .await?;
        Ok(cells.iter().map(|cell| cell.calls).sum())
    }
}

/// Which touch a list goes by: calls count as themselves, outcomes where they are credited.
fn credited(scope: &Condition, attribution: Attribution) -> Attribution {
    if scope.is_about_outcomes() {
        attribution
    } else {
        Attribution::Recorded
    }
}

/// What share of calls these are, of all and by bucket. By touch, outcomes may be credited to calls outside of the scope's own
/// when it asks for something of the outcome; a share is never over one.
fn shares(part: &[i64], whole: &[i64]) -> (Option<f64>, Vec<Option<f64>>) {
    let share = |part: i64, whole: i64| rate(part.min(whole), whole);
    let by_bucket = part
        .iter()
        .zip(whole)
        .map(|(part, whole)| share(*part, *whole));
    (
        share(part.iter().sum(), whole.iter().sum()),
        by_bucket.collect(),
    )
}

fn trend(before: Period, then: &Picture, all: &Part, parts: &[Part], parts_then: &[Part]) -> Trend {
    let calls: i64 = then.totals().iter().sum();
    let parts = parts.iter().map(|part| {
        let found = parts_then.iter().find(|then| then.behind == part.behind);
        let tally = found
            .map(|then| then.tally.clone())
            .unwrap_or_else(|| Tally {
                rate: rate(0, calls),
                ..Tally::default()
            });
        PartTrend {
            name: part.name.clone(),
            growth: growth(part.tally.calls, tally.calls),
            rate_change: part
                .tally
                .rate
                .zip(tally.rate)
                .map(|(now, then)| now - then),
            tally,
        }
    });
    Trend {
        period: before,
        calls,
        growth: growth(all.tally.calls, calls),
        parts: parts.collect(),
    }
}

/// Takes some calls off all of them; a call that came in between counts with neither.
fn take_off(all: &mut Vec<Cell>, some: &[Cell]) {
    let mut by_series: HashMap<usize, (i64, i64)> = HashMap::new();
    for cell in some {
        let (calls, value) = by_series.entry(cell.series).or_default();
        *calls += cell.calls;
        *value += cell.value;
    }
    for cell in all.iter_mut() {
        if let Some((calls, value)) = by_series.get(&cell.series) {
            cell.calls -= calls;
            cell.value -= value;
        }
    }
    all.retain(|cell| cell.calls > 0);
}

fn by_series(picture: &Picture, split: &Split) -> Vec<Breakdown> {
    let of = |cell: &Cell| {
        let series = &picture.series[cell.series].1;
        match split {
            Split::Agent => series.agent.clone(),
            Split::Platform => series.platform.clone(),
            Split::Direction => series.direction.clone(),
            Split::Source => series.source.clone(),
            Split::Kind => series.kind.clone(),
            Split::Label => series.label.clone(),
            Split::Basis => series.basis.clone(),
            Split::Metadata(_) => String::new(),
        }
    };
    let of = |cell: &Cell| named(&of(cell)).to_owned();
    let mut lines: BTreeMap<String, (Vec<Cell>, Vec<Cell>)> = BTreeMap::new();
    for cell in &picture.calls {
        lines.entry(of(cell)).or_default().0.push(*cell);
    }
    for cell in &picture.outcomes {
        lines.entry(of(cell)).or_default().1.push(*cell);
    }
    let mut places = HashMap::new();
    for (place, (_, outcomes)) in lines.values().enumerate() {
        places.extend(outcomes.iter().map(|cell| (cell.series, place)));
    }
    let surplus = surplus(&picture.shared, |series| places.get(&series).copied());
    lines
        .into_iter()
        .enumerate()
        .map(|(place, (value, (calls, outcomes)))| {
            let surplus = surplus.get(&(place, 0)).copied().unwrap_or_default();
            line(picture, value, &calls, &outcomes, surplus)
        })
        .collect()
}

/// A line of a breakdown. `surplus`: by how much its outcomes outnumber the calls that they are credited to.
fn line(
    picture: &Picture,
    value: String,
    calls: &[Cell],
    outcomes: &[Cell],
    surplus: i64,
) -> Breakdown {
    let sum = |cells: &[Cell]| cells.iter().map(|cell| cell.calls).sum::<i64>();
    let mut by_outcome = BTreeMap::new();
    for cell in outcomes {
        let series = &picture.series[cell.series].1;
        let name = if series.kind.is_empty() {
            &series.label
        } else {
            &series.kind
        };
        *by_outcome.entry(name.clone()).or_default() += cell.calls;
    }
    Breakdown {
        value,
        others: false,
        calls: sum(calls),
        with_outcome: sum(outcomes),
        outcome_rate: shares(&[sum(outcomes) - surplus], &[sum(calls)]).0,
        outcomes: by_outcome,
        values: picture.values(outcomes),
    }
}
