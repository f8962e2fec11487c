//! Ingest jobs: build the checksums and the block index of an upload.

use std::io::BufReader;
use std::sync::Arc;

use linkage::encoding::layout::{self, Header};

use crate::model::{Dataset, Outcome, Upload};
use crate::objects::{Objects, Staged, keys};
use crate::runtime::compute;
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::cancellable_io::Cancellable;
use crate::worker::context::JobContext;

/// Reads the matrix and the block entries of an upload once, and publishes their index.
pub(super) async fn work(
    context: &JobContext,
    active: &Arc<ActiveJob>,
    party: u32,
    upload: &Upload,
) -> Result<Outcome, Error> {
    let index = keys::index(active.job().project, party, upload.upload);
    let task = IngestTask {
        objects: context.objects.clone(),
        active: Arc::clone(active),
        party,
        upload: upload.clone(),
    };
    let laid_out = compute::run_blocking(move || task.lay_out()).await;
    let (header, staged) = laid_out.map_err(|text| Error::panicked(&text))??;
    context.publish(active, [(index, staged)]).await?;
    Ok(Outcome::Ingested(Dataset {
        upload: upload.upload,
        records: header.records,
        encoding_bytes: header.encoding_bytes,
        blocks: header.blocks,
    }))
}

struct IngestTask {
    objects: Objects,
    active: Arc<ActiveJob>,
    party: u32,
    upload: Upload,
}

impl IngestTask {
    fn lay_out(&self) -> Result<(Header, Staged), Error> {
        let (project, upload) = (self.active.job().project, self.upload.upload);
        let read = |key| self.objects.read(&key).map(|file| Cancellable::new(file, &self.active));
        let matrix = read(keys::matrix(project, self.party, upload))?;
        let entries = self.upload.blocks.then(|| read(keys::entries(project, self.party, upload)));
        let dataset = layout::Dataset {
            upload,
            records: self.upload.records,
            encoding_bytes: self.upload.encoding_bytes,
            matrix,
            entries: entries.transpose()?.map(|entries| BufReader::with_capacity(256 << 10, entries)),
        };
        let mut index = Cancellable::new(self.objects.stage(), &self.active);
        let header =
            layout::build(dataset, &Cancellable::new(self.objects.clone(), &self.active), &mut index)?;
        Ok((header, index.into_inner()))
    }
}
