//! Training texts as people would really type them: with typos, without full stops, with a greeting before
//! the work and thanks after it. The label never changes.

use fastrand::Rng;

use super::labelled::Labelled;
use crate::category::Label;
use crate::text::{Language, count_words, language};

const OPENERS: [[&str; 16]; 2] = [
    [
        "привет",
        "здравствуйте",
        "добрый день",
        "добрый вечер",
        "доброе утро",
        "салют",
        "хай",
        "слушай",
        "спасибо",
        "приветствую",
        "эй",
        "подскажи пожалуйста",
        "окей спасибо, теперь",
        "прив",
        "здорово",
        "как дела",
    ],
    [
        "hi",
        "hello",
        "hey",
        "good morning",
        "good evening",
        "hi there",
        "hey there",
        "thanks",
        "hello there",
        "yo",
        "ok thanks, now",
        "please",
        "hey bot",
        "how are you",
        "good afternoon",
        "hiya",
    ],
];
const CLOSERS: [[&str; 8]; 2] = [
    ["спасибо", "пожалуйста", "заранее спасибо", "буду благодарен", "благодарю", "плиз", "спс", "пж"],
    ["thanks", "please", "thank you", "thanks in advance", "pls", "thx", "cheers", "ty"],
];
const ENDS: [&str; 9] = ["?", "!", ".", "...", "!!", "??", ")", ")))", " :)"];
/// Keys of the two layouts, in the same places.
const LAYOUTS: [&str; 2] = ["qwertyuiop[]asdfghjkl;'zxcvbnm,.", "йцукенгшщзхъфывапролджэячсмитьбю"];

/// Makes variants of lines; owns the greetings that it puts before them.
pub struct Augmenter {
    /// Short greetings of the training lines: Russian, English.
    greetings: [Vec<String>; 2],
}

impl Augmenter {
    /// Takes the short greetings out of the training lines.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a Labelled>) -> Self {
        let mut greetings = [Vec::new(), Vec::new()];
        for line in lines {
            if line.label == Label::Greeting
                && count_words(&line.text) <= 6
                && let Some(side) = side(&line.text)
            {
                greetings[side].push(line.text.trim_end_matches(['.', '!', '?', ' ']).to_owned());
            }
        }
        Self { greetings }
    }

    /// One variant of a line, about half the time the line as it is.
    pub fn vary(&self, line: &Labelled, rng: &mut Rng) -> String {
        let mut text = line.text.clone();
        if let Some(side) = side(&text) {
            match line.label {
                Label::Greeting => self.join(&mut text, side, rng),
                _ => self.wrap(&mut text, side, rng),
            }
        }
        if chance(rng, 0.35) {
            let kept = text.trim_end_matches(['.', '!', '?', ' ']).len();
            text.truncate(kept.max(1).min(text.len()));
        }
        if chance(rng, 0.1) {
            text.push_str(ENDS[rng.usize(..ENDS.len())]);
        }
        if chance(rng, 0.1) {
            text.retain(|c| c != '\'');
        }
        if chance(rng, 0.2) {
            for _ in 0..=count_words(&text) / 12 {
                typo(&mut text, rng);
            }
        }
        if chance(rng, 0.006) {
            text = other_layout(&text);
        }
        text
    }

    /// Two greetings make a longer one.
    fn join(&self, text: &mut String, side: usize, rng: &mut Rng) {
        if count_words(text) <= 15
            && chance(rng, 0.2)
            && let Some(other) = pick(&self.greetings[side], rng)
        {
            let glue = [", ", "! ", ". ", " ", "? "][rng.usize(..5)];
            *text = if rng.bool() { format!("{other}{glue}{text}") } else { format!("{text}{glue}{other}") };
        }
    }

    /// A greeting, thanks or please around work leaves it work.
    fn wrap(&self, text: &mut String, side: usize, rng: &mut Rng) {
        if count_words(text) < 3 {
            return;
        }
        if chance(rng, 0.16) {
            let own = pick(&self.greetings[side], rng).filter(|_| rng.bool());
            let opener = own.map_or(OPENERS[side][rng.usize(..OPENERS[side].len())], String::as_str);
            let glue = [", ", "! ", ". ", " ", ", "][rng.usize(..5)];
            *text = format!("{opener}{glue}{text}");
        }
        if chance(rng, 0.06) {
            let glue = [", ", ". ", " ", "! "][rng.usize(..4)];
            text.push_str(glue);
            text.push_str(CLOSERS[side][rng.usize(..CLOSERS[side].len())]);
        }
    }
}

/// 0 Russian, 1 English.
fn side(text: &str) -> Option<usize> {
    match language(text) {
        Language::Ru => Some(0),
        Language::En => Some(1),
        Language::Other => None,
    }
}

fn chance(rng: &mut Rng, share: f32) -> bool {
    rng.f32() < share
}

fn pick<'a>(from: &'a [String], rng: &mut Rng) -> Option<&'a String> {
    (!from.is_empty()).then(|| &from[rng.usize(..from.len())])
}

/// One slip of a finger: a letter lost, doubled, swapped with the next or hit beside.
fn typo(text: &mut String, rng: &mut Rng) {
    let mut chars: Vec<char> = text.chars().collect();
    if chars.len() < 4 {
        return;
    }
    let at = rng.usize(1..chars.len() - 1);
    if !chars[at].is_alphabetic() {
        return;
    }
    match rng.u8(..4) {
        0 => _ = chars.remove(at),
        1 => chars.insert(at, chars[at]),
        2 if chars[at + 1].is_alphabetic() => chars.swap(at, at + 1),
        _ => {
            let beside = LAYOUTS.iter().find_map(|keys| {
                let key = keys.chars().position(|k| k == chars[at])?;
                keys.chars().nth(if rng.bool() { key + 1 } else { key.saturating_sub(1) })
            });
            chars[at] = beside.unwrap_or(chars[at]);
        }
    }
    *text = chars.into_iter().collect();
}

/// What comes out when the keyboard is still in the other language ("ghbdtn").
fn other_layout(text: &str) -> String {
    let Some(from) = side(text).map(|s| 1 - s) else { return text.to_owned() };
    text.chars()
        .map(|c| {
            let key = LAYOUTS[from].chars().position(|k| c.to_lowercase().eq([k]));
            key.and_then(|k| LAYOUTS[1 - from].chars().nth(k)).unwrap_or(c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: Label, text: &str) -> Labelled {
        Labelled { label, text: text.to_owned(), source: String::new() }
    }

    #[test]
    fn the_other_layout_is_the_known_one() {
        assert_eq!(other_layout("привет"), "ghbdtn");
        assert_eq!(other_layout("hello"), "руддщ");
    }

    #[test]
    fn the_same_seed_makes_the_same_variants_and_work_keeps_its_words() {
        let lines =
            [line(Label::Greeting, "привет!"), line(Label::Coding, "напиши функцию сортировки списка")];
        let made = |seed| {
            let (augmenter, mut rng) = (Augmenter::new(&lines), Rng::with_seed(seed));
            (0..300).map(|i| augmenter.vary(&lines[i % 2], &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        let work: Vec<String> = made(1).into_iter().skip(1).step_by(2).collect();
        assert!(work.iter().filter(|t| t.contains("функци")).count() > 100);
        assert!(work.iter().any(|t| t.starts_with("привет")), "a greeting before the work");
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_varied(text in "\\PC{0,40}", seed in 0u64..1000) {
            let line = line(Label::General, &text);
            let augmenter = Augmenter::new([&line]);
            let mut rng = Rng::with_seed(seed);
            for _ in 0..20 {
                augmenter.vary(&line, &mut rng);
            }
        }
    }
}
