//! Who a person is: privacy ids, variants, and answers under another id.

use std::time::Duration;

use wawp_contacts::{
    ChatId, ErrorKind,
    book::Existence,
    crm::CrmContact,
    ledger::Ledger,
    record::{Hold, Policy, Record, merge},
    sync::{Guardrails, Outcome},
};

use crate::{
    book::{Fate, Read},
    world::{World, all, chat, counts, lid, people, row, seconds},
};

const DAY: u64 = 86_400;

fn anonymous(n: usize, name: &str) -> CrmContact {
    CrmContact::new(format!("crm-{n}"), lid(n)).named(name, "")
}

fn phones_asked(world: &World) -> usize {
    world.book.reads().iter().filter(|read| matches!(read, Read::Phone(_))).count()
}

#[tokio::test(start_paused = true)]
async fn p7_a_privacy_id_is_resolved_to_its_phone_before_it_is_called() {
    for world in World::each().await {
        world.book.map(&lid(7), Some(&chat(7)));
        world.book.edit(&chat(7), "Somebody");
        let report = world.run(vec![anonymous(7, "Bob")]).await;
        assert_eq!(report.summary.calls, 1, "{report}");
        assert_eq!(world.book.calls(), [(chat(7), "Bob".into())]);
        assert!(!world.book.reads().contains(&Read::Contact(lid(7))), "its digits are no phone to read by");
        assert_eq!(world.texts(7).await, ["Somebody"]);
        let record = world.find(&lid(7)).await.unwrap();
        assert_eq!((record.chat, record.aliases), (chat(7), vec![lid(7)]));
        assert_eq!(counts(&world.run(vec![anonymous(7, "Bob")]).await), [0, 0, 1, 0, 0, 0, 0]);
        world.run(vec![anonymous(7, "Robert")]).await;
        assert_eq!((world.book.name(&chat(7)), phones_asked(&world)), (Some("Robert".into()), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_privacy_id_without_a_phone_is_held_and_asked_for_again_after_a_day() {
    for world in World::each().await {
        let export = || vec![anonymous(7, "Bob"), row(1, "Ann")];
        let report = world.run(export()).await;
        assert_eq!((counts(&report), report.summary.held), ([1, 0, 0, 0, 0, 0, 1], 1), "{report}");
        assert_eq!(report.open[0].outcome, Outcome::Held { reason: Hold::NoPhone });
        let requests = world.book.requests();
        let report = world.run(export()).await;
        assert_eq!((report.summary.held, world.book.requests()), (1, requests), "nobody asks twice a day");
        tokio::time::sleep(seconds(DAY)).await;
        world.book.map(&lid(7), None);
        assert_eq!((world.run(export()).await.summary.held, phones_asked(&world)), (1, 2));
        tokio::time::sleep(seconds(DAY)).await;
        world.book.map(&lid(7), Some(&chat(7)));
        let report = world.run(export()).await;
        assert_eq!(counts(&report), [1, 0, 1, 0, 0, 0, 1], "{report}");
        assert_eq!(world.book.name(&chat(7)), Some("Bob".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn all_privacy_ids_that_were_held_for_a_day_are_asked_for_again() {
    for world in World::each().await {
        let export = || (0..3).map(|n| anonymous(n, "Bob")).collect::<Vec<_>>();
        assert_eq!(world.run(export()).await.summary.held, 3);
        (0..3).for_each(|n| world.book.map(&lid(n), Some(&chat(n))));
        tokio::time::sleep(seconds(DAY)).await;
        let report = world.run(export()).await;
        assert_eq!((report.summary.created, report.summary.held), (3, 0), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_name_for_a_held_contact_asks_nobody() {
    let world = World::new();
    world.run(vec![anonymous(7, "Bob")]).await;
    let report = world.run(vec![anonymous(7, "Robert")]).await;
    assert_eq!((report.summary.held, phones_asked(&world)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn two_rows_of_one_person_by_phone_and_by_privacy_id_compete_once_that_is_known() {
    for world in World::each().await {
        world.book.map(&lid(7), Some(&chat(7)));
        let export = || vec![row(7, "Bob"), CrmContact::new("crm-lid", lid(7)).named("Lid", "")];
        world.run(export()).await;
        let report = world.run(export()).await;
        assert_eq!((report.summary.refused, report.summary.calls), (2, 0), "{report}");
        assert!(world.book.calls().len() <= 1, "{:?}", world.book.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_answer_under_the_persons_privacy_id_is_an_answer() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        world.run(vec![row(0, "Bob")]).await;
        assert_eq!((world.texts(0).await, world.record(0).await.aliases), (vec!["Mum".into()], vec![lid(0)]));
        world.book.edit(&chat(0), "Dad");
        world.run(vec![row(0, "Robert")]).await;
        assert_eq!((world.texts(0).await, phones_asked(&world)), (vec!["Dad".into(), "Mum".into()], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_is_learnt_from_an_answer_that_is_no_other_news() {
    for world in World::each().await {
        world.run(vec![row(0, "Bob")]).await;
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        world.run(vec![row(0, "Robert")]).await;
        assert_eq!(world.record(0).await.aliases, [lid(0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_answer_under_an_id_that_may_be_anybodys_is_no_answer() {
    for (other, phone) in [(lid(3), None), (lid(3), Some(chat(3))), (chat(3), None)] {
        let world = World::new();
        world.book.map(&lid(3), phone.as_ref());
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &other);
        let report = world.run(vec![row(0, "Bob")]).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1]);
        assert_eq!((world.texts(0).await, world.record(0).await.seen), (Vec::<String>::new(), None));
        assert_eq!(phones_asked(&world), usize::from(other.is_lid()), "a phone is its own phone");
    }
}

#[tokio::test(start_paused = true)]
async fn p8_an_answer_under_a_variant_of_the_number_is_an_answer() {
    for world in World::each().await {
        let [nine, eight]: [ChatId; 2] = ["5511961241234@c.us", "551161241234@c.us"].map(|id| id.parse().unwrap());
        world.book.edit(&nine, "Mum");
        world.book.show_as(&nine, &eight);
        world.run(vec![CrmContact::new("crm-0", nine.clone()).named("Bob", "")]).await;
        let history = world.ledger.history(&world.instance, &nine).await.unwrap();
        assert_eq!(history.iter().map(|entry| &*entry.text).collect::<Vec<_>>(), ["Mum"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_is_listed_by_privacy_ids_is_read_through_their_phones() {
    for world in World::each().await {
        for n in 0..50 {
            world.book.edit(&chat(n), "Mum");
            world.book.show_as(&chat(n), &lid(n));
            world.book.map(&lid(n), Some(&chat(n)));
        }
        let report = world.run(people(50, "Bob")).await;
        assert_eq!(counts(&report), [0, 50, 0, 0, 0, 0, 50], "{report}");
        assert_eq!(world.texts(49).await, ["Mum"]);
        let guardrails = Guardrails::default().max_renamed_share(1.0);
        let reads = world.book.reads().len();
        let report = world.sync().guardrails(guardrails).run(all(people(50, "Rob"))).await.unwrap();
        assert_eq!((report.guardrail, report.summary.renamed), (None, 50), "the book is not empty");
        assert_eq!(world.book.reads()[reads..], [Read::Session, Read::Page(0)], "whose ids they are is known");
        for n in 50..60 {
            world.book.edit(&chat(n), "Mum");
            world.book.show_as(&chat(n), &lid(n));
            world.book.map(&lid(n), Some(&chat(n)));
        }
        let reads = world.book.reads().len();
        let report = world.run(people(60, "Bobby")).await;
        assert_eq!((counts(&report), world.texts(59).await), ([0, 60, 0, 0, 0, 0, 60], vec!["Mum".into()]), "{report}");
        assert_eq!(world.book.reads()[reads..], [Read::Session, Read::Page(0), Read::Lids(0)], "some are new");
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_privacy_id_that_cannot_be_asked_for_now_is_neither_called_nor_held() {
    let world = World::new();
    world.book.fail_phones(ErrorKind::Server);
    let report = world.run(vec![anonymous(7, "Bob"), row(1, "Ann")]).await;
    assert_eq!((counts(&report), report.summary.held), ([1, 0, 0, 0, 0, 1, 1], 0), "{report}");
    assert!(phones_asked(&world) < 20, "{} times", phones_asked(&world));
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_was_taken_out_is_not_learnt_again_from_a_read() {
    for world in World::each().await {
        world.book.map(&lid(7), Some(&chat(7)));
        world.run(vec![anonymous(7, "Bob")]).await;
        world.sync().unmerge(&lid(7)).await.unwrap().unwrap();
        world.book.show_as(&chat(7), &lid(7));
        world.sync().refresh().await.unwrap();
        assert_eq!(world.record(7).await.aliases, [], "the whole book lists it");
        world.run(vec![anonymous(7, "Bob"), CrmContact::new("crm-phone", chat(7)).named("Rob", "")]).await;
        assert_eq!(world.record(7).await.aliases, [], "the phone is answered for under it");
        assert_eq!(world.sync().unmerge(&lid(7)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_is_a_contact_by_itself_is_not_taken_out_of_another_one() {
    for world in World::each().await {
        world.book.map(&lid(7), Some(&chat(7)));
        world.run(vec![anonymous(7, "Bob")]).await;
        world.sync().unmerge(&lid(7)).await.unwrap().unwrap();
        // As an observer may store it who does not know better.
        let learnt = merge(&world.record(7).await, Record::new(lid(7)), &Policy::default(), world.clock.now());
        assert!(world.ledger.commit(&world.instance, None, vec![learnt.into()]).await.unwrap().is_empty());
        let held = world.sync().hold(&lid(7)).await.unwrap().unwrap();
        assert_eq!(held.chat, lid(7), "what is said of an id is said of its own contact");
        assert_eq!(world.sync().unmerge(&lid(7)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_an_answer_taught_is_taken_out_as_a_contact_that_is_held() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        world.run(vec![row(0, "Bob")]).await;
        let (left, back) = world.sync().unmerge(&lid(0)).await.unwrap().unwrap();
        assert_eq!((left.chat, left.aliases, left.joined.len()), (chat(0), vec![], 0));
        assert!(back.chat == lid(0) && back.held.is_some() && back.claims.is_empty(), "{back:?}");
        assert_eq!(world.sync().unmerge(&lid(0)).await.unwrap(), None, "once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_by_privacy_id_is_given_back_also_where_the_id_was_listed_before_it_was_resolved() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        let export = || [people(30, "Bob"), vec![CrmContact::new("crm-lid", lid(0)).named("Lid", "")]].concat();
        world.run(export()).await;
        let (left, back) = world.sync().unmerge(&lid(0)).await.unwrap().unwrap();
        assert_eq!((&*left.claims[0].crm_id, &*back.claims[0].crm_id), ("crm-0", "crm-lid"));
        assert_eq!((left.claims.len(), back.claims.len()), (1, 1));
        world.run(export()).await;
        assert_eq!((world.book.name(&chat(0)), world.texts(0).await), (Some("Bob 0".into()), vec!["Mum".into()]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_also_where_a_privacy_id_that_it_learnt_is_forgotten_meanwhile() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        let other = world.sync();
        world.shaky.before_apply(async move {
            assert_eq!(other.forget(&lid(0)).await.unwrap(), None);
        });
        world.run(vec![row(0, "Bob")]).await;
        assert_eq!((world.texts(0).await, world.record(0).await.aliases), (vec!["Mum".into()], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn p9_a_request_for_one_spelling_of_a_number_is_waited_for_before_the_other_one_is_called() {
    for world in World::each().await {
        let [nine, eight]: [ChatId; 2] = ["5511961247467@c.us", "551161247467@c.us"].map(|id| id.parse().unwrap());
        let export = |name| vec![CrmContact::new("crm-0", eight.clone()).named(name, "")];
        world.book.next([Fate::AppliedLate]);
        world.sync().max_wait(Duration::ZERO).run(all(export("Bob"))).await.unwrap();
        // Only now can the server tell how the number is written.
        world.book.tell_existence([(eight.clone(), Existence::new(true).with_chat(nine))]);
        world.run(export("Rob")).await;
        assert_eq!(world.book.effects(), [(eight.clone(), "Bob".into()), (eight.clone(), "Rob".into())]);
    }
}
