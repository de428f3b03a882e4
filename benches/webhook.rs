//! What a webhook costs on one core: verify, parse, normalise; against plain `serde_json` of the same body in the same run.
//!
//! `cargo bench --bench webhook` prints a table and takes some ten seconds.

#![expect(clippy::print_stdout, reason = "a bench is there to print its figures")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wawp_contacts::{
    ChatId,
    testkit::signing::{self, SignedRequest, Signer},
    webhook::{Label, Verifier},
};

const KIB: usize = 1024;
const BATCH: u32 = 1000;

struct Case {
    name: &'static str,
    verifier: Verifier,
    request: SignedRequest,
    /// How many items the body has: one event each.
    items: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<28} {:>8} {:>12} {:>10} {:>12} {:>8}", "one core", "bytes", "items/s", "us/item", "Value us", "ratio");
    for case in cases()? {
        report(&case)?;
    }
    Ok(())
}

fn cases() -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let chat: ChatId = "12025550142".parse()?;
    let lid: ChatId = "100000000000001@lid".parse()?;
    let label = Label::new("6".into(), Some("Customer"));
    let zapy = signing::zapy_contact("i", "c", &[&chat, &lid], Some("Alex Example"), "2026-01-01T00:00:00.000Z");
    let chats: Vec<ChatId> = (0..BATCH).map(|at| format!("1202555{at:04}").parse()).collect::<Result<_, _>>()?;
    let names: Vec<String> = (0..BATCH).map(|at| format!("Alex Example {at}")).collect();
    let contacts: Vec<_> = chats.iter().zip(&names).map(|(chat, name)| (chat, Some(&**name), 1_767_225_600)).collect();
    let one = |name, verifier, signer: Signer, body: String| -> Result<Case, Box<dyn std::error::Error>> {
        Ok(Case { name, verifier, request: signer.sign(padded(&body)?), items: 1 })
    };
    Ok(vec![
        one(
            "Whapi, static header",
            Verifier::whapi_header("X-Secret", ["secret"])?,
            Signer::whapi_header("X-Secret", "secret"),
            signing::whapi_contact("EXAMPL-AB12C", &chat, "Alex Example"),
        )?,
        one("Zapy, HMAC-SHA256", Verifier::zapy(["secret"])?, Signer::zapy("secret"), zapy)?,
        one(
            "Meta, HMAC-SHA256",
            Verifier::meta(["secret"])?,
            Signer::meta("secret"),
            signing::meta_state_sync("7", &contacts[..1]),
        )?,
        one(
            "Wawp, HMAC-SHA256",
            Verifier::wawp("X-Sign", ["secret"])?,
            Signer::wawp("X-Sign", "secret"),
            signing::wawp_label_added("i", "evt_1", &chat, &label, 1_767_225_600_000),
        )?,
        one(
            "WAHA, HMAC-SHA512",
            Verifier::waha(["secret"])?,
            Signer::waha("secret"),
            signing::wawp_message("i", "evt_1", &chat, "alex", 1_767_225_600_000),
        )?,
        Case {
            name: "Meta, 1,000 items",
            verifier: Verifier::meta(["secret"])?,
            request: Signer::meta("secret").sign(signing::meta_state_sync("7", &contacts)),
            items: BATCH,
        },
    ])
}

/// Fills a body up to 1 KiB with what a provider might add one day.
fn padded(body: &str) -> Result<String, serde_json::Error> {
    let mut body: Value = serde_json::from_str(body)?;
    for at in 0.. {
        let missing = KIB.saturating_sub(body.to_string().len());
        if missing < 64 {
            body["padding"] = json!("x".repeat(missing.saturating_sub(13)));
            break;
        }
        body[format!("unknown_{at}")] = json!({"id": at, "flags": [true, null], "text": "hello"});
    }
    Ok(body.to_string())
}

fn report(case: &Case) -> Result<(), Box<dyn std::error::Error>> {
    let (headers, body): (Vec<_>, _) = (case.request.headers().collect(), case.request.body());
    let events = case.verifier.verify(headers.iter().copied(), body)?.parse()?;
    assert!(u32::try_from(events.len())? >= case.items, "{}: {} events", case.name, events.len());
    let ours = time(|| {
        let verified = case.verifier.verify(black_box(&headers).iter().copied(), black_box(body));
        black_box(verified.map(|verified| verified.parse())).is_ok()
    });
    let plain = time(|| black_box(serde_json::from_slice::<Value>(black_box(body))).is_ok());
    let per_item = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(case.items);
    println!(
        "{:<28} {:>8} {:>12.0} {:>10.2} {:>12.2} {:>8.2}",
        case.name,
        body.len(),
        1e6 / per_item(ours),
        per_item(ours),
        per_item(plain),
        ours.as_secs_f64() / plain.as_secs_f64(),
    );
    Ok(())
}

/// The time of one call in the quickest of many short rounds: the one in which nobody else had the core.
fn time(mut call: impl FnMut() -> bool) -> Duration {
    (0..100).map(|_| round(&mut call)).min().unwrap_or_default()
}

fn round(call: &mut impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < Duration::from_millis(10) {
        assert!(call());
        calls += 1;
    }
    start.elapsed() / calls
}
