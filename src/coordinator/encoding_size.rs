//! Checks that the encoding sizes of a project can be linked with each other.

use super::event::Rules;
use crate::model::{Dataset, ProjectState};

/// Checks that one dataset can be used: its size is within the operator's bounds and equals the project's size, if
/// that is fixed already.
pub(super) fn check_alone(
    project: &ProjectState,
    party: u32,
    dataset: &Dataset,
    rules: &Rules,
) -> Result<(), String> {
    let (bytes, min, max) = (dataset.encoding_bytes, rules.min_encoding_bytes, rules.max_encoding_bytes);
    if !(min..=max).contains(&bytes) {
        return Err(format!(
            "the encodings of party {party} have {bytes} bytes; this server takes {min} to {max} bytes"
        ));
    }
    match project.encoding_bytes {
        Some(fixed) if fixed != bytes => Err(format!(
            "the encodings of party {party} have {bytes} bytes; the project's encodings have {fixed} bytes"
        )),
        _ => Ok(()),
    }
}

/// Checks that the datasets, once all are ready, have the size of the first. Names the first party with
/// another size.
pub(super) fn check_together(project: &ProjectState) -> Result<(), (u32, String)> {
    let sizes: Option<Vec<u32>> =
        project.parties.iter().map(|party| party.dataset().map(|dataset| dataset.encoding_bytes)).collect();
    let Some(sizes) = sizes else { return Ok(()) };
    match sizes.iter().position(|size| *size != sizes[0]) {
        None => Ok(()),
        Some(odd) => Err((
            odd as u32,
            format!(
                "the encodings of party {odd} have {} bytes and those of party 0 have {} bytes; \
                 all parties must encode with the same schema",
                sizes[odd], sizes[0]
            ),
        )),
    }
}

/// Checks that encodings of `bytes` bytes can be compared.
pub(super) fn check_linkable(bytes: u32) -> Result<(), String> {
    if bytes > 0 && bytes.is_multiple_of(8) {
        Ok(())
    } else {
        Err(format!("encodings of {bytes} bytes cannot be compared: the size must be a multiple of 8 bytes"))
    }
}
