//! What a look at the address book shows, and of whom.

use std::time::Duration;

use wawp_contacts::{
    ChatId, Error, ErrorKind,
    crm::CrmContact,
    ledger::Ledger,
    sync::{Guardrails, LookFirst},
};

use crate::{
    book::Fate,
    world::{World, all, chat, lid, people, row, seconds},
};

/// An engine lists one person as `..@c.us` with a name and as `..@lid` without; the LID is mapped to the phone.
#[tokio::test(start_paused = true)]
async fn p8_a_person_listed_under_phone_and_nameless_privacy_id_keeps_the_text_in_the_history() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.map(&lid(0), Some(&chat(0)));
        world.book.list_twice(&lid(0));
        world.run(people(30, "Bob")).await;
        assert_eq!(world.book.name(&chat(0)), Some("Bob 0".into()));
        assert_eq!(world.texts(0).await, ["Mum"]);
    }
}

/// The same listing of a person whom we named: nothing has changed.
#[tokio::test(start_paused = true)]
async fn p3_a_person_listed_under_phone_and_nameless_privacy_id_is_not_called_again() {
    for world in World::each().await {
        world.book.map(&lid(0), Some(&chat(0)));
        world.book.list_twice(&lid(0));
        world.run(people(30, "Bob")).await;
        let calls = world.book.calls().len();
        let more = (0..60).map(|n| row(n, &format!("Bob {n}"))).collect();
        world.run(more).await;
        let again: Vec<_> = world.book.calls().split_off(calls).into_iter().filter(|(c, _)| *c == chat(0)).collect();
        assert_eq!(again, []);
    }
}

/// `LookFirst::Always`: "where it cannot be read nothing is called".
#[tokio::test(start_paused = true)]
async fn p8_look_first_always_calls_nobody_for_whom_another_contact_answered() {
    for other in [lid(3), chat(3)] {
        let world = World::new();
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &other);
        let report = world.sync().look_first(LookFirst::Always).run(all(vec![row(0, "Bob")])).await.unwrap();
        assert_eq!(world.book.calls(), [], "{other}: {report}");
    }
}

fn brazil(n: usize) -> [ChatId; 2] {
    [format!("55119612{n:05}@c.us"), format!("5511612{n:05}@c.us")].map(|id| id.parse().unwrap())
}

fn brazilians(name: &str) -> Vec<CrmContact> {
    (0..30)
        .map(|n| CrmContact::new(format!("crm-{n}"), brazil(n)[0].clone()).named(format!("{name} {n}"), ""))
        .collect()
}

/// The whole book lists Brazilian mobiles without the ninth digit.
#[tokio::test(start_paused = true)]
async fn p8_a_whole_book_that_lists_variants_of_numbers_keeps_texts() {
    for world in World::each().await {
        for n in 0..30 {
            let [nine, eight] = brazil(n);
            assert!(nine.is_variant_of(&eight));
            world.book.edit(&nine, "Mum");
            world.book.show_as(&nine, &eight);
        }
        world.run(brazilians("Bob")).await;
        let history = world.ledger.history(&world.instance, &brazil(0)[0]).await.unwrap();
        assert_eq!(history.iter().map(|entry| &*entry.text).collect::<Vec<_>>(), ["Mum"]);
    }
}

/// P12/P1: such a book does not look empty in the second run, so that later changes get through.
#[tokio::test(start_paused = true)]
async fn p12_a_whole_book_that_lists_variants_of_numbers_is_not_empty() {
    for world in World::each().await {
        for n in 0..30 {
            let [nine, eight] = brazil(n);
            world.book.show_as(&nine, &eight);
        }
        world.run(brazilians("Bob")).await;
        let guardrails = Guardrails::default().max_renamed_share(1.0);
        let report = world.sync().guardrails(guardrails).run(all(brazilians("Rob"))).await.unwrap();
        assert_eq!(report.guardrail, None, "{report}");
    }
}

/// What a slow read saw before a request in doubt took effect is no proof that it did nothing.
#[tokio::test(start_paused = true)]
async fn p9_a_read_that_began_before_a_doubt_ended_does_not_end_it() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.next([Fate::AppliedLate]);
        world.sync().max_wait(Duration::ZERO).run(all(vec![row(0, "Bob")])).await.unwrap();
        tokio::time::sleep(seconds(28)).await;
        // The CRM now says what the phone still shows.
        world.book.take_reads(seconds(12));
        for _ in 0..3 {
            world.sync().max_wait(seconds(120)).run(all(vec![row(0, "Mum")])).await.unwrap();
            tokio::time::sleep(seconds(60)).await;
        }
        assert_eq!(world.book.name(&chat(0)), Some("Mum".into()), "{:#?}", world.record(0).await);
    }
}

/// A read that fails in passing is made again before the name is overwritten.
#[tokio::test(start_paused = true)]
async fn p8_one_read_that_fails_in_passing_costs_no_text() {
    for kind in [ErrorKind::Server, ErrorKind::Timeout, ErrorKind::Interrupted] {
        let world = World::new();
        world.book.edit(&chat(0), "Mum");
        world.book.fail_reads([Error::new(kind)]);
        let report = world.run(vec![row(0, "Bob")]).await;
        assert_eq!((report.notes.unread, world.texts(0).await), (None, vec!["Mum".into()]), "{kind:?}: {report}");
    }
}

/// The person is answered for under a privacy id, and no question for the phone behind it is answered: the name is overwritten as
/// where nothing can be read, and the report says so.
#[tokio::test(start_paused = true)]
async fn p8_a_text_is_not_lost_without_a_word_where_no_question_for_a_phone_is_answered() {
    let world = World::new();
    world.book.edit(&chat(0), "Mum");
    world.book.show_as(&chat(0), &lid(0));
    world.book.map(&lid(0), Some(&chat(0)));
    world.book.fail_phones(ErrorKind::Server);
    let report = world.run(vec![row(0, "Bob")]).await;
    assert_eq!((report.notes.unread, world.texts(0).await), (Some(ErrorKind::Server), vec![]), "{report}");
}

/// A person who is listed twice, on two pages, with a name on the first only.
#[tokio::test(start_paused = true)]
async fn p8_a_person_listed_on_two_pages_with_a_name_on_one_keeps_the_text() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        // In the order of ids the person is the last entry of the first page and the first of the second.
        (0..999).for_each(|n| world.book.edit(&format!("1100555{n:04}@c.us").parse().unwrap(), "Somebody"));
        world.book.list_twice(&chat(0));
        world.run(people(30, "Bob")).await;
        assert_eq!(world.texts(0).await, ["Mum"]);
    }
}

/// "Ping-pong is capped, then parked as contested": a phone that shows the name in another spelling (here NFD) after each push.
#[tokio::test(start_paused = true)]
async fn p3_a_phone_that_spells_our_name_its_own_way_is_not_called_for_ever() {
    for world in World::each().await {
        for day in 0..12 {
            let mut rows = people(30, "Bob");
            rows[0] = row(0, "Zo\u{eb}");
            rows.extend((30..40).map(|n| row(n, &format!("Day {day}"))));
            world.run(rows).await;
            world.book.edit(&chat(0), "Zoe\u{308}");
            tokio::time::sleep(seconds(86_400)).await;
        }
        let calls = world.book.calls().into_iter().filter(|(called, _)| *called == chat(0)).count();
        assert!(calls < 8, "{calls} calls for one wish in twelve days");
    }
}
