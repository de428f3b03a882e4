//! Books that cannot be read, as far as they can be written.

use wawp_contacts::{Error, ErrorKind, sync::LookFirst};

use crate::{
    book::Read,
    world::{World, all, chat, counts, people, seconds},
};

/// What reads answer for good with 400 or 422, and with 404 or 501.
const FOR_GOOD: [ErrorKind; 2] = [ErrorKind::Rejected, ErrorKind::Route];

#[tokio::test(start_paused = true)]
async fn a_book_that_cannot_be_read_is_written_all_the_same_and_the_report_says_so() {
    for kind in FOR_GOOD {
        for n in [10, 40] {
            let world = World::new();
            world.book.refuse_reads(kind);
            let report = world.run(people(n, "Bob")).await;
            assert_eq!((report.summary.created, report.notes.unread), (n as u64, Some(kind)), "{report}");
            assert!(world.book.reads().len() <= 4, "{:?}", world.book.reads());
            assert!(report.to_string().contains("cannot be read"), "{report}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_has_to_be_read_and_cannot_is_not_written() {
    for kind in FOR_GOOD {
        for n in [1, 2, 10, 40] {
            let world = World::new();
            world.book.refuse_reads(kind);
            let report = world.sync().look_first(LookFirst::Always).run(all(people(n, "Bob"))).await.unwrap();
            assert_eq!(
                (counts(&report), world.book.calls()),
                ([0, 0, 0, 0, 0, n as u64, 0], vec![]),
                "{kind:?}: {report}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_has_to_be_read_and_cannot_is_not_written_and_the_others_are() {
    for kind in [ErrorKind::Rejected, ErrorKind::Server] {
        let world = World::new();
        world.book.refuse_reads_of(&chat(1), kind);
        let report = world.sync().look_first(LookFirst::Always).run(all(people(4, "Bob"))).await.unwrap();
        assert_eq!((world.book.name(&chat(1)), report.summary.created), (None, 3), "{kind:?}: {report}");
        assert_eq!((report.summary.gated, report.gate), (1, None), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_cannot_be_read_for_a_while_is_read_again() {
    let world = World::new();
    world.book.edit(&chat(0), "Mum");
    let failures = [ErrorKind::Server, ErrorKind::Timeout].map(Error::new);
    world.book.fail_reads(failures);
    let report = world.run(people(40, "Bob")).await;
    assert_eq!((report.notes.unread, world.texts(0).await), (None, vec!["Mum".into()]), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_book_that_fails_three_times_is_written_without_a_look() {
    let world = World::new();
    world.book.refuse_reads(ErrorKind::Server);
    let report = world.run(people(40, "Bob")).await;
    assert_eq!((report.summary.created, report.notes.unread), (40, Some(ErrorKind::Server)), "{report}");
    assert_eq!(world.book.reads(), [Read::Session, Read::Page(0), Read::Page(0), Read::Page(0)]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_read_of_one_contact_that_is_told_to_wait_holds_the_calls_back() {
    for (kind, asked, wait) in [
        (ErrorKind::Server, Some(40), 40),
        (ErrorKind::RateLimited, Some(40), 40),
        (ErrorKind::SessionNotReady, None, 15),
    ] {
        for world in World::each().await {
            let began = world.clock.now();
            let error = || Error::new(kind);
            world.book.fail_reads([asked.map_or_else(error, |wait| error().with_retry_after(seconds(wait)))]);
            let report = world.run(people(3, "Bob")).await;
            assert_eq!(counts(&report), [3, 0, 0, 0, 0, 0, 3], "{report}");
            assert!(world.book.called_at()[0].since(began) >= seconds(wait), "{kind:?}");
        }
    }
}
