use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a call to an address book failed.
///
/// One word wide. Match on [`kind`](Self::kind) for what happened and on [`class`](Self::class) for what to do about it.
/// No error names a token, a URL with a query, a contact's name or the body of an answer. `Debug` says all that `Display` does and
/// more, so a `main` that returns one prints what to try as well; what the server said is in [`message`](Self::message) alone.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    status: Option<u16>,
    attempts: u32,
    doubt: bool,
    retry_after: Option<Duration>,
    code: Option<Box<str>>,
    message: Option<Box<str>>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made: nothing was sent.
    Connect,
    /// No answer came in time: the request may or may not have been carried out.
    Timeout,
    /// The connection died after the request was sent: it may or may not have been carried out.
    Interrupted,
    /// The server failed (5xx): the request may or may not have been carried out.
    Server,
    /// The answer cannot be understood: the request may or may not have been carried out.
    Decode,
    /// Too fast (429).
    RateLimited,
    /// The quota of the plan is spent (`quota_reached`).
    QuotaReached,
    /// The instance's session is not working: asleep, starting, or waiting for a QR scan (422).
    SessionNotReady,
    /// The token is wrong or revoked (401).
    Unauthorized,
    /// The account may not do this, for instance for want of a plan (403).
    Forbidden,
    /// The instance is unknown or unlinked (404 `invalid_session`).
    UnknownInstance,
    /// The server refused the request for what is in it (400, or 422 without a word of the session).
    Rejected,
    /// The server said no in words that are not known, where its status said yes: an engine that is busy, or a contact that it will
    /// not take. Whether the request was carried out is as unknown.
    Unclear,
    /// The server acknowledged the request, and a read some seconds later does not show its effect.
    Unkept,
    /// The server does not know the route (another 404, or 405).
    Route,
    /// The client was set up with something that cannot work.
    Configuration,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// This contact will never work as it is; others may.
    Contact,
    /// The instance stops until a person acts.
    Instance,
    /// The instance waits, then tries again.
    Wait,
    /// Try again with backoff; unless nothing was sent, the outcome is unknown.
    Transient,
    /// The set-up is wrong; no call will work.
    Configuration,
}

impl ErrorKind {
    /// Every kind that there is, in the order of their declaration.
    pub const ALL: &[Self] = &[
        Self::Connect,
        Self::Timeout,
        Self::Interrupted,
        Self::Server,
        Self::Decode,
        Self::RateLimited,
        Self::QuotaReached,
        Self::SessionNotReady,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownInstance,
        Self::Rejected,
        Self::Unclear,
        Self::Unkept,
        Self::Route,
        Self::Configuration,
    ];

    /// What to do about it.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        self.facts().0
    }

    /// The word in reports, and in what is stored: `rate_limited`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.facts().1
    }

    fn phrase(self) -> &'static str {
        self.facts().2
    }

    /// All that is to be said of a kind: its class, its code, and the phrase that people read.
    fn facts(self) -> (ErrorClass, &'static str, &'static str) {
        use ErrorClass::{Configuration, Contact, Instance, Transient, Wait};
        match self {
            Self::Connect => (Transient, "connect", "no connection to the server"),
            Self::Timeout => (Transient, "timeout", "no answer in time"),
            Self::Interrupted => (Transient, "interrupted", "the connection died before the answer"),
            Self::Server => (Transient, "server", "the server failed"),
            Self::Decode => (Transient, "decode", "the answer cannot be understood"),
            Self::RateLimited => (Wait, "rate_limited", "too many calls"),
            Self::QuotaReached => (Wait, "quota_reached", "the quota is spent"),
            Self::SessionNotReady => (Wait, "session_not_ready", "the instance's session is not working"),
            Self::Unauthorized => (Instance, "unauthorized", "the access token was refused"),
            Self::Forbidden => (Instance, "forbidden", "the account may not do this"),
            Self::UnknownInstance => (Instance, "unknown_instance", "the instance is unknown or unlinked"),
            Self::Rejected => (Contact, "rejected", "the server refused the request"),
            Self::Unclear => (Transient, "unclear", "the server refused it in words that are not known"),
            Self::Unkept => (Transient, "unkept", "the server accepted it, and the address book does not show it"),
            Self::Route => (Configuration, "route", "the server does not know the route"),
            Self::Configuration => (Configuration, "configuration", "the client is set up wrongly"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for ErrorKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = Cow::<'de, str>::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|kind| kind.code() == code);
        known.copied().ok_or_else(|| D::Error::custom(format_args!("no kind of error is called {code:?}")))
    }
}

/// The longest word kept that a server has for an error, in bytes.
const MAX_CODE: usize = 64;
/// The longest message kept of a server, in bytes.
const MAX_MESSAGE: usize = 256;

/// The start of a text, at most `max` bytes and whole characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// What is kept of a text that came from outside; `None` if nothing is left.
fn kept(text: &str, max: usize) -> Option<Box<str>> {
    let kept: String = text.chars().filter(|char| !char.is_control()).take(max).collect();
    let kept = cut(&kept, max).trim();
    (!kept.is_empty()).then(|| kept.into())
}

impl Error {
    /// Makes an error of a kind, for implementations of [`AddressBook`](crate::AddressBook).
    ///
    /// Transient kinds other than [`ErrorKind::Connect`] are [in doubt](Self::is_in_doubt), until
    /// [`without_doubt`](Self::without_doubt) says otherwise.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wawp_contacts::{Error, ErrorClass, ErrorKind};
    ///
    /// let busy = Error::new(ErrorKind::Server).with_status(503).with_retry_after(Duration::from_secs(7));
    /// assert_eq!((busy.class(), busy.is_in_doubt()), (ErrorClass::Transient, true));
    /// assert_eq!(busy.without_doubt().with_hint("ask less").to_string(), "the server failed (HTTP 503); ask less");
    /// ```
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            status: None,
            attempts: 1,
            doubt: kind.class() == ErrorClass::Transient && kind != ErrorKind::Connect,
            retry_after: None,
            code: None,
            message: None,
            hint: None,
            source: None,
        }))
    }

    /// Adds how long the server asked to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds what the server said: control characters are dropped and it is cut to 256 bytes.
    ///
    /// Secrets have to be taken out before, for instance by a [`Redactor`](crate::redact::Redactor).
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        self.0.message = kept(message, MAX_MESSAGE);
        self
    }

    /// Adds the server's own short word for the error: control characters are dropped and it is cut to 64 bytes.
    ///
    /// Secrets have to be taken out before, as in a [message](Self::with_message).
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.0.code = kept(code, MAX_CODE);
        self
    }

    /// Adds the HTTP status of the answer.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds what to try, in one clause that follows a semicolon.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the error that this one follows from, which [`source`](StdError::source) shows; it may name no secret.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Sets how many requests were made, 1 until then; 0 says that nothing was sent.
    #[must_use]
    pub fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Says that nothing can have been changed: the call was a read, or it never left.
    #[must_use]
    pub fn without_doubt(mut self) -> Self {
        self.0.doubt = false;
        self
    }

    /// Says that this or an earlier attempt may have been carried out.
    pub(crate) fn with_doubt(mut self, doubt: bool) -> Self {
        self.0.doubt |= doubt;
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it.
    ///
    /// # Troubleshooting
    ///
    /// - [`ErrorClass::Contact`]: look at [`code`](Self::code) and [`message`](Self::message), then at the chat id and the name. The
    ///   same call will fail again.
    /// - [`ErrorClass::Instance`]: no call of this instance will work. Log in again, renew the token or the plan.
    /// - [`ErrorClass::Wait`]: leave the instance alone for [`retry_after`](Self::retry_after), or with backoff if that is `None`.
    /// - [`ErrorClass::Transient`]: make the same call again with backoff; setting a name twice is harmless.
    /// - [`ErrorClass::Configuration`]: the text of the error says what to change in the client's builder.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.kind.class()
    }

    /// Whether the same call may work if it is made again with backoff.
    ///
    /// # Troubleshooting
    ///
    /// From a [`Client`](crate::Client) method that retries, it means that the [`RetryPolicy`](crate::RetryPolicy) gave up:
    /// [`attempts`](Self::attempts) says after how many requests. Should that happen often, look at the
    /// [`source`](std::error::Error::source) chain for the network's reason, and whether the timeout is longer than the 15 s
    /// for which the server waits for a sleeping session.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.class() == ErrorClass::Transient
    }

    /// Whether the request may have been carried out although no proof came back.
    ///
    /// # Troubleshooting
    ///
    /// Neither believe nor disbelieve that the name was set: set the newest name again. With retries it tells of all attempts
    /// together: a refused connection that follows a timeout is still in doubt.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.0.doubt
    }

    /// How long the server asked to wait before the next call.
    ///
    /// # Troubleshooting
    ///
    /// The client itself waits if that fits into its retry deadline. A longer wait comes back at once with this value, and until
    /// it has passed, every call through a clone of that client fails without being sent ([`attempts`](Self::attempts) is 0).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What to try, if that is known: a clause, as the text of the error ends with.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How many requests were made; 0 if nothing could be sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The server's own short word for the error, such as `missing_param`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What the server said, at most 256 bytes, with everything that looks like a secret taken out.
    ///
    /// # Troubleshooting
    ///
    /// It may repeat a name or a number, so it is in neither `Display` nor `Debug`: log it only where those may be logged.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.phrase())?;
        if let Some(status) = self.0.status {
            write!(f, " (HTTP {status})")?;
        }
        if self.0.attempts > 1 {
            write!(f, " after {} attempts", self.0.attempts)?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` prints of an error that it returns is this: so it says what `Display` does, what to try included.
        f.debug_struct("Error")
            .field("text", &self.to_string())
            .field("kind", &self.0.kind)
            .field("status", &self.0.status)
            .field("attempts", &self.0.attempts)
            .field("doubt", &self.0.doubt)
            .field("retry_after", &self.0.retry_after)
            .field("code", &self.0.code)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }

    #[test]
    fn display_says_what_happened_and_what_to_try_but_not_the_cause_or_the_message() {
        let error = Error::new(ErrorKind::Route)
            .with_status(405)
            .with_message("Cannot POST")
            .with_hint("try another route")
            .because("the cause")
            .after(2);
        assert_eq!(
            error.to_string(),
            "the server does not know the route (HTTP 405) after 2 attempts; try another route"
        );
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cause"));
        assert!(!format!("{error:?}").contains("Cannot"));
    }

    #[test]
    fn a_message_is_one_line_of_at_most_256_bytes_and_whole_characters() {
        let error = Error::new(ErrorKind::Server).with_message(&format!("a\r\nb{}", "é".repeat(300)));
        let message = error.message().unwrap();
        assert!(message.starts_with("abé"));
        assert_eq!(message.len(), 256);
        assert_eq!(Error::new(ErrorKind::Server).with_message("\0 \n").message(), None);
    }

    #[test]
    fn only_transient_kinds_that_were_sent_are_in_doubt() {
        use ErrorKind::{Connect, Decode, Interrupted, RateLimited, Rejected, Server, SessionNotReady, Timeout};
        for kind in [Timeout, Interrupted, Server, Decode, ErrorKind::Unclear] {
            assert!(Error::new(kind).is_in_doubt(), "{kind:?}");
            assert!(!Error::new(kind).without_doubt().is_in_doubt(), "{kind:?}");
        }
        for kind in [Connect, RateLimited, SessionNotReady, Rejected] {
            assert!(!Error::new(kind).is_in_doubt(), "{kind:?}");
        }
    }

    #[test]
    fn a_kind_is_stored_as_its_code() {
        for kind in ErrorKind::ALL {
            let text = serde_json::to_string(kind).unwrap();
            assert_eq!(text, format!("{:?}", kind.code()));
            assert_eq!(serde_json::from_str::<ErrorKind>(&text).unwrap(), *kind);
        }
        assert!(serde_json::from_str::<ErrorKind>("\"no_such\"").is_err());
        assert_eq!(serde_json::to_string(&ErrorClass::Wait).unwrap(), "\"wait\"");
    }

    #[test]
    fn whoever_makes_an_error_can_say_all_of_it() {
        let error = Error::new(ErrorKind::Rejected).with_code("bad\n_id").with_hint(format!("give {} digits", 7));
        assert_eq!((error.code(), error.hint()), (Some("bad_id"), Some("give 7 digits")));
        assert_eq!(Error::new(ErrorKind::Rejected).with_code(&"x".repeat(99)).code().map(str::len), Some(64));
    }
}
