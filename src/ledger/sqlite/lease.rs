//! Leases: a row of `instance`, and a lock of the operating system that ends with its holder.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, params};

use super::{fault::Fault, file, instance};
use crate::{
    InstanceId,
    ledger::{Lease, LedgerError},
    time::{Clock, Timestamp},
};

/// A lock on a file beside the ledger.
enum Lock {
    Taken(File),
    /// Whoever has it is alive.
    Held,
    /// The file system has no locks: only the clock tells.
    Unknown,
}

impl Lock {
    fn of(path: &Path, instance: i64, number: i64) -> Result<Self, Fault> {
        let file = file::beside(path, &format!("-lease-{instance}-{number}"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self::Taken(file)),
            Err(TryLockError::WouldBlock) => Ok(Self::Held),
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => Ok(Self::Unknown),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// A lock that nobody has: whoever let a lease expire may still hold the one of that lease.
    fn free(path: &Path, instance: i64) -> Result<(i64, Option<File>), Fault> {
        for number in 0.. {
            match Self::of(path, instance, number)? {
                Self::Taken(file) => return Ok((number, Some(file))),
                Self::Unknown => return Ok((number, None)),
                Self::Held => {}
            }
        }
        Ok((0, None))
    }
}

/// Gives out a lease, within a transaction that writes.
pub(super) fn acquire(
    connection: &Connection,
    path: &Path,
    name: &InstanceId,
    owner: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Lease, Fault> {
    let id = instance::make(connection, name)?;
    let sql = "SELECT owner, fence, expires, lock FROM instance WHERE id = ?1";
    let (holder, fence, expires, number): (Option<String>, i64, i64, i64) =
        connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let expires = Timestamp(expires.cast_unsigned());
    let is_takeover = holder.is_some();
    let holder = holder.filter(|_| expires > now);
    let (number, guard) = match (Lock::of(path, id, number)?, holder) {
        (Lock::Held | Lock::Unknown, Some(holder)) => {
            tracing::debug!(instance = %name, owner = %holder, "the lease is held");
            return Err(LedgerError::busy(name, &holder, expires.since(now)).into());
        }
        (Lock::Taken(file), holder) => {
            if holder.is_some() {
                tracing::debug!(instance = %name, fence, "the holder of the lease is gone");
            }
            (number, Some(file))
        }
        (Lock::Unknown, None) => (number, None),
        (Lock::Held, None) => Lock::free(path, id)?,
    };
    let sql = "UPDATE instance SET owner = ?2, fence = ?3, expires = ?4, lock = ?5 WHERE id = ?1";
    connection.execute(sql, params![id, owner, fence + 1, now.after(ttl).0.cast_signed(), number])?;
    let lease = Lease::new(name.clone(), (fence + 1).cast_unsigned()).taken_over(is_takeover);
    Ok(match guard {
        Some(file) => lease.guarded_by(file),
        None => lease,
    })
}

/// Moves the end of a lease that was neither released nor taken over.
pub(super) fn renew(
    connection: &Connection,
    name: &InstanceId,
    fence: u64,
    clock: &Clock,
    ttl: Duration,
) -> Result<(), Fault> {
    let sql = "UPDATE instance SET expires = ?3 WHERE name = ?1 AND fence = ?2 AND owner IS NOT NULL";
    let expires = clock.now().after(ttl).0.cast_signed();
    match connection.prepare_cached(sql)?.execute(params![name.as_str(), fence.cast_signed(), expires])? {
        0 => Err(LedgerError::fenced(name).into()),
        _ => Ok(()),
    }
}

/// Ends a lease, if it has not ended.
pub(super) fn release(connection: &Connection, name: &InstanceId, fence: u64, now: Timestamp) -> Result<(), Fault> {
    let sql = "UPDATE instance SET owner = NULL, expires = 0, released_at = ?3 WHERE name = ?1 AND fence = ?2 AND owner IS NOT NULL";
    connection.execute(sql, params![name.as_str(), fence.cast_signed(), now.0.cast_signed()])?;
    Ok(())
}

/// Makes sure that a lease may still write.
pub(super) fn check(connection: &Connection, (name, fence): (&InstanceId, u64)) -> Result<(), Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM instance WHERE name = ?1 AND fence = ?2 AND owner IS NOT NULL)";
    let params = params![name.as_str(), fence.cast_signed()];
    let is_held: bool = connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    if is_held { Ok(()) } else { Err(LedgerError::fenced(name).into()) }
}
