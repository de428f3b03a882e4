use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

use super::Client;
use crate::{Error, ErrorKind};

/// What one page brought.
pub(super) struct Batch<T> {
    pub(super) items: Vec<T>,
    /// How many entries the server sent, usable or not.
    pub(super) entries: usize,
    /// A mark of the page's content, to notice a repeated one.
    pub(super) mark: u64,
}

type Fetch<T> = Pin<Box<dyn Future<Output = Result<Batch<T>, Error>> + Send>>;

/// A stream over pages, which asks for the next when the last is used up.
pub(super) struct Pages<T> {
    client: Client,
    fetch: fn(Client, usize) -> Fetch<T>,
    limit: usize,
    offset: usize,
    items: VecDeque<T>,
    under_way: Option<Fetch<T>>,
    last_mark: Option<u64>,
    is_done: bool,
}

impl<T> Pages<T> {
    pub(super) fn new(client: Client, limit: usize, fetch: fn(Client, usize) -> Fetch<T>) -> Self {
        let items = VecDeque::new();
        Self { client, fetch, limit, offset: 0, items, under_way: None, last_mark: None, is_done: false }
    }

    fn take(&mut self, batch: Batch<T>) -> Result<(), Error> {
        // Fewer are the last page. More come from a server that knows no limit, and has sent everything there is.
        self.is_done = batch.entries != self.limit;
        if !self.is_done && self.last_mark.replace(batch.mark) == Some(batch.mark) {
            let hint = "the server sends the same page again and again";
            return Err(Error::new(ErrorKind::Decode).with_hint(hint).without_doubt());
        }
        self.offset += batch.entries;
        self.items.extend(batch.items);
        Ok(())
    }
}

impl<T: Unpin> Stream for Pages<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            let this = &mut *self;
            let fetch = this.under_way.get_or_insert_with(|| (this.fetch)(this.client.clone(), this.offset));
            let fetched = ready!(fetch.as_mut().poll(context));
            this.under_way = None;
            if let Err(error) = fetched.and_then(|batch| this.take(batch)) {
                this.is_done = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("offset", &self.offset).field("is_done", &self.is_done).finish_non_exhaustive()
    }
}
