use proptest::prelude::*;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

use super::*;

fn naming() -> Naming {
    Naming::new("Lead, Customer, Evangelist=VIP, Churned=".parse().unwrap())
}

fn fields(name: &ContactName) -> (&str, &str) {
    (name.first(), name.last().unwrap_or_default())
}

fn clusters(text: &str) -> usize {
    text.graphemes(true).count()
}

#[test]
fn a_tag_ends_the_last_name_or_becomes_it() {
    for (first, last, stage, expected) in [
        ("Bob", "Smith", Some("Lead"), ("Bob", "Smith [Lead]")),
        ("Bob", "", Some("Lead"), ("Bob", "[Lead]")),
        ("", "Smith", Some("Lead"), ("Smith", "[Lead]")),
        ("Bob", "Smith", Some("evangelist "), ("Bob", "Smith [VIP]")),
        ("Bob", "Smith", Some("Churned"), ("Bob", "Smith")),
        ("Bob", "Smith", Some("Subscriber"), ("Bob", "Smith")),
        ("Bob", "Smith", Some(""), ("Bob", "Smith")),
        ("  Bob\u{A0}", "", None, ("Bob", "")),
        ("יהודית", "מלכה", Some("Lead"), ("יהודית", "מלכה [Lead]")),
        ("شعيب", "", Some("Lead"), ("شعيب", "[Lead]")),
        ("Zoe\u{308}", "", Some("Lead"), ("Zoë", "[Lead]")),
        ("👨\u{200D}👩\u{200D}👧", "🇮🇱", Some("Lead"), ("👨\u{200D}👩\u{200D}👧", "🇮🇱 [Lead]")),
    ] {
        let rendered = naming().render(first, last, stage).unwrap();
        assert_eq!(fields(&rendered.name), expected, "{first:?} {last:?} {stage:?}");
    }
}

#[test]
fn the_base_and_the_tag_are_reported_apart() {
    let rendered = naming().render("Bob", "Smith [Customer]", Some("Evangelist")).unwrap();
    assert_eq!(fields(&rendered.base), ("Bob", "Smith"));
    assert_eq!(rendered.tag.as_deref(), Some("VIP"));
}

#[test]
fn a_tag_that_the_crm_already_carries_is_replaced() {
    for (first, last) in [
        ("Bob", "[Lead]"),
        ("Bob [Lead]", ""),
        ("", "Bob [Lead]"),
        ("[Lead]", "Bob"),
        ("Bob [VIP]", "[Lead]"),
        ("Bob [Lead] [Lead]", "[Lead]"),
        (" Bob\u{A0} [Lead\u{200B}] ", ""),
    ] {
        for (stage, expected) in [(Some("Lead"), "Bob [Lead]"), (Some("Evangelist"), "Bob [VIP]"), (None, "Bob")] {
            let rendered = naming().render(first, last, stage).unwrap();
            assert_eq!(rendered.name.full(), expected, "{first:?} {last:?} {stage:?}");
        }
    }
    let inner = naming().render("Bob [Lead]", "Smith", Some("Customer")).unwrap();
    assert_eq!(fields(&inner.name), ("Bob", "Smith [Customer]"));
}

#[test]
fn a_tag_of_two_words_is_recognised_across_the_fields() {
    let naming = Naming::new("Hot=Hot Lead, Lead".parse().unwrap());
    for (first, last) in [("Bob [Hot", "Lead]"), ("Bob", "[Hot Lead]"), ("Bob [Lead] [Hot", "Lead]")] {
        assert_eq!(
            fields(&naming.render(first, last, Some("Lead")).unwrap().name),
            ("Bob", "[Lead]"),
            "{first} {last}"
        );
    }
    assert_eq!(naming.render("[Hot", "Lead]", Some("Lead")), Err(NameError::Blank));
}

#[test]
fn the_outermost_of_several_tags_is_reported() {
    assert_eq!(naming().parse("Bob [VIP] [Lead]"), Parsed { base: "Bob".into(), tag: Some("Lead".into()) });
}

#[test]
fn a_base_that_looks_like_the_template_is_no_tag() {
    let naming = naming().template("<{tag}>{base}=".parse().unwrap()).unwrap();
    let once = naming.render("=", "-", Some("Lead")).unwrap().name;
    assert_eq!(fields(&once), ("<Lead>=", "-="));
    assert_eq!(naming.render("<Lead>=", "-=", Some("Lead")).unwrap().name, once);
}

#[test]
fn brackets_of_people_survive() {
    for (first, last) in [
        ("Bob", "[Uncle]"),
        ("Bob [Uncle]", "Smith"),
        ("Bob", "[lead]"),
        ("Bob[Lead]", ""),
        ("[Lead] Bob", ""),
        ("Bob [Lead", "]"),
        ("Bob", "(Lead)"),
    ] {
        let base = naming().render(first, last, None).unwrap().name;
        assert_eq!(fields(&base), (first, last));
        assert_eq!(naming().parse(base.full()), Parsed { base: base.full().to_owned(), tag: None });
        let tagged = naming().render(first, last, Some("Lead")).unwrap().name;
        assert_eq!(tagged.full(), format!("{} [Lead]", base.full()));
    }
}

#[test]
fn a_name_of_which_nothing_is_left_is_refused() {
    for (first, last) in [
        ("", ""),
        (" ", "\u{A0}"),
        ("\u{200B}", "\u{202E}"),
        ("[Lead]", ""),
        ("", "[Lead]"),
        ("[Lead]", "[VIP]"),
        ("\u{3164}", ""),
    ] {
        for stage in [None, Some("Lead")] {
            assert_eq!(naming().render(first, last, stage), Err(NameError::Blank), "{first:?} {last:?}");
        }
    }
    assert_eq!(naming().parse(" [Lead]"), Parsed { base: String::new(), tag: Some("Lead".into()) });
}

#[test]
fn a_template_goes_where_it_says() {
    let cases = [
        ("{base} - {tag}", ("Bob", "Smith - Lead"), ("Bob", "- Lead"), "Bob Smith - Lead"),
        ("[{tag}] {base}", ("[Lead] Bob", "Smith"), ("[Lead] Bob", ""), "[Lead] Bob Smith"),
        ("{base}/{tag}", ("Bob", "Smith/Lead"), ("Bob/Lead", ""), "Bob Smith/Lead"),
        ("★ {base} ({tag})", ("★ Bob", "Smith (Lead)"), ("★ Bob", "(Lead)"), "★ Bob Smith (Lead)"),
        ("({tag}) {base} ★", ("(Lead) Bob", "Smith ★"), ("(Lead) Bob", "★"), "(Lead) Bob Smith ★"),
    ];
    for (template, with_last, without_last, full) in cases {
        let naming = naming().template(template.parse().unwrap()).unwrap();
        let name = naming.render("Bob", "Smith", Some("Lead")).unwrap().name;
        assert_eq!((fields(&name), name.full()), (with_last, full), "{template}");
        assert_eq!(fields(&naming.render("Bob", "", Some("Lead")).unwrap().name), without_last, "{template}");
        assert_eq!(naming.parse(full), Parsed { base: "Bob Smith".into(), tag: Some("Lead".into()) }, "{template}");
        let first = naming.placement(Placement::FirstName).render("Bob", "Smith", Some("Lead")).unwrap();
        assert_eq!((fields(&first.name), fields(&first.base)), ((full, ""), ("Bob", "Smith")), "{template}");
    }
}

#[test]
fn tags_of_other_scripts_are_recognised() {
    let naming = Naming::new("lead=ליד, hot=🔥, warm=गर्म, cafe=Cafe\u{301}".parse().unwrap());
    for (stage, full) in [("lead", "Bob [ליד]"), ("hot", "Bob [🔥]"), ("warm", "Bob [गर्म]"), ("cafe", "Bob [Café]")]
    {
        let rendered = naming.render("Bob", "", Some(stage)).unwrap();
        assert_eq!(rendered.name.full(), full);
        let decomposed: String = full.nfd().collect();
        assert_eq!(naming.parse(&decomposed), Parsed { base: "Bob".into(), tag: rendered.tag });
    }
}

#[test]
fn a_template_that_cannot_tell_two_tags_apart_is_refused() {
    let naming = |tags: &str, template: &str| {
        let naming = Naming::new(tags.parse().unwrap());
        naming.template(template.parse().unwrap()).map(|_| ())
    };
    let alike = Err(AmbiguousTags { one: "Lead".into(), other: "Hot - Lead".into() });
    assert_eq!(naming("Lead, Hot - Lead", "{base} - {tag}"), alike);
    assert_eq!(naming("Lead, Hot - Lead", "{base} [{tag}]"), Ok(()));
    assert_eq!(naming("Lead, Hot Lead, VIP, VIP+", "{base} - {tag}"), Ok(()));
    let alike = Err(AmbiguousTags { one: "A".into(), other: "A: B".into() });
    assert_eq!(naming("A, A: B", "{tag}: {base}"), alike);
}

#[test]
fn the_limit_shortens_the_base_and_keeps_the_tag() {
    let short = naming().limit(12);
    for (first, last, expected) in [
        ("Bartholomew", "", ("Barth", "[Lead]")),
        ("Al", "Bartholomew", ("Al", "Ba [Lead]")),
        ("Bart", "Holomew", ("Bart", "[Lead]")),
        ("e\u{323}\u{302}".repeat(9).as_str(), "", ("ệ".repeat(5).as_str(), "[Lead]")),
        ("👨\u{200D}👩\u{200D}👧".repeat(9).as_str(), "", ("👨\u{200D}👩\u{200D}👧".repeat(5).as_str(), "[Lead]")),
        ("🇮🇱".repeat(9).as_str(), "", ("🇮🇱".repeat(5).as_str(), "[Lead]")),
    ] {
        let rendered = short.render(first, last, Some("Lead")).unwrap();
        assert_eq!(fields(&rendered.name), expected);
        assert_eq!(rendered.base.full(), short.parse(rendered.name.full()).base);
    }
    let long = "שלום".repeat(75);
    let name = naming().render(&long, &long, Some("Customer")).unwrap().name;
    assert_eq!(clusters(name.full()), Naming::DEFAULT_LIMIT);
    assert!(name.full().ends_with(" [Customer]"));
}

#[test]
fn the_limit_leaves_something_of_the_base() {
    let name = naming().limit(0).render("Bob", "Smith", Some("Customer")).unwrap().name;
    assert_eq!(fields(&name), ("B", "[Customer]"));
}

#[test]
fn a_cut_that_ends_in_a_tag_drops_it() {
    let rendered = naming().limit(11).render("Bob [Lead] Smith", "", None).unwrap();
    assert_eq!(rendered.name.full(), "Bob");
}

#[test]
fn the_fingerprint_shows_every_change_of_the_rules() {
    let with = |tags: &str| Naming::new(tags.parse().unwrap());
    let rules = [
        with(""),
        with("Lead"),
        with("Lead=L"),
        with("Lead, Customer"),
        with("Lead").placement(Placement::FirstName),
        with("Lead").limit(59),
        with("Lead").template("{base} - {tag}".parse().unwrap()).unwrap(),
    ];
    let mut marks: Vec<u32> = rules.iter().map(Naming::fingerprint).collect();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(marks.len(), rules.len());
}

#[test]
fn the_fingerprint_stays_the_same_across_releases() {
    // Computed apart from this crate, from the rules as text.
    const GOLDEN: u32 = 0x36B6_CEE7;
    assert_eq!(naming().fingerprint(), GOLDEN);
    let same: Funnel = "EVANGELIST=VIP, customer=Customer, lead=Lead".parse().unwrap();
    assert_eq!(Naming::new(same).fingerprint(), GOLDEN);
}

#[test]
fn a_name_says_whether_it_was_shortened() {
    let short = naming().limit(12);
    for (first, stage, shortened) in [
        ("Barth", Some("Lead"), false),
        ("Bartholomew", None, false),
        ("Bartholomew", Some("Lead"), true),
        ("Bartholomew I", None, true),
        ("  Barth [Lead] [VIP]  ", Some("Lead"), false),
        ("Ελένη", Some("Lead"), false),
    ] {
        assert_eq!(short.render(first, "", stage).unwrap().shortened, shortened, "{first:?} {stage:?}");
    }
    let once = short.render("Bartholomew", "", Some("Lead")).unwrap();
    assert!(!short.render(once.name.first(), once.name.last().unwrap(), Some("Lead")).unwrap().shortened);
}

#[test]
fn a_stage_that_nobody_listed_is_told_from_one_without_a_tag() {
    for (stage, known) in
        [("", true), (" \u{200B}", true), ("lead ", true), ("Churned", true), ("Leed", false), ("Subscriber", false)]
    {
        assert_eq!(naming().knows_stage(stage), known, "{stage:?}");
    }
    assert!(!Naming::new(Funnel::none()).knows_stage("Lead"));
}

#[test]
fn a_hostile_field_is_cut_before_any_work_is_done_with_it() {
    let unlimited = naming().limit(usize::MAX);
    let cap = unlimited.field;
    assert_eq!(cap, Parts::LONGEST + " [Customer]".len());
    for hostile in ["x\u{301}\u{200D}", "\u{301}\u{200D}", " [Lead]", "👩\u{200D}", "😀", "x", "\u{1D160}"] {
        let long = ["Bob", &hostile.repeat(60_000 / hostile.len())].concat();
        let cut = cut(&long, cap);
        assert!(cut.len() <= cap && cut.len() + 4 > cap);
        // What lies behind the cap is never looked at: the result is that of the field cut short.
        let (whole, same) = (unlimited.render(&long, &long, Some("Lead")), unlimited.render(cut, cut, Some("Lead")));
        let (whole, same) = (whole.unwrap(), same.unwrap());
        assert_eq!((&whole.name, &whole.base), (&same.name, &same.base), "{hostile:?}");
        assert!(whole.shortened, "{hostile:?}");
        assert!(whole.base.full().len() <= Parts::LONGEST, "{hostile:?}");
        assert_eq!(unlimited.parse(&long), unlimited.parse(cut), "{hostile:?}");
        assert_eq!(unlimited.parse(whole.name.full()).base, whole.base.full(), "{hostile:?}");
        let (first, last) = fields(&whole.name);
        assert_eq!(unlimited.render(first, last, Some("Lead")).unwrap().name, whole.name, "{hostile:?}");
    }
}

#[test]
fn tags_behind_each_other_are_peeled_without_a_copy() {
    let many = ["Bob", &" [Lead]".repeat(140)].concat();
    let mut parts = Parts::clean(&many, "");
    let naming = naming();
    let mut peeled = 0;
    while let Some((_, cut)) = naming.find(&parts) {
        parts = parts.cut(cut);
        assert!(matches!(parts.first, Cow::Borrowed(_)));
        peeled += 1;
    }
    assert_eq!((peeled, &*parts.first), (140, "Bob"));
}

#[test]
fn what_is_rendered_serialises_and_comes_back() {
    let rendered = naming().limit(12).render("Bartholomew", "", Some("Lead")).unwrap();
    let json = serde_json::to_value(&rendered).unwrap();
    let wanted = serde_json::json!({
        "name": ["Barth", "[Lead]"], "base": ["Barth"], "tag": "Lead", "shortened": true,
    });
    assert_eq!(json, wanted);
    assert_eq!(serde_json::from_value::<Rendered>(json).unwrap(), rendered);
    let parsed = naming().parse("Bob [VIP]");
    let json = serde_json::to_string(&parsed).unwrap();
    assert_eq!((&*json, serde_json::from_str(&json).unwrap()), (r#"{"base":"Bob","tag":"VIP"}"#, parsed));
    assert_eq!(serde_json::to_string(&Placement::FirstName).unwrap(), r#""first_name""#);
}

/// Names made of what breaks names.
pub(super) fn nasty() -> impl Strategy<Value = String> {
    const PIECES: [&str; 56] = [
        "Bob",
        "a",
        "e",
        "Z",
        " ",
        "  ",
        "-",
        "[",
        "]",
        "(",
        ")",
        "/",
        "★",
        "<",
        "=",
        ">",
        "[Lead]",
        " [Lead]",
        "[VIP]",
        " - Lead",
        "(ליד) ",
        "Lead",
        "Hot",
        "VIP",
        "ליד",
        "علی",
        "رضا",
        "क",
        "्",
        "़",
        "ශ",
        "ന്",
        "\u{301}",
        "\u{308}",
        "\u{323}",
        "\u{338}",
        "\u{1100}",
        "\u{1161}",
        "\u{11A8}",
        "가",
        "👩",
        "👧",
        "🏽",
        "🏴",
        "\u{E0067}",
        "🇮",
        "🇱",
        "\u{FE0F}",
        "\u{200C}",
        "\u{200D}",
        "\u{200B}",
        "\u{202E}",
        "\u{A0}",
        "\n",
        "\u{0}",
        "\u{951}",
    ];
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..14).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => nasty(), 1 => any::<String>(), 1 => "\\PC{0,90}"]
}

const STAGES: [&str; 7] = ["Lead", "Hot", "Evangelist", "Hebrew", "Marked", "Churned", "Unknown"];

fn stage() -> impl Strategy<Value = Option<&'static str>> {
    proptest::option::of(proptest::sample::select(&STAGES[..]))
}

fn rules() -> impl Strategy<Value = Naming> {
    const TEMPLATES: [&str; 9] = [
        "{base} [{tag}]",
        "{base} - {tag}",
        "[{tag}] {base}",
        "({tag}){base}",
        "{base}/{tag}",
        "★ {base} ({tag})",
        "<{tag}>{base}=",
        "({tag}) - {base} 🏴",
        "👩 {base} 🏷\u{FE0F}{tag}",
    ];
    let placement = proptest::sample::select(vec![Placement::LastName, Placement::FirstName]);
    (proptest::sample::select(&TEMPLATES[..]), placement).prop_map(|(template, placement)| {
        let funnel = "Lead, Hot=Hot Lead, Evangelist=VIP, Hebrew=ליד, Marked=e\u{301}\u{338}+, Churned=";
        let naming = Naming::new(funnel.parse().unwrap()).placement(placement).limit(usize::MAX);
        naming.template(template.parse().unwrap()).unwrap()
    })
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0..40_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_rendered_name_parses_into_its_base_and_tag(
        rules in rules(), limit in limit(), first in name(), last in name(), stage in stage()
    ) {
        let naming = rules.limit(limit);
        if let Ok(rendered) = naming.render(&first, &last, stage) {
            let parsed = naming.parse(rendered.name.full());
            prop_assert_eq!(parsed, Parsed { base: rendered.base.full().to_owned(), tag: rendered.tag });
        }
    }

    #[test]
    fn tagging_twice_is_tagging_once(
        rules in rules(), limit in limit(), first in name(), last in name(), stage in stage()
    ) {
        let naming = rules.limit(limit);
        if let Ok(once) = naming.render(&first, &last, stage) {
            let (first, last) = fields(&once.name);
            let twice = naming.render(first, last, stage).unwrap();
            prop_assert_eq!((twice.name, twice.base.full()), (once.name.clone(), once.base.full()));
        }
    }

    #[test]
    fn a_new_tag_replaces_the_old_and_none_gives_the_base_back(
        naming in rules(), first in name(), last in name(), old in stage(), new in stage()
    ) {
        let fresh = naming.render(&first, &last, new);
        if let Ok(tagged) = naming.render(&first, &last, old) {
            let (first, last) = fields(&tagged.name);
            prop_assert_eq!(naming.render(first, last, new).unwrap().name, fresh.unwrap().name);
            let untagged = naming.render(first, last, None).unwrap().name;
            prop_assert_eq!(untagged.full(), tagged.base.full());
        }
    }

    #[test]
    fn a_rendered_name_is_clean(
        rules in rules(), limit in limit(), first in name(), last in name(), stage in stage()
    ) {
        if let Ok(rendered) = rules.limit(limit).render(&first, &last, stage) {
            let full = rendered.name.full();
            prop_assert_eq!(clean(full), full);
            prop_assert!(is_nfc(full));
            let forbidden = |c: char| c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
            prop_assert!(!full.contains(forbidden));
        }
    }

    #[test]
    fn a_shortened_name_keeps_the_tag_and_whole_clusters(
        rules in rules(), limit in limit(), first in name(), last in name(), stage in stage()
    ) {
        let Ok(whole) = rules.render(&first, &last, stage) else { return Ok(()) };
        if let Ok(rendered) = rules.limit(limit).render(&first, &last, stage) {
            let (base, whole_base) = (rendered.base.full(), whole.base.full());
            prop_assert_eq!(&rendered.tag, &whole.tag);
            prop_assert!(clusters(rendered.name.full()) <= limit || clusters(base) == 1);
            prop_assert!(!base.ends_with(' '));
            let rest = whole_base.strip_prefix(base);
            // A non-joiner that has nothing left to part goes.
            let rest = rest.map(|rest| rest.trim_start_matches('\u{200C}')).unwrap();
            let cut = whole_base.len() - rest.len();
            prop_assert!(rest.is_empty() || whole_base.grapheme_indices(true).any(|(at, _)| at == cut));
        }
    }

    #[test]
    fn a_name_is_refused_only_if_nothing_is_left(first in name(), last in name()) {
        let rendered = Naming::new(Funnel::none()).render(&first, &last, Some("Lead"));
        prop_assert_eq!(rendered.is_err(), clean(&first).is_empty() && clean(&last).is_empty());
    }
}
