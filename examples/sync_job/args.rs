//! The command line.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use wawp_contacts::{
    ChatId, Credentials, InstanceId, Pace, Region, Route,
    naming::{Funnel, FunnelError},
    record::{Drift, Park},
    sync::LookFirst,
};

/// Where `Client::from_env` goes as well.
const WAWP: &str = "https://api.wawp.net";

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/crm_export.csv");

const SAMPLE_TAGS: &str =
    "Lead, Customer, Evangelist=VIP, Opportunity, Subscriber, Marketing Qualified Lead=MQL, Sales Qualified Lead=SQL";

const EXIT_CODES: &str = "\
Exit codes: 0 done, or in sync; 1 error; 2 (plan) changes; 3 something needs
a person.";

#[derive(Debug, Parser)]
#[command(
    name = "sync_job",
    about = "Makes a WhatsApp address book say what the CRM says.",
    after_help = "\
The access token is read from WAWP_ACCESS_TOKEN, and from nowhere else. The
commands from explain on call nobody: they need the ledger only.",
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Push the names that changed (default)
    Run,
    /// Show what a run would do; writes nothing
    Plan,
    /// Take over an account that has names already; writes no name
    Adopt,
    /// Read what the address book shows; writes no name
    Refresh,
    /// Give contacts the names back that they had before a run
    Undo {
        #[arg(help = "the run's number, see `runs`")]
        run: u64,
    },
    /// Find out what is true for your server, and which flags fit
    Doctor {
        #[arg(
            long,
            value_name = "WHO",
            help = "set the name of this contact, read it back,\nand put it back as it was"
        )]
        write_test: Option<ChatId>,
    },
    /// Tell the story of one contact, and why it shows what it shows
    Explain(Contact),
    /// Leave one contact as it is, whatever the CRM says
    Hold(Contact),
    /// Go on with a contact that is held, or whose name somebody changed
    Release(Contact),
    /// List the contacts that wait for a person: parked or held
    Parked,
    /// Let the next run try again what is parked
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Retry {
        #[arg(group = "which", help = WHO)]
        contact: Vec<String>,
        #[arg(
            long, group = "which", hide_possible_values = true,
            value_parser = PossibleValuesParser::new(REASONS).map(|word| reason(&word)),
            help = "those parked for this reason: refused, competing,\ndrifted, contested"
        )]
        reason: Option<Park>,
        #[arg(long, group = "which", help = "all that the server refused")]
        all: bool,
    },
    /// List what ran, newest first
    Runs,
    /// Count the contacts, and tell of the instance and its last run
    Status,
}

const WHO: &str = "a phone in any spelling, a chat id, a CRM id, or\npart of a name";

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct Contact {
    /// The words of one text: who types a phone in groups need not quote it.
    #[arg(required = true, help = WHO)]
    contact: Vec<String>,
}

impl Contact {
    pub(crate) fn text(&self) -> String {
        self.contact.join(" ")
    }
}

impl Command {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Plan => "plan",
            Self::Adopt => "adopt",
            Self::Refresh => "refresh",
            Self::Undo { .. } => "undo",
            Self::Doctor { .. } => "doctor",
            Self::Explain(_) => "explain",
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Parked => "parked",
            Self::Retry { .. } => "retry",
            Self::Runs => "runs",
            Self::Status => "status",
        }
    }

    pub(crate) fn reads_crm(&self) -> bool {
        matches!(self, Self::Run | Self::Plan | Self::Adopt)
    }

    /// Whether it asks the server anything; the others need the ledger only.
    pub(crate) fn calls(&self) -> bool {
        self.reads_crm() || matches!(self, Self::Refresh | Self::Undo { .. } | Self::Doctor { .. })
    }
}

/// All are taken by all commands, so that a script has one list of them; the help of a command shows those that change what it does.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, clap::Args)]
struct Options {
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "CRM export, .csv or .jsonl [a small sample, for the\nstand-in only]"
    )]
    crm: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "sync_job.ledger",
        hide_default_value = true,
        help = "remembers what was sent; `memory` forgets it all\n[sync_job.ledger]"
    )]
    ledger: PathBuf,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "the Wawp server, or WAWP_BASE_URL\n[https://api.wawp.net if an instance or a token is\n\
                given, else a stand-in inside this job]"
    )]
    base_url: Option<String>,
    #[arg(long, global = true, value_name = "ID", help = "the Wawp instance, or WAWP_INSTANCE_ID")]
    instance: Option<InstanceId>,
    #[arg(
        long,
        global = true,
        value_name = "WHICH",
        help = "the route that sets a name: update, put-contact\n[update]"
    )]
    route: Option<Route>,
    #[arg(
        long,
        global = true,
        value_name = "STYLE",
        help = "where instance and token go: body, query, bearer,\nheader [body; query with put-contact]"
    )]
    credentials: Option<Credentials>,
    #[arg(long, global = true, value_name = "FILE", help = "writes a page to look at (HTML)")]
    report: Option<PathBuf>,
    #[arg(long, global = true, value_name = "CC", help = "country of phone numbers written without one, such\nas JP")]
    region: Option<Region>,
    #[arg(
        long,
        global = true,
        value_name = "LIST",
        help = "funnel stages that show as a tag, such as\n\"Lead,Customer,Evangelist=VIP\" [none; those of the\n\
                sample, if that is the export]"
    )]
    tags: Option<Funnel>,
    #[arg(
        long, global = true, value_name = "WHO", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(POLICIES).map(|word| policy(&word)),
        help = "what becomes of names that others save over ours:\n\
                crm-wins  ours is sent again\n\
                ask       a person decides, see `parked`\n\
                if-raw    theirs stays; only a number or no name\n          is overwritten\n\
                [run, plan, adopt: crm-wins; else as last time]"
    )]
    policy: Option<Drift>,
    #[arg(
        long, global = true, value_name = "N", value_parser = rate,
        help = "calls per second, 0 for no limit [1, or 50 with the\nstand-in]"
    )]
    rate: Option<f64>,
    #[arg(
        long, global = true, value_name = "N", default_value = "1",
        hide_default_value = true, value_parser = in_flight,
        help = "calls at the same time [1]"
    )]
    in_flight: usize,
    #[arg(
        long,
        global = true,
        help = "the file is some of the CRM: nothing follows from a\nrow's absence [it is all of it: the pending names\n\
                of rows that are gone are withdrawn]"
    )]
    changes: bool,
    #[arg(
        long,
        global = true,
        help = "write the wishes down and push nothing; works while\nanother run pushes, which pushes them as well"
    )]
    intake_only: bool,
    #[arg(
        long, global = true, value_name = "WHEN", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["if-possible", "always", "never"]).map(|word| look_first(&word)),
        help = "read a name before it is overwritten: if-possible,\nalways, never [if-possible]"
    )]
    look_first: Option<LookFirst>,
    #[arg(
        long, global = true, value_name = "SECONDS", default_value = "60",
        hide_default_value = true, value_parser = wait,
        help = "how long to wait for an instance that may not be\ncalled [60]"
    )]
    wait: u64,
    #[arg(long, global = true, help = "JSON Lines on standard output, and nothing else\nthere")]
    json: bool,
    #[arg(
        long,
        global = true,
        help = "go on where a guardrail would stop the run: many\nrenames, lost names, missing rows, an address book\n\
                that suddenly looks empty, another account"
    )]
    yes: bool,
}

const POLICIES: [&str; 3] = ["crm-wins", "ask", "if-raw"];

fn policy(word: &str) -> Drift {
    match word {
        "ask" => Drift::Ask,
        "if-raw" => Drift::IfRaw,
        _ => Drift::CrmWins,
    }
}

pub(crate) fn policy_word(policy: Drift) -> &'static str {
    match policy {
        Drift::Ask => "ask",
        Drift::IfRaw => "if-raw",
        _ => "crm-wins",
    }
}

const REASONS: [&str; 4] = ["refused", "competing", "drifted", "contested"];

fn reason(word: &str) -> Park {
    match word {
        "competing" => Park::Competing,
        "drifted" => Park::Drifted,
        "contested" => Park::Contested,
        _ => Park::Refused,
    }
}

fn look_first(word: &str) -> LookFirst {
    match word {
        "always" => LookFirst::Always,
        "never" => LookFirst::Never,
        _ => LookFirst::IfPossible,
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| (0.0..=10_000.0).contains(rate));
    rate.ok_or("give a number from 0 to 10000")
}

fn in_flight(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|calls| (1..=1_024).contains(calls)).ok_or("give a whole number from 1 to 1024")
}

fn wait(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|wait| *wait <= 86_400).ok_or("give whole seconds, at most 86400")
}

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
    pub(crate) route: Option<Route>,
    pub(crate) credentials: Option<Credentials>,
    /// Where the page goes that shows what happened.
    pub(crate) report: Option<PathBuf>,
    /// Whether there is an access token; the token itself is kept by nobody but the client.
    has_token: bool,
    pub(crate) region: Option<Region>,
    /// `None` for no tags, or those of the sample.
    funnel: Option<Funnel>,
    /// `None` for the default of the command.
    pub(crate) policy: Option<Drift>,
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

/// Why there is nothing to do.
pub(crate) enum NoArgs {
    /// Help was asked for.
    Help(String),
    /// What is wrong, in one line.
    Wrong(String),
}

impl Args {
    /// Reads the command line and the environment.
    pub(crate) fn parse() -> Result<Self, NoArgs> {
        let line = line().try_get_matches().and_then(|matches| Line::from_arg_matches(&matches));
        let Line { command, options } = line.map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp => NoArgs::Help(error.render().to_string()),
            _ => NoArgs::Wrong(in_one_line(&error)),
        })?;
        let instance = options.instance.map(Ok).or_else(|| env("WAWP_INSTANCE_ID").map(|id| id.parse())).transpose();
        let args = Self {
            command: command.unwrap_or(Command::Run),
            crm: options.crm,
            ledger: (options.ledger != Path::new("memory")).then_some(options.ledger),
            base_url: options.base_url.or_else(|| env("WAWP_BASE_URL")),
            instance: instance.map_err(|error| NoArgs::Wrong(format!("WAWP_INSTANCE_ID: {error}")))?,
            route: options.route,
            credentials: options.credentials,
            report: options.report,
            has_token: env("WAWP_ACCESS_TOKEN").is_some(),
            region: options.region,
            funnel: options.tags,
            policy: options.policy,
            rate: options.rate,
            in_flight: options.in_flight,
            wait: Duration::from_secs(options.wait),
            changes: options.changes,
            intake_only: options.intake_only,
            look_first: options.look_first.unwrap_or_default(),
            json: options.json,
            yes: options.yes,
        };
        args.check().map_err(|words| NoArgs::Wrong(words.into()))?;
        Ok(args)
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

    fn check(&self) -> Result<(), &'static str> {
        match self.command {
            Command::Run if self.intake_only && self.ledger.is_none() => {
                Err("--intake-only: a ledger in memory would lose the wishes; name a file with --ledger")
            }
            Command::Adopt if self.ledger.is_none() => {
                Err("adopt: a ledger in memory would lose what is found; name a file with --ledger")
            }
            _ if self.command.reads_crm() && self.crm.is_none() && self.server().is_some() => Err(
                "name your CRM export with --crm; the sample is for the stand-in server only, which is used when no \
                     server, instance or token is given",
            ),
            _ => Ok(()),
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        match self.rate {
            Some(0.0) => Pace::unlimited(),
            Some(rate) => Pace::every(Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX)),
            None => Pace::per_second(if self.server().is_some() { 1 } else { 50 }),
        }
    }
}

/// The command line, where the help of each command shows what changes what it does.
fn line() -> clap::Command {
    // What follows a flag is its value, whatever it looks like: a file may begin with a hyphen, and -1 is told what is wrong with it.
    let line = Line::command().mut_args(|arg| {
        let takes_value = arg.get_action().takes_values();
        arg.allow_hyphen_values(takes_value)
    });
    let options: Vec<Arg> = line.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let line = line.mut_subcommands(|command| {
        let shown = shown(command.get_name());
        let hidden = options.iter().filter(|option| !shown.contains(&option.get_id().as_str()));
        hidden.fold(command, |command, option| command.arg(option.clone().hide(true)))
    });
    line.after_help(format!("{}\n\n{EXIT_CODES}", Line::command().get_after_help().cloned().unwrap_or_default()))
}

fn shown(command: &str) -> Vec<&'static str> {
    let server = ["ledger", "base_url", "instance", "route", "credentials", "rate", "json"];
    let rows = ["crm", "region", "tags", "changes"];
    match command {
        "run" => {
            let only = ["policy", "in_flight", "intake_only", "look_first", "wait", "yes", "report"];
            [&server[..], &rows, &only].concat()
        }
        "plan" => [&server[..], &rows, &["policy", "look_first", "wait", "yes", "report"]].concat(),
        "adopt" => [&server[..], &rows, &["policy", "wait", "yes"]].concat(),
        "refresh" => [&server[..], &["policy", "wait", "yes"]].concat(),
        "undo" => [&server[..], &["policy", "in_flight", "wait", "yes", "report"]].concat(),
        "doctor" => server[1..].to_vec(),
        "explain" => vec!["ledger", "instance", "region", "json"],
        "hold" | "release" | "retry" => vec!["ledger", "instance", "region", "policy", "json"],
        _ => vec!["ledger", "instance", "json"],
    }
}

/// A variable of the environment, unless it is unset or blank.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// What is wrong with the command line, without the usage, which the help tells as well.
fn in_one_line(error: &clap::Error) -> String {
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg).and_then(|arg| arg.split(' ').next()).unwrap_or("the command line");
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    match (error.kind(), error.source(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::ValueValidation, Some(cause), _) => format!("{flag}: {value:?}: {cause}"),
        (ErrorKind::InvalidValue, _, Some(ContextValue::Strings(words))) if !words.is_empty() => {
            let words = words.join(", ");
            match (value, context(ContextKind::SuggestedValue)) {
                ("", _) => format!("{flag} takes one of {words}"),
                (_, Some(meant)) => format!("{flag}: {value:?} is none of {words}; did you mean {meant}?"),
                (_, None) => format!("{flag}: {value:?} is none of {words}"),
            }
        }
        _ => {
            let text = error.render().to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
            let words = lines.fold(String::new(), |words, line| match line.strip_prefix("tip: ") {
                Some(tip) => format!("{words}; {tip}"),
                None => format!("{words} {line}"),
            });
            words.trim_start().trim_start_matches("error: ").to_owned()
        }
    }
}
