//! How far calls came: call, booked, shown, closed.

use maud::{Markup, html};

use super::{Answers, Asked};
use crate::http::console::chart::{self, Bar, Mark};
use crate::http::console::format;
use crate::store::Stage;

pub(super) fn section(asked: &Asked, answers: &Answers) -> Markup {
    let stages = &answers.funnel.stages;
    let whole = stages.first().map_or(0, |stage| stage.calls);
    let bar = |stage: &Stage| Bar {
        name: stage.name.to_owned(),
        text: if asked.shares {
            format::share(stage.rate)
        } else {
            format::count(stage.calls)
        },
        mark: Mark {
            colour: Some(0),
            value: stage.calls as f64,
            label: format!(
                "{} of {}, {}",
                format::count(stage.calls),
                format::calls(whole),
                format::share(stage.rate)
            ),
            link: asked.calls(&stage.behind, asked.scope.period),
        },
    };
    let bars: Vec<Bar> = stages.iter().map(bar).collect();
    html! {
        section class="card" aria-labelledby="funnel" {
            h2 id="funnel" { "Funnel" }
            div class="scroll" { (chart::bars("Funnel, as bars; the table has the same numbers", &bars)) }
            div class="scroll" tabindex="0" role="region" aria-label="Funnel, table" {
                table id="stages" {
                    caption { "How far calls came" }
                    thead { tr {
                        th scope="col" { "Stage" }
                        th scope="col" class="num" { "Calls" }
                        th scope="col" class="num" { "Of all" }
                        th scope="col" class="num" { "Of the stage before" }
                    } }
                    tbody {
                        @for stage in stages {
                            tr {
                                th scope="row" { (stage.name) }
                                td class="num" { (asked.number(stage.calls, &stage.behind, asked.scope.period)) }
                                td class="num" { (format::share(stage.rate)) }
                                td class="num" { (format::share(stage.of_previous)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
