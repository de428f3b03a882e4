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
    retry_after: Option<Duration>,
    code: Option<Box<str>>,
    message: Option<Box<str>>,
    hint: Option<Box<str>>,
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

impl Error {
    /// Makes an error of a kind, for implementations of [`AddressBook`](crate::AddressBook).
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            status: None,
            attempts: 1,
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

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.0.kind.class()
    }

    /// Whether the same call may work if it is made again with backoff.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.class() == Class::Transient
    }

    /// Whether the request may have been carried out although no proof came back.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.is_transient() && self.0.kind != ErrorKind::Connect
    }

    /// How long the server asked to wait before the next call.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How many requests were made, at least one unless nothing could be sent.
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
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("status", &self.0.status)
            .field("attempts", &self.0.attempts)
            .field("retry_after", &self.0.retry_after)
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|error| error as _)
    }
}
