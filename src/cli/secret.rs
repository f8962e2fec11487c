//! The secret that the parties share.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::exit::{Failure, complain};
use super::table::cannot_read;
use crate::system::secret;

/// Bytes of a secret at most.
const BYTES_MAX: u64 = 64 << 10;

/// Reads the secret from a file, or from standard input (`-`), without the line end behind it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // As large as it may become: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX as usize + 1));
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(open(path)?) };
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(path, &error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::Input(format!("{}: a secret has at most {BYTES_MAX} bytes", path.display())));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Failure::Input(format!("{}: the secret is empty", path.display())));
    }
    if bytes.trim_ascii() != bytes.as_slice() {
        complain(&format!(
            "warning: {}: the blanks around the secret are part of it; check that every party has them",
            path.display()
        ));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(path, &error))?;
    secret::check(path, &metadata).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(file)
}
