//! The admin API, which needs the admin token.

use std::io::{Read, Write};

use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::command_line;
use crate::support::{ENCODING, Entityd, refused, text};

fn http() -> Client {
    entityd::edge::tls::install_provider();
    Client::new()
}

#[tokio::test]
async fn only_the_admin_token_opens_the_admin_api() {
    let server = Entityd::start();
    let token = server.admin_token().expect("a first start prints the token");
    let url = |path: &str| format!("http://{}/admin{path}", server.doors().ops);
    let client = http();
    for path in ["/queue", "/queue/jobs", "/nothing", ""] {
        let bare = client.get(url(path)).send().await.unwrap();
        assert_eq!(bare.headers()["www-authenticate"], "Bearer");
        assert!(refused(bare, 401).await.contains("admin token"));
        let wrong = client.get(url(path)).bearer_auth("0".repeat(64)).send().await.unwrap();
        refused(wrong, 401).await;
    }
    let stats = client.get(url("/queue")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(stats.status(), StatusCode::OK);
    assert!(stats.json::<Value>().await.unwrap()["queues"].is_object());
    let raw = client.get(url("/queue")).header("Authorization", &token).send().await.unwrap();
    assert_eq!(raw.status(), StatusCode::OK);
    let absent = client.get(url("/nothing")).bearer_auth(&token).send().await.unwrap();
    refused(absent, 404).await;
    assert!(!server.log().contains(&token), "the token is in the log");

    let (_, folder) = server.stop();
    let server = Entityd::in_folder(folder, &[]);
    assert_eq!(server.admin_token(), None, "it is printed once");
    let url = format!("http://{}/admin/queue", server.doors().ops);
    let again = client.get(url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}

/// Runs `entityd queue` with these arguments, and returns the exit code, the output and the errors.
fn queue(server: &Entityd, token: &str, words: &[&str]) -> (i32, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_entityd"))
        .arg("queue")
        .args(words)
        .env("ENTITYD_OPS_SERVER", format!("http://{}", server.doors().ops))
        .env("ENTITYD_ADMIN_TOKEN", token)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_command_shows_and_controls_the_queues() {
    let server = Entityd::with(&["--comparisons-per-job", "1000"]);
    let token = server.admin_token().unwrap();
    let project = server.api().project("groups").await;
    assert_eq!(queue(&server, &token, &["pause", "compute"]).0, 0, "even before it has had a job");
    project.upload(0, &[ENCODING]).await;
    let (code, table, _) = queue(&server, &token, &["drain", "ingest"]);
    assert_eq!(code, 0);
    let line = table.lines().find(|line| line.starts_with("ingest")).unwrap();
    assert!(line.ends_with("paused"), "{table}");
    project.upload(1, &[ENCODING]).await;
    let (_, listed, _) = queue(&server, &token, &["--json", "list", "--state", "ready"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let job = text(&listed["jobs"][0]["job"]);
    assert!(job.ends_with("/ingest"), "{listed}");
    let (_, shown, _) = queue(&server, &token, &["show", &job, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["payload"]["task"]["ingest"]["party"], 1);
    let run = project.run(0.9).await;
    assert_eq!(run.status().await["state"], "created");
    assert_eq!(queue(&server, &token, &["resume", "--all"]).0, 0);
    assert_eq!(run.ended().await["state"], "completed");
    assert_eq!(queue(&server, &token, &["retry", "--all"]).1, "0 jobs\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_command_reports_errors_in_one_line() {
    let server = Entityd::start();
    let token = server.admin_token().unwrap();
    let api = format!("http://{}", server.doors().api);
    for (token, words, code, said) in [
        ("wrong", &["stats"][..], 2, "rejects this admin token"),
        ("", &["stats"], 2, "the admin token is missing"),
        (&token, &["show", "nothing"], 3, "there is no job nothing"),
        (&token, &["retry", "nothing"], 3, "there is no job nothing"),
        (&token, &["pause", "lunch"], 3, "there is no such queue"),
        (&token, &["retry"], 2, "required"),
        (&token, &["stats", "--server", "http://127.0.0.1:9"], 1, "is the server running?"),
        (&token, &["stats", "--server", "localhost"], 2, "give a URL"),
        (&token, &["stats", "--server", "http://[::1"], 2, "give a URL"),
        (&token, &["discard", "--all", "--server", "http://[::1"], 2, "give a URL"),
        (&token, &["pause", "--all", "--server", "http://u:p@a"], 2, "without user, password"),
        (&token, &["stats", "--token-file", "/nowhere"], 2, "/nowhere"),
        (&token, &["stats", "--server", &api], 3, "give --server the listener for operations"),
    ] {
        let (found, stdout, stderr) = queue(&server, token, words);
        assert_eq!((found, stdout.as_str(), stderr.lines().count()), (code, "", 1), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_configured_admin_token_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "\u{feff}open-sesame\r\n").unwrap();
    let server = Entityd::with(&["--admin-token-file", file.to_str().unwrap()]);
    assert_eq!(server.admin_token(), None);
    let url = format!("http://{}/admin/queue", server.doors().ops);
    let answer = http().get(url).bearer_auth("open-sesame").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Runs `entityd queue stats` against a server that answers with `answer`. Returns the exit code and the errors.
fn said_to(answer: &'static str) -> (i32, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        // The client may stop reading early.
        let _ = stream.write_all(answer.as_bytes());
    });
    let mut command = command_line::entityd();
    let output =
        command.args(["queue", "stats", "--server", &url]).env("ENTITYD_ADMIN_TOKEN", "a-token").output();
    let output = output.unwrap();
    (output.status.code().unwrap(), command_line::stderr(&output).replace(&url, "URL"))
}

#[test]
fn the_queue_command_shows_no_control_characters_of_a_server() {
    let detail = "\\u001b]0;title\\u0007no\\u001b[2J\\u202e way\\n\\n";
    let body = format!("{{\"detail\": \"{detail}{}\"}}", "x".repeat(5_000));
    for status in ["400 Bad Request", "403 Forbidden", "500 Internal Server Error"] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/problem+json");
        let (_, said) = said_to(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).leak());
        assert!(said.contains("way") && said.lines().count() == 1 && said.len() < 1_000, "{said}");
        assert!(!said.trim_end().contains(char::is_control) && !said.contains('\u{202e}'), "{said:?}");
    }
}

#[test]
fn the_queue_command_reads_no_answer_without_an_end() {
    for status in ["200 OK", "400 Bad Request"] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\n\r\n{{\"a\": \"");
        let (code, said) = said_to(format!("{head}{}", "x".repeat(65 << 20)).leak());
        assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    }
}

#[test]
fn the_queue_command_tells_our_errors_from_those_of_another_server() {
    let (code, said) = said_to("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"other\": {}}");
    assert_eq!(code, 1);
    assert!(said.contains("answered 200 OK, so it is not the operations listener of an entityd"), "{said}");
    let (code, said) = said_to(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 28\r\n\r\n\
         {\"detail\": \"it is starting\"}",
    );
    assert_eq!(
        (code, said.as_str()),
        (1, "entityd: URL/admin answered 503 Service Unavailable: it is starting\n")
    );
}
