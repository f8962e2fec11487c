//! The S3 operations, implemented with [`buckets`](crate::buckets).

mod checksums;
mod convert;
mod list;
mod owner_check;
mod bucket;
mod body_encoding;
mod multipart;
mod ranges;
mod results;
mod object;
mod object_headers;
mod versions;

use s3s::{S3, S3Request, S3Response, S3Result};

use crate::buckets::Buckets;
use crate::objects::Spool;
use crate::s3::owners::Owners;

pub(super) use checksums::check_md5;
pub use results::Results;

/// The S3 operations. Cheap to clone.
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

/// Implements the methods of the trait `S3` by calling the inherent methods with the same names.
macro_rules! operations {
    ($($name:ident: $input:ident -> $output:ident;)+) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $name(&self, request: S3Request<s3s::dto::$input>) -> S3Result<S3Response<s3s::dto::$output>> {
                Self::$name(self, request).await
            })+
        }
    };
}

operations! {
    list_buckets: ListBucketsInput -> ListBucketsOutput;
    create_bucket: CreateBucketInput -> CreateBucketOutput;
    head_bucket: HeadBucketInput -> HeadBucketOutput;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput;
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput;
    list_object_versions: ListObjectVersionsInput -> ListObjectVersionsOutput;
    list_objects: ListObjectsInput -> ListObjectsOutput;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output;
    put_object: PutObjectInput -> PutObjectOutput;
    get_object: GetObjectInput -> GetObjectOutput;
    head_object: HeadObjectInput -> HeadObjectOutput;
    get_object_attributes: GetObjectAttributesInput -> GetObjectAttributesOutput;
    get_object_tagging: GetObjectTaggingInput -> GetObjectTaggingOutput;
    delete_object: DeleteObjectInput -> DeleteObjectOutput;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput;
    copy_object: CopyObjectInput -> CopyObjectOutput;
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput;
    upload_part: UploadPartInput -> UploadPartOutput;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput;
    list_parts: ListPartsInput -> ListPartsOutput;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput;
}
