//! A simulator: a sync over a ledger for hours and days, in a second, with everything that can go wrong.
//!
//! For users who write a [`Ledger`], which [`Simulation::ledger`] puts through it, and for this crate's own tests. Whoever writes an
//! [`AddressBook`](crate::book::AddressBook) puts the parts around it, [as below](#a-book-of-ones-own). Each simulation is one seed: from it come the rows of a CRM and what people do to them, an address book whose requests are
//! lost, late or refused, a ledger that fails, processes that die between any two steps, and clocks that are set. The same seed gives the
//! same story, event by event, as long as the ledger answers from the same thread.
//!
//! # What is held
//!
//! The [`Server`] holds each request to the promises at the moment when it is sent:
//!
//! | promise | what breaks it |
//! |---|---|
//! | P2 | a wish older than one that was sent, or than one that the engine has taken in |
//! | P3 | a name that was acknowledged, stored and is shown; any call of a run after everything settled |
//! | P4 | a name that counts as sent and that the server never acknowledged |
//! | P5 | a call before the pace allows it, over all processes; a call before `Retry-After` is over; more updates in 24 hours than the daily cap |
//! | P6 | a call of a run that was told that the token is refused |
//! | P7 | a name that nobody wanted for that person; anything written to a privacy id |
//! | P9 | a name that is not in doubt in the ledger; another name while an older request can take effect |
//! | P10 | another process' request while one is under way |
//! | P12 | a call of a run that a guardrail stopped; renames or lost names in number that none stopped |
//! | hold, forget | a call for whoever is held, or forgotten; a record of the latter |
//! | undo | a name that was undone and is sent again; anything sent by an undo that it does not give back; an edit that is gone |
//!
//! Once the faults have stopped and everything has settled, each contact shows what the CRM wants (P1), and each text of a person that
//! was overwritten is in the history if it could be read before (P8).
//!
//! # The parts
//!
//! [`Server`] and its [`ServerBook`]s, [`FaultyLedger`] and [`FaultyBook`] can be used alone, under a [`Director`] of one's own.
//! [`StopAt`] is one: it lets an engine die at each boundary around a write or a call once.
//!
//! # A book of one's own
//!
//! A [`Simulation`] brings its own server, which judges each request; what is behind a book of yours, it cannot see. So let a sync over
//! your book die at each boundary, run again, and look for yourself:
//!
//! ```
//! use std::{collections::BTreeMap, sync::{Arc, Mutex}, time::Duration};
//!
//! use wawp_contacts::{
//!     AddressBook, ChatId, ContactName, ContactSync, Error, InstanceId, Pace,
//!     book::{Contact, Page, Permit},
//!     crm::{self, CrmContact},
//!     ledger::MemoryLedger,
//!     naming::{Funnel, Naming},
//!     pace::Limiter,
//!     testkit::sim::{FaultyBook, FaultyLedger, StopAt},
//!     time::{Clock, Timestamp},
//! };
//!
//! /// Your own book, which here is its own server too.
//! #[derive(Debug)]
//! struct Vendor { instance: InstanceId, limiter: Limiter, saved: Mutex<Vec<(ChatId, String)>> }
//!
//! # impl Vendor {
//! #     fn names(&self) -> BTreeMap<ChatId, String> { self.saved.lock().unwrap().iter().cloned().collect() }
//! #     fn entry((chat, name): (ChatId, String)) -> Contact { Contact::new(chat).with_name(name) }
//! # }
//! # #[async_trait::async_trait]
//! # impl AddressBook for Vendor {
//! #     fn instance(&self) -> &InstanceId { &self.instance }
//! #     fn deadline(&self) -> Duration { Duration::from_secs(10) }
//! #     fn pace(&self) -> Pace { self.limiter.pace() }
//! #     async fn permit(&self) -> Result<Permit, Error> { self.limiter.turn(Duration::ZERO).await.map(|()| Permit::grant()) }
//! #     async fn update(&self, _: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
//! #         self.saved.lock().unwrap().push((chat.clone(), name.full().to_owned()));
//! #         Ok(())
//! #     }
//! #     async fn contact(&self, _: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
//! #         Ok(self.names().remove_entry(chat).map(Self::entry))
//! #     }
//! #     async fn page(&self, _: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
//! #         let contacts: Vec<_> = self.names().into_iter().skip(offset).take(limit).map(Self::entry).collect();
//! #         let ids: Vec<_> = contacts.iter().map(|contact| contact.chat.to_string()).collect();
//! #         Ok(Page::new(contacts, ids))
//! #     }
//! # }
//! // impl AddressBook for Vendor { .. }
//!
//! /// A process that dies where `stop` says, and one that comes after it; says how many boundaries there were.
//! async fn die_and_go_on(stop: StopAt) -> Result<usize, Box<dyn std::error::Error>> {
//!     let (stop, clock) = (Arc::new(stop), Clock::starting_at(Timestamp(1_700_000_000_000)));
//!     let (instance, limiter) = ("shop".parse()?, Limiter::new(Pace::per_second(1)));
//!     let vendor = Arc::new(Vendor { instance, limiter, saved: Mutex::default() });
//!     let ledger = Arc::new(MemoryLedger::new(clock.clone()));
//!     let naming = Naming::new("Lead, Customer".parse::<Funnel>()?);
//!     let people = ["+1 202 555 0142", "+1 202 555 0143"].map(|phone| phone.parse::<ChatId>().unwrap());
//!     let rows = || people.clone().map(|chat| Ok(CrmContact::new(chat.as_str(), chat.clone()).named("Bob", "").in_stage("Lead")));
//!
//!     let book = FaultyBook::new(Arc::clone(&vendor), stop.clone());
//!     let process = ContactSync::new(book, FaultyLedger::new(ledger.clone(), stop.clone()), naming.clone()).clock(clock.clone());
//!     drop(stop.drive(process.run(crm::snapshot(rows()))).await);
//!     drop(process);
//!
//!     ContactSync::new(Arc::clone(&vendor), ledger, naming).clock(clock).run(crm::snapshot(rows())).await?;
//!     let wanted = people.map(|chat| (chat, "Bob [Lead]".into()));
//!     assert_eq!(vendor.names(), BTreeMap::from(wanted), "nothing is lost");
//!     assert!(vendor.saved.lock().unwrap().len() <= 3, "only the call that was under way is repeated");
//!     Ok(stop.passed())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let die = |stop| {
//!     // A paused clock waits for nothing: an hour's wait for a lease takes no time.
//!     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//!     runtime.block_on(die_and_go_on(stop))
//! };
//! let boundaries = die(StopAt::never())?;
//! assert!(boundaries > 10);
//! for at in 0..boundaries {
//!     die(StopAt::new(at)).map_err(|error| format!("at boundary {at}: {error}"))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Director`] of your own can wait instead, let the ledger fail, or let another write slip in: see [`Act`].

mod chaos;
mod checks;
mod crm;
mod director;
mod faulty;
mod log;
mod server;
mod weather;
mod world;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use self::world::{START, World};
pub use self::{
    director::{Act, Director, Side, Step, StopAt},
    faulty::{FaultyBook, FaultyLedger},
    log::{Happening, Stats, Violation},
    server::{Server, ServerBook},
    weather::Trouble,
};
use crate::{
    InstanceId,
    ledger::{Ledger, LedgerError, MemoryLedger},
    time::Clock,
};

type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Ledger>, LedgerError>>>>;

/// One simulation: a seed, and the ledger that is put through it.
#[must_use = "a simulation does nothing until it runs"]
pub struct Simulation {
    seed: u64,
    open: Box<dyn FnOnce(Clock) -> Opening>,
}

/// What happened in a simulation that kept every promise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How often what happened.
    pub stats: Stats,
    /// Everything that happened, in order.
    pub story: Vec<String>,
}

impl Simulation {
    /// A simulation over a [`MemoryLedger`].
    pub fn new(seed: u64) -> Self {
        Self { seed, open: Box::new(|_| Box::pin(std::future::pending())) }
            .ledger(|clock| async { Ok(MemoryLedger::new(clock)) })
    }

    /// Puts another ledger through it, an empty one that goes by the clock that is given.
    pub fn ledger<L: Ledger, F>(mut self, open: impl FnOnce(Clock) -> F + 'static) -> Self
    where
        F: Future<Output = Result<L, LedgerError>> + 'static,
    {
        self.open = Box::new(|clock| {
            let opening = open(clock);
            Box::pin(async { Ok(Arc::new(opening.await?) as Arc<dyn Ledger>) })
        });
        self
    }

    /// Runs the simulation on a runtime of its own, with a clock that waits for nothing.
    ///
    /// # Errors
    ///
    /// The first promise that was broken, with its story and how to replay it.
    pub fn run(self) -> Result<Outcome, Box<Violation>> {
        let Self { seed, open } = self;
        let failed = |error: &dyn fmt::Display| {
            Box::new(Violation { seed, promise: "P1", detail: format!("it cannot begin: {error}"), story: Vec::new() })
        };
        // The engine draws its jitter from the thread's generator.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.map_err(|error| failed(&error))?;
        runtime.block_on(async {
            let instance: InstanceId = "SIM".parse().map_err(|error| failed(&error))?;
            let clock = Clock::starting_at(START);
            let ledger = faulty::steady(open(clock.clone())).await.map_err(|error| failed(&error))?;
            let world = World::new(seed, instance, World::naming(), clock, ledger);
            world.live().await;
            world.end();
            if let Some(violation) = world.server().log().violation(world.seed()) {
                return Err(Box::new(violation));
            }
            let (story, stats) = world.server().log().so_far();
            Ok(Outcome { stats, story })
        })
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("seed", &self.seed).finish_non_exhaustive()
    }
}
