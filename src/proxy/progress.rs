//! The progress of one order at several servers, told as one: NDJSON lines in, NDJSON lines out.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// A line of `/api/pull` or `/api/create`.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Line {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What all of them have done so far.
pub(super) struct Progress {
    servers: Vec<String>,
    /// Of each layer, what each server has.
    layers: BTreeMap<String, Vec<u64>>,
    said: HashSet<String>,
    failures: Vec<String>,
}

impl Progress {
    /// Of servers of those names.
    pub(super) fn new(servers: Vec<String>) -> Self {
        Self { servers, layers: BTreeMap::new(), said: HashSet::new(), failures: Vec::new() }
    }

    /// A server's line; gives the line that it makes of all, if it makes one. A layer's size counts once for each
    /// server, what they have of it is added up, and what all say is said once.
    pub(super) fn line(&mut self, server: usize, line: &[u8]) -> Option<String> {
        let line: Line = serde_json::from_slice(line).ok()?;
        if let Some(error) = line.error {
            self.failed(server, &error);
            return None;
        }
        let (Some(digest), Some(total)) = (&line.digest, line.total) else {
            let new = line.status != "success" && self.said.insert(line.status.clone());
            return new.then(|| written(&line));
        };
        let servers = self.servers.len();
        let layer = self.layers.entry(digest.clone()).or_insert_with(|| vec![0; servers]);
        if let Some(has) = layer.get_mut(server) {
            *has = line.completed.unwrap_or(0);
        }
        let (all, has) = (
            total.saturating_mul(servers as u64),
            layer.iter().fold(0, |sum: u64, has| sum.saturating_add(*has)),
        );
        Some(written(&Line { total: Some(all), completed: Some(has), ..line }))
    }

    /// A server does not do it.
    pub(super) fn failed(&mut self, server: usize, error: &str) {
        let name = self.servers.get(server).map_or("", String::as_str);
        self.failures.push(format!("{name}: {error}"));
    }

    /// Who does not do it, and why.
    pub(super) fn failures(&self) -> String {
        self.failures.join("; ")
    }

    /// The last line: success if all of them did it.
    pub(super) fn end(&self) -> String {
        match self.failures.as_slice() {
            [] => written(&Line { status: "success".to_owned(), ..Line::default() }),
            _ => written(&Line { error: Some(self.failures()), ..Line::default() }),
        }
    }
}

fn written(line: &Line) -> String {
    serde_json::to_string(line).map(|line| line + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Progress {
        Progress::new(vec!["a:1".into(), "b:1".into()])
    }

    #[test]
    fn what_all_say_is_said_once_and_layers_add_up() {
        let mut progress = two();
        let mut say = |server, line: &str| progress.line(server, line.as_bytes());
        assert_eq!(
            say(0, r#"{"status":"pulling manifest"}"#).unwrap(),
            "{\"status\":\"pulling manifest\"}\n"
        );
        assert_eq!(say(1, r#"{"status":"pulling manifest"}"#), None);
        let half = r#"{"status":"pulling x","digest":"sha256:x","total":100,"completed":50}"#;
        assert_eq!(
            say(0, half).unwrap(),
            "{\"status\":\"pulling x\",\"digest\":\"sha256:x\",\"total\":200,\"completed\":50}\n"
        );
        assert!(say(1, half).unwrap().contains("\"completed\":100"));
        assert_eq!(say(0, r#"{"status":"success"}"#), None);
        assert_eq!(say(1, r#"{"status":"success"}"#), None);
        assert_eq!(progress.end(), "{\"status\":\"success\"}\n");
    }

    #[test]
    fn one_failure_is_the_end_of_it() {
        let mut progress = two();
        assert_eq!(progress.line(1, br#"{"error":"no space left"}"#), None);
        assert_eq!(progress.line(0, b"no json"), None);
        assert_eq!(progress.end(), "{\"error\":\"b:1: no space left\"}\n");
    }
}
