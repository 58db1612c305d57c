//! Shows a trace as text, for people.

use std::fmt::Write;

use super::mask::mask;
use super::trace::{GroupKind, Origin, RowStep, SetStep, Step, Trace};

/// Whether phone numbers and e-mail addresses are shown whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personal {
    /// As they are.
    Shown,
    /// All but their ends hidden.
    Masked,
}

impl Trace {
    /// The trace as lines of text.
    pub fn to_text(&self, personal: Personal) -> String {
        let mut text = String::new();
        for step in &self.steps {
            // Writing to a `String` cannot fail.
            let _ = write_step(&mut text, step);
        }
        if self.cut {
            text.push_str("… further steps were left out\n");
        }
        match personal {
            Personal::Shown => text,
            Personal::Masked => mask(&text),
        }
    }
}

fn write_step(text: &mut String, step: &Step) -> std::fmt::Result {
    match step {
        Step::Item(n) => writeln!(text, "item {n}"),
        Step::Rule(id) => writeln!(text, "rule {id}"),
        Step::Row(row) => write_row(text, row),
        Step::Group(group) => {
            let kind = match group.kind {
                GroupKind::Any => "any of",
                GroupKind::All => "all of",
                GroupKind::Not => "not",
            };
            writeln!(text, "{}{} {kind}", indent(group.depth), mark(group.held))
        }
        Step::Matched => writeln!(text, "  → matched"),
        Step::Set(set) => write_set(text, set),
        Step::Unset { name, nothing_at } => {
            let paths: Vec<&str> = nothing_at.iter().map(|path| &**path).collect();
            writeln!(text, "  · {name} not set: nothing at {}", paths.join(", "))
        }
        Step::Warning(why) => writeln!(text, "  ! {why}"),
        Step::Note(note) => writeln!(text, "  · {note}"),
        Step::Fact(fact) => writeln!(text, "  → {fact}"),
        Step::Decision {
            disposition,
            reason,
        } => writeln!(text, "→ {disposition}: {reason}"),
    }
}

fn indent(depth: u8) -> String {
    "  ".repeat(usize::from(depth) + 1)
}

fn mark(held: bool) -> char {
    if held { '✓' } else { '✗' }
}

fn write_row(text: &mut String, row: &RowStep) -> std::fmt::Result {
    let said = format!(
        "{}{} {} {}",
        indent(row.depth),
        mark(row.held),
        row.field,
        row.test
    );
    let found = row.found.as_deref().unwrap_or("nothing there");
    writeln!(text, "{said:<44} (found {found})")
}

fn write_set(text: &mut String, set: &SetStep) -> std::fmt::Result {
    write!(text, "  = {} = {}", set.name, set.value)?;
    if !set.from.is_empty() {
        let from: Vec<String> = set.from.iter().map(origin).collect();
        write!(text, "   (from {})", from.join(", "))?;
    }
    writeln!(text)
}

fn origin(origin: &Origin) -> String {
    let mut text = origin.path.to_string();
    if let Some(found) = &origin.found {
        text.push_str(" = ");
        text.push_str(found);
    }
    if !origin.functions.is_empty() {
        text.push(' ');
        text.push_str(&origin.functions);
    }
    text
}
