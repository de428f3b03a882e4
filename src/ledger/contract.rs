//! The suite that every ledger must pass: one test per sentence of the trait.
//!
//! [`ledger_contract!`](crate::ledger_contract) turns the clauses below into tests of one ledger. Values are made from fixed
//! seeds, so that a failure repeats; its message names the seed. A clause gets an empty ledger and panics if it does not hold.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a clause says that it does not hold")]

use std::{collections::BTreeSet, error::Error as StdError, ops::Range, slice, sync::Arc};

use self::dice::Dice;
use super::{
    Candidate, Cause, Counts, Held, Lease, Ledger, LedgerErrorKind, MemoryLedger, Overwritten, Pushed, Row, RunRecord,
    Sent, State, Timestamp, Wanted,
};
use crate::{ChatId, ContactName, InstanceId};

mod dice;

/// What a clause gives back; an error, like a panic, means that it does not hold.
pub type Trial<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

const SEEDS: Range<u64> = 0..24;

/// Makes a module of tests that hold a ledger to the contract.
///
/// Takes the name of the module and an expression that makes an empty ledger in a [`Box`], or in anything else that
/// dereferences to one, such as a guard that deletes a folder when it is dropped. The expression is evaluated within an `async`
/// block once per test, and may use `.await` and `?`. The tests bring their own runtime.
///
/// ```
/// use wawp_contacts::{ledger::MemoryLedger, ledger_contract};
///
/// ledger_contract!(memory, Box::new(MemoryLedger::default()));
/// ```
#[macro_export]
macro_rules! ledger_contract {
    ($name:ident, $ledger:expr) => {
        mod $name {
            use super::*;

            $crate::ledger_contract! {
                @ $ledger;
                a_row_comes_back_as_it_was_saved
                rows_are_loaded_in_the_order_asked_for
                slots_grow_and_are_kept
                a_save_is_all_or_nothing
                a_row_stored_since_it_was_loaded_is_a_conflict
                an_older_lease_may_not_write
                an_instance_is_leased_once_at_a_time
                a_lease_is_given_back_when_it_is_dropped
                instances_never_meet
                an_unknown_instance_is_empty
                due_rows_are_listed_page_by_page
                all_rows_are_listed_page_by_page
                the_first_due_row_says_when_to_look_again
                a_sift_parts_what_changes_nothing_from_the_rest
                a_sift_judges_every_difference_of_a_wish
                a_sift_writes_nothing
                counts_agree_with_the_rows
                history_is_kept_newest_first
                runs_are_kept_newest_first
                a_closed_instance_stays_closed_across_runs
                any_run_of_calls_is_answered_like_the_reference
            }
        }
    };
    (@ $ledger:expr; $($clause:ident)*) => {$(
        #[test]
        fn $clause() -> $crate::ledger::contract::Trial {
            $crate::ledger::contract::block_on(async {
                let ledger = $ledger;
                $crate::ledger::contract::$clause(&*ledger).await
            })
        }
    )*};
}

/// Runs one clause to its end, on a runtime of its own.
///
/// # Errors
///
/// Fails as the clause does.
pub fn block_on(clause: impl Future<Output = Trial>) -> Trial {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(clause)
}

/// A row loaded after a save is the one saved, one revision on; and so it is after the next save.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_row_comes_back_as_it_was_saved(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        for fresh in dice.rows(40)? {
            let chat = fresh.chat.clone();
            let mut row = load(ledger, &chat).await?.unwrap_or(fresh);
            for _ in 0..3 {
                dice.change(&mut row)?;
                ledger.save(&lease, vec![row.clone()], vec![]).await?;
                let stored = load(ledger, &chat).await?.ok_or("the row is gone")?;
                let expected = Row { slot: stored.slot, revision: row.revision + 1, ..row };
                assert_eq!(stored, expected, "seed {seed}");
                row = stored;
            }
        }
    }
    Ok(())
}

/// A load answers in the order of the question, with nothing for those who are not known.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn rows_are_loaded_in_the_order_asked_for(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let rows = Dice::new(1).rows(30)?;
    let (known, unknown) = rows.split_at(rows.len() / 2);
    ledger.save(&lease, known.to_vec(), vec![]).await?;
    let asked: Vec<_> = unknown.iter().chain(known.iter().rev()).chain(known).map(|row| row.chat.clone()).collect();
    let loaded = ledger.load(&lease.instance, &asked).await?;
    assert_eq!(loaded.len(), asked.len());
    for (place, (chat, row)) in asked.iter().zip(loaded).enumerate() {
        assert_eq!(row.map(|row| row.chat), (place >= unknown.len()).then(|| chat.clone()));
    }
    Ok(())
}

/// Slots are small and different, grow with each new row, and stay with the row; the largest is in the counts.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn slots_grow_and_are_kept(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let rows = Dice::new(2).rows(30)?;
    let chats: Vec<_> = rows.iter().map(|row| row.chat.clone()).collect();
    for row in rows {
        ledger.save(&lease, vec![row], vec![]).await?;
    }
    let stored: Vec<_> = ledger.load(&lease.instance, &chats).await?.into_iter().flatten().collect();
    let slots: Vec<_> = stored.iter().map(|row| row.slot).collect();
    assert!(slots.is_sorted_by(|one, next| one < next) && slots[0] > 0, "{slots:?}");
    assert!(
        slots.iter().zip(1..).all(|(slot, place)| *slot <= place * 2),
        "slots index arrays, so they are dense: {slots:?}"
    );
    assert_eq!(ledger.counts(&lease.instance).await?.last_slot, slots[slots.len() - 1]);
    ledger.save(&lease, stored, vec![]).await?;
    let stored = ledger.load(&lease.instance, &chats).await?;
    assert_eq!(stored.into_iter().flatten().map(|row| row.slot).collect::<Vec<_>>(), slots);
    Ok(())
}

/// If one row of a save is refused, nothing of it is stored: no row, no history, no count.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_save_is_all_or_nothing(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let mut dice = Dice::new(3);
    ledger.save(&lease, dice.rows(20)?, vec![]).await?;
    let before = (everything(ledger, &lease.instance).await?, ledger.counts(&lease.instance).await?);
    let mut rows = before.0.clone();
    rows.iter_mut().try_for_each(|row| dice.change(row))?;
    rows.push(Row { revision: 9, ..dice.row()? });
    let entry = dice.overwritten()?;
    let refused = ledger.save(&lease, rows, vec![entry.clone()]).await;
    assert!(refused.is_err_and(|error| error.kind() == LedgerErrorKind::Conflict));
    assert_eq!((everything(ledger, &lease.instance).await?, ledger.counts(&lease.instance).await?), before);
    assert_eq!(ledger.history(&lease.instance, &entry.chat).await?, []);
    Ok(())
}

/// A row is stored only over the revision that it was loaded at, and the error names the contact.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_row_stored_since_it_was_loaded_is_a_conflict(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let fresh = Dice::new(4).row()?;
    ledger.save(&lease, vec![fresh.clone()], vec![]).await?;
    let first = load(ledger, &fresh.chat).await?.ok_or("the row is gone")?;
    ledger.save(&lease, vec![first.clone()], vec![]).await?;
    let second = load(ledger, &fresh.chat).await?;
    let later = Row { revision: first.revision + 7, ..first.clone() };
    for stale in [fresh, first, later] {
        let Err(error) = ledger.save(&lease, vec![stale.clone()], vec![]).await else {
            return Err("a stale row was stored".into());
        };
        assert_eq!(error.kind(), LedgerErrorKind::Conflict);
        assert!(error.to_string().contains(stale.chat.as_str()), "{error}");
        assert_eq!(load(ledger, &stale.chat).await?, second);
    }
    Ok(())
}

/// Whoever holds a lease that is not the newest can write nothing at all.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_older_lease_may_not_write(ledger: &dyn Ledger) -> Trial {
    let older = forgotten(lease(ledger, "one").await?);
    let newer = lease(ledger, "one").await?;
    assert!(newer.fence > older.fence);
    let now = Timestamp(5);
    let row = Dice::new(5).row()?;
    let answers = [
        ledger.save(&older, vec![row.clone()], vec![]).await,
        ledger.save(&older, vec![], vec![]).await,
        ledger.close_until(&older, now).await,
        ledger.end(&older, now, "{}").await,
    ];
    for answer in answers {
        assert!(answer.is_err_and(|error| error.kind() == LedgerErrorKind::Fenced));
    }
    assert_eq!(load(ledger, &row.chat).await?, None);
    assert_eq!(ledger.closed_until(&older.instance).await?, Timestamp(0));
    assert!(ledger.runs(&older.instance, 9).await?.iter().all(|run| run.ended.is_none()));
    ledger.save(&newer, vec![row], vec![]).await?;
    Ok(())
}

/// While a lease is held, the instance is not given to anyone else, but others are.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_instance_is_leased_once_at_a_time(ledger: &dyn Ledger) -> Trial {
    let held = lease(ledger, "one").await?;
    let refused = ledger.lease(&held.instance, Timestamp(1)).await;
    assert!(refused.is_err_and(|error| error.kind() == LedgerErrorKind::InUse));
    assert_eq!(ledger.runs(&held.instance, 9).await?.len(), 1, "a refused lease begins no run");
    lease(ledger, "two").await?;
    ledger.end(&held, Timestamp(2), "{}").await?;
    let refused = ledger.lease(&held.instance, Timestamp(3)).await;
    assert!(refused.is_err(), "the end of a run does not end the lease");
    Ok(())
}

/// Dropping the last reference to the guard gives the instance back; the fence number grows with each lease.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_lease_is_given_back_when_it_is_dropped(ledger: &dyn Ledger) -> Trial {
    let first = lease(ledger, "one").await?;
    let (fence, guard) = (first.fence, Arc::clone(&first.guard));
    drop(first);
    assert!(ledger.lease(&"one".parse()?, Timestamp(1)).await.is_err(), "a reference to the guard is left");
    drop(guard);
    let second = lease(ledger, "one").await?;
    assert!(second.fence > fence);
    Ok(())
}

/// Rows, history, runs, closures and slots of one instance are not seen from another.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn instances_never_meet(ledger: &dyn Ledger) -> Trial {
    let mut dice = Dice::new(6);
    let one = lease(ledger, "one").await?;
    let entry = dice.overwritten()?;
    ledger.save(&one, dice.rows(30)?, vec![entry.clone()]).await?;
    ledger.close_until(&one, Timestamp(7)).await?;
    let before = (everything(ledger, &one.instance).await?, ledger.counts(&one.instance).await?);

    let two = lease(ledger, "two").await?;
    assert_is_empty(ledger, &two.instance, &before.0, &entry.chat).await?;
    let theirs = before.0.iter().map(|row| Row { slot: 0, revision: 0, ..row.clone() }).rev().collect();
    ledger.save(&two, theirs, vec![]).await?;
    assert_eq!((everything(ledger, &one.instance).await?, ledger.counts(&one.instance).await?), before);
    Ok(())
}

/// Reading an instance that was never leased finds nothing and is no error.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_unknown_instance_is_empty(ledger: &dyn Ledger) -> Trial {
    let (instance, rows) = ("nobody".parse()?, Dice::new(7).rows(20)?);
    assert_is_empty(ledger, &instance, &rows, &rows[0].chat).await?;
    assert_eq!(ledger.runs(&instance, 9).await?, []);
    Ok(())
}

/// The due list is what [`Row::due_at`] says, by chat id, and pages of any size make up the whole.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn due_rows_are_listed_page_by_page(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let mut dice = Dice::new(8);
    ledger.save(&lease, dice.rows(80)?, vec![]).await?;
    let mut changed = everything(ledger, &lease.instance).await?;
    changed.iter_mut().try_for_each(|row| dice.change(row))?;
    ledger.save(&lease, changed, vec![]).await?;
    let rows = everything(ledger, &lease.instance).await?;
    for by in (0..20).map(|_| dice.time()) {
        let expected: Vec<_> = rows.iter().filter(|row| row.due_at().is_some_and(|due| due <= by)).cloned().collect();
        for limit in [1, 3, usize::MAX] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = ledger.due(&lease.instance, by, after.as_ref(), limit).await?;
                let Some(last) = page.last() else { break };
                assert!(page.len() <= limit);
                after = Some(last.chat.clone());
                listed.extend(page);
            }
            assert_eq!(listed, expected, "due by {by:?}, {limit} at a time");
        }
        assert_eq!(ledger.due(&lease.instance, by, None, 0).await?, []);
    }
    Ok(())
}

/// The list of all rows goes by chat id, and pages of any size make up the whole.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn all_rows_are_listed_page_by_page(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let saved = Dice::new(9).rows(80)?;
    let chats: BTreeSet<_> = saved.iter().map(|row| row.chat.clone()).collect();
    ledger.save(&lease, saved, vec![]).await?;
    for limit in [1, 7, usize::MAX] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.rows(&lease.instance, after.as_ref(), limit).await?;
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            after = Some(last.chat.clone());
            listed.extend(page.into_iter().map(|row| row.chat));
        }
        assert!(listed.iter().eq(&chats), "{limit} at a time");
    }
    Ok(())
}

/// The next due moment is the earliest of all rows, and none once nothing is due.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn the_first_due_row_says_when_to_look_again(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    assert_eq!(ledger.next_due(&lease.instance).await?, None);
    let mut dice = Dice::new(10);
    for fresh in dice.rows(60)? {
        ledger.save(&lease, vec![fresh], vec![]).await?;
        let rows = everything(ledger, &lease.instance).await?;
        assert_eq!(ledger.next_due(&lease.instance).await?, rows.iter().filter_map(Row::due_at).min());
    }
    let mut rows = everything(ledger, &lease.instance).await?;
    for row in &mut rows {
        row.wanted.rivals = ["another".into()].into();
    }
    ledger.save(&lease, rows, vec![]).await?;
    assert_eq!(ledger.next_due(&lease.instance).await?, None);
    Ok(())
}

/// A sift is what [`Row::is_unchanged_by`] says of each candidate; the rest keeps its order and brings its rows.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_sift_parts_what_changes_nothing_from_the_rest(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        let (rows, known) = (dice.rows(50)?, everything(ledger, &lease.instance).await?);
        let fresh = rows.into_iter().filter(|row| known.iter().all(|known| known.chat != row.chat)).collect();
        ledger.save(&lease, fresh, vec![]).await?;
        let stored = everything(ledger, &lease.instance).await?;
        let candidates = dice.candidates(&stored)?;
        assert_sift(ledger, &lease.instance, &stored, candidates, seed).await?;
    }
    Ok(())
}

/// A wish that differs in CRM id, version, rules or name is not unchanged; one that differs in base, tag or cause is.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_sift_judges_every_difference_of_a_wish(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let mut row = Dice::new(11).row()?;
    row.wanted.rivals = Box::default();
    row.pushed = Pushed { sent: Some(Sent { name: row.wanted.name.clone(), at: Timestamp(1) }), ..Pushed::default() };
    ledger.save(&lease, vec![row.clone()], vec![]).await?;
    let stored = everything(ledger, &lease.instance).await?;
    let (same, name) = (row.wanted.clone(), &row.wanted.name);
    let other = ContactName::new(name.first(), &format!("{}x", name.last().unwrap_or_default()))?;
    let wishes = [
        same.clone(),
        Wanted { crm_id: format!("{}x", same.crm_id).into(), ..same.clone() },
        Wanted { version: Some(same.version.map_or(0, |version| version ^ 1)), ..same.clone() },
        Wanted { version: None, ..same.clone() },
        Wanted { rules: same.rules ^ 1, ..same.clone() },
        Wanted { name: other.clone(), ..same.clone() },
        Wanted { base: other, tag: Some("x".into()), cause: Cause::Rules, ..same },
    ];
    for wanted in wishes {
        let candidate = Candidate { chat: row.chat.clone(), wanted };
        assert_sift(ledger, &lease.instance, &stored, vec![candidate], 11).await?;
    }
    Ok(())
}

/// A sift leaves every row at its revision.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_sift_writes_nothing(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let mut dice = Dice::new(12);
    ledger.save(&lease, dice.rows(50)?, vec![]).await?;
    let before = (everything(ledger, &lease.instance).await?, ledger.counts(&lease.instance).await?);
    let candidates = dice.candidates(&before.0)?;
    ledger.sift(&lease.instance, candidates).await?;
    assert_eq!((everything(ledger, &lease.instance).await?, ledger.counts(&lease.instance).await?), before);
    Ok(())
}

/// The counts are those of the rows, after any save.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn counts_agree_with_the_rows(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        let fresh = dice.row()?;
        let mut rows: Vec<_> =
            everything(ledger, &lease.instance).await?.into_iter().filter(|_| dice.one_in(2)).collect();
        rows.iter_mut().try_for_each(|row| dice.change(row))?;
        if load(ledger, &fresh.chat).await?.is_none() {
            rows.push(fresh);
        }
        ledger.save(&lease, rows, vec![]).await?;
        let rows = everything(ledger, &lease.instance).await?;
        let count = |keep: fn(&Row) -> bool| rows.iter().filter(|row| keep(row)).count() as u64;
        let expected = Counts {
            rows: count(|_| true),
            known: count(Row::is_known),
            due: count(|row| row.due_at().is_some()),
            parked: count(|row| row.state() == State::Parked),
            last_slot: rows.iter().map(|row| row.slot).max().unwrap_or_default(),
        };
        assert_eq!(ledger.counts(&lease.instance).await?, expected, "seed {seed}");
    }
    Ok(())
}

/// Every overwritten name is kept, newest first, whatever the clock said.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn history_is_kept_newest_first(ledger: &dyn Ledger) -> Trial {
    let lease = lease(ledger, "one").await?;
    let mut dice = Dice::new(13);
    let mut kept: Vec<Overwritten> = Vec::new();
    for _ in 0..40 {
        let entries = [dice.overwritten()?, dice.overwritten()?];
        ledger.save(&lease, vec![], entries.to_vec()).await?;
        kept.extend(entries);
    }
    for chat in kept.iter().map(|entry| &entry.chat) {
        let expected: Vec<_> = kept.iter().rev().filter(|entry| entry.chat == *chat).cloned().collect();
        assert_eq!(ledger.history(&lease.instance, chat).await?, expected);
    }
    Ok(())
}

/// Every lease begins a run; an ended one has its end and its summary; the newest come first.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn runs_are_kept_newest_first(ledger: &dyn Ledger) -> Trial {
    let mut expected: Vec<RunRecord> = Vec::new();
    let instance: InstanceId = "one".parse()?;
    for began in (1..=5).map(Timestamp) {
        let lease = ledger.lease(&instance, began).await?;
        let mut run = RunRecord { fence: lease.fence, began, ended: None, summary: None };
        if began.0 % 2 == 0 {
            run.ended = Some(Timestamp(began.0 + 100));
            run.summary = Some(format!(r#"{{"calls":{}}}"#, began.0).into());
            ledger.end(&lease, Timestamp(began.0 + 100), run.summary.as_deref().unwrap_or_default()).await?;
        }
        expected.insert(0, run);
    }
    assert_eq!(ledger.runs(&instance, 9).await?, expected);
    assert_eq!(ledger.runs(&instance, 2).await?, expected[..2]);
    Ok(())
}

/// Until when an instance is closed is kept when the lease is gone, and can be set back.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_closed_instance_stays_closed_across_runs(ledger: &dyn Ledger) -> Trial {
    let first = lease(ledger, "one").await?;
    ledger.close_until(&first, Timestamp(1_000)).await?;
    drop(first);
    let second = lease(ledger, "one").await?;
    assert_eq!(ledger.closed_until(&second.instance).await?, Timestamp(1_000));
    ledger.close_until(&second, Timestamp(0)).await?;
    assert_eq!(ledger.closed_until(&second.instance).await?, Timestamp(0));
    Ok(())
}

/// Any mixture of saves, good and refused, leaves the same rows and gives the same answers as [`MemoryLedger`].
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn any_run_of_calls_is_answered_like_the_reference(ledger: &dyn Ledger) -> Trial {
    let reference = MemoryLedger::default();
    let (ours, theirs) = (lease(ledger, "one").await?, lease(&reference, "one").await?);
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        let stored = everything(&reference, &theirs.instance).await?;
        let mut rows: Vec<_> = stored.into_iter().filter(|_| dice.one_in(4)).collect();
        rows.extend(dice.rows(4)?);
        rows.iter_mut().try_for_each(|row| dice.change(row))?;
        if dice.one_in(3) {
            rows.extend(rows.first().map(|row| Row { revision: row.revision + 1, ..row.clone() }));
        }
        let history = vec![dice.overwritten()?];
        let answer = ledger.save(&ours, rows.clone(), history.clone()).await;
        let expected = reference.save(&theirs, rows, history).await;
        assert_eq!(answer.map_err(|error| error.kind()), expected.map_err(|error| error.kind()), "seed {seed}");
        assert_eq!(
            everything(ledger, &ours.instance).await?,
            everything(&reference, &theirs.instance).await?,
            "seed {seed}"
        );
    }
    Ok(())
}

async fn lease(ledger: &dyn Ledger, instance: &str) -> Trial<Lease> {
    Ok(ledger.lease(&instance.parse()?, Timestamp(1)).await?)
}

/// The lease without its guard: what somebody has who does not know that it was given back.
fn forgotten(lease: Lease) -> Lease {
    #[derive(Debug)]
    struct Nothing;
    impl Held for Nothing {}
    Lease { guard: Arc::new(Nothing), ..lease }
}

async fn load(ledger: &dyn Ledger, chat: &ChatId) -> Trial<Option<Row>> {
    Ok(ledger.load(&"one".parse()?, slice::from_ref(chat)).await?.pop().flatten())
}

async fn everything(ledger: &dyn Ledger, instance: &InstanceId) -> Trial<Vec<Row>> {
    Ok(ledger.rows(instance, None, usize::MAX).await?)
}

async fn assert_is_empty(ledger: &dyn Ledger, instance: &InstanceId, rows: &[Row], named: &ChatId) -> Trial {
    let chats: Vec<_> = rows.iter().map(|row| row.chat.clone()).collect();
    let wishes: Vec<_> =
        rows.iter().map(|row| Candidate { chat: row.chat.clone(), wanted: row.wanted.clone() }).collect();
    assert_eq!(everything(ledger, instance).await?, []);
    assert_eq!(ledger.load(instance, &chats).await?, vec![None; chats.len()]);
    assert_eq!(ledger.counts(instance).await?, Counts::default());
    assert_eq!(ledger.due(instance, Timestamp(u64::MAX), None, 9).await?, []);
    assert_eq!(ledger.next_due(instance).await?, None);
    assert_eq!(ledger.closed_until(instance).await?, Timestamp(0));
    assert_eq!(ledger.history(instance, named).await?, []);
    assert_sift(ledger, instance, &[], wishes, 0).await
}

async fn assert_sift(
    ledger: &dyn Ledger,
    instance: &InstanceId,
    stored: &[Row],
    candidates: Vec<Candidate>,
    seed: u64,
) -> Trial {
    let (mut unchanged, mut rest) = (Vec::new(), Vec::new());
    for candidate in &candidates {
        match stored.iter().find(|row| row.chat == candidate.chat) {
            Some(row) if row.is_unchanged_by(&candidate.wanted) => unchanged.push(row.slot),
            row => rest.push((candidate.clone(), row.cloned())),
        }
    }
    let mut sifted = ledger.sift(instance, candidates).await?;
    unchanged.sort_unstable();
    sifted.unchanged.sort_unstable();
    assert_eq!(sifted.unchanged, unchanged, "seed {seed}");
    assert_eq!(sifted.rest, rest, "seed {seed}");
    Ok(())
}
