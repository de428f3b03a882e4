use super::{CrmContact, RowError, Rows, rows};

/// Rows together with what they are: all of the CRM, or some of it.
///
/// It matters for what is *not* among them. Of a **snapshot**, absence means that the row is gone from the CRM. Of **changes** (a web hook of
/// the CRM, an export of today's edits) nothing follows from absence.
///
/// ```
/// use futures_util::StreamExt;
/// use wawp_contacts::crm::{self, CrmContact, Feed};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let ada = CrmContact::new("7", "+44 7700 900123".parse()?).named("Ada", "");
/// let changes = crm::changes([Ok(ada.clone())]);
/// assert!(!changes.is_snapshot());
/// assert_eq!(changes.into_rows().count().await, 1);
///
/// let export = crm::snapshot(crm::JsonLines::new(&br#"{"id": 7, "first_name": "Ada", "phone": 447700900123}"#[..]));
/// assert!(export.is_snapshot());
///
/// // A stream of one's own is taken as it is.
/// let own = Feed::changes(futures_util::stream::iter([Ok::<_, crm::RowError>(ada)]));
/// assert_eq!(own.into_rows().count().await, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).ok_or("the streams were not ready")??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a feed does nothing until its rows are read"]
pub struct Feed<S> {
    rows: S,
    is_snapshot: bool,
}

impl<S> Feed<S> {
    /// Takes rows that are all of the CRM: a row that is not among them is gone.
    pub fn snapshot(rows: S) -> Self {
        Self { rows, is_snapshot: true }
    }

    /// Takes rows that are some of the CRM: nothing follows from a row that is not among them.
    pub fn changes(rows: S) -> Self {
        Self { rows, is_snapshot: false }
    }

    /// Whether the rows are all of the CRM.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.is_snapshot
    }

    /// The stream of rows itself.
    pub fn into_rows(self) -> S {
        self.rows
    }
}

/// Makes all rows of the CRM a [`Feed`]; takes what [`rows`] takes.
pub fn snapshot<I>(all: I) -> Feed<Rows<I::IntoIter>>
where
    I: IntoIterator<Item = Result<CrmContact, RowError>>,
{
    Feed::snapshot(rows(all))
}

/// Makes some rows of the CRM a [`Feed`]; takes what [`rows`] takes.
pub fn changes<I>(some: I) -> Feed<Rows<I::IntoIter>>
where
    I: IntoIterator<Item = Result<CrmContact, RowError>>,
{
    Feed::changes(rows(some))
}
