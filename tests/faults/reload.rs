//! Rules saved over and over, half of them broken, while requests come.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{DEADLINE, Options, Request, Running, Upstream, eventually, send};

fn saves() -> usize {
    std::env::var("FAULTS_SAVES").map_or(200, |n| n.parse().unwrap())
}

/// Two rules that belong together: both match a text with both words, and both carry the number of their save.
fn halves(number: usize) -> [String; 2] {
    let half = |name: &str, word: &str| {
        format!(
            "[[rule]]\nname = \"{name}-{number}\"\ncategory = \"coding\"\npriority = 50\nany = [\"{word}\"]\n"
        )
    };
    [half("one", "stalactite"), half("other", "stalagmite")]
}

const TEXT: &str = "a stalactite and a stalagmite";

/// The numbers of the rules that matched, in one decision.
fn matched(running: &Running) -> Vec<String> {
    let body = json!({"model": "llama3.2", "messages": [{"role": "user", "content": TEXT}]});
    let reply = send(running.admin, &Request::json("/explain?path=/api/chat", &body));
    let text = reply.text();
    let numbers = ["\"one-", "\"other-"].into_iter().flat_map(|half| {
        let ends = text.match_indices(half).map(|(at, found)| at + found.len());
        ends.map(|at| text[at..].chars().take_while(char::is_ascii_digit).collect::<String>())
    });
    numbers.collect()
}

fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

fn storm(running: &Running, save: impl Fn(usize) + Sync) {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen: std::sync::Mutex<std::collections::BTreeSet<String>> = std::sync::Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = running.connect();
                while !stop.load(Ordering::SeqCst) {
                    let reply = connection.exchange(&crate::support::asks::chat("llama3.2", TEXT));
                    assert_eq!((reply.status, reply.category(), reply.route()), (200, "coding", "upstream"));
                    served.fetch_add(1, Ordering::SeqCst);
                    let numbers = matched(running);
                    assert!(numbers.len() >= 2, "both halves match");
                    assert!(numbers.iter().all(|n| *n == numbers[0]), "a mixed set: {numbers:?}");
                    seen.lock().unwrap().insert(numbers[0].clone());
                }
            });
        }
        let stopped = crate::OnDrop(|| stop.store(true, Ordering::SeqCst));
        let mut warm = 0;
        // The last one is whole: a good set that is saved over at once may never be seen.
        let last = saves() / 2 * 2;
        for number in 0..=last {
            save(number);
            std::thread::sleep(Duration::from_millis(20));
            if number == saves() / 4 {
                warm = memory(running.child.id());
            }
        }
        eventually(DEADLINE, "the last good set is in", || {
            matched(running).first() == Some(&last.to_string())
        });
        let after = memory(running.child.id());
        assert!(after < warm + warm / 4 + 8 * 1024, "from {warm} to {after} kB");
        drop(stopped);
    });
    assert!(served.load(Ordering::SeqCst) > 20 && seen.lock().unwrap().len() > 3, "{seen:?}");
    assert!(running.metric("rules_reloads_total{result=\"refused\"}") > 0.0);
}

#[test]
fn saves_under_load_never_mix_and_never_fail() {
    let upstream = Upstream::start();
    let options = Options::before(&upstream).rules("rules.toml", &halves(0).concat());
    let running = options.start();
    let file = running.rules_dir().join("rules.toml");
    storm(&running, |number| {
        let whole = halves(number).concat();
        // Every second one is broken; saved as editors do, by a new file in place of the old.
        let text = if number.is_multiple_of(2) { whole } else { whole[..whole.len() - 5].to_owned() };
        let beside = file.with_extension("toml~");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    });
}

#[cfg(unix)]
#[test]
fn two_files_that_change_together_stay_together() {
    use std::os::unix::fs::symlink;
    let upstream = Upstream::start();
    let dir = tempfile::tempdir().unwrap();
    // As Kubernetes mounts a ConfigMap: files are links through a link to the version's directory.
    let publish = |number: usize, dir: &Path| {
        let version = dir.join(format!("..v{number}"));
        std::fs::create_dir_all(&version).unwrap();
        let [one, other] = halves(number);
        let other = if number.is_multiple_of(2) { other } else { other[..other.len() - 5].to_owned() };
        std::fs::write(version.join("10-one.toml"), one).unwrap();
        std::fs::write(version.join("20-other.toml"), other).unwrap();
        symlink(&version, dir.join("..new")).unwrap();
        std::fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
        if number > 1 {
            std::fs::remove_dir_all(dir.join(format!("..v{}", number - 2))).unwrap();
        }
    };
    publish(0, dir.path());
    for file in ["10-one.toml", "20-other.toml"] {
        symlink(Path::new("..data").join(file), dir.path().join(file)).unwrap();
    }
    let running = Options::before(&upstream).rules_at(dir.path()).start();
    storm(&running, |number| {
        if number > 0 {
            publish(number, dir.path());
        }
    });
}
