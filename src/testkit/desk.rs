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
use crate::InstanceId;

/// Takes every request of the server and says what goes back.
///
/// wiremock asks a matcher first and a responder second, and holds its lock over both; only a mock of its own kind can close the
/// connection. So the matcher of the closing mock does the work, and the answering mock picks up what it left.
pub(super) struct Desk {
    accounts: Mutex<BTreeMap<Box<str>, Admission>>,
    reply: Mutex<Option<Answer>>,
}

/// An instance and who may use it.
struct Admission {
    token: SecretString,
    revoked: bool,
    account: Account,
}

impl Desk {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { accounts: Mutex::default(), reply: Mutex::default() })
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

    fn handle(&self, request: &Request) -> Reply {
        let incoming = match Incoming::read(request) {
            Ok(incoming) => incoming,
            Err(answer) => return Reply::Answer(answer),
        };
        let mut accounts = lock(&self.accounts);
        let known = incoming.token().is_some_and(|token| accounts.values().any(|admission| admission.takes(token)));
        let admission = incoming.instance().and_then(|instance| accounts.get_mut(instance));
        match admission {
            Some(admission) => admission.serve(&incoming),
            None if known => Reply::Answer(Answer::invalid_session()),
            None => Reply::Answer(Answer::unauthorized()),
        }
    }
}

impl Admission {
    fn takes(&self, token: &str) -> bool {
        !self.revoked && self.token.expose_secret() == token
    }

    fn serve(&mut self, incoming: &Incoming) -> Reply {
        let admitted = self.admit(incoming);
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
