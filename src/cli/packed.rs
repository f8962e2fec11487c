//! Detects compressed files and archives by their first bytes, and unpacks compressed files.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::exit::Failure;
use super::table::cannot_read;
use crate::system::permission::explained;

/// The number of bytes needed to recognise a format: a tar archive has its signature at byte 257.
const HEAD_BYTES: usize = 512;

/// The compression of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

/// The unsupported archives and compressions: the offset of their signature, the signature, and their description.
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
fn head(file: &File) -> io::Result<Vec<u8>> {
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

/// Returns the compression of a file that begins with `head`. A file of rows may begin with any bytes, so its extension
/// must also name the compression.
fn coding(path: &Path, head: &[u8]) -> Option<Coding> {
    let (coding, name) = match head {
        [0x1f, 0x8b, 8, ..] => (Coding::Gzip, "gz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Coding::Zstd, "zst"),
        _ => return None,
    };
    let named = path.extension().is_some_and(|extension| extension == name);
    (named || !holds_rows(path)).then_some(coding)
}

/// Returns true if the name is that of a file of rows, compressed or not: `b.bin`, `b.bin.gz`.
pub(super) fn holds_rows(path: &Path) -> bool {
    let is = |path: &Path, name: &str| path.extension().is_some_and(|extension| extension == name);
    let inner = if is(path, "gz") || is(path, "zst") { path.with_extension("") } else { path.to_owned() };
    is(&inner, "bin")
}

/// Describes the format of a file if it is an unsupported one.
fn unread(path: &Path, head: &[u8]) -> Option<&'static str> {
    let begins =
        |(at, bytes, _): &&(usize, &[u8], &str)| head.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
    let found = UNREAD.iter().find(begins).map(|(.., what)| *what);
    // Three bytes of a row may match by chance.
    found.filter(|what| !(holds_rows(path) && what.ends_with("bzip2")))
}

/// Opens a file that is read more than once, and decompresses it if it is compressed. A copy is an unnamed file in the
/// system's directory for temporary files.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    open_with(path, tempfile::tempfile)
}

/// Opens a file as [`open`] does; `unnamed` creates the file for a copy.
pub(super) fn open_with(path: &Path, unnamed: impl Fn() -> io::Result<File>) -> Result<File, Failure> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let refused = |problem: &str| Failure::Input(format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| failed(explained(path, error)))?;
    let kind = file.metadata().map_err(failed)?;
    if kind.is_dir() {
        return Err(refused("is a folder; give a file"));
    }
    let copied = |write: &dyn Fn(&File) -> io::Result<u64>| {
        let mut copy = unnamed()?;
        write(&copy)?;
        copy.rewind()?;
        Ok(copy)
    };
    let checked_head = |file: &File| {
        let head = head(file).map_err(failed)?;
        match unread(path, &head) {
            _ if head.is_empty() => Err(refused("is empty")),
            Some(what) => Err(refused(&format!("is {what}; unpack it, and give a file"))),
            None => Ok(head),
        }
    };
    // A pipe is copied, since it is read more than once.
    let file = if kind.is_file() {
        file
    } else {
        copied(&|mut to| io::copy(&mut &file, &mut to)).map_err(failed)?
    };
    let head = checked_head(&file)?;
    let Some(coding) = coding(path, &head) else { return Ok(file) };
    let unpacked = copied(&|to| unpack(&file, coding, to))
        .map_err(|error| damage(&error).map_or_else(|| failed(error), |problem| refused(&problem)))?;
    checked_head(&unpacked)?;
    Ok(unpacked)
}

/// Describes the fault in the content of a file that could not be unpacked; `None` if the system failed.
fn damage(error: &io::Error) -> Option<String> {
    match error.kind() {
        _ if error.raw_os_error().is_some() => None,
        io::ErrorKind::UnexpectedEof => Some("is truncated: its compressed content is incomplete".to_owned()),
        _ => Some(format!("is damaged, and cannot be unpacked: {error}")),
    }
}

/// Unpacks a compressed file into another, and returns the number of unpacked bytes. [`damage`] explains an error.
fn unpack(file: &File, coding: Coding, mut to: &File) -> io::Result<u64> {
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
    fn a_file_that_is_cut_off_or_damaged_is_told_from_a_disk_that_fails() {
        use std::io::{Seek, Write};

        let content: Vec<u8> = (0..9_999_u32).flat_map(u32::to_le_bytes).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let packed = [
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Zstd, zstd::encode_all(&content[..], 1).unwrap()),
        ];
        for (coding, packed) in packed {
            let unpacked = |packed: &[u8], to: &File| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(packed).unwrap();
                file.rewind().unwrap();
                unpack(&file, coding, to)
            };
            let to = tempfile::tempfile().unwrap();
            assert_eq!(unpacked(&packed, &to).unwrap(), content.len() as u64);
            for length in [packed.len() / 2, packed.len() - 1] {
                let problem = damage(&unpacked(&packed[..length], &to).unwrap_err()).unwrap();
                assert!(problem.starts_with("is truncated"), "{coding:?}, {length} bytes: {problem}");
            }
            let mut damaged = packed.clone();
            damaged[packed.len() / 2..].fill(0xaa);
            damage(&unpacked(&damaged, &to).unwrap_err()).unwrap();
            let full = File::options().write(true).open("/dev/full").unwrap();
            assert_eq!(damage(&unpacked(&packed, &full).unwrap_err()), None);
        }
    }

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
