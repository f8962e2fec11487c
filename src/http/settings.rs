//! The settings of the API.

use super::compress::Compress;
use super::cors::Origins;
use crate::edge::BasePath;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The maximum number of bytes in the body of an upload; more are answered with 413.
    pub body_bytes_max: u64,
    /// The maximum number of uploads read at a time; others wait for their turn. Each has a thread.
    pub uploads_max: usize,
    /// The path prefix of a proxy.
    pub base_path: BasePath,
    /// The origins whose pages may use the API from a browser.
    pub cors_origins: Origins,
    /// The results to compress.
    pub compress_results: Compress,
    /// Set if there is a dashboard at `/`.
    pub dashboard: bool,
    /// Set if creating and listing projects takes the admin token.
    pub require_admin_token: bool,
    /// Request headers repeated in log lines, in lower case. The caller has kept out those that carry
    /// secrets.
    pub log_http_header_fields: Vec<String>,
}
