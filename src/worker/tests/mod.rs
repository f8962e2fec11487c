//! Tests jobs of every kind on real objects, and a worker with a source of jobs in memory.

mod files;
mod job_source;
mod jobs;
mod people;
mod worker;

use std::io::Write;
use std::sync::Arc;

use linkage::similarity::Kernel;
use tempfile::TempDir;

use super::Error;
use super::active_jobs::ActiveJob;
use super::context::JobContext;
use super::jobs::execute;
use crate::coordinator::{Assignment, Secret};
use crate::external::ClientFiles;
use crate::model::{Job, Outcome, ProjectId, RunId, Seed, Task};
use crate::objects::{Key, Objects};
use crate::queue::{Fence, Lease, LeaseId};
use crate::runtime::clock::Timestamp;
use crate::runtime::compute::Pool;

const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);
const RUN: RunId = RunId::from_bytes([2; 24]);

fn assignment(task: Task) -> Assignment {
    let job = Job { project: PROJECT, task };
    let id = LeaseId { job: job.id().into(), fence: Fence::from_bits(7) };
    let lease = Lease {
        id,
        queue: job.queue().into(),
        group: job.group().into(),
        payload: Vec::new().into(),
        attempt: 1,
        enqueued: Timestamp::default(),
        ready: Timestamp::default(),
        until: Timestamp::from_micros(0),
    };
    Assignment {
        lease,
        job,
        secret: Some(Secret::Seed(Seed::from_bytes([9; 32]))),
        workers: 1,
        pairs: linkage::pairs::Version::Plain,
    }
}

/// Objects in a directory of their own, and the context of jobs.
struct Fixture {
    dir: TempDir,
    objects: Objects,
    pool: Pool,
    context: Arc<JobContext>,
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let objects = Objects::open(&dir.path().join("objects"), &dir.path().join("spool")).unwrap();
        Self::with(dir, objects)
    }

    /// Returns a fixture whose objects are in a bucket.
    fn in_bucket() -> Self {
        let dir = TempDir::new().unwrap();
        let bucket = Arc::new(object_store::memory::InMemory::new());
        let objects = Objects::over(bucket, &dir.path().join("spool"), None).unwrap();
        Self::with(dir, objects)
    }

    fn with(dir: TempDir, objects: Objects) -> Self {
        let pool = Pool::new(2).unwrap();
        let context =
            Arc::new(JobContext::new(objects.clone(), ClientFiles::default(), pool.clone(), Kernel::best()));
        Self { dir, objects, pool, context }
    }

    async fn put(&self, key: &Key, bytes: &[u8]) {
        let mut staged = self.objects.stage();
        staged.write_all(bytes).unwrap();
        staged.publish(key).await.unwrap();
    }

    async fn get(&self, key: &Key) -> Vec<u8> {
        self.objects.blob(key).await.unwrap().to_vec()
    }

    async fn work(&self, task: Task) -> Result<Outcome, Error> {
        execute(&self.context, &Arc::new(ActiveJob::new(assignment(task)))).await
    }

    /// Flips a single bit on the disk.
    fn damage(&self, key: &Key, byte: usize) {
        let path = self.dir.path().join("objects").join(key.as_str());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[byte] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}
