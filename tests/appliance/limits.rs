//! Rate limits, connection limits, timeouts for slow clients, and client addresses behind proxies.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use entityd::runtime::clock::Stopwatch;
use reqwest::{Method, StatusCode};

use crate::support::{Entityd, eventually, refused};

/// The time limit for the server to close a connection.
const READ_TIMEOUT: Duration = Duration::from_secs(40);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    stream
}

/// Sends `request`, reads until the server closes the connection, and returns the response.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    // The server may close a rejected connection before it reads.
    let _ = stream.write_all(request.as_bytes());
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("the server keeps it open: {error}")
        }
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// Requests `/status` with these headers. Returns the status code, if there is a response.
fn try_status(address: SocketAddr, headers: &str) -> Option<u16> {
    let request = format!("GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    ask(address, &request).split(' ').nth(1)?.parse().ok()
}

fn status(address: SocketAddr, headers: &str) -> u16 {
    try_status(address, headers).unwrap()
}

#[tokio::test]
async fn a_rate_limited_client_gets_retry_after() {
    // A request comes back every second. If the machine is slower than that, another server is asked.
    for _ in 0..50 {
        let server = Entityd::with(&["--rate-limit", "1:3"]);
        let api = server.api();
        let get = async || api.request(Method::GET, "/status").send().await.unwrap();
        let watch = Stopwatch::start();
        let allowed = [get().await, get().await, get().await];
        let answer = get().await;
        let is_slow = watch.elapsed() > Duration::from_millis(900);
        if is_slow {
            continue;
        }
        for (left, answer) in ["2", "1", "0"].into_iter().zip(allowed) {
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.headers()["ratelimit"].to_str().unwrap().contains(&format!("r={left};")));
            assert_eq!(answer.headers()["ratelimit-policy"], "\"requests\";q=1;w=1");
        }
        assert_eq!(answer.headers()["retry-after"], "1");
        assert!(refused(answer, 503).await.contains("the limit on requests"));
        // Uploads and results have rate limits of their own.
        let upload = api.request(Method::POST, "/projects/x/clks").body("{}").send().await.unwrap();
        assert_ne!(upload.status(), StatusCode::SERVICE_UNAVAILABLE);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(get().await.status(), StatusCode::OK);
        return;
    }
    panic!("four requests take more than a second");
}

#[tokio::test]
async fn wrong_tokens_rate_limit_their_sender_for_a_while() {
    let server = Entityd::with(&["--rate-limit-failures", "1:5", "--rate-limit-status", "429"]);
    let api = server.api();
    let project = api.project("groups").await;
    let wrong = async || api.get(&project.path, &"0".repeat(48)).await.status();
    for _ in 0..5 {
        assert_eq!(wrong().await, StatusCode::FORBIDDEN);
    }
    // The right token is rejected too: otherwise an attacker would learn that it is right. One request comes back every
    // second, so that a slow machine repeats wrong tokens.
    for _ in 0..50 {
        let answer = api.get(&project.path, &project.result_token).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(refused(answer, 429).await.contains("failed-authorizations"));
            return;
        }
        wrong().await;
        wrong().await;
    }
    panic!("the right token is never rejected");
}

#[test]
fn a_trusted_proxy_reports_client_addresses_and_an_untrusted_one_is_logged_once() {
    let flags = ["--rate-limit", "1:1", "--trusted-proxies", "127.0.0.2"];
    let server = Entityd::with(&flags);
    let address = server.doors().api;
    assert_eq!(status(address, ""), 200);
    assert_eq!(status(address, "X-Forwarded-For: 192.0.2.1\r\n"), 503, "the header is ignored");
    status(address, "X-Forwarded-For: 192.0.2.2\r\n");
    assert_eq!(server.log().matches("--trusted-proxies").count(), 1);

    let trusting = Entityd::with(&["--rate-limit", "1:1", "--trusted-proxies", "127.0.0.0/8"]);
    let address = trusting.doors().api;
    assert_eq!(status(address, "X-Forwarded-For: 192.0.2.1\r\n"), 200);
    assert_eq!(status(address, "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n"), 503);
    assert_eq!(status(address, "X-Forwarded-For: 192.0.2.2\r\n"), 200);
    assert_eq!(status(address, "X-Forwarded-For: 2001:db8::1\r\n"), 200);
    assert_eq!(status(address, "X-Forwarded-For: 2001:db8::2\r\n"), 503);
}

#[test]
fn the_proxy_protocol_reports_the_client_address() {
    let flags = ["--rate-limit", "1:1", "--trusted-proxies", "127.0.0.1", "--proxy-header", "proxy-protocol"];
    let server = Entityd::with(&flags);
    let announced = |announcement: &str| {
        let request = "GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        ask(server.doors().api, &format!("{announcement}{request}"))
    };
    assert!(announced("PROXY TCP4 192.0.2.1 127.0.0.1 5 6\r\n").starts_with("HTTP/1.1 200"));
    assert!(announced("PROXY TCP4 192.0.2.1 127.0.0.1 7 6\r\n").starts_with("HTTP/1.1 503"));
    assert!(announced("PROXY TCP4 192.0.2.2 127.0.0.1 5 6\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(announced(""), "", "a trusted proxy that does not announce its client is not served");
}

#[tokio::test]
async fn the_connections_of_an_address_are_limited() {
    let server = Entityd::with(&["--connections-per-address-max", "3"]);
    let address = server.doors().api;
    let held: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
    eventually("the fourth is refused", async || (try_status(address, "") != Some(200)).then_some(())).await;
    drop(held);
    eventually("there is room again", async || (try_status(address, "") == Some(200)).then_some(())).await;
    assert!(server.log().contains("--connections-per-address-max"));
}

#[test]
fn slow_clients_time_out() {
    let flags = ["--header-timeout-ms", "1500", "--idle-timeout-ms", "2500", "--transfer-timeout-ms", "1500"];
    let server = Entityd::with(&flags);
    let address = server.doors().api;
    let ends = |begin: &str| {
        let watch = Stopwatch::start();
        (ask(address, begin), watch.elapsed().as_millis())
    };
    let (answer, took) = ends("");
    assert!(answer.is_empty() && (2_450..20_000).contains(&took), "{answer} {took}");
    let (answer, took) = ends("GET /api/v1/status HTTP/1.1\r\nHost");
    assert!(answer.is_empty() && (1_450..20_000).contains(&took), "{answer} {took}");
    let (answer, _) = ends("GET /api/v1/status HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let json = "Host: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let (answer, _) = ends(&format!("POST /api/v1/projects HTTP/1.1\r\n{json}"));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("stopped arriving"), "{answer}");
}

#[test]
fn a_100_continue_is_sent_only_for_an_accepted_request() {
    let server = Entityd::start();
    let expecting = |path: &str, authorization: &str| {
        let mut stream = connect(server.doors().api);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\n{authorization}\
             Content-Type: application/json\r\nContent-Length: 40\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        String::from_utf8(begin.to_vec()).unwrap()
    };
    assert_eq!(expecting("/api/v1/projects", ""), "HTTP/1.1 100");
    let unknown = format!("/api/v1/projects/{}/clks", "0".repeat(48));
    assert_eq!(expecting(&unknown, &format!("Authorization: {}\r\n", "0".repeat(48))), "HTTP/1.1 403");
}
