//! Routes for requests that `s3s` does not support.

use axum::http::{Extensions, HeaderMap, Method, Uri};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result};

use super::normalize::Normalizer;
use super::sts::Sts;

/// Handles calls of the token service, and requests whose range must be normalized.
pub(super) struct Routes {
    pub(super) sts: Sts,
    pub(super) normalizer: Normalizer,
}

#[async_trait::async_trait]
impl S3Route for Routes {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, extensions: &mut Extensions) -> bool {
        Normalizer::is_for(method, headers) || self.sts.is_match(method, uri, headers, extensions)
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        if Normalizer::is_for(&request.method, &request.headers) {
            // The rights are checked when the normalized request is executed.
            return Ok(());
        }
        self.sts.check_access(request).await
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        if Normalizer::is_for(&request.method, &request.headers) {
            return self.normalizer.call(request).await;
        }
        self.sts.call(request).await
    }
}
