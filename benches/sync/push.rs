//! (a) The client against a plain `reqwest` loop and a raw `hyper` loop, on the same server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinHandle};
use wawp_contacts::{ChatId, Client, ContactName, Pace};

use crate::{
    AnyError,
    measure::{Figure, Server, Watch, child as measure, median},
};

const UPDATES: usize = 20_000;
const ROUNDS: usize = 5;
/// With an answer time, each connection makes so many: some six seconds' worth.
const SLOW_UPDATES_EACH: usize = 300;
/// Made before the clock starts, so that each contender only sends.
type Work = Arc<Vec<(ChatId, ContactName)>>;

pub(crate) fn all() -> Result<(), AnyError> {
    println!("push: {UPDATES} updates, or {SLOW_UPDATES_EACH} per connection with an answer time; us = CPU per update");
    println!(
        "median of {ROUNDS} rounds in turn; like is driven as like: by tasks, or by one future with `buffer_unordered`"
    );
    println!("p99/p50 is the client's time per call, driven by tasks");
    println!(
        "{:>6} {:>3} {:>8} {:>14} {:>14} {:>14} {:>8} {:>7} {:>8} {:>8}",
        "answer", "C", "driven", "hyper/s (us)", "reqwest", "client", "speed/rq", "cpu/rq", "speed/hy", "p99/p50"
    );
    for (delay, concurrency) in
        [("0", "1"), ("0", "16"), ("0", "64"), ("20", "1"), ("20", "16"), ("20", "64"), ("20", "256")]
    {
        compare(delay, concurrency)?;
    }
    Ok(())
}

fn compare(delay: &str, concurrency: &str) -> Result<(), AnyError> {
    let server = Server::start(&[delay, "0", "0"])?;
    let updates = if delay == "0" { UPDATES } else { SLOW_UPDATES_EACH * concurrency.parse::<usize>()? }.to_string();
    let contenders = ["hyper", "reqwest", "client", "reqwest-buffered", "client-buffered"];
    let mut figures = [const { Vec::new() }; 5];
    let rounds = if delay == "0" { ROUNDS } else { 1 };
    for _ in 0..rounds {
        for (figures, contender) in figures.iter_mut().zip(contenders) {
            figures.push(measure(&["push", contender, &server.url, concurrency, &updates])?);
        }
    }
    let [hyper, reqwest, client, reqwest_buffered, client_buffered] = figures.map(median);
    let show = |figure: &Figure| format!("{:.0} ({:.1})", figure.rate(), figure.micros());
    for (driven, reqwest, client) in [("tasks", reqwest, client), ("buffered", reqwest_buffered, client_buffered)] {
        println!(
            "{delay:>4}ms {concurrency:>3} {driven:>8} {:>14} {:>14} {:>14} {:>8.2} {:>7.2} {:>8.2} {:>8.2}",
            show(&hyper),
            show(&reqwest),
            show(&client),
            client.rate() / reqwest.rate(),
            client.micros() / reqwest.micros(),
            client.rate() / hyper.rate(),
            client.p99_to_p50,
        );
    }
    Ok(())
}

pub(crate) fn child(options: &[&str]) -> Result<(), AnyError> {
    let [contender, url, concurrency, updates] = options else {
        return Err("CONTENDER URL CONCURRENCY UPDATES".into());
    };
    let (url, concurrency, updates) = ((*url).to_owned(), concurrency.parse()?, updates.parse()?);
    let work: Work = Arc::new((0..updates).map(contact).collect::<Result<_, _>>()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Connections and lazy set-up are not what is measured.
        let warm: Work = Arc::new(work[..updates.min(concurrency * 4)].to_vec());
        if *contender == "hyper" {
            return raw(&url, concurrency, work).await?.stop(updates as u64);
        }
        let caller = Caller::new(contender.trim_end_matches("-buffered"), &url)?;
        let is_buffered = contender.ends_with("-buffered");
        caller.drive(is_buffered, concurrency, warm).await?;
        let watch = Watch::start()?;
        let mut times = caller.drive(is_buffered, concurrency, work).await?;
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100].as_secs_f64();
        watch.stop_with(updates as u64, at(99) / at(50))
    })
}

fn contact(n: usize) -> Result<(ChatId, ContactName), AnyError> {
    Ok((format!("1202{n:07}").parse()?, ContactName::new(&format!("Robert {n}"), "Miller [Customer]")?))
}

/// One connection per worker, and nothing else: the floor.
async fn raw(url: &str, concurrency: usize, work: Work) -> Result<Watch, AnyError> {
    let host = url.trim_start_matches("http://").to_owned();
    let mut senders = Vec::new();
    for _ in 0..concurrency {
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        senders.push(sender);
    }
    let watch = Watch::start()?;
    let workers = senders.into_iter().enumerate().map(|(first, mut sender)| {
        let (work, host) = (Arc::clone(&work), host.clone());
        tokio::spawn(async move {
            for (chat, name) in work.iter().skip(first).step_by(concurrency) {
                let request = Request::post("/v2/contacts/update")
                    .header("host", &host)
                    .header("content-type", "application/json");
                let answer =
                    sender.send_request(request.body(Full::new(Bytes::from(body(chat, name).to_string())))?).await?;
                answer.into_body().collect().await?;
            }
            Ok::<_, AnyError>(())
        })
    });
    finish(workers.collect()).await?;
    Ok(watch)
}

fn body(chat: &ChatId, name: &ContactName) -> serde_json::Value {
    json!({"instance_id": "A1B2C3", "access_token": "token", "chatId": chat.as_str(), "firstName": name.first(), "lastName": name.last()})
}

/// Whoever makes the calls.
#[derive(Clone)]
enum Caller {
    /// What most users write: reqwest, and a look at the status and the answer.
    Reqwest(reqwest::Client, String),
    /// The client with everything on but the pace, which is what is measured elsewhere.
    Ours(Client),
}

impl Caller {
    fn new(contender: &str, url: &str) -> Result<Self, AnyError> {
        if contender == "reqwest" {
            return Ok(Self::Reqwest(reqwest::Client::new(), format!("{url}/v2/contacts/update")));
        }
        let client = Client::builder("A1B2C3".parse()?, "token").base_url(url).pace(Pace::unlimited());
        Ok(Self::Ours(client.build()?))
    }

    /// Makes one call, and says how long it took.
    async fn call(&self, (chat, name): &(ChatId, ContactName)) -> Result<Duration, AnyError> {
        let began = Instant::now();
        match self {
            Self::Reqwest(client, url) => {
                let request = client.post(url).header("content-type", "application/json");
                let answer = request.body(body(chat, name).to_string()).send().await?.error_for_status()?;
                serde_json::from_slice::<serde_json::Value>(&answer.bytes().await?)?;
            }
            Self::Ours(client) => client.update_contact(chat, name).await?,
        }
        Ok(began.elapsed())
    }

    /// Makes all calls, so many at a time: from one future, or from as many tasks.
    async fn drive(&self, is_buffered: bool, concurrency: usize, work: Work) -> Result<Vec<Duration>, AnyError> {
        if is_buffered {
            let calls = stream::iter(work.iter()).map(|contact| self.call(contact)).buffer_unordered(concurrency);
            return calls.try_collect().await;
        }
        let next = Arc::new(AtomicUsize::new(0));
        let workers = (0..concurrency).map(|_| {
            let (caller, work, next) = (self.clone(), Arc::clone(&work), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while let Some(contact) = work.get(next.fetch_add(1, Relaxed)) {
                    times.push(caller.call(contact).await?);
                }
                Ok(times)
            })
        });
        Ok(finish(workers.collect()).await?.concat())
    }
}

async fn finish<T>(workers: Vec<JoinHandle<Result<T, AnyError>>>) -> Result<Vec<T>, AnyError> {
    let mut done = Vec::new();
    for worker in workers {
        done.push(worker.await??);
    }
    Ok(done)
}
