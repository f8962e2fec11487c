//! The list of settings. Flags, environment variables, keys of the settings file, `config show` and `config/all.toml`
//! are all generated from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use linkage::similarity::KernelName;
use serde::Serialize;

use super::role::{Role, WorkerListen};
use super::value;
use crate::edge::BasePath;
use crate::edge::ProxyHeader;
use crate::edge::rate_limit::Rate;
use crate::edge::tls;
use crate::external::ExternalEndpoints;
use crate::http::Compress;
use crate::http::Origins;
use crate::metadata;
use crate::objects::Location;
use crate::queue::redis::QueueUrl;
use crate::queue::sled::OnDamage;
use crate::system::identity::Identity;
use crate::system::secret::Hidden;
use crate::system::sqlite::Losses;
use crate::telemetry::log;
use crate::worker::QueueSlots;

/// The part of a setting that does not depend on its type.
#[derive(Debug)]
pub struct Key {
    /// The name of the setting in the settings file.
    pub name: &'static str,
    /// The reference service's environment variables with the same meaning. The first that is set is used.
    pub aliases: &'static [&'static str],
    /// The default value.
    pub default: &'static str,
    /// The help text of the setting, in one line.
    pub help: &'static str,
    /// The placeholder of the value in `--help`.
    pub placeholder: &'static str,
    /// The accepted values, as a phrase after the word "give".
    pub remedy: &'static str,
}

impl Key {
    /// Returns the flag, without leading dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns the environment variable.
    pub fn variable(&self) -> String {
        format!("ENTITYD_{}", self.name.to_ascii_uppercase())
    }
}

/// A source of values by key.
pub(super) trait ReadValue {
    /// The error of a value that cannot be used.
    type Error;

    /// Returns the value of `key`, which `read` parses.
    fn read<T>(&self, key: &'static str, read: fn(&str) -> Option<T>) -> Result<T, Self::Error>;
}

/// Generates [`Settings`], [`KEYS`] and the code that reads the settings from the list below.
macro_rules! settings {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ty = $default:literal, $kind:ident $(, alias $($alias:literal)+)?;)+) => {
        /// All checked settings of a server.
        #[derive(Clone, Debug, Serialize)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        /// Every setting, in the order of `config/all.toml`.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            aliases: &[$($($alias),+)?],
            default: $default,
            help: concat!($($help),+),
            placeholder: value::$kind.placeholder,
            remedy: value::$kind.remedy,
        }),+];

        impl Settings {
            pub(super) fn read<V: ReadValue>(values: &V) -> Result<Self, V::Error> {
                Ok(Self { $($name: values.read(stringify!($name), value::$kind.read)?,)+ })
            }
        }
    };
}

settings! {
    /// Role of this node: all serves and computes, api leaves computing to workers, worker computes for the API nodes of `join`.
    role: Role = "all", ROLE;
    /// Address of the API and its documentation.
    listen: SocketAddr = "127.0.0.1:8851", ADDRESS;
    /// Address of the S3 endpoint.
    s3_listen: SocketAddr = "127.0.0.1:8852", ADDRESS;
    /// Address of probes, metrics and the administration; do not expose it publicly.
    ops_listen: SocketAddr = "127.0.0.1:8853", ADDRESS;
    /// Address on which workers join; auto: 127.0.0.1:8854 in the role api, off in others.
    worker_listen: WorkerListen = "auto", WORKER_LISTEN;
    /// Worker listeners of the API nodes that this worker computes for, separated by commas.
    join: Vec<String> = "", JOIN_URLS;
    /// File with the join token: a worker presents it, and other nodes accept it in addition to the tokens of `entityd join-token`.
    join_token_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// CA certificates in PEM for API nodes whose certificate is neither named by the join token nor publicly trusted.
    join_ca: Option<PathBuf> = "", FILE_OR_NONE;
    /// Domain whose subdomains name buckets for S3 clients; any other host means path style.
    s3_domain: Option<String> = "", DOMAIN_OR_NONE;
    /// Hours until an uncompleted multipart upload of S3 is aborted.
    s3_upload_expiry_h: u64 = "168", HOURS;
    /// TLS of the listeners: auto with `tls_cert`, self-signed with a certificate made at the first start, off.
    tls: tls::Mode = "auto", TLS_MODE;
    /// Server certificate in PEM, followed by its intermediates; reloaded when it changes.
    tls_cert: Option<PathBuf> = "", FILE_OR_NONE;
    /// Private key of `tls_cert` in PEM, not encrypted; may be the same file.
    tls_key: Option<PathBuf> = "", FILE_OR_NONE;
    /// Client CA certificates in PEM: API and S3 clients need a certificate signed by one of these.
    tls_client_ca: Option<PathBuf> = "", FILE_OR_NONE;
    /// Address on which plain HTTP is redirected to the API with TLS.
    redirect_listen: Option<SocketAddr> = "", ADDRESS_OR_NONE;
    /// Networks of trusted proxies, whose report of the client's address is accepted, such as 10.0.0.0/8.
    trusted_proxies: Vec<IpNet> = "", NETWORKS;
    /// Header by which trusted proxies report the client; proxy-protocol is for API and S3.
    proxy_header: ProxyHeader = "x-forwarded-for", PROXY_HEADER;
    /// Path prefix that a proxy puts in front of every path, such as /pprl; a trusted proxy may send X-Forwarded-Prefix instead.
    base_path: BasePath = "", BASE_PATH;
    /// Rate limit for one address (IPv6: a /64), per second and burst, on each node; uploads and results have their own.
    rate_limit: Rate = "200:50", RATE;
    /// Rate limit for uploads from one address.
    rate_limit_uploads: Rate = "200:50", RATE;
    /// Rate limit for fetching results from one address.
    rate_limit_results: Rate = "200:50", RATE;
    /// Rate limit for requests with a wrong token; all requests of an address that exceeds it are limited.
    rate_limit_failures: Rate = "20:100", RATE;
    /// Rate limit for all requests to the API.
    rate_limit_total: Rate = "off", RATE;
    /// Rate limit for S3 requests from one address.
    rate_limit_s3: Rate = "off", RATE;
    /// Rate limit for requests from one address to the operations listener.
    rate_limit_ops: Rate = "off", RATE;
    /// Status for rate-limited requests; the reference client retries on 503 only.
    rate_limit_status: u16 = "503", REFUSAL_STATUS;
    /// Maximum number of concurrent connections; the limit on open files may lower it.
    connections_max: usize = "10_000", CONNECTIONS;
    /// Maximum number of concurrent connections from one address (IPv6: a /64); trusted proxies are exempt.
    connections_per_address_max: usize = "1_000", CONNECTIONS;
    /// Time limit for a request's headers, and for the TLS handshake.
    header_timeout_ms: u64 = "30_000", TIMEOUT;
    /// Time until an idle connection is closed; keep it longer than a proxy's, 75 s at most, so that the proxy closes first.
    idle_timeout_ms: u64 = "90_000", TIMEOUT;
    /// Longest time without progress of a body, in either direction.
    transfer_timeout_ms: u64 = "60_000", TIMEOUT;
    /// Minimum rate of a request's body in bytes a second, over ten seconds; 0 for no minimum.
    body_rate_min: u64 = "1_024", RATE_MIN;
    /// Data directory, which holds everything stored; one process at a time uses it.
    data_dir: PathBuf = "entityd-data", DIRECTORY;
    /// Lost commits of metadata.db, buckets.db or postgresql to accept at start, as the error message gives them: metadata.db:1234.
    accept_loss: Losses = "", LOSSES;
    /// Database of projects and runs, such as `postgres://user@host/name?sslmode=verify-full`; in the data directory if empty.
    database: metadata::Location = "", DATABASE;
    /// Host of PostgreSQL, with the port if it is not 5432, if the URL of `database` names none.
    database_server: Option<String> = "", LINE_OR_NONE, alias "DATABASE_SERVER";
    /// Name of the database, if the URL of `database` names none.
    database_dbname: Option<String> = "", LINE_OR_NONE, alias "DATABASE" "POSTGRES_DB";
    /// User of the database, if the URL of `database` names none.
    database_user: Option<String> = "", LINE_OR_NONE, alias "DATABASE_USER" "POSTGRES_USER";
    /// Password of the database user: in the environment or the settings file, never a flag.
    database_password: Option<Hidden> = "", SECRET, alias "DATABASE_PASSWORD" "POSTGRES_PASSWORD";
    /// File with the password of the database user.
    database_password_file: Option<PathBuf> = "", FILE_OR_NONE, alias "POSTGRES_PASSWORD_FILE";
    /// Root certificates in PEM for sslmode=verify-full and verify-ca; the system's certificates if empty.
    database_ca_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Client certificate in PEM for a PostgreSQL that asks for one.
    database_cert_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Private key of `database_cert_file` in PEM.
    database_key_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Maximum number of connections to PostgreSQL.
    database_connections_max: usize = "10", DATABASE_CONNECTIONS, alias "FLASK_DB_MAX_CONNECTIONS";
    /// Time limit of a connection attempt and of a transaction; a request that gets no answer in time is answered with 503.
    database_timeout_ms: u64 = "10_000", TIMEOUT;
    /// Migration of the database at start: auto upgrades its tables, never refuses to start if they are too old.
    migrate: metadata::Migrate = "auto", MIGRATE;
    /// Location of objects, a directory or a bucket of S3, Azure or Google; the data directory if empty.
    objects: Location = "", LOCATION;
    /// Identity of the owner whose objects, and database in PostgreSQL, are taken over; the error at start names it.
    take_over_objects: Option<Identity> = "", IDENTITY_OR_NONE;
    /// Address of an S3 store other than AWS.
    objects_endpoint: Option<String> = "", URL_OR_NONE;
    /// Region of the S3 store; the region in the environment if empty.
    objects_region: Option<String> = "", WORD_OR_NONE;
    /// Put the name of the bucket into the host name of the S3 store (virtual-hosted style).
    objects_virtual_hosted: bool = "false", SWITCH;
    /// Endpoint of the S3 store's token service; the store's own address if empty.
    objects_sts_endpoint: Option<String> = "", URL_OR_NONE;
    /// Role for credentials of the token service; stores other than AWS need none.
    objects_sts_role: Option<String> = "", WORD_OR_NONE;
    /// Time without a response after which a request to a remote object store is given up.
    objects_timeout_ms: u64 = "60_000", TIMEOUT;
    /// Time that runs wait for an unavailable object store before they fail.
    objects_wait_ms: u64 = "900_000", TIMEOUT;
    /// Bytes of the disk cache for objects from a bucket, 10 GiB by default; 0 for none.
    object_cache_bytes_max: u64 = "10_737_418_240", BYTES_OR_NONE;
    /// Access key of the S3 endpoint's owner, or of the S3 store; generated at the first start if empty.
    s3_access_key: Option<String> = "", WORD_OR_NONE, alias "MINIO_ACCESS_KEY";
    /// Secret key of the S3 access key: in the environment or the settings file, never a flag.
    s3_secret_key: Option<Hidden> = "", SECRET, alias "MINIO_SECRET_KEY";
    /// File with the S3 secret key.
    s3_secret_key_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Longest lifetime of temporary credentials that the S3 endpoint issues.
    s3_sts_duration_max_s: u64 = "43_200", CREDENTIALS_S;
    /// Let data providers upload through the object store.
    external_uploads: bool = "true", SWITCH, alias "UPLOAD_OBJECT_STORE_ENABLED";
    /// Bucket that data providers upload to.
    upload_bucket: String = "uploads", BUCKET, alias "UPLOAD_OBJECT_STORE_BUCKET";
    /// Address of the object store for data providers; auto: the S3 endpoint on the host that they call.
    upload_endpoint: Option<String> = "auto", ENDPOINT_OR_AUTO, alias "UPLOAD_OBJECT_STORE_SERVER";
    /// Tell clients to use TLS for uploads to the object store; auto: as it is served.
    upload_secure: Option<bool> = "auto", SWITCH_OR_AUTO, alias "UPLOAD_OBJECT_STORE_SECURE";
    /// Lifetime of credentials for uploads.
    upload_duration_s: u64 = "43_200", CREDENTIALS_S, alias "UPLOAD_OBJECT_STORE_STS_DURATION";
    /// Other object stores whose files uploads may name: hosts, and non-public networks that they may be in.
    external_endpoints: ExternalEndpoints = "", FOREIGN_ENDPOINTS;
    /// Bucket that results are downloaded from.
    download_bucket: String = "anonlink", BUCKET, alias "MINIO_BUCKET";
    /// Address of the object store for downloads; auto: as for uploads.
    download_endpoint: Option<String> = "auto", ENDPOINT_OR_AUTO, alias "DOWNLOAD_OBJECT_STORE_SERVER";
    /// Tell clients to use TLS for downloads from the object store; auto: as for uploads.
    download_secure: Option<bool> = "auto", SWITCH_OR_AUTO, alias "DOWNLOAD_OBJECT_STORE_SECURE";
    /// Lifetime of credentials for downloads.
    download_duration_s: u64 = "43_200", CREDENTIALS_S, alias "DOWNLOAD_OBJECT_STORE_STS_DURATION";
    /// File with the admin token; without one it is generated at the first start, printed once, and kept as a digest.
    admin_token_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Threads that compare and solve; 0: one for each core.
    worker_threads: usize = "0", THREADS, alias "CELERYD_CONCURRENCY";
    /// Comparison kernel; auto: the fastest that the processor runs. All give the same results.
    kernel: Option<KernelName> = "auto", KERNEL;
    /// Origins whose pages may use the API from a browser, separated by commas; * for all, empty for none.
    cors_origins: Origins = "*", ORIGINS;
    /// Compress results for clients that accept gzip or zstd; auto: for clients on other machines.
    compress_results: Compress = "auto", COMPRESS;
    /// Serve the dashboard at /; without it, / lists the documentation.
    dashboard: bool = "true", SWITCH;
    /// Restrict creating and listing projects to the admin token.
    require_admin_token: bool = "false", SWITCH;
    /// Log filter: a level, or levels by module such as `info,entityd::queue=debug`.
    log: log::Filter = "info", LOG_FILTER;
    /// Format of log lines; auto is text on a terminal and JSON elsewhere.
    log_format: log::Format = "auto", LOG_FORMAT;
    /// Request headers to repeat in log lines, separated by commas; never authorization.
    log_http_header_fields: Vec<String> = "", HEADER_NAMES, alias "LOG_HTTP_HEADER_FIELDS";
    /// Smallest encoding that can be linked; smaller ones put the project in error.
    min_encoding_bytes: u32 = "8", ENCODING_BYTES, alias "MIN_ENCODING_SIZE";
    /// Largest encoding that can be linked; larger ones put the project in error.
    max_encoding_bytes: u32 = "1024", ENCODING_BYTES, alias "MAX_ENCODING_SIZE";
    /// Largest request body that the API accepts; the default is 10,000 MiB. The S3 endpoint has the limits of S3.
    body_bytes_max: u64 = "10_485_760_000", BYTES;
    /// Maximum number of concurrent uploads; others wait up to 30 s.
    uploads_max: usize = "512", UPLOADS;
    /// Maximum number of open uploads that arrive in several requests.
    partial_uploads_max: usize = "1_000", PARTIAL_UPLOADS;
    /// Time without a request after which an upload that arrives in several requests is removed.
    partial_upload_expiry_ms: u64 = "86_400_000", PERIOD;
    /// Maximum total size of the uploads in progress, in bytes; the default is 100,000 MiB.
    spool_bytes_max: u64 = "104_857_600_000", BYTES;
    /// Bytes to leave free on the disk of the data directory; uploads that would take them are rejected.
    disk_free_min: u64 = "268_435_456", BYTES_OR_NONE;
    /// Comparisons in one job; auto sizes jobs by the measured rate, so that a cancel takes effect quickly.
    comparisons_per_job: Option<u64> = "auto", COUNT_OR_AUTO, alias "CHUNK_SIZE_AIM";
    /// Maximum number of candidate pairs that a run may pass to the solver; protects memory.
    solver_pairs_max: u64 = "100_000_000", COUNT, alias "SOLVER_MAX_CANDIDATE_PAIRS";
    /// Maximum number of candidate pairs that a run may find, duplicates across blocks included; protects the disk.
    run_pairs_max: u64 = "500_000_000", COUNT, alias "SIMILARITY_SCORES_MAX_CANDIDATE_PAIRS";
    /// Time without a heartbeat after which a worker's job is given to another worker.
    lease_ms: u64 = "30_000", LEASE;
    /// Time after which a job is stopped and tried again; after three attempts its run fails.
    job_deadline_ms: u64 = "21_600_000", DEADLINE;
    /// Queues that this node serves, with the maximum number of concurrent jobs of each; a node in the role worker does no maintenance.
    queues: QueueSlots = "ingest=2,compute=3,highmemory=2,maintenance=1", QUEUE_SLOTS;
    /// Redis for the queue of jobs: `redis://[user@]host/0`, `rediss://` with TLS, `redis-sentinel://host,host/NAME/0`; the data directory if empty.
    queue: Option<QueueUrl> = "", QUEUE_URL, alias "CELERY_BROKER_URL";
    /// Password for Redis: in the environment or the settings file, never a flag.
    queue_password: Option<Hidden> = "", SECRET, alias "REDIS_PASSWORD";
    /// File with the password for Redis.
    queue_password_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// CA certificates in PEM to verify a Redis with TLS; the system's certificates if empty.
    queue_ca: Option<PathBuf> = "", FILE_OR_NONE;
    /// Client certificate in PEM for a Redis that asks for one.
    queue_cert: Option<PathBuf> = "", FILE_OR_NONE;
    /// Private key of `queue_cert` in PEM.
    queue_key: Option<PathBuf> = "", FILE_OR_NONE;
    /// Handling of a damaged or missing queue: rebuild sets it aside and fills a new one, refuse does not start.
    queue_damaged: OnDamage = "rebuild", ON_DAMAGE;
    /// Memory for finishing runs, in bytes; runs that need more wait for each other. Auto: three quarters of the memory.
    memory_limit: Option<u64> = "auto", BYTES_OR_AUTO;
    /// Days until a project is deleted after its last run has ended; off keeps projects until they are deleted.
    retention_days: Option<u64> = "off", DAYS_OR_OFF;
    /// Maximum percentage of the stored entries that a clean-up may remove at once; up to a hundred entries are exempt.
    cleanup_share_max: u8 = "25", PERCENT;
    /// Interval of maintenance, which removes unreferenced objects, deletes expired projects and compacts stores.
    maintenance_every_ms: u64 = "3_600_000", PERIOD;
    /// Time for requests and jobs to finish after SIGTERM; the rest resumes at the next start.
    drain_timeout_ms: u64 = "25_000", WAIT;
}

impl Settings {
    /// Returns the settings of the log.
    pub fn log(&self) -> log::Settings {
        log::Settings { filter: self.log.clone(), format: self.log_format }
    }
}
