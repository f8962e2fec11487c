//! Writes groups, with the pairs within them and the ids of records.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::linked::{Edge, Group, Record};
use super::result::Format;
use crate::cli::own::Own;
use crate::cli::result_csv::{self, Kind, names, write_line};

/// The settings of the output.
pub(super) struct Output<'a> {
    pub(super) format: Format,
    /// Set if the pairs are written: in CSV a line for each, in JSON an extra member.
    pub(super) with_scores: bool,
    /// The ids of each dataset's records; empty if there are none.
    pub(super) ids: &'a [Own],
    /// Set if several schemas were used: the numbers of the schemas are written.
    pub(super) is_cascade: bool,
}

impl Output<'_> {
    /// Writes the groups.
    pub(super) fn write(&self, groups: &[Group], out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        match self.format {
            Format::Json => self.json(groups, &mut out)?,
            Format::Csv => self.csv(groups, &mut out)?,
        }
        out.flush()
    }

    fn json(&self, groups: &[Group], out: &mut impl Write) -> io::Result<()> {
        let record = |(dataset, record): &Record| json!([dataset, record]);
        let list = |out: &mut dyn Write, value: &dyn Fn(&Group) -> Value| {
            groups.iter().enumerate().try_for_each(|(at, group)| {
                let comma = if at == 0 { "" } else { ", " };
                write!(out, "{comma}{}", value(group))
            })
        };
        out.write_all(b"{\"groups\": [")?;
        list(out, &|group| group.records.iter().map(record).collect())?;
        if self.with_scores {
            out.write_all(b"], \"scores\": [")?;
            let edge = |edge: &Edge| json!([record(&edge.ends[0]), record(&edge.ends[1]), edge.score]);
            list(out, &|group| group.edges.iter().map(edge).collect())?;
        }
        if self.is_cascade {
            out.write_all(b"], \"schemas\": [")?;
            list(out, &|group| json!(group.schema))?;
        }
        out.write_all(b"]}\n")
    }

    fn csv(&self, groups: &[Group], out: &mut impl Write) -> io::Result<()> {
        let has_ids = !self.ids.is_empty();
        let mut columns = if self.with_scores {
            names(Kind::GroupScores, has_ids)
        } else {
            [names(Kind::Groups, has_ids), vec!["score"]].concat()
        };
        if self.is_cascade {
            columns.insert(1, "schema");
        }
        write_line(out, &columns.join(","))?;
        for (number, group) in groups.iter().enumerate() {
            let schema = if self.is_cascade { format!(",{}", group.schema) } else { String::new() };
            let line = |out: &mut dyn Write, fields: &dyn Display, score: f64| {
                write_line(out, &format!("{number}{schema},{fields},{score:?}"))
            };
            if self.with_scores {
                for Edge { ends: [left, right], score } in &group.edges {
                    let fields = format!("{},{}", self.record(*left)?, self.record(*right)?);
                    line(out, &fields, *score)?;
                }
            } else {
                for record in &group.records {
                    line(out, &self.record(*record)?, best(group, *record))?;
                }
            }
        }
        Ok(())
    }

    fn record(&self, (dataset, record): Record) -> io::Result<String> {
        let changed = || io::Error::other("the CSV has changed");
        let id = |own: &Own| own.text(record.into()).ok_or_else(changed)?;
        let id = self.ids.get(dataset as usize).map(id).transpose()?;
        Ok(result_csv::record(dataset.into(), record.into(), id.as_deref()))
    }
}

/// Returns the best score of a record with another record of its group.
fn best(group: &Group, record: Record) -> f64 {
    let scores = group.edges.iter().filter(|edge| edge.ends.contains(&record)).map(|edge| edge.score);
    scores.fold(0.0, f64::max)
}
