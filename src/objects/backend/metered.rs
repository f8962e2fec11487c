//! Counts the calls of a backend, and measures their time.

use std::future::Future;
use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use tempfile::NamedTempFile;

use super::{Backend, Chunks, Found};
use crate::objects::{Blob, Error, Key, ObjectFile, Prefix, Removed, Usage};
use crate::telemetry::metrics::Call;

/// A backend whose calls are measured, by operation.
#[derive(Debug)]
pub(in crate::objects) struct Metered<B>(pub(in crate::objects) B);

#[async_trait]
impl<B: Backend> Backend for Metered<B> {
    async fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        metered("publish", self.0.publish(file, key)).await
    }

    async fn head(&self, key: &Key) -> Result<Found, Error> {
        metered("size", self.0.head(key)).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error> {
        let operation = if range.is_some() { "range" } else { "stream" };
        metered(operation, self.0.get(key, range)).await
    }

    fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        let call = Call::of_objects("read");
        let answer = self.0.read(key);
        call.over(has_failed(&answer));
        answer
    }

    async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        self.0.is_untouched(blob).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, Error> {
        metered("delete", self.0.delete(key)).await
    }

    async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        metered("delete_prefix", self.0.delete_prefix(prefix)).await
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        metered("list", self.0.children(prefix)).await
    }

    async fn probe(&self) -> Result<(), Error> {
        metered("probe", self.0.probe()).await
    }

    fn directory(&self) -> Option<&Path> {
        self.0.directory()
    }

    async fn check_writable(&self) -> Result<(), Error> {
        self.0.check_writable().await
    }

    fn cache_use(&self) -> Option<Usage> {
        self.0.cache_use()
    }

    async fn sweep_copies(&self) -> Vec<Key> {
        self.0.sweep_copies().await
    }
}

async fn metered<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let began = Call::of_objects(operation);
    let answer = call.await;
    began.over(has_failed(&answer));
    answer
}

/// Returns true for an error, except a missing object, which is a regular answer.
const fn has_failed<T>(answer: &Result<T, Error>) -> bool {
    !matches!(answer, Ok(_) | Err(Error::Missing { .. }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use object_store::memory::InMemory;
    use tokio::runtime::Builder;

    use super::super::{Remote, conformance};
    use super::*;

    #[test]
    fn every_operation_is_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
        metrics::with_local_recorder(&recorder, || {
            let store = Remote::new(Arc::new(InMemory::new()), runtime.handle().clone(), dir.path());
            conformance::each_operation_once(&Metered(store), runtime.handle(), dir.path());
        });
        let text = recorder.handle().render();
        for operation in
            ["publish", "size", "stream", "range", "read", "delete", "delete_prefix", "list", "probe"]
        {
            let count = format!("_count{{operation=\"{operation}\"}} 1\n");
            assert!(text.contains(&count), "{operation} in {text}");
        }
    }
}
