use proptest::prelude::*;

use super::*;

fn read(text: &[u8]) -> Vec<Result<CrmContact, Refusal>> {
    let flat = |row: Result<_, RowError>| match row {
        Ok(contact) => Ok(contact),
        Err(RowError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    };
    JsonLines::new(text).map(flat).collect()
}

fn contact(line: &str) -> CrmContact {
    read(line.as_bytes()).pop().unwrap().unwrap()
}

fn refusal(line: &str) -> Refusal {
    read(line.as_bytes()).pop().unwrap().unwrap_err()
}

#[test]
fn names_are_recognised_as_in_a_csv() {
    for line in [
        r#"{"id":"7","first_name":"Ada","last_name":"L","phone":"+447700900123","stage":"Lead","updated_at":"5"}"#,
        r#"{"Record ID":7,"First Name":"Ada","Last Name":"L","Mobile Phone Number":"+44 7700 900123","Lifecycle Stage":"Lead","version":5}"#,
        r#"{"email":["x"],"Id":7.0,"FirstName":"Ada","LastName":"\u004c","MobilePhone":447700900123,"Lead Status":"Lead","UpdatedAt":5}"#,
    ] {
        let chat = "447700900123@c.us".parse().unwrap();
        let wanted = CrmContact::new("7", chat).named("Ada", "L").in_stage("Lead").at_version(5);
        assert_eq!(contact(line), wanted, "{line}");
    }
}

#[test]
fn a_mapping_wins_over_recognition() {
    let line = r#"{"id":1,"nr":2,"name":"Ada","phone":"+447700900124","handy":"+447700900123"}"#;
    let rows = JsonLines::with_mapping(line.as_bytes(), &Mapping::new().id("Nr").phone("Handy"));
    let contact = rows.map(Result::unwrap).next().unwrap();
    assert_eq!((&*contact.id, contact.chat.as_str(), &*contact.first), ("2", "447700900123@c.us", "Ada"));
}

#[test]
fn the_better_name_wins_then_the_first() {
    for keys in [r#""Lead Status":"Open","Lifecycle Stage":"Lead""#, r#""Lifecycle Stage":"Lead","Lead Status":"Open""#]
    {
        let contact = contact(&format!(r#"{{"id":1,"phone":"+447700900123",{keys},"Lifecycle Stage":"Other"}}"#));
        assert_eq!(contact.stage.as_deref(), Some("Lead"), "{keys}");
    }
}

#[test]
fn one_key_can_be_mapped_twice() {
    let rows = JsonLines::with_mapping(
        &br#"{"phone":"447700900123","name":"Ada"}"#[..],
        &Mapping::new().id("phone").phone("phone"),
    );
    assert_eq!(rows.map(|row| row.unwrap().id).collect::<Vec<_>>(), ["447700900123"]);
}

#[test]
fn a_bad_line_is_refused_with_its_number_and_the_rest_flows() {
    let good = r#"{"id":1,"name":"Ada","phone":"+447700900123"}"#;
    let text = format!("\u{feff}{good}\r\n\n{{\"id\":2,\n[1]\n  \n\"text\"\n{good} {good}\n{good}");
    let rows = read(text.as_bytes());
    let lines: Vec<_> =
        rows.iter().map(|row| row.as_ref().err().map(|refusal| (refusal.line, refusal.reason))).collect();
    let malformed = |line| Some((Some(line), RefusalReason::Malformed));
    assert_eq!(lines, [None, malformed(3), malformed(4), malformed(6), malformed(7), None]);
}

#[test]
fn a_detail_says_where_the_mistake_is_and_quotes_nothing() {
    assert_eq!(
        refusal(r#"{"id":1,"name":"Ada"#).detail,
        "the line is no JSON object: it ends too early at character 19"
    );
    assert_eq!(refusal(r#"{"id":1,"name":Ada}"#).detail, "the line is no JSON object: a mistake at character 16");
    assert_eq!(refusal("{\"id\":\"\u{7}\"}").reason, RefusalReason::Malformed);
    assert_eq!(read(b"{\"id\":\"\xff\"}")[0].as_ref().unwrap_err().reason, RefusalReason::Malformed);
}

#[test]
fn a_value_that_is_no_text_is_refused_only_where_it_matters() {
    for value in ["true", "[]", "{\"a\":1}", "1.5", "1e300", "12345678901234567890123"] {
        let refused = refusal(&format!(r#"{{"id":1,"name":"Ada","phone":{value}}}"#));
        assert_eq!(refused.reason, RefusalReason::Malformed, "{value}");
        contact(&format!(r#"{{"id":1,"name":"Ada","phone":"+447700900123","extra":{value}}}"#));
    }
    assert_eq!(refusal(r#"{"id":1,"phone":null}"#).reason, RefusalReason::NoPhone);
    assert_eq!(refusal(r#"{"id":null,"phone":"+447700900123"}"#).reason, RefusalReason::NoId);
}

#[test]
fn an_endless_line_is_refused_in_bounded_memory() {
    let good = r#"{"id":1,"name":"Ada","phone":"+447700900123"}"#;
    let text = format!("{good}\n{}\n{good}\n{}", "x".repeat(5 << 20), "y".repeat(2 << 20));
    let mut rows = JsonLines::new(text.as_bytes());
    let refused =
        |row| matches!(row, Some(Err(RowError::Refused(refusal))) if refusal.reason == RefusalReason::Malformed);
    assert!(rows.next().unwrap().is_ok());
    assert!(refused(rows.next()));
    assert!(rows.bytes.capacity() < 4 << 20);
    assert!(rows.next().unwrap().is_ok());
    assert!(refused(rows.next()));
    assert!(rows.next().is_none());
}

#[test]
fn a_json_array_is_refused_as_a_whole() {
    let row = r#"{"id":1,"name":"Ada","phone":"+447700900123"}"#;
    for text in [format!("[{row}]"), format!("\u{feff}\n [\n{row},\n{row}\n]\n"), "[\n".into()] {
        let mut rows = JsonLines::new(text.as_bytes());
        let first = rows.next();
        let Some(Err(RowError::Source(error))) = first else { panic!("{first:?}") };
        assert_eq!(error.to_string(), "a JSON array; write one object per line");
        assert!(rows.next().is_none());
    }
}

#[test]
fn utf16_ends_the_source() {
    let mut rows = JsonLines::new(&b"\xff\xfe{\0}\0\n\0{\0}\0"[..]);
    assert!(
        matches!(rows.next(), Some(Err(RowError::Source(error))) if error.to_string().contains("save it as UTF-8"))
    );
    assert!(rows.next().is_none());
}

#[test]
fn a_chat_id_is_believed_before_a_phone() {
    let line = r#"{"id":1,"name":"Ada","chat_id":"447700900123@c.us","phone":"+447700900124"}"#;
    assert_eq!(contact(line).chat.as_str(), "447700900123@c.us");
    let group = r#"{"id":1,"name":"Ada","chat_id":"123-456@g.us","phone":"+447700900124"}"#;
    assert_eq!(refusal(group).reason, RefusalReason::BadPhone);
}

#[test]
fn the_first_phone_that_is_one_is_taken() {
    let of = |whatsapp: &str, mobile: &str, phone: &str| {
        let line = format!(r#"{{"id":1,"name":"A","whatsapp":"{whatsapp}","mobile":"{mobile}","phone":"{phone}"}}"#);
        read(line.as_bytes()).pop().unwrap().map(|contact| contact.chat.as_str()[9..12].to_owned())
    };
    assert_eq!(of("+447700900123", "+447700900124", "+447700900125").unwrap(), "123");
    assert_eq!(of(" ", "+447700900124", "+447700900125").unwrap(), "124");
    assert_eq!(of("", "n/a", "+447700900125").unwrap(), "125");
    assert_eq!(of("", "n/a", "-").unwrap_err().reason, RefusalReason::BadPhone);
    assert!(of("", "n/a", "-").unwrap_err().detail.starts_with("the mobile cannot be used: "));
    assert_eq!(of("", " ", "").unwrap_err().reason, RefusalReason::NoPhone);
}

#[test]
fn a_whole_name_is_not_taken_apart_and_steps_in_only_for_blank_ones() {
    let of = |first: &str, last: &str| {
        let line =
            format!(r#"{{"id":1,"phone":"+447700900123","first":"{first}","last":"{last}","full name":"Ada King"}}"#);
        let contact = contact(&line);
        (contact.first, contact.last)
    };
    assert_eq!(of(" ", ""), ("Ada King".into(), String::new()));
    assert_eq!(of("", "King"), (String::new(), "King".into()));
    assert_eq!(contact(r#"{"id":1,"phone":"+447700900123"}"#).first, "");
}

#[cfg(feature = "phone")]
#[test]
fn a_country_is_the_region_and_the_mapping_steps_in_where_there_is_none() {
    let of = |country: &str, phone: &str| {
        let line = format!(r#"{{"id":1,"name":"A","country":"{country}","phone":"{phone}"}}"#);
        let mapping = Mapping::new().region("GB".parse().unwrap());
        match JsonLines::with_mapping(line.as_bytes(), &mapping).next().unwrap() {
            Ok(contact) => contact.chat.as_str().trim_end_matches("@c.us").to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(of("Japan", "090-1234-5678"), "819012345678");
    assert_eq!(of("", "07700 900123"), "447700900123");
    assert_eq!(of("Atlantis", "+44 7700 900123"), "447700900123");
    assert_eq!(of("Japan", "447700900123@c.us"), "447700900123");
    assert_eq!(
        of("Atlantis", "07700 900123"),
        "line 1: row 1: the phone cannot be used: the country is not known; write the phone with + and the country code"
    );
}

#[test]
fn a_date_that_can_be_read_in_two_ways_gives_no_version() {
    let of = |date: &str| contact(&format!(r#"{{"id":1,"phone":"+447700900123","updated_at":"{date}"}}"#)).version;
    assert_eq!(of("2026-01-01 00:00"), Some(1_767_225_600_000));
    assert_eq!(of("01/02/2026"), None);
    assert_eq!(of(""), None);
}

proptest! {
    #[test]
    fn any_bytes_give_a_contact_or_a_refusal_for_each_line(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assume!(!bytes.starts_with(b"\xff\xfe") && !bytes.starts_with(b"\xfe\xff") && !bytes.starts_with(b"\xef\xbb\xbf"));
        prop_assume!(!bytes.trim_ascii_start().starts_with(b"["));
        let wanted = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        prop_assert_eq!(read(&bytes).len(), wanted);
    }

    #[test]
    fn any_names_come_back_as_they_were(first in "\\PC*", last in any::<String>()) {
        let line = serde_json::json!({"id": 1, "phone": "+447700900123", "first": first, "last": last, "name": ""}).to_string();
        let contact = contact(&line);
        if !first.trim().is_empty() || !last.trim().is_empty() {
            prop_assert_eq!((contact.first, contact.last), (first, last));
        }
    }
}
