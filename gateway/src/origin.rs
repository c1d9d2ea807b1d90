//! Which web pages may open a session.
//!
//! A browser names the page's origin in each WebSocket request and sends its cookies along, whatever page it is; so
//! the server has to look. Programs that are no browsers name none.

use std::str::FromStr;

use http::uri::{Authority, Uri};

/// The pages that may open a session, when it is not simply those of the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All pages.
    Any,
    /// These alone, each as `scheme://host[:port]`.
    Listed(Vec<String>),
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origin = |text: &str| {
            let text = text.trim();
            let page =
                Page::of_origin(text).ok_or_else(|| format!("{text:?} is not like https://chat.example"))?;
            Ok(format!("{}://{}:{}", page.scheme, page.host, page.port))
        };
        text.split(',').map(origin).collect::<Result<_, String>>().map(Self::Listed)
    }
}

/// Whether a page of `origin` may open a session by calling `host`. `null`, which a sandboxed or local page sends,
/// is nobody's origin.
pub(crate) fn allowed(origins: Option<&Origins>, origin: Option<&str>, host: Option<&str>) -> bool {
    let Some(origin) = origin else { return true };
    let Some(page) = Page::of_origin(origin) else {
        return matches!(origins, Some(Origins::Any)) && origin != "null";
    };
    match origins {
        Some(Origins::Any) => true,
        Some(Origins::Listed(listed)) => {
            listed.contains(&format!("{}://{}:{}", page.scheme, page.host, page.port))
        }
        None => host.and_then(|host| host.parse().ok()).is_some_and(|host: Authority| {
            // Behind a proxy that ends TLS our own scheme is unknown, so the page's one gives the default port.
            host.host().eq_ignore_ascii_case(&page.host)
                && host.port_u16().or(default_port(&page.scheme)) == Some(page.port)
        }),
    }
}

struct Page {
    scheme: String,
    host: String,
    port: u16,
}

impl Page {
    fn of_origin(text: &str) -> Option<Self> {
        // An origin has no path, not even `/`, and no user.
        let (_, rest) = text.split_once("://")?;
        if rest.contains(['/', '?', '#', '@']) {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().or(default_port(&scheme))?;
        Some(Self { host: uri.host()?.to_ascii_lowercase(), scheme, port })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_call_the_host_that_it_came_from() {
        for (origin, host, may) in [
            ("https://chat.example", "chat.example", true),
            ("https://chat.example", "chat.example:443", true),
            ("https://Chat.Example:443", "chat.example", true),
            ("http://localhost:3000", "localhost:3000", true),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("http://localhost:3000", "localhost:3001", false),
            ("https://evil.example", "chat.example", false),
            ("https://chat.example.evil.example", "chat.example", false),
            ("https://chat.example@evil.example", "chat.example", false),
            ("https://chat.example/", "chat.example", false),
            ("null", "chat.example", false),
            ("", "chat.example", false),
            ("file://", "chat.example", false),
        ] {
            assert_eq!(allowed(None, Some(origin), Some(host)), may, "{origin} calls {host}");
        }
        assert!(!allowed(None, Some("https://chat.example"), None));
    }

    #[test]
    fn what_names_no_origin_is_no_browser() {
        assert!(allowed(None, None, Some("chat.example")));
        assert!(allowed(Some(&Origins::Listed(vec![])), None, None));
    }

    #[test]
    fn a_list_takes_the_place_of_the_host() {
        let listed: Origins = "https://a.example, http://b.example:8080".parse().unwrap();
        for (origin, may) in [
            ("https://a.example", true),
            ("https://a.example:443", true),
            ("http://b.example:8080", true),
            ("http://a.example", false),
            ("https://chat.example", false),
        ] {
            assert_eq!(allowed(Some(&listed), Some(origin), Some("chat.example")), may, "{origin}");
        }
        assert!("a.example".parse::<Origins>().is_err());
    }

    #[test]
    fn a_star_allows_all_pages_but_those_of_nobody() {
        let any: Origins = "*".parse().unwrap();
        assert!(allowed(Some(&any), Some("https://anyone.example"), Some("chat.example")));
        assert!(!allowed(Some(&any), Some("null"), Some("chat.example")));
    }
}
