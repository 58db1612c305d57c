//! From text to a checked tree, within limits, by way of the crate's parser.
//!
//! The parser recurses and takes much stack for each level, so it gets a thread with plenty. That
//! happens when rules are loaded, never for an event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use cel::{Env, ParseErrors};

use super::compile::compile;
use super::span::Places;
use super::tree::Node;
use crate::mapping::cursor::TextMistake;
use crate::mapping::template::Vocabulary;

/// The most characters of an expression.
const MAX_CHARS: usize = 1_000;

/// The most brackets inside one another.
const MAX_BRACKETS: usize = 16;

/// The parser's own limit of nesting. Chains of `? :` nest without brackets.
const MAX_RECURSION: u16 = 40;

/// Stack of the parsing thread. An unoptimised build took 170 KB for a level of brackets and 37 KB
/// for a `+`; a thousand characters of the worst of both stay below half of this.
const STACK: usize = 64 << 20;

const HELP: &str =
    "in expressions write && for and, || for or, ! for not, == for equals, 'text' in quotes";

/// Reads an expression.
///
/// # Errors
/// Every mistake, each with its place in `text`.
pub(super) fn read(text: &str, vocabulary: Vocabulary<'_>) -> Result<Node, Vec<TextMistake>> {
    check_size(text).map_err(|mistake| vec![mistake])?;
    let whole = |message: String| vec![TextMistake::new(0..text.len(), message)];
    thread::scope(|scope| {
        let work = || catch_unwind(AssertUnwindSafe(|| parse(text, vocabulary)));
        let thread = thread::Builder::new()
            .name("expression".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| whole(format!("no thread to read the expression: {error}")))?;
        match thread.join() {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) | Err(panic) => {
                let why = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no reason given");
                Err(whole(format!(
                    "the parser of expressions broke down: {why}"
                )))
            }
        }
    })
}

fn check_size(text: &str) -> Result<(), TextMistake> {
    if text.trim().is_empty() {
        return Err(TextMistake::new(0..text.len(), "this expression is empty").help(HELP));
    }
    let count = text.chars().count();
    if count > MAX_CHARS {
        let message =
            format!("an expression of {count} characters; at most {MAX_CHARS} are allowed");
        return Err(TextMistake::new(0..text.len(), message).help("use rows, or several rules"));
    }
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKETS {
            let message = format!("more than {MAX_BRACKETS} brackets inside one another");
            return Err(TextMistake::new(at..at + 1, message).help("use rows, or several rules"));
        }
    }
    Ok(())
}

fn parse(text: &str, vocabulary: Vocabulary<'_>) -> Result<Node, Vec<TextMistake>> {
    // An environment without macros leaves `has(…)` and `x.all(…)` as they are written.
    let parser = Env::default()
        .parser()
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(true)
        .max_recursion_depth(MAX_RECURSION);
    match parser.parse_with_source_info(text) {
        Ok((tree, info)) => compile(&tree, &Places::new(text, info), vocabulary),
        Err(errors) => Err(vec![syntax_mistake(text, &errors)]),
    }
}

/// The first mistake only: the parser's others mostly follow from it.
fn syntax_mistake(text: &str, errors: &ParseErrors) -> TextMistake {
    let Some(first) = errors.errors.first() else {
        return TextMistake::new(0..text.len(), "not an expression").help(HELP);
    };
    let start = at(text, first.pos);
    let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
    let message = match first.msg.split_once(" expecting ") {
        Some((what, _tokens)) => what,
        None => &first.msg,
    };
    let message = if message == "UNKNOWN" {
        "nested too deeply"
    } else {
        message
    };
    TextMistake::new(start..end, format!("expression: {message}")).help(HELP)
}

/// The byte at a line and column, both counted from 1.
fn at(text: &str, (line, column): (isize, isize)) -> usize {
    let (Ok(line), Ok(column)) = (usize::try_from(line - 1), usize::try_from(column - 1)) else {
        return 0;
    };
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[start..];
    let inside = rest
        .char_indices()
        .nth(column)
        .map_or(rest.len(), |(at, _)| at);
    start + inside
}
