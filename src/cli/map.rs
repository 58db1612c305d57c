//! `map`: what a source's rules make of a saved event. Nothing is stored or sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::ConfigArgs;
use super::exit::{Exit, Failure};
use super::moment::told;
use super::terminal::Output;
use crate::clock::Clock;
use crate::config::Env;
use crate::http::EventDocument;
use crate::mapping::{Personal, Trace};
use crate::model::{EventId, Fact, SourceName};
use crate::processing::Processor;
use crate::queue::{Mark, Processed, StoredEvent};
use crate::setup::{Blueprint, Loaded};

/// Run a source's rules over a saved event.
#[derive(Debug, clap::Args)]
pub(super) struct Map {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source whose rules are asked.
    #[arg(long)]
    source: SourceName,
    /// Tell every rule asked, every row, every value.
    #[arg(long)]
    explain: bool,
    /// A header of the request, as `name: value`, in place of a saved event's; may be given several times.
    #[arg(long, value_name = "HEADER", value_parser = header)]
    header: Vec<(String, String)>,
    /// The query string of the request, in place of a saved event's.
    #[arg(long)]
    query: Option<String>,
    /// What the vendor's API would answer: a JSON object with a body for each look-up by its name (of a batch a
    /// list with one such object for each item). Nothing is asked; what is not there does not exist.
    #[arg(long, value_name = "FILE")]
    lookup: Option<PathBuf>,
    /// A body, or an event saved by `events show ID --save FILE`; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Map {
    pub(super) fn run(self, output: &Output) -> Result<Exit, Failure> {
        let Loaded {
            blueprint,
            warnings,
            ..
        } = Blueprint::load(&self.config.config, &Env::system()).map_err(Failure::Mistakes)?;
        output.diagnostics(&warnings);
        if !blueprint.sources.contains_key(self.source.as_str()) {
            let known: Vec<_> = blueprint.sources.keys().map(SourceName::as_str).collect();
            return Err(Failure::Usage(format!(
                "there is no source `{}` in the configuration (known: {})",
                self.source,
                known.join(", ")
            )));
        }
        let event = self.event()?;
        let mut processor = Processor::new(blueprint.sources, blueprint.routes, Clock::system());
        if let Some(file) = &self.lookup {
            processor = processor.with_answers(answers(file)?);
        }
        let processed = processor.process(&event);
        if output.is_json() {
            output.json(&as_json(&processed, self.explain));
        } else {
            output.text(&as_text(&processed, self.explain));
        }
        Ok(Exit::Done)
    }

    fn event(&self) -> Result<StoredEvent, Failure> {
        let bytes = read(&self.file)?;
        if let Some(document) = saved(&bytes) {
            return self.stored(document);
        }
        let now = Clock::system().now();
        Ok(StoredEvent {
            id: EventId::first_at(Clock::system().now_millis()),
            source: self.source.clone(),
            received_at: now,
            event_type: None,
            headers: self.header.clone(),
            query: self.query.clone().unwrap_or_default(),
            body: bytes.into(),
            mark: Mark::default(),
        })
    }

    fn stored(&self, document: EventDocument) -> Result<StoredEvent, Failure> {
        let mut headers = document.headers.clone();
        replace(&mut headers, &self.header);
        Ok(StoredEvent {
            id: document.id,
            source: self.source.clone(),
            received_at: document.received_at,
            event_type: None,
            headers,
            query: self.query.clone().unwrap_or(document.query.clone()),
            body: Bytes::from(document.into_body().map_err(Failure::of)?),
            mark: Mark::default(),
        })
    }
}

/// Reads a header from the command line: its name in lower case, and its value.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write `name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

/// Puts the `given` headers in place of all that have their names.
pub(super) fn replace(headers: &mut Vec<(String, String)>, given: &[(String, String)]) {
    headers.retain(|(name, _)| given.iter().all(|(own, _)| own != name));
    headers.extend_from_slice(given);
}

fn answers(file: &Path) -> Result<Value, Failure> {
    serde_json::from_slice(&read(file)?)
        .map_err(|error| Failure::Failed(format!("{} is not JSON: {error}", file.display())))
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|content| bytes = content)
    };
    read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", file.display())))?;
    Ok(bytes)
}

/// The document that `events show --save` writes, if it is one.
fn saved(bytes: &[u8]) -> Option<EventDocument> {
    serde_json::from_slice::<EventDocument>(bytes)
        .ok()
        .filter(|document| document.format == EventDocument::FORMAT)
}

/// What is kept of the processing, read back.
fn story(processed: &Processed) -> Value {
    serde_json::from_slice(&processed.trace).unwrap_or(Value::Null)
}

fn as_json(processed: &Processed, explain: bool) -> Value {
    let story = story(processed);
    let mut value = json!({
        "disposition": processed.disposition,
        "reason": processed.reason,
        "facts": processed.facts,
        "routing": story["routing"],
    });
    if !story["withheld"].is_null() {
        value["withheld"] = story["withheld"].clone();
    }
    if explain {
        value["trace"] = story["rules"].clone();
        value["lookups"] = story["lookups"].clone();
    }
    value
}

fn as_text(processed: &Processed, explain: bool) -> String {
    let story = story(processed);
    let mut text = String::new();
    if explain {
        crate::story::lookups(&mut text, &story["lookups"]);
    }
    if explain && let Ok(trace) = serde_json::from_value::<Trace>(story["rules"].clone()) {
        text.push_str(&trace.to_text(Personal::Shown));
        text.push('\n');
    }
    let word = processed
        .disposition
        .map_or("-", crate::model::Disposition::as_str);
    text.push_str(&format!("{word}: {}\n", processed.reason));
    for fact in &processed.facts {
        text.push_str(&format!("  {}\n", tell(fact)));
    }
    for routed in story["routing"].as_array().into_iter().flatten() {
        let target = routed["target"].as_str().map_or_else(
            || format!("no address: {}", Output::cell(&routed["unresolved"])),
            str::to_owned,
        );
        text.push_str(&format!(
            "  → {} {target}\n",
            Output::cell(&routed["destination"])
        ));
    }
    for withheld in story["withheld"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  · not to {}: {}\n",
            Output::cell(&withheld["destination"]),
            Output::cell(&withheld["why"])
        ));
    }
    text
}

/// A fact in one line.
fn tell(fact: &Fact) -> String {
    match fact {
        Fact::Outcome(outcome) => {
            let worth = outcome
                .value
                .as_ref()
                .map(|v| format!(" worth {v}"))
                .unwrap_or_default();
            format!(
                "{}{worth} at {} (rule {})",
                outcome.kind,
                told(outcome.occurred_at),
                outcome.rule
            )
        }
        Fact::Retraction(retraction) => {
            format!(
                "takes back {} up to {} (rule {})",
                retraction.kind,
                told(retraction.occurred_at),
                retraction.rule
            )
        }
        Fact::Appointment(fact) => format!(
            "appointment {} at {} (rule {})",
            fact.change.as_str(),
            told(fact.occurred_at),
            fact.rule
        ),
        Fact::Release(fact) => format!("releases corrections up to {}", told(fact.occurred_at)),
        Fact::Call(fact) => format!(
            "call {} at {} (rule {})",
            fact.change.as_str(),
            told(fact.occurred_at),
            fact.rule
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppointmentChange, AppointmentFact, CallChange, CallFact, Subject};

    #[test]
    fn a_given_header_takes_the_place_of_every_one_of_its_name() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect()
        };
        let mut headers = pairs(&[("a", "1"), ("b", "2"), ("a", "3")]);
        replace(&mut headers, &[header("A: new: er ").unwrap()]);
        assert_eq!(headers, pairs(&[("b", "2"), ("a", "new: er")]));
        assert!(header("nothing").is_err());
    }

    #[test]
    fn facts_are_told_with_the_words_of_the_rules_and_moments_as_they_are() {
        let at: jiff::Timestamp = "2026-11-21T22:59:21.16Z".parse().unwrap();
        let appointment = Fact::Appointment(AppointmentFact {
            change: AppointmentChange::NoShowMarked,
            subject: Subject::default(),
            occurred_at: at,
            start: None,
            end: None,
            metadata: serde_json::Map::new(),
            rule: "Missed".to_owned(),
        });
        let call = Fact::Call(CallFact {
            change: CallChange::Analyzed,
            subject: Subject::default(),
            occurred_at: at,
            start: None,
            end: None,
            metadata: serde_json::Map::new(),
            rule: "heard".to_owned(),
        });
        let at = told(at);
        assert_eq!(
            (tell(&appointment), tell(&call)),
            (
                format!("appointment no_show_marked at {at} (rule Missed)"),
                format!("call analyzed at {at} (rule heard)")
            )
        );
    }
}
