//! The example job as a user meets it: a process with a command line, an environment, two streams and an exit code.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wawp_contacts::{ChatId, testkit::WawpServer};

mod commands;
mod faults;
mod flags;
mod json;
mod kept;
#[cfg(unix)]
mod kills;
mod map;
mod output;
mod page;
mod refused;
mod server;
mod start;
#[cfg(unix)]
mod stop;

/// Far longer than any job here takes: only one that hangs reaches it.
const HUNG: Duration = Duration::from_secs(60);

/// The job, beside the test executable: `cargo test` builds examples too, but `cargo test --test it` does not.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    let program = target.join("examples").join(format!("sync_job{}", std::env::consts::EXE_SUFFIX));
    let advice = "run `cargo build --example sync_job` first, or all of `cargo test`";
    assert!(program.exists(), "{} is missing; {advice}", program.display());
    let sources = fs::read_to_string(program.with_extension("d")).unwrap();
    let built = modified(&program);
    let newer = sources.split_whitespace().skip(1).find(|source| modified(Path::new(source)) > built);
    assert_eq!(newer, None, "{} is older than a source of it; {advice}", program.display());
    program
}

/// When a file was last changed; `None` if it does not exist, as part of a name with a blank.
fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}

/// A folder in which jobs run, each with a command line and a clean environment.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with an export of so many people, `crm.csv`.
    fn with_people(n: usize, name: &str) -> Self {
        let desk = Self::new();
        desk.write("crm.csv", &people(n, name));
        desk
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.path(file), content).unwrap();
    }

    /// The names of all files in the folder, ordered.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn job<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut job = Command::new(program());
        job.args(args).current_dir(self.folder.path()).kill_on_drop(true);
        job.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["WAWP_ACCESS_TOKEN", "WAWP_INSTANCE_ID", "WAWP_BASE_URL", "NO_COLOR", "RUST_BACKTRACE", "RUST_LOG"]
        {
            job.env_remove(name);
        }
        job
    }

    /// A job that calls this server for the people of `crm.csv`, without a pace.
    fn job_at(&self, server: &WawpServer, args: &str) -> Command {
        let url = server.url();
        let mut job = self.job(args.split_whitespace());
        job.args(["--base-url", &url, "--instance", server.instance().as_str()]);
        if !args.contains("--crm") {
            job.args(["--crm", "crm.csv"]);
        }
        if !args.contains("--rate") {
            job.args(["--rate", "0"]);
        }
        job.env("WAWP_ACCESS_TOKEN", server.token());
        job
    }

    /// Runs a job with the stand-in server inside it.
    async fn run(&self, args: &str) -> Ended {
        end(self.job(args.split_whitespace())).await
    }

    async fn run_at(&self, server: &WawpServer, args: &str) -> Ended {
        end(self.job_at(server, args)).await
    }
}

/// How a job ended.
#[derive(Debug)]
struct Ended {
    /// `None` if a signal ended it.
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Checks that standard output holds a text, wherever its lines are broken.
    #[track_caller]
    fn says(self, text: &str) -> Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_said = self.out.contains(text) || words(&self.out).contains(&words(text));
        assert!(is_said, "stdout lacks {text:?}\n{self}");
        self
    }

    /// Standard output as JSON Lines.
    #[track_caller]
    fn lines(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
    }

    #[track_caller]
    fn summary(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("no line at all\n{self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err)
    }
}

async fn end(mut job: Command) -> Ended {
    ended(job.spawn().unwrap()).await
}

async fn ended(job: Child) -> Ended {
    let output = tokio::time::timeout(HUNG, job.wait_with_output()).await.expect("the job hangs").unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool + Send + Sync) {
    let polled = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(HUNG, polled).await.expect("what was waited for never came");
}

/// Waits until so many updates have arrived.
async fn until_calls(server: &WawpServer, n: usize) {
    until(|| server.calls().len() >= n).await;
}

fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}").parse().unwrap()
}

fn people(n: usize, name: &str) -> String {
    let mut csv = "id,first_name,phone,stage\n".to_owned();
    for n in 0..n {
        writeln!(csv, "crm-{n},{name} {n},+1202555{n:04},Lead").unwrap();
    }
    csv
}

/// Checks that the address book shows every name of [`people`].
#[track_caller]
fn assert_people(server: &WawpServer, n: usize, name: &str) {
    for n in 0..n {
        server.assert_contact(&chat(n), &format!("{name} {n}"));
    }
}
