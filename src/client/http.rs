use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{
    Method, Response, Url,
    header::{DATE, HeaderMap, HeaderName, RETRY_AFTER},
};

use crate::{Error, ErrorKind};

/// Whether a header of an answer is looked at.
pub(super) fn of_use(header: &str) -> bool {
    [RETRY_AFTER, DATE].iter().any(|name| name.as_str() == header)
}

/// An HTTP stack that a client sends through: a proxy with rules of its own, own certificates, a shared pool, canned answers.
///
/// Without one the client brings its own. A stack makes **one exchange per call**: it neither repeats requests nor follows
/// redirects, because the credentials would go along to wherever it is sent. The client sets the time limit around it, and judges
/// the answer.
///
/// ```
/// use async_trait::async_trait;
/// use wawp_contacts::{Client, ContactName, Error, client::{HttpExchange, HttpRequest, HttpResponse}};
///
/// /// Answers every request by itself.
/// #[derive(Debug)]
/// struct Canned;
///
/// #[async_trait]
/// impl HttpExchange for Canned {
///     async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
///         assert_eq!((request.method(), request.url()), ("POST", "https://api.wawp.net/v2/contacts/update"));
///         Ok(HttpResponse::new(200, r#"{"ok":true}"#))
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let client = Client::builder("my-instance".parse()?, "my-token").http(Canned).build()?;
/// client.update_contact(&"+1 202 555 0142".parse()?, &ContactName::new("Ann", "Lee")?).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[async_trait]
pub trait HttpExchange: fmt::Debug + Send + Sync + 'static {
    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// Fails without an answer: with [`ErrorKind::Connect`] if nothing was sent, with [`ErrorKind::Timeout`] or
    /// [`ErrorKind::Interrupted`] if it may have been, with [`ErrorKind::Configuration`] if no request will work. An error may
    /// name neither the URL nor a header: both can carry the token.
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error>;
}

/// A request as it goes to an [`HttpExchange`].
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) timeout: Duration,
    pub(super) max_answer: usize,
}

impl HttpRequest {
    /// The method, in capital letters.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The whole URL; its query can carry the token.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The headers, as pairs of name and value; some can carry the token.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The body, if there is one; it can carry the token.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// How long the exchange may take, the body of the answer included. The client gives up by itself after that.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many bytes of the answer's body are of use; the rest need not be read.
    #[must_use]
    pub fn max_answer(&self) -> usize {
        self.max_answer
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URL, headers and body can carry the token.
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}

/// An answer as it comes from an [`HttpExchange`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    pub(super) status: u16,
    pub(super) headers: Vec<(Box<str>, Box<[u8]>)>,
    pub(super) body: Vec<u8>,
}

impl HttpResponse {
    /// An answer with a status, a body, and no headers.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header. A client looks at `Retry-After` and `Date`; the [doctor](super::doctor) also at those that tell of rate limits
    /// and proxies. Others may be left out.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// The first value of a header, if it is a text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_str()))?;
        std::str::from_utf8(value).ok()
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a server says can repeat the token.
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The stack that the client brings along.
#[derive(Debug)]
pub(super) struct Reqwest {
    pub(super) http: reqwest::Client,
    /// Which headers of an answer to pass on, by their names in small letters.
    pub(super) keeps: fn(&str) -> bool,
}

#[async_trait]
impl HttpExchange for Reqwest {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        *sent.timeout_mut() = Some(request.timeout);
        *sent.body_mut() = request.body.map(Into::into);
        let response = self.http.execute(sent).await.map_err(unanswered)?;
        let mut answer = HttpResponse::new(response.status().as_u16(), Vec::new());
        for (name, value) in response.headers().iter().filter(|(name, _)| (self.keeps)(name.as_str())) {
            answer = answer.with_header(name.as_str(), value.as_bytes());
        }
        let (body, end) = read_body(response, request.max_answer).await;
        match end {
            // Without all of a good answer nothing is proven; a bad one is bad by its status already.
            Err(error) if (200..300).contains(&answer.status) => Err(error.with_status(answer.status)),
            _ => Ok(HttpResponse { body, ..answer }),
        }
    }
}

/// A stack that somebody else made: held to the time limit here, since a sync counts on it.
#[derive(Debug)]
pub(super) struct Bounded<T>(pub(super) T);

#[async_trait]
impl<T: HttpExchange> HttpExchange for Bounded<T> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let (timeout, max_answer) = (request.timeout, request.max_answer);
        let answer = tokio::time::timeout(timeout, self.0.exchange(request)).await;
        let mut answer = answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout)))?;
        if answer.body.len() > max_answer && (200..300).contains(&answer.status) {
            return Err(too_large().with_status(answer.status));
        }
        answer.body.truncate(max_answer);
        Ok(answer)
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::Decode).with_hint("the answer is larger than any that the API gives")
}

/// Reads a body up to `max` bytes; what was read stays, whatever the end.
async fn read_body(mut response: Response, max: usize) -> (Vec<u8>, Result<(), Error>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > max => {
                body.extend_from_slice(&chunk[..max - body.len()]);
                return (body, Err(too_large()));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, Ok(())),
            Err(error) => return (body, Err(unanswered(error))),
        }
    }
}

/// Tells by *when* a request failed what may have become of it.
fn unanswered(error: reqwest::Error) -> Error {
    let kind = if error.is_builder() || error.is_redirect() {
        ErrorKind::Configuration
    } else if error.is_connect() {
        ErrorKind::Connect
    } else if error.is_timeout() {
        ErrorKind::Timeout
    } else {
        ErrorKind::Interrupted
    };
    // The URL can carry the token.
    Error::new(kind).because(error.without_url())
}
