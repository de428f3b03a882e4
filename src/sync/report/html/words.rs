//! What the page says to people: of each reason, what it means and what to do about it.

use crate::{
    ErrorClass, ErrorKind,
    crm::RefusalReason,
    record::{Hold, Park},
    sync::{Guardrail, LeftReason},
};

/// Of rows that cannot be used: a heading, and how to fix them.
pub(super) fn of_refusal(reason: RefusalReason) -> (&'static str, &'static str) {
    match reason {
        RefusalReason::Malformed => (
            "Rows that cannot be read",
            "Look at the line in the export: a quote or a separator may be missing. Correct it, or export again.",
        ),
        RefusalReason::NoId => ("Rows without an id", "Export the column that holds the CRM's own id of each row."),
        RefusalReason::NoPhone => (
            "Rows without a phone",
            "Fill in the phone in the CRM, with + and the country code, or leave the row out of the export.",
        ),
        RefusalReason::BadPhone => (
            "Phones that cannot be right",
            "Correct the number in the CRM: + and the country code first, then the number.",
        ),
        RefusalReason::EmptyName => {
            ("Rows without a name", "Fill in the name in the CRM. Until then the contact keeps the name it has.")
        }
        RefusalReason::DuplicateIdentity => {
            ("Several rows for one person", "Merge these rows in the CRM. Until then none of them is used.")
        }
        RefusalReason::Forgotten => (
            "Rows of persons who were forgotten",
            "Take the row out of the CRM; or, if the person may be known again, allow that.",
        ),
    }
}

/// Of contacts that only a person or a new wish helps: a heading, and what to do.
pub(super) fn of_parked(reason: Park, kind: Option<ErrorKind>) -> (String, &'static str) {
    let title = match (reason, kind) {
        (Park::Refused, Some(kind)) => format!("Parked: {kind}"),
        (Park::Refused, None) => "Parked: refused".into(),
        (Park::Competing, _) => "Parked: several rows claim one person".into(),
        (Park::Drifted, _) => "Parked: somebody saved another name".into(),
        (Park::Deadly, _) => "Parked: the job died over it three times".into(),
        (Park::Unkept, _) => "Parked: accepted, and the address book does not show it".into(),
        (Park::Contested, _) => "Parked: somebody saves another name again and again".into(),
    };
    let fix = match kind.map(ErrorKind::class) {
        Some(ErrorClass::Contact) => {
            "Check that the number is right and on WhatsApp, then the name; correct the row in the CRM. A changed row is tried again by itself."
        }
        Some(_) => {
            "Look at what the server said, then change the row in the CRM: a changed row is tried again by itself."
        }
        None => reason.advice(),
    };
    (title, fix)
}

/// Of contacts that are held: for what, and what to do.
pub(super) fn of_held(reason: Hold) -> (&'static str, &'static str) {
    let title = match reason {
        Hold::NoPhone => "Held: no phone is known",
        Hold::NotOnWhatsApp => "Held: the number is not on WhatsApp",
        Hold::ByHand => "Held: a person said to leave them",
    };
    (title, reason.advice())
}

/// Of contacts that wait: what for, and what to do.
pub(super) fn of_waiting(kind: Option<ErrorKind>, is_plan: bool) -> (&'static str, &'static str) {
    match kind {
        None if is_plan => ("Would have to wait", "Nothing to do here: a run calls for them as soon as it may."),
        None => ("Not tried yet", "Nothing to do: the next run calls for them."),
        Some(kind) => {
            let what = match kind.class() {
                ErrorClass::Wait => "Asked to wait",
                ErrorClass::Transient => "Failed, and will be tried again",
                _ => "Wait for the set-up",
            };
            (what, advice(kind))
        }
    }
}

/// What a person can do about a kind of failure of a whole instance.
pub(super) fn advice(kind: ErrorKind) -> &'static str {
    match (kind, kind.class()) {
        (ErrorKind::Unauthorized, _) => "Get a new access token and set it, then run again.",
        (ErrorKind::Forbidden, _) => {
            "Check the plan of the account, and whether the token belongs to this instance, then run again."
        }
        (ErrorKind::UnknownInstance, _) => {
            "Check the id of the instance, and link the instance again if it was unlinked."
        }
        (ErrorKind::SessionNotReady, _) => {
            "If it does not start by itself, log the instance in again: scan the QR code with the phone."
        }
        (ErrorKind::QuotaReached, _) => "Wait for the next period, or get a larger plan.",
        (ErrorKind::RateLimited, _) => "Nothing to do: the next run goes on when the server allows it.",
        (ErrorKind::Connect, _) => "Check the address of the server, the network, and whether the server runs.",
        (_, ErrorClass::Contact) => {
            "Every contact was refused, so the set-up may be wrong: check the credentials and the route."
        }
        (_, ErrorClass::Configuration) => "Check the set-up of the sync.",
        _ => "Run again later; contacts that failed are tried again.",
    }
}

/// What to look at before a guardrail is switched off.
pub(super) fn of_guardrail(guardrail: &Guardrail) -> &'static str {
    match guardrail {
        Guardrail::ManyRenames { .. } => "Read the changes of a plan. If they are what you want, let one run go on.",
        Guardrail::Blanked { .. } => {
            "Look at the name columns of the export. If the names are meant to be empty, let one run go on; the contacts keep the names they have."
        }
        Guardrail::RemoteEmpty { .. } => {
            "Open WhatsApp on the phone and wait until its contacts are loaded, then plan again."
        }
        Guardrail::MissingRows { .. } => {
            "If the export is only a part of the CRM, say so: give it as changes, not as a snapshot. Else look at the export."
        }
        Guardrail::RefusedRows { .. } => "Look at the columns of the export: one may be missing or named differently.",
        Guardrail::StaleRows { .. } => "Look at the version column of the export: it may count in another unit.",
        Guardrail::Untagged { .. } => "Set a tag for each stage, or list those that show none.",
        Guardrail::Shortened { .. } => "Shorten the names in the CRM, or allow longer ones.",
        Guardrail::OtherAccount { .. } => {
            "Check which phone is linked to the instance. If the other account is meant, let one run go on."
        }
    }
}

/// What became of the row whose contact keeps its name.
pub(super) fn of_left(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Gone => "is gone from the CRM",
        LeftReason::Moved => "names another person now",
    }
}
