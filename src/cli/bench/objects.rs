//! `entityd bench objects`: the rates of storing and reading small and large objects at an S3 endpoint.

use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ObjectStoreExt, PutPayload};
use serde::Serialize;

use super::report::print;
use crate::app;
use crate::cli::Failure;
use crate::cli::context::runtime;
use crate::cli::exit::OrFail;
use crate::cli::number::whole;
use crate::config::{self, Inputs, Settings};
use crate::runtime::clock::Stopwatch;
use crate::system::outgoing;
use crate::telemetry;

const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 64 << 20;
const BUCKET: &str = "entityd-bench";

/// Puts and gets objects of 4 KiB and 64 MiB through an S3 endpoint
///
/// Each put is on disk before it is acknowledged, and each get is read in full. By default, the endpoint is a private
/// server in this process, with a temporary directory. The credentials for another endpoint are taken from
/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Number of objects of 4 KiB
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = whole::<u32>(1..))]
    small: u32,
    /// Number of objects of 64 MiB
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole::<u32>(1..))]
    large: u32,
    /// Number of concurrent requests
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole::<u32>(1..=1024))]
    clients: u32,
    /// Another endpoint to measure, such as <http://127.0.0.1:3900>
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the other endpoint
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    region: String,
    /// Print only a line with one JSON object
    #[arg(long)]
    json: bool,
}

/// The measurements.
#[derive(Debug, Serialize)]
struct Report {
    /// The throughput of storing large objects.
    bytes_per_second: f64,
    small_put_per_second: f64,
    small_get_per_second: f64,
    large_put_bytes_per_second: f64,
    large_get_bytes_per_second: f64,
    small: u32,
    large: u32,
    clients: u32,
}

/// The endpoint, with its credentials.
struct Target {
    endpoint: String,
    access_key: String,
    secret_key: String,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = runtime()?.block_on(async {
            match &self.endpoint {
                Some(endpoint) => self.measure(&of_environment(endpoint)?).await,
                None => Box::pin(self.measure_own()).await,
            }
        })?;
        let sentence = format!(
            "4 KiB: {:.0} puts/s, {:.0} gets/s; 64 MiB: put {:.0} MB/s, get {:.0} MB/s",
            report.small_put_per_second,
            report.small_get_per_second,
            report.large_put_bytes_per_second / 1e6,
            report.large_get_bytes_per_second / 1e6,
        );
        print(&report, self.json, &sentence)
    }

    async fn measure_own(&self) -> Result<Report, Failure> {
        let folder = tempfile::tempdir().or_fail()?;
        let settings = private_settings(folder.path())?;
        telemetry::log::start(&settings.log());
        let server = app::start(&settings).await.or_fail()?;
        let kept = std::fs::read_to_string(folder.path().join(app::S3_CREDENTIALS)).or_fail()?;
        let (access_key, secret_key) = kept.trim().split_once(' ').unwrap_or_default();
        let target = Target {
            endpoint: format!("http://{}", server.s3()),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        };
        let report = self.measure(&target).await;
        server.stop().await;
        report
    }

    async fn measure(&self, target: &Target) -> Result<Report, Failure> {
        let store = Arc::new(connect(target, &self.region)?);
        create_bucket(&store).await?;
        let (small, large) = (payload(SMALL_BYTES), payload(LARGE_BYTES));
        let small_put = self.put(&store, "small", self.small, &small).await?;
        let small_get = self.get(&store, "small", self.small, SMALL_BYTES).await?;
        let large_put = self.put(&store, "large", self.large, &large).await?;
        let large_get = self.get(&store, "large", self.large, LARGE_BYTES).await?;
        self.remove(&store).await?;
        Ok(Report {
            bytes_per_second: large_put * LARGE_BYTES as f64,
            small_put_per_second: small_put,
            small_get_per_second: small_get,
            large_put_bytes_per_second: large_put * LARGE_BYTES as f64,
            large_get_bytes_per_second: large_get * LARGE_BYTES as f64,
            small: self.small,
            large: self.large,
            clients: self.clients,
        })
    }

    /// Stores `count` objects, and returns the number stored per second.
    async fn put(&self, store: &AmazonS3, kind: &str, count: u32, content: &Bytes) -> Result<f64, Failure> {
        let watch = Stopwatch::start();
        let puts = stream::iter(0..count).map(|number| async move {
            store.put(&key(kind, number), PutPayload::from_bytes(content.clone())).await.map(drop)
        });
        puts.buffer_unordered(self.clients as usize).try_collect::<()>().await.or_fail()?;
        Ok(f64::from(count) / watch.seconds())
    }

    /// Reads `count` objects in full, and returns the number read per second.
    async fn get(&self, store: &AmazonS3, kind: &str, count: u32, size: usize) -> Result<f64, Failure> {
        let watch = Stopwatch::start();
        let gets = stream::iter(0..count).map(|number| async move {
            let chunks = store.get(&key(kind, number)).await?.into_stream();
            chunks.try_fold(0, |sum, chunk| async move { Ok(sum + chunk.len()) }).await
        });
        let sizes: Vec<usize> = gets.buffer_unordered(self.clients as usize).try_collect().await.or_fail()?;
        if sizes.iter().any(|found| *found != size) {
            return Err(Failure::Failed(
                "an object was returned shorter or longer than it was stored".to_owned(),
            ));
        }
        Ok(f64::from(count) / watch.seconds())
    }

    async fn remove(&self, store: &AmazonS3) -> Result<(), Failure> {
        let kinds = [("small", self.small), ("large", self.large)];
        let keys =
            kinds.into_iter().flat_map(|(kind, count)| (0..count).map(move |number| key(kind, number)));
        let deletes = stream::iter(keys).map(|key| async move { store.delete(&key).await });
        deletes.buffer_unordered(self.clients as usize).try_collect::<()>().await.or_fail()
    }
}

fn key(kind: &str, number: u32) -> Path {
    Path::from(format!("{kind}/{number:08}"))
}

/// Returns bytes that do not compress.
fn payload(size: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(size / 8).flatten().collect()
}

fn connect(target: &Target, region: &str) -> Result<AmazonS3, Failure> {
    let client = outgoing::store_options().with_timeout(Duration::from_mins(5)).with_allow_http(true);
    AmazonS3Builder::new()
        .with_client_options(client)
        .with_endpoint(&target.endpoint)
        .with_access_key_id(&target.access_key)
        .with_secret_access_key(&target.secret_key)
        .with_region(region)
        .with_bucket_name(BUCKET)
        .build()
        .or_fail()
}

/// Creates the bucket with a presigned request, since the client library has no function for it.
async fn create_bucket(store: &AmazonS3) -> Result<(), Failure> {
    let url = store.signed_url(Method::PUT, &Path::default(), Duration::from_mins(1)).await.or_fail()?;
    let answer = outgoing::client().build().or_fail()?.put(url).send().await.or_fail()?;
    match answer.status().as_u16() {
        200 | 409 => Ok(()),
        status => Err(Failure::Failed(format!("the bucket {BUCKET} cannot be created: status {status}"))),
    }
}

fn of_environment(endpoint: &str) -> Result<Target, Failure> {
    let read = |name: &str| std::env::var(name).map_err(|_| Failure::Usage(format!("{name} is not set")));
    Ok(Target {
        endpoint: endpoint.to_owned(),
        access_key: read("AWS_ACCESS_KEY_ID")?,
        secret_key: read("AWS_SECRET_ACCESS_KEY")?,
    })
}

/// Returns the settings of a server that only this benchmark uses.
fn private_settings(folder: &File) -> Result<Settings, Failure> {
    let any_port = "127.0.0.1:0".to_owned();
    let flags = [
        ("listen", any_port.clone()),
        ("s3_listen", any_port.clone()),
        ("ops_listen", any_port),
        ("data_dir", folder.to_string_lossy().into_owned()),
        ("log", "warn".to_owned()),
    ];
    Ok(config::load(&Inputs { flags: flags.into(), ..Inputs::default() })?.settings)
}
