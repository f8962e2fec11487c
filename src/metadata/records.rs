//! Converts parties and runs to and from table rows of either database.
//!
//! Numbers are signed 64-bit integers; times are microseconds since 1970.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use super::store::Error;
use crate::model::run::{Progress, Times};
use crate::model::{
    BitSet, Checksum, Contents, Dataset, Keyring, Party, Run, RunId, RunState, Seed, Summary, Threshold,
    TokenHash, Upload,
};
use crate::runtime::clock::Timestamp;

/// The error for a stored value that this program does not know.
#[derive(Debug)]
pub(super) struct Unknown(pub(super) &'static str);

impl From<Unknown> for Error {
    fn from(Unknown(what): Unknown) -> Self {
        Self::Damaged(format!("it does not know the {what}; restore it from a backup"))
    }
}

/// A row of the table `parties`.
#[derive(Debug)]
pub(super) struct PartyRecord {
    pub(super) update_token: [u8; 32],
    pub(super) receipt_token: Option<[u8; 32]>,
    pub(super) uploads: i64,
    pub(super) uploading: bool,
    /// The node that holds the lock of the upload; `None` in stores that only one node uses.
    pub(super) holder: Option<String>,
    pub(super) contents: Cow<'static, str>,
    pub(super) upload: Option<i64>,
    pub(super) records: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) blocks: Option<i64>,
    pub(super) message: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) keyring: Option<Zeroizing<String>>,
}

impl From<&Party> for PartyRecord {
    fn from(party: &Party) -> Self {
        let (contents, data, message) = match &party.contents {
            Contents::Missing => ("missing", None, None),
            Contents::Fetching { .. } => ("fetching", None, None),
            Contents::Ingesting(Upload { upload, records, encoding_bytes, blocks }) => {
                ("ingesting", Some((*upload, *records, *encoding_bytes, u64::from(*blocks))), None)
            }
            Contents::Ready(Dataset { upload, records, encoding_bytes, blocks }) => {
                ("ready", Some((*upload, *records, *encoding_bytes, *blocks)), None)
            }
            Contents::Failed { message } => ("failed", None, Some(message.clone())),
        };
        let (reference, keyring) = match &party.contents {
            Contents::Fetching { reference, keyring } => {
                (Some(text(reference)), (!keyring.is_empty()).then(|| Zeroizing::new(text(keyring))))
            }
            _ => (None, None),
        };
        Self {
            update_token: *party.update_token.as_bytes(),
            receipt_token: party.receipt_token.as_ref().map(|token| *token.as_bytes()),
            uploads: party.uploads.into(),
            uploading: party.uploading,
            holder: party.holder.clone(),
            contents: contents.into(),
            upload: data.map(|data| data.0.into()),
            records: data.map(|data| data.1.into()),
            bytes: data.map(|data| data.2.into()),
            blocks: data.map(|data| data.3.cast_signed()),
            message,
            reference,
            keyring,
        }
    }
}

impl TryFrom<PartyRecord> for Party {
    type Error = Unknown;

    fn try_from(record: PartyRecord) -> Result<Self, Unknown> {
        let data = || -> Result<(u32, u32, u32, u64), Unknown> {
            let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
            let all = (number(record.upload), number(record.records), number(record.bytes), record.blocks);
            let (Some(upload), Some(records), Some(bytes), Some(blocks)) = all else {
                return Err(Unknown("data of a party"));
            };
            Ok((upload, records, bytes, blocks.cast_unsigned()))
        };
        let contents = match record.contents.as_ref() {
            "missing" => Contents::Missing,
            "fetching" => {
                let reference = serde_json::from_str(record.reference.as_deref().unwrap_or_default());
                let keyring = record.keyring.as_ref();
                let keyring =
                    keyring.map_or_else(|| Ok(Keyring::default()), |text| serde_json::from_str(text));
                Contents::Fetching {
                    reference: reference.map_err(|_| Unknown("files of a party"))?,
                    keyring: keyring.map_err(|_| Unknown("keys of a party"))?,
                }
            }
            "ingesting" => {
                let (upload, records, encoding_bytes, blocks) = data()?;
                Contents::Ingesting(Upload { upload, records, encoding_bytes, blocks: blocks != 0 })
            }
            "ready" => {
                let (upload, records, encoding_bytes, blocks) = data()?;
                Contents::Ready(Dataset { upload, records, encoding_bytes, blocks })
            }
            "failed" => Contents::Failed { message: record.message.ok_or(Unknown("message of a party"))? },
            _ => return Err(Unknown("contents of a party")),
        };
        Ok(Self {
            update_token: TokenHash::from_bytes(record.update_token),
            receipt_token: record.receipt_token.map(TokenHash::from_bytes),
            uploads: u32::try_from(record.uploads).map_err(|_| Unknown("uploads of a party"))?,
            uploading: record.uploading,
            holder: record.holder,
            contents,
        })
    }
}

/// A row of the table `runs`.
#[derive(Debug)]
pub(super) struct RunRecord {
    pub(super) id: [u8; 24],
    pub(super) name: String,
    pub(super) notes: String,
    pub(super) threshold: f64,
    pub(super) with_scores: bool,
    pub(super) added: i64,
    pub(super) started: Option<i64>,
    pub(super) ended: Option<i64>,
    pub(super) settled: Option<i64>,
    pub(super) state: Cow<'static, str>,
    pub(super) stage: Option<i64>,
    pub(super) message: Option<String>,
    pub(super) found_pairs: Option<i64>,
    pub(super) groups: Option<i64>,
    pub(super) checksums: Option<String>,
    pub(super) parts: Option<i64>,
    pub(super) applied: Option<Vec<u8>>,
    pub(super) comparisons_total: Option<i64>,
    pub(super) largest_blocks: Option<String>,
    pub(super) comparisons: Option<i64>,
    pub(super) pairs: Option<i64>,
    pub(super) seed: Option<Zeroizing<[u8; 32]>>,
    pub(super) ready: Option<i64>,
    pub(super) compared: Option<i64>,
    pub(super) latest: Option<i64>,
    pub(super) worked: i64,
}

impl From<&Run> for RunRecord {
    fn from(run: &Run) -> Self {
        let (state, failure, summary) = match &run.state {
            RunState::Created => ("created", None, None),
            RunState::Queued => ("queued", None, None),
            RunState::Comparing => ("comparing", None, None),
            RunState::Finalizing => ("finalizing", None, None),
            RunState::Completed(summary) => ("completed", None, Some(summary)),
            RunState::Failed { message, stage } => ("failed", Some((message, *stage)), None),
        };
        let progress = run.progress.as_ref();
        let micros = |moment: Option<Timestamp>| moment.map(Timestamp::as_micros);
        Self {
            id: *run.id.as_bytes(),
            name: run.name.clone(),
            notes: run.notes.clone(),
            threshold: run.threshold.get(),
            with_scores: run.with_scores,
            added: run.added.as_micros(),
            started: micros(run.started),
            ended: micros(run.ended),
            settled: micros(run.settled),
            state: state.into(),
            stage: failure.map(|failure| failure.1.into()),
            message: failure.map(|failure| failure.0.clone()),
            found_pairs: summary.map(|summary| summary.pairs.cast_signed()),
            groups: summary.map(|summary| summary.groups.cast_signed()),
            checksums: summary.and_then(|summary| text_of_some(&summary.checksums)),
            parts: progress.map(|progress| progress.parts.into()),
            applied: progress.map(|progress| progress.applied.as_bytes().to_vec()),
            comparisons_total: progress.map(|progress| progress.comparisons_total.cast_signed()),
            largest_blocks: progress.and_then(|progress| text_of_some(&progress.largest_blocks)),
            comparisons: progress.map(|progress| progress.comparisons.cast_signed()),
            pairs: progress.map(|progress| progress.pairs.cast_signed()),
            seed: run.seed.as_ref().map(|seed| Zeroizing::new(*seed.reveal())),
            ready: micros(run.times.ready),
            compared: micros(run.times.compared),
            latest: micros(run.times.latest),
            worked: run.times.worked.as_micros() as i64,
        }
    }
}

impl TryFrom<RunRecord> for Run {
    type Error = Unknown;

    fn try_from(record: RunRecord) -> Result<Self, Unknown> {
        let moment = |micros: Option<i64>| micros.map(Timestamp::from_micros);
        let state = match record.state.as_ref() {
            "completed" => RunState::Completed(Summary {
                pairs: count(record.found_pairs)?,
                groups: count(record.groups)?,
                checksums: list::<Checksum>(record.checksums.as_deref(), "checksums of a result")?,
            }),
            "failed" => RunState::Failed {
                message: record.message.ok_or(Unknown("message of a run"))?,
                stage: record
                    .stage
                    .and_then(|stage| u8::try_from(stage).ok())
                    .ok_or(Unknown("stage of a run"))?,
            },
            state => unended(state)?,
        };
        let progress = match record.parts {
            None => None,
            Some(parts) => Some(Progress {
                parts: u32::try_from(parts).map_err(|_| Unknown("parts of a run"))?,
                applied: BitSet::from_bytes(record.applied.ok_or(Unknown("progress of a run"))?),
                comparisons_total: count(record.comparisons_total)?,
                largest_blocks: list(record.largest_blocks.as_deref(), "largest blocks of a run")?,
                comparisons: count(record.comparisons)?,
                pairs: count(record.pairs)?,
            }),
        };
        Ok(Self {
            id: RunId::from_bytes(record.id),
            name: record.name,
            notes: record.notes,
            threshold: Threshold::new(record.threshold).map_err(|_| Unknown("threshold of a run"))?,
            with_scores: record.with_scores,
            added: Timestamp::from_micros(record.added),
            started: moment(record.started),
            ended: moment(record.ended),
            settled: moment(record.settled),
            state,
            progress,
            seed: record.seed.map(|seed| Seed::from_bytes(*seed)),
            times: Times {
                ready: moment(record.ready),
                compared: moment(record.compared),
                latest: moment(record.latest),
                worked: Duration::from_micros(record.worked.cast_unsigned()),
            },
        })
    }
}

/// Returns the state of a run in a list, without its result.
pub(super) fn listed(state: &str) -> Result<RunState, Unknown> {
    match state {
        "completed" => Ok(RunState::Completed(Summary::default())),
        "failed" => Ok(RunState::Failed { message: String::new(), stage: 0 }),
        state => unended(state),
    }
}

fn unended(state: &str) -> Result<RunState, Unknown> {
    match state {
        "created" => Ok(RunState::Created),
        "queued" => Ok(RunState::Queued),
        "comparing" => Ok(RunState::Comparing),
        "finalizing" => Ok(RunState::Finalizing),
        _ => Err(Unknown("state of a run")),
    }
}

/// Returns the comparisons per second of a completed run, if the rate can be determined.
pub(super) fn rate(run: &Run) -> Option<i64> {
    let (RunState::Completed(_), Some(started), Some(ended)) = (&run.state, run.started, run.ended) else {
        return None;
    };
    if ended < started {
        // The clock was set back during the run.
        return None;
    }
    let comparisons = run.progress.as_ref().map_or(0, |progress| progress.comparisons_total);
    let seconds = ended.since(started).as_secs_f64().max(1e-6);
    let rate = (comparisons as f64 / seconds).round() as i64;
    (rate > 0).then_some(rate)
}

/// Returns plain data as JSON.
fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("it is plain data")
}

/// Encodes a list; `None` if it is empty.
fn text_of_some(list: &[impl Serialize]) -> Option<String> {
    (!list.is_empty()).then(|| text(&list))
}

fn list<T: serde::de::DeserializeOwned>(text: Option<&str>, what: &'static str) -> Result<Vec<T>, Unknown> {
    text.map_or_else(|| Ok(Vec::new()), |text| serde_json::from_str(text).map_err(|_| Unknown(what)))
}

fn count(value: Option<i64>) -> Result<u64, Unknown> {
    value.map(i64::cast_unsigned).ok_or(Unknown("count of a run"))
}
