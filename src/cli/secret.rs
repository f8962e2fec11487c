//! Reads the secret that the parties share.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::exit::{Failure, complain};
use crate::system::{secret, text};

/// The option that names the file.
const OPTION: &str = "--secret-file";
/// The maximum number of bytes of a secret.
const BYTES_MAX: u64 = 64 << 10;

/// Reads the secret from a file, or from standard input (`-`), without the line end after it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // The buffer has its final size: growing it would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX as usize + 1));
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(open(path)?) };
    file.take(BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::unusable(OPTION, path, &error))?;
    if bytes.len() as u64 > BYTES_MAX {
        let longer = format!("the secret is longer than {BYTES_MAX} bytes");
        return Err(Failure::unusable(OPTION, path, &longer));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    // A byte order mark, which some editors add, would make this party's encodings differ from the others'.
    let marked = bytes.len();
    let plain = text::unmarked(&bytes).map_err(|foreign| Failure::unusable(OPTION, path, &foreign))?.len();
    // The bytes after the mark are moved within the buffer, so that no copy of the secret is left behind.
    bytes.drain(..marked - plain);
    if bytes.is_empty() {
        return Err(Failure::unusable(OPTION, path, &"the secret is empty"));
    }
    if bytes.trim_ascii() != bytes.as_slice() {
        complain(&format!(
            "warning: {}: the whitespace around the secret is part of it; check that every party has it",
            path.display()
        ));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| Failure::unusable(OPTION, path, &error))?;
    let metadata = file.metadata().map_err(|error| Failure::unusable(OPTION, path, &error))?;
    if !secret::is_null(path) {
        secret::check(path, &metadata).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_of(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, bytes).unwrap();
        read(&path).map(|secret| secret.to_vec()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_option_that_names_no_usable_file_is_a_usage_error() {
        let absent = read(Path::new("/none/secret")).unwrap_err();
        assert!(matches!(absent, Failure::Usage(_)) && absent.to_string().starts_with("--secret-file /none"));
        assert!(read(Path::new("/dev/null")).unwrap_err().to_string().ends_with("the secret is empty"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_secret() {
        assert_eq!(read_of(b"\xef\xbb\xbfhorse\r\n"), Ok(b"horse".to_vec()));
        assert_eq!(read_of(b"horse\n"), Ok(b"horse".to_vec()));
        assert!(read_of(b"\xef\xbb\xbf\n").unwrap_err().ends_with("the secret is empty"));
        let utf16: Vec<u8> = "\u{feff}horse\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read_of(&utf16).unwrap_err().ends_with("it is text in UTF-16; save it as UTF-8"));
    }
}
