use std::borrow::Cow;

use serde_json::{Map, Value};
use wiremock::Request;

use super::Answer;
use crate::Credentials;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// The chat stands in the path of the `PUT` route, and in the body of the `POST` route.
    Update {
        in_path: Option<String>,
    },
    Contacts,
    Contact,
    Exists,
    Lids,
    LidCount,
    Lid(String),
    LidOfPhone(String),
    Session,
    RateLimit,
}

impl Route {
    fn of(request: &Request) -> Result<Self, Answer> {
        let path: Vec<String> = request.url.path_segments().into_iter().flatten().map(percent_decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let (route, methods): (Self, &[&str]) = match path.as_slice() {
            ["v2", "contacts"] => (Self::Contact, &["GET"]),
            ["v2", "contacts", "update"] => (Self::Update { in_path: None }, &["POST"]),
            ["v2", "contacts", "all"] => (Self::Contacts, &["GET"]),
            ["v2", "contacts", "check-exists"] => (Self::Exists, &["GET"]),
            ["v2", "contacts", chat] => (Self::Update { in_path: Some((*chat).to_owned()) }, &["PUT"]),
            ["v2", "lids"] => (Self::Lids, &["GET"]),
            ["v2", "lids", "count"] => (Self::LidCount, &["GET"]),
            ["v2", "lids", lid] => (Self::Lid((*lid).to_owned()), &["GET"]),
            ["v2", "lids", "pn", number] => (Self::LidOfPhone((*number).to_owned()), &["GET"]),
            ["v2", "session", "info"] => (Self::Session, &["GET", "POST"]),
            ["v2", "session", "rate-limit"] => (Self::RateLimit, &["GET"]),
            _ => return Err(Answer::unknown_route()),
        };
        if methods.contains(&request.method.as_str()) {
            Ok(route)
        } else {
            Err(Answer::wrong_method().with_header("Allow", methods.join(", ")))
        }
    }

    /// The route of updates that a path is on, whatever the method.
    pub(super) fn of_update(request: &Request) -> Option<crate::Route> {
        let path: Vec<&str> = request.url.path_segments().into_iter().flatten().collect();
        match path.as_slice() {
            ["v2", "contacts", "update"] => Some(crate::Route::Update),
            ["v2", "contacts", "all" | "check-exists"] => None,
            ["v2", "contacts", _] => Some(crate::Route::PutContact),
            _ => None,
        }
    }
}

/// A request that was understood: the route, and its values wherever they stood.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) route: Route,
    is_get: bool,
    query: Vec<(String, String)>,
    body: Map<String, Value>,
    headers: Vec<(&'static str, String)>,
}

impl Incoming {
    /// Reads a request; the error is the answer to give.
    pub(super) fn read(request: &Request) -> Result<Self, Answer> {
        let route = Route::of(request)?;
        let query = request.url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        let headers = ["authorization", "x-instance-id", "access-token"].into_iter().filter_map(|name| {
            let value = request.headers.get(name)?.to_str().ok()?;
            Some((name, value.to_owned()))
        });
        let is_get = request.method.as_str() == "GET";
        Ok(Self { route, is_get, query, headers: headers.collect(), body: json_body(request)? })
    }

    /// The instance that the request names.
    pub(super) fn instance(&self) -> Option<&str> {
        self.text("instance_id").or_else(|| self.query("instance_id")).or_else(|| self.header("x-instance-id"))
    }

    /// The access token, whichever of the four styles carries it.
    pub(super) fn token(&self) -> Option<&str> {
        let bearer = || self.header("authorization")?.strip_prefix("Bearer ");
        self.text("access_token")
            .or_else(|| self.query("access_token"))
            .or_else(bearer)
            .or_else(|| self.header("access-token"))
    }

    /// Whether instance and token stand where this style puts them.
    pub(super) fn is_styled(&self, style: Credentials) -> bool {
        let has_query = |keys: &[&str]| keys.iter().all(|key| self.query(key).is_some());
        let has_body = |keys: &[&str]| keys.iter().all(|key| self.text(key).is_some());
        let in_body = |keys: &[&str]| if self.is_get { has_query(keys) } else { has_body(keys) };
        match style {
            Credentials::Body => in_body(&["instance_id", "access_token"]),
            Credentials::Query => has_query(&["instance_id", "access_token"]),
            Credentials::Bearer => self.header("authorization").is_some() && self.header("x-instance-id").is_some(),
            Credentials::Header => self.header("access-token").is_some() && in_body(&["instance_id"]),
        }
    }

    /// The chat of an update, from the path or the body.
    pub(super) fn chat(&self) -> Option<&str> {
        match &self.route {
            Route::Update { in_path: Some(chat) } => Some(chat),
            _ => self.text("chatId"),
        }
    }

    /// A text of the body.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key)?.as_str()
    }

    /// A value of the query.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// The body as an object; a body that does not call itself JSON is not looked at, as servers do.
fn json_body(request: &Request) -> Result<Map<String, Value>, Answer> {
    let mime = request.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if request.body.is_empty() || !mime.starts_with("application/json") {
        return Ok(Map::new());
    }
    match request.body_json() {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(Answer::invalid_param("the body must be a JSON object")),
        Err(_) => Err(Answer::invalid_param("the body is no JSON")),
    }
}

fn percent_decoded(segment: &str) -> String {
    // Only `%XX` means anything in a path; the parser of forms would also take `+`, `&` and `=`.
    let guarded = segment.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(guarded.as_bytes()).next().map_or_else(String::new, |(text, _)| Cow::into_owned(text))
}
