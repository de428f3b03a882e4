use std::io;

use proptest::prelude::*;

use super::*;

const HEADER: &str = "id,first_name,last_name,phone,stage,updated_at\n";

/// Contacts as `id first|last chat`, refusals as `line reason`.
fn seen<R: Read>(rows: Csv<R>) -> Vec<String> {
    let shown = |row| match row {
        Ok(CrmContact { id, first, last, chat, .. }) => format!("{id} {first}|{last} {chat}"),
        Err(RowError::Refused(refusal)) => format!("{} {}", refusal.line.unwrap(), refusal.reason.code()),
        Err(RowError::Source(error)) => format!("source: {error}"),
    };
    rows.map(shown).collect()
}

fn read(text: &str) -> Vec<String> {
    seen(Csv::new(text.as_bytes()).unwrap())
}

fn refusals(text: &str) -> Vec<Refusal> {
    let refused = |row| if let Err(RowError::Refused(refusal)) = row { Some(refusal) } else { None };
    Csv::new(text.as_bytes()).unwrap().filter_map(refused).collect()
}

fn header_error(text: &str, mapping: &Mapping) -> String {
    Csv::with_mapping(text.as_bytes(), mapping).unwrap_err().to_string()
}

/// Gives a few bytes at a time, then fails if it is told to.
struct Slow<'a>(&'a [u8], usize, Option<io::ErrorKind>);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(self.0.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        if length == 0 { self.2.map_or(Ok(0), |kind| Err(kind.into())) } else { Ok(length) }
    }
}

#[test]
fn the_separator_is_told_by_the_header() {
    for separator in [",", ";", "\t"] {
        let text = ["ID", "\"Name; of, the\tcontact\"", "First Name", "Phone"].join(separator);
        let row = ["1", "\"a;b,c\td\"", "Ada", "+447700900123"].join(separator);
        assert_eq!(read(&format!("{text}\n{row}\n")), ["1 Ada| 447700900123@c.us"], "{separator:?}");
    }
}

#[test]
fn a_byte_order_mark_windows_line_ends_and_a_missing_last_one_are_understood() {
    let text = "\u{feff}\"Id\";\"Name\";\"Phone\"\r\n\r\n1;Ada;+447700900123\r\n2;Bob;+447700900124";
    assert_eq!(read(text), ["1 Ada| 447700900123@c.us", "2 Bob| 447700900124@c.us"]);
}

#[test]
fn lines_are_counted_through_quoted_breaks_and_blank_lines() {
    let text = format!("{HEADER}1,\"Ada\nCountess\",L,,,\n\n\r\n2,\"B\r\n\r\nC\",L,,,\n3,Bob,B,,,\n");
    assert_eq!(read(&text), ["2 no_phone", "6 no_phone", "9 no_phone"]);
}

#[test]
fn old_macintosh_line_ends_are_understood() {
    let text = format!("{HEADER}1,\"Ada,L,+447700900123,,\n\n2,Bob,B,,,\n").replace('\n', "\r");
    assert_eq!(read(&text), ["2 malformed", "4 no_phone"]);
}

#[test]
fn a_quoted_break_stays_in_the_name() {
    assert_eq!(
        read(&format!("{HEADER}1,\"Ada\n\"\"C\"\"\",L,+447700900123,,\n")),
        ["1 Ada\n\"C\"|L 447700900123@c.us"]
    );
}

#[test]
fn a_row_of_another_width_is_refused_and_the_rest_flows() {
    let text = format!(
        "{HEADER}1,Ada,L,+447700900123\n2,Bob,B,+447700900124,Lead,7,,\n3,C, Jr.,C,+447700900125,Lead,7\n4,D,D,+447700900126,,\n"
    );
    assert_eq!(read(&text), ["2 malformed", "2 Bob|B 447700900124@c.us", "4 malformed", "4 D|D 447700900126@c.us"]);
    let refused = &refusals(&text)[0];
    assert_eq!(refused.crm_id.as_deref(), Some("1"));
    assert_eq!(refused.detail, "the row has 4 fields where the header has 6; check its quotes and line breaks");
}

#[test]
fn a_row_that_is_no_utf8_is_refused_and_the_rest_flows() {
    let mut bytes = HEADER.as_bytes().to_vec();
    bytes.extend(b"1,Ren\xe9,L,+447700900123,,\n2,Bob,B,+447700900124,,\n3,\xc3,\xa9,+447700900125,,\n");
    assert_eq!(seen(Csv::new(&*bytes).unwrap()), ["2 malformed", "2 Bob|B 447700900124@c.us", "4 malformed"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_its_own_line() {
    let text = format!("{HEADER}1,\"Ada,L,+447700900123,,\n2,Bob,B,+447700900124,,\n3,C,C,+447700900125,,\n");
    assert_eq!(read(&text), ["2 malformed", "2 Bob|B 447700900124@c.us", "3 C|C 447700900125@c.us"]);
    assert_eq!(refusals(&text)[0].detail, "a quote in the row is not closed");
}

#[test]
fn a_quote_closed_by_another_rows_quote_does_not_mix_the_rows() {
    let text = format!("{HEADER}1,\"Ada,L,+447700900123,,\n2,\"Bob\",B,+447700900124,,\n3,C,C,+447700900125,,\n");
    assert_eq!(read(&text), ["2 malformed", "2 Bob|B 447700900124@c.us", "3 C|C 447700900125@c.us"]);
}

#[test]
fn a_quote_inside_a_text_is_a_letter() {
    let text = format!("{HEADER}1,Ada \"Countess\" L,6\" pipe,+447700900123,,\n2,Bob,B,+447700900124,,\n");
    assert_eq!(read(&text), ["1 Ada \"Countess\" L|6\" pipe 447700900123@c.us", "2 Bob|B 447700900124@c.us"]);
}

#[test]
fn an_endless_row_is_refused_in_bounded_memory() {
    let long = "x".repeat(3 << 20);
    for row in [format!("1,{long},L,+447700900123,,"), format!("1,\"{long},L,+447700900123,,"), format!("\"{long}")] {
        let text = format!("{HEADER}{row}\n2,Bob,B,+447700900124,,\n");
        let mut rows = Csv::new(text.as_bytes()).unwrap();
        assert!(matches!(rows.next(), Some(Err(RowError::Refused(refusal))) if refusal.line == Some(2)));
        assert!(format!("{:?}", rows.records).contains("line: 2"), "{:?}", rows.records);
        assert_eq!(seen(rows), ["2 Bob|B 447700900124@c.us"]);
    }
}

#[test]
fn a_header_without_what_every_row_needs_names_its_columns() {
    assert_eq!(
        header_error("Kundennr,Vorname,Phone\n", &Mapping::new()),
        "no column for an id (id, Record ID, Contact ID, Lead ID, Customer ID), a name (first_name, last_name, name) was recognised \
         among \"Kundennr\", \"Vorname\", \"Phone\"; give the column one of these names"
    );
    assert_eq!(
        header_error("id;name\n", &Mapping::new()),
        "no column for a phone or chat id (phone, mobile, whatsapp, chat_id) was recognised among \"id\", \"name\"; \
         give the column one of these names"
    );
    assert!(header_error(" \n\n", &Mapping::new()).contains(" was recognised among \"\"; "));
    assert!(header_error(&"a,".repeat(999), &Mapping::new()).len() < 500);
}

#[test]
fn a_mapping_for_a_missing_column_names_the_column_that_comes_closest() {
    for (header, mapping) in [
        ("id,name,Mobil", "mobile=Mobil"),
        ("id,name,Telefon", "phone=Telefon"),
        ("id,name,Handy", "phone=COLUMN"),
        ("Mobil,Kundennr,E-Mail", "id=COLUMN,mobile=Mobil,first=COLUMN"),
        ("Record-Nr,phone,Fist Name", "id=Record-Nr,first=Fist Name"),
        ("id,phone,Last Nmae", "last=Last Nmae"),
        ("Custmer ID,Last Modified,country,phone,name", "id=Custmer ID"),
        ("id,name,Deal,Cost,ip", "phone=COLUMN"),
    ] {
        let error = Csv::new(header.as_bytes()).unwrap_err();
        assert_eq!(error.mapping().as_deref(), Some(mapping), "{header}");
        assert!(mapping.parse::<Mapping>().is_ok());
    }
    assert_eq!(SourceError::Empty.mapping(), None);
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    assert_eq!(header_error("", &Mapping::new()), "the file is empty: its first line must name the columns");
    assert_eq!(
        header_error("id,\"name,phone\n1,2,3", &Mapping::new()),
        "the header cannot be read: a quote in the row is not closed"
    );
    for bytes in [b"\xff\xfei\0d\0", b"\xfe\xff\0i\0d"] {
        assert!(matches!(Csv::new(&bytes[..]), Err(SourceError::Utf16)));
    }
    assert!(matches!(Csv::new(&b"id,pr\xe9nom,phone\n"[..]), Err(SourceError::NotUtf8)));
}

#[test]
fn the_names_that_a_header_error_gives_are_recognised() {
    let error = header_error("a\n", &Mapping::new());
    let lists: Vec<_> = error.split('(').skip(1).map(|list| list.split(')').next().unwrap()).collect();
    let lists: Vec<Vec<_>> = lists.iter().map(|list| list.split(", ").collect()).collect();
    let [ids, phones, names] = &lists[..] else { panic!("{error}") };
    for (n, list) in lists.iter().enumerate() {
        for name in list {
            let mut header = [ids[0], phones[0], names[0]];
            header[n] = name;
            assert!(Csv::new(header.join(",").as_bytes()).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_spreadsheet_is_no_export() {
    for bytes in [&b"PK\x03\x04\x14\0\x06\0"[..], b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0"] {
        let error = Csv::new(bytes).unwrap_err();
        assert_eq!(error.to_string(), "a spreadsheet; export it as CSV");
    }
}

#[test]
fn a_mapping_wins_over_recognition() {
    let text = "Kundennr;Vorname;Handy;Phone;Id\n7;Ada;+447700900123;+447700900124;9\n";
    let mapping = Mapping::new().id("KUNDENNR").first("Vorname").mobile("Handy");
    assert_eq!(seen(Csv::with_mapping(text.as_bytes(), &mapping).unwrap()), ["7 Ada| 447700900123@c.us"]);
}

#[test]
fn a_mapped_column_that_does_not_exist_is_named() {
    let error = header_error("id,name,phone\n", &Mapping::new().stage("Funnel"));
    assert_eq!(error, "there is no column \"Funnel\" among \"id\", \"name\", \"phone\"");
}

#[test]
fn the_better_name_wins_then_the_leftmost() {
    let text =
        "Lead Status,Lifecycle Stage,First Name,Record ID,id,first_name,Phone\nOpen,Lead,Ada,1,2,Bob,+447700900123\n";
    let contact = Csv::new(text.as_bytes()).unwrap().next().unwrap().unwrap();
    assert_eq!((&*contact.id, &*contact.first, contact.stage.as_deref()), ("2", "Ada", Some("Lead")));
}

#[test]
fn a_source_that_fails_says_so_last() {
    let text = format!("{HEADER}1,Ada,L,+447700900123,,\n2,Bob");
    let rows = Csv::new(Slow(text.as_bytes(), 7, Some(io::ErrorKind::ConnectionReset))).unwrap();
    assert_eq!(seen(rows), ["1 Ada|L 447700900123@c.us", "source: the source cannot be read"]);
    let rows = Csv::new(Slow(b"id,na", 7, Some(io::ErrorKind::NotFound)));
    assert!(matches!(rows, Err(SourceError::Read(error)) if error.kind() == io::ErrorKind::NotFound));
}

proptest! {
    #[test]
    fn bytes_that_come_in_pieces_read_the_same(body in "([a-c0-9,\"\r\n]|\r\n|,){0,200}", piece in 1..9_usize) {
        let text = format!("{HEADER}{body}");
        let whole = seen(Csv::new(text.as_bytes()).unwrap());
        prop_assert_eq!(seen(Csv::new(Slow(text.as_bytes(), piece, None)).unwrap()), whole);
    }

    #[test]
    fn any_bytes_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut text = HEADER.as_bytes().to_vec();
        text.extend(&bytes);
        let lines = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        prop_assert!(Csv::new(&*text).unwrap().count() <= lines + 1);
        if let Ok(rows) = Csv::new(&*bytes) {
            rows.for_each(drop);
        }
    }

    #[test]
    fn every_line_without_quotes_is_a_contact_or_a_refusal(lines in prop::collection::vec("[^\"\r\n\u{feff}]{0,40}", 0..20)) {
        let text = format!("{HEADER}{}", lines.join("\n"));
        let wanted = lines.iter().filter(|line| !line.is_empty()).count();
        prop_assert_eq!(Csv::new(text.as_bytes()).unwrap().count(), wanted);
    }

    #[test]
    fn a_text_that_is_defused_is_read_as_it_was(texts in prop::collection::vec("['=+@＝ \t\r\n-]{0,4}\\PC{0,5}", 1..20)) {
        let quoted = |text: &String| format!("\"{}\"", defused(text).replace('"', "\"\""));
        let text = format!("id,name,phone,{}\n7,Ada,'+447700900123,{}\n", "note,".repeat(texts.len() - 1) + "note",
            texts.iter().map(quoted).collect::<Vec<_>>().join(","));
        let mut rows = Csv::new(text.as_bytes()).unwrap();
        let contact = rows.next().unwrap().unwrap();
        prop_assert_eq!(contact.chat.as_str(), "447700900123@c.us");
        prop_assert_eq!(&rows.record()[3..], texts);
    }

    #[test]
    fn every_quoted_row_comes_back_as_it_was(names in prop::collection::vec("[^'\\pC]\\PC{0,11}[\"\r\n,;]{0,3}\\PC{0,3}", 1..20)) {
        let quoted = |name: &String| format!("\"1\",\"{}\",\"\",\"+447700900123\",\"\",\"\"\r\n", name.replace('"', "\"\""));
        let text = format!("{HEADER}{}", names.iter().map(quoted).collect::<String>());
        let back: Vec<_> = Csv::new(text.as_bytes()).unwrap().map(|row| row.unwrap().first).collect();
        prop_assert_eq!(back, names);
    }
}

#[test]
fn the_record_behind_a_row_can_be_asked_for_whatever_became_of_it() {
    let text = "id;name;phone\n1;Ada;+447700900123\n2;Bob;none\n3;Cy;1;2\n4;\"Di;1\n5;E\u{fffd};1\n";
    let mut bytes = text.as_bytes().to_vec();
    let broken = bytes.iter().rposition(|byte| *byte == 0xef).unwrap();
    bytes.splice(broken..broken + 3, [0xff]);
    let mut rows = Csv::new(bytes.as_slice()).unwrap();
    assert_eq!((rows.header().join("|"), rows.delimiter()), ("id|name|phone".into(), b';'));
    assert_eq!(rows.record(), rows.header());
    for expected in ["1|Ada|+447700900123", "2|Bob|none", "3|Cy|1|2", "4;\"Di;1", "5|E\u{fffd}|1"] {
        rows.next().unwrap().ok();
        assert_eq!(rows.record().join("|"), expected);
    }
    assert!(rows.next().is_none());
}

#[test]
fn the_mark_before_a_formula_is_no_part_of_a_header_an_id_a_name_or_a_phone() {
    let text =
        "'=id,name,'+phone\n'=7,'-Ada,'+44 7700 900123\n'8,'Abd al-Karim,+447700900124\n9,''=x,\t+447700900125\n";
    let mut rows = Csv::with_mapping(text.as_bytes(), &Mapping::new().id("=id").phone("+phone")).unwrap();
    assert_eq!(rows.header(), ["=id", "name", "+phone"]);
    let contact = rows.next().unwrap().unwrap();
    assert_eq!((&*contact.id, &*contact.first, contact.chat.as_str()), ("=7", "-Ada", "447700900123@c.us"));
    assert_eq!(seen(rows), ["'8 'Abd al-Karim| 447700900124@c.us", "9 '=x| 447700900125@c.us"]);
}

#[test]
fn a_column_that_is_missed_by_a_letter_is_suggested() {
    let error = header_error("id,name,Handy\n", &Mapping::new().phone("Hnady"));
    assert_eq!(error, "there is no column \"Hnady\" among \"id\", \"name\", \"Handy\"; did you mean \"Handy\"?");
}
