//! The keys of a backup: one archive of the key files, encrypted with a passphrase.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use tar::{Archive, Builder, Header};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::age;
use super::copy::copy;
use super::manifest::{KEYS, Manifest};
use super::source::Source;
use super::stored::{Stored, damaged};
use crate::app::snapshot::{Listed, is_key};
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::runtime::entropy::Entropy;
use crate::system::secret;

/// The maximum number of bytes of all key files.
const BYTES_MAX: u64 = 1 << 20;

/// The option that names the file with the passphrase.
#[derive(Debug, Args)]
pub(super) struct PassphraseOption {
    /// File with the passphrase that encrypts the keys: the digest of the admin token, S3 root credentials,
    /// self-signed certificate
    #[arg(long, value_name = "FILE")]
    keys_passphrase_file: Option<PathBuf>,
}

/// A passphrase that was read from a file.
#[derive(Clone)]
pub(super) struct Passphrase {
    text: Zeroizing<String>,
    file: PathBuf,
}

/// A key file: its path in the data directory, and its content.
pub(super) type Key = (String, Zeroizing<Vec<u8>>);

impl PassphraseOption {
    /// Reads the passphrase; `None` if no file is given.
    pub(super) fn read(&self) -> Result<Option<Passphrase>, Failure> {
        let read = |file: &PathBuf| {
            let text = secret::read(file)?;
            Ok(Passphrase { text, file: file.clone() })
        };
        self.keys_passphrase_file.as_ref().map(read).transpose()
    }
}

/// Reads the key files, and returns their encrypted archive.
pub(super) async fn encrypted(
    source: &Source,
    files: &[Listed],
    passphrase: &Passphrase,
) -> Result<Vec<u8>, Failure> {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    if bytes > BYTES_MAX {
        return Err(Failure::Failed(format!(
            "the key files have {bytes} bytes, more than the maximum of {BYTES_MAX}"
        )));
    }
    let mut archive = Builder::new(Vec::new());
    for file in files {
        let mut content = Zeroizing::new(Vec::new());
        let copied = copy(source.open(&file.path).await?, &mut *content, file.bytes).await;
        copied.map_err(|error| Failure::Failed(format!("cannot copy {}: {error}", file.path)))?;
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, &file.path, content.as_slice()).or_fail()?;
    }
    let content = Zeroizing::new(archive.into_inner().or_fail()?);
    let text = passphrase.text.clone();
    spawn_blocking(move || age::encrypt(&content, &text, &Entropy::system())).await.or_fail()
}

/// Returns the keys of a backup; none without a passphrase.
///
/// # Errors
/// [`Failure::Usage`] if the backup has no encrypted keys, or if the passphrase is wrong.
pub(super) async fn decrypted(
    stored: &Stored,
    manifest: &Manifest,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<Key>, Failure> {
    let Some(passphrase) = passphrase else { return Ok(Vec::new()) };
    let Some(entry) = manifest.entries.iter().find(|entry| entry.path == KEYS) else {
        return Err(Failure::Usage(format!(
            "the backup {} has no encrypted keys; omit --keys-passphrase-file",
            manifest.backup
        )));
    };
    if entry.bytes > 2 * BYTES_MAX {
        return Err(damaged(entry, "it is too large"));
    }
    let mut encrypted = Vec::new();
    stored.copy(entry, &mut encrypted).await?;
    let text = passphrase.text.clone();
    let content = spawn_blocking(move || age::decrypt(&encrypted, &text)).await.or_fail()?;
    let content = content.map_err(|error| match error {
        age::Error::Passphrase => Failure::Usage(format!(
            "--keys-passphrase-file {}: this is not the passphrase of the backup {}",
            passphrase.file.display(),
            manifest.backup
        )),
        error => damaged(entry, &error.to_string()),
    })?;
    unpacked(&content).map_err(|why| damaged(entry, &why))
}

/// Returns the files of an archive.
fn unpacked(content: &[u8]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for file in Archive::new(content).entries().map_err(|error| error.to_string())? {
        let mut file = file.map_err(|error| error.to_string())?;
        let path = file.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let path = path.filter(|path| is_key(path)).ok_or("this version does not know one of its files")?;
        let mut key = Zeroizing::new(Vec::new());
        file.read_to_end(&mut key).map_err(|error| error.to_string())?;
        keys.push((path, key));
    }
    Ok(keys)
}
