//! Clauses about the right to push.

use std::time::Duration;

use super::{Dice, Trial, everything, load, one, store};
use crate::{
    ledger::{InstanceState, Lease, Ledger, LedgerErrorKind},
    record::Record,
    time::Timestamp,
};

/// Longer than any clause takes.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(40);

/// While a lease is held, nobody else gets one for the instance, and the refusal names the holder; other instances are free.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_lease_is_held_by_one_and_refused_by_name(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let held = ledger.acquire(&instance, "host-7, process 4711", LONG).await?;
    assert_eq!((&held.instance, held.fence), (&instance, 1));
    for _ in 0..2 {
        let refused = ledger.acquire(&instance, "host-8, process 1", LONG).await;
        let Err(error) = refused else { return Err("the lease was given out twice".into()) };
        assert_eq!(error.kind(), LedgerErrorKind::Busy);
        let text = error.to_string();
        assert!(text.contains("host-7, process 4711") && text.contains("one") && text.contains("wait"), "{text}");
    }
    let other = ledger.acquire(&"two".parse()?, "host-8, process 1", LONG).await?;
    assert_eq!(other.fence, 1);
    ledger.commit(&instance, Some(&held), vec![]).await?;
    Ok(())
}

/// A lease that is not renewed goes to the next one who asks, with a higher fence.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_lease_ends_when_its_time_is_over(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let first = ledger.acquire(&instance, "first", SHORT).await?;
    tokio::time::sleep(2 * SHORT).await;
    // Until somebody else has it, whoever is late may still write.
    ledger.commit(&instance, Some(&first), vec![]).await?;
    let second = ledger.acquire(&instance, "second", LONG).await?;
    assert!(second.fence > first.fence);
    drop(first);
    let refused = ledger.acquire(&instance, "third", LONG).await;
    assert!(
        refused.is_err_and(|error| error.to_string().contains("second")),
        "what the first held is not the second's"
    );
    Ok(())
}

/// Whoever holds a lease that is not the newest can neither write nor renew, and releasing it ends nothing.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn an_older_lease_writes_nothing(ledger: &dyn Ledger) -> Trial {
    let (instance, record) = (one()?, Record::new("12025550142".parse()?));
    let older = ledger.acquire(&instance, "older", SHORT).await?;
    tokio::time::sleep(2 * SHORT).await;
    let newer = ledger.acquire(&instance, "newer", LONG).await?;
    assert_fenced(ledger, &older, &record).await?;
    ledger.release(older).await?;
    assert!(ledger.acquire(&instance, "third", LONG).await.is_err());
    assert_eq!(ledger.commit(&instance, Some(&newer), vec![record.into()]).await?, [] as [usize; 0]);
    Ok(())
}

/// A lease lasts as long from its renewal as the renewal says.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_renewed_lease_lasts_longer(ledger: &dyn Ledger) -> Trial {
    let instance = one()?;
    let lease = ledger.acquire(&instance, "first", SHORT).await?;
    ledger.renew(&lease, LONG).await?;
    tokio::time::sleep(2 * SHORT).await;
    assert!(ledger.acquire(&instance, "second", LONG).await.is_err());
    ledger.renew(&lease, SHORT).await?;
    tokio::time::sleep(2 * SHORT).await;
    ledger.renew(&lease, LONG).await?;
    assert!(ledger.acquire(&instance, "second", LONG).await.is_err(), "a late renewal counts if nobody came before");
    ledger.renew(&lease, SHORT).await?;
    tokio::time::sleep(2 * SHORT).await;
    ledger.acquire(&instance, "second", LONG).await?;
    Ok(())
}

/// A released lease is free at once, and writes nothing more.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn a_released_lease_is_free_and_writes_nothing(ledger: &dyn Ledger) -> Trial {
    let (instance, record) = (one()?, Record::new("12025550142".parse()?));
    for fence in 1..4 {
        let lease = ledger.acquire(&instance, "first", LONG).await?;
        assert_eq!(lease.fence, fence);
        let known = Lease::new(instance.clone(), lease.fence);
        ledger.release(lease).await?;
        assert_fenced(ledger, &known, &record).await?;
        // Twice changes nothing.
        ledger.release(known).await?;
    }
    Ok(())
}

async fn assert_fenced(ledger: &dyn Ledger, lease: &Lease, record: &Record) -> Trial {
    for writes in [vec![record.clone().into()], vec![]] {
        let answer = ledger.commit(&lease.instance, Some(lease), writes).await;
        assert!(answer.is_err_and(|error| error.kind() == LedgerErrorKind::Fenced));
    }
    let answer = ledger.renew(lease, LONG).await;
    assert!(answer.is_err_and(|error| error.kind() == LedgerErrorKind::Fenced));
    assert_eq!(everything(ledger, &lease.instance).await?, []);
    Ok(())
}

/// While one holds the lease, those without one write records, states, runs and comparisons, and each loses only what was
/// stored meanwhile.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn lanes_write_side_by_side(ledger: &dyn Ledger) -> Trial {
    let (instance, mut dice) = (one()?, Dice::new(20));
    let lease = ledger.acquire(&instance, "pusher", LONG).await?;
    let records = dice.records(10)?;
    store(ledger, &instance, records.iter().cloned().map(Into::into)).await?;
    let loaded = everything(ledger, &instance).await?;
    store(ledger, &instance, [loaded[0].clone().into()]).await?;
    let mut session = ledger.diff(&instance).await?;
    session.stage(vec![loaded[1].clone().into()]).await?;
    assert_eq!(session.apply().await?, []);
    assert!(ledger.save_state(&instance, InstanceState::default()).await?);
    let writes = loaded.iter().cloned().map(Into::into).collect();
    assert_eq!(ledger.commit(&instance, Some(&lease), writes).await?, [0, 1]);
    for (place, record) in loaded.iter().enumerate() {
        let stored = load(ledger, &record.chat).await?.ok_or("the record is gone")?;
        assert_eq!(stored.revision, 2, "{place}");
    }
    Ok(())
}

/// The moment at which a lease was last given back is kept, and changed by nothing else.
///
/// # Errors
///
/// Fails if the ledger does.
pub async fn only_giving_a_lease_back_is_noted(ledger: &dyn Ledger) -> Trial {
    let (instance, record) = (one()?, Record::new("12025550142".parse()?));
    let lease = ledger.acquire(&instance, "pusher", LONG).await?;
    ledger.commit(&instance, Some(&lease), vec![record.into()]).await?;
    assert_eq!(ledger.state(&instance).await?.released_at, None, "nothing was given back");
    ledger.release(lease).await?;
    let released_at = ledger.state(&instance).await?.released_at;
    assert!(released_at.is_some());
    tokio::time::sleep(Duration::from_millis(3)).await;
    let state = InstanceState { released_at: Some(Timestamp(9)), ..InstanceState::default() };
    assert!(ledger.save_state(&instance, state).await?);
    let second = ledger.acquire(&instance, "pusher", LONG).await?;
    assert_eq!(ledger.state(&instance).await?.released_at, released_at);
    ledger.release(second).await?;
    assert!(ledger.state(&instance).await?.released_at > released_at);
    Ok(())
}
