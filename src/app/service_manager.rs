//! What systemd is told, if it has started the server and wants to know.

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::sleep;

/// The server answers. From now on, as long as it can do anything at all, it says so as often as it is asked to.
pub(super) fn ready() {
    tell(NotifyState::Ready);
    if let Some(interval) = watchdog_enabled() {
        tokio::spawn(async move {
            loop {
                tell(NotifyState::Watchdog);
                sleep(interval / 2).await;
            }
        });
    }
}

/// The server drains.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = notify(&[state]) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}
