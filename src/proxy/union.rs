//! The lists of several servers as one: each entry as its server wrote it, none twice.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A list that a pool answers for all its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Union {
    /// `/api/tags`
    Tags,
    /// `/api/ps`
    Memory,
    /// `/v1/models`
    OpenAi,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, alias = "data")]
    models: Option<Vec<&'a RawValue>>,
}

/// What tells an entry from others, and its age.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "id")]
    name: Option<String>,
    modified_at: Option<serde_json::Value>,
}

impl Entry {
    fn modified(&self) -> Option<jiff::Timestamp> {
        self.modified_at.as_ref()?.as_str()?.parse().ok()
    }
}

impl Union {
    /// The list that a `GET` of this path asks for.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/tags" => Some(Self::Tags),
            "/api/ps" => Some(Self::Memory),
            "/v1/models" => Some(Self::OpenAi),
            _ => None,
        }
    }

    /// One list of all. Of a model that several servers have the first one's entry stays. What is no list is left
    /// out. Newest first, where Ollama does it so.
    pub(super) fn merge(self, pages: &[Vec<u8>]) -> String {
        let mut entries: Vec<(Entry, &RawValue)> = Vec::new();
        let read = pages.iter().filter_map(|page| serde_json::from_slice::<Page<'_>>(page).ok());
        for raw in read.filter_map(|page| page.models).flatten() {
            let Ok(entry) = serde_json::from_str::<Entry>(raw.get()) else { continue };
            if !entries.iter().any(|(have, _)| have.name == entry.name) {
                entries.push((entry, raw));
            }
        }
        if self == Self::Tags {
            entries.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.modified()));
        }
        let all = entries.iter().map(|(_, raw)| raw.get()).collect::<Vec<_>>().join(",");
        match self {
            Self::Tags | Self::Memory => format!("{{\"models\":[{all}]}}"),
            Self::OpenAi => format!("{{\"object\":\"list\",\"data\":[{all}]}}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(union: Union, pages: &[&str]) -> String {
        union.merge(&pages.iter().map(|page| page.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn every_model_once_newest_first_each_byte_as_it_was() {
        let first = r#"{"models":[{"name":"a","modified_at":"2026-01-02T00:00:00.5+02:00","digest":"1"}]}"#;
        let second =
            r#"{"models":[{"name":"b", "modified_at":"2026-01-03T00:00:00Z"},{"name":"a","digest":"2"}]}"#;
        assert_eq!(
            merge(Union::Tags, &[first, second]),
            r#"{"models":[{"name":"b", "modified_at":"2026-01-03T00:00:00Z"},{"name":"a","modified_at":"2026-01-02T00:00:00.5+02:00","digest":"1"}]}"#
        );
    }

    #[test]
    fn openais_list_too_and_what_is_no_list_is_left_out() {
        let data = r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#;
        let one = merge(Union::OpenAi, &[data, "502 no", r#"{"object":"list","data":null}"#, data]);
        assert_eq!(one, "{\"object\":\"list\",\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}\n");
        assert_eq!(merge(Union::Memory, &[]), r#"{"models":[]}"#);
    }
}
