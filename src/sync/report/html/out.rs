//! Writes HTML in which only this crate's own literals are markup.

use std::{
    fmt::{self, Display, Formatter, Write},
    time::Duration,
};

use super::super::is_invisible;
use crate::{ChatId, iso8601, time::Timestamp};

/// Of one text, so many characters are shown; no name that a person can read is longer.
const LONGEST: usize = 300;

/// Writes a page: each literal is markup, each expression in parentheses is text, and so escaped.
macro_rules! html {
    ($out:ident) => { Ok::<(), std::fmt::Error>(()) };
    ($out:ident $markup:literal $($rest:tt)*) => {{ $out.markup($markup)?; html!($out $($rest)*) }};
    ($out:ident ($text:expr) $($rest:tt)*) => {{ $out.text(&$text)?; html!($out $($rest)*) }};
}
pub(super) use html;

/// Where a page is written to. Markup is `'static`, so nothing that came from outside can be any.
pub(super) struct Out<'a, 'b>(pub(super) &'a mut Formatter<'b>);

impl Out<'_, '_> {
    pub(super) fn markup(&mut self, markup: &'static str) -> fmt::Result {
        self.0.write_str(markup)
    }

    /// Writes text, harmless wherever it stands: between tags, or in an attribute in quotes.
    pub(super) fn text(&mut self, text: &dyn Display) -> fmt::Result {
        let mut escaper = Escaper { to: self.0, left: LONGEST };
        // An error says that the text was longer, or that the page cannot be written; that shows again at once.
        if write!(escaper, "{text}").is_err() && escaper.left == 0 { self.markup("…") } else { Ok(()) }
    }

    /// Writes a name so that its direction is its own and turns nothing around it.
    pub(super) fn name(&mut self, name: &str) -> fmt::Result {
        html!(self "<bdi dir=\"auto\">" (name) "</bdi>")
    }

    /// Writes a name, and marks the words in which it differs from another one.
    pub(super) fn name_beside(&mut self, name: &str, other: &str) -> fmt::Result {
        match changed(name, other) {
            ["", _, ""] | [_, "", _] => self.name(name),
            [front, middle, back] => {
                html!(self "<bdi dir=\"auto\">" (front) "<mark>" (middle) "</mark>" (back) "</bdi>")
            }
        }
    }

    pub(super) fn each<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> fmt::Result,
    ) -> fmt::Result {
        items.into_iter().try_for_each(|item| write(self, item))
    }
}

struct Escaper<'a, 'b> {
    to: &'a mut Formatter<'b>,
    left: usize,
}

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|char| {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match char {
                '&' => self.to.write_str("&amp;"),
                '<' => self.to.write_str("&lt;"),
                '>' => self.to.write_str("&gt;"),
                '"' => self.to.write_str("&quot;"),
                '\'' => self.to.write_str("&#39;"),
                // The joiners hold emoji together and shape Persian and Indian names; they move nothing.
                '\u{200c}' | '\u{200d}' => self.to.write_char(char),
                _ if char.is_control() || is_invisible(char) => write!(self.to, "{}", char.escape_unicode()),
                _ => self.to.write_char(char),
            }
        })
    }
}

/// The words of a text that another one has too at its front, those that differ, and those that it has too at its back.
fn changed<'a>(text: &'a str, other: &str) -> [&'a str; 3] {
    let words = text.split_inclusive(' ').zip(other.split_inclusive(' '));
    let same = words.take_while(|(one, two)| one.trim_end() == two.trim_end());
    let (front, other_front) = same.fold((0, 0), |(one, two), (a, b)| (one + a.len(), two + b.len()));
    let (front, rest) = text.split_at(front);
    let words = rest.rsplit(' ').zip(other[other_front..].rsplit(' '));
    let back: usize = words.take_while(|(one, two)| one == two).map(|(word, _)| word.len() + 1).sum();
    let middle = rest[..rest.len().saturating_sub(back)].len();
    let (middle, back) = rest.split_at(middle);
    [front, middle, back]
}

/// A whole number with its thousands apart: `5,000`.
pub(super) struct Count(pub(super) u64);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A count with its noun: `1 call`, `2 calls`.
pub(super) struct Many(pub(super) u64, pub(super) &'static str, pub(super) &'static str);

impl Display for Many {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Count(self.0), if self.0 == 1 { self.1 } else { self.2 })
    }
}

/// A person's number as people write it: `+1 202 555 0142`. A privacy id is no number.
pub(super) struct Number<'a>(pub(super) &'a ChatId);

impl Display for Number<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let id = self.0.as_str();
        let digits = id.split_once('@').map_or(id, |(digits, _)| digits);
        if self.0.is_lid() {
            return write!(f, "privacy id {digits}");
        }
        let country = country_code(digits);
        write!(f, "+{}", &digits[..country])?;
        let mut rest = &digits[country..];
        while !rest.is_empty() {
            // No digit stands alone at the end.
            let (group, after) = rest.split_at(if rest.len() == 4 { 4 } else { rest.len().min(3) });
            write!(f, " {group}")?;
            rest = after;
        }
        Ok(())
    }
}

/// How many digits of a number are its country code.
fn country_code(digits: &str) -> usize {
    let two = digits.get(..2).and_then(|two| two.parse().ok()).unwrap_or(0);
    let len = match two {
        10..=19 | 70..=79 => 1,
        20 | 27 | 30..=34 | 36 | 39..=41 | 43..=49 | 51..=58 | 60..=66 | 81 | 82 | 84 | 86 | 90..=95 | 98 => 2,
        _ => 3,
    };
    len.min(digits.len())
}

/// A time span in its two largest units: `5 min 20 s`.
pub(super) struct Span(pub(super) Duration);

impl Span {
    pub(super) fn of_seconds(seconds: f64) -> Self {
        Self(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs().saturating_add(u64::from(self.0.subsec_millis() >= 500));
        match seconds {
            0 => f.write_str("less than a second"),
            1..60 => write!(f, "{seconds} s"),
            60..3_600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{} h {} min", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", Count(seconds / 86_400), seconds / 3_600 % 24),
        }
    }
}

/// A moment as people read it: `21 Nov 2026, 09:30:00 UTC`.
pub(super) struct Moment(pub(super) Timestamp);

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let seconds = self.0.0 / 1_000;
        let (year, month, date) = iso8601::date(seconds / 86_400);
        let name = MONTHS.into_iter().zip(1..).find(|(_, n)| *n == month).map_or("", |(name, _)| name);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{date} {name} {year}, {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// What stands in the circle beside a name: the first letters of its first and last word, without the tag.
pub(super) fn initials(name: &str) -> String {
    let is_tag = |word: &&str| word.starts_with(['[', '(', '{']) || word.ends_with([']', ')', '}']);
    let letter = |word: &str| word.chars().next().filter(|char| char.is_alphanumeric());
    let mut letters = name.split_whitespace().filter(|word| !is_tag(word)).filter_map(letter);
    let Some(first) = letters.next() else { return "#".into() };
    let is_cased = |char: char| char.is_uppercase() || char.is_lowercase();
    // Two letters of a script that joins them would be a word that is none.
    let last = letters.next_back().filter(|last| is_cased(first) && is_cased(*last));
    first.to_uppercase().chain(last.into_iter().flat_map(char::to_uppercase)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_groups_behind_its_country() {
        for (digits, shown) in [
            ("12025550142", "+1 202 555 0142"),
            ("447700900123", "+44 770 090 0123"),
            ("79161234567", "+7 916 123 4567"),
            ("5511961247467", "+55 119 612 474 67"),
            ("97455512345", "+974 555 123 45"),
            ("4930123456", "+49 301 234 56"),
        ] {
            let chat: ChatId = format!("{digits}@c.us").parse().unwrap();
            assert_eq!(Number(&chat).to_string(), shown);
        }
        let lid: ChatId = "123456789012345@lid".parse().unwrap();
        assert_eq!(Number(&lid).to_string(), "privacy id 123456789012345");
    }

    #[test]
    fn counts_spans_and_moments_read_as_people_write_them() {
        for (count, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Count(count).to_string(), shown);
        }
        for (seconds, shown) in [
            (0.2, "less than a second"),
            (4.04, "4 s"),
            (59.6, "1 min 0 s"),
            (3_725.0, "1 h 2 min"),
            (200_000.0, "2 d 7 h"),
            (-1.0, "less than a second"),
        ] {
            assert_eq!(Span::of_seconds(seconds).to_string(), shown);
        }
        for seconds in [f64::NAN, f64::INFINITY, f64::MAX] {
            assert!(!Span::of_seconds(seconds).to_string().is_empty());
        }
        for (millis, shown) in [
            (0, "1 Jan 1970, 00:00:00 UTC"),
            (951_782_400_000, "29 Feb 2000, 00:00:00 UTC"),
            (1_700_000_000_000, "14 Nov 2023, 22:13:20 UTC"),
            (1_798_761_599_999, "31 Dec 2026, 23:59:59 UTC"),
        ] {
            assert_eq!(Moment(Timestamp(millis)).to_string(), shown);
        }
        assert!(!Moment(Timestamp::MAX).to_string().is_empty());
    }

    #[test]
    fn the_words_that_differ_are_found_at_either_end() {
        for (text, other, parts) in [
            ("Bob Ray [Lead]", "Bob Ray [Hot]", ["Bob Ray ", "[Lead]", ""]),
            ("[Lead] Bob", "[Hot] Bob", ["", "[Lead]", " Bob"]),
            ("Bob", "Bob [Lead]", ["Bob", "", ""]),
            ("Bob [Lead]", "Bob", ["Bob ", "[Lead]", ""]),
            ("Ann B Cole", "Ann X Cole", ["Ann ", "B", " Cole"]),
            ("Bob", "Bob", ["Bob", "", ""]),
            ("", "Bob", ["", "", ""]),
            ("a a", "a", ["a ", "a", ""]),
            ("é é", "é", ["é ", "é", ""]),
        ] {
            assert_eq!(changed(text, other), parts, "{text:?} beside {other:?}");
        }
    }

    #[test]
    fn initials_leave_out_the_tag_and_join_no_letters() {
        for (name, shown) in [
            ("Bob Ray [Lead]", "BR"),
            ("[Hot Lead] ann", "A"),
            ("Mary Jane Watson", "MW"),
            ("محمد علي", "م"),
            ("🌵 cactus", "C"),
            ("🌵", "#"),
            ("", "#"),
            ("<script>", "#"),
        ] {
            assert_eq!(initials(name), shown, "{name}");
        }
    }
}
