//! Writes blocks as JSON.

use std::io::{self, Write};

use encoder::blocking::{Blocks, ByRecord, Names, Statistics};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::input::Blocked;
use crate::cli::destination::Destination;
use crate::cli::exit::Failure;

/// The number of bytes of a keyed hash that form the name of a block.
const NAME_BYTES: usize = 16;

/// At least so many bytes are written at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// Replaces the names of blocks by hashes keyed with a secret.
pub(super) fn protect(blocks: &mut Blocks, secret: &[u8]) {
    let keyed = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    blocks
        .rename(|name| hex::encode(&keyed.clone().chain_update(name).finalize().into_bytes()[..NAME_BYTES]));
}

/// Writes the blocks of each record, with statistics.
pub(super) fn write(
    blocked: &Blocked,
    by_record: &ByRecord<'_>,
    statistics: Statistics,
    is_keyed: bool,
    mut destination: Destination,
) -> Result<(), Failure> {
    let meta = json!({
        "config": blocked.config,
        "keyed": is_keyed,
        "source": { "clk_count": [blocked.records] },
        "stats": statistics,
        "strategies": blocked.strategies,
    });
    write_blocks(blocked.blocks.names(), by_record, &mut destination)
        .and_then(|()| writeln!(destination, ", \"meta\": {meta}}}"))
        .map_err(|error| Failure::output(&error))?;
    destination.finish()
}

fn write_blocks(names: &Names, by_record: &ByRecord<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut text = b"{\"blocks\": {".to_vec();
    let mut quote: &[u8] = b"\"";
    by_record.try_for_each(|record, numbers| {
        text.extend_from_slice(quote);
        quote = b", \"";
        serde_json::to_writer(&mut text, &record)?;
        text.extend_from_slice(b"\": [");
        for (at, number) in numbers.iter().enumerate() {
            // A name has only digits, letters, and the punctuation of a tuple, so no character needs an escape.
            text.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
            names.write(*number as usize, &mut text);
            text.push(b'"');
        }
        text.push(b']');
        if text.len() >= BUFFER_BYTES {
            out.write_all(&text)?;
            text.clear();
        }
        Ok::<_, io::Error>(())
    })?;
    text.push(b'}');
    out.write_all(&text)
}
