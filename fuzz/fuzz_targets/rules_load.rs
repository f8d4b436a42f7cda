//! Any text as a rules file, and as a file of answers: no panic; what is refused says where and why; what is
//! accepted can be asked.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use brainstem::ask::Has;
use brainstem::category::Category;
use brainstem::dialect::Family;
use brainstem::rules::{Facts, Snapshot, VocabularyBuf};
use brainstem::text;
use libfuzzer_sys::fuzz_target;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap().keep();
    std::fs::create_dir(dir.join("answers")).unwrap();
    dir
});

fuzz_target!(|file: &[u8]| {
    let words = VocabularyBuf { categories: Category::BUILT_IN.to_vec(), upstreams: vec!["default".into()] };
    for name in ["rules.toml", "answers/answers.toml"] {
        let path = DIR.join(name);
        std::fs::write(&path, file).unwrap();
        match Snapshot::load(&DIR, &words.borrow()) {
            Err(problems) => assert!(!problems.is_empty() && problems.iter().all(|p| !p.message.is_empty())),
            Ok(snapshot) => ask(&snapshot, &String::from_utf8_lossy(file)),
        }
        std::fs::remove_file(path).unwrap();
    }
});

/// The file's own text is as good a message as any: it holds its keywords.
fn ask(snapshot: &Snapshot, message: &str) {
    for message in message.lines().take(40).chain([message]) {
        let folded = text::fold(message);
        let facts = Facts {
            text: message,
            folded: &folded,
            words: text::count_words(message),
            turns: 1,
            model: "llama3.2",
            family: Family::Ollama,
            has: Has::default(),
            language: text::language(message),
        };
        let winner = snapshot.winner(&facts).map(|rule| rule.name.clone());
        assert_eq!(winner, snapshot.matches(&facts).first().map(|m| m.rule.name.clone()));
        snapshot.fitting(&facts);
    }
}
