//! Groups, with the pairs that connect their records.

use std::collections::BTreeMap;

use linkage::pairs::{self, Pair};
use linkage::solver::{self, Error};

/// A record: the number of its dataset, and the number of the record.
pub(super) type Record = (u32, u32);

/// A pair of records with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    pub(super) ends: [Record; 2],
    pub(super) score: f64,
}

/// Records that belong to one person.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) records: Vec<Record>,
    /// The candidate pairs within the group, the best first.
    pub(super) edges: Vec<Edge>,
    /// The number of the schema that linked the records, from 0.
    pub(super) schema: usize,
}

/// Groups the records of candidate pairs, and collects the pairs within each group. Each call of `pairs` starts from the
/// beginning.
pub(super) fn solve<P>(sizes: &[u32], pairs: impl Fn() -> Result<P, Error>) -> Result<Vec<Group>, Error>
where
    P: Iterator<Item = Result<Pair, pairs::Error>>,
{
    let mut groups: Vec<Group> = Vec::new();
    let solved = solver::solve(sizes, pairs()?)?;
    let gathered: Result<(), std::convert::Infallible> = solved.try_for_each(|group| {
        let records = group.iter().map(|record| (record.dataset, record.index)).collect();
        groups.push(Group { records, ..Group::default() });
        Ok(())
    });
    let Ok(()) = gathered;
    add_edges(sizes, &mut groups, pairs()?)?;
    Ok(groups)
}

/// Adds the candidate pairs whose records are in one group.
fn add_edges(
    sizes: &[u32],
    groups: &mut [Group],
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
) -> Result<(), Error> {
    let mut group_of: Vec<Vec<u32>> = sizes.iter().map(|size| vec![u32::MAX; *size as usize]).collect();
    for (number, group) in (0..).zip(groups.iter()) {
        for (dataset, record) in &group.records {
            group_of[*dataset as usize][*record as usize] = number;
        }
    }
    for pair in pairs {
        let Pair { score, datasets: [d, e], records: [r, s] } = pair?;
        let (left, right) = (group_of[d as usize][r as usize], group_of[e as usize][s as usize]);
        if left == right
            && let Some(group) = groups.get_mut(left as usize)
        {
            group.edges.push(Edge { ends: [(d, r), (e, s)], score });
        }
    }
    Ok(())
}

/// Groups the records of one table that was compared with itself. Records that are connected by pairs belong to one
/// person.
pub(super) fn connect(
    records: u32,
    pairs: impl Iterator<Item = Result<Pair, pairs::Error>>,
) -> Result<Vec<Group>, Error> {
    let mut parents: Vec<u32> = (0..records).collect();
    let mut edges = Vec::new();
    for pair in pairs {
        let Pair { score, records: [left, right], .. } = pair?;
        // Each pair occurs twice, and each record pairs with itself.
        if left < right {
            let (a, b) = (root(&mut parents, left), root(&mut parents, right));
            parents[a.max(b) as usize] = a.min(b);
            edges.push(Edge { ends: [(0, left), (0, right)], score });
        }
    }
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for record in 0..records {
        let first = root(&mut parents, record);
        groups.entry(first).or_default().records.push((0, record));
    }
    for edge in edges {
        let first = root(&mut parents, edge.ends[0].1);
        groups.entry(first).or_default().edges.push(edge);
    }
    Ok(groups.into_values().filter(|group| group.records.len() > 1).collect())
}

/// Returns the first record that a record is connected with.
fn root(parents: &mut [u32], record: u32) -> u32 {
    let mut at = record;
    while parents[at as usize] != at {
        parents[at as usize] = parents[parents[at as usize] as usize];
        at = parents[at as usize];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn pair(score: f64, left: u32, right: u32) -> Pair {
        Pair { score, datasets: [0, 1], records: [left, right] }
    }

    #[test]
    fn the_pairs_behind_a_group_are_within_it() {
        let pairs = || Ok([pair(0.9, 0, 0), pair(0.8, 0, 1), pair(0.7, 1, 1)].map(Ok).into_iter());
        let groups = solve(&[2, 2], pairs).unwrap();
        let scores: Vec<f64> = groups.iter().flat_map(|group| &group.edges).map(|edge| edge.score).collect();
        assert_eq!((groups.len(), scores), (2, vec![0.9, 0.7]));
    }

    #[test]
    fn records_that_pairs_connect_are_one_person() {
        let pairs = [pair(1.0, 0, 0), pair(0.9, 3, 1), pair(0.9, 1, 3), pair(0.8, 3, 4), pair(0.8, 4, 3)];
        let groups = connect(6, pairs.map(Ok).into_iter()).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].records, [(0, 1), (0, 3), (0, 4)]);
        assert_eq!(groups[0].edges.len(), 2);
    }
}
