//! Settings that the reference service composes from several variables.

use super::value::SWITCH;

/// The name of the master in the reference service's Sentinels.
const SENTINEL_NAME: &str = "mymaster";

/// Returns the variable with the host of Redis, and the URL of the queue, if the variables of the reference service
/// name a Redis.
pub(super) fn queue<'a>(environment: &impl Fn(&str) -> Option<&'a str>) -> Option<(&'static str, String)> {
    let given = |variable| environment(variable).map(str::trim).filter(|value| !value.is_empty());
    let host = given("REDIS_SERVER")?;
    let watched = given("REDIS_USE_SENTINEL").and_then(SWITCH.read).unwrap_or(false);
    let url = if watched {
        let name = given("REDIS_SENTINEL_NAME").unwrap_or(SENTINEL_NAME);
        format!("redis-sentinel://{host}/{name}/0")
    } else {
        format!("redis://{host}/0")
    };
    Some(("REDIS_SERVER", url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_the_reference_make_a_url() {
        let of = |given: &[(&str, &'static str)]| {
            let lookup = |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            queue(&lookup).map(|(_, url)| url)
        };
        assert_eq!(of(&[("REDIS_SERVER", "")]), None);
        assert_eq!(of(&[("REDIS_SERVER", "redis")]).unwrap(), "redis://redis/0");
        let watched = [("REDIS_SERVER", "ha"), ("REDIS_USE_SENTINEL", "true")];
        assert_eq!(of(&watched).unwrap(), "redis-sentinel://ha/mymaster/0");
        let named = [watched[0], watched[1], ("REDIS_SENTINEL_NAME", "anonlink")];
        assert_eq!(of(&named).unwrap(), "redis-sentinel://ha/anonlink/0");
    }
}
