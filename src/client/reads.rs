use std::sync::atomic::Ordering::Relaxed;

use futures_util::{Stream, TryStreamExt as _, stream};
use reqwest::Method;

use super::Client;
use crate::{
    ChatId, Error, ErrorKind, Phone,
    book::{Contact, Existence, LidMapping, LidPage, Page, Pager, Session},
    wire::read,
};

/// The most entries that the server puts on one page.
const LIMIT: usize = 1000;

/// That a page has as many entries as the server allows.
pub(super) fn check_limit(limit: usize) -> Result<(), Error> {
    if (1..=LIMIT).contains(&limit) {
        return Ok(());
    }
    let hint = format!("a page has 1 to {LIMIT} entries");
    Err(Error::new(ErrorKind::Configuration).without_doubt().after(0).with_hint(hint))
}

/// That a chat id is a privacy id.
pub(super) fn check_lid(lid: &ChatId) -> Result<(), Error> {
    if lid.is_lid() {
        return Ok(());
    }
    let hint = "this chat id is a phone, not a privacy id";
    Err(Error::new(ErrorKind::Rejected).without_doubt().after(0).with_hint(hint))
}

/// Goes through a listing: `fetch` brings the items of the page that begins at an offset, how many entries the page had, and its mark.
fn pages<T, F>(fetch: impl Fn(usize) -> F + Send) -> impl Stream<Item = Result<T, Error>> + Send + Unpin
where
    T: Send,
    F: Future<Output = Result<(Vec<T>, usize, u64), Error>> + Send,
{
    let pages = stream::try_unfold((Pager::new(LIMIT), fetch), |(mut pager, fetch)| async move {
        let Some(offset) = pager.next_offset() else { return Ok(None) };
        let (items, entries, mark) = fetch(offset).await?;
        pager.took(entries, mark)?;
        Ok(Some((stream::iter(items.into_iter().map(Ok)), (pager, fetch))))
    });
    Box::pin(pages.try_flatten())
}

/// Reads; each waits for the instance's pace and retries as the policy says, and none is ever in doubt.
impl Client {
    /// Reads one contact; `None` if the address book does not know it.
    ///
    /// The server answers for unregistered numbers too: use [`check_exists`](Self::check_exists) to tell them apart.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn contact(&self, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.call(&self.0.transport.contact(chat), read::contact).await
    }

    /// Reads the whole address book, page by page, ordered by id where the server can.
    ///
    /// Groups and other things that are no person are left out, and so are entries that cannot be made out. Where the address
    /// book changes meanwhile, a contact may come twice, or be missed until the next time. After an error the stream ends.
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    ///
    /// # async fn example(client: wawp_contacts::Client) -> Result<(), wawp_contacts::Error> {
    /// let mut contacts = client.contacts();
    /// while let Some(contact) = contacts.next().await {
    ///     let contact = contact?;
    ///     println!("{} is called {:?}", contact.chat, contact.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn contacts(&self) -> impl Stream<Item = Result<Contact, Error>> + Send + Unpin + use<> {
        let client = self.clone();
        pages(move |offset| {
            let client = client.clone();
            async move {
                let page = client.call(&client.0.transport.contacts(offset, LIMIT), read::contacts).await?;
                let Page { contacts, entries, mark } = page;
                Ok((contacts, entries, mark))
            }
        })
    }

    /// Asks whether a number is on WhatsApp, and what to write to.
    ///
    /// The server allows one such question a second and instance: with a faster [`Pace`](crate::Pace) space them out yourself.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn check_exists(&self, phone: &Phone) -> Result<Existence, Error> {
        self.call(&self.0.transport.check_exists(phone), read::existence).await
    }

    /// Reads all privacy ids that the server knows, page by page, with the phones behind them.
    ///
    /// After an error the stream ends.
    pub fn lids(&self) -> impl Stream<Item = Result<LidMapping, Error>> + Send + Unpin + use<> {
        let client = self.clone();
        pages(move |offset| {
            let client = client.clone();
            async move {
                let page = client.call(&client.0.transport.lids(offset, LIMIT), read::mappings).await?;
                let LidPage { mappings, entries, mark } = page;
                Ok((mappings, entries, mark))
            }
        })
    }

    /// Reads the phone behind a privacy id; `None` if the server does not know it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`] without a call if `lid` is no privacy id; else [`Error::class`] says what to do.
    pub async fn phone_of(&self, lid: &ChatId) -> Result<Option<Phone>, Error> {
        check_lid(lid)?;
        self.call(&self.0.transport.phone_of(lid), read::phone_of_lid).await
    }

    /// Reads the privacy id of a phone; `None` if the server does not know one.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn lid_of(&self, phone: &Phone) -> Result<Option<ChatId>, Error> {
        self.call(&self.0.transport.lid_of(phone), read::lid_of_phone).await
    }

    /// Reads the state of the instance's session.
    ///
    /// Asks by POST, as the API's page has it, and by GET where the server does not know that.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn session(&self) -> Result<Session, Error> {
        let shared = &self.0;
        match self.call(&shared.transport.session(shared.session_method()), read::session).await {
            Err(error) if shared.asks_by_get_now(&error) => {
                self.call(&shared.transport.session(Method::GET), read::session).await
            }
            answer => answer,
        }
    }
}

impl super::Shared {
    /// How the session is asked for: by POST until the server was found not to know that.
    pub(super) fn session_method(&self) -> Method {
        if self.asks_by_get.load(Relaxed) { Method::GET } else { Method::POST }
    }

    /// Whether an error says for the first time that the session has to be asked for by GET.
    pub(super) fn asks_by_get_now(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Route && !self.asks_by_get.swap(true, Relaxed)
    }
}
