//! Judged continuously: the experiment's arms, the log of decisions, and what people make of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use support::asks::{self, Surface};
use support::running::brainstem;
use support::{DEADLINE, Options, Reply, Request, Running, Upstream, eventually};

/// Asks that no rule knows and that the classifier takes for code.
const CODING: [&str; 12] = [
    "write a python function that sorts a list of numbers",
    "write a python function that reverses a string of text",
    "write a python function that reads a csv file",
    "write a rust function that parses a json string",
    "write a rust program that prints the fibonacci numbers",
    "write a javascript function that removes duplicates from an array",
    "write a java class for a binary search tree",
    "write a bash script that renames all files here",
    "write a c++ function that reverses a linked list",
    "fix the null pointer exception in this java method",
    "why does my python script raise a key error",
    "write a unit test for this typescript function please",
];

fn arm(reply: &Reply) -> &str {
    reply.header("x-brainstem-arm").unwrap_or("-")
}

fn experiment(upstream: &Upstream, share: f64) -> Options {
    Options::before(upstream)
        .classifier("on")
        .set("experiment.enabled", true)
        .set("experiment.classifier_share", share)
}

fn log_of(running: &Running) -> PathBuf {
    running.dir.path().join("decisions.jsonl")
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The log's lines, once there are so many.
#[track_caller]
fn logged(running: &Running, count: usize) -> Vec<Value> {
    let written = || running.metric("decision_log_lines_total{result=\"written\"}") as usize;
    eventually(DEADLINE, &format!("{count} lines are written"), || written() >= count);
    let lines = lines(&log_of(running));
    assert_eq!(lines.len(), count);
    lines
}

#[test]
fn the_same_ask_falls_into_the_same_arm_and_the_metrics_tell_them_apart() {
    let upstream = Upstream::start();
    let running = experiment(&upstream, 0.5).start();
    let mut of = [0.0, 0.0];
    for text in CODING {
        let reply = running.chat(text);
        let own = arm(&reply).to_owned();
        let seen = (reply.category(), reply.header("x-brainstem-decided-by").unwrap());
        match own.as_str() {
            "rules" => assert_eq!(seen, ("general", "default"), "{text}"),
            "classifier" => assert_eq!(seen, ("coding", "classifier"), "{text}"),
            other => panic!("{other}"),
        }
        of[usize::from(own == "classifier")] += 2.0;
        let again = running.send(&Surface::Generate.request(&Surface::Generate.body("llama3.2", text)));
        assert_eq!(arm(&again), own, "a retry by another dialect: {text}");
    }
    assert!(of[0] > 0.0 && of[1] > 0.0, "{of:?}");
    // Rules know this one in either arm; what is passed by is in none.
    running.chat("hello");
    let bypassed = running.send(&asks::chat("llama3.2", CODING[0]).header("x-brainstem-bypass", "1"));
    assert_eq!(arm(&bypassed), "-");
    let metric = |name: &str| running.metric(name);
    let first_bytes =
        |arm: &str| metric(&format!("first_byte_seconds_count{{arm=\"{arm}\",route=\"upstream\"}}"));
    let asked = |arm: &str, category: &str| {
        metric(&format!("arm_requests_total{{arm=\"{arm}\",category=\"{category}\",route=\"upstream\"}}"))
    };
    // Counted when the reply has left.
    eventually(DEADLINE, "all are counted", || {
        [first_bytes("rules"), first_bytes("classifier"), first_bytes("none")] == [of[0], of[1], 1.0]
            && [asked("rules", "general"), asked("classifier", "coding")] == of
    });
    assert_eq!([asked("rules", "coding"), asked("classifier", "general")], [0.0, 0.0]);
    let changed = "arm_category_changes_total{arm=\"classifier\",from=\"general\",to=\"coding\"}";
    assert_eq!(metric(changed), of[1]);
    assert!(!running.admin("/metrics").text().contains("arm_category_changes_total{arm=\"rules\""));
}

#[test]
fn a_share_of_nothing_or_all_leaves_one_arm() {
    let upstream = Upstream::start();
    for (share, only) in [(0.0, "rules"), (1.0, "classifier")] {
        let running = experiment(&upstream, share).start();
        for text in &CODING[..4] {
            assert_eq!(arm(&running.chat(text)), only);
        }
    }
    let running = Options::before(&upstream).classifier("on").start();
    assert_eq!(arm(&running.chat(CODING[0])), "-", "no experiment, no arm");
}

#[test]
fn a_shadow_counts_what_would_have_changed_and_changes_nothing() {
    let upstream = Upstream::start();
    let running = experiment(&upstream, 0.0)
        .set("experiment.shadow", true)
        .set("log.decisions", "decisions.jsonl")
        .start();
    let would = || {
        running.metric("arm_category_changes_total{arm=\"rules\",from=\"general\",to=\"coding\"}") as usize
    };
    for (i, text) in CODING[..3].iter().enumerate() {
        let reply = running.chat(text);
        assert_eq!((arm(&reply), reply.category()), ("rules", "general"), "{text}");
        eventually(DEADLINE, "it is counted", || would() == i + 1);
    }
    for line in logged(&running, 3) {
        let seen = (&line["arm"], &line["category"], &line["decided_by"]);
        assert_eq!(seen, (&"rules".into(), &"general".into(), &"default".into()), "{line}");
        let word = &line["classifier"];
        let said = (&word["heeded"], &word["outcome"], &word["label"]);
        assert_eq!(said, (&false.into(), &"changed".into(), &"coding".into()), "{line}");
    }
    let made = "arm_requests_total{arm=\"rules\",category=\"general\",route=\"upstream\"}";
    eventually(DEADLINE, "all are counted", || running.metric(made) == 3.0);
}

#[test]
fn no_log_unless_a_file_is_named() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("log.decisions_text", true).start();
    running.chat("hello");
    assert_eq!(running.metric("decision_log_lines_total{result=\"written\"}"), 0.0);
    let names: Vec<_> =
        std::fs::read_dir(running.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "rules" || name == "brainstem.toml"), "{names:?}");
}

#[test]
fn a_line_tells_the_decision_and_no_text() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("log.decisions", "decisions.jsonl").start();
    let texts = ["hello", "please refactor this xylophone", "is the xylophone in tune"];
    for text in texts {
        running.send(&asks::chat("llama3.2", text).header("x-request-id", "abc-1"));
    }
    // Nothing is decided about the one, and nobody asked the other.
    running.send(&asks::chat("llama3.2", "hello").header("x-brainstem-bypass", "1"));
    let body = Surface::Chat.body("llama3.2", "hello");
    assert_eq!(support::send(running.admin, &Request::json("/explain", &body)).status, 200);
    let lines = logged(&running, 3);
    let file = log_of(&running);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("xylophone"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let seen = |i: usize, key: &str| lines[i][key].as_str().unwrap_or("-").to_owned();
    assert_eq!([seen(0, "route"), seen(0, "answer"), seen(0, "category")], ["local", "greeting", "fast"]);
    assert_eq!(
        [seen(1, "rule"), seen(1, "category"), seen(1, "route")],
        ["code-words", "coding", "upstream"]
    );
    assert_eq!([seen(2, "decided_by"), seen(2, "category"), seen(2, "text")], ["default", "general", "-"]);
    for line in &lines {
        assert_eq!((&line["id"], &line["dialect"]), (&"abc-1".into(), &"chat".into()), "{line}");
        assert_eq!(line["hash"].as_str().unwrap().len(), 16);
        assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}

#[test]
fn the_log_turns_over_and_only_so_many_files_are_kept() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream)
        .set("log.decisions", "decisions.jsonl")
        .set("log.decisions_text", true)
        .set("log.decisions_max_size", "1KiB")
        .set("log.decisions_keep", 2)
        .start();
    for i in 0..20 {
        running.chat(&format!("tell me about town number {i}"));
    }
    let written = || running.metric("decision_log_lines_total{result=\"written\"}");
    eventually(DEADLINE, "all is written", || written() == 20.0);
    let mut names: Vec<String> = std::fs::read_dir(running.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("decisions"))
        .collect();
    names.sort();
    assert_eq!(names, ["decisions.jsonl", "decisions.jsonl.1", "decisions.jsonl.2"]);
    for name in names {
        let meta = std::fs::metadata(running.dir.path().join(&name)).unwrap();
        assert!(meta.len() <= 1024, "{name}: {}", meta.len());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let newest = lines(&log_of(&running)).pop().unwrap();
    assert_eq!(newest["text"], "tell me about town number 19");
    assert_eq!(running.metric("decision_log_lines_total{result=\"dropped\"}"), 0.0);
}

#[test]
fn what_was_decided_before_sigterm_is_in_the_log() {
    let upstream = Upstream::start();
    let mut running = Options::before(&upstream).set("log.decisions", "decisions.jsonl").start();
    for _ in 0..50 {
        running.chat("hello");
    }
    running.signal("TERM");
    running.ended(DEADLINE);
    assert_eq!(lines(&log_of(&running)).len(), 50);
}

#[test]
fn a_log_that_cannot_be_opened_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let said = brainstem()
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rules"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"))
        .env("BRAINSTEM_LOG_DECISIONS", "no/such/dir/d.jsonl")
        .env("BRAINSTEM_CLASSIFIER_MODE", "off")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("log.decisions: no/such/dir/d.jsonl: "), "{said}");
}

/// A command where that brainstem ran, with its config.
fn command(running: &Running, arguments: &[&str], typed: &str) -> Output {
    let mut child = brainstem()
        .args(arguments)
        .args(["--config", "brainstem.toml"])
        .current_dir(running.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read is no error of ours.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn bad(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn review_needs_a_log_with_text_and_says_how_to_get_it() {
    let upstream = Upstream::start();
    let without_log = Options::before(&upstream).start();
    assert!(bad(command(&without_log, &["review"], "")).contains("log.decisions"));
    assert!(bad(command(&without_log, &["review", "gone.jsonl"], "")).contains("gone.jsonl: "));
    let running = Options::before(&upstream).set("log.decisions", "decisions.jsonl").start();
    running.chat("is the xylophone in tune");
    logged(&running, 1);
    let said = bad(command(&running, &["review"], "g\n"));
    assert!(said.contains("log.decisions_text = true") && said.trim().lines().count() == 1, "{said}");
    assert!(bad(command(&running, &["eval", "--log", "decisions.jsonl"], "")).contains("brainstem review"));
}

#[test]
fn review_labels_what_is_least_certain_and_eval_reads_it() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream)
        .set("log.decisions", "decisions.jsonl")
        .set("log.decisions_text", true)
        .start();
    // A rule knows the first two; of the last nobody knows anything.
    for text in ["hello", "please refactor this", "hello", "is the xylophone in tune"] {
        running.chat(text);
    }
    logged(&running, 4);
    let log = std::fs::read(log_of(&running)).unwrap();
    let said = good(command(&running, &["review"], "n\nc\nu\ng\nq\n"));
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(at("| is the xylophone in tune") < at("| hello"), "{said}");
    assert!(said.contains("1 of 3 ") && said.contains("labelled 2 now, 0 before, 1 left"), "{said}");
    // Goes on where it stopped.
    let again = good(command(&running, &["review"], "c\n"));
    assert!(again.contains("1 of 1 ") && again.contains("| please refactor this"), "{again}");
    assert!(again.contains("labelled 1 now, 2 before, 0 left"), "{again}");
    assert_eq!(std::fs::read(log_of(&running)).unwrap(), log, "the log is as it was");
    let labels = lines(&running.dir.path().join("decisions.jsonl.labels"));
    let labels: Vec<_> =
        labels.iter().map(|l| (l["label"].as_str().unwrap(), l["text"].as_str().unwrap())).collect();
    let wanted =
        [("general", "is the xylophone in tune"), ("greeting", "hello"), ("coding", "please refactor this")];
    assert_eq!(labels, wanted);
    let told = good(command(&running, &["eval", "--json", "--log", "decisions.jsonl"], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["n"], &told["accuracy"]), (&3.into(), &1.0.into()), "{told}");
    std::fs::write(running.dir.path().join("more.tsv"), "coding\thello\n").unwrap();
    let told = good(command(&running, &["eval", "--json", "more.tsv", "--log", "decisions.jsonl"], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["n"], &told["accuracy"]), (&4.into(), &0.75.into()), "{told}");
}

#[test]
fn eval_asks_the_classifier_in_either_arm() {
    let upstream = Upstream::start();
    let running = experiment(&upstream, 0.0).start();
    let tsv: String = CODING.iter().map(|text| format!("coding\t{text}\n")).collect();
    std::fs::write(running.dir.path().join("lines.tsv"), tsv).unwrap();
    let told = good(command(&running, &["eval", "--json", "lines.tsv"], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["classified"], CODING.len(), "{told}");
    let told = good(command(&running, &["explain", "--json", CODING[0]], ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["arm"], &told["classifier"]["asked"]), (&"rules".into(), &false.into()), "{told}");
}

#[test]
fn train_reads_a_labelled_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut labelled = String::new();
    for i in 0..40 {
        for (label, text) in [
            ("coding", "fix the bug number N in my rust function"),
            ("greeting", "hello dear friend number N how nice"),
            ("general", "tell a story about\\nthe cat number N"),
            ("reasoning", "prove the theorem number N step by step"),
            ("data_question", "average sales of region N in this table"),
        ] {
            let text = text.replace('N', &i.to_string());
            labelled += &format!("{{\"label\":\"{label}\",\"text\":\"{text}\"}}\n");
        }
    }
    std::fs::write(dir.path().join("d.jsonl.labels"), labelled).unwrap();
    let train = |log: &str| {
        let arguments = ["train", "--log", log, "-o", "own.safetensors", "--dev", "dev.tsv"];
        brainstem().args(arguments).current_dir(dir.path()).output().unwrap()
    };
    let said = train("d.jsonl");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8(said.stderr).unwrap().contains("200 lines from 1 files"));
    assert!(dir.path().join("own.safetensors").exists());
    let dev = std::fs::read_to_string(dir.path().join("dev.tsv")).unwrap();
    assert!(!dev.is_empty() && dev.lines().all(|line| line.split('\t').count() == 4), "{dev}");
    assert!(bad(train("gone.jsonl")).contains("gone.jsonl: no such log of decisions"));
}
