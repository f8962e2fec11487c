//! The operation `GetObjectAttributes`.

use s3s::dto::{
    Checksum as Sums, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
    ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::buckets::{Checksum, Part};
use crate::s3::service::Service;
use crate::s3::service::checksums::{Fields, with_checksum, with_checksum_and_type};
use crate::s3::service::convert::{etag, refusal, seconds};
use crate::s3::service::list::page_size;

/// The attributes that can be requested.
const NAMES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

impl Service {
    pub(in crate::s3::service) async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let input = request.input;
        // `s3s` parses a list in one header line as one name.
        let asked: Vec<&str> =
            input.object_attributes.iter().flat_map(|line| line.as_str().split(',').map(str::trim)).collect();
        if asked.iter().any(|name| !NAMES.contains(name)) {
            return Err(s3_error!(InvalidArgument, "Invalid attribute name specified."));
        }
        let max = page_size(input.max_parts)?;
        let after = u32::try_from(input.part_number_marker.unwrap_or_default());
        let after =
            after.map_err(|_| s3_error!(InvalidArgument, "The part number marker must not be negative."))?;
        let found = self.buckets.object_parts(&input.bucket, &input.key, after, max).await;
        let (object, parts, more, count) = found.map_err(refusal)?;
        let wants = |name: &str| asked.contains(&name);
        let has_parts = wants("ObjectParts") && object.is_of_parts();
        Ok(S3Response::new(GetObjectAttributesOutput {
            e_tag: wants("ETag").then(|| etag(&object.etag)),
            checksum: object.head.checksum.as_ref().filter(|_| wants("Checksum")).map(sums),
            object_parts: has_parts.then(|| page(&parts, after, max, more, count)),
            object_size: wants("ObjectSize").then_some(object.size.cast_signed()),
            storage_class: wants("StorageClass").then(|| StorageClass::from_static(StorageClass::STANDARD)),
            last_modified: Some(seconds(object.modified)),
            ..GetObjectAttributesOutput::default()
        }))
    }
}

fn sums(checksum: &Checksum) -> Sums {
    let fields = Fields::of(Some(checksum));
    with_checksum_and_type!(fields, Sums {})
}

/// Returns a page of the parts of an object. As in AWS, they are listed only if they have checksums.
fn page(parts: &[Part], after: u32, max: u32, more: bool, count: u32) -> GetObjectAttributesParts {
    let summed = parts.iter().all(|part| part.checksum.is_some());
    GetObjectAttributesParts {
        total_parts_count: Some(count.cast_signed()),
        max_parts: Some(max.cast_signed()),
        is_truncated: Some(more),
        part_number_marker: Some(after.cast_signed()),
        next_part_number_marker: parts.last().map(|part| part.number.cast_signed()),
        parts: summed.then(|| parts.iter().map(listed).collect()),
    }
}

fn listed(part: &Part) -> ObjectPart {
    let fields = Fields::of(part.checksum.as_ref());
    with_checksum!(
        fields,
        ObjectPart { part_number: Some(part.number.cast_signed()), size: Some(part.size.cast_signed()) }
    )
}
