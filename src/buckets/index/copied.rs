//! Lists the files that a copy of the index refers to, for backups.

use std::collections::BTreeSet;
use std::path::Path;

use crate::system::sqlite::{Error, copy};

/// Returns the paths below `objects/buckets` of the files that the copy of the index at `path` refers to.
///
/// # Errors
/// [`Error`].
pub fn files(path: &Path) -> Result<BTreeSet<String>, Error> {
    copy::read(path, |copy| {
        let mut select = copy.prepare("SELECT DISTINCT file FROM pieces")?;
        let name = |number: i64| format!("{:02x}/{number:016x}", number & 0xff);
        let found = select.query_map([], |row| row.get(0).map(name))?;
        Ok(found.collect::<Result<_, _>>()?)
    })
}
