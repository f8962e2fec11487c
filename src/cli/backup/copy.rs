//! Copies bytes, and computes their hash.

use std::io::{self, Write};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of the buffer for copying, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Copies `bytes` bytes, and returns their SHA-256.
pub(in crate::cli) async fn copy(
    mut reader: impl AsyncRead + Unpin,
    writer: &mut impl Write,
    bytes: u64,
) -> io::Result<String> {
    let (mut digest, mut copied) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut buffer).await?;
        copied += count as u64;
        if (count == 0 && copied < bytes) || copied > bytes {
            let found = if copied > bytes { "more than".to_owned() } else { format!("{copied} of") };
            return Err(io::Error::other(format!("it has {found} the {bytes} bytes that were expected")));
        }
        if count == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..count]);
        writer.write_all(&buffer[..count])?;
    }
}
