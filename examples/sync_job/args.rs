//! The command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};
use wawp_contacts::{
    InstanceId, Pace, Region,
    naming::{Funnel, FunnelError},
    sync::LookFirst,
};

pub(crate) const HELP: &str = "\
Makes a WhatsApp address book say what the CRM says.

Usage: sync_job [run|plan] [options]

  run    push the names that changed (default)
  plan   show what a run would do; writes nothing

Options:
  --crm FILE         CRM export, .csv or .jsonl [a small sample, for the stand-in only]
  --ledger FILE      remembers what was sent; `memory` forgets it all [sync_job.ledger]
  --base-url URL     the Wawp server, or WAWP_BASE_URL [https://api.wawp.net if an
                     instance or a token is given, else a stand-in inside this job]
  --instance ID      the Wawp instance, or WAWP_INSTANCE_ID
  --region CC        country of phone numbers written without one, such as JP
  --tags LIST        funnel stages that show as a tag, such as \"Lead,Customer,Evangelist=VIP\"
                     [none; those of the sample, if that is the export]
  --rate N           calls per second, 0 for no limit [1, or 50 with the stand-in]
  --in-flight N      calls at the same time [1]
  --changes          the file is some of the CRM: nothing follows from a row's
                     absence [it is all of it: the pending names of rows that
                     are gone are withdrawn]
  --intake-only      write the wishes down and push nothing; works while
                     another run pushes, which pushes them as well
  --look-first WHEN  read a name before it is overwritten: if-possible, always,
                     never [if-possible]
  --wait SECONDS     how long to wait for an instance that may not be called [60]
  --json             JSON Lines on standard output, and nothing else there
  --yes              go on where a guardrail would stop the run: many renames,
                     lost names, missing rows, an address book that suddenly
                     looks empty, another account
  -h, --help         show this help

The access token is read from WAWP_ACCESS_TOKEN, and from nowhere else.

Exit codes: run   0 done, 3 done but something needs a person, 1 error
            plan  0 nothing to do, 2 changes, 3 no changes but something needs a person, 1 error
";

/// Where `Client::from_env` goes as well.
const WAWP: &str = "https://api.wawp.net";

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/crm_export.csv");

const SAMPLE_TAGS: &str =
    "Lead, Customer, Evangelist=VIP, Opportunity, Subscriber, Marketing Qualified Lead=MQL, Sales Qualified Lead=SQL";

/// What the user asked for.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    /// `None` for the sample.
    crm: Option<PathBuf>,
    /// `None` for a ledger in memory.
    pub(crate) ledger: Option<PathBuf>,
    base_url: Option<String>,
    pub(crate) instance: Option<InstanceId>,
    /// Whether there is an access token; the token itself is kept by nobody but the client.
    has_token: bool,
    pub(crate) region: Option<Region>,
    /// `None` for no tags, or those of the sample.
    funnel: Option<Funnel>,
    /// Calls per second, zero for no limit; `None` for what suits the server.
    rate: Option<f64>,
    pub(crate) in_flight: usize,
    pub(crate) wait: Duration,
    /// Whether the export is some of the CRM only.
    pub(crate) changes: bool,
    pub(crate) intake_only: bool,
    pub(crate) look_first: LookFirst,
    pub(crate) json: bool,
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    Plan,
}

impl Command {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Plan => "plan",
        }
    }
}

impl Args {
    /// Reads the command line and the environment; `None` if help was asked for.
    pub(crate) fn parse() -> Result<Option<Self>, lexopt::Error> {
        let mut args = Self {
            command: Command::Run,
            crm: None,
            ledger: Some("sync_job.ledger".into()),
            base_url: env("WAWP_BASE_URL"),
            instance: env("WAWP_INSTANCE_ID")
                .map(|id| id.parse())
                .transpose()
                .map_err(|error| of("WAWP_INSTANCE_ID", error))?,
            has_token: env("WAWP_ACCESS_TOKEN").is_some(),
            region: None,
            funnel: None,
            rate: None,
            in_flight: 1,
            wait: Duration::from_secs(60),
            changes: false,
            intake_only: false,
            look_first: LookFirst::default(),
            json: false,
            yes: false,
        };
        if !args.read(&mut Parser::from_env())? {
            return Ok(None);
        }
        args.check()?;
        Ok(Some(args))
    }

    /// The real server; `None` for the stand-in, which is for those who name neither a server nor an account.
    pub(crate) fn server(&self) -> Option<&str> {
        let is_real = self.instance.is_some() || self.has_token;
        self.base_url.as_deref().or(is_real.then_some(WAWP))
    }

    pub(crate) fn crm(&self) -> &Path {
        self.crm.as_deref().unwrap_or(Path::new(SAMPLE))
    }

    pub(crate) fn funnel(&self) -> Result<Funnel, FunnelError> {
        match &self.funnel {
            Some(funnel) => Ok(funnel.clone()),
            None if self.crm.is_none() => SAMPLE_TAGS.parse(),
            None => Ok(Funnel::none()),
        }
    }

    fn check(&self) -> Result<(), lexopt::Error> {
        if self.command == Command::Run && self.intake_only && self.ledger.is_none() {
            return Err(of("--intake-only", "a ledger in memory would lose the wishes; name a file with --ledger"));
        }
        if self.crm.is_none() && self.server().is_some() {
            let words = "name your CRM export with --crm; the sample is for the stand-in server only, which is used when no \
                         server, instance or token is given";
            return Err(lexopt::Error::Custom(words.into()));
        }
        Ok(())
    }

    pub(crate) fn pace(&self) -> Pace {
        match self.rate {
            Some(0.0) => Pace::unlimited(),
            Some(rate) => Pace::every(Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX)),
            None => Pace::per_second(if self.server().is_some() { 1 } else { 50 }),
        }
    }

    /// Says whether to go on: help ends it.
    fn read(&mut self, parser: &mut Parser) -> Result<bool, lexopt::Error> {
        let mut words = 0;
        while let Some(arg) = parser.next()? {
            match arg {
                Value(word) if words == 0 && word == "run" => (words, self.command) = (1, Command::Run),
                Value(word) if words == 0 && word == "plan" => (words, self.command) = (1, Command::Plan),
                Short('h') | Long("help") => return Ok(false),
                Long("crm") => self.crm = Some(parser.value()?.into()),
                Long("ledger") => {
                    let file = parser.value()?;
                    self.ledger = (file != "memory").then(|| file.into());
                }
                Long("base-url") => self.base_url = Some(parser.value()?.string()?),
                Long("instance") => self.instance = Some(value(parser, "--instance")?),
                Long("region") => self.region = Some(value(parser, "--region")?),
                Long("tags") => self.funnel = Some(value(parser, "--tags")?),
                Long("rate") => {
                    self.rate = Some(number(parser, "--rate", |rate| (0.0..=10_000.0).contains(rate))?);
                }
                Long("in-flight") => {
                    self.in_flight = number(parser, "--in-flight", |calls| (1..=1_024).contains(calls))?;
                }
                Long("wait") => self.wait = Duration::from_secs(number(parser, "--wait", |wait| *wait <= 86_400_u64)?),
                Long("changes") => self.changes = true,
                Long("intake-only") => self.intake_only = true,
                Long("look-first") => self.look_first = look_first(parser)?,
                Long("json") => self.json = true,
                Long("yes") => self.yes = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(true)
    }
}

/// A variable of the environment, unless it is unset or blank.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

fn look_first(parser: &mut Parser) -> Result<LookFirst, lexopt::Error> {
    match parser.value()?.string()?.as_str() {
        "if-possible" => Ok(LookFirst::IfPossible),
        "always" => Ok(LookFirst::Always),
        "never" => Ok(LookFirst::Never),
        other => Err(of("--look-first", format!("{other:?} is none of if-possible, always, never"))),
    }
}

fn value<T>(parser: &mut Parser, flag: &str) -> Result<T, lexopt::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = parser.value()?.string()?;
    text.parse().map_err(|error| of(flag, format!("{text:?}: {error}")))
}

fn number<T: std::str::FromStr>(
    parser: &mut Parser,
    flag: &str,
    fits: impl Fn(&T) -> bool,
) -> Result<T, lexopt::Error> {
    let text = parser.value()?.string()?;
    text.parse().ok().filter(fits).ok_or_else(|| of(flag, format!("{text:?} is no number that it takes")))
}

fn of(flag: &str, error: impl std::fmt::Display) -> lexopt::Error {
    lexopt::Error::Custom(format!("{flag}: {error}").into())
}
