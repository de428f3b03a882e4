use std::{fmt, str::FromStr};

use super::ChatId;

/// A phone number: 7 to 15 digits, country code first, no `+` and no `00`.
///
/// # Reading
///
/// Any spelling of an international number is understood: spaces of all kinds, hyphens, dots, slashes and brackets between the digits,
/// `+`, `00` or nothing in front, `tel:` with parameters, digits of other scripts, and the invisible characters that exports leave
/// behind. A trunk zero in brackets, as in `+44 (0)7700 900123`, is dropped, except in countries whose numbers may themselves
/// begin with 0 (such as Italy), where it is refused.
///
/// What could mean another person's number is refused: national formats, extensions, and numbers that a spreadsheet turned into
/// decimals. A bare `2025550142` cannot be told from an international number, so it counts as one.
///
/// ```
/// use wawp_contacts::Phone;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let phone: Phone = "+1 (202) 555-0142".parse()?;
/// assert_eq!(phone.as_str(), "12025550142");
/// assert_eq!(phone.chat().as_str(), "12025550142@c.us");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(pub(super) Box<str>);

impl Phone {
    /// The digits, country code first: `15551234567`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The chat that belongs to this number: `15551234567@c.us`.
    #[must_use]
    pub fn chat(&self) -> ChatId {
        ChatId::of_phone(self.0.as_bytes())
    }

    /// The number as people write it: `+972 50-239-2966`.
    ///
    /// With the feature `phone`, the digits are grouped as its country does for calls from abroad. Without it, and where the numbering
    /// plans do not know the number, it is a `+` and the digits. Either text can be parsed again.
    ///
    /// ```
    /// # #[cfg(feature = "phone")] {
    /// use wawp_contacts::Phone;
    ///
    /// let phone: Phone = "972502392966".parse()?;
    /// assert_eq!(phone.international(), "+972 50-239-2966");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn international(&self) -> String {
        #[cfg(feature = "phone")]
        if let Some(grouped) = super::region::grouped(&self.0) {
            return grouped;
        }
        format!("+{}", self.0)
    }
}

impl FromStr for Phone {
    type Err = ParsePhoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = Digits::read(text)?;
        // Digits are ASCII.
        Ok(Self(str::from_utf8(digits.as_bytes()).unwrap_or_default().into()))
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.0)
    }
}

/// Why a text is no phone number, and how to mend it; never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePhoneError {
    /// Nothing but white space.
    #[error("no phone number given")]
    Empty,
    /// Letters or signs that no phone number has.
    #[error("not a phone number; give 7 to 15 digits, country code first")]
    NotAPhone,
    /// Fewer than 7 digits.
    #[error("too short for a phone number; give 7 to 15 digits, country code first")]
    TooShort,
    /// More than 15 digits.
    #[error("too long for a phone number; give one number of 7 to 15 digits, country code first")]
    TooLong,
    /// 16 to 20 digits without a `+`: the length of a privacy id, not of a phone number.
    #[error("too long for a phone number; if this is a LID, write it with @lid at the end")]
    LooksLikeLid,
    /// Written as dialled inside one country: a 0 in front, or an area code in brackets and no country code.
    #[error("a national number; write it with + and the country code, or read it with a region")]
    National,
    /// A 0 where the country code begins.
    #[error("no country code begins with 0; write + and the country code")]
    CountryCode,
    /// A 0 in brackets that may or may not belong to the number.
    #[error(
        "a 0 in brackets that may or may not be dialled; write the number as dialled from abroad, without brackets"
    )]
    TrunkZero,
    /// A `+` behind a digit, or a second one.
    #[error("a + stands only in front of a phone number; give one number")]
    Plus,
    /// An extension, which only a switchboard understands.
    #[error("a phone number with an extension has no chat of its own; give a direct number")]
    Extension,
    /// A number that a spreadsheet turned into a decimal, at times with digits lost.
    #[error("a spreadsheet turned this number into a decimal; export the column as text")]
    Spreadsheet,
    /// Does not fit the numbering plan of the region, which is named.
    #[error("not a phone number of {0}; check the digits, or write it with + and the country code")]
    NotInRegion(&'static str),
    /// The area code is missing for a number of the region, which is named.
    #[error("the area code is missing for a phone number of {0}; write it with + and the country code")]
    NoAreaCode(&'static str),
    /// The digits may or may not begin with the country code of the region, which is named.
    #[error("may be a number of {0} with or without its country code; write it with + and the country code")]
    Ambiguous(&'static str),
}

/// The digits of a phone number on the stack, so that a chat id costs one allocation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Digits {
    bytes: [u8; Self::KEPT],
    /// How many digits there were, of which at most `KEPT` were kept.
    len: usize,
}

impl Digits {
    const LONGEST: usize = 15;
    /// The longest number behind `00`.
    const KEPT: usize = Self::LONGEST + 2;
    const LONGEST_LID: usize = 20;

    pub(super) fn read(text: &str) -> Result<Self, ParsePhoneError> {
        Self::plain(text).map_or_else(|| Reader::read(text), Ok)
    }

    /// The way of nearly all rows: ASCII digits, perhaps behind a `+`, and nothing else.
    fn plain(text: &str) -> Option<Self> {
        let bytes = text.strip_prefix('+').unwrap_or(text).as_bytes();
        let plain =
            (7..=Self::LONGEST).contains(&bytes.len()) && bytes[0] != b'0' && bytes.iter().all(u8::is_ascii_digit);
        plain.then(|| Self::from(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(Self::KEPT)]
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = b'0' + digit;
        }
        self.len += 1;
    }
}

impl From<&[u8]> for Digits {
    fn from(digits: &[u8]) -> Self {
        let mut bytes = [0; Self::KEPT];
        bytes[..digits.len()].copy_from_slice(digits);
        Self { bytes, len: digits.len() }
    }
}

/// Countries without a trunk prefix, some of whose numbers begin with 0: there, the 0 of `(0)` may belong to the number.
const KEEPS_ZERO: [&[u8]; 15] = [
    b"39", b"47", b"225", b"226", b"227", b"229", b"241", b"242", b"247", b"268", b"378", b"676", b"687", b"853",
    b"992",
];

#[derive(Debug, Default)]
struct Reader {
    digits: Digits,
    plus: bool,
    /// The first digit stood in a bracket, as an area code does.
    area_first: bool,
    bracket: Bracket,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Bracket {
    #[default]
    No,
    /// Just opened.
    Open,
    /// Opened, and a 0 followed that was not taken for a digit.
    Zero,
}

impl Reader {
    fn read(text: &str) -> Result<Digits, ParsePhoneError> {
        let (number, parameters) = split_tel(text);
        if is_decimal(number) {
            return Err(ParsePhoneError::Spreadsheet);
        }
        let mut reader = Self::default();
        for (at, character) in number.char_indices() {
            match Sign::of(character) {
                Sign::Digit(digit) => reader.digit(digit)?,
                Sign::Plus => reader.plus()?,
                Sign::Open => reader.bracket = Bracket::Open,
                Sign::Close if reader.bracket == Bracket::Zero => reader.drop_trunk_zero()?,
                Sign::Close | Sign::Gap | Sign::Invisible => {}
                Sign::Other if reader.digits.len > 0 && is_extension(&number[at..]) => {
                    return Err(ParsePhoneError::Extension);
                }
                Sign::Other => return Err(ParsePhoneError::NotAPhone),
            }
        }
        let digits = reader.finish()?;
        check_parameters(parameters, reader.plus)?;
        Ok(digits)
    }

    fn digit(&mut self, digit: u8) -> Result<(), ParsePhoneError> {
        match self.bracket {
            Bracket::Zero => return Err(ParsePhoneError::TrunkZero),
            Bracket::Open if digit == 0 && self.digits.len > 0 => self.bracket = Bracket::Zero,
            Bracket::Open | Bracket::No => {
                self.area_first |= self.bracket == Bracket::Open && self.digits.len == 0;
                self.bracket = Bracket::No;
                self.digits.push(digit);
            }
        }
        Ok(())
    }

    fn plus(&mut self) -> Result<(), ParsePhoneError> {
        if self.plus || self.digits.len > 0 {
            return Err(ParsePhoneError::Plus);
        }
        self.plus = true;
        Ok(())
    }

    fn drop_trunk_zero(&mut self) -> Result<(), ParsePhoneError> {
        self.bracket = Bracket::No;
        let (international, country) = self.parts();
        if international && (1..=3).contains(&country.len()) && !KEEPS_ZERO.contains(&country) {
            Ok(())
        } else {
            Err(ParsePhoneError::TrunkZero)
        }
    }

    /// Whether there is an international prefix, and the digits behind it.
    fn parts(&self) -> (bool, &[u8]) {
        let kept = self.digits.as_bytes();
        match kept.strip_prefix(b"00") {
            Some(rest) if !self.plus => (true, rest),
            _ => (self.plus, kept),
        }
    }

    fn finish(&self) -> Result<Digits, ParsePhoneError> {
        let (international, number) = self.parts();
        let prefix = self.digits.as_bytes().len() - number.len();
        if self.bracket == Bracket::Zero {
            return Err(ParsePhoneError::TrunkZero);
        }
        match (self.digits.len - prefix, number.first()) {
            (0, _) if !international => Err(ParsePhoneError::Empty),
            (0..7, _) => Err(ParsePhoneError::TooShort),
            (_, Some(b'0')) if international => Err(ParsePhoneError::CountryCode),
            (_, Some(b'0')) => Err(ParsePhoneError::National),
            (_, _) if self.area_first && !international => Err(ParsePhoneError::National),
            (..=Digits::LONGEST, _) => Ok(Digits::from(number)),
            (..=Digits::LONGEST_LID, _) if !international => Err(ParsePhoneError::LooksLikeLid),
            _ => Err(ParsePhoneError::TooLong),
        }
    }
}

/// The digits of a national number: `None` if the text holds anything but digits and what may stand between them.
#[cfg(feature = "phone")]
pub(super) fn national_digits(text: &str) -> Option<String> {
    let (number, parameters) = split_tel(text);
    if !parameters.is_empty() || is_decimal(number) {
        return None;
    }
    let mut digits = String::with_capacity(number.len());
    for sign in number.chars().map(Sign::of) {
        match sign {
            Sign::Digit(digit) => digits.push(char::from(b'0' + digit)),
            Sign::Open | Sign::Close | Sign::Gap | Sign::Invisible => {}
            Sign::Plus | Sign::Other => return None,
        }
    }
    (!digits.is_empty()).then_some(digits)
}

/// Whether a number says itself that it is international: by a `+`, or by `00`.
#[cfg(feature = "phone")]
pub(crate) fn is_international(text: &str) -> bool {
    let signs = split_tel(text).0.chars().map(Sign::of);
    let mut signs = signs.filter(|sign| !matches!(sign, Sign::Open | Sign::Close | Sign::Gap | Sign::Invisible));
    match signs.next() {
        Some(Sign::Plus) => true,
        Some(Sign::Digit(0)) => signs.next() == Some(Sign::Digit(0)),
        _ => false,
    }
}

/// What a character is in a phone number: the one table of digits and separators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Digit(u8),
    Plus,
    Open,
    Close,
    Gap,
    Invisible,
    Other,
}

impl Sign {
    pub(super) fn of(character: char) -> Self {
        match character {
            '0'..='9' => Self::Digit(character as u8 - b'0'),
            '+' | '＋' => Self::Plus,
            '(' | '（' | '[' => Self::Open,
            ')' | '）' | ']' => Self::Close,
            // With all hyphens and dashes, the minus, and what Japanese keyboards have for them.
            ' '
            | '\t'
            | '-'
            | '.'
            | '/'
            | '·'
            | '．'
            | '／'
            | '\u{2010}'..='\u{2015}'
            | '\u{2212}'
            | '\u{30FC}'
            | '\u{FE63}'
            | '\u{FF0D}' => Self::Gap,
            // Zero-width characters, marks of direction, soft hyphens, byte order marks, variation selectors.
            '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{2069}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' => Self::Invisible,
            _ if character.is_whitespace() && !is_line_break(character) => Self::Gap,
            _ => digit_of_other_script(character).map_or(Self::Other, Self::Digit),
        }
    }
}

/// Two lines in one cell are two numbers.
fn is_line_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn digit_of_other_script(character: char) -> Option<u8> {
    // Arabic-Indic, Persian, N'Ko, the scripts of India, Thai, Lao, Tibetan, Myanmar, Khmer, Mongolian, full-width.
    const ZEROS: [u32; 20] = [
        0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20,
        0x1040, 0x17E0, 0x1810, 0x19D0, 0xFF10,
    ];
    let digits = ZEROS.iter().map(|zero| u32::from(character).wrapping_sub(*zero));
    digits.filter_map(|digit| u8::try_from(digit).ok()).find(|digit| *digit < 10)
}

/// Takes `tel:` off and parts the number from the parameters that may follow it (RFC 3966).
fn split_tel(text: &str) -> (&str, &str) {
    let text = text.trim_matches(|character: char| {
        character.is_whitespace() || matches!(Sign::of(character), Sign::Gap | Sign::Invisible)
    });
    match text.split_at_checked(4) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest.split_once(';').unwrap_or((rest, "")),
        _ => (text, ""),
    }
}

fn check_parameters(parameters: &str, global: bool) -> Result<(), ParsePhoneError> {
    for parameter in parameters.split(';') {
        let name = parameter.split('=').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("ext") {
            return Err(ParsePhoneError::Extension);
        }
        if name.eq_ignore_ascii_case("phone-context") && !global {
            return Err(ParsePhoneError::National);
        }
    }
    Ok(())
}

/// Whether a spreadsheet wrote this: `15551234567.0` or `1.5551234567E+10`.
fn is_decimal(text: &str) -> bool {
    let whole = text.strip_suffix(".0").unwrap_or_default();
    let rounded = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    rounded || (text.contains(['e', 'E']) && text.parse::<f64>().is_ok())
}

/// Whether the rest of a number is an extension: `x12`, `#12`, `ext. 12`, `;ext=12`.
fn is_extension(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', ',', ';']);
    if rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("ext")) {
        return true;
    }
    let number = rest.strip_prefix(['x', 'X', '#']).map(|rest| rest.trim_start_matches([' ', '.', ':']));
    number.is_some_and(|number| number.starts_with(|character: char| character.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, ParsePhoneError> {
        text.parse::<Phone>().map(|phone| phone.as_str().to_owned())
    }

    #[test]
    fn any_spelling_of_an_international_number_is_read() {
        for (text, digits) in [
            ("12025550142", "12025550142"),
            ("+1 (202) 555-0142", "12025550142"),
            ("1-202-555-0142", "12025550142"),
            ("1 (202) 555.0142", "12025550142"),
            ("+1/202/555/0142", "12025550142"),
            (" (+1) 202 555 0142 ", "12025550142"),
            ("00 44 7700 900123", "447700900123"),
            ("(0044) 7700 900123", "447700900123"),
            ("tel:+447700900123", "447700900123"),
            ("TEL:+44-7700-900123;isub=1;phone-context=+44", "447700900123"),
            ("+44\u{A0}7700\u{202F}900\u{2009}123", "447700900123"),
            ("+44\u{2011}7700\u{2012}900\u{2013}123\t", "447700900123"),
            ("\u{202A}+44 7700\u{200B} 900123\u{202C}\u{FEFF}", "447700900123"),
            ("＋４４（７７００）９００－１２３", "447700900123"),
            ("+٤٤ ٧٧٠٠ ٩٠٠١٢٣", "447700900123"),
            ("۴۴۷۷۰۰۹۰۰۱۲۳", "447700900123"),
            ("+९१ ८१२३४ ९७०९४", "918123497094"),
            ("+290 2345", "2902345"),
            ("[+44] 7700·900123", "447700900123"),
            ("123456789012345", "123456789012345"),
            ("00123456789012345", "123456789012345"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(digits), "{text:?}");
        }
    }

    #[test]
    fn a_trunk_zero_in_brackets_is_dropped_where_it_cannot_belong_to_the_number() {
        for text in ["+44 (0)7700 900123", "+44(0) 7700900123", "0044 ( 0 ) 7700 900123", "tel:+44(0)7700900123"] {
            assert_eq!(read(text).as_deref(), Ok("447700900123"), "{text}");
        }
        for text in [
            "+39 (0)6 1234 5678",
            "+225 (0)7 12345678",
            "44 (0)7700 900123",
            "+44 (07700) 900123",
            "+1 (05) 5512345678",
            "+44 7700 (0) 900123",
            "+44 (0 7700 900123",
            "+44 7700 900123 (0",
        ] {
            assert_eq!(read(text), Err(ParsePhoneError::TrunkZero), "{text}");
        }
        assert_eq!(read("(0)7700 900123"), Err(ParsePhoneError::National));
    }

    #[test]
    fn what_is_no_international_number_is_named() {
        use ParsePhoneError::{
            CountryCode, Empty, Extension, LooksLikeLid, National, NotAPhone, Plus, Spreadsheet, TooLong, TooShort,
        };
        for (text, error) in [
            ("", Empty),
            (" \u{200B}\u{A0}", Empty),
            ("--", Empty),
            ("n/a", NotAPhone),
            ("1-800-FLOWERS", NotAPhone),
            ("+1 202 *** 0142", NotAPhone),
            ("+1 202 xxx xxxx", NotAPhone),
            ("12025550142\n12025550143", NotAPhone),
            ("12025550142, 12025550143", NotAPhone),
            ("12025550142·[x]", NotAPhone),
            ("²12025550142", NotAPhone),
            ("+", TooShort),
            ("00", TooShort),
            ("0", TooShort),
            ("123456", TooShort),
            ("00123456", TooShort),
            ("+1234567890123456", TooLong),
            ("001234567890123456", TooLong),
            ("123456789012345678901", TooLong),
            ("1234567890123456", LooksLikeLid),
            ("12345678901234567890", LooksLikeLid),
            ("07700 900123", National),
            ("011 44 7700 900123", National),
            ("(202) 555-0142", National),
            ("(11).96127.2013", National),
            ("tel:7700900123;phone-context=+44", National),
            ("+07700 900123", CountryCode),
            ("+0044 7700 900123", CountryCode),
            ("000 7700 900123", CountryCode),
            ("1+2025550142", Plus),
            ("++12025550142", Plus),
            ("+12025550142 / +12025550143", Plus),
            ("+1 202 555 0142 ext. 12", Extension),
            ("+1 202 555 0142, Ext 12", Extension),
            ("12025550142x12", Extension),
            ("12025550142 X. 12", Extension),
            ("12025550142 #12", Extension),
            ("12025550142;ext=12", Extension),
            ("tel:+12025550142;ext=12", Extension),
            ("tel:+12025550142;isub=1;EXT=12", Extension),
            ("12025550142.0", Spreadsheet),
            ("1.2025550142E+10", Spreadsheet),
            ("1.2e10", Spreadsheet),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_countries_that_keep_a_zero_are_country_codes() {
        assert!(KEEPS_ZERO.iter().all(|code| (1..=3).contains(&code.len()) && code.iter().all(u8::is_ascii_digit)));
        assert!(KEEPS_ZERO.is_sorted_by_key(|code| (code.len(), *code)));
    }

    /// Digits of a number and something to write between them.
    fn spelling() -> impl Strategy<Value = (String, String)> {
        let gap = proptest::sample::select(vec!["", " ", "-", ".", "/", "\u{A0}", "\u{2011}", "\u{200B}", "\u{200E}"]);
        let zero = proptest::sample::select(vec!['0', '٠', '۰', '०', '０']);
        let prefix = proptest::sample::select(vec!["+", "00", "", "tel:+", " + ", "\u{202A}+", "(+", "＋"]);
        ("[1-9][0-9]{6,14}", prefix, proptest::collection::vec((gap, zero), 15)).prop_map(|(digits, prefix, style)| {
            let mut text = prefix.to_owned();
            for (digit, (gap, zero)) in digits.chars().zip(style) {
                let value = digit.to_digit(10).unwrap();
                text.push(char::from_u32(u32::from(zero) + value).unwrap());
                text.push_str(gap);
            }
            (digits, text)
        })
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_number_is_the_same_number((digits, text) in spelling()) {
            // A gap of one dot before a last 0 is what a spreadsheet writes.
            prop_assume!(!is_decimal(text.trim()));
            prop_assert_eq!(read(&text), Ok(digits));
        }

        #[test]
        fn reading_never_panics_and_gives_7_to_15_digits(text in any::<String>()) {
            if let Ok(digits) = read(&text) {
                prop_assert!((7..=15).contains(&digits.len()) && !digits.starts_with('0'));
                prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
            }
        }

        #[test]
        fn a_number_reads_back_as_itself(text in "[+0-9() x.;e-]{0,24}") {
            if let Ok(digits) = read(&text) {
                prop_assert_eq!(read(&digits), Ok(digits.clone()));
            }
        }

        #[test]
        fn no_error_repeats_a_digit_given(text in "[2-9]{1,5}[a-z+(]{0,3}[2-9]{16,24}") {
            let error = read(&text).unwrap_err().to_string();
            prop_assert!(!error.contains(&text[text.len() - 4..]), "{error}");
        }
    }
}
