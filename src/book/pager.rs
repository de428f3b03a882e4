use std::collections::HashSet;

use crate::{Error, ErrorKind};

/// More pages than any listing has: ten million entries by the thousand.
const MOST_PAGES: usize = 10_000;

/// Goes through a listing page by page and knows when it has ended; pure, whoever fetches the pages.
///
/// A page of fewer entries than the limit is the last. One of more comes from a server that knows no limit and has sent all that
/// there is. A server that gives a page a second time, or never stops, is an error instead of a loop without end.
///
/// ```
/// use wawp_contacts::book::Pager;
///
/// let mut pager = Pager::new(1_000);
/// let pages = [(1_000, 17), (1_000, 42), (3, 7)]; // entries, and the mark of the page's ids
/// for page in pages {
///     assert!(pager.next_offset().is_some());
///     pager.took(page.0, page.1)?;
/// }
/// assert_eq!(pager.next_offset(), None);
/// # Ok::<(), wawp_contacts::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pager {
    limit: usize,
    offset: usize,
    marks: HashSet<u64>,
    is_done: bool,
}

impl Pager {
    /// Begins a listing in pages of `limit` entries, at least 1.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), offset: 0, marks: HashSet::new(), is_done: false }
    }

    /// Where the next page begins, counted in entries; `None` once the listing has ended.
    #[must_use]
    pub fn next_offset(&self) -> Option<usize> {
        (!self.is_done).then_some(self.offset)
    }

    /// Notes a page: how many entries it had, persons or not, and the mark of their ids.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] with a hint if a full page was there before, or if no listing has so many pages. The listing has
    /// ended then.
    pub fn took(&mut self, entries: usize, mark: u64) -> Result<(), Error> {
        self.is_done = entries != self.limit;
        if self.is_done {
            return Ok(());
        }
        self.offset = self.offset.saturating_add(entries);
        if !self.marks.insert(mark) {
            return self.give_up("the server sends the same page again and again");
        }
        if self.marks.len() >= MOST_PAGES {
            return self.give_up("the server sends pages without end");
        }
        Ok(())
    }

    fn give_up(&mut self, hint: &'static str) -> Result<(), Error> {
        self.is_done = true;
        Err(Error::new(ErrorKind::Decode).without_doubt().with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offsets that are asked for, and what ended the listing.
    fn offsets(limit: usize, sent: impl IntoIterator<Item = (usize, u64)>) -> (Vec<usize>, Option<Error>) {
        let (mut pager, mut asked) = (Pager::new(limit), Vec::new());
        for (entries, mark) in sent {
            let Some(offset) = pager.next_offset() else { return (asked, None) };
            asked.push(offset);
            if let Err(error) = pager.took(entries, mark) {
                assert_eq!(pager.next_offset(), None, "an error ends it");
                return (asked, Some(error));
            }
        }
        (asked, None)
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last_and_an_over_full_one_is_everything() {
        let asked = |limit, pages: &[(usize, u64)]| {
            let (asked, error) = offsets(limit, pages.iter().copied().chain([(9, 99)]));
            assert!(error.is_none());
            asked
        };
        assert_eq!(asked(2, &[(2, 1), (2, 2), (1, 3)]), [0, 2, 4]);
        assert_eq!(asked(2, &[(2, 1), (0, 0)]), [0, 2]);
        assert_eq!(asked(2, &[(0, 0)]), [0]);
        assert_eq!(asked(2, &[(1_700, 5)]), [0]);
        assert_eq!(asked(0, &[(1, 1), (0, 0)]), [0, 1], "a page has at least one");
    }

    #[test]
    fn a_page_that_was_there_before_ends_it_also_when_two_alternate() {
        for pages in [vec![(2, 7), (2, 7)], vec![(2, 7), (2, 8), (2, 7)]] {
            let (asked, error) = offsets(2, pages.clone());
            let error = error.unwrap();
            assert_eq!((asked.len(), error.kind(), error.is_in_doubt()), (pages.len(), ErrorKind::Decode, false));
            assert!(error.hint().unwrap().contains("same page"), "{error}");
        }
    }

    #[test]
    fn a_listing_without_end_is_given_up() {
        let (asked, error) = offsets(1, (0..).map(|mark| (1, mark)));
        assert_eq!(asked.len(), MOST_PAGES);
        assert!(error.unwrap().hint().unwrap().contains("without end"));
    }
}
