//! The documentation, tried: every block of config and rules is checked, every worked rule does what its table says,
//! every shell block runs against a real instance (or is at least understood), every link leads somewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use brainstem::ask::Guards;
use brainstem::brain::{Around, Brain};
use brainstem::cli::Cli;
use brainstem::config::{Config, Overrides};
use brainstem::dialect::Dialect;
use brainstem::explain::{Explanation, explain};
use clap::Parser;
use http::Method;
use support::running::brainstem;
use support::{Options, Upstream};
use tempfile::TempDir;

/// What examples take for granted beside the page's own config.
const GRANTED: &str = "[categories.legal]\n[upstream.big]\nurl = \"http://127.0.0.1:11435\"\n";

/// A block that runs one of these needs more than this machine is sure to have: it is read, not run.
const FOREIGN: [&str; 16] = [
    "make",
    "sudo",
    "docker",
    "systemctl",
    "systemd-analyze",
    "launchctl",
    "ollama",
    "brew",
    "pip",
    "npm",
    "git",
    "journalctl",
    "litellm",
    "llm",
    "export",
    "promtool",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation, what it includes put in.
struct Page {
    file: PathBuf,
    text: String,
}

/// A fenced block: its language, its text, the last heading of the second level above it.
struct Block<'a> {
    language: &'a str,
    text: String,
    line: usize,
    section: &'a str,
}

impl Page {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        Self { file: file.to_owned(), text: included(file, &text) }
    }

    fn name(&self) -> String {
        self.file.strip_prefix(root()).unwrap().display().to_string()
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let (mut blocks, mut section, mut open) = (Vec::new(), "", None::<Block<'_>>);
        for (number, line) in self.text.lines().enumerate() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => writeln!(block.text, "{line}").unwrap(),
                (None, Some(language)) => {
                    open = Some(Block { language, text: String::new(), line: number + 1, section });
                }
                (None, None) => section = line.strip_prefix("## ").unwrap_or(section),
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name());
        blocks
    }

    /// Its text without the blocks.
    fn prose(&self) -> String {
        let mut inside = false;
        let lines = self.text.lines().filter(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// mdBook's `{{#include FILE}}`.
fn included(file: &Path, text: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        match line.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}")) {
            Some(other) => whole += &std::fs::read_to_string(file.with_file_name(other)).unwrap(),
            None => writeln!(whole, "{line}").unwrap(),
        }
    }
    whole
}

/// Every page that a reader may follow.
fn pages() -> Vec<Page> {
    let mut files =
        vec![root().join("README.md"), root().join("README.ru.md"), root().join("rules/README.md")];
    for folder in ["docs", "docs/ru"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|file| file.extension().is_some_and(|ending| ending == "md")));
    }
    files.sort();
    files.iter().map(|file| Page::read(file)).collect()
}

// === Config and rules

fn is_rules(text: &str) -> bool {
    ["[[rule]]", "[[answer]]", "filler =", "doubt ="].iter().any(|mark| text.contains(mark))
}

/// A folder with what ships, as a reader of the docs has it before them.
fn sandbox() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("rules"), &dir.path().join("rules"));
    copy(&root().join("config"), &dir.path().join("config"));
    std::os::unix::fs::symlink(root().join("models"), dir.path().join("models")).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The config blocks of a page or section, one config.
fn config_of<'a>(blocks: impl Iterator<Item = &'a Block<'a>>) -> String {
    let mut whole = toml::Table::new();
    for block in blocks.filter(|block| block.language == "toml" && !is_rules(&block.text)) {
        merge(&mut whole, block.text.parse().unwrap());
    }
    whole.to_string()
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(there)), toml::Value::Table(more)) => merge(there, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[track_caller]
fn check(config: &str, rules: &[(&str, &str)], what: &str) {
    let place = sandbox();
    std::fs::write(place.path().join("own.toml"), config).unwrap();
    for (name, text) in rules {
        let file = place.path().join("rules").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let ran = brainstem().args(["check", "--config", "own.toml"]).current_dir(place.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.is_empty(), "{what}:\n{said}");
}

#[test]
fn every_block_of_config_or_rules_passes_the_check() {
    let mut seen = 0;
    for page in pages() {
        let blocks = page.blocks();
        for block in blocks.iter().filter(|block| ["toml", "tsv"].contains(&block.language)) {
            let what = format!("{}, the block at line {}", page.name(), block.line);
            seen += 1;
            if block.language == "tsv" {
                check("", &[("examples/own.tsv", &block.text)], &what);
            } else if is_rules(&block.text) {
                let own = config_of(blocks.iter().filter(|other| other.section == block.section));
                let mut config: toml::Table = GRANTED.parse().unwrap();
                merge(&mut config, own.parse().unwrap());
                let mut rules = vec![("60-own.toml", &*block.text)];
                // A rule may name an answer that its section shows in another block.
                let same = blocks.iter().find(|other| {
                    other.section == block.section
                        && other.line != block.line
                        && other.text.contains("[[answer]]")
                });
                rules.extend(same.map(|other| ("61-more.toml", &*other.text)));
                check(&config.to_string(), &rules, &what);
            } else {
                check(&block.text, &[], &what);
            }
        }
    }
    assert!(seen > 30, "{seen} blocks seen");
}

#[test]
fn every_variable_is_a_twin_of_a_key() {
    // Read by make, the tests and the command line itself.
    let others = ["BRAINSTEM_CONFIG", "BRAINSTEM_BIN", "BRAINSTEM_PAGES"];
    let mut names = BTreeSet::new();
    for page in pages() {
        let words = page.text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        names.extend(
            words.filter(|word| word.starts_with("BRAINSTEM_") && !word.ends_with('_')).map(str::to_owned),
        );
    }
    names.retain(|name| !others.contains(&&**name));
    assert!(names.len() > 5, "{names:?}");
    let place = sandbox();
    for name in names {
        let ran = brainstem().arg("check").env(&name, "").current_dir(place.path()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!said.contains("warning: "), "{name}: {said}");
    }
}

// === Worked rules

/// What stands over the tables of worked rules.
const HEADERS: [&str; 2] = ["| ask | category | outcome |", "| вопрос | категория | что будет |"];

/// A row of a table `ask | category | what comes of it`.
struct Row<'a> {
    section: &'a str,
    ask: &'a str,
    category: &'a str,
    outcome: &'a str,
}

fn rows(page: &Page) -> Vec<Row<'_>> {
    let (mut rows, mut section, mut worked) = (Vec::new(), "", false);
    for line in page.text.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        worked = HEADERS.contains(&line) || (worked && line.starts_with('|'));
        if !worked {
            continue;
        }
        let cells = line.strip_prefix("| `").and_then(|rest| rest.strip_suffix(" |"));
        // An ask may hold a bar, the other cells do not.
        let Some((category, outcome)) = cells.and_then(|cells| cells.rsplit_once(" | ")) else { continue };
        let Some((ask, category)) = category.rsplit_once("` | `") else { continue };
        let Some(category) = category.strip_suffix('`') else { continue };
        rows.push(Row { section, ask, category, outcome });
    }
    rows
}

fn asked(brain: &Brain, ask: &str) -> Explanation {
    let (path, body) = match ask.split_once(" {") {
        Some((path, body)) if path.starts_with('/') => (path, format!("{{{body}")),
        _ => {
            let message = serde_json::json!({"role": "user", "content": ask});
            ("/api/chat", serde_json::json!({"model": "auto", "messages": [message]}).to_string())
        }
    };
    let dialect = Dialect::of(&Method::POST, path).unwrap_or_else(|| panic!("{path} is no path of an ask"));
    let around = Around { hint: None, guards: Guards::default(), id: None };
    let explained = explain(brain, dialect, body.as_bytes(), around);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(explained).unwrap_or_else(|error| panic!("{ask}: {error}"))
}

/// Each part of an outcome, e.g. "answer `parking`" or "rule `contracts`, model `qwen2.5:32b`".
fn holds(part: &str, told: &Explanation) -> bool {
    let (kind, name) = part.split_once(' ').unwrap_or((part, ""));
    let name = Some(name.trim_matches('`').to_owned());
    match kind {
        "rule" => told.rule == name,
        "answer" => told.answer == name,
        "model" => told.rewritten_model == name,
        "upstream" => told.upstream == name,
        "guard" => told.guard.map(str::to_owned) == name,
        "refused" => told.answer.is_none() && told.reply.is_some(),
        "forwarded" => told.route == "upstream",
        _ => panic!("what is {part:?}?"),
    }
}

#[test]
fn every_worked_rule_does_what_its_table_says() {
    let mut recipes = BTreeSet::new();
    for page in pages() {
        let (rows, blocks) = (rows(&page), page.blocks());
        let sections: BTreeSet<&str> = rows.iter().map(|row| row.section).collect();
        for section in sections {
            let mine = || blocks.iter().filter(|block| block.section == section);
            let place = sandbox();
            for (number, block) in mine().enumerate() {
                let file = match block.language {
                    "toml" if is_rules(&block.text) => format!("rules/60-recipe-{number}.toml"),
                    "tsv" => "rules/examples/own.tsv".to_owned(),
                    _ => continue,
                };
                let file = place.path().join(file);
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, &block.text).unwrap();
            }
            let mut config: toml::Table = config_of(mine()).parse().unwrap();
            let more =
                format!("[proxy]\nrules = {:?}\n[classifier]\nmode = \"off\"\n", place.path().join("rules"));
            merge(&mut config, more.parse().unwrap());
            let file = place.path().join("own.toml");
            std::fs::write(&file, config.to_string()).unwrap();
            let config = Config::load(Some(&file), &Overrides::default()).unwrap();
            let brain = Brain::open(config, false).unwrap_or_else(|wrong| panic!("{section}: {wrong:?}"));
            for row in rows.iter().filter(|row| row.section == section) {
                let told = asked(&brain, row.ask);
                let what = format!("{}, {section}: {}", page.name(), row.ask);
                assert_eq!(told.category, row.category, "{what}: {told:#?}");
                let parts = row.outcome.split(", ").filter(|part| !part.is_empty());
                parts.for_each(|part| assert!(holds(part, &told), "{what}: {part}: {told:#?}"));
                if page.name() == "docs/cookbook.md" {
                    recipes.insert(section.to_owned());
                }
            }
        }
    }
    assert!(recipes.len() >= 20, "{} worked rules", recipes.len());
}

// === Commands

/// A shell's words, as far as the docs use them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for sign in line.chars() {
        match (quote, sign) {
            (None, '#') if word.is_none() => break,
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == sign => quote = None,
            (None, sign) if sign.is_whitespace() => words.extend(word.take()),
            (_, sign) => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    words
}

/// The arguments of each `brainstem …` in a block, without redirections and what else is the shell's.
fn calls(block: &str) -> Vec<Vec<String>> {
    let joined = block.replace("\\\n", " ");
    let mut calls = Vec::new();
    for line in joined.lines() {
        for part in line.split([';', '|']).flat_map(|part| part.split("&&")) {
            let words = words(part);
            let is_setting =
                |word: &String| word.split_once('=').is_some_and(|(name, _)| !name.contains(['/', '-']));
            let mut rest = words.iter().skip_while(|word| is_setting(word));
            if rest.next().is_some_and(|first| first.rsplit('/').next() == Some("brainstem")) {
                let own =
                    rest.take_while(|word| !word.starts_with(['<', '>', '&']) && !word.starts_with("2>"));
                calls.push(own.cloned().collect());
            }
        }
    }
    calls
}

/// Whether a block is to be run: it needs nothing that may be missing, and ends by itself.
fn runs(block: &str) -> bool {
    let ends = |call: &Vec<String>| {
        call.iter().any(|word| {
            ["check", "explain", "eval", "classify", "review", "completions", "man"].contains(&&**word)
        }) || call.iter().any(|word| word == "--target")
    };
    let foreign = block.lines().filter_map(|line| words(line).into_iter().find(|word| !word.contains('=')));
    !foreign.into_iter().any(|first| FOREIGN.contains(&&*first)) && calls(block).iter().all(ends)
}

fn shell_blocks(pages: &[Page]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in pages {
        for block in page.blocks().into_iter().filter(|block| block.language == "sh") {
            found.push((format!("{}, the block at line {}", page.name(), block.line), block.text));
        }
    }
    found
}

#[test]
fn every_command_of_ours_is_one_that_we_have() {
    let pages = pages();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let mut seen = 0;
    for (what, block) in shell_blocks(&pages) {
        let parsed = Command::new("bash").args(["-n", "-c", &block]).output().unwrap();
        assert!(parsed.status.success(), "{what}: {}", String::from_utf8_lossy(&parsed.stderr));
        for call in calls(&block) {
            seen += 1;
            let words = ["brainstem".to_owned()].into_iter().chain(call);
            if let Err(error) = Cli::try_parse_from(words) {
                assert!(!error.use_stderr(), "{what}: {error}");
            }
        }
        for line in block.lines() {
            if let [make, target, ..] = &words(line)[..]
                && make == "make"
            {
                assert!(
                    makefile.contains(&format!("\n{target}:")),
                    "{what}: make {target} is not in the Makefile"
                );
            }
        }
    }
    assert!(seen > 20, "{seen} commands seen");
    // In the running text: `brainstem WORD …` names a command that exists.
    for page in &pages {
        for code in page.prose().split('`').skip(1).step_by(2) {
            let Some(rest) = code.strip_prefix("brainstem ") else { continue };
            let command = rest.split_whitespace().next().unwrap_or("");
            if command.chars().all(|c| c.is_ascii_lowercase()) {
                let known = Cli::try_parse_from(["brainstem", command, "--help"]).unwrap_err();
                assert!(!known.use_stderr(), "{}: `{code}`: {known}", page.name());
            }
        }
    }
}

#[test]
fn every_block_of_commands_runs() {
    let upstream = Upstream::start();
    let place = sandbox();
    let here = place.path();
    let running = Options::before(&upstream).classifier("on").rules_at(&here.join("rules")).start();
    std::fs::create_dir_all(here.join("target/release")).unwrap();
    for name in ["brainstem", "target/release/brainstem"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_brainstem"), here.join(name)).unwrap();
    }
    // What the pages suppose to be there.
    std::fs::write(here.join("my-lines.tsv"), "greeting\tпривет\ncoding\tfix this stack trace\n").unwrap();
    let decision = r#"{"at":"2026-11-25T08:00:00Z","id":"a","hash":"1","dialect":"ollama_chat","language":"en","words":2,"rules_category":"general","category":"general","decided_by":"default","rule":null,"route":"upstream","answer":null,"guard":null,"arm":null,"text":"tell me more about it please","label":"general"}"#;
    std::fs::write(here.join("decisions.jsonl"), format!("{decision}\n")).unwrap();
    let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap());
    let (mut ran, mut seen) = (0, BTreeSet::new());
    for (what, block) in shell_blocks(&pages()) {
        // Pages repeat each other.
        if !runs(&block) || !seen.insert(block.clone()) {
            continue;
        }
        ran += 1;
        let script = block
            .replace("127.0.0.1:11440", &running.proxy.to_string())
            .replace("127.0.0.1:9464", &running.admin.to_string());
        let script =
            format!("set -euo pipefail\ncurl() {{ command curl -sS --fail-with-body \"$@\"; }}\n{script}");
        let mut command = Command::new("bash");
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("BRAINSTEM_") || name.starts_with("MLX_"))
        {
            command.env_remove(name);
        }
        command.args(["-c", &script]).current_dir(here).env("PATH", &path).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{what}:\n{block}\n{said}");
    }
    assert!(ran >= 10, "{ran} blocks ran");
}

// === The book

/// Targets of `[text](target)` in running text.
fn links(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let ends = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    ends.map(str::to_owned).collect()
}

/// As GitHub and mdBook make it of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for link in links(&page).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.file.clone() } else { page.file.parent().unwrap().join(file) };
            // What a page includes keeps the links of its own folder.
            let target = if target.exists() { target } else { root().join("rules").join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.name());
            if !anchor.is_empty() {
                let there = Page::read(&target);
                let mut headings = there.text.lines().filter(|line| line.starts_with('#'));
                let known = headings.any(|line| slug(line.trim_start_matches('#').trim()) == anchor);
                assert!(known, "{}: {link}: no such heading", page.name());
            }
        }
    }
}

#[test]
fn the_book_leads_to_every_page() {
    let summary = Page::read(&root().join("docs/SUMMARY.md"));
    let led: BTreeSet<PathBuf> = links(&summary).iter().map(|link| root().join("docs").join(link)).collect();
    for page in pages().iter().filter(|page| page.file.starts_with(root().join("docs"))) {
        let known = led.contains(&page.file) || page.file == summary.file;
        assert!(known, "docs/SUMMARY.md does not lead to {}: add a line to it", page.name());
    }
    for file in led {
        assert!(file.exists(), "docs/SUMMARY.md leads to {}, which is not there", file.display());
    }
}
