//! The list of settings. Flags, environment variables, keys of the settings file, `config show` and
//! `config/all.toml` are all made from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;

use super::error::Mistake;
use super::value;
use super::values::Values;
use crate::edge::BasePath;
use crate::edge::ProxyHeader;
use crate::edge::rate_limit::Rate;
use crate::edge::tls;
use crate::external::ForeignEndpoints;
use crate::http::Compress;
use crate::http::Origins;
use crate::linkage::similarity::KernelName;
use crate::objects::Location;
use crate::queue::sled::OnDamage;
use crate::system::identity::Identity;
use crate::system::secret::Hidden;
use crate::system::sqlite::Losses;
use crate::telemetry::log;
use crate::worker::QueueSlots;

/// One setting, as far as it is the same for every type of value.
#[derive(Debug)]
pub struct Key {
    /// Its name in the settings file.
    pub name: &'static str,
    /// The environment variable of the reference service that means the same.
    pub alias: Option<&'static str>,
    /// The value when nobody says otherwise.
    pub default: &'static str,
    /// One line of why.
    pub help: &'static str,
    /// The placeholder of the value in `--help`.
    pub placeholder: &'static str,
    /// The values that are accepted, as they follow the word "give".
    pub remedy: &'static str,
}

impl Key {
    /// The flag, without its dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("ENTITYD_{}", self.name.to_ascii_uppercase())
    }
}

/// Turns the list below into [`Settings`], [`KEYS`] and the way from one to the other.
macro_rules! settings {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ty = $default:literal, $kind:ident $(, alias $alias:literal)?;)+) => {
        /// Everything a server can be told, checked.
        #[derive(Clone, Debug, Serialize)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        /// Every setting, in the order of `config/all.toml`.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            alias: [$(Some($alias),)? None][0],
            default: $default,
            help: concat!($($help),+),
            placeholder: value::$kind.placeholder,
            remedy: value::$kind.remedy,
        }),+];

        impl Settings {
            pub(super) fn read(values: &Values) -> Result<Self, Mistake> {
                Ok(Self { $($name: values.read(stringify!($name), value::$kind.read)?,)+ })
            }
        }
    };
}

settings! {
    /// Address of the API and its documentation.
    listen: SocketAddr = "127.0.0.1:8851", ADDRESS;
    /// Address of the S3 endpoint.
    s3_listen: SocketAddr = "127.0.0.1:8852", ADDRESS;
    /// Address of probes, metrics and the administration; keep it from the public.
    ops_listen: SocketAddr = "127.0.0.1:8853", ADDRESS;
    /// The domain whose subdomains name buckets for S3 clients; any other host is taken for path style.
    s3_domain: Option<String> = "", DOMAIN_OR_NONE;
    /// Hours until an uncompleted multipart upload of S3 is aborted.
    s3_upload_expiry_h: u64 = "168", HOURS;
    /// TLS of the listeners: auto with `tls_cert`, self-signed with a certificate made at the first start, off.
    tls: tls::Mode = "auto", TLS_MODE;
    /// The server's certificate in PEM, followed by those up to one that clients trust; read again when it changes.
    tls_cert: Option<PathBuf> = "", FILE_OR_NONE;
    /// The private key of `tls_cert` in PEM, not encrypted; may be the same file.
    tls_key: Option<PathBuf> = "", FILE_OR_NONE;
    /// Certificates in PEM: API and S3 clients need one that these have signed.
    tls_client_ca: Option<PathBuf> = "", FILE_OR_NONE;
    /// Address on which plain HTTP is redirected to the API with TLS.
    redirect_listen: Option<SocketAddr> = "", ADDRESS_OR_NONE;
    /// Networks of the proxies that are believed when they name the client, such as 10.0.0.0/8.
    trusted_proxies: Vec<IpNet> = "", NETWORKS;
    /// Header by which trusted proxies report the client; proxy-protocol is for API and S3.
    proxy_header: ProxyHeader = "x-forwarded-for", PROXY_HEADER;
    /// Path prefix that a proxy puts in front of every path, such as /pprl; a trusted proxy may send X-Forwarded-Prefix instead.
    base_path: BasePath = "", BASE_PATH;
    /// Requests a second and at once from one address (IPv6: from a /64), but for uploads and results.
    rate_limit: Rate = "200:50", RATE;
    /// The same for uploads.
    rate_limit_uploads: Rate = "200:50", RATE;
    /// The same for results.
    rate_limit_results: Rate = "200:50", RATE;
    /// The same for requests with a wrong token; when they are used up, the address waits.
    rate_limit_failures: Rate = "20:100", RATE;
    /// Requests to the API a second and at once from everybody.
    rate_limit_total: Rate = "off", RATE;
    /// Requests to S3 from one address.
    rate_limit_s3: Rate = "off", RATE;
    /// Requests to the listener for operations from one address.
    rate_limit_ops: Rate = "off", RATE;
    /// Status for rate-limited requests; the reference client retries on 503 only.
    rate_limit_status: u16 = "503", REFUSAL_STATUS;
    /// Connections at a time, as far as the system allows so many open files.
    connections_max: usize = "10_000", CONNECTIONS;
    /// Connections at a time from one address (IPv6: from a /64), but for trusted proxies.
    connections_per_address_max: usize = "1_000", CONNECTIONS;
    /// Time limit for a request's headers, and for the TLS handshake.
    header_timeout_ms: u64 = "30_000", TIMEOUT;
    /// Time until an idle connection is closed; keep it longer than a proxy's, 75 s at most, so that the proxy closes first.
    idle_timeout_ms: u64 = "90_000", TIMEOUT;
    /// Time that a body may make no progress, in either direction.
    transfer_timeout_ms: u64 = "60_000", TIMEOUT;
    /// Bytes a second at which the body of a request has to arrive, over ten seconds; 0 for any.
    body_rate_min: u64 = "1_024", RATE_MIN;
    /// The one directory that holds everything stored; it belongs to one process at a time.
    data_dir: PathBuf = "entityd-data", DIRECTORY;
    /// Lost commits of metadata.db or buckets.db to start without, as the refusal names them: metadata.db:1234.
    accept_loss: Losses = "", LOSSES;
    /// Location of objects, a directory or a bucket of S3, Azure or Google; the data directory if empty.
    objects: Location = "", LOCATION;
    /// The owner whose objects are taken over, by the identity that the refusal to start names.
    take_over_objects: Option<Identity> = "", IDENTITY_OR_NONE;
    /// The address of an S3 store that is not AWS.
    objects_endpoint: Option<String> = "", URL_OR_NONE;
    /// The region of the S3 store; without one, that of the environment.
    objects_region: Option<String> = "", WORD_OR_NONE;
    /// Put the bucket into the host name for the S3 store.
    objects_virtual_hosted: bool = "false", SWITCH;
    /// Endpoint of the S3 store's token service; the store's own address if empty.
    objects_sts_endpoint: Option<String> = "", URL_OR_NONE;
    /// The role that those credentials take on; stores other than AWS need none.
    objects_sts_role: Option<String> = "", WORD_OR_NONE;
    /// Time without a response after which a request to a remote object store is given up.
    objects_timeout_ms: u64 = "60_000", TIMEOUT;
    /// Time that runs wait for an unavailable object store before they fail.
    objects_wait_ms: u64 = "900_000", TIMEOUT;
    /// Bytes of objects from a bucket that are kept on the disk to be read again, 10 GiB by default; 0 for none.
    object_cache_bytes_max: u64 = "10_737_418_240", BYTES_OR_NONE;
    /// The access key of the S3 endpoint's owner, or of the S3 store; without one it is made at the first start.
    s3_access_key: Option<String> = "", WORD_OR_NONE, alias "MINIO_ACCESS_KEY";
    /// The secret key that goes with it: in the environment or the settings file, never a flag.
    s3_secret_key: Option<Hidden> = "", SECRET, alias "MINIO_SECRET_KEY";
    /// A file with that secret key.
    s3_secret_key_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// The longest life of temporary credentials that the S3 endpoint hands out.
    s3_sts_duration_max_s: u64 = "43_200", CREDENTIALS_S;
    /// Let data providers upload through the object store.
    external_uploads: bool = "true", SWITCH, alias "UPLOAD_OBJECT_STORE_ENABLED";
    /// The bucket that data providers upload to.
    upload_bucket: String = "uploads", BUCKET, alias "UPLOAD_OBJECT_STORE_BUCKET";
    /// The object store as data providers reach it; auto is the S3 endpoint on the host that they call.
    upload_endpoint: Option<String> = "auto", ENDPOINT_OR_AUTO, alias "UPLOAD_OBJECT_STORE_SERVER";
    /// Tell clients to use TLS for uploads to the object store; auto: as it is served.
    upload_secure: Option<bool> = "auto", SWITCH_OR_AUTO, alias "UPLOAD_OBJECT_STORE_SECURE";
    /// Lifetime of credentials for uploads.
    upload_duration_s: u64 = "43_200", CREDENTIALS_S, alias "UPLOAD_OBJECT_STORE_STS_DURATION";
    /// Other object stores from which uploads may name files: hosts, and networks they may be in though not public.
    external_endpoints: ForeignEndpoints = "", FOREIGN_ENDPOINTS;
    /// The bucket that results are downloaded from.
    download_bucket: String = "anonlink", BUCKET, alias "MINIO_BUCKET";
    /// The object store as those who download reach it; auto is as for uploads.
    download_endpoint: Option<String> = "auto", ENDPOINT_OR_AUTO, alias "DOWNLOAD_OBJECT_STORE_SERVER";
    /// Tell clients to use TLS for downloads from the object store; auto: as for uploads.
    download_secure: Option<bool> = "auto", SWITCH_OR_AUTO, alias "DOWNLOAD_OBJECT_STORE_SECURE";
    /// Lifetime of credentials for downloads.
    download_duration_s: u64 = "43_200", CREDENTIALS_S, alias "DOWNLOAD_OBJECT_STORE_STS_DURATION";
    /// A file with the admin token; without one it is made at the first start, printed once, and kept as a digest.
    admin_token_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Threads that compare and solve; 0 is one for each core.
    worker_threads: usize = "0", THREADS, alias "CELERYD_CONCURRENCY";
    /// The loops that compare; auto is the fastest that the processor runs, all find the same.
    kernel: Option<KernelName> = "auto", KERNEL;
    /// Origins whose pages may use the API from a browser, separated by commas; * is all, nothing is none.
    cors_origins: Origins = "*", ORIGINS;
    /// Compress results for clients that accept gzip or zstd; auto: for those on other machines.
    compress_results: Compress = "auto", COMPRESS;
    /// Restrict creating and listing projects to the admin token.
    require_admin_token: bool = "false", SWITCH;
    /// Log filter: a level, or levels by module such as `info,entityd::queue=debug`.
    log: log::Filter = "info", LOG_FILTER;
    /// Format of log lines; auto is text on a terminal and JSON elsewhere.
    log_format: log::Format = "auto", LOG_FORMAT;
    /// Request headers to repeat in log lines, separated by commas; never authorization.
    log_http_header_fields: Vec<String> = "", HEADER_NAMES, alias "LOG_HTTP_HEADER_FIELDS";
    /// The smallest encoding that can be linked; smaller ones end in a project error.
    min_encoding_bytes: u32 = "8", ENCODING_BYTES, alias "MIN_ENCODING_SIZE";
    /// The largest encoding that can be linked; larger ones end in a project error.
    max_encoding_bytes: u32 = "1024", ENCODING_BYTES, alias "MAX_ENCODING_SIZE";
    /// The largest request body that the API accepts; the default is 10,000 MiB. The S3 endpoint has the limits of S3.
    body_bytes_max: u64 = "10_485_760_000", BYTES;
    /// Uploads whose bodies are read at the same time; others wait for their turn, half a minute at most.
    uploads_max: usize = "512", UPLOADS;
    /// Bytes that uploads may take together on their way in; the default is 100,000 MiB.
    spool_bytes_max: u64 = "104_857_600_000", BYTES;
    /// Bytes to leave free on the disk of the data directory; uploads that would take them are refused.
    disk_free_min: u64 = "268_435_456", BYTES_OR_NONE;
    /// Comparisons in one job; auto sizes jobs from the measured rate, so that a cancel is prompt.
    comparisons_per_job: Option<u64> = "auto", COUNT_OR_AUTO, alias "CHUNK_SIZE_AIM";
    /// Candidate pairs a run may bring to the solver; protects memory.
    solver_pairs_max: u64 = "100_000_000", COUNT, alias "SOLVER_MAX_CANDIDATE_PAIRS";
    /// Candidate pairs a run may find, duplicates across blocks included; protects the disk.
    run_pairs_max: u64 = "500_000_000", COUNT, alias "SIMILARITY_SCORES_MAX_CANDIDATE_PAIRS";
    /// Time without a heartbeat after which a worker's job is given to another.
    lease_ms: u64 = "30_000", LEASE;
    /// Time after which a job is stopped and tried again; after three attempts its run fails.
    job_deadline_ms: u64 = "21_600_000", DEADLINE;
    /// Queues that are served, and how many jobs of each are in hand at once.
    queues: QueueSlots = "ingest=2,compute=3,highmemory=2,maintenance=1", QUEUE_SLOTS;
    /// Handling of a damaged or missing queue: rebuild sets it aside and fills a new one, refuse does not start.
    queue_damaged: OnDamage = "rebuild", ON_DAMAGE;
    /// Memory for finishing runs, in bytes; larger ones wait for each other. Auto is three quarters of what there is.
    memory_limit: Option<u64> = "auto", BYTES_OR_AUTO;
    /// Days after which a project goes whose last run has ended; off keeps projects until they are deleted.
    retention_days: Option<u64> = "off", DAYS_OR_OFF;
    /// Percent of what is stored that a clean-up may remove at once, but for a hundred things or fewer.
    cleanup_share_max: u8 = "25", PERCENT;
    /// Interval of maintenance: strays are swept, old projects retired and stores compacted.
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
