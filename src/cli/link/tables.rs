//! Links tables of people. Each schema encodes the records that are not linked yet, and links them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use encoder::schema::Schema;
use linkage::solver;
use zeroize::Zeroizing;

use super::advice::Histogram;
use super::compare::{self, Comparison};
use super::linked::{self, Group};
use super::people::{Encoded, Encoding};
use super::result::explain;
use super::truth::{self, Quality, Truth};
use super::workspace::Workspace;
use super::{chart, input, party};
use crate::cli::destination::Destination;
use crate::cli::encode::HeaderKind;
use crate::cli::exit::{Failure, OrFail};
use crate::cli::interrupt::Unfinished;
use crate::cli::own::{Own, Reading};
use crate::cli::progress::Progress;
use crate::cli::schema_file::read_schema_for_encoding;
use crate::cli::table::TableArguments;
use crate::cli::{output, secret};

/// The secret of a linkage whose encodings do not leave this machine.
const LOCAL_SECRET: &[u8] = b"the encodings of this linkage are not kept";
/// The number of steps from the lowest threshold to 1, if the truth is known.
const STEPS: u32 = 20;

/// The options for tables.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The files are CSVs, and this linkage schema encodes them. If it is given more than once, each schema links the
    /// records that earlier schemas have not linked
    #[arg(long, value_name = "SCHEMA.json")]
    schema: Vec<PathBuf>,
    /// File with a secret for the encodings of CSVs, which are not kept [default: a fixed secret]
    #[arg(long, value_name = "FILE", requires = "schema")]
    secret_file: Option<PathBuf>,
    /// Kind of the first row of a CSV: the names of the columns as the schema has them, other names, or a record
    #[arg(long, value_enum, default_value = "check", requires = "schema")]
    header: HeaderKind,
    /// Column of the CSVs with the ids of records: one for all files, or one for each file in order. Without a header,
    /// the number of the column, from 1
    #[arg(long, value_name = "COLUMN", requires = "schema")]
    id: Vec<String>,
    /// Find the records of one CSV that belong to the same person: records that are connected by pairs form a group
    #[arg(long, requires = "schema")]
    dedupe: bool,
    /// CSV with the columns person, party and record, as `entityd generate` writes it: precision, recall and F are
    /// printed on standard error for 21 thresholds from --threshold to 1
    #[arg(long, value_name = "TRUTH.csv", requires = "schema")]
    truth: Option<PathBuf>,
    /// Draw a chart of precision, recall and F at each threshold
    #[arg(long, value_name = "OUT.svg", requires = "truth")]
    chart: Option<PathBuf>,
    /// Print the scores of the candidate pairs on standard error, and the threshold that they suggest
    #[arg(long, requires = "schema")]
    advise: bool,
    #[command(flatten)]
    table: TableArguments,
}

/// Groups, and the ids of the records in them.
pub(super) struct Linked {
    pub(super) groups: Vec<Group>,
    pub(super) ids: Vec<Own>,
}

/// A linkage of tables.
struct Tables<'a> {
    options: &'a Options,
    comparison: &'a Comparison<'a>,
    files: Vec<&'a Path>,
    secret: Zeroizing<Vec<u8>>,
    truth: Option<Truth>,
}

impl Options {
    /// Returns true if the files are CSVs.
    pub(super) const fn is_given(&self) -> bool {
        !self.schema.is_empty()
    }

    /// Returns the files that are read besides the tables.
    pub(super) fn read(&self) -> impl Iterator<Item = &Path> {
        self.schema.iter().chain(&self.secret_file).chain(&self.truth).map(PathBuf::as_path)
    }

    /// Returns the path of the chart, if one is drawn.
    pub(super) fn chart(&self) -> Option<&Path> {
        self.chart.as_deref()
    }

    /// Fails if an option is about CSVs.
    pub(super) fn check_absent(&self) -> Result<(), Failure> {
        if self.table.is_default() {
            return Ok(());
        }
        Err(Failure::Usage("--delimiter, --charset and --field-max are about CSVs; give --schema".to_owned()))
    }

    /// Returns true if there are several schemas.
    pub(super) const fn is_cascade(&self) -> bool {
        self.schema.len() > 1
    }

    /// Returns true if a table is compared with itself.
    pub(super) const fn is_one(&self) -> bool {
        self.dedupe
    }

    /// Links the files.
    pub(super) fn link(
        &self,
        files: &[PathBuf],
        comparison: &Comparison<'_>,
        progress: &mut Progress,
    ) -> Result<Linked, Failure> {
        if self.is_one() != (files.len() == 1) {
            return Err(Failure::Usage("give two files or more, or one with --dedupe".to_owned()));
        }
        if self.id.len() > 1 && self.id.len() != files.len() {
            return Err(Failure::Usage("--id: give one column for all files, or one for each".to_owned()));
        }
        let schemas = self
            .schema
            .iter()
            .map(|path| read_schema_for_encoding(path, false))
            .collect::<Result<Vec<_>, _>>()?;
        let secret = match &self.secret_file {
            Some(path) => secret::read(path)?,
            None => Zeroizing::new(LOCAL_SECRET.to_vec()),
        };
        let truth = self.truth.as_deref();
        let truth = truth
            .map(|path| Truth::read(path, &self.table, (files.len() as u32, self.is_one()), progress))
            .transpose()?;
        let ids = self.ids(files, progress)?;
        // A table that is compared with itself is both parties.
        let files = if self.is_one() {
            vec![files[0].as_path(); 2]
        } else {
            files.iter().map(PathBuf::as_path).collect()
        };
        let tables = Tables { options: self, comparison, files, secret, truth };
        let groups = tables.link(&schemas, progress)?;
        Ok(Linked { groups, ids })
    }

    fn ids(&self, files: &[PathBuf], progress: &mut Progress) -> Result<Vec<Own>, Failure> {
        if self.id.is_empty() {
            return Ok(Vec::new());
        }
        let read = |(number, path): (usize, &PathBuf)| {
            let column = self.id.get(number).or_else(|| self.id.first()).map(String::as_str);
            let has_header = self.header != HeaderKind::None;
            Own::read(path, &Reading { table: &self.table, has_header, column, option: "--id" }, progress)
        };
        files.iter().enumerate().map(read).collect()
    }
}

impl Tables<'_> {
    fn link(&self, schemas: &[Schema], progress: &mut Progress) -> Result<Vec<Group>, Failure> {
        let mut taken: Vec<Vec<bool>> = vec![Vec::new(); self.files.len()];
        let mut groups = Vec::new();
        for (number, schema) in schemas.iter().enumerate() {
            let found = self.pass(schema, &taken, progress)?;
            for group in found {
                for (dataset, record) in &group.records {
                    take(&mut taken[*dataset as usize], *record as usize);
                }
                groups.push(Group { schema: number, ..group });
            }
            if self.options.is_one() {
                let (first, second) = taken.split_at_mut(1);
                second[0].clone_from(&first[0]);
            }
        }
        if let (Some(truth), true) = (&self.truth, self.options.is_cascade()) {
            let threshold = self.comparison.threshold.get();
            self.tell(&[truth.judge(threshold, &groups, self.options.is_one())])?;
        }
        Ok(groups)
    }

    /// Uses one schema to link the records that are not taken.
    fn pass(
        &self,
        schema: &Schema,
        taken: &[Vec<bool>],
        progress: &mut Progress,
    ) -> Result<Vec<Group>, Failure> {
        let workspace = Workspace::open()?;
        let encoding = Encoding {
            schema,
            secret: &self.secret,
            header: self.options.header.into(),
            table: &self.options.table,
        };
        let mut encoded: Vec<Encoded> = Vec::with_capacity(self.files.len());
        for (party, (path, taken)) in self.files.iter().zip(taken).enumerate() {
            let place = (party, &workspace);
            let made = self.comparison.pool.install(|| encoding.encode(path, taken, place, progress))?;
            // If no record of a table is left, there is nothing to link.
            let Some(made) = made else { return Ok(Vec::new()) };
            encoded.push(made);
        }
        let (inputs, rows): (Vec<_>, Vec<_>) =
            encoded.into_iter().map(|made| (made.input, made.rows)).unzip();
        inputs.iter().try_for_each(input::check_size)?;
        let parties = party::index(inputs, &workspace, progress)?;
        let sizes: Vec<u32> = parties.iter().map(party::Party::records).collect();
        let pairs = self.comparison.run_to_file(&parties, &workspace, progress)?;
        let of_table =
            |groups: Vec<Group>| groups.into_iter().map(|group| renumbered(group, &rows)).collect();
        let groups = of_table(self.groups(&sizes, &pairs, 0.0)?);
        if self.options.advise {
            self.advise(&pairs)?;
        }
        if let (Some(truth), false) = (&self.truth, self.options.is_cascade()) {
            let mut qualities = Vec::new();
            for threshold in thresholds(self.comparison.threshold.get()) {
                let groups: Vec<Group> = of_table(self.groups(&sizes, &pairs, threshold)?);
                qualities.push(truth.judge(threshold, &groups, self.options.is_one()));
            }
            self.tell(&qualities)?;
        }
        Ok(groups)
    }

    /// Returns the groups at a threshold.
    fn groups(&self, sizes: &[u32], pairs: &File, threshold: f64) -> Result<Vec<Group>, Failure> {
        let read = || -> Result<_, solver::Error> {
            let pairs = compare::read(pairs)?;
            Ok(pairs.take_while(move |pair| pair.as_ref().map_or(true, |pair| pair.score >= threshold)))
        };
        let groups = if self.options.is_one() {
            read().and_then(|pairs| linked::connect(sizes[0], pairs))
        } else {
            linked::solve(sizes, read)
        };
        groups.map_err(|error| explain(&error))
    }

    fn advise(&self, pairs: &File) -> Result<(), Failure> {
        let mut histogram = Histogram::default();
        for pair in compare::read(pairs).or_fail()? {
            let pair = pair.or_fail()?;
            if !self.options.is_one() || pair.records[0] < pair.records[1] {
                histogram.add(pair.score);
            }
        }
        output::note(&histogram.advice());
        Ok(())
    }

    /// Prints the quality at each threshold, and draws the chart.
    fn tell(&self, qualities: &[Quality]) -> Result<(), Failure> {
        output::note(truth::table(qualities).trim_end());
        let Some(path) = self.options.chart() else { return Ok(()) };
        let mut drawing = Destination::open(Some(path), Unfinished::default())?;
        drawing.write_all(chart::svg(qualities).as_bytes()).map_err(|error| Failure::output(&error))?;
        drawing.finish()
    }
}

/// Returns the thresholds from the lowest to 1.
fn thresholds(lowest: f64) -> impl Iterator<Item = f64> {
    (0..=STEPS).map(move |step| lowest + (1.0 - lowest) * f64::from(step) / f64::from(STEPS))
}

/// Converts the record numbers of a group to those of the tables.
fn renumbered(mut group: Group, rows: &[Vec<u32>]) -> Group {
    let of_table = |(dataset, record): &mut (u32, u32)| *record = rows[*dataset as usize][*record as usize];
    group.records.iter_mut().for_each(of_table);
    group.edges.iter_mut().flat_map(|edge| &mut edge.ends).for_each(of_table);
    group
}

fn take(taken: &mut Vec<bool>, record: usize) {
    if taken.len() <= record {
        taken.resize(record + 1, false);
    }
    taken[record] = true;
}
