use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization,
    char::{canonical_combining_class, is_combining_mark},
    is_nfc_quick,
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
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let sifted = sift(text);
    // Quick for nearly all names; to decompose and compose again is not.
    let cleaned = if is_nfc_quick(as_letters(&sifted)) == IsNormalized::Yes { sifted } else { sifted.nfc().collect() };
    if cleaned == text { Cow::Borrowed(text) } else { Cow::Owned(cleaned) }
}

/// The start of a clean text, made clean: what it ends in may have needed what was cut off.
pub(super) fn clean_start(start: &str) -> &str {
    let start = start.trim_end_matches(' ');
    match start.strip_suffix([ZWNJ, ZWJ]) {
        Some(rest) if !rest.chars().rev().take_while(|mark| is_combining_mark(*mark)).any(is_virama) => rest,
        _ => start,
    }
}

/// Whether a look at each character is enough to know that there is nothing to clean.
fn is_clean(text: &str) -> bool {
    let (mut after_space, mut is_plain_text) = (true, true);
    for character in text.chars() {
        if character == ' ' {
            if after_space {
                return false;
            }
            after_space = true;
            continue;
        }
        if !(character.is_ascii_graphic() || is_plain(character)) {
            if !is_harmless(character) || (after_space && is_combining_mark(character)) {
                return false;
            }
            is_plain_text = false;
        }
        after_space = false;
    }
    (text.is_empty() || !after_space) && (is_plain_text || is_nfc_quick(as_letters(text)) == IsNormalized::Yes)
}

/// The text as far as NFC cares: what composes with nothing stands as an `a`, which the check passes over.
fn as_letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|character| if is_plain(character) { 'a' } else { character })
}

/// Letters and signs that stay as they are wherever they stand: no white space, no junk, no marks, nothing that NFC changes, puts into
/// another order, or may join to what precedes it. Common ones only, to spare the look into bigger tables.
fn is_plain(character: char) -> bool {
    matches!(character,
        '\u{A1}'..='\u{AC}' | '\u{AE}'..='\u{2FF}' | '\u{37B}'..='\u{37D}' | '\u{388}'..='\u{482}' | '\u{48A}'..='\u{52F}'
        | '\u{531}'..='\u{58A}' | '\u{5D0}'..='\u{5EA}' | '\u{620}'..='\u{64A}' | '\u{660}'..='\u{66F}'
        | '\u{671}'..='\u{6D5}' | '\u{904}'..='\u{939}' | '\u{E01}'..='\u{E30}' | '\u{E32}'..='\u{E33}'
        | '\u{E40}'..='\u{E46}' | '\u{10A0}'..='\u{10FF}' | '\u{1E00}'..='\u{1EFF}' | '\u{3041}'..='\u{3096}'
        | '\u{30A1}'..='\u{30FF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' | '\u{1F300}'..='\u{1F5FF}'
        | '\u{1F600}'..='\u{1F64F}' | '\u{1F900}'..='\u{1F9FF}')
}

/// Whether the character stays as long as something stands in front of it; the rest is for the sieve.
fn is_harmless(character: char) -> bool {
    let needs_a_look = matches!(character, ZWNJ | ZWJ | '\u{180E}' | '\u{E0020}'..='\u{E007F}');
    !(needs_a_look || is_blank(character) || is_junk(character))
}

fn sift(text: &str) -> String {
    let mut sieve = Sieve { kept: String::with_capacity(text.len()), ..Sieve::default() };
    text.chars().for_each(|character| sieve.take(character));
    sieve.kept
}

/// Remembers of what was kept all that a joiner asks for, so that no joiner looks back over a long run of marks.
#[derive(Default)]
struct Sieve {
    kept: String,
    /// A space is due before the next character.
    space: bool,
    /// A joiner that stays only if the next character needs it.
    joiner: Option<char>,
    /// There is a virama among the marks at the end. The order of marks is not yet canonical, so it need not be the last.
    virama: bool,
    /// The last character that is no mark.
    letter: Option<char>,
    /// The last character that is neither a skin tone nor the sign for a coloured picture.
    emoji: Option<char>,
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
            if std::mem::take(&mut self.space) {
                self.keep(' ');
            }
            self.keep(character);
        }
    }

    fn keep(&mut self, character: char) {
        self.kept.push(character);
        if is_combining_mark(character) {
            self.virama |= is_virama(character);
        } else {
            (self.virama, self.letter) = (false, Some(character));
        }
        if !matches!(character, '\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}') {
            self.emoji = Some(character);
        }
    }

    fn take_joiner(&mut self, joiner: char) {
        if self.space {
            return;
        }
        if self.virama {
            self.keep(joiner);
        } else {
            self.joiner = Some(joiner);
        }
    }

    fn settle_joiner(&mut self, next: char) {
        let Some(joiner) = self.joiner.take() else { return };
        let is_needed = if joiner == ZWJ {
            self.emoji.is_some_and(is_pictograph) && is_pictograph(next)
        } else {
            self.letter.is_some_and(is_of_joining_script) && is_of_joining_script(next) && is_letter(next)
        };
        if is_needed {
            self.keep(joiner);
        }
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
    if character.is_ascii() || is_plain(character) && character < '\u{2000}' {
        return matches!(character, '\u{A9}' | '\u{AE}');
    }
    let is_one_cluster = |before: &str| {
        let mut buffer = [0; 16];
        buffer[..before.len()].copy_from_slice(before.as_bytes());
        let end = before.len() + character.encode_utf8(&mut buffer[before.len()..]).len();
        str::from_utf8(&buffer[..end]).is_ok_and(|text| text.graphemes(true).nth(1).is_none())
    };
    !is_one_cluster("a") && is_one_cluster("👤\u{200D}")
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
    fn a_plain_character_stays_as_it_is_wherever_it_stands() {
        let plain: Vec<char> = ('\u{80}'..=char::MAX).filter(|character| is_plain(*character)).collect();
        assert!(plain.len() > 30_000);
        for character in plain {
            assert!(!is_blank(character) && !is_junk(character) && is_harmless(character), "{character:?}");
            assert!(!is_combining_mark(character) && canonical_combining_class(character) == 0, "{character:?}");
            assert!(is_nfc_quick(std::iter::once(character)) == IsNormalized::Yes, "{character:?}");
        }
    }

    #[test]
    fn the_short_way_and_the_long_way_to_a_pictograph_agree() {
        for character in ('\0'..'\u{2000}').filter(|character| character.is_ascii() || is_plain(*character)) {
            let text = String::from_iter(['👤', ZWJ, character]);
            let extends = String::from_iter(['a', character]).graphemes(true).nth(1).is_none();
            let is_joined = !extends && text.graphemes(true).nth(1).is_none();
            assert_eq!(is_pictograph(character), is_joined, "{character:?}");
        }
    }

    #[test]
    fn a_clean_text_is_told_at_a_glance() {
        for (text, at_a_glance) in [
            ("", true),
            ("a b", true),
            (" a", false),
            ("a ", false),
            ("a  b", false),
            ("a\tb", false),
            ("Zoë Łęcka", true),
            ("अनन्या त्रिपाठी", true),
            ("สมหญิง 지우 さくら 🌸", true),
            ("Zoe\u{308}", false),
            ("a \u{301}b", false),
            ("👩\u{200D}👧", false),
        ] {
            assert_eq!(is_clean(text), at_a_glance, "{text:?}");
        }
    }

    #[test]
    fn a_joiner_looks_back_no_further_than_one_character() {
        // Seconds, were each joiner to look back over all the marks in front of it.
        let marks = clean(&"a\u{301}\u{200D}".repeat(300_000)).into_owned();
        assert_eq!(marks.chars().filter(|character| *character == ZWJ).count(), 0);
        let run = ["a", &"\u{301}\u{200D}".repeat(300_000)].concat();
        let mut sieve = Sieve::default();
        run.chars().for_each(|character| sieve.take(character));
        assert_eq!((sieve.letter, sieve.virama, sieve.kept.len()), (Some('a'), false, 1 + 300_000 * 2));
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        let once = clean(text).into_owned();
        let twice = clean(&once);
        prop_assert!(matches!(twice, Cow::Borrowed(_)), "{:?} became {:?}", once, twice);
        prop_assert!(!is_clean(text) || sift(text).nfc().collect::<String>() == text, "{:?} is not clean", text);
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
        fn the_start_of_a_clean_text_is_clean_once_its_end_is(text in any::<String>(), nasty in nasty()) {
            for text in [clean(&text), clean(&nasty)] {
                for (end, _) in text.char_indices() {
                    prop_assert_eq!(clean_start(&text[..end]), clean(&text[..end]), "{:?}", &text[..end]);
                }
            }
        }

        #[test]
        fn clean_words_of_ascii_are_borrowed(text in "[!-~]{1,5}( [!-~]{1,5}){0,3}") {
            prop_assert!(matches!(clean(&text), Cow::Borrowed(_)));
        }
    }
}
