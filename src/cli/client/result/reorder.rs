//! Applies a permutation to the rows of a party: in the new order, row N of both parties is the same person wherever the
//! mask is 1.

use std::io::Write;
use std::path::Path;

use super::read::{self, Element, Sink};
use crate::cli::exit::Failure;
use crate::cli::own::Own;
use crate::cli::quoting::quoted;
use crate::cli::result_csv::{Kind, write_line};
use crate::cli::table::cannot_read;

/// The numbers of a permutation or a mask.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) kind: Option<Kind>,
    pub(super) numbers: Vec<u64>,
}

impl Sink for Numbers {
    fn begin(&mut self, kind: Kind) -> Result<(), String> {
        self.kind = Some(kind);
        match kind {
            Kind::Permutation | Kind::Mask => Ok(()),
            Kind::Groups | Kind::Scores | Kind::GroupScores => Err(
                "it is not a permutation; for ids in groups and scores, give --id and the numbers of the datasets"
                    .to_owned(),
            ),
        }
    }

    fn element(&mut self, element: Element) -> Result<(), String> {
        if let Element::Match(number) | Element::Place(number) = element {
            self.numbers.push(number);
        }
        Ok(())
    }
}

/// Reads a mask that the party has received from the analyst.
pub(super) fn mask(path: &Path) -> Result<Vec<u64>, Failure> {
    let refused = |problem: &str| Failure::Input(format!("--mask {}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
    let mut found = Numbers::default();
    read::read(std::io::BufReader::new(file), read::Member::First, &mut found)
        .map_err(|said| refused(&said))?;
    if found.kind != Some(Kind::Mask) {
        return Err(refused("it is not a mask; the analyst gets it with `entityd result get`"));
    }
    Ok(found.numbers)
}

/// Returns the row at each new position. This is the inverse of the server's permutation, which holds the new
/// position of each row.
pub(super) fn order(places: &[u64], own: &Own, mask: Option<&[u64]>) -> Result<Vec<u64>, String> {
    let rows = places.len();
    if own.rows() != rows as u64 {
        return Err(format!("it has {rows} rows, but the CSV has {}: is it the right file?", own.rows()));
    }
    // The mask has as many rows as the smaller dataset. Rows of the larger one after its end have no match.
    if let Some(mask) = mask.filter(|mask| mask.len() > rows) {
        return Err(format!("it has {rows} rows, but the mask has {}: is it of the same run?", mask.len()));
    }
    let mut order = vec![u64::MAX; rows];
    for (row, place) in (0..).zip(places) {
        let free = usize::try_from(*place).ok().and_then(|place| order.get_mut(place));
        match free.filter(|free| **free == u64::MAX) {
            Some(free) => *free = row,
            None => return Err("it is not a permutation".to_owned()),
        }
    }
    Ok(order)
}

/// Writes the rows in their new order; with a mask, only the rows that have a match. With ids, a line holds the new
/// row, the record and its id. Without ids, a line is the row of the CSV.
pub(super) fn write(
    order: &[u64],
    own: &Own,
    mask: Option<&[u64]>,
    has_ids: bool,
    out: &mut impl Write,
) -> std::io::Result<()> {
    if has_ids {
        write_line(out, "row,record,id")?;
    } else if let Some(header) = &own.header {
        write_line(out, header)?;
    }
    for (place, record) in order.iter().enumerate() {
        if mask.is_some_and(|mask| mask.get(place) != Some(&1)) {
            continue;
        }
        let text = own.text(*record).ok_or_else(|| std::io::Error::other("a row is missing"))??;
        if has_ids {
            write_line(out, &format!("{place},{record},{}", quoted(&text)))?;
        } else {
            write_line(out, &text)?;
        }
    }
    Ok(())
}
