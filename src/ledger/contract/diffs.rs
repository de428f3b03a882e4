//! Clauses about comparisons, and what is staged by them.

use std::{collections::BTreeMap, slice, sync::Arc};

use super::{Dice, SEEDS, Trial, everything, load, one, store};
use crate::{
    ChatId, InstanceId,
    crm::{CrmContact, RowDigest},
    ledger::{Diff, Incoming, Ledger, MemoryLedger, Query, Tally, Verdict, Write},
    record::{Claim, Record, Status},
    time::Timestamp,
};

/// A person, by number.
fn chat(number: usize) -> Trial<ChatId> {
    Ok(format!("1202555{number:04}").parse()?)
}

fn digest(content: u8) -> RowDigest {
    RowDigest::from_bytes([content; 16])
}

fn claim(crm_id: &str, content: u8) -> Claim {
    Claim::new(crm_id, None, digest(content), None)
}

/// A record in sync, claimed by rows with the same content.
fn claimed(number: usize, crm_ids: &[&str]) -> Trial<Record> {
    let claims = crm_ids.iter().map(|crm_id| claim(crm_id, 1)).collect();
    Ok(Record { claims, ..Record::new(chat(number)?) })
}

fn row(crm_id: &str, number: usize, content: u8) -> Trial<Incoming> {
    Ok(Incoming { contact: CrmContact::new(crm_id, chat(number)?), digest: digest(content) })
}

fn stored(record: &Record) -> Record {
    Record { revision: record.revision + 1, ..record.clone() }
}

fn changed(holder: Option<&Record>, target: Option<&Record>, is_repeat: bool) -> Verdict {
    let boxed = |record: Option<&Record>| record.cloned().map(Box::new);
    Verdict::Changed { holder: boxed(holder), target: boxed(target), is_repeat }
}

async fn compare(session: &mut dyn Diff, rows: &[Incoming]) -> Trial<Vec<Verdict>> {
    let verdicts = session.compare(Arc::from(rows)).await?;
    assert_eq!(verdicts.len(), rows.len(), "one verdict for each row");
    Ok(verdicts)
}

async fn compare_one(session: &mut dyn Diff, row: Incoming) -> Trial<Verdict> {
    Ok(compare(session, &[row]).await?.remove(0))
}

/// The claims of an instance in the order of arrival.
pub(super) async fn claims(ledger: &dyn Ledger, instance: &InstanceId) -> Trial<Vec<Box<str>>> {
    let absent = ledger.diff(instance).await?.absent(usize::MAX).await?;
    Ok(absent.into_iter().map(|(crm_id, _)| crm_id).collect())
}

/// Panics unless a comparison finds nothing that the records are known by.
pub(super) async fn assert_is_new(ledger: &dyn Ledger, instance: &InstanceId, records: &[Record]) -> Trial {
    let mut session = ledger.diff(instance).await?;
    let rows = records.iter().flat_map(|record| {
        let row = |claim: &Claim| Incoming {
            contact: CrmContact::new(&*claim.crm_id, record.chat.clone()),
            digest: claim.digest,
        };
        record.claims.iter().map(row)
    });
    let rows: Vec<_> = rows.collect();
    for verdict in compare(&mut *session, &rows).await? {
        assert_eq!(verdict, changed(None, None, false));
    }
    let chats: Vec<_> = records.iter().map(|record| record.chat.clone()).collect();
    assert_eq!(session.find(&chats).await?, []);
    assert_eq!(session.absent(9).await?, []);
    assert_eq!(session.open(None, 9).await?, []);
    assert_eq!(session.tally().await?, Tally::default());
    assert_eq!(session.apply().await?, []);
    Ok(())
}

/// The same digest under the same CRM id is unchanged, whatever waits; a row that differs brings the records it is about.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_row_is_unchanged_only_if_nothing_differs(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let (ann, bob) = (claimed(1, &["a"])?, Record { status: Status::Due { at: Timestamp(5) }, ..claimed(2, &["b"])? });
    store(ledger, &instance, [ann.clone().into(), bob.clone().into()]).await?;
    let (ann, bob) = (stored(&ann), stored(&bob));
    for (row, verdict) in [
        (row("a", 1, 1)?, Verdict::Unchanged),
        (row("b", 2, 1)?, Verdict::Unchanged),
        (row("a", 1, 2)?, changed(Some(&ann), None, false)),
        // The chat is in the digest, so another one has another digest.
        (row("a", 2, 2)?, changed(Some(&ann), Some(&bob), false)),
        (row("a", 3, 2)?, changed(Some(&ann), None, false)),
        (row("A", 1, 1)?, changed(None, Some(&ann), false)),
        (row("a ", 2, 1)?, changed(None, Some(&bob), false)),
        (row("", 3, 1)?, changed(None, None, false)),
    ] {
        let mut session = ledger.diff(&instance).await?;
        assert_eq!(compare_one(&mut *session, row.clone()).await?, verdict, "{row:?}");
    }
    assert_eq!(everything(ledger, &instance).await?, [ann, bob], "a comparison writes nothing");
    Ok(())
}

/// In the order of arrival, backwards, shuffled, with gaps, with new rows between, in batches of any size: the verdicts are
/// those of the rows.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn rows_are_matched_in_any_order(ledger: &dyn Ledger) -> Trial {
    const KNOWN: usize = 700;
    let (instance, mut dice) = (one()?, Dice::new(30));
    let ids: Vec<_> = (0..KNOWN).map(|number| format!("{}", number * 7919 % 1000)).collect();
    let records = ids.iter().enumerate().map(|(number, crm_id)| claimed(number, &[crm_id]));
    store(ledger, &instance, records.collect::<Trial<Vec<_>>>()?.into_iter().map(Into::into)).await?;
    // Claims that are gone leave a hole.
    for number in [0, 1, 350, 351, 352, 353, 354, 355, 356, 357, 358, 359, 699] {
        let record = load(ledger, &chat(number)?).await?.ok_or("the record is gone")?;
        let write =
            Write { unclaimed: vec![ids[number].as_str().into()], ..Record { claims: vec![], ..record }.into() };
        store(ledger, &instance, [write]).await?;
    }
    let known = claims(ledger, &instance).await?;
    assert_eq!(known.len(), KNOWN - 13);
    let all: Vec<_> = (0..KNOWN).collect();
    let mut orders = vec![all.clone(), all.iter().rev().copied().collect(), [&all[400..], &all[..400]].concat()];
    orders.push(all.iter().flat_map(|number| [*number, KNOWN + number]).collect());
    orders.push(all.iter().flat_map(|number| (0..=number % 5 * 9).map(move |new| new * KNOWN + number)).collect());
    orders.push(all.chunks(2).flat_map(|pair| pair.iter().rev().copied()).collect());
    for gap in [2, 3, 11, 40] {
        orders.push(all.iter().copied().filter(|number| number % gap == 0).collect());
        orders.push(all.iter().copied().filter(|number| number / gap % 2 == 0).collect());
    }
    let mut shuffled = all.clone();
    dice.shuffle(&mut shuffled);
    orders.push(shuffled);
    for (nth, order) in orders.iter().enumerate() {
        for batch in [order.len(), 256, 13, 1].into_iter().take(if nth < 4 { 4 } else { 2 }) {
            let mut session = ledger.diff(&instance).await?;
            let mut met = 0;
            for numbers in order.chunks(batch) {
                let id = |number: &usize| ids.get(*number).cloned().unwrap_or_else(|| format!("new-{number}"));
                let rows = numbers.iter().map(|number| {
                    let contact = CrmContact::new(id(number), chat(number % KNOWN)?);
                    Ok(Incoming { contact, digest: digest(1) })
                });
                let verdicts = compare(&mut *session, &rows.collect::<Trial<Vec<_>>>()?).await?;
                for (number, verdict) in numbers.iter().zip(verdicts) {
                    let is_known = known.contains(&id(number).into());
                    assert_eq!(verdict == Verdict::Unchanged, is_known, "order {nth}, {batch} at a time, {number}");
                    met += u64::from(is_known);
                }
            }
            assert_eq!(session.tally().await?.met, met, "order {nth}, {batch} at a time");
            assert_eq!(session.absent(usize::MAX).await?.len() as u64, known.len() as u64 - met, "order {nth}");
        }
    }
    Ok(())
}

/// Whichever row of a CRM id comes first is no repeat, each later one is, in one batch or another, known or new, staged or not.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_repeated_row_is_told_from_the_first(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let known = (0..40).map(|number| claimed(number, &[&format!("{number:02}")]));
    store(ledger, &instance, known.collect::<Trial<Vec<_>>>()?.into_iter().map(Into::into)).await?;
    for (crm_id, number) in [("05", 5), ("39", 39), ("new", 77)] {
        for contents in [[1, 1, 1], [1, 2, 1], [2, 1, 2]] {
            let [first, second, third] = contents.map(|content| row(crm_id, number, content));
            let [first, second, third] = [first?, second?, third?];
            // Out of its place, and in its place once more.
            let mut spread = vec![first.clone()];
            for other in 0..40 {
                let other = if other == number { Ok(second.clone()) } else { row(&format!("{other:02}"), other, 1) };
                spread.push(other?);
            }
            if number >= 40 {
                spread.push(second.clone());
            }
            for batches in [
                vec![vec![first.clone(), second.clone(), third.clone()]],
                vec![vec![first.clone()], vec![second.clone()], vec![third.clone()]],
                vec![vec![first, second], vec![third.clone()]],
                vec![spread, vec![third]],
            ] {
                for is_staged in [false, true] {
                    repeated(ledger, crm_id, batches.clone(), is_staged).await?;
                }
            }
        }
    }
    Ok(())
}

/// Compares batches, and perhaps stages what came of a row between them.
async fn repeated(ledger: &dyn Ledger, crm_id: &str, batches: Vec<Vec<Incoming>>, is_staged: bool) -> Trial {
    let mut session = ledger.diff(&one()?).await?;
    let mut staged: Option<Record> = None;
    let mut times = 0;
    for batch in batches {
        let verdicts = compare(&mut *session, &batch).await?;
        for (row, verdict) in batch.iter().zip(verdicts).filter(|(row, _)| row.contact.id == crm_id) {
            times += 1;
            match verdict {
                Verdict::Unchanged => assert!(times == 1 && crm_id != "new" && row.digest == digest(1), "{row:?}"),
                Verdict::Forgotten => panic!("nobody was forgotten: {row:?}"),
                Verdict::Changed { holder, is_repeat, .. } => {
                    assert_eq!(is_repeat, times > 1, "{row:?}");
                    assert!(is_repeat || crm_id == "new" || row.digest != digest(1), "{row:?}");
                    assert!(staged.is_none() || holder.as_deref() == staged.as_ref(), "{row:?}");
                }
            }
        }
        if is_staged {
            let person = &batch[0].contact.chat;
            let record = session.find(slice::from_ref(person)).await?.pop();
            let record = record.unwrap_or_else(|| Record::new(person.clone()));
            let record = Record { claims: vec![claim(crm_id, times + 10)], ..record };
            session.stage(vec![record.clone().into()]).await?;
            staged = Some(record);
        }
    }
    assert_eq!(times, 3);
    Ok(())
}

/// What is staged shows in its own session in place of what is stored, in no other, and nowhere once the session is dropped.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn staged_records_are_seen_by_their_session_alone(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(31));
    let ann = claimed(1, &["a"])?;
    store(ledger, &instance, [ann.clone().into()]).await?;
    let before = everything(ledger, &instance).await?;
    let new = Record { status: Status::Due { at: Timestamp(3) }, ..claimed(2, &["b"])? };
    let other = Record { claims: vec![claim("a", 2)], revision: 1, ..ann.clone() };
    let mut session = ledger.diff(&instance).await?;
    let overwritten = vec![dice.overwritten(&ann.chat)?];
    session.stage(vec![new.clone().into(), Write { overwritten, ..other.clone().into() }]).await?;
    assert_eq!(session.find(&[chat(1)?, chat(2)?, chat(3)?]).await?.len(), 2);
    assert_eq!(session.find(&[chat(1)?]).await?, slice::from_ref(&other));
    assert_eq!(session.find(&[chat(2)?]).await?, slice::from_ref(&new));
    let verdicts = compare(&mut *session, &[row("a", 1, 1)?, row("b", 2, 1)?, row("c", 2, 1)?]).await?;
    let expected =
        [changed(Some(&other), None, false), changed(Some(&new), None, false), changed(None, Some(&new), false)];
    assert_eq!(verdicts, expected);

    assert_eq!(everything(ledger, &instance).await?, before);
    assert_eq!(ledger.fetch(&instance, Query::Due { by: Timestamp::MAX, limit: 9 }).await?, []);
    assert_eq!(ledger.counts(&instance).await?.records, 1);
    let mut second = ledger.diff(&instance).await?;
    assert_eq!(second.find(&[chat(2)?]).await?, []);
    assert_eq!(compare_one(&mut *second, row("a", 1, 1)?).await?, Verdict::Unchanged);
    drop(session);
    assert_eq!(everything(ledger, &instance).await?, before);
    assert_eq!(claims(ledger, &instance).await?, ["a".into()] as [Box<str>; 1]);
    assert_eq!(ledger.history(&instance, &ann.chat).await?, []);
    Ok(())
}

/// The last record staged for a chat is the one that counts, and it keeps what the ones before it had to say.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_staged_record_can_be_staged_again(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let lid: ChatId = "111@lid".parse()?;
    let stranger = Record { claims: vec![claim("s", 1)], ..Record::new(lid.clone()) };
    store(ledger, &instance, [claimed(1, &["a", "b"])?.into(), stranger.clone().into()]).await?;
    let mut session = ledger.diff(&instance).await?;
    let first = Record { claims: vec![claim("a", 1), claim("x", 1)], revision: 1, ..claimed(1, &[])? };
    // A comparison joins no records.
    let absorbed = Some((lid.clone(), 1));
    let write = Write { unclaimed: vec!["b".into()], absorbed, ..first.clone().into() };
    session.stage(vec![write]).await?;
    let second = Record { claims: vec![claim("a", 2)], status: Status::Due { at: Timestamp(4) }, ..first };
    session.stage(vec![second.clone().into()]).await?;
    assert_eq!(session.find(&[lid]).await?, [stored(&stranger)]);
    assert_eq!(session.find(&[chat(1)?]).await?, slice::from_ref(&second));
    assert_eq!(session.open(None, 9).await?, slice::from_ref(&second));
    assert_eq!(session.tally().await?.staged, 1);
    let verdicts = compare(&mut *session, &[row("b", 1, 1)?, row("x", 1, 1)?]).await?;
    let target = changed(None, Some(&second), false);
    assert_eq!(verdicts, [target.clone(), target]);
    assert_eq!(session.apply().await?, []);
    assert_eq!(everything(ledger, &instance).await?, [stored(&stranger), stored(&second)]);
    assert_eq!(claims(ledger, &instance).await?, ["a", "s"].map(Box::from));
    Ok(())
}

/// Whichever record is stored last with a claim that is new to it has the claim; it keeps its place in the order of arrival.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_claim_moves_with_the_record_that_took_it_last(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let (ann, bob) = (claimed(1, &["a", "b"])?, claimed(2, &["c"])?);
    store(ledger, &instance, [ann.clone().into(), bob.clone().into()]).await?;
    let (ann, bob) = (stored(&ann), stored(&bob));
    let takes = Record { claims: vec![claim("a", 1), claim("c", 1)], ..bob.clone() };
    let leaves = Record { claims: vec![claim("b", 1)], ..ann.clone() };
    let writes = vec![takes.clone().into(), Write { unclaimed: vec!["a".into()], ..leaves.clone().into() }];
    let rows = [row("a", 1, 9)?, row("b", 2, 9)?, row("c", 2, 9)?];
    let expected = |takes: &Record, leaves: &Record| {
        let moved = changed(Some(takes), Some(leaves), false);
        [moved, changed(Some(leaves), Some(takes), false), changed(Some(takes), None, false)]
    };
    let mut session = ledger.diff(&instance).await?;
    session.stage(writes.clone()).await?;
    assert_eq!(compare(&mut *session, &rows).await?, expected(&takes, &leaves));
    store(ledger, &instance, writes).await?;
    let mut session = ledger.diff(&instance).await?;
    assert_eq!(compare(&mut *session, &rows).await?, expected(&stored(&takes), &stored(&leaves)));
    // And back.
    let again = [ann, bob].map(|record| Record { revision: 2, ..record });
    let [whole, left] = again.clone();
    let left = Write { unclaimed: vec!["a".into()], ..left.into() };
    store(ledger, &instance, [whole.into(), left]).await?;
    assert_eq!(claims(ledger, &instance).await?, ["a", "b", "c"].map(Box::from));
    moved_while_staged(ledger, again.map(|record| stored(&record))).await
}

/// A claim that one write gives up and another takes moves with both or with none: it is never two records'.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_claim_moves_only_if_the_write_that_gives_it_up_is_stored(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let (ann, bob) = (claimed(1, &["a"])?, claimed(2, &["b"])?);
    store(ledger, &instance, [ann.clone().into(), bob.clone().into()]).await?;
    let (ann, bob) = (stored(&ann), stored(&bob));
    // It gives `a` up and is lost, because it takes `b`, which nobody gives up.
    let gives = Record { claims: vec![claim("b", 2)], ..ann.clone() };
    let gives = Write { unclaimed: vec!["a".into()], ..gives.into() };
    let takes: Write = claimed(3, &["a"])?.into();
    for (n, crm_id, [one, other]) in [(4, "d", [&gives, &takes]), (5, "e", [&takes, &gives])] {
        let alone = claimed(n, &[crm_id])?;
        let mut session = ledger.diff(&instance).await?;
        session.stage(vec![one.clone(), other.clone(), alone.clone().into()]).await?;
        assert_eq!(session.apply().await?, [one.clone(), other.clone()]);
        let writes = vec![one.clone(), other.clone(), stored(&alone).into()];
        assert_eq!(ledger.commit(&instance, None, writes).await?, [0, 1]);
        for (chat, expected) in [(&ann.chat, Some(&ann)), (&bob.chat, Some(&bob)), (&takes.record.chat, None)] {
            assert_eq!(load(ledger, chat).await?.as_ref(), expected);
        }
        assert_eq!(load(ledger, &alone.chat).await?.map(|alone| alone.revision), Some(2), "what relied on nobody");
    }
    Ok(())
}

async fn moved_while_staged(ledger: &dyn Ledger, [ann, bob]: [Record; 2]) -> Trial {
    let instance = one()?;
    let mut session = ledger.diff(&instance).await?;
    let takes = Record { claims: vec![claim("a", 1), claim("c", 1)], ..bob.clone() };
    session.stage(vec![takes.clone().into()]).await?;
    assert_eq!(compare_one(&mut *session, row("a", 3, 9)?).await?, changed(Some(&takes), None, false));
    // An observer stores the record again that has the claim so far: that takes nothing back.
    let seen = Some(crate::record::Seen::new(None, Timestamp(1)));
    store(ledger, &instance, [Record { seen, ..ann.clone() }.into()]).await?;
    let stale = Write { unclaimed: vec!["a".into()], ..Record { claims: vec![claim("b", 1)], ..ann.clone() }.into() };
    session.stage(vec![stale.clone()]).await?;
    // Nobody gives the claim up: it is taken by nobody.
    assert_eq!(session.apply().await?, [takes.clone().into(), stale]);
    let mut session = ledger.diff(&instance).await?;
    let again = load(ledger, &ann.chat).await?.ok_or("the record is gone")?;
    assert_eq!(compare_one(&mut *session, row("a", 3, 9)?).await?, changed(Some(&again), None, false));
    // Whoever lost loads the records and decides again.
    let holder = changed(Some(&stored(&takes)), None, false);
    let again = Record { claims: vec![claim("b", 1)], ..again };
    store(ledger, &instance, [takes.into(), Write { unclaimed: vec!["a".into()], ..again.into() }]).await?;
    let mut session = ledger.diff(&instance).await?;
    assert_eq!(compare_one(&mut *session, row("a", 3, 9)?).await?, holder, "it is another record's by now");
    assert_eq!(claims(ledger, &instance).await?, ["a", "b", "c"].map(Box::from));
    Ok(())
}

/// A claim that was compared here and moved by somebody else meanwhile is not taken back, neither by what was staged nor by a
/// write of its own; records that have a claim are found by it.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_claim_is_not_taken_from_a_record_that_keeps_it(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let ann = claimed(1, &["a", "b"])?;
    store(ledger, &instance, [ann.clone().into()]).await?;
    let ann = stored(&ann);
    let mut session = ledger.diff(&instance).await?;
    let takes = Record { claims: vec![claim("a", 2)], ..Record::new(chat(3)?) };
    let leaves: Write = Record { claims: vec![claim("b", 1)], ..ann.clone() }.into();
    let leaves = Write { unclaimed: vec!["a".into()], ..leaves };
    session.stage(vec![takes.clone().into(), leaves.clone()]).await?;
    let bob = Record { claims: vec![claim("a", 3)], ..Record::new(chat(2)?) };
    assert_eq!(ledger.commit(&instance, None, vec![bob.clone().into()]).await?, [0], "the claim is another record's");
    store(ledger, &instance, [bob.clone().into(), leaves.clone()]).await?;
    assert_eq!(session.apply().await?, [takes.clone().into(), leaves]);
    assert_eq!(ledger.commit(&instance, None, vec![takes.into()]).await?, [0]);
    let ids: [Box<str>; 3] = ["a".into(), "nobody".into(), "a".into()];
    assert_eq!(ledger.fetch(&instance, Query::CrmIds(&ids)).await?, [stored(&bob)]);
    let keeps = Record { seen: Some(crate::record::Seen::new(None, Timestamp(1))), ..stored(&bob) };
    store(ledger, &instance, [keeps.clone().into()]).await?;
    let joined = Record { claims: vec![claim("a", 4)], ..Record::new(chat(4)?) };
    let absorbed = Some((bob.chat.clone(), 2));
    store(ledger, &instance, [Write { absorbed, ..joined.clone().into() }]).await?;
    assert_eq!(ledger.fetch(&instance, Query::CrmIds(&ids)).await?, [stored(&joined)]);
    Ok(())
}

/// A row that a record no longer has is new when it comes again, and is not absent.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_unclaimed_row_is_nobodys_unless_it_was_taken(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    store(ledger, &instance, [claimed(1, &["a", "b"])?.into()]).await?;
    let without = Record { claims: vec![claim("b", 1)], revision: 1, ..claimed(1, &[])? };
    let write = Write { unclaimed: vec!["a".into()], ..without.clone().into() };
    let mut session = ledger.diff(&instance).await?;
    session.stage(vec![write.clone()]).await?;
    assert_eq!(session.absent(9).await?, [("b".into(), without.clone())]);
    assert_eq!(compare_one(&mut *session, row("a", 7, 1)?).await?, changed(None, None, false));
    store(ledger, &instance, [write]).await?;
    let mut session = ledger.diff(&instance).await?;
    assert_eq!(compare_one(&mut *session, row("a", 7, 1)?).await?, changed(None, None, false));
    assert_eq!(compare_one(&mut *session, row("b", 1, 1)?).await?, Verdict::Unchanged);
    assert_eq!(session.tally().await?, Tally { claims: 1, met: 1, unchanged: 1, staged: 0 });
    Ok(())
}

/// Two rows of one person: the second finds the record of the first, staged or stored, and both are its holders then.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn rows_that_compete_for_a_person_find_each_other(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let mut session = ledger.diff(&instance).await?;
    assert_eq!(compare_one(&mut *session, row("a", 1, 1)?).await?, changed(None, None, false));
    let first = claimed(1, &["a"])?;
    session.stage(vec![first.clone().into()]).await?;
    assert_eq!(compare_one(&mut *session, row("b", 1, 1)?).await?, changed(None, Some(&first), false));
    let both = claimed(1, &["a", "b"])?;
    session.stage(vec![both.clone().into()]).await?;
    let verdicts = compare(&mut *session, &[row("a", 1, 1)?, row("b", 1, 1)?]).await?;
    assert_eq!(verdicts, [changed(Some(&both), None, true), changed(Some(&both), None, true)]);
    assert_eq!(session.apply().await?, []);
    let mut session = ledger.diff(&instance).await?;
    let verdicts = compare(&mut *session, &[row("b", 1, 1)?, row("a", 1, 1)?]).await?;
    assert_eq!(verdicts, [Verdict::Unchanged, Verdict::Unchanged]);
    let verdicts = compare(&mut *session, &[row("b", 2, 2)?, row("a", 1, 1)?]).await?;
    let both = stored(&both);
    assert_eq!(verdicts, [changed(Some(&both), None, true), changed(Some(&both), None, true)]);
    Ok(())
}

/// A staged record is found by its aliases, and by none that it had only in the store.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn records_are_staged_under_their_aliases(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let (old, kept, new): (ChatId, ChatId, ChatId) = ("111@lid".parse()?, "222@lid".parse()?, "333@lid".parse()?);
    let ann = Record { aliases: vec![old.clone(), kept.clone()], ..claimed(1, &["a"])? };
    store(ledger, &instance, [ann.clone().into()]).await?;
    let mut session = ledger.diff(&instance).await?;
    let by = |lid: &ChatId| Incoming { contact: CrmContact::new("x", lid.clone()), digest: digest(1) };
    let verdict = compare_one(&mut *session, by(&old)).await?;
    assert_eq!(verdict, changed(None, Some(&stored(&ann)), false));
    let next = Record { aliases: vec![kept.clone(), new.clone()], revision: 1, ..ann.clone() };
    session.stage(vec![next.clone().into()]).await?;
    assert_eq!(session.find(slice::from_ref(&old)).await?, []);
    for lid in [&kept, &new] {
        assert_eq!(session.find(slice::from_ref(lid)).await?, slice::from_ref(&next), "{lid}");
        assert_eq!(compare_one(&mut *session, by(lid)).await?, changed(None, Some(&next), true), "{lid}");
    }
    assert_eq!(session.find(&[new.clone(), kept.clone(), chat(1)?]).await?, slice::from_ref(&next));
    // The holder answers to the chat by an alias, so there is no other record to speak of.
    let of_holder = Incoming { contact: CrmContact::new("a", new.clone()), digest: digest(7) };
    assert_eq!(compare_one(&mut *session, of_holder).await?, changed(Some(&next), None, false));
    // Another record takes one over; whoever has the id as its chat goes before whoever has it as an alias.
    let bob = Record { aliases: vec![new.clone()], ..claimed(2, &["b"])? };
    let of_lid = Record::new(kept.clone());
    session.stage(vec![bob.clone().into(), of_lid.clone().into()]).await?;
    assert_eq!(session.find(slice::from_ref(&new)).await?, slice::from_ref(&bob));
    assert_eq!(compare_one(&mut *session, by(&kept)).await?, changed(None, Some(&of_lid), true));
    assert_eq!(session.apply().await?, []);
    let found = ledger.fetch(&instance, Query::Chats(slice::from_ref(&new))).await?;
    assert_eq!(found, [stored(&bob)]);
    assert_eq!(ledger.fetch(&instance, Query::Chats(&[old])).await?, []);
    assert_eq!(ledger.fetch(&instance, Query::Chats(&[kept])).await?.len(), 2);
    Ok(())
}

/// Claims that no row was compared with come once each, in the order of arrival, in pages of any size, with their record.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn absent_claims_are_listed_once_in_the_order_of_arrival(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(32));
    let mut numbers: Vec<_> = (0..200).collect();
    dice.shuffle(&mut numbers);
    let id = |number: &usize| format!("crm {number}");
    for numbers in numbers.chunks(17) {
        let records = numbers.iter().map(|number| Ok(claimed(*number, &[&id(number)])?.into()));
        store(ledger, &instance, records.collect::<Trial<Vec<_>>>()?).await?;
    }
    for (every, limit) in [(1, 7), (2, 1), (3, 64), (10, 1_000), (1_000, 7)] {
        let mut session = ledger.diff(&instance).await?;
        let (met, absent): (Vec<_>, Vec<_>) = (0..200).partition(|place| place % every != 0);
        let rows = met.iter().map(|place| row(&id(&numbers[*place]), numbers[*place], 1));
        compare(&mut *session, &rows.collect::<Trial<Vec<_>>>()?).await?;
        // One of them is staged: it is listed as it will be.
        let staged = Record { revision: 1, seen: None, ..claimed(numbers[0], &[&id(&numbers[0])])? };
        session.stage(vec![staged.into()]).await?;
        // A claim that arrives now may be newer than the export.
        let late = Record::new(format!("4479461{every:05}").parse()?);
        let late = Record { claims: vec![claim(&format!("late {every}"), 1)], ..late };
        store(ledger, &instance, [late.clone().into()]).await?;
        let mut listed = Vec::new();
        loop {
            let page = session.absent(limit).await?;
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        let expected = absent.iter().map(|place| id(&numbers[*place]));
        assert!(listed.iter().map(|(crm_id, _)| crm_id.to_string()).eq(expected), "{every}, {limit}");
        assert!(listed.iter().all(|(crm_id, record)| record.claim(crm_id).is_some()));
        assert_eq!(session.absent(limit).await?, []);
        assert_eq!(session.tally().await?.claims, 200);
        let late = load(ledger, &late.chat).await?.ok_or("the record is gone")?;
        let crm_id = late.claims[0].crm_id.clone();
        store(ledger, &instance, [Write { unclaimed: vec![crm_id], ..Record { claims: vec![], ..late }.into() }])
            .await?;
    }
    Ok(())
}

/// What waits for something is listed by chat, page by page: staged records in place of the stored ones.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn what_is_open_is_listed_as_the_session_sees_it(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    for seed in SEEDS {
        let mut dice = Dice::new(seed);
        let fresh = dice.records(40)?.into_iter().map(Write::from).collect();
        ledger.commit(&instance, None, fresh).await?;
        let mut expected: BTreeMap<ChatId, Record> = BTreeMap::new();
        for record in everything(ledger, &instance).await?.into_iter().chain(dice.records(10)?) {
            expected.entry(record.chat.clone()).or_insert(record);
        }
        let known = everything(ledger, &instance).await?;
        let mut session = ledger.diff(&instance).await?;
        let share = 1 + dice.below(4);
        for record in expected.values_mut() {
            let is_new = known.iter().all(|known| known.chat != record.chat);
            if is_new || dice.one_in(share) {
                record.status = dice.status();
                session.stage(vec![record.clone().into()]).await?;
            }
        }
        let expected: Vec<_> = expected.into_values().filter(|record| record.status != Status::InSync).collect();
        for limit in [1, 4, 50, usize::MAX] {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = session.open(after.as_ref(), limit).await?;
                let Some(last) = page.last() else { break };
                assert!(page.len() <= limit);
                after = Some(last.chat.clone());
                listed.extend(page);
            }
            assert_eq!(listed, expected, "seed {seed}, {limit} at a time");
        }
    }
    Ok(())
}

/// The tally has the claims of the beginning, those met, and the records in sync that were left alone or staged so.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_tally_counts_what_was_met_and_left_alone(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let due = Status::Due { at: Timestamp(1) };
    let known = [
        claimed(1, &["a"])?,
        claimed(2, &["b"])?,
        Record { status: due, ..claimed(3, &["c"])? },
        Record { status: due, ..claimed(4, &["d"])? },
        claimed(5, &["e"])?,
        claimed(6, &["f"])?,
        claimed(7, &[])?,
    ];
    store(ledger, &instance, known.iter().cloned().map(Into::into)).await?;
    let mut session = ledger.diff(&instance).await?;
    let tally = |met, unchanged, staged| Tally { claims: 6, met, unchanged, staged };
    assert_eq!(session.tally().await?, tally(0, 0, 0));
    compare(&mut *session, &[row("a", 1, 1)?, row("b", 2, 1)?, row("c", 3, 1)?, row("new", 9, 1)?]).await?;
    assert_eq!(session.tally().await?, tally(3, 2, 0), "what is due is not unchanged");
    compare(&mut *session, &[row("a", 1, 1)?, row("e", 5, 2)?]).await?;
    assert_eq!(session.tally().await?, tally(4, 3, 0), "met with another row and left alone");
    session.stage(vec![Record { status: due, ..stored(&known[4]) }.into()]).await?;
    assert_eq!(session.tally().await?, tally(4, 2, 1));
    session.stage(vec![stored(&known[3]).into(), Record { status: due, ..claimed(9, &["new"])? }.into()]).await?;
    assert_eq!(session.tally().await?, tally(4, 2, 3));
    session.stage(vec![Record { status: Status::InSync, ..stored(&known[3]) }.into()]).await?;
    session.stage(vec![Record { seen: None, ..stored(&known[6]) }.into()]).await?;
    assert_eq!(session.tally().await?, tally(4, 3, 4), "in sync, but claimed by no row, is not counted");
    session.stage(vec![claimed(9, &["new"])?.into()]).await?;
    assert_eq!(session.tally().await?, tally(4, 4, 4));
    store(ledger, &instance, [Record { status: Status::InSync, ..stored(&known[2]) }.into()]).await?;
    assert_eq!(session.tally().await?, tally(4, 4, 4), "it was due at the beginning");
    Ok(())
}

/// An apply stores every staged record over the revision that it has, returns those that lost as they were staged, and lists
/// the claims of the others in the order of staging.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_comparison_stores_what_has_not_lost(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let known = (0..20).map(|number| claimed(number, &[&format!("{number}")])).collect::<Trial<Vec<_>>>()?;
    store(ledger, &instance, known.iter().cloned().map(Into::into)).await?;
    let mut session = ledger.diff(&instance).await?;
    let staged = (0..30_usize).rev().map(|number| {
        let record =
            known.get(number).map_or_else(|| claimed(number, &[&format!("{number}")]), |old| Ok(stored(old)))?;
        Trial::Ok(Record { claims: vec![claim(&format!("{number}"), 2)], ..record })
    });
    let staged = staged.collect::<Trial<Vec<_>>>()?;
    session.stage(staged.iter().cloned().map(Into::into).collect()).await?;
    let by_others = [&known[3], &known[17]].map(|record| stored(record).into());
    store(ledger, &instance, by_others).await?;
    store(ledger, &instance, [claimed(25, &["other"])?.into()]).await?;
    let lost = session.apply().await?;
    let numbers: Vec<_> = [25, 17, 3].iter().map(|number| staged[29 - number].clone().into()).collect::<Vec<Write>>();
    assert_eq!(lost, numbers);
    for record in &staged {
        let is_lost = lost.iter().any(|lost| lost.record.chat == record.chat);
        let found = load(ledger, &record.chat).await?.ok_or("the record is gone")?;
        assert_eq!(found == stored(record), !is_lost);
    }
    let expected = (0..20).map(|number| number.to_string()).chain(["other".into()]);
    let new = (20..30).rev().filter(|number| *number != 25).map(|number: i32| number.to_string());
    let expected: Vec<Box<str>> = expected.chain(new).map(Into::into).collect();
    assert_eq!(claims(ledger, &instance).await?, expected);
    Ok(())
}

/// What a session gives back of what it staged makes another session see the same, and stores the same.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn what_is_staged_can_be_kept_and_staged_again(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(34));
    let [ann, bob, cat] = [claimed(1, &["a"])?, claimed(2, &["b"])?, claimed(3, &["c"])?];
    store(ledger, &instance, [ann.clone().into(), bob.clone().into()]).await?;
    let mut session = ledger.diff(&instance).await?;
    let takes = Record { claims: vec![claim("a", 2), claim("b", 2)], ..stored(&bob) };
    let leaves = Write { unclaimed: vec!["a".into()], ..Record { claims: Vec::new(), ..stored(&ann) }.into() };
    let told = Write { overwritten: vec![dice.overwritten(&cat.chat)?], ..cat.clone().into() };
    session.stage(vec![told, takes.clone().into()]).await?;
    session.stage(vec![leaves]).await?;
    let kept = session.into_writes().await?;
    assert_eq!(kept.iter().map(|write| &write.record.chat).collect::<Vec<_>>(), [&cat.chat, &bob.chat, &ann.chat]);
    assert_eq!(load(ledger, &bob.chat).await?, Some(stored(&bob)), "nothing was stored");

    let mut again = ledger.diff(&instance).await?;
    again.stage(kept.clone()).await?;
    let found = again.find(slice::from_ref(&bob.chat)).await?;
    assert_eq!(found, slice::from_ref(&takes));
    let mut third = ledger.diff(&instance).await?;
    third.stage(again.into_writes().await?).await?;
    assert_eq!(third.apply().await?, []);
    assert_eq!(load(ledger, &bob.chat).await?, Some(stored(&takes)));
    assert_eq!(ledger.history(&instance, &cat.chat).await?.len(), 1);
    let new = claimed(4, &["d"])?;
    let mut late = ledger.diff(&instance).await?;
    late.stage(kept.clone()).await?;
    late.stage(vec![new.clone().into()]).await?;
    assert_eq!(late.apply_whole().await?.len(), 3, "all of those have moved on");
    assert_eq!(load(ledger, &new.chat).await?, None, "so nothing is stored");
    let mut alone = ledger.diff(&instance).await?;
    alone.stage(vec![new.clone().into()]).await?;
    assert_eq!(alone.apply_whole().await?, []);
    assert_eq!(load(ledger, &new.chat).await?, Some(stored(&new)));
    Ok(())
}

/// What a staged record overwrote is in the history once it is stored.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn history_is_stored_by_a_comparison(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(33));
    let [ann, bob] = [claimed(1, &["a"])?, claimed(2, &["b"])?];
    let entry = dice.overwritten(&ann.chat)?;
    let kept = Write { overwritten: vec![entry.clone()], ..ann.clone().into() };
    let lost = Write { overwritten: vec![dice.overwritten(&bob.chat)?], ..stored(&bob).into() };
    let mut session = ledger.diff(&instance).await?;
    session.stage(vec![kept, lost.clone()]).await?;
    assert_eq!(session.apply().await?, [lost]);
    assert_eq!(ledger.history(&instance, &ann.chat).await?, [entry]);
    assert_eq!(ledger.history(&instance, &bob.chat).await?, []);
    Ok(())
}

/// Any mixture of commits, comparisons and persons forgotten, good and lost, gives the same answers as [`MemoryLedger`] and leaves the same behind.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn any_run_of_calls_is_answered_like_the_reference(ledger: &dyn Ledger) -> Trial {
    let reference = MemoryLedger::default();
    for seed in 0..4 * SEEDS.end {
        // Few people and rows in each, so that they meet.
        let pair = Pair { ours: ledger, theirs: &reference, instance: format!("dice-{}", seed / 8).parse()?, seed };
        let mut dice = Dice::new(seed);
        for _ in 0..3 {
            pair.commit(&mut dice).await?;
            pair.session(&mut dice).await?;
        }
    }
    Ok(())
}

/// A verdict in a few words.
fn told(verdict: &Verdict) -> String {
    let Verdict::Changed { holder, target, is_repeat } = verdict else { return format!("{verdict:?}") };
    let [holder, target] = [holder, target].map(|record| record.as_ref().map(|record| (&record.chat, record.revision)));
    format!("holder {holder:?}, target {target:?}, repeat {is_repeat}")
}

/// Two ledgers that are asked the same.
struct Pair<'a> {
    ours: &'a dyn Ledger,
    theirs: &'a dyn Ledger,
    instance: InstanceId,
    seed: u64,
}

impl Pair<'_> {
    async fn commit(&self, dice: &mut Dice) -> Trial {
        let (seed, instance) = (self.seed, &self.instance);
        let mut writes = Vec::new();
        for _ in 0..dice.below(5) {
            let chat = dice.chat(12)?;
            let found = self.theirs.fetch(instance, Query::Chats(slice::from_ref(&chat))).await?;
            let record = found.into_iter().next().unwrap_or_else(|| Record::new(chat));
            let revision = record.revision + u64::from(dice.one_in(8));
            let mut write = dice.write(Record { revision, ..record })?;
            if dice.one_in(4) {
                write.absorbed = self.absorbed(dice).await?;
            }
            writes.push(write);
        }
        let lost = self.ours.commit(instance, None, writes.clone()).await?;
        assert_eq!(lost, self.theirs.commit(instance, None, writes).await?, "seed {seed}");
        if dice.one_in(8) {
            self.forget(dice).await?;
        }
        self.assert_same().await
    }

    async fn forget(&self, dice: &mut Dice) -> Trial {
        let (seed, instance) = (self.seed, &self.instance);
        let chat = dice.chat(12)?;
        let found = self.theirs.fetch(instance, Query::Chats(slice::from_ref(&chat))).await?;
        let record = found.into_iter().next().unwrap_or_else(|| Record::new(chat));
        let record = Record { revision: record.revision + u64::from(dice.one_in(8)), ..record };
        let ours = self.ours.forget(instance, &record).await?;
        assert_eq!(ours, self.theirs.forget(instance, &record).await?, "seed {seed}");
        // Most are allowed again soon, so that the dice do not run out of people.
        let id = dice.chat(12)?;
        for id in [record.chat.as_str(), id.as_str()].into_iter().take(1 + dice.below(2)) {
            let ours = self.ours.allow(instance, id).await?;
            assert_eq!(ours, self.theirs.allow(instance, id).await?, "seed {seed}");
        }
        Ok(())
    }

    async fn absorbed(&self, dice: &mut Dice) -> Trial<Option<(ChatId, u64)>> {
        let all = everything(self.theirs, &self.instance).await?;
        let record = all.get(dice.below(all.len() + 1));
        Ok(record.map(|record| (record.chat.clone(), record.revision + u64::from(dice.one_in(8)))))
    }

    async fn session(&self, dice: &mut Dice) -> Trial {
        let (seed, instance) = (self.seed, &self.instance);
        let (mut ours, mut theirs) = (self.ours.diff(instance).await?, self.theirs.diff(instance).await?);
        for turn in 0..12 {
            match dice.below(8) {
                0..=2 => {
                    let rows = (0..dice.below(9)).map(|_| dice.row()).collect::<Trial<Vec<_>>>()?;
                    let expected = compare(&mut *theirs, &rows).await?;
                    for ((row, verdict), expected) in rows.iter().zip(compare(&mut *ours, &rows).await?).zip(expected) {
                        let (ours, theirs) = (told(&verdict), told(&expected));
                        assert!(verdict == expected, "seed {seed}, turn {turn}, {row:?}: {ours} for {theirs}");
                    }
                }
                3..=5 => {
                    let mut writes = Vec::new();
                    for _ in 0..dice.below(4) {
                        let chat = dice.chat(12)?;
                        let found = theirs.find(slice::from_ref(&chat)).await?;
                        let record = found.into_iter().next().unwrap_or_else(|| Record::new(chat));
                        writes.push(dice.write(record)?);
                    }
                    ours.stage(writes.clone()).await?;
                    theirs.stage(writes).await?;
                }
                6 => {
                    let limit = dice.below(4);
                    assert_eq!(ours.absent(limit).await?, theirs.absent(limit).await?, "seed {seed}, turn {turn}");
                }
                _ => self.commit(dice).await?,
            }
            let chats = [dice.chat(12)?, dice.chat(12)?, dice.chat(12)?];
            let by_chat = |mut records: Vec<Record>| {
                records.sort_by(|one, other| one.chat.cmp(&other.chat));
                records
            };
            let (found, expected) = (ours.find(&chats).await?, theirs.find(&chats).await?);
            assert_eq!(by_chat(found), by_chat(expected), "seed {seed}, turn {turn}: {chats:?}");
            let limit = 1 + dice.below(6);
            let (open, expected) = (ours.open(None, limit).await?, theirs.open(None, limit).await?);
            assert_eq!(open, expected, "seed {seed}, turn {turn}");
            let (found, expected) = (ours.tally().await?, theirs.tally().await?);
            // Claims that were deleted meanwhile may be counted or not.
            assert!((found.met..=expected.claims).contains(&found.claims), "seed {seed}, turn {turn}");
            assert_eq!(found, Tally { claims: found.claims, ..expected }, "seed {seed}, turn {turn}");
        }
        if dice.one_in(4) {
            drop((ours, theirs));
        } else {
            assert_eq!(ours.apply().await?, theirs.apply().await?, "seed {seed}");
        }
        self.assert_same().await
    }

    async fn assert_same(&self) -> Trial {
        let (seed, instance) = (self.seed, &self.instance);
        let records = everything(self.theirs, instance).await?;
        assert_eq!(everything(self.ours, instance).await?, records, "seed {seed}");
        assert_eq!(self.ours.counts(instance).await?, self.theirs.counts(instance).await?, "seed {seed}");
        assert_eq!(claims(self.ours, instance).await?, claims(self.theirs, instance).await?, "seed {seed}");
        let due = Query::Due { by: Timestamp::MAX, limit: usize::MAX };
        assert_eq!(self.ours.fetch(instance, due).await?, self.theirs.fetch(instance, due).await?, "seed {seed}");
        for record in &records {
            let history = self.ours.history(instance, &record.chat).await?;
            assert_eq!(history, self.theirs.history(instance, &record.chat).await?, "seed {seed}");
        }
        Ok(())
    }
}
