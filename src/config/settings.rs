//! The list of settings. Flags, environment variables, keys of the settings file, `config show` and
//! `config/all.toml` are all made from it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::kind;
use super::mistake::Mistake;
use super::values::Values;
use crate::telemetry::log;

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
    /// What stands for the value in `--help`.
    pub placeholder: &'static str,
    /// What would do, as it follows the word "give".
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
            placeholder: kind::$kind.placeholder,
            remedy: kind::$kind.remedy,
        }),+];

        impl Settings {
            pub(super) fn read(values: &Values) -> Result<Self, Mistake> {
                Ok(Self { $($name: values.read(stringify!($name), kind::$kind.read)?,)+ })
            }
        }
    };
}

settings! {
    /// Where the API and its documentation are served.
    listen: SocketAddr = "127.0.0.1:8851", ADDRESS;
    /// Where S3 clients are answered.
    s3_listen: SocketAddr = "127.0.0.1:8852", ADDRESS;
    /// Where health checks and the administrator are answered; keep it from the public.
    ops_listen: SocketAddr = "127.0.0.1:8853", ADDRESS;
    /// The domain whose subdomains name buckets for S3 clients; any other host is taken for path style.
    s3_domain: Option<String> = "", DOMAIN_OR_NONE;
    /// How long parts of an S3 upload are kept that nobody completes.
    s3_upload_expiry_h: u64 = "168", HOURS;
    /// The one directory that holds everything stored; it belongs to one process at a time.
    data_dir: PathBuf = "entityd-data", DIRECTORY;
    /// A file with the admin token; without one it is made at the first start, printed once, and kept as a digest.
    admin_token_file: Option<PathBuf> = "", FILE_OR_NONE;
    /// Threads that compare and solve; 0 is one for each core.
    worker_threads: usize = "0", THREADS, alias "CELERYD_CONCURRENCY";
    /// What is logged: a level, or levels by module such as `info,sled=warn`.
    log: log::Filter = "info", LOG_FILTER;
    /// What a log line looks like; auto is text on a terminal and JSON elsewhere.
    log_format: log::Format = "auto", LOG_FORMAT;
    /// Request headers to repeat in log lines, separated by commas; never authorization.
    log_http_header_fields: Vec<String> = "", HEADER_NAMES, alias "LOG_HTTP_HEADER_FIELDS";
    /// The smallest encoding that can be linked; smaller ones end in a project error.
    min_encoding_bytes: u32 = "8", ENCODING_BYTES, alias "MIN_ENCODING_SIZE";
    /// The largest encoding that can be linked; larger ones end in a project error.
    max_encoding_bytes: u32 = "1024", ENCODING_BYTES, alias "MAX_ENCODING_SIZE";
    /// The largest request body that is accepted; the default is 10,000 MiB.
    body_bytes_max: u64 = "10_485_760_000", BYTES;
    /// Bytes to leave free on the disk of the data directory; uploads that would take them are refused.
    disk_free_min: u64 = "268_435_456", BYTES_OR_NONE;
    /// Comparisons in one job; auto sizes jobs from the measured rate, so that a cancel is prompt.
    comparisons_per_job: Option<u64> = "auto", COUNT_OR_AUTO, alias "CHUNK_SIZE_AIM";
    /// Candidate pairs a run may bring to the solver; protects memory.
    solver_pairs_max: u64 = "100_000_000", COUNT, alias "SOLVER_MAX_CANDIDATE_PAIRS";
    /// Candidate pairs a run may find, duplicates across blocks included; protects the disk.
    run_pairs_max: u64 = "500_000_000", COUNT, alias "SIMILARITY_SCORES_MAX_CANDIDATE_PAIRS";
    /// How long a worker may be silent before its job is given to another.
    lease_ms: u64 = "30_000", LEASE;
    /// How long requests and jobs may finish after SIGTERM; what is left resumes at the next start.
    drain_timeout_ms: u64 = "25_000", WAIT;
}

impl Settings {
    /// What the log room needs to know.
    pub fn log(&self) -> log::Settings {
        log::Settings { filter: self.log.clone(), format: self.log_format }
    }
}
