use std::fs;

use proptest::prelude::*;
use serde_json::Value;
use wawp_contacts::webhook::{Algorithm, HmacScheme, Provider, Verifier, VerifierError, VerifyError};

use super::fixtures;

/// A request that was signed by somebody else, taken from `vectors.json`.
struct Vector {
    name: String,
    verifier: Verifier,
    headers: Vec<(String, String)>,
    /// Which of the headers is the signature.
    signature: usize,
    body: Vec<u8>,
}

impl Vector {
    fn verify(&self, headers: &[(String, String)], body: &[u8]) -> Result<(), VerifyError> {
        let headers = headers.iter().map(|(name, value)| (name, value));
        self.verifier.verify(headers, body).map(drop)
    }
}

fn vectors_json() -> Value {
    serde_json::from_str(&fs::read_to_string(fixtures().join("vectors.json")).unwrap()).unwrap()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

/// All vectors, but those that must be refused.
fn vectors() -> Vec<Vector> {
    let json = vectors_json();
    let vectors = json.as_object().unwrap().iter().filter(|(_, vector)| vector.get("expect").is_none());
    vectors.map(|(name, vector)| load(name, vector)).collect()
}

fn load(name: &str, vector: &Value) -> Vector {
    let body = text(vector, "body_utf8").into_bytes();
    if name.starts_with("standard_webhooks") {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers = names.map(|name| (name.to_owned(), text(vector, name))).to_vec();
        let verifier = Verifier::standard_webhooks(Provider::Wawp, [text(vector, "secret")]).unwrap();
        return Vector { name: name.into(), verifier, headers, signature: 2, body };
    }
    let key = text(vector, "key_utf8");
    let (verifier, header) = match name.split('_').next().unwrap() {
        "meta" => (Verifier::meta([key]), text(vector, "header")),
        "zapy" => (Verifier::zapy([key]), text(vector, "header")),
        "waha" => (Verifier::waha([key]), text(vector, "header")),
        "wawp" => (Verifier::wawp("X-Wawp-Signature", [key]), "X-Wawp-Signature".to_owned()),
        other => panic!("no verifier for the vector {other}"),
    };
    let headers = vec![(header, text(vector, "value"))];
    Vector { name: name.into(), verifier: verifier.unwrap(), headers, signature: 0, body }
}

#[test]
fn every_vector_is_accepted() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        assert_eq!(vector.verify(&vector.headers, &vector.body), Ok(()), "{}", vector.name);
    }
}

#[test]
fn a_body_that_was_written_anew_is_refused() {
    let json = vectors_json();
    let refused = &json["meta_sha256_reserialised_body_must_fail"];
    assert_eq!(refused["expect"], "reject");
    let vector = load("meta", refused);
    assert_eq!(vector.verify(&vector.headers, &vector.body), Err(VerifyError::Mismatch));
}

#[test]
fn every_single_byte_of_the_body_counts() {
    for vector in vectors() {
        let mut body = vector.body.clone();
        for at in 0..body.len() {
            for bit in 0..8 {
                body[at] ^= 1 << bit;
                let verdict = vector.verify(&vector.headers, &body);
                assert_eq!(verdict, Err(VerifyError::Mismatch), "{}: bit {bit} of byte {at}", vector.name);
                body[at] ^= 1 << bit;
            }
        }
        for wrong in [&body[1..], &body[..body.len() - 1], &[&*body, b"\n"].concat(), b""] {
            assert_eq!(vector.verify(&vector.headers, wrong), Err(VerifyError::Mismatch), "{}", vector.name);
        }
    }
}

#[test]
fn every_single_byte_of_the_signature_counts() {
    for vector in vectors() {
        let original = vector.headers[vector.signature].1.clone();
        for at in 0..original.len() {
            for byte in (0..=127_u8).filter(|byte| *byte != original.as_bytes()[at]) {
                let mut changed = original.clone().into_bytes();
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                let digits = original.find('=').filter(|equals| *equals < 10).map_or(0, |equals| equals + 1);
                let is_other_case = vector.signature == 0 && at >= digits && changed.eq_ignore_ascii_case(&original);
                let mut headers = vector.headers.clone();
                headers[vector.signature].1 = changed;
                let verdict = vector.verify(&headers, &vector.body);
                assert_eq!(verdict.is_ok(), is_other_case, "{}: {byte} at {at}", vector.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_changed_at_random_is_refused(
        which in 0_usize..5,
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
        in_body in any::<bool>(),
    ) {
        let vector = vectors().swap_remove(which);
        let mut body = vector.body.clone();
        let mut signature = vector.headers[vector.signature].1.clone().into_bytes();
        let changed = if in_body { &mut body } else { &mut signature };
        let at = at.index(changed.len());
        changed[at] ^= mask;
        let is_other_case = !in_body && changed.eq_ignore_ascii_case(vector.headers[vector.signature].1.as_bytes());
        prop_assume!(!is_other_case);
        let names = vector.headers.iter().enumerate();
        let headers = names.map(|(index, (name, value))| {
            (name, if index == vector.signature { &*signature } else { value.as_bytes() })
        });
        prop_assert!(vector.verifier.verify(headers, &body).is_err());
    }
}

#[test]
fn hexadecimal_digits_may_be_upper_or_lower_case_and_a_prefix_may_not() {
    for vector in vectors().into_iter().filter(|vector| vector.signature == 0) {
        let (name, value) = &vector.headers[0];
        let upper = value
            .rsplit_once('=')
            .map_or(value.to_uppercase(), |(prefix, digits)| format!("{prefix}={}", digits.to_uppercase()));
        assert_eq!(vector.verify(&[(name.to_lowercase(), upper)], &vector.body), Ok(()), "{}", vector.name);
    }
    let meta = vectors().into_iter().find(|vector| vector.name.starts_with("meta")).unwrap();
    let (name, value) = meta.headers[0].clone();
    for wrong in [value.replace("sha256", "SHA256"), value.replace("sha256=", ""), value.replace("sha256=", "sha512=")]
    {
        assert_eq!(meta.verify(&[(name.clone(), wrong)], &meta.body), Err(VerifyError::MalformedSignature));
    }
}

#[test]
fn a_missing_a_doubled_and_a_joined_header_are_refused() {
    for vector in vectors() {
        for index in 0..vector.headers.len() {
            let mut headers = vector.headers.clone();
            let (name, value) = headers.remove(index);
            assert_eq!(vector.verify(&headers, &vector.body), Err(VerifyError::MissingHeader), "{}", vector.name);
            headers.push((name.clone(), value.clone()));
            headers.push((name.to_uppercase(), value.clone()));
            assert_eq!(vector.verify(&headers, &vector.body), Err(VerifyError::RepeatedHeader), "{}", vector.name);
        }
        let mut headers = vector.headers.clone();
        let value = &mut headers[vector.signature].1;
        *value = format!("{value},{value}");
        assert!(vector.verify(&headers, &vector.body).is_err(), "{}", vector.name);
    }
}

#[test]
fn a_header_that_names_an_algorithm_is_not_obeyed() {
    let waha = vectors().into_iter().find(|vector| vector.name.starts_with("waha")).unwrap();
    let wawp = vectors().into_iter().find(|vector| vector.name.starts_with("wawp")).unwrap();
    assert_eq!(waha.body, wawp.body);
    let chosen = ("X-Webhook-Hmac-Algorithm".to_owned(), "sha256".to_owned());
    let weaker = ("X-Webhook-Hmac".to_owned(), wawp.headers[0].1.clone());
    assert_eq!(waha.verify(&[chosen.clone(), weaker], &waha.body), Err(VerifyError::MalformedSignature));
    assert_eq!(waha.verify(&[chosen, waha.headers[0].clone()], &waha.body), Ok(()));
}

#[test]
fn any_of_several_secrets_will_do() {
    let body = b"{}";
    let request = wawp_contacts::testkit::signing::Signer::meta("old secret").sign(body);
    assert!(Verifier::meta(["new secret", "old secret"]).unwrap().verify(request.headers(), body).is_ok());
    assert!(Verifier::meta(["old secret", "new secret"]).unwrap().verify(request.headers(), body).is_ok());
    assert!(Verifier::meta(["new secret", "newer secret"]).unwrap().verify(request.headers(), body).is_err());
}

#[test]
fn a_static_header_is_compared_whole() {
    let verifier = Verifier::whapi_header("Authorization", ["Bearer one", "Bearer two"]).unwrap();
    let verify = |value: &str| verifier.verify([("authorization", value)], b"{}").map(drop);
    assert_eq!(verify("Bearer one"), Ok(()));
    assert_eq!(verify("Bearer two"), Ok(()));
    for wrong in ["", "Bearer", "Bearer one ", "bearer one", "Bearer one\0", "Bearer oneBearer two"] {
        assert_eq!(verify(wrong), Err(VerifyError::Mismatch), "{wrong:?}");
    }
}

#[test]
fn a_standard_webhook_may_carry_several_signatures() {
    let vector = vectors().into_iter().find(|vector| vector.signature == 2).unwrap();
    let mut headers = vector.headers.clone();
    let right = headers[2].1.clone();
    for (value, verdict) in [
        (format!("v1,AAAA v1a,x {right}"), Ok(())),
        ("v1,AAAA".to_owned(), Err(VerifyError::MalformedSignature)),
        (format!("v1,{}=", "A".repeat(43)), Err(VerifyError::Mismatch)),
        (right.replace("v1,", "v2,"), Err(VerifyError::MalformedSignature)),
    ] {
        headers[2].1 = value;
        assert_eq!(vector.verify(&headers, &vector.body), verdict);
    }
    headers[2].1 = right;
    headers[1].1.push('0');
    assert_eq!(vector.verify(&headers, &vector.body), Err(VerifyError::Mismatch), "the time is signed");
}

#[test]
fn a_large_body_is_refused_before_it_is_looked_at() {
    let verifier = Verifier::meta(["secret"]).unwrap();
    let none: [(&str, &str); 0] = [];
    let at_limit = vec![b' '; Verifier::DEFAULT_LIMIT];
    let above = vec![b' '; Verifier::DEFAULT_LIMIT + 1];
    assert_eq!(verifier.verify(none, &at_limit).map(drop), Err(VerifyError::MissingHeader));
    assert_eq!(verifier.verify(none, &above).map(drop), Err(VerifyError::TooLarge { limit: Verifier::DEFAULT_LIMIT }));
    assert_eq!(verifier.with_limit(1).verify(none, b"{}").map(drop), Err(VerifyError::TooLarge { limit: 1 }));
}

#[test]
fn a_verifier_without_a_proper_secret_cannot_be_built() {
    let none: [&str; 0] = [];
    assert_eq!(Verifier::meta(none).map(drop), Err(VerifierError::WeakSecret));
    for blank in ["", " ", "\n", "\0\0\0\0\0\0\0\0", "\u{200B}\u{200B}\u{200B}\u{200B}\u{200B}\u{200B}", "five5"] {
        assert_eq!(Verifier::meta([blank]).map(drop), Err(VerifierError::WeakSecret));
        assert_eq!(Verifier::zapy(["good secret", blank]).map(drop), Err(VerifierError::WeakSecret));
        assert_eq!(Verifier::waha([blank]).map(drop), Err(VerifierError::WeakSecret));
        assert_eq!(Verifier::wawp("X-H", [blank]).map(drop), Err(VerifierError::WeakSecret));
        assert_eq!(Verifier::whapi_header("X-H", [blank]).map(drop), Err(VerifierError::WeakSecret));
    }
    for secret in ["whsec_", "whsec_!", "whsec_AA==", "not base64"] {
        let verifier = Verifier::standard_webhooks(Provider::Meta, [secret]);
        assert_eq!(verifier.map(drop), Err(VerifierError::BadSecret), "{secret}");
    }
    for header in ["", "X H", "X:H", "Ü"] {
        assert_eq!(Verifier::wawp(header, ["secret"]).map(drop), Err(VerifierError::BadHeader), "{header}");
        let scheme = HmacScheme::new(Algorithm::Sha512, header);
        assert_eq!(Verifier::hmac(Provider::Wawp, scheme, ["secret"]).map(drop), Err(VerifierError::BadHeader));
    }
}

/// What is signed is `id.timestamp.body`; another split of it is another message under the same signature.
#[test]
fn a_standard_webhook_cannot_be_split_otherwise() {
    let vector = vectors().into_iter().find(|vector| vector.signature == 2).unwrap();
    let [(_, id), (_, time), signature] = <[_; 3]>::try_from(vector.headers.clone()).unwrap();
    let body = str::from_utf8(&vector.body).unwrap();
    let split = |id: &str, time: &str| {
        vec![
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), time.to_owned()),
            signature.clone(),
        ]
    };
    let (head, tail) = body.split_once('.').unwrap_or((body, ""));
    for (headers, body) in [
        (split(&format!("{id}.{time}"), head), tail.to_owned()),
        (split("", &format!("{id}.{time}")), body.to_owned()),
        (split(&id, &format!("{time}.{head}")), tail.to_owned()),
    ] {
        assert_eq!(vector.verify(&headers, body.as_bytes()), Err(VerifyError::MalformedSignature));
    }
    let headers = vector.headers.iter().map(|(name, value)| (name, value));
    let verified = vector.verifier.verify(headers, &vector.body).unwrap();
    let message = verified.message().unwrap();
    assert_eq!(
        (&*message.id, message.sent.to_string()),
        (&*id, time),
        "for whoever refuses what is old or comes again"
    );
}

#[test]
fn each_refusal_has_its_status() {
    assert_eq!(VerifyError::TooLarge { limit: 1 }.status(), 413);
    for error in [
        VerifyError::MissingHeader,
        VerifyError::RepeatedHeader,
        VerifyError::MalformedSignature,
        VerifyError::Mismatch,
    ] {
        assert_eq!(error.status(), 401);
    }
}

#[test]
fn secrets_and_bodies_keep_out_of_debug() {
    let verifier = Verifier::whapi_header("X-Secret", ["hunter2"]).unwrap();
    let body = verifier.verify([("x-secret", "hunter2")], br#"{"name": "Alex"}"#).unwrap();
    let shown = format!("{verifier:?} {body:?} {:?}", wawp_contacts::testkit::signing::Signer::meta("hunter2"));
    assert!(!shown.contains("hunter2") && !shown.contains("Alex"), "{shown}");
}
