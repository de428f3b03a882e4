//! CRM exports as they come: whole files, through the public doors.

use std::{collections::BTreeMap, error::Error, fs::File, io::Write as _};

use futures_util::{FutureExt as _, StreamExt as _};
use wawp_contacts::{
    ChatId,
    crm::{self, CrmContact, Csv, Feed, JsonLines, Mapping, Refusal, RefusalReason, RowError},
};

const EXPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/crm_export.csv");

fn split(rows: impl Iterator<Item = Result<CrmContact, RowError>>) -> (Vec<CrmContact>, Vec<Refusal>) {
    let (mut contacts, mut refusals) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Ok(contact) => contacts.push(contact),
            Err(RowError::Refused(refusal)) => refusals.push(refusal),
            Err(error) => panic!("{error}: {:?}", error.source()),
        }
    }
    (contacts, refusals)
}

#[test]
fn every_row_of_the_example_is_a_contact_or_a_refusal() {
    let (contacts, refusals) = split(Csv::new(File::open(EXPORT).unwrap()).unwrap());
    assert_eq!(contacts.len(), 51);
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for refusal in &refusals {
        lines.entry(refusal.reason.code()).or_default().push(refusal.line.unwrap());
    }
    let wanted = [
        ("bad_phone", vec![54, 55, 56, 57, 58, 59, 60]),
        ("malformed", vec![34, 48]),
        ("no_id", vec![61]),
        ("no_phone", vec![53]),
    ];
    assert_eq!(lines, BTreeMap::from(wanted));
}

#[test]
fn the_example_has_each_mess_that_it_is_for() {
    let (contacts, _) = split(Csv::new(File::open(EXPORT).unwrap()).unwrap());
    let of = |id: &str| contacts.iter().filter(|contact| contact.id == id).collect::<Vec<_>>();
    assert_eq!(of("7118")[0].first, "Prudence\nMae");
    assert_eq!(of("7121")[0].last, "\"Dez\" Abernathy");
    assert_eq!(of("7103")[0].first, "Zoe\u{308}");
    assert_eq!(of("7127")[0].first, "");
    assert_eq!(of("7172")[0].version, None);
    assert_eq!(of("7175")[0].stage, None, "the lifecycle stage is blank, and the lead status is another funnel");
    assert_eq!(of("7019")[0].chat.as_str(), "442079460104@c.us", "the mobile is unusable, the phone is not");
    assert_eq!(of("7016")[0].chat.as_str(), "447700900103@c.us", "the mobile is preferred");
    assert_eq!(of("7013")[0].chat.as_str(), "447700900102@c.us", "a trunk zero in brackets is not dialled from abroad");
    assert_eq!(of("7004")[0].chat, of("7163")[0].chat, "one person entered twice");
    let copies = of("7001");
    assert!(copies[0].version > copies[1].version, "the stale copy comes last");
}

#[test]
fn a_hubspot_export_is_recognised() {
    let text = "Record ID,First Name,Last Name,Email,Phone Number,Mobile Phone Number,Country/Region,Lifecycle Stage,Lead Status,Last Modified Date\n\
        900,悠真,白石,x@example.org,tel:+819055550001,,Japan,Sales Qualified Lead,,2026-01-01 00:00\n\
        907,  Łucja\u{a0},Mazurek\u{200b},x@example.org,, +48 500 555 002 ,Poland,Lead,Open,2026-02-02 01:01\n\
        914,Oriol,,x@example.org,600 00 00 03,,Spain,,,2026-03-03 02:02\n";
    let (contacts, refusals) = split(Csv::new(text.as_bytes()).unwrap());
    let wanted = [
        CrmContact::new("900", "819055550001".parse().unwrap())
            .named("悠真", "白石")
            .in_stage("Sales Qualified Lead")
            .at_version(1_767_225_600_000),
        CrmContact::new("907", "48500555002".parse().unwrap())
            .named("  Łucja\u{a0}", "Mazurek\u{200b}")
            .in_stage("Lead")
            .at_version(1_769_994_060_000),
        CrmContact::new("914", "34600000003".parse().unwrap()).named("Oriol", "").at_version(1_772_503_320_000),
    ];
    assert_eq!((contacts.as_slice(), refusals.as_slice()), (&wanted[..], &[][..]));
}

#[test]
fn a_salesforce_export_is_recognised() {
    let text = "\u{feff}\"Lead ID\";\"Salutation\";\"First Name\";\"Last Name\";\"Company\";\"Lead Status\";\"Phone\";\"Mobile\";\"Country\";\"Last Modified Date\"\r\n\
        \"00Q1\";\"Ms.\";\"ענבר\";\"שדה 🌸\";\"Acme; Ltd\";\"Open - Not Contacted\";\"\";\"050-555-0004\";\"Israel\";\"2026-01-01T00:00:00.000Z\"\r\n\
        \"00Q2\";\"\";\"Odette\";\"Vial\";\"Acme; Ltd\";\"Working - Contacted\";\"\";\"12345\";\"France\";\"2026-02-02T01:00:00.000Z\"\r\n";
    let (contacts, refusals) = split(Csv::new(text.as_bytes()).unwrap());
    let wanted = CrmContact::new("00Q1", "972505550004".parse().unwrap())
        .named("ענבר", "שדה 🌸")
        .in_stage("Open - Not Contacted")
        .at_version(1_767_225_600_000);
    assert_eq!(contacts, [wanted]);
    assert_eq!(
        refusals[0].to_string(),
        "line 3: row 00Q2: the mobile cannot be used: not a phone number of France; check the digits, or write it with + and the country code"
    );
}

#[test]
fn other_spellings_of_the_columns_are_recognised() {
    for header in [
        "id,first_name,last_name,phone,stage,updated_at",
        "ID;FirstName;LastName;Phone;Stage;UpdatedAt",
        "Contact ID\tFirst Name\tLast Name\tMobile Phone\tLead Status\tLast Modified Date",
        "Id,FirstName,LastName,MobilePhone,Status,LastModifiedDate",
        "record_id,given name,surname,Mobile,lifecycle-stage,last_modified",
        "crm id,full_name,displayname,chat_id,stage,version",
    ] {
        let separator = [';', '\t', ','].into_iter().find(|separator| header.contains(*separator)).unwrap().to_string();
        let row = ["1", "Ada", "Lovelace", "+447700900123", "Lead", "5"].join(&separator);
        let text = format!("{header}\n{row}\n");
        let contact = Csv::new(text.as_bytes()).unwrap().next().unwrap().unwrap();
        assert_eq!(
            (&*contact.id, &*contact.first, contact.chat.as_str()),
            ("1", "Ada", "447700900123@c.us"),
            "{header}"
        );
        assert_eq!((contact.stage.as_deref(), contact.version), (Some("Lead"), Some(5)), "{header}");
    }
}

#[test]
fn a_region_is_for_rows_without_a_country() {
    let text = "id,name,phone,country\n1,Ada,07700 900123,\n2,Bob,090-5555-0001,Japan\n";
    let mapping = Mapping::new().region("GB".parse().unwrap());
    let (contacts, refusals) = split(Csv::with_mapping(text.as_bytes(), &mapping).unwrap());
    assert_eq!(refusals, []);
    assert_eq!(contacts[0].chat.as_str(), "447700900123@c.us");
    assert_eq!(contacts[1].chat.as_str(), "819055550001@c.us");
}

#[test]
fn the_same_people_come_out_of_json_lines() -> Result<(), Box<dyn Error>> {
    let (contacts, _) = split(Csv::new(File::open(EXPORT)?)?);
    let mut lines = Vec::new();
    for CrmContact { id, chat, first, last, stage, version, .. } in &contacts {
        let row = serde_json::json!({
            "id": id, "chat_id": chat.as_str(), "first_name": first, "last_name": last, "stage": stage, "updated_at": version,
        });
        writeln!(lines, "{row}")?;
    }
    let (again, refusals) = split(JsonLines::new(&*lines));
    assert_eq!(refusals, []);
    assert_eq!(again, contacts);
    Ok(())
}

#[test]
fn a_small_export_is_a_stream_that_is_ready_at_once() {
    let rows = crm::rows(Csv::new(File::open(EXPORT).unwrap()).unwrap());
    let count = rows.count().now_or_never();
    assert_eq!(count, Some(62));
    let rows = crm::rows(vec![Ok(CrmContact::new("1", "447700900123".parse().unwrap()))]);
    assert_eq!(futures_util::Stream::size_hint(&rows), (1, Some(1)));
}

#[test]
fn a_feed_says_whether_it_is_all_of_the_crm() {
    let rows = || [Ok(CrmContact::new("1", "447700900123".parse().unwrap()))];
    assert!(crm::snapshot(rows()).is_snapshot());
    assert!(!crm::changes(rows()).is_snapshot());
    assert!(Feed::snapshot(crm::rows(rows())).is_snapshot());
    assert_eq!(crm::changes(rows()).into_rows().count().now_or_never(), Some(1));
}

#[test]
fn a_row_without_an_id_still_says_whom_it_claims() {
    let text = "id,name,phone\n,Ada,+447700900123\n,Bob,none\n3,Cy,none\n";
    let (_, refusals) = split(Csv::new(text.as_bytes()).unwrap());
    let chats: Vec<_> = refusals.iter().map(|refusal| refusal.chat.as_ref().map(ChatId::as_str)).collect();
    assert_eq!(chats, [Some("447700900123@c.us"), None, None]);
}

#[test]
fn the_json_of_a_refusal_names_the_person_only_if_it_is_known() {
    let refusal = Refusal::new(RefusalReason::EmptyName, "no name").at_line(3).of_row(Some("7"));
    let json = serde_json::to_value(&refusal).unwrap();
    assert_eq!(json, serde_json::json!({"reason": "empty_name", "line": 3, "crm_id": "7", "detail": "no name"}));
    let claiming = refusal.claiming(Some("447700900123".parse().unwrap()));
    let json = serde_json::to_value(&claiming).unwrap();
    assert_eq!(json["chat"], "447700900123@c.us");
    assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), claiming);
}

#[test]
fn a_contact_serialises_and_comes_back() {
    let ada = CrmContact::new("7", "447700900123".parse().unwrap()).named("Ada", "").in_stage("Lead").at_version(5);
    let json = serde_json::to_string(&ada).unwrap();
    assert_eq!(json, r#"{"id":"7","chat":"447700900123@c.us","first":"Ada","last":"","stage":"Lead","version":5}"#);
    assert_eq!(serde_json::from_str::<CrmContact>(&json).unwrap(), ada);
    let bare = serde_json::from_str::<CrmContact>(r#"{"id":"7","chat":"447700900123"}"#).unwrap();
    assert_eq!(bare, CrmContact::new("7", "447700900123".parse().unwrap()));
    assert!(serde_json::from_str::<CrmContact>(r#"{"id":"7","chat":"1-2@g.us"}"#).is_err());
}

#[test]
fn a_contact_in_another_spelling_is_refused_rather_than_read_without_its_name() {
    for field in [r#""first_name":"Ada""#, r#""firstName":"Ada""#, r#""name":"Ada""#, r#""Stage":"Lead""#] {
        let text = format!(r#"{{"id":"7","chat":"447700900123",{field}}}"#);
        let error = serde_json::from_str::<CrmContact>(&text).unwrap_err().to_string();
        assert!(error.contains("unknown field") && error.contains("`first`"), "{error}");
    }
}

#[test]
fn the_id_of_a_contact_may_be_a_whole_number_as_in_json_lines() {
    let contact = serde_json::from_str::<CrmContact>(r#"{"id":7,"chat":"447700900123"}"#).unwrap();
    assert_eq!(contact, CrmContact::new("7", "447700900123".parse().unwrap()));
    for id in ["7.5", "true", "null", "[]"] {
        let text = format!(r#"{{"id":{id},"chat":"447700900123"}}"#);
        assert!(serde_json::from_str::<CrmContact>(&text).is_err(), "{id}");
    }
}
