//! What deploy/ carries is what brainstem takes: config and rules inside the manifests and the chart's values are
//! checked by `brainstem check`, and both say the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::path::Path;

use support::running::brainstem;

/// The block texts (`NAME.toml: |`, `config: |`) of a YAML file, by name.
fn blocks(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(least) = inside.filter(|least| line.is_empty() || indent >= *least) {
            let block = &mut found.last_mut().unwrap().1;
            block.push_str(line.get(least..).unwrap_or(""));
            block.push('\n');
            continue;
        }
        inside = line.trim_end().strip_suffix(": |").map(|name| {
            found.push((name.trim().to_owned(), String::new()));
            indent + 2
        });
    }
    found
}

/// The block of that name, without comments and white space around lines.
fn bare(blocks: &[(String, String)], name: &str) -> String {
    let (_, text) = blocks.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}"));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn manifests_and_chart_carry_a_config_and_rules_that_hold() {
    let plain = [blocks("deploy/kubernetes/config.yaml"), blocks("deploy/kubernetes/rules.yaml")].concat();
    let chart = blocks("deploy/helm/brainstem/values.yaml");
    assert_eq!(bare(&plain, "brainstem.toml"), bare(&chart, "config"));
    for rules in ["10-coding.toml", "greeting.toml"] {
        assert_eq!(bare(&plain, rules), bare(&chart, rules));
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("rules/answers")).unwrap();
    let file = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    file("brainstem.toml", bare(&plain, "brainstem.toml"));
    file("rules/10-coding.toml", bare(&plain, "10-coding.toml"));
    file("rules/answers/greeting.toml", bare(&plain, "greeting.toml"));
    let checked = brainstem()
        .args(["check", "--config", "brainstem.toml", "--rules", "rules"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("1 answers"), "{said}");
}
