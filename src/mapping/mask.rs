//! Hides phone numbers and e-mail addresses in text that goes to logs.

/// The fewest digits that can be a phone number.
const MIN_DIGITS: usize = 7;

/// Hides what looks like a phone number or an e-mail address, all but its ends. Dates stay. A long
/// id of nothing but digits looks like a phone number, too, and is hidden as well.
pub fn mask(text: &str) -> String {
    mask_numbers(&mask_addresses(text))
}

fn mask_addresses(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let name_start = before
            .char_indices()
            .rev()
            .take_while(|(_, c)| is_address_char(*c))
            .last()
            .map_or(before.len(), |(start, _)| start);
        let name = &before[name_start..];
        masked.push_str(&before[..name_start]);
        let host = after
            .split(|c| !is_address_char(c))
            .next()
            .unwrap_or_default();
        if !name.is_empty() && !name.ends_with('.') && !host.is_empty() {
            masked.extend(name.chars().take(1));
            masked.push('…');
        } else {
            masked.push_str(name);
        }
        masked.push('@');
        rest = after;
    }
    masked.push_str(rest);
    masked
}

fn is_address_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_' | '%')
}

fn mask_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit() || c == '+' || c == '(') {
        let (before, here) = rest.split_at(start);
        masked.push_str(before);
        let number = number_at(here);
        let length = number.len().max(1);
        let after = &here[length..];
        let part_of_word = masked.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            || after.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let digits: Vec<char> = number.chars().filter(char::is_ascii_digit).collect();
        if digits.len() < MIN_DIGITS || part_of_word || is_date(number) {
            masked.push_str(&here[..length]);
        } else {
            if number.starts_with('+') {
                masked.push('+');
            }
            masked.extend(&digits[..2]);
            masked.push('…');
            masked.extend(&digits[digits.len() - 2..]);
        }
        rest = after;
    }
    masked.push_str(rest);
    masked
}

/// The number that begins here: digits with separators between them.
fn number_at(text: &str) -> &str {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c.is_ascii_digit() {
            end = at + 1;
        } else if at > end + 1 || !matches!(c, '+' | '(' | ')' | '-' | '.' | ' ' | '/') {
            // Two separators in a row still belong to a number: `(415) 555`.
            break;
        }
    }
    &text[..end]
}

fn is_date(number: &str) -> bool {
    let bytes = number.as_bytes();
    bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[..4].is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_numbers_and_addresses_keep_their_ends_only() {
        for (text, masked) in [
            ("\"+14155557777\" at", "\"+14…77\" at"),
            ("(415) 555-7777.", "41…77."),
            ("020 7946 0958", "02…58"),
            ("ada.l@example.com wrote", "a…@example.com wrote"),
            ("2026-11-19T10:00:00Z", "2026-11-19T10:00:00Z"),
            (
                "id 12345, in_1MtHbELkdIwHu7ix",
                "id 12345, in_1MtHbELkdIwHu7ix",
            ),
            ("event.@type = 5", "event.@type = 5"),
            ("", ""),
            ("a@", "a@"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    proptest::proptest! {
        #[test]
        fn masking_any_text_ends(text in "[ -~é@+0-9]{0,60}") {
            mask(&text);
        }

        #[test]
        fn no_phone_number_survives(digits in "[2-9][0-9]{9}", before in "[ =\"]", after in "[ ,\"]") {
            let text = format!("{before}+1{digits}{after}");
            proptest::prop_assert!(!mask(&text).contains(&digits));
        }
    }
}
