use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex},
};

use secrecy::{ExposeSecret, SecretString};
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use super::{
    Answer,
    account::{Account, Reply},
    lock,
    request::{Incoming, Route},
};
use crate::{Credentials, InstanceId};

/// Takes every request of the server and says what goes back.
///
/// wiremock asks a matcher first and a responder second, and holds its lock over both; only a mock of its own kind can close the
/// connection. So the matcher of the closing mock does the work, and the answering mock picks up what it left.
pub(super) struct Desk {
    accounts: Mutex<BTreeMap<Box<str>, Admission>>,
    reply: Mutex<Option<Answer>>,
    oddities: Mutex<Oddities>,
}

/// How a server differs from one that takes everything.
#[derive(Debug, Default)]
struct Oddities {
    route: Option<crate::Route>,
    style: Option<Credentials>,
    headers: Vec<(String, String)>,
}

/// An instance and who may use it.
struct Admission {
    token: SecretString,
    revoked: bool,
    account: Account,
}

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { accounts: Mutex::default(), reply: Mutex::default(), oddities: Mutex::default() })
    }

    /// Puts the desk in front of everything that arrives.
    pub(super) async fn open(self: &Arc<Self>, server: &MockServer) {
        Mock::given(Closing(Arc::clone(self)))
            .respond_with_err(|_: &Request| io::Error::from(io::ErrorKind::ConnectionReset))
            .with_priority(1)
            .mount(server)
            .await;
        Mock::given(any()).respond_with(Answering(Arc::clone(self))).mount(server).await;
    }

    pub(super) fn add(&self, instance: &InstanceId, token: SecretString) {
        let admission = Admission { token, revoked: false, account: Account::new(instance.clone()) };
        lock(&self.accounts).insert(instance.as_str().into(), admission);
    }

    pub(super) fn account<T>(&self, instance: &InstanceId, work: impl FnOnce(&mut Account) -> T) -> Option<T> {
        lock(&self.accounts).get_mut(instance.as_str()).map(|admission| work(&mut admission.account))
    }

    pub(super) fn revoke(&self, instance: &InstanceId, revoked: bool) {
        if let Some(admission) = lock(&self.accounts).get_mut(instance.as_str()) {
            admission.revoked = revoked;
        }
    }

    pub(super) fn take_only_route(&self, route: crate::Route) {
        lock(&self.oddities).route = Some(route);
    }

    pub(super) fn take_only_credentials(&self, style: Credentials) {
        lock(&self.oddities).style = Some(style);
    }

    pub(super) fn add_header(&self, name: &str, value: String) {
        lock(&self.oddities).headers.push((name.to_owned(), value));
    }

    fn dressed(&self, answer: Answer) -> Answer {
        let oddities = lock(&self.oddities);
        oddities.headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, value.as_str()))
    }

    fn handle(&self, request: &Request) -> Reply {
        match self.reply_to(request) {
            Reply::Answer(answer) => Reply::Answer(self.dressed(answer)),
            Reply::Hangup => Reply::Hangup,
        }
    }

    fn reply_to(&self, request: &Request) -> Reply {
        let (only_route, style) = {
            let oddities = lock(&self.oddities);
            (oddities.route, oddities.style)
        };
        let is_unknown = only_route.is_some_and(|only| Route::of_update(request).is_some_and(|route| route != only));
        let incoming = match Incoming::read(request) {
            Ok(incoming) => incoming,
            Err(_) if is_unknown => return Reply::Answer(Answer::unknown_route()),
            Err(answer) => return Reply::Answer(answer),
        };
        let refusal = if is_unknown {
            Some(Answer::unknown_route())
        } else {
            style.filter(|style| !incoming.is_styled(*style)).map(|_| Answer::unauthorized())
        };
        let mut accounts = lock(&self.accounts);
        let known = incoming.token().is_some_and(|token| accounts.values().any(|admission| admission.takes(token)));
        let admission = incoming.instance().and_then(|instance| accounts.get_mut(instance));
        match admission {
            Some(admission) => admission.serve(&incoming, refusal),
            None if is_unknown => Reply::Answer(Answer::unknown_route()),
            None if known => Reply::Answer(Answer::invalid_session()),
            None => Reply::Answer(Answer::unauthorized()),
        }
    }
}

impl Admission {
    fn takes(&self, token: &str) -> bool {
        !self.revoked && self.token.expose_secret() == token
    }

    fn serve(&mut self, incoming: &Incoming, refusal: Option<Answer>) -> Reply {
        let admitted = refusal.map_or_else(|| self.admit(incoming), Err);
        match incoming.route {
            Route::Update { .. } => self.account.update(incoming, admitted),
            _ => self.account.read(incoming, admitted),
        }
    }

    fn admit(&self, incoming: &Incoming) -> Result<(), Answer> {
        if !incoming.token().is_some_and(|token| self.takes(token)) {
            return Err(Answer::unauthorized());
        }
        if self.account.linked { Ok(()) } else { Err(Answer::invalid_session()) }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.accounts).keys()).finish()
    }
}

struct Closing(Arc<Desk>);

impl Match for Closing {
    fn matches(&self, request: &Request) -> bool {
        match self.0.handle(request) {
            Reply::Hangup => true,
            Reply::Answer(answer) => {
                *lock(&self.0.reply) = Some(answer);
                false
            }
        }
    }
}

struct Answering(Arc<Desk>);

impl Respond for Answering {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let answer = lock(&self.0.reply).take();
        answer.unwrap_or_else(Answer::unknown_route).respond(request)
    }
}
