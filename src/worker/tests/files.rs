//! Tests of files that clients have uploaded: they are read as tolerantly as by the reference service, or rejected
//! with a reason.

use std::sync::Arc;

use linkage::similarity::Kernel;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions, PutPayload};

use super::{Fixture, PROJECT, RUN};
use crate::external::{ClientFiles, UploadBucket};
use crate::model::{NamedFile, Outcome, Purge, Reference, ResultType, Task, Upload};
use crate::objects::{Objects, keys};
use crate::runtime::compute::Pool;
use crate::worker::Error;
use crate::worker::context::JobContext;

/// Returns a service whose clients upload to a bucket.
fn fixture() -> (Fixture, Arc<InMemory>) {
    let (fixture, bucket) = (Fixture::new(), Arc::new(InMemory::new()));
    let client_files =
        ClientFiles { bucket: Some(UploadBucket::new(bucket.clone())), ..ClientFiles::default() };
    let objects: Objects = fixture.objects.clone();
    let pool = Pool::new(1).unwrap();
    let context = Arc::new(JobContext::new(objects.clone(), client_files, pool.clone(), Kernel::best()));
    (Fixture { objects, pool, context, ..fixture }, bucket)
}

async fn put(bucket: &InMemory, name: &str, bytes: impl Into<PutPayload>, metadata: &[(&'static str, &str)]) {
    let attributes: Attributes = metadata
        .iter()
        .map(|(name, value)| (Attribute::Metadata((*name).into()), (*value).to_owned()))
        .collect();
    let path = Path::parse(format!("{PROJECT}/0/{name}")).unwrap();
    bucket.put_opts(&path, bytes.into(), PutOptions { attributes, ..PutOptions::default() }).await.unwrap();
}

fn fetch(encodings: &str, blocks: Option<&str>) -> Task {
    let key = |name: &str| NamedFile::Own(format!("{PROJECT}/0/{name}"));
    let reference = Reference { upload: 1, encodings: key(encodings), blocks: blocks.map(key) };
    Task::Fetch { party: 0, reference }
}

const fn upload(records: u32, blocks: bool) -> Outcome {
    Outcome::Fetched(Upload { upload: 1, records, encoding_bytes: 8, blocks })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_file_is_read_up_to_its_announced_length() {
    let (fixture, bucket) = fixture();
    put(&bucket, "encodings.bin", vec![7; 100], &[("Hash-Count", "3"), ("hash-size", "8")]).await;
    assert_eq!(fixture.work(fetch("encodings.bin", None)).await.unwrap(), upload(3, false));
    assert_eq!(fixture.get(&keys::matrix(PROJECT, 0, 1)).await, [7; 24]);
    assert_eq!(
        fixture.work(fetch("encodings.bin", None)).await.unwrap(),
        upload(3, false),
        "twice is as once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn short_encodings_in_json_are_filled_up_and_blocks_come_along() {
    let (fixture, bucket) = fixture();
    let json = r#"{"clks": ["ssssssss", "////////////////////", "AAAAAAAAAAA="], "more": 1}"#;
    put(&bucket, "e.json", json.to_owned(), &[("hash-count", "2"), ("hash-size", "8")]).await;
    put(&bucket, "blocks.json", r#"{"blocks": {"1": ["a", 7]}}"#.to_owned(), &[]).await;
    assert_eq!(fixture.work(fetch("e.json", Some("blocks.json"))).await.unwrap(), upload(2, true));
    let matrix = fixture.get(&keys::matrix(PROJECT, 0, 1)).await;
    assert_eq!(matrix[6..], [[0, 0].as_slice(), &[255; 8]].concat());
    assert_eq!(fixture.get(&keys::entries(PROJECT, 0, 1)).await.len(), 72);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_file_is_rejected_by_the_name_that_its_owner_gave() {
    let good = [("hash-count", "2"), ("hash-size", "8")];
    for (name, bytes, metadata, complaint) in [
        ("absent", None, &good[..], "there is no uploaded file `e.bin`"),
        ("e.bin", Some("12345678"), &[][..], "lacks the metadata `hash-count`"),
        ("e.bin", Some("12345678"), &[("hash-count", "1")], "lacks the metadata `hash-size`"),
        ("e.bin", Some("12345678"), &[("hash-count", "0"), ("hash-size", "8")], "whole number from 1"),
        ("e.bin", Some("12345678"), &[("hash-count", "1"), ("hash-size", "4097")], "from 1 to 4096"),
        ("e.bin", Some("12345678"), &good, "only 8 arrived"),
        ("e.json", Some(r#"{"clks": ["AAAAAAAAAAA="]}"#), &good, "only 1 arrived"),
        ("e.json", Some(r#"{"clk": []}"#), &good, "has no `clks`"),
        ("e.json", Some("{}"), &[("hash-count", "4000000000"), ("hash-size", "8")], "far fewer"),
    ] {
        let (fixture, bucket) = fixture();
        if let Some(bytes) = bytes {
            put(&bucket, name, bytes, metadata).await;
        }
        let wanted = if bytes.is_some() { name } else { "e.bin" };
        let refused = fixture.work(fetch(wanted, None)).await.unwrap_err();
        assert!(matches!(&refused, Error::Rejected(why) if why.contains(complaint)), "{refused}");
        assert!(!fixture.objects.exists(&keys::matrix(PROJECT, 0, 1)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_read_go_and_so_does_what_can_be_downloaded() {
    let (fixture, bucket) = fixture();
    for name in ["e.bin", "upload-test", "kept"] {
        put(&bucket, name, "x", &[]).await;
    }
    let files = vec![format!("{PROJECT}/0/e.bin")];
    fixture.work(Task::Purge(Purge::Files { party: 0, upload: 1, files })).await.unwrap();
    let left = |name: &str| Path::parse(format!("{PROJECT}/0/{name}")).unwrap();
    assert!(bucket.head(&left("e.bin")).await.is_err() && bucket.head(&left("upload-test")).await.is_err());
    assert!(bucket.head(&left("kept")).await.is_ok());
    fixture.put(&keys::score_file(RUN), b"pairs").await;
    fixture.work(Task::Purge(Purge::Run(RUN))).await.unwrap();
    assert!(!fixture.objects.exists(&keys::score_file(RUN)).await.unwrap());
    fixture.work(Task::Purge(Purge::Project)).await.unwrap();
    assert!(bucket.head(&left("kept")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_come_as_a_file_too_where_somebody_can_fetch_it() {
    let finalize = Task::Finalize {
        run: RUN,
        result_type: ResultType::SimilarityScores,
        records: vec![1, 1],
        parts: 0,
        solver_pairs_max: 1,
        pairs: 0,
        with_scores: false,
    };
    let (with, _) = fixture();
    with.work(finalize.clone()).await.unwrap();
    assert_eq!(with.get(&keys::score_file(RUN)).await, linkage::pairs::HEADER);
    let without = Fixture::new();
    without.work(finalize).await.unwrap();
    assert!(!without.objects.exists(&keys::score_file(RUN)).await.unwrap());
}
