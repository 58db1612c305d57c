//! Log lines as JSON objects, one a line: time, level, message, fields, target.
//!
//! Two lines are written for every event that goes through, so a line is put together as text in one go,
//! without a serializer between the fields and the text.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// See the module. Nothing here runs within spans, so none are shown.
#[derive(Debug, Default)]
pub(super) struct Lines {
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(512);
        let level = event.metadata().level();
        write!(
            line,
            "{{\"timestamp\":\"{:.6}\",\"level\":\"{level}\"",
            self.clock.now()
        )?;
        event.record(&mut Fields(&mut line));
        line.push_str(",\"target\":\"");
        Escaped(&mut line).write_str(event.metadata().target())?;
        line.push_str("\"}\n");
        writer.write_str(&line)
    }
}

/// Adds fields to an object.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        // A field's name is an identifier or a text in our own source: it is escaped all the same.
        let name = field.name();
        let _never_fails = Escaped(self.0).write_str(name.strip_prefix("r#").unwrap_or(name));
        self.0.push_str("\":");
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _never_fails = write!(self.0, "{value}");
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.name(field);
        self.0.push('"');
        let _broken = Escaped(self.0).write_fmt(value);
        self.0.push('"');
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.plain(field, "null");
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// Appends what is written to it as the inside of a JSON string.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest
            .bytes()
            .position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'\n' => self.0.push_str("\\n"),
                byte @ (b'"' | b'\\') => self.0.extend(['\\', char::from(byte)]),
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Value {
        let written = Written::default();
        let target = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Lines::default())
            .with_writer(move || target.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.0.lock().unwrap().clone();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_line_holds_time_level_message_fields_and_target() {
        let none: Option<u64> = None;
        let mut line = logged(|| {
            tracing::info!(
                target: "event.received",
                text = "a \"b\"\n\\\u{1}ä",
                shown = %"x\ty",
                number = 7_u64,
                below = -1_i64,
                share = 0.5,
                broken = f64::NAN,
                flag = true,
                absent = none,
                listed = ?["a"],
                "accepted"
            );
        });
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert_eq!(
            time.as_str().unwrap().len(),
            "2026-01-02T03:04:05.123456Z".len()
        );
        assert_eq!(
            line,
            json!({
                "level": "INFO", "message": "accepted", "target": "event.received",
                "text": "a \"b\"\n\\\u{1}ä", "shown": "x\ty", "number": 7, "below": -1, "share": 0.5,
                "broken": null, "flag": true, "listed": "[\"a\"]",
            })
        );
    }

    proptest! {
        #[test]
        fn any_text_stays_one_line_and_reads_back(text: String) {
            let line = logged(|| tracing::warn!(text, "x"));
            prop_assert_eq!(line["text"].as_str(), Some(text.as_str()));
        }
    }
}
