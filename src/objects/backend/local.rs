//! The backend of objects that are files of this machine.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::client::Client;
use super::directory::Directory;
use super::{Backend, Chunks, Found};
use crate::objects::location::files;
use crate::objects::{Blob, Error, Key, ObjectFile, Prefix, Removed};

/// Objects as files below one directory. They are read in place, and created by a rename.
#[derive(Debug)]
pub(in crate::objects) struct Local {
    directory: Arc<Directory>,
    client: Client,
}

impl Local {
    /// Opens the objects below `root`, which is created if it is missing.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(in crate::objects) fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self { directory: Arc::new(Directory::open(root)?), client: Client(files(root)?) })
    }

    async fn blocking<T, E>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        Error: From<E>,
    {
        let directory = Arc::clone(&self.directory);
        Ok(spawn_blocking(move || work(&directory)).await??)
    }

    /// Returns `found`. If the object seems to be missing, fails unless the directory is still the one that was opened.
    async fn in_place<T>(&self, found: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Missing { .. }) = &found {
            self.blocking(Directory::is_in_place).await?;
        }
        found
    }
}

#[async_trait]
impl Backend for Local {
    async fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        let key = key.clone();
        self.blocking(move |directory| directory.place(file, &key)).await
    }

    async fn head(&self, key: &Key) -> Result<Found, Error> {
        self.in_place(self.client.head(key).await).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error> {
        // Opening a file that is not regular could block.
        let checked = key.clone();
        self.blocking(move |directory| directory.can_open(&checked)).await?;
        self.in_place(self.client.get(key, range).await).await
    }

    fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        Ok(ObjectFile::whole(self.directory.file(key)?)?)
    }

    async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        let (key, stamp) = (blob.key().clone(), blob.stamp());
        self.blocking(move |directory| directory.stamp(&key).map(|found| found == stamp)).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let key = key.clone();
        self.blocking(move |directory| directory.remove(&key)).await
    }

    async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let below = prefix.clone();
        let removed = self.blocking(move |directory| directory.remove_all(&below)).await?;
        self.client.expect_empty(prefix).await.map(|()| removed)
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        self.client.children(prefix).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.blocking(Directory::is_in_place).await
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.directory.root())
    }

    async fn check_writable(&self) -> Result<(), Error> {
        self.blocking(|directory| -> io::Result<()> { directory.takes_writes() }).await
    }
}
