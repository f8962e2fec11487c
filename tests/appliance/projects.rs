//! Projects, and rules that apply to every request.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ENCODING, Entityd, eventually, refused, text};

#[tokio::test]
async fn every_documented_operation_is_answered() {
    let server = Entityd::start();
    let api = server.api();
    let document: Value = api.get("/openapi.json", "").await.json().await.unwrap();
    let id = "0".repeat(48);
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let path =
            path.strip_prefix("/api/v1").unwrap().replace("{project_id}", &id).replace("{run_id}", &id);
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = api.request(method.clone(), &path).send().await.unwrap();
            let status = answer.status();
            assert!(operation["responses"].get(status.as_str()).is_some(), "{method} {path}: {status}");
            operations += 1;
        }
    }
    assert_eq!(operations, 19);
}

#[tokio::test]
async fn paths_are_matched_leniently_and_wrong_ones_are_problems() {
    let server = Entityd::start();
    let api = server.api();
    for path in ["/status", "//status", "/status/", "///version//"] {
        assert_eq!(api.get(path, "").await.status(), 200, "{path}");
    }
    refused(api.get("/nowhere", "").await, 404).await;
    refused(api.get("/projects/a/b", "").await, 404).await;
    let wrong = api.delete("/projects", "").await;
    assert_eq!(wrong.headers()["allow"], "GET,HEAD,POST");
    refused(wrong, 405).await;
    let head = api.request(Method::HEAD, "/status").send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.headers()["content-length"] != "0");

    entityd::edge::tls::install_provider();
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let origin = format!("http://{}", server.doors().api);
    for (from, to) in [("/api/v1", "../docs"), ("/api/v1/", "../../docs"), ("/docs/", "../docs")] {
        let moved = plain.get(format!("{origin}{from}")).send().await.unwrap();
        assert_eq!(moved.status(), 301, "{from}");
        assert_eq!(moved.headers()["location"], to, "{from}");
    }
    for page in ["/", "/docs", "/docs/api.js", "/docs/page.css"] {
        assert_eq!(plain.get(format!("{origin}{page}")).send().await.unwrap().status(), 200, "{page}");
    }
}

#[tokio::test]
async fn the_other_listeners_answer_in_their_own_protocol() {
    let server = Entityd::start();
    let health = reqwest::get(format!("http://{}/healthz", server.doors().ops)).await.unwrap();
    assert_eq!(health.status(), 200);
    let s3 = reqwest::get(format!("http://{}/uploads/key", server.doors().s3)).await.unwrap();
    assert_eq!(s3.headers()["content-type"], "application/xml");
    assert!(s3.text().await.unwrap().contains("<Code>AccessDenied</Code>"));
}

#[tokio::test]
async fn absent_and_forbidden_look_alike() {
    let server = Entityd::start();
    let api = server.api();
    let project = api.project("groups").await;
    let (path, owner, provider) = (&project.path, &project.result_token, &project.update_tokens[0]);
    let absent = format!("/projects/{}", "0".repeat(48));
    let no_run = format!("{path}/runs/{}", "0".repeat(48));
    let mut answers = Vec::new();
    for (path, token) in [
        (absent.as_str(), owner.as_str()),
        (path, provider),
        (path, "Bearer token"),
        (path, &owner.to_uppercase()),
        (&no_run, owner),
        (&format!("{path}/runs/invalid"), owner),
        (&format!("{path}/runs/invalid/result"), provider),
        ("/projects/%ff", owner),
    ] {
        answers.push(refused(api.get(path, token).await, 403).await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    let missing = api.request(Method::GET, &absent).send().await.unwrap();
    refused(missing, 400).await;
}

#[tokio::test]
async fn a_deleted_project_leaves_no_byte() {
    let server = Entityd::start();
    let project = server.api().project("permutations").await;
    project.upload(0, &[ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    let run = project.run(0.5).await;
    assert_eq!(run.ended().await["state"], "completed");
    assert!(!server.payload_files().is_empty());
    assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
    refused(project.api.delete(&project.path, &project.result_token).await, 403).await;
    eventually("no file is left", async || server.payload_files().is_empty().then_some(())).await;
}

#[tokio::test]
async fn the_log_names_requests_and_no_tokens() {
    let server = Entityd::with(&["--log", "debug", "--log-http-header-fields", "x-one"]);
    let api = server.api();
    let project = api.project("groups").await;
    let receipt = project.upload(0, &[ENCODING]).await;
    let answer = api
        .request(Method::GET, &format!("{}?token={}", project.path, project.result_token))
        .header("Authorization", &project.result_token)
        .header("X-One", "seen")
        .send()
        .await
        .unwrap();
    // A client may send a token in the place of an identifier. It must not be logged.
    api.get(&format!("/projects/{}", project.result_token), &project.update_tokens[0]).await;
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let log = server.log();
    let line = log.lines().find(|line| line.contains(&id)).unwrap();
    let begins_with = project.path.split_at("/projects/01234567".len()).0;
    assert!(line.contains(begins_with) && line.contains("seen"), "{line}");
    for secret in [&project.result_token, &project.update_tokens[0], &project.update_tokens[1], &receipt] {
        assert!(!log.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn a_large_body_for_a_project_is_refused() {
    let server = Entityd::start();
    let body = json!({"schema": {}, "result_type": "groups", "notes": "x".repeat(2 << 20)});
    refused(server.api().post("/projects", "", &body).await, 413).await;
    let listed: Value = server.api().get("/projects", "").await.json().await.unwrap();
    assert_eq!(listed, json!([]));
    let kept = server.api().create(json!({"schema": {"a": [1.50, "\0"]}, "result_type": "groups"})).await;
    assert_eq!(kept.describe().await["schema"], json!({"a": [1.5, "\0"]}));
    assert_eq!(text(&kept.describe().await["result_type"]), "groups");
}

#[tokio::test]
async fn creating_and_listing_may_require_the_admin_token() {
    let server = Entityd::with(&["--require-admin-token"]);
    let (api, admin) = (server.api(), server.admin_token().unwrap());
    let wanted = json!({"schema": {}, "result_type": "groups"});
    for token in ["", "wrong"] {
        refused(api.post("/projects", token, &wanted).await, 401).await;
        refused(api.get("/projects", token).await, 401).await;
    }
    let project = api.create_as(&format!("Bearer {admin}"), wanted).await;
    let listed: Value = api.get("/projects", &admin).await.json().await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // Requests about a project need only the project's tokens.
    project.upload(0, &[ENCODING]).await;
    assert_eq!(project.describe().await["parties_contributed"], 1);
}

#[tokio::test]
async fn a_token_may_follow_the_word_bearer() {
    let server = Entityd::start();
    let api = server.api();
    let project = api.project("groups").await;
    for scheme in ["Bearer ", "bearer ", "BEARER  ", ""] {
        let answer = api.get(&project.path, &format!("{scheme}{}", project.result_token)).await;
        assert_eq!(answer.status(), 200, "{scheme:?}");
    }
    for scheme in ["Basic ", "Bearer", "Token "] {
        let answer = api.get(&project.path, &format!("{scheme}{}", project.result_token)).await;
        refused(answer, 403).await;
    }
    let bearer = format!("Bearer {}", project.update_tokens[0]);
    let clks = json!({"clks": [ENCODING]});
    assert_eq!(api.post(&format!("{}/clks", project.path), &bearer, &clks).await.status(), 201);
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_is_answered() {
    let server = Entityd::start();
    let address = server.doors().api;
    let body = json!({"schema": {}, "result_type": "groups"}).to_string();
    let request = format!(
        "POST /api/v1/projects HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("result_token"), "{answer:?}");
    }
}

#[tokio::test]
async fn the_log_has_a_line_about_the_start() {
    let server = Entityd::start();
    let line = eventually("the line about the start", async || {
        server.log().lines().find(|line| line.contains("started")).map(str::to_owned)
    });
    let line = line.await;
    let (doors, data_dir) = (server.doors(), server.data_dir().canonicalize().unwrap());
    for known in [
        env!("CARGO_PKG_VERSION").to_owned(),
        doors.api.to_string(),
        doors.s3.to_string(),
        doors.ops.to_string(),
        data_dir.display().to_string(),
        "open_files".to_owned(),
        "connections_max".to_owned(),
    ] {
        assert!(line.contains(&known), "{known}: {line}");
    }
}
