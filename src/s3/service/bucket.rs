//! Operations on buckets.

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use super::convert::{refusal, timestamp};
use super::list::owner;

/// The maximum number of buckets on a page.
const BUCKETS_MAX: usize = 10_000;

impl Service {
    /// Fails if the bucket does not exist.
    pub(super) async fn require_bucket(&self, name: &str) -> S3Result<()> {
        self.buckets.bucket(name).await.map(drop).map_err(refusal)
    }

    pub(super) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let input = request.input;
        let max = input.max_buckets.map_or(Ok(BUCKETS_MAX), buckets_max)?;
        let after = input.continuation_token.as_deref().map(mark).transpose()?.unwrap_or_default();
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let mut all = self.buckets.list().await.map_err(refusal)?;
        all.retain(|bucket| bucket.name.starts_with(prefix) && bucket.name > after);
        let more = all.len() > max;
        all.truncate(max);
        let next = all.last().filter(|_| more);
        let next = next.map(|bucket| base64_simd::URL_SAFE_NO_PAD.encode_to_string(&bucket.name));
        let buckets = all.into_iter().map(|bucket| Bucket {
            name: Some(bucket.name),
            creation_date: Some(timestamp(bucket.created)),
            ..Bucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: next,
            owner: Some(owner()),
            prefix: input.prefix,
        }))
    }

    pub(super) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = request.input.bucket;
        self.buckets.create(&name).await.map_err(refusal)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    pub(super) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        if self.owners.upload_to(&request.input.bucket) {
            // Data providers may have credentials for this bucket, and it is only created at a start.
            return Err(s3_error!(
                AccessDenied,
                "The bucket {} cannot be removed: data providers upload to it.",
                request.input.bucket
            ));
        }
        self.buckets.remove(&request.input.bucket).await.map_err(refusal)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.require_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.require_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
}

fn buckets_max(asked: i32) -> S3Result<usize> {
    usize::try_from(asked).ok().filter(|asked| (1..=BUCKETS_MAX).contains(asked)).ok_or_else(|| {
        s3_error!(InvalidArgument, "max-buckets must be an integer between 1 and {BUCKETS_MAX}, inclusive.")
    })
}

/// Parses a token: the name of the bucket after which a page continues.
fn mark(token: &str) -> S3Result<String> {
    let name =
        base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).ok().and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| s3_error!(InvalidArgument, "The continuation token provided is incorrect."))
}
