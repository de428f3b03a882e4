//! Plans and reports as pages to look at, also in a real browser.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, from_value, json};
use wawp_contacts::{
    ErrorKind, Pace,
    sync::{Change, Guardrail, Plan, Progress, Report, RunLog},
    time::Timestamp,
};

use crate::world::{START, World, all, people, seconds};

/// Names as CRMs and phones have them, and as they should not.
const NAMES: [&str; 10] = [
    "Ada Lovelace",
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "Tom & \"Jerry\" 'Cat'",
    "Ann \u{202e}gpj.exe\u{7}",
    "محمد علي",
    "דנה כהן",
    "👩\u{200d}🌾 Zoë",
    "می\u{200c}نا",
    "&lt;b&gt; &amp;",
];

fn change(n: usize, action: &str, cause: &str, outcome: &str) -> Value {
    let name = NAMES[n % NAMES.len()];
    let before = (action == "rename").then(|| format!("{name} [Lead]"));
    json!({
        "chat": format!("1202555{n:04}@c.us"), "crm_id": format!("crm-{n}"), "action": action, "before": before,
        "after": format!("{name} [Customer]"), "cause": cause, "outcome": outcome,
    })
}

fn summary(created: usize, renamed: usize) -> Value {
    json!({
        "created": created, "renamed": renamed, "unchanged": 4_890, "refused": 0, "parked": 0, "held": 0, "gated": 0, "stale": 0,
        "left": 0, "shortened": 0, "untagged": 0, "calls": created + renamed, "seconds": 320.0, "gate": null, "hint": null,
        "guardrail": null, "refusals": [],
    })
}

fn merged(mut value: Value, others: Value) -> Value {
    let Value::Object(others) = others else { unreachable!("an object") };
    value.as_object_mut().unwrap().extend(others);
    value
}

/// 72 tags, 24 names, 2 taken over, 3 by new rules, 214 new ones.
fn all_changes(outcome: &str) -> Vec<Value> {
    let kinds = [
        ("rename", "stage", 72),
        ("rename", "name", 24),
        ("rename", "new", 2),
        ("rename", "rules", 3),
        ("create", "new", 214),
    ];
    let each = kinds.into_iter().flat_map(|(action, cause, count)| std::iter::repeat_n((action, cause), count));
    each.enumerate().map(|(n, (action, cause))| change(n, action, cause, outcome)).collect()
}

fn plan(created: usize, renamed: usize, changes: &[Value]) -> Plan {
    from_value(merged(summary(created, renamed), json!({"changes": changes}))).unwrap()
}

/// What needs a person, and what waits; each text is hostile.
fn open_ends() -> Value {
    let parked = merged(
        change(900, "create", "new", "parked"),
        json!({"reason": "refused", "kind": "rejected", "message": "<b>no</b> such \"number\""}),
    );
    let held = json!({"chat": "123456789012345@lid", "reason": "no_phone"});
    let held = merged(change(901, "rename", "stage", "held"), held);
    let due = merged(change(902, "rename", "stage", "due"), json!({"kind": "timeout", "at": START.0}));
    let waits = merged(change(903, "rename", "stage", "due"), json!({"kind": null, "at": START.0}));
    let refusal = |reason: &str, detail: &str| json!({"reason": reason, "line": 7, "crm_id": "<crm>", "chat": "12025550199@c.us", "detail": detail});
    json!({
        "refused": 2, "parked": 1, "held": 1, "gated": 2, "left": 1, "shortened": 1, "untagged": 3, "stale": 4,
        "gate": "rate_limited", "hint": "<i>slow</i> down", "guardrail": {"kind": "many_renames", "renamed": 9, "known": 10},
        "notes": {
            "repeated": ["<twice>"], "untagged": {"<Leed>": 3}, "shortened": ["<long>"], "unread": "route", "pushed_by": "<other>",
            "left": [{"chat": "12025550166@c.us", "crm_id": "<gone>", "name": "<Old> Bob", "reason": "gone"}],
        },
        "refusals": [refusal("no_phone", "<no> phone"), refusal("duplicate_identity", "<two> rows")],
        "changes": [parked, held, due, waits],
    })
}

/// A run of which all that there is to tell is told.
fn run() -> (Report, RunLog) {
    let mut ends = open_ends();
    let open = ends["changes"].take();
    let rest = json!({"run": 12, "stopped": false, "applied": true, "open": open});
    let report = from_value(merged(merged(summary(214, 101), ends), rest)).unwrap();
    let log = RunLog::default();
    for done in all_changes("done") {
        let change: Change = from_value(done).unwrap();
        log.note(&Progress::Changed(&change));
    }
    log.note(&Progress::Taken(5_214));
    log.note(&Progress::Waiting { until: START.after(seconds(90)), kind: ErrorKind::RateLimited });
    (report, log)
}

fn full_plan() -> Plan {
    let mut ends = open_ends();
    let mut changes = all_changes("planned");
    changes.extend(ends["changes"].take().as_array().unwrap().clone());
    from_value(merged(merged(summary(214, 101), ends), json!({"changes": changes}))).unwrap()
}

fn pages() -> [String; 3] {
    let (report, log) = run();
    [
        full_plan().page().titled("<Shop> in Lyon").at(START).paced(Pace::default()).to_string(),
        report.page().with_log(&log).titled("<Shop> in Lyon").at(START).to_string(),
        plan(0, 0, &[]).page().to_string(),
    ]
}

/// The text of the first element that begins so.
#[track_caller]
fn text_of<'a>(page: &'a str, tag: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(tag).unwrap_or_else(|| panic!("no {tag}"));
    rest.split_once(end).unwrap().0
}

fn headline(page: &str) -> &str {
    text_of(page, "<h1>", "</h1>")
}

#[test]
fn a_plan_speaks_of_what_is_to_come_and_a_run_of_what_is_past() {
    let [plan, run, _] = pages();
    let planned = "72 tags to change, 24 names to change, 2 names to replace, 3 names to restyle, 214 new";
    assert_eq!(headline(&plan), planned);
    assert_eq!(headline(&run), "72 tags changed, 24 names changed, 2 names replaced, 3 names restyled, 214 new");
    assert_eq!(text_of(&plan, "<title>", "</title>"), planned);
    for text in [
        "A run would make <b>315 calls</b> and take about <b>5 min 20 s</b>, at most one call a second.",
        "A run would stop",
    ] {
        assert!(plan.contains(text) && !run.contains(text), "{text}");
    }
    for text in [
        "It made <b>315 calls</b> in <b>5 min 20 s</b>.",
        "It read <b>5,214 rows</b>",
        "Paused until <b>14 Nov 2023, 22:14:50 UTC",
    ] {
        assert!(run.contains(text) && !plan.contains(text), "{text}");
    }
}

#[test]
fn the_counts_of_the_headline_are_those_of_the_summary_whatever_the_log_holds() {
    let (report, log) = run();
    assert_eq!(headline(&report.page().to_string()), "101 other names changed, 214 new");
    assert_eq!(headline(&report.page().undoing(11).to_string()), "315 names put back");
    for change in all_changes("done") {
        log.note(&Progress::Changed(&from_value(change).unwrap()));
    }
    let page = report.page().with_log(&log).to_string();
    assert_eq!(headline(&page), "101 other names changed, 214 new", "the log is of two runs");
    let one = plan(0, 2, &[change(0, "rename", "stage", "planned")]);
    assert_eq!(headline(&one.page().to_string()), "1 tag to change, 1 other name to change");
}

#[test]
fn nothing_from_outside_is_markup() {
    for page in pages() {
        for markup in [
            "<script", "<img", "<i>slow", "<crm", "<twice", "<Leed", "<long", "<gone", "<Old", "<other", "<Shop",
            "<two", "<b>no<",
        ] {
            assert!(!page.contains(markup), "{markup}");
        }
        let hidden =
            |char: char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{7}' | '\u{200b}' | '\u{200e}' | '\u{200f}');
        assert!(!page.contains(hidden));
        assert_eq!(page.matches("<style>").count(), 1);
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(
            !page.contains("http://")
                && !page.contains("https://")
                && !page.contains(" style=")
                && !page.contains("url(")
        );
    }
    let [page, ..] = pages();
    for text in [
        "<bdi dir=\"auto\">&lt;script&gt;alert(1)&lt;/script&gt; <mark>[Customer]</mark></bdi>",
        "Tom &amp; &quot;Jerry&quot; &#39;Cat&#39;",
        "Ann \\u{202e}gpj.exe\\u{7}",
        "<bdi dir=\"auto\">محمد علي <mark>[Customer]</mark></bdi>",
        "👩\u{200d}🌾 Zoë",
        "می\u{200c}نا",
        "&amp;lt;b&amp;gt; &amp;amp;",
        "&lt;Shop&gt; in Lyon",
        "&lt;i&gt;slow&lt;/i&gt; down",
        "the server said: <bdi dir=\"auto\">&lt;b&gt;no&lt;/b&gt; such &quot;number&quot;</bdi>",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn tags_are_closed_in_the_order_in_which_they_were_opened() {
    for page in pages() {
        let mut open = Vec::new();
        for part in page.split('<').skip(1) {
            let (tag, _) = part.split_once('>').unwrap();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.starts_with("!DOCTYPE") || tag.starts_with("meta") => {}
                None => open.push(tag.split(' ').next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn each_reason_has_its_count_and_what_to_do_about_it() {
    let [plan, run, empty] = pages();
    for page in [plan, run] {
        for (title, count) in [
            ("Rows without a phone", "1"),
            ("Several rows for one person", "1"),
            ("Parked: the server refused the request", "1"),
            ("Held: no phone is known", "1"),
            ("Failed, and will be tried again: no answer in time", "1"),
            ("Stages without a tag", "3"),
            ("Rows that are gone", "1"),
            ("Shortened names", "1"),
            ("Rows that were dropped", "4"),
        ] {
            assert!(page.contains(&format!("<h3>{title} <span class=\"count\">{count}</span></h3>")), "{title}");
        }
        for text in [
            "<b>2</b> rows cannot be used",
            "<b>2</b> contacts need you",
            "<b>2</b> waiting",
            "+1 202 555 0199",
            "privacy id 123456789012345",
            "line 7",
            "row <bdi",
        ] {
            assert!(page.contains(text), "{text}");
        }
        let guardrail = Guardrail::ManyRenames { renamed: 9, known: 10 }.to_string();
        assert!(page.contains(&guardrail) && page.contains("<code>Guardrails::off()</code>"));
    }
    assert_eq!(headline(&empty), "Nothing to change");
    assert!(
        !empty.contains("Needs you")
            && !empty.contains("<details>")
            && empty.contains("4,890 contacts are right already")
    );
}

#[test]
fn five_thousand_changes_make_a_page_of_bounded_size_that_says_what_it_leaves_out() {
    let changes: Vec<_> = (0..5_000).map(|n| change(n, "rename", "stage", "planned")).collect();
    let plan = plan(0, 5_000, &changes);
    let page = plan.page().to_string();
    assert_eq!(headline(&page), "5,000 tags to change");
    assert!(page.len() < 700_000, "{} bytes", page.len());
    assert_eq!(page.matches("class=\"face").count(), 1_000);
    assert!(page.contains("<summary>Show 988 more</summary>"));
    assert!(page.contains("4,000 more of them are counted and not on this page."));
    assert_eq!(page, plan.page().to_string());
}

#[test]
fn what_is_left_out_is_counted_over_all_groups_of_a_section() {
    let waits = |n: usize| {
        let kind = n.is_multiple_of(2).then_some("timeout");
        merged(change(n, "rename", "stage", "due"), json!({"kind": kind, "at": START.0}))
    };
    for (waiting, more) in [(2_000, None), (3_000, Some("1,000 more waiting contacts are counted"))] {
        let mut plan = plan(0, 0, &(0..waiting).map(waits).collect::<Vec<_>>());
        plan.summary.gated = waiting as u64;
        let page = plan.page().to_string();
        assert_eq!(page.matches("class=\"face").count(), 2_000);
        assert_eq!(page.contains("class=\"more\""), more.is_some());
        assert!(page.contains(more.unwrap_or_default()));
    }
}

#[test]
fn a_name_as_long_as_a_book_is_cut_and_so_are_numbers_that_are_none() {
    let long = merged(change(0, "create", "new", "planned"), json!({"after": "x\u{301}<".repeat(1_000_000)}));
    let mut plan = plan(1, 0, &[long]);
    for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        plan.summary.seconds = seconds;
        let page = plan.page().at(Timestamp::MAX).to_string();
        assert!(page.len() < 20_000 && page.contains('…'), "{}", page.len());
    }
}

#[test]
fn a_run_that_was_stopped_says_so_first() {
    let (mut report, _) = run();
    (report.summary.created, report.summary.renamed, report.applied) = (0, 0, false);
    assert_eq!(headline(&report.page().to_string()), "Stopped before the first call: nothing changed");
    (report.guardrail, report.stopped) = (None, true);
    assert!(report.page().to_string().contains("No row took effect yet. Run again."));
    report.applied = true;
    let page = report.page().to_string();
    assert_eq!(headline(&page), "Nothing changed");
    assert!(page.contains("Run again for the 2 that wait."));
}

#[tokio::test(start_paused = true)]
async fn a_log_in_the_observer_tells_the_page_what_was_done() {
    let (world, log) = (World::new(), RunLog::default());
    let noting = log.clone();
    let sync = world.sync().observer(move |progress| noting.note(progress));
    let report = sync.run(all(people(20, "Bob"))).await.unwrap();
    let page = report.page().with_log(&log).to_string();
    assert_eq!((headline(&page), page.matches("class=\"face").count()), ("20 new", 20));
    assert!(page.contains("It read <b>20 rows</b> of the CRM."));
}

/// The first browser on the path that can be run without a window.
fn browser() -> Option<PathBuf> {
    let names = ["chrome-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<_> = env::split_paths(&env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

fn browse(browser: &Path, home: &Path, flags: &[&str], page: &Path) -> Output {
    let profile = format!("--user-data-dir={}", home.join("profile").display());
    let fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"];
    let mut command = Command::new(browser);
    command.args(fixed).arg(profile).args(["--allow-file-access-from-files", "--virtual-time-budget=5000"]);
    command.args(flags).arg(format!("file://{}", page.display())).output().unwrap()
}

/// Shows a page in a frame as wide as a phone, and writes down what it measures there.
const PHONE: &str = r#"<!DOCTYPE html><iframe src="page.html" width="360" height="1200"></iframe><pre></pre><script>
onload = () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  for (const rest of page.querySelectorAll("details")) rest.open = true;
  const style = getComputedStyle(page.body);
  const [r, g, b] = style.backgroundColor.match(/\d+/g).map(Number);
  const wide = [...page.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > 361).length;
  const arabic = [...page.querySelectorAll(".now bdi")].find((name) => name.textContent.startsWith("محمد"));
  document.querySelector("pre").textContent = JSON.stringify({
    width: root.scrollWidth, wide, dark: r + g + b < 200, scripts: page.scripts.length, images: page.images.length,
    direction: arabic && getComputedStyle(arabic).direction,
  });
};
</script>"#;

#[test]
fn a_browser_shows_the_page_on_a_phone_in_the_dark_and_on_paper_without_a_complaint() {
    let Some(browser) = browser() else {
        println!("skipped: no Chromium or Chrome on the PATH");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let (page, phone) = (home.path().join("page.html"), home.path().join("phone.html"));
    fs::write(&phone, PHONE).unwrap();
    for text in pages() {
        fs::write(&page, &text).unwrap();
        let paper = home.path().join("page.pdf");
        let shot = home.path().join("page.png");
        for (flag, file) in [
            (format!("--print-to-pdf={}", paper.display()), &paper),
            (format!("--screenshot={}", shot.display()), &shot),
        ] {
            let output = browse(&browser, home.path(), &[&flag], &page);
            assert_quiet(&output);
            assert!(fs::metadata(file).unwrap().len() > 5_000, "{flag}");
        }
        for dark in [false, true] {
            let flags: &[&str] =
                if dark { &["--dump-dom", "--blink-settings=preferredColorScheme=0"] } else { &["--dump-dom"] };
            let output = browse(&browser, home.path(), flags, &phone);
            assert_quiet(&output);
            let dom = String::from_utf8(output.stdout).unwrap();
            let seen: Value = serde_json::from_str(text_of(&dom, "<pre>", "</pre>")).unwrap();
            let has_names = text.contains("محمد");
            let direction = if has_names { json!("rtl") } else { Value::Null };
            let (scripts, images) = (0, 0);
            assert_eq!(
                [&seen["scripts"], &seen["images"], &seen["wide"]],
                [&json!(scripts), &json!(images), &json!(0)],
                "{seen}"
            );
            assert_eq!((&seen["dark"], &seen["direction"]), (&json!(dark), &direction), "{seen}");
            assert!(seen["width"].as_u64().unwrap() <= 360, "{seen}");
        }
    }
}

/// No line of the console: neither an error, nor something that the policy kept from loading.
#[track_caller]
fn assert_quiet(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("CONSOLE"), "{said}");
}
