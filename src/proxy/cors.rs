//! What web pages may do: [`origin`]'s rules and `proxy.origins` together, and the replies that browsers ask for
//! before they ask.

use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, Method};
use pingora::http::ResponseHeader;
use pingora::prelude::*;

use super::origin::{self, Cors};

/// Headers that Ollama's preflight allows (`server/routes.go`), then Anthropic's and our own.
const HEADERS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,\
X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,\
X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,\
X-Stainless-Runtime-Version,X-Stainless-Timeout,X-Api-Key,Anthropic-Version,Anthropic-Beta,\
Anthropic-Dangerous-Direct-Browser-Access,X-Brainstem-Category,X-Brainstem-Bypass,X-Brainstem-Server,X-Request-Id";
const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
const MAX_AGE: &str = "43200";

/// `proxy.origins`. With any in it this proxy decides alone; without, the upstream is asked about what its own
/// defaults do not let in, since it may have an `OLLAMA_ORIGINS` of its own.
#[derive(Debug)]
pub(super) struct Origins {
    listed: Vec<String>,
}

impl Origins {
    pub(super) fn new(listed: &[String]) -> Self {
        Self { listed: listed.to_vec() }
    }

    /// What is to be done about this request's `Origin`.
    pub(super) fn judge(&self, headers: &HeaderMap, host: &str) -> Cors {
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let listed = origin.is_some_and(|origin| self.lists(origin));
        match origin::cors(origin, host) {
            Cors::Echo => Cors::Echo,
            // Also if it is the host that the client named: the upstream, called by its own, would not know that.
            _ if listed => Cors::Listed,
            Cors::AskUpstream if !self.listed.is_empty() => Cors::Refused,
            by_default => by_default,
        }
    }

    /// One `*` stands for anything, as in Ollama's patterns.
    fn lists(&self, origin: &str) -> bool {
        self.listed.iter().any(|pattern| match pattern.split_once('*') {
            None => pattern == origin,
            Some((start, end)) => {
                let room = origin.len() >= start.len() + end.len();
                room && origin.starts_with(start) && origin.ends_with(end)
            }
        })
    }
}

/// Whether a browser asks if it may ask. It sends no key with that, and no body either: with one it would be
/// somebody else's way past the gate.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let has_body =
        headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    *method == Method::OPTIONS
        && !has_body
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the page read a reply, if it may.
pub(super) fn allow(reply: &mut ResponseHeader, cors: Cors, origin: Option<&HeaderValue>) -> Result<()> {
    if let (Cors::Echo | Cors::Listed, Some(origin)) = (cors, origin) {
        reply.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())?;
        // Another `Vary` may be there already.
        reply.append_header(header::VARY, "Origin")?;
    }
    Ok(())
}

/// The head of the reply to a preflight that is let in, as Ollama writes it.
pub(super) fn preflight(cors: Cors, request: &HeaderMap) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(204, Some(8))?;
    allow(&mut head, cors, request.get(header::ORIGIN))?;
    head.append_header(header::VARY, "Access-Control-Request-Method")?;
    head.append_header(header::VARY, "Access-Control-Request-Headers")?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
    head.insert_header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)?;
    head.insert_header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)?;
    Ok(head)
}

/// What an upstream said about origins; ours is another word.
pub(super) const UPSTREAMS_WORD: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(listed: &[&str], origin: &str) -> Cors {
        let listed: Vec<String> = listed.iter().map(|origin| (*origin).to_owned()).collect();
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        Origins::new(&listed).judge(&headers, "127.0.0.1:11440")
    }

    #[test]
    fn without_a_list_the_upstream_has_the_last_word() {
        assert_eq!(judge(&[], "http://localhost:3000"), Cors::Echo);
        assert_eq!(judge(&[], "https://ui.example.org"), Cors::AskUpstream);
    }

    #[test]
    fn with_one_it_is_ours() {
        let listed = ["https://ui.example.org", "http://10.0.0.5:*", "chrome-extension://*"];
        for origin in ["https://ui.example.org", "http://10.0.0.5:8080", "chrome-extension://abc"] {
            assert_eq!(judge(&listed, origin), Cors::Listed, "{origin}");
        }
        assert_eq!(judge(&listed, "tauri://localhost"), Cors::Echo, "the defaults stay");
        for origin in
            ["https://evil.example", "https://ui.example.org.evil.example", "http://ui.example.org", "null"]
        {
            assert_eq!(judge(&listed, origin), Cors::Refused, "{origin}");
        }
        assert_eq!(judge(&["*"], "https://anyone.example"), Cors::Listed);
        assert_eq!(judge(&["*"], "http://127.0.0.1:11440"), Cors::Listed, "a page from our own address");
        assert_eq!(Origins::new(&["*".to_owned()]).judge(&HeaderMap::new(), "x"), Cors::None);
        assert_eq!(judge(&["https://*.example.org"], "https://.example.org"), Cors::Listed);
        assert_eq!(judge(&["https://a*a"], "https://a"), Cors::Refused, "start and end do not overlap");
    }
}
