//! `complexity`: how much work an ask is, 1 to 5, from its words alone: a linear model over a few features.

use super::words::{Word, words};

/// 1: social talk, one fact. 2: a short text or look-up. 3: an explanation, a small program. 4: several steps or
/// constraints. 5: a system, a proof, a long plan.
pub type Level = u8;

/// Verbs and nouns of heavy work.
const HEAVY: &[&str] = &[
    "докаж",
    "доказ",
    "спроектир",
    "проектир",
    "проанализ",
    "анализ",
    "разработ",
    "архитектур",
    "оптимиз",
    "стратеги",
    "реализу",
    "реализац",
    "смоделир",
    "выведи формул",
    "рефактор",
    "отрефактор",
    "мигр",
    "распредел",
    "масштаб",
    "отказоустойч",
    "бизнес",
    "исследу",
    "исследован",
    "сравнительн",
    "диссерт",
    "алгоритм",
    "безопасност",
    "аудит",
    "регресс",
    "нейросет",
    "парсер",
    "компилятор",
    "микросервис",
    "производительн",
    "финансов",
    "prove",
    "proof",
    "design",
    "architect",
    "derive",
    "analyz",
    "analys",
    "optimiz",
    "optimis",
    "strateg",
    "implement",
    "refactor",
    "migrat",
    "distributed",
    "scalab",
    "fault",
    "concurren",
    "compiler",
    "parser",
    "microservice",
    "benchmark",
    "thorough",
    "comprehensive",
    "in-depth",
    "detailed",
    "simulate",
    "model",
    "algorithm",
    "complexity",
    "trade",
    "roadmap",
    "curriculum",
    "thesis",
    "research",
    "evaluate",
    "regression",
    "performance",
    "security",
];
/// Of middling work.
const MIDDLE: &[&str] = &[
    "напиш",
    "объясн",
    "состав",
    "сравн",
    "план",
    "функци",
    "скрипт",
    "программ",
    "сочин",
    "рассчит",
    "посчит",
    "вычисл",
    "реши",
    "решен",
    "почему",
    "зачем",
    "опиш",
    "отлад",
    "исправ",
    "запрос",
    "sql",
    "регуляр",
    "тест",
    "письм",
    "рассказ",
    "код",
    "придум",
    "подготов",
    "предлож",
    "ошибк",
    "write",
    "explain",
    "compose",
    "compare",
    "plan",
    "function",
    "script",
    "program",
    "calculate",
    "compute",
    "solve",
    "why",
    "describe",
    "debug",
    "fix",
    "query",
    "regex",
    "test",
    "letter",
    "story",
    "code",
    "draft",
    "suggest",
    "error",
    "difference",
    "разниц",
    "отлич",
    "essay",
    "how do",
    "как сделать",
    "как работает",
    "create",
    "созда",
    "build",
    "сделай",
    "таблиц",
    "generate",
];
/// Of what is looked up or said in a line.
const LIGHT: &[&str] = &[
    "привет",
    "здравств",
    "спасибо",
    "пока",
    "кто",
    "когда",
    "где",
    "столиц",
    "перевед",
    "как дела",
    "который час",
    "сколько времени",
    "синоним",
    "погод",
    "hello",
    "hi",
    "hey",
    "thanks",
    "thank",
    "bye",
    "who",
    "when",
    "where",
    "capital",
    "translate",
    "synonym",
    "weather",
    "what time",
    "spell",
    "define",
    "определен",
    "means",
    "значит",
    "назови",
    "name",
    "да",
    "нет",
    "yes",
    "no",
    "ok",
    "ок",
    "год",
    "сколько",
    "how many",
    "how old",
    "how far",
    "convert",
    "перефраз",
    "rephrase",
    "исправь ошибк",
    "fix the typo",
    "опечатк",
    "рифм",
    "rhyme",
    "столица",
    "колько будет",
    "what's",
    "joke",
];
/// What narrows an ask.
const CONSTRAINTS: &[&str] = &[
    "без ",
    "не более",
    "не менее",
    "должен",
    "должна",
    "должно",
    "должны",
    "учитыва",
    "с учетом",
    "при этом",
    "обязательно",
    "затем",
    "кроме того",
    "а также",
    "включая",
    "пошагов",
    "шаг за шагом",
    "подробно",
    "обоснуй",
    "с примерами",
    "с тестами",
    "каждый",
    "каждого",
    "каждой",
    "если",
    "ограничени",
    "бюджет",
    "для каждого",
    "плюсы и минусы",
    "варианта",
    "without",
    "must",
    "should",
    "at most",
    "at least",
    "no more than",
    "consider",
    "taking into account",
    "make sure",
    "then ",
    "also ",
    "including",
    "include",
    "step by step",
    "justify",
    "with examples",
    "with tests",
    "each ",
    "every ",
    "constraint",
    "budget",
    "pros and cons",
    "handle",
    "support",
    "given that",
    "under ",
];

/// Numbers of features; [`WEIGHTS`] has one for each, and one to begin with.
const FEATURES: usize = 12;

/// What a text shows of its work, each about 0 to 1.
pub(crate) fn features(text: &str) -> [f32; FEATURES] {
    let words = words(text);
    let low = text.to_lowercase().replace('ё', "е");
    let count = words.len() as f32;
    let has = |list: &[&str]| {
        let in_words = |stem: &str| match stem.contains(' ') {
            true => low.contains(stem),
            false => words.iter().any(|word| begins(word, stem)),
        };
        list.iter().filter(|stem| in_words(stem)).count() as f32
    };
    let capped = |value: f32, most: f32| value.min(most) / most;
    let (heavy, middle, light) = (has(HEAVY), has(MIDDLE), has(LIGHT));
    let code = text.contains("```")
        || text.matches(['{', '}', ';', '`']).count() >= 3
        || text.contains("->")
        || text.contains("()");
    let marks = low.matches([',', ';', ':', '(']).count() as f32
        + low.matches(" и ").count() as f32
        + low.matches(" and ").count() as f32;
    let numbers = words.iter().filter(|word| word.digits).count() as f32;
    [
        (1.0 + count).ln() / 5.0,
        capped(heavy, 1.0),
        capped((heavy - 1.0).max(0.0), 3.0),
        capped(middle, 1.0),
        capped((middle - 1.0).max(0.0), 2.0),
        capped(light, 1.0) * if heavy + middle == 0.0 { 1.0 } else { 0.3 },
        capped(has(CONSTRAINTS), 4.0),
        capped(marks, 6.0),
        capped(numbers, 4.0),
        f32::from(u8::from(code)),
        f32::from(u8::from(count <= 4.0)),
        capped(low.matches('?').count() as f32 - 1.0, 2.0).max(0.0),
    ]
}

/// Fitted by least squares (ridge 0.5) to the first half of the labelled set; in the order of [`features`].
const WEIGHTS: [f32; FEATURES + 1] =
    [1.28, 1.62, 1.1, 0.39, 0.6, 0.08, -0.59, 0.75, 1.09, -0.08, 0.0, -0.06, 0.0];

/// The level before it is rounded.
pub fn score(text: &str) -> f32 {
    let [start, weights @ ..] = WEIGHTS;
    start + features(text).iter().zip(weights).map(|(feature, weight)| feature * weight).sum::<f32>()
}

/// The level.
pub fn level(text: &str) -> Level {
    // Between 1 and 5, so that nothing is lost.
    score(text).round().clamp(1.0, 5.0) as Level
}

/// Short stems must be whole words: "no" is not in "note".
fn begins(word: &Word<'_>, stem: &str) -> bool {
    if stem.chars().count() <= 3 { word.low == stem } else { word.low.starts_with(stem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_and_heavy_work_are_told_apart() {
        for light in ["привет", "what is the capital of France?", "когда родился Пушкин"]
        {
            assert!(level(light) <= 2, "{light}: {}", score(light));
        }
        for heavy in [
            "Спроектируй отказоустойчивую архитектуру микросервисов для магазина с учётом бюджета, сравни три варианта и обоснуй выбор",
            "Design a distributed rate limiter, prove its correctness, implement it in Rust with tests and analyze the trade-offs",
        ] {
            assert!(level(heavy) >= 4, "{heavy}: {}", score(heavy));
        }
    }
}
