//! What a path asks of a key. What is not known to be harmless needs `admin`: a path that Ollama learns
//! tomorrow, or another way to write one of today's, must not be let through by accident.

use http::Method;

use crate::dialect::Dialect;

/// What a key has to be for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any key: lists and versions; no model is run.
    Look,
    /// Any key; the model that the body names has to be one of the key's.
    Model,
    /// A key that is not limited to some models: which one is used cannot be told here.
    AnyModel,
    /// A key with `admin = true`.
    Admin,
}

/// Lists and versions.
const LOOKS: [&str; 6] = ["/", "/api/version", "/api/status", "/api/tags", "/api/ps", "/v1/models"];

/// Paths beside the asks whose body names a model.
const NAMING: [&str; 4] = ["/api/embed", "/api/embeddings", "/api/show", "/v1/embeddings"];

/// Ollama's own searches, which run no model.
const SEARCHES: [&str; 2] = ["/api/experimental/web_search", "/api/experimental/web_fetch"];

/// What this request needs. Paths count as they are written: Ollama would decode `/api/p%75ll`, so such a
/// one is none of those that are known.
pub fn need(method: &Method, path: &str) -> Need {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    if looks && (LOOKS.contains(&path) || path.starts_with("/v1/models/") && is_plain(path)) {
        return Need::Look;
    }
    if Dialect::of(method, path).is_some() || *method == Method::POST && NAMING.contains(&path) {
        return Need::Model;
    }
    if *method == Method::POST && (SEARCHES.contains(&path) || under_v1(path)) {
        return Need::AnyModel;
    }
    if *method == Method::POST && path.starts_with("/light/v1/") && is_plain(path) {
        return Need::Look;
    }
    Need::Admin
}

/// Nothing below `/v1/` manages models.
fn under_v1(path: &str) -> bool {
    path.starts_with("/v1/") && is_plain(path)
}

/// Nobody on the way to Ollama would read another path out of it: no encoded dot, percent sign or backslash, and no
/// part that leads upwards once its slashes are decoded and what follows a `;`, as some servers do, is left out.
fn is_plain(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let hidden = ["%2e", "%25", "%5c", "\\"].iter().any(|mark| path.contains(mark));
    let decoded = path.replace("%2f", "/");
    let mut parts = decoded.split('/').skip(1).map(|part| part.split(';').next().unwrap_or(""));
    !hidden && parts.all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_and_looks_are_for_every_key() {
        for path in LOOKS {
            assert_eq!(need(&Method::GET, path), Need::Look, "{path}");
        }
        assert_eq!(need(&Method::GET, "/v1/models/library/llama3.2:1b"), Need::Look);
        for dialect in Dialect::ALL {
            assert_eq!(need(&Method::POST, dialect.path()), Need::Model);
        }
        for path in NAMING {
            assert_eq!(need(&Method::POST, path), Need::Model, "{path}");
        }
        assert_eq!(
            need(&Method::GET, "/v1/models/hf.co%2Fme%2Fllama-3.2%3Aq4"),
            Need::Look,
            "as SDKs write it"
        );
        assert_eq!(need(&Method::POST, "/v1/audio/transcriptions"), Need::AnyModel);
        assert_eq!(need(&Method::POST, "/light/v1/intent"), Need::Look);
    }

    #[test]
    fn whatever_changes_the_server_needs_admin() {
        for (method, path) in [
            ("POST", "/api/pull"),
            ("POST", "/api/push"),
            ("POST", "/api/create"),
            ("POST", "/api/copy"),
            ("DELETE", "/api/delete"),
            ("POST", "/api/blobs/sha256:0"),
            ("HEAD", "/api/blobs/sha256:0"),
            ("POST", "/api/me"),
            ("POST", "/api/signout"),
            ("DELETE", "/api/user/keys/x"),
        ] {
            assert_eq!(need(&method.parse().unwrap(), path), Need::Admin, "{path}");
        }
    }

    #[test]
    fn so_does_every_odd_spelling() {
        for path in [
            "/api/p%75ll",
            "/api/ch%61t",
            "/api/chat/",
            "/API/pull",
            "//api/pull",
            "/v1/../api/pull",
            "/v1/%2e%2E/api/pull",
            "/v1//x",
            "/v1/..\\api\\pull",
            "/v1/..%5Capi%5cpull",
            "/v1/x%2f..%2F..%2fapi/pull",
            "/v1/%2fapi/pull",
            "/v1/..;/api/pull",
            "/v1/..;x=1/api/pull",
            "/v1/%252e%252e/api/pull",
            "/light/v1/../../api/pull",
            "/api/tomorrow",
            "*",
            "",
        ] {
            assert_eq!(need(&Method::POST, path), Need::Admin, "{path}");
        }
        assert_eq!(need(&Method::GET, "/v1/models/../../api/blobs"), Need::Admin);
    }
}
