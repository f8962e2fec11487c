//! The operations of S3 over buckets. A list: each operation is told in a file of its own subject.

mod attributes;
mod checksums;
mod convert;
mod copy;
mod delete;
mod get;
mod list;
mod owner_check;
mod bucket;
mod body_encoding;
mod multipart;
mod put;
mod ranges;
mod results;
mod object_headers;
mod versions;

use s3s::{S3, S3Request, S3Response, S3Result};

use crate::buckets::Buckets;
use crate::objects::Spool;
use crate::s3::owners::Owners;

pub(super) use checksums::check_md5;
pub use results::Results;

/// The operations of S3 over buckets. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service {
    buckets: Buckets,
    results: Results,
    spool: Spool,
    owners: Owners,
}

impl Service {
    pub(super) const fn new(buckets: Buckets, results: Results, spool: Spool, owners: Owners) -> Self {
        Self { buckets, results, spool, owners }
    }
}

/// An operation that is told elsewhere.
macro_rules! operations {
    ($($name:ident => $told:ident: $input:ident -> $output:ident;)+) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $name(&self, request: S3Request<s3s::dto::$input>) -> S3Result<S3Response<s3s::dto::$output>> {
                self.$told(request).await
            })+
        }
    };
}

operations! {
    list_buckets => buckets: ListBucketsInput -> ListBucketsOutput;
    create_bucket => create: CreateBucketInput -> CreateBucketOutput;
    head_bucket => exists: HeadBucketInput -> HeadBucketOutput;
    delete_bucket => remove: DeleteBucketInput -> DeleteBucketOutput;
    get_bucket_location => location: GetBucketLocationInput -> GetBucketLocationOutput;
    get_bucket_versioning => versioning: GetBucketVersioningInput -> GetBucketVersioningOutput;
    list_object_versions => list_versions: ListObjectVersionsInput -> ListObjectVersionsOutput;
    list_objects => list_v1: ListObjectsInput -> ListObjectsOutput;
    list_objects_v2 => list_v2: ListObjectsV2Input -> ListObjectsV2Output;
    put_object => put: PutObjectInput -> PutObjectOutput;
    get_object => get: GetObjectInput -> GetObjectOutput;
    head_object => head: HeadObjectInput -> HeadObjectOutput;
    get_object_attributes => attributes: GetObjectAttributesInput -> GetObjectAttributesOutput;
    get_object_tagging => tags: GetObjectTaggingInput -> GetObjectTaggingOutput;
    delete_object => delete: DeleteObjectInput -> DeleteObjectOutput;
    delete_objects => delete_many: DeleteObjectsInput -> DeleteObjectsOutput;
    copy_object => copy: CopyObjectInput -> CopyObjectOutput;
    create_multipart_upload => start_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput;
    upload_part => part: UploadPartInput -> UploadPartOutput;
    upload_part_copy => copy_part: UploadPartCopyInput -> UploadPartCopyOutput;
    complete_multipart_upload => complete_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput;
    abort_multipart_upload => abort_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput;
    list_parts => parts: ListPartsInput -> ListPartsOutput;
    list_multipart_uploads => uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput;
}
