//! The settings of the API.

use linkage::encoding::entries;

use super::compress::Compress;
use super::cors::Origins;
use crate::edge::BasePath;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The maximum number of bytes in the body of an upload. Larger ones are answered with 413.
    pub body_bytes_max: u64,
    /// The maximum number of uploads read at a time, each by a thread. Further ones wait.
    pub uploads_max: usize,
    /// The version of the block entries that an upload stores.
    pub entries: entries::Version,
    /// The path prefix of a proxy.
    pub base_path: BasePath,
    /// The origins whose pages may use the API from a browser.
    pub cors_origins: Origins,
    /// The results to compress.
    pub compress_results: Compress,
    /// True if there is a dashboard at `/`.
    pub dashboard: bool,
    /// True if creating and listing projects requires the admin token.
    pub require_admin_token: bool,
    /// The names of request headers to log, in lower case. Headers with secrets must not be among them.
    pub log_http_header_fields: Vec<String>,
}
