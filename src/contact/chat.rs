use std::{borrow::Cow, fmt, str::FromStr};

use super::phone::{Digits, ParsePhoneError, Phone, Sign};

/// One person's chat: `15551234567@c.us` (a phone) or `123456789012345@lid` (a privacy id).
///
/// Ordered by its text, which is also the order of a ledger.
///
/// # Reading
///
/// Reads `..@c.us`, `..@s.whatsapp.net` (the same person in another spelling), `..@lid`, and a bare phone number in any spelling that
/// [`Phone`] reads. A device (`15551234567:12@c.us`) is dropped and the server may be in any case. What belongs to no person, such as
/// a group, is refused by its name.
///
/// ```
/// use wawp_contacts::{ChatId, contact::ParseChatIdError};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let chat: ChatId = "+1 (202) 555-0142".parse()?;
/// assert_eq!(chat.as_str(), "12025550142@c.us");
/// assert_eq!("12025550142:7@s.whatsapp.net".parse(), Ok(chat));
/// assert_eq!("120363025246125486@g.us".parse::<ChatId>(), Err(ParseChatIdError::Group));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(Box<str>);

const PHONE: &str = "@c.us";
const LID: &str = "@lid";

impl ChatId {
    /// The id as it is sent: `15551234567@c.us` or `123456789012345@lid`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a privacy id, whose digits are no phone number.
    #[must_use]
    pub fn is_lid(&self) -> bool {
        self.0.ends_with(LID)
    }

    /// The phone number of the chat, or `None` for a privacy id.
    #[must_use]
    pub fn phone(&self) -> Option<Phone> {
        Some(Phone(self.0.strip_suffix(PHONE)?.into()))
    }

    /// Whether both are one person by the known variants of a phone number.
    ///
    /// Some numbers exist in two spellings, of which WhatsApp knows one: Brazilian mobiles with and without the ninth digit (`55 11 9 6124
    /// 7467`), Mexican numbers as `52` and `521`, Argentine ones as `54` and `549`. This says that two ids may mean one person; which
    /// of them to write to, only the server knows. No number is rewritten.
    ///
    /// Eight Brazilian digits that begin with 2 to 5 are a landline, and no variant of a mobile.
    ///
    /// ```
    /// use wawp_contacts::ChatId;
    ///
    /// let chat = |text: &str| text.parse::<ChatId>();
    /// assert!(chat("+55 11 96124 7467")?.is_variant_of(&chat("+55 11 6124 7467")?));
    /// assert!(!chat("+55 11 96124 7467")?.is_variant_of(&chat("+55 21 6124 7467")?));
    /// # Ok::<(), wawp_contacts::contact::ParseChatIdError>(())
    /// ```
    #[must_use]
    pub fn is_variant_of(&self, other: &Self) -> bool {
        self == other
            || match (self.0.strip_suffix(PHONE), other.0.strip_suffix(PHONE)) {
                (Some(one), Some(two)) => same_line(one) == same_line(two),
                _ => false,
            }
    }

    /// Whether a saved name says nothing but the number: it has no letter, and its digits are the number's.
    ///
    /// ```
    /// use wawp_contacts::ChatId;
    ///
    /// let chat: ChatId = "+1 202 555 0142".parse()?;
    /// assert!(chat.is_raw("+1 (202) 555-0142") && chat.is_raw(""));
    /// assert!(!chat.is_raw("Bob") && !chat.is_raw("42"));
    /// # Ok::<(), wawp_contacts::contact::ParseChatIdError>(())
    /// ```
    #[must_use]
    pub fn is_raw(&self, name: &str) -> bool {
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        let is_number = self.0.split('@').next().is_some_and(|user| digits.len() >= 7 && user.ends_with(&*digits));
        name.trim().is_empty() || (is_number && !name.contains(char::is_alphabetic))
    }

    /// The other [variant](Self::is_variant_of) of the number, if there is one.
    pub(crate) fn variant(&self) -> Option<Self> {
        let digits = self.0.strip_suffix(PHONE)?;
        let (country, area, line) = same_line(digits);
        let mark = match country {
            "52" => "1",
            "54" | "55" => "9",
            _ => return None,
        };
        let short = [country, area, line].concat();
        let other = if digits == short { [country, area, mark, line].concat() } else { short };
        Some(Self::of(other.as_bytes(), PHONE))
    }

    pub(super) fn of_phone(digits: &[u8]) -> Self {
        Self::of(digits, PHONE)
    }

    fn of(digits: &[u8], server: &str) -> Self {
        let mut text = String::with_capacity(digits.len() + server.len());
        // Digits are ASCII: checked as one piece they cost less than pushed one by one.
        text.push_str(str::from_utf8(digits).unwrap_or_default());
        text.push_str(server);
        Self(text.into())
    }
}

impl FromStr for ChatId {
    type Err = ParseChatIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = fold(text);
        let Some((user, server)) = text.rsplit_once('@') else {
            return Ok(Self::of_phone(Digits::read(&text)?.as_bytes()));
        };
        match Server::of(user, server)? {
            Server::Phone => {
                let digits = without_device(user.strip_prefix('+').unwrap_or(user))?;
                Ok(Self::of_phone(Digits::read(digits)?.as_bytes()))
            }
            Server::Lid => match without_device(user)? {
                digits if digits.len() <= 20 => Ok(Self::of(digits.as_bytes(), LID)),
                _ => Err(ParseChatIdError::LongLid),
            },
        }
    }
}

/// What is the same in all variants of a number: the country code, the area code where it stands in between, the rest.
fn same_line(digits: &str) -> (&str, &str, &str) {
    let whole = ("", "", digits);
    let Some((country, national)) = digits.split_at_checked(2) else { return whole };
    match (country, national.len()) {
        ("52", 11) => national.strip_prefix('1').map_or(whole, |line| (country, "", line)),
        ("54", 11) => national.strip_prefix('9').map_or(whole, |line| (country, "", line)),
        ("52" | "54", 10) => (country, "", national),
        ("55", 10 | 11) => {
            let (area, line) = national.split_at(2);
            let line = if line.len() == 9 { line.strip_prefix('9') } else { Some(line) };
            match line.filter(|line| !line.starts_with(['2', '3', '4', '5'])) {
                Some(line) if !area.contains('0') => (country, area, line),
                _ => whole,
            }
        }
        _ => whole,
    }
}

enum Server {
    Phone,
    Lid,
}

impl Server {
    fn of(user: &str, server: &str) -> Result<Self, ParseChatIdError> {
        const NO_PERSONS: [(&str, ParseChatIdError); 7] = [
            ("g.us", ParseChatIdError::Group),
            ("newsletter", ParseChatIdError::Channel),
            ("broadcast", ParseChatIdError::Broadcast),
            ("call", ParseChatIdError::Call),
            ("bot", ParseChatIdError::Bot),
            ("hosted", ParseChatIdError::Hosted),
            ("hosted.lid", ParseChatIdError::Hosted),
        ];
        let is = |name: &str| server.eq_ignore_ascii_case(name);
        if is("c.us") || is("s.whatsapp.net") {
            return Ok(Self::Phone);
        }
        if is("lid") {
            return Ok(Self::Lid);
        }
        if is("broadcast") && user.eq_ignore_ascii_case("status") {
            return Err(ParseChatIdError::Status);
        }
        let known = NO_PERSONS.into_iter().find(|(name, _)| is(name));
        Err(known.map_or(ParseChatIdError::UnknownServer, |(_, error)| error))
    }
}

/// Only digits may stand in an id: in `15551234567.0:1`, which some engines write, the dot parts the number from something else.
fn without_device(user: &str) -> Result<&str, ParseChatIdError> {
    let (digits, device) = user.split_once(':').unwrap_or((user, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(digits) && is_number(device) { Ok(digits) } else { Err(ParseChatIdError::User) }
}

/// Drops what cannot be seen and writes all digits in ASCII.
fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.trim().into();
    }
    let seen = text.chars().filter_map(|character| match Sign::of(character) {
        Sign::Invisible => None,
        Sign::Digit(digit) => Some(char::from(b'0' + digit)),
        _ => Some(character),
    });
    seen.collect::<String>().trim().to_owned().into()
}

impl From<Phone> for ChatId {
    fn from(phone: Phone) -> Self {
        phone.chat()
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatId({})", self.0)
    }
}

/// Why a text is no person's chat id, and how to mend it; never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseChatIdError {
    /// A group (`@g.us`).
    #[error("this is a group, not a person; give the phone number or chat id of a person")]
    Group,
    /// A channel (`@newsletter`).
    #[error("this is a channel, not a person; give the phone number or chat id of a person")]
    Channel,
    /// A broadcast list (`@broadcast`).
    #[error("this is a broadcast list, not a person; give the phone number or chat id of a person")]
    Broadcast,
    /// The place where status updates appear (`status@broadcast`).
    #[error("this is where status updates appear, not a person; give the phone number or chat id of a person")]
    Status,
    /// A call (`@call`).
    #[error("this is a call, not a person; give the phone number or chat id of a person")]
    Call,
    /// A bot (`@bot`).
    #[error("this is a bot, not a person; give the phone number or chat id of a person")]
    Bot,
    /// A business hosted by its provider (`@hosted`, `@hosted.lid`).
    #[error("this is a hosted business, which has no contact of its own; give a phone number, ..@c.us or ..@lid")]
    Hosted,
    /// Something else behind the `@`, for instance of an e-mail address.
    #[error("what follows the @ is no server of WhatsApp; give a phone number, ..@c.us or ..@lid")]
    UnknownServer,
    /// Something other than digits, and perhaps a device, in front of the `@`.
    #[error("a person's chat id has only digits in front of the @; write it as 15551234567@c.us")]
    User,
    /// A privacy id of more than 20 digits.
    #[error("too long for a LID, which has at most 20 digits")]
    LongLid,
    /// A phone number that is none.
    #[error(transparent)]
    Phone(#[from] ParsePhoneError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, ParseChatIdError> {
        text.parse::<ChatId>().map(|chat| chat.as_str().to_owned())
    }

    #[test]
    fn every_spelling_of_a_person_is_read() {
        for (text, id) in [
            ("12025550142", "12025550142@c.us"),
            ("+1 (202) 555-0142", "12025550142@c.us"),
            ("tel:+12025550142", "12025550142@c.us"),
            ("12025550142@c.us", "12025550142@c.us"),
            (" 12025550142@C.US\n", "12025550142@c.us"),
            ("+12025550142@c.us", "12025550142@c.us"),
            ("12025550142:7@c.us", "12025550142@c.us"),
            ("12025550142@s.whatsapp.net", "12025550142@c.us"),
            ("12025550142:99@S.WhatsApp.Net", "12025550142@c.us"),
            ("\u{200E}12025550142@c.us\u{200B}", "12025550142@c.us"),
            ("١٢٠٢٥٥٥٠١٤٢@c.us", "12025550142@c.us"),
            ("123456789012345@lid", "123456789012345@lid"),
            ("123456789012345:3@LID", "123456789012345@lid"),
            ("12345678901234567890@lid", "12345678901234567890@lid"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(id), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_person_is_named() {
        use ParseChatIdError::{
            Bot, Broadcast, Call, Channel, Group, Hosted, LongLid, Phone, Status, UnknownServer, User,
        };
        for (text, error) in [
            ("120363025246125486@g.us", Group),
            ("12025550142-1612345678@G.US", Group),
            ("120363025246125486@newsletter", Channel),
            ("1612345678@broadcast", Broadcast),
            ("status@broadcast", Status),
            ("Status@Broadcast", Status),
            ("ABCDEF@call", Call),
            ("867051314767696@bot", Bot),
            ("12025550142:99@hosted", Hosted),
            ("123456789012345:99@hosted.lid", Hosted),
            ("bob@example.com", UnknownServer),
            ("12025550142@", UnknownServer),
            ("true_12025550142@c.us_3EB0", UnknownServer),
            ("@c.us", User),
            ("@lid", User),
            ("bob@c.us", User),
            ("1 202 555 0142@c.us", User),
            ("12025550142.0:1@s.whatsapp.net", User),
            ("12025550142_1:1@s.whatsapp.net", User),
            ("12025550142:@c.us", User),
            ("12025550142:a@c.us", User),
            ("a@12025550142@c.us", User),
            ("+123456789012345@lid", User),
            ("123456789012345678901@lid", LongLid),
            ("123456@c.us", Phone(ParsePhoneError::TooShort)),
            ("012025550142@c.us", Phone(ParsePhoneError::National)),
            ("1234567890123456@c.us", Phone(ParsePhoneError::LooksLikeLid)),
            ("1234567890123456", Phone(ParsePhoneError::LooksLikeLid)),
            ("123456789012345678901@c.us", Phone(ParsePhoneError::TooLong)),
            ("07700 900123", Phone(ParsePhoneError::National)),
            ("n/a", Phone(ParsePhoneError::NotAPhone)),
            ("", Phone(ParsePhoneError::Empty)),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn p7_the_digits_of_a_lid_are_no_phone() {
        let lid: ChatId = "123456789012345@lid".parse().unwrap();
        assert!(lid.is_lid());
        assert_eq!(lid.phone(), None);
        let phone: ChatId = "123456789012345".parse().unwrap();
        assert!(!phone.is_lid());
        assert_eq!(phone.phone().map(ChatId::from), Some(phone));
    }

    #[test]
    fn known_variants_of_a_number_are_one_person_and_others_are_not() {
        let is_variant = |one: &str, two: &str| {
            let (one, two): (ChatId, ChatId) = (one.parse().unwrap(), two.parse().unwrap());
            assert_eq!(one.is_variant_of(&two), two.is_variant_of(&one));
            one.is_variant_of(&two)
        };
        for (one, two) in [
            ("5511961247467", "551161247467"),
            ("5531998765432", "553198765432"),
            ("5212221282570", "522221282570"),
            ("5491123450606", "541123450606"),
            ("123456789012345@lid", "123456789012345@lid"),
            ("12025550142", "12025550142@s.whatsapp.net"),
        ] {
            assert!(is_variant(one, two), "{one} {two}");
        }
        for (one, two) in [
            ("5511961247467", "552161247467"),
            ("5511961247467", "5511861247467"),
            ("5511932547467", "551132547467"),
            ("5511961247467", "5511961247468"),
            ("5212221282570", "5222212825701"),
            ("5212221282570", "542221282570"),
            ("5491123450606", "521123450606"),
            ("4491123450606", "441123450606"),
            ("551161247467", "551161247467@lid"),
            ("12025550142", "2025550142"),
        ] {
            assert!(!is_variant(one, two), "{one} {two}");
        }
    }

    proptest! {
        #[test]
        fn variants_are_symmetric_reflexive_and_never_rewritten(
            one in "(52|54|55)[19]?[0-9]{10,11}", two in "(52|54|55)[19]?[0-9]{10,11}"
        ) {
            let (a, b): (ChatId, ChatId) = (one.parse().unwrap(), two.parse().unwrap());
            prop_assert!(a.is_variant_of(&a) && b.is_variant_of(&b));
            prop_assert_eq!(a.is_variant_of(&b), b.is_variant_of(&a));
            prop_assert_eq!(a.as_str().strip_suffix("@c.us"), Some(&*one));
        }

        #[test]
        fn an_id_reads_back_as_itself(text in "[+0-9:]{0,22}(@([cC].us|s.whatsapp.net|LID|lid))?") {
            if let Ok(chat) = text.parse::<ChatId>() {
                prop_assert_eq!(chat.to_string().parse(), Ok(chat));
            }
        }

        #[test]
        fn reading_never_panics_and_gives_only_persons(text in any::<String>()) {
            if let Ok(id) = read(&text) {
                prop_assert!(id.ends_with("@c.us") || id.ends_with("@lid"));
            }
        }

        #[test]
        fn p7_a_group_never_reads(user in any::<String>(), server in "[gG]\\.[uU][sS]") {
            prop_assert_eq!(read(&format!("{user}@{server}")), Err(ParseChatIdError::Group));
        }

        #[test]
        fn a_phone_and_its_ids_are_one_person(digits in "[1-9][0-9]{6,14}", device in 0..100_u8) {
            let chat: ChatId = digits.parse().unwrap();
            for text in [format!("+{digits}"), format!("00{digits}"), format!("{digits}:{device}@s.whatsapp.net")] {
                prop_assert_eq!(text.parse(), Ok(chat.clone()));
            }
        }
    }
}
