//! What each answer means, in words.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Access, Diagnosis, Door, Facts, Visit,
    diagnosis::Grade::{self, Bad, Good, Note, Unknown},
};
use crate::{Credentials, Error, ErrorKind, Route, book::SessionStatus};

impl Visit {
    pub(super) fn judge_session(&self, facts: &Facts, diagnosis: &mut Diagnosis) {
        let Some(door) = facts.chosen.map(|index| &facts.doors[index]) else { return };
        let session = match &door.session {
            Ok(session) => session,
            Err(error) => {
                let means = "Its state and account stay unknown. Names may be written all the same.";
                return diagnosis.note("session", Unknown, format!("it cannot be read: {}", brief(error)), means);
            }
        };
        let word = self.told(session.status.as_str());
        diagnosis.session = Some(SessionStatus::from(word.as_str()));
        diagnosis.account.clone_from(&session.me);
        diagnosis.pushname = session.pushname.as_deref().map(|name| self.told(name));
        let mut found = word;
        if let Some(me) = &session.me {
            found = format!("{found}, account {me}");
        }
        if let Some(name) = &diagnosis.pushname {
            found = format!("{found} ({name})");
        }
        let (grade, means) = meaning_of(&session.status);
        diagnosis.note("session", grade, found, means);
    }

    pub(super) fn judge_limits(&self, facts: &Facts, diagnosis: &mut Diagnosis) {
        let headers = self.witness.limits().into_iter();
        let mut limits: BTreeMap<_, _> = headers.map(|(name, value)| (self.told(&name), self.told(&value))).collect();
        if let Some(Ok(policies)) = &facts.policies {
            limits.extend(policies.iter().take(64).map(|(name, value)| (self.told(name), value.to_string())));
        }
        let list = limits.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
        diagnosis.limits = (!limits.is_empty()).then_some(limits);
        if let Some(kind @ (ErrorKind::RateLimited | ErrorKind::QuotaReached)) = self.over {
            let wait = facts.worst().and_then(Error::retry_after);
            let wait = wait.map_or_else(|| "for some minutes".to_owned(), |wait| format!("for {} s", wait.as_secs()));
            let means =
                format!("Not every question was asked. Leave the instance alone {wait}, then examine it again.");
            return diagnosis.note("limits", Bad, format!("{kind} ({list})").replace(" ()", ""), means);
        }
        if list.is_empty() {
            let means = "Stay at the default pace of one call a second.";
            return diagnosis.note("limits", Unknown, "the server tells no rate limit", means);
        }
        let means = "Unless one of these speaks of contacts, nothing is known of names: stay at the default pace of one call a second.";
        diagnosis.note("limits", Note, list, means);
    }

    pub(super) fn judge_speed(&self, diagnosis: &mut Diagnosis) {
        let Some(median) = self.witness.median() else { return };
        let millis = u64::try_from(median.as_millis()).unwrap_or(u64::MAX);
        diagnosis.answer_millis = Some(millis);
        let found = format!("half of the reads are answered within {millis} ms");
        if median > self.setup.timeout / 2 {
            let means = format!(
                "That is near the timeout of {} s: answers will be missed, and names written twice. Set a longer one.",
                self.setup.timeout.as_secs_f64()
            );
            return diagnosis.note("speed", Bad, found, means);
        }
        if median > Duration::from_secs(1) {
            let means = "Slower than the pace of one call a second: a sync takes this long for each contact.";
            return diagnosis.note("speed", Note, found, means);
        }
        diagnosis.note("speed", Good, found, "Fast enough for one call a second.");
    }

    pub(super) fn judge_proxy(&self, diagnosis: &mut Diagnosis) {
        let (pages, all) = self.witness.pages();
        if all == 0 {
            return;
        }
        let sign = self.witness.sign_of_proxy().map(|sign| self.told(&sign));
        diagnosis.proxy = Some(pages > 0 || sign.is_some());
        if pages > 0 {
            let found = format!("{pages} of {all} answers were a page for a browser");
            let means = "That is not the API but something in front of it: a proxy, a firewall, a login. Check the base URL, and ask \
                         whoever runs the network to let the API through.";
            return diagnosis.note("proxy", Bad, found, means);
        }
        if let Some(sign) = sign {
            let means = "A proxy passes the answers on, as most services have it. Proxies log addresses: prefer a style that keeps the \
                         token out of the query where one works (`bearer`, `header`).";
            return diagnosis.note("proxy", Note, format!("answers come through one ({sign})"), means);
        }
        let server = self.witness.server().map(|name| self.told(&name));
        let found =
            server.map_or_else(|| "no sign of one".to_owned(), |name| format!("no sign of one (server: {name})"));
        diagnosis.note("proxy", Good, found, "One that hides itself cannot be told.");
    }
}

impl Facts {
    /// Of all that went wrong, what tells most.
    fn worst(&self) -> Option<&Error> {
        let errors = self.doors.iter().flat_map(Door::answers).flatten();
        errors.min_by_key(|error| match error.kind() {
            ErrorKind::Forbidden => 0,
            ErrorKind::UnknownInstance => 1,
            ErrorKind::Unauthorized => 2,
            ErrorKind::RateLimited | ErrorKind::QuotaReached => 3,
            ErrorKind::Configuration => 4,
            ErrorKind::Decode => 5,
            _ => 6,
        })
    }
}

/// What happened, without the advice for those who call.
pub(super) fn brief(error: &Error) -> String {
    match (error.status(), error.attempts()) {
        (Some(status), _) => format!("{} (HTTP {status})", error.kind()),
        (None, 0) => format!("not asked, because: {}", error.kind()),
        (None, _) => error.kind().to_string(),
    }
}

fn meaning_of(status: &SessionStatus) -> (Grade, &'static str) {
    match status {
        SessionStatus::Working => (Good, "Names can be written."),
        SessionStatus::Starting => (Note, "It starts up: wait a minute and examine it again."),
        SessionStatus::ScanQrCode | SessionStatus::PasskeyRequired => (
            Bad,
            "The phone is not linked. Open the instance in Wawp's dashboard and scan the code with the phone; contacts stay due.",
        ),
        SessionStatus::Stopped => (Bad, "It is switched off. Start it in Wawp's dashboard."),
        SessionStatus::Failed => {
            (Bad, "It broke down. Restart it in Wawp's dashboard, and link the phone again if that does not help.")
        }
        SessionStatus::Disconnected => (Bad, "The owner took the right to use the account away. Link the phone again."),
        SessionStatus::Unknown(_) => {
            (Note, "A state that this version does not know. Names can be written once it is WORKING.")
        }
    }
}

pub(super) fn judge_credentials(facts: &Facts, wish: Credentials, diagnosis: &mut Diagnosis) {
    let doors_with = |access| facts.doors.iter().filter(move |door| door.access() == access);
    let spelled = |access| doors_with(access).map(|door| door.style.to_string()).collect::<Vec<_>>();
    let (works, refused) = (spelled(Access::Works), spelled(Access::Refused));
    let Some(style) = facts.style() else {
        let Some(error) = facts.worst() else { return };
        let found = format!("none of the four styles works: {}", brief(error));
        let means = match facts.doors.iter().find(|door| door.contacts.is_ok()) {
            Some(door) => format!(
                "With {} the address book can be read, but no style is taken everywhere: look at what the token may do.",
                door.style
            ),
            None => remedy(error),
        };
        return diagnosis.note("credentials", Bad, found, means);
    };
    let mut found = format!("{style} works");
    let others: Vec<_> = works.into_iter().filter(|other| *other != style.to_string()).collect();
    if !others.is_empty() {
        found = format!("{found}, so do {}", others.join(", "));
    }
    if !refused.is_empty() {
        found = format!("{found}; refused: {}", refused.join(", "));
    }
    diagnosis.styles = doors_with(Access::Works).map(|door| door.style).collect();
    if style == wish {
        return diagnosis.note("credentials", Good, found, "Keep it.");
    }
    diagnosis.note("credentials", Bad, found, format!("The style that is set, {wish}, does not work: set {style}."));
}

/// What to do if no style works.
fn remedy(error: &Error) -> String {
    let text = match error.kind() {
        ErrorKind::Unauthorized => {
            "The token was refused in all four places. Copy the access token from Wawp's dashboard anew, whole and for this instance."
        }
        ErrorKind::Forbidden => {
            "The token is known, but the account may not do this. Look at its plan and its subscription."
        }
        ErrorKind::UnknownInstance => {
            "The server does not know this instance, or it was unlinked. Compare the instance id with Wawp's dashboard."
        }
        ErrorKind::Route => "Nothing of the API is at this address. Check the base URL, its path included.",
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Interrupted => {
            "No answer came. Check the base URL, the network, and whether a firewall or a proxy is in between."
        }
        ErrorKind::RateLimited | ErrorKind::QuotaReached => "The server asks for time. Wait, then examine it again.",
        ErrorKind::Decode => "What came back is not the API's. See what is said of the proxy, and check the base URL.",
        ErrorKind::Configuration => {
            return error
                .hint()
                .map_or_else(|| "Check the base URL and the token.".to_owned(), |hint| format!("It says: {hint}."));
        }
        _ => "The server failed. Wait some minutes, then examine it again.",
    };
    text.to_owned()
}

pub(super) fn judge_route(facts: &Facts, set: Route, diagnosis: &mut Diagnosis) {
    let there = |is_there| match is_there {
        Some(true) => "is there",
        Some(false) => "is not there",
        None => "cannot be told without a write",
    };
    let found = format!("update {}; put-contact {}", there(facts.has_update), there(facts.has_put));
    if let Some(route) = diagnosis.route {
        let was_told = facts.route(route) == Some(route);
        let found = if was_told { format!("{route} ({found})") } else { format!("{route}, as the write test showed") };
        if route == set {
            return diagnosis.note("route", Good, found, "Keep it.");
        }
        return diagnosis.note(
            "route",
            Bad,
            found,
            format!("The route that is set, {set}, does not work: set {route}."),
        );
    }
    if facts.style().is_none() {
        return diagnosis.note("route", Unknown, "not found out", "First the credentials have to work.");
    }
    if facts.doors.iter().filter_map(Door::update_error).any(|error| error.kind() == ErrorKind::Forbidden) {
        let means = "The account may read, but not write. Look at its plan and its subscription.";
        return diagnosis.note("route", Bad, "an update is forbidden (HTTP 403)", means);
    }
    let means = match (&diagnosis.write_test, facts.has_update) {
        (Some(_), _) => "The write test could not settle it either.",
        (None, Some(false)) => "What is left is put-contact: name a contact for the write test to prove it.",
        _ => "Nothing that writes was sent. Name a contact for the write test to settle it.",
    };
    diagnosis.note("route", Unknown, found, means);
}

pub(super) fn judge_reads(facts: &Facts, diagnosis: &mut Diagnosis) {
    let Some(door) = facts.chosen.map(|index| &facts.doors[index]) else { return };
    diagnosis.reads = readable(&door.contacts);
    let refusal = |answer: Option<&Error>| answer.map(brief).unwrap_or_default();
    let (grade, found, means) = match diagnosis.reads {
        Some(true) => (Good, "the address book can be read".to_owned(), "A sync looks before it writes."),
        Some(false) => (
            Note,
            format!("the address book cannot be read: {}", refusal(door.contacts.as_ref().err())),
            "Names can be written all the same, but not compared with the phone first. Ask for the engine's store of contacts to \
             be switched on.",
        ),
        None => (Unknown, refusal(door.contacts.as_ref().err()), "Examine it again once the session works."),
    };
    diagnosis.note("reads", grade, found, means);
    let Some(lids) = &facts.lids else { return };
    diagnosis.lids = readable(lids);
    let (grade, found, means) = match diagnosis.lids {
        Some(true) => {
            (Good, "the phones behind privacy ids can be read".to_owned(), "Contacts known by privacy id are found.")
        }
        Some(false) => (
            Note,
            format!("the phones behind privacy ids cannot be read: {}", refusal(lids.as_ref().err())),
            "Contacts of which only a privacy id is known are held: give their CRM rows a phone.",
        ),
        None => (Unknown, refusal(lids.as_ref().err()), "Examine it again once the session works."),
    };
    diagnosis.note("lids", grade, found, means);
}

/// Whether a read works; `None` if it failed for something that passes.
fn readable<T>(answer: &Result<T, Error>) -> Option<bool> {
    match answer {
        Ok(_) => Some(true),
        Err(error) if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Route | ErrorKind::Forbidden) => {
            Some(false)
        }
        Err(_) => None,
    }
}

pub(super) fn judge_clock(diagnosis: &mut Diagnosis) {
    let Some(ahead) = diagnosis.clock_ahead_seconds else { return };
    let (grade, found) = match ahead {
        0 => (Good, "the clocks agree".to_owned()),
        1.. => (Note, format!("the server's is {ahead} s ahead of ours")),
        _ => (Note, format!("the server's is {} s behind ours", ahead.unsigned_abs())),
    };
    let means = match ahead.unsigned_abs() {
        0..=5 => "Near enough.",
        6..=60 => {
            "Pauses are kept by the server's clock, so nothing is lost. Let this machine set its clock by the network."
        }
        _ => {
            "Pauses are kept by the server's clock, but signed webhooks may be refused as too old or too new, and reports show the \
             wrong time. Let this machine set its clock by the network."
        }
    };
    let grade = if ahead.unsigned_abs() <= 5 { Good } else { grade };
    diagnosis.note("clock", grade, found, means);
}
