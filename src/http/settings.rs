//! What the operator can tell this room.

/// What the operator can tell this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes in the body of an upload at most; more are answered with 413.
    pub body_bytes_max: u64,
    /// Request headers repeated in log lines, in lower case. The caller has kept out those that carry
    /// secrets.
    pub log_http_header_fields: Vec<String>,
}
