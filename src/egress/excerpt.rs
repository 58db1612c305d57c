//! What is kept of an answer for people to read: its beginning, printable, without secrets.

/// Characters kept.
const LONGEST: usize = 1_000;
/// Bytes looked at: enough for [`LONGEST`] characters of any kind and for a secret that begins among
/// them, so that it is seen whole.
const WINDOW: usize = 8_192;

/// The first part of `body` as printable text, after `scrub` has taken secrets out of it.
pub(crate) fn excerpt(body: &[u8], scrub: impl Fn(&str) -> String) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(WINDOW)]);
    printable(&scrub(&text))
}

/// The first part of `text`, with line breaks kept out of logs and escape sequences out of terminals.
pub(crate) fn printable(text: &str) -> String {
    let is_unprintable = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut kept: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if is_unprintable(c) { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        kept.push('…');
    }
    kept
}

/// A target as logs may show it: digits of phone numbers and mail addresses hidden.
pub(crate) struct MaskedTarget<'a>(pub(crate) &'a str);

impl std::fmt::Display for MaskedTarget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let is_edge = |c: char| matches!(c, '/' | '?' | '&' | '=' | ' ' | ',' | ';');
            let end = rest.find(is_edge).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            write_part(f, part)?;
            let edge = after.chars().next().map_or(0, char::len_utf8);
            f.write_str(&after[..edge])?;
            rest = &after[edge..];
        }
        Ok(())
    }
}

fn write_part(f: &mut std::fmt::Formatter<'_>, part: &str) -> std::fmt::Result {
    let digits = part.strip_prefix('+').or_else(|| strip_encoded_plus(part));
    let is_number = |text: &str| {
        text.len() >= 7
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || b"-(). ".contains(&b))
    };
    if let Some(number) = digits.filter(|number| is_number(number)) {
        let head = number.get(..2).unwrap_or_default();
        let tail = number.get(number.len() - 2..).unwrap_or_default();
        return write!(f, "+{head}…{tail}");
    }
    let at = part.find('@').or_else(|| part.find("%40"));
    match at {
        Some(at) => {
            let first = part.chars().next().filter(|_| at > 0);
            write!(
                f,
                "{}…{}",
                first.map(String::from).unwrap_or_default(),
                &part[at..]
            )
        }
        None => f.write_str(part),
    }
}

fn strip_encoded_plus(part: &str) -> Option<&str> {
    part.strip_prefix("%2B")
        .or_else(|| part.strip_prefix("%2b"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrub(text: &str) -> String {
        text.replace("sk_live_42", "[secret]")
    }

    #[test]
    fn secrets_and_control_characters_are_gone() {
        let body = b"\x1b[31mbad key sk_live_42\r\nand a tail\0\xff";
        assert_eq!(
            excerpt(body, scrub),
            " [31mbad key [secret]  and a tail \u{fffd}"
        );
    }

    #[test]
    fn a_secret_across_the_end_of_the_excerpt_is_hidden_too() {
        let body = format!("{}sk_live_42", "x".repeat(LONGEST - 3));
        assert!(!excerpt(body.as_bytes(), scrub).contains("sk_"));
    }

    #[test]
    fn long_answers_are_cut_with_a_mark() {
        let kept = excerpt(&[b'x'; 50_000], str::to_owned);
        assert_eq!(kept.chars().count(), LONGEST + 1);
        assert!(kept.ends_with('…'));
        assert_eq!(excerpt(b"short", str::to_owned), "short");
    }

    #[test]
    fn phones_and_addresses_in_targets_are_masked_and_ids_are_not() {
        for (target, shown) in [
            ("agent123/call456", "agent123/call456"),
            (
                "agent123/%2B14155551234?preference=last",
                "agent123/+14…34?preference=last",
            ),
            ("+14155551234", "+14…34"),
            ("ann.lee@example.com", "a…@example.com"),
            ("ann%40example.com/x", "a…%40example.com/x"),
            ("@x", "…@x"),
            (
                "550e8400-e29b-41d4-a716-446655440000",
                "550e8400-e29b-41d4-a716-446655440000",
            ),
            ("", ""),
        ] {
            assert_eq!(MaskedTarget(target).to_string(), shown, "{target}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_target_are_shown_without_panicking(body: Vec<u8>, target: String) {
            let shown = excerpt(&body, str::to_owned);
            prop_assert!(!shown.chars().any(char::is_control));
            let _ = MaskedTarget(&target).to_string();
        }
    }
}
