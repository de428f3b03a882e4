use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Answer,
    book::{Book, Window, full_name},
    request::{Incoming, Route},
    rule::{Action, Rules},
};
use crate::{ChatId, InstanceId, Phone};

/// One update as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The instance that was called.
    pub instance: InstanceId,
    /// The chat as it was sent; empty if there was none.
    pub chat: String,
    /// The first name, if one was sent.
    pub first: Option<String>,
    /// The last name, if one was sent.
    pub last: Option<String>,
    /// When the update arrived.
    pub at: Instant,
    /// The status of the answer; `None` if the connection was closed instead.
    pub status: Option<u16>,
}

impl Call {
    /// The full name that was sent, blank if there was none.
    #[must_use]
    pub fn name(&self) -> String {
        full_name(self.first.as_deref(), self.last.as_deref()).unwrap_or_default()
    }

    /// Whether the answer said that the name was saved.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} + {:?}: ", self.chat, self.first, self.last)?;
        match self.status {
            Some(status) => write!(f, "answered {status}"),
            None => f.write_str("connection closed"),
        }
    }
}

/// What goes back to the client.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    Hangup,
}

impl Reply {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status()),
            Self::Hangup => None,
        }
    }
}

/// One instance: its address book, what may go wrong with it, and what arrived.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) instance: InstanceId,
    pub(super) book: Book,
    pub(super) rules: Rules,
    pub(super) calls: Vec<Call>,
    pub(super) reads: usize,
    pub(super) linked: bool,
    pub(super) status: String,
    /// The account that is linked.
    pub(super) me: ChatId,
    pub(super) reads_refused: Option<Answer>,
    pub(super) limit: Option<u32>,
    recent: VecDeque<Instant>,
}

impl Account {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            book: Book::default(),
            rules: Rules::default(),
            calls: Vec::new(),
            reads: 0,
            linked: true,
            status: "WORKING".to_owned(),
            me: default_account(),
            reads_refused: None,
            limit: None,
            recent: VecDeque::new(),
        }
    }

    pub(super) fn update(&mut self, request: &Incoming, admitted: Result<(), Answer>) -> Reply {
        let at = Instant::now();
        let reply = admitted.and_then(|()| self.rename(request, at)).unwrap_or_else(Reply::Answer);
        self.calls.push(Call {
            instance: self.instance.clone(),
            chat: request.chat().unwrap_or_default().to_owned(),
            first: request.text("firstName").map(ToOwned::to_owned),
            last: request.text("lastName").map(ToOwned::to_owned),
            at,
            status: reply.status(),
        });
        reply
    }

    pub(super) fn read(&mut self, request: &Incoming, admitted: Result<(), Answer>) -> Reply {
        self.reads += 1;
        let answer = admitted.and_then(|()| self.answer_read(request)).map(|body| Answer::json(200, &body));
        Reply::Answer(answer.unwrap_or_else(|refusal| refusal))
    }

    fn rename(&mut self, request: &Incoming, now: Instant) -> Result<Reply, Answer> {
        self.keep_pace(now)?;
        self.require_working()?;
        let chat = person(request.chat().ok_or_else(|| Answer::missing_param("chatId"))?)?;
        let (first, last) = (request.text("firstName"), request.text("lastName"));
        if last == Some("") {
            return Err(Answer::engine_error("lastName must not be empty"));
        }
        let (action, applied) = self.rules.meet(&chat).unwrap_or_else(|| (Action::Answer(Answer::ok()), true));
        if applied {
            self.book.rename(&chat, full_name(first, last));
        }
        Ok(match action {
            Action::Answer(answer) => Reply::Answer(answer),
            Action::Hangup => Reply::Hangup,
        })
    }

    fn answer_read(&self, request: &Incoming) -> Result<Value, Answer> {
        if !matches!(request.route, Route::Session | Route::RateLimit) {
            self.require_working()?;
            self.reads_refused.clone().map_or(Ok(()), Err)?;
        }
        Ok(match &request.route {
            Route::Contacts => self.book.page(window(request)?),
            Route::Contact => self.book.item(person(required(request, "contactId")?)?.as_str()),
            Route::Exists => self.book.exists(&plain_phone(required(request, "phone")?)?),
            Route::Lids => self.book.lids(window(request)?),
            Route::LidCount => self.book.lid_count(),
            Route::Lid(lid) => self.book.lid(&person(lid)?),
            Route::LidOfPhone(number) => self.book.lid_of(&plain_phone(number)?),
            Route::Session => self.session(),
            Route::RateLimit | Route::Update { .. } => rate_limit_policies(),
        })
    }

    fn session(&self) -> Value {
        let me = (self.status == "WORKING").then(|| json!({"id": self.me.as_str(), "pushName": "Example Shop"}));
        json!({"name": self.instance.as_str(), "status": self.status, "me": me})
    }

    fn require_working(&self) -> Result<(), Answer> {
        match self.status.as_str() {
            "WORKING" => Ok(()),
            status => Err(Answer::session_not_working(self.instance.as_str(), status)),
        }
    }

    /// Refuses an update once as many as allowed were let through within the last second.
    fn keep_pace(&mut self, now: Instant) -> Result<(), Answer> {
        const WINDOW: Duration = Duration::from_secs(1);
        let Some(limit) = self.limit else { return Ok(()) };
        while self.recent.front().is_some_and(|&at| now.duration_since(at) >= WINDOW) {
            self.recent.pop_front();
        }
        if u32::try_from(self.recent.len()).is_ok_and(|let_through| let_through < limit) {
            self.recent.push_back(now);
            return Ok(());
        }
        Err(Answer::too_many_requests(WINDOW))
    }
}

fn default_account() -> ChatId {
    match "15550000000@c.us".parse() {
        Ok(me) => me,
        Err(error) => unreachable!("{error}"),
    }
}

fn required<'a>(request: &'a Incoming, key: &str) -> Result<&'a str, Answer> {
    request.query(key).ok_or_else(|| Answer::missing_param(key))
}

/// Takes only the spellings that the server is known to take, not all that [`ChatId`] can read.
fn person(text: &str) -> Result<ChatId, Answer> {
    let chat = text.parse::<ChatId>().ok().filter(|chat| {
        let same_person = text.strip_suffix("@s.whatsapp.net").map(|user| format!("{user}@c.us"));
        same_person.as_deref().unwrap_or(text) == chat.as_str()
    });
    chat.ok_or_else(|| Answer::invalid_param("this is no chat id of a person"))
}

fn plain_phone(text: &str) -> Result<Phone, Answer> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let phone = digits.parse::<Phone>().ok().filter(|phone| phone.as_str() == digits);
    phone.ok_or_else(|| Answer::invalid_param("a phone is digits with an optional +, country code first"))
}

fn window(request: &Incoming) -> Result<Window, Answer> {
    const LARGEST: usize = 1_000;
    let number = |key, default| match request.query(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Answer::invalid_param("limit and offset are whole numbers")),
    };
    let limit = number("limit", 100)?;
    if !(1..=LARGEST).contains(&limit) {
        return Err(Answer::invalid_param("limit is 1 to 1000"));
    }
    let by_name = match request.query("sortBy") {
        None | Some("id") => false,
        Some("name") => true,
        Some(_) => return Err(Answer::invalid_param("sortBy is name or id")),
    };
    let descending = match request.query("sortOrder") {
        None | Some("ASC" | "asc") => false,
        Some("DESC" | "desc") => true,
        Some(_) => return Err(Answer::invalid_param("sortOrder is ASC or DESC")),
    };
    Ok(Window { limit, offset: number("offset", 0)?, by_name, descending })
}

fn rate_limit_policies() -> Value {
    let limits = json!({"send_message_per_minute": 20, "check_req_per_minute": 60, "account_protection_seconds": 5});
    json!({"policies": [{"name": "default", "limits": limits}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_holds_more_updates_than_the_limit() {
        let mut account = Account::new("a".parse().unwrap());
        account.limit = Some(2);
        let start = Instant::now();
        let let_through = |ms| account.keep_pace(start + Duration::from_millis(ms)).is_ok();
        assert_eq!([0, 400, 999, 1_000, 1_399, 1_400].map(let_through), [true, true, false, true, false, true]);
    }
}
