//! Fetch jobs: read the files to which an upload refers.

use std::io::{self, Read};
use std::sync::Arc;

use linkage::encoding::{self, binary, json};

use crate::coordinator::Secret;
use crate::external::ClientFile;
use crate::model::{AccessKeys, Keyring, NamedFile, Outcome, Reference, Upload};
use crate::objects::{self, Objects, Staged, keys};
use crate::runtime::coding::Undecodable;
use crate::runtime::compute;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::cancellable_io::Cancellable;
use crate::worker::context::JobContext;

/// The maximum size of an encoding, in bytes. The limits of the project are checked later.
const ENCODING_BYTES_MAX: u32 = 4_096;
/// The maximum number of matrix bytes for each byte of JSON. It limits the padding of short encodings.
const GROWTH_MAX: u64 = 64;

/// Reads the files once, as streams, and publishes the matrix and the block entries.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    party: u32,
    reference: &Reference,
) -> Result<Outcome, Error> {
    let (project, upload) = (active.job().project, reference.upload);
    let keyring = match &active.assignment.secret {
        Some(Secret::Keyring(keyring)) => keyring.clone(),
        _ => Keyring::default(),
    };
    let encodings = open(context, &reference.encodings, keyring.encodings.as_deref()).await?;
    let blocks = match &reference.blocks {
        Some(blocks) => Some(open(context, blocks, keyring.blocks.as_deref()).await?),
        None => None,
    };
    let task = FetchTask { objects: context.objects.clone(), active: Arc::clone(active), encodings, blocks };
    let read = compute::run_blocking(move || task.read(upload)).await;
    let Fetched { upload, matrix, entries } = read.map_err(|text| Error::panicked(&text))??;
    let matrix = (keys::matrix(project, party, upload.upload), matrix);
    let entries = entries.map(|entries| (keys::entries(project, party, upload.upload), entries));
    context.publish(active, std::iter::once(matrix).chain(entries)).await?;
    require_unchanged(context, active, party, &upload).await?;
    Ok(Outcome::Fetched(upload))
}

/// Checks that the published matrix has the size of this upload. An earlier attempt may have published it from an older
/// content of the files.
async fn require_unchanged(
    context: &JobContext,
    active: &ActiveJob,
    party: u32,
    upload: &Upload,
) -> Result<(), Error> {
    let expected = u64::from(upload.records) * u64::from(upload.encoding_bytes);
    let found = context.objects.size(&keys::matrix(active.job().project, party, upload.upload)).await?;
    if found == expected {
        Ok(())
    } else {
        Err(Error::Rejected(
            "an uploaded file was replaced while it was read; post the upload again".to_owned(),
        ))
    }
}

/// A file of the upload, and the name that the client gave it.
struct Named {
    name: String,
    file: ClientFile,
}

async fn open(context: &JobContext, named: &NamedFile, keys: Option<&AccessKeys>) -> Result<Named, Error> {
    match (named, keys) {
        (NamedFile::Own(key), _) => open_own(context, key).await,
        (NamedFile::Foreign(file), Some(keys)) => {
            Ok(Named { name: file.path.clone(), file: context.client_files.stores.open(file, keys).await? })
        }
        (NamedFile::Foreign(_), None) => {
            Err(Error::failed("the job came without the keys to the files it is to read"))
        }
    }
}

async fn open_own(context: &JobContext, key: &str) -> Result<Named, Error> {
    let bucket = context.client_files.bucket.as_ref().ok_or_else(|| {
        Error::Rejected(
            "this server does not read uploaded files any more; upload through the API".to_owned(),
        )
    })?;
    // This server generated the part of the path before the name.
    let name = key.splitn(3, '/').last().unwrap_or(key).to_owned();
    match bucket.open(key).await {
        Ok(file) => Ok(Named { name, file }),
        Err(objects::Error::Missing { .. }) => Err(Error::Rejected(format!(
            "there is no uploaded file `{name}`; upload it, then post the upload again"
        ))),
        Err(error) => Err(error.into()),
    }
}

impl Named {
    /// Returns the error for an unusable file.
    fn refused(&self, why: &str) -> Error {
        refused(&self.name, why)
    }

    /// Returns the number in the file's metadata under `name`.
    fn number(&self, name: &str, max: u32) -> Result<u32, Error> {
        let text = self.file.metadata(name).ok_or_else(|| {
            self.refused(&format!("it lacks the metadata `{name}` (header x-amz-meta-{name})"))
        })?;
        let number = text.trim().parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| {
            self.refused(&format!("its metadata `{name}` must be a whole number from 1 to {max}"))
        })
    }
}

fn refused(name: &str, why: &str) -> Error {
    Error::Rejected(format!("the uploaded file `{name}` cannot be used: {why}"))
}

struct FetchTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    encodings: Named,
    blocks: Option<Named>,
}

/// The contents of the files.
struct Fetched {
    upload: Upload,
    matrix: Staged,
    entries: Option<Staged>,
}

impl FetchTask {
    fn read(self, upload: u32) -> Result<Fetched, Error> {
        let records = self.encodings.number("hash-count", u32::MAX)?;
        let encoding_bytes = self.encodings.number("hash-size", ENCODING_BYTES_MAX)?;
        let blocks = self.blocks.is_some();
        let upload = Upload { upload, records, encoding_bytes, blocks };
        let mut matrix = Cancellable::new(self.objects.stage(), &self.active);
        read_encodings(self.encodings, &upload, &self.active, &mut matrix)?;
        let entries = match self.blocks {
            None => None,
            Some(Named { name, file }) => {
                let mut entries = Cancellable::new(self.objects.stage(), &self.active);
                let file = Cancellable::new(reader(&name, file)?, &self.active);
                json::blocks(file, records, &mut entries).map_err(|error| unusable(&name, error))?;
                Some(entries.into_inner())
            }
        };
        Ok(Fetched { upload, matrix: matrix.into_inner(), entries })
    }
}

/// Reads the declared number of encodings, and ignores the rest.
fn read_encodings(
    encodings: Named,
    upload: &Upload,
    active: &Arc<ActiveJob>,
    matrix: impl io::Write,
) -> Result<(), Error> {
    let (records, encoding_bytes) = (upload.records, upload.encoding_bytes);
    let bytes = u64::from(records) * u64::from(encoding_bytes);
    // The reference service, too, accepts only lower case.
    let is_json = encodings.name.strip_suffix(".json").is_some();
    if is_json && bytes / GROWTH_MAX > encodings.file.bytes_max() {
        return Err(encodings.refused("it has far fewer encodings than its metadata declares"));
    }
    let Named { name, file } = encodings;
    let file = Cancellable::new(reader(&name, file)?, active);
    let read = if is_json {
        json::encodings(file, records, encoding_bytes, matrix)
    } else {
        binary::read(file.take(bytes), records, encoding_bytes, matrix)
    };
    read.map(drop).map_err(|error| unusable(&name, error))
}

fn reader(name: &str, file: ClientFile) -> Result<impl Read, Error> {
    file.into_reader().map_err(|unknown| refused(name, &unknown.to_string()))
}

fn unusable(name: &str, error: encoding::Error) -> Error {
    match error {
        encoding::Error::Source(error) if Undecodable::of(&error).is_some() => {
            refused(name, &error.to_string())
        }
        encoding::Error::Rejected(rejection) => refused(name, &rejection.to_string()),
        encoding::Error::Source(error) | encoding::Error::Sink(error) => error.into(),
    }
}
