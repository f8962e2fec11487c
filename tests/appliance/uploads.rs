//! Uploads, mainly failed ones: the token stays valid, and no data is left.

use std::time::Duration;

use futures::stream;
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused, text};

/// Asserts that a failed upload by party 0 has left no data, and that the party can still upload.
async fn untouched(server: &Entityd, project: &Project) {
    assert_eq!(server.payload_files(), Vec::<std::path::PathBuf>::new());
    assert_eq!(project.describe().await["parties_contributed"], 0);
    let answer = project.binary(0, 1).body(vec![1; 8]).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

/// Sends a request with a changed header, and returns the response.
async fn changed(request: RequestBuilder, name: &'static str, value: &'static str) -> Response {
    let mut request = request.build().unwrap();
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    Client::new().execute(request).await.unwrap()
}

#[tokio::test]
async fn every_form_is_accepted() {
    let server = Entityd::start();
    let api = server.api();
    for (blocking, body) in [
        (false, json!({"clks": [ENCODING, OTHER_ENCODING]})),
        (false, json!({"encodings": [ENCODING]})),
        (true, json!({"clknblocks": [[ENCODING, "north", 7], [OTHER_ENCODING]]})),
        (true, json!({"blocks": {"1": ["north"]}, "encodings": [ENCODING, OTHER_ENCODING]})),
    ] {
        let wanted = json!({"schema": {}, "result_type": "groups", "uses_blocking": blocking});
        let project = api.create(wanted).await;
        let answer = project.post_clks(0, &body).await;
        assert_eq!(answer.status(), 201, "{body}");
        let accepted: Value = answer.json().await.unwrap();
        assert_eq!(accepted["message"], "Updated");
        assert_eq!(text(&accepted["receipt_token"]).len(), 48);
        assert_eq!(project.describe().await["parties_contributed"], 1);
        refused(project.post_clks(0, &body).await, 403).await;
    }
}

#[tokio::test]
async fn a_refused_upload_leaves_the_token_unused() {
    let server = Entityd::start();
    for (status, body) in [
        (400, json!({"clks": []})),
        (400, json!({"clks": [ENCODING, "AAEC"]})),
        (400, json!({"clks": [ENCODING, "?"]})),
        (400, json!({"clks": [1]})),
        (400, json!({"nothing": 1})),
        (403, json!({"clknblocks": [[ENCODING, "a"]]})),
        (403, json!({"encodings": {"file": {"bucket": "uploads", "path": "a/1/b"}}})),
    ] {
        let project = server.api().project("groups").await;
        refused(project.post_clks(0, &body).await, status).await;
        untouched(&server, &project).await;
        assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
        eventually("no file is left", async || server.payload_files().is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn binary_headers_and_length_must_agree() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    for (count, bytes) in [(-1, 8), (0, 0), (2, 8), (1, 16), (1, 7), (5_000_000_000, 8)] {
        refused(project.binary(0, count).body(vec![0; bytes]).send().await.unwrap(), 400).await;
    }
    for pieces in [vec!["1234", "567"], vec!["1234", "56789"]] {
        let body = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let chunked = project.binary(0, 1).body(reqwest::Body::wrap_stream(body));
        refused(chunked.send().await.unwrap(), 400).await;
    }
    for media_type in ["text/plain", "application/json", "application/octet-streams", ""] {
        let other = changed(project.binary(0, 1).body(vec![0; 8]), "Content-Type", media_type);
        refused(other.await, 415).await;
    }
    untouched(&server, &project).await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let server = Entityd::with(&["--body-bytes-max", "100000"]);
    let project = server.api().project("groups").await;
    // The body is longer than the buffers of a connection: the response must arrive although the server does not read
    // the whole body.
    let announced = project.binary(0, 4_000_000).body(vec![0; 32_000_000]);
    refused(announced.send().await.unwrap(), 413).await;
    let pieces = stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 65_536])));
    let chunked = project.binary(0, 64 * 8_192).body(reqwest::Body::wrap_stream(pieces));
    refused(chunked.send().await.unwrap(), 413).await;
    untouched(&server, &project).await;
}

#[tokio::test]
async fn a_large_body_that_is_refused_early_still_gets_its_answer() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let stranger = project.binary(0, 4_000_000).body(vec![0; 32_000_000]);
    refused(changed(stranger, "Authorization", "0").await, 403).await;
    let rubbish = vec![b'x'; 32_000_000];
    let answer = project
        .api
        .request(Method::POST, &format!("{}/clks", project.path))
        .header("Authorization", &project.update_tokens[0])
        .header("Content-Type", "application/json")
        .body(rubbish);
    refused(answer.send().await.unwrap(), 400).await;
    untouched(&server, &project).await;
}

/// Half of an upload of [`RECORDS`], more than is kept in memory.
static HALF: [u8; 4 * RECORDS] = [7; 4 * RECORDS];
/// The number of records, of eight bytes each.
const RECORDS: usize = 100_000;

/// Returns the HTTP request line and headers of a binary upload of `records` encodings of eight bytes.
fn head(project: &Project, records: usize, more: &str) -> String {
    format!(
        "POST /api/v1{}/binaryclks HTTP/1.1\r\nHost: entityd\r\nAuthorization: {}\r\nHash-Count: {records}\r\nHash-Size: 8\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n{more}\r\n",
        project.path,
        project.update_tokens[0],
        8 * records
    )
}

#[tokio::test]
async fn a_client_that_disconnects_leaves_the_token_unused() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
    connection.write_all(head(&project, RECORDS, "").as_bytes()).await.unwrap();
    connection.write_all(&HALF).await.unwrap();
    eventually("a spool file exists", async || (!server.payload_files().is_empty()).then_some(())).await;
    let meanwhile = project.binary(0, 1).body(vec![1; 8]).send().await.unwrap();
    assert!(meanwhile.headers().contains_key("retry-after"), "the token is not used yet");
    refused(meanwhile, 503).await;
    drop(connection);
    eventually("the spool file is gone", async || server.payload_files().is_empty().then_some(())).await;
    // The server frees the token shortly after the failure; until then, no upload can use it.
    eventually("the token is free", async || {
        let body = reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("too short")]));
        let answer = project.binary(0, 2).body(body).send().await.unwrap();
        (answer.status() == 400).then_some(())
    })
    .await;
    untouched(&server, &project).await;
}

#[tokio::test]
async fn a_client_that_repeats_an_upload_gets_a_receipt_in_place_of_the_lost_one() {
    let server = Entityd::start();
    let project = server.api().project("permutations").await;
    let again = async |records: i64, bytes: Vec<u8>| {
        let request = project.binary(0, records).header("Receipt-Again", "true").body(bytes);
        request.send().await.unwrap()
    };
    let receipt = async |answer: Response| {
        assert_eq!(answer.status(), 201);
        text(&answer.json::<Value>().await.unwrap()["receipt_token"])
    };
    let sent: Vec<u8> = (0..16).collect();
    // The first upload of a party may have the header, which has no effect then.
    let lost = receipt(again(2, sent.clone()).await).await;
    let status = async |token: &str| project.api.get(&project.path, token).await.status().as_u16();
    assert_eq!(status(&lost).await, 200);
    let mut other = sent.clone();
    other[15] = 7;
    for (records, bytes) in [(2, other), (1, sent[..8].to_vec()), (3, [&sent[..], &[0; 8]].concat())] {
        let said = refused(again(records, bytes).await, 403).await;
        assert!(said.contains("differ") && !said.contains("Receipt-Again"), "{said}");
    }
    let said = refused(project.binary(0, 2).body(sent.clone()).send().await.unwrap(), 403).await;
    assert!(said.contains("Receipt-Again"), "{said}");
    assert_eq!(status(&lost).await, 200);
    let renewed = receipt(again(2, sent.clone()).await).await;
    assert_eq!((status(&lost).await, status(&renewed).await), (403, 200));
    // A receipt is also renewed for the same encodings in another format, and after the earlier receipt was used.
    project.upload(1, &[ENCODING]).await;
    project.run(0.5).await.ended().await;
    let body = json!({"clks": ["AAECAwQFBgc=", "CAkKCwwNDg8="]});
    let path = format!("{}/clks", project.path);
    let request = project.api.request(Method::POST, &path).header("Authorization", &project.update_tokens[0]);
    let answer = request.header("Receipt-Again", "true").json(&body).send().await.unwrap();
    let latest = receipt(answer).await;
    assert_eq!((status(&renewed).await, status(&latest).await), (403, 200));
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
    connection.write_all(head(&project, 2, "Expect: 100-continue\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 1_000];
    let count = connection.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&answer[..count]));
    connection.write_all(&[7; 16]).await.unwrap();
    let count = connection.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer[..count]));

    // The token is used: the server rejects the upload without reading the body.
    let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
    connection.write_all(head(&project, 2, "Expect: 100-continue\r\n").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(1), connection.read_to_end(&mut all)).await;
    read.expect("the connection is closed, since its next bytes could be body or request").unwrap();
    assert!(all.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&all));
}

#[tokio::test]
async fn an_upload_that_a_power_cut_interrupts_can_be_repeated() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let mut connection = TcpStream::connect(server.doors().api).await.unwrap();
    connection.write_all(head(&project, RECORDS, "").as_bytes()).await.unwrap();
    connection.write_all(&HALF).await.unwrap();
    eventually("a spool file exists", async || (!server.payload_files().is_empty()).then_some(())).await;
    let server = Entityd::in_folder(server.kill(), &[]);
    let project = Project { api: server.api(), ..project };
    eventually("no file is left", async || server.payload_files().is_empty().then_some(())).await;
    untouched(&server, &project).await;
}

#[tokio::test]
async fn one_of_many_uploads_with_one_token_is_accepted() {
    let server = Entityd::start();
    let project = server.api().project("groups").await;
    let uploads = (0..8).map(|_| project.binary(0, 1).body(vec![1; 8]).send());
    let statuses: Vec<u16> = futures::future::join_all(uploads)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().status().into())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 7, "{statuses:?}");
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_stop() {
    let server = Entityd::start();
    let mut half = std::net::TcpStream::connect(server.doors().api).unwrap();
    std::io::Write::write_all(&mut half, b"GET /api").unwrap();
    server.api().project("groups").await;
    let (status, _folder) = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::task::spawn_blocking(|| server.stop()).await.unwrap()
    })
    .await
    .expect("it stops before the drain is over");
    assert!(status.success());
}
