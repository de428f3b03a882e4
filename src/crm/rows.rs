use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::{CrmContact, RowError};

/// A source of rows as a stream, made by [`rows`].
#[derive(Debug, Clone)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Rows<I>(I);

/// Makes rows a [`Stream`], as the sync takes them.
///
/// The stream is always ready: reading a file blocks for no longer than the disk does.
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
    Rows(rows.into_iter())
}

/// The iterator is never pinned, only called.
impl<I> Unpin for Rows<I> {}

impl<I: Iterator<Item = Result<CrmContact, RowError>>> Stream for Rows<I> {
    type Item = I::Item;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.get_mut().0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
