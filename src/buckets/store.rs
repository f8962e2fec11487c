//! The handle on all buckets and their objects.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::checksum::{Algorithm, Checksum};
use super::contents::{Pieces, Source};
use super::files::{Files, Number};
use super::incoming::Stored;
use super::index::{
    self, Completion, NewPart, NewUpload, Page, Part, Query, Upload, UploadsPage, UploadsQuery,
};
use super::object::{Bucket, Condition, Head, Object};
use super::pins::Pins;
use super::strays::{self, Proof};
use super::{Contents, Error, Incoming, KEY_BYTES_MAX, Received};
use crate::model::CleanupLimit;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::sqlite::{Change, Database, Owner, Standing};

/// The buckets of the S3 endpoint. Cheap to clone.
///
/// Every method that makes a change returns when the change is on the disk. If its future is dropped, a change that has
/// begun is completed nevertheless.
#[derive(Clone, Debug)]
pub struct Buckets {
    index: Database,
    files: Files,
    pins: Pins,
    clock: Clock,
    entropy: Entropy,
}

/// The identity of a multipart upload: bucket, key and token.
#[derive(Clone, Debug)]
pub struct UploadName {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The token that the client got when it created the upload.
    pub token: String,
}

impl UploadName {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.bucket, &self.key, &self.token)
    }
}

impl Buckets {
    /// Opens the index at `index` and the files below `root`; creates them if they are missing. Compares the two.
    /// Files without references were left by a crash and are removed. If a file of an object is missing, that is
    /// logged, and no file is removed: a crash cannot cause this, so the index does not belong to these files.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Index`], [`Error::Storage`], [`Error::Full`].
    pub async fn open(index: &Path, root: &Path, clock: Clock, entropy: Entropy) -> Result<Self, Error> {
        Self::open_for(index, root, (clock, entropy), None, CleanupLimit::default()).await
    }

    /// Opens the buckets like [`open`](Self::open), if the index belongs to `owner` and has every commit that was
    /// made to it. Files without references are kept if there are more than `limit` allows, or if the index cannot
    /// prove that it never referred to them.
    ///
    /// # Errors
    /// Like [`open`](Self::open).
    pub async fn open_owned(
        index: &Path,
        root: &Path,
        chance: (Clock, Entropy),
        owner: &Owner,
        limit: CleanupLimit,
    ) -> Result<Self, Error> {
        Self::open_for(index, root, chance, Some(owner.clone()), limit).await
    }

    async fn open_for(
        index: &Path,
        root: &Path,
        (clock, entropy): (Clock, Entropy),
        owner: Option<Owner>,
        limit: CleanupLimit,
    ) -> Result<Self, Error> {
        let (path, root) = (index.to_owned(), root.to_owned());
        let below = root.clone();
        let opening = move || open_index(&path, &below, owner.as_ref());
        let index = spawn_blocking(opening).await??;
        let compared = root.clone();
        let found = index.read(move |index| index::compare(index, &compared)).await?;
        let (standing, latest) = (index.standing(), found.latest);
        let opened = index.write(move |change| index::count_opening(change, standing, latest)).await?;
        let files = spawn_blocking(move || Files::open(&root, opened)).await??;
        let tidied = files.clone();
        spawn_blocking(move || strays::tidy(&tidied, &found, Proof { opened, limit })).await??;
        let pins = Pins::start(files.clone())?;
        Ok(Self { index, files, pins, clock, entropy })
    }

    /// Creates a bucket.
    ///
    /// # Errors
    /// [`Error::BucketExists`].
    pub async fn create(&self, name: &str) -> Result<(), Error> {
        let (name, now) = (name.to_owned(), self.clock.now());
        self.index.write(move |change| index::create(change, &name, now)).await
    }

    /// Removes an empty bucket, with the parts of incomplete uploads.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::BucketNotEmpty`].
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let (name, pins) = (name.to_owned(), self.pins.clone());
        let remove =
            move |change: &Change<'_>| index::remove(change, &name).map(|gone| doom(change, &pins, gone));
        self.index.write(remove).await
    }

    /// Returns all buckets by name.
    pub async fn list(&self) -> Result<Vec<Bucket>, Error> {
        self.index.read(index::buckets).await
    }

    /// Returns one bucket.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<Bucket, Error> {
        let name = name.to_owned();
        self.index
            .read(move |index| index::bucket(index, &name).map(|(_, created)| Bucket { name, created }))
            .await
    }

    /// Begins to receive the bytes of an object, at most `size_max`. Computes these checksums in addition to the MD5.
    pub fn incoming(&self, algorithms: &[Algorithm], size_max: u64) -> Incoming {
        Incoming::object(self.files.clone(), algorithms, size_max)
    }

    /// Begins to receive the bytes of a part, like [`incoming`](Self::incoming).
    pub fn incoming_part(&self, algorithms: &[Algorithm], size_max: u64) -> Incoming {
        Incoming::part(self.files.clone(), algorithms, size_max)
    }

    /// Creates or replaces an object with bytes that have arrived.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`], [`Error::Key`], [`Error::KeyCharacter`], [`Error::Precondition`].
    pub async fn put(
        &self,
        (bucket, key): (&str, &str),
        received: Received,
        head: Head,
        condition: Condition,
    ) -> Result<Object, Error> {
        check_new_key(key)?;
        let (bucket, key, pins) = (bucket.to_owned(), key.to_owned(), self.pins.clone());
        let etag = hex::encode(received.digests.md5);
        let data = self.files.number();
        let object = Object { size: received.size, etag, modified: self.clock.now(), head, data };
        let put = move |change: &Change<'_>| {
            let new = new_object(&bucket, &key, &object);
            let gone = match &received.bytes {
                Stored::Small(bytes) => index::put(change, &new, &index::Stored::Small(bytes), &condition)?,
                Stored::File(file) => {
                    let files = [(file.number(), received.size)];
                    index::put(change, &new, &index::Stored::Files(&files), &condition)?
                }
            };
            if let Stored::File(file) = received.bytes {
                file.keep();
            }
            doom(change, &pins, gone);
            Ok(object)
        };
        self.index.write(put).await
    }

    /// Returns the attributes of an object.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`].
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index.read(move |index| index::find(index, &bucket, &key)).await
    }

    /// Returns up to `max` parts of an object after number `after`, true if there are more, and the total number.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`].
    pub async fn object_parts(
        &self,
        bucket: &str,
        key: &str,
        after: u32,
        max: u32,
    ) -> Result<(Object, Vec<Part>, bool, u32), Error> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.index
            .read(move |index| {
                let object = index::find(index, &bucket, &key)?;
                let (parts, more) = index::page_of_parts(index, object.data, after, max)?;
                let count = index::count_parts(index, object.data)?;
                Ok((object, parts, more, count))
            })
            .await
    }

    /// Opens an object.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::NoSuchKey`], [`Error::Damaged`].
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Contents, Error> {
        let (buckets, bucket, key) = (self.clone(), bucket.to_owned(), key.to_owned());
        let index = self.index.clone();
        index.read(move |index| buckets.open_object(index, &bucket, &key)).await
    }

    fn open_object(&self, index: &rusqlite::Connection, bucket: &str, key: &str) -> Result<Contents, Error> {
        let (object, pin) = self.pins.pin(|| index::find(index, bucket, key), |object| object.data)?;
        let bytes = match index::small(index, object.data)? {
            Some(bytes) => Source::Small(Bytes::from(bytes)),
            None => Source::Files(Pieces::new(self.files.clone(), &index::pieces(index, object.data)?, pin)),
        };
        let found = match &bytes {
            Source::Small(bytes) => bytes.len() as u64,
            Source::Files(files) => files.size(),
        };
        if found != object.size {
            return Err(Error::Damaged(format!("{found} bytes are left of {}", object.size)));
        }
        if let Source::Files(files) = &bytes {
            files.require()?;
        }
        Ok(Contents { object, bytes })
    }

    /// Creates an object with the bytes of another, without copying them.
    ///
    /// # Errors
    /// Like [`put`](Self::put).
    pub async fn copy(
        &self,
        source: Contents,
        (bucket, key): (&str, &str),
        head: Head,
        condition: Condition,
    ) -> Result<Object, Error> {
        check_new_key(key)?;
        let (bucket, key, pins, files) =
            (bucket.to_owned(), key.to_owned(), self.pins.clone(), self.files.clone());
        let Contents { object: Object { size, etag, .. }, bytes } = source;
        let object = Object { size, etag, modified: self.clock.now(), head, data: self.files.number() };
        let (small, links) = spawn_blocking(move || link(&files, bytes)).await??;
        let put = move |change: &Change<'_>| {
            let new = new_object(&bucket, &key, &object);
            let pieces: Vec<_> = links.iter().map(|(fresh, size)| (fresh.number(), *size)).collect();
            let stored = match &small {
                Some(bytes) => index::Stored::Small(bytes),
                None => index::Stored::Files(&pieces),
            };
            let gone = index::put(change, &new, &stored, &condition)?;
            links.into_iter().for_each(|(fresh, _)| fresh.keep());
            doom(change, &pins, gone);
            Ok(object)
        };
        self.index.write(put).await
    }

    /// Deletes an object; returns false if there was none. When this returns, its files are removed, unless they have a
    /// reader.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Key`], [`Error::Precondition`].
    pub async fn delete(&self, bucket: &str, key: &str, condition: Condition) -> Result<bool, Error> {
        check_key(key)?;
        let (bucket, key, pins) = (bucket.to_owned(), key.to_owned(), self.pins.clone());
        let (gone, went) = oneshot::channel();
        let delete = move |change: &Change<'_>| {
            let taken = index::delete(change, &bucket, &key, &condition)?;
            let existed = taken.is_some();
            if let Some((data, files)) = taken.filter(|(_, files)| !files.is_empty()) {
                change.after(move || pins.doom(data, files, Some(gone)));
            }
            Ok::<_, Error>(existed)
        };
        let existed = self.index.write(delete).await?;
        // An error means that the object had no file, or has a reader.
        let _ = went.await;
        Ok(existed)
    }

    /// Returns a page of a bucket's listing.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`].
    pub async fn page(&self, bucket: &str, query: Query) -> Result<Page, Error> {
        let bucket = bucket.to_owned();
        self.index.read(move |index| index::page(index, &bucket, &query)).await
    }

    /// Begins a multipart upload and returns its token. `checksum` is the algorithm of the parts' checksums, and true
    /// if the object will have a checksum of all its bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`], [`Error::Key`], [`Error::KeyCharacter`].
    pub async fn start_upload(
        &self,
        (bucket, key): (&str, &str),
        head: Head,
        checksum: Option<(Algorithm, bool)>,
    ) -> Result<String, Error> {
        check_new_key(key)?;
        let (bucket, key, started) = (bucket.to_owned(), key.to_owned(), self.clock.now());
        let id = self.files.number();
        let token = format!("{id:016x}{}", hex::encode(self.entropy.bytes::<16>()));
        let start = move |change: &Change<'_>| {
            let (bucket, key, token) = (bucket.as_str(), key.as_str(), token.as_str());
            index::start(change, &NewUpload { id, token, bucket, key, started, head: &head, checksum })?;
            Ok(token.to_owned())
        };
        self.index.write(start).await
    }

    /// Adds a part that has arrived, or replaces the part with the same number.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`], [`Error::NoSuchBucket`].
    pub async fn put_part(&self, name: UploadName, number: u32, received: Received) -> Result<Part, Error> {
        let (modified, pins) = (self.clock.now(), self.pins.clone());
        let Received { size, digests, bytes } = received;
        let Stored::File(file) = bytes else { unreachable!("a part is always in a file") };
        let checksum: Option<Checksum> = digests.checksums.into_iter().next();
        let part = Part { number, size, md5: digests.md5, checksum: checksum.clone(), modified };
        let new = NewPart { number, file: file.number(), size, md5: digests.md5, checksum, modified };
        let put = move |change: &Change<'_>| {
            let gone = index::part(change, name.parts(), &new)?;
            file.keep();
            doom(change, &pins, gone);
            Ok(part)
        };
        self.index.write(put).await
    }

    /// Returns an upload, up to `max` of its parts after number `after`, and true if there are more.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`], [`Error::NoSuchBucket`].
    pub async fn parts(
        &self,
        name: UploadName,
        after: u32,
        max: u32,
    ) -> Result<(Upload, Vec<Part>, bool), Error> {
        self.index.read(move |index| index::parts(index, name.parts(), after, max)).await
    }

    /// Returns a page of the uploads in progress in a bucket.
    ///
    /// # Errors
    /// [`Error::NoSuchBucket`].
    pub async fn uploads(&self, bucket: &str, query: UploadsQuery) -> Result<UploadsPage, Error> {
        let bucket = bucket.to_owned();
        self.index.read(move |index| index::uploads(index, &bucket, &query)).await
    }

    /// Creates an object from parts, without copying them. May be repeated with the same parts.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`], [`Error::InvalidPart`], [`Error::PartOrder`], [`Error::PartTooSmall`],
    /// [`Error::Mismatch`], [`Error::ChecksumType`], [`Error::Precondition`], [`Error::NoSuchKey`]. After an error the
    /// parts still exist.
    pub async fn complete_upload(&self, name: UploadName, completion: Completion) -> Result<Object, Error> {
        let (now, pins) = (self.clock.now(), self.pins.clone());
        let complete = move |change: &Change<'_>| {
            let (object, gone) = index::complete(change, name.parts(), &completion, now)?;
            doom(change, &pins, gone);
            Ok(object)
        };
        self.index.write(complete).await
    }

    /// Aborts an upload and removes its parts.
    ///
    /// # Errors
    /// [`Error::NoSuchUpload`], [`Error::NoSuchBucket`].
    pub async fn abort_upload(&self, name: UploadName) -> Result<(), Error> {
        let pins = self.pins.clone();
        let abort = move |change: &Change<'_>| {
            index::abort(change, name.parts()).map(|gone| doom(change, &pins, [gone]))
        };
        self.index.write(abort).await
    }

    /// Adds `time`, the time since the last call, to the age of all multipart uploads. Aborts those older than `age`,
    /// and returns their count. So time during which the server is stopped does not count.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn sweep(&self, time: Duration, age: Duration) -> Result<usize, Error> {
        let pins = self.pins.clone();
        let sweep = move |change: &Change<'_>| {
            let gone = index::abandoned(change, time, age)?;
            let count = gone.len();
            doom(change, &pins, gone);
            Ok::<_, Error>(count)
        };
        self.index.write(sweep).await
    }

    /// Checks that the index answers and accepts changes.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub async fn check(&self) -> Result<(), Error> {
        self.index.check().await?;
        self.index.read(index::openings).await.map(drop)
    }

    /// Closes the index. Must be the last call.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.index.close().await?)
    }

    /// Compacts the index, so that it contains no data of removed objects.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub async fn compact(&self) -> Result<(), Error> {
        Ok(self.index.compact().await?)
    }
}

/// Migrates the index at `path` to the present schema, if it belongs to `owner` and has every commit that was made to
/// it.
///
/// # Errors
/// [`Error::Index`]; the index is then unchanged.
pub async fn migrate(path: &Path, owner: &Owner) -> Result<(), Error> {
    let (path, owner) = (path.to_owned(), owner.clone());
    let index = spawn_blocking(move || index::open(&path, Some(&owner))).await?.map_err(Error::Index)?;
    index.close().await.map_err(Error::Index)
}

fn open_index(path: &Path, root: &Path, owner: Option<&Owner>) -> Result<Database, Error> {
    let require_none = || match Files::count(root)? {
        0 => Ok(()),
        files => Err(Error::Lost { files }),
    };
    // A new index must not replace one that the operator can restore. If the owner knows of the loss, its own error
    // reports that.
    let is_missed = owner.is_some_and(|owner| owner.misses(path));
    if fs::metadata(path).map_or(0, |found| found.len()) == 0 && !is_missed {
        require_none()?;
    }
    let index = index::open(path, owner).map_err(Error::Index)?;
    if index.query(index::openings)? == 0 && index.standing() != Standing::Lossy {
        require_none()?;
    }
    Ok(index)
}

/// Removes the files of removed data once `change` is on the disk.
fn doom(change: &Change<'_>, pins: &Pins, gone: impl IntoIterator<Item = (Number, Vec<Number>)>) {
    for (data, files) in gone.into_iter().filter(|(_, files)| !files.is_empty()) {
        let pins = pins.clone();
        change.after(move || pins.doom(data, files, None));
    }
}

fn new_object<'a>(bucket: &'a str, key: &'a str, object: &'a Object) -> index::New<'a> {
    let Object { data, size, modified, head, etag } = object;
    index::New { bucket, key, data: *data, size: *size, etag, modified: *modified, head }
}

type Links = (Option<Bytes>, Vec<(super::files::Fresh, u64)>);

/// Copies the bytes of an object: in memory if they are small, otherwise as files with new numbers.
fn link(files: &Files, source: Source) -> Result<Links, Error> {
    let pieces = match source {
        Source::Small(bytes) => return Ok((Some(bytes), Vec::new())),
        Source::Files(pieces) => pieces,
    };
    let mut links = Vec::new();
    for (number, size) in pieces.numbers() {
        let fresh = files.link(number)?;
        fresh.sync()?;
        links.push((fresh, size));
    }
    Ok((None, links))
}

/// Checks the key of a new object: a listing must be able to contain it.
fn check_new_key(key: &str) -> Result<(), Error> {
    check_key(key)?;
    match key.chars().find(|character| !is_in_xml(*character)) {
        Some(character) => Err(Error::KeyCharacter { character }),
        None => Ok(()),
    }
}

/// Returns true if XML 1.0 can represent the character.
pub const fn is_in_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn check_key(key: &str) -> Result<(), Error> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(()) } else { Err(Error::Key) }
}
