//! Charts as SVG: bars that lie, and columns over time. Every mark is a link with a name, so that charts can be walked by
//! keyboard and read aloud; what is decoration is hidden from readers. Colours come from the style sheet alone.

use maud::{Markup, html};

/// Colours that tell parts apart.
pub(super) const COLOURS: usize = 8;

/// A part of a chart that leads somewhere.
pub(super) struct Mark {
    /// Which colour; `None`: the quiet one of the whole.
    pub(super) colour: Option<usize>,
    pub(super) value: f64,
    /// What is read aloud and shown when pointed at.
    pub(super) label: String,
    pub(super) link: String,
}

impl Mark {
    fn class(&self) -> String {
        match self.colour {
            Some(colour) => format!("c{}", colour % COLOURS),
            None => "whole".to_owned(),
        }
    }
}

/// A bar with its name before it and its number behind it.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) mark: Mark,
}

/// Characters of a name at most; what has no room before the bar is cut off by it.
const LONGEST_NAME: usize = 80;

/// Bars that lie below each other, the longest as long as there is room.
pub(super) fn bars(title: &str, bars: &[Bar]) -> Markup {
    const ROW: f64 = 28.0;
    const WIDTH: f64 = 384.0;
    const LEFT: f64 = 162.0;
    const RIGHT: f64 = 56.0;
    let most = bars.iter().map(|bar| bar.mark.value).fold(0.0, f64::max);
    let room = WIDTH - LEFT - RIGHT;
    html! {
        svg class="chart bars" role="group" aria-label=(title) viewBox=(format!("0 0 {WIDTH} {}", ROW * bars.len() as f64)) {
            @for (row, bar) in bars.iter().enumerate() {
                @let top = ROW * row as f64;
                @let length = if most > 0.0 { (bar.mark.value / most * room).max(2.0) } else { 2.0 };
                // What is read aloud begins with what is seen.
                a href=(bar.mark.link) aria-label={ (short(&bar.name)) " " (bar.text) ": " (bar.mark.label) } {
                    rect class="row" x="0" y=(top) width=(WIDTH) height=(ROW) {}
                    svg x="0" y=(top) width=(LEFT - 8.0) height=(ROW) { text x="0" y="18.5" { (short(&bar.name)) } }
                    " "
                    rect class=(bar.mark.class()) x=(LEFT) y=(top + 4.5) width=(pixels(length)) height=(ROW - 9.0) rx="3" {}
                    text x=(pixels(LEFT + length + 6.0)) y=(top + 18.5) { (bar.text) }
                }
            }
        }
    }
}

fn short(name: &str) -> String {
    match super::format::cut(name, LONGEST_NAME) {
        (name, false) => name.to_owned(),
        (name, true) => format!("{name}…"),
    }
}

/// What stands at one place of the axis of time.
pub(super) struct Column {
    pub(super) label: String,
    /// It is not over yet.
    pub(super) unfinished: bool,
    /// The whole, behind its parts.
    pub(super) whole: Option<Mark>,
    pub(super) parts: Vec<Mark>,
}

/// How the parts of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// On each other: each call is in one part at most.
    Stacked,
    /// Beside each other: a call may be in several.
    SideBySide,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 936.0;
const BOTTOM: f64 = 230.0;
const TOP: f64 = 12.0;
/// Labels of the axis of time at most.
const MOST_LABELS: usize = 12;

/// Columns over time. `shares`: values are shares of 0 to 1.
pub(super) fn columns(
    title: &str,
    columns: &[Column],
    arrangement: Arrangement,
    shares: bool,
) -> Markup {
    let ticks = ticks(highest(columns, arrangement), shares);
    let top = ticks.last().copied().unwrap_or(1.0);
    let slot = (RIGHT - LEFT) / columns.len().max(1) as f64;
    let every = columns.len().div_ceil(MOST_LABELS).max(1);
    html! {
        svg class="chart columns" role="group" aria-label=(title) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) {
            g aria-hidden="true" {
                @for tick in &ticks {
                    line class="grid" x1=(LEFT) x2=(RIGHT) y1=(pixels(height_of(*tick, top))) y2=(pixels(height_of(*tick, top))) {}
                    text class="end" x=(LEFT - 8.0) y=(pixels(height_of(*tick, top) + 4.0)) { (tick_text(*tick, shares)) }
                }
                @for (place, column) in columns.iter().enumerate().step_by(every) {
                    text class="middle" x=(pixels(LEFT + slot * (place as f64 + 0.5))) y=(BOTTOM + 20.0) { (column.label) }
                }
            }
            @for (place, column) in columns.iter().enumerate() {
                g class=[column.unfinished.then_some("unfinished")] {
                    (column_of(column, LEFT + slot * place as f64, slot, top, arrangement))
                }
            }
        }
    }
}

fn highest(columns: &[Column], arrangement: Arrangement) -> f64 {
    let of = |column: &Column| {
        let values = column.parts.iter().map(|mark| mark.value);
        let parts = match arrangement {
            Arrangement::Stacked => values.sum(),
            Arrangement::SideBySide => values.fold(0.0, f64::max),
        };
        column
            .whole
            .as_ref()
            .map_or(parts, |whole| whole.value.max(parts))
    };
    columns.iter().map(of).fold(0.0, f64::max)
}

fn column_of(column: &Column, left: f64, slot: f64, top: f64, arrangement: Arrangement) -> Markup {
    let (gap, width) = (slot * 0.14, slot * 0.72);
    let left = left + gap;
    let each = width / column.parts.len().max(1) as f64;
    let mut base = 0.0;
    let placed = column
        .parts
        .iter()
        .enumerate()
        .map(|(place, part)| match arrangement {
            Arrangement::Stacked => {
                let below = base;
                base += part.value;
                (part, left, width, below)
            }
            Arrangement::SideBySide => (part, left + each * place as f64, each * 0.9, 0.0),
        });
    let whole = column.whole.iter().map(|whole| (whole, left, width, 0.0));
    let marks = whole.chain(placed).filter(|(mark, ..)| mark.value > 0.0);
    html! {
        @for (part, left, width, base) in marks { (mark(part, left, width, base, top)) }
    }
}

fn mark(mark: &Mark, left: f64, width: f64, base: f64, top: f64) -> Markup {
    let (low, high) = (height_of(base, top), height_of(base + mark.value, top));
    // Something is never drawn as nothing.
    let height = (low - high).max(1.5);
    html! {
        a href=(mark.link) aria-label=(mark.label) {
            title { (mark.label) }
            rect class=(mark.class()) x=(pixels(left)) y=(pixels(low - height)) width=(pixels(width.max(0.4))) height=(pixels(height)) {}
        }
    }
}

fn height_of(value: f64, top: f64) -> f64 {
    BOTTOM - value / top * (BOTTOM - TOP)
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}

/// Round values from 0 to the highest one or a little more, a handful of them.
fn ticks(highest: f64, shares: bool) -> Vec<f64> {
    if !(highest > 0.0 && highest.is_finite()) {
        return vec![0.0, 1.0];
    }
    let rough = highest / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    // There is no half call.
    let step = if shares { step } else { step.max(1.0) };
    let count = (highest / step).ceil().clamp(1.0, 10.0) as usize;
    (0..=count).map(|place| step * place as f64).collect()
}

fn tick_text(tick: f64, shares: bool) -> String {
    if shares {
        let percent = tick * 100.0;
        return if (percent - percent.round()).abs() < 1e-6 {
            format!("{percent:.0} %")
        } else {
            format!("{percent:.1} %")
        };
    }
    super::format::count(tick.round() as i64)
}

/// A share with its confidence interval on a line from 0 to 1. It leads nowhere, the table beside it does.
pub(super) fn interval(label: &str, rate: f64, (low, high): (f64, f64)) -> Markup {
    const LENGTH: f64 = 440.0;
    let at = |share: f64| 10.0 + share.clamp(0.0, 1.0) * LENGTH;
    html! {
        svg class="chart interval" role="img" aria-label=(label) viewBox="0 0 460 64" {
            line class="grid" x1=(at(0.0)) x2=(at(1.0)) y1="24" y2="24" {}
            rect class="band" x=(pixels(at(low))) y="15" width=(pixels((at(high) - at(low)).max(2.0))) height="18" rx="4" {}
            circle class="c0" cx=(pixels(at(rate))) cy="24" r="7" {}
            @for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
                text class=(if share == 0.0 { "" } else if share == 1.0 { "end" } else { "middle" }) x=(at(share)) y="54" { (tick_text(share, true)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(ticks(0.0, false), [0.0, 1.0]);
        assert_eq!(ticks(1.0, false), [0.0, 1.0]);
        assert_eq!(ticks(7.0, false), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(tick_text(0.025, true), "2.5 %");
    }

    proptest! {
        #[test]
        fn every_value_is_within_the_ticks(highest in 1e-6f64..1e12, shares: bool) {
            let ticks = ticks(highest, shares);
            prop_assert!(*ticks.last().unwrap() >= highest * 0.999, "{ticks:?}");
            prop_assert!(ticks.len() <= 11);
        }
    }

    #[test]
    fn marks_are_links_with_names_and_markup_in_names_is_text() {
        let mark = |value| Mark {
            colour: Some(9),
            value,
            label: "<b>\"1".to_owned(),
            link: "/console/calls?a=1&b=2".to_owned(),
        };
        let column = Column {
            label: "<i>".to_owned(),
            unfinished: true,
            whole: Some(mark(3.0)),
            parts: vec![mark(1.0), mark(0.0)],
        };
        let svg = columns("t", &[column], Arrangement::Stacked, false).into_string();
        assert_eq!(
            svg.matches("<a ").count(),
            2,
            "nothing is drawn for nothing"
        );
        assert!(
            svg.contains("class=\"c1\"")
                && svg.contains("a=1&amp;b=2")
                && svg.contains("&lt;i&gt;"),
            "{svg}"
        );
        assert!(!svg.contains("<b>") && !svg.contains("<i>"));
    }
}
