//! Buckets.

use s3s::dto::{
    Bucket, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use super::Service;
use super::convert::{refusal, timestamp};
use super::list::owner;

impl Service {
    /// Refuses a bucket that does not exist.
    pub(super) async fn require_bucket(&self, name: &str) -> S3Result<()> {
        self.buckets.bucket(name).await.map(drop).map_err(refusal)
    }

    pub(super) async fn buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = request.input.prefix;
        let all = self.buckets.list().await.map_err(refusal)?;
        let wanted =
            all.into_iter().filter(|bucket| bucket.name.starts_with(prefix.as_deref().unwrap_or_default()));
        let buckets = wanted.map(|bucket| Bucket {
            name: Some(bucket.name),
            creation_date: Some(timestamp(bucket.created)),
            ..Bucket::default()
        });
        let buckets = Some(buckets.collect());
        Ok(S3Response::new(ListBucketsOutput {
            buckets,
            owner: Some(owner()),
            prefix,
            ..ListBucketsOutput::default()
        }))
    }

    pub(super) async fn create(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = request.input.bucket;
        self.buckets.create(&name).await.map_err(refusal)?;
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    pub(super) async fn remove(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.buckets.remove(&request.input.bucket).await.map_err(refusal)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    pub(super) async fn exists(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.require_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    pub(super) async fn location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.require_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }
}
