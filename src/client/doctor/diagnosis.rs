use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{ChatId, ClientBuilder, Credentials, InstanceId, Route, book::SessionStatus};

/// What a [`Doctor`](super::Doctor) found out; `None` in a field says that it could not be found out.
///
/// Its `Display` is a page for a person, its serialised form one object for a program. Neither holds the token. Both hold the
/// account's own chat id and pushname, and after a write test the contact that was named for it.
///
/// ```
/// # #[cfg(feature = "testkit")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use wawp_contacts::{Client, Pace, client::doctor::Doctor, testkit::WawpServer};
///
/// let server = WawpServer::start().await;
/// let builder = || Client::builder(server.instance().clone(), server.token()).base_url(server.url());
/// let diagnosis = Doctor::new(builder().pace(Pace::unlimited())).examine().await?;
/// let found = serde_json::to_value(&diagnosis)?;
/// assert_eq!((&found["route"], &found["session"]), (&"update".into(), &"WORKING".into()));
/// assert_eq!(found["credentials"], "body");
///
/// let client = diagnosis.apply(builder()).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The instance that was examined.
    pub instance: InstanceId,
    /// The route that sets names. Without a write test it is known only where the server tells it to a request that writes nothing.
    pub route: Option<Route>,
    /// The style that works for reads, and for writes as far as that was seen; the one that was set where several work.
    pub credentials: Option<Credentials>,
    /// All styles that work.
    pub styles: Vec<Credentials>,
    /// Whether the address book can be read.
    pub reads: Option<bool>,
    /// Whether the phones behind privacy ids can be read.
    pub lids: Option<bool>,
    /// The state of the session.
    pub session: Option<SessionStatus>,
    /// The chat of the account that is linked.
    pub account: Option<ChatId>,
    /// The public name of the account that is linked.
    pub pushname: Option<String>,
    /// The rate limits that the server tells, by its own names: of its policies, and of the headers of its answers.
    pub limits: Option<BTreeMap<String, String>>,
    /// How many seconds the server's clock is ahead of ours; negative if it is behind.
    pub clock_ahead_seconds: Option<i64>,
    /// The median of the times that reads took to be answered, in milliseconds, the way there and back included.
    pub answer_millis: Option<u64>,
    /// Whether an answer showed that it came through a proxy, or was a page for a browser.
    pub proxy: Option<bool>,
    /// What came of the write test, if one was asked for.
    pub write_test: Option<WriteTest>,
    /// All of it in words, in the order in which to read it.
    pub findings: Vec<Finding>,
}

/// One thing that was found, what it means and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about, in one word: `session`, `credentials`, `route`, `reads`, `lids`, `limits`, `clock`, `speed`, `proxy`, `write`.
    pub about: &'static str,
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What it means, and what to do.
    pub means: String,
}

/// How a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Not found out.
    Unknown,
    /// In the way of writing names: something has to be done.
    Bad,
}

/// What came of setting one name, reading it back, and putting it back as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WriteTest {
    /// The contact that was named for it.
    pub chat: ChatId,
    /// Whether a request that sets a name was sent.
    pub sent: bool,
    /// Whether the marked name was read back; `None` if none was set, or it could not be read.
    pub shown: Option<bool>,
    /// Whether a read showed the name as it was before; `None` if it was never changed.
    pub restored: Option<bool>,
    /// The name that was there before the test, if it was not [restored](Self::restored): set it by hand.
    pub was: Option<String>,
}

impl Diagnosis {
    /// Whether nothing [bad](Grade::Bad) was found: a client that is set up as it was for the doctor can write names, as far as that
    /// could be seen.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.grade != Grade::Bad)
    }

    /// Sets up a client with the route and the credentials that were found; what was not found out stays as it is.
    pub fn apply(&self, mut builder: ClientBuilder) -> ClientBuilder {
        if let Some(route) = self.route {
            builder = builder.route(route);
        }
        if let Some(credentials) = self.credentials {
            builder = builder.credentials(credentials);
        }
        builder
    }

    pub(super) fn note(
        &mut self,
        about: &'static str,
        grade: Grade,
        found: impl Into<String>,
        means: impl Into<String>,
    ) {
        self.findings.push(Finding { about, grade, found: found.into(), means: means.into() });
    }
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Unknown => "?",
            Self::Bad => "BAD",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}{:<6}{}", self.about, self.grade, self.found)?;
        let lines = wrapped(&self.means);
        lines.iter().try_for_each(|line| write!(f, "\n{:18}{line}", ""))
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18}{}", "instance", self.instance)?;
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let builder = [
            self.route.map(|route| format!(".route(Route::{route:?})")),
            self.credentials.map(|style| format!(".credentials(Credentials::{style:?})")),
        ];
        let found: String = builder.into_iter().flatten().collect();
        let none = "none: neither the route nor the credentials could be found out";
        write!(f, "{:<18}{}", "builder", if found.is_empty() { none } else { &found })
    }
}

/// Lines of at most 96 characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 96 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
