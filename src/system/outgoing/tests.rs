//! Tests of name resolution, and of the clients.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::{ProtocolConfig, ServerOrderingStrategy};

use super::{addresses, client, hosts, resolv_conf, store_options};

fn found(table: &str, host: &str) -> Vec<String> {
    hosts::find(table, host).iter().map(IpAddr::to_string).collect()
}

#[test]
fn a_table_of_hosts_is_read_as_the_system_reads_it() {
    let table = "\
# 1.1.1.1 store
127.0.0.1\tlocalhost
10.0.0.7  store.example store # not other
10.0.0.8  STORE
fd00::7   store
nonsense  store
fe80::1%eth0 store
10.0.0.9
";
    assert_eq!(found(table, "store"), ["10.0.0.7", "10.0.0.8", "fd00::7"]);
    assert_eq!(found(table, "Store.Example."), ["10.0.0.7"]);
    assert_eq!(found(table, "localhost"), ["127.0.0.1"]);
    for unknown in ["other", "", "example", "10.0.0.9"] {
        assert_eq!(found(table, unknown), Vec::<String>::new(), "{unknown}");
    }
    for local in ["localhost", "LOCALHOST.", "bucket.localhost"] {
        assert_eq!(found("", local), ["127.0.0.1", "::1"], "{local}");
    }
    assert_eq!(found("", "localhost.example"), Vec::<String>::new());
}

#[test]
fn settings_are_those_of_the_manual_page() {
    let text = "\
; a comment
# nameserver 9.9.9.9
domain first.example
search default.svc.cluster.local svc.cluster.local .
nameserver 10.96.0.10
nameserver fd00::a
nameserver fe80::1%eth0
options ndots:5 timeout:2 attempts:9 rotate unknown
";
    let (config, options) = resolv_conf::parse(text);
    let servers: Vec<String> = config.name_servers().iter().map(|server| server.ip.to_string()).collect();
    assert_eq!(servers, ["10.96.0.10", "fd00::a"]);
    let search: Vec<String> = config.search().iter().map(ToString::to_string).collect();
    assert_eq!(search, ["default.svc.cluster.local", "svc.cluster.local"]);
    assert_eq!((options.ndots, options.timeout, options.attempts), (5, Duration::from_secs(2), 5));
    assert_eq!(options.server_ordering_strategy, ServerOrderingStrategy::RoundRobin);

    let (config, options) = resolv_conf::parse("");
    assert_eq!(config.name_servers().len(), 1);
    assert!(config.name_servers()[0].ip.is_loopback());
    assert_eq!((options.ndots, options.timeout, options.attempts), (1, Duration::from_secs(5), 2));

    let (config, _) = resolv_conf::parse("nameserver 10.0.0.1\noptions use-vc");
    let connections = &config.name_servers()[0].connections;
    assert!(matches!(connections[..], [ref only] if matches!(only.protocol, ProtocolConfig::Tcp)));
}

#[tokio::test]
async fn addresses_and_localhost_need_no_server() {
    assert_eq!(addresses("10.1.2.3").await.unwrap(), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
    assert_eq!(addresses("[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
    assert!(addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    let error = addresses("a..b").await.unwrap_err().to_string();
    assert!(error.starts_with("`a..b` cannot be resolved: "), "{error}");
}

#[test]
fn clients_can_be_made() {
    // Another test may have installed the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    client().build().unwrap();
    let store = object_store::aws::AmazonS3Builder::new().with_bucket_name("bucket");
    store.with_client_options(store_options()).build().unwrap();
}
