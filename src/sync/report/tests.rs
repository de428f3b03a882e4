use super::*;
use crate::{
    ContactName,
    crm::RowDigest,
    record::{Claim, Event, Policy, Wish, decide},
};

fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}@c.us").parse().unwrap()
}

fn change(n: usize, outcome: Outcome) -> Change {
    let (crm_id, after) = (format!("crm-{n}").into(), format!("Bob {n}"));
    Change { chat: chat(n), crm_id, action: Action::Create, before: None, after, cause: Cause::New, outcome }
}

fn refusal() -> Refusal {
    Refusal::new(RefusalReason::NoPhone, "no phone")
}

/// A person whom rows claim under these ids, and whose name is known.
fn claimed(crm_ids: &[&str]) -> Record {
    let mut record = Record::new(chat(0));
    record.seen = Some(crate::record::Seen::new(Some("Mum".into()), Timestamp(1)));
    for crm_id in crm_ids {
        let wish = Wish::plain(ContactName::new("Bob", "").unwrap());
        let claim = Claim::new(*crm_id, None, RowDigest::default(), Some(wish));
        let event = Event::Claimed { claim, urgent: false };
        record = decide(&record, event, &Policy::default(), Timestamp(2)).record;
    }
    record
}

#[test]
fn a_person_is_needed_for_what_is_refused_parked_held_or_waiting_and_for_nothing_else() {
    let none = Summary::default();
    let done = Summary { created: 1, renamed: 1, unchanged: 1, stale: 1, left: 1, shortened: 1, untagged: 1, ..none };
    assert!(!none.needs_person() && !done.needs_person());
    for open in [
        Summary { refused: 1, ..none },
        Summary { parked: 1, ..none },
        Summary { held: 1, ..none },
        Summary { gated: 1, ..none },
    ] {
        assert!(open.needs_person() && !open.has_changes(), "{open}");
    }
    for changed in [Summary { created: 1, ..none }, Summary { renamed: 1, ..none }] {
        assert!(changed.has_changes() && !changed.needs_person(), "{changed}");
    }
    assert!(!none.has_changes());
}

#[test]
fn a_summary_is_one_line_that_names_the_rare_counts_only_if_there_are_any() {
    let summary = Summary { created: 1, gated: 2, calls: 3, seconds: 4.04, ..Summary::default() };
    let line = "1 created, 0 renamed, 0 unchanged, 0 refused, 0 parked, 2 waiting, 0 stale; 3 calls, 4.0 s";
    assert_eq!(summary.to_string(), line);
    let line = "1 created, 0 renamed, 0 unchanged, 0 refused, 0 parked, 5 held, 6 left, 1 shortened, 2 waiting, 0 stale; \
                3 calls, 4.0 s";
    assert_eq!(Summary { held: 5, left: 6, shortened: 1, ..summary }.to_string(), line);
}

#[test]
fn a_report_shows_what_needs_a_person_and_a_plan_shows_all() {
    let parked = Outcome::Parked {
        reason: Park::Refused,
        kind: Some(ErrorKind::Rejected),
        message: Some("no such number".into()),
    };
    let waits = change(2, Outcome::Due { at: Timestamp(1), kind: None });
    let renamed = Change { before: Some("Mum".into()), action: Action::Rename, ..change(3, Outcome::Planned) };
    let changes = vec![change(1, parked), waits, renamed];
    let untagged = [("Leed".into(), 2), ("Lost".into(), 1)].into();
    let report = Report {
        run: 1,
        summary: Summary::default(),
        gate: Some(ErrorKind::Configuration),
        hint: Some("set a token".into()),
        resumes_at: None,
        guardrail: Some(Guardrail::Blanked { blanked: 1 }),
        stopped: false,
        applied: false,
        notes: Notes { untagged, ..Notes::default() },
        open: changes[..2].to_vec(),
        refusals: vec![refusal()],
    };
    let (kind, refused) = (ErrorKind::Rejected, ErrorKind::Configuration);
    let one = format!("+ 12025550001@c.us: \"Bob 1\" (new), parked: {kind}: no such number\n");
    let notes = "! 2 rows have the stage \"Leed\", which no tag is set for\n\
                 ! 1 row has the stage \"Lost\", which no tag is set for\n";
    let gate = format!("the instance is left alone: {refused}; set a token\n");
    let no = format!("! no phone ({})\n", RefusalReason::NoPhone.code());
    let blanked = Guardrail::Blanked { blanked: 1 };
    let summary = Summary::default();
    let expected = format!("{no}{one}{notes}{gate}stopped before the first call: {blanked}\n{summary}");
    assert_eq!(report.to_string(), expected);

    for (applied, gated, told) in [
        (false, 0, "told to stop before any row took effect; run again"),
        (true, 0, "told to stop; nothing waits"),
        (true, 2, "told to stop; run again for the 2 that wait"),
    ] {
        let summary = Summary { gated, ..Summary::default() };
        let stopped = Report { applied, stopped: true, guardrail: None, summary, ..report.clone() };
        assert!(stopped.to_string().contains(&format!("\n{told}\n")), "{stopped}");
    }

    let Report { summary, gate: kind, notes: rest, refusals, .. } = report;
    let schedule = Schedule::default();
    let plan = Plan {
        summary,
        gate: kind,
        hint: None,
        resumes_at: None,
        schedule,
        guardrail: None,
        notes: rest,
        changes,
        refusals,
    };
    let others = "+ 12025550002@c.us: \"Bob 2\" (new), waiting\n~ 12025550003@c.us: \"Mum\" -> \"Bob 3\" (new)\n";
    let gate = format!("the instance is left alone: {refused}\n");
    assert_eq!(plan.to_string(), format!("{one}{others}{no}{notes}{gate}{summary}"));
}

#[test]
fn p11_what_cannot_be_seen_is_shown_as_an_escape_and_emoji_stay_whole() {
    for (text, shown) in [
        ("Bob\u{1b}[31m\n", r#""Bob\u{1b}[31m\u{a}""#),
        ("Bob\u{202e}", r#""Bob\u{202e}""#),
        ("\u{feff}Bob\u{ad}", r#""\u{feff}Bob\u{ad}""#),
        ("👩\u{200d}🌾", "\"👩\u{200d}🌾\""),
    ] {
        assert_eq!(Quoted(text).to_string(), shown);
    }
}

#[test]
fn a_run_keeps_the_first_lines_and_counts_on_and_a_plan_keeps_all() {
    let (mut run, mut plan) = (Recorder::of_run(None), Recorder::of_plan());
    for recorder in [&mut run, &mut plan] {
        for n in 0..=KEPT {
            recorder.refuse(refusal());
            recorder.change(change(n, Outcome::Held { reason: Hold::NoPhone }));
            recorder.repeated(&format!("crm-{n}"));
            recorder.shortened("crm-0");
            recorder.untagged(&format!("stage {n}"));
            recorder.left(&claimed(&[]), "crm-0", LeftReason::Gone);
        }
        recorder.change(change(0, Outcome::Done));
    }
    for (recorder, kept) in [(run, KEPT), (plan, KEPT + 1)] {
        let Notes { repeated, untagged, shortened, left, .. } = recorder.notes;
        assert_eq!((recorder.refusals.len(), recorder.changes.len()), (kept, kept));
        assert_eq!([repeated.len(), untagged.len(), shortened.len(), left.len()], [KEPT; 4]);
        let Summary { refused, held, shortened, untagged, left, created, .. } = recorder.summary;
        let all = KEPT as u64 + 1;
        assert_eq!(([refused, held, shortened, untagged, left], created), ([all; 5], 1));
    }
}

#[test]
fn an_id_that_came_again_and_again_is_listed_once() {
    let mut recorder = Recorder::of_run(None);
    for id in ["a", "a", "b", "a"] {
        recorder.repeated(id);
    }
    assert_eq!(recorder.notes.repeated, ["a".into(), "b".into()]);
}

#[test]
fn each_row_that_competes_is_told_of_the_others_and_not_of_itself() {
    let mut recorder = Recorder::of_run(None);
    recorder.refuse_competing(&claimed(&["crm-a", "crm-b", "crm-c"]));
    let details: Vec<_> = recorder.refusals.iter().map(|refusal| refusal.detail.clone()).collect();
    for (detail, others) in details.iter().zip(["crm-b, crm-c", "crm-a, crm-c", "crm-a, crm-b"]) {
        assert_eq!(*detail, format!("12025550000@c.us is also claimed by row {others}; merge them in the CRM"));
    }
    assert_eq!(details.len(), 3);
}
