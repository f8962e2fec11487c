//! Truncated, changed or missing object files: jobs and requests that read them fail with the reason, and the process
//! survives.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, RetryConfig};
use reqwest::Method;
use serde_json::Value;

use crate::support::{ENCODING, Entityd, OTHER_ENCODING, Project, eventually, refused, text};

async fn linked(server: &Entityd, result_type: &str) -> Project {
    let project = server.api().project(result_type).await;
    for party in 0..2 {
        project.upload(party, &[ENCODING, OTHER_ENCODING]).await;
    }
    project
}

/// Truncates a file to `fraction` tenths of its length.
fn cut(path: &Path, fraction: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length * fraction / 10).unwrap();
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
}

/// A kind of damage, and the function that does it to a file.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 3] = [
    ("a bit is changed", flip),
    ("it is cut", |path| cut(path, 9)),
    ("it is missing", |path| fs::remove_file(path).unwrap()),
];

#[tokio::test]
async fn a_file_that_is_truncated_while_mapped_ends_the_run_and_not_the_process() {
    truncated_while_mapped(&["matrix", "index", "plan"], &["--comparisons-per-job", "1000"]).await;
    // In one job.
    truncated_while_mapped(&["matrix", "index"], &[]).await;
}

async fn truncated_while_mapped(kinds: &[&str], flags: &[&str]) {
    let mut server = Entityd::with_variables(flags, &[("ENTITYD_SLOW_MS", "compare.opened=2000")]);
    let delays = |server: &Entityd| server.log().matches("failpoint: the step is delayed").count();
    for &kind in kinds {
        // Reading a mapped page beyond the end of a file raises a signal; reading beyond the end within the last page
        // returns zeros.
        for fraction in [0, 9] {
            let seen = delays(&server);
            let project = linked(&server, "groups").await;
            let run = project.run(0.9).await;
            eventually("the files are mapped", async || (delays(&server) > seen).then_some(())).await;
            server.files(kind).iter().for_each(|file| cut(file, fraction));
            let status: Value = run.ended().await;
            assert_eq!(status["state"], "error", "{kind}: {status}");
            let message = text(&status["message"]);
            assert!(
                message.contains(kind) && message.contains("the stored data cannot be used"),
                "{message}"
            );
            assert!(!server.has_ended(), "{kind}");
            assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
        }
    }
    let next = linked(&server, "groups").await;
    assert_eq!(next.run(0.9).await.ended().await["state"], "completed");
}

#[tokio::test]
async fn no_database_is_mapped() {
    let server = Entityd::start();
    let project = linked(&server, "groups").await;
    assert_eq!(project.run(0.9).await.ended().await["state"], "completed");
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.id())).unwrap();
    let mapped: Vec<&str> = maps.lines().filter(|line| line.contains(".db")).collect();
    assert_eq!(mapped, Vec::<&str>::new());
}

#[tokio::test]
async fn a_result_that_is_missing_or_damaged_is_refused_and_logged() {
    let server = Entityd::start();
    let mut expected = 0;
    for result_type in ["groups", "similarity_scores", "permutations"] {
        let project = server.api().project(result_type).await;
        let receipt = project.upload(0, &[ENCODING, OTHER_ENCODING]).await;
        project.upload(1, &[ENCODING, OTHER_ENCODING]).await;
        let run = project.run(0.9).await;
        assert_eq!(run.ended().await["state"], "completed");
        let files: Vec<(PathBuf, Vec<u8>)> =
            server.files("result").into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
        assert!(!files.is_empty());
        let tokens = if result_type == "permutations" {
            vec![&project.result_token, &receipt]
        } else {
            vec![&project.result_token]
        };
        for (what, damage) in DAMAGES {
            files.iter().for_each(|(path, _)| damage(path));
            for token in &tokens {
                let said = refused(run.result(token).await, 500).await;
                assert!(said.contains("missing or damaged"), "{result_type}: {what}: {said}");
            }
            refused(run.result(&project.update_tokens[0]).await, 403).await;
            files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
            assert_eq!(
                run.result(&project.result_token).await.status(),
                200,
                "{result_type}: it is restored"
            );
        }
        let told = server.log().matches("a result cannot be sent: object projects/").count();
        expected += 3 * tokens.len();
        assert_eq!(told, expected, "{}", server.log());
        assert_eq!(project.api.delete(&run.path, &project.result_token).await.status(), 204);
        refused(run.result(&project.result_token).await, 403).await;
        assert_eq!(project.api.delete(&project.path, &project.result_token).await.status(), 204);
    }
}

#[tokio::test]
async fn a_large_damaged_result_is_broken_off() {
    let server = Entityd::start();
    let project = server.api().project("similarity_scores").await;
    for party in 0..2 {
        project.upload(party, &[ENCODING; 300]).await;
    }
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let whole = run.result(&project.result_token).await.bytes().await.unwrap();
    assert!(whole.len() > 1 << 20, "{} bytes are checked before they are sent", whole.len());
    server.files("scores.json").iter().for_each(|path| flip(path));
    let answer = run.result(&project.result_token).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err(), "the last piece does not arrive");
    assert!(server.log().contains("sending a result failed"), "{}", server.log());
}

#[tokio::test]
async fn a_result_of_an_older_version_has_no_checksum_and_is_sent() {
    let server = Entityd::start();
    let project = linked(&server, "groups").await;
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    server.files("groups.json").iter().for_each(|path| flip(path));
    let (_, folder) = server.stop();
    let metadata = rusqlite::Connection::open(folder.path().join("data/metadata.db")).unwrap();
    assert_eq!(metadata.execute("UPDATE runs SET checksums = NULL", []).unwrap(), 1);
    drop(metadata);
    let server = Entityd::in_folder(folder, &[]);
    let result = server.api().get(&format!("{}/result", run.path), &project.result_token).await;
    assert_eq!(result.status(), 200);
}

/// Returns a client of the server's S3 endpoint that does not retry.
fn s3(server: &Entityd, bucket: &str, keys: [&str; 2], token: Option<&str>) -> AmazonS3 {
    entityd::edge::tls::install_provider();
    let mut builder = AmazonS3Builder::new()
        .with_endpoint(format!("http://{}", server.doors().s3))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(bucket)
        .with_access_key_id(keys[0])
        .with_secret_access_key(keys[1])
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    if let Some(token) = token {
        builder = builder.with_token(token);
    }
    builder.build().unwrap()
}

/// Returns the error for reading an object, with the status and the S3 error code of the response.
async fn failure(store: &AmazonS3, key: &Key) -> String {
    match store.get(key).await {
        Ok(found) => format!("{:?}", found.bytes().await),
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn s3_objects_that_are_truncated_or_missing_are_internal_errors() {
    let server = Entityd::start();
    let keys = fs::read_to_string(server.data_dir().join("s3-credentials")).unwrap();
    let keys: Vec<&str> = keys.split_whitespace().collect();
    let store = s3(&server, "uploads", [keys[0], keys[1]], None);
    for (number, (what, damage)) in DAMAGES.iter().enumerate().skip(1) {
        let key = Key::from(format!("object-{number}"));
        store.put(&key, vec![7; 100_000].into()).await.unwrap();
        server
            .payload_files()
            .iter()
            .filter(|path| path.to_string_lossy().contains("buckets"))
            .for_each(|path| damage(path));
        let said = failure(&store, &key).await;
        assert!(said.contains("InternalError") && said.contains("500"), "{what}: {said}");
        assert!(store.head(&key).await.is_err(), "{what}");
        store.delete(&key).await.unwrap();
    }
    let log = server.log();
    assert!(
        log.contains("\"ERROR\"") && log.contains("the data of the object is damaged: its file "),
        "{log}"
    );
}

#[tokio::test]
async fn a_score_file_that_is_missing_or_damaged_is_not_sent() {
    let server = Entityd::start();
    let project = linked(&server, "similarity_scores").await;
    let run = project.run(0.9).await;
    assert_eq!(run.ended().await["state"], "completed");
    let address = async || {
        let asked = project.api.request(Method::GET, &format!("{}/result", run.path));
        let asked = asked
            .header("Authorization", &project.result_token)
            .header("RETURN-OBJECT-STORE-ADDRESS", "true");
        asked.send().await.unwrap()
    };
    let found: Value = address().await.json().await.unwrap();
    let said = |part: &str, name: &str| text(&found[part][name]);
    let keys = [said("credentials", "AccessKeyId"), said("credentials", "SecretAccessKey")];
    let token = said("credentials", "SessionToken");
    let store = s3(&server, &said("object", "bucket"), [&keys[0], &keys[1]], Some(&token));
    let key = Key::from(said("object", "path"));
    let file = server.files("similarity-scores").remove(0);
    let whole = fs::read(&file).unwrap();
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), whole);
    for (what, damage) in DAMAGES {
        damage(&file);
        let said = failure(&store, &key).await;
        assert!(said.contains("InternalError") && said.contains("500"), "{what}: {said}");
        if !file.exists() {
            assert!(refused(address().await, 500).await.contains("missing or damaged"));
        }
        fs::write(&file, &whole).unwrap();
    }
    assert!(server.log().contains("an S3 request failed: object similarity-scores/"), "{}", server.log());
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), whole);
}

#[tokio::test]
async fn a_damaged_index_of_the_buckets_is_named_at_the_start() {
    let (_, folder) = Entityd::start().stop();
    let file = File::options().write(true).open(folder.path().join("data/buckets.db")).unwrap();
    file.write_all_at(&[0xa5; 4096], 0).unwrap();
    Entityd::until_it_ends(&folder, &[]).await;
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.lines().last().unwrap().contains("buckets.db"), "{log}");
}
