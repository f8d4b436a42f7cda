//! Phrases that teach by example: `rules/examples/*.tsv`, lines of `label<TAB>phrase`. A message that no rule
//! names gets the label of the phrase that it is like.
//!
//! Like is what shares rare words: a word that our own training phrases never have ("the Otter", "quillctl")
//! says almost everything, "report" says something, "how" nothing. So a few lines teach a team's private
//! vocabulary, and a line of everyday words moves nothing but its own repetitions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::Rule;
use super::file::Source;
use super::keywords::words;
use crate::answers::example;
use crate::category::Label;
use crate::intent::features::stem;
use crate::intent::labelled;
use crate::problem::Problem;
use crate::text::fold;

/// So much evidence decides: one word that hardly any training phrase has, or two that few have. The evidence of a
/// word is the logarithm of how rare it is. Chosen, like the next three, on `tests/fixtures/families.tsv`.
const ENOUGH: f32 = 7.0;
/// A word of one phrase alone says less than one that comes back: it may have been a slip.
const ONCE: f32 = 0.8;
/// Words that are not so rare are no evidence, however many of them there are: 1 in 400 training phrases has it.
const RARE: f32 = 6.0;
/// So much more of it than any phrase of another label has.
const MARGIN: f32 = 2.0;
/// Or the same rare and common words but for a few: the cosine from which a phrase counts as repeated.
const REPEATED: f32 = 0.8;
/// Longer messages are not compared.
const MAX_BYTES: usize = 1024;

/// The phrases of one moment.
#[derive(Debug, Default)]
pub(crate) struct Taught {
    phrases: Vec<Phrase>,
    /// A stem, to the phrases that have it.
    by_stem: HashMap<Box<str>, Vec<usize>>,
    /// What follows from a label, in the order of [`Label::ALL`]; empty without phrases.
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Phrase {
    label: Label,
    text: Box<str>,
    /// Without case and punctuation.
    normal: Box<str>,
    /// Of the vector of its stems' rarities.
    length: f32,
}

/// A taught phrase beside a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour<'s> {
    /// Its label.
    pub label: Label,
    /// As written.
    pub phrase: &'s str,
    /// Rarity of the words that both have.
    pub evidence: f32,
    /// How alike they are as a whole, 0 to 1.
    pub cosine: f32,
}

impl Neighbour<'_> {
    fn decides(&self) -> bool {
        self.evidence >= ENOUGH || self.cosine >= REPEATED
    }
}

impl Taught {
    /// Reads the files; everything wrong goes to `problems`.
    pub(crate) fn read<'a>(sources: impl Iterator<Item = &'a Source>, problems: &mut Vec<Problem>) -> Self {
        let mut taught = Self::default();
        let mut known: HashMap<String, Label> = HashMap::new();
        let mut room = String::new();
        for source in sources {
            let lines = match labelled::parse(&source.path, &source.text) {
                Ok(lines) => lines,
                Err(wrong) => {
                    problems.extend(wrong);
                    continue;
                }
            };
            for line in lines {
                let folded = fold(&line.text);
                let normal = example::normal(&folded, &mut room);
                match known.get(normal) {
                    Some(label) if *label == line.label => {}
                    Some(label) => {
                        let at = source.text.rfind(&line.text).unwrap_or(0);
                        let message = format!(
                            "{:?} is taught as {} here and as {} before (case and punctuation do not count): \
                             keep one of them",
                            line.text, line.label, label
                        );
                        problems.push(source.problem(at, message));
                    }
                    None => {
                        known.insert(normal.to_owned(), line.label);
                        taught.add(line.label, &line.text, &folded, normal);
                    }
                }
            }
            if taught.rules.is_empty() && !taught.phrases.is_empty() {
                taught.rules = Label::ALL.map(|label| rule(label, &source.path)).into();
            }
        }
        taught
    }

    fn add(&mut self, label: Label, text: &str, folded: &str, normal: &str) {
        let index = self.phrases.len();
        let stems = stems(folded);
        let length = stems.values().map(|rarity| rarity * rarity).sum::<f32>().sqrt();
        for stem in stems.into_keys() {
            self.by_stem.entry(stem.into()).or_default().push(index);
        }
        self.phrases.push(Phrase { label, text: text.into(), normal: normal.into(), length });
    }

    /// How many phrases there are.
    pub(crate) fn len(&self) -> usize {
        self.phrases.len()
    }

    /// The phrases that share something with a message, most telling first.
    pub(crate) fn neighbours(&self, folded: &str) -> Vec<Neighbour<'_>> {
        if self.phrases.is_empty() || folded.len() > MAX_BYTES {
            return Vec::new();
        }
        let mut shared: BTreeMap<usize, (f32, f32)> = BTreeMap::new();
        let stems = stems(folded);
        for (stem, rarity) in &stems {
            let Some(having) = self.by_stem.get(*stem) else { continue };
            let weight = if having.len() > 1 { *rarity } else { rarity * ONCE };
            for index in having {
                let (evidence, product) = shared.entry(*index).or_default();
                *evidence += if *rarity >= RARE { weight } else { 0.0 };
                *product += rarity * rarity;
            }
        }
        let length = stems.values().map(|rarity| rarity * rarity).sum::<f32>().sqrt();
        let mut room = String::new();
        let normal = example::normal(folded, &mut room);
        let neighbour = |(index, (evidence, product)): (usize, (f32, f32))| {
            let phrase = &self.phrases[index];
            let same = *phrase.normal == *normal;
            let cosine = if same { 1.0 } else { product / (length * phrase.length).max(f32::MIN_POSITIVE) };
            Neighbour { label: phrase.label, phrase: &phrase.text, evidence, cosine }
        };
        let mut found: Vec<_> = shared.into_iter().map(neighbour).collect();
        let telling = |n: &Neighbour<'_>| (n.cosine >= REPEATED, n.evidence);
        found.sort_by(|a, b| telling(b).partial_cmp(&telling(a)).unwrap_or(std::cmp::Ordering::Equal));
        found
    }

    /// What the phrases say of a message, if they say it clearly.
    pub(crate) fn rule(&self, folded: &str) -> Option<&Rule> {
        let neighbours = self.neighbours(folded);
        let best = neighbours.first().filter(|best| best.decides())?;
        let other = neighbours.iter().find(|other| other.label != best.label);
        let clear = other.is_none_or(|other| {
            best.evidence - other.evidence >= MARGIN || best.cosine >= REPEATED && other.cosine < REPEATED
        });
        let at = Label::ALL.iter().position(|label| *label == best.label)?;
        self.rules.get(at).filter(|_| clear)
    }
}

/// The stems of a message with their rarities, each once.
fn stems(folded: &str) -> HashMap<&str, f32> {
    words(folded).map(|at| stem(&folded[at])).map(|stem| (stem, rarity(stem))).collect()
}

/// Natural logarithm of how many training phrases there are for each that has this stem.
fn rarity(stem: &str) -> f32 {
    let (phrases, counts) = &*BACKGROUND;
    ((*phrases + 1) as f32 / (counts.get(stem).copied().unwrap_or(0) + 1) as f32).ln()
}

/// Whether more than one of our own training phrases of small talk has this word of a normal form, endings aside.
pub(crate) fn is_of_talk(word: &str) -> bool {
    TALK.get(stem(word)).is_some_and(|phrases| *phrases > 1)
}

/// How many of the training phrases of small talk have a stem.
static TALK: LazyLock<HashMap<Box<str>, usize>> = LazyLock::new(|| {
    const PHRASES: [&str; 2] = [
        include_str!("../../models/phrases/en-greeting.tsv"),
        include_str!("../../models/phrases/ru-greeting.tsv"),
    ];
    let mut room = String::new();
    let mut talk: HashMap<Box<str>, usize> = HashMap::new();
    for text in PHRASES.iter().flat_map(|file| file.lines()).filter_map(|line| line.split('\t').nth(1)) {
        let folded = fold(text);
        let stems: HashSet<&str> = example::normal(&folded, &mut room).split(' ').map(stem).collect();
        for stem in stems {
            *talk.entry(stem.into()).or_default() += 1;
        }
    }
    talk
});

/// How many training phrases there are, and how many have a stem.
static BACKGROUND: LazyLock<(usize, HashMap<Box<str>, usize>)> = LazyLock::new(|| {
    const PHRASES: [&str; 10] = [
        include_str!("../../models/phrases/en-coding.tsv"),
        include_str!("../../models/phrases/en-data_question.tsv"),
        include_str!("../../models/phrases/en-general.tsv"),
        include_str!("../../models/phrases/en-greeting.tsv"),
        include_str!("../../models/phrases/en-reasoning.tsv"),
        include_str!("../../models/phrases/ru-coding.tsv"),
        include_str!("../../models/phrases/ru-data_question.tsv"),
        include_str!("../../models/phrases/ru-general.tsv"),
        include_str!("../../models/phrases/ru-greeting.tsv"),
        include_str!("../../models/phrases/ru-reasoning.tsv"),
    ];
    let mut counts: HashMap<Box<str>, usize> = HashMap::new();
    let mut phrases = 0;
    for text in PHRASES.iter().flat_map(|file| file.lines()).filter_map(|line| line.split('\t').nth(1)) {
        phrases += 1;
        let folded = fold(text);
        let stems: HashSet<&str> = words(&folded).map(|at| stem(&folded[at])).collect();
        for stem in stems {
            *counts.entry(stem.into()).or_default() += 1;
        }
    }
    (phrases, counts)
});

/// What follows from a label that phrases gave.
fn rule(label: Label, file: &Path) -> Rule {
    Rule {
        name: format!("examples/{label}").into(),
        category: label.category(),
        answer: None,
        model: None,
        upstream: None,
        refuse: None,
        priority: i32::MIN,
        file: Arc::from(file),
        line: 1,
        conditions: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn taught(text: &str) -> Result<Taught, Vec<Problem>> {
        let source = Source::new(PathBuf::from("examples/own.tsv"), text.to_owned());
        let mut problems = Vec::new();
        let taught = Taught::read([&source].into_iter(), &mut problems);
        if problems.is_empty() { Ok(taught) } else { Err(problems) }
    }

    const LINES: &str = "data_question\tдай остатки на Полёте по рыжей ведомости\n\
                         data_question\twhat is the permeate flow on Otter today\n\
                         coding\tfix my marlow stanza for the gateway\n\
                         general\twrite a letter to my aunt about the garden\n";

    fn label(text: &str) -> Option<String> {
        taught(LINES).unwrap().rule(&fold(text)).map(|rule| rule.name.to_string())
    }

    #[test]
    fn private_words_decide() {
        assert_eq!(label("permeate was low again, numbers?").as_deref(), Some("examples/data_question"));
        assert_eq!(label("why does marlow refuse this stanza").as_deref(), Some("examples/coding"));
    }

    #[test]
    fn everyday_words_move_only_their_own_repetition() {
        assert_eq!(label("Write a letter to my aunt about the garden!").as_deref(), Some("examples/general"));
        assert_eq!(label("write a function for my weather sensors"), None);
        assert_eq!(label("what is the weather today"), None);
        assert_eq!(label(""), None);
    }

    #[test]
    fn the_neighbours_are_shown() {
        let taught = taught(LINES).unwrap();
        let neighbours = taught.neighbours(&fold("marlow stanza"));
        assert_eq!(neighbours[0].phrase, "fix my marlow stanza for the gateway");
        assert!(neighbours[0].decides(), "{neighbours:?}");
        assert_eq!(taught.len(), 4);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let told = |text: &str| taught(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(told("codng\tfix it\n")[0].starts_with("examples/own.tsv:1:1: unknown label \"codng\""));
        let twice = told("coding\tfix the otter\n\ngeneral\tFix the Otter!\n");
        assert!(
            twice[0].starts_with("examples/own.tsv:3:9: \"Fix the Otter!\" is taught as general here"),
            "{twice:?}"
        );
    }

    /// `tests/fixtures/families.tsv`: phrases of made-up teams, eight to teach, fifty to follow.
    #[test]
    fn eight_examples_teach_a_family() {
        /// What is taught, as a file; and labels with texts that should follow.
        type Family<'a> = (String, Vec<(&'a str, &'a str)>);
        let lines = include_str!("../../tests/fixtures/families.tsv").lines();
        let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
        for line in lines {
            let [family, label, role, text] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let (examples, unseen) = families.entry(family).or_default();
            match role {
                "example" => examples.push_str(&format!("{label}\t{text}\n")),
                _ => unseen.push((label, text)),
            }
        }
        assert_eq!(families.len(), 4);
        let everyday: Vec<&str> = include_str!("../../tests/fixtures/asks-real.tsv")
            .lines()
            .chain(include_str!("../../tests/fixtures/asks-chat.tsv").lines())
            .filter_map(|line| line.split('\t').nth(1))
            .collect();
        let mut missed: Vec<&(&str, &str)> = Vec::new();
        for (family, (examples, unseen)) in &families {
            let taught = taught(examples).unwrap();
            assert_eq!((taught.len(), unseen.len()), (8, 50), "{family}");
            let name = |text: &str| taught.rule(&fold(text)).map(|rule| rule.name.to_string());
            let follows = |(label, text): &&(&str, &str)| name(text) == Some(format!("examples/{label}"));
            missed.extend(unseen.iter().filter(|line| !follows(line)));
            let swung: Vec<_> = everyday.iter().filter(|text| name(text).is_some()).collect();
            assert!(swung.len() * 1000 <= everyday.len() * 3, "{family}: {swung:?}");
        }
        assert!(missed.len() <= 20, "{} of 200 missed: {missed:#?}", missed.len());
    }
}
