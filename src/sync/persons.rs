//! What a person asks and says about single contacts: why a name is as it is, leave this one alone, try that one again.

use std::fmt;

use futures_util::{
    Stream, TryStreamExt as _,
    stream::{iter, try_unfold},
};
use serde::Serialize;

use super::{ContactSync, SyncError, report::Plain, run::with_budget};
#[cfg(doc)]
use crate::record::Drift;
use crate::{
    ChatId,
    ledger::{Query, Write},
    record::{Edit, Event, Hold, Park, Policy, Record, Source, Status, Substitute, decide, unmerge},
    time::Timestamp,
};

/// How many records are read at once.
const CHUNK: usize = 512;

/// Which contacts to try again; see [`ContactSync::retry`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// This one.
    Contact(ChatId),
    /// Those that are parked for a reason.
    Reason(Park),
    /// All that the server refused or did not keep, and those over which the process died.
    All,
}

/// A contact that waits for something else than its turn, or is held by hand; see [`ContactSync::waiting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// The person.
    pub chat: ChatId,
    /// The rows of the CRM that claim the person.
    pub crm_ids: Vec<Box<str>>,
    /// What the address book shows, as far as is known.
    pub shown: Option<String>,
    /// What the CRM wants.
    pub wanted: Option<String>,
    /// What the contact waits for.
    #[serde(flatten)]
    pub status: Status,
    /// Since when the contact is held by hand, if it is: whatever the status says, no name is written to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Timestamp>,
    /// What it means, and what to do.
    pub advice: &'static str,
    /// What the server said, if it refused the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
}

/// The whole story of one contact; see [`ContactSync::explain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Story {
    /// The person.
    pub chat: ChatId,
    /// What the contact waits for, in one word: `in_sync`, `due`, `held`, `parked`.
    pub status: &'static str,
    /// Why it shows what it shows, and why another name is not written yet.
    pub why: String,
    /// What happened, oldest first.
    pub story: Vec<Happening>,
}

/// One thing that happened to a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Happening {
    /// When it did, in milliseconds since 1970; `None` for what is known without a time.
    pub at: Option<Timestamp>,
    /// What happened.
    pub what: String,
}

impl ContactSync {
    /// Leaves a contact as it is, whatever the CRM says, until it is [released](Self::release). Says what is known of it now; `None`
    /// if it is not known.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn hold(&self, chat: &ChatId) -> Result<Option<Record>, SyncError> {
        self.say(chat, &Event::Hold).await
    }

    /// Goes on with a contact that was [held](Self::hold), or that is parked because somebody else saved another name: that name is
    /// overwritten. Says what is known of it now; `None` if it is not known.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn release(&self, chat: &ChatId) -> Result<Option<Record>, SyncError> {
        self.say(chat, &Event::Release).await
    }

    /// Lets the next run try again what is parked. Says how many contacts it will.
    ///
    /// Names that somebody else saved are overwritten only where that very reason is given.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn retry(&self, which: Retry) -> Result<u64, SyncError> {
        let is_meant = |record: &Record| match (&which, record.status) {
            (Retry::Contact(chat), _) => record.answers_to(chat),
            (Retry::Reason(meant), Status::Parked { reason }) => *meant == reason,
            (Retry::All, Status::Parked { reason }) => matches!(reason, Park::Refused | Park::Deadly | Park::Unkept),
            _ => false,
        };
        let event = match which {
            Retry::Reason(Park::Drifted | Park::Contested) => Event::Release,
            _ => Event::Retry,
        };
        if let Retry::Contact(chat) = &which {
            let before = self.known(chat).await?;
            let after = self.say(chat, &event).await?;
            return Ok(u64::from(before.map(|record| record.status) != after.map(|record| record.status)));
        }
        let (mut count, mut after) = (0, None);
        loop {
            let query = Query::State { state: "parked", after: after.as_ref(), limit: CHUNK };
            let records = self.ledger.fetch(self.book.instance(), query).await?;
            let Some(last) = records.last() else { return Ok(count) };
            after = Some(last.chat.clone());
            for record in records.iter().filter(|record| is_meant(record)) {
                let changed = self.say(&record.chat, &event).await?;
                count += u64::from(changed.is_some_and(|changed| changed.status != record.status));
            }
        }
    }

    /// Lists the contacts that wait for something else than their turn, and those that are held by hand: parked ones first, then those
    /// whose status is held, then those [held](Self::hold) that wait for nothing so far, each in the order of their ids.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, SyncError> {
        let mut waiting = Vec::new();
        for state in [Some("parked"), Some("held"), None] {
            let mut after = None;
            loop {
                let (after_chat, limit) = (after.as_ref(), CHUNK);
                let query = match state {
                    Some(state) => Query::State { state, after: after_chat, limit },
                    None => Query::ByHand { after: after_chat, limit },
                };
                let records = self.ledger.fetch(self.book.instance(), query).await?;
                let Some(last) = records.last() else { break };
                after = Some(last.chat.clone());
                let is_listed = |record: &&Record| state.is_some() || !Waiting::is_open(record.status);
                waiting.extend(records.iter().filter(is_listed).map(Waiting::of));
            }
        }
        Ok(waiting)
    }

    /// Finds contacts by what a person would type: a phone in any spelling, a chat id, a CRM id, or else part of a name. Of those whose
    /// name holds the text it gives the first `limit`, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn find(&self, text: &str, limit: usize) -> Result<Vec<Record>, SyncError> {
        let (instance, text) = (self.book.instance(), text.trim());
        let found = self.ledger.fetch(instance, Query::CrmIds(&[text.into()])).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        if let Ok(chat) = text.parse::<ChatId>() {
            let chats: Vec<ChatId> = chat.variant().into_iter().chain([chat]).collect();
            return Ok(self.ledger.fetch(instance, Query::Chats(&chats)).await?);
        }
        let text = text.to_lowercase();
        let holds = |name: &str| !text.is_empty() && name.to_lowercase().contains(&text);
        let is_named = |record: &Record| {
            record.shown().is_some_and(holds) || record.wanted().is_some_and(|wish| holds(wish.name.full()))
        };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let records = self.ledger.fetch(instance, Query::All { after: after.as_ref(), limit: CHUNK }).await?;
            let Some(last) = records.last() else { return Ok(found) };
            after = Some(last.chat.clone());
            found.extend(records.into_iter().filter(is_named).take(limit - found.len()));
            if found.len() == limit {
                return Ok(found);
            }
        }
    }

    /// Tells the whole story of one contact, and why its name is not written yet; `None` if it is not known.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn explain(&self, chat: &ChatId) -> Result<Option<Story>, SyncError> {
        let Some(record) = self.known(chat).await? else { return Ok(None) };
        let (instance, now) = (self.book.instance(), self.clock.now());
        let state = with_budget(self.ledger.state(instance).await?);
        let mut why = why(&record, now);
        if record.status.due_at().is_some() {
            if let Some(wait) = state.wait.filter(|wait| wait.until > now) {
                let left = wait.until.since(now).as_secs();
                why = format!("{why}; the instance asked to wait for {left} s more: {}", wait.kind);
            }
            let cap = self.daily.or(state.daily);
            let next = cap.map(|daily| state.budget.resumes_at(&daily, now)).filter(|next| *next > now);
            if let Some(next) = next {
                why = format!("{why}; the daily cap of calls is spent, and the next can be made at {next}");
            }
        }
        let mut story = happenings(&record);
        for text in self.ledger.history(instance, &record.chat).await? {
            let what = format!("{:?} was overwritten by {:?} (run {})", text.text, text.by.name.full(), text.run);
            story.push(Happening { at: Some(text.at), what });
        }
        story.sort_by_key(|happening| happening.at);
        Ok(Some(Story { chat: record.chat.clone(), status: record.status.as_str(), why, story }))
    }

    /// Takes an id out of a contact again that was joined with it by mistake: it is a contact by itself as it was before, with the rows of
    /// the CRM that it brought. A privacy id is held from then on, so that it is not joined again by itself. Says what is known of the
    /// contact that is left and of the other one; `None` if no such id was joined.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn unmerge(&self, id: &ChatId) -> Result<Option<(Record, Record)>, SyncError> {
        let (instance, policy) = (self.book.instance(), self.policy(Policy::default().deadline));
        loop {
            let Some(kept) = self.known(id).await? else { return Ok(None) };
            let Some((left, back)) = unmerge(&kept, id, &policy, self.clock.now()) else { return Ok(None) };
            let moved = back.claims.iter();
            let (unclaimed, based_on) =
                moved.map(|claim| (claim.crm_id.clone(), (claim.crm_id.clone(), claim.digest))).unzip();
            let gives = Write { unclaimed, ..Write::from(left.clone()) };
            let takes = Write { based_on, ..Write::from(back.clone()) };
            if self.ledger.commit(instance, None, vec![gives, takes]).await?.is_empty() {
                return Ok(Some((left, back)));
            }
        }
    }

    /// Lists the names that people saved on the phone and that the CRM does not have: those that were taken over
    /// ([`Drift::PhoneWins`], [`Drift::ByField`]), and those that wait for a decision ([`Drift::Ask`]). In the order of chats.
    ///
    /// Each is listed until the CRM's row says the same, says something else, or the contact is released: so an application that was
    /// not there when it happened misses none. To be told at once, see [`Progress::Edited`](super::Progress::Edited).
    pub fn edits(&self) -> impl Stream<Item = Result<Edit, SyncError>> + Send + '_ {
        let pages = try_unfold(None::<ChatId>, move |after| async move {
            let query = Query::All { after: after.as_ref(), limit: CHUNK };
            let records = self.ledger.fetch(self.book.instance(), query).await?;
            let edits: Vec<Result<Edit, SyncError>> = records.iter().filter_map(Record::edit).map(Ok).collect();
            Ok::<_, SyncError>(records.last().map(|last| (iter(edits), Some(last.chat.clone()))))
        });
        pages.try_flatten()
    }

    async fn known(&self, chat: &ChatId) -> Result<Option<Record>, SyncError> {
        let found = self.ledger.fetch(self.book.instance(), Query::Chats(std::slice::from_ref(chat))).await?;
        // An id that is a contact by itself may be known as another one's alias.
        Ok(found.into_iter().min_by_key(|record| record.chat != *chat))
    }

    /// Decides about one contact, and stores what changes; again if somebody else was faster.
    async fn say(&self, chat: &ChatId, event: &Event) -> Result<Option<Record>, SyncError> {
        let policy = self.policy(Policy::default().deadline);
        loop {
            let Some(record) = self.known(chat).await? else { return Ok(None) };
            let decision = decide(&record, event.clone(), &policy, self.clock.now());
            let said = decision.record.clone();
            if !decision.is_changed
                || self.ledger.commit(self.book.instance(), None, vec![Write::from(decision)]).await?.is_empty()
            {
                return Ok(Some(said));
            }
        }
    }
}

impl Waiting {
    /// Whether a contact in this state is listed with those that are in it.
    fn is_open(status: Status) -> bool {
        matches!(status, Status::Parked { .. } | Status::Held { .. })
    }

    fn of(record: &Record) -> Self {
        let advice = match record.status {
            Status::Parked { reason } => reason.advice(),
            Status::Held { reason, .. } => reason.advice(),
            Status::InSync | Status::Due { .. } => Hold::ByHand.advice(),
        };
        Self {
            chat: record.chat.clone(),
            crm_ids: record.claims.iter().map(|claim| claim.crm_id.clone()).collect(),
            shown: record.shown().map(Into::into),
            wanted: record.wanted().map(|wish| wish.name.full().to_owned()),
            status: record.status,
            held_since: record.held.map(|held| held.since),
            advice,
            message: record.failure().and_then(|failure| failure.message.clone()),
        }
    }
}

/// Why a contact shows what it shows, and why another name is not written yet.
fn why(record: &Record, now: Timestamp) -> String {
    let substitute = record.substitute.as_ref().filter(|substitute| record.wanted() == Some(&substitute.wish));
    let until = "stays until the CRM wants another one, or the contact is released";
    match (substitute, record.status) {
        (Some(Substitute { wish, source: Source::Undo { run }, .. }), Status::InSync) => {
            format!("run {run} was undone: {:?} {until}", wish.name.full())
        }
        (Some(Substitute { source: Source::Phone, .. }), Status::InSync) => {
            format!("a person saved this name on the phone: it {until}")
        }
        _ => why_of(record, now),
    }
}

fn why_of(record: &Record, now: Timestamp) -> String {
    match record.status {
        Status::InSync if record.claims.is_empty() => "no row of the CRM claims this person".into(),
        Status::InSync => match (record.wanted(), record.drifted()) {
            (None, _) => "the CRM's row has no name that can be used".into(),
            (Some(wish), _) if record.shows(&wish.name) => "the address book shows the name that the CRM wants".into(),
            (Some(_), Some(_)) => "somebody saved another name, and the policy leaves it".into(),
            (Some(_), None) => "the address book shows a name that is not ours, and the policy leaves it".into(),
        },
        Status::Held { reason, .. } => reason.advice().into(),
        Status::Parked { reason } => reason.advice().into(),
        Status::Due { at } if at > now => {
            let left = at.since(now).as_secs();
            match (record.failure(), &record.pushed.in_doubt) {
                (Some(failure), _) => format!("it failed and is tried again in {left} s: {}", failure.kind),
                (None, Some(_)) => format!("an older request may still take effect for {left} s"),
                (None, None) => format!("it is due in {left} s"),
            }
        }
        Status::Due { .. } => "it is due: the next run writes it".into(),
    }
}

/// What the record itself tells of the past.
fn happenings(record: &Record) -> Vec<Happening> {
    let mut story = Vec::new();
    let mut tell = |at: Option<Timestamp>, what: String| story.push(Happening { at, what });
    for claim in &record.claims {
        let version = claim.version.map(|version| format!(", version {version}")).unwrap_or_default();
        let wish = claim.wish.as_ref();
        let wish = wish.map_or("has no name that can be used".into(), |wish| format!("wants {:?}", wish.name.full()));
        tell(None, format!("row {:?} of the CRM{version} {wish} ({})", claim.crm_id, claim.cause.as_str()));
    }
    for alias in &record.aliases {
        tell(None, format!("{alias} is the same person"));
    }
    if let Some(checked) = record.checked {
        let is = if checked.exists { "is" } else { "is not" };
        tell(Some(checked.at), format!("the server said that the number {is} on WhatsApp"));
    }
    let pushed = &record.pushed;
    if let Some(sent) = &pushed.sent {
        let name = sent.wish.name.full();
        let how = if sent.run == 0 { "was there already".into() } else { format!("accepted (run {})", sent.run) };
        tell(Some(sent.at), format!("{name:?} {how}"));
        if let Some(at) = sent.verified_at.filter(|at| *at > sent.at) {
            tell(Some(at), format!("{name:?} verified: the address book shows it"));
        }
    }
    if let Some(doubt) = &pushed.in_doubt {
        tell(Some(doubt.since), format!("{:?} sent, and no answer came (run {})", doubt.wish.name.full(), doubt.run));
    }
    if let Some(failure) = pushed.failure.as_ref().filter(|failure| failure.deaths > 0) {
        let times = failure.deaths;
        tell(None, format!("the process died while it was called, {times} times in a row"));
    }
    if let Some(failure) = pushed.failure.as_ref().filter(|failure| failure.attempts > 0) {
        let said = failure.message.as_deref().map(|said| format!(": {said:?}")).unwrap_or_default();
        tell(Some(failure.at), format!("attempt {} failed, {}{said}", failure.attempts, failure.kind));
    }
    if let Some(Substitute { wish, source, .. }) = &record.substitute {
        let why = match source {
            Source::Undo { run } => format!("run {run} was undone"),
            Source::Phone => "a person saved another name on the phone".into(),
        };
        tell(None, format!("{why}: {:?} stands in place of what the CRM wants", wish.name.full()));
    }
    if let Some(flips) = &pushed.flips {
        tell(
            Some(flips.since),
            match flips.times {
                1 => format!("somebody saved {:?} over ours", flips.name),
                times => format!("somebody saved {:?} over ours, and {times} times since then in all", flips.name),
            },
        );
    }
    if let Some(seen) = &record.seen {
        let name = seen.name.as_deref().map_or("seen without a saved name".into(), |name| format!("seen as {name:?}"));
        tell(Some(seen.at), name);
    }
    if let Some(held) = &record.held {
        tell(Some(held.since), "a person said to leave it as it is".into());
    }
    story
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({}): {}", self.chat, self.status, Plain(&self.why))?;
        self.story.iter().try_for_each(|Happening { at, what }| match at {
            Some(at) => writeln!(f, "  {at}  {}", Plain(what)),
            None => writeln!(f, "  {}", Plain(what)),
        })
    }
}
