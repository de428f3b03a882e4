//! Numbers that are asked for before the first name is written, ids that are joined and taken apart, and rows that are gone; on every
//! ledger.

use wawp_contacts::{
    ChatId, ContactName, ErrorKind, Phone,
    book::Existence,
    crm::CrmContact,
    record::{Hold, Status},
    sync::{Guardrail, Guardrails, LookFirst, Retry},
};

use crate::{
    book::Read,
    world::{World, all, chat, lid, people, row, seconds, some},
};

const WITH_NINE: &str = "5511961247467@c.us";
const WITHOUT: &str = "551161247467@c.us";

fn id(text: &str) -> ChatId {
    text.parse().unwrap()
}

fn checks(world: &World) -> Vec<ChatId> {
    let asked = |read| if let Read::Exists(chat) = read { Some(chat) } else { None };
    world.book.reads().into_iter().filter_map(asked).collect()
}

fn not_there() -> Existence {
    Existence::new(false)
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_not_on_whatsapp_is_left_out_and_says_so() {
    for world in World::each().await {
        world.book.tell_existence([(chat(1), not_there())]);
        let sync = world.sync().check_numbers(true);
        let report = sync.run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, report.summary.held), (2, 1), "{report}");
        assert!(report.to_string().contains("not on WhatsApp"), "{report}");
        assert_eq!(world.book.name(&chat(1)), None);
        assert!(matches!(world.record(1).await.status, Status::Held { reason: Hold::NotOnWhatsApp, .. }));
        assert_eq!(checks(&world).len(), 3);

        sync.run(all(people(3, "Rob"))).await.unwrap();
        assert_eq!(checks(&world).len(), 3, "the answers are in the ledger, and who is known is not asked for");
        let story = sync.explain(&chat(1)).await.unwrap().unwrap();
        assert!(story.to_string().contains("is not on WhatsApp"), "{story}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_is_asked_for_again_after_a_week_or_when_a_person_says_so() {
    for world in World::each().await {
        world.book.tell_existence([(chat(0), not_there())]);
        let sync = world.sync().check_numbers(true);
        sync.run(all(people(1, "Bob"))).await.unwrap();
        world.clock.shift(6 * 86_400_000);
        sync.run(all([row(0, "Bob 0"), row(1, "Eve")])).await.unwrap();
        assert_eq!(checks(&world), [chat(0), chat(1)]);
        world.clock.shift(2 * 86_400_000);
        sync.run(all([row(0, "Bob 0"), row(1, "Ann")])).await.unwrap();
        assert_eq!(checks(&world), [chat(0), chat(1), chat(0)]);

        world.book.tell_existence([]);
        assert_eq!(sync.retry(Retry::Contact(chat(0))).await.unwrap(), 1);
        let report = sync.run(all([row(0, "Bob 0"), row(1, "Ann")])).await.unwrap();
        assert_eq!((report.summary.created, world.book.name(&chat(0)).as_deref()), (1, Some("Bob 0")));
    }
}

#[tokio::test(start_paused = true)]
async fn p5_numbers_are_asked_for_at_most_once_a_second() {
    let world = World::new();
    world.book.tell_existence([]);
    let began = tokio::time::Instant::now();
    world.sync().check_numbers(true).run(all(people(10, "Bob"))).await.unwrap();
    assert!(began.elapsed() >= seconds(9), "{:?}", began.elapsed());
    let plan = World::new().sync().check_numbers(true).plan(all(people(10, "Bob"))).await.unwrap();
    assert!(plan.summary.seconds >= 10.0, "a plan counts the questions: {}", plan.summary.seconds);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_where_that_was_not_wanted_or_cannot_be() {
    let world = World::new();
    world.book.tell_existence([]);
    world.run(people(3, "Bob")).await;
    assert!(checks(&world).is_empty());

    let world = World::new();
    let report = world.sync().check_numbers(true).run(all(people(3, "Bob"))).await.unwrap();
    assert_eq!((report.summary.created, checks(&world).len()), (3, 1), "the provider cannot tell");

    let world = World::new();
    world.book.tell_existence([]);
    world.book.refuse_reads(ErrorKind::Route);
    let report = world.sync().check_numbers(true).run(all(people(3, "Bob"))).await.unwrap();
    assert_eq!(report.summary.created, 3, "a question that cannot be asked stops nobody: {report}");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_written_in_two_ways_is_written_to_where_the_server_says() {
    for (given, real) in [(WITH_NINE, WITHOUT), (WITHOUT, WITH_NINE), (WITHOUT, WITHOUT)] {
        for world in World::each().await {
            world.book.tell_existence([(id(given), Existence::new(true).with_chat(id(real)))]);
            let rows = |name: &str| [CrmContact::new("crm-1", id(given)).named(name, "")];
            let report = world.run(rows("Bob").into()).await;
            assert_eq!(report.summary.created, 1, "{given} {real}: {report}");
            assert_eq!(world.book.calls(), [(id(real), "Bob".to_owned())]);
            assert_eq!(world.find(&id(given)).await.unwrap().chat, id(real), "and is found under both");

            let again = world.run(rows("Bob").into()).await;
            assert_eq!((again.summary.calls, again.summary.unchanged), (0, 1), "{again}");
            world.run(rows("Rob").into()).await;
            assert_eq!(world.book.name(&id(real)).as_deref(), Some("Rob"));
            assert_eq!(checks(&world), [id(given)], "asked for once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p7_an_answer_for_another_number_is_not_followed() {
    for world in World::each().await {
        world.book.tell_existence([(id(WITHOUT), Existence::new(true).with_chat(chat(7)))]);
        world.run(vec![CrmContact::new("crm-1", id(WITHOUT)).named("Bob", "")]).await;
        assert_eq!(world.book.calls(), [(id(WITHOUT), "Bob".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_under_a_privacy_id_is_another_id_of_the_same_person() {
    for world in World::each().await {
        let phone: Phone = "+12025550000".parse().unwrap();
        world.book.tell_existence([(chat(0), Existence::new(true).with_chat(lid(0)).with_phone(phone))]);
        world.sync().check_numbers(true).run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!(world.book.calls(), [(chat(0), "Bob 0".to_owned())]);
        assert_eq!(world.find(&lid(0)).await.unwrap().chat, chat(0));
    }
}

#[tokio::test(start_paused = true)]
async fn without_looks_no_number_is_asked_for() {
    let world = World::new();
    world.book.tell_existence([]);
    let sync = world.sync().look_first(LookFirst::Never);
    sync.run(all([CrmContact::new("crm-1", id(WITHOUT)).named("Bob", "")])).await.unwrap();
    assert!(checks(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_was_joined_by_mistake_is_taken_out_again_with_its_rows() {
    for world in World::each().await {
        world.book.tell_existence([(id(WITHOUT), Existence::new(true).with_chat(id(WITH_NINE)))]);
        world.run(vec![CrmContact::new("crm-1", id(WITHOUT)).named("Bob", "")]).await;
        let (left, back) = world.sync().unmerge(&id(WITHOUT)).await.unwrap().unwrap();
        assert_eq!((&left.chat, &back.chat), (&id(WITH_NINE), &id(WITHOUT)));
        assert!(left.claims.is_empty() && left.aliases.is_empty());
        assert_eq!(back.wanted().unwrap().name, ContactName::new("Bob", "").unwrap());
        assert_eq!(world.find(&id(WITHOUT)).await.unwrap().chat, id(WITHOUT), "both are found by themselves");
        assert_eq!(world.find(&id(WITH_NINE)).await.unwrap().chat, id(WITH_NINE));
        assert_eq!(world.sync().unmerge(&id(WITHOUT)).await.unwrap(), None, "once");
        assert_eq!(world.sync().unmerge(&chat(5)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_is_taken_out_stays_out() {
    for world in World::each().await {
        world.book.map(&lid(0), Some(&chat(0)));
        let by_lid = || CrmContact::new("crm-1", lid(0)).named("Bob", "");
        world.run(vec![by_lid()]).await;
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bob"));
        let (left, back) = world.sync().unmerge(&lid(0)).await.unwrap().unwrap();
        assert_eq!((left.chat, &back.chat), (chat(0), &lid(0)));
        assert!(matches!(back.status, Status::Held { reason: Hold::ByHand, .. }), "{:?}", back.status);
        let report = world.run(vec![by_lid()]).await;
        assert_eq!((report.summary.calls, report.summary.held), (0, 1), "{report}");
        assert_eq!(world.find(&lid(0)).await.unwrap().chat, lid(0));
    }
}

fn tagged(n: usize) -> Vec<CrmContact> {
    people(n, "Bob").into_iter().map(|row| row.in_stage("Lead")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_gone_leaves_its_contact_alone_or_takes_its_tag_off() {
    for untags in [false, true] {
        for world in World::each().await {
            let sync = world.sync().untag_gone(untags);
            sync.run(all(tagged(3))).await.unwrap();
            let report = sync.run(all(tagged(2))).await.unwrap();
            assert_eq!((report.summary.calls, report.summary.left), (u64::from(untags), 1), "{report}");
            let shown = if untags { "Bob 2" } else { "Bob 2 [Lead]" };
            assert_eq!(world.book.name(&chat(2)).as_deref(), Some(shown));
            for round in 0..2 {
                let again = sync.run(all(tagged(2))).await.unwrap();
                assert_eq!(again.summary.calls, 0, "round {round}: {again}");
            }
            assert_eq!(world.record(2).await.claims, [], "the row claims nothing any more");
            let back = sync.run(all(tagged(3))).await.unwrap();
            assert_eq!(back.summary.calls, u64::from(untags), "{back}");
            assert_eq!(world.book.name(&chat(2)).as_deref(), Some("Bob 2 [Lead]"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_tag_that_could_not_be_taken_off_is_taken_off_by_a_later_run() {
    for world in World::each().await {
        let sync = world.sync().untag_gone(true);
        sync.run(all(tagged(3))).await.unwrap();
        world.book.pause(ErrorKind::RateLimited, seconds(3_600));
        let report = sync.run(all(tagged(2))).await.unwrap();
        assert_eq!(report.summary.gated, 1, "{report}");
        world.book.heal();
        tokio::time::sleep(seconds(3_700)).await;
        world.clock.shift(0);
        sync.run(all(tagged(2))).await.unwrap();
        assert_eq!(world.book.name(&chat(2)).as_deref(), Some("Bob 2"));
    }
}

#[tokio::test(start_paused = true)]
async fn p12_whoever_is_strict_is_stopped_by_one_row_that_is_gone_or_has_no_tag() {
    let world = World::new();
    let strict = world.sync().guardrails(Guardrails::strict());
    strict.run(all(tagged(3))).await.unwrap();
    let calls = world.book.calls().len();
    let gone = strict.run(all(tagged(2))).await.unwrap();
    assert!(matches!(gone.guardrail, Some(Guardrail::MissingRows { missing: 1, known: 3 })), "{gone}");
    let untagged = strict.run(some([row(0, "Bob 0").in_stage("Leed")])).await.unwrap();
    assert!(matches!(untagged.guardrail, Some(Guardrail::Untagged { rows: 1 })), "{untagged}");
    let long = strict.run(some([row(0, &"Bob ".repeat(40)).in_stage("Lead")])).await.unwrap();
    assert!(matches!(long.guardrail, Some(Guardrail::Shortened { names: 1 })), "{long}");
    assert_eq!(world.book.calls().len(), calls);
}
