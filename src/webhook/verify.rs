use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Sha256, Sha512};

use super::{Account, AddressBookEvent, Event, Provider, Reason};

/// How many visible characters a secret has at least.
const SHORTEST_SECRET: usize = 6;
/// How many bytes a key of Standard Webhooks has at least.
const SHORTEST_KEY: usize = 16;

/// Tells a provider's own requests from everybody else's.
///
/// One verifier stands for one URL: it knows the provider, how its requests are signed, and the secrets. It hashes the bytes
/// as they came, so give it the raw body, before any framework has parsed it. Comparing takes the same time wherever two
/// signatures differ.
///
/// Nothing that comes with a request chooses how it is checked: a header that names an algorithm is not looked at. No clock
/// is read: providers repeat a delivery for up to seven days, so an old time stamp proves nothing. Repeats are harmless, see
/// [`DedupeKey`](super::DedupeKey) and [`SeenState`](super::SeenState).
///
/// ```
/// use wawp_contacts::webhook::Verifier;
///
/// let verifier = Verifier::waha(["my-secret-key"])?;
/// let body = br#"{"event":"message","session":"default","engine":"WEBJS"}"#;
/// let signature = "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8\
///                  097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89";
/// let verified = verifier.verify([("X-Webhook-Hmac", signature)], body)?;
/// assert_eq!(verified.parse()?.len(), 1);
///
/// let refused = verifier.verify([("X-Webhook-Hmac", signature)], b"something else");
/// assert_eq!(refused.map(drop).map_err(|error| error.status()), Err(401));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verifier {
    provider: Provider,
    scheme: Scheme,
    secrets: Box<[SecretString]>,
    limit: usize,
    /// Whom the secrets speak for; everybody, if it is empty.
    accounts: Arc<[Account]>,
}

/// How a signature is made and where it stands: an HMAC of the raw body, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacScheme {
    algorithm: Algorithm,
    header: Box<str>,
    prefix: Box<str>,
}

/// The hash under an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA256: 64 hexadecimal digits.
    Sha256,
    /// HMAC-SHA512: 128 hexadecimal digits.
    Sha512,
}

#[derive(Debug, Clone)]
enum Scheme {
    Hmac(HmacScheme),
    Header(Box<str>),
    StandardWebhooks,
}

impl HmacScheme {
    /// A signature in `header`, without a prefix.
    #[must_use]
    pub fn new(algorithm: Algorithm, header: &str) -> Self {
        Self { algorithm, header: header.into(), prefix: "".into() }
    }

    /// Sets what stands before the digits, such as `sha256=`.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// The scheme of Meta: `X-Hub-Signature-256: sha256=<HMAC-SHA256>`.
    #[must_use]
    pub fn meta() -> Self {
        Self::new(Algorithm::Sha256, "X-Hub-Signature-256").with_prefix("sha256=")
    }

    /// The scheme of ZapyAPI: `X-Webhook-Signature: sha256=<HMAC-SHA256>`.
    #[must_use]
    pub fn zapy() -> Self {
        Self::new(Algorithm::Sha256, "X-Webhook-Signature").with_prefix("sha256=")
    }

    /// The scheme of WAHA: `X-Webhook-Hmac: <HMAC-SHA512>`.
    #[must_use]
    pub fn waha() -> Self {
        Self::new(Algorithm::Sha512, "X-Webhook-Hmac")
    }

    /// The scheme of Wawp's own SDK: HMAC-SHA256 without prefix, in a header that its papers do not name.
    #[must_use]
    pub fn wawp(header: &str) -> Self {
        Self::new(Algorithm::Sha256, header)
    }
}

#[cfg(feature = "testkit")]
impl HmacScheme {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn header(&self) -> &str {
        &self.header
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Verifier {
    /// The largest body taken unless [`with_limit`](Self::with_limit) says otherwise: 3 MiB, the most that Meta sends.
    pub const DEFAULT_LIMIT: usize = 3 * 1024 * 1024;

    /// Verifies requests of Meta by the secrets of the app.
    ///
    /// # Errors
    ///
    /// Fails without a secret, or if one is too weak: see [`VerifierError::WeakSecret`].
    pub fn meta<S: Into<SecretString>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, VerifierError> {
        Self::hmac(Provider::Meta, HmacScheme::meta(), secrets)
    }

    /// Verifies requests of ZapyAPI by the secrets of the webhook.
    ///
    /// # Errors
    ///
    /// Fails without a secret, or if one is too weak: see [`VerifierError::WeakSecret`].
    pub fn zapy<S: Into<SecretString>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, VerifierError> {
        Self::hmac(Provider::Zapy, HmacScheme::zapy(), secrets)
    }

    /// Verifies requests of WAHA by the keys of `config.webhooks[].hmac`.
    ///
    /// # Errors
    ///
    /// Fails without a secret, or if one is too weak: see [`VerifierError::WeakSecret`].
    pub fn waha<S: Into<SecretString>>(secrets: impl IntoIterator<Item = S>) -> Result<Self, VerifierError> {
        Self::hmac(Provider::Wawp, HmacScheme::waha(), secrets)
    }

    /// Verifies requests of Wawp as its own SDK does; the papers do not name the header, so look at a request.
    ///
    /// # Errors
    ///
    /// Fails without a secret, if one is too weak, or if `header` is no header's name.
    pub fn wawp<S: Into<SecretString>>(
        header: &str,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        Self::hmac(Provider::Wawp, HmacScheme::wawp(header), secrets)
    }

    /// Verifies requests of Whapi.Cloud, which signs nothing, by a header that the owner of the account has set there, such as
    /// `Authorization`, with the values that are taken.
    ///
    /// # Errors
    ///
    /// Fails without a value, if one is too weak, or if `header` is no header's name.
    pub fn whapi_header<S: Into<SecretString>>(
        header: &str,
        values: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        Self::static_header(Provider::Whapi, header, values)
    }

    /// Verifies requests by a header of fixed value, as WAHA's `customHeaders` and many relays send it.
    ///
    /// Whoever learns the value can send what they like. Make it long and random, and prefer a signature where there is one.
    ///
    /// # Errors
    ///
    /// Fails without a value, if one is too weak, or if `header` is no header's name.
    pub fn static_header<S: Into<SecretString>>(
        provider: Provider,
        header: &str,
        values: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        Self::build(provider, Scheme::Header(header.into()), values)
    }

    /// Verifies requests that are signed in some other way, for instance by a relay in front of the receiver.
    ///
    /// # Errors
    ///
    /// Fails without a secret, if one is too weak, or if the scheme's header is no header's name.
    pub fn hmac<S: Into<SecretString>>(
        provider: Provider,
        scheme: HmacScheme,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        Self::build(provider, Scheme::Hmac(scheme), secrets)
    }

    /// Verifies requests that a relay signed by [Standard Webhooks](https://www.standardwebhooks.com), symmetric version 1;
    /// a secret is the text that begins with `whsec_`.
    ///
    /// The time in `webhook-timestamp` is part of what is signed, but its age is not judged.
    ///
    /// # Errors
    ///
    /// Fails without a secret, or if one is not Base64 or has fewer than 16 bytes.
    pub fn standard_webhooks<S: Into<SecretString>>(
        provider: Provider,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        let verifier = Self::build(provider, Scheme::StandardWebhooks, secrets)?;
        let is_key = |secret: &SecretString| standard_key(secret).is_some_and(|key| key.len() >= SHORTEST_KEY);
        if verifier.secrets.iter().all(is_key) { Ok(verifier) } else { Err(VerifierError::BadSecret) }
    }

    fn build<S: Into<SecretString>>(
        provider: Provider,
        scheme: Scheme,
        secrets: impl IntoIterator<Item = S>,
    ) -> Result<Self, VerifierError> {
        let secrets: Box<[SecretString]> = secrets.into_iter().map(Into::into).collect();
        if secrets.is_empty() || secrets.iter().any(is_weak) {
            return Err(VerifierError::WeakSecret);
        }
        if let Scheme::Hmac(HmacScheme { header, .. }) | Scheme::Header(header) = &scheme
            && !is_header_name(header)
        {
            return Err(VerifierError::BadHeader);
        }
        Ok(Self { provider, scheme, secrets, limit: Self::DEFAULT_LIMIT, accounts: Arc::default() })
    }

    /// Lets the secrets speak for these accounts only; for any, if it is not called.
    ///
    /// An event of another account is then [`Ignored`](super::AddressBookEvent::Ignored) with [`Reason::OtherAccount`], and one that
    /// names no account is of the one that is given, if it is one. Where several owners share a receiver, bind the verifier of each
    /// URL, or whoever has one owner's secret can tell what another one's phone shows.
    ///
    /// ```
    /// use wawp_contacts::webhook::{Account, AddressBookEvent, Reason, Verifier};
    ///
    /// let ours = Account::Session("A1B2C3".into());
    /// let verifier = Verifier::static_header(wawp_contacts::webhook::Provider::Wawp, "X-Secret", ["a long random text"])?.for_accounts([ours]);
    /// let body = br#"{"event": "session.status", "session": "SOMEBODY_ELSE", "payload": {"status": "FAILED"}}"#;
    /// let events = verifier.verify([("x-secret", "a long random text")], body)?.parse()?;
    /// assert!(matches!(events[0].what, AddressBookEvent::Ignored { reason: Reason::OtherAccount, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_accounts(self, accounts: impl IntoIterator<Item = Account>) -> Self {
        Self { accounts: accounts.into_iter().collect(), ..self }
    }

    /// Sets the largest body taken, in bytes. A larger one is refused before it is hashed.
    #[must_use]
    pub fn with_limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// The provider whose requests it takes.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Checks a request and hands its body back as one that may be parsed.
    ///
    /// `headers` are all headers of the request, as pairs of name and value: an array, a map, or, with the `http` crate,
    /// simply `&HeaderMap`. The header of the signature must stand there exactly once. `body` is anything that holds
    /// bytes; give it owned (`Bytes`, `Vec<u8>`) to pass the verified body on.
    ///
    /// # Errors
    ///
    /// [`VerifyError::status`] is the status to answer with. Nothing in the error helps to guess a signature.
    pub fn verify<N, V, B>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: B,
    ) -> Result<Verified<B>, VerifyError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
        B: AsRef<[u8]>,
    {
        if body.as_ref().len() > self.limit {
            return Err(VerifyError::TooLarge { limit: self.limit });
        }
        let mut message = None;
        match &self.scheme {
            Scheme::Hmac(scheme) => {
                let [value] = find([&scheme.header], headers)?;
                self.check_hmac(scheme, value.as_ref(), body.as_ref())?;
            }
            Scheme::Header(name) => {
                let [value] = find([name], headers)?;
                self.one_matches(|secret| is_same(secret.expose_secret().as_bytes(), value.as_ref()))?;
            }
            Scheme::StandardWebhooks => {
                let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
                let values = find(names, headers)?;
                message = Some(self.check_standard(values.each_ref().map(AsRef::as_ref), body.as_ref())?);
            }
        }
        Ok(Verified { provider: self.provider, accounts: Arc::clone(&self.accounts), message, body })
    }

    fn check_hmac(&self, scheme: &HmacScheme, value: &[u8], body: &[u8]) -> Result<(), VerifyError> {
        let digits = value.strip_prefix(scheme.prefix.as_bytes()).ok_or(VerifyError::MalformedSignature)?;
        match scheme.algorithm {
            Algorithm::Sha256 => {
                let tag: [u8; 32] = from_hex(digits)?;
                self.one_matches(|secret| is_tag::<Sha256>(secret.expose_secret().as_bytes(), &[body], &tag))
            }
            Algorithm::Sha512 => {
                let tag: [u8; 64] = from_hex(digits)?;
                self.one_matches(|secret| is_tag::<Sha512>(secret.expose_secret().as_bytes(), &[body], &tag))
            }
        }
    }

    fn check_standard(
        &self,
        [id, timestamp, signatures]: [&[u8]; 3],
        body: &[u8],
    ) -> Result<SignedMessage, VerifyError> {
        // What is signed is joined by dots, so a dot within the first two would let another body pass under the same signature.
        let id = str::from_utf8(id).ok().filter(|id| !id.is_empty() && !id.contains('.'));
        let sent = str::from_utf8(timestamp).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let (Some(id), Some(sent)) = (id, sent.and_then(|text| text.parse().ok())) else {
            return Err(VerifyError::MalformedSignature);
        };
        // The sender lists one signature for each secret of its own rotation; no real list is longer than this.
        let tags: Vec<[u8; 32]> = signatures
            .split(|byte| *byte == b' ')
            .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix(b"v1,")?).ok()?.try_into().ok())
            .take(8)
            .collect();
        if tags.is_empty() {
            return Err(VerifyError::MalformedSignature);
        }
        self.one_matches(|secret| {
            let key = standard_key(secret).unwrap_or_default();
            let message: [&[u8]; 5] = [id.as_bytes(), b".", timestamp, b".", body];
            tag_of::<Sha256>(&key, &message)
                .is_some_and(|mac| tags.iter().any(|tag| mac.clone().verify_slice(tag).is_ok()))
        })?;
        Ok(SignedMessage { id: id.into(), sent })
    }

    fn one_matches(&self, matches: impl Fn(&SecretString) -> bool) -> Result<(), VerifyError> {
        if self.secrets.iter().any(matches) { Ok(()) } else { Err(VerifyError::Mismatch) }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("provider", &self.provider)
            .field("scheme", &self.scheme)
            .field("secrets", &self.secrets.len())
            .field("limit", &self.limit)
            .field("accounts", &self.accounts)
            .finish()
    }
}

/// What a relay says of a message by [Standard Webhooks](https://www.standardwebhooks.com), under its signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SignedMessage {
    /// The id of the message, the same in each repetition.
    pub id: Box<str>,
    /// When it was sent, in seconds since 1970. Whoever refuses old messages compares it with a clock.
    pub sent: u64,
}

/// A body that its provider has signed. Only this can be parsed, so an unverified body cannot be by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified<B> {
    provider: Provider,
    accounts: Arc<[Account]>,
    message: Option<SignedMessage>,
    body: B,
}

impl<B: AsRef<[u8]>> Verified<B> {
    /// The provider that signed it.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The id and the time that were signed with the body; `None` where the scheme signs the body alone.
    #[must_use]
    pub fn message(&self) -> Option<&SignedMessage> {
        self.message.as_ref()
    }

    /// The body, byte for byte as it came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.as_ref()
    }

    /// The body itself, to store it.
    #[must_use]
    pub fn into_body(self) -> B {
        self.body
    }

    /// Reads what the body says, in the order in which it says it; at least one event.
    ///
    /// What is unknown or makes no sense is an [`Ignored`](super::AddressBookEvent::Ignored), never an error.
    ///
    /// # Errors
    ///
    /// Fails only if the body is not JSON.
    pub fn parse(&self) -> Result<Vec<Event>, ParseError> {
        let mut events = self.provider.parse(self.body())?;
        if !self.accounts.is_empty() {
            for event in &mut events {
                self.bind(event);
            }
        }
        Ok(events)
    }

    /// Keeps an event to the accounts that the secret speaks for.
    fn bind(&self, event: &mut Event) {
        if let (None, [only]) = (&event.account, &*self.accounts) {
            event.account = Some(only.clone());
        }
        let is_ours = event.account.as_ref().is_some_and(|account| self.accounts.contains(account));
        if !is_ours && !matches!(event.what, AddressBookEvent::Ignored { .. }) {
            let (reason, event_code) = (Reason::OtherAccount, event.what.code());
            event.what = AddressBookEvent::Ignored { reason, event: event_code.into(), count: 1 };
        }
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for Verified<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body holds names and numbers.
        write!(f, "Verified({:?}, {} bytes)", self.provider, self.body().len())
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The body is larger than the limit; it was not hashed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The header of the signature is not there.
    #[error("the header of the signature is missing")]
    MissingHeader,
    /// The header of the signature stands there more than once.
    #[error("the header of the signature is repeated")]
    RepeatedHeader,
    /// The header does not have the form of a signature.
    #[error("the signature does not have the expected form")]
    MalformedSignature,
    /// No secret fits.
    #[error("the signature does not fit the body")]
    Mismatch,
}

impl VerifyError {
    /// The HTTP status to answer with: 413 for a body that is too large, else 401.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            _ => 401,
        }
    }
}

/// Why a verifier cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierError {
    /// There is no secret, or one has fewer than 6 characters that can be seen: a blank one is as good as none, and a NUL is one.
    #[error("a secret is missing or has fewer than 6 visible characters; give at least one, long and random")]
    WeakSecret,
    /// A secret is not written as its scheme asks.
    #[error("a secret is not Base64 after `whsec_`, or stands for fewer than 16 bytes")]
    BadSecret,
    /// The header's name cannot be one.
    #[error("the header's name is empty or has characters that no header's name has")]
    BadHeader,
}

/// A verified body is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON")]
#[non_exhaustive]
pub struct ParseError;

impl ParseError {
    /// The HTTP status to answer with: 400.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }
}

/// Finds headers by name, each exactly once.
fn find<const K: usize, N: AsRef<str>, V>(
    names: [&str; K],
    headers: impl IntoIterator<Item = (N, V)>,
) -> Result<[V; K], VerifyError> {
    let mut found = [const { None }; K];
    for (name, value) in headers {
        if let Some(at) = names.iter().position(|wanted| wanted.eq_ignore_ascii_case(name.as_ref()))
            && found[at].replace(value).is_some()
        {
            return Err(VerifyError::RepeatedHeader);
        }
    }
    let found: Vec<V> = found.into_iter().flatten().collect();
    found.try_into().map_err(|_| VerifyError::MissingHeader)
}

fn is_tag<D: EagerHash>(key: &[u8], message: &[&[u8]], tag: &[u8]) -> bool
where
    Hmac<D>: KeyInit + Mac,
{
    tag_of::<D>(key, message).is_some_and(|mac| mac.verify_slice(tag).is_ok())
}

/// The hash of a message under a key, ready to be compared.
fn tag_of<D: EagerHash>(key: &[u8], message: &[&[u8]]) -> Option<Hmac<D>>
where
    Hmac<D>: KeyInit + Mac,
{
    let mut mac = <Hmac<D> as KeyInit>::new_from_slice(key).ok()?;
    for part in message {
        mac.update(part);
    }
    Some(mac)
}

/// Whether everybody could guess the secret: NULs, blanks and characters without a width do not count.
fn is_weak(secret: &SecretString) -> bool {
    let is_seen = |char: &char| char.is_alphanumeric() || char.is_ascii_punctuation();
    secret.expose_secret().chars().filter(is_seen).count() < SHORTEST_SECRET
}

/// Compares in a time that depends on the length of `given` alone: as tags under a key, which differ if the texts do.
pub(super) fn is_same(secret: &[u8], given: &[u8]) -> bool {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    let tag = mac.clone().chain_update(secret).finalize();
    mac.chain_update(given).verify(&tag.into_bytes()).is_ok()
}

fn from_hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], VerifyError> {
    if digits.len() != 2 * N {
        return Err(VerifyError::MalformedSignature);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Ok(bytes)
}

fn hex_digit(digit: u8) -> Result<u8, VerifyError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(VerifyError::MalformedSignature),
    }
}

fn standard_key(secret: &SecretString) -> Option<Vec<u8>> {
    let secret = secret.expose_secret();
    BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
