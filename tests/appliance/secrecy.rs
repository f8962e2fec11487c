//! No secret is logged, at any level and by any module.

use reqwest::Method;
use serde_json::json;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, text};

/// An invalid token, which must not be logged either.
const MADE_UP: &str = "5ec2e7c0ffee5ec2e7c0ffee5ec2e7c0ffee5ec2e7c0ffee";

#[tokio::test]
async fn at_trace_level_no_token_body_or_encoding_is_logged() {
    entityd::edge::tls::install_provider();
    let server = Entityd::with(&["--log", "trace", "--require-admin-token"]);
    let admin = server.admin_token().unwrap();
    let api = server.api();
    let wanted =
        json!({"schema": {"planted": "plantedschema"}, "result_type": "permutations", "name": "plantedname"});
    let project = api.create_as(&admin, wanted).await;
    let (first, second) =
        (project.upload(0, &[ENCODING, OTHER_ENCODING]).await, project.upload(1, &[ENCODING]).await);
    let run = project.run(0.9).await;
    run.ended().await;
    let mask = run.result(&project.result_token).await.text().await.unwrap();
    let mut secrets = vec![admin, first, second, mask, MADE_UP.to_owned(), "planted".to_owned()];
    secrets.extend([ENCODING, OTHER_ENCODING].map(str::to_owned));
    secrets.push(project.result_token.clone());
    secrets.extend(project.update_tokens.iter().cloned());

    // Secrets in wrong places, and in rejected requests.
    let token = &project.result_token;
    for path in [
        format!("/projects/{MADE_UP}"),
        format!("/projects?token={MADE_UP}"),
        format!("/{MADE_UP}/x"),
        format!("/projects/token={token}"),
        format!("/projects/{token}%0A/runs"),
        format!("/{token};x@{token}"),
    ] {
        api.get(&path, MADE_UP).await;
        let url = format!("http://{}{path}", server.doors().s3);
        reqwest::Client::new().get(url).send().await.unwrap();
    }
    api.request(Method::from_bytes(token.as_bytes()).unwrap(), "/status").send().await.unwrap();
    project.post_clks(0, &json!({"clks": [ENCODING, "planted"]})).await;
    project.binary(0, 3).body(ENCODING.to_owned()).send().await.unwrap();
    api.request(Method::POST, "/projects")
        .header("Authorization", MADE_UP)
        .body("planted")
        .send()
        .await
        .unwrap();
    let url = format!("http://{}/admin/queue?token={MADE_UP}", server.doors().ops);
    reqwest::Client::new().get(url).bearer_auth(MADE_UP).send().await.unwrap();
    let url = format!("http://{}/uploads/a-key?X-Amz-Signature={MADE_UP}", server.doors().s3);
    reqwest::Client::new().put(url).header("Authorization", MADE_UP).body("planted").send().await.unwrap();

    let (status, folder) = server.stop();
    assert!(status.success());
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("\"level\":\"DEBUG\""), "details are logged");
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{secret}");
    }
    assert!(!log.contains(".cargo/registry"), "paths of the build machine are not logged");
}

#[tokio::test]
async fn every_log_line_of_a_request_has_its_id_at_any_level() {
    for level in ["warn", "info", "trace"] {
        let server = Entityd::with(&["--log", level]);
        let project = server.api().project("groups").await;
        let uploaded = project.binary(0, 1).body(vec![1; 8]).send().await.unwrap();
        let id = uploaded.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(uploaded.status(), 201);
        for line in server.log().lines().filter(|line| line.contains("upload accepted")) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(text(&line["span"]["request.id"]), id);
        }
    }
}
