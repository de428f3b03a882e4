//! The command line.

use std::{
    error::Error as _,
    ffi::OsString,
    fs::File,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use clap_complete::Shell;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use tempfile::NamedTempFile;
use wawp_contacts::{
    ChatId, Credentials, InstanceId, Pace, Region, Route,
    crm::Mapping,
    naming::{Funnel, FunnelError},
    pace::Daily,
    record::{Drift, Park},
    sync::{LookFirst, SavedPlan, Verify},
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
    version,
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
    /// Push the names that changed (default), or what a kept plan holds
    Run {
        #[arg(value_name = "FILE", help = "a plan kept by `plan --out`: exactly that is done, or\nnothing")]
        plan: Option<PathBuf>,
    },
    /// Show what a run would do; writes nothing
    Plan {
        #[arg(long, value_name = "FILE", help = "keep the plan for `run FILE`")]
        out: Option<PathBuf>,
    },
    /// Take over an account that has names already; writes no name
    Adopt,
    /// Read what the address book shows; writes no name
    Refresh,
    /// Give contacts the names back that they had before a run
    Undo {
        #[arg(help = "the run's number, see `runs`", value_parser = run_number, allow_negative_numbers = true)]
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
    /// Forget one person, so that nothing of them stays or comes back
    Forget {
        #[arg(required = true, help = WHO)]
        contact: Vec<String>,
        #[arg(long, help = "let a person be known again who was forgotten: by\nphone, chat id or CRM id")]
        allow: bool,
    },
    /// List the contacts that wait for a person, and those that are held
    Parked,
    /// List the names that people saved on the phone, for the CRM
    Edits,
    /// Let the next run try again what is parked
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Retry {
        #[arg(group = "which", help = WHO)]
        contact: Vec<String>,
        #[arg(
            long, group = "which", hide_possible_values = true,
            value_parser = PossibleValuesParser::new(REASONS).map(|word| reason(&word)),
            help = "those parked for this reason: refused, competing,\ndrifted, contested, deadly, unkept"
        )]
        reason: Option<Park>,
        #[arg(long, group = "which", help = "all that the server refused")]
        all: bool,
    },
    /// List what ran, newest first; or show the report of one run again
    Runs {
        #[arg(help = "the number of the run to show", value_parser = run_number, allow_negative_numbers = true)]
        run: Option<u64>,
    },
    /// Count the contacts, and tell of the instance and its last run
    Status,
    /// Print what completes commands and flags in your shell
    Completions {
        #[arg(help = "bash, zsh, fish, powershell or elvish", hide_possible_values = true)]
        shell: Shell,
    },
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
            Self::Run { .. } => "run",
            Self::Plan { .. } => "plan",
            Self::Adopt => "adopt",
            Self::Refresh => "refresh",
            Self::Undo { .. } => "undo",
            Self::Doctor { .. } => "doctor",
            Self::Explain(_) => "explain",
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Forget { .. } => "forget",
            Self::Parked => "parked",
            Self::Edits => "edits",
            Self::Retry { .. } => "retry",
            Self::Runs { .. } => "runs",
            Self::Status => "status",
            Self::Completions { .. } => "completions",
        }
    }

    pub(crate) fn reads_crm(&self) -> bool {
        matches!(self, Self::Run { plan: None } | Self::Plan { .. } | Self::Adopt)
    }

    /// Whether it calls for what runs have left in a ledger, and has nothing to do without.
    pub(crate) fn needs_ledger(&self) -> bool {
        matches!(self, Self::Refresh | Self::Undo { .. })
    }

    /// Whether it asks the server anything; the others need the ledger only.
    pub(crate) fn calls(&self) -> bool {
        self.reads_crm() || matches!(self, Self::Run { .. } | Self::Refresh | Self::Undo { .. } | Self::Doctor { .. })
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
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "writes the rows that cannot be used, with why and\nhow to fix them (CSV)"
    )]
    refused: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "LIST",
        help = "columns of the export that are not recognised, such\nas first=Vorname,phone=Mobil (id, chat, whatsapp,\n\
                mobile, phone, first, last, name, country, stage,\nversion)"
    )]
    map: Option<Mapping>,
    #[arg(long, global = true, help = "show every change and every row that cannot be\nused")]
    all: bool,
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
                crm-wins    ours is sent again\n\
                phone-wins  theirs stays, with the CRM's tag\n\
                by-field    the same; a person decides where the\n            CRM changed the name as well\n\
                ask         a person decides, see `parked`\n\
                if-raw      theirs stays; only a number or no name\n            is overwritten\n\
                [as last time; crm-wins at first]"
    )]
    policy: Option<Drift>,
    #[arg(
        long, global = true, value_name = "N", value_parser = rate,
        help = "calls per second, 0 for no limit [1, or 50 with the\nstand-in]"
    )]
    rate: Option<f64>,
    #[arg(
        long,
        global = true,
        value_name = "N",
        help = "names set in any 24 hours, at the most, 0 for no\nlimit; the rest waits for the next run [as last\ntime; no limit at first]"
    )]
    per_day: Option<u32>,
    #[arg(
        long, global = true, value_name = "START", value_parser = count, requires = "per_day",
        help = "for a new number: so many on its first day, and\nhalf as many again each day, up to --per-day"
    )]
    warm_up: Option<u32>,
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
        value_parser = PossibleValuesParser::new(LOOKS).map(|word| look_first(&word)),
        help = "read a name before it is overwritten: if-possible,\nalways, never [if-possible]"
    )]
    look_first: Option<LookFirst>,
    #[arg(
        long, global = true, value_name = "WHICH", value_parser = verify,
        help = "read names back once the server has accepted them:\nnever, in-doubt, always, or a share of them such as\n\
                0.05 [in-doubt]"
    )]
    verify: Option<Verify>,
    #[arg(
        long,
        global = true,
        help = "do not try a large run on one contact first, whose\nname is read back before the rest goes"
    )]
    no_canary: bool,
    #[arg(
        long, global = true, value_name = "SECONDS", default_value = "60",
        hide_default_value = true, value_parser = wait,
        help = "how long to wait for an instance that may not be\ncalled [60]"
    )]
    wait: u64,
    #[arg(
        long,
        global = true,
        help = "ask first whether new numbers are on WhatsApp, one\na second, and leave out those that are not"
    )]
    check_numbers: bool,
    #[arg(long, global = true, help = "take the tags off contacts whose rows are gone")]
    untag_gone: bool,
    #[arg(long, global = true, help = "stop also where a stage has no tag, a name is too\nlong, or a row is gone")]
    strict: bool,
    #[arg(long, global = true, help = "JSON Lines on standard output, and nothing else\nthere")]
    json: bool,
    #[arg(
        long,
        global = true,
        help = "go on where a guardrail would stop the run: many\nrenames, lost names, missing rows, an address book\n\
                that suddenly looks empty, another account; undo\nand forget do nothing without it"
    )]
    yes: bool,
}

const POLICIES: [&str; 5] = ["crm-wins", "phone-wins", "by-field", "ask", "if-raw"];

fn policy(word: &str) -> Drift {
    match word {
        "phone-wins" => Drift::PhoneWins,
        "by-field" => Drift::ByField,
        "ask" => Drift::Ask,
        "if-raw" => Drift::IfRaw,
        _ => Drift::CrmWins,
    }
}

pub(crate) fn policy_word(policy: Drift) -> &'static str {
    match policy {
        Drift::PhoneWins => "phone-wins",
        Drift::ByField => "by-field",
        Drift::Ask => "ask",
        Drift::IfRaw => "if-raw",
        _ => "crm-wins",
    }
}

const REASONS: [&str; 6] = ["refused", "competing", "drifted", "contested", "deadly", "unkept"];

fn reason(word: &str) -> Park {
    match word {
        "competing" => Park::Competing,
        "drifted" => Park::Drifted,
        "contested" => Park::Contested,
        "deadly" => Park::Deadly,
        "unkept" => Park::Unkept,
        _ => Park::Refused,
    }
}

/// In the order of [`LookFirst`].
const LOOKS: [&str; 3] = ["if-possible", "always", "never"];

fn look_first(word: &str) -> LookFirst {
    match word {
        "always" => LookFirst::Always,
        "never" => LookFirst::Never,
        _ => LookFirst::IfPossible,
    }
}

fn verify(text: &str) -> Result<Verify, &'static str> {
    match text {
        "never" => Ok(Verify::Never),
        "in-doubt" => Ok(Verify::InDoubt),
        "always" => Ok(Verify::Always),
        share => share
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Verify::Sample)
            .ok_or("give never, in-doubt, always, or a share from 0 to 1"),
    }
}

fn verify_word(verify: Verify) -> String {
    match verify {
        Verify::Never => "never".into(),
        Verify::Sample(share) => share.to_string(),
        Verify::Always => "always".into(),
        _ => "in-doubt".into(),
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| (0.0..=10_000.0).contains(rate));
    rate.ok_or("give a number from 0 to 10000")
}

fn run_number(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|run| *run > 0).ok_or("give the number of a run; `runs` lists them")
}

fn count(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("give a whole number from 1")
}

fn in_flight(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|calls| (1..=1_024).contains(calls)).ok_or("give a whole number from 1 to 1024")
}

fn wait(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|wait| *wait <= 86_400).ok_or("give whole seconds, at most 86400")
}

/// Writes a file of names and numbers, which nobody else may read, beside its place first, so that there is no half of it.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// What the user asked for.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    /// The plan to carry out, if one was kept.
    pub(crate) kept: Option<SavedPlan>,
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
    /// Where the rows go that cannot be used.
    pub(crate) refused: Option<PathBuf>,
    map: Option<Mapping>,
    /// Whether long lists are shown as a whole.
    pub(crate) all: bool,
    /// Whether there is an access token; the token itself is kept by nobody but the client.
    has_token: bool,
    pub(crate) region: Option<Region>,
    /// `None` for no tags, or those of the sample.
    funnel: Option<Funnel>,
    /// `None` for the default of the command.
    pub(crate) policy: Option<Drift>,
    /// Calls per second, zero for no limit; `None` for what suits the server.
    rate: Option<f64>,
    /// How many names are set in 24 hours, at the most, 0 for no limit; `None` for that of the last run.
    per_day: Option<u32>,
    warm_up: Option<u32>,
    pub(crate) in_flight: usize,
    pub(crate) wait: Duration,
    /// Whether the export is some of the CRM only.
    pub(crate) changes: bool,
    pub(crate) intake_only: bool,
    pub(crate) look_first: LookFirst,
    pub(crate) check_numbers: bool,
    pub(crate) untag_gone: bool,
    pub(crate) strict: bool,
    pub(crate) verify: Verify,
    pub(crate) no_canary: bool,
    pub(crate) json: bool,
    pub(crate) yes: bool,
}

/// A plan in a file, and the options that it was made with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    flags: Vec<String>,
    plan: SavedPlan,
}

impl Kept {
    fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let file = File::open(path).map_err(|error| format!("the plan {name}: {error}"))?;
        let kept = serde_json::from_reader(BufReader::new(file));
        kept.map_err(|error: serde_json::Error| match error.classify() {
            Category::Io => format!("the plan {name} cannot be read: {error}"),
            Category::Data => format!("{name} is no plan of this version ({error}); make a new one"),
            _ => format!("{name} is no plan that `plan --out` has kept; make a new one, or name an export with --crm"),
        })
    }

    pub(crate) fn write(args: &Args, plan: SavedPlan, path: &Path) -> std::io::Result<()> {
        write_whole(path, &serde_json::to_vec(&Self { flags: args.flags(), plan })?)
    }
}

/// Why there is nothing to do.
pub(crate) enum NoArgs {
    /// A text was asked for: the help, or a shell's script.
    Help(String),
    /// What is wrong with the command line, in one line.
    Wrong(String),
    /// What is wrong with a file that it names.
    Unread(String),
}

impl Args {
    /// Reads the command line and the environment.
    pub(crate) fn parse() -> Result<Self, NoArgs> {
        let typed: Vec<OsString> = std::env::args_os().collect();
        let args = Self::read(typed.clone())?;
        let Command::Run { plan: Some(path) } = &args.command else { return Ok(args) };
        let kept = Kept::read(path).map_err(NoArgs::Unread)?;
        // What was typed comes last, and so goes first.
        let (job, rest) = typed.split_at(1);
        let flags = kept.flags.iter().map(OsString::from);
        let mut args = Self::read(job.iter().cloned().chain(flags).chain(rest.iter().cloned()))?;
        args.kept = Some(kept.plan);
        Ok(args)
    }

    fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, NoArgs> {
        let line = self::line().try_get_matches_from(line).and_then(|matches| Line::from_arg_matches(&matches));
        let Line { command, options } = line.map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NoArgs::Help(error.render().to_string()),
            _ => NoArgs::Wrong(in_one_line(&error)),
        })?;
        if let Some(Command::Completions { shell }) = command {
            return Err(NoArgs::Help(completions(shell)));
        }
        let instance = options.instance.map(Ok).or_else(|| env("WAWP_INSTANCE_ID").map(|id| id.parse())).transpose();
        let args = Self {
            command: command.unwrap_or(Command::Run { plan: None }),
            kept: None,
            crm: options.crm,
            ledger: (options.ledger != Path::new("memory")).then_some(options.ledger),
            base_url: options.base_url.or_else(|| env("WAWP_BASE_URL")),
            instance: instance.map_err(|error| NoArgs::Wrong(format!("WAWP_INSTANCE_ID: {error}")))?,
            route: options.route,
            credentials: options.credentials,
            report: options.report,
            refused: options.refused,
            map: options.map,
            all: options.all,
            has_token: env("WAWP_ACCESS_TOKEN").is_some(),
            region: options.region,
            funnel: options.tags,
            policy: options.policy,
            rate: options.rate,
            per_day: options.per_day,
            warm_up: options.warm_up,
            in_flight: options.in_flight,
            wait: Duration::from_secs(options.wait),
            changes: options.changes,
            intake_only: options.intake_only,
            look_first: options.look_first.unwrap_or_default(),
            check_numbers: options.check_numbers,
            untag_gone: options.untag_gone,
            strict: options.strict,
            verify: options.verify.unwrap_or_default(),
            no_canary: options.no_canary,
            json: options.json,
            yes: options.yes,
        };
        args.check().map_err(|words| NoArgs::Wrong(words.into()))?;
        args.check_papers().map_err(NoArgs::Unread)?;
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

    /// Where things stand in the export.
    pub(crate) fn mapping(&self) -> Mapping {
        self.region.into_iter().fold(self.map.clone().unwrap_or_default(), Mapping::region)
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
            Command::Run { plan: Some(_) } if self.intake_only => {
                Err("--intake-only: a kept plan is carried out or not; leave one of both out")
            }
            Command::Run { .. } if self.intake_only && self.ledger.is_none() => {
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

    /// The options that a kept plan is to be carried out with; the token is in no file.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: Option<String>| flags.extend(value.map(|value| format!("--{flag}={value}")));
        let absolute =
            |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        add("ledger", Some(self.ledger.as_ref().map_or_else(|| "memory".into(), absolute)));
        add("base-url", self.server().map(Into::into));
        add("instance", self.instance.as_ref().map(ToString::to_string));
        add("route", self.route.map(|route| route.to_string()));
        add("credentials", self.credentials.map(|credentials| credentials.to_string()));
        add("rate", self.rate.map(|rate| rate.to_string()));
        add("in-flight", Some(self.in_flight.to_string()));
        add("wait", Some(self.wait.as_secs().to_string()));
        add("tags", self.funnel().ok().map(|funnel| funnel.to_string()));
        add("per-day", self.per_day.map(|calls| calls.to_string()));
        add("warm-up", self.warm_up.map(|calls| calls.to_string()));
        add("look-first", Some(LOOKS[self.look_first as usize].into()));
        add("verify", Some(verify_word(self.verify)));
        if self.no_canary {
            flags.push("--no-canary".into());
        }
        flags.extend(self.check_numbers.then(|| "--check-numbers".into()));
        flags
    }

    /// A file that is written must not take the place of one that is read, and is no surprise at the end.
    fn check_papers(&self) -> Result<(), String> {
        let out = if let Command::Plan { out } = &self.command { out } else { &None };
        let written = [("--out", out), ("--refused", &self.refused), ("--report", &self.report)];
        let written: Vec<_> = written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))).collect();
        let place = |path: &PathBuf| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_default();
        let read: Vec<PathBuf> = self.crm.iter().chain(&self.ledger).map(place).collect();
        for (at, (flag, path)) in written.iter().enumerate() {
            let shown = path.display();
            if read.contains(&place(path)) {
                return Err(format!("{flag}: {shown} is the export or the ledger; name another file"));
            }
            if path.is_dir() || path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
                return Err(format!("{flag}: {shown} is a folder, or its folder does not exist; name a file"));
            }
            // A file takes the place of what is there: of a device it must not.
            if path.exists() && !path.is_file() {
                return Err(format!("{flag}: {shown} is not a regular file; name another one"));
            }
            if let Some((other, _)) = written[at + 1..].iter().find(|(_, other)| place(other) == place(path)) {
                return Err(format!("{flag} and {other} name the same file"));
            }
        }
        Ok(())
    }

    /// The cap of calls a day: that of the last run, unless another one is given, or 0 for none.
    pub(crate) fn daily_after(&self, last: Option<Daily>) -> Option<Daily> {
        match self.per_day {
            None => last,
            Some(0) => None,
            Some(calls) => {
                let daily = Daily::at_most(calls);
                Some(self.warm_up.map_or(daily, |start| daily.warm_up(start, 1.5)))
            }
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

/// The script that completes the command line in a shell.
fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut line(), "sync_job", &mut script);
    String::from_utf8_lossy(&script).into_owned()
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
    let rows = ["crm", "map", "region", "tags", "changes", "refused", "all"];
    match command {
        "run" => {
            let only = [
                "policy",
                "per_day",
                "warm_up",
                "check_numbers",
                "untag_gone",
                "strict",
                "in_flight",
                "intake_only",
                "look_first",
                "verify",
                "no_canary",
                "wait",
                "yes",
                "report",
            ];
            [&server[..], &rows, &only].concat()
        }
        "plan" => [
            &server[..],
            &rows,
            &[
                "policy",
                "per_day",
                "warm_up",
                "check_numbers",
                "untag_gone",
                "strict",
                "look_first",
                "wait",
                "yes",
                "report",
            ],
        ]
        .concat(),
        "adopt" => [&server[..], &rows, &["policy", "wait", "yes"]].concat(),
        "refresh" => [&server[..], &["policy", "wait", "yes", "all"]].concat(),
        "undo" => {
            let only =
                ["policy", "per_day", "warm_up", "in_flight", "verify", "no_canary", "wait", "yes", "report", "all"];
            [&server[..], &only].concat()
        }
        "doctor" => server[1..].to_vec(),
        "explain" => vec!["ledger", "instance", "region", "json"],
        "runs" => vec!["ledger", "instance", "all", "json", "report"],
        "forget" => vec!["ledger", "instance", "region", "yes", "json"],
        "hold" | "release" => vec!["ledger", "instance", "region", "policy", "json"],
        // It has a flag `all` of its own.
        "retry" => vec!["ledger", "instance", "region", "policy", "json", "all"],
        "completions" => vec![],
        "parked" => vec!["ledger", "instance", "all", "json"],
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
