//! What the benches inside the process share: a clock, brains, and things to read.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use brainstem::brain::Brain;
use brainstem::config::{Config, Mode, Overrides};
use brainstem::problem::Problem;
use rustix::time::{ClockId, clock_gettime};

/// Asks of 5 to 25 words, half of them Russian.
pub(crate) const PROMPTS: &str = include_str!("../../src/commands/measure_prompts.txt");

/// Nothing here is random.
pub(crate) const SEED: u64 = 7;

const ROUNDS: usize = 15;

/// With the shipped rules and answers.
pub(crate) fn open(mode: Mode) -> anyhow::Result<Brain> {
    open_with(|config| config.classifier.mode = mode)
}

pub(crate) fn open_with(change: impl FnOnce(&mut Config)) -> anyhow::Result<Brain> {
    let mut config = Config::load(None, &Overrides::default()).map_err(|all| told(&all))?;
    change(&mut config);
    Brain::open(config, false).map_err(|all| told(&all))
}

pub(crate) fn told(problems: &[Problem]) -> anyhow::Error {
    anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

// ---- clocks ----

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Microseconds that this thread has had a CPU; what others take meanwhile does not count.
pub(crate) fn cpu() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

/// Microseconds of one call, from as many as fill some milliseconds.
pub(crate) fn batch(calls: usize, work: &mut dyn FnMut()) -> f64 {
    let before = cpu();
    (0..calls).for_each(|_| work());
    (cpu() - before) / calls as f64
}

/// Medians for all, each round visiting every one of them.
pub(crate) fn interleaved(works: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let calls: Vec<usize> = works.iter_mut().map(|work| (4000.0 / batch(3, *work)).ceil() as usize).collect();
    let mut seen = vec![Vec::new(); works.len()];
    for _ in 0..ROUNDS {
        for (at, work) in works.iter_mut().enumerate() {
            seen[at].push(batch(calls[at].clamp(1, 100_000), *work));
        }
    }
    seen.into_iter().map(median).collect()
}

// ---- things to read ----

pub(crate) const WORDS: &str = "the of and to in that is was for as with his they be at one have this from by hot but some what \
                     there we can out other were all your when up use word how said an each she which do their time";

pub(crate) fn prose(bytes: usize, words: &str) -> String {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let words: Vec<&str> = words.split_whitespace().collect();
    let marks = ["", "", "", "", "", "", ",", ".", ".\n", " \"x\"", "\n "];
    let mut out = String::with_capacity(bytes + 16);
    while out.len() < bytes {
        out.push_str(dice.choice(&words).unwrap_or(&""));
        out.push_str(dice.choice(marks).unwrap_or(""));
        out.push(' ');
    }
    out
}

pub(crate) fn body(messages: &[(&str, &str)]) -> Vec<u8> {
    let messages: Vec<_> = messages
        .iter()
        .map(|(role, content)| serde_json::json!({"role": role, "content": content}))
        .collect();
    serde_json::json!({"model": "m", "messages": messages, "stream": false}).to_string().into_bytes()
}

/// Turns of 4 KB, then a short question.
pub(crate) fn history(bytes: usize) -> Vec<u8> {
    let turn = prose(4000, WORDS);
    let mut messages = vec![("system", "You are a careful assistant.")];
    for at in 0..(bytes / 4200) / 2 * 2 {
        messages.push((if at % 2 == 0 { "user" } else { "assistant" }, &turn));
    }
    messages.push(("user", "and now refactor that function, please"));
    body(&messages)
}

/// Words that nobody uses, of `least` to 5 syllables.
pub(crate) fn coined(dice: &mut fastrand::Rng, least: usize) -> String {
    const SYLLABLES: [&str; 13] =
        ["ka", "lo", "mi", "ret", "su", "van", "dor", "пе", "ло", "вит", "ска", "нор", "ту"];
    (0..dice.usize(least..=5)).filter_map(|_| dice.choice(SYLLABLES)).collect()
}

/// The words of the prompts.
pub(crate) fn common() -> Vec<&'static str> {
    PROMPTS.split_whitespace().filter(|w| w.chars().all(char::is_alphabetic)).collect()
}

/// Rules as people write them: phrases of two words, single words with and without `*`, now and then a regex
/// or a condition. First words are such as the messages have, so that the search has to look further.
pub(crate) fn write_rules(dir: &Path, count: usize) -> anyhow::Result<()> {
    let mut dice = fastrand::Rng::with_seed(SEED);
    let common = common();
    let mut word = |least| coined(&mut dice, least);
    let mut dice = fastrand::Rng::with_seed(SEED + 1);
    let mut out = String::new();
    for at in 0..count {
        writeln!(out, "[[rule]]\nname = \"r{at}\"\ncategory = \"coding\"\npriority = {}", at % 97)?;
        if at < 10 {
            // The same ten in every set, with all that rules may have; the messages find them.
            writeln!(out, "any = [\"{}\"]", ["refactor", "stack trace*", "код", "unit test*"][at % 4])?;
        } else {
            let first = dice.choice(&common).map_or_else(String::new, |w| w.to_lowercase());
            write!(out, "any = [\"{first} {}\", \"{}\", \"{}*\"", word(3), word(4), word(4))?;
            writeln!(out, ", \"{} {}\"]", word(3), word(3))?;
        }
        match at % 20 {
            3 => writeln!(out, "regex = ['(?i)\\b{}\\d+\\b']", word(4))?,
            7 => writeln!(out, "words = \"..40\"")?,
            11 => writeln!(out, "when = {{ language = \"ru\" }}")?,
            _ => {}
        }
        out.push('\n');
        // A file has its limit.
        if (at + 1) % 10_000 == 0 || at + 1 == count {
            std::fs::write(dir.join(format!("rules-{at}.toml")), std::mem::take(&mut out))?;
        }
    }
    Ok(())
}
