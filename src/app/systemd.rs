//! Notifies systemd, if it has started the server and expects notifications.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::sleep;

/// Reports that the server is ready. From now on, notifies the watchdog as long as the runtime works.
pub(super) fn ready() {
    if !tell(NotifyState::Ready) {
        return;
    }
    if let Some(interval) = watchdog_enabled() {
        tokio::spawn(async move {
            while tell(NotifyState::Watchdog) {
                sleep(interval / 2).await;
            }
        });
    }
}

/// Reports that the server is stopping.
pub(super) fn stopping() {
    let _ = tell(NotifyState::Stopping);
}

/// Sends a notification, and returns true if that succeeded.
fn tell(state: NotifyState<'_>) -> bool {
    let told = send(state);
    if let Err(error) = &told {
        tracing::warn!("cannot notify the service manager: {error}");
    }
    told.is_ok()
}

fn send(state: NotifyState<'_>) -> io::Result<()> {
    let socket = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    // The library supports only sockets in the file system.
    let Some(name) = socket.as_bytes().strip_prefix(b"@") else { return notify(&[state]) };
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(state.to_string().as_bytes(), &address).map(drop)
}
