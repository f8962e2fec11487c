//! `entityd backup`: copies the data directory of a running or stopped server.

mod age;
mod copy;
mod keys;
mod manifest;
mod repository;
mod archive;
mod source;
mod make;
mod stored;
mod describe;
pub(super) mod restore;

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::describe::{describe, left_out};
use self::keys::{Passphrase, PassphraseOption};
use self::make::{Made, Target};
use self::source::Source;
use self::stored::Stored;
use super::context::runtime;
use super::interrupt::unless_stopped;
use super::ops_client::{Client, OptionalServer};
use super::progress::Progress;
use super::{Failure, output};

/// Copies the data of a running or stopped server
///
/// Calls the operations listener of a running server, with the admin token, or reads the data directory of a stopped
/// one (--data-dir). Copies projects, runs, uploads, results, buckets and the identity of the data directory, but not
/// the queue, which the next start creates again. Keys are copied only with --keys-passphrase-file, which encrypts
/// them. Objects in a separate store (--objects) are not copied: back up that store.
///
/// A directory or a bucket can hold any number of backups; content of earlier backups is not copied again. A backup
/// is complete, or it is absent and the exit code is not 0. It contains encodings: protect it like the data directory.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    make: Make,
}

#[derive(Debug, Args)]
struct Make {
    /// Directory, bucket (`s3://BUCKET/PREFIX` with keys in `AWS_*`), or a file that ends in .tar
    #[arg(long, value_name = "DEST", default_value = "entityd-backups", value_parser = NonEmptyStringValueParser::new())]
    to: String,
    /// Data directory of a stopped server; its other settings come from the environment
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "token_file", "ca"])]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    server: OptionalServer,
    #[command(flatten)]
    keys: PassphraseOption,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Describes a backup
    Inspect {
        #[command(flatten)]
        chosen: Chosen,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Restores a backup into a temporary directory, opens it and checks it
    Verify {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        keys: PassphraseOption,
        /// Parent of the temporary directory [default: `TMPDIR` or /tmp]
        #[arg(long, value_name = "DIR")]
        scratch: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// A backup.
#[derive(Debug, Args)]
struct Chosen {
    /// Directory, bucket or file with backups
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    from: String,
    /// Name of the backup, as `inspect` lists it [default: the latest]
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = runtime()?;
        match self.action {
            None => runtime.block_on(self.make.run()),
            Some(Action::Inspect { chosen, json }) => runtime.block_on(chosen.inspect(json)),
            Some(Action::Verify { chosen, keys, scratch, json }) => restore::verify(
                &runtime,
                &chosen.from,
                chosen.backup.as_deref(),
                &keys,
                scratch.as_deref(),
                json,
            ),
        }
    }
}

impl Make {
    async fn run(self) -> Result<(), Failure> {
        // The client is created first, so that its errors are found before anything is written.
        let passphrase = self.keys.read()?;
        let client = self.data_dir.is_none().then(|| self.client(passphrase.as_ref())).transpose()?;
        let mut target = Target::open(&self.to).await?;
        let mut progress = Progress::new();
        progress.show("taking a snapshot", 0.0);
        let source = match unless_stopped(self.source(client, passphrase.as_ref())).await {
            Ok(source) => source,
            Err(failure) => {
                target.discard().await;
                return Err(failure);
            }
        };
        let made = unless_stopped(target.copy(&source, passphrase.as_ref(), &mut progress)).await;
        source.close().await;
        let made = match made {
            Ok(made) => made,
            Err(failure) => {
                target.discard().await;
                return Err(failure);
            }
        };
        target.publish(&made.manifest).await?;
        progress.finish();
        output::print(&if self.json { format!("{}\n", made.json()) } else { made.text(&self.to) })
    }

    async fn source(
        &self,
        client: Option<Client>,
        passphrase: Option<&Passphrase>,
    ) -> Result<Source, Failure> {
        let with_keys = passphrase.is_some();
        match (client, &self.data_dir) {
            (None, Some(path)) => Source::stopped(path, with_keys).await,
            (Some(client), _) => Source::serving(client, with_keys).await,
            (None, None) => Source::serving(self.client(passphrase)?, with_keys).await,
        }
    }

    fn client(&self, passphrase: Option<&Passphrase>) -> Result<Client, Failure> {
        let options = self.server.options();
        // The server sends the keys before they are encrypted.
        if passphrase.is_some() && !options.is_private() {
            return Err(Failure::Usage(
                "--keys-passphrase-file: the server sends the keys unencrypted; give an https:// address, \
                 or run this on the server's machine"
                    .to_owned(),
            ));
        }
        Client::new(&options)
    }
}

impl Made {
    fn json(&self) -> Value {
        let mut said = describe(&self.manifest);
        said["copied"] = json!(self.copied.0);
        said["copied_bytes"] = json!(self.copied.1);
        said
    }

    fn text(&self, to: &str) -> String {
        let (manifest, (copied, copied_bytes)) = (&self.manifest, self.copied);
        let (files, bytes) = (manifest.entries.len(), manifest.bytes());
        format!(
            "backup {} in {to}: {files} files, {bytes} bytes, of which {copied} files, {copied_bytes} bytes were copied now\n\
             root {}\n{}",
            manifest.backup,
            manifest.root,
            left_out(manifest)
        )
    }
}

impl Chosen {
    async fn inspect(self, as_json: bool) -> Result<(), Failure> {
        let stored = Stored::open(&self.from)?;
        let backups = stored.backups().await?;
        let manifest = stored.manifest(self.backup.as_deref()).await?;
        stored.check_sizes(&manifest).await?;
        let mut said = describe(&manifest);
        if as_json {
            said["backups"] = json!(backups);
            return output::print(&format!("{said}\n"));
        }
        let databases: Vec<String> =
            manifest.about.databases.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let rows = [
            ("backup", manifest.backup.clone()),
            ("made", manifest.made.clone()),
            ("entityd", manifest.about.version.clone()),
            ("identity", manifest.about.identity.clone()),
            ("databases", databases.join(", ")),
            ("files", manifest.entries.len().to_string()),
            ("bytes", manifest.bytes().to_string()),
            ("root", manifest.root.clone()),
            ("all backups", backups.join(", ")),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        output::print(&format!("{}{}", super::columns::aligned(&[], rows.into()), left_out(&manifest)))
    }
}
