//! Detects by its beginning whether a file is compressed, an archive, or plain.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// Bytes needed to recognise a file: a tar archive has its mark after its first name.
const HEAD_BYTES: usize = 512;

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
}

/// Unsupported archives and compressions, by their first bytes and the position of these.
const UNREAD: [(usize, &[u8], &str); 7] = [
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"BZh", "compressed with bzip2"),
];

/// Returns the first bytes of a file, without moving its position.
pub(super) fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut length = 0;
    while length < HEAD_BYTES {
        match file.read_at(&mut head[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    Ok(head)
}

/// Returns the compression of a file that begins with `head`. Rows may begin with any bytes, so that their
/// file name decides as well.
pub(super) fn coding(path: &Path, head: &[u8]) -> Option<Coding> {
    let (coding, name) = match head {
        [0x1f, 0x8b, 8, ..] => (Coding::Gzip, "gz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Coding::Zstd, "zst"),
        _ => return None,
    };
    let named = path.extension().is_some_and(|extension| extension == name);
    (named || !holds_rows(path)).then_some(coding)
}

/// Returns whether the name announces rows, compressed or not: `b.bin`, `b.bin.gz`.
pub(super) fn holds_rows(path: &Path) -> bool {
    let is = |path: &Path, name: &str| path.extension().is_some_and(|extension| extension == name);
    let inner = if is(path, "gz") || is(path, "zst") { path.with_extension("") } else { path.to_owned() };
    is(&inner, "bin")
}

/// Names the format of a file that cannot be read as it is.
pub(super) fn unread(path: &Path, head: &[u8]) -> Option<&'static str> {
    let begins =
        |(at, bytes, _): &&(usize, &[u8], &str)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
    let found = UNREAD.iter().find(begins).map(|(.., what)| *what);
    // Three bytes of a row may match by chance.
    found.filter(|what| !(holds_rows(path) && what.ends_with("bzip2")))
}

/// Unpacks a compressed file into another.
pub(super) fn unpack(file: File, coding: Coding, mut to: &File) -> io::Result<u64> {
    let file = BufReader::new(file);
    let mut unpacked: Box<dyn Read> = match coding {
        Coding::Gzip => Box::new(MultiGzDecoder::new(file)),
        Coding::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
    };
    io::copy(&mut unpacked, &mut to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_where_rows_may_begin_with_anything() {
        let gzip = [0x1f, 0x8b, 8, 0];
        for (path, found) in [
            ("a.json", Some(Coding::Gzip)),
            ("a.json.gz", Some(Coding::Gzip)),
            ("a", Some(Coding::Gzip)),
            ("a.bin", None),
            ("a.bin.gz", Some(Coding::Gzip)),
        ] {
            assert_eq!(coding(Path::new(path), &gzip), found, "{path}");
        }
        assert!(holds_rows(Path::new("x/a.bin.zst")) && holds_rows(Path::new("a.bin")));
        assert!(!holds_rows(Path::new("a.json.gz")) && !holds_rows(Path::new("bin")));
        assert_eq!(unread(Path::new("a.bin"), b"BZh9"), None);
    }
}
