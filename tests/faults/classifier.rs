//! MLX hangs, is killed, is killed again. No request is lost by it, and none but the one that asked waits.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Options, Running, Upstream, eventually};
use crate::{OnDrop, signal};

/// Nothing that a rule knows: the classifier is asked.
const UNDECIDED: &str = "my grandmother always told me that autumn evenings are good for long stories";

fn apart(upstream: &Upstream) -> Options {
    Options::before(upstream).classifier("on").set("classifier.isolation", "process")
}

fn children(of: u32) -> Vec<u32> {
    let listed = Command::new("pgrep").args(["-P", &of.to_string()]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// The classifier's process, waited for.
#[track_caller]
fn child(running: &Running) -> u32 {
    let pid = running.child.id();
    eventually(DEADLINE, "the classifier has a process", || children(pid).len() == 1);
    children(pid)[0]
}

#[track_caller]
fn up(running: &Running) {
    eventually(DEADLINE, "the classifier is up", || running.metric("classifier_up") == 1.0);
}

fn asked(running: &Running, outcome: &str) -> f64 {
    running.metric(&format!("classifier_requests_total{{outcome=\"{outcome}\"}}"))
}

fn alive(pid: u32) -> bool {
    // A zombie that nobody waits for has no command line any more.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn both_ways_decide_alike() {
    let upstream = Upstream::start();
    upstream.models(None);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = root.join("rules");
    let mut one = Options::before(&upstream).classifier("on").rules_at(&rules).start();
    let mut other = apart(&upstream).rules_at(&rules).start();
    up(&one);
    up(&other);
    let lines = std::fs::read_to_string(root.join("tests/fixtures/asks.tsv")).unwrap();
    let texts: Vec<&str> = lines
        .lines()
        .filter_map(|line| line.split('\t').nth(1))
        .filter(|text| (5..=25).contains(&text.split_whitespace().count()))
        .collect();
    let texts: Vec<&str> = texts.iter().step_by((texts.len() / 60).max(1)).copied().collect();
    assert!(texts.len() >= 50, "{}", texts.len());
    let decision = |running: &Running, text: &str| {
        let reply = running.chat(text);
        let header = |name: &str| reply.header(&format!("x-brainstem-{name}")).map(str::to_owned);
        ["route", "category", "decided-by", "rule", "answer", "guard"].map(header)
    };
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        let here = decision(&one, text);
        assert_eq!(here, decision(&other, text), "{text}");
        *by.entry(here[2].clone().unwrap()).or_default() += 1;
    }
    assert!(by["classifier"] >= 5, "the classifier had its say: {by:?}");
    // Few words, and one of them longer than a line between the processes may be.
    let pid_before = child(&other);
    other.chat(&format!("one two three four five {}", "x".repeat(5 << 20)));
    assert_eq!((child(&other), other.metric("light_restarts_total")), (pid_before, 0.0));
    // One that stops takes its child with it.
    let pid = child(&other);
    one.signal("TERM");
    other.signal("TERM");
    one.ended(DEADLINE);
    other.ended(DEADLINE);
    eventually(DEADLINE, "the child is gone", || !alive(pid));
}

#[test]
fn a_classifier_that_hangs_costs_one_ask_its_budget() {
    let upstream = Upstream::start();
    let options = apart(&upstream).set("classifier.timeout", "1s").set("classifier.cooldown", "3s");
    let running = options.start();
    up(&running);
    let stopped = child(&running);
    signal(stopped, "STOP");
    let clock = Instant::now();
    let reply = running.chat(UNDECIDED);
    let waited = clock.elapsed();
    assert_eq!((reply.status, reply.category(), reply.route()), (200, "general", "upstream"));
    assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    assert_eq!(asked(&running, "timeout") + asked(&running, "error"), 1.0);
    // Those after it find the breaker open, or its process being made anew: no time is lost.
    let clock = Instant::now();
    for _ in 0..10 {
        assert_eq!(running.chat(UNDECIDED).status, 200);
    }
    assert!(clock.elapsed() < Duration::from_millis(2500), "{:?}", clock.elapsed());
    assert!(asked(&running, "open") >= 9.0, "{}", asked(&running, "open"));
    assert_eq!(running.metric("classifier_up"), 0.0);
    // The stuck process is put away, another one takes its place, and after the cooldown one probe closes the breaker.
    eventually(DEADLINE, "the stuck one is gone", || !alive(stopped));
    eventually(DEADLINE, "it is asked again", || {
        running.chat(UNDECIDED);
        asked(&running, "kept") + asked(&running, "changed") >= 1.0
    });
    assert_eq!(running.metric("classifier_up"), 1.0);
    assert_eq!(running.metric("light_restarts_total"), 1.0);
}

#[test]
fn killed_again_and_again_under_load_it_costs_no_request() {
    let kills: usize = std::env::var("FAULTS_KILLS").map_or(20, |n| n.parse().unwrap());
    let upstream = Upstream::start();
    let running = apart(&upstream).set("classifier.cooldown", "1s").start();
    up(&running);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut connection = running.connect();
                while !stop.load(Ordering::Relaxed) {
                    let reply = connection.exchange(&crate::support::asks::chat("llama3.2", UNDECIDED));
                    assert_eq!((reply.status, reply.route()), (200, "upstream"));
                    served.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let _stopped = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let mut last = 0;
        for kill in 0..kills {
            let pid = running.child.id();
            let found = || children(pid).into_iter().find(|child| *child != last && alive(*child));
            // A machine with much else to do needs its time to start one.
            eventually(Duration::from_secs(120), "another child", || found().is_some());
            last = found().unwrap_or(last);
            // Every third one while it loads, the others while they work.
            if kill % 3 != 0 {
                eventually(Duration::from_secs(120), "it is up again", || {
                    running.ready()["classifier"]["state"] != "loading"
                });
            }
            signal(last, ["KILL", "ABRT"][kill % 2]);
        }
    });
    assert!(served.load(Ordering::Relaxed) > kills, "there was load");
    assert!(running.metric("light_restarts_total") >= (kills - kills / 3 - 1) as f64);
    eventually(Duration::from_secs(60), "it works again", || {
        running.chat(UNDECIDED);
        running.metric("classifier_up") == 1.0
    });
}

#[test]
fn no_child_outlives_its_parent() {
    let upstream = Upstream::start();
    let mut running = apart(&upstream).start();
    let pid = child(&running);
    // Even one that stands still.
    signal(pid, "STOP");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    eventually(DEADLINE, "the child is gone", || !alive(pid));
}
