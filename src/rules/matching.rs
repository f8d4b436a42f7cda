//! Which rules a message matches. Only rules that something in the message points to are looked at, best
//! first; so the cost hangs on the message, not on the number of rules.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::conditions::{By, Conditions};
use super::keywords::{KeywordId, Keywords, within_bound, words};
use super::patterns::Patterns;
use super::{Facts, Rule};
use crate::answers::example::{self, Fillers};

/// Place of a rule in the order of priority: 0 is the best.
pub(crate) type Rank = u32;

/// A rule that something in the message points to, and the keyword, if it is one.
type Pointed = (Rank, Option<KeywordId>);

/// Everything compiled that finds rules for a message. The rules themselves lie beside it, by rank.
#[derive(Debug)]
pub(crate) struct Matcher {
    keywords: Keywords,
    patterns: Patterns,
    fillers: Fillers,
    /// Normal form of each example, and whose it is.
    examples: HashMap<Box<str>, Rank>,
    longest_example: usize,
    by_keyword: Vec<Vec<Rank>>,
    by_pattern: Vec<Vec<Rank>>,
    /// Rules that no keyword or literal points to.
    always: Vec<Rank>,
    /// The best rule that looks at keywords at all, if one of its `any` is enough for it: once it is hit, no other
    /// keyword of the message can change the winner.
    settled_by: Option<Rank>,
    /// How many rules there are.
    ranks: usize,
}

/// What was seen in one message. A stamp equal to `epoch` says "in this message", so that nothing needs to
/// be wiped between two of them.
#[derive(Debug, Default)]
struct Seen {
    epoch: u32,
    keywords: Vec<u32>,
    patterns: Vec<u32>,
    ranks: Vec<u32>,
    /// Where keywords of `only` rules and fillers stand.
    covered: Vec<(usize, usize)>,
    /// Whether those places hold all words; not known until a rule asks.
    only: Option<bool>,
    example: Option<Rank>,
}

/// Room to work in, used by each thread again and again.
#[derive(Debug, Default)]
struct Scratch {
    seen: Seen,
    candidates: Vec<Pointed>,
    text: String,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Matcher {
    pub(crate) fn new(
        keywords: Keywords,
        patterns: Patterns,
        fillers: Fillers,
        examples: HashMap<Box<str>, Rank>,
        rules: &[Rule],
    ) -> Self {
        let mut matcher = Self {
            by_keyword: vec![Vec::new(); keywords.len()],
            by_pattern: vec![Vec::new(); patterns.len()],
            always: Vec::new(),
            settled_by: settled_by(rules),
            ranks: rules.len(),
            longest_example: examples.keys().map(|e| e.len()).max().unwrap_or(0),
            keywords,
            patterns,
            fillers,
            examples,
        };
        for (rank, rule) in rules.iter().enumerate() {
            if let Some(conditions) = &rule.conditions {
                matcher.index(rank as Rank, conditions);
            }
        }
        matcher
    }

    /// Writes down what in a message points to this rule.
    fn index(&mut self, rank: Rank, conditions: &Conditions) {
        // All of `all` must be there, so its longest keyword is enough to wait for.
        if let Some(rarest) = conditions.all.iter().max_by_key(|id| self.keywords.shown(**id).len()) {
            self.by_keyword[*rarest as usize].push(rank);
            return;
        }
        for id in &conditions.any {
            self.by_keyword[*id as usize].push(rank);
        }
        let mut always = conditions.any.is_empty() && conditions.regex.is_empty();
        for id in &conditions.regex {
            match self.patterns.is_free(*id) {
                true => always = true,
                false => self.by_pattern[*id as usize].push(rank),
            }
        }
        if always {
            self.always.push(rank);
        }
    }

    /// The best rule that matches.
    pub(crate) fn winner(&self, rules: &[Rule], facts: &Facts<'_>) -> Option<Rank> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.look(facts, scratch, self.settled_by);
            let Scratch { seen, candidates, .. } = scratch;
            self.first(candidates, |at| self.holds(at, rules, facts, seen).map(|_| at.0))
        })
    }

    /// Every rule that matches, best first.
    pub(crate) fn matches(&self, rules: &[Rule], facts: &Facts<'_>) -> Vec<(Rank, By<'_>)> {
        let mut found: Vec<(Rank, By<'_>)> = Vec::new();
        SCRATCH.with_borrow_mut(|scratch| {
            self.look(facts, scratch, None);
            let Scratch { seen, candidates, .. } = scratch;
            self.first(candidates, |at| {
                if let Some(by) = self.holds(at, rules, facts, seen) {
                    found.push((at.0, by));
                }
                None::<()>
            });
        });
        found.dedup_by_key(|(rank, _)| *rank);
        found
    }

    /// Words that may stand around any message.
    pub(crate) fn fillers(&self) -> &Fillers {
        &self.fillers
    }

    /// Asks for the candidates, and for the rules that always are, in one order of rank, until there is
    /// something. A rule may be asked for twice in a row.
    fn first<T>(&self, candidates: &[Pointed], mut ask: impl FnMut(Pointed) -> Option<T>) -> Option<T> {
        let mut pointed = candidates.iter().copied().peekable();
        let mut always = self.always.iter().map(|rank| (*rank, None)).peekable();
        loop {
            let next = match (pointed.peek(), always.peek()) {
                (Some((p, _)), Some((a, _))) if p > a => always.next()?,
                (None, _) => always.next()?,
                (Some(_), _) => pointed.next()?,
            };
            if let Some(found) = ask(next) {
                return Some(found);
            }
        }
    }

    /// Reads the message once: what is in it, and which rules that points to. No keyword is looked for once one
    /// points to the rule `enough`.
    fn look(&self, facts: &Facts<'_>, scratch: &mut Scratch, enough: Option<Rank>) {
        let Scratch { seen, candidates, text } = scratch;
        seen.start(self);
        candidates.clear();
        let Seen { epoch, keywords, patterns, ranks, covered, example, .. } = seen;
        let mut point_to = |rank: Rank, by: Option<KeywordId>| {
            if std::mem::replace(&mut ranks[rank as usize], *epoch) != *epoch {
                candidates.push((rank, by));
            }
        };
        let _ = self.keywords.scan(facts.folded, |id, at| {
            if self.keywords.covering(id) {
                covered.push((at.start, at.end));
            }
            let mut settled = false;
            if std::mem::replace(&mut keywords[id as usize], *epoch) != *epoch {
                for rank in &self.by_keyword[id as usize] {
                    settled |= enough == Some(*rank);
                    point_to(*rank, Some(id));
                }
            }
            if settled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.patterns.scan(facts.text, text, |id| {
            if std::mem::replace(&mut patterns[id as usize], *epoch) != *epoch {
                self.by_pattern[id as usize].iter().for_each(|rank| point_to(*rank, None));
            }
        });
        *example = self.example(facts, text);
        if let Some(rank) = *example {
            point_to(rank, None);
        }
        candidates.sort_unstable();
    }

    /// Whose example the message is.
    fn example(&self, facts: &Facts<'_>, normal: &mut String) -> Option<Rank> {
        /// For punctuation and fillers around the longest example.
        const ROOM: usize = 128;
        if self.examples.is_empty() || facts.folded.len() > self.longest_example + ROOM {
            return None;
        }
        let mut form = example::normal(facts.folded, normal);
        loop {
            match self.examples.get(form) {
                Some(rank) => return Some(*rank),
                None => form = self.fillers.strip(form)?,
            }
        }
    }

    /// What made the rule match, if it does.
    fn holds(&self, at: Pointed, rules: &[Rule], facts: &Facts<'_>, seen: &mut Seen) -> Option<By<'_>> {
        let (rank, pointer) = at;
        if seen.example == Some(rank) {
            return Some(By::Example);
        }
        let conditions = rules.get(rank as usize)?.conditions.as_ref()?;
        let Conditions { any, all, none, regex, words, when, only } = conditions;
        let hit = |id: &u32| seen.keywords[*id as usize] == seen.epoch;
        if !words.contains(facts.words) || !when.holds(facts) || !all.iter().all(hit) || none.iter().any(hit)
        {
            return None;
        }
        // With nothing in `all`, it is one of `any` that pointed here.
        let pointer = pointer.filter(|_| all.is_empty());
        let by = if let Some(id) = pointer.or_else(|| any.iter().copied().find(|id| hit(id))) {
            By::Keyword(self.keywords.shown(id))
        } else if let Some(id) = regex.iter().copied().find(|id| self.pattern_hits(*id, facts, seen)) {
            By::Regex(self.patterns.shown(id))
        } else if !any.is_empty() || !regex.is_empty() {
            return None;
        } else {
            all.first().map_or(By::Conditions, |id| By::Keyword(self.keywords.shown(*id)))
        };
        (!only || seen.nothing_else(facts.folded)).then_some(by)
    }

    fn pattern_hits(&self, id: u32, facts: &Facts<'_>, seen: &Seen) -> bool {
        let possible = self.patterns.is_free(id) || seen.patterns[id as usize] == seen.epoch;
        possible && self.patterns.is_match(id, facts.text)
    }
}

/// See [`Matcher::settled_by`].
fn settled_by(rules: &[Rule]) -> Option<Rank> {
    let worded = |rule: &Rule| rule.conditions.as_ref().is_some_and(Conditions::look_at_keywords);
    let first = rules.iter().position(worded)?;
    let conditions = rules[first].conditions.as_ref()?;
    let simple = conditions.none.is_empty() && conditions.all.is_empty() && conditions.asks_only_for_text();
    simple.then_some(first as Rank)
}

impl Seen {
    fn start(&mut self, matcher: &Matcher) {
        let sizes = [matcher.keywords.len(), matcher.patterns.len(), matcher.ranks];
        let Self { epoch, keywords, patterns, ranks, covered, only, example } = self;
        *epoch = epoch.wrapping_add(1);
        for (stamps, size) in [keywords, patterns, ranks].into_iter().zip(sizes) {
            if *epoch == 0 {
                stamps.fill(0);
            }
            // Never shrunk: several rule sets may take turns on one thread.
            if stamps.len() < size {
                stamps.resize(size, 0);
            }
        }
        *epoch = (*epoch).max(1);
        covered.clear();
        *only = None;
        *example = None;
    }

    /// Every word of the text lies inside a covered place. A text too long to be looked at whole never does.
    fn nothing_else(&mut self, folded: &str) -> bool {
        let covered = &mut self.covered;
        *self.only.get_or_insert_with(|| {
            covered.sort_unstable();
            let mut places = covered.iter().peekable();
            let mut reach = 0;
            within_bound(folded)
                && words(folded).all(|word| {
                    while let Some((_, end)) = places.next_if(|(start, _)| *start <= word.start) {
                        reach = reach.max(*end);
                    }
                    word.end <= reach
                })
        })
    }
}
