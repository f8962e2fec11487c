//! The blocks of each record, as `entityd block` and anonlink-client write them.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::exit::Failure;
use super::packed;

/// The names of the blocks of each record. Records without blocks are absent.
pub(super) struct Blocks(BTreeMap<u32, Vec<String>>);

impl Blocks {
    /// Reads blocks; a record that is not listed is in no block.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct File {
            blocks: BTreeMap<String, Vec<Value>>,
        }
        let read: File = serde_json::from_reader(BufReader::new(packed::open(path)?)).map_err(|error| {
            // The parser's message may quote a block.
            let (line, column) = (error.line(), error.column());
            refused(
                path,
                &format!(
                    "line {line}, column {column}: this is not JSON of the form {{\"blocks\": {{\"0\": [...]}}}}"
                ),
            )
        })?;
        let mut blocks = BTreeMap::new();
        for (key, names) in read.blocks {
            let record: u32 = key.parse().map_err(|_| {
                refused(path, "`blocks` has a key that is not the number of a record, from 0")
            })?;
            let names = names.into_iter().map(|name| match name {
                Value::String(name) => Ok(name),
                Value::Number(name) => Ok(name.to_string()),
                _ => {
                    let problem = format!(
                        "`blocks`: record {record} has a block that is neither a string nor a number"
                    );
                    Err(refused(path, &problem))
                }
            });
            blocks.insert(record, names.collect::<Result<_, _>>()?);
        }
        Ok(Self(blocks))
    }

    /// Fails if a record with blocks has a number of `records` or more.
    pub(super) fn check(&self, path: &Path, records: u64, what: &str) -> Result<(), Failure> {
        match self.0.last_key_value() {
            Some((last, _)) if u64::from(*last) >= records => Err(refused(
                path,
                &format!(
                    "`blocks` has record {last}, but there are {records} {what}, counted from 0: were the blocks made of the \
                     same data?"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the blocks of a record.
    pub(super) fn of(&self, record: u32) -> &[String] {
        self.0.get(&record).map_or(&[], Vec::as_slice)
    }
}

fn refused(path: &Path, problem: &str) -> Failure {
    Failure::Input(format!("--blocks {}: {problem}", path.display()))
}
