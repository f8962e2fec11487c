//! Binds listeners. Errors suggest a remedy.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::Error;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Listens on `address`, the value of the setting `setting`.
pub(super) fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    bind(address).map_err(|cause| Error::Listen { setting, address, advice: advice(address, &cause), cause })
}

/// Binds a listener. An IPv6 listener also accepts IPv4, regardless of the system's default.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn advice(address: SocketAddr, cause: &io::Error) -> String {
    let port = address.port();
    // `ErrorKind` has no variant for an address family that the kernel does not support.
    let unknown_family = cause.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    match cause.kind() {
        _ if unknown_family && address.is_ipv6() => without_ipv6(address, "this machine has no IPv6"),
        ErrorKind::AddrNotAvailable if address.is_ipv6() => {
            without_ipv6(address, "this machine does not have that address, or no IPv6")
        }
        ErrorKind::AddrNotAvailable => {
            format!(
                "this machine does not have that address; give one that it has, or 0.0.0.0:{port} for all"
            )
        }
        ErrorKind::AddrInUse => "another process listens there; stop it, or give another port".to_owned(),
        ErrorKind::PermissionDenied if port < 1024 => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; give it, or a higher port".to_owned()
        }
        _ => "give another address".to_owned(),
    }
}

fn without_ipv6(address: SocketAddr, why: &str) -> String {
    let instead = if address.ip().is_loopback() { "127.0.0.1" } else { "0.0.0.0" };
    format!("{why}; give {instead}:{} for IPv4 alone", address.port())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_missing_listener_is_answered_with_what_would_do() {
        let said = |address: &str, errno: Errno| advice(address.parse().unwrap(), &errno.into());
        assert_eq!(
            said("[::]:8851", Errno::AFNOSUPPORT),
            "this machine has no IPv6; give 0.0.0.0:8851 for IPv4 alone"
        );
        assert_eq!(
            said("[::1]:8851", Errno::ADDRNOTAVAIL),
            "this machine does not have that address, or no IPv6; give 127.0.0.1:8851 for IPv4 alone"
        );
        assert!(said("127.0.0.1:80", Errno::ACCESS).contains("CAP_NET_BIND_SERVICE"));
        assert!(said("192.0.2.1:8851", Errno::ADDRNOTAVAIL).contains("0.0.0.0:8851"));
        assert!(said("127.0.0.1:8851", Errno::ADDRINUSE).contains("another process"));
    }

    #[tokio::test]
    async fn an_ipv6_listener_takes_ipv4() {
        let Ok(listener) = bind("[::]:0".parse().unwrap()) else { return eprintln!("skipped: no IPv6") };
        let port = listener.local_addr().unwrap().port();
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }
}
