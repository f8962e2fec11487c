//! Checks the settings of the server that decide whether jobs survive.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

/// The oldest version with all commands of the scripts.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The reason for the error `OOM`.
pub(super) const FULL: &str = "it has reached its maxmemory and accepts no jobs; raise maxmemory";
/// The reason for the error `NOREPLICAS`.
pub(super) const LONELY: &str =
    "fewer replicas are connected than its min-replicas-to-write, so it accepts no jobs";
/// The reason for the error `MISCONF`.
pub(super) const UNWRITABLE: &str =
    "it cannot write its files, so it accepts no jobs; look at its log and its disk";

/// The answer of the server to `INFO`.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    pub(super) async fn of(connection: &MultiplexedConnection) -> Result<Self, RedisError> {
        let text: String = redis::cmd("INFO").query_async(&mut connection.clone()).await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or(0)
    }

    pub(super) fn writes_a_log(&self) -> bool {
        self.get("aof_enabled") == "1"
    }

    pub(super) fn rewrites(&self) -> bool {
        ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress"]
            .iter()
            .any(|name| self.get(name) == "1")
    }

    /// Returns the reason not to use the server, if there is one.
    pub(super) fn refusal(&self) -> Option<String> {
        let version = self.get("redis_version");
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let policy = self.get("maxmemory_policy");
        if found < VERSION_MIN {
            let (major, minor) = VERSION_MIN;
            Some(format!("it is Redis {version}, and {major}.{minor} is the oldest that works"))
        } else if self.get("redis_mode") == "cluster" {
            Some("it is a node of a cluster; give a single server, or one that Sentinels watch".to_owned())
        } else if policy != "noeviction" {
            Some(format!("its maxmemory-policy is {policy}, which drops jobs; set it to noeviction"))
        } else {
            None
        }
    }

    /// Returns the reason why the server refuses to write, if there is one. `replicas_min` is its setting
    /// `min-replicas-to-write`.
    pub(super) fn reason_against_writes(&self, replicas_min: u64) -> Option<&'static str> {
        let counted = self.number("used_memory").saturating_sub(self.number("mem_not_counted_for_evict"));
        let memory_max = self.number("maxmemory");
        if memory_max > 0 && counted > memory_max {
            Some(FULL)
        } else if replicas_min > 0 && self.number("min_slaves_good_slaves") < replicas_min {
            Some(LONELY)
        } else if self.writes_a_log() && self.get("aof_last_write_status") == "err" {
            Some(UNWRITABLE)
        } else {
            None
        }
    }

    /// Describes the server in a few words.
    pub(super) fn described(&self) -> String {
        // Valkey has a version of its own, beside the version of Redis that it is compatible with.
        let (name, version) = match self.get("valkey_version") {
            "" => ("Redis", self.get("redis_version")),
            version => ("Valkey", version),
        };
        let role = self.get("role");
        let replicas = self.number("connected_slaves");
        let written = self.number("master_repl_offset");
        let offsets = (0..replicas).filter_map(|replica| {
            let fields = self.get(&format!("slave{replica}"));
            fields.split(',').find_map(|field| field.strip_prefix("offset=")?.parse::<u64>().ok())
        });
        let lag = offsets.map(|offset| written.saturating_sub(offset)).max();
        let lag = lag.map_or(String::new(), |bytes| format!(", the slowest {bytes} bytes behind"));
        format!("{name} {version}, {role}, replicas: {replicas}{lag}")
    }
}

/// Returns a setting of the server, if this user may read it.
pub(super) async fn setting(connection: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let answer: Result<HashMap<String, String>, _> =
        redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
    answer.ok()?.remove(name)
}

/// Returns a warning for each setting with which jobs can be lost.
pub(super) async fn warnings(connection: &MultiplexedConnection, info: &Info) -> Vec<String> {
    let mut warnings = Vec::new();
    if !info.writes_a_log() {
        warnings.push(
            "appendonly is no: a restart of Redis loses the changes since its last snapshot; open runs are enqueued again"
                .to_owned(),
        );
    }
    let (mut connection, mut unread) = (connection.clone(), false);
    for (name, good, cost) in [
        ("appendfsync", "always", "a power cut loses the changes of the last seconds"),
        ("min-replicas-to-write", "", "a fail-over loses the changes that no replica has"),
    ] {
        let value = setting(&mut connection, name).await;
        let costs = match value.as_deref() {
            None => {
                unread = true;
                false
            }
            Some(value) if good.is_empty() => value == "0",
            // Without an append-only file the setting has no effect.
            Some(value) => value != good && info.writes_a_log(),
        };
        if costs {
            warnings.push(format!("{name} is {}: {cost}", value.unwrap_or_default()));
        }
    }
    if unread {
        warnings.push("this user may not read appendfsync and min-replicas-to-write (CONFIG GET)".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, mode: &str, policy: &str) -> Info {
        Info::parse(&format!(
            "# Server\r\nredis_version:{version}\r\nredis_mode:{mode}\r\nmaxmemory_policy:{policy}\r\n"
        ))
    }

    #[test]
    fn a_server_that_would_lose_jobs_is_refused() {
        for (version, mode, policy, reason) in [
            ("6.0.16", "standalone", "noeviction", Some("Redis 6.0.16")),
            ("7.0.15", "cluster", "noeviction", Some("cluster")),
            ("7.0.15", "standalone", "allkeys-lru", Some("allkeys-lru")),
            ("6.2.0", "standalone", "noeviction", None),
            ("10.1", "standalone", "noeviction", None),
        ] {
            let refusal = info(version, mode, policy).refusal();
            assert_eq!(refusal.is_some(), reason.is_some(), "{refusal:?}");
            assert!(refusal.unwrap_or_default().contains(reason.unwrap_or_default()));
        }
    }

    #[test]
    fn a_server_that_accepts_no_jobs_is_noticed() {
        for (said, replicas_min, reason) in [
            ("used_memory:900\nmaxmemory:0", 0, None),
            ("used_memory:900\nmem_not_counted_for_evict:100\nmaxmemory:800", 0, None),
            ("used_memory:901\nmem_not_counted_for_evict:100\nmaxmemory:800", 0, Some(FULL)),
            ("min_slaves_good_slaves:1", 1, None),
            ("min_slaves_good_slaves:1", 2, Some(LONELY)),
            ("aof_enabled:0\naof_last_write_status:err", 0, None),
            ("aof_enabled:1\naof_last_write_status:err", 0, Some(UNWRITABLE)),
        ] {
            assert_eq!(Info::parse(said).reason_against_writes(replicas_min), reason, "{said}");
        }
    }

    #[test]
    fn the_lag_is_that_of_the_slowest_replica() {
        let info = Info::parse(
            "redis_version:7.0.15\nrole:master\nconnected_slaves:2\nmaster_repl_offset:100\n\
             slave0:ip=::1,port=1,state=online,offset=100,lag=0\nslave1:ip=::1,port=2,state=online,offset=58,lag=1\n",
        );
        assert_eq!(info.described(), "Redis 7.0.15, master, replicas: 2, the slowest 42 bytes behind");
    }

    #[test]
    fn valkey_is_named_with_its_own_version() {
        let info =
            Info::parse("redis_version:7.2.4\nserver_name:valkey\nvalkey_version:9.1.2\nrole:master\n");
        assert_eq!(info.described(), "Valkey 9.1.2, master, replicas: 0");
    }
}
