//! The PROXY protocol, versions 1 and 2: a proxy reports the client in the first bytes of a connection.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The maximum length of the line of version 1, including its end.
const LINE_MAX: usize = 107;
/// The maximum number of bytes after the fixed part of version 2; addresses take 36, the rest is extensions.
const REST_MAX: usize = 4_096;

/// Reads the header and no byte after it. Returns the client's address, if the header has one.
///
/// # Errors
/// `InvalidData`, if the connection does not begin with a header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        read_binary(stream).await
    } else if start.starts_with(b"PROXY ") {
        read_line(stream, start.to_vec()).await
    } else {
        Err(malformed())
    }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), mut line: Vec<u8>) -> io::Result<Option<IpAddr>> {
    // Reads one byte at a time, since the bytes after the line belong to the connection.
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_MAX {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line).map_err(|_| malformed())?;
    let mut words = text.trim_end().split(' ').skip(1);
    let family = words.next();
    let source = words.next().map(str::parse::<IpAddr>);
    match (family, source) {
        (Some("UNKNOWN"), _) => Ok(None),
        (Some("TCP4"), Some(Ok(address @ IpAddr::V4(_))))
        | (Some("TCP6"), Some(Ok(address @ IpAddr::V6(_)))) => Ok(Some(address)),
        _ => Err(malformed()),
    }
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let (kind, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let mut rest = vec![0; usize::from(stream.read_u16().await?)];
    if rest.len() > REST_MAX {
        return Err(malformed());
    }
    stream.read_exact(&mut rest).await?;
    match (kind, family >> 4) {
        // LOCAL, such as a health check of the proxy, or an unknown address family.
        (0x20, _) | (0x21, 0 | 3) => Ok(None),
        (0x21, 1) => {
            let address: [u8; 4] = *rest.first_chunk().ok_or_else(malformed)?;
            Ok(Some(Ipv4Addr::from(address).into()))
        }
        (0x21, 2) => {
            let address: [u8; 16] = *rest.first_chunk().ok_or_else(malformed)?;
            Ok(Some(Ipv6Addr::from(address).into()))
        }
        _ => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the connection does not begin with a PROXY protocol header")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the address in the header, if it is valid, and the bytes after it.
    async fn announced(mut bytes: &[u8]) -> (Option<Option<String>>, String) {
        let read = read(&mut bytes).await.ok();
        let address = read.map(|address| address.map(|address| address.to_string()));
        (address, String::from_utf8_lossy(bytes).into_owned())
    }

    fn binary(kind: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[kind, family], &length, rest, b"GET /"].concat()
    }

    #[tokio::test]
    async fn both_versions_are_understood_and_nothing_after_them_is_read() {
        let v4 = [[192, 0, 2, 7], [10, 0, 0, 1], [1, 2, 3, 4]].concat();
        let v6 = [Ipv6Addr::LOCALHOST.octets().as_slice(), &[0; 20], b"extra"].concat();
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\nGET /".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\nGET /".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\nGET /".to_vec(), None),
            (binary(0x21, 0x11, &v4), Some("192.0.2.7")),
            (binary(0x21, 0x21, &v6), Some("::1")),
            (binary(0x20, 0x00, b""), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            let (address, left) = announced(&bytes).await;
            assert_eq!((address, left.as_str()), (Some(expected.map(str::to_owned)), "GET /"));
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PROXY TCP4 no-address 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY",
            &endless,
            &binary(0x31, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 3]),
            &binary(0x21, 0x71, &[0; 12]),
        ] {
            assert_eq!(announced(bytes).await.0, None);
        }
    }
}
