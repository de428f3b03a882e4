//! What a person reads: groups, columns, colours, times, and what to do.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;
use wawp_contacts::testkit::{Answer, WawpServer};

use super::{Desk, Ended, people};

impl Ended {
    /// The lines below a heading.
    #[track_caller]
    fn below(&self, heading: &str) -> Vec<&str> {
        let lines = self.out.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
        let below: Vec<_> = lines.take_while(|line| line.starts_with("  ")).collect();
        assert!(!below.is_empty(), "nothing below {heading:?}\n{self}");
        below
    }

    /// Checks that no line is wider.
    #[track_caller]
    fn fits(&self, width: usize) {
        for line in self.out.lines() {
            assert!(line.width() <= width, "{} columns: {line}\n{self}", line.width());
        }
    }
}

/// People of whom some have another tag than before, some another name, and some are new.
fn changed(tags: usize, names: usize, new: usize) -> String {
    let mut csv = "id,first_name,phone,stage\n".to_owned();
    for n in 0..tags + names + new {
        let name = if (tags..tags + names).contains(&n) { "Rob" } else { "Bob" };
        let stage = if n < tags { "Customer" } else { "Lead" };
        writeln!(csv, "crm-{n},{name} {n},+1202555{n:04},{stage}").unwrap();
    }
    csv
}

#[tokio::test]
async fn changes_stand_in_groups_in_the_future_of_a_plan_and_the_past_of_a_run() {
    let (desk, server) = (Desk::with_people(13, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "--tags Lead,Customer").await.with(0);
    desk.write("crm.csv", &changed(12, 1, 3));
    let plan = desk.run_at(&server, "plan --tags Lead,Customer").await.with(2);
    let run = desk.run_at(&server, "--tags Lead,Customer").await.with(0);
    for (told, headings, last) in [
        (
            &plan,
            ["12 tags will change", "1 name will change", "3 contacts will be added"],
            "plan: 3 contacts will be added, 13 renamed, 0 stay as they are; 16 calls",
        ),
        (
            &run,
            ["12 tags changed", "1 name changed", "3 contacts added"],
            "run 2: 3 added, 13 renamed, 0 unchanged; 16 calls, ",
        ),
    ] {
        let tags = told.below(headings[0]);
        assert_eq!(tags.len(), 9, "eight, and how many more\n{told}");
        assert_eq!(tags[0], "  +1 202-555-0000  crm-0  \"Bob 0 [Lead]\"  ->  \"Bob 0 [Customer]\"", "{told}");
        assert_eq!(tags[8], "  and 4 more; --all shows them", "{told}");
        assert_eq!(told.below(headings[1]), ["  +1 202-555-0012  crm-12  \"Bob 12 [Lead]\"  ->  \"Rob 12 [Lead]\""]);
        assert_eq!(told.below(headings[2]).len(), 3, "{told}");
        let places = headings.map(|heading| told.out.find(&format!("\n{heading}\n")).unwrap());
        assert!(places.is_sorted(), "{told}");
        assert!(told.out.lines().last().unwrap().starts_with(last), "{told}");
    }
}

#[tokio::test]
async fn all_shows_every_change_and_every_refused_row() {
    let desk = Desk::new();
    let bad = |n: usize| format!("bad-{n},Bob,none,Lead\n");
    desk.write("crm.csv", &(people(20, "Bob") + &(0..15).map(bad).collect::<String>()));
    let short = desk.run("plan --crm crm.csv").await.with(2);
    assert_eq!(short.below("20 contacts will be added").len(), 9, "{short}");
    let refused = "15 rows have a phone that cannot be right: correct it in the CRM";
    assert_eq!(short.below(refused).iter().filter(|line| line.contains("bad-")).count(), 3, "{short}");
    let short = short.says("and 12 more; --all shows them").says("15 rows cannot be used");
    assert!(short.out.lines().count() < 30, "{short}");
    for args in ["plan --crm crm.csv --all", "run --crm crm.csv --rate 0 --all"] {
        let all = desk.run(args).await;
        assert!(!all.out.contains("more; --all"), "{all}");
        let lines = |text: &str| all.out.lines().filter(|line| line.contains(text)).count();
        assert_eq!((lines("  crm-"), lines("  bad-")), (20, 15), "{all}");
    }
}

#[tokio::test]
async fn a_count_goes_on_where_a_report_keeps_no_more_lines() {
    let desk = Desk::new();
    let bad =
        (0..1_200).fold("id,name,phone\n0,Ada,+12025550000\n".to_owned(), |csv, n| format!("{csv}bad-{n},Bo,none\n"));
    desk.write("crm.csv", &bad);
    let run = desk.run("--crm crm.csv --rate 0 --yes").await.with(3);
    let run =
        run.says("1,200 rows have a phone").says("and 1,197 more; --all").says("1,200 rows cannot be used; 1 call");
    assert!(run.out.lines().count() < 20, "{run}");
    let all = desk.run("--crm crm.csv --rate 0 --yes --all").await.with(3);
    assert_eq!(all.out.lines().filter(|line| line.contains("  bad-")).count(), 1_200);
}

/// Names that are wide, long, or run from right to left.
const NAMES: [&str; 6] = [
    "Bob",
    "小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空",
    "👩\u{200d}👩\u{200d}👧 Familie 🌸🌸🌸",
    "نور الهدى بن عاشور",
    "Maximiliana-Theodora Wilhelmine Friederike Annunziata Esperanza von und zu",
    "Zoë",
];

/// Rows with these names, in a stage.
fn named(stage: &str) -> String {
    let row = |(n, name): (usize, &&str)| format!("a-rather-long-crm-id-{n},{name},+1202555{n:04},{stage}\n");
    format!("id,name,phone,stage\n{}", NAMES.iter().enumerate().map(row).collect::<String>())
}

#[tokio::test]
async fn columns_stand_below_each_other_and_fit_100_columns_whatever_the_names() {
    let desk = Desk::new();
    desk.write("crm.csv", &named("Lead"));
    desk.run("--crm crm.csv --rate 0 --tags Lead,Customer").await.with(0);
    desk.write("crm.csv", &named("Customer"));
    let plan = desk.run("plan --crm crm.csv --tags Lead,Customer").await.with(2);
    plan.fits(100);
    let rows = plan.below("6 tags will change");
    let arrows: Vec<usize> = rows.iter().map(|row| row.split("->").next().unwrap().width()).collect();
    assert!(rows.len() == 6 && arrows.iter().all(|at| *at == arrows[0]), "{arrows:?}\n{plan}");
    assert!(rows[1].contains("小鳥遊") && rows[1].contains("…\" "), "{plan}");
}

#[tokio::test]
async fn p11_a_name_can_neither_turn_nor_colour_nor_move_what_stands_beside_it() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    let bad = "B\u{202e}o\u{1b}[31mb\u{200b}\u{2066}";
    desk.write("crm.csv", "id,name,phone\n1,Ada,+12025550001\n");
    desk.run_at(&server, "").await.with(0);
    server.rename_on_phone(&super::chat(1), bad);
    desk.write("crm.csv", "id\u{202e},name,phone\n1,Ann,+12025550001\n\"2\u{1b}[2J\",Bo,none\n");
    let plan = desk.run_at(&server, "plan --map id=id").await.with(2);
    let plan = plan.says("\"B\\u{202e}o\\u{1b}[31mb\\u{200b}\\u{2066}\"").says("2\\u{1b}[2J");
    assert!(plan.out.chars().all(|char| char == '\n' || !char.is_control()), "{plan}");
    assert!(!plan.out.contains(['\u{202e}', '\u{2066}', '\u{200b}']), "{plan}");
}

#[tokio::test]
async fn times_are_told_as_people_tell_them() {
    let desk = Desk::with_people(10, "Bob");
    for (rate, time) in [("0.01", "16 min 40 s"), ("0.002", "1 h 23 min"), ("1", "10 s")] {
        let plan = desk.run(&format!("plan --crm crm.csv --look-first never --rate {rate}")).await.with(2);
        plan.says(&format!("; 10 calls, about {time}\n"));
    }
}

#[tokio::test]
async fn a_contact_without_a_phone_waits_for_it_and_what_is_refused_needs_you() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    desk.write("crm.csv", "id,name,chat_id\n1,Ada,123456789012345@lid\n2,Bo,12025550002@c.us\n");
    server.on_update(&super::chat(2)).answer(Answer::invalid_param("no such number")).once();
    let run = desk.run_at(&server, "").await.with(3);
    let run = run.says("1 contact is waiting for the phone: ").says("1 contact needs you: the server refused the name");
    let run = run.says("of +1 202-555-0002 the server said: no such number").says(", 1 needs you, 1 on hold; 1 call, ");
    let listed = desk.run_at(&server, "parked").await.with(3);
    for heading in ["1 contact is waiting for the phone", "1 contact needs you"] {
        assert_eq!(listed.below(heading), run.below(heading), "the same words");
    }
}

#[tokio::test]
async fn a_set_up_that_cannot_work_ends_with_1_and_says_what_where_and_how() {
    type Break = fn(&WawpServer);
    let faults: [(Break, &str, &str); 4] = [
        (WawpServer::revoke_token, "the access token was refused", "set WAWP_ACCESS_TOKEN"),
        (
            WawpServer::unlink,
            "the instance is unknown or unlinked",
            "compare --instance with the id in Wawp's dashboard",
        ),
        (WawpServer::log_out, "the instance's session is not working", "scan the QR code"),
        (
            |server| {
                server.on_any_update().answer(Answer::unknown_route());
            },
            "the server does not know the route",
            ": pass --route put-contact",
        ),
    ];
    for (fault, cause, remedy) in faults {
        let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
        fault(&server);
        for flags in ["--wait 0", "--wait 0 --json"] {
            let ended = desk.run_at(&server, flags).await.with(1);
            for words in [cause, remedy, &format!("(server: {}, instance: {})", server.url(), server.instance())] {
                ended.complains(words);
            }
        }
    }
}

#[tokio::test]
async fn an_instance_that_is_asked_to_wait_is_no_fault_of_the_set_up() {
    let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
    server.rate_limit(0);
    desk.run_at(&server, "--wait 0").await.with(3).says("2 waiting");
}

#[cfg(unix)]
mod on_a_terminal {
    use std::{fs::File, io::Read, process::Stdio};

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{Winsize, tcsetwinsize},
    };

    use super::*;

    impl Desk {
        /// Runs a job whose standard output is a terminal so many columns wide.
        async fn on_terminal(&self, columns: u16, args: &str, env: &[(&str, &str)]) -> Ended {
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).unwrap();
            let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
            let slave = File::options().read(true).write(true).open(name).unwrap();
            let mut job = self.job(args.split_whitespace());
            job.env("TERM", "xterm-256color").envs(env.iter().copied()).stdout(Stdio::from(slave));
            let read = tokio::task::spawn_blocking(move || {
                let (mut out, mut master) = (Vec::new(), File::from(master));
                // The end of a terminal that nobody holds any more is an error.
                master.read_to_end(&mut out).ok();
                String::from_utf8(out).unwrap().replace("\r\n", "\n")
            });
            let running = job.spawn().unwrap();
            drop(job);
            let ended = super::super::ended(running).await;
            Ended { out: read.await.unwrap(), ..ended }
        }
    }

    /// The text without its colours.
    fn without_colours(mut ended: Ended) -> Ended {
        let parts = ended.out.split("\u{1b}[").enumerate();
        let text = parts.map(|(n, part)| if n == 0 { part } else { part.split_once('m').map_or("", |(_, text)| text) });
        ended.out = text.collect();
        ended
    }

    #[tokio::test]
    async fn lines_fit_its_width_and_headings_have_colours() {
        let desk = Desk::new();
        desk.write("crm.csv", &(named("Lead") + "9,Bo,none,Lead\n"));
        for width in [60, 80, 132] {
            let plan = desk.on_terminal(width, "plan --crm crm.csv", &[]).await.with(2);
            assert!(plan.out.contains("\u{1b}[32m") && plan.out.contains("\u{1b}[0m"), "{plan}");
            let plan = without_colours(plan).says("6 contacts will be added");
            plan.fits(width.into());
            assert_eq!(
                plan.out.contains("\"小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空小鳥遊蒼空\""),
                width == 132
            );
        }
    }

    #[tokio::test]
    async fn what_a_doctor_finds_fits_its_width_too() {
        let desk = Desk::new();
        for width in [48, 60, 80, 132] {
            let found =
                desk.on_terminal(width, "doctor", &[]).await.with(0).says("flags --route update --credentials body");
            found.fits(width.into());
            let is_short = found.out.lines().all(|line| line.width() <= 60);
            assert_eq!(is_short, width <= 60, "{found}");
        }
    }

    #[tokio::test]
    async fn it_has_no_colours_where_nobody_wants_them() {
        let desk = Desk::with_people(2, "Bob");
        for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let plan = desk.on_terminal(80, "plan --crm crm.csv", &[env]).await.with(2);
            assert!(!plan.out.contains('\u{1b}'), "{env:?}\n{plan}");
        }
        let plan = desk.on_terminal(80, "plan --crm crm.csv", &[("NO_COLOR", "")]).await.with(2);
        assert!(plan.out.contains('\u{1b}'), "a variable without a text says nothing\n{plan}");
        assert!(!desk.run("plan --crm crm.csv").await.out.contains('\u{1b}'), "a pipe has no colours");
    }

    #[tokio::test]
    async fn a_name_from_right_to_left_turns_nothing_beside_it() {
        let desk = Desk::new();
        desk.write("crm.csv", &named("Lead"));
        let plan = desk.on_terminal(100, "plan --crm crm.csv", &[]).await.with(2);
        assert!(plan.out.contains("\u{2068}\"نور الهدى بن عاشور\"\u{2069}"), "{plan}");
        assert_eq!(plan.out.matches('\u{2068}').count(), 1, "{plan}");
        assert!(!desk.run("plan --crm crm.csv").await.out.contains('\u{2068}'), "a file keeps the name as it is");
    }
}
