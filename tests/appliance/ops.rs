//! The probes and metrics of the operations listener, and the ids of requests.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, eventually, text};

/// Returns the status and the body of a response of the operations listener.
async fn asked(server: &Entityd, path: &str) -> (StatusCode, String) {
    entityd::edge::tls::install_provider();
    let answer = reqwest::get(format!("http://{}{path}", server.doors().ops)).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Returns the sum of those samples of a metric family that have all the labels `labels`.
fn figure(figures: &str, family: &str, labels: &[&str]) -> f64 {
    let lines = figures.lines().filter(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_default();
        let of_family =
            name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        of_family && !value.is_empty() && labels.iter().all(|label| name.contains(label))
    });
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn a_server_that_serves_is_alive_started_and_ready() {
    let server = Entityd::start();
    for path in ["/healthz", "/startupz", "/readyz"] {
        assert_eq!(asked(&server, path).await, (StatusCode::OK, "ok\n".to_owned()), "{path}");
    }
    let (status, findings) = asked(&server, "/readyz?verbose").await;
    assert_eq!(status, 200);
    for name in ["started", "migrated", "not-draining", "metadata", "queue", "objects", "buckets", "disk"] {
        assert!(findings.contains(&format!("[+] {name}: ok\n")), "{findings}");
    }
    assert_eq!(asked(&server, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_disk_below_its_watermark_is_not_ready() {
    let server = Entityd::with(&["--disk-free-min", "1_000_000_000_000_000_000"]);
    let (status, findings) = asked(&server, "/readyz?verbose").await;
    assert_eq!(status, 503);
    assert!(findings.contains("[-] disk: ") && findings.contains("--disk-free-min"), "{findings}");
    assert_eq!(asked(&server, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_server_is_not_ready_while_its_objects_are_unavailable() {
    let server = Entityd::start();
    let (objects, away) = (server.data_dir().join("objects"), server.data_dir().join("away"));
    std::fs::rename(&objects, &away).unwrap();
    let (status, findings) = asked(&server, "/readyz").await;
    assert_eq!(status, 503);
    assert!(findings.contains("[-] objects: "), "{findings}");
    std::fs::rename(&away, &objects).unwrap();
    assert_eq!(asked(&server, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_linkage_shows_in_the_metrics_without_ids_or_tokens() {
    let server = Entityd::with(&["--comparisons-per-job", "1000"]);
    let project = server.api().project("groups").await;
    project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
    project.upload(1, &[ENCODING]).await;
    let run = project.run(0.9).await;
    run.ended().await;
    let figures = eventually("the last job is acknowledged", async || {
        let figures = asked(&server, "/metrics").await.1;
        (figure(&figures, "entityd_jobs_total", &["kind=\"finalize\""]) > 0.0).then_some(figures)
    })
    .await;
    let uploads = ["listener=\"api\"", "route=\"/api/v1/projects/{project_id}/clks\"", "status=\"201\""];
    for (family, labels, least) in [
        ("entityd_http_requests_total", uploads.as_slice(), 2.0),
        ("entityd_http_request_duration_seconds_count", &uploads[..2], 2.0),
        ("entityd_uploads_total", &["form=\"json\"", "outcome=\"accepted\""], 2.0),
        ("entityd_upload_bytes_total", &[], 50.0),
        ("entityd_jobs_total", &["kind=\"ingest\"", "outcome=\"done\""], 2.0),
        ("entityd_job_duration_seconds_count", &["kind=\"compare\""], 1.0),
        ("entityd_comparisons_total", &[], 2.0),
        ("entityd_candidate_pairs_total", &[], 1.0),
        ("entityd_metadata_call_duration_seconds_count", &["operation=\"update\""], 5.0),
        ("entityd_projects", &[], 1.0),
        ("entityd_disk_free_bytes", &[], 1.0),
        ("entityd_build_info", &["version=\""], 1.0),
        ("process_resident_memory_bytes", &[], 1_000_000.0),
        ("process_open_fds", &[], 3.0),
        ("process_cpu_seconds_total", &[], 0.0),
    ] {
        assert!(figure(&figures, family, labels) >= least, "{family} {labels:?}\n{figures}");
    }
    let names = [&project.path[10..], &run.path[run.path.len() - 48..], &project.result_token];
    assert!(names.iter().all(|name| !figures.contains(*name)), "{figures}");
}

#[tokio::test]
async fn an_error_and_its_log_line_carry_the_request_id_of_the_response() {
    let server = Entityd::with(&["--log-format", "json"]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let api = server.api();
    let asked =
        api.request(Method::GET, "/nowhere").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = asked.send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (id, told) = (header("x-request-id"), header("traceparent"));
    assert!(told.starts_with(&format!("00-{trace}-")) && told.ends_with("-01"), "{told}");
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(text(&problem["request_id"]), id);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("/nowhere")).unwrap();
    assert!(line.contains(&id) && line.contains(trace), "{line}");
    let begun = api.request(Method::GET, "/status").send().await.unwrap();
    assert_eq!(begun.headers()["traceparent"].len(), 55);
}
