//! A party's records and their blocks.

use linkage::encoding::layout::{self, Dataset, Directory, Header, Index};
use linkage::similarity::plan::Stored;

use super::input::Input;
use super::workspace::Workspace;
use crate::cli::Failure;
use crate::cli::exit::OrFail;
use crate::cli::progress::Progress;
use crate::objects::{self, Blob};

/// A dataset that is ready to be compared.
pub(super) struct Party {
    matrix: Blob,
    index: Blob,
    header: Header,
}

/// Builds the index of each input.
pub(super) fn index(
    inputs: Vec<Input>,
    workspace: &Workspace,
    progress: &mut Progress,
) -> Result<Vec<Party>, Failure> {
    let index = |(party, input): (usize, Input)| {
        progress.show(&format!("indexing {}", input.path.display()), 0.0);
        index_one(party, input, workspace)
    };
    inputs.into_iter().enumerate().map(index).collect()
}

fn index_one(party: usize, input: Input, workspace: &Workspace) -> Result<Party, Failure> {
    let Input { summary, matrix, entries, .. } = input;
    let dataset = Dataset {
        upload: 0,
        records: summary.records,
        encoding_bytes: summary.encoding_bytes,
        matrix: &matrix[..],
        entries: summary.has_blocks.then_some(entries),
    };
    let mut file = workspace.stage();
    layout::build(dataset, workspace, &mut file).or_fail()?;
    let index = workspace.index(party, file).or_fail()?;
    let header = *Index::parse(&index).or_fail()?.header();
    Ok(Party { matrix, index, header })
}

impl Party {
    /// Returns the number of records of the party.
    pub(super) const fn records(&self) -> u32 {
        self.header.records
    }

    /// Returns the blocks of the party.
    pub(super) fn directory(&self) -> Result<Directory<&[u8]>, layout::Error> {
        Directory::open(&self.index[..])
    }

    /// Fails if a read from the mapped files has failed.
    pub(super) fn check(&self) -> Result<(), objects::Error> {
        self.matrix.check().and_then(|()| self.index.check())
    }

    /// Returns the records of the party for comparison.
    pub(super) fn stored(&self) -> Stored<'_> {
        let index = Index::reopen(self.header, &self.index).expect("the index was checked when it was made");
        Stored { index, matrix: &self.matrix }
    }
}
