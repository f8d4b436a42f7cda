//! How good decisions are, on lines that nobody trained or tuned on: rules, taught phrases and classifier as a
//! request meets them. Floors, not targets: they stand a little below what was measured (docs/classifier.md), so
//! that a change that costs something is seen.
#![cfg(feature = "mlx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `brainstem eval --json` says of some lines, with the rules and the model of this repository.
fn figures(lines: &[(String, String)]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines.tsv");
    let text: String = lines.iter().map(|(label, text)| format!("{label}\t{text}\n")).collect();
    std::fs::write(&file, text).unwrap();
    figures_of(&file)
}

/// The same of a file, in whose third column the answers may be named that fit.
fn figures_of(file: &Path) -> Value {
    let ran = Command::new(env!("CARGO_BIN_EXE_brainstem"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["eval", "--json"])
        .arg(file)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Labels and texts of a fixture.
fn lines(name: &str, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let columns = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    columns.filter(|line| wanted(line[1])).map(|line| (line[0].to_owned(), line[1].to_owned())).collect()
}

fn classified(text: &str) -> bool {
    (5..=25).contains(&text.split_whitespace().count())
}

fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("{name} of {figures}"))
}

/// Floors of accuracy and of greetings answered here, on a fixture's lines that the classifier may be asked about.
fn holds(name: &str, accuracy: f64, coverage: f64) {
    let found = figures(&lines(name, classified));
    assert!(figure(&found, "accuracy") >= accuracy, "{found}");
    assert!(figure(&found, "greeting_coverage") >= coverage, "{found}");
    assert!(figure(&found, "false_local_rate") <= 0.004, "{found}");
}

#[test]
fn real_asks() {
    holds("asks-real.tsv", 0.91, 0.75);
}

#[test]
fn chat_lines_half_of_them_borderline() {
    holds("asks-chat.tsv", 0.88, 0.5);
}

#[test]
fn lines_of_any_length() {
    let found = figures_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asks.tsv"));
    assert!(figure(&found, "accuracy") >= 0.88, "{found}");
    assert!(figure(&found, "greeting_coverage") >= 0.83, "{found}");
    assert!(figure(&found, "fitting_rate") >= 0.97, "{found}");
    assert!(figure(&found, "false_local_rate") <= 0.003, "{found}");
}

/// What a reviewer found answered from here: distress, other people, other machines, thanks with a "but".
#[test]
fn what_is_more_than_small_talk_is_never_answered_here() {
    let found = figures(&lines("hostile.tsv", |_| true));
    assert!(figure(&found, "n") >= 29.0 && figure(&found, "local_coverage") == 0.0, "{found}");
}

/// A neighbouring letter lost, doubled or swapped in every third word, the same every time.
fn with_typos(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for (at, word) in words.iter_mut().enumerate().filter(|(at, _)| at % 5 == 2) {
        let mut letters: Vec<char> = word.chars().collect();
        if letters.len() >= 5 {
            match at % 3 {
                0 => drop(letters.remove(2)),
                1 => letters.swap(2, 3),
                _ => letters.insert(2, letters[2]),
            }
        }
        *word = letters.into_iter().collect();
    }
    words.join(" ")
}

#[test]
fn what_people_do_to_spelling_costs_little() {
    let plain: Vec<_> = [lines("asks-real.tsv", classified), lines("asks-chat.tsv", classified)].concat();
    let accuracy = |change: &dyn Fn(&str) -> String| {
        let changed: Vec<_> = plain.iter().map(|(label, text)| (label.clone(), change(text))).collect();
        figure(&figures(&changed), "accuracy")
    };
    let base = accuracy(&str::to_owned);
    for (name, change, most) in [
        ("ALL CAPS", &(|t: &str| t.to_uppercase()) as &dyn Fn(&str) -> String, 0.03),
        ("missing ё", &|t: &str| t.replace('ё', "е").replace('Ё', "Е"), 0.01),
        ("no punctuation", &|t: &str| t.replace([',', '.', '!', '?', ':', ';', '"', '«', '»'], ""), 0.03),
        ("typos", &with_typos, 0.04),
    ] {
        let found = accuracy(change);
        assert!(base - found <= most, "{name}: {found:.3}, without {base:.3}");
    }
}
