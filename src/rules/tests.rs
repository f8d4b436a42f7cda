//! Rules as a whole: directories in, decisions and complaints out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::answers::Live;
use crate::text::{count_words, fold, language};

fn fixtures(sub: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rules")).join(sub)
}

pub(super) fn vocabulary() -> VocabularyBuf {
    VocabularyBuf { categories: Category::BUILT_IN.to_vec(), upstreams: vec!["default".into(), "gpu".into()] }
}

/// Facts of a native, first-turn message to `llama3`, for `look`.
fn with_facts<T>(text: &str, look: impl FnOnce(Facts<'_>) -> T) -> T {
    look(Facts {
        text,
        folded: &fold(text),
        words: count_words(text),
        turns: 1,
        model: "mistral",
        family: Family::Ollama,
        has: Has::default(),
        language: language(text),
    })
}

fn load(files: &[(&str, &str)]) -> Result<Snapshot, Vec<Problem>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("answers")).unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Snapshot::load(dir.path(), &vocabulary().borrow())
}

fn valid() -> Snapshot {
    Snapshot::load(&fixtures("valid"), &vocabulary().borrow()).unwrap()
}

fn winner(snapshot: &Snapshot, text: &str) -> String {
    with_facts(text, |facts| snapshot.winner(&facts).map_or("-".into(), |rule| rule.name.to_string()))
}

#[test]
fn every_fault_is_told_with_its_place_and_what_is_allowed() {
    let mut told = String::new();
    let mut names: Vec<_> =
        std::fs::read_dir(fixtures("invalid")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_str().unwrap();
        let problems = load(&[(name, &std::fs::read_to_string(&path).unwrap())]).unwrap_err();
        for problem in problems {
            let dir = problem.file.parent().unwrap().display().to_string();
            writeln!(told, "{}", problem.to_string().replace(&format!("{dir}/"), "")).unwrap();
        }
        told.push('\n');
    }
    insta::assert_snapshot!(told);
}

#[test]
fn a_fault_in_one_file_does_not_hide_those_of_others() {
    let broken = ("a.toml", "[[rule]\n");
    let rule = ("b.toml", "[[rule]]\nname = 'x'\nanswer = 'perhaps-in-a'\nany = ['y']\ncategory = 'nope'\n");
    let problems = load(&[broken, rule]).unwrap_err();
    let lines: Vec<usize> = problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [1, 5], "{problems:?}");
}

#[test]
fn a_missing_directory_says_what_to_do() {
    let problems = Snapshot::load(&fixtures("nowhere"), &vocabulary().borrow()).unwrap_err();
    assert_eq!((problems.len(), problems[0].line), (1, 0));
    assert!(problems[0].message.contains("--rules"), "{}", problems[0]);
}

#[test]
fn an_empty_directory_has_no_rules() {
    let snapshot = load(&[]).unwrap();
    assert_eq!(winner(&snapshot, "привет"), "-");
    assert!(with_facts("привет", |facts| snapshot.fitting(&facts).is_none()));
}

#[test]
fn messages_get_the_rule_that_was_written_for_them() {
    let snapshot = valid();
    for (text, rule) in [
        ("Напиши функцию сортировки", "code-words"),
        ("напиши функцию, только не код", "-"),
        ("what does fn main() do", "code-words"),
        ("a stack\n trace in C++!", "code-words"),
        ("перестань тестировать", "-"),
        ("тесты на Rust", "code-both"),
        ("all things equal", "first-of-equals"),
        ("a poem", "no-poems"),
        ("12 + 30", "sums"),
        ("Привет!", "answers/greeting"),
        ("Добрый   день", "answers/greeting"),
        ("доброго времени суток, мой друг!", "answers/greeting"),
        ("👋👋🏽", "answers/greeting"),
        ("Hi there, what can you do?", "answers/capabilities"),
        ("привет, почему небо голубое", "-"),
        ("ping", "ping"),
        ("ping 10.0.0.1", "-"),
        ("there", "-"),
        ("", "-"),
    ] {
        assert_eq!(winner(&snapshot, text), rule, "{text}");
    }
    assert_eq!(winner(&snapshot, &"слово ".repeat(400)), "long");
}

#[test]
fn conditions_on_the_request_hold_all_together() {
    let snapshot = valid();
    let name = |facts: Facts<'_>| snapshot.winner(&facts).map_or("-".to_owned(), |r| r.name.to_string());
    with_facts("что это", |facts| {
        let mut images = Has::default();
        images.insert(Has::of("images").unwrap());
        assert_eq!(name(facts), "-");
        assert_eq!(name(Facts { has: images, ..facts }), "pictures");
        assert_eq!(name(Facts { model: "llama3:8b", ..facts }), "native-llama");
        assert_eq!(name(Facts { model: "qwen3:8b", ..facts }), "native-llama");
        assert_eq!(name(Facts { model: "llama3:8b", turns: 2, ..facts }), "-");
        assert_eq!(name(Facts { model: "llama3:8b", family: Family::OpenAi, ..facts }), "-");
        assert_eq!(name(Facts { model: "llama3:8b", words: 4, ..facts }), "-");
    });
}

#[test]
fn effects_are_those_written() {
    let snapshot = valid();
    let rule = |name: &str| snapshot.rules().iter().find(|rule| rule.name.as_ref() == name).unwrap();
    assert_eq!(rule("pictures").model.as_deref(), Some("llava"));
    assert_eq!(rule("pictures").category, Category::GENERAL);
    assert_eq!(rule("native-llama").upstream.as_deref(), Some("gpu"));
    assert_eq!(rule("no-poems").refuse.as_deref(), Some("No poems here."));
    assert_eq!(rule("ping").category, Category::FAST);
    assert_eq!(rule("ping").answer.as_ref().unwrap().name.as_ref(), "health");
    assert!(rule("ping").file.ends_with("20-request.toml"));
    assert_eq!(rule("ping").line, 31);
    assert_eq!(rule("answers/greeting").priority, 20);
}

#[test]
fn an_explanation_names_every_rule_and_why() {
    let snapshot = valid();
    let seen: Vec<String> = with_facts("hi, refactor fn x() there", |facts| {
        snapshot.matches(&facts).iter().map(|m| format!("{}: {}", m.rule.name, m.by)).collect()
    });
    assert_eq!(seen, ["code-words: keyword \"refactor*\""]);
    let seen: Vec<String> = with_facts("доброго времени суток", |facts| {
        snapshot.matches(&facts).iter().map(|m| format!("{}: {}", m.rule.name, m.by)).collect()
    });
    assert_eq!(seen, ["answers/greeting: example"]);
}

#[test]
fn answers_speak_the_language_of_the_message() {
    let snapshot = valid();
    let models = ["a".to_owned(), "b".to_owned()];
    let live = Live {
        model: "llama3",
        models: &models,
        upstream_up: true,
        uptime: Duration::from_secs(5),
        version: "0.1.0",
        rules: 3,
        now: jiff::civil::date(2026, 11, 23).at(9, 5, 0, 0).in_tz("Europe/Moscow").unwrap(),
    };
    let say = |name, language, seed| {
        snapshot.answer(name).unwrap().render(language, seed, &live).unwrap().into_owned()
    };
    assert_eq!(say("greeting", Language::Ru, 4), "Здравствуйте!");
    assert_eq!(say("greeting", Language::Ru, 5), "Добрый день!");
    assert_eq!(say("greeting", Language::Other, 5), "Hello!");
    assert_eq!(say("capabilities", Language::Ru, 0), "Models: a, b. Rules: 3.");
    assert_eq!(say("health", Language::Ru, 0), "Жив. Сегодня понедельник, 23 ноября 2026 г., 09:05.");
    assert_eq!(say("health", Language::En, 0), "Ich lebe.");
    assert!(snapshot.answer("nobody").is_none());
}

#[test]
fn a_social_message_without_a_rule_gets_the_answer_that_fits_or_none() {
    let snapshot = valid();
    let fitting = |text| with_facts(text, |facts| snapshot.fitting(&facts).map(|(a, _)| a.name.to_string()));
    assert_eq!(fitting("what can you do there").as_deref(), Some("capabilities"));
    assert_eq!(fitting("кто тебя сделал?"), None);
    assert_eq!(fitting("доброго пути"), None);
}

#[test]
fn the_order_of_rules_does_not_hang_on_how_they_are_found() {
    let text = "[[rule]]\nname='free'\ncategory='coding'\npriority=5\nregex='^.....$'\n
        [[rule]]\nname='always'\ncategory='coding'\npriority=7\nwords='2'\n
        [[rule]]\nname='word'\ncategory='coding'\npriority=6\nany=['ab']\n";
    let snapshot = load(&[("a.toml", text)]).unwrap();
    let all = |text| {
        with_facts(text, |facts| {
            snapshot.matches(&facts).iter().map(|m| m.rule.name.to_string()).collect::<Vec<_>>()
        })
    };
    assert_eq!(all("ab cd"), ["always", "word", "free"]);
    assert_eq!(all("ab"), ["word"]);
    assert_eq!(all("zzzzz"), ["free"]);
    assert_eq!(winner(&snapshot, "ab cd"), "always");
}

#[test]
fn long_texts_are_judged_by_head_and_tail_and_are_never_only_a_greeting() {
    let snapshot = valid();
    let middle = "так ".repeat(20_000);
    assert_eq!(winner(&snapshot, &format!("refactor {middle}")), "code-words");
    assert_eq!(winner(&snapshot, &format!("{middle} refactor")), "code-words");
    assert_eq!(winner(&snapshot, &"привет ".repeat(10_000)), "long");
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_loader(
        lines in proptest::collection::vec(
            proptest::prop_oneof![
                "(\\[\\[)?(rule|answer|x)(\\]\\])?",
                "(name|category|answer|any|all|none|regex|words|when|only|match|examples|ru|en|filler|priority) ?= ?.{0,20}",
                "(name|category|any|regex|words|en|filler) = (\"[^\"]{0,12}\"|\\['[^']{0,9}', \"[^\"]{0,9}\"\\]|[0-9.]{1,4}|true)",
                "(any|regex|en) = ['\"](\\*|\\(|\\{\\{|\\{% if|\\[a-|\\\\)?.{0,9}['\"]",
                "(when|match) = \\{ ?(turns|model|has|any|only) = .{0,9}\\}",
                "\\PC{0,30}",
            ],
            0..12,
        ),
        message in "\\PC{0,40}",
    ) {
        if let Ok(snapshot) = load(&[("a.toml", &lines.join("\n"))]) {
            with_facts(&message, |facts| {
                let first = snapshot.matches(&facts).first().map(|m| m.rule.name.clone());
                let won = snapshot.winner(&facts).map(|rule| rule.name.clone());
                assert_eq!(first, won);
                snapshot.fitting(&facts);
            });
        }
    }
}

#[test]
fn an_answer_covers_only_answers_that_there_are() {
    let file = |covers: &str| {
        format!(
            "[[answer]]\nname = 'both'\ncovers = ['{covers}']\nen = 'x'\n\
             [[answer]]\nname = 'bye'\nexamples = ['bye']\nen = 'y'\n"
        )
    };
    assert!(load(&[("answers/a.toml", &file("bye"))]).is_ok());
    let problems = load(&[("answers/a.toml", &file("by"))]).unwrap_err();
    assert_eq!((problems.len(), problems[0].line), (1, 3), "{problems:?}");
    assert!(problems[0].message.contains("unknown answer: \"by\""), "{problems:?}");
}

proptest::proptest! {
    /// Looking for no more keywords once the best rule is settled changes no winner.
    #[test]
    fn the_winner_is_the_best_of_all_that_match(
        rules in proptest::collection::vec((0i32..4, "[abc]", "[abc]{0,1}", "[abc]{0,1}", 0usize..3), 1..6),
        text in "[abcd ]{0,12}",
    ) {
        let mut file = String::new();
        for (at, (priority, any, all, none, words)) in rules.iter().enumerate() {
            writeln!(file, "[[rule]]\nname = 'r{at}'\ncategory = 'coding'\npriority = {priority}").unwrap();
            writeln!(file, "any = ['{any}']").unwrap();
            for (key, word) in [("all", all), ("none", none)].iter().filter(|(_, word)| !word.is_empty()) {
                writeln!(file, "{key} = ['{word}']").unwrap();
            }
            if *words > 0 {
                writeln!(file, "words = '{words}..'").unwrap();
            }
        }
        let snapshot = load(&[("a.toml", &file)]).unwrap();
        with_facts(&text, |facts| {
            let best = snapshot.matches(&facts).first().map(|found| found.rule.name.clone());
            assert_eq!(snapshot.winner(&facts).map(|rule| rule.name.clone()), best, "{file}");
        });
    }
}
