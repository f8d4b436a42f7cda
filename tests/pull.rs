//! `brainstem pull` against a server that speaks the hub's protocol: the list of files, redirects, ranges, checksums.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use support::running::brainstem;
use support::upstream::reply;
use support::{Received, Step, Upstream, junk};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LENGTH: usize = 300_000;

fn weights() -> Vec<u8> {
    junk(11, LENGTH)
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hub with one repository. Weights lie elsewhere, behind a redirect; of the first answers for them, so many break
/// off in the middle.
fn hub(breaks: usize, sha256: String) -> (Upstream, Arc<AtomicUsize>) {
    let hub = Upstream::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    hub.script(move |request: &Received| {
        let send = |bytes: Vec<u8>| vec![Step::Send(bytes)];
        let at = format!("/o/tiny/resolve/{COMMIT}/");
        match request.path.as_str() {
            "/api/models/o/tiny/revision/main?blobs=true" => {
                let list = serde_json::json!({"sha": COMMIT, "siblings": [
                    {"rfilename": "README.md", "size": 5},
                    {"rfilename": "config.json", "size": 2},
                    {"rfilename": "pytorch_model.bin", "size": 9, "lfs": {"sha256": "00", "size": 9}},
                    {"rfilename": "model.safetensors", "size": LENGTH, "lfs": {"sha256": sha256, "size": LENGTH}},
                ]});
                send(reply(200, "application/json", list.to_string().as_bytes()))
            }
            path if path == format!("{at}config.json") => send(reply(200, "application/json", b"{}")),
            path if path == format!("{at}model.safetensors") => {
                send(b"HTTP/1.1 302 Found\r\nlocation: /cdn/blob\r\ncontent-length: 0\r\n\r\n".to_vec())
            }
            "/cdn/blob" => {
                let from: usize = request
                    .header("range")
                    .map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
                let rest = weights().split_off(from);
                let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", rest.len());
                let whole = counted.fetch_add(1, Ordering::SeqCst) >= breaks;
                let sent = if whole { rest.len() } else { rest.len() / 2 };
                let mut steps = send([head.as_bytes(), &rest[..sent]].concat());
                if !whole {
                    steps.push(Step::Close);
                }
                steps
            }
            _ => send(reply(404, "text/plain", b"Repository not found")),
        }
    });
    (hub, asked)
}

fn pull(hub: &Upstream, repository: &str, dir: &tempfile::TempDir) -> Output {
    brainstem()
        .args(["pull", repository, "--endpoint", &hub.url(), "--token", "secret"])
        .current_dir(dir.path())
        .output()
        .unwrap()
}

fn fetched(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("models/tiny")
}

#[test]
fn a_model_is_fetched_whole_though_the_connection_breaks_and_not_fetched_twice() {
    let (hub, asked) = hub(2, sum(&weights()));
    let dir = tempfile::tempdir().unwrap();
    let done = pull(&hub, "o/tiny", &dir);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("light.model = \"models/tiny\""), "{done:?}");
    assert!(std::fs::read(fetched(&dir).join("model.safetensors")).unwrap() == weights());
    let mut names: Vec<_> =
        std::fs::read_dir(fetched(&dir)).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors"], "only what is needed, and no parts");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let ranges: Vec<_> = hub
        .received()
        .iter()
        .filter(|r| r.path == "/cdn/blob")
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [None, Some("bytes=150000-".into()), Some("bytes=225000-".into())]);
    assert_eq!(hub.received()[0].header("authorization"), Some("Bearer secret"));
    assert!(pull(&hub, "o/tiny", &dir).status.success());
    assert_eq!(asked.load(Ordering::SeqCst), 3, "what is there whole is left");
}

#[test]
fn a_download_that_was_given_up_is_taken_up_again() {
    let (hub, asked) = hub(0, sum(&weights()));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(fetched(&dir)).unwrap();
    std::fs::write(fetched(&dir).join("model.safetensors.part"), &weights()[..123_456]).unwrap();
    assert!(pull(&hub, "o/tiny", &dir).status.success());
    let received = hub.received();
    let blob = received.iter().find(|r| r.path == "/cdn/blob").unwrap();
    assert_eq!(blob.header("range"), Some("bytes=123456-"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(std::fs::read(fetched(&dir).join("model.safetensors")).unwrap() == weights());
}

#[test]
fn damaged_bytes_are_not_kept() {
    let (hub, _) = hub(0, sum(b"something else"));
    let dir = tempfile::tempdir().unwrap();
    let done = pull(&hub, "o/tiny", &dir);
    assert_eq!(done.status.code(), Some(1));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(told.contains("arrived damaged (SHA-256 "), "{told}");
    assert!(!fetched(&dir).join("model.safetensors").exists());
    assert!(!fetched(&dir).join("model.safetensors.part").exists());
}

#[test]
fn what_is_no_repository_is_told() {
    let (hub, _) = hub(0, sum(&weights()));
    let dir = tempfile::tempdir().unwrap();
    let done = pull(&hub, "o/none", &dir);
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("404: no such repository"), "{done:?}");
    for wrong in ["none", "../x/y", "o/../x", "o/.."] {
        assert_eq!(pull(&hub, wrong, &dir).status.code(), Some(2), "{wrong}");
    }
}
