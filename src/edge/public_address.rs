//! The public address of this server, which clients use. A proxy may have another host name and another scheme, and
//! may add a prefix to every path.

use std::convert::Infallible;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use serde::Serialize;

/// The maximum length of a prefix, in bytes.
const BYTES_MAX: usize = 200;

/// The prefix of every path of this server, such as `/pprl`, without a slash at its end; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BasePath(String);

impl BasePath {
    /// Returns the empty prefix.
    pub const fn none() -> Self {
        Self(String::new())
    }

    /// Parses a path of letters, digits and `-._~`; rejects anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.trim_end_matches('/');
        let plain = |part: &str| {
            let is_name = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            is_name && !["", ".", ".."].contains(&part)
        };
        let is_path = |path: &str| path.strip_prefix('/').is_some_and(|parts| parts.split('/').all(plain));
        (path.len() <= BYTES_MAX && (path.is_empty() || is_path(path))).then(|| Self(path.to_owned()))
    }

    /// Returns true if the first segment of the path is one of `segments`.
    pub fn begins_with_one_of(&self, segments: &[&str]) -> bool {
        self.0.split('/').nth(1).is_some_and(|first| segments.contains(&first))
    }

    /// Returns true if the prefix is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the rest of a path after the prefix, beginning with a slash; `None` if the path is not below the prefix.
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.0.as_str()).filter(|_| !self.is_empty())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public address that a trusted proxy reports for a request; empty without such a report. An extractor for
/// handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicAddress {
    scheme: Option<&'static str>,
    host: Option<Authority>,
    base: Option<BasePath>,
}

impl PublicAddress {
    /// Returns the address in a proxy's report, without its invalid parts.
    pub fn said(scheme: Option<&str>, host: Option<&str>, base: Option<&str>) -> Self {
        let known = |said: &str| ["http", "https"].into_iter().find(|known| said.eq_ignore_ascii_case(known));
        let named = |host: &str| host.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'));
        let scheme = scheme.and_then(known);
        Self { scheme, host: host.and_then(named), base: base.and_then(BasePath::parse) }
    }

    /// Returns the host that the client has requested, without the port.
    pub fn host(&self) -> Option<&str> {
        self.host.as_ref().map(Authority::host)
    }

    /// Returns the path prefix that the proxy reports; without a report, the configured prefix.
    pub fn base<'a>(&'a self, configured: &'a BasePath) -> &'a BasePath {
        self.base.as_ref().unwrap_or(configured)
    }

    /// Returns the root URL of this server without a trailing slash; only the path prefix if the host is unknown;
    /// `None` if there is neither.
    pub fn root(&self, configured: &BasePath) -> Option<String> {
        let base = self.base(configured);
        let scheme = self.scheme.map_or_else(String::new, |scheme| format!("{scheme}:"));
        match &self.host {
            Some(host) => Some(format!("{scheme}//{host}{base}")),
            None => Some(base.to_string()).filter(|base| !base.is_empty()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for PublicAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The host that the client has requested, without the port and in lower case: the one that a trusted proxy reports,
/// otherwise the one in the request.
#[derive(Debug)]
pub struct PublicHost(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for PublicHost {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.extensions.get::<PublicAddress>().and_then(PublicAddress::host);
        // In HTTP/2 the host is in the URI.
        let asked = || parts.uri.host().map(str::to_owned);
        let header = || {
            let host: Authority = parts.headers.get(HOST)?.to_str().ok()?.parse().ok()?;
            Some(host.host().to_owned())
        };
        let host = said.map(str::to_owned).or_else(asked).or_else(header);
        Ok(Self(host.map(|host| host.to_ascii_lowercase())))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_base_path_is_a_path_and_nothing_else() {
        let read = |text| BasePath::parse(text).map(|base| base.to_string());
        for (text, base) in
            [("", ""), ("/", ""), ("/pprl", "/pprl"), ("/pprl/", "/pprl"), ("/a/b-1", "/a/b-1")]
        {
            assert_eq!(read(text).as_deref(), Some(base), "{text}");
        }
        for bad in ["pprl", "//evil.example", "/a//b", "/../a", "/a b", "/a?b", "/a\"b", "http://x/y"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let base = BasePath::parse("/pprl").unwrap();
        assert_eq!(base.strip("/pprl/docs"), Some("/docs"));
        assert_eq!(base.strip("/pprl"), Some(""));
        assert_eq!((base.strip("/pprlx"), base.strip("/docs")), (None, None));
        assert_eq!(BasePath::default().strip("/docs"), None);
        assert!(
            BasePath::parse("/api/x").unwrap().begins_with_one_of(&["api"])
                && !base.begins_with_one_of(&["api"])
        );
    }

    #[test]
    fn the_root_is_as_whole_as_it_is_known() {
        let configured = BasePath::parse("/pprl").unwrap();
        let root = |scheme, host, base| PublicAddress::said(scheme, host, base).root(&configured);
        assert_eq!(root(None, None, None).as_deref(), Some("/pprl"));
        assert_eq!(PublicAddress::default().root(&BasePath::default()), None);
        let whole = root(Some("HTTPS"), Some("linkage.example:8443"), Some("/other/"));
        assert_eq!(whole.as_deref(), Some("https://linkage.example:8443/other"));
        assert_eq!(root(Some("ftp"), Some("a.example"), None).as_deref(), Some("//a.example/pprl"));
        assert_eq!(root(None, Some("me@a.example"), Some("//evil")).as_deref(), Some("/pprl"));
    }

    #[tokio::test]
    async fn the_host_is_the_callers_own_name_for_us() {
        async fn host(request: axum::http::request::Builder, outside: PublicAddress) -> Option<String> {
            let (mut parts, ()) = request.extension(outside).body(()).unwrap().into_parts();
            PublicHost::from_request_parts(&mut parts, &()).await.unwrap().0
        }
        let asked = |host: &str| Request::get("/").header(HOST, host);
        for (header, expected) in [
            ("Linkage.example:8851", Some("linkage.example")),
            ("[::1]:8851", Some("[::1]")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("not a host", None),
        ] {
            assert_eq!(host(asked(header), PublicAddress::default()).await.as_deref(), expected);
        }
        let http2 = Request::get("https://Linkage.example:8851/api/v1");
        assert_eq!(host(http2, PublicAddress::default()).await.as_deref(), Some("linkage.example"));
        let outside = PublicAddress::said(None, Some("Outside.example:1"), None);
        assert_eq!(host(asked("127.0.0.1:8851"), outside).await.as_deref(), Some("outside.example"));
    }
}
