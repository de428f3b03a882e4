//! The suite that every ledger must pass: one test per sentence of the trait.
//!
//! [`ledger_contract!`](crate::ledger_contract) turns the clauses below into tests of one ledger. Values are made from fixed
//! seeds, so that a failure repeats; its message names the seed. A clause gets an empty ledger and panics if it does not hold. Leases
//! are tried with times of some milliseconds, so the ledger's clock must be a real one.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a clause says that it does not hold")]

use std::{collections::BTreeSet, ops::Range, slice};

use self::dice::Dice;
use super::{Closed, Counts, InstanceState, Ledger, Query, RunRecord, Wait, Write};
use crate::{
    ChatId, ErrorKind, InstanceId,
    pace::{Budget, Daily},
    record::{Overwritten, Record, Status},
    time::Timestamp,
};

mod dice;
mod diffs;
mod forgetting;
mod leases;

pub use self::{diffs::*, forgetting::*, leases::*};
pub use crate::book::contract::{Trial, block_on};

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
                a_record_comes_back_as_it_was_stored
                a_write_that_lost_its_record_takes_nothing_else_with_it
                of_writes_to_one_revision_exactly_one_is_stored
                due_records_come_by_time_and_then_by_arrival
                whoever_is_due_is_served_however_often_others_fail
                records_are_listed_by_chat_page_by_page
                records_are_found_by_chat_and_by_alias_each_once
                an_alias_belongs_to_the_record_that_took_it_last
                an_absorbed_record_is_gone_and_found_by_the_other
                a_write_is_lost_if_what_it_absorbs_has_moved_on
                history_is_stored_with_its_record_or_not_at_all
                history_is_kept_newest_first
                what_contacts_showed_before_a_run_is_the_first_name_that_it_overwrote
                counts_agree_with_the_records
                instances_never_meet
                an_unknown_instance_is_empty
                a_state_is_stored_over_the_one_that_was_read
                runs_are_numbered_from_one_and_listed_newest_first
                a_lease_is_held_by_one_and_refused_by_name
                a_lease_ends_when_its_time_is_over
                an_older_lease_writes_nothing
                a_renewed_lease_lasts_longer
                a_released_lease_is_free_and_writes_nothing
                lanes_write_side_by_side
                only_giving_a_lease_back_is_noted
                a_row_is_unchanged_only_if_nothing_differs
                rows_are_matched_in_any_order
                a_repeated_row_is_told_from_the_first
                staged_records_are_seen_by_their_session_alone
                a_staged_record_can_be_staged_again
                a_claim_moves_with_the_record_that_took_it_last
                a_claim_moves_only_if_the_write_that_gives_it_up_is_stored
                a_claim_is_not_taken_from_a_record_that_keeps_it
                an_unclaimed_row_is_nobodys_unless_it_was_taken
                rows_that_compete_for_a_person_find_each_other
                records_are_staged_under_their_aliases
                absent_claims_are_listed_once_in_the_order_of_arrival
                what_is_open_is_listed_as_the_session_sees_it
                a_tally_counts_what_was_met_and_left_alone
                a_comparison_stores_what_has_not_lost
                history_is_stored_by_a_comparison
                what_is_staged_can_be_kept_and_staged_again
                a_forgotten_person_is_gone_from_all_that_is_kept
                a_person_is_forgotten_as_they_were_loaded_or_not_at_all
                a_forgotten_person_is_not_stored_again
                a_person_who_is_allowed_again_can_be_stored
                the_report_of_a_run_is_kept_until_it_is_dropped
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

/// A record loaded after a commit is the one stored, one revision on; and so it is after the next one.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_record_comes_back_as_it_was_stored(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        for chat in dice.chats(12)? {
            // Not one that has the chat as an alias.
            let known = load(ledger, &chat).await?.filter(|known| known.chat == chat);
            let mut record = known.unwrap_or_else(|| Record::new(chat.clone()));
            for _ in 0..3 {
                dice.change_own(&mut record)?;
                store(ledger, &instance, [record.clone().into()]).await?;
                let stored = load(ledger, &chat).await?.ok_or("the record is gone")?;
                let expected = Record { revision: record.revision + 1, ..record };
                assert_eq!(stored, expected, "seed {seed}");
                record = stored;
            }
        }
    }
    Ok(())
}

/// Of a batch, what has lost is told by its place, and all the others are stored.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_write_that_lost_its_record_takes_nothing_else_with_it(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(1));
    let records: Vec<Record> = dice.chats(20)?.into_iter().map(Record::new).collect();
    store(ledger, &instance, records.iter().skip(1).cloned().map(Write::from)).await?;
    let mut batch = everything(ledger, &instance).await?;
    batch.push(records[0].clone());
    for record in &mut batch {
        dice.change_own(record)?;
    }
    let newer = Record { revision: 2, ..batch[3].clone() };
    let older = Record { revision: 0, ..batch[7].clone() };
    let again = batch[9].clone();
    let unknown = Record { revision: 1, ..Record::new("19995550100".parse()?) };
    let lost = [newer, older, again, unknown];
    let mut writes: Vec<Write> = batch.iter().chain(&lost).cloned().map(Into::into).collect();
    writes.remove(7);
    writes.remove(3);
    let places: Vec<_> = (writes.len() - lost.len()..writes.len()).collect();
    assert_eq!(ledger.commit(&instance, None, writes).await?, places);
    for (place, record) in batch.iter().enumerate() {
        let stored = load(ledger, &record.chat).await?.ok_or("the record is gone")?;
        let is_stored = ![3, 7].contains(&place);
        let expected = Record { revision: record.revision + 1, ..record.clone() };
        assert_eq!(stored == expected, is_stored, "{place}");
        assert!(is_stored || stored.revision == 1, "{place}");
    }
    assert_eq!(load(ledger, &lost[3].chat).await?, None);
    Ok(())
}

/// Whatever writes at the same time, each revision of a record is stored once, and nothing of the others.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn of_writes_to_one_revision_exactly_one_is_stored(ledger: &dyn Ledger) -> Trial {
    const WRITES: u64 = 40;
    let (instance, chats) = (one()?, Dice::new(2).chats(3)?);
    let writer = |name: &'static str| {
        let (instance, chats) = (instance.clone(), chats.clone());
        async move {
            let mut won = Vec::new();
            for turn in 0..WRITES {
                let records = ledger.fetch(&instance, Query::Chats(&chats)).await?;
                let known = |chat: &ChatId| records.iter().find(|record| record.chat == *chat).cloned();
                let batch = chats.iter().map(|chat| {
                    let mut record = known(chat).unwrap_or_else(|| Record::new(chat.clone()));
                    record.seen = Some(crate::record::Seen::new(Some(name.into()), Timestamp(turn)));
                    record
                });
                let batch: Vec<Record> = batch.collect();
                let lost = ledger.commit(&instance, None, batch.iter().cloned().map(Into::into).collect()).await?;
                let stored = batch.into_iter().enumerate().filter(|(place, _)| !lost.contains(place));
                won.extend(stored.map(|(_, record)| (record.chat, record.revision)));
            }
            Trial::Ok(won)
        }
    };
    let (one, two, three) = tokio::join!(writer("one"), writer("two"), writer("three"));
    let won = [one?, two?, three?].concat();
    let distinct: BTreeSet<_> = won.iter().collect();
    assert_eq!(distinct.len(), won.len(), "a revision was stored twice");
    for record in everything(ledger, &instance).await? {
        let stored = won.iter().filter(|(chat, _)| *chat == record.chat).count() as u64;
        assert_eq!(record.revision, stored, "each that was told to be stored is");
        assert!(stored >= WRITES, "nobody came through");
    }
    Ok(())
}

/// What is due by a moment comes in the order of time, then of arrival, up to the last moment that there is.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn due_records_come_by_time_and_then_by_arrival(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(3));
    let mut expected: Vec<(Timestamp, Record)> = Vec::new();
    for chat in dice.chats(60)? {
        let mut record = Record::new(chat);
        dice.change_own(&mut record)?;
        store(ledger, &instance, [record.clone().into()]).await?;
        if dice.one_in(2) {
            // Stored again at another time, a record keeps its arrival.
            record.revision = 1;
            record.status = dice.status();
            store(ledger, &instance, [record.clone().into()]).await?;
        }
        record.revision += 1;
        expected.extend(record.status.due_at().map(|at| (at, record)));
    }
    expected.sort_by_key(|(at, _)| *at);
    assert!(expected.iter().any(|(at, _)| *at == Timestamp::MAX), "the dice are too kind");
    for by in Dice::times() {
        let due: Vec<_> = expected.iter().filter(|(at, _)| *at <= by).map(|(_, record)| record.clone()).collect();
        for limit in [0, 1, 7, usize::MAX] {
            let first = due.iter().take(limit).cloned().collect::<Vec<_>>();
            assert_eq!(ledger.fetch(&instance, Query::Due { by, limit }).await?, first, "by {by:?}, at most {limit}");
        }
    }
    Ok(())
}

/// A record that goes to the end of the queue each time lets all others through.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn whoever_is_due_is_served_however_often_others_fail(ledger: &dyn Ledger) -> Trial {
    let (instance, chats) = (one()?, Dice::new(4).chats(20)?);
    let due = |chat| Record { status: Status::Due { at: Timestamp(1_000) }, ..Record::new(chat) };
    store(ledger, &instance, chats.iter().cloned().map(|chat| due(chat).into())).await?;
    let mut served = BTreeSet::new();
    for turn in 1..=10 {
        let by = Timestamp(1_000 + turn);
        let mut page = ledger.fetch(&instance, Query::Due { by, limit: 2 }).await?;
        assert_eq!(page.len(), 2);
        for record in &mut page {
            served.insert(record.chat.clone());
            record.status = Status::Due { at: by };
        }
        store(ledger, &instance, page.into_iter().map(Into::into)).await?;
    }
    assert_eq!(served.len(), chats.len());
    Ok(())
}

/// Lists of all records, of those in one state, and of those held by hand go by chat, and pages of any size make up the whole.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn records_are_listed_by_chat_page_by_page(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(5));
    let records = dice.records(80)?;
    store(ledger, &instance, records.iter().cloned().map(Write::from)).await?;
    let mut records: Vec<_> = records.into_iter().map(|record| Record { revision: 1, ..record }).collect();
    records.sort_by(|one, other| one.chat.cmp(&other.chat));
    for state in ["all", "by hand", "in_sync", "due", "held", "parked", "unheard of"] {
        let is_in = |record: &&Record| match state {
            "all" => true,
            "by hand" => record.held.is_some(),
            _ => record.status.as_str() == state,
        };
        let expected: Vec<_> = records.iter().filter(is_in).cloned().collect();
        for limit in [1, 7, usize::MAX] {
            let (mut listed, mut last) = (Vec::new(), None);
            loop {
                let after = last.as_ref();
                let query = match state {
                    "all" => Query::All { after, limit },
                    "by hand" => Query::ByHand { after, limit },
                    _ => Query::State { state, after, limit },
                };
                let page = ledger.fetch(&instance, query).await?;
                let Some(record) = page.last() else { break };
                assert!(page.len() <= limit);
                last = Some(record.chat.clone());
                listed.extend(page);
            }
            assert_eq!(listed, expected, "{state}, {limit} at a time");
        }
    }
    Ok(())
}

/// A record is found by its chat and by each alias, but given once; what nobody answers to is not in the answer.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn records_are_found_by_chat_and_by_alias_each_once(ledger: &dyn Ledger) -> Trial {
    let (instance, lids) = (one()?, ["111@lid".parse::<ChatId>()?, "222@lid".parse()?]);
    let (ann, bob): (ChatId, ChatId) = ("12025550101".parse()?, "12025550102".parse()?);
    let record = Record { aliases: lids.to_vec(), ..Record::new(ann.clone()) };
    store(ledger, &instance, [record.clone().into(), Record::new(bob.clone()).into()]).await?;
    let unknown: ChatId = "333@lid".parse()?;
    for asked in [vec![ann.clone()], vec![lids[0].clone()], vec![lids[1].clone(), ann.clone(), lids[0].clone()]] {
        let found = ledger.fetch(&instance, Query::Chats(&asked)).await?;
        assert_eq!(found, [Record { revision: 1, ..record.clone() }], "{asked:?}");
    }
    let asked = [bob, unknown.clone(), ann, lids[1].clone()];
    assert_eq!(ledger.fetch(&instance, Query::Chats(&asked)).await?.len(), 2);
    assert_eq!(ledger.fetch(&instance, Query::Chats(&[unknown])).await?, []);
    assert_eq!(ledger.fetch(&instance, Query::Chats(&[])).await?, []);
    Ok(())
}

/// An alias leads to the record that was stored with it last; a record that is stored as it was does not take it back.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_alias_belongs_to_the_record_that_took_it_last(ledger: &dyn Ledger) -> Trial {
    let (instance, lid) = (one()?, "111@lid".parse::<ChatId>()?);
    let (ann, bob): (ChatId, ChatId) = ("12025550101".parse()?, "12025550102".parse()?);
    let mut with_lid = Record { aliases: vec![lid.clone()], ..Record::new(ann.clone()) };
    store(ledger, &instance, [with_lid.clone().into()]).await?;
    store(ledger, &instance, [Record { chat: bob.clone(), ..with_lid.clone() }.into()]).await?;
    assert_eq!(load(ledger, &lid).await?.map(|record| record.chat), Some(bob.clone()));
    with_lid.revision = 1;
    store(ledger, &instance, [with_lid.clone().into()]).await?;
    assert_eq!(load(ledger, &lid).await?.map(|record| record.chat), Some(bob.clone()), "nothing was new");
    let without = Record { revision: 2, aliases: Vec::new(), ..with_lid.clone() };
    store(ledger, &instance, [without.into()]).await?;
    assert_eq!(load(ledger, &lid).await?.map(|record| record.chat), Some(bob.clone()), "it is not Ann's to drop");
    store(ledger, &instance, [Record { revision: 1, ..Record::new(bob) }.into()]).await?;
    assert_eq!(load(ledger, &lid).await?, None);
    store(ledger, &instance, [Record { revision: 3, ..with_lid }.into()]).await?;
    assert_eq!(load(ledger, &lid).await?.map(|record| record.chat), Some(ann));
    Ok(())
}

/// Once absorbed, a record is not listed, due or counted, and its ids and claims lead to the one that took it in.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_absorbed_record_is_gone_and_found_by_the_other(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(6));
    let (ann, lid): (ChatId, ChatId) = ("12025550101".parse()?, "111@lid".parse()?);
    let other: ChatId = "12025550999".parse()?;
    let claims = ["x", "y", "z"].map(|crm_id| dice.claim(crm_id)).into_iter().collect::<Trial<Vec<_>>>()?;
    let due = Status::Due { at: Timestamp(1) };
    let stranger =
        Record { aliases: vec![other.clone()], claims: claims.clone(), status: due, ..Record::new(lid.clone()) };
    store(ledger, &instance, [stranger.into(), Record::new(ann.clone()).into()]).await?;
    // Not all of what it had: what was left out is nobody's.
    let whole = Record {
        revision: 1,
        aliases: vec![lid.clone()],
        claims: claims[..2].to_vec(),
        status: due,
        ..Record::new(ann.clone())
    };
    let write = Write { absorbed: Some((lid.clone(), 1)), ..whole.clone().into() };
    store(ledger, &instance, [write]).await?;
    let whole = Record { revision: 2, ..whole };
    assert_eq!(everything(ledger, &instance).await?, slice::from_ref(&whole));
    assert_eq!(ledger.fetch(&instance, Query::Due { by: Timestamp::MAX, limit: 9 }).await?, slice::from_ref(&whole));
    assert_eq!(load(ledger, &lid).await?, Some(whole.clone()));
    assert_eq!(load(ledger, &other).await?, None);
    assert_eq!(ledger.counts(&instance).await?.records, 1);
    let mut session = ledger.diff(&instance).await?;
    let absent = session.absent(9).await?;
    let ids: Vec<_> = absent.iter().map(|(crm_id, record)| (&**crm_id, record)).collect();
    assert_eq!(ids, [("x", &whole), ("y", &whole)]);
    // The chat may have a record again.
    store(ledger, &instance, [Record::new(lid).into()]).await
}

/// A write that absorbs is lost as a whole if either record was stored meanwhile.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_write_is_lost_if_what_it_absorbs_has_moved_on(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(7));
    let (ann, lid): (ChatId, ChatId) = ("12025550101".parse()?, "111@lid".parse()?);
    let [ours, theirs] = [&ann, &lid].map(|chat| Record::new(chat.clone()));
    store(ledger, &instance, [ours.clone().into(), theirs.into()]).await?;
    let before = everything(ledger, &instance).await?;
    for (revision, absorbed) in [(1, 0), (1, 2), (0, 1), (2, 1)] {
        let record = Record { revision, aliases: vec![lid.clone()], ..ours.clone() };
        let overwritten = vec![dice.overwritten(&ann)?];
        let write = Write { absorbed: Some((lid.clone(), absorbed)), overwritten, ..record.into() };
        assert_eq!(ledger.commit(&instance, None, vec![write]).await?, [0], "{revision}, {absorbed}");
        assert_eq!(everything(ledger, &instance).await?, before);
        assert_eq!(ledger.history(&instance, &ann).await?, []);
    }
    Ok(())
}

/// What was overwritten is in the history if the write was stored, and not if it was lost.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn history_is_stored_with_its_record_or_not_at_all(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(8));
    let [ann, bob]: [ChatId; 2] = ["12025550101".parse()?, "12025550102".parse()?];
    let entry = dice.overwritten(&ann)?;
    let stored = Write { overwritten: vec![entry.clone()], ..Record::new(ann.clone()).into() };
    let stale = Record { revision: 7, ..Record::new(bob.clone()) };
    let lost = Write { overwritten: vec![dice.overwritten(&bob)?], ..stale.into() };
    assert_eq!(ledger.commit(&instance, None, vec![lost, stored]).await?, [0]);
    assert_eq!(ledger.history(&instance, &ann).await?, [entry]);
    assert_eq!(ledger.history(&instance, &bob).await?, []);
    Ok(())
}

/// Every overwritten name is kept, newest first, whatever the clock said.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn history_is_kept_newest_first(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(9));
    let chats = dice.chats(5)?;
    let mut kept: Vec<Overwritten> = Vec::new();
    for revision in 0..12 {
        let writes = chats.iter().map(|chat| {
            let overwritten = vec![dice.overwritten(chat)?];
            let record = Record { revision, ..Record::new(chat.clone()) };
            Trial::Ok(Write { overwritten, ..record.into() })
        });
        let writes: Vec<Write> = writes.collect::<Trial<_>>()?;
        kept.extend(writes.iter().flat_map(|write| write.overwritten.clone()));
        store(ledger, &instance, writes).await?;
    }
    for chat in &chats {
        let expected: Vec<_> = kept.iter().rev().filter(|entry| entry.chat == *chat).cloned().collect();
        assert_eq!(ledger.history(&instance, chat).await?, expected);
    }
    Ok(())
}

/// Of each contact the first name that a run overwrote is listed, page by page in the order of chats.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn what_contacts_showed_before_a_run_is_the_first_name_that_it_overwrote(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(10));
    let mut chats = dice.chats(7)?;
    let mut kept: Vec<Overwritten> = Vec::new();
    for revision in 0..6 {
        let writes = chats.iter().map(|chat| {
            let overwritten = vec![Overwritten { run: dice.below(3) as u64, ..dice.overwritten(chat)? }];
            let record = Record { revision, ..Record::new(chat.clone()) };
            Trial::Ok(Write { overwritten, ..record.into() })
        });
        let writes: Vec<Write> = writes.collect::<Trial<_>>()?;
        kept.extend(writes.iter().flat_map(|write| write.overwritten.clone()));
        store(ledger, &instance, writes).await?;
    }
    chats.sort_unstable();
    for (run, limit) in [(0, 1), (1, 3), (2, 99), (3, 9)] {
        let first = chats.iter().filter_map(|chat| kept.iter().find(|entry| entry.chat == *chat && entry.run == run));
        let expected: Vec<Overwritten> = first.cloned().collect();
        let mut found: Vec<Overwritten> = Vec::new();
        loop {
            let after = found.last().map(|entry| entry.chat.clone());
            let page = ledger.before_run(&instance, run, after.as_ref(), limit).await?;
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, expected, "run {run}, {limit} at a time");
    }
    Ok(())
}

/// The counts are those of the records, after any commit.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn counts_agree_with_the_records(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        let mut records = everything(ledger, &instance).await?;
        records.retain(|_| dice.one_in(2));
        let fresh = dice.records(4)?.into_iter().filter(|fresh| records.iter().all(|known| known.chat != fresh.chat));
        let mut records: Vec<Record> = records.iter().cloned().chain(fresh).collect();
        records.iter_mut().try_for_each(|record| dice.change(record))?;
        ledger.commit(&instance, None, records.into_iter().map(Into::into).collect()).await?;
        let records = everything(ledger, &instance).await?;
        assert_eq!(ledger.counts(&instance).await?, counted(&records), "seed {seed}");
    }
    Ok(())
}

fn counted(records: &[Record]) -> Counts {
    let count = |keep: &dyn Fn(&Record) -> bool| records.iter().filter(|record| keep(record)).count() as u64;
    let in_state = |state| count(&|record| record.status.as_str() == state);
    Counts {
        records: records.len() as u64,
        known: count(&Record::is_known),
        due: in_state("due"),
        held: in_state("held"),
        parked: in_state("parked"),
    }
}

/// Records, history, runs, states, leases and claims of one instance are not seen from another.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn instances_never_meet(ledger: &dyn Ledger) -> Trial {
    let (one, two, mut dice) = (one()?, "two".parse()?, Dice::new(10));
    let records = dice.records(30)?;
    let entry = dice.overwritten(&records[0].chat)?;
    let mut writes: Vec<Write> = records.iter().cloned().map(Into::into).collect();
    writes[0].overwritten = vec![entry.clone()];
    store(ledger, &one, writes).await?;
    ledger.begin_run(&one, "one", Timestamp(1)).await?;
    ledger.save_state(&one, InstanceState { book_entries: Some(7), ..InstanceState::default() }).await?;
    let _lease = ledger.acquire(&one, "one", LONG).await?;
    let before = (everything(ledger, &one).await?, ledger.counts(&one).await?);

    assert_is_empty(ledger, &two, &records).await?;
    let lease = ledger.acquire(&two, "two", LONG).await?;
    assert!(ledger.commit(&one, Some(&lease), vec![]).await.is_err(), "a lease is for one instance");
    let theirs = records.iter().rev().map(|record| Write::from(Record { claims: Vec::new(), ..record.clone() }));
    store(ledger, &two, theirs).await?;
    assert_eq!((everything(ledger, &one).await?, ledger.counts(&one).await?), before);
    assert_eq!(claims(ledger, &two).await?, [] as [Box<str>; 0]);
    assert_eq!(ledger.begin_run(&two, "two", Timestamp(1)).await?, 1);
    Ok(())
}

/// Reading an instance of which nothing was ever stored finds nothing and is no error.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_unknown_instance_is_empty(ledger: &dyn Ledger) -> Trial {
    assert_is_empty(ledger, &"nobody".parse()?, &Dice::new(11).records(20)?).await
}

async fn assert_is_empty(ledger: &dyn Ledger, instance: &InstanceId, records: &[Record]) -> Trial {
    let chats: Vec<_> = records.iter().map(|record| record.chat.clone()).collect();
    assert_eq!(everything(ledger, instance).await?, []);
    assert_eq!(ledger.fetch(instance, Query::Chats(&chats)).await?, []);
    assert_eq!(ledger.fetch(instance, Query::Due { by: Timestamp::MAX, limit: 9 }).await?, []);
    assert_eq!(ledger.fetch(instance, Query::State { state: "in_sync", after: None, limit: 9 }).await?, []);
    assert_eq!(ledger.fetch(instance, Query::ByHand { after: None, limit: 9 }).await?, []);
    assert_eq!(ledger.counts(instance).await?, Counts::default());
    assert_eq!(ledger.state(instance).await?, InstanceState::default());
    assert_eq!(ledger.runs(instance, 9).await?, []);
    for chat in &chats {
        assert_eq!(ledger.history(instance, chat).await?, []);
    }
    assert_is_new(ledger, instance, records).await
}

/// A state is stored only over the one that was read, and leaves alone when something was pushed.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_state_is_stored_over_the_one_that_was_read(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let mut expected = InstanceState::default();
    for (revision, entries) in [(0, None), (1, Some(0)), (2, Some(u64::MAX))] {
        expected = InstanceState {
            revision,
            wait: Some(Wait::new(ErrorKind::RateLimited, Timestamp(5), Timestamp::MAX)),
            closed: Some(Closed::new(ErrorKind::Unauthorized, Timestamp(6)).with_hint(Some("set a token"))),
            account: Some("12025550142".parse()?),
            book_entries: entries,
            worked_at: Some(Timestamp(9)),
            drift: crate::record::Drift::Ask,
            rules: 7,
            daily: Some(Daily::at_most(250).warm_up(20, 1.5)),
            budget: Budget::since(Some(Timestamp(7))),
            released_at: Some(Timestamp(99)),
        };
        assert!(ledger.save_state(&instance, expected.clone()).await?);
        for stale in [0, revision, revision + 2].into_iter().filter(|stale| *stale != revision + 1) {
            let stale = InstanceState { revision: stale, ..InstanceState::default() };
            assert!(!ledger.save_state(&instance, stale).await?, "over {revision}");
        }
        expected = InstanceState { revision: revision + 1, released_at: None, ..expected };
        assert_eq!(ledger.state(&instance).await?, expected);
    }
    let blank = InstanceState { revision: expected.revision, ..InstanceState::default() };
    assert!(ledger.save_state(&instance, blank).await?);
    let expected = InstanceState { revision: expected.revision + 1, ..InstanceState::default() };
    assert_eq!(ledger.state(&instance).await?, expected);
    Ok(())
}

/// Each run has the next number and its owner; one that ended has its end and its summary; the newest come first, and those without an
/// end can be listed by themselves.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn runs_are_numbered_from_one_and_listed_newest_first(ledger: &dyn Ledger) -> Trial {
    let (instance, mut expected): (_, Vec<RunRecord>) = (one()?, Vec::new());
    for number in 1..=5 {
        let began = if number == 3 { Timestamp::MAX } else { Timestamp(number) };
        let owner = format!("host-{number}");
        assert_eq!(ledger.begin_run(&instance, &owner, began).await?, number);
        expected.insert(0, RunRecord::begun(number, owner, began));
    }
    for run in expected.iter_mut().filter(|run| run.run % 2 == 0) {
        run.ended = Some(Timestamp(run.run + 100));
        run.summary = Some(format!(r#"{{"calls":{},"why":"é\u2028"}}"#, run.run).into());
        ledger
            .end_run(&instance, run.run, Timestamp(run.run + 100), run.summary.as_deref().unwrap_or_default())
            .await?;
    }
    assert_eq!(ledger.runs(&instance, 9).await?, expected);
    assert_eq!(ledger.runs(&instance, 2).await?, expected[..2]);
    assert_eq!(ledger.runs(&instance, 0).await?, []);
    assert_eq!(ledger.run(&instance, 4).await?, Some(expected[1].clone()));
    for (instance, run) in [(&instance, 0), (&instance, 6), (&"two".parse()?, 4)] {
        assert_eq!(ledger.run(instance, run).await?, None);
    }
    let open = [&expected[0], &expected[2], &expected[4]].map(Clone::clone);
    assert_eq!(ledger.open_runs(&instance, 9).await?, open);
    assert_eq!(ledger.open_runs(&instance, 2).await?, open[..2]);
    Ok(())
}

fn one() -> Trial<InstanceId> {
    Ok("one".parse()?)
}

/// Stores writes that must not be lost.
async fn store(ledger: &dyn Ledger, instance: &InstanceId, writes: impl IntoIterator<Item = Write>) -> Trial {
    let lost = ledger.commit(instance, None, writes.into_iter().collect()).await?;
    if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?} were lost").into()) }
}

/// The record that has a chat, or else this alias.
async fn load(ledger: &dyn Ledger, chat: &ChatId) -> Trial<Option<Record>> {
    let mut found = ledger.fetch(&one()?, Query::Chats(slice::from_ref(chat))).await?;
    let place = found.iter().position(|record| record.chat == *chat).unwrap_or_default();
    Ok((place < found.len()).then(|| found.swap_remove(place)))
}

async fn everything(ledger: &dyn Ledger, instance: &InstanceId) -> Trial<Vec<Record>> {
    Ok(ledger.fetch(instance, Query::All { after: None, limit: usize::MAX }).await?)
}
