use super::*;

fn read(text: &str, region: &str) -> Result<String, ParsePhoneError> {
    Phone::in_region(text, region.parse().unwrap()).map(|phone| phone.as_str().to_owned())
}

fn digits(text: &str, region: &str) -> String {
    read(text, region).unwrap_or_else(|error| panic!("{region} {text:?}: {error}"))
}

#[test]
fn every_region_has_a_plan_and_its_names_are_its_own() {
    assert_eq!(TABLE.len(), 245);
    let mut owners = HashMap::new();
    for entry in &*TABLE {
        assert!(Region(entry).plan().is_some(), "{}", entry.alpha2);
        for text in [entry.alpha2, entry.alpha3].into_iter().chain(entry.names.split('|')) {
            let owner = owners.insert(fold(text), entry.alpha2);
            assert!(owner.is_none_or(|owner| owner == entry.alpha2), "{text} is {owner:?} and {}", entry.alpha2);
        }
    }
}

#[test]
fn every_region_of_the_metadata_is_in_the_table() {
    for metadata in phonenumber::metadata::DATABASE.iter().filter(|metadata| metadata.id() != "001") {
        assert_eq!(metadata.id().parse::<Region>().unwrap().code(), metadata.id());
    }
}

#[test]
fn countries_are_known_as_crms_write_them() {
    for (text, code) in [
        ("JP", "JP"),
        ("jpn", "JP"),
        (" Japan ", "JP"),
        ("日本", "JP"),
        ("United States", "US"),
        ("United States of America", "US"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("Côte d'Ivoire", "CI"),
        ("Cote d’Ivoire", "CI"),
        ("IVORY COAST", "CI"),
        ("Deutschland", "DE"),
        ("España", "ES"),
        ("Espagne", "ES"),
        ("Estados Unidos", "US"),
        ("Bosnia & Herzegovina", "BA"),
        ("Trinidad and Tobago", "TT"),
        ("Korea, Republic of", "KR"),
        ("Russian Federation", "RU"),
        ("Türkiye", "TR"),
        ("Viet Nam", "VN"),
    ] {
        assert_eq!(text.parse::<Region>().map(Region::code), Ok(code), "{text}");
    }
    for text in ["", "Atlantis", "Korea", "Congo", "XX", "+49"] {
        assert_eq!(text.parse::<Region>(), Err(ParseRegionError), "{text}");
    }
}

#[test]
fn national_formats_become_international_digits() {
    for (region, text, want) in [
        ("JP", "090-1234-5678", "819012345678"),
        ("DE", "01512.3489401", "4915123489401"),
        ("IN", "081234 95078", "918123495078"),
        ("SA", "051.236.5590", "966512365590"),
        ("EG", "010 01253511", "201001253511"),
        ("PL", "512.309.573", "48512309573"),
        ("MX", "222.128.2570", "522221282570"),
        ("FR", "06 12 35 03 86", "33612350386"),
        ("IL", "050-232-5517", "972502325517"),
        ("US", "(617).555.0170", "16175550170"),
        ("US", "1 617 555 0170", "16175550170"),
        ("GB", "07700.900021", "447700900021"),
        ("ID", "0812-327-839", "62812327839"),
        ("BR", "(11) 96124-7467", "5511961247467"),
        ("NG", "0802.127.7959", "2348021277959"),
        ("ES", "612 33 94 56", "34612339456"),
        ("RU", "8 (912) 345-67-89", "79123456789"),
        ("RU", "8 800 555 35 35", "78005553535"),
        ("HU", "06 20 123 4567", "36201234567"),
        ("SG", "8123 4567", "6581234567"),
        ("JP", "０９０-１２３４-５６７８", "819012345678"),
        ("EG", "٠١٠ ٠١٢٥٣٥١١", "201001253511"),
        ("GB", "\u{202a}07700\u{a0}900021\u{202c}", "447700900021"),
        ("GB", "tel:07700-900021", "447700900021"),
    ] {
        assert_eq!(digits(text, region), want, "{region} {text}");
    }
}

#[test]
fn an_international_spelling_is_read_whatever_the_region() {
    for text in ["+44 7700 900123", "0044 7700 900123", "(+44) 7700 900123", "tel:+447700900123", " +44-7700-900123 "] {
        assert!(is_international(text), "{text}");
        assert_eq!(digits(text, "JP"), "447700900123", "{text}");
    }
    for text in ["07700 900123", "(0)7700", "447700900123", "tel:07700", "n/a 00", ""] {
        assert!(!is_international(text), "{text}");
    }
}

#[test]
fn a_regions_own_prefix_for_calls_abroad_is_understood() {
    assert_eq!(digits("011 44 7700 900123", "US"), "447700900123");
    assert_eq!(digits("010 44 7700 900123", "JP"), "447700900123");
    assert_eq!(digits("8 10 44 7700 900123", "RU"), "447700900123");
    assert_eq!(read("16 301 2345", "TD"), Err(ParsePhoneError::NotInRegion("Chad")));
}

#[test]
fn digits_that_begin_with_the_country_code_are_not_given_it_twice() {
    assert_eq!(digits("447700900123", "GB"), "447700900123");
    assert_eq!(digits("44 (0)7700 900123", "GB"), "447700900123");
    assert_eq!(digits("522221282570", "MX"), "522221282570");
    assert_eq!(digits("4915123489401", "DE"), "4915123489401");
    assert_eq!(digits("62812327839", "ID"), "62812327839");
}

#[test]
fn digits_that_fit_in_two_ways_are_refused() {
    assert_eq!(read("62218350123", "ID"), Err(ParsePhoneError::Ambiguous("Indonesia")));
}

#[test]
fn italy_keeps_its_zero() {
    assert_eq!(digits("06 1234 5678", "IT"), "390612345678");
    assert_eq!(digits("312 345 6789", "IT"), "393123456789");
}

#[test]
fn argentine_mobiles_follow_the_numbering_plan() {
    assert_eq!(digits("011 15-2345-0606", "AR"), "5491123450606");
    assert_eq!(digits("9 11 2345-0606", "AR"), "5491123450606");
    assert_eq!(digits("011 2345-0606", "AR"), "541123450606");
}

#[test]
fn a_brazilian_number_gets_no_ninth_digit_and_loses_its_carrier() {
    assert_eq!(digits("(11) 6124-7467", "BR"), "551161247467");
    assert_eq!(digits("0 15 11 96124-7467", "BR"), "5511961247467");
}

#[test]
fn a_mexican_one_is_kept_or_refused_but_never_moved() {
    assert_eq!(digits("+52 1 222 128 2570", "MX"), "5212221282570");
    assert_eq!(digits("+52 222 128 2570", "MX"), "522221282570");
}

#[test]
fn a_trunk_prefix_is_taken_off_once() {
    assert_eq!(digits("8 801 123 4567", "BY"), "3758011234567");
    assert_eq!(digits("8 (800) 123-45-67", "KZ"), "78001234567");
}

#[test]
fn a_number_that_begins_like_a_trunk_prefix_keeps_its_digits() {
    assert_eq!(digits("800 123 45 67", "RU"), "78001234567");
    assert_eq!(digits("80012345", "LT"), "37080012345");
}

#[test]
fn a_number_that_cannot_be_is_refused_by_name() {
    assert_eq!(read("12345", "IT"), Err(ParsePhoneError::NotInRegion("Italy")));
    assert_eq!(read("090-1234-56789", "JP"), Err(ParsePhoneError::NotInRegion("Japan")));
    assert_eq!(read("555-0142", "US"), Err(ParsePhoneError::NoAreaCode("United States")));
    assert_eq!(read("1 555-0142", "US"), Err(ParsePhoneError::NoAreaCode("United States")));
    assert_eq!(read("120 255 5014", "US"), Err(ParsePhoneError::NotInRegion("United States")));
}

#[test]
fn what_is_no_number_is_refused_for_what_it_is() {
    assert_eq!(read("", "US"), Err(ParsePhoneError::Empty));
    assert_eq!(read("n/a", "US"), Err(ParsePhoneError::NotAPhone));
    assert_eq!(read("1.20255E+10", "US"), Err(ParsePhoneError::Spreadsheet));
    assert_eq!(read("(212) 555-0125 x12", "US"), Err(ParsePhoneError::Extension));
    for text in
        ["-", "call me", "212-555-0125, 212-555-0126", "tel:212-555-0125;phone-context=+1", "212\n555-0125 home"]
    {
        assert!(read(text, "US").is_err(), "{text}");
    }
}

#[test]
fn one_table_reads_digits_and_separators_with_and_without_a_region() {
    for (text, region, want) in [
        ("০৭৭০০ ৯০০০২১", "GB", "447700900021"),
        ("๐๗๗๐๐.๙๐๐๐๒๑", "GB", "447700900021"),
        ("[07700]·900\u{30FC}021", "GB", "447700900021"),
        ("００４４ 7700 900021", "JP", "447700900021"),
    ] {
        assert_eq!(digits(text, region), want, "{text}");
    }
    assert_eq!(read("7700900021.0", "GB"), Err(ParsePhoneError::Spreadsheet));
    assert_eq!(read("07700\n900021", "GB"), Err(ParsePhoneError::NotAPhone));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_in_any_region(text in "[-+0-9 ().]{0,24}|\\PC{0,24}", region in 0..245_usize) {
        let region = Region(&TABLE[region]);
        if let Ok(phone) = Phone::in_region(&text, region) {
            proptest::prop_assert!((7..=15).contains(&phone.as_str().len()));
        }
    }
}

#[test]
fn a_number_is_written_in_the_groups_of_its_country() {
    for (digits, written) in [
        ("972502392966", "+972 50-239-2966"),
        ("12025550142", "+1 202-555-0142"),
        ("14165550142", "+1 416-555-0142"),
        ("447700900123", "+44 7700 900123"),
        ("819055550118", "+81 90-5555-0118"),
        ("33639980105", "+33 6 39 98 01 05"),
        ("390600000109", "+39 06 0000 0109"),
        ("5491155550114", "+54 9 11 5555-0114"),
        ("5511955550115", "+55 11 95555-0115"),
        ("77015550142", "+7 701 555 0142"),
    ] {
        assert_eq!(digits.parse::<Phone>().unwrap().international(), written);
    }
}

#[test]
fn a_number_that_no_plan_knows_is_a_plus_and_its_digits() {
    for digits in ["2101234567", "1202555", "99912345678901"] {
        assert_eq!(digits.parse::<Phone>().unwrap().international(), format!("+{digits}"));
    }
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_number(digits in "[1-9][0-9]{6,14}") {
        let phone: Phone = digits.parse().unwrap();
        proptest::prop_assert_eq!(phone.international().parse(), Ok(phone));
    }
}
