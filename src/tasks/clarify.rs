//! `clarify`: whether an ask for work says too little to be worth a guess, and the one question that would help.

use serde::Serialize;

use super::words::words;
use crate::text::{Language, language};

/// Whether to ask back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clarify {
    /// Nothing is said of what is to be worked on.
    pub needs: bool,
    /// What to ask, in the language of the text.
    pub question: Option<String>,
}

/// An ask with more words has said something.
const MOST_WORDS: usize = 9;

/// What kind of thing is left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Code,
    Text,
    Data,
    Plan,
    Thing,
}

/// Verbs of work.
const WORK: &[&str] = &[
    "сдела",
    "делай",
    "почин",
    "исправ",
    "улучш",
    "оптимиз",
    "напиш",
    "напис",
    "перепиш",
    "допиш",
    "доработ",
    "доделай",
    "передел",
    "помоги",
    "помочь",
    "разбер",
    "разобр",
    "посчита",
    "рассчит",
    "сравн",
    "проанализ",
    "анализ",
    "провер",
    "подготов",
    "созда",
    "состав",
    "реши",
    "реализ",
    "отлад",
    "настро",
    "рефактор",
    "отрефактор",
    "обнов",
    "объясн",
    "спланир",
    "придума",
    "ускор",
    "сократ",
    "оформ",
    "замен",
    "добав",
    "удали",
    "убери",
    "опиши",
    "переведи",
    "сгенерир",
    "построй",
    "нарису",
    "make",
    "do",
    "fix",
    "improve",
    "optimi",
    "write",
    "rewrite",
    "finish",
    "redo",
    "help",
    "solve",
    "compare",
    "analy",
    "check",
    "review",
    "prepare",
    "create",
    "build",
    "implement",
    "debug",
    "refactor",
    "update",
    "explain",
    "plan",
    "design",
    "generate",
    "speed",
    "shorten",
    "change",
    "add",
    "remove",
    "describe",
    "translate",
    "summarize",
    "calculate",
    "clean",
];
/// Words that name nothing.
const EMPTY: &[&str] = &[
    "это",
    "этот",
    "эту",
    "этого",
    "этим",
    "этом",
    "эти",
    "его",
    "ее",
    "их",
    "все",
    "всё",
    "тут",
    "там",
    "здесь",
    "то",
    "так",
    "мне",
    "меня",
    "мы",
    "нам",
    "я",
    "ты",
    "мой",
    "мою",
    "моего",
    "мое",
    "моем",
    "мои",
    "наш",
    "нашу",
    "наше",
    "с",
    "со",
    "и",
    "в",
    "на",
    "по",
    "для",
    "за",
    "к",
    "у",
    "же",
    "ну",
    "а",
    "бы",
    "ли",
    "пожалуйста",
    "плиз",
    "срочно",
    "быстро",
    "быстрее",
    "побыстрее",
    "лучше",
    "получше",
    "нормально",
    "нормальный",
    "хорошо",
    "хороший",
    "хорошую",
    "красиво",
    "правильно",
    "можешь",
    "можно",
    "надо",
    "нужно",
    "нужен",
    "нужна",
    "хочу",
    "чтобы",
    "работало",
    "работает",
    "заработало",
    "что",
    "нибудь",
    "то",
    "как",
    "какой",
    "снова",
    "опять",
    "еще",
    "больше",
    "один",
    "одну",
    "раз",
    "вещь",
    "вещи",
    "штука",
    "штуку",
    "дело",
    "делом",
    "задача",
    "задачу",
    "задаче",
    "задачей",
    "задание",
    "заданием",
    "проект",
    "проекта",
    "проекту",
    "проектом",
    "проекте",
    "проблему",
    "проблема",
    "проблемой",
    "проблемы",
    "вопрос",
    "вопросу",
    "работу",
    "работой",
    "it",
    "this",
    "that",
    "these",
    "those",
    "them",
    "thing",
    "things",
    "stuff",
    "something",
    "everything",
    "all",
    "me",
    "my",
    "our",
    "us",
    "i",
    "you",
    "the",
    "a",
    "an",
    "some",
    "one",
    "please",
    "pls",
    "asap",
    "now",
    "quickly",
    "better",
    "faster",
    "good",
    "nice",
    "nicer",
    "properly",
    "right",
    "work",
    "working",
    "works",
    "to",
    "with",
    "for",
    "on",
    "in",
    "of",
    "and",
    "can",
    "could",
    "would",
    "need",
    "want",
    "just",
    "again",
    "more",
    "up",
    "out",
    "so",
    "task",
    "project",
    "problem",
    "issue",
    "job",
    "assignment",
    "here",
    "get",
    "done",
    "same",
    "new",
];
const CODE: &[&str] = &[
    "код",
    "кода",
    "коду",
    "кодом",
    "коде",
    "баг",
    "баги",
    "багом",
    "ошибку",
    "ошибка",
    "ошибки",
    "скрипт",
    "программу",
    "программа",
    "функцию",
    "приложение",
    "сайт",
    "бота",
    "бот",
    "code",
    "bug",
    "bugs",
    "error",
    "errors",
    "script",
    "program",
    "function",
    "app",
    "application",
    "website",
    "site",
    "bot",
    "class",
    "api",
];
const TEXT: &[&str] = &[
    "текст",
    "текста",
    "тексте",
    "текстом",
    "письмо",
    "статью",
    "статья",
    "сообщение",
    "пост",
    "отчет",
    "документ",
    "резюме",
    "эссе",
    "ответ",
    "перевод",
    "text",
    "letter",
    "email",
    "article",
    "message",
    "post",
    "report",
    "document",
    "resume",
    "essay",
    "reply",
    "answer",
    "paragraph",
    "summary",
    "paper",
];
const DATA: &[&str] = &[
    "данные",
    "данных",
    "таблицу",
    "таблица",
    "таблицей",
    "цифры",
    "график",
    "выборку",
    "запрос",
    "файл",
    "файлы",
    "базу",
    "data",
    "table",
    "numbers",
    "chart",
    "query",
    "file",
    "spreadsheet",
    "dataset",
];
const PLAN: &[&str] = &[
    "план",
    "планы",
    "стратегию",
    "расписание",
    "презентацию",
    "plan",
    "strategy",
    "schedule",
    "presentation",
    "roadmap",
];

/// Judges a text that stands alone.
pub fn clarify(text: &str) -> Clarify {
    let question = question(text);
    Clarify { needs: question.is_some(), question: question.map(str::to_owned) }
}

/// What to ask back, if there is anything.
pub(crate) fn question(text: &str) -> Option<&'static str> {
    open(text).map(|open| asked(open, language(text)))
}

/// What is left open, if it is hopeless to guess.
fn open(text: &str) -> Option<Open> {
    // Something is enclosed: a quotation, a path, code, a list.
    if text.contains(['"', '«', '`', '{', '/', '\\', '<', '=', '\n', '@', '#']) || text.contains(": ") {
        return None;
    }
    let words = words(text);
    if words.is_empty() || words.len() > MOST_WORDS || words.iter().any(|word| word.digits) {
        return None;
    }
    let asks_back = words.first().is_some_and(|w| {
        w.is(&[
            "почему",
            "зачем",
            "кто",
            "где",
            "когда",
            "why",
            "who",
            "where",
            "when",
            "what",
            "сколько",
            "какая",
            "какое",
            "какие",
        ])
    });
    let is_work = |low: &str| {
        WORK.iter().any(|stem| if stem.len() <= 3 { low == *stem } else { low.starts_with(stem) })
    };
    let mut work = false;
    let mut open = Open::Thing;
    for word in &words {
        let low = word.low.as_str();
        if is_work(low) {
            work = true;
        } else if CODE.contains(&low) {
            open = Open::Code;
        } else if TEXT.contains(&low) {
            open = Open::Text;
        } else if DATA.contains(&low) {
            open = Open::Data;
        } else if PLAN.contains(&low) {
            open = Open::Plan;
        } else if !EMPTY.contains(&low) {
            return None;
        }
    }
    (work && !asks_back).then_some(open)
}

fn asked(open: Open, language: Language) -> &'static str {
    match (open, language) {
        (Open::Code, Language::Ru) => {
            "Пришлите, пожалуйста, код (или текст ошибки) и скажите, что он должен делать?"
        }
        (Open::Code, _) => "Could you share the code (or the error message) and say what it should do?",
        (Open::Text, Language::Ru) => "О чём должен быть текст, для кого он и какой длины?",
        (Open::Text, _) => "What should the text be about, who is it for, and how long should it be?",
        (Open::Data, Language::Ru) => "О каких данных речь и что нужно из них узнать?",
        (Open::Data, _) => "Which data do you mean, and what would you like to learn from it?",
        (Open::Plan, Language::Ru) => "Какая у плана цель, к какому сроку и что нужно учесть?",
        (Open::Plan, _) => "What is the goal, by when, and what has to be taken into account?",
        (Open::Thing, Language::Ru) => {
            "Что именно нужно сделать и с чем: можете прислать сам материал или описать его?"
        }
        (Open::Thing, _) => "What exactly should be done, and with what: could you share or describe it?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hopeless_asks_are_asked_back() {
        for vague in [
            "сделай",
            "почини это пожалуйста",
            "Fix it",
            "make it better",
            "напиши код",
            "помоги с проектом",
            "write the report please",
        ] {
            let said = clarify(vague);
            assert!(said.needs && said.question.as_deref().is_some_and(|q| q.ends_with('?')), "{vague}");
        }
        for clear in [
            "привет",
            "напиши хайку про осень",
            "fix the login redirect loop",
            "почему это не работает",
            "translate \"cat\"",
            "explain recursion",
            "сделай 5 копий",
            "это всё",
        ] {
            assert_eq!(clarify(clear), Clarify { needs: false, question: None }, "{clear}");
        }
    }
}
