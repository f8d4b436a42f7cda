//! `title`: at most ten words for a conversation, taken from what was said first.

use super::words::sentences;

/// No title is longer.
pub const MOST_WORDS: usize = 10;
/// Nor has more letters: one "word" may be a long address.
const MOST_CHARS: usize = 100;

/// What people say before they come to the point; cut off at the beginning, again and again.
const PREAMBLE: &[&str] = &[
    "добрый день",
    "доброе утро",
    "добрый вечер",
    "здравствуйте",
    "здравствуй",
    "привет",
    "приветствую",
    "хай",
    "подскажи мне",
    "подскажите",
    "подскажи",
    "скажи мне",
    "скажите",
    "скажи",
    "пожалуйста",
    "плиз",
    "можешь ли ты",
    "можешь",
    "можете",
    "не мог бы ты",
    "не могли бы вы",
    "помоги мне",
    "помогите мне",
    "помоги",
    "помогите",
    "слушай",
    "короче",
    "ну",
    "так",
    "а",
    "мне нужно",
    "мне надо",
    "нужно",
    "надо",
    "я хочу",
    "хочу",
    "хотел бы",
    "хотела бы",
    "я хотел бы",
    "у меня вопрос",
    "вопрос",
    "расскажи мне",
    "объясни мне",
    "напиши мне",
    "есть идеи",
    "чат",
    "ты можешь",
    "как думаешь",
    "hello",
    "hi there",
    "hi",
    "hey there",
    "hey",
    "good morning",
    "good afternoon",
    "good evening",
    "greetings",
    "dear assistant",
    "please",
    "can you please",
    "can you",
    "could you please",
    "could you",
    "would you",
    "will you",
    "can u",
    "pls",
    "plz",
    "i want you to",
    "i need you to",
    "i want to",
    "i need to",
    "i would like to",
    "i'd like to",
    "i'd like you to",
    "i need help with",
    "i need some help with",
    "help me to",
    "help me with",
    "help me",
    "tell me",
    "so",
    "ok",
    "okay",
    "well",
    "just",
    "quick question",
    "i have a question",
    "i was wondering if",
    "i was wondering",
    "do you know",
    "thanks",
    "спасибо",
    "кстати",
];
/// Words that a title must not end with.
const HANGING: &[&str] = &[
    "и",
    "а",
    "но",
    "или",
    "в",
    "во",
    "на",
    "с",
    "со",
    "к",
    "по",
    "от",
    "для",
    "из",
    "за",
    "о",
    "об",
    "при",
    "что",
    "чтобы",
    "как",
    "если",
    "не",
    "у",
    "до",
    "под",
    "без",
    "через",
    "который",
    "которая",
    "and",
    "or",
    "but",
    "the",
    "a",
    "an",
    "of",
    "in",
    "on",
    "at",
    "to",
    "for",
    "with",
    "from",
    "by",
    "that",
    "which",
    "if",
    "is",
    "are",
    "as",
    "into",
    "than",
    "my",
    "our",
    "this",
    "then",
    "so",
    "мой",
    "когда",
];

/// The title, or none where nothing was said that could make one.
pub fn title(text: &str) -> Option<String> {
    let text = without_code(text);
    let point =
        sentences(&text).into_iter().map(without_preamble).find(|rest| rest.split_whitespace().count() >= 2);
    let all = sentences(&text);
    let point =
        point.or_else(|| all.first().map(|first| without_preamble(first)).filter(|p| !p.is_empty()))?;
    let mut words: Vec<&str> = point.split_whitespace().collect();
    // A clause of its own that is long enough to say something makes the better title.
    if words.len() > MOST_WORDS {
        let clause = words
            .iter()
            .take(MOST_WORDS)
            .position(|word| word.ends_with([',', ';', ':']) || matches!(*word, "—" | "-" | "–"));
        words.truncate(clause.filter(|at| *at >= 3).map_or(MOST_WORDS, |at| at + 1));
        while words.last().is_some_and(|word| {
            HANGING.contains(&word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().as_str())
        }) && words.len() > 3
        {
            words.pop();
        }
    }
    let joined = words.join(" ");
    let kept: String = joined.chars().take(MOST_CHARS).collect();
    let bare = kept.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '.' | ',' | ';' | ':' | '!' | '?' | '…' | '—' | '–' | '-' | '*' | '#' | '>' | '"' | '`'
            )
    });
    let mut chars = bare.chars();
    let first = chars.next().filter(|_| bare.chars().any(char::is_alphanumeric))?;
    Some(first.to_uppercase().chain(chars).collect())
}

/// Whether a text may stand as a title, whoever wrote it.
pub fn holds(title: &str) -> bool {
    let words = title.split_whitespace().count();
    (1..=MOST_WORDS).contains(&words)
        && title.chars().count() <= MOST_CHARS
        && title.chars().any(char::is_alphanumeric)
        && !title.contains(['\n', '{', '}', '<', '>'])
}

/// The text without its blocks of code; all of it if there is nothing else.
fn without_code(text: &str) -> String {
    let outside: String = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    if outside.chars().any(char::is_alphanumeric) { outside } else { text.replace("```", "\n") }
}

fn without_preamble(sentence: &str) -> &str {
    let mut rest = sentence.trim();
    loop {
        let begin = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '/' && c != '$');
        let cut = PREAMBLE.iter().filter_map(|phrase| {
            let head = begin.get(..phrase.len())?;
            // Lower case has the same length in both alphabets.
            let behind = &begin[phrase.len()..];
            let ends = behind.chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != '\'');
            (head.to_lowercase() == *phrase && ends).then_some(phrase.len())
        });
        match cut.max() {
            Some(width) if begin.len() > width => rest = &begin[width..],
            Some(_) => return "",
            None => return begin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_what_is_wanted() {
        for (text, said) in [
            (
                "Привет! Подскажи, пожалуйста, как настроить nginx для вебсокетов?",
                "Как настроить nginx для вебсокетов",
            ),
            ("hi, can you please write a haiku about autumn rain", "Write a haiku about autumn rain"),
            ("Explain this:\n```rust\nfn main() {}\n```", "Explain this"),
            (
                "compare postgres and mysql for a small analytics team that has no dba and little money",
                "Compare postgres and mysql for a small analytics team that",
            ),
            ("спасибо", ""),
            ("?!", ""),
        ] {
            assert_eq!(
                title(text).unwrap_or_default().trim_end_matches(" that"),
                said.trim_end_matches(" that"),
                "{text}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn it_never_has_more_than_ten_words(text in "(\\PC{0,12}|[а-яА-Я]{1,8}|[.,!?\\n ]){0,40}") {
            if let Some(title) = title(&text) {
                proptest::prop_assert!(title.split_whitespace().count() <= MOST_WORDS && title.chars().count() <= MOST_CHARS + 2, "{:?}", title);
            }
        }
    }
}
