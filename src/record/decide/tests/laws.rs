//! Laws that hold for any record, event and moment, reachable or not unless it is said.

use super::*;

fn moment() -> impl Strategy<Value = Timestamp> + Clone {
    prop_oneof![
        6 => (0..400_u64).prop_map(at),
        1 => Just(Timestamp(0)),
        1 => Just(Timestamp::MAX),
        1 => any::<u64>().prop_map(Timestamp),
    ]
}

fn duration() -> impl Strategy<Value = Duration> + Clone {
    prop_oneof![8 => (0..300_u64).prop_map(ms), 1 => Just(Duration::ZERO), 1 => Just(Duration::MAX)]
}

fn any_wish() -> impl Strategy<Value = Wish> + Clone {
    let tag = prop::option::of(select(vec!["Lead", "Customer"]));
    (select(NAMES.to_vec()), tag, 0..2_u32).prop_map(|(base, tag, rules)| match tag {
        Some(tag) => tagged(base, tag, rules),
        None => Wish { rules, ..wish(base) },
    })
}

fn any_claim() -> impl Strategy<Value = Claim> + Clone {
    let cause = select(vec![Cause::New, Cause::Name, Cause::Stage, Cause::Rules]);
    let digest = (0..3_u8).prop_map(|byte| RowDigest::from_bytes([byte; 16]));
    (select(vec!["a", "b", "c"]), prop::option::of(0..4_u64), digest, prop::option::weighted(0.8, any_wish()), cause)
        .prop_map(|(id, version, digest, wish, cause)| Claim { cause, ..Claim::new(id, version, digest, wish) })
}

fn chat() -> impl Strategy<Value = ChatId> + Clone {
    select(vec![PHONE, PHONE, PHONE, LID, "5511987654321@c.us"]).prop_map(|chat| chat.parse().unwrap())
}

fn name() -> impl Strategy<Value = Option<Box<str>>> + Clone {
    prop::option::weighted(0.9, select(vec!["Ann", "Bob", "Ann [Lead]", "Mum", ""]).prop_map(Into::into))
}

fn status() -> impl Strategy<Value = Status> + Clone {
    prop_oneof![
        Just(Status::InSync),
        moment().prop_map(|at| Status::Due { at }),
        moment().prop_map(|since| Status::Held { reason: Hold::NoPhone, since }),
        select(vec![Park::Refused, Park::Competing, Park::Drifted, Park::Contested, Park::Unkept, Park::Deadly])
            .prop_map(|reason| Status::Parked { reason }),
    ]
}

fn pushed() -> BoxedStrategy<Pushed> {
    let some = prop::option::of(moment());
    let sent = (any_wish(), moment()).prop_map(|(wish, at)| Sent { wish, run: 1, at, verified_at: None });
    let doubt = (any_wish(), moment(), moment(), some.clone()).prop_map(|(wish, since, until, earlier_until)| {
        InDoubt { wish, run: 2, since, until, earlier_until, earlier_names: Vec::new() }
    });
    let failure = (any_wish(), (0..9_u32, 0..9_u32, 0..4_u32), moment(), some.clone(), select(ErrorKind::ALL.to_vec()))
        .prop_map(|(wish, (attempts, unclear, deaths), at, retry_at, kind)| {
            let wish = wish.name.fingerprint();
            LastFailure { wish, attempts, unclear, deaths, at, retry_at, kind, message: None }
        });
    let flips = prop::option::weighted(
        0.3,
        (name(), moment(), 0..6_u32).prop_map(|(name, since, times)| Flips {
            name: name.unwrap_or_default(),
            since,
            times,
        }),
    );
    let before = prop::collection::vec(name().prop_map(Option::unwrap_or_default), 0..3);
    let calling = prop::option::weighted(0.3, 1..4_u64);
    (prop::option::of(sent), prop::option::of(doubt), some, prop::option::of(failure), flips, before, calling)
        .prop_map(|(sent, in_doubt, late_until, failure, flips, before, calling)| Pushed {
            sent,
            in_doubt,
            late_until,
            failure,
            flips,
            calling,
            before,
        })
        .boxed()
}

pub(super) fn any_record() -> BoxedStrategy<Record> {
    let seen = (name(), moment(), any::<bool>(), any::<bool>()).prop_map(|(name, at, is_overruled, is_ours)| Seen {
        name,
        at,
        is_overruled,
        is_ours,
    });
    let held = prop::option::weighted(0.2, moment().prop_map(|since| Held { since }));
    let checked =
        prop::option::weighted(0.2, (any::<bool>(), moment()).prop_map(|(exists, at)| Checked { exists, at }));
    let source = select(vec![Source::Phone, Source::Undo { run: 1 }]);
    let substitute = prop::option::weighted(0.2, (any_wish(), source));
    let claims = prop::collection::vec(any_claim(), 0..3);
    let persons = (prop::option::of(seen), held, checked, substitute);
    (chat(), claims, pushed(), persons, status(), any::<u64>())
        .prop_map(|(chat, mut claims, pushed, (seen, held, checked, substitute), status, revision)| {
            claims.sort_by(|one, other| one.crm_id.cmp(&other.crm_id));
            claims.dedup_by(|one, other| one.crm_id == other.crm_id);
            // One stands in place of what a row wants.
            let over = claims.first().and_then(|claim| claim.wish.clone());
            let substitute = substitute.zip(over).map(|((wish, source), over)| {
                let over = match source {
                    Source::Phone => over.base.fingerprint(),
                    _ => over.name.fingerprint(),
                };
                Substitute { wish, over, source }
            });
            Record { claims, pushed, seen, held, checked, substitute, status, revision, ..Record::new(chat) }
        })
        .boxed()
}

fn any_failure() -> impl Strategy<Value = Failure> + Clone {
    let blame = select(vec![Blame::Contact, Blame::Unclear, Blame::Instance]);
    let wait = prop::option::of(duration());
    (select(ErrorKind::ALL.to_vec()), any::<bool>(), wait, any::<f64>(), blame).prop_map(
        |(kind, is_in_doubt, retry_after, jitter, blame)| Failure {
            kind,
            message: None,
            is_in_doubt,
            retry_after,
            jitter,
            blame,
        },
    )
}

fn any_event() -> BoxedStrategy<Event> {
    prop_oneof![
        4 => (any_claim(), any::<bool>()).prop_map(|(claim, urgent)| Event::Claimed { claim, urgent }),
        1 => select(vec!["a", "b", "c"]).prop_map(|id| Event::Unclaimed { crm_id: id.into() }),
        20 => any_event_of_others(),
    ]
    .boxed()
}

/// Events of the pusher, of observers and of persons.
fn any_event_of_others() -> BoxedStrategy<Event> {
    prop_oneof![
        2 => (name(), prop::option::of(moment())).prop_map(|(name, at)| Event::Seen { name, at }),
        1 => name().prop_map(|name| Event::Unkept { name, blame: Blame::Contact }),
        1 => Just(Event::PhoneUnknown),
        1 => any::<bool>().prop_map(|exists| Event::Checked { exists }),
        1 => Just(Event::AccountChanged),
        6 => Just(Event::Begin { run: 3 }),
        1 => Just(Event::Cancel),
        2 => Just(Event::Acknowledged),
        3 => any_failure().prop_map(Event::Failed),
        1 => Just(Event::ClockSetBack),
        1 => Just(Event::Died { run: 3 }),
        2 => select(vec![Event::Hold, Event::Release, Event::Retry, Event::Adopted, Event::PolicyChanged]),
        1 => select(vec![1_u64, 3]).prop_map(|run| Event::Undo { run, name: wish("Mum").name }),
    ]
    .boxed()
}

fn any_policy() -> impl Strategy<Value = Policy> + Clone {
    let drift = select(vec![Drift::CrmWins, Drift::PhoneWins, Drift::ByField, Drift::Ask, Drift::IfRaw]);
    (duration(), duration(), duration(), 0..4_u32, drift, 0..3_u32).prop_map(
        |(deadline, base, ceiling, unclear_attempts, drift, most_flips)| Policy {
            deadline,
            backoff: RetryPolicy::default().backing_off(base, ceiling),
            unclear_attempts,
            drift,
            most_flips,
            ..Policy::default()
        },
    )
}

/// Events of one contact, mostly of its row 7, and how long after each other they happen.
fn story() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let claimed = select(NAMES.to_vec()).prop_map(|name| Event::claimed("7", wish(name)));
    let event = prop_oneof![4 => claimed, 1 => any_claim().prop_map(|claim| Event::Claimed { claim, urgent: false }), 1 =>
    select(vec!["a", "b", "c", "7"]).prop_map(|id| Event::Unclaimed { crm_id: id.into() }), 8 => any_event_of_others()];
    prop::collection::vec((event, 0..60_u64), 1..40)
}

/// What the documentation of [`Status`] says, written down once more.
fn assert_status_follows(record: &Record, now: Timestamp) {
    let pushed = &record.pushed;
    let expected = match (&*record.claims, record.wanted()) {
        ([_, _, ..], _) => "parked",
        (_, None) => "in_sync",
        (_, Some(wish)) => {
            let is_same = |other: &Wish| other.name == wish.name;
            let is_sent = pushed.sent.as_ref().is_some_and(|sent| is_same(&sent.wish));
            let is_doubt_seen = pushed.in_doubt.as_ref().is_none_or(|doubt| {
                is_same(&doubt.wish) && record.seen.as_ref().is_some_and(|seen| seen.at > doubt.since)
            });
            let is_contested = is_sent
                && pushed.in_doubt.is_none()
                && record.drifted().is_some_and(|seen| !seen.is_overruled)
                && pushed.flips.as_ref().is_some_and(|flips| flips.times > Policy::default().most_flips);
            if record.shows(&wish.name) && is_doubt_seen && (is_sent || pushed.late_until.is_none()) {
                "in_sync"
            } else if let Some(Held { since }) = record.held {
                assert_eq!(record.status, Status::Held { reason: Hold::ByHand, since });
                "held"
            } else if let Some(Checked { exists: false, at }) = record.checked.filter(|_| !record.is_known()) {
                assert_eq!(record.status, Status::Held { reason: Hold::NotOnWhatsApp, since: at });
                "held"
            } else if matches!(record.status, Status::Held { .. }) {
                assert!(record.chat.is_lid());
                "held"
            } else if is_contested
                || record.failure().is_some_and(|failure| failure.retry_at.is_none() || failure.deaths >= 3)
            {
                "parked"
            } else {
                let foreign = pushed.in_doubt.as_ref().filter(|doubt| !is_same(&doubt.wish)).map(|doubt| doubt.until);
                let late = pushed.late_until.filter(|_| !is_sent);
                let retry = record.failure().and_then(|failure| failure.retry_at);
                let free = foreign.max(late).max(retry);
                let at = record.status.due_at().expect("due");
                assert!(Some(at) >= free && (at <= now || Some(at) == free), "{record:?} at {now:?}");
                "due"
            }
        }
    };
    assert_eq!(record.status.as_str(), expected, "{record:?} at {now:?}");
}

fn without_causes(record: Record) -> Record {
    let claims = record.claims.into_iter().map(|claim| Claim { cause: Cause::New, ..claim }).collect();
    Record { claims, ..record }
}

proptest! {
    #[test]
    fn deciding_is_total_and_says_whether_anything_changed(
        record in any_record(), event in any_event(), policy in any_policy(), now in moment(),
    ) {
        let decision = decide(&record, event, &policy, now);
        prop_assert_eq!(decision.is_changed, decision.record != record);
        prop_assert_eq!(decision.record.revision, record.revision, "the ledger counts, not the decision");
        prop_assert_eq!(&decision.record.chat, &record.chat);
        prop_assert!(decision.effects.len() <= 2);
    }

    #[test]
    fn a_record_reads_back_as_it_was_stored(record in any_record()) {
        let text = serde_json::to_string(&record).unwrap();
        prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn claiming_twice_is_once(record in any_record(), claim in any_claim(), urgent: bool, now in moment()) {
        let event = Event::Claimed { claim, urgent };
        let once = after(&record, event.clone(), now);
        prop_assert!(!decide(&once, event, &policy(), now).is_changed);
    }

    #[test]
    fn setting_the_clock_back_twice_is_once(record in any_record(), now in moment()) {
        let once = after(&record, Event::ClockSetBack, now);
        let twice = after(&once, Event::ClockSetBack, now);
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn the_order_of_different_rows_does_not_matter(
        record in any_record(), one in any_claim(), other in any_claim(), now in moment(),
    ) {
        let one = Claim { crm_id: "d".into(), ..one };
        // What stands in place of a wish outlives that rows compete, but not that its own changes.
        let record = Record { substitute: None, ..record };
        let claimed = |claim: &Claim| Event::Claimed { claim: claim.clone(), urgent: false };
        let there = after(&after(&record, claimed(&one), now), claimed(&other), now);
        let back = after(&after(&record, claimed(&other), now), claimed(&one), now);
        prop_assert!(there.claims.iter().map(|claim| &claim.crm_id).is_sorted());
        prop_assert_eq!(without_causes(there), without_causes(back));
    }

    #[test]
    fn a_row_claims_whatever_it_wants_unless_it_is_stale(record in any_record(), claim in any_claim(), now in moment()) {
        let held = record.claim(&claim.crm_id).and_then(|held| held.version);
        let decision = decide(&record, Event::Claimed { claim: claim.clone(), urgent: false }, &policy(), now);
        let is_stale = claim.version.is_some() && claim.version < held;
        prop_assert_eq!(decision.effects.contains(&Effect::Stale), is_stale);
        let kept = decision.record.claim(&claim.crm_id).unwrap();
        if is_stale {
            prop_assert!(!decision.is_changed);
        } else {
            prop_assert_eq!((&kept.wish, kept.digest, kept.version), (&claim.wish, claim.digest, claim.version.or(held)));
        }
    }

    #[test]
    fn a_failure_says_nothing_of_another_wish(record in any_record(), event in any_event(), now in moment()) {
        let next = after(&record, event, now);
        let wish = next.wanted().map(|wish| wish.name.fingerprint());
        prop_assert!(next.failure().is_none_or(|failure| Some(failure.wish) == wish));
    }

    #[test]
    fn p4_sent_advances_by_an_acknowledgement_only(record in any_record(), event in any_event(), now in moment()) {
        let sent = |record: &Record| record.pushed.sent.clone().map(|sent| (sent.wish, sent.run));
        let next = after(&record, event.clone(), now);
        match event {
            Event::Acknowledged => {
                let doubt = record.pushed.in_doubt.clone().map(|doubt| (doubt.wish, doubt.run));
                prop_assert_eq!(sent(&next), doubt.or(sent(&record)));
            }
            Event::ClockSetBack => {
                prop_assert_eq!(sent(&next), sent(&record));
                prop_assert!(next.pushed.sent.map(|sent| sent.at) <= record.pushed.sent.map(|sent| sent.at));
            }
            Event::AccountChanged => prop_assert_eq!(next.pushed.sent, None, "it was sent to another address book"),
            Event::Adopted if record.pushed.sent.is_none() => {
                let shown = record.wanted().filter(|wish| record.seen.is_some() && record.shows(&wish.name));
                prop_assert!(next.pushed.sent.is_none_or(|sent| Some(&sent.wish) == shown), "nothing but what is shown");
            }
            _ => {
                let at = |record: &Record| record.pushed.sent.as_ref().map(|sent| sent.at);
                prop_assert_eq!((sent(&next), at(&next)), (sent(&record), at(&record)));
            }
        }
    }

    #[test]
    fn each_lane_leaves_the_others_alone(record in any_record(), event in any_event(), now in moment()) {
        let next = after(&record, event.clone(), now);
        let is_crm = matches!(event, Event::Claimed { .. } | Event::Unclaimed { .. });
        let is_pusher = matches!(event, Event::Begin { .. } | Event::Cancel | Event::Acknowledged | Event::Failed(_));
        if !is_crm {
            // Who has a say in the wish may change why it has to be written, but never what a row says.
            prop_assert_eq!(without_causes(next.clone()).claims, without_causes(record.clone()).claims);
        }
        if is_crm {
            prop_assert_eq!(&next.pushed.in_doubt, &record.pushed.in_doubt);
        }
        if is_crm || is_pusher {
            prop_assert_eq!(&next.seen, &record.seen);
        }
        if matches!(event, Event::Seen { .. }) {
            // That a name is not kept was seen, and so is that it is.
            let others = |failure: &LastFailure| failure.kind != ErrorKind::Unkept;
            prop_assert_eq!(next.pushed.failure.filter(others), record.pushed.failure.filter(others));
        }
    }

    #[test]
    fn p7_a_privacy_id_is_never_begun(record in any_record(), now in moment()) {
        let lid = Record { chat: LID.parse().unwrap(), ..record };
        prop_assert!(!calls(&lid, now));
    }

    #[test]
    fn p9_nothing_is_begun_while_a_request_for_another_name_is_written_down(
        record in any_record(), due in moment(), now in moment(),
    ) {
        let record = Record { status: Status::Due { at: due }, ..record };
        let decision = decide(&record, Event::Begin { run: 1 }, &policy(), now);
        prop_assert!(decision.calls() || !decision.is_changed);
        if decision.calls() {
            prop_assert!(due <= now);
            let Pushed { sent, in_doubt, late_until, .. } = &record.pushed;
            let wish = record.wanted().unwrap();
            let begun = decision.record.pushed.in_doubt.as_ref().unwrap();
            prop_assert_eq!(&begun.wish, wish);
            prop_assert_eq!(decision.record.pushed.late_until, None, "it is in the mark now");
            prop_assert!(begun.until >= now.after(policy().deadline));
            prop_assert!(begun.earlier_until <= Some(begun.until));
            prop_assert!(in_doubt.is_none() || begun.earlier_until.is_some(), "an unanswered request is forgotten");
            if let Some(doubt) = in_doubt.as_ref().filter(|doubt| doubt.wish.name != wish.name) {
                prop_assert!(doubt.until <= now);
            }
            if sent.as_ref().is_none_or(|sent| sent.wish.name != wish.name) {
                prop_assert!(late_until.is_none_or(|until| until <= now));
            }
        }
    }

    #[test]
    fn a_status_is_what_the_rest_of_the_record_says(steps in story(), chat in chat()) {
        let (mut record, mut now) = (Record::new(chat), T);
        for (event, later) in steps {
            now = now.after(ms(later));
            record = after(&record, event, now);
            assert_status_follows(&record, now);
            let doubt = record.pushed.in_doubt.as_ref();
            prop_assert!(doubt.is_none_or(|doubt| doubt.earlier_until <= Some(doubt.until)));
            if record.wanted().is_none() {
                prop_assert_eq!(record.status.due_at(), None, "nobody wants anything");
            }
        }
    }

    #[test]
    fn the_name_in_doubt_may_be_repeated_at_once(steps in story()) {
        let (mut record, mut now) = (new(), T);
        for (event, later) in steps {
            now = now.after(ms(later));
            record = after(&record, event, now);
            let doubted = record.pushed.in_doubt.as_ref().map(|doubt| &doubt.wish.name);
            let is_same = doubted.is_some() && doubted == record.wanted().map(|wish| &wish.name);
            let is_left = record.held.is_some() || matches!(record.status, Status::Held { .. } | Status::InSync);
            if is_same && record.failure().is_none() && !is_left {
                prop_assert!(calls(&record, now), "{record:?}");
            }
        }
    }

    /// Requests land until their deadline by true time; the record's clock is set back now and then, and deadlines differ.
    #[test]
    fn p9_no_name_is_begun_while_a_request_for_another_can_land(
        chapters in prop::collection::vec((story(), prop_oneof![0..90_u64, 0..3_600_000_u64], 20..200_u64), 1..4),
    ) {
        let (mut record, mut truth, mut back) = (new(), Timestamp(20_000_000), 0_u64);
        let mut open: Vec<(ContactName, Timestamp)> = Vec::new();
        let mut is_waiting = false;
        for (steps, set_back, deadline) in chapters {
            let policy = Policy { deadline: ms(deadline), ..policy() };
            for (event, later) in steps {
                let is_answer = matches!(event, Event::Cancel | Event::Acknowledged | Event::Failed(_));
                if is_answer && !is_waiting {
                    continue;
                }
                truth = truth.after(ms(later));
                let decision = decide(&record, event.clone(), &policy, truth.before(ms(back)));
                record = decision.record.clone();
                if decision.calls() {
                    let name = record.pushed.in_doubt.as_ref().unwrap().wish.name.clone();
                    for (older, until) in &open {
                        prop_assert!(*older == name || *until <= truth, "{older} lands until {until:?}, it is {truth:?}");
                    }
                    open.push((name, truth.after(ms(deadline))));
                    is_waiting = true;
                }
                if is_answer {
                    is_waiting = false;
                    let is_unknown = matches!(event, Event::Failed(Failure { is_in_doubt: true, .. }));
                    // An answer takes the last request out of the race.
                    open.truncate(open.len() - usize::from(!is_unknown));
                }
            }
            back += set_back;
            record = after(&record, Event::ClockSetBack, truth.before(ms(back)));
        }
    }

    /// Clocks jump to and fro; once it is said that they did, nothing waits for longer than if they had always been right.
    #[test]
    fn a_clock_set_back_leaves_no_moment_further_ahead_than_policy_allows(
        steps in prop::collection::vec((any_event(), moment()), 1..30), now in moment(),
    ) {
        let mut record = new();
        for (mut event, now) in steps {
            if let Event::Failed(failure) = &mut event {
                failure.retry_after = None;
            }
            record = after(&record, event, now);
        }
        let record = after(&record, Event::ClockSetBack, now);
        let end = now.after(policy().deadline);
        let Pushed { sent, in_doubt, late_until, failure, .. } = &record.pushed;
        prop_assert!(in_doubt.as_ref().is_none_or(|doubt| doubt.since <= now && doubt.until <= end));
        prop_assert!(in_doubt.as_ref().is_none_or(|doubt| doubt.earlier_until <= Some(end)));
        prop_assert!(*late_until <= Some(end), "{:?}", late_until);
        prop_assert!(sent.as_ref().is_none_or(|sent| sent.at <= now));
        prop_assert!(record.seen.as_ref().is_none_or(|seen| seen.at <= now.after(ms(1))));
        prop_assert!(failure.as_ref().is_none_or(|last| last.at <= now && last.retry_at <= Some(now.after(ms(80)))));
        prop_assert!(record.status.due_at() <= Some(end));
    }
}
