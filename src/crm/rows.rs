use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;

use super::{CrmContact, RowError};

/// A source of rows as a stream, made by [`rows`].
#[derive(Debug, Clone)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Rows<I> {
    rows: I,
    /// How many rows were given since the executor last had its turn.
    in_a_row: u16,
}

/// So many rows are read in well under a millisecond, unless the disk is slow.
const TURN: u16 = 256;

/// Makes rows a [`Stream`], as the sync takes them.
///
/// Reading a file blocks for no longer than the disk does, and every few hundred rows the executor gets its turn: whoever tells the reader to
/// stop is heard, though a source may have nothing but rows that are refused. A source that can stall (a pipe, a network disk) is better
/// read by a thread of its own, whose rows come as a stream: see the example `sync_job`.
///
/// ```
/// use futures_util::StreamExt;
/// use wawp_contacts::crm;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let lines = r#"{"id": 1, "first_name": "Ada", "phone": "+44 7700 900123"}"#;
/// let mut rows = crm::rows(crm::JsonLines::new(lines.as_bytes()));
/// assert!(rows.next().await.is_some_and(|row| row.is_ok()));
/// assert!(rows.next().await.is_none());
/// # }).ok_or("the stream was not ready")?;
/// # Ok::<(), &str>(())
/// ```
pub fn rows<I>(rows: I) -> Rows<I::IntoIter>
where
    I: IntoIterator<Item = Result<CrmContact, RowError>>,
{
    Rows { rows: rows.into_iter(), in_a_row: 0 }
}

/// The iterator is never pinned, only called.
impl<I> Unpin for Rows<I> {}

impl<I: Iterator<Item = Result<CrmContact, RowError>>> Stream for Rows<I> {
    type Item = I::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.in_a_row == TURN {
            this.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.in_a_row += 1;
        Poll::Ready(this.rows.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::crm::{Refusal, RefusalReason};

    #[test]
    fn a_source_of_refused_rows_only_lets_others_have_their_turn() {
        let refused = || Err(RowError::Refused(Refusal::new(RefusalReason::NoPhone, "no phone")));
        let mut source = rows(std::iter::repeat_with(refused));
        let mut taken = 0;
        while source.next().now_or_never().is_some() {
            taken += 1;
        }
        assert_eq!(taken, usize::from(TURN));
        assert!(source.next().now_or_never().is_some(), "the next turn is ours again");
    }

    #[tokio::test]
    async fn every_row_comes_though_turns_are_given_away() {
        let many = (0..1_000).map(|n| Ok(CrmContact::new(n.to_string(), "447700900123".parse().unwrap())));
        let (ids, ()) = tokio::join!(
            rows(many).map(|row| row.unwrap().id).collect::<Vec<_>>(),
            stream::iter(0..3).for_each(|_| tokio::task::yield_now()),
        );
        assert!(ids.iter().map(|id| id.parse::<usize>().unwrap()).eq(0..1_000));
    }
}
