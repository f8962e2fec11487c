//! `entityd generate`: writes tables of invented people, to try the commands with.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::demo::people::{self, Register};
use super::destination::{Destination, cannot_write};
use super::exit::Failure;
use super::interrupt::Unfinished;
use super::{context, output};
use crate::cli::number::whole;
use crate::system::folder;

/// A linkage schema for the generated tables.
const SCHEMA: &str = include_str!("../../assets/generated-schema.json");

/// Writes tables of invented people with typing errors, and the ground truth
///
/// Half of the records of each party are people that all parties know; only the party itself knows the other half.
/// Each table has its own errors and its own order. DIR gets party-0.csv, party-1.csv, ...; truth.csv with the person,
/// party and record (from 0) of each row; and schema.json, a linkage schema for the tables. The same seed gives the
/// same files.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// New or empty directory for the files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Number of parties
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole::<u16>(2..=100))]
    parties: u16,
    /// Number of records of each party
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = whole::<u32>(1..=10_000_000))]
    records: u32,
    /// Seed of the people; the same seed gives the same people
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..))]
    seed: u64,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let is_new = !self.folder.exists();
        let runtime = context::runtime()?;
        let unfinished = Unfinished::watch(&runtime);
        if is_new {
            unfinished.add(&self.folder);
        }
        self.prepare()?;
        let mut written = Vec::new();
        self.write_all(unfinished, &mut written).inspect_err(|_| {
            // An incomplete set of files looks like a complete one, and the next call needs an empty directory.
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            if is_new {
                let _ = fs::remove_dir(&self.folder);
            }
        })
    }

    /// Writes all files, and adds their paths to `written`.
    fn write_all(&self, unfinished: Unfinished, written: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let mut write = |name: &str, text: &str| -> Result<(), Failure> {
            let path = self.folder.join(name);
            unfinished.add(&path);
            let mut destination = Destination::open(Some(&path), unfinished)?;
            destination.write_all(text.as_bytes()).map_err(|error| cannot_write(&path, &error))?;
            destination.finish()?;
            written.push(path);
            Ok(())
        };
        let registers = people::registers(self.parties.into(), self.records as usize, self.seed);
        for (party, register) in registers.iter().enumerate() {
            write(&format!("party-{party}.csv"), &table(register))?;
        }
        write("truth.csv", &truth(&registers))?;
        write("schema.json", SCHEMA)?;
        output::note(&format!(
            "{} tables of {} people, truth.csv and schema.json are in {}",
            self.parties,
            self.records,
            self.folder.display()
        ));
        Ok(())
    }

    /// Creates the directory. Fails if it exists and is not empty.
    fn prepare(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| cannot_write(&self.folder, &error);
        folder::create(&self.folder, folder::SHARED).map_err(failed)?;
        if fs::read_dir(&self.folder).map_err(failed)?.next().is_some() {
            let folder = self.folder.display();
            return Err(Failure::Usage(format!("{folder} is not empty; give a new directory")));
        }
        Ok(())
    }
}

/// Formats the records of a party as CSV. No name contains a comma or a quote.
fn table(register: &Register) -> String {
    let mut text = String::from("record,given,family,born,place\n");
    for (record, person) in register.people.iter().enumerate() {
        let born = date(&person.born);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{record},{},{},{born},{}", person.given, person.family, person.place);
    }
    text
}

/// Formats a date of eight digits with dashes. Returns an empty text if a typing error has made it invalid.
fn date(digits: &str) -> String {
    let number = |part: &str| part.parse::<i16>().unwrap_or(0);
    let (year, month, day) = (&digits[..4], &digits[4..6], &digits[6..]);
    match jiff::civil::Date::new(number(year), number(month) as i8, number(day) as i8) {
        Ok(_) => format!("{year}-{month}-{day}"),
        Err(_) => String::new(),
    }
}

/// Formats the ground truth as CSV, a line for each record of each party, in the order of people.
fn truth(registers: &[Register]) -> String {
    let mut lines: Vec<(usize, usize, usize)> = Vec::new();
    for (party, register) in registers.iter().enumerate() {
        lines.extend(register.truth.iter().enumerate().map(|(record, person)| (*person, party, record)));
    }
    lines.sort_unstable();
    let mut text = String::from("person,party,record\n");
    for (person, party, record) in lines {
        let _ = writeln!(text, "{person},{party},{record}");
    }
    text
}
