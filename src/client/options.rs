//! The two routes and the four styles of credentials, as words.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The route that sets a name; written and stored as its word.
///
/// ```
/// use wawp_contacts::Route;
///
/// assert_eq!("put-contact".parse::<Route>()?, Route::PutContact);
/// assert_eq!(Route::Update.to_string(), "update");
/// # Ok::<(), wawp_contacts::client::ParseRouteError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Route {
    /// `POST /v2/contacts/update`, the documented one.
    #[default]
    Update,
    /// `PUT /v2/contacts/{chatId}`, as some clients have it.
    PutContact,
}

/// Where instance id and access token go in a write.
///
/// Reads have no body: with [`Body`](Self::Body) they carry both in the query, as the API has it. Proxies like to log queries; the
/// header styles keep the token out of them.
///
/// Written and stored as its word:
///
/// ```
/// use wawp_contacts::Credentials;
///
/// assert_eq!("bearer".parse::<Credentials>()?, Credentials::Bearer);
/// assert_eq!(Credentials::Body.to_string(), "body");
/// # Ok::<(), wawp_contacts::client::ParseCredentialsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Credentials {
    /// In the JSON body, as `instance_id` and `access_token`. The default of [`Route::Update`].
    Body,
    /// In the query, as `instance_id` and `access_token`. The default of [`Route::PutContact`].
    Query,
    /// In the headers `Authorization: Bearer` and `X-Instance-ID`.
    Bearer,
    /// The token in the header `access-token`, the instance as in [`Body`](Self::Body).
    Header,
}

impl Route {
    /// Both routes, the default first.
    pub const ALL: [Self; 2] = [Self::Update, Self::PutContact];

    fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::PutContact => "put-contact",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Route {
    type Err = ParseRouteError;

    fn from_str(word: &str) -> Result<Self, ParseRouteError> {
        Self::ALL.into_iter().find(|route| route.word() == word).ok_or(ParseRouteError(()))
    }
}

/// A word that names neither route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a route is `update` or `put-contact`")]
pub struct ParseRouteError(());

impl Credentials {
    /// All four styles, in the order in which they are tried where none is preferred.
    pub const ALL: [Self; 4] = [Self::Body, Self::Query, Self::Bearer, Self::Header];

    /// The default of a route.
    pub(super) fn of(route: Route) -> Self {
        match route {
            Route::Update => Self::Body,
            Route::PutContact => Self::Query,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Bearer => "bearer",
            Self::Header => "header",
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Credentials {
    type Err = ParseCredentialsError;

    fn from_str(word: &str) -> Result<Self, ParseCredentialsError> {
        Self::ALL.into_iter().find(|style| style.word() == word).ok_or(ParseCredentialsError(()))
    }
}

/// A word that names none of the four styles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("credentials are given as `body`, `query`, `bearer` or `header`")]
pub struct ParseCredentialsError(());
