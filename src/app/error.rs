//! Errors that keep a server from starting or end it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::edge::tls;
use crate::system::identity::Identity;
use crate::system::{data_dir, secret, sqlite};
use crate::worker::remote::SetupError;
use crate::{buckets, coordinator, http, metadata, objects, queue, s3};

/// An error that keeps the server from starting, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory is in use, has other content, or is not writable.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The data directory is a copy that is not complete.
    #[error(
        "{} is not complete: `entityd migrate copy` was interrupted; repeat it with the same settings",
        path.display()
    )]
    Incomplete {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory was used by a newer version of this program.
    #[error("entityd {theirs} used this data directory last, and this is {}", env!("CARGO_PKG_VERSION"))]
    Newer {
        /// The other version.
        theirs: String,
        /// The refusal.
        #[source]
        cause: Box<Self>,
    },
    /// No certificate of the server's own can be generated.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The certificate files of the listeners cannot be used.
    #[error("cannot use the certificate of the listeners (--tls-cert, --tls-key)")]
    Certificate(#[source] tls::Error),
    /// The authorities of client certificates cannot be used.
    #[error("cannot use the authorities of client certificates (--tls-client-ca)")]
    ClientAuthorities(#[source] tls::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (--{setting}): {cause}; {advice}")]
    Listen {
        /// The setting with the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// A remedy.
        advice: String,
        /// The operating system's error.
        cause: std::io::Error,
    },
    /// The objects would be stored among the objects of another server.
    #[error(
        "objects = file://{} is the data directory of another server, which keeps its own objects and uploads there; give \
         a directory for these objects alone with --objects",
        path.display()
    )]
    ForeignDataDir {
        /// The directory.
        path: PathBuf,
    },
    /// Too few files may be open.
    #[error(
        "this server needs at least {needed} open files, and the system allows {allowed}; raise the limit (ulimit -n, or \
         LimitNOFILE= in a unit of systemd)"
    )]
    OpenFiles {
        /// The number that is needed.
        needed: u64,
        /// The number that is allowed.
        allowed: u64,
    },
    /// The system cannot start more threads.
    #[error(
        "this server needs {needed} threads, and the system does not allow them; raise the limit on processes (ulimit -u, or \
         TasksMax= in a unit of systemd), on address space (ulimit -v) or on data (ulimit -d)"
    )]
    Threads {
        /// The number that is needed.
        needed: usize,
        /// The operating system's error.
        #[source]
        cause: std::io::Error,
    },
    /// Too little address space.
    #[error(
        "this server needs at least {needed_mib} MiB of address space, and the system allows {allowed_mib} MiB; raise \
         the limit (ulimit -v)"
    )]
    AddressSpace {
        /// MiB that are needed.
        needed_mib: u64,
        /// MiB that are allowed.
        allowed_mib: u64,
    },
    /// The limit on file sizes is too low.
    #[error(
        "this server writes files of at least {needed_mib} MiB, and the system allows {allowed_mib} MiB; raise the limit \
         on file sizes (ulimit -f)"
    )]
    FileSize {
        /// MiB that are needed.
        needed_mib: u64,
        /// MiB that are allowed.
        allowed_mib: u64,
    },
    /// The admin token cannot be set up.
    #[error("cannot set up the admin token")]
    Access(#[from] http::admin::access::Error),
    /// The join tokens cannot be set up.
    #[error("cannot set up the join tokens")]
    JoinTokens(#[from] http::workers::JoinTokenError),
    /// No API node can be called.
    #[error(transparent)]
    Join(#[from] SetupError),
    /// An address of `--join` is not a URL.
    #[error("--join {url}: {cause}")]
    JoinUrl {
        /// The address.
        url: String,
        /// The cause.
        cause: String,
    },
    /// A database cannot be read.
    #[error("cannot read {}", path.display())]
    Database {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: sqlite::Error,
    },
    /// The metadata cannot be opened.
    #[error("cannot open the metadata in {place}")]
    Metadata {
        /// The file, or the database.
        place: String,
        /// The cause.
        #[source]
        cause: metadata::Error,
    },
    /// The password of the database cannot be read.
    #[error("cannot read the password of the database")]
    DatabasePassword(#[source] secret::Error),
    /// The objects cannot be opened.
    #[error("cannot open the objects")]
    Objects(#[from] objects::Error),
    /// The objects belong to another data directory, or their owner is unknown.
    #[error(transparent)]
    NotOurs(#[from] objects::NotOurs),
    /// The buckets cannot be opened.
    #[error("cannot open the buckets of the S3 endpoint")]
    Buckets(#[from] buckets::Error),
    /// The root credentials of the S3 endpoint cannot be set up.
    #[error("cannot set up the credentials of the S3 endpoint")]
    Credentials(#[from] s3::credentials::Error),
    /// The keys of the S3 store cannot be read.
    #[error("cannot read the S3 secret key")]
    SecretFile(#[source] secret::Error),
    /// The queue cannot be opened.
    #[error("cannot open the queue in {}", path.display())]
    Queue {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: queue::Error,
    },
    /// The queue in Redis cannot be opened.
    #[error("cannot open the queue at {url} (--queue)")]
    RemoteQueue {
        /// The URL, without a password.
        url: String,
        /// The cause.
        #[source]
        cause: queue::Error,
    },
    /// A secret of the queue cannot be read.
    #[error("cannot read a secret of the queue (--{setting})")]
    QueueSecret {
        /// The setting with the file.
        setting: &'static str,
        /// The cause.
        #[source]
        cause: secret::Error,
    },
    /// The certificates for the queue cannot be used.
    #[error("cannot use the certificates for Redis (--queue-ca, --queue-cert, --queue-key)")]
    QueueTls(#[source] tls::Error),
    /// A certificate for the queue cannot be read.
    #[error("cannot read {} (--{setting})", path.display())]
    QueueCertificate {
        /// The setting with the file.
        setting: &'static str,
        /// The path.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: std::io::Error,
    },
    /// The queue belongs to another data directory.
    #[error(
        "the queue in {} belongs to the data directory with the identity {found}, and this one has {expected}; restore \
         all files from the same backup, or move the queue away: its jobs are enqueued again",
        path.display()
    )]
    ForeignQueue {
        /// The path.
        path: PathBuf,
        /// The identity in the directory.
        found: Identity,
        /// The identity of the data directory.
        expected: Identity,
    },
    /// The work that the last process left cannot be resumed.
    #[error("cannot resume the work of the last process")]
    Reconcile(#[source] coordinator::Error),
    /// The queue has stopped writing, so no more work can be done.
    #[error("the queue has failed; work under way resumes at the next start")]
    QueueFailed(#[source] queue::Error),
    /// The operating system cannot provide threads or signals.
    #[error("the operating system provides no more threads or signals")]
    System(#[from] std::io::Error),
}
