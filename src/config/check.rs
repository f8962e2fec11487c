//! Values that are fine alone and do not go together.

use std::net::SocketAddr;

use super::mistake::Mistake;
use super::settings::Settings;
use super::values::Values;

/// Refuses settings that contradict one another.
pub(super) fn consistent(settings: &Settings, values: &Values) -> Result<(), Mistake> {
    let clash = |key, problem, other| Mistake::Clash {
        given: Box::new(values.given(key).clone()),
        problem,
        other: Box::new(values.given(other).clone()),
    };
    let doors =
        [("listen", settings.listen), ("s3_listen", settings.s3_listen), ("ops_listen", settings.ops_listen)];
    for (index, (key, door)) in doors.iter().enumerate() {
        for (other, other_door) in &doors[..index] {
            if collide(*door, *other_door) {
                return Err(clash(*key, "give another port, this one is taken by", *other));
            }
        }
    }
    if settings.min_encoding_bytes > settings.max_encoding_bytes {
        return Err(clash("min_encoding_bytes", "give a number that is not more than", "max_encoding_bytes"));
    }
    Ok(())
}

/// Whether the two cannot both be bound. Port 0 means any free one.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_address
}
