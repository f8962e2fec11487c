//! Small datasets, and their results computed by the definition.

use linkage::encoding::block::{Entry, digest};
use linkage::pairs::Pair;
use linkage::similarity::{Rows, dice};
use linkage::solver;

use super::{Fixture, PROJECT, RUN};
use crate::model::{Dataset, Outcome, ResultType, Task, Threshold, Upload, WholeRun};
use crate::objects::keys;
use crate::worker::Error;

pub(super) const ENCODING_BYTES: u32 = 16;

/// One party's records, and the blocks of each record if the party uses blocking.
pub(super) struct People {
    pub(super) matrix: Vec<u8>,
    pub(super) blocks: Option<Vec<Vec<u8>>>,
}

impl People {
    /// Returns `count` people. All parties have every third one, each party with a few different bits.
    pub(super) fn new(party: u32, count: u32, blocking: bool) -> Self {
        let person =
            |record: u32| if record.is_multiple_of(3) { record } else { record + 1_000 * (party + 1) };
        let mut matrix: Vec<u8> = (0..count).flat_map(|record| noise(person(record))).collect();
        for record in 0..count as usize {
            matrix[record * ENCODING_BYTES as usize + party as usize] ^= 1 << (record % 8);
        }
        let block = |record: u32| vec![(record % 5) as u8, (record % 7) as u8 + 5];
        Self { matrix, blocks: blocking.then(|| (0..count).map(block).collect()) }
    }

    pub(super) fn records(&self) -> u32 {
        self.matrix.len() as u32 / ENCODING_BYTES
    }

    pub(super) fn upload(&self) -> Upload {
        let blocks = self.blocks.is_some();
        Upload { upload: 1, records: self.records(), encoding_bytes: ENCODING_BYTES, blocks }
    }

    fn entries(&self) -> Vec<u8> {
        let of_record = |(record, blocks): (u32, &Vec<u8>)| -> Vec<u8> {
            let entry = |block: &u8| Entry { block: digest(&block.to_string()), record }.to_bytes();
            blocks.iter().flat_map(entry).collect()
        };
        (0..).zip(self.blocks.iter().flatten()).flat_map(of_record).collect()
    }

    fn meet(&self, record: u32, other: &Self, other_record: u32) -> bool {
        match (&self.blocks, &other.blocks) {
            (Some(own), Some(theirs)) => {
                own[record as usize].iter().any(|block| theirs[other_record as usize].contains(block))
            }
            _ => true,
        }
    }
}

/// Returns 16 bytes derived from `seed`, in which about half of the bits are set.
fn noise(seed: u32) -> [u8; ENCODING_BYTES as usize] {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
}

pub(super) fn threshold() -> Threshold {
    Threshold::new(0.8).unwrap()
}

/// Returns every candidate pair, in order, each once.
pub(super) fn pairs_by_definition(parties: &[People]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (a, left) in parties.iter().enumerate() {
        for (b, right) in parties.iter().enumerate().skip(a + 1) {
            let rows = |people| Rows::all(people, ENCODING_BYTES as usize).unwrap();
            let hits = dice::by_definition(&rows(&left.matrix), &rows(&right.matrix), threshold());
            let met = hits.into_iter().filter(|hit| left.meet(hit.left, right, hit.right));
            pairs.extend(met.map(|hit| Pair {
                score: hit.score,
                datasets: [a as u32, b as u32],
                records: [hit.left, hit.right],
            }));
        }
    }
    pairs.sort_unstable();
    pairs
}

/// Returns the groups in the format of the result.
pub(super) fn groups_by_definition(parties: &[People]) -> String {
    let record = |record: &solver::Record| format!("[{}, {}]", record.dataset, record.index);
    let group = |group: &Vec<solver::Record>| {
        format!("[{}]", group.iter().map(record).collect::<Vec<_>>().join(", "))
    };
    let groups = solver::by_definition(&pairs_by_definition(parties));
    format!("{{\"groups\": [{}]}}", groups.iter().map(group).collect::<Vec<_>>().join(", "))
}

impl Fixture {
    /// Stores the uploads of `parties` in the same way as the API.
    pub(super) async fn upload(&self, parties: &[People]) {
        for (party, people) in (0..).zip(parties) {
            self.put(&keys::matrix(PROJECT, party, 1), &people.matrix).await;
            if people.blocks.is_some() {
                self.put(&keys::entries(PROJECT, party, 1), &people.entries()).await;
            }
        }
    }

    pub(super) async fn ingest(&self, parties: &[People]) -> Vec<Dataset> {
        let mut datasets = Vec::new();
        for (party, people) in (0..).zip(parties) {
            let outcome = self.work(Task::Ingest { party, upload: people.upload() }).await.unwrap();
            let Outcome::Ingested(dataset) = outcome else { panic!("{outcome:?}") };
            datasets.push(dataset);
        }
        datasets
    }

    /// Runs a plan job; returns the numbers of parts and comparisons.
    pub(super) async fn plan(&self, datasets: Vec<Dataset>, comparisons_per_job: Option<u64>) -> (u32, u64) {
        let uploads = datasets.iter().map(|dataset| dataset.upload).collect();
        let task = Task::Plan { run: RUN, uploads, threshold: threshold(), comparisons_per_job, whole: None };
        match self.work(task).await.unwrap() {
            Outcome::Planned { parts, comparisons, .. } => (parts, comparisons),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Runs a plan job that may bring the run to its result.
    pub(super) async fn solve(&self, whole: &WholeRun) -> Result<Outcome, Error> {
        self.work(solve(whole)).await
    }

    pub(super) async fn finalize(&self, parties: &[People], result_type: ResultType, parts: u32) -> Outcome {
        self.work(finalize(parties, result_type, parts)).await.unwrap()
    }
}

pub(super) fn solve(whole: &WholeRun) -> Task {
    let uploads = vec![1; whole.records.len()];
    Task::Plan {
        run: RUN,
        uploads,
        threshold: threshold(),
        comparisons_per_job: None,
        whole: Some(whole.clone()),
    }
}

pub(super) fn whole(parties: &[People], result_type: ResultType) -> WholeRun {
    let records = parties.iter().map(People::records).collect();
    let (pairs_max, solver_pairs_max) = (1_000_000, 1_000_000);
    WholeRun { result_type, records, pairs_max, solver_pairs_max, with_scores: false }
}

pub(super) fn compare(parties: &[People], part: u32) -> Task {
    Task::Compare { run: RUN, uploads: vec![1; parties.len()], part, pairs_max: 1_000_000 }
}

pub(super) fn finalize(parties: &[People], result_type: ResultType, parts: u32) -> Task {
    let records = parties.iter().map(People::records).collect();
    Task::Finalize {
        run: RUN,
        result_type,
        records,
        parts,
        solver_pairs_max: 1_000_000,
        pairs: 0,
        with_scores: false,
    }
}
