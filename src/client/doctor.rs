//! What is true for one account, where the API's documents contradict each other.
//!
//! A [`Doctor`] asks the server itself: which of the two routes and the four credential styles work, whether contacts and privacy ids can be
//! read, how the session is, which rate limits there are, how the clocks differ, how long an answer takes, and whether it comes
//! through a proxy. The [`Diagnosis`] says what each finding means and how to set up a client.
//!
//! It **writes nothing**, unless [`write_test`](Doctor::write_test) names a contact. It makes some fifteen requests, one after the other
//! and at the pace of the client that is examined: a quarter of a minute by default.
//!
//! # How the route is found without a write
//!
//! `POST /v2/contacts/update` is sent with credentials alone, without a contact and without a name. A server that has the route
//! complains of the missing contact (400 `missing_param`); one that has not answers 404 or 405. The other route names the contact in its path,
//! so that nothing can be left out: it is asked for its methods (`OPTIONS`), and known only where the answer has `PUT` in its
//! `Allow` header. Where neither tells, the route stays unknown until a write test.

mod diagnosis;
mod judge;
mod treat;
mod witness;

use std::{sync::Arc, time::Duration};

use reqwest::Method;

pub use self::diagnosis::{Diagnosis, Finding, Grade, WriteTest};
use self::witness::Witness;
use super::{
    ClientBuilder, Credentials, Route, now,
    transport::{Call, Setup, Transport},
};
use crate::{
    ChatId, Error, ErrorKind, RetryPolicy,
    book::{LidPage, Page, Session},
    naming::clean,
    pace::Limiter,
    redact::Redactor,
    retry::Budget,
    wire::{
        answer::{self, Read},
        read,
    },
};

/// The longest pause of the server that is waited for: a diagnosis is to be there within a minute.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stands for a contact in a path that is only asked for its methods.
const NOBODY: &str = "15550000000%40c.us";

/// Finds out how a server is to be called for one account; see the [module](self).
///
/// ```
/// # #[cfg(feature = "testkit")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use wawp_contacts::{Client, Credentials, Pace, client::doctor::Doctor, testkit::WawpServer};
///
/// let server = WawpServer::start().await;
/// let builder = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
/// let diagnosis = Doctor::new(builder.pace(Pace::unlimited())).examine().await?;
///
/// assert!(diagnosis.is_well(), "{diagnosis}");
/// assert_eq!(diagnosis.credentials, Some(Credentials::Body));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a doctor finds out nothing until it examines"]
pub struct Doctor {
    builder: ClientBuilder,
    write_test: Option<ChatId>,
}

impl Doctor {
    /// Examines the server of a client that is set up like this. Its route and credentials are preferred where several work; its pace
    /// holds for all requests.
    pub fn new(builder: ClientBuilder) -> Self {
        Self { builder, write_test: None }
    }

    /// Also writes, to **this contact alone**: reads its name, sets a marked one, reads it back, and puts the name back as it was.
    ///
    /// Nothing is written where the name cannot be read, is not saved, or could not be put back exactly. A read tells the full name only:
    /// its first word is put back as the first name, the rest as the last name. Let it finish: if the future is dropped in the
    /// middle, the marked name stays.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ChatId, Client, Pace, client::doctor::Doctor, testkit::{Entry, WawpServer}};
    ///
    /// let server = WawpServer::start().await;
    /// let ann: ChatId = "15551234567@c.us".parse()?;
    /// server.seed([Entry::saved(&ann, "Ann Lee")]);
    ///
    /// let builder = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
    /// let diagnosis = Doctor::new(builder.pace(Pace::unlimited())).write_test(ann.clone()).examine().await?;
    ///
    /// let test = diagnosis.write_test.as_ref().unwrap();
    /// assert_eq!((test.shown, test.restored), (Some(true), Some(true)), "{diagnosis}");
    /// server.assert_contact(&ann, "Ann Lee");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_test(mut self, chat: ChatId) -> Self {
        self.write_test = Some(chat);
        self
    }

    /// Asks the server, and says what was found.
    ///
    /// Whatever the server answers, and if there is none, is a finding and no error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] where [`ClientBuilder::build`] has it.
    pub async fn examine(self) -> Result<Diagnosis, Error> {
        let mut visit = Visit::new(self.builder)?;
        let doors = visit.knock().await;
        let facts = visit.look_around(doors).await;
        Ok(visit.conclude(facts, self.write_test).await)
    }
}

/// One examination under way.
struct Visit {
    setup: Setup,
    witness: Arc<Witness>,
    redactor: Redactor,
    limiter: Limiter,
    budget: Budget,
    /// How a single question is repeated: hardly, there are many.
    quick: RetryPolicy,
    /// How it is repeated that a name is put back: as often as it takes.
    stubborn: RetryPolicy,
    route: Route,
    wish: Option<Credentials>,
    asks_by_get: bool,
    /// Why no further question is asked.
    over: Option<ErrorKind>,
}

/// What one credential style leads to.
struct Door {
    style: Credentials,
    session: Result<Session, Error>,
    contacts: Result<Page, Error>,
    /// The answer to an update without a contact; `None` if it was not asked.
    update: Option<Result<(), Error>>,
}

/// Whether a style works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Works,
    Refused,
    Unclear,
}

/// What was answered, before it is judged.
struct Facts {
    doors: Vec<Door>,
    chosen: Option<usize>,
    has_update: Option<bool>,
    has_put: Option<bool>,
    lids: Option<Result<LidPage, Error>>,
    policies: Option<Result<Vec<(String, u64)>, Error>>,
}

impl Door {
    fn answers(&self) -> impl Iterator<Item = Option<&Error>> {
        let update = self.update.iter().map(|answer| answer.as_ref().err());
        [self.session.as_ref().err(), self.contacts.as_ref().err()].into_iter().chain(update)
    }

    fn update_error(&self) -> Option<&Error> {
        self.update.as_ref()?.as_ref().err()
    }

    /// One answer that does not take the credentials is enough to refuse a style: a sync needs them all.
    fn access(&self) -> Access {
        use ErrorKind::{Configuration, SessionNotReady, Unauthorized, UnknownInstance};
        let is_refusal = |error: &Error| matches!(error.kind(), Configuration | Unauthorized | UnknownInstance);
        let is_admission = |error: Option<&Error>| error.is_none_or(|error| error.kind() == SessionNotReady);
        if self.answers().flatten().any(is_refusal) {
            Access::Refused
        } else if self.answers().take(2).any(is_admission) {
            Access::Works
        } else {
            Access::Unclear
        }
    }
}

impl Visit {
    fn new(builder: ClientBuilder) -> Result<Self, Error> {
        let (pace, retry, route, wish) = (builder.pace, builder.retry.clone(), builder.route, builder.credentials);
        let mut setup = builder.setup(witness::is_telling)?;
        let witness = Arc::new(Witness::new(Arc::clone(&setup.http)));
        setup.http = Arc::<Witness>::clone(&witness);
        let attempts = if retry.allows(1) { 2 } else { 1 };
        // A builder that cannot be built in the way it was set up is an error, not a finding.
        Transport::new(setup.clone())?;
        Ok(Self {
            redactor: Redactor::new(setup.token.clone()).hiding(setup.instance.as_str()),
            witness,
            limiter: Limiter::new(pace),
            budget: Budget::default(),
            quick: retry.clone().max_attempts(attempts).deadline(PATIENCE),
            stubborn: retry.max_attempts(4),
            route,
            wish,
            asks_by_get: false,
            over: None,
            setup,
        })
    }

    /// The styles, the one that was set first.
    fn styles(&self) -> Vec<Credentials> {
        let mut styles = Credentials::ALL.to_vec();
        styles.sort_by_key(|style| Some(*style) != self.wish);
        styles
    }

    fn transport(&self, route: Route, style: Credentials) -> Result<Transport, Error> {
        Transport::new(Setup { route, credentials: style, ..self.setup.clone() })
    }

    /// Makes a call with the retries of a policy, whatever went before.
    async fn call<T>(&self, to: &Transport, call: &Call, read: Read<T>, policy: &RetryPolicy) -> Result<T, Error> {
        let mut attempts = policy.start(&self.budget, now());
        loop {
            let answer = match self.limiter.turn(policy.total()).await {
                Ok(()) => {
                    let begun = self.limiter.begin();
                    let answer = to.attempt(call, attempts.number(), read).await;
                    self.limiter.heed(begun, &answer);
                    answer
                }
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // Nobody scans a code within a diagnosis.
            if error.kind() == ErrorKind::SessionNotReady {
                return Err(error);
            }
            let wait = attempts.failed(error, now(), fastrand::f64())?;
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks a question, unless it is clear that there will be no answer.
    async fn ask<T>(&mut self, to: &Transport, call: &Call, read: Read<T>) -> Result<T, Error> {
        if let Some(kind) = self.over {
            return Err(Error::new(kind).without_doubt().after(0));
        }
        let answer = self.call(to, call, read, &self.quick).await;
        if let Err(error) = &answer {
            let is_full = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::QuotaReached);
            if is_full || !self.witness.has_answers() {
                self.over = Some(error.kind());
            }
        }
        answer
    }

    /// Tries every style.
    async fn knock(&mut self) -> Vec<Door> {
        let mut doors: Vec<Door> = Vec::new();
        let mut has_update = None;
        for style in self.styles() {
            let door = match self.transport(Route::Update, style) {
                Ok(to) => self.try_style(style, &to, has_update != Some(false)).await,
                Err(error) => {
                    let again = Error::new(error.kind()).without_doubt().after(0);
                    Door { style, session: Err(error), contacts: Err(again), update: None }
                }
            };
            has_update = has_update.or_else(|| tells_the_route(door.update.as_ref()?));
            doors.push(door);
        }
        doors
    }

    async fn try_style(&mut self, style: Credentials, to: &Transport, tries_update: bool) -> Door {
        let session = self.session(to).await;
        let contacts = self.ask(to, &to.contacts(0, 1), read::contacts).await;
        let mut door = Door { style, session, contacts, update: None };
        if tries_update && door.access() != Access::Refused {
            door.update = Some(self.ask(to, &to.empty_update(), answer::acknowledges).await);
        }
        door
    }

    /// By POST, and by GET where the server does not know that.
    async fn session(&mut self, to: &Transport) -> Result<Session, Error> {
        if !self.asks_by_get {
            match self.ask(to, &to.session(Method::POST), read::session).await {
                Err(error) if error.kind() == ErrorKind::Route => self.asks_by_get = true,
                answer => return answer,
            }
        }
        self.ask(to, &to.session(Method::GET), read::session).await
    }

    /// Asks in the best style what has to be asked once.
    async fn look_around(&mut self, doors: Vec<Door>) -> Facts {
        let has_update = doors.iter().find_map(|door| tells_the_route(door.update.as_ref()?));
        let mut facts = Facts { chosen: None, has_update, has_put: None, lids: None, policies: None, doors };
        facts.chosen = best(&facts.doors, self.wish, self.route);
        if let Some(to) = self.chosen(&facts) {
            facts.has_put = self.asks_for_put(&to).await;
            facts.policies = Some(self.ask(&to, &to.rate_limit(), read::limits).await);
            facts.lids = Some(self.ask(&to, &to.lids(0, 1), read::mappings).await);
        }
        if let Some(route) = facts.route(self.route) {
            facts.chosen = best(&facts.doors, self.wish, route);
        }
        facts
    }

    fn chosen(&self, facts: &Facts) -> Option<Transport> {
        self.transport(Route::Update, facts.style()?).ok()
    }

    async fn asks_for_put(&mut self, to: &Transport) -> Option<bool> {
        let answer = self.ask(to, &to.methods_of_contact(NOBODY), |_| Ok(())).await;
        let was_sent = answer.map_or_else(|error| error.attempts() > 0 && error.status().is_some(), |()| true);
        let allow = self.witness.last().filter(|_| was_sent)?.header("allow")?.to_ascii_uppercase();
        (!allow.trim().is_empty()).then(|| allow.split(',').any(|method| method.trim() == "PUT"))
    }

    /// What may be shown of a text of the server.
    fn told(&self, text: &str) -> String {
        clean(&self.redactor.clean(text)).chars().take(128).collect()
    }

    async fn conclude(mut self, facts: Facts, write_test: Option<ChatId>) -> Diagnosis {
        let mut diagnosis = Diagnosis {
            instance: self.setup.instance.clone(),
            route: facts.route(self.route),
            credentials: facts.style(),
            styles: Vec::new(),
            reads: None,
            lids: None,
            session: None,
            account: None,
            pushname: None,
            limits: None,
            clock_ahead_seconds: self.witness.ahead(),
            answer_millis: None,
            proxy: None,
            write_test: None,
            findings: Vec::new(),
        };
        self.judge_session(&facts, &mut diagnosis);
        let set = self.wish.unwrap_or(Credentials::of(diagnosis.route.unwrap_or(self.route)));
        judge::judge_credentials(&facts, set, &mut diagnosis);
        let written = match write_test {
            Some(chat) => Some(self.treat(chat, &facts, &mut diagnosis).await),
            None => None,
        };
        judge::judge_route(&facts, self.route, &mut diagnosis);
        diagnosis.findings.extend(written);
        judge::judge_reads(&facts, &mut diagnosis);
        self.judge_limits(&facts, &mut diagnosis);
        judge::judge_clock(&mut diagnosis);
        self.judge_speed(&mut diagnosis);
        self.judge_proxy(&mut diagnosis);
        diagnosis
    }
}

impl Facts {
    fn style(&self) -> Option<Credentials> {
        self.chosen.map(|index| self.doors[index].style)
    }

    /// The route that is there; the preferred one if both are.
    fn route(&self, preferred: Route) -> Option<Route> {
        match (self.has_update, self.has_put) {
            (Some(true), Some(true)) => Some(preferred),
            (Some(true), _) => Some(Route::Update),
            (_, Some(true)) => Some(Route::PutContact),
            _ => None,
        }
    }
}

/// The style to use on a route: the one that was set, else the route's own, else the first that works.
fn best(doors: &[Door], wish: Option<Credentials>, route: Route) -> Option<usize> {
    let wish = wish.unwrap_or(Credentials::of(route));
    let works = doors.iter().enumerate().filter(|(_, door)| door.access() == Access::Works);
    works.min_by_key(|(_, door)| door.style != wish).map(|(index, _)| index)
}

/// What the answer to an update without a contact says of the route.
fn tells_the_route(answer: &Result<(), Error>) -> Option<bool> {
    match answer.as_ref().map_err(Error::kind) {
        Ok(()) | Err(ErrorKind::Rejected | ErrorKind::SessionNotReady) => Some(true),
        Err(ErrorKind::Route) => Some(false),
        Err(_) => None,
    }
}
