use super::*;

const T: Timestamp = Timestamp(1_000);

fn wish(name: &str) -> Wish {
    Wish::plain(ContactName::new(name, "").unwrap())
}

fn record(sent: Option<(&str, u64)>, seen: Option<(Option<&str>, u64)>) -> Record {
    let mut record = Record::new("12025550142@c.us".parse().unwrap());
    record.pushed.sent = sent.map(|(name, at)| Sent { wish: wish(name), run: 1, at: Timestamp(at), verified_at: None });
    record.seen = seen.map(|(name, at)| Seen::new(name.map(Into::into), Timestamp(at)));
    record
}

#[test]
fn the_newer_of_sent_and_seen_is_shown() {
    for (record, shown, is_known) in [
        (record(None, None), None, false),
        (record(Some(("Ann", 5)), None), Some("Ann"), true),
        (record(None, Some((Some("Mum"), 5))), Some("Mum"), true),
        (record(None, Some((None, 5))), None, false),
        (record(Some(("Ann", 5)), Some((Some("Mum"), 4))), Some("Ann"), true),
        (record(Some(("Ann", 5)), Some((Some("Mum"), 5))), Some("Ann"), true),
        (record(Some(("Ann", 5)), Some((Some("Mum"), 6))), Some("Mum"), true),
        (record(Some(("Ann", 5)), Some((None, 6))), None, true),
    ] {
        assert_eq!(record.shown(), shown, "{record:?}");
        assert_eq!(record.is_known(), is_known, "{record:?}");
        for name in ["Ann", "Mum", "Bob"] {
            assert_eq!(record.shows(&wish(name).name), shown == Some(name), "{name} {record:?}");
        }
    }
}

#[test]
fn a_status_a_hold_a_park_and_a_cause_keep_their_words_in_a_ledger() {
    for (status, word, json) in [
        (Status::InSync, "in_sync", r#"{"state":"in_sync"}"#),
        (Status::Due { at: T }, "due", r#"{"state":"due","at":1000}"#),
        (
            Status::Held { reason: Hold::NoPhone, since: T },
            "held",
            r#"{"state":"held","reason":"no_phone","since":1000}"#,
        ),
        (Status::Parked { reason: Park::Refused }, "parked", r#"{"state":"parked","reason":"refused"}"#),
        (Status::Parked { reason: Park::Competing }, "parked", r#"{"state":"parked","reason":"competing"}"#),
        (Status::Parked { reason: Park::Drifted }, "parked", r#"{"state":"parked","reason":"drifted"}"#),
        (Status::Parked { reason: Park::Contested }, "parked", r#"{"state":"parked","reason":"contested"}"#),
        (Status::Parked { reason: Park::Unkept }, "parked", r#"{"state":"parked","reason":"unkept"}"#),
        (
            Status::Held { reason: Hold::ByHand, since: T },
            "held",
            r#"{"state":"held","reason":"by_hand","since":1000}"#,
        ),
    ] {
        assert_eq!(status.as_str(), word);
        assert_eq!(serde_json::to_string(&status).unwrap(), json);
        assert_eq!(status.due_at(), (word == "due").then_some(T));
    }
    for (cause, word) in [(Cause::New, "new"), (Cause::Name, "name"), (Cause::Stage, "stage"), (Cause::Rules, "rules")]
    {
        assert_eq!(cause.as_str(), word);
        assert_eq!(serde_json::to_string(&cause).unwrap(), format!("{word:?}"));
    }
}

#[test]
fn a_record_of_which_little_is_known_is_short() {
    let json = serde_json::to_string(&record(None, None)).unwrap();
    assert_eq!(json, r#"{"chat":"12025550142@c.us","pushed":{},"status":{"state":"in_sync"},"revision":0}"#);
}

#[test]
fn a_person_answers_to_its_chat_and_its_aliases_only() {
    let lid: ChatId = "123456789012345@lid".parse().unwrap();
    let mut record = record(None, None);
    assert!(record.answers_to(&record.chat) && !record.answers_to(&lid));
    record.aliases.push(lid.clone());
    assert!(record.answers_to(&lid));
}

#[test]
fn a_contact_is_wanted_by_its_only_row() {
    let mut record = record(None, None);
    assert_eq!((record.wanted(), record.sole_claim()), (None, None));
    let claim = |id: &str, wish| Claim::new(id, None, RowDigest::default(), wish);
    record.claims = vec![claim("a", Some(wish("Ann")))];
    assert_eq!(record.wanted(), Some(&wish("Ann")));
    assert_eq!(record.claim("a"), record.sole_claim());
    record.claims.push(claim("b", None));
    assert_eq!((record.wanted(), record.sole_claim()), (None, None));
    assert_eq!(record.claim("b").map(|claim| &*claim.crm_id), Some("b"));
    assert_eq!(record.claim("c"), None);
}

#[test]
fn a_rendered_name_keeps_what_it_was_made_of() {
    let naming = crate::naming::Naming::new("Lead".parse().unwrap());
    let wish = Wish::rendered(naming.render("Ann", "", Some("Lead")).unwrap(), 7);
    assert_eq!((wish.name.full(), wish.base.full(), wish.rules), ("Ann [Lead]", "Ann", 7));
    assert_eq!(wish.tag.as_deref(), Some("Lead"));
}
