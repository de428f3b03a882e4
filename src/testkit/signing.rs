//! Signed webhook requests, to test a receiver with.
//!
//! A [`Signer`] stands for the provider: it puts on a body the headers that the provider would. The functions beside it write
//! bodies as the providers do. A receiver that is given the real thing, a body that was changed on the way, and one that was
//! signed with another secret has met all that matters.
//!
//! ```
//! use wawp_contacts::{testkit::signing::{self, Signer}, webhook::Verifier};
//!
//! let chat = "12025550142".parse()?;
//! let request = Signer::meta("app-secret").sign(signing::meta_state_sync("100000000000002", &[(&chat, Some("Alex"), 1)]));
//!
//! let receiver = Verifier::meta(["app-secret"])?;
//! assert_eq!(receiver.verify(request.headers(), request.body())?.parse()?.len(), 1);
//! assert!(receiver.verify(request.headers(), b"{}").is_err(), "another body");
//! assert!(Verifier::meta(["another-secret"])?.verify(request.headers(), request.body()).is_err(), "another secret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::{self, Write};

use hmac::{EagerHash, Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::{
    ChatId,
    webhook::{Algorithm, HmacScheme, Label},
};

/// Signs requests as one provider does.
#[derive(Clone)]
pub struct Signer {
    scheme: Scheme,
    secret: SecretString,
}

#[derive(Clone)]
enum Scheme {
    Hmac(HmacScheme),
    Header(String),
}

impl Signer {
    /// Signs as Meta does, with the secret of an app.
    #[must_use]
    pub fn meta(secret: impl Into<SecretString>) -> Self {
        Self::hmac(HmacScheme::meta(), secret)
    }

    /// Signs as ZapyAPI does.
    #[must_use]
    pub fn zapy(secret: impl Into<SecretString>) -> Self {
        Self::hmac(HmacScheme::zapy(), secret)
    }

    /// Signs as WAHA does.
    #[must_use]
    pub fn waha(secret: impl Into<SecretString>) -> Self {
        Self::hmac(HmacScheme::waha(), secret)
    }

    /// Signs as Wawp's SDK expects it, in a header of your choice.
    #[must_use]
    pub fn wawp(header: &str, secret: impl Into<SecretString>) -> Self {
        Self::hmac(HmacScheme::wawp(header), secret)
    }

    /// Signs nothing, and sends a header as Whapi.Cloud does.
    #[must_use]
    pub fn whapi_header(header: &str, value: impl Into<SecretString>) -> Self {
        Self { scheme: Scheme::Header(header.into()), secret: value.into() }
    }

    /// Signs by any HMAC.
    #[must_use]
    pub fn hmac(scheme: HmacScheme, secret: impl Into<SecretString>) -> Self {
        Self { scheme: Scheme::Hmac(scheme), secret: secret.into() }
    }

    /// Puts a body and its headers together.
    #[must_use]
    pub fn sign(&self, body: impl Into<Vec<u8>>) -> SignedRequest {
        let (body, secret) = (body.into(), self.secret.expose_secret());
        let (name, value) = match &self.scheme {
            Scheme::Header(name) => (name.clone(), secret.to_owned()),
            Scheme::Hmac(scheme) => {
                let digits = match scheme.algorithm() {
                    Algorithm::Sha256 => tag::<Sha256>(secret, &body),
                    Algorithm::Sha512 => tag::<Sha512>(secret, &body),
                };
                (scheme.header().to_owned(), format!("{}{digits}", scheme.prefix()))
            }
        };
        SignedRequest { headers: vec![("content-type".into(), "application/json".into()), (name, value)], body }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = match &self.scheme {
            Scheme::Hmac(scheme) => scheme.header(),
            Scheme::Header(name) => name,
        };
        write!(f, "Signer({header})")
    }
}

/// A request as a provider sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A header may be the secret itself, and the body holds names and numbers.
        write!(f, "SignedRequest({} bytes)", self.body.len())
    }
}

impl SignedRequest {
    /// The headers, as pairs of name and value; the last one is the signature.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Writes what Whapi.Cloud sends when a contact was saved or renamed; a `SeenState` has no time for it.
#[must_use]
pub fn whapi_contact(channel: &str, chat: &ChatId, name: &str) -> String {
    let contact = json!({"id": digits(chat), "name": name});
    json!({"contacts": [contact], "event": {"type": "contacts", "event": "post"}, "channel_id": channel}).to_string()
}

/// Writes what ZapyAPI sends when a contact was edited: all of it, at `time` in ISO 8601.
#[must_use]
pub fn zapy_contact(instance: &str, id: &str, chats: &[&ChatId], name: Option<&str>, time: &str) -> String {
    let phone = chats.iter().find(|chat| !chat.is_lid()).map(|chat| format!("{}@s.whatsapp.net", digits(chat)));
    let lid = chats.iter().find(|chat| chat.is_lid()).map(|chat| chat.as_str());
    let contact = json!({"id": id, "jid": phone, "lid": lid, "name": name, "profilePictureUrl": null});
    let data = json!({"contact": contact, "instanceId": instance, "timestamp": time});
    json!({"event": "contact-updated", "instanceId": instance, "data": data}).to_string()
}

/// Writes what Meta sends when contacts were saved or edited (`Some` name) or removed (`None`), each at a time in seconds
/// since 1970.
#[must_use]
pub fn meta_state_sync(phone_number_id: &str, contacts: &[(&ChatId, Option<&str>, u64)]) -> String {
    let items: Vec<Value> = contacts.iter().map(|(chat, name, at)| state_sync_item(chat, *name, *at)).collect();
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "12025550100", "phone_number_id": phone_number_id},
        "state_sync": items,
    });
    let change = json!({"field": "smb_app_state_sync", "value": value});
    let entry = json!({"id": "100000000000001", "changes": [change]});
    json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string()
}

fn state_sync_item(chat: &ChatId, name: Option<&str>, at: u64) -> Value {
    let (action, contact) = match name {
        Some(name) => {
            let first = name.split(' ').next();
            ("add", json!({"full_name": name, "first_name": first, "phone_number": digits(chat)}))
        }
        None => ("remove", json!({"phone_number": digits(chat)})),
    };
    json!({"type": "contact", "contact": contact, "action": action, "metadata": {"timestamp": at.to_string()}})
}

/// Writes what Wawp and WAHA send when a message came in, with the sender's pushname.
#[must_use]
pub fn wawp_message(session: &str, id: &str, chat: &ChatId, pushname: &str, millis: u64) -> String {
    let payload = json!({"from": chat.as_str(), "fromMe": false, "body": "hello", "_data": {"notifyName": pushname}});
    wawp_event(session, id, millis, "message", &payload)
}

/// Writes what Wawp and WAHA send when a label was put on a chat.
#[must_use]
pub fn wawp_label_added(session: &str, id: &str, chat: &ChatId, label: &Label, millis: u64) -> String {
    let label_of = json!({"id": label.id.as_str(), "name": label.name});
    let payload = json!({"labelId": label.id.as_str(), "chatId": chat.as_str(), "label": label_of});
    wawp_event(session, id, millis, "label.chat.added", &payload)
}

/// Writes what Wawp and WAHA send when a session changed to a status such as `WORKING` or `SCAN_QR_CODE`.
#[must_use]
pub fn wawp_status(session: &str, id: &str, status: &str, millis: u64) -> String {
    wawp_event(session, id, millis, "session.status", &json!({"status": status}))
}

fn wawp_event(session: &str, id: &str, millis: u64, event: &str, payload: &Value) -> String {
    json!({"id": id, "timestamp": millis, "session": session, "engine": "WEBJS", "event": event, "payload": payload})
        .to_string()
}

fn digits(chat: &ChatId) -> &str {
    chat.as_str().split('@').next().unwrap_or_default()
}

fn tag<D: EagerHash>(secret: &str, body: &[u8]) -> String
where
    Hmac<D>: KeyInit + Mac,
{
    let mut digits = String::new();
    if let Ok(mut mac) = <Hmac<D> as KeyInit>::new_from_slice(secret.as_bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            // Writing into a string cannot fail.
            let _written = write!(digits, "{byte:02x}");
        }
    }
    digits
}
