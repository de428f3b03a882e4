//! The suite that every address book must pass: one test per sentence of the trait.
//!
//! [`address_book_contract!`](crate::address_book_contract) turns the clauses below into tests of one implementation, seen
//! through a [`Stand`]: the address book together with the server behind it, which a test can look at and break. A clause gets an
//! empty stand and panics if it does not hold.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a clause says that it does not hold")]

use std::{collections::BTreeSet, error::Error as StdError, fmt::Write, time::Duration};

use tokio::time::{Instant, timeout};

use super::{AddressBook, Pager};
use crate::{ChatId, ContactName, Error, ErrorClass};

/// What a clause gives back; an error, like a panic, means that it does not hold.
pub type Trial<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// An address book and the server behind it, which shows nobody yet.
///
/// Each way to misbehave lasts until the stand is dropped. A test asks for one of them at most.
pub trait Stand: Send + Sync {
    /// The address book that is on trial.
    ///
    /// It must have a [pace](AddressBook::pace), since one clause measures that: one call per 20 ms saves time. A
    /// [deadline](AddressBook::deadline) of a second or less saves time as well, since one clause waits for it.
    fn book(&self) -> &dyn AddressBook;

    /// How many requests have reached the server so far, reads and updates.
    fn requests(&self) -> usize;

    /// Makes the server break down: it answers everything as a server does that failed, 500 for instance, and the text of the answer
    /// holds the [secret](Self::secret). Nothing in it asks to wait.
    fn fail(&self);

    /// Makes the server answer everything by asking to be left alone for so long, 503 or 429 with `Retry-After` for instance.
    fn ask_to_wait(&self, wait: Duration);

    /// Makes the server take updates and answer none.
    fn hang(&self);

    /// The access token, or whatever else may appear in no error.
    fn secret(&self) -> String;
}

/// Makes a module of tests that hold an [`AddressBook`](crate::AddressBook) to the contract.
///
/// Takes the name of the module and an expression that makes a [`Stand`](crate::book::contract::Stand), evaluated within an
/// `async` block once per test; it may use `.await` and `?`. The tests bring their own runtime.
///
/// ```
/// # use std::time::Duration;
/// # use wawp_contacts::{AddressBook, Client, Pace, testkit::{Answer, WawpServer}};
/// # #[derive(Debug)] struct Shop(WawpServer, Client);
/// # impl Shop {
/// #     async fn start() -> Self {
/// #         let server = WawpServer::start().await;
/// #         let builder = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
/// #         let builder = builder.pace(Pace::every(Duration::from_millis(20))).timeout(Duration::from_millis(300));
/// #         let client = builder.build().unwrap();
/// #         Self(server, client)
/// #     }
/// # }
/// # impl wawp_contacts::book::contract::Stand for Shop {
/// #     fn book(&self) -> &dyn AddressBook { &self.1 }
/// #     fn requests(&self) -> usize { self.0.reads() + self.0.calls().len() }
/// #     fn fail(&self) {
/// #         self.0.on_any_update().answer(Answer::engine_error(self.0.token()));
/// #         self.0.refuse_reads(Answer::engine_error(self.0.token()));
/// #     }
/// #     fn ask_to_wait(&self, wait: Duration) { self.0.on_any_update().answer(Answer::unavailable(wait)); }
/// #     fn hang(&self) { self.0.on_any_update().delay(Duration::from_secs(60)); }
/// #     fn secret(&self) -> String { self.0.token().into() }
/// # }
/// wawp_contacts::address_book_contract!(shop, Shop::start().await);
/// ```
#[macro_export]
macro_rules! address_book_contract {
    ($name:ident, $stand:expr) => {
        mod $name {
            use super::*;

            $crate::address_book_contract! {
                @ $stand;
                an_update_creates_and_renames_and_is_read_back
                an_update_may_be_repeated
                a_name_without_a_last_one_erases_it
                an_unknown_contact_is_none_or_has_no_name
                pages_are_complete_and_without_repeats
                permits_are_given_at_the_pace_to_all_callers_together
                a_pause_that_the_server_asks_for_comes_back_at_once
                an_update_that_the_server_fails_at_is_in_doubt_and_may_be_repeated
                an_update_ends_within_the_deadline
                a_call_makes_one_attempt
                no_error_shows_the_secret
            }
        }
    };
    (@ $stand:expr; $($clause:ident)*) => {$(
        #[test]
        fn $clause() -> $crate::book::contract::Trial {
            $crate::book::contract::block_on(async {
                let stand = $stand;
                $crate::book::contract::$clause(&stand).await
            })
        }
    )*};
}

/// Runs a clause on a runtime of its own.
///
/// # Errors
///
/// Gives back the error of the clause, or of a runtime that cannot be made.
pub fn block_on(clause: impl Future<Output = Trial>) -> Trial {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(clause)
}

fn chat(n: u32) -> Trial<ChatId> {
    Ok(format!("1202555{n:04}@c.us").parse()?)
}

async fn update(book: &dyn AddressBook, chat: &ChatId, first: &str, last: &str) -> Trial {
    let permit = book.permit().await?;
    Ok(book.update(permit, chat, &ContactName::new(first, last)?).await?)
}

async fn shown(book: &dyn AddressBook, chat: &ChatId) -> Trial<Option<String>> {
    let permit = book.permit().await?;
    Ok(book.contact(permit, chat).await?.and_then(|contact| contact.name))
}

/// A name that was set is read back; setting another replaces it.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn an_update_creates_and_renames_and_is_read_back(stand: &dyn Stand) -> Trial {
    let (book, bob) = (stand.book(), chat(142)?);
    update(book, &bob, "Bob", "[Lead]").await?;
    assert_eq!(shown(book, &bob).await?.as_deref(), Some("Bob [Lead]"), "created");
    update(book, &bob, "Bob", "Miller [Customer]").await?;
    assert_eq!(shown(book, &bob).await?.as_deref(), Some("Bob Miller [Customer]"), "renamed");
    Ok(())
}

/// Setting the same name twice is harmless: a caller whose answer was lost repeats it.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn an_update_may_be_repeated(stand: &dyn Stand) -> Trial {
    let (book, bob) = (stand.book(), chat(142)?);
    for _ in 0..3 {
        update(book, &bob, "Bob", "[Lead]").await?;
        assert_eq!(shown(book, &bob).await?.as_deref(), Some("Bob [Lead]"));
    }
    assert_eq!(listed(book, 10).await?, [bob], "one entry");
    Ok(())
}

/// A name without a last name erases a last name that was there.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn a_name_without_a_last_one_erases_it(stand: &dyn Stand) -> Trial {
    let (book, bob) = (stand.book(), chat(142)?);
    update(book, &bob, "Bob", "[Lead]").await?;
    update(book, &bob, "Bob", "").await?;
    assert_eq!(shown(book, &bob).await?.as_deref(), Some("Bob"));
    Ok(())
}

/// A contact that was never saved is none, or one without a name; it is no error.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn an_unknown_contact_is_none_or_has_no_name(stand: &dyn Stand) -> Trial {
    update(stand.book(), &chat(142)?, "Bob", "").await?;
    assert_eq!(shown(stand.book(), &chat(143)?).await?, None);
    Ok(())
}

/// Pages of any size together hold everybody once.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn pages_are_complete_and_without_repeats(stand: &dyn Stand) -> Trial {
    let chats = (1..=7).map(chat).collect::<Trial<Vec<_>>>()?;
    for chat in &chats {
        update(stand.book(), chat, "Someone", chat.as_str()).await?;
    }
    for limit in [1, 3, 7, 100] {
        let listed = listed(stand.book(), limit).await?;
        let once: BTreeSet<_> = listed.iter().cloned().collect();
        assert_eq!(once.len(), listed.len(), "a page of {limit} repeats somebody: {listed:?}");
        assert_eq!(once, chats.iter().cloned().collect(), "in pages of {limit}");
    }
    Ok(())
}

async fn listed(book: &dyn AddressBook, limit: usize) -> Trial<Vec<ChatId>> {
    let (mut pager, mut chats) = (Pager::new(limit), Vec::new());
    while let Some(offset) = pager.next_offset() {
        let permit = book.permit().await?;
        let page = book.page(permit, offset, limit).await?;
        pager.took(page.entries, page.mark)?;
        chats.extend(page.contacts.into_iter().map(|contact| contact.chat));
    }
    Ok(chats)
}

/// Permits are given at the pace, however many callers ask for one.
///
/// # Errors
///
/// Fails if the address book does.
pub async fn permits_are_given_at_the_pace_to_all_callers_together(stand: &dyn Stand) -> Trial {
    async fn take(book: &dyn AddressBook, permits: u32) -> Trial {
        for _ in 0..permits {
            drop(book.permit().await?);
        }
        Ok(())
    }
    let (book, pace) = (stand.book(), stand.book().pace());
    assert!(!pace.interval().is_zero(), "the book of the stand has no pace; give it one of a call per 20 ms");
    let each = pace.burst_size().div_ceil(2) + 2;
    let least = pace.interval() * (2 * each - pace.burst_size());
    let began = Instant::now();
    let (one, other) = tokio::join!(take(book, each), take(book, each));
    one.and(other)?;
    let took = began.elapsed();
    assert!(took >= least, "{} permits came within {took:?}; at the pace that takes {least:?}", 2 * each);
    Ok(())
}

/// Once the server has asked to be left alone, a permit is refused at once, with the kind of error that asked for it and what is
/// left, and nothing is sent.
///
/// # Errors
///
/// Fails if the address book does where it should not.
pub async fn a_pause_that_the_server_asks_for_comes_back_at_once(stand: &dyn Stand) -> Trial {
    const PAUSE: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_secs(2);
    // What may have passed since the server answered.
    const SOME: Duration = Duration::from_secs(60);
    let is_left = |error: &Error| error.retry_after().is_some_and(|left| left <= PAUSE && left + SOME > PAUSE);
    let (book, bob, name) = (stand.book(), chat(142)?, ContactName::new("Bob", "[Lead]")?);
    stand.ask_to_wait(PAUSE);
    let permit = book.permit().await?;
    let Err(asked) = book.update(permit, &bob, &name).await else {
        return Err("an update worked although the server asks to wait".into());
    };
    assert!(is_left(&asked), "the error of the update has {:?} left of {PAUSE:?}", asked.retry_after());
    let requests = stand.requests();
    for _ in 0..2 {
        let refused = match timeout(SOON, book.permit()).await {
            Ok(Err(refused)) => refused,
            Ok(Ok(_)) => return Err("a permit is given although the server asked to wait".into()),
            Err(_) => return Err("a permit waits for the end of the pause".into()),
        };
        assert_eq!(refused.kind(), asked.kind(), "the kind of the error that asked for the pause");
        assert!(is_left(&refused), "the refusal has {:?} left of {PAUSE:?}", refused.retry_after());
        assert_eq!((refused.attempts(), refused.is_in_doubt()), (0, false), "nothing is sent, so nothing is in doubt");
    }
    assert_eq!(stand.requests(), requests, "a permit sends nothing");
    Ok(())
}

/// Whether a server that fails has carried an update out is not known: it may be repeated, and the contact is not to blame.
///
/// # Errors
///
/// Fails if the address book does where it should not.
pub async fn an_update_that_the_server_fails_at_is_in_doubt_and_may_be_repeated(stand: &dyn Stand) -> Trial {
    stand.fail();
    for (call, error, _) in failures(stand).await? {
        let error = error.unwrap_or_else(|| panic!("{call} worked although the server fails"));
        assert_eq!(error.class(), ErrorClass::Transient, "{call} can be repeated when the server failed");
        assert!(call != "update" || error.is_in_doubt(), "the update may have been carried out, and is not in doubt");
    }
    Ok(())
}

/// An update that is never answered fails before it could take effect later than the deadline, and is in doubt.
///
/// # Errors
///
/// Fails if the address book does where it should not.
pub async fn an_update_ends_within_the_deadline(stand: &dyn Stand) -> Trial {
    // A timer is late on a busy machine.
    const LATE: Duration = Duration::from_millis(500);
    let (book, bob, name) = (stand.book(), chat(142)?, ContactName::new("Bob", "[Lead]")?);
    assert!(!book.deadline().is_zero(), "the deadline is zero: no update takes no time");
    stand.hang();
    let permit = book.permit().await?;
    let error = match timeout(book.deadline() + LATE, book.update(permit, &bob, &name)).await {
        Ok(Err(error)) => error,
        Ok(Ok(())) => return Err("an update worked although the server does not answer".into()),
        Err(_) => return Err("an update is still under way when its deadline is over".into()),
    };
    assert!(error.is_transient() && error.is_in_doubt(), "an update without an answer is in doubt: {error:?}");
    Ok(())
}

/// Makes each call once, and says of each how it failed.
async fn failures(stand: &dyn Stand) -> Trial<Vec<(&'static str, Option<Error>, usize)>> {
    let (book, bob, name) = (stand.book(), chat(142)?, ContactName::new("Bob", "[Lead]")?);
    let mut calls = Vec::new();
    let before = stand.requests();
    let permit = book.permit().await?;
    let error = book.update(permit, &bob, &name).await.err();
    calls.push(("update", error, stand.requests() - before));
    let before = stand.requests();
    let permit = book.permit().await?;
    let error = book.contact(permit, &bob).await.err();
    calls.push(("contact", error, stand.requests() - before));
    let before = stand.requests();
    let permit = book.permit().await?;
    let error = book.page(permit, 0, 10).await.err();
    calls.push(("page", error, stand.requests() - before));
    Ok(calls)
}

/// A call that fails is not repeated, says that it was one attempt, and a read is never in doubt.
///
/// # Errors
///
/// Fails if the address book does where it should not.
pub async fn a_call_makes_one_attempt(stand: &dyn Stand) -> Trial {
    stand.fail();
    for (call, error, requests) in failures(stand).await? {
        let error = error.unwrap_or_else(|| panic!("{call} worked although the server fails"));
        assert_eq!((error.attempts(), requests), (1, 1), "{call} makes one attempt");
        assert!(call == "update" || !error.is_in_doubt(), "{call} is a read and is in doubt");
    }
    Ok(())
}

/// Neither an error, nor what it shows of its cause, nor the address book's `Debug` holds the secret.
///
/// # Errors
///
/// Fails if the address book does where it should not.
pub async fn no_error_shows_the_secret(stand: &dyn Stand) -> Trial {
    stand.fail();
    let secret = stand.secret();
    assert!(!format!("{:?}", stand.book()).contains(&secret), "the address book shows the secret");
    for (call, error, _) in failures(stand).await? {
        let error = error.unwrap_or_else(|| panic!("{call} worked although the server fails"));
        let mut told = format!("{error} {error:?} {:?} {:?} {:?}", error.code(), error.message(), error.hint());
        let mut source = StdError::source(&error);
        while let Some(cause) = source {
            write!(told, " {cause} {cause:?}")?;
            source = cause.source();
        }
        assert!(!told.contains(&secret), "the error of {call} shows the secret");
    }
    Ok(())
}
