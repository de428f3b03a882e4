use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;

use crate::{
    Error,
    client::http::{HttpExchange, HttpRequest, HttpResponse},
};

/// Headers of which something is told; those that begin with one of `FAMILIES` as well.
const TELLING: &[&str] = &["date", "retry-after", "allow", "content-type", "server"];
/// Headers that only a proxy sets.
const OF_PROXIES: &[&str] =
    &["via", "cf-ray", "x-cache", "x-varnish", "x-amz-cf-id", "x-served-by", "x-akamai-request-id"];
/// Servers that are known as proxies in front of others.
const PROXIES: &[&str] = &["cloudflare", "cloudfront", "varnish", "akamai", "squid", "fastly", "envoy", "awselb"];
/// How the headers of rate limits begin.
const FAMILIES: &[&str] = &["ratelimit", "x-ratelimit", "x-rate-limit"];

/// Whether something is told of a header.
pub(super) fn is_telling(header: &str) -> bool {
    TELLING.contains(&header) || OF_PROXIES.contains(&header) || is_of_limits(header)
}

fn is_of_limits(header: &str) -> bool {
    FAMILIES.iter().any(|family| header.starts_with(family))
}

/// Stands between a transport and its HTTP stack, and remembers what an answer tells beside its body.
pub(super) struct Witness {
    stack: Arc<dyn HttpExchange>,
    seen: Mutex<Vec<Answered>>,
}

/// What one answer told.
#[derive(Clone)]
pub(super) struct Answered {
    is_write: bool,
    /// By this machine's clock, halfway between request and answer.
    at: SystemTime,
    took: Duration,
    is_page: bool,
    headers: Vec<(String, String)>,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How much later the server's clock is than ours, in seconds.
    fn ahead(&self) -> Option<i64> {
        let theirs = httpdate::parse_http_date(self.header("date")?).ok()?;
        // The header drops the fraction of its second, half of one on average.
        let theirs = theirs + Duration::from_millis(500);
        let seconds = match theirs.duration_since(self.at) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(error) => -error.duration().as_secs_f64(),
        };
        #[expect(clippy::cast_possible_truncation, reason = "dates of HTTP end with the year 9999")]
        Some(seconds.round() as i64)
    }

    /// What shows that this answer came through a proxy.
    fn sign_of_proxy(&self) -> Option<String> {
        let (name, value) = self.headers.iter().find(|(name, value)| {
            OF_PROXIES.contains(&name.as_str())
                || (name == "server" && PROXIES.iter().any(|proxy| value.to_ascii_lowercase().contains(proxy)))
        })?;
        Some(format!("{name}: {value}"))
    }
}

impl Witness {
    pub(super) fn new(stack: Arc<dyn HttpExchange>) -> Self {
        Self { stack, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> Option<Answered> {
        self.seen().last().cloned()
    }

    pub(super) fn has_answers(&self) -> bool {
        !self.seen().is_empty()
    }

    /// The server's clock against ours in seconds, by the answer that was on its way for the shortest time.
    pub(super) fn ahead(&self) -> Option<i64> {
        self.seen().iter().filter(|one| one.header("date").is_some()).min_by_key(|one| one.took)?.ahead()
    }

    /// The median time to answer a read.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut times: Vec<_> = self.seen().iter().filter(|one| !one.is_write).map(|one| one.took).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// How many answers were a page for a browser, of how many.
    pub(super) fn pages(&self) -> (usize, usize) {
        let seen = self.seen();
        (seen.iter().filter(|one| one.is_page).count(), seen.len())
    }

    pub(super) fn sign_of_proxy(&self) -> Option<String> {
        self.seen().iter().find_map(Answered::sign_of_proxy)
    }

    pub(super) fn server(&self) -> Option<String> {
        self.seen().iter().find_map(|one| one.header("server").map(ToOwned::to_owned))
    }

    /// The headers that speak of rate limits, each as it was first seen.
    pub(super) fn limits(&self) -> Vec<(String, String)> {
        let mut limits: Vec<(String, String)> = Vec::new();
        for (name, value) in self.seen().iter().flat_map(|one| &one.headers) {
            let is_new = limits.iter().all(|(known, _)| known != name);
            if is_new && (is_of_limits(name) || name == "retry-after") {
                limits.push((name.clone(), value.clone()));
            }
        }
        limits
    }
}

#[async_trait]
impl HttpExchange for Witness {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let is_write = request.method() == "PUT" || request.url.path().ends_with("/contacts/update");
        let (began, at) = (Instant::now(), SystemTime::now());
        let answer = self.stack.exchange(request).await?;
        let took = began.elapsed();
        let headers = answer.headers.iter().filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            is_telling(&name).then(|| (name, String::from_utf8_lossy(value).into_owned()))
        });
        let headers: Vec<_> = headers.collect();
        let calls_itself_html = headers.iter().any(|(name, value)| name == "content-type" && value.contains("html"));
        let is_page = calls_itself_html || is_html(&answer.body);
        self.seen().push(Answered { is_write, at: at + took / 2, took, is_page, headers });
        Ok(answer)
    }
}

fn is_html(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = start[..start.len().min(15)].to_ascii_lowercase();
    start.starts_with(b"<html") || start.starts_with(b"<!doctype html")
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a server says can repeat the token.
        f.debug_struct("Witness").field("stack", &self.stack).finish_non_exhaustive()
    }
}
