use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::verify::is_same;

/// The longest query of a handshake that is read, in bytes.
const MAX_QUERY: usize = 4096;
/// The longest challenge that is answered, in bytes.
const MAX_CHALLENGE: usize = 256;

/// Answers the question by which Meta checks a URL: `GET ?hub.mode=subscribe&hub.verify_token=..&hub.challenge=..`.
///
/// `query` is what follows the question mark, `token` the one that was entered at Meta. Answer with status 200, the returned
/// challenge as the body, and the content type `text/plain`.
///
/// ```
/// use wawp_contacts::webhook::meta_challenge;
///
/// let query = "hub.mode=subscribe&hub.verify_token=our-token&hub.challenge=1158201444";
/// assert_eq!(meta_challenge(query, &"our-token".into())?, "1158201444");
/// assert_eq!(meta_challenge(query, &"another".into()).map_err(|error| error.status()), Err(403));
/// # Ok::<(), wawp_contacts::webhook::HandshakeError>(())
/// ```
///
/// # Errors
///
/// Fails if the token is another or ours is blank, or if the query is no such question.
pub fn meta_challenge(query: &str, token: &SecretString) -> Result<String, HandshakeError> {
    let question = Question::read(query)?;
    let ours = token.expose_secret();
    let given = question.token.unwrap_or_default();
    if ours.trim().is_empty() || !is_same(ours.as_bytes(), given.as_bytes()) {
        return Err(HandshakeError::Token);
    }
    Ok(question.challenge)
}

/// Answers the question by which ZapyAPI checks a URL: `GET ?hub.mode=subscribe&hub.challenge=..&hub.verify_token=..`.
///
/// The token is random and theirs, so there is nothing to compare it with. Answer with status 200, the returned challenge as
/// the body, and the content type `text/plain`.
///
/// # Errors
///
/// Fails if the query is no such question.
pub fn zapy_challenge(query: &str) -> Result<String, HandshakeError> {
    Ok(Question::read(query)?.challenge)
}

/// Why a handshake was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The query is too long, repeats a part, or does not ask to subscribe.
    #[error("the query is no handshake")]
    Malformed,
    /// The challenge is missing, longer than 256 bytes, or has other characters than letters, digits, `-`, `_` and `.` of ASCII.
    #[error("the challenge cannot be answered")]
    Challenge,
    /// The token is not ours.
    #[error("the token is not ours")]
    Token,
}

impl HandshakeError {
    /// The HTTP status to answer with: 403.
    #[must_use]
    pub fn status(&self) -> u16 {
        403
    }
}

struct Question {
    token: Option<String>,
    challenge: String,
}

impl Question {
    fn read(query: &str) -> Result<Self, HandshakeError> {
        if query.len() > MAX_QUERY {
            return Err(HandshakeError::Malformed);
        }
        let (mut mode, mut token, mut challenge) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let part = match &*key {
                "hub.mode" => &mut mode,
                "hub.verify_token" => &mut token,
                "hub.challenge" => &mut challenge,
                _ => continue,
            };
            if part.replace(value.into_owned()).is_some() {
                return Err(HandshakeError::Malformed);
            }
        }
        if mode.as_deref() != Some("subscribe") {
            return Err(HandshakeError::Malformed);
        }
        let challenge = challenge.filter(|text| is_answerable(text)).ok_or(HandshakeError::Challenge)?;
        Ok(Self { token, challenge })
    }
}

/// Whether a text can be sent back to whoever asks: short, and nothing that could pass for a page.
fn is_answerable(challenge: &str) -> bool {
    (1..=MAX_CHALLENGE).contains(&challenge.len())
        && challenge.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "hub.mode=subscribe&hub.challenge=random-challenge-1234&hub.verify_token=t%20ken";

    #[test]
    fn meta_gets_its_challenge_back_for_our_token_only() {
        assert_eq!(meta_challenge(QUERY, &"t ken".into()), Ok("random-challenge-1234".into()));
        for token in ["t%20ken", "T ken", "t ken ", "", " "] {
            assert_eq!(meta_challenge(QUERY, &token.into()), Err(HandshakeError::Token), "{token}");
        }
        let without = "hub.mode=subscribe&hub.challenge=1";
        assert_eq!(meta_challenge(without, &"t".into()), Err(HandshakeError::Token));
        assert_eq!(meta_challenge(&format!("{without}&hub.verify_token="), &"".into()), Err(HandshakeError::Token));
    }

    #[test]
    fn zapy_gets_its_challenge_back_whatever_its_token() {
        assert_eq!(zapy_challenge(QUERY), Ok("random-challenge-1234".into()));
    }

    #[test]
    fn a_query_that_is_no_handshake_is_refused() {
        for query in [
            "",
            "hub.challenge=1",
            "hub.mode=unsubscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.mode=subscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.challenge=1&hub.challenge=2",
        ] {
            assert_eq!(zapy_challenge(query), Err(HandshakeError::Malformed), "{query}");
        }
        let long = format!("{QUERY}&padding={}", "x".repeat(4096));
        assert_eq!(zapy_challenge(&long), Err(HandshakeError::Malformed));
        assert_eq!(HandshakeError::Malformed.status(), 403);
    }

    #[test]
    fn only_a_short_and_plain_challenge_is_echoed() {
        let ask = |challenge: &str| zapy_challenge(&format!("hub.mode=subscribe&hub.challenge={challenge}"));
        assert!(ask(&"1".repeat(256)).is_ok());
        for challenge in ["", "%3Cscript%3E", "a%0Ab", "a+b", "%C3%A9", &"1".repeat(257)] {
            assert_eq!(ask(challenge), Err(HandshakeError::Challenge), "{challenge}");
        }
    }
}
