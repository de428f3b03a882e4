//! Takes secrets out of what a server said.
//!
//! A server may repeat the token whole, in part (`token abcdef... is invalid`), or escaped for a URL, JSON or HTML. So the text is
//! looked at three times, each time with one more layer of escapes undone, and whatever shares a run of characters with a secret
//! is masked, together with any other long run that looks like a key.
//!
//! [`Client`](crate::Client) does so with every message that it passes on. Another implementation of
//! [`AddressBook`](crate::AddressBook) should do the same before it calls
//! [`Error::with_message`](crate::Error::with_message):
//!
//! ```
//! use wawp_contacts::{Error, ErrorKind, redact::Redactor};
//!
//! let redactor = Redactor::new("hunter2-secret").hiding("my-instance");
//! let said = redactor.clean("token hunter2-s... of my-instance is invalid");
//! assert_eq!(said, "token [redacted]... of [redacted] is invalid");
//! assert!(Error::new(ErrorKind::Unauthorized).with_message(&said).message().is_some());
//! ```

use std::{fmt, ops::Range};

use secrecy::{ExposeSecret, SecretString};

use crate::error::cut;

/// What a masked run is replaced by.
const MASK: &str = "[redacted]";
/// Of a secret, this many characters in a row give it away.
const TELLING: usize = 6;
/// A run of letters and digits this long is taken for a key.
const LONG: usize = 20;
/// Only the start of a text is looked at; it is cut shorter later.
const LOOKED_AT: usize = 2048;

/// Knows the secrets of one client.
pub struct Redactor {
    token: SecretString,
    whole: Vec<Box<str>>,
}

impl Redactor {
    /// Makes one that hides a token, and every six characters in a row that occur in it.
    #[must_use]
    pub fn new(token: impl Into<SecretString>) -> Self {
        Self { token: token.into(), whole: Vec::new() }
    }

    /// Hides another text as well, where it stands whole: the id of an instance, say.
    #[must_use]
    pub fn hiding(mut self, text: &str) -> Self {
        self.whole.push(text.into());
        self
    }

    /// The text without secrets, each replaced by `[redacted]`; at most its first 2,048 bytes.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let text = cut(text, LOOKED_AT);
        let mut masked = vec![false; text.len()];
        let mut view = View::of(text);
        for _ in 0..3 {
            let token = self.token.expose_secret();
            view.mask_common_runs(token.as_bytes(), token.len().min(TELLING), &mut masked);
            for whole in &self.whole {
                view.mask_common_runs(whole.as_bytes(), whole.len(), &mut masked);
            }
            view.mask_keys(&mut masked);
            view = view.unescaped();
        }
        replace_masked(text, &masked)
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

fn replace_masked(text: &str, masked: &[bool]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut inside = false;
    for (at, char) in text.char_indices() {
        let hidden = masked[at..at + char.len_utf8()].contains(&true);
        match (hidden, inside) {
            (true, false) => clean.push_str(MASK),
            (true, true) => {}
            (false, _) => clean.push(char),
        }
        inside = hidden;
    }
    clean
}

/// A text with some escapes undone: each byte with the place in the original that it stands for.
struct View(Vec<(u8, Range<usize>)>);

impl View {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().map(|(at, byte)| (byte, at..at + 1)).collect())
    }

    fn bytes(&self, from: usize, len: usize) -> Option<Vec<u8>> {
        Some(self.0.get(from..from + len)?.iter().map(|(byte, _)| *byte).collect())
    }

    fn mask(&self, run: Range<usize>, masked: &mut [bool]) {
        for (_, place) in &self.0[run] {
            masked[place.clone()].fill(true);
        }
    }

    /// Masks every run of at least `least` bytes that also occurs in the secret.
    fn mask_common_runs(&self, secret: &[u8], least: usize, masked: &mut [bool]) {
        if least == 0 || self.0.len() < least {
            return;
        }
        for from in 0..=self.0.len() - least {
            let window = self.0[from..from + least].iter().map(|(byte, _)| byte.to_ascii_lowercase());
            let found = secret.windows(least).any(|part| part.iter().map(u8::to_ascii_lowercase).eq(window.clone()));
            if found {
                self.mask(from..from + least, masked);
            }
        }
    }

    /// Masks long runs without a space that mix letters with digits, as keys do and words do not.
    fn mask_keys(&self, masked: &mut [bool]) {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=.~%".contains(&byte);
        let mut from = 0;
        while from < self.0.len() {
            let len = self.0[from..].iter().take_while(|(byte, _)| is_part(*byte)).count();
            let has = |test: fn(&u8) -> bool| self.0[from..from + len].iter().any(|(byte, _)| test(byte));
            if len >= LONG && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) {
                self.mask(from..from + len, masked);
            }
            from += len.max(1);
        }
    }

    /// One layer of escapes undone: `%2B`, `\u002b`, `\/`, `&#43;`, `&amp;`.
    fn unescaped(&self) -> Self {
        let mut view = Vec::with_capacity(self.0.len());
        let mut from = 0;
        while let Some((byte, place)) = self.0.get(from) {
            let (byte, len) = self.escape_at(from).unwrap_or((*byte, 1));
            let end = self.0[from + len - 1].1.end;
            view.push((byte, place.start..end));
            from += len;
        }
        Self(view)
    }

    /// The byte that an escape stands for, and the length of the escape.
    fn escape_at(&self, from: usize) -> Option<(u8, usize)> {
        match self.0[from].0 {
            b'%' => Some((self.number(from + 1, 2, 16)?, 3)),
            b'\\' => match self.bytes(from + 1, 1)?[0] {
                b'u' => Some((self.number(from + 2, 4, 16)?, 6)),
                byte @ (b'"' | b'\\' | b'/') => Some((byte, 2)),
                _ => None,
            },
            b'&' => self.entity_at(from),
            _ => None,
        }
    }

    fn entity_at(&self, from: usize) -> Option<(u8, usize)> {
        let len = self.0[from..].iter().take(8).position(|(byte, _)| *byte == b';')? + 1;
        let name = self.bytes(from + 1, len - 2)?;
        let byte = match name.as_slice() {
            b"amp" => b'&',
            b"lt" => b'<',
            b"gt" => b'>',
            b"quot" => b'"',
            b"apos" => b'\'',
            [b'#', b'x' | b'X', ..] => self.number(from + 3, len - 4, 16)?,
            [b'#', ..] => self.number(from + 2, len - 3, 10)?,
            _ => return None,
        };
        Some((byte, len))
    }

    fn number(&self, from: usize, len: usize, radix: u32) -> Option<u8> {
        let digits = String::from_utf8(self.bytes(from, len)?).ok()?;
        u8::from_str_radix(&digits, radix).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "s3cr+t/T0ken\"&<x";

    fn clean(text: &str) -> String {
        Redactor::new(TOKEN).hiding("WAWP-42").clean(text)
    }

    #[test]
    fn a_secret_goes_whatever_it_is_wrapped_in() {
        let spell = |escape: fn(u8) -> String| TOKEN.bytes().map(escape).collect::<Vec<_>>().concat();
        let percent = spell(|byte| format!("%{byte:02X}"));
        let lower = spell(|byte| format!("%{byte:02x}"));
        let unicode = spell(|byte| format!("\\u{byte:04x}"));
        let entities = spell(|byte| format!("&#{byte};"));
        let hex = spell(|byte| format!("&#x{byte:x};"));
        let form: String = url::form_urlencoded::byte_serialize(TOKEN.as_bytes()).collect();
        let twice = percent.replace('%', "%25");
        let json = serde_json::to_string(TOKEN).unwrap();
        for spelling in [TOKEN, &percent, &lower, &unicode, &entities, &hex, &form, &twice, &json, "s3cr+t\\/T0ken"] {
            let clean = clean(&format!("bad token {spelling}; try again"));
            assert!(clean.starts_with("bad token "), "{clean}");
            assert!(clean.contains("[redacted]") && !clean.contains("T0ken"), "{spelling} became {clean}");
            assert!(clean.ends_with("; try again"), "{clean}");
        }
    }

    #[test]
    fn part_of_a_secret_goes_too() {
        assert_eq!(clean("token s3cr+t... is invalid"), "token [redacted]... is invalid");
        assert_eq!(clean("token ***/T0KEN is invalid"), "token ***[redacted] is invalid");
    }

    #[test]
    fn the_instance_and_other_keys_go() {
        assert_eq!(
            clean("instance WAWP-42 of eyJhbGciOiJIUzI1NiIsInR5cCI6 is gone"),
            "instance [redacted] of [redacted] is gone"
        );
    }

    #[test]
    fn ordinary_words_stay() {
        let text = "Missing required parameter: firstName (chat 15551234567@c.us), naïve 例え 100 % &c;";
        assert_eq!(clean(text), text);
        assert_eq!(clean("subscription_required_for_this_feature"), "subscription_required_for_this_feature");
    }

    #[test]
    fn a_short_token_goes_whole() {
        assert_eq!(Redactor::new("t0k").hiding("i").clean("t0k: t0"), "[redacted]: t0");
    }

    #[test]
    fn its_debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Redactor::new(TOKEN).hiding("WAWP-42")), "Redactor { .. }");
    }

    proptest! {
        #[test]
        fn no_surroundings_save_a_secret(before in ".{0,40}", after in ".{0,40}") {
            let clean = clean(&format!("{before}{TOKEN}{after}"));
            prop_assert!(!clean.contains(TOKEN));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,200}", escapes in "(%|\\\\u|&#|&|;|[0-9a-f]){0,60}") {
            clean(&format!("{text}{escapes}"));
        }
    }
}
