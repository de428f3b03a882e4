//! The client is an address book, by the book.

use std::{any::Any, pin::Pin, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use wawp_contacts::{
    AddressBook, ChatId, Client, ContactName, Error, ErrorKind, InstanceId, Pace, RetryPolicy, address_book_contract,
    book::{
        Contact, Page, Permit,
        contract::{self, Stand, Trial},
    },
    pace::Limiter,
    testkit::{Answer, WawpServer},
};

const PACE: Duration = Duration::from_millis(20);

/// A book before a stand-in server.
struct Shop<B> {
    server: WawpServer,
    book: B,
}

impl<B: AddressBook> Shop<B> {
    async fn start(book: impl FnOnce(Client) -> B) -> Self {
        let server = WawpServer::start().await;
        let builder = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
        let builder = builder.pace(Pace::every(PACE)).timeout(Duration::from_millis(900));
        let client = builder.retry(RetryPolicy::never()).build().unwrap();
        Self { server, book: book(client) }
    }

    fn answer_all(&self, answer: &Answer) {
        self.server.on_any_update().answer(answer.clone());
        self.server.refuse_reads(answer.clone());
    }
}

impl<B: AddressBook> Stand for Shop<B> {
    fn book(&self) -> &dyn AddressBook {
        &self.book
    }

    fn requests(&self) -> usize {
        self.server.calls().len() + self.server.reads()
    }

    fn fail(&self) {
        let text = format!("no {} today", self.secret());
        self.answer_all(&Answer::json(500, &json!({"message": text, "code": self.secret()})));
    }

    fn ask_to_wait(&self, wait: Duration) {
        self.answer_all(&Answer::unavailable(wait));
    }

    fn hang(&self) {
        self.server.on_any_update().delay(Duration::from_secs(60));
    }

    fn secret(&self) -> String {
        self.server.token().to_owned()
    }
}

address_book_contract!(wawp, Shop::start(|client| client).await);
address_book_contract!(wrapped, Shop::start(|client| Wrong::new(client, None)).await);

/// What an implementer can get wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Gives permits at once.
    NoPace,
    /// Lets each caller wait for itself.
    PaceOfOneCaller,
    /// Keeps the pace, and does not hear the server.
    Deaf,
    /// Waits the pause out.
    Patient,
    /// Knows that there is a pause, and neither its kind nor its length.
    Vague,
    /// Knows the kind of the pause and not its length.
    Endless,
    /// Counts a permit that was refused as a call in doubt.
    DoubtsNothing,
    /// Drops what the server asked for.
    DropsTheWait,
    /// Takes a failed update for one that was not carried out.
    NoDoubt,
    /// Blames the contact when the server fails.
    Blames,
    /// Has a deadline of zero.
    NoDeadline,
    /// Gives up later than it says.
    Late,
}

/// The client with a fault.
#[derive(Debug)]
struct Wrong {
    client: Client,
    limiter: Limiter,
    fault: Option<Fault>,
}

impl Wrong {
    fn new(client: Client, fault: impl Into<Option<Fault>>) -> Self {
        Self { client, limiter: Limiter::new(Pace::every(PACE)), fault: fault.into() }
    }
}

#[async_trait]
impl AddressBook for Wrong {
    fn instance(&self) -> &InstanceId {
        AddressBook::instance(&self.client)
    }

    fn deadline(&self) -> Duration {
        match self.fault {
            Some(Fault::NoDeadline) => Duration::ZERO,
            Some(Fault::Late) => Duration::from_millis(50),
            _ => self.client.deadline(),
        }
    }

    fn pace(&self) -> Pace {
        self.client.pace()
    }

    async fn permit(&self) -> Result<Permit, Error> {
        match self.fault {
            Some(Fault::NoPace) => return Ok(Permit::grant()),
            Some(Fault::PaceOfOneCaller) => {
                tokio::time::sleep(PACE).await;
                return Ok(Permit::grant());
            }
            Some(Fault::Deaf) => return self.limiter.turn(Duration::ZERO).await.map(|()| Permit::grant()),
            _ => {}
        }
        let error = match self.client.permit().await {
            Ok(permit) => return Ok(permit),
            Err(error) => error,
        };
        let wait = error.retry_after().unwrap_or_default();
        match self.fault {
            Some(Fault::Patient) => {
                tokio::time::sleep(wait).await;
                self.permit().await
            }
            Some(Fault::Vague) => Err(Error::new(ErrorKind::RateLimited).with_retry_after(wait).after(0)),
            Some(Fault::Endless) => Err(Error::new(error.kind()).without_doubt().after(0)),
            Some(Fault::DoubtsNothing) => Err(Error::new(error.kind()).with_retry_after(wait).after(0)),
            _ => Err(error),
        }
    }

    async fn update(&self, permit: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.client.update(permit, chat, name).await.map_err(|error| match self.fault {
            Some(Fault::NoDoubt) => error.without_doubt(),
            Some(Fault::Blames) if error.status() == Some(500) => Error::new(ErrorKind::Rejected).with_status(500),
            Some(Fault::DropsTheWait) => Error::new(error.kind()),
            _ => error,
        })
    }

    async fn contact(&self, permit: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        AddressBook::contact(&self.client, permit, chat).await
    }

    async fn page(&self, permit: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        self.client.page(permit, offset, limit).await
    }
}

type Clause = for<'a> fn(&'a dyn Stand) -> Pin<Box<dyn Future<Output = Trial> + 'a>>;

/// What a clause says of a book with a fault; `None` if it finds nothing.
fn found(fault: Fault, clause: Clause) -> Option<String> {
    let trial = std::thread::spawn(move || {
        contract::block_on(async { clause(&Shop::start(|client| Wrong::new(client, fault)).await).await })
    });
    let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map(|text| text.to_string()).unwrap_or_default(),
    };
    match trial.join() {
        Ok(result) => result.err().map(|error| error.to_string()),
        Err(panic) => Some(text(panic)),
    }
}

#[test]
fn a_book_with_any_of_these_faults_fails_at_the_clause_about_it() {
    let pace: Clause = |stand| Box::pin(contract::permits_are_given_at_the_pace_to_all_callers_together(stand));
    let pause: Clause = |stand| Box::pin(contract::a_pause_that_the_server_asks_for_comes_back_at_once(stand));
    let failure: Clause =
        |stand| Box::pin(contract::an_update_that_the_server_fails_at_is_in_doubt_and_may_be_repeated(stand));
    let deadline: Clause = |stand| Box::pin(contract::an_update_ends_within_the_deadline(stand));
    let mut wrong = Vec::new();
    for (fault, clause, word) in [
        (Fault::NoPace, pace, "at the pace"),
        (Fault::PaceOfOneCaller, pace, "at the pace"),
        (Fault::NoPace, pause, "a permit is given"),
        (Fault::Deaf, pause, "a permit is given"),
        (Fault::Patient, pause, "waits for the end of the pause"),
        (Fault::Vague, pause, "the kind of the error"),
        (Fault::Endless, pause, "the refusal has None left"),
        (Fault::DoubtsNothing, pause, "nothing is in doubt"),
        (Fault::DropsTheWait, pause, "the error of the update has None left"),
        (Fault::NoDoubt, failure, "is not in doubt"),
        (Fault::Blames, failure, "can be repeated"),
        (Fault::NoDeadline, deadline, "the deadline is zero"),
        (Fault::Late, deadline, "still under way"),
        (Fault::NoDoubt, deadline, "is in doubt"),
    ] {
        let said = found(fault, clause);
        if !said.as_ref().is_some_and(|said| said.contains(word)) {
            wrong.push((fault, word, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
