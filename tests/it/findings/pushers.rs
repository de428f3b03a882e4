//! Who pushes, who is left behind, and who is to blame.

use std::time::Duration;

use wawp_contacts::{
    Error, ErrorKind, Pace,
    crm::CrmContact,
    ledger::{Lease, Ledger, Query, SqliteLedger},
    sync::{Guardrail, Guardrails},
};

use crate::{
    book::Fate,
    world::{World, all, chat, claim, counts, lid, people, row, seconds, some},
};

/// A row that never had a name, of a person whom somebody saved on the phone, is no name that was lost.
#[tokio::test(start_paused = true)]
async fn p12_a_row_that_never_had_a_name_does_not_stop_the_second_run() {
    for world in World::each().await {
        world.book.edit(&chat(29), "Mum");
        let export = |name: &str| {
            let mut rows = people(29, name);
            rows.push(row(29, ""));
            rows
        };
        let guardrails = || Guardrails::default().max_renamed_share(1.0).free_renames(1_000);
        let first = world.sync().guardrails(guardrails()).run(all(export("Bob"))).await.unwrap();
        assert_eq!((first.guardrail.clone(), first.summary.created), (None, 29), "{first}");
        let second = world.sync().guardrails(guardrails()).run(all(export("Bob"))).await.unwrap();
        assert_eq!(second.guardrail, None, "{second}");
    }
}

/// A plan holds the lease while it reads; a run beside it leaves its calls to the plan, which makes none.
#[tokio::test(start_paused = true)]
async fn p1_a_run_beside_a_plan_pushes_its_names() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        (100..5_000).for_each(|n| world.book.edit(&chat(n), "Somebody"));
        let plan = world.sync().owner("a plan");
        let plan = tokio::spawn(async move { plan.plan(all(people(30, "Bob"))).await });
        tokio::time::sleep(seconds(2)).await;
        let report = world.sync().run(all(people(30, "Bob"))).await.unwrap();
        plan.await.unwrap().unwrap();
        assert_eq!((report.summary.created, report.notes.pushed_by), (30, None));
    }
}

/// Whoever pushes ends between the question for the lease and the moment at which the wishes take effect.
#[tokio::test(start_paused = true)]
async fn p1_wishes_left_to_a_pusher_that_has_just_ended_are_pushed() {
    for world in World::each().await {
        let ledger = world.base();
        let lease = ledger.acquire(&world.instance, "another run", seconds(60)).await.unwrap();
        world.shaky.before_apply(async move { ledger.release(lease).await.unwrap() });
        let report = world.sync().run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), world.shows(3, "Bob")), ([3, 0, 0, 0, 0, 0, 3], true), "{report}");
    }
}

/// A symbolic link to the ledger is the same ledger: its lease is held by a living process.
#[cfg(unix)]
#[tokio::test]
async fn p10_a_living_holders_lease_is_not_given_out_through_a_symbolic_link() {
    let home = tempfile::tempdir().unwrap();
    let (file, link) = (home.path().join("ledger"), home.path().join("link"));
    let instance = "A1B2C3".parse().unwrap();
    let first = SqliteLedger::open(&file).await.unwrap();
    let lease = first.acquire(&instance, "first", seconds(60)).await.unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let second = SqliteLedger::open(&link).await.unwrap();
    let taken = second.acquire(&instance, "second", seconds(60)).await;
    assert!(taken.is_err(), "the lease was taken over: {:?}", first.renew(&lease, seconds(60)).await);
}

/// One contact for which the server always answers 503 with a short `Retry-After`; all others work.
#[tokio::test(start_paused = true)]
async fn p6_one_contact_that_always_fails_with_retry_after_starves_no_other() {
    for wait in [0, 1, 5] {
        let world = World::new();
        world.book.keep(Pace::every(seconds(1)));
        world.book.next_of(&chat(0), vec![Fate::Asks(ErrorKind::Server, wait); 10_000]);
        for _ in 0..3 {
            world.run(people(5, "Bob")).await;
        }
        let names: Vec<_> = (1..5).map(|n| world.book.name(&chat(n))).collect();
        assert!(names.iter().all(Option::is_some), "Retry-After {wait}: {names:?}, {} calls", world.book.calls().len());
    }
}

/// A `Retry-After` that is 0, or a date that has passed, is no licence to repeat without end.
#[tokio::test(start_paused = true)]
async fn p3_a_retry_after_that_has_passed_is_backed_off_from() {
    let world = World::new();
    world.book.take(Duration::from_millis(5));
    world.book.next_of(&chat(0), vec![Fate::Asks(ErrorKind::Server, 0); 100_000]);
    world.run(people(1, "Bob")).await;
    let calls = world.book.calls().len();
    assert!(calls <= 10, "{calls} calls for one name in one run");
}

/// A clock that is set back while the gate waits, for a call or for a read, must not lengthen the wait.
#[tokio::test(start_paused = true)]
async fn p6_a_clock_set_back_during_a_wait_does_not_lengthen_it() {
    for is_read in [false, true] {
        for world in World::each().await {
            if is_read {
                world.book.fail_reads([Error::new(ErrorKind::RateLimited).with_retry_after(seconds(10))]);
            } else {
                world.book.next([Fate::Asks(ErrorKind::RateLimited, 10)]);
            }
            let (clock, began) = (world.clock.clone(), tokio::time::Instant::now());
            tokio::spawn(async move {
                tokio::time::sleep(seconds(5)).await;
                clock.shift(-36_000_000);
            });
            let report = world.run(people(3, "Bob")).await;
            let took = began.elapsed();
            assert!(took < seconds(300), "a wait of 10 s took {took:?}: {report}");
        }
    }
}

/// Five numbers that the server refuses for good (landlines) must not close the gate of every run for ever.
#[tokio::test(start_paused = true)]
async fn p3_five_contacts_that_are_refused_for_good_end_parked() {
    for world in World::each().await {
        for n in 0..5 {
            world.book.next_of(&chat(n), vec![Fate::Says(ErrorKind::Rejected, "not on WhatsApp"); 1_000]);
        }
        for _ in 0..4 {
            world.run(people(20, "Bob")).await;
            tokio::time::sleep(seconds(86_400)).await;
        }
        let calls = world.book.calls().len();
        let report = world.run(people(20, "Bob")).await;
        assert_eq!(
            (world.book.calls().len() - calls, report.gate),
            (0, None),
            "the fifth run of the same export: {report}"
        );
    }
}

/// And they must not stand in front of everybody who is new.
#[tokio::test(start_paused = true)]
async fn p6_five_contacts_that_are_refused_for_good_hold_up_nobody_who_is_new() {
    for world in World::each().await {
        for n in 0..5 {
            world.book.next_of(&chat(n), vec![Fate::Says(ErrorKind::Rejected, "not on WhatsApp"); 1_000]);
        }
        for _ in 0..2 {
            world.run(people(20, "Bob")).await;
            tokio::time::sleep(seconds(86_400)).await;
        }
        assert_eq!(world.book.name(&chat(19)), Some("Bob 19".into()));
        let report = world.run(people(21, "Bob")).await;
        assert_eq!(world.book.name(&chat(20)), Some("Bob 20".into()), "{report}");
    }
}

/// After a person allowed another account, its book shows the names that are wanted, unchanged rows included.
#[tokio::test(start_paused = true)]
async fn p1_another_account_that_was_allowed_gets_every_name() {
    for world in World::each().await {
        world.book.log_in(&chat(900));
        world.run(people(3, "Bob")).await;
        world.book.log_in(&chat(901));
        world.book.wipe();
        let rows = || vec![row(0, "Robert"), row(1, "Bob 1"), row(2, "Bob 2")];
        let allowed = Guardrails::default().allow_other_account(true);
        for _ in 0..2 {
            world.sync().guardrails(allowed).run(all(rows())).await.unwrap();
        }
        let names: Vec<_> = (0..3).map(|n| world.book.name(&chat(n))).collect();
        assert_eq!(names, ["Robert", "Bob 1", "Bob 2"].map(|name| Some(name.to_owned())));
    }
}

/// Whoever pushes ends while the rows take effect, so that the account is asked for only after that.
fn hold_until_applied(world: &World, lease: Lease) {
    let ledger = world.base();
    world.shaky.before_apply(async move { ledger.release(lease).await.unwrap() });
}

/// The rows took effect before anybody could see that another account is behind the instance.
#[tokio::test(start_paused = true)]
async fn p3_another_account_that_was_allowed_late_is_remembered() {
    for world in World::each().await {
        world.book.log_in(&chat(900));
        world.run(people(3, "Bob")).await;
        world.book.log_in(&chat(901));
        world.book.wipe();
        let lease = world.base().acquire(&world.instance, "another run", seconds(60)).await.unwrap();
        hold_until_applied(&world, lease);
        let allowed = world.sync().guardrails(Guardrails::default().allow_other_account(true));
        let report = allowed.run(all([row(0, "Robert"), row(1, "Bob 1"), row(2, "Bob 2")])).await.unwrap();
        assert_eq!((report.summary.calls, world.state().await.account), (3, Some(chat(901))), "{report}");
        let next = world.guarded().run(some([row(0, "Rob")])).await.unwrap();
        assert_eq!((next.guardrail, next.summary.calls), (None, 1));
    }
}

/// The same where nobody allowed it: the wishes wait, and the report says so.
#[tokio::test(start_paused = true)]
async fn p12_a_guardrail_that_stops_a_run_late_says_that_its_wishes_wait() {
    for world in World::each().await {
        world.book.log_in(&chat(900));
        world.run(people(3, "Bob")).await;
        world.book.log_in(&chat(901));
        let lease = world.base().acquire(&world.instance, "another run", seconds(60)).await.unwrap();
        hold_until_applied(&world, lease);
        let report = world.guarded().run(some([row(0, "Robert")])).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::OtherAccount { .. })) && report.applied, "{report}");
        assert_eq!((report.summary.calls, report.summary.gated), (0, 1), "{report}");
        assert!(report.to_string().contains("stopped before the first call; the wishes wait: the account"), "{report}");
        assert!(report.page().to_string().contains("Stopped before the first call; the wishes wait"));
    }
}

/// A ledger whose file was moved away is nobody's ledger any more: a second process makes a new one and pushes beside the first.
#[cfg(unix)]
#[tokio::test]
async fn p10_a_ledger_that_was_moved_away_gives_up_its_lease() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ledger");
    let instance = "A1B2C3".parse().unwrap();
    let first = SqliteLedger::open(&file).await.unwrap();
    let lease = first.acquire(&instance, "first", seconds(60)).await.unwrap();
    let away = home.path().join("away");
    std::fs::create_dir(&away).unwrap();
    for name in ["ledger", "ledger-wal", "ledger-shm"] {
        std::fs::rename(home.path().join(name), away.join(name)).unwrap();
    }
    let second = SqliteLedger::open(&file).await.unwrap();
    let taken = second.acquire(&instance, "second", seconds(60)).await;
    let both = taken.is_ok() && first.renew(&lease, seconds(60)).await.is_ok();
    assert!(!both, "two processes hold the lease of one instance");
}

/// Two changes of the CRM beside a run: one person is in conflict with a row that names another one, for ever.
#[tokio::test(start_paused = true)]
async fn p1_two_changes_beside_a_run_leave_no_ghost_of_a_claim() {
    for world in World::each().await {
        world.run(vec![claim("crm-5", 4, "Five").at_version(1)]).await;
        let (one, other) = (world.sync(), world.sync());
        world.shaky.before_apply(async move {
            one.intake(some(vec![claim("crm-5", 2, "Five").at_version(2)])).await.unwrap();
        });
        world.shaky.before_commit(async move {
            other.intake(some(vec![claim("crm-2", 0, "Two").at_version(3)])).await.unwrap();
        });
        let export = || vec![claim("crm-5", 5, "Five").at_version(3), claim("crm-2", 2, "Two").at_version(3)];
        for _ in 0..3 {
            world.run(export()).await;
            tokio::time::sleep(seconds(60)).await;
        }
        let report = world.run(export()).await;
        assert_eq!((world.book.name(&chat(2)), report.summary.refused), (Some("Two".into()), 0), "{report}");
    }
}

/// A row that comes twice, by two privacy ids that are known, claims the second person, not a stranger of that id.
#[tokio::test(start_paused = true)]
async fn p7_a_row_that_comes_twice_by_known_privacy_ids_splits_nobody() {
    for world in World::each().await {
        for n in 0..2 {
            world.book.map(&lid(n), Some(&chat(n)));
        }
        let by = |n: usize| CrmContact::new("crm-0", lid(n)).named("Bob", "");
        world.run(vec![by(1)]).await;
        world.run(vec![by(0)]).await;
        let export = || vec![by(1), by(0), claim("crm-9", 0, "Ann")];
        for _ in 0..3 {
            let report = world.sync().intake(all(export())).await.unwrap();
            let records = world.ledger.fetch(&world.instance, Query::Chats(&[lid(0)])).await.unwrap();
            let chats: Vec<_> = records.iter().map(|record| record.chat.clone()).collect();
            assert_eq!((chats, report.summary.refused), (vec![chat(0)], 2), "{report}");
        }
    }
}

/// A clock that jumps past the end of the lease during a call must not let the run spin: nothing is called without the lease.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_during_a_call_ends_neither_the_lease_nor_the_run() {
    for world in World::each().await {
        let clock = world.clock.clone();
        world.book.keep(Pace::unlimited());
        world.book.meanwhile(async move { clock.shift(3_600_000) });
        let report = world.run(people(5, "Bob")).await;
        assert_eq!(report.summary.created, 5, "{report}");
        assert!(world.shows(5, "Bob"));
    }
}
