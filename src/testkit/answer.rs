use std::time::Duration;

use serde_json::{Value, json};
use wiremock::{Request, Respond, ResponseTemplate};

/// An answer of the server, as a value: a status, headers, a body, and how long it takes.
///
/// The named ones have the shapes that Wawp and the engine under it are known to send. An answer can be given to a
/// [`Rule`](super::Rule), or mounted on a plain [`wiremock::MockServer`], for it is a [`Respond`].
///
/// ```
/// use wawp_contacts::testkit::Answer;
///
/// assert_eq!(Answer::unauthorized().status(), 401);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an answer is not given until it is handed to a rule or a mock"]
pub struct Answer {
    status: u16,
    mime: &'static str,
    body: Vec<u8>,
    headers: Vec<(Box<str>, String)>,
    delay: Duration,
}

impl Answer {
    /// Any status with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    /// Any status with any body: XML, an HTML page of a proxy, half a JSON document, nothing.
    pub fn raw(status: u16, mime: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, mime, body: body.into(), headers: Vec::new(), delay: Duration::ZERO }
    }

    /// 200 `{"ok": true}`: the name is saved.
    pub fn ok() -> Self {
        Self::json(200, &json!({"ok": true}))
    }

    /// 200 that carries an error all the same.
    pub fn refused_with_200() -> Self {
        Self::json(200, &json!({"ok": false, "code": "update_failed", "message": "The contact was not saved"}))
    }

    /// 200 without a body: neither a yes nor a no.
    pub fn empty() -> Self {
        Self::raw(200, "text/plain", "")
    }

    /// 501 of an engine that cannot do this, for instance because its store of contacts is off.
    pub fn not_implemented() -> Self {
        Self::json(
            501,
            &json!({"statusCode": 501, "message": "Enable the store of contacts", "error": "Not Implemented"}),
        )
    }

    /// 503 with `Retry-After` in whole seconds.
    pub fn unavailable(wait: Duration) -> Self {
        Self::raw(503, "text/plain", "Service Unavailable").with_retry_after(wait.as_secs().to_string())
    }

    /// 400 `missing_param`: the request lacks something.
    pub fn missing_param(name: &str) -> Self {
        Self::coded(400, "missing_param", &format!("Missing required parameter: {name}"))
    }

    /// 400 `invalid_param`: something in the request is none of what the server takes.
    pub fn invalid_param(message: &str) -> Self {
        Self::coded(400, "invalid_param", message)
    }

    /// 401: the token is wrong or revoked.
    pub fn unauthorized() -> Self {
        Self::json(401, &json!({"status": 401, "message": "Invalid access token", "error": "Unauthorized"}))
    }

    /// 403 `subscription_required`: the plan does not cover this.
    pub fn subscription_required() -> Self {
        Self::coded(403, "subscription_required", "An active subscription is required")
    }

    /// 404 `invalid_session`: the instance is unknown or unlinked.
    pub fn invalid_session() -> Self {
        Self::coded(404, "invalid_session", "The instance does not exist or is not linked to this account")
    }

    /// 404: no such route.
    pub fn unknown_route() -> Self {
        Self::json(404, &json!({"statusCode": 404, "message": "Cannot find this route", "error": "Not Found"}))
    }

    /// 405: the route is there, for another method.
    pub fn wrong_method() -> Self {
        Self::json(405, &json!({"statusCode": 405, "message": "Method not allowed", "error": "Method Not Allowed"}))
    }

    /// 422: the instance's session is in `status` instead of `WORKING`.
    pub fn session_not_working(instance: &str, status: &str) -> Self {
        let error = "Session status is not as expected. Try again later or restart the session";
        Self::json(422, &json!({"error": error, "session": instance, "status": status, "expected": ["WORKING"]}))
    }

    /// 429 with `Retry-After` in whole seconds.
    pub fn too_many_requests(wait: Duration) -> Self {
        let answer = Self::coded(429, "rate_limited", "Too many requests");
        answer.with_retry_after(wait.as_secs().to_string())
    }

    /// 429 `quota_reached`: the plan's quota is spent.
    pub fn quota_reached() -> Self {
        Self::coded(429, "quota_reached", "The quota of the plan is reached")
    }

    /// 500 of the engine: two writers met in the account's one collection of contacts.
    pub fn engine_conflict() -> Self {
        Self::engine_error("409 conflict")
    }

    /// 500 of the engine, in its own wrapping.
    pub fn engine_error(message: &str) -> Self {
        let exception = json!({"message": message, "name": "Error"});
        let body = json!({"statusCode": 500, "timestamp": "2026-01-01T00:00:00.000Z", "exception": exception});
        Self::json(500, &body)
    }

    /// 502 of a proxy, as an HTML page.
    pub fn bad_gateway() -> Self {
        Self::raw(502, "text/html", "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>")
    }

    /// Adds a `Retry-After` header: seconds, or an HTTP date.
    pub fn with_retry_after(self, value: impl Into<String>) -> Self {
        self.with_header("Retry-After", value)
    }

    /// Sets a header, such as `Date` or the mark of a proxy; one that was set before is replaced.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Lets the answer take this long.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body as it is sent.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn of_status(status: u16) -> Self {
        match status {
            200..300 => Self::json(status, &json!({"ok": true})),
            _ => Self::json(status, &json!({"status": status, "message": "Told to answer so"})),
        }
    }

    fn coded(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"code": code, "message": message}))
    }
}

impl From<Value> for Answer {
    /// 200 with this body.
    fn from(body: Value) -> Self {
        Self::json(200, &body)
    }
}

impl Respond for Answer {
    fn respond(&self, _request: &Request) -> ResponseTemplate {
        let template = ResponseTemplate::new(self.status).set_body_raw(self.body.as_slice(), self.mime);
        let set = |template: ResponseTemplate, (name, value): &(Box<str>, String)| {
            template.insert_header(name.as_ref(), value.as_str())
        };
        let template = self.headers.iter().fold(template, set);
        if self.delay.is_zero() { template } else { template.set_delay(self.delay) }
    }
}
