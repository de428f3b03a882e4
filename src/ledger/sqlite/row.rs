//! Rows as columns. Times beyond the range of an SQLite integer are stored as the last one in it.

use std::{error::Error as StdError, str::FromStr};

use rusqlite::{
    params,
    types::{FromSql, Type},
};

use crate::{
    ContactName, ErrorKind,
    contact::Fingerprint,
    ledger::{Cause, Doubt, Overwritten, Pushed, Row, RunRecord, Seen, Sent, State, Timestamp, Trouble, Wanted},
};

/// The columns of a contact that [`read`] takes, in its order.
macro_rules! contact_columns {
    () => {
        "chat, slot, revision, crm_id, version, first_name, last_name, base_first, base_last, tag, cause, rules, rivals, \
         sent_first, sent_last, sent_at, doubt_first, doubt_last, doubt_until, \
         trouble_kind, trouble_wish, attempts, retry_at, trouble_message, seen_name, seen_at"
    };
}
pub(super) use contact_columns;

/// Stores a whole contact, as [`write`] binds it.
pub(super) const REPLACE: &str = concat!(
    "REPLACE INTO contact (",
    contact_columns!(),
    ", instance, state, due_at) VALUES \
     (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, \
      ?26, ?27, ?28, ?29)"
);

/// Stores a contact by the statement [`REPLACE`].
pub(super) fn write(
    statement: &mut rusqlite::Statement<'_>,
    instance: i64,
    row: &Row,
    state: State,
) -> rusqlite::Result<()> {
    let Wanted { crm_id, version, name, base, tag, cause, rules, rivals } = &row.wanted;
    let Pushed { sent, doubt, trouble } = &row.pushed;
    let (sent, doubt, trouble, seen) = (sent.as_ref(), doubt.as_ref(), trouble.as_ref(), row.seen.as_ref());
    statement.execute(params![
        row.chat.as_str(),
        row.slot.cast_signed(),
        row.revision.cast_signed(),
        crm_id,
        version.map(u64::cast_signed),
        name.first(),
        name.last(),
        base.first(),
        base.last(),
        tag,
        cause.as_str(),
        rules,
        rivals_text(rivals)?,
        sent.map(|sent| sent.name.first()),
        sent.and_then(|sent| sent.name.last()),
        sent.map(|sent| millis(sent.at)),
        doubt.map(|doubt| doubt.name.first()),
        doubt.and_then(|doubt| doubt.name.last()),
        doubt.map(|doubt| millis(doubt.until)),
        trouble.map(|trouble| trouble.kind.code()),
        trouble.map(|trouble| trouble.wish.as_bytes().as_slice()),
        trouble.map(|trouble| trouble.attempts),
        trouble.and_then(|trouble| trouble.retry_at).map(millis),
        trouble.and_then(|trouble| trouble.message.as_deref()),
        seen.and_then(|seen| seen.name.as_deref()),
        seen.map(|seen| millis(seen.at)),
        instance,
        state_word(state),
        row.due_at().map(millis),
    ])?;
    Ok(())
}

/// Takes a contact from a result with the columns of `contact_columns!`.
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let mut columns = Columns { row, next: 0 };
    Ok(Row {
        chat: columns.parsed()?,
        slot: columns.number()?,
        revision: columns.number()?,
        wanted: columns.wanted()?,
        pushed: Pushed { sent: columns.sent()?, doubt: columns.doubt()?, trouble: columns.trouble()? },
        seen: columns.seen()?,
    })
}

/// Takes an entry of the history: chat, text, first and last name, moment.
pub(super) fn read_overwritten(row: &rusqlite::Row<'_>) -> rusqlite::Result<Overwritten> {
    let mut columns = Columns { row, next: 0 };
    Ok(Overwritten {
        chat: columns.parsed()?,
        text: columns.take()?,
        by: columns.name()?,
        at: Timestamp(columns.number()?),
    })
}

/// Takes a run: fence, beginning, end, summary.
pub(super) fn read_run(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRecord> {
    let mut columns = Columns { row, next: 0 };
    Ok(RunRecord {
        fence: columns.number()?,
        began: Timestamp(columns.number()?),
        ended: columns.time()?,
        summary: columns.take()?,
    })
}

/// Takes a moment, the only column.
pub(super) fn read_time(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Timestamp>> {
    Columns { row, next: 0 }.time()
}

/// Turns a moment into what is stored.
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// The word of a state in the file.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Settled => "settled",
        State::Due => "due",
        State::Parked => "parked",
    }
}

/// Reads a result from its first column to its last.
struct Columns<'row> {
    row: &'row rusqlite::Row<'row>,
    next: usize,
}

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let column = self.next;
        self.next += 1;
        self.row.get(column)
    }

    /// An error about the column that was taken last.
    fn unreadable(&self, why: impl Into<Box<dyn StdError + Send + Sync>>) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(self.next - 1, Type::Text, why.into())
    }

    fn parsed<T: FromStr<Err: StdError + Send + Sync + 'static>>(&mut self) -> rusqlite::Result<T> {
        self.take::<String>()?.parse().map_err(|error| self.unreadable(error))
    }

    fn number(&mut self) -> rusqlite::Result<u64> {
        u64::try_from(self.take::<i64>()?).map_err(|error| self.unreadable(error))
    }

    fn time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let time = self.take::<Option<i64>>()?.map(u64::try_from).transpose();
        time.map(|time| time.map(Timestamp)).map_err(|error| self.unreadable(error))
    }

    fn name(&mut self) -> rusqlite::Result<ContactName> {
        self.name_if_any()?.ok_or_else(|| self.unreadable("a name is missing"))
    }

    fn name_if_any(&mut self) -> rusqlite::Result<Option<ContactName>> {
        let (first, last): (Option<String>, Option<String>) = (self.take()?, self.take()?);
        let name = first.map(|first| ContactName::new(&first, last.as_deref().unwrap_or_default())).transpose();
        name.map_err(|error| self.unreadable(error))
    }

    fn wanted(&mut self) -> rusqlite::Result<Wanted> {
        Ok(Wanted {
            crm_id: self.take()?,
            version: self.take::<Option<i64>>()?.map(i64::cast_unsigned),
            name: self.name()?,
            base: self.name()?,
            tag: self.take()?,
            cause: self.cause()?,
            rules: self.take()?,
            rivals: self.rivals()?,
        })
    }

    fn cause(&mut self) -> rusqlite::Result<Cause> {
        let word: String = self.take()?;
        let causes = [Cause::New, Cause::Name, Cause::Stage, Cause::Rules];
        causes.into_iter().find(|cause| cause.as_str() == word).ok_or_else(|| self.unreadable("an unknown cause"))
    }

    fn rivals(&mut self) -> rusqlite::Result<Box<[Box<str>]>> {
        match self.take::<Option<String>>()? {
            Some(list) => serde_json::from_str(&list).map_err(|error| self.unreadable(error)),
            None => Ok(Box::default()),
        }
    }

    fn sent(&mut self) -> rusqlite::Result<Option<Sent>> {
        let (name, at) = (self.name_if_any()?, self.time()?);
        Ok(name.zip(at).map(|(name, at)| Sent { name, at }))
    }

    fn doubt(&mut self) -> rusqlite::Result<Option<Doubt>> {
        let (name, until) = (self.name_if_any()?, self.time()?);
        Ok(name.zip(until).map(|(name, until)| Doubt { name, until }))
    }

    fn trouble(&mut self) -> rusqlite::Result<Option<Trouble>> {
        let kind = self.kind()?;
        let wish = self.take::<Option<[u8; 16]>>()?.map(Fingerprint::from_bytes);
        let attempts: Option<u32> = self.take()?;
        let (retry_at, message) = (self.time()?, self.take()?);
        let trouble = |((kind, wish), attempts)| Trouble { wish, attempts, retry_at, kind, message };
        Ok(kind.zip(wish).zip(attempts).map(trouble))
    }

    fn kind(&mut self) -> rusqlite::Result<Option<ErrorKind>> {
        let Some(word) = self.take::<Option<String>>()? else { return Ok(None) };
        let kind = ErrorKind::ALL.iter().copied().find(|kind| kind.code() == word);
        kind.map(Some).ok_or_else(|| self.unreadable("an unknown kind of error"))
    }

    fn seen(&mut self) -> rusqlite::Result<Option<Seen>> {
        let (name, at) = (self.take()?, self.time()?);
        Ok(at.map(|at| Seen { name, at }))
    }
}

fn rivals_text(rivals: &[Box<str>]) -> rusqlite::Result<Option<String>> {
    if rivals.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(rivals).map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
