use std::borrow::Cow;

use unicode_normalization::{
    UnicodeNormalization,
    char::{canonical_combining_class, is_combining_mark},
};
use unicode_segmentation::UnicodeSegmentation;

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// Cleans what people and exports put into a name, and changes nothing that can be seen.
///
/// - White space is trimmed, and every run of it (with line breaks, non-breaking spaces and blank letters such as the Hangul filler)
///   becomes one space.
/// - Control characters, zero-width characters and everything that turns the direction of text go.
/// - Joiners stay where a script or an emoji needs them, by the rules for domain names (RFC 5892): ZWJ between two emoji, ZWJ and
///   ZWNJ behind a virama, ZWNJ between two letters of a joining script, as in Persian.
/// - Combining marks and variation selectors stay, unless there is nothing in front of them to sit on.
/// - The rest is put into NFC, so that one name has one spelling.
///
/// Cleaning twice is cleaning once. A clean name is borrowed.
///
/// ```
/// use wawp_contacts::naming::clean;
///
/// assert_eq!(clean("  Zoe\u{308} \u{a0}\u{202e}Smith\u{200b}\n"), "Zoë Smith");
/// assert_eq!(clean("👩\u{200d}👧"), "👩\u{200d}👧");
/// ```
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if is_clean_ascii(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let cleaned: String = sift(text).nfc().collect();
    if cleaned == text { Cow::Borrowed(text) } else { Cow::Owned(cleaned) }
}

fn is_clean_ascii(bytes: &[u8]) -> bool {
    let mut after_space = true;
    for byte in bytes {
        let space = *byte == b' ';
        if (space && after_space) || !(space || byte.is_ascii_graphic()) {
            return false;
        }
        after_space = space;
    }
    bytes.is_empty() || !after_space
}

fn sift(text: &str) -> String {
    let mut sieve = Sieve { kept: String::with_capacity(text.len()), space: false, joiner: None };
    text.chars().for_each(|character| sieve.take(character));
    sieve.kept
}

struct Sieve {
    kept: String,
    /// A space is due before the next character.
    space: bool,
    /// A joiner that stays only if the next character needs it.
    joiner: Option<char>,
}

impl Sieve {
    fn take(&mut self, character: char) {
        if is_blank(character) {
            self.space = !self.kept.is_empty();
            self.joiner = None;
        } else if matches!(character, ZWNJ | ZWJ) {
            self.take_joiner(character);
        } else if !is_junk(character) && self.has_its_base(character) {
            self.settle_joiner(character);
            self.kept.extend(std::mem::take(&mut self.space).then_some(' '));
            self.kept.push(character);
        }
    }

    fn take_joiner(&mut self, joiner: char) {
        if self.space {
            return;
        }
        // The order of marks is not yet canonical, so the virama need not be the last.
        let mut marks = self.kept.chars().rev().take_while(|mark| is_combining_mark(*mark));
        if marks.any(is_virama) {
            self.kept.push(joiner);
        } else {
            self.joiner = Some(joiner);
        }
    }

    fn settle_joiner(&mut self, next: char) {
        let needed = match self.joiner {
            Some(ZWJ) => self.ends_in_emoji() && is_pictograph(next),
            Some(_) => self.ends_in_joining_letter() && is_of_joining_script(next) && is_letter(next),
            None => false,
        };
        self.kept.extend(self.joiner.take().filter(|_| needed));
    }

    /// Marks do not count: NFC may put them into another order.
    fn ends_in_joining_letter(&self) -> bool {
        self.kept.trim_end_matches(is_combining_mark).ends_with(is_of_joining_script)
    }

    fn ends_in_emoji(&self) -> bool {
        let emoji = self.kept.trim_end_matches(['\u{FE0F}', '🏻', '🏼', '🏽', '🏾', '🏿']);
        emoji.chars().next_back().is_some_and(is_pictograph)
    }

    /// Whether the character in front lets this one mean something.
    fn has_its_base(&self, character: char) -> bool {
        let base = if self.space { None } else { self.kept.chars().next_back() };
        match character {
            // The letters of a flag such as that of Scotland.
            '\u{E0020}'..='\u{E007F}' => base.is_some_and(|base| matches!(base, '🏴' | '\u{E0020}'..='\u{E007F}')),
            // The vowel separator of Mongolian.
            '\u{180E}' => base.is_some_and(|base| matches!(base, '\u{1820}'..='\u{18AA}')),
            mark if is_combining_mark(mark) => base.is_some(),
            _ => true,
        }
    }
}

/// White space, and what looks like it.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{2800}' | '\u{3164}' | '\u{FFA0}')
}

/// Control characters, and what Unicode lets a display ignore, as far as no script needs it.
fn is_junk(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{200B}'
                | '\u{200E}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E001F}'
                | '\u{E0080}'..='\u{E00FF}'
                | '\u{E01F0}'..='\u{E0FFF}'
        )
}

fn is_letter(character: char) -> bool {
    character.is_alphabetic() && !is_combining_mark(character)
}

fn is_virama(mark: char) -> bool {
    canonical_combining_class(mark) == 9
}

/// Arabic, Syriac, N'Ko, Mandaic, Mongolian, Phags-pa: scripts whose letters join.
fn is_of_joining_script(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{77F}' | '\u{7C0}'..='\u{7FF}' | '\u{840}'..='\u{8FF}' | '\u{1800}'..='\u{18AF}'
        | '\u{A840}'..='\u{A877}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

/// Whether a ZWJ can join this to an emoji: asks the segmentation's own table, which it does not give out.
fn is_pictograph(character: char) -> bool {
    let is_one_cluster = |text: &str| text.graphemes(true).nth(1).is_none();
    let extends = is_one_cluster(&String::from_iter(['a', character]));
    !extends && is_one_cluster(&String::from_iter(['👤', ZWJ, character]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::tests::nasty;
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    #[test]
    fn what_cannot_be_seen_goes() {
        for (text, cleaned) in [
            ("", ""),
            (" \u{A0}\u{3000}\u{200B}", ""),
            ("\u{3164}", ""),
            ("  Ada \t  Lovelace\r\n", "Ada Lovelace"),
            ("Ada\nLovelace", "Ada Lovelace"),
            ("\u{FEFF}A\u{AD}d\u{0}a\u{7F}", "Ada"),
            ("\u{202E}Ada\u{202C} \u{2066}L\u{2069}\u{200F}", "Ada L"),
            ("Mall\u{200B}", "Mall"),
            ("a\u{200D}b\u{200C}c\u{200D}", "abc"),
            ("\u{301}Ada \u{FE0F}L", "Ada L"),
            ("A\u{E0061}da", "Ada"),
            ("علی\u{200C}٣", "علی٣"),
            ("👩\u{200D}🏽", "👩🏽"),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn what_a_script_or_an_emoji_needs_stays() {
        for text in [
            "Ada Lovelace",
            "O'Neil-Müller, Jr. [Uncle]",
            "יהודית מלכה",
            "عبد السّميع",
            "علی\u{200C}رضا",
            "ශ්\u{200D}රී",
            "മോഹന്\u{200D}",
            "क्\u{200C}ष",
            "👨\u{200D}👩\u{200D}👧\u{200D}👦",
            "🧑🏽\u{200D}🚀 Max",
            "❤\u{FE0F}\u{200D}🔥",
            "🏴\u{200D}☠\u{FE0F}",
            "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}",
            "🇮🇱🇩🇪",
            "1\u{FE0F}\u{20E3}",
            "葛\u{E0100}城",
            "x\u{301}\u{323}".nfc().collect::<String>().as_str(),
        ] {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text), "{text:?} became {:?}", clean(text));
        }
    }

    #[test]
    fn a_joiner_is_judged_alike_before_and_after_marks_are_put_in_order() {
        for text in ["\u{769}\u{200C}\u{736}\u{5B6}", "\u{628}\u{323}\u{650}\u{200C}\u{628}"] {
            let once = clean(text).into_owned();
            assert_eq!(clean(&once), once, "{text:?}");
        }
    }

    #[test]
    fn one_name_has_one_spelling() {
        assert_eq!(clean("Zoe\u{308}"), "Zoë");
        assert_eq!(clean("e\u{200B}\u{301}"), "é");
        assert_eq!(clean("\u{1112}\u{1161}\u{11AB}"), "한");
    }

    #[test]
    fn clean_ascii_is_told_apart() {
        for (text, is_clean) in
            [("", true), ("a b", true), (" a", false), ("a ", false), ("a  b", false), ("a\tb", false)]
        {
            assert_eq!(is_clean_ascii(text.as_bytes()), is_clean, "{text:?}");
        }
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        let once = clean(text).into_owned();
        let twice = clean(&once);
        prop_assert!(matches!(twice, Cow::Borrowed(_)), "{:?} became {:?}", once, twice);
        prop_assert!(is_nfc(&once));
        prop_assert!(!once.chars().any(|character| is_junk(character) || (is_blank(character) && character != ' ')));
        prop_assert!(!once.contains("  ") && once.trim() == once);
        Ok(())
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once_and_leaves_nfc_without_junk(text in any::<String>(), nasty in nasty()) {
            check(&text)?;
            check(&nasty)?;
        }

        #[test]
        fn clean_words_of_ascii_are_borrowed(text in "[!-~]{1,5}( [!-~]{1,5}){0,3}") {
            prop_assert!(matches!(clean(&text), Cow::Borrowed(_)));
        }
    }
}
