//! An upload is laid out for linkage: its matrix gets checksums, its blocks an order.

use std::io::BufReader;
use std::sync::Arc;

use crate::linkage::encoding::layout::{self, Header};
use crate::model::{Dataset, Outcome, Upload};
use crate::objects::{Objects, Staged, keys};
use crate::runtime::compute;
use crate::worker::Error;
use crate::worker::active_jobs::Hold;
use crate::worker::cancellable_io::Watched;
use crate::worker::context::Shop;

/// Reads the matrix and the block entries of an upload once, and publishes their index.
pub(super) async fn work(
    shop: &Shop,
    hold: &Arc<Hold>,
    party: u32,
    upload: &Upload,
) -> Result<Outcome, Error> {
    let index = keys::index(hold.job().project, party, upload.upload);
    let desk = Desk { objects: shop.objects.clone(), hold: Arc::clone(hold), party, upload: upload.clone() };
    let laid_out = compute::aside(move || desk.lay_out()).await;
    let (header, staged) = laid_out.map_err(|text| Error::panicked(&text))??;
    shop.publish(hold, [(index, staged)]).await?;
    Ok(Outcome::Ingested(Dataset {
        upload: upload.upload,
        records: header.records,
        encoding_bytes: header.encoding_bytes,
        blocks: header.blocks,
    }))
}

struct Desk {
    objects: Objects,
    hold: Arc<Hold>,
    party: u32,
    upload: Upload,
}

impl Desk {
    fn lay_out(&self) -> Result<(Header, Staged), Error> {
        let (project, upload) = (self.hold.job().project, self.upload.upload);
        let read = |key| self.objects.read(&key).map(|file| Watched::new(file, &self.hold));
        let matrix = read(keys::matrix(project, self.party, upload))?;
        let entries = self.upload.blocks.then(|| read(keys::entries(project, self.party, upload)));
        let dataset = layout::Dataset {
            records: self.upload.records,
            encoding_bytes: self.upload.encoding_bytes,
            matrix,
            entries: entries.transpose()?.map(|entries| BufReader::with_capacity(256 << 10, entries)),
        };
        let mut index = Watched::new(self.objects.stage()?, &self.hold);
        let header = layout::build(dataset, &Watched::new(self.objects.clone(), &self.hold), &mut index)?;
        Ok((header, index.into_inner()))
    }
}
