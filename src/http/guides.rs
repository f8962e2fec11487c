//! Serves the guides: pages of the documentation that are written in Markdown.

use std::fmt::Write;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, html};

use super::ApiState;
use super::docs::{HTML, moved, page};
use super::problem::Problem;

/// A page of the documentation. It is served as HTML under `/docs/{name}`, and as Markdown under `/docs/{name}.md`.
struct Guide {
    name: &'static str,
    markdown: &'static str,
}

/// The guides, under headings, in the order in which a reader needs them.
const GUIDES: &[(&str, &[Guide])] = &[
    (
        "Start",
        &[
            Guide { name: "install", markdown: include_str!("../../assets/docs/install.md") },
            Guide { name: "encoding", markdown: include_str!("../../assets/docs/encoding.md") },
            Guide { name: "client", markdown: include_str!("../../assets/docs/client.md") },
            Guide { name: "dashboard", markdown: include_str!("../../assets/docs/dashboard.md") },
        ],
    ),
    (
        "Run a server",
        &[
            Guide { name: "deployment", markdown: include_str!("../../assets/docs/deployment.md") },
            Guide { name: "operations", markdown: include_str!("../../assets/docs/operations.md") },
            Guide { name: "backup", markdown: include_str!("../../assets/docs/backup.md") },
            Guide { name: "upgrading", markdown: include_str!("../../assets/docs/upgrading.md") },
            Guide { name: "logging", markdown: include_str!("../../assets/docs/logging.md") },
            Guide { name: "database", markdown: include_str!("../../assets/docs/database.md") },
            Guide { name: "object-stores", markdown: include_str!("../../assets/docs/object-stores.md") },
            Guide { name: "queue", markdown: include_str!("../../assets/docs/queue.md") },
            Guide { name: "nodes", markdown: include_str!("../../assets/docs/nodes.md") },
            Guide { name: "scaling", markdown: include_str!("../../assets/docs/scaling.md") },
            Guide { name: "kubernetes", markdown: include_str!("../../assets/docs/kubernetes.md") },
        ],
    ),
    (
        "Protect data",
        &[
            Guide { name: "security", markdown: include_str!("../../assets/docs/security.md") },
            Guide { name: "attacks", markdown: include_str!("../../assets/docs/attacks.md") },
            Guide { name: "deletion", markdown: include_str!("../../assets/docs/deletion.md") },
        ],
    ),
    (
        "Reference",
        &[
            Guide { name: "compatibility", markdown: include_str!("../../assets/docs/compatibility.md") },
            Guide { name: "uploads", markdown: include_str!("../../assets/docs/uploads.md") },
            Guide {
                name: "what-it-survives",
                markdown: include_str!("../../assets/docs/what-it-survives.md"),
            },
            Guide { name: "performance", markdown: include_str!("../../assets/docs/performance.md") },
        ],
    ),
];

const MARKDOWN: &str = "text/markdown; charset=utf-8";

/// Returns the routes of the guides.
pub(super) fn pages() -> Router<ApiState> {
    Router::new().route("/docs/{name}", get(guide)).route("/docs/{name}/", get(sent_on))
}

/// A heading, and the name and the title of each guide below it.
pub(super) type Group = (&'static str, Vec<(&'static str, &'static str)>);

/// Returns the guides in their groups.
pub(super) fn groups() -> Vec<Group> {
    let titles = |guides: &'static [Guide]| guides.iter().map(|guide| (guide.name, guide.title())).collect();
    GUIDES.iter().map(|(heading, guides)| (*heading, titles(guides))).collect()
}

fn all() -> impl Iterator<Item = &'static Guide> {
    GUIDES.iter().flat_map(|(_, guides)| *guides)
}

/// Redirects from a URL with a trailing slash to the one without: links on the page are relative to the latter.
async fn sent_on(Path(name): Path<String>) -> Response {
    match all().find(|guide| guide.name == name) {
        Some(guide) => moved(&format!("../{}", guide.name)),
        None => nothing(),
    }
}

async fn guide(Path(name): Path<String>) -> Response {
    let (name, is_source) = name.strip_suffix(".md").map_or((name.as_str(), false), |name| (name, true));
    match all().find(|guide| guide.name == name) {
        Some(guide) if is_source => page(MARKDOWN, guide.markdown).into_response(),
        Some(guide) => page(HTML, guide.html()).into_response(),
        None => nothing(),
    }
}

fn nothing() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "there is no such page; / lists all pages").into_response()
}

impl Guide {
    fn title(&self) -> &'static str {
        self.markdown.lines().next().unwrap_or_default().trim_start_matches("# ")
    }

    fn html(&self) -> String {
        let title = self.title();
        let mut body = String::new();
        html::push_html(&mut body, with_anchors(self.markdown).into_iter());
        // What is wider than the window scrolls, also with the keyboard.
        let body = body
            .replace("<pre>", "<pre tabindex=\"0\">")
            .replace("<table>", "<div class=\"scroll\" tabindex=\"0\"><table>")
            .replace("</table>", "</table></div>");
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · entityd</title>\n\
             <link rel=\"stylesheet\" href=\"page.css\">\n</head>\n<body class=\"guide\">\n<main>\n\
             <p class=\"quiet\"><a href=\"../\">Home</a></p>\n{body}</main>\n{}</body>\n</html>\n",
            self.others()
        )
    }

    /// Returns links to all pages of the documentation. They follow the text, so that a narrow window begins with it.
    fn others(&self) -> String {
        let mut links = String::from(
            "<nav aria-label=\"Documentation\">\n<a class=\"home\" href=\"../\">entityd</a>\n\
             <a href=\"../docs\">API reference</a>\n",
        );
        for (heading, guides) in GUIDES {
            let _ = writeln!(links, "<h2>{heading}</h2>");
            for guide in *guides {
                let current = if guide.name == self.name { " aria-current=\"page\"" } else { "" };
                let _ = writeln!(links, "<a href=\"{}\"{current}>{}</a>", guide.name, guide.title());
            }
        }
        links + "</nav>\n"
    }
}

/// Parses Markdown. Headings get the same anchors as on the web pages of a repository. `.md` is removed from links to
/// other guides, which need it only in a repository.
fn with_anchors(markdown: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    for at in 0..events.len() {
        let anchor = match &events[at] {
            Event::Start(Tag::Heading { level, .. }) if *level > HeadingLevel::H1 => {
                anchor(&events[at + 1..])
            }
            _ => continue,
        };
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(anchor.into());
        }
    }
    events.iter_mut().for_each(to_served_page);
    events
}

/// Returns the text of a heading in lower case, with hyphens for spaces.
fn anchor(inside: &[Event<'_>]) -> String {
    let words =
        inside.iter().take_while(|event| !matches!(event, Event::End(_))).filter_map(|event| match event {
            Event::Text(text) | Event::Code(text) => Some(text),
            _ => None,
        });
    let mut anchor = String::new();
    for letter in words.flat_map(|text| text.chars()) {
        if letter.is_alphanumeric() || letter == '-' || letter == '_' {
            let _ = write!(anchor, "{}", letter.to_lowercase());
        } else if letter == ' ' {
            anchor.push('-');
        }
    }
    anchor
}

fn to_served_page(event: &mut Event<'_>) {
    let Event::Start(Tag::Link { dest_url, .. }) = event else { return };
    if let Some((name, fragment)) = dest_url.split_once(".md").filter(|_| !dest_url.contains("://")) {
        *dest_url = CowStr::from(format!("{name}{fragment}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guide_is_a_page_with_anchors_and_links_to_other_guides() {
        let text = "# Limits\n\n## Files & memory\n\nSee [the other](operations.md#backup).\n";
        let guide = Guide { name: "limits", markdown: text };
        let html = guide.html();
        assert!(html.contains("<title>Limits · entityd</title>"), "{html}");
        assert!(html.contains("<h2 id=\"files--memory\">Files &amp; memory</h2>"), "{html}");
        assert!(html.contains("<a href=\"operations#backup\">"), "{html}");
    }

    #[test]
    fn links_between_guides_lead_to_a_heading() {
        for guide in all() {
            for event in with_anchors(guide.markdown) {
                let Event::Start(Tag::Link { dest_url, .. }) = event else { continue };
                if dest_url.contains("://") {
                    continue;
                }
                let (name, fragment) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
                let wanted = if name.is_empty() { guide.name } else { name };
                let target = all().find(|target| target.name == wanted);
                let is_there = |target: &Guide| {
                    fragment.is_empty() || target.html().contains(&format!("<h2 id=\"{fragment}\">"))
                };
                assert!(target.is_some_and(is_there), "{}: nothing is at {dest_url}", guide.name);
            }
        }
    }

    #[test]
    fn the_front_page_without_a_dashboard_lists_the_guides_in_the_same_order() {
        let page = include_str!("../../assets/docs/index.html");
        let mut expected = Vec::new();
        for (heading, guides) in groups() {
            expected.push(format!("<h2>{heading}</h2>"));
            expected.extend(guides.iter().map(|(name, _)| format!("<a href=\"docs/{name}\">")));
        }
        let places: Vec<Option<usize>> = expected.iter().map(|part| page.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{expected:#?} {places:?}");
    }
}
