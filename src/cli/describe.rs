//! `entityd schema describe`: describes a schema in words, and how well its columns tell people apart.

use std::path::PathBuf;

use clap::Args;
use encoder::csv::{Batch, Error};
use encoder::profile::{Profile, Profiler};
use encoder::schema::Schema;
use encoder::stream::header_rule;

use super::exit::Failure;
use super::output;
use super::progress::Progress;
use super::schema_file::read_schema;
use super::table::{TableArguments, cannot_read};

/// The number of rows read at a time.
const BATCH_ROWS: usize = 16_384;

/// Describes a schema, and with a CSV which columns hardly tell people apart
///
/// With DATA.csv, each column is listed with its number of distinct values, their entropy in bits, the share of missing
/// values, the share of the most frequent value and the most frequent lengths. Values are not shown.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// Linkage schema
    #[arg(value_name = "SCHEMA.json")]
    schema: PathBuf,
    /// CSV with the columns of the schema
    #[arg(value_name = "DATA.csv")]
    data: Option<PathBuf>,
    /// The first row is a record
    #[arg(long)]
    no_header: bool,
    #[command(flatten)]
    table: TableArguments,
}

impl Describe {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let schema = read_schema(&self.schema, false)?;
        output::print(&in_words(&schema))?;
        let Some(data) = &self.data else { return Ok(()) };
        let profiler = self.profile(data, &schema)?;
        output::print(&format!("\n{} rows\n{}", profiler.rows(), table(&profiler.finish())))
    }

    fn profile<'a>(&self, data: &std::path::Path, schema: &'a Schema) -> Result<Profiler<'a>, Failure> {
        let (mut reader, done) = self.table.open(data)?;
        let (mut profiler, mut batch, mut progress) =
            (Profiler::new(schema), Batch::default(), Progress::new());
        let mut skips_header = !self.no_header;
        let task = format!("reading {}", data.display());
        loop {
            progress.show(&task, done.share());
            batch.clear();
            reader.fill(&mut batch, if skips_header { 1 } else { BATCH_ROWS }).map_err(
                |error| match error {
                    Error::Read(error) => cannot_read(data, &error),
                    broken @ Error::Broken { .. } => Failure::Input(format!("{}: {broken}", data.display())),
                },
            )?;
            if std::mem::take(&mut skips_header) {
                if batch.is_empty() {
                    return Err(Failure::Input(format!("{}: the file is empty", data.display())));
                }
                let names: Vec<_> = batch.row(0).fields().collect();
                match header_rule(&names, schema) {
                    Some(rule) => {
                        return Err(Failure::Input(format!("{}: the header: {rule}", data.display())));
                    }
                    None => continue,
                }
            }
            if batch.is_empty() {
                progress.finish();
                return Ok(profiler);
            }
            profiler
                .add(&batch)
                .map_err(|(line, rule)| Failure::Input(format!("{}: line {line}: {rule}", data.display())))?;
        }
    }
}

/// Describes the columns of a schema, one per line.
fn in_words(schema: &Schema) -> String {
    let folded = match schema.folds {
        0 => String::new(),
        1 => ", folded once".to_owned(),
        folds => format!(", folded {folds} times"),
    };
    let lines =
        schema.features.iter().map(|feature| format!("  {}: {}\n", feature.identifier, feature.summary()));
    let hardening = if schema.hardening.is_some() {
        format!("hardening, which must be the same for all parties\n{}", options(schema))
    } else {
        String::new()
    };
    let bits = schema.encoding_bits();
    format!("encodings of {bits} bits{folded}\n{}{hardening}", lines.collect::<String>())
}

/// Returns the options against attacks, one per line.
pub(super) fn options(schema: &Schema) -> String {
    schema.hardening_in_words().iter().flat_map(|line| ["  ", line, "\n"]).collect()
}

/// Formats the profiles of columns, one per line.
fn table(profiles: &[Profile]) -> String {
    let width = profiles.iter().map(|profile| profile.identifier.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "{:width$} {:>9} {:>8} {:>8} {:>9}  {:22} remark\n",
        "column", "distinct", "entropy", "missing", "frequent", "lengths"
    );
    for profile in profiles {
        let lengths =
            profile.lengths.iter().map(|(length, share)| format!("{length}: {:.0} %", share * 100.0));
        text.push_str(&row(profile, width, &lengths.collect::<Vec<_>>().join(", ")));
    }
    text
}

fn row(profile: &Profile, width: usize, lengths: &str) -> String {
    let line = format!(
        "{:width$} {:>9} {:>8.2} {:>6.1} % {:>7.1} %  {lengths:22} {}",
        profile.identifier,
        profile.distinct,
        profile.entropy,
        profile.missing * 100.0,
        profile.most_frequent * 100.0,
        profile.weakness().unwrap_or_default()
    );
    format!("{}\n", line.trim_end())
}
