//! HTTP requests as bytes on a connection, and behind proxies.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Entityd, text};

/// Sends a request, closes the sending side of the connection, and returns the response.
async fn said_and_closed(server: &Entityd, request: &str) -> String {
    let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Returns the bytes of a GET request for `path` with additional header lines.
fn get(path: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let server = Entityd::start();
    for _ in 0..20 {
        let answer = said_and_closed(&server, &get("/api/v1/status", &["Host: x"])).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let body = r#"{"schema": {}, "result_type": "groups"}"#;
        let create = format!(
            "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = said_and_closed(&server, &create).await;
        assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("update_tokens"), "{answer}");
    }
    // A truncated body is rejected.
    let half = "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    let answer = said_and_closed(&server, half).await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[tokio::test]
async fn ambiguous_input_is_refused() {
    let server = Entityd::start();
    let status = async |lines: &[&str]| {
        let answer = said_and_closed(&server, &get("/api/v1/status", lines)).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&["Host: x"]).await, "200");
    assert_eq!(status(&["Host: x", "Host: y"]).await, "400");
    for lines in [&[][..], &["Host: a b"], &["Host: user@a"], &["Host: http://a"]] {
        assert_eq!(status(lines).await, "400", "{lines:?}");
    }
    for host in ["", "[::1]:8851", "localhost:1"] {
        assert_eq!(status(&[&format!("Host: {host}")]).await, "200", "{host}");
    }
    let old = said_and_closed(&server, "GET /api/v1/status HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"), "{old}");
    let coded =
        "POST /api/v1/projects HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let answer = said_and_closed(&server, coded).await;
    assert!(answer.starts_with("HTTP/1.1 501") && answer.contains("Transfer-Encoding"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn links_redirects_and_the_api_description_include_the_prefix_of_a_proxy() {
    let server = Entityd::with(&["--base-path", "/pprl/", "--trusted-proxies", "127.0.0.1"]);
    let ask = async |path: &str, lines: &[&str]| {
        let lines = [&["Host: 127.0.0.1:8851"], lines].concat();
        said_and_closed(&server, &get(path, &lines)).await
    };
    let servers = |answer: &str| {
        let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        text(&document["servers"][0]["url"])
    };
    // The proxy may strip the prefix or not.
    for prefix in ["", "/pprl", "//pprl/"] {
        let described = ask(&format!("{prefix}/api/v1/openapi.json"), &[]).await;
        assert_eq!(servers(&described), "/pprl");
        for page in ["/", "/docs", "/docs/deletion"] {
            let answer = ask(&format!("{prefix}{page}"), &[]).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(!answer.contains("href=\"/") && !answer.contains("src=\"/"), "{answer}");
        }
    }
    for (path, location) in [
        ("/pprl", "pprl/"),
        ("/pprl/api/v1", "../docs"),
        ("/pprl/api/v1/", "../../docs"),
        ("/api/v1", "../docs"),
        ("/docs/", "../docs"),
        ("/pprl/docs/deletion/", "../deletion"),
    ] {
        let answer = ask(path, &[]).await;
        assert!(answer.starts_with("HTTP/1.1 301"), "{path}: {answer}");
        assert!(answer.contains(&format!("location: {location}\r\n")), "{path}: {answer}");
    }
    let forwarded =
        ["X-Forwarded-Host: linkage.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /other"];
    let described = ask("/api/v1/openapi.json", &forwarded).await;
    assert_eq!(servers(&described), "https://linkage.example/other");
    let refused = ask("/pprlx/docs", &[]).await;
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
}

#[tokio::test]
async fn clients_upload_only_to_a_host_that_a_trusted_proxy_names() {
    for (flags, host) in [
        (&["--trusted-proxies", "127.0.0.1"][..], "linkage.example"),
        (&["--trusted-proxies", "127.0.0.1", "--proxy-header", "forwarded"], "other.example"),
        (&[], "127.0.0.1"),
    ] {
        let server = Entityd::with(flags);
        let project = server.api().project("groups").await;
        let path = format!("{}/authorize-external-upload", project.path);
        let asked = project
            .api
            .request(reqwest::Method::GET, &path)
            .header("Authorization", &project.update_tokens[0])
            .header("X-Forwarded-Host", "evil.example, linkage.example")
            .header(
                "Forwarded",
                "for=192.0.2.1;host=evil.example, for=192.0.2.2;host=\"other.example\";proto=https",
            );
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        let endpoint = text(&answer["upload"]["endpoint"]);
        assert_eq!(endpoint, format!("{host}:{}", server.doors().s3.port()));
    }
}
