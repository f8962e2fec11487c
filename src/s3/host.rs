//! Virtual-hosted requests: the bucket is in the host name.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Finds the bucket in a host name `bucket.domain`. For other hosts, and the domain itself, the bucket is in the path.
#[derive(Debug)]
pub(super) struct Domain(String);

impl Domain {
    pub(super) fn new(domain: &str) -> Self {
        Self(domain.to_ascii_lowercase())
    }
}

impl S3Host for Domain {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        let bucket = name.strip_suffix(&self.0).and_then(|rest| rest.strip_suffix('.'));
        let bucket = bucket.filter(|bucket| !bucket.is_empty()).map(str::to_owned);
        let found = VirtualHost::new(self.0.as_str());
        Ok(match bucket {
            Some(bucket) => found.with_bucket(bucket),
            None => found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_a_host_below_the_domain_alone() {
        let domain = Domain::new("S3.Example.org");
        for (host, bucket) in [
            ("uploads.s3.example.org", Some("uploads")),
            ("UPLOADS.s3.example.org:8852", Some("uploads")),
            ("a.b.s3.example.org", Some("a.b")),
            ("s3.example.org", None),
            (".s3.example.org", None),
            ("uploadss3.example.org", None),
            ("localhost:8852", None),
        ] {
            assert_eq!(domain.parse_host_header(host).unwrap().bucket(), bucket, "{host}");
        }
    }
}
