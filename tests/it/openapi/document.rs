//! The document of the API, as something to check requests and answers against.

use serde_json::{Map, Value, json};

/// A request or an answer as text, wherever it was caught.
pub(super) struct Sent {
    pub(super) mime: String,
    pub(super) body: Vec<u8>,
}

impl Sent {
    /// The body as JSON Schema sees it: parsed if it is JSON, a text if it is anything else.
    fn value(&self) -> Value {
        match self.mime.as_str() {
            "application/json" => serde_json::from_slice(&self.body).unwrap(),
            _ => String::from_utf8(self.body.clone()).unwrap().into(),
        }
    }
}

/// One example of an answer, with where it stands.
pub(super) struct Example {
    pub(super) operation: String,
    pub(super) status: u16,
    pub(super) mime: String,
    pub(super) name: String,
    pub(super) value: Value,
    /// What the document says that the client makes of it.
    pub(super) client: String,
}

/// One operation: a method on a path.
pub(super) struct Operation<'a> {
    document: &'a Document,
    path: &'a str,
    value: &'a Value,
}

pub(super) struct Document(Value);

impl Document {
    pub(super) fn load() -> Self {
        Self(serde_json::from_str(include_str!("../../../openapi/wawp-contacts.json")).unwrap())
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.0["paths"].as_object().unwrap();
        paths.iter().flat_map(move |(path, methods)| {
            let methods = methods.as_object().unwrap().values();
            methods.map(move |value| Operation { document: self, path, value })
        })
    }

    /// The operation of a request; a path without variables goes before one with them.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let method = method.to_lowercase();
        let paths = self.0["paths"].as_object().unwrap();
        let exact = paths.get_key_value(path);
        let (path, methods) = exact.or_else(|| paths.iter().find(|(template, _)| is_filled(template, path)))?;
        Some(Operation { document: self, path, value: methods.get(&method)? })
    }

    /// The value behind a reference, or the value itself.
    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.0.pointer(reference.strip_prefix('#').unwrap()).expect(reference),
            None => value,
        }
    }

    /// What a value violates; the schema's references lead into the components, so they come along.
    fn violations(&self, schema: &Value, value: &Value) -> Vec<String> {
        let schema = json!({"allOf": [schema], "components": self.0["components"]});
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect()
    }
}

impl<'a> Operation<'a> {
    pub(super) fn id(&self) -> &'a str {
        self.value["operationId"].as_str().unwrap()
    }

    /// What is wrong with a request: undeclared or missing parameters, a body that the schema refuses, no credentials.
    pub(super) fn request_violations(&self, url: &url::Url, headers: &[String], sent: &Sent) -> Vec<String> {
        let mut wrong = self.parameter_violations(url);
        let body: Value = if sent.body.is_empty() { Value::Null } else { sent.value() };
        match self.value.pointer("/requestBody/content/application~1json/schema") {
            Some(schema) if !sent.body.is_empty() => wrong.extend(self.document.violations(schema, &body)),
            None if !sent.body.is_empty() => wrong.push("a body where none is declared".into()),
            _ => {}
        }
        let in_body = body.get("access_token").is_some() && body.get("instance_id").is_some();
        if !in_body && !self.is_authorized(url, headers) {
            wrong.push("no declared way of authorization".into());
        }
        wrong
    }

    fn parameter_violations(&self, url: &url::Url) -> Vec<String> {
        let declared: Vec<&Value> = self.value["parameters"].as_array().into_iter().flatten().collect();
        let find = |place: &str, name: &str| {
            declared.iter().find(|parameter| parameter["in"] == place && parameter["name"] == name).copied()
        };
        let mut given: Vec<(&str, String, String)> = variables(self.path, url.path());
        let credentials = ["instance_id", "access_token"];
        let query = url.query_pairs().filter(|(name, _)| !credentials.contains(&&**name));
        given.extend(query.map(|(name, value)| ("query", name.into_owned(), value.into_owned())));

        let mut wrong = Vec::new();
        for (place, name, text) in &given {
            match find(place, name) {
                None => wrong.push(format!("{name} is not declared in the {place}")),
                Some(parameter) => {
                    let value = typed(self, parameter, text);
                    wrong.extend(self.document.violations(&parameter["schema"], &value));
                }
            }
        }
        let missing = declared.iter().filter(|parameter| {
            parameter["required"] == true && !given.iter().any(|(_, name, _)| parameter["name"] == **name)
        });
        wrong.extend(missing.map(|parameter| format!("{} is missing", parameter["name"])));
        wrong
    }

    fn is_authorized(&self, url: &url::Url, headers: &[String]) -> bool {
        let schemes = &self.document.0["components"]["securitySchemes"];
        let is_met = |scheme: &str| match (schemes[scheme]["in"].as_str(), schemes[scheme]["name"].as_str()) {
            (Some("query"), Some(name)) => url.query_pairs().any(|(key, _)| key == name),
            (_, Some(name)) => headers.iter().any(|header| header.eq_ignore_ascii_case(name)),
            _ => headers.iter().any(|header| header == "authorization"),
        };
        let ways = self.value["security"].as_array().unwrap().iter().map(|way| way.as_object().unwrap());
        ways.filter(|way| !way.is_empty()).any(|way| way.keys().all(|scheme| is_met(scheme)))
    }

    /// What is wrong with an answer: an undeclared status or media type, or a body that the schema refuses.
    pub(super) fn answer_violations(&self, status: u16, sent: &Sent) -> Vec<String> {
        let Some(response) = self.value["responses"].get(status.to_string()) else {
            return vec![format!("status {status} is not declared")];
        };
        match self.document.resolved(response)["content"].get(&sent.mime) {
            Some(media) => self.document.violations(&media["schema"], &sent.value()),
            None => vec![format!("{} is not declared for {status}", sent.mime)],
        }
    }

    /// Every example of an answer to this operation.
    pub(super) fn examples(&self) -> Vec<Example> {
        let responses = self.value["responses"].as_object().unwrap();
        let mut examples = Vec::new();
        for (status, response) in responses {
            for (mime, media) in object(&self.document.resolved(response)["content"]) {
                examples.extend(object(&media["examples"]).into_iter().map(|(name, example)| Example {
                    operation: self.id().to_owned(),
                    status: status.parse().unwrap(),
                    mime: mime.clone(),
                    name: name.clone(),
                    value: example["value"].clone(),
                    client: example["x-client"].as_str().expect(&name).to_owned(),
                }));
            }
        }
        examples
    }

    /// What is wrong with the examples of the request's body.
    pub(super) fn request_example_violations(&self) -> Vec<String> {
        let media = &self.value["requestBody"]["content"]["application/json"];
        let examples = object(&media["examples"]).into_iter();
        examples.flat_map(|(_, example)| self.document.violations(&media["schema"], &example["value"])).collect()
    }
}

impl Example {
    /// The example as it goes over the wire.
    pub(super) fn sent(&self) -> Sent {
        let body = match &self.value {
            Value::String(text) if self.mime != "application/json" => text.clone(),
            value => value.to_string(),
        };
        Sent { mime: self.mime.clone(), body: body.into() }
    }
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn is_filled(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let fits = |(part, text): (&&str, &&str)| part == text || (part.starts_with('{') && !text.is_empty());
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}

fn variables(template: &str, path: &str) -> Vec<(&'static str, String, String)> {
    let parts = template.split('/').zip(path.split('/'));
    let filled = parts.filter_map(|(part, text)| Some((part.strip_prefix('{')?.strip_suffix('}')?, text)));
    filled.map(|(name, text)| ("path", name.to_owned(), text.replace("%40", "@"))).collect()
}

/// A parameter's text as the type that its schema asks for.
fn typed(operation: &Operation<'_>, parameter: &Value, text: &str) -> Value {
    match operation.document.resolved(&parameter["schema"])["type"].as_str() {
        Some("integer") => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    }
}
