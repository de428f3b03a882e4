//! What must hold once the faults have stopped and everything has settled.

use std::collections::BTreeMap;

use super::{
    crm::{Expected, Wanted},
    faulty::steady,
    server::Server,
    weather::Trouble,
};
use crate::{
    ChatId,
    ledger::{Ledger, LedgerError, Query},
    record::{Hold, Park, Record, Status},
};

/// How many refusals in words that are not known may park a contact, at the least.
const UNCLEAR_ATTEMPTS: usize = 2;

/// All records of the server's instance.
pub(super) async fn records(server: &Server) -> Result<BTreeMap<ChatId, Record>, LedgerError> {
    let mut records = BTreeMap::new();
    let mut after: Option<ChatId> = None;
    loop {
        let query = Query::All { after: after.as_ref(), limit: 100 };
        let page = steady(Ledger::fetch(server.ledger(), server.instance(), query)).await?;
        let Some(last) = page.last() else { return Ok(records) };
        after = Some(last.chat.clone());
        records.extend(page.into_iter().map(|record| (record.chat.clone(), record)));
    }
}

/// Holds the address book and the ledger to the CRM: P1, P4, P7 and P8.
pub(super) async fn settled(server: &Server, crm: &Expected) {
    server.advance();
    let records = match records(server).await {
        Ok(records) => records,
        Err(error) => return server.log().breach("P1", format_args!("the ledger cannot be read: {error}")),
    };
    for (chat, wanted) in crm.wanted.iter().filter(|(chat, _)| !crm.unsure.contains(chat)) {
        let lid = server.lid_of(chat).and_then(|lid| records.get(&lid));
        let apart = crm.wanted_apart.get(chat).filter(|_| lid.is_some());
        let record = records.get(chat);
        if let Some(detail) = person(chat, apart.unwrap_or(wanted), record, server) {
            server.log().breach("P1", detail);
        }
    }
    for lid in &crm.unknown {
        let status = records.get(lid).map(|record| record.status);
        let is_held = matches!(status, Some(Status::Held { reason: Hold::NoPhone, .. } | Status::InSync))
            || matches!(status, Some(Status::Parked { reason: Park::Competing }))
            || matches!(status, Some(Status::Held { reason: Hold::ByHand, .. }) if server.is_held(lid));
        if !is_held {
            server.log().breach("P7", format_args!("nobody knows the phone behind {lid}, and it is {status:?}"));
        }
    }
    for record in records.values() {
        let Some(sent) = &record.pushed.sent else { continue };
        let (chat, name) = (&record.chat, sent.wish.name.full());
        if !server.is_honest(chat, sent) {
            server.log().breach("P4", format_args!("{name:?} of {chat} counts as sent and was never acknowledged"));
        }
    }
    for chat in server.all_forgotten() {
        if records.values().any(|record| record.answers_to(&chat)) {
            server.log().breach("forget", format_args!("{chat} is forgotten, and there is a record of it"));
        }
        let is_kept_out = steady(server.ledger().forgotten(server.instance(), &[chat.as_str()])).await;
        if is_kept_out.is_ok_and(|is_kept_out| is_kept_out != [true]) {
            server.log().breach("forget", format_args!("{chat} is forgotten, and is not kept out"));
        }
    }
    server.check_history().await;
}

/// What is wrong with one person, if something is.
fn person(chat: &ChatId, wanted: &Wanted, record: Option<&Record>, server: &Server) -> Option<String> {
    let status = record.map(|record| record.status);
    let name = match wanted {
        Wanted::Name(name) => name.full(),
        Wanted::Competing => {
            let is_parked = status == Some(Status::Parked { reason: Park::Competing });
            return (!is_parked).then(|| format!("two rows claim {chat}, and it is {status:?}"));
        }
        Wanted::Nothing => {
            let is_quiet = matches!(status, None | Some(Status::InSync));
            let claims = record.map(|record| &record.claims);
            return (!is_quiet)
                .then(|| format!("nobody wants {chat} to be called anything, and it is {status:?}: {claims:?}"));
        }
    };
    let trouble = server.trouble_of(chat);
    match status {
        Some(Status::InSync) => {
            let shown = server.name(chat);
            // What a person saved after us, and nobody looked at since, is no fault of ours.
            // Nor what was accepted and not kept, where no run came to read it back: it does not count as verified.
            let sent = record.and_then(|record| record.pushed.sent.as_ref());
            let is_accepted = server.unkept(chat) > 0 && sent.is_some_and(|sent| sent.verified_at.is_none());
            let (undone, is_undone) = server.undone(chat, name);
            let is_right = (shown.as_deref() == Some(name) && !is_undone)
                || shown.as_ref().is_some_and(|shown| undone.contains(shown))
                || server.is_human(chat)
                || server.is_from_phone(chat, name)
                || is_accepted;
            (!is_right).then(|| match undone.first().filter(|_| is_undone) {
                Some(before) => format!("{name:?} of {chat} was undone, and it shows {shown:?}, not {before:?}"),
                None => format!("{chat} counts as in sync with {name:?} and shows {shown:?}"),
            })
        }
        // Who is held by the privacy id is not resolved, and may have no record of the phone.
        None | Some(Status::Held { reason: Hold::ByHand, .. }) if server.is_held(chat) => None,
        Some(Status::Held { reason: Hold::NotOnWhatsApp, .. }) if server.is_absent(chat) => None,
        // What becomes of a person's text is up to a person, under some policies.
        Some(Status::Parked { reason: Park::Drifted | Park::Contested }) if server.is_human(chat) => None,
        Some(Status::Parked { reason: Park::Unkept }) if server.unkept(chat) > 0 => None,
        Some(Status::Parked { reason: Park::Deadly }) if server.crashes() >= 3 => None,
        Some(Status::Parked { reason: Park::Refused })
            if trouble.is_some() || server.refusals(chat) >= UNCLEAR_ATTEMPTS =>
        {
            None
        }
        Some(Status::Due { .. }) if matches!(trouble, Some(Trouble::Fails | Trouble::Forbidden)) => None,
        None => Some(format!("{chat} should be called {name:?}, and there is no record of it")),
        Some(status) => Some(format!("{chat} should be called {name:?} and is {status:?} after everything settled")),
    }
}
