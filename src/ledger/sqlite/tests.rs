//! What only shows from within: the connection's own counters, its limits and its migrations.

use super::{
    file::migrate,
    schema::{APPLICATION_ID, MIGRATIONS},
    *,
};
use crate::ledger::{Candidate, Wanted};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn candidate(number: usize) -> Candidate {
    let name = crate::ContactName::new("Ada", &number.to_string()).unwrap();
    let wanted = Wanted {
        crm_id: number.to_string().into(),
        version: Some(1),
        base: name.clone(),
        name,
        tag: None,
        cause: crate::ledger::Cause::New,
        rules: 1,
        rivals: Box::default(),
    };
    Candidate { chat: format!("1555{number:07}@c.us").parse().unwrap(), wanted }
}

/// A row that a sift finds unchanged.
fn settled(number: usize) -> Row {
    let mut row = Row::from(candidate(number));
    row.pushed.sent = Some(crate::ledger::Sent { name: row.wanted.name.clone(), at: Timestamp(1) });
    row
}

fn pragma(ledger: &SqliteLedger, sql: &str) -> i64 {
    let connection = ledger.file.connection.lock().unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn unchanged_rows_are_never_written() -> Outcome {
    let ledger = SqliteLedger::in_memory()?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    ledger.save(&lease, (0..300).map(settled).collect(), vec![]).await?;
    let before = pragma(&ledger, "SELECT total_changes()");
    let sifted = ledger.sift(&lease.instance, (0..300).map(candidate).collect()).await?;
    assert_eq!((sifted.unchanged.len(), sifted.rest.len()), (300, 0));
    assert_eq!(pragma(&ledger, "SELECT total_changes()"), before);
    Ok(())
}

#[tokio::test]
async fn a_sift_finds_neighbours_and_distant_rows_alike() -> Outcome {
    let ledger = SqliteLedger::in_memory()?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    ledger.save(&lease, (0..400).filter(|number| number % 7 != 0).map(settled).collect(), vec![]).await?;
    for distance in 1..60 {
        let asked = (0..400).step_by(distance).rev();
        let absent = asked.clone().filter(|number| number % 7 == 0).map(|number| candidate(number).chat);
        let sifted = ledger.sift(&lease.instance, asked.clone().map(candidate).collect()).await?;
        assert!(sifted.rest.iter().map(|(candidate, _)| candidate.chat.clone()).eq(absent), "{distance} apart");
        assert_eq!(sifted.unchanged.len() + sifted.rest.len(), asked.len(), "{distance} apart");
    }
    Ok(())
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let ledger = SqliteLedger::open(&path).await?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    ledger.save(&lease, (0..50).map(settled).collect(), vec![]).await?;
    let room = pragma(&ledger, "PRAGMA page_count") + 2;
    pragma(&ledger, &format!("PRAGMA max_page_count = {room}"));
    let before = (ledger.rows(&lease.instance, None, 999).await?, ledger.counts(&lease.instance).await?);

    let error = ledger.save(&lease, (50..500).map(settled).collect(), vec![]).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Full);
    assert!(error.to_string().contains("contacts.ledger"), "{error}");
    assert_eq!((ledger.rows(&lease.instance, None, 999).await?, ledger.counts(&lease.instance).await?), before);

    pragma(&ledger, "PRAGMA max_page_count = 100000");
    ledger.save(&lease, (50..500).map(settled).collect(), vec![]).await?;
    assert_eq!(ledger.counts(&lease.instance).await?.rows, 500);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_is_damaged_and_names_the_file() -> Outcome {
    let ledger = SqliteLedger::in_memory()?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    for damage in ["chat = 'nobody'", "first_name = char(65, 10)||'a'", "rivals = '['", "cause = '?'", "seen_at = -1"] {
        ledger.save(&lease, vec![settled(1)], vec![]).await?;
        ledger.file.connection.lock().unwrap().execute_batch(&format!("UPDATE contact SET {damage}"))?;
        let error = ledger.rows(&lease.instance, None, 9).await.unwrap_err();
        assert_eq!(error.kind(), LedgerErrorKind::Damaged, "{damage}");
        assert!(error.to_string().contains("in memory"), "{error}");
        ledger.file.connection.lock().unwrap().execute_batch("DELETE FROM contact")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_not_allowed_says_so() -> Outcome {
    let ledger = SqliteLedger::in_memory()?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    ledger.file.connection.lock().unwrap().execute_batch("PRAGMA query_only = 1")?;
    let error = ledger.save(&lease, vec![settled(1)], vec![]).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::ReadOnly);
    Ok(())
}

#[test]
fn an_older_file_takes_the_steps_that_it_lacks() -> Outcome {
    let mut connection = Connection::open_in_memory()?;
    let steps = ["CREATE TABLE a (n)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)"];
    for (known, sum) in [(1, 0), (1, 0), (2, 1), (3, 3), (3, 3)] {
        migrate(&mut connection, &steps[..known]).unwrap();
        let found: i64 = connection.query_row("SELECT coalesce(sum(n), 0) FROM a", [], |row| row.get(0))?;
        assert_eq!(found, sum);
    }
    Ok(())
}

#[test]
fn a_step_that_fails_leaves_the_file_at_its_version() -> Outcome {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, &["CREATE TABLE a (n)"]).unwrap();
    let broken = migrate(&mut connection, &["", "INSERT INTO a VALUES (1)", "INSERT INTO nothing VALUES (1)"]);
    assert!(matches!(broken, Err(Fault::Sqlite(_))));
    let left: (i64, i64) = connection.query_row(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM a)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    assert_eq!(left, (1, 0));
    Ok(())
}

#[test]
fn a_newer_file_is_refused_with_both_versions() -> Outcome {
    let connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", 7)?;
    let error = file::prepare(connection).unwrap_err().explain("contacts.ledger");
    assert_eq!(error.kind(), LedgerErrorKind::Newer);
    let text = error.to_string();
    assert!(text.contains("version 7") && text.contains(&MIGRATIONS.len().to_string()), "{text}");
    Ok(())
}
