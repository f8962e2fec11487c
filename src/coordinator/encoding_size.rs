//! Checks that the encodings of a project have sizes that can be compared.

use super::event::Rules;
use crate::model::{Dataset, ProjectState};

/// Checks the encoding size of one dataset: it must be within the operator's bounds and equal that of the project, if
/// the project has one already.
pub(super) fn check_alone(
    project: &ProjectState,
    party: u32,
    dataset: &Dataset,
    rules: &Rules,
) -> Result<(), String> {
    let (bytes, min, max) = (dataset.encoding_bytes, rules.min_encoding_bytes, rules.max_encoding_bytes);
    if !(min..=max).contains(&bytes) {
        return Err(format!(
            "the encodings of party {party} have {bytes} bytes; this server accepts {min} to {max} bytes"
        ));
    }
    match project.encoding_bytes {
        Some(fixed) if fixed != bytes => Err(format!(
            "the encodings of party {party} have {bytes} bytes; the project's encodings have {fixed} bytes"
        )),
        _ => Ok(()),
    }
}

/// Checks that all datasets have the encoding size of the first, once all are ready. The error names the first party
/// with another size.
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
