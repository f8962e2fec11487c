//! Recognises environment variables that Kubernetes and Docker set, and that are not settings.
//!
//! Kubernetes sets variables about every service in every container, and Docker about every linked container. For a
//! service or container called `entityd-s3`, their names begin with `ENTITYD_S3_`.

use std::net::IpAddr;

/// Returns true if Kubernetes or Docker could have set this variable, for a service or container whose name begins with
/// the name of this program. The value must have their form: `ENTITYD_PORT=8851` is an error.
pub(super) fn is_announced(variable: &str, value: &str) -> bool {
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    let of_port = variable.split_once("_PORT_").map(|(_, rest)| rest);
    if variable.ends_with("_SERVICE_HOST") {
        value.parse::<IpAddr>().is_ok()
    } else if variable.ends_with("_SERVICE_PORT") || variable.contains("_SERVICE_PORT_") {
        is_number(value)
    } else if variable.ends_with("_PORT") && of_port.is_none() {
        is_url(value)
    } else if let Some(rest) = of_port {
        is_of_a_port(rest, value)
    } else if variable.ends_with("_NAME") {
        // The value has the names of both containers: /other/entityd.
        value.starts_with('/') && value.matches('/').count() > 1
    } else {
        // The variables that Docker copies from the environment of the linked container.
        variable.contains("_ENV_")
    }
}

/// Returns true if a variable describes one port, such as `8851_TCP_ADDR`.
fn is_of_a_port(rest: &str, value: &str) -> bool {
    let mut words = rest.split('_');
    let is_port = words.next().is_some_and(|number| number.parse::<u16>().is_ok());
    let is_protocol =
        words.next().is_some_and(|word| PROTOCOLS.contains(&word.to_ascii_lowercase().as_str()));
    let as_said = match (words.next(), words.next()) {
        // Docker also has ranges of ports.
        (None | Some("START" | "END"), None) => is_url(value),
        (Some("PORT"), None | Some("START" | "END")) => value.parse::<u16>().is_ok(),
        (Some("PROTO"), None) => PROTOCOLS.contains(&value),
        (Some("ADDR"), None) => value.parse::<IpAddr>().is_ok(),
        _ => false,
    };
    is_port && is_protocol && as_said
}

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

fn is_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, _)| PROTOCOLS.contains(&protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn services_and_links_are_told_from_mistakes() {
        for (variable, value) in [
            ("ENTITYD_PORT", "tcp://10.0.0.7:80"),
            ("ENTITYD_SERVICE_HOST", "10.0.0.7"),
            ("ENTITYD_SERVICE_PORT", "8851"),
            ("ENTITYD_SERVICE_PORT_HTTP", "8851"),
            ("ENTITYD_S3_SERVICE_HOST", "fd00::7"),
            ("ENTITYD_S3_PORT", "udp://[fd00::7]:80"),
            ("ENTITYD_API_PORT_8851_TCP", "tcp://10.0.0.7:8851"),
            ("ENTITYD_API_PORT_8851_TCP_PROTO", "tcp"),
            ("ENTITYD_API_PORT_8851_TCP_PORT", "8851"),
            ("ENTITYD_API_PORT_8851_TCP_ADDR", "10.0.0.7"),
            ("ENTITYD_NAME", "/web/entityd"),
            ("ENTITYD_ENV_PATH", "/usr/bin"),
        ] {
            assert!(is_announced(variable, value), "{variable}={value}");
        }
        for (variable, value) in [
            ("ENTITYD_PORT", "8851"),
            ("ENTITYD_S3_PORT", "8852"),
            ("ENTITYD_SERVICE_HOST", "yes"),
            ("ENTITYD_PORT_HTTP", "tcp://10.0.0.7:80"),
            ("ENTITYD_NAME", "node-1"),
            ("ENTITYD_LISTENS", "127.0.0.1:8851"),
        ] {
            assert!(!is_announced(variable, value), "{variable}={value}");
        }
    }

    #[test]
    fn no_setting_is_called_like_an_announcement() {
        for key in KEYS {
            for value in ["10.0.0.7", "80", "tcp://10.0.0.7:80", "/web/entityd", "tcp", "true"] {
                assert!(!is_announced(&key.variable(), value), "{}", key.name);
            }
        }
    }
}
