//! `entityd result`: fetches the result of a run.

mod read;
mod reorder;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use tokio::time::timeout;

use self::read::Member;
use self::reorder::Numbers;
use self::write::{Form, Writer};
use super::access::{self, Access, CODES, Session};
use super::refusal::{self, Asked, READERS, Shape};
use super::run::{Watching, Which};
use super::{block_on, project};
use crate::cli::destination::Destination;
use crate::cli::exit::{Failure, OrFail};
use crate::cli::interrupt::Unfinished;
use crate::cli::number::{TIME_MAX, seconds};
use crate::cli::own::{Own, Reading};
use crate::cli::progress::Progress;
use crate::cli::result_csv::Kind;
use crate::cli::table::TableArguments;

/// The longest time without data in the middle of a download.
const SILENCE: Duration = Duration::from_mins(2);
/// The maximum number of attempts of a download.
const ATTEMPTS: u32 = 3;

/// Fetches the result of a run from a server
#[derive(Debug, Args)]
#[command(after_help = CODES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Get(Get),
}

/// Fetches the result of a run
///
/// Records are numbered from 0, in the order of the rows that were encoded. With --with and --id, the records of a
/// dataset are joined to the rows of its CSV, so that the result has ids: `--with 0=left.csv --with 1=right.csv --id
/// patient_id`. The CSV must be the one that was encoded, without the rows that encoding left out.
///
/// A party of a `permutations` project gives its receipt token and its CSV, and gets the rows in their new order. With
/// the analyst's mask in --mask, only rows with a match are written, and row N of both parties is the same person.
#[derive(Debug, Args)]
#[command(after_help = CODES)]
struct Get {
    #[command(flatten)]
    run: Which,
    /// Format of the result [default: that of the extension of OUT: .json, .csv, .ndjson, .jsonl, .arrow or .arrows; for any
    /// other, json, and csv with --with]
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Also fetch the scores within each group. The run must have been created with --scores. JSON gets a member
    /// `scores` beside `groups`, CSV and Arrow a row for each pair, and NDJSON a line with the pairs of each group
    #[arg(long, conflicts_with = "mask")]
    scores: bool,
    /// Write to this file, which appears when it is complete, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Wait until the run has completed; progress is shown on standard error
    #[arg(long)]
    wait: bool,
    /// Give up the wait after this time, in seconds or with a unit such as 30m or 2h; the run continues
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = seconds(1..=TIME_MAX))]
    timeout: Option<u64>,
    /// CSV of dataset N, counted from 0 [default N: the dataset of the profile's party]. May be repeated
    #[arg(long, value_name = "[N=]DATA.csv")]
    with: Vec<String>,
    /// Column with the ids: one for all files, or one for each file in order
    #[arg(long, value_name = "COLUMN", requires = "with")]
    id: Vec<String>,
    /// Mask of the run, in JSON, as the analyst receives it
    #[arg(long, value_name = "MASK.json", requires = "with")]
    mask: Option<PathBuf>,
    /// The first row of the CSV is a record; --id is the number of a column, from 1
    #[arg(long, requires = "with")]
    no_header: bool,
    #[command(flatten)]
    table: TableArguments,
}

impl Arguments {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let session = self.access.open()?;
        let Action::Get(get) = &self.action;
        get.check()?;
        block_on(get.run(&session))
    }
}

impl Get {
    fn check(&self) -> Result<(), Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.form() == Form::Json && !self.with.is_empty() {
            return usage(
                "--with: ids can be written only as csv, ndjson or arrow; name the file of -o so, or give --format",
            );
        }
        if self.id.len() > 1 && self.id.len() != self.with.len() {
            return usage("--id: give one column for all files, or one for each --with");
        }
        if self.mask.is_some() && self.with.len() > 1 {
            return usage("--mask: give the one CSV of the party, with --with");
        }
        Ok(())
    }

    fn form(&self) -> Form {
        let usual = if self.with.is_empty() { Form::Json } else { Form::Csv };
        self.format.or_else(|| Form::of(self.output.as_deref()?)).unwrap_or(usual)
    }

    /// Returns the member of the result to read.
    const fn member(&self) -> Member {
        if self.scores { Member::GroupScores } else { Member::First }
    }

    async fn run(&self, session: &Session) -> Result<(), Failure> {
        let path = self.run.path(session).await?;
        if self.wait {
            Watching { session, path: path.clone(), is_quiet: true }.to_its_end(self.timeout).await?;
        }
        let mut progress = Progress::new();
        let destination = Destination::open(self.output.as_deref(), Unfinished::default())?;
        let mut result = fetch(session, &path, self.scores, &mut progress).await?;
        let mut out = BufWriter::new(destination);
        if self.scores && !starts_with(&mut result, self.member(), Kind::GroupScores)? {
            return Err(Failure::Failed(
                "--scores: the server has sent the groups without scores; it does not support scores within groups"
                    .to_owned(),
            ));
        }
        if self.form() == Form::Json {
            progress.hide();
            io::copy(&mut result, &mut out).map_err(|error| Failure::output(&error))?;
            return finish(out);
        }
        let is_partys = starts_with(&mut result, self.member(), Kind::Permutation)?;
        let out = if is_partys && !self.with.is_empty() {
            self.reorder(&result, session, out, &mut progress)?
        } else {
            let parties = if self.with.is_empty() { None } else { parties(session).await };
            self.convert(&result, session, (out, parties), &mut progress)?
        };
        finish(out)
    }

    /// Writes the result as CSV, NDJSON or Arrow, with ids for the datasets whose CSV is given.
    fn convert(
        &self,
        result: &File,
        session: &Session,
        (out, parties): (BufWriter<Destination>, Option<u64>),
        progress: &mut Progress,
    ) -> Result<BufWriter<Destination>, Failure> {
        if !self.with.is_empty() && self.id.is_empty() {
            return Err(Failure::Usage("--with: give the column of the ids with --id".to_owned()));
        }
        if self.mask.is_some() {
            return Err(Failure::Usage("--mask is only for the permutation of a party".to_owned()));
        }
        let mut ids = BTreeMap::new();
        for (number, text) in self.with.iter().enumerate() {
            let (dataset, path) = numbered(text, session)?;
            if parties.is_some_and(|parties| dataset >= parties) {
                return Err(Failure::Usage(format!(
                    "--with {text}: the project has no dataset {dataset}; they are numbered from 0"
                )));
            }
            let own = Own::read(&path, &self.reading(number), progress)?;
            if ids.insert(dataset, own).is_some() {
                return Err(Failure::Usage(format!("--with: dataset {dataset} has two files")));
            }
        }
        progress.hide();
        let mut writer = Writer::new(self.form(), ids, out);
        match read::read(BufReader::new(result), self.member(), &mut writer) {
            Ok(_) => writer.end(),
            Err(said) => Err(writer.failure(&said)),
        }
    }

    /// Writes the rows of the party in their new order.
    fn reorder(
        &self,
        result: &File,
        session: &Session,
        mut out: BufWriter<Destination>,
        progress: &mut Progress,
    ) -> Result<BufWriter<Destination>, Failure> {
        let [text] = self.with.as_slice() else {
            return Err(Failure::Usage(
                "--with: give exactly one CSV, that of the party, for a permutation".to_owned(),
            ));
        };
        if self.form() != Form::Csv {
            return Err(Failure::Usage(
                "--with: rows in their new order can be written only as csv; name the file of -o so, or give --format"
                    .to_owned(),
            ));
        }
        // The receipt token determines the party, so the number is not needed.
        let (dataset, path) = numbered(text, session)
            .map_or_else(|_| (None, PathBuf::from(text)), |(dataset, path)| (Some(dataset), path));
        let party = session.profile.party.map(|party| party as u64);
        if let (Some(dataset), Some(party)) = (dataset, party)
            && dataset != party
        {
            return Err(Failure::Usage(format!(
                "--with: the permutation is that of party {party}, to which the profile belongs, not of dataset {dataset}"
            )));
        }
        let refused = |said: String| Failure::Input(format!("the permutation: {said}"));
        let mut places = Numbers::default();
        read::read(BufReader::new(result), Member::First, &mut places).map_err(refused)?;
        let mask = self.mask.as_deref().map(reorder::mask).transpose()?;
        let own = Own::read(&path, &self.reading(0), progress)?;
        progress.hide();
        let order = reorder::order(&places.numbers, &own, mask.as_deref()).map_err(refused)?;
        let written = reorder::write(&order, &own, mask.as_deref(), !self.id.is_empty(), &mut out);
        written.map_err(|error| Failure::output(&error))?;
        Ok(out)
    }

    fn reading(&self, file: usize) -> Reading<'_> {
        let column = self.id.get(file).or_else(|| self.id.first()).map(String::as_str);
        Reading { table: &self.table, has_header: !self.no_header, column, option: "--id" }
    }
}

/// Returns the number of parties of the project; `None` if the token may not read it.
async fn parties(session: &Session) -> Option<u64> {
    project::read(session).await.ok()?["number_parties"].as_u64()
}

/// Splits `N=FILE`; without a number, the dataset is the one of the profile's party.
fn numbered(text: &str, session: &Session) -> Result<(u64, PathBuf), Failure> {
    let numbered = text.split_once('=').and_then(|(number, path)| Some((number.parse().ok()?, path)));
    match (numbered, session.profile.party) {
        (Some((number, path)), _) => Ok((number, PathBuf::from(path))),
        (None, Some(party)) => Ok((party as u64, PathBuf::from(text))),
        (None, None) => Err(Failure::Usage(format!(
            "--with {text}: give the number of its dataset, from 0, as in --with 0={text}"
        ))),
    }
}

/// Downloads a result to an unnamed file. Starts again from the beginning if the connection breaks.
async fn fetch(
    session: &Session,
    run: &str,
    with_scores: bool,
    progress: &mut Progress,
) -> Result<File, Failure> {
    let api = &session.api;
    let token = session.token(access::Kind::ResultOrReceipt, None)?;
    let path = format!("{run}/result{}", if with_scores { "?scores=true" } else { "" });
    let asked = Asked {
        forbidden: READERS,
        missing: "the run has no result yet; `entityd run watch` shows its progress",
        ..Asked::new("fetching the result", Shape::Nothing)
    };
    let make = async || Ok(api.request(Method::GET, &path, &token)?.header(ACCEPT, "application/json"));
    let mut attempt = 1;
    loop {
        let response = api.send(make, true).await?.response;
        if !response.status().is_success() {
            return Err(refusal::of(api.base(), response, &asked).await);
        }
        match download(response, progress).await {
            Ok(mut file) => {
                check(&file, api.base(), &asked)?;
                file.rewind().or_fail()?;
                return Ok(file);
            }
            Err(Broken::Local(error)) => return Err(Failure::because(&error)),
            Err(Broken::Connection(why)) if attempt >= ATTEMPTS => {
                return Err(Failure::Failed(format!(
                    "the connection broke {ATTEMPTS} times during the download: {why}"
                )));
            }
            Err(Broken::Connection(_)) => attempt += 1,
        }
    }
}

/// Rejects a file that is not a whole JSON object, such as a page of a proxy, or a truncated result without a declared
/// length.
fn check(result: &File, base: &str, asked: &Asked) -> Result<(), Failure> {
    let mut ends = [[0; 512]; 2];
    let bytes = result.metadata().or_fail()?.len();
    let mut read = |which: usize, at: u64| result.read_at(&mut ends[which], at);
    let first = read(0, 0).or_fail()?;
    let last = read(1, bytes.saturating_sub(512)).or_fail()?;
    let (first, last) = (ends[0][..first].trim_ascii_start(), ends[1][..last].trim_ascii_end());
    if !first.starts_with(b"{") {
        return Err(refusal::no_json(base, None, first, asked));
    }
    if !last.ends_with(b"}") {
        return Err(Failure::Failed(format!("{}: the result of {base} is truncated", asked.act)));
    }
    Ok(())
}

/// The reason why a download has ended early.
enum Broken {
    Connection(String),
    Local(io::Error),
}

async fn download(mut response: Response, progress: &mut Progress) -> Result<File, Broken> {
    let bytes = response.content_length().unwrap_or(0);
    let mut out = BufWriter::new(tempfile::tempfile().map_err(Broken::Local)?);
    let mut done = 0_u64;
    progress.show("fetching the result", 0.0);
    loop {
        let next = timeout(SILENCE, response.chunk()).await;
        let next = next.map_err(|_| Broken::Connection("the server has stopped sending".to_owned()))?;
        let piece =
            next.map_err(|error| Broken::Connection(crate::telemetry::chain(&error.without_url())))?;
        let Some(piece) = piece else { break };
        out.write_all(&piece).map_err(Broken::Local)?;
        done += piece.len() as u64;
        progress.show("fetching the result", done as f64 / bytes.max(1) as f64);
    }
    out.into_inner().map_err(|error| Broken::Local(error.into_error()))
}

/// Returns whether the elements of a result are of this kind, and rewinds the file.
fn starts_with(result: &mut File, member: Member, kind: Kind) -> Result<bool, Failure> {
    struct First(Option<Kind>);
    impl read::Sink for First {
        fn begin(&mut self, kind: Kind) -> Result<(), String> {
            self.0 = Some(kind);
            Err(String::new())
        }

        fn element(&mut self, _: read::Element) -> Result<(), String> {
            Ok(())
        }
    }
    let mut first = First(None);
    // This read always ends early; the actual read reports errors.
    let _ = read::read(BufReader::new(&*result), member, &mut first);
    result.rewind().or_fail()?;
    Ok(first.0 == Some(kind))
}

fn finish(out: BufWriter<Destination>) -> Result<(), Failure> {
    let destination = out.into_inner().map_err(io::IntoInnerError::into_error);
    destination.map_err(|error| Failure::output(&error))?.finish()
}
