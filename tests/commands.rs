//! The binary's commands as a shell sees them: output, places of faults, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::http::{End, chunk};
use support::running::{ANSWERS, RULES, brainstem, shipped_model};
use support::upstream::{stream, stream_head};
use support::{Options, Step, Upstream, asks, eventually};
use tempfile::TempDir;

/// No command may take longer; one that does is ended, and its exit code is none.
const LONGEST: Duration = Duration::from_secs(60);

/// A directory with a config and rules, to run commands in.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("rules/rules.toml", RULES);
        place.write("rules/answers/answers.toml", ANSWERS);
        place.write("brainstem.toml", &format!("[classifier]\nmodel = {:?}\n", shipped_model()));
        place
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.dir.path().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut command = brainstem();
        let command = command.args(arguments).current_dir(self.dir.path());
        let mut child = command
            .env("BRAINSTEM_CONFIG", "brainstem.toml")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = stdin.to_owned();
        // A command that does not read is no error of ours.
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let (pid, (done, over)) = (child.id(), std::sync::mpsc::channel::<()>());
        let watchdog = std::thread::spawn(move || {
            if over.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").arg(pid.to_string()).status();
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(done);
        watchdog.join().unwrap();
        let _ = writer.join();
        Ran::of(output)
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        let out = self.good();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    /// What it says with exit code 1; never a panic.
    #[track_caller]
    fn bad(self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

#[test]
fn check_is_content_with_what_ships() {
    let shipped = brainstem().arg("check").current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = Ran::of(shipped).good();
    assert!(said.starts_with("ok: "), "{said}");
}

#[test]
fn check_counts_what_it_found() {
    let said = Place::new().run(&["check"]).good();
    assert_eq!(said, "ok: 3 rules and 1 answers in 2 files, 1 upstreams, 5 categories\n");
}

#[test]
fn check_names_each_fault_of_a_config_with_its_place() {
    let cases = [
        ("[proxy]\nlistn = \"x\"\n", "brainstem.toml:2:1:", "listen"),
        ("[proxy]\nlisten = \"here\"\n", "brainstem.toml:2:10:", "write it like"),
        ("[proxy]\nlisten = 7\n", "brainstem.toml:2:10:", "string"),
        ("[prox]\n", "brainstem.toml:1:2:", "proxy"),
        ("[proxy\n", "brainstem.toml:1:7:", ""),
        ("[classifier]\ntimeout = \"20s\"\n", "brainstem.toml:2:11:", "1s to 10s"),
        ("[classifier]\nmode = \"maybe\"\n", "brainstem.toml:2:8:", "\"on\", \"off\", \"shadow\""),
        ("[limits]\nmax_body = \"64 pounds\"\n", "brainstem.toml:2:12:", "64MiB"),
        ("[categories.coding]\nupstream = \"big\"\n", "brainstem.toml:2:12:", "\"default\""),
        ("[categories.coding]\nroute = \"locl\"\n", "brainstem.toml:2:9:", "did you mean \"local\""),
        ("[upstream.default]\nurl = \"ftp://x\"\n", "brainstem.toml:2:7:", "http"),
        ("[light]\nmax_concurrent = 4\n", "brainstem.toml:2:18:", "only 1"),
        ("[log]\nlevel = \"loud=very\"\n", "brainstem.toml:2:9:", "info"),
    ];
    for (text, place, allowed) in cases {
        let at = Place::new();
        at.write("brainstem.toml", text);
        let said = at.run(&["check"]).bad();
        assert!(said.starts_with(place) && said.contains(allowed), "{text}: {said}");
        // What is wrong for `check` does not start either.
        let served = at.run(&["serve"]).bad();
        assert!(served.starts_with(place), "{text}: {served}");
    }
}

#[test]
fn check_names_each_fault_of_rules_with_its_place() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"x\"\n{rest}\n");
    let cases = [
        (rule("category = \"codng\"\nany = [\"a\"]"), 3, 12, "did you mean \"coding\""),
        (rule("category = \"coding\"\nregex = ['(']"), 4, 11, "unclosed group"),
        (
            rule(
                "category = \"coding\"\nany = \"a\"\n\n[[rule]]\nname = \"x\"\ncategory = \"coding\"\nany = \"b\"",
            ),
            7,
            8,
            "\"x\"",
        ),
        (rule("answer = \"nobody\"\nany = [\"a\"]"), 3, 10, "greeting"),
        (rule("category = \"coding\"\nany = [\"a\"]\nupstream = \"bg\""), 5, 12, "default"),
        (rule("category = \"coding\""), 1, 1, "condition"),
        (rule("category = \"coding\"\nwords = \"5-7\""), 4, 9, "5..25"),
        (rule("category = \"coding\"\nany = [\"a\", 7]"), 4, 13, "string"),
        (rule("any = [\"a\"]"), 1, 1, ""),
        (rule("category = \"coding\"\nany = [\"a\"]\nwhen = { has = \"hands\" }"), 5, 16, "images"),
        (rule("category = \"coding\"\nany = [\"a\"]\ncolour = 1"), 5, 1, "category"),
        ("[[rules]]\n".to_owned(), 1, 3, "rule"),
        ("[[rule\n".to_owned(), 1, 7, ""),
    ];
    for (text, line, column, allowed) in cases {
        let at = Place::new();
        at.write("rules/rules.toml", &text);
        let said = at.run(&["check"]).bad();
        let place = format!("rules/rules.toml:{line}:{column}: ");
        assert!(said.starts_with(&place) && said.contains(allowed), "{text}: {said}");
        let served = at.run(&SERVE).bad();
        assert!(served.starts_with(&place), "{text}: {served}");
    }
}

#[test]
fn check_names_each_fault_of_answers_with_its_place() {
    let cases = [
        (
            "[[answer]]\nname = \"a\"\nen = \"Hi {{ modl }}\"\nexamples = [\"b c\"]\n",
            "3:13",
            "did you mean \"model\"",
        ),
        ("[[answer]]\nname = \"a\"\nen = \"Hi {% if %}\"\nexamples = [\"b c\"]\n", "3:", "template"),
        ("[[answer]]\nname = \"a\"\nexamples = [\"b c\"]\n", "1:1", "needs a text"),
        ("[[answer]]\nen = \"Hi\"\nexamples = [\"b c\"]\n", "1:1", "name"),
        (
            "[[answer]]\nname = \"a\"\nen = \"Hi\"\nenglish = \"Hi\"\nexamples = [\"b c\"]\n",
            "4:1",
            "two-letter",
        ),
    ];
    for (text, place, allowed) in cases {
        let at = Place::new();
        at.write("rules/answers/extra.toml", text);
        let said = at.run(&["check"]).bad();
        let place = format!("rules/answers/extra.toml:{place}");
        assert!(said.starts_with(&place) && said.contains(allowed), "{text}: {said}");
    }
}

#[test]
fn check_names_all_faults_at_once() {
    let at = Place::new();
    at.write("rules/a.toml", "[[rule]]\nname = \"x\"\ncategory = \"no\"\nany = \"a\"\n");
    at.write("rules/b.toml", "[[rule]]\nname = \"y\"\ncategory = \"coding\"\nregex = '['\n");
    let said = at.run(&["check"]).bad();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("rules/a.toml:3:12: ") && lines[1].starts_with("rules/b.toml:4:"), "{said}");
}

#[test]
fn check_says_what_cannot_be_read() {
    let at = Place::new();
    assert!(at.run(&["check", "--config", "gone.toml"]).bad().starts_with("gone.toml: "));
    assert!(at.run(&["check", "--rules", "gone"]).bad().contains("gone"));
}

#[test]
fn flags_speak_over_the_environment_and_that_over_the_file() {
    let at = Place::new();
    at.write("brainstem.toml", "[proxy]\nrules = \"file\"\n");
    assert!(at.run(&["check"]).bad().contains("file"));
    let mut command = brainstem();
    let command = command.arg("check").current_dir(at.dir.path()).env("BRAINSTEM_CONFIG", "brainstem.toml");
    Ran::of(command.env("BRAINSTEM_PROXY_RULES", "rules").output().unwrap()).good();
    let flag = command.args(["--rules", "elsewhere"]).output().unwrap();
    assert!(Ran::of(flag).bad().contains("elsewhere"));
}

#[test]
fn wrong_usage_is_2() {
    let at = Place::new();
    for arguments in [
        &["nonsense"] as &[&str],
        &["explain"],
        &["eval"],
        &["measure"],
        &["train"],
        &["check", "--colour"],
        &["measure", "--parse-logs", "--target", "http://x"],
        &["serve", "--listen"],
    ] {
        let ran = at.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains("--help"), "{}", ran.err);
    }
    for arguments in [&["--help"] as &[&str], &["--version"], &["eval", "--help"]] {
        assert_eq!(at.run(arguments).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn explain_tells_a_person() {
    let at = Place::new();
    let said = at.run(&["explain", "привет"]).good();
    for part in
        ["answers/greeting", "fast", "decided by rule", "local", "Привет! Чем могу помочь сегодня?", "micros"]
    {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let said = at.run(&["explain", "please", "refactor", "this"]).good();
    for part in ["code-words -> coding, priority 50", "rules/rules.toml:2", "<- won", "upstream"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let said = at.run(&["explain", "three little words"]).good();
    assert!(said.contains("none matched") && said.contains("3 words; it is asked about 5 to 25"), "{said}");
}

#[test]
fn explain_tells_a_program() {
    let at = Place::new();
    let told = at.run(&["explain", "--json", "write a python function that sorts a list of numbers"]).json();
    assert_eq!((&told["category"], &told["decided_by"]), (&"coding".into(), &"classifier".into()), "{told}");
    assert_eq!(told["classifier"]["asked"], true);
    assert_eq!(told["words"], 10);
    let scores: f64 =
        told["classifier"]["scores"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
    assert!((scores - 1.0).abs() < 1e-3, "{told}");

    let body =
        r#"{"model":"m","messages":[{"role":"user","content":"hello"}],"tools":[{"type":"function"}]}"#;
    at.write("ask.json", body);
    let told = at.run(&["explain", "--json", "--body", "ask.json", "--path", "/v1/chat/completions"]).json();
    assert_eq!((&told["route"], &told["guard"]), (&"upstream".into(), &"tools".into()));
    assert_eq!(told["guards"], serde_json::json!(["tools"]));
    let told = at.run_with(&["explain", "--json", "--body", "-", "--hint", "reasoning"], body).json();
    assert_eq!((&told["category"], &told["decided_by"]), (&"reasoning".into(), &"hint".into()));

    assert!(at.run(&["explain", "--body", "ask.json", "--path", "/api/pull"]).bad().contains("/api/pull"));
    assert!(at.run_with(&["explain", "--body", "-"], "{broken").bad().contains("forwarded unread"));
    assert!(at.run(&["explain", "--body", "gone.json"]).bad().contains("gone.json"));
}

const LINES: &str = "# label\ttext\n\
greeting\thello\n\
greeting\tпривет please\ttyped\n\
greeting\txyzzy\n\
coding\tplease refactor this\n\
coding\twrite a python function that sorts a list of numbers\n\
general\thi\n\
general\tthree little words\n";

#[test]
fn eval_tells_a_program() {
    let at = Place::new();
    // The first line has a tab and a `#`: it is a comment only without one.
    at.write("lines.tsv", &LINES.replace("# label\ttext\n", "# a comment\n\n"));
    let told = at.run(&["eval", "lines.tsv", "--json"]).json();
    assert_eq!(told["n"], 7);
    // Right: two greetings, both codings, one general.
    assert!((told["accuracy"].as_f64().unwrap() - 5.0 / 7.0).abs() < 1e-9, "{told}");
    // "hi" is labelled general and would be answered: one of the four that are no greetings.
    assert_eq!(told["false_local_rate"], 0.25);
    assert!((told["local_coverage"].as_f64().unwrap() - 3.0 / 7.0).abs() < 1e-9, "{told}");
    assert!(told["macro_f1"].as_f64().unwrap() > 0.5);
    let latency = &told["latency_us"];
    let quantile = |name: &str| latency[name].as_f64().unwrap();
    assert!(0.0 < quantile("p50") && quantile("p50") <= quantile("p95"), "{latency}");
    assert!(quantile("p95") <= quantile("p99") && quantile("p99") <= quantile("max"), "{latency}");
    assert_eq!(told["confusion"]["general"]["greeting"], 1);
    assert_eq!(told["confusion"]["coding"]["coding"], 2);
    for label in ["greeting", "data_question", "coding", "reasoning", "general"] {
        for figure in ["precision", "recall"] {
            assert!(told["labels"][label][figure].is_f64(), "{label} {figure}: {told}");
        }
    }
    assert_eq!(told["labels"]["coding"]["recall"], 1.0);
}

#[test]
fn eval_tells_a_person_and_names_wrong_lines() {
    let at = Place::new();
    at.write("lines.tsv", &LINES.replace("# label\ttext\n", ""));
    let ran = at.run(&["eval", "lines.tsv", "--wrong"]);
    assert!(ran.err.contains("general -> greeting  [answered: greeting]  hi"), "{}", ran.err);
    let said = ran.good();
    for part in ["7 lines", "accuracy 0.7143", "false-local 0.2500", "p99", "confusion"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

#[test]
fn eval_names_lines_that_are_none() {
    let at = Place::new();
    at.write("lines.tsv", "coding\tx\nno tab here\nfood\tx\n");
    let said = at.run(&["eval", "lines.tsv"]).bad();
    assert!(said.contains("lines.tsv:2:1: ") && said.contains("lines.tsv:3:1: "), "{said}");
    assert!(said.contains("greeting, data_question, coding, reasoning, general"), "{said}");
    assert!(at.run(&["eval", "gone.tsv"]).bad().contains("gone.tsv"));
}

#[test]
fn classify_is_the_classifier_alone() {
    let at = Place::new();
    let said = at
        .run_with(&["classify"], "write a python function that sorts a list\nпривет\n\nplease refactor\n")
        .good();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "a line for each, an empty one too");
    assert_eq!(
        (&lines[0]["text"], &lines[0]["label"]),
        (&"write a python function that sorts a list".into(), &"coding".into())
    );
    assert_eq!((&lines[1]["text"], &lines[1]["label"]), (&"привет".into(), &"greeting".into()));
    for line in &lines {
        assert!(line["micros"].is_u64(), "{line}");
        let scores = line["scores"].as_object().unwrap();
        assert_eq!(scores.len(), 5);
        let sum: f64 = scores.values().map(|v| v.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{line}");
        let label = line["label"].as_str().unwrap();
        assert!(
            (line["probability"].as_f64().unwrap() - scores[label].as_f64().unwrap()).abs() < 1e-6,
            "{line}"
        );
    }
    at.write("brainstem.toml", "[classifier]\nmodel = \"gone.safetensors\"\n");
    assert!(at.run_with(&["classify"], "x\n").bad().contains("gone.safetensors"));
}

#[test]
fn measure_reads_logs_of_both_systems() {
    let at = Place::new();
    let log = "2026-11-23T02:20:41Z  INFO [MLX_LIGHT_CLASSIFY] general -> coding goal_len=12 duration_ms=3\n\
               noise\n[MLX_LIGHT_CLASSIFY] general -> general goal_len=7 duration_ms=9\n\
               {\"fields\":{\"message\":\"[MLX_LIGHT_CLASSIFY] general -> coding goal_len=5 duration_ms=6\"}}\n";
    let said = at.run_with(&["measure", "--parse-logs"], log).good();
    for part in ["3 classifier lines, 2 changed", "2  general -> coding", "min 3, mean 6.00, max 9"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let told = at.run_with(&["measure", "--parse-logs", "--json"], log).json();
    assert_eq!((&told["lines"], &told["changed"], &told["max_ms"]), (&3.into(), &2.into(), &9.into()));
    assert!(at.run_with(&["measure", "--parse-logs"], "").good().contains("0 classifier lines"));
}

#[test]
fn measure_times_a_running_target() {
    let at = Place::new();
    let upstream = Upstream::start();
    let lines = ["{\"done\":false}\n".to_owned(), "{\"done\":true}\n".to_owned()];
    upstream.steps(stream("application/x-ndjson", &lines, Duration::from_millis(60)));
    at.write("prompts.txt", "what are tides and why do they come\n\n  hello  \n");
    let target = upstream.url();
    let arguments =
        ["measure", "--target", &target, "--prompts", "prompts.txt", "--model", "my \"own\"", "--json"];
    let told = at.run(&arguments).json();
    let all = told.as_array().unwrap();
    assert_eq!(all.len(), 2, "{told}");
    for timed in all {
        assert_eq!(timed["status"], 200);
        let (first, total) = (timed["first_byte_ms"].as_f64().unwrap(), timed["total_ms"].as_f64().unwrap());
        assert!(first >= 50.0 && total >= first + 40.0, "{timed}");
    }
    assert_eq!(upstream.received()[0].json()["model"], "my \"own\"");
    assert_eq!(upstream.received()[1].json()["messages"][0]["content"], "hello");

    upstream.steps(support::upstream::ok());
    let running = Options::before(&upstream).start();
    upstream.forget();
    let said = at.run(&["measure", "--target", &format!("http://{}/", running.proxy)]).good();
    assert!(upstream.count() >= 10, "the built-in asks");
    assert!(said.contains("first byte") && said.contains("upstream (medians)"), "{said}");
    for received in upstream.received() {
        let words = received.json()["messages"][0]["content"].as_str().unwrap().split_whitespace().count();
        assert!((5..=25).contains(&words), "{received:?}");
    }
    let nobody = format!("http://{}", support::running::nobody());
    assert!(at.run(&["measure", "--target", &nobody]).bad().contains(&nobody));
}

#[test]
fn training_is_deterministic_and_its_model_runs() {
    let at = Place::new();
    let mut lines = String::new();
    for i in 0..40 {
        lines += &format!("coding\tfix the bug number {i} in my rust function\n");
        lines += &format!("greeting\thello dear friend number {i} how nice\n");
        lines += &format!("general\ttell a story about the cat number {i}\n");
        lines += &format!("reasoning\tprove the theorem number {i} step by step\n");
        lines += &format!("data_question\taverage sales of region {i} in this table\n");
    }
    at.write("lines.tsv", &lines);
    for out in ["one.safetensors", "two.safetensors"] {
        at.run(&["train", "lines.tsv", "-o", out, "--seed", "3"]).good();
    }
    let read = |name: &str| std::fs::read(at.dir.path().join(name)).unwrap();
    assert_eq!(read("one.safetensors"), read("two.safetensors"));
    at.write("brainstem.toml", "[classifier]\nmodel = \"one.safetensors\"\n");
    let said = at.run_with(&["classify"], "fix the bug number 7 in my rust function\n").good();
    let line: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(line["scores"].as_object().unwrap().len(), 5);
    at.write("wrong.tsv", "cooking\tsoup\n");
    assert!(at.run(&["train", "wrong.tsv", "-o", "x"]).bad().contains("wrong.tsv:1:1"));
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let at = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(taken).unwrap();
    let address = held.local_addr().unwrap().to_string();
    for (arguments, key) in [
        (["serve", "--listen", &address, "--admin", "127.0.0.1:0"], "--listen"),
        (["serve", "--listen", "127.0.0.1:0", "--admin", &address], "--admin"),
    ] {
        let clock = Instant::now();
        let said = at.run(&arguments).bad();
        let last = said.lines().last().unwrap();
        assert!(last.contains(&format!("cannot listen on {address}")) && last.contains(key), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(clock.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_log_in_json_is_json() {
    let running = Options::before_nobody().set("log.format", "json").set("log.level", "info");
    // The ports are read from the message inside.
    let running = running.start();
    running.chat("explain the tides");
    running.log_line("/api/chat");
    for line in running.log() {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line["fields"]["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
#[cfg(unix)]
fn sigterm_ends_an_idle_brainstem_soon() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::start();
        let mut running = Options::before(&upstream).set("proxy.grace", "2s").start();
        running.chat("hello");
        running.signal(signal);
        running.ended(Duration::from_secs(8));
    }
}

#[test]
#[cfg(unix)]
fn sigterm_lets_a_running_stream_end() {
    let upstream = Upstream::start();
    let mut running = Options::before(&upstream).set("proxy.grace", "5s").start();
    let lines: Vec<String> = (0..20).map(|i| format!("{{\"line\":{i}}}\n")).collect();
    upstream.steps(stream("application/x-ndjson", &lines, Duration::from_millis(50)));
    let mut connection = running.connect();
    connection.write(&asks::chat("llama3.2", "explain the tides").bytes(running.proxy));
    eventually(support::DEADLINE, "it has begun", || {
        upstream.received().first().is_some_and(|r| r.sent.len() > 2)
    });
    running.signal("TERM");
    let reply = connection.reply("POST");
    assert_eq!((reply.text(), reply.end), (lines.concat().as_str(), End::LastChunk));
    running.ended(Duration::from_secs(15));
}

#[test]
#[cfg(unix)]
fn sigterm_waits_no_longer_than_its_grace() {
    let upstream = Upstream::start();
    let mut running = Options::before(&upstream).set("proxy.grace", "1s").start();
    upstream.steps(vec![stream_head("application/x-ndjson"), Step::Send(chunk(b"{}\n")), Step::Hang]);
    let mut connection = running.connect();
    connection.write(&asks::chat("llama3.2", "explain the tides").bytes(running.proxy));
    connection.reply_head();
    running.signal("TERM");
    running.ended(Duration::from_secs(10));
}

#[test]
fn nothing_is_written_into_the_working_directory() {
    let at = Place::new();
    let before = names(at.dir.path());
    at.run(&["check"]).good();
    at.run(&["explain", "hello"]).good();
    assert_eq!(names(at.dir.path()), before);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
