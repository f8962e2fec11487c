//! The trace of a request, in headers of W3C Trace Context.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the trace.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The flag of a recorded trace. Other flags are not passed on.
const SAMPLED: u8 = 1;

/// A trace, and the span of this request in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    id: [u8; 16],
    /// The id of this server's span.
    span: [u8; 8],
    flags: u8,
}

impl Trace {
    /// Returns the trace in the request's header, with the span of `fresh`; `None` if there is no valid header.
    pub(super) fn given(headers: &HeaderMap, fresh: Self) -> Option<Self> {
        let (id, flags) = read(headers.get(TRACEPARENT)?.to_str().ok()?)?;
        Some(Self { id, span: fresh.span, flags: flags & SAMPLED })
    }

    /// Begins a trace from random bytes.
    pub(super) fn begin(chance: [u8; 24]) -> Self {
        let (id, span) = chance.split_first_chunk::<16>().expect("there are 24");
        Self { id: *id, span: span.try_into().expect("8 are left"), flags: 0 }
    }

    /// Returns the id of the trace.
    pub(super) fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// Returns the value of `traceparent` for the response.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut text = *b"00-................................-................-..";
        let parts: [(_, &[u8]); 3] = [(3..35, &self.id), (36..52, &self.span), (53..55, &[self.flags])];
        for (place, bytes) in parts {
            hex::encode_to_slice(bytes, &mut text[place]).expect("two digits a byte");
        }
        HeaderValue::from_bytes(&text).ok()
    }
}

/// Parses trace and flags of a header such as `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
/// Later versions may append fields.
fn read(text: &str) -> Option<([u8; 16], u8)> {
    let mut parts = text.split('-');
    let version = parts.next().and_then(lower_hex::<1>)?;
    let id = parts.next().and_then(lower_hex::<16>)?;
    let parent = parts.next().and_then(lower_hex::<8>)?;
    let flags = parts.next().and_then(lower_hex::<1>)?;
    let ended = version != [0] || parts.next().is_none();
    (version != [0xff] && ended && id != [0; 16] && parent != [0; 8]).then_some((id, flags[0]))
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_goes_on_from_a_place_of_its_own() {
        let mut headers = HeaderMap::new();
        let given = format!("00-{ID}-00f067aa0ba902b7-03");
        headers.insert(TRACEPARENT, given.parse().unwrap());
        let trace = Trace::given(&headers, Trace::begin([7; 24])).unwrap();
        assert_eq!(trace.id(), ID);
        let told = trace.header().unwrap();
        let told = told.to_str().unwrap();
        assert!(told.starts_with(&format!("00-{ID}-")) && told.ends_with("-01"), "{told}");
        assert!(!told.contains("00f067aa0ba902b7"));
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        let later = format!("01-{ID}-00f067aa0ba902b7-01-more");
        assert!(read(&later).is_some());
        for wrong in [
            "",
            "00",
            &format!("00-{ID}-00f067aa0ba902b7"),
            &format!("00-{ID}-00f067aa0ba902b7-01-more"),
            &format!("ff-{ID}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{ID}-{}-01", "0".repeat(16)),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
