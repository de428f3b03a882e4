//! (d) A server that allows 200 updates per second and fails 2 %.

use std::time::Duration;

use futures_util::stream;
use wawp_contacts::{
    Client, ContactSync, Pace, RetryPolicy,
    crm::{CrmContact, Feed},
    ledger::SqliteLedger,
    naming::{Funnel, Naming},
};

use crate::{
    AnyError,
    measure::{Server, Watch, child as measure},
};

const RATE: u32 = 200;
const CONTACTS: u64 = 4_000;

pub(crate) fn all() -> Result<(), AnyError> {
    println!("\npace: {CONTACTS} contacts, a server that allows {RATE}/s and fails 2 %");
    let server = Server::start(&["5", "200", "20"])?;
    let figure = measure(&["pace", &server.url])?;
    let url = format!("{}/stats", server.url);
    let stats = tokio::runtime::Runtime::new()?.block_on(async { reqwest::get(url).await?.text().await })?;
    let stats = stats.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [calls, too_fast, failed, acknowledged, needless] = stats[..] else { return Err("odd stats".into()) };
    println!("{acknowledged} stored of {CONTACTS}, {failed} failed and repeated, {needless} sent again after an ok");
    println!(
        "{:.1} % of the allowed rate used, {:.2} % of the calls were 429",
        100.0 * calls / figure.seconds / f64::from(RATE),
        100.0 * too_fast / calls
    );
    Ok(())
}

pub(crate) fn child(options: &[&str]) -> Result<(), AnyError> {
    let [url] = options else { return Err("URL".into()) };
    tokio::runtime::Runtime::new()?.block_on(async {
        let folder = tempfile::tempdir()?;
        let client = Client::builder("A1B2C3".parse()?, "token")
            .base_url(*url)
            .pace(Pace::per_second(RATE).jitter(0.0))
            .build()?;
        let ledger = SqliteLedger::open(folder.path().join("bench.ledger")).await?;
        let backoff = RetryPolicy::default().backing_off(Duration::from_millis(100), Duration::from_secs(1));
        let sync = ContactSync::new(client, ledger, Naming::new(Funnel::none())).in_flight(8).backoff(backoff);
        let contacts = (0..CONTACTS).map(|n| {
            let chat = format!("1202{n:07}").parse()?;
            Ok::<_, AnyError>(CrmContact::new(n.to_string(), chat).named(format!("Robert {n}"), "Miller"))
        });
        let contacts = contacts.collect::<Result<Vec<_>, _>>()?;
        let watch = Watch::start()?;
        let report = sync.run(Feed::snapshot(stream::iter(contacts.into_iter().map(Ok)))).await?;
        watch.stop(report.summary.calls)?;
        assert_eq!(report.summary.created, CONTACTS, "all stored");
        Ok(())
    })
}
