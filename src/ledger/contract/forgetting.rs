//! Clauses about persons who are forgotten, and about the reports that hold something of them.

use std::{slice, sync::Arc};

use super::{Dice, Trial, everything, load, one, store};
use crate::{
    ChatId,
    crm::{CrmContact, RowDigest},
    ledger::{Incoming, Ledger, Query, Verdict, Write},
    record::{Claim, Record},
    time::Timestamp,
};

/// Three persons: one with all kinds of ids, one who had a privacy id that is the first's by now, and one more.
fn people() -> Trial<[Record; 3]> {
    let claim = |crm_id: &str| Claim::new(crm_id, None, RowDigest::from_bytes([1; 16]), None);
    let lid: ChatId = "111@lid".parse()?;
    Ok([
        Record {
            aliases: vec![lid.clone()],
            claims: vec![claim("a"), claim("b")],
            ..Record::new("5511987654321@c.us".parse()?)
        },
        Record { aliases: vec![lid], claims: vec![claim("c")], ..Record::new("12025550102@c.us".parse()?) },
        Record { claims: vec![claim("d")], ..Record::new("12025550103@c.us".parse()?) },
    ])
}

/// The first of the [`people`] as stored, who has taken the privacy id from the second.
async fn stored(ledger: &dyn Ledger) -> Trial<Record> {
    let [ann, bob, carl] = people()?;
    let instance = one()?;
    store(ledger, &instance, [bob.into(), carl.into(), ann.clone().into()]).await?;
    Ok(Record { revision: 1, ..ann })
}

/// The other spelling of the first person's number.
const VARIANT: &str = "551187654321@c.us";

/// Nothing that is kept leads to a forgotten person: no id, no history, no line of a report, no alias of another record.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_forgotten_person_is_gone_from_all_that_is_kept(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(50));
    let ann = stored(ledger).await?;
    let [_, bob, carl] = people()?;
    let (lid, variant): (ChatId, ChatId) = (ann.aliases[0].clone(), VARIANT.parse()?);
    let chats = [ann.chat.clone(), lid.clone(), variant, carl.chat.clone()];
    let overwritten = chats.iter().map(|chat| dice.overwritten(chat)).collect::<Trial<Vec<_>>>()?;
    let write = Write { overwritten: overwritten.clone(), ..ann.clone().into() };
    store(ledger, &instance, [write]).await?;
    let run = ledger.begin_run(&instance, "host-7", Timestamp(1)).await?;
    let line = |chat: &ChatId, crm_id: &str| format!(r#"{{"chat":"{chat}","crm_id":"{crm_id}","after":"é\u2028"}}"#);
    let kept = [line(&carl.chat, "d"), r#"{"crm_id":"aa"}"#.into(), r#"{"why":"a"}"#.into()];
    let theirs = chats[..3].iter().map(|chat| line(chat, "?")).chain([r#"{"crm_id":"b"}"#.into()]);
    let lines: Vec<String> = theirs.chain(kept.clone()).collect();
    ledger.append_report(&instance, run, &format!("[{}]", lines.join(","))).await?;

    assert!(ledger.forget(&instance, &Record { revision: 2, ..ann.clone() }).await?);

    let bob = Record { revision: 2, aliases: Vec::new(), ..bob };
    let carl = Record { revision: 1, ..carl };
    assert_eq!(everything(ledger, &instance).await?, [bob, carl]);
    assert_eq!(ledger.fetch(&instance, Query::Chats(&chats[..3])).await?, []);
    assert_eq!(ledger.fetch(&instance, Query::CrmIds(&["a".into(), "b".into()])).await?, []);
    assert_eq!(super::diffs::claims(ledger, &instance).await?, ["c".into(), "d".into()] as [Box<str>; 2]);
    for chat in &chats[..3] {
        assert_eq!(ledger.history(&instance, chat).await?, []);
    }
    assert_eq!(ledger.history(&instance, &chats[3]).await?, overwritten[3..]);
    assert_eq!(
        lines_of(ledger, run).await?,
        kept.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default())
    );
    let ids = [ann.chat.as_str(), lid.as_str(), VARIANT, "a", "b", "c", "d", "12025550103@c.us"];
    let are_forgotten = ledger.forgotten(&instance, &ids).await?;
    assert_eq!(are_forgotten, [true, true, true, true, true, false, false, false]);
    assert_eq!(ledger.forgotten(&"two".parse()?, &ids).await?, [false; 8]);
    Ok(())
}

async fn lines_of(ledger: &dyn Ledger, run: u64) -> Trial<Vec<serde_json::Value>> {
    let mut lines = Vec::new();
    for piece in ledger.report(&one()?, run).await? {
        lines.append(&mut serde_json::from_str(&piece)?);
    }
    Ok(lines)
}

/// A person is forgotten as they were loaded or not at all; one without a record is forgotten as one of revision 0.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_person_is_forgotten_as_they_were_loaded_or_not_at_all(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(51));
    let ann = stored(ledger).await?;
    let entry = dice.overwritten(&ann.chat)?;
    store(ledger, &instance, [Write { overwritten: vec![entry.clone()], ..ann.clone().into() }]).await?;
    let before = everything(ledger, &instance).await?;
    for revision in [0, 1, 3] {
        assert!(!ledger.forget(&instance, &Record { revision, ..ann.clone() }).await?, "{revision}");
        assert_eq!(everything(ledger, &instance).await?, before);
        assert_eq!(ledger.history(&instance, &ann.chat).await?, slice::from_ref(&entry));
        assert_eq!(ledger.forgotten(&instance, &[ann.chat.as_str(), "a"]).await?, [false, false]);
    }
    let stranger: ChatId = "12025550199".parse()?;
    assert!(!ledger.forget(&instance, &Record { revision: 1, ..Record::new(stranger.clone()) }).await?);
    for _ in 0..2 {
        assert!(ledger.forget(&instance, &Record::new(stranger.clone())).await?);
        assert_eq!(ledger.forgotten(&instance, &[stranger.as_str()]).await?, [true]);
    }
    assert_eq!(everything(ledger, &instance).await?, before);
    Ok(())
}

/// Neither a commit nor a comparison, begun before or after, makes a record of a forgotten person, or adds a claim of one.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_forgotten_person_is_not_stored_again(ledger: &dyn Ledger) -> Trial {
    let (instance, ann) = (one()?, stored(ledger).await?);
    let [_, bob, carl] = people()?;
    let mut begun = ledger.diff(&instance).await?;
    begun.stage(vec![ann.clone().into()]).await?;
    assert!(ledger.forget(&instance, &ann).await?);
    assert_eq!(begun.apply().await?, [ann.clone().into()]);

    let lid = ann.aliases[0].clone();
    let new = Record::new("12025550777".parse()?);
    let again = [
        ann.clone(),
        Record { revision: 0, ..ann.clone() },
        Record::new(lid.clone()),
        Record::new(VARIANT.parse()?),
        Record { aliases: vec![lid.clone()], ..new.clone() },
        Record { claims: ann.claims[..1].to_vec(), ..new.clone() },
        Record { revision: 1, claims: [carl.claims.clone(), ann.claims[1..].to_vec()].concat(), ..carl.clone() },
    ];
    let before = everything(ledger, &instance).await?;
    for record in again {
        assert_eq!(ledger.commit(&instance, None, vec![record.clone().into()]).await?, [0], "{record:?}");
        let mut session = ledger.diff(&instance).await?;
        session.stage(vec![record.clone().into()]).await?;
        assert_eq!(session.apply().await?, [record.into()]);
        assert_eq!(everything(ledger, &instance).await?, before);
    }

    let row = |crm_id: &str, chat: &ChatId| {
        let digest = RowDigest::from_bytes([if crm_id == "d" { 2 } else { 1 }; 16]);
        Incoming { contact: CrmContact::new(crm_id, chat.clone()), digest }
    };
    let rows = [
        row("a", &ann.chat),
        row("new", &ann.chat),
        row("new", &lid),
        row("new", &VARIANT.parse()?),
        row("b", &new.chat),
        row("b", &carl.chat),
        row("d", &ann.chat),
        row("c", &bob.chat),
    ];
    let verdicts = ledger.diff(&instance).await?.compare(Arc::from(rows)).await?;
    assert_eq!(verdicts[..7], [const { Verdict::Forgotten }; 7]);
    assert_eq!(verdicts[7], Verdict::Unchanged);

    // The others go on, also those who have the same id elsewhere.
    store(ledger, &instance, [new.into(), Record { revision: 2, aliases: Vec::new(), ..bob }.into()]).await?;
    store(ledger, &"two".parse()?, [Record { revision: 0, ..ann }.into()]).await
}

/// Once any id of a forgotten person is allowed, all are: the person may be stored, and forgotten, again.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_person_who_is_allowed_again_can_be_stored(ledger: &dyn Ledger) -> Trial {
    let (instance, ann) = (one()?, stored(ledger).await?);
    let [_, _, carl] = people()?;
    assert!(!ledger.allow(&instance, ann.chat.as_str()).await?, "nobody was forgotten");
    let mut revision = 1;
    assert!(ledger.forget(&instance, &Record { revision, ..carl }).await?);
    for id in [ann.chat.as_str(), VARIANT, "111@lid", "a", "b"] {
        // First under the privacy id alone, which is the same person's as soon as that is known.
        if revision == 0 {
            ledger.forget(&instance, &Record { claims: Vec::new(), ..Record::new("111@lid".parse()?) }).await?;
        }
        assert!(ledger.forget(&instance, &Record { revision, ..ann.clone() }).await?);
        assert!(!ledger.allow(&instance, "nobody").await?);
        assert!(ledger.allow(&instance, id).await?);
        assert!(!ledger.allow(&instance, id).await?);
        let ids = [ann.chat.as_str(), VARIANT, "111@lid", "a", "b", "d"];
        assert_eq!(ledger.forgotten(&instance, &ids).await?, [false, false, false, false, false, true], "{id}");
        store(ledger, &instance, [Record { revision: 0, ..ann.clone() }.into()]).await?;
        assert_eq!(load(ledger, &ann.chat).await?, Some(Record { revision: 1, ..ann.clone() }));
        assert!(ledger.forget(&instance, &Record { revision: 1, ..ann.clone() }).await?);
        revision = 0;
    }
    Ok(())
}

/// The lines of a report come back in the order in which they were added, without those about forgotten persons, until they are dropped.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn the_report_of_a_run_is_kept_until_it_is_dropped(ledger: &dyn Ledger) -> Trial {
    let (instance, ann) = (one()?, stored(ledger).await?);
    assert_eq!(ledger.report(&instance, 1).await?, [] as [Box<str>; 0]);
    for run in 1..=3 {
        for piece in 0..3 {
            let lines = format!(r#"[{{"crm_id":"a","n":{run}}},{{"chat":"{}"}},{{"n":{piece}}}]"#, ann.chat);
            ledger.append_report(&instance, run, &lines).await?;
        }
    }
    let whole = lines_of(ledger, 2).await?;
    assert_eq!(whole.len(), 9);
    assert_eq!([&whole[2]["n"], &whole[5]["n"], &whole[8]["n"]], [0, 1, 2]);
    assert!(ledger.forget(&instance, &ann).await?);
    ledger.append_report(&instance, 2, r#"[{"crm_id":"a"},{"n":3},{"chat":"111@lid"}]"#).await?;
    let left: Vec<_> = lines_of(ledger, 2).await?.iter().map(|line| line["n"].clone()).collect();
    assert_eq!(left, [0, 1, 2, 3]);
    ledger.append_report(&instance, 7, r#"[{"n":1}]"#).await?;
    ledger.keep_reports(&"two".parse()?, 0).await?;
    for (kept, left) in [(u64::MAX, [3, 4, 3, 1]), (4, [3, 4, 3, 1]), (2, [0, 0, 3, 1]), (0, [0; 4])] {
        ledger.keep_reports(&instance, kept).await?;
        for (run, left) in [1, 2, 3, 7].into_iter().zip(left) {
            assert_eq!(lines_of(ledger, run).await?.len(), left, "run {run} where {kept} are kept");
        }
    }
    Ok(())
}
