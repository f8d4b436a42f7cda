//! Adds the model `auto` to the two lists of models, leaving every other byte of them alone.

use bytes::{Bytes, BytesMut};
use http::Method;

const NATIVE: &[u8] = br#"{"name":"auto","model":"auto","modified_at":"2025-01-01T00:00:00Z","size":0,"digest":"0000000000000000000000000000000000000000000000000000000000000000","details":{"parent_model":"","format":"","family":"brainstem","families":["brainstem"],"parameter_size":"","quantization_level":""}}"#;
/// Its entry in the list of OpenAI's kind.
pub(super) const OPENAI: &[u8] =
    br#"{"id":"auto","object":"model","created":1735689600,"owned_by":"brainstem"}"#;

/// A list larger than this is left as it is.
const LARGEST: usize = 8 * 1024 * 1024;

/// A list of models on its way to the client, gathered to be added to.
pub(super) struct Listing {
    key: &'static str,
    entry: &'static [u8],
    gathered: BytesMut,
    given_up: bool,
}

impl Listing {
    /// The list that this request asks for, if it does.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let (key, entry) = match (method, path) {
            (&Method::GET, "/api/tags") => ("\"models\"", NATIVE),
            (&Method::GET, "/v1/models") => ("\"data\"", OPENAI),
            _ => return None,
        };
        Some(Self { key, entry, gathered: BytesMut::new(), given_up: false })
    }

    /// Takes a piece of the reply and gives what can be sent now.
    pub(super) fn pass(&mut self, piece: Option<Bytes>, end: bool) -> Option<Bytes> {
        if self.given_up {
            return piece;
        }
        if let Some(piece) = piece {
            self.gathered.extend_from_slice(&piece);
        }
        self.given_up = self.gathered.len() > LARGEST;
        if !end && !self.given_up {
            return None;
        }
        let all = self.gathered.split().freeze();
        Some(if self.given_up { all } else { self.added(&all).unwrap_or(all) })
    }

    /// The list with the entry at its end, or `None` if it is not of the expected shape.
    fn added(&self, list: &Bytes) -> Option<Bytes> {
        let text = std::str::from_utf8(list).ok()?;
        let key = text.find(self.key)? + self.key.len();
        let value = key + text[key..].find(':')? + 1;
        let start = value + text[value..].len() - text[value..].trim_start().len();
        let (upto, from, comma) = if text[start..].starts_with("null") {
            (start, start + 4, false)
        } else {
            // The reply is one object whose list is its last array: nothing follows but braces.
            let close = text.rfind(']').filter(|close| *close > start)?;
            let empty = text[start..close].trim() == "[";
            (close, close, !empty)
        };
        let mut out = BytesMut::with_capacity(list.len() + self.entry.len() + 3);
        out.extend_from_slice(&list[..upto]);
        match (upto == from, comma) {
            (true, true) => out.extend_from_slice(b","),
            (true, false) => {}
            (false, _) => out.extend_from_slice(b"["),
        }
        out.extend_from_slice(self.entry);
        if upto != from {
            out.extend_from_slice(b"]");
        }
        out.extend_from_slice(&list[from..]);
        serde_json::from_slice::<serde::de::IgnoredAny>(&out).ok().map(|_| out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(path: &str, list: &str) -> String {
        let mut listing = Listing::of(&Method::GET, path).unwrap();
        let (a, b) = list.as_bytes().split_at(list.len() / 2);
        assert!(listing.pass(Some(Bytes::copy_from_slice(a)), false).is_none());
        let out = listing.pass(Some(Bytes::copy_from_slice(b)), true).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn auto_comes_last() {
        let out = add("/api/tags", r#"{"models":[{"name":"smol:latest","details":{"families":["llama"]}}]}"#);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["models"][0]["name"], "smol:latest");
        assert_eq!(json["models"][1]["name"], "auto");
        let out = add("/v1/models", "{\"object\":\"list\",\"data\":[{\"id\":\"smol\"}]}\n");
        assert!(out.starts_with("{\"object\":\"list\",\"data\":[{\"id\":\"smol\"},{\"id\":\"auto\""));
        assert!(out.ends_with("}]}\n"));
    }

    #[test]
    fn an_empty_list_too() {
        assert!(add("/api/tags", r#"{"models":[]}"#).starts_with(r#"{"models":[{"name":"auto""#));
        let out = add("/v1/models", r#"{"object":"list","data":null}"#);
        assert!(out.starts_with(r#"{"object":"list","data":[{"id":"auto""#), "{out}");
    }

    #[test]
    fn what_is_no_such_list_stays_as_it_is() {
        for odd in ["not json at all", r#"{"models":7}"#, r#"{"error":"x"}"#, r#"{"models":[}"#] {
            assert_eq!(add("/api/tags", odd), odd);
        }
    }

    #[test]
    fn only_the_two_lists() {
        assert!(Listing::of(&Method::HEAD, "/api/tags").is_none());
        assert!(Listing::of(&Method::GET, "/v1/models/smol").is_none());
    }
}
