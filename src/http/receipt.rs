//! Replaces a receipt token that did not arrive: a client that uploads the same encodings again gets a new one.
//!
//! The update token alone does not suffice: the creator of the project knows it too, and in `permutations` projects
//! must not get the result of a party. Only the party has its encodings.

use std::io::{self, BufReader, Read, Write};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use linkage::encoding::binary;
use linkage::encoding::entries::Version;
use linkage::encoding::json::{self, Expected, Received};

use super::ApiState;
use super::body::Pieces;
use super::body_reader::{Incoming, receive};
use super::form::Form;
use super::problem::Problem;
use crate::model::{Contents, Dataset, Party, ProjectId, Token, Upload};
use crate::objects::keys;

/// The header that requests a new receipt, if the same encodings were uploaded before.
const AGAIN: &str = "receipt-again";

/// An accepted upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    upload: u32,
    records: u32,
    encoding_bytes: u32,
}

/// Returns the upload whose receipt is requested again; `None` if no receipt is requested, or nothing was
/// accepted.
///
/// # Errors
/// 503 until the content of the upload is known.
pub(super) fn asked_for(headers: &HeaderMap, party: &Party) -> Result<Option<Accepted>, Problem> {
    if is_asked_for(headers) { accepted(party) } else { Ok(None) }
}

/// Returns true if a receipt is requested again.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(AGAIN).is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Returns the upload of a party that was accepted, if there is one.
///
/// # Errors
/// Like [`asked_for`].
pub(super) fn accepted(party: &Party) -> Result<Option<Accepted>, Problem> {
    match &party.contents {
        Contents::Missing | Contents::Failed { .. } => Ok(None),
        Contents::Fetching { .. } => Err(Problem::busy("the files that the upload names are not read yet")),
        Contents::Ingesting(Upload { upload, records, encoding_bytes, .. })
        | Contents::Ready(Dataset { upload, records, encoding_bytes, .. }) => {
            let (upload, records, encoding_bytes) = (*upload, *records, *encoding_bytes);
            Ok(Some(Accepted { upload, records, encoding_bytes }))
        }
    }
}

/// Reads the body, and issues a new receipt token if the body holds the encodings that were accepted. The old receipt
/// token becomes invalid.
///
/// # Errors
/// 403 if the body has other content.
pub(super) async fn renew(
    state: ApiState,
    (project, party): (ProjectId, u32),
    accepted: Accepted,
    form: Result<Form, Problem>,
    body: Body,
) -> Result<Token, Problem> {
    let form = form.map_err(|_| other_encodings())?;
    let pieces = Pieces::new(body, state.settings.body_bytes_max)?;
    let _turn = state.turn().await?;
    let (objects, key) = (state.objects.clone(), keys::matrix(project, party, accepted.upload));
    let compare = move |incoming| Ok(accepted.is_sent_again(objects.read(&key)?, &form, incoming));
    let sent_again: Result<bool, crate::objects::Error> = receive(pieces, compare).await?;
    if !sent_again? {
        return Err(other_encodings());
    }
    let receipt = state.coordinator.renew_receipt(project, party, accepted.upload).await?;
    tracing::info!(project.id = %project, party, "issued a new receipt token for the same encodings");
    Ok(receipt)
}

/// Returns 403: the token has been used, for other encodings. A new receipt has been requested, so the advice to request
/// one is left out.
fn other_encodings() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "the token has been used, and the encodings differ from those that were accepted; only the same encodings get a new \
         receipt token",
    )
}

impl Accepted {
    /// Returns the number of the upload.
    pub(super) const fn number(&self) -> u32 {
        self.upload
    }

    /// Returns true if a body has the same encodings as `stored`. Blocks.
    fn is_sent_again(self, stored: impl Read, form: &Form, incoming: Incoming) -> bool {
        let sink = Likeness { stored: BufReader::new(stored), piece: Vec::new() };
        let found = match *form {
            Form::Binary { records, encoding_bytes } => binary::read(incoming, records, encoding_bytes, sink),
            Form::Json { uses_blocking, .. } => {
                let expected = Expected { uses_blocking, records_max: u32::MAX };
                match json::upload(incoming, expected, sink, io::sink(), Version::Numbered) {
                    Ok(Received::Inline(summary)) => Ok(summary),
                    Ok(Received::External { .. }) => return false,
                    Err(error) => Err(error),
                }
            }
        };
        found.is_ok_and(|found| (found.records, found.encoding_bytes) == (self.records, self.encoding_bytes))
    }
}

/// A writer that compares the written bytes with the stored encodings, and fails at the first difference.
struct Likeness<R> {
    stored: R,
    piece: Vec<u8>,
}

impl<R: Read> Write for Likeness<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.resize(bytes.len(), 0);
        self.stored.read_exact(&mut self.piece)?;
        if self.piece == bytes { Ok(bytes.len()) } else { Err(io::Error::other("it differs")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TokenHash;

    #[test]
    fn only_what_is_stored_passes() {
        let is_alike = |bytes: &[&[u8]]| {
            let mut sink = Likeness { stored: &b"encodings"[..], piece: Vec::new() };
            bytes.iter().all(|piece| sink.write_all(piece).is_ok())
        };
        assert!(is_alike(&[b"enc", b"", b"odings"]));
        assert!(!is_alike(&[b"enc", b"odinGs"]) && !is_alike(&[b"encodings!"]));
    }

    #[test]
    fn a_receipt_is_given_anew_only_where_that_is_asked_for_and_there_was_one() {
        let headers = |value: &str| HeaderMap::from_iter([(AGAIN.parse().unwrap(), value.parse().unwrap())]);
        let mut party = Party::new(TokenHash::from_bytes([1; 32]));
        assert_eq!(asked_for(&headers("true"), &party), Ok(None));
        party.contents = Contents::Ready(Dataset { upload: 2, records: 3, encoding_bytes: 8, blocks: 1 });
        let accepted = Accepted { upload: 2, records: 3, encoding_bytes: 8 };
        assert_eq!(asked_for(&headers("True"), &party), Ok(Some(accepted)));
        assert_eq!(asked_for(&headers("false"), &party), Ok(None));
        assert_eq!(asked_for(&HeaderMap::new(), &party), Ok(None));
    }
}
