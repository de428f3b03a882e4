//! The words of the job: what a person is told, and what to do about it.

use std::{path::Path, time::Duration};

use wawp_contacts::{
    ChatId, ErrorClass, ErrorKind, InstanceId,
    crm::{Refusal, RefusalReason},
    record::{Drift, Hold, Park},
    sync::{Guardrail, Report, Summary},
};

use crate::args::Args;

/// A whole number with its thousands apart: `5,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A count with its noun: `1 call`, `2 calls`.
pub(crate) fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// A time as people tell it: `1 h 23 min`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs().saturating_add(u64::from(time.subsec_millis() >= 500));
    let two = |major: u64, unit: &str, minor: u64, smaller: &str| match minor {
        0 => format!("{} {unit}", count(major)),
        _ => format!("{} {unit} {minor} {smaller}", count(major)),
    };
    match seconds {
        0 => "less than a second".into(),
        1..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A phone as people write it, or the id where there is none.
pub(crate) fn who(chat: &ChatId) -> String {
    chat.phone().map_or_else(|| chat.to_string(), |phone| phone.international())
}

/// What a plan comes to, or what a run is about to do.
pub(crate) fn future(summary: &Summary) -> String {
    let Summary { created, renamed, unchanged, .. } = *summary;
    let stay = if unchanged == 1 { "stays as it is" } else { "stay as they are" };
    format!(
        "{} will be added, {} renamed, {} {stay}{}",
        many(created, "contact", "contacts"),
        count(renamed),
        count(unchanged),
        rest(summary)
    )
}

/// The calls that a plan takes, and for how long.
pub(crate) fn effort(summary: &Summary) -> String {
    let calls = many(summary.calls, "call", "calls");
    match summary.seconds {
        0.0 => calls,
        seconds if seconds < 1.0 => format!("{calls}, less than a second"),
        seconds => format!("{calls}, about {}", time(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))),
    }
}

/// What a run came to.
pub(crate) fn past(summary: &Summary) -> String {
    let Summary { created, renamed, unchanged, calls, seconds, .. } = *summary;
    let took = time(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    let calls = many(calls, "call", "calls");
    let (created, renamed, unchanged) = (count(created), count(renamed), count(unchanged));
    format!("{created} added, {renamed} renamed, {unchanged} unchanged{}; {calls}, {took}", rest(summary))
}

/// The counts that are told only where there are any.
fn rest(summary: &Summary) -> String {
    let Summary { refused, parked, held, gated, stale, left, shortened, untagged, .. } = *summary;
    let counts = [
        (refused, "row cannot be used", "rows cannot be used"),
        (parked, "needs you", "need you"),
        (held, "on hold", "on hold"),
        (gated, "waiting", "waiting"),
        (stale, "older row left out", "older rows left out"),
        (left, "name kept without a row", "names kept without a row"),
        (shortened, "name shortened", "names shortened"),
        (untagged, "row without a tag for its stage", "rows without a tag for their stage"),
    ];
    let told = counts.into_iter().filter(|(number, ..)| *number > 0);
    told.fold(String::new(), |told, (number, one, more)| format!("{told}, {}", many(number, one, more)))
}

/// What a run says that was told to stop.
pub(crate) fn stopped(report: &Report) -> String {
    match report.summary.gated {
        _ if !report.applied => "stopped before any row took effect; run again to go on".into(),
        0 => "stopped; nothing is left to do".into(),
        gated => format!("stopped; run again to go on with the {} left", many(gated, "contact", "contacts")),
    }
}

/// What is wrong with rows: one of them, several, and how to fix them.
pub(crate) fn of_refusal(reason: RefusalReason) -> (&'static str, &'static str, &'static str) {
    match reason {
        RefusalReason::Malformed => (
            "row cannot be read",
            "rows cannot be read",
            "look at the line in the export: a quote or a separator may be missing",
        ),
        RefusalReason::NoId => ("row has no id", "rows have no id", "export the column with the CRM's own id"),
        RefusalReason::NoPhone => (
            "row has no phone",
            "rows have no phone",
            "fill in the phone in the CRM, with + and the country code, or leave the row out of the export",
        ),
        RefusalReason::BadPhone => (
            "row has a phone that cannot be right",
            "rows have a phone that cannot be right",
            "correct it in the CRM: + and the country code first, then the number",
        ),
        RefusalReason::EmptyName => (
            "row has no name",
            "rows have no name",
            "fill in the name in the CRM; until then the contact keeps the name it has",
        ),
        RefusalReason::DuplicateIdentity => (
            "row claims a person whom another row claims too",
            "rows claim a person whom another row claims too",
            "merge them in the CRM; until then none of them is used",
        ),
        RefusalReason::Forgotten => (
            "row claims a person who was forgotten",
            "rows claim persons who were forgotten",
            "take the row out of the CRM, or let the person be known again with `forget --allow`",
        ),
        _ => ("row cannot be used", "rows cannot be used", "correct the row in the CRM"),
    }
}

/// What is wrong with one row, and how to fix it.
pub(crate) fn cause_and_fix(refusal: &Refusal) -> (String, String) {
    let general = of_refusal(refusal.reason).2;
    let detail = match &refusal.chat {
        Some(chat) => refusal.detail.replace(chat.as_str(), &who(chat)),
        None => refusal.detail.clone(),
    };
    match detail.rsplit_once("; ") {
        // What is said of an empty name is what becomes of it.
        Some((cause, _)) if refusal.reason == RefusalReason::EmptyName => (cause.to_owned(), general.to_owned()),
        Some((cause, fix)) if cause.starts_with('+') => (format!("the phone {cause}"), fix.to_owned()),
        Some((cause, fix)) => (cause.to_owned(), fix.to_owned()),
        None => (detail, general.to_owned()),
    }
}

/// What a parked contact is called in a heading, without the number.
pub(crate) fn of_parked(reason: Park) -> String {
    reason.advice().to_owned()
}

/// What contacts on hold wait for: one of them, several, and what to do.
pub(crate) fn of_held(reason: Hold) -> (&'static str, &'static str, &'static str) {
    match reason {
        Hold::NoPhone => (
            "contact is waiting for the phone",
            "contacts are waiting for the phone",
            "only a privacy id is known, and nobody knows the phone behind it; give the CRM row a phone",
        ),
        Hold::NotOnWhatsApp => (
            "contact has a number that is not on WhatsApp",
            "contacts have numbers that are not on WhatsApp",
            "correct them in the CRM; they are asked for again after a week, or after `retry CONTACT`",
        ),
        Hold::ByHand => {
            ("contact is left as it is", "contacts are left as they are", "a person said so; `release` goes on with it")
        }
        _ => ("contact is on hold", "contacts are on hold", reason.advice()),
    }
}

/// What becomes of names that others saved over ours.
pub(crate) fn of_policy(policy: Drift) -> &'static str {
    match policy {
        Drift::PhoneWins => "theirs stay, with the CRM's tag; `edits` lists them for the CRM",
        Drift::ByField => {
            "theirs stay, with the CRM's tag; where the CRM changed the name as well, you decide: see `parked`"
        }
        Drift::Ask => "you decide which names stay: see `parked`",
        Drift::IfRaw => "theirs stay; only a number or no name is overwritten",
        _ => "the next run sends ours again, unless you `hold` the contact; --policy says otherwise",
    }
}

/// Where no run has left anything, and what to do first.
pub(crate) fn nothing_known(args: &Args, instance: &InstanceId) -> String {
    let ledger = args.ledger.as_deref().unwrap_or(Path::new("memory")).display();
    format!(
        "nothing ran yet for instance {instance} in {ledger}; `run` or `adopt` first, or name the instance or the ledger of the runs"
    )
}

/// What a state of a contact is called.
pub(crate) fn of_status(status: &str) -> &'static str {
    match status {
        "in_sync" => "nothing to do",
        "due" => "waiting for the next run",
        "held" => "on hold",
        _ => "needs you",
    }
}

/// What a guardrail says, and what to pass to go on.
pub(crate) fn remedy(guardrail: &Guardrail) -> String {
    let text = guardrail.to_string();
    let so = match guardrail {
        Guardrail::MissingRows { .. } => " If it is, pass --changes. Else look",
        _ if text.ends_with('?') => " Look",
        _ => "; look",
    };
    format!("{text}{so} at it with `sync_job plan`, and pass --yes to go on")
}

/// What the library advises its callers to do, as a flag of the job.
pub(crate) fn of_the_job(text: &str) -> String {
    [
        ("or read it with a region", "or pass --region"),
        ("use https, or see allow_plain_http", "use https, or a server on this machine"),
        (": .route(Route::PutContact)", ": pass --route put-contact"),
        (": .route(Route::Update)", ": pass --route update"),
        ("give them in another way, see Credentials", "give them in another way with --credentials"),
        ("as base URL", "with --base-url"),
        ("check the base URL", "check --base-url"),
        ("Check the base URL", "Check --base-url"),
        ("name a contact for the write test", "name a contact with --write-test"),
        ("Name a contact for the write test", "Name a contact with --write-test"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (library, job)| text.replace(library, job))
}

/// What a person can do about an instance that is left alone.
pub(crate) fn advice(kind: ErrorKind) -> &'static str {
    match (kind, kind.class()) {
        (ErrorKind::Unauthorized, _) => {
            "copy the access token from Wawp's dashboard anew, and set WAWP_ACCESS_TOKEN to it"
        }
        (ErrorKind::Forbidden, _) => "check the plan of the account, and whether the token is this instance's",
        (ErrorKind::UnknownInstance, _) => {
            "compare --instance with the id in Wawp's dashboard, and link the instance again if it was unlinked"
        }
        (ErrorKind::SessionNotReady, _) => {
            "if it does not start by itself, open the instance in Wawp's dashboard and scan the QR code in WhatsApp on the phone, under Linked devices"
        }
        (ErrorKind::QuotaReached, _) => "wait for the next period, or get a larger plan",
        (ErrorKind::Connect, _) => "check --base-url, the network, and whether the server runs",
        (_, ErrorClass::Contact) => {
            "every contact was refused, so the set-up may be wrong: check --credentials and --route, or let `sync_job doctor` find them"
        }
        (_, ErrorClass::Configuration) => "let `sync_job doctor` find out what is wrong",
        _ => "run again later",
    }
}
