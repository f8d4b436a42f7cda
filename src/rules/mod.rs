//! Rules: which category, answer, model or upstream a message gets because of its words.
//!
//! Layout, in the order in which a rules directory becomes a decision: `file` reads the directory, `table`
//! and `raw` make typed rules of it that still know their places, `compile` checks and compiles them
//! (`keywords` behind a `gate`, `patterns` behind `literals`, `conditions`, `bounds`), `matching` finds the rules that a
//! message matches, and `watch` does all of it again when a file changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::answers::doubt::Doubts;
use crate::answers::fitting::Fitting;
use crate::answers::{Answer, example};
use crate::ask::{Ask, Has};
use crate::category::Category;
use crate::dialect::Family;
use crate::intent::Wish;
use crate::problem::Problem;
use crate::text::{self, Language};
use conditions::Conditions;
use matching::Matcher;
use taught::Taught;

/// From this probability on, an answer about us is given on the classifier's word for words that its examples do not have,
/// too, if small talk has them at all. Of what was written to mislead and `doubt` does not catch, the most probable one
/// had .85.
const SURE_OF_US: f32 = 0.92;

mod bounds;
mod compile;
mod conditions;
pub(crate) mod file;
mod gate;
pub(crate) mod keywords;
mod literals;
mod matching;
mod patterns;
pub(crate) mod raw;
pub(crate) mod table;
mod taught;
#[cfg(test)]
mod tests;
mod watch;

pub use conditions::By;
pub use taught::Neighbour;
pub use watch::{Reload, Watch, WatchError, watch};

/// What rule files may name.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// For `category`.
    pub categories: &'a [Category],
    /// For `upstream`.
    pub upstreams: &'a [String],
}

/// A [`Vocabulary`] of its own, to keep.
#[derive(Debug, Clone)]
pub struct VocabularyBuf {
    /// For `category`.
    pub categories: Vec<Category>,
    /// For `upstream`.
    pub upstreams: Vec<String>,
}

impl VocabularyBuf {
    /// To look things up in.
    pub fn borrow(&self) -> Vocabulary<'_> {
        Vocabulary { categories: &self.categories, upstreams: &self.upstreams }
    }
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The last human message, as it was written: regexes run on it.
    pub text: &'a str,
    /// The same through [`crate::text::fold`]: keywords and examples are looked for in it.
    pub folded: &'a str,
    /// Its number of words ([`crate::text::count_words`]).
    pub words: usize,
    /// Human messages in the conversation, this one included.
    pub turns: usize,
    /// The model that the request names.
    pub model: &'a str,
    /// The family of API that the request speaks.
    pub family: Family,
    /// What the request carries besides text.
    pub has: Has,
    /// The message's language.
    pub language: Language,
}

impl<'a> Facts<'a> {
    /// Of an ask whose text has been looked at: `seen` is its window ([`crate::text::window`]), `folded` that folded.
    pub fn of(ask: &'a Ask<'_>, seen: &'a str, folded: &'a str) -> Self {
        Self {
            text: seen,
            folded,
            words: if seen.len() == ask.text.len() {
                text::count_folded_words(folded)
            } else {
                text::count_words(&ask.text)
            },
            turns: ask.turns,
            model: &ask.model,
            family: ask.dialect.family(),
            has: ask.has,
            language: text::language(seen),
        }
    }
}

/// One rule: what follows from it. An answer that may be chosen by its own `match` or examples is the rule
/// `answers/NAME`.
#[derive(Debug)]
pub struct Rule {
    /// As headers and metrics name it.
    pub name: Arc<str>,
    /// `fast` with an answer; `general` if the rule only sets `model`, `upstream` or `refuse`.
    pub category: Category,
    /// The answer to give.
    pub answer: Option<Arc<Answer>>,
    /// The model to ask instead of the category's.
    pub model: Option<Arc<str>>,
    /// The upstream to ask instead of the category's.
    pub upstream: Option<Arc<str>>,
    /// Refuse the request with this text.
    pub refuse: Option<Arc<str>>,
    /// The highest that matches wins.
    pub priority: i32,
    /// Where it is written.
    pub file: Arc<Path>,
    /// 1-based.
    pub line: usize,
    /// `None`: by examples only.
    conditions: Option<Conditions>,
}

impl Rule {
    /// It stands for a label that taught phrases gave, not for a rule of the files.
    pub(crate) fn is_taught(&self) -> bool {
        self.conditions.is_none() && self.answer.is_none()
    }
}

/// A rule that matched, for explanations.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'s> {
    /// The rule.
    pub rule: &'s Rule,
    /// Why it matched.
    pub by: By<'s>,
}

/// Rules and answers of one moment, checked as a whole and compiled.
pub struct Snapshot {
    /// Counts the sets that were swapped in; the first is 1.
    pub generation: u64,
    /// Of the files' names and contents, in hex.
    pub hash: String,
    /// In the order in which they count: rules by name, then answers by name.
    pub files: Vec<PathBuf>,
    /// When it was read.
    pub loaded_at: SystemTime,
    /// Best first.
    rules: Vec<Rule>,
    /// Sorted by name.
    answers: Vec<Arc<Answer>>,
    matcher: Matcher,
    /// Answers by their index above.
    fitting: Fitting,
    doubts: Doubts,
    taught: Taught,
}

impl Snapshot {
    /// Reads and compiles a rules directory, or says everything that is wrong with it.
    pub fn load(dir: &Path, vocabulary: &Vocabulary<'_>) -> Result<Self, Vec<Problem>> {
        compile::compile(file::read(dir), vocabulary)
    }

    /// The same with one file that is not there: `text` under the name `file`, in place of one of that name.
    pub fn load_with(
        dir: &Path,
        file: &str,
        text: String,
        vocabulary: &Vocabulary<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut sources = file::read(dir);
        sources.put(dir, file, text);
        compile::compile(sources, vocabulary)
    }

    /// The rule that a message gets: the highest priority that matches, among equals the first in the files.
    pub fn winner<'s>(&'s self, facts: &Facts<'_>) -> Option<&'s Rule> {
        self.rules.get(self.matcher.winner(&self.rules, facts)? as usize)
    }

    /// For a message that no rule names: the label that taught phrases like it have, as a rule `examples/LABEL`.
    pub fn taught<'s>(&'s self, facts: &Facts<'_>) -> Option<&'s Rule> {
        self.taught.rule(facts.folded)
    }

    /// The taught phrases that share words with a message, most telling first.
    pub fn neighbours<'s>(&'s self, facts: &Facts<'_>) -> Vec<Neighbour<'s>> {
        self.taught.neighbours(facts.folded)
    }

    /// How many phrases are taught.
    pub fn phrases(&self) -> usize {
        self.taught.len()
    }

    /// Every rule that matches, best first.
    pub fn matches<'s>(&'s self, facts: &Facts<'_>) -> Vec<Matched<'s>> {
        let found = self.matcher.matches(&self.rules, facts).into_iter();
        found.filter_map(|(rank, by)| Some(Matched { rule: self.rules.get(rank as usize)?, by })).collect()
    }

    /// For a message that is social but that no rule names: the answer with the most similar example, and
    /// how similar it is (0 to 1). `None` when that is too little or too close to another answer's.
    pub fn fitting<'s>(&'s self, facts: &Facts<'_>) -> Option<(&'s Answer, f32)> {
        let mut room = String::new();
        let fits = |form| self.fitting.best(form).map(|(answer, score)| (answer, score, form));
        let mut forms = self.forms(facts, &mut room).peekable();
        let whole = *forms.peek()?;
        let best = forms.filter_map(fits).max_by(|a, b| a.1.total_cmp(&b.1));
        let (answer, score, form) = best?;
        let answer: &Answer = self.answers.get(answer as usize)?;
        let kin = self.kin(answer);
        let fits = !self.is_doubtful(whole, &kin) && self.may_be_taken_for(answer, &kin, form);
        fits.then_some((answer, score))
    }

    /// The answer that the classifier names, or the one that stands for several of which it cannot say which; if
    /// the rules have it and it may be given on the classifier's word.
    pub fn foreseen(&self, wish: &Wish, facts: &Facts<'_>) -> Option<&Answer> {
        let one = wish.one().and_then(|(name, sure)| Some((self.answer(name)?, sure)));
        let (answer, sure) = match one {
            Some(one) => one,
            None => {
                let families = self.answers.iter().filter(|answer| !answer.covers.is_empty());
                let likely = families.map(|answer| (answer.as_ref(), wish.any_of(&answer.covers)));
                let best = likely.max_by(|a, b| a.1.total_cmp(&b.1));
                best.filter(|(_, sum)| *sum >= wish.family_from)?
            }
        };
        let kin = self.kin(answer);
        let mut room = String::new();
        let mut forms = self.forms(facts, &mut room).peekable();
        let whole = *forms.peek()?;
        if self.fitting.speaks_of_writer(whole, &kin) || self.is_doubtful(whole, &kin) {
            return None;
        }
        let sure = sure >= SURE_OF_US && whole.split(' ').all(|word| self.is_of_talk(word, &kin));
        (sure || forms.any(|form| self.may_be_taken_for(answer, &kin, form))).then_some(answer)
    }

    /// A word of `doubt` stands in a whole message in normal form that no example of these answers has. Not in one
    /// without its fillers: "but" is one.
    fn is_doubtful(&self, whole: &str, answers: &[u32]) -> bool {
        whole.split(' ').any(|word| self.doubts.is_one(word) && !self.fitting.knows(word, answers))
    }

    /// The numbers of an answer and of those that it stands for.
    fn kin(&self, answer: &Answer) -> Vec<u32> {
        let names = std::iter::once(&answer.name).chain(&answer.covers);
        let places = names.filter_map(|name| self.answers.binary_search_by(|a| a.name.cmp(name)).ok());
        places.filter_map(|at| u32::try_from(at).ok()).collect()
    }

    /// The message in normal form, and again with one filler after the other taken off its ends.
    fn forms<'r>(&self, facts: &Facts<'_>, room: &'r mut String) -> impl Iterator<Item = &'r str> {
        let whole = example::normal(facts.folded, room);
        std::iter::successors(Some(whole), |form| self.matcher.fillers().strip(form))
    }

    /// An answer about us is given for a message that no rule names only if each of its words stands in one of
    /// the answer's own examples: "which models of tesla are there" is not about us.
    fn may_be_taken_for(&self, answer: &Answer, kin: &[u32], form: &str) -> bool {
        !answer.is_about_us() || form.split(' ').all(|word| self.fitting.knows(word, kin))
    }

    /// A word that examples of these answers have, or more than one of our own training phrases of small talk.
    fn is_of_talk(&self, word: &str, answers: &[u32]) -> bool {
        self.fitting.knows(word, answers) || taught::is_of_talk(word)
    }

    /// The answer of that name.
    pub fn answer(&self, name: &str) -> Option<&Answer> {
        let at = self.answers.binary_search_by(|answer| answer.name.as_ref().cmp(name)).ok()?;
        self.answers.get(at).map(AsRef::as_ref)
    }

    /// All rules, best first; those of answers are among them.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// All answers, by name.
    pub fn answers(&self) -> impl ExactSizeIterator<Item = &Answer> {
        self.answers.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("hash", &self.hash)
            .field("rules", &self.rules.len())
            .field("answers", &self.answers.len())
            .finish_non_exhaustive()
    }
}
