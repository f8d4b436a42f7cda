//! Rules and answers that change while traffic flows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::running::{ANSWERS, RULES};
use support::{Options, Running, Upstream, asks, eventually};

/// "Within a second", as the contract has it.
const SOON: Duration = Duration::from_secs(1);

fn rule(name: &str, category: &str, word: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\ncategory = \"{category}\"\npriority = 60\nany = [\"{word}\"]\n")
}

/// Asks until the category is that one, and says how long it took.
#[track_caller]
fn until(running: &Running, text: &str, category: &str) -> Duration {
    let clock = Instant::now();
    eventually(Duration::from_secs(10), &format!("{text:?} is {category}"), || {
        running.chat(text).category() == category
    });
    clock.elapsed()
}

/// A save as editors do it.
fn renamed_over(file: &Path, text: &str) {
    let new = file.with_extension("toml.swp~");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

fn written(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

#[test]
fn a_saved_file_acts_within_a_second_while_traffic_flows() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let file = running.rules_dir().join("rules.toml");
    let mut took = Vec::new();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (running, stop, served) = (&running, &stop, &served);
            scope.spawn(move || {
                let mut connection = running.connect();
                while !stop.load(Ordering::SeqCst) {
                    let text = ["hello", "explain the tides", "please refactor this"][worker];
                    let reply = connection.exchange(&asks::chat("llama3.2", text));
                    assert_eq!(reply.status, 200, "no request fails because a file was saved");
                    served.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        for round in 0..3 {
            for (save, kind) in [(written as fn(&Path, &str), "coding"), (renamed_over, "reasoning")] {
                let word = format!("word{round}{kind}");
                save(&file, &format!("{RULES}\n{}", rule("new", kind, &word)));
                took.push(until(&running, &format!("what of {word} then"), kind));
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(served.load(Ordering::SeqCst) > 50);
    // One of them may have met a machine that stood still.
    took.sort();
    assert!(took[took.len() - 2] < SOON, "{took:?}");
    assert!(running.metric("rules_reloads_total{result=\"ok\"}") >= 6.0);
    assert_eq!(running.metric("rules_reloads_total{result=\"refused\"}"), 0.0);
    assert!(running.metric("rules_generation") >= 7.0);
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported_until_it_is_mended() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let file = running.rules_dir().join("rules.toml");
    let loaded = running.metric("rules_last_success_timestamp_seconds");
    let generation = running.metric("rules_generation");
    assert_eq!(running.admin("/rules").value()["last_error"], serde_json::json!([]));

    // Broken in every way that a save half-way or a slip can be; each with its place.
    let broken = [
        ("[[rule]]\nname = \"half", 2),
        ("[[rule]]\nname = \"x\"\ncategory = \"codng\"\nany = [\"a\"]\n", 3),
        ("[[rule]]\nname = \"x\"\ncategory = \"coding\"\nregex = ['(']\n", 4),
        ("[[rule]]\nname = \"x\"\ncategory = \"coding\"\nany = [\"a\"]\ncolour = 1\n", 5),
        (
            "[[rule]]\nname = \"x\"\ncategory = \"coding\"\nany = [\"a\"]\n\n[[rule]]\nname = \"x\"\ncategory = \"coding\"\nany = [\"b\"]\n",
            7,
        ),
    ];
    for (number, (text, line)) in broken.into_iter().enumerate() {
        renamed_over(&file, text);
        let refused = number as f64 + 1.0;
        eventually(Duration::from_secs(10), "the refusal is counted", || {
            running.metric("rules_reloads_total{result=\"refused\"}") == refused
        });
        assert!(running.metric("rules_problems") >= 1.0);
        let rules = running.admin("/rules").value();
        let error = rules["last_error"][0].as_str().unwrap().to_owned();
        let place = format!("rules/rules.toml:{line}:");
        assert!(error.starts_with(&place), "{error} should begin with {place}");
        assert!(running.log_line(&place).contains("WARN"));
        assert_eq!(rules["generation"], generation, "the last good set goes on");
        assert_eq!(running.chat("please refactor this").category(), "coding");
        assert_eq!(running.chat("hello").route(), "local");
        assert_eq!(running.metric("rules_last_success_timestamp_seconds"), loaded);
    }

    renamed_over(&file, &format!("{RULES}\n{}", rule("mended", "reasoning", "mended")));
    until(&running, "is it mended now", "reasoning");
    let rules = running.admin("/rules").value();
    assert_eq!(rules["last_error"], serde_json::json!([]));
    assert_eq!(running.metric("rules_problems"), 0.0);
    assert_eq!(rules["generation"], generation + 1.0);
    assert!(running.metric("rules_last_success_timestamp_seconds") > loaded);
}

#[test]
fn a_broken_file_that_goes_back_to_what_it_was_is_no_complaint_any_more() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let file = running.rules_dir().join("rules.toml");
    written(&file, "not toml at all [[[");
    let errors = || running.admin("/rules").value()["last_error"].as_array().unwrap().len();
    eventually(Duration::from_secs(10), "the fault is told", || errors() > 0);
    written(&file, RULES);
    eventually(Duration::from_secs(10), "the fault is gone", || errors() == 0);
    assert_eq!(running.chat("please refactor this").category(), "coding");
}

#[test]
fn answers_reload_the_same_way() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let file = running.rules_dir().join("answers/answers.toml");
    renamed_over(&file, &ANSWERS.replace("Hello! How can", "Good day. How can"));
    eventually(Duration::from_secs(10), "the new words", || {
        running.chat("hello").text().contains("Good day.")
    });
    // A template that fails is refused before it can fail a request.
    renamed_over(&file, &ANSWERS.replace("today?", "today, {{ nme }}?"));
    let errors = || running.admin("/rules").value()["last_error"].to_string();
    eventually(Duration::from_secs(10), "the fault is told", || errors().contains("answers/answers.toml:"));
    assert!(running.chat("hello").text().contains("Good day."));
}

#[test]
fn taught_phrases_reload_the_same_way() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let text = "leftovers of ginger ledger";
    assert_eq!(running.chat(text).category(), "general");
    let dir = running.rules_dir().join("examples");
    fs::create_dir(&dir).unwrap();
    written(&dir.join("own.tsv"), &format!("data_question\t{text}\n"));
    // The first one makes a table of everyday words, which takes a test build a second.
    until(&running, text, "data_question");
    written(&dir.join("own.tsv"), &format!("coding\t{text}\n"));
    let took = until(&running, text, "coding");
    assert!(took < SOON, "{took:?}");
    fs::remove_file(dir.join("own.tsv")).unwrap();
    until(&running, text, "general");
}

#[test]
fn files_that_come_and_go_count() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let file = running.rules_dir().join("90-extra.toml");
    written(&file, &rule("extra", "data_question", "sesame"));
    until(&running, "open sesame", "data_question");
    // What editors leave behind is no rule file.
    written(&running.rules_dir().join(".90-extra.toml.swp"), "junk");
    written(&running.rules_dir().join("90-extra.toml~"), "junk");
    fs::remove_file(&file).unwrap();
    until(&running, "open sesame", "general");
    assert_eq!(running.metric("rules_reloads_total{result=\"refused\"}"), 0.0);
}

#[test]
#[cfg(unix)]
fn a_directory_that_is_swapped_as_a_symlink_counts() {
    let upstream = Upstream::start();
    // As Kubernetes mounts a ConfigMap: rules -> ..data -> ..1.
    let home = tempfile::tempdir().unwrap();
    let make = |name: &str, extra: &str| {
        let dir = home.path().join(name);
        fs::create_dir_all(dir.join("answers")).unwrap();
        fs::write(dir.join("rules.toml"), format!("{RULES}\n{extra}")).unwrap();
        fs::write(dir.join("answers/answers.toml"), ANSWERS).unwrap();
        dir
    };
    let first = make("..1", "");
    let data = home.path().join("..data");
    std::os::unix::fs::symlink(&first, &data).unwrap();
    let running = Options::before(&upstream).rules_at(&data).start();
    assert_eq!(running.chat("open sesame").category(), "general");
    let second = make("..2", &rule("swapped", "reasoning", "sesame"));
    let new = home.path().join("..data_tmp");
    std::os::unix::fs::symlink(&second, &new).unwrap();
    fs::rename(&new, &data).unwrap();
    fs::remove_dir_all(&first).unwrap();
    until(&running, "open sesame", "reasoning");
}

#[test]
fn an_emptied_directory_leaves_a_proxy_that_forwards() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let dir = running.rules_dir();
    fs::rename(&dir, dir.with_extension("away")).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    // Gone altogether: that is a fault, and the last good set goes on.
    assert_eq!(running.chat("hello").route(), "local");
    fs::create_dir(&dir).unwrap();
    written(&dir.join("rules.toml"), &rule("only", "reasoning", "sesame"));
    until(&running, "open sesame", "reasoning");
    assert_eq!(running.chat("hello").route(), "upstream", "no answers any more");
}
