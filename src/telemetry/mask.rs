//! Personal data in logs: enough of it to recognise, not enough to use.
//!
//! Every log line that may hold a phone number or an e-mail address goes through here. In doubt
//! something is masked: a number in a log is worth less than a person's number in the wrong hands.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"[^\s@<>"'`,;:()\[\]{}=/|…]+@[\w-]+(?:\.[\w-]+)*"#)
        .expect("the pattern is a constant and is tested")
});

/// Seven or more digits with what people write between them.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[+(]?\d(?:[ ().\-/\u{a0}]{0,3}\d){6,}")
        .expect("the pattern is a constant and is tested")
});

/// A date of these centuries, such as a phone number hardly looks like.
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^((?:19|20)\d{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?:\D|$)")
        .expect("the pattern is a constant and is tested")
});

/// An e-mail address with all but the first letter of its name hidden: `j…@example.com`.
pub fn mask_email(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((name, domain)) => {
            let first: String = name.chars().take(1).collect();
            format!("{first}…@{domain}")
        }
        None => "…".to_owned(),
    }
}

/// A phone number in whatever form, with all but its start and its last two digits hidden: `+14…34`.
pub fn mask_phone(phone: &str) -> String {
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    if digits.len() < 7 {
        return "…".to_owned();
    }
    let plus = if phone.trim_start().starts_with('+') {
        "+"
    } else {
        ""
    };
    format!("{plus}{}…{}", &digits[..2], &digits[digits.len() - 2..])
}

/// Free text with every e-mail address and everything that may be a phone number masked. Dates stay, and so
/// do digits inside of longer words, such as our ids.
pub fn mask_text(text: &str) -> Cow<'_, str> {
    let without_emails = match text.contains('@') {
        true => EMAIL.replace_all(text, |found: &Captures<'_>| mask_email(&found[0])),
        false => Cow::Borrowed(text),
    };
    // Most lines have neither: the searches would cost more than writing the line.
    if text.chars().filter(|c| c.is_numeric()).count() < 7 {
        return without_emails;
    }
    match mask_numbers(&without_emails) {
        Some(masked) => Cow::Owned(masked),
        None => without_emails,
    }
}

fn mask_numbers(text: &str) -> Option<String> {
    let mut masked = String::new();
    let (mut end, mut from) = (0, 0);
    while let Some(found) = NUMBER.find_at(text, from) {
        if let Some(date) = DATE.captures(found.as_str()) {
            // A number may follow it with but a blank between.
            from = found.start() + date[1].len();
            continue;
        }
        from = found.end();
        if is_inside_a_word(text, &found.range()) {
            continue;
        }
        masked.push_str(&text[end..found.start()]);
        masked.push_str(&mask_phone(found.as_str()));
        end = found.end();
    }
    (end > 0).then(|| masked + &text[end..])
}

fn is_inside_a_word(text: &str, found: &Range<usize>) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let before = text[..found.start].chars().next_back();
    let after = text[found.end..].chars().next();
    !text[found.start..].starts_with('+') && (before.is_some_and(joins) || after.is_some_and(joins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn personal_data_in_free_text_is_masked() {
        for (text, masked) in [
            ("no call for +14155551234 yet", "no call for +14…34 yet"),
            ("(415) 555-1234", "41…34"),
            ("call 0170 / 555 12 34!", "call 01…34!"),
            ("jane.doe@example.com, x", "j…@example.com, x"),
            ("mailto:josé@bücher.example", "mailto:j…@bücher.example"),
            (
                "/api/calls/agent/+14155551234?preference=last",
                "/api/calls/agent/+14…34?preference=last",
            ),
            (
                "no slot on 2026-05-06 415-555-1234",
                "no slot on 2026-05-06 41…34",
            ),
            ("0170-55-51234", "01…34"),
            ("2026-05-061234567", "20…67"),
        ] {
            assert_eq!(mask_text(text), masked);
        }
    }

    #[test]
    fn dates_ids_and_short_numbers_stay() {
        for text in [
            "2026-01-02T10:20:30Z",
            "2026-01-02 10:20:30",
            "from 2026-01-02 to 2026-01-03",
            "evt_01h2345678901",
            "550e8400-e29b-41d4-a716-446655440000",
            "HTTP 503 after 30 s",
            "nothing here",
        ] {
            assert_eq!(mask_text(text), text);
        }
    }

    #[test]
    fn what_is_too_short_to_mask_is_hidden_whole() {
        assert_eq!(mask_phone("12345"), "…");
        assert_eq!(mask_email("nobody"), "…");
    }

    proptest! {
        #[test]
        fn no_phone_number_comes_through(text in "[ a-z:]{0,10}", number in "\\+[1-9][0-9]{8,13}") {
            let masked = mask_text(&format!("{text}{number} end")).into_owned();
            prop_assert!(!masked.contains(&number));
        }

        #[test]
        fn any_text_is_masked_without_panicking(text: String) {
            let _ = mask_text(&text);
        }
    }
}
