//! Responses to browsers: cross-origin access, and the content security policy of pages.

use reqwest::{Client, Method, Response};

use crate::support::Entityd;

/// Returns the response to a request by a page of `origin`.
async fn asked(server: &Entityd, method: Method, path: &str, origin: &str) -> Response {
    let url = format!("http://{}{path}", server.doors().api);
    entityd::edge::tls::install_provider();
    Client::new().request(method, url).header("Origin", origin).send().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn any_page_may_use_the_api() {
    let server = Entityd::start();
    for path in ["/api/v1/projects", "/api/v1/projects/x/runs/y", "/api/v1/nothing"] {
        let answer = asked(&server, Method::OPTIONS, path, "https://a.example").await;
        assert_eq!(answer.status(), 204, "{path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(
            header(&answer, "access-control-allow-methods"),
            Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS")
        );
        assert_eq!(header(&answer, "access-control-max-age"), Some("1728000"));
        let sent = header(&answer, "access-control-allow-headers").unwrap();
        for name in
            ["Authorization", "Hash-Count", "Hash-Size", "Content-Type", "RETURN-OBJECT-STORE-ADDRESS"]
        {
            assert!(sent.contains(name), "{sent}");
        }
    }
    for (method, path, status) in [
        (Method::GET, "/api/v1/status", 200),
        (Method::GET, "/api/v1/x", 404),
        (Method::POST, "/api/v1/projects", 400),
    ] {
        let answer = asked(&server, method, path, "https://a.example").await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert!(header(&answer, "access-control-expose-headers").unwrap().contains("X-Request-Id"));
    }
    let page = asked(&server, Method::GET, "/docs", "https://a.example").await;
    assert_eq!(header(&page, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn only_the_configured_origins_are_allowed() {
    let server = Entityd::with(&["--cors-origins", "https://a.example"]);
    for (origin, allowed) in [("https://a.example", Some("https://a.example")), ("https://b.example", None)] {
        for method in [Method::OPTIONS, Method::GET] {
            let answer = asked(&server, method, "/api/v1/status", origin).await;
            assert_eq!(header(&answer, "access-control-allow-origin"), allowed);
            assert_eq!(header(&answer, "vary"), Some("Origin"));
        }
    }
    let server = Entityd::with(&["--cors-origins", ""]);
    let answer = asked(&server, Method::OPTIONS, "/api/v1/status", "https://a.example").await;
    assert_eq!((answer.status().as_u16(), header(&answer, "access-control-allow-origin")), (405, None));
}

#[tokio::test]
async fn responses_are_not_cached_and_pages_have_security_headers() {
    let server = Entityd::start();
    let answer = asked(&server, Method::GET, "/api/v1/status", "https://a.example").await;
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    for path in ["/", "/docs", "/docs/what-it-survives", "/docs/api.js", "/docs/page.css"] {
        let page = asked(&server, Method::GET, path, "https://a.example").await;
        assert!(
            header(&page, "content-security-policy").unwrap().contains("frame-ancestors 'none'"),
            "{path}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(header(&page, name), Some(value), "{path}");
        }
    }
}
