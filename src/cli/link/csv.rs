//! Writes results as CSV, for spreadsheets and `join`.

use std::io::{self, BufWriter, Write};

use linkage::pairs::{self, Pair};
use linkage::solver::{self, Groups};

use crate::cli::result_csv::{Kind, names, record, write_line};

/// Writes one line for each record that is in a group.
pub(super) fn write_groups(groups: &Groups, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    write_line(&mut out, &names(Kind::Groups, false).join(","))?;
    let mut number = 0_u64;
    groups.try_for_each(|group| {
        let written = group.iter().try_for_each(|at| {
            let record = record(at.dataset.into(), at.index.into(), None);
            write_line(&mut out, &format!("{number},{record}"))
        });
        number += 1;
        written
    })?;
    out.flush()
}

/// Writes one line for each candidate pair, in the order of `pairs`. Scores have enough digits to be read back exactly.
pub(super) fn write_scores(
    pairs: impl IntoIterator<Item = Result<Pair, pairs::Error>>,
    out: impl Write,
) -> Result<(), solver::Error> {
    let mut out = BufWriter::new(out);
    let written = |done: io::Result<()>| done.map_err(pairs::Error::Write);
    written(write_line(&mut out, &names(Kind::Scores, false).join(",")))?;
    for pair in pairs {
        let Pair { score, datasets, records } = pair?;
        let [a, b] = [0, 1].map(|end| record(datasets[end].into(), records[end].into(), None));
        written(write_line(&mut out, &format!("{a},{b},{score:?}")))?;
    }
    Ok(written(out.flush())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [Pair; 2] = [
        Pair { score: 1.0, datasets: [0, 1], records: [2, 0] },
        Pair { score: 0.616_541_353_383_458_6, datasets: [0, 1], records: [0, 3] },
    ];

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn groups_are_numbered() {
        let groups = solver::solve(&[3, 4], PAIRS.map(Ok)).unwrap();
        let csv = text(|out| write_groups(&groups, out).unwrap());
        assert_eq!(csv, "group,dataset,record\r\n0,0,0\r\n0,1,3\r\n1,0,2\r\n1,1,0\r\n");
    }

    #[test]
    fn scores_keep_every_digit() {
        let csv = text(|out| write_scores(PAIRS.map(Ok), out).unwrap());
        let (header, lines) = csv.split_once("\r\n").unwrap();
        assert_eq!(header, "dataset_a,record_a,dataset_b,record_b,score");
        assert_eq!(lines, "0,2,1,0,1.0\r\n0,0,1,3,0.6165413533834586\r\n");
    }
}
