use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;

use super::Client;
use crate::{Error, book::Pager};

/// What one page brought.
pub(super) struct Batch<T> {
    pub(super) items: Vec<T>,
    pub(super) entries: usize,
    pub(super) mark: u64,
}

type Fetch<T> = Pin<Box<dyn Future<Output = Result<Batch<T>, Error>> + Send>>;

/// A stream over pages, which asks for the next when the last is used up.
pub(super) struct Pages<T> {
    client: Client,
    fetch: fn(Client, usize) -> Fetch<T>,
    pager: Pager,
    items: VecDeque<T>,
    under_way: Option<Fetch<T>>,
    has_failed: bool,
}

impl<T> Pages<T> {
    pub(super) fn new(client: Client, limit: usize, fetch: fn(Client, usize) -> Fetch<T>) -> Self {
        let (pager, items) = (Pager::new(limit), VecDeque::new());
        Self { client, fetch, pager, items, under_way: None, has_failed: false }
    }

    fn take(&mut self, batch: Batch<T>) -> Result<(), Error> {
        self.pager.took(batch.entries, batch.mark)?;
        self.items.extend(batch.items);
        Ok(())
    }

    fn next_offset(&self) -> Option<usize> {
        self.pager.next_offset().filter(|_| !self.has_failed)
    }
}

impl<T: Unpin> Stream for Pages<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            let Some(offset) = self.next_offset() else { return Poll::Ready(None) };
            let this = &mut *self;
            let fetch = this.under_way.get_or_insert_with(|| (this.fetch)(this.client.clone(), offset));
            let fetched = ready!(fetch.as_mut().poll(context));
            this.under_way = None;
            if let Err(error) = fetched.and_then(|batch| this.take(batch)) {
                this.has_failed = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("pager", &self.pager)
            .field("has_failed", &self.has_failed)
            .finish_non_exhaustive()
    }
}
