//! A server that costs next to nothing: reads a request, writes a fixed answer.
//!
//! `--serve DELAY_MS RATE FAIL_PER_MILLE`: answers after a delay, allows so many updates per second (0 for any), and fails so many of
//! a thousand. `GET /stats` tells what it saw.

use std::{
    collections::HashSet,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::AnyError;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]";
const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const TOO_FAST: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// How the server behaves, and what it saw.
struct Desk {
    delay: Duration,
    rate: f64,
    fail_per_mille: u64,
    state: Mutex<State>,
}

struct State {
    tokens: f64,
    filled: Instant,
    calls: u64,
    too_fast: u64,
    failed: u64,
    acknowledged: HashSet<Vec<u8>>,
    needless: u64,
}

pub(crate) fn serve(options: &[&str]) -> Result<(), AnyError> {
    let [delay, rate, fails] = options else { return Err("DELAY_MS RATE FAIL_PER_MILLE".into()) };
    let state = State {
        tokens: f64::MAX,
        filled: Instant::now(),
        calls: 0,
        too_fast: 0,
        failed: 0,
        acknowledged: HashSet::new(),
        needless: 0,
    };
    let delay = Duration::from_millis(delay.parse()?);
    let desk = Desk { delay, rate: rate.parse()?, fail_per_mille: fails.parse()?, state: Mutex::new(state) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let desk = Arc::new(desk);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(converse(stream, Arc::clone(&desk)));
        }
    })
}

async fn converse(mut stream: TcpStream, desk: Arc<Desk>) -> Result<(), AnyError> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut held) = (vec![0; 16 * 1024], 0);
    loop {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let Some(end) = request_end(&buffer[..held]) else { continue };
        let answer = desk.answer(&buffer[..end]);
        buffer.copy_within(end..held, 0);
        held -= end;
        if !desk.delay.is_zero() {
            tokio::time::sleep(desk.delay).await;
        }
        stream.write_all(&answer).await?;
    }
}

/// Where the first request ends, once it is all there.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.trim().parse().unwrap_or(0));
    (bytes.len() >= head + length).then_some(head + length)
}

impl Desk {
    fn answer(&self, request: &[u8]) -> Vec<u8> {
        if request.starts_with(b"GET /stats") {
            return self.stats();
        }
        if request.starts_with(b"GET") {
            return EMPTY.to_vec();
        }
        if self.rate <= 0.0 && self.fail_per_mille == 0 {
            return OK.to_vec();
        }
        self.judge(request).to_vec()
    }

    fn judge(&self, request: &[u8]) -> &'static [u8] {
        let mut guard = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let state = &mut *guard;
        state.calls += 1;
        let now = Instant::now();
        // Far stricter than "so many in any second": a twentieth of a second's worth may be saved up.
        let earned = now.duration_since(state.filled).as_secs_f64() * self.rate;
        state.tokens = (state.tokens + earned).min(1.0 + self.rate * 0.05);
        state.filled = now;
        if self.rate > 0.0 && state.tokens < 1.0 {
            state.too_fast += 1;
            return TOO_FAST;
        }
        state.tokens -= 1.0;
        if fastrand::u64(0..1_000) < self.fail_per_mille {
            state.failed += 1;
            return FAILED;
        }
        let body = request.windows(4).position(|window| window == b"\r\n\r\n").map_or(&[][..], |at| &request[at + 4..]);
        if !state.acknowledged.insert(body.to_vec()) {
            state.needless += 1;
        }
        OK
    }

    fn stats(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let State { calls, too_fast, failed, acknowledged, needless, .. } = &*state;
        let acknowledged = acknowledged.len();
        let body = format!("{calls} {too_fast} {failed} {acknowledged} {needless}");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}
