use std::{error::Error as StdError, fmt, time::Duration};

/// Why a call to an address book failed.
///
/// One word wide. Match on [`kind`](Self::kind) for what happened and on [`class`](Self::class) for what to do about it.
/// No error names a token, a URL with a query, a contact's name or the body of an answer.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    status: Option<u16>,
    attempts: u32,
    doubt: bool,
    retry_after: Option<Duration>,
    code: Option<Box<str>>,
    message: Option<Box<str>>,
    hint: Option<&'static str>,
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
    /// The server refused the request for what is in it (400, and refusals inside a 200).
    Rejected,
    /// The server does not know the route (another 404, or 405).
    Route,
    /// The client was set up with something that cannot work.
    Configuration,
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
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
        Self::Route,
        Self::Configuration,
    ];

    /// What to do about it.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Connect | Self::Timeout | Self::Interrupted | Self::Server | Self::Decode => Class::Transient,
            Self::RateLimited | Self::QuotaReached | Self::SessionNotReady => Class::Wait,
            Self::Unauthorized | Self::Forbidden | Self::UnknownInstance => Class::Instance,
            Self::Rejected => Class::Contact,
            Self::Route | Self::Configuration => Class::Configuration,
        }
    }

    /// The word in reports: `rate_limited`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Server => "server",
            Self::Decode => "decode",
            Self::RateLimited => "rate_limited",
            Self::QuotaReached => "quota_reached",
            Self::SessionNotReady => "session_not_ready",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::UnknownInstance => "unknown_instance",
            Self::Rejected => "rejected",
            Self::Route => "route",
            Self::Configuration => "configuration",
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::Connect => "no connection to the server",
            Self::Timeout => "no answer in time",
            Self::Interrupted => "the connection died before the answer",
            Self::Server => "the server failed",
            Self::Decode => "the answer cannot be understood",
            Self::RateLimited => "too many calls",
            Self::QuotaReached => "the quota is spent",
            Self::SessionNotReady => "the instance's session is not working",
            Self::Unauthorized => "the access token was refused",
            Self::Forbidden => "the account may not do this",
            Self::UnknownInstance => "the instance is unknown or unlinked",
            Self::Rejected => "the server refused the request",
            Self::Route => "the server does not know the route",
            Self::Configuration => "the client is set up wrongly",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// The longest message kept of a server, in bytes.
const MAX_MESSAGE: usize = 256;

/// The start of a text, at most `max` bytes and whole characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

impl Error {
    /// Makes an error of a kind, for implementations of [`AddressBook`](crate::AddressBook).
    ///
    /// Transient kinds other than [`ErrorKind::Connect`] are [in doubt](Self::is_in_doubt).
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            status: None,
            attempts: 1,
            doubt: kind.class() == Class::Transient && kind != ErrorKind::Connect,
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
    /// Secrets have to be taken out before.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        let kept: String = message.chars().filter(|char| !char.is_control()).take(MAX_MESSAGE).collect();
        let kept = cut(&kept, MAX_MESSAGE).trim();
        self.0.message = (!kept.is_empty()).then(|| kept.into());
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

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_code(mut self, code: Option<String>) -> Self {
        self.0.code = code.map(Into::into);
        self
    }

    /// Adds what to try, in one clause that follows a semicolon.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
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
    /// - [`Class::Contact`]: look at [`code`](Self::code) and [`message`](Self::message), then at the chat id and the name. The
    ///   same call will fail again.
    /// - [`Class::Instance`]: no call of this instance will work. Log in again, renew the token or the plan.
    /// - [`Class::Wait`]: leave the instance alone for [`retry_after`](Self::retry_after), or with backoff if that is `None`.
    /// - [`Class::Transient`]: make the same call again with backoff; setting a name twice is harmless.
    /// - [`Class::Configuration`]: the text of the error says what to change in the client's builder.
    #[must_use]
    pub fn class(&self) -> Class {
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
        self.class() == Class::Transient
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
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
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
        if let Some(hint) = self.0.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
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
        for kind in [Timeout, Interrupted, Server, Decode] {
            assert!(Error::new(kind).is_in_doubt(), "{kind:?}");
            assert!(!Error::new(kind).without_doubt().is_in_doubt(), "{kind:?}");
        }
        for kind in [Connect, RateLimited, SessionNotReady, Rejected] {
            assert!(!Error::new(kind).is_in_doubt(), "{kind:?}");
        }
    }
}
