//! The write test: one name is set, read back, and put back as it was.

use tokio::time::{Instant, sleep_until};

use super::{Access, Diagnosis, Facts, Finding, Grade, Visit, WriteTest, judge::brief};
use crate::{
    ChatId, ContactName, Credentials, Error, ErrorClass, ErrorKind, RetryPolicy, Route,
    client::transport::Transport,
    wire::{answer, read},
};

/// What marks the name of a test.
const MARK: &str = "(doctor test)";
/// How often a name is looked for, and how often it is put back.
const ROUNDS: usize = 3;

/// A name that was set, or may have been.
struct Dose {
    to: Transport,
    route: Route,
    style: Credentials,
    error: Option<Error>,
}

impl Visit {
    /// Makes the test, fills in what it tells, and gives the finding.
    pub(super) async fn treat(&mut self, chat: ChatId, facts: &Facts, diagnosis: &mut Diagnosis) -> Finding {
        let test = WriteTest { chat, sent: false, shown: None, restored: None, was: None };
        let test = diagnosis.write_test.insert(test);
        let (old, marked) = match self.prepare(&test.chat, facts).await {
            Ok(names) => names,
            Err(why) => {
                let means = "Nothing was written. Name another contact, one that is saved, or see what is said above.";
                return finding(Grade::Unknown, why, means);
            }
        };
        let began = Instant::now();
        let dose = match self.set(&test.chat, &marked, facts, &mut test.sent).await {
            Ok(dose) => dose,
            Err(error) => {
                let found = format!("the name could not be set: {}", brief(&error));
                let means = "Nothing was changed. See what is said of the route and the credentials.";
                return finding(Grade::Bad, found, means);
            }
        };
        test.shown = self.is_shown(&dose.to, &test.chat, &marked).await;
        if dose.error.is_some() {
            // The lost request may still take effect until its deadline, and must not do so after the name was put back.
            sleep_until(began + self.setup.timeout).await;
        }
        let is_back = self.put_back(&dose.to, &test.chat, &old).await;
        test.restored = Some(is_back);
        if dose.error.is_none() || test.shown == Some(true) {
            (diagnosis.route, diagnosis.credentials) = (Some(dose.route), Some(dose.style));
        }
        if is_back {
            return of_dose(&dose, test.shown);
        }
        test.was = Some(old.full().to_owned());
        let found = format!("THE NAME WAS NOT PUT BACK: {} may still be called {:?}", test.chat, marked.full());
        finding(Grade::Bad, found, format!("Set it back by hand, on the phone: it was {:?}.", old.full()))
    }

    /// The name as it is and the marked one; or why there can be no test.
    async fn prepare(&mut self, chat: &ChatId, facts: &Facts) -> Result<(ContactName, ContactName), String> {
        if chat.is_lid() {
            return Err(format!("{chat} is a privacy id; name the contact by phone"));
        }
        let Some(to) = self.chosen(facts) else {
            return Err("no credentials work, so the name cannot be read".to_owned());
        };
        let contact = self.ask(&to, &to.contact(chat), read::contact).await;
        let contact = contact.map_err(|error| format!("the name of {chat} cannot be read: {}", brief(&error)))?;
        let contact = contact.ok_or_else(|| format!("the address book does not know {chat}"))?;
        if contact.chat != *chat {
            return Err(format!("asked for {chat}, the server answered for another contact"));
        }
        let name = contact.name.ok_or_else(|| format!("{chat} is not saved, and could not be put back as it was"))?;
        if name.contains(MARK) {
            return Err(format!("{chat} still has the mark of an earlier test, {MARK}; set its real name first"));
        }
        let old = as_read(&name).ok_or_else(|| format!("the name of {chat} could not be put back exactly"))?;
        let last = format!("{} {MARK}", old.last().unwrap_or_default());
        let marked = ContactName::new(old.first(), &last).map_err(|error| error.to_string())?;
        Ok((old, marked))
    }

    /// Sets the marked name by the first route and style that take it. An error says that nothing was changed.
    async fn set(&self, chat: &ChatId, name: &ContactName, facts: &Facts, sent: &mut bool) -> Result<Dose, Error> {
        let mut refusal = Error::new(ErrorKind::Route).after(0);
        let left = if facts.has_update == Some(false) { Route::PutContact } else { self.route };
        let first = facts.route(self.route).unwrap_or(left);
        for route in [first, if first == Route::Update { Route::PutContact } else { Route::Update }] {
            for style in styles_for(facts) {
                let to = self.transport(route, style)?;
                let policy = RetryPolicy::never().deadline(super::PATIENCE);
                let answer = self.call(&to, &to.update(chat, name), answer::acknowledges, &policy).await;
                *sent |= answer.as_ref().map_or_else(|error| error.attempts() > 0, |()| true);
                match answer {
                    Ok(()) => return Ok(Dose { to, route, style, error: None }),
                    Err(error) if error.is_in_doubt() => return Ok(Dose { to, route, style, error: Some(error) }),
                    Err(error) => refusal = error,
                }
                match refusal.kind() {
                    ErrorKind::Route => break,
                    ErrorKind::Unauthorized | ErrorKind::Configuration => {}
                    _ => return Err(refusal),
                }
            }
        }
        Err(refusal)
    }

    /// Whether a name is read; `None` if none can be read.
    async fn is_shown(&self, to: &Transport, chat: &ChatId, name: &ContactName) -> Option<bool> {
        let mut shown = None;
        for _ in 0..ROUNDS {
            let answer = self.call(to, &to.contact(chat), read::contact, &self.stubborn).await;
            if let Ok(contact) = answer {
                let contact = contact.filter(|contact| contact.chat == *chat);
                shown = Some(contact.and_then(|contact| contact.name).is_some_and(|text| name.is_full(&text)));
            }
            if shown == Some(true) {
                break;
            }
        }
        shown
    }

    async fn put_back(&self, to: &Transport, chat: &ChatId, name: &ContactName) -> bool {
        for _ in 0..ROUNDS {
            let answer = self.call(to, &to.update(chat, name), answer::acknowledges, &self.stubborn).await;
            if self.is_shown(to, chat, name).await == Some(true) {
                return true;
            }
            let may_pass = |error: &Error| matches!(error.class(), ErrorClass::Transient | ErrorClass::Wait);
            if answer.is_err_and(|error| !may_pass(&error)) {
                break;
            }
        }
        false
    }
}

/// The styles that were not refused, the chosen one first.
fn styles_for(facts: &Facts) -> Vec<Credentials> {
    let open = facts.doors.iter().filter(|door| door.access() != Access::Refused);
    let mut styles: Vec<_> = open.map(|door| door.style).collect();
    styles.sort_by_key(|style| Some(*style) != facts.style());
    styles
}

/// A full name as a name whose full name it is, to the letter.
fn as_read(text: &str) -> Option<ContactName> {
    let (first, last) = text.split_once(' ').unwrap_or((text, ""));
    let names = [ContactName::new(first, last), ContactName::new(text, "")];
    names.into_iter().flatten().find(|name| name.full() == text)
}

fn finding(grade: Grade, found: impl Into<String>, means: impl Into<String>) -> Finding {
    Finding { about: "write", grade, found: found.into(), means: means.into() }
}

/// What is to be said once the name is back.
fn of_dose(dose: &Dose, shown: Option<bool>) -> Finding {
    let Dose { route, style, error, .. } = dose;
    match (error, shown) {
        (_, Some(true)) => {
            let found = format!("a name was set by {route} with {style}, read back, and put back as it was");
            finding(Grade::Good, found, "Names are written and read as they should be.")
        }
        (None, Some(false)) => {
            let found =
                format!("{route} with {style} acknowledged a name that was not read back; the old one is there");
            let means = "The acknowledgement proves little here: the engine may be late, or keep nothing. Look at the phone before a sync.";
            finding(Grade::Bad, found, means)
        }
        (None, None) => {
            let found =
                format!("{route} with {style} acknowledged a name, which could not be read back; the old one is there");
            finding(Grade::Note, found, "Names are written. Look at the phone to be sure.")
        }
        (Some(error), _) => {
            let found = format!("it is not known whether {route} with {style} sets a name: {}", brief(error));
            finding(Grade::Bad, found, "The old name is there. Examine it again when the server is well.")
        }
    }
}
