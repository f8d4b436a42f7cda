//! Raw rules to compiled ones: every name looked up, every keyword and pattern compiled, everything that is
//! wrong noted.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::bounds::Glob;
use super::conditions::{Conditions, When};
use super::file::Sources;
use super::keywords::{self, BadKeyword, KeywordId};
use super::matching::{Matcher, Rank};
use super::patterns;
use super::raw::{Raw, RawAnswer, RawConditions, RawRule, RawWhen};
use super::table::{Placed, inside, one_line, unknown};
use super::taught::Taught;
use super::{Rule, Snapshot, Vocabulary};
use crate::answers::doubt::Doubts;
use crate::answers::example::{self, Fillers};
use crate::answers::fitting::Fitting;
use crate::answers::{self, Answer};
use crate::ask::Has;
use crate::category::Category;
use crate::dialect::Family;
use crate::problem::Problem;
use crate::text::{Language, fold};

/// Above plain rules, so that an answer's own phrases win over a category's.
const ANSWER_PRIORITY: i32 = 10;
/// Names stand in headers, metrics and logs.
const MAX_NAME: usize = 64;

const FAMILIES: [(&str, Family); 3] =
    [("ollama", Family::Ollama), ("openai", Family::OpenAi), ("anthropic", Family::Anthropic)];
const LANGUAGES: [(&str, Language); 3] =
    [("ru", Language::Ru), ("en", Language::En), ("other", Language::Other)];

/// Compiles a whole directory, or says everything that is wrong with it.
pub(crate) fn compile(sources: Sources, vocabulary: &Vocabulary<'_>) -> Result<Snapshot, Vec<Problem>> {
    let mut problems = sources.problems.clone();
    let mut raw = Raw::read(&sources.files, &mut problems);
    // The snapshot finds answers by name.
    raw.answers.sort_by_cached_key(|a| (a.name.as_ref().map(|n| n.get_ref().clone()), a.source, a.at));
    let mut compiler = Compiler {
        sources: &sources,
        vocabulary,
        problems,
        keywords: keywords::Builder::default(),
        patterns: patterns::Builder::default(),
        rules: Vec::new(),
    };
    let fillers = compiler.fillers(&raw);
    let doubts = compiler.doubts(&raw);
    let answers = compiler.answers(&raw);
    let examples = compiler.examples(&raw);
    compiler.rules(&raw, &answers);
    let Compiler { mut problems, keywords, patterns, mut rules, .. } = compiler;
    let taught = Taught::read(sources.files.iter().filter(|source| source.teaches()), &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    rules.sort_by_key(|pending| (std::cmp::Reverse(pending.rule.priority), pending.place));
    let mut rank_of = HashMap::new();
    for (rank, pending) in rules.iter().enumerate() {
        rank_of.extend(pending.answer.map(|answer| (answer, rank as Rank)));
    }
    let whose = |(answer, text): &(u32, String)| Some((text.as_str().into(), *rank_of.get(answer)?));
    let by_example = examples.iter().filter_map(whose).collect();
    let rules: Vec<Rule> = rules.into_iter().map(|pending| pending.rule).collect();
    let too_many = |error: &dyn std::fmt::Display| {
        let dir = sources.files.first().and_then(|s| s.path.parent()).unwrap_or(Path::new("rules"));
        vec![Problem::whole(dir, format!("too many keywords: {error}"))]
    };
    let keywords = keywords.build().map_err(|e| too_many(&e))?;
    let patterns = patterns.build().map_err(|e| too_many(&e))?;
    Ok(Snapshot {
        generation: 1,
        matcher: Matcher::new(keywords, patterns, fillers, by_example, &rules),
        fitting: Fitting::new(&examples),
        doubts,
        taught,
        hash: sources.hash,
        files: sources.files.into_iter().map(|source| source.path).collect(),
        loaded_at: SystemTime::now(),
        rules,
        answers,
    })
}

struct Compiler<'a> {
    sources: &'a Sources,
    vocabulary: &'a Vocabulary<'a>,
    problems: Vec<Problem>,
    keywords: keywords::Builder,
    patterns: patterns::Builder,
    rules: Vec<Pending>,
}

/// A rule that has no rank yet.
struct Pending {
    rule: Rule,
    /// Index of its file, and where in it: what decides among equal priorities.
    place: (usize, usize),
    /// The answer whose own rule it is.
    answer: Option<u32>,
}

impl Compiler<'_> {
    fn problem(&mut self, source: usize, at: usize, message: impl Into<String>) {
        self.problems.push(self.sources.files[source].problem(at, message));
    }

    fn fillers(&mut self, raw: &Raw) -> Fillers {
        for (source, filler) in &raw.fillers {
            let ids = self.keywords(*source, "filler", std::slice::from_ref(filler));
            ids.iter().for_each(|id| self.keywords.covers(*id));
        }
        Fillers::new(raw.fillers.iter().map(|(_, filler)| filler.get_ref().as_str()))
    }

    fn doubts(&mut self, raw: &Raw) -> Doubts {
        let mut doubts = Doubts::default();
        for (source, word) in &raw.doubts {
            if let Err(message) = doubts.add(word.get_ref()) {
                self.problem(*source, word.span().start, message);
            }
        }
        doubts
    }

    /// In the order of `raw`; one that is wrong has its place too.
    fn answers(&mut self, raw: &Raw) -> Vec<Arc<Answer>> {
        let mut known = HashMap::new();
        let mut answers = Vec::with_capacity(raw.answers.len());
        for given in &raw.answers {
            if !given.has_name {
                self.problem(given.source, given.at, "an answer needs a `name`");
            }
            let name = self.name("an answer", given.source, given.name.as_ref(), &mut known);
            let (answer, problems) =
                answers::compile::compile(given, name, &self.sources.files[given.source]);
            for (at, message) in problems {
                self.problem(given.source, at, message);
            }
            answers.push(Arc::new(answer));
        }
        for given in &raw.answers {
            given.covers.iter().for_each(|covered| drop(self.answer(given.source, covered, raw, &answers)));
        }
        answers
    }

    /// Examples in normal form with the index of their answer, each once.
    fn examples(&mut self, raw: &Raw) -> Vec<(u32, String)> {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut examples = Vec::new();
        let mut room = String::new();
        for (index, answer) in raw.answers.iter().enumerate() {
            for example in &answer.examples {
                let normal = example::normal(&fold(example.get_ref()), &mut room).to_owned();
                let first = known.get(&normal).copied();
                match first {
                    _ if normal.is_empty() => {
                        self.problem(
                            answer.source,
                            example.span().start,
                            "an example without any visible sign",
                        );
                    }
                    Some(first) if first == index => {}
                    Some(first) => {
                        let other = raw.answers[first].name.as_ref().map_or("", |n| n.get_ref());
                        let message = format!(
                            "example \"{}\" already belongs to answer \"{other}\" (case and punctuation do not \
                             count)",
                            one_line(example.get_ref())
                        );
                        self.problem(answer.source, example.span().start, message);
                    }
                    None => {
                        known.insert(normal.clone(), index);
                        examples.push((index as u32, normal));
                    }
                }
            }
        }
        examples
    }

    fn rules(&mut self, raw: &Raw, answers: &[Arc<Answer>]) {
        let mut known = HashMap::new();
        for given in &raw.rules {
            if !given.has_name {
                self.problem(given.source, given.at, "a rule needs a `name`");
            }
            let name = self.name("a rule", given.source, given.name.as_ref(), &mut known);
            self.rule(given, name, raw, answers);
        }
        for (index, (given, answer)) in raw.answers.iter().zip(answers).enumerate() {
            let conditions = given.conditions.as_ref().map(|(at, conditions)| {
                if !conditions.given {
                    self.no_condition(given.source, *at, "`match`");
                }
                self.conditions(given.source, conditions)
            });
            if conditions.is_none() && given.examples.is_empty() {
                continue;
            }
            let rule = Rule {
                name: format!("answers/{}", answer.name).into(),
                category: Category::FAST,
                answer: Some(answer.clone()),
                conditions,
                ..self.blank(given.source, given.at, given.priority.unwrap_or(ANSWER_PRIORITY))
            };
            let place = (given.source, given.at);
            self.rules.push(Pending { rule, place, answer: Some(index as u32) });
        }
    }

    fn rule(&mut self, given: &RawRule, name: &str, raw: &Raw, answers: &[Arc<Answer>]) {
        let source = given.source;
        if !given.conditions.given {
            self.no_condition(source, given.at, "a rule");
        }
        if !given.has_effect {
            let message = "a rule needs an effect: category, answer, model, upstream or refuse";
            self.problem(source, given.at, message);
        }
        let others = [&given.category, &given.answer, &given.model, &given.upstream];
        if let Some(refuse) = &given.refuse
            && others.iter().any(|effect| effect.is_some())
        {
            self.problem(
                source,
                refuse.span().start,
                "`refuse` stands alone: no category, answer, model or upstream beside it",
            );
        }
        let answer = given.answer.as_ref().and_then(|answer| self.answer(source, answer, raw, answers));
        let category = given.category.as_ref().and_then(|category| self.category(source, category));
        if let (Some(category), Some(placed), Some(_)) = (category, &given.category, &given.answer)
            && category != Category::FAST
        {
            let message = format!("a rule with an `answer` is of category \"fast\", not \"{category}\"");
            self.problem(source, placed.span().start, message);
        }
        if let Some(upstream) = &given.upstream
            && !self.vocabulary.upstreams.contains(upstream.get_ref())
        {
            let known = self.vocabulary.upstreams.iter().map(String::as_str);
            self.problem(source, upstream.span().start, unknown("upstream", upstream.get_ref(), known));
        }
        let text = |value: &Option<Placed<String>>| value.as_ref().map(|v| v.get_ref().as_str().into());
        let implied = if given.answer.is_some() { Category::FAST } else { Category::GENERAL };
        let rule = Rule {
            name: name.into(),
            category: category.unwrap_or(implied),
            answer,
            model: text(&given.model),
            upstream: text(&given.upstream),
            refuse: text(&given.refuse),
            conditions: Some(self.conditions(source, &given.conditions)),
            ..self.blank(source, given.at, given.priority.unwrap_or(0))
        };
        self.rules.push(Pending { rule, place: (source, given.at), answer: None });
    }

    /// A rule of that place and priority, and nothing else yet.
    fn blank(&self, source: usize, at: usize, priority: i32) -> Rule {
        let source = &self.sources.files[source];
        Rule {
            name: "".into(),
            category: Category::GENERAL,
            answer: None,
            model: None,
            upstream: None,
            refuse: None,
            priority,
            file: source.path.as_path().into(),
            line: source.line(at),
            conditions: None,
        }
    }

    fn no_condition(&mut self, source: usize, at: usize, what: &str) {
        let message =
            format!("{what} needs a condition: any, all, none, regex, words or when (`only` adds to them)");
        self.problem(source, at, message);
    }

    /// Checks a name and that it is the first of its kind.
    fn name<'n>(
        &mut self,
        what: &str,
        source: usize,
        name: Option<&'n Placed<String>>,
        known: &mut HashMap<&'n str, (usize, usize)>,
    ) -> &'n str {
        let Some(placed) = name else { return "" };
        let (name, at) = (placed.get_ref().as_str(), placed.span().start);
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.len() > MAX_NAME || !name.chars().all(fine) {
            let message = format!(
                "name \"{}\": letters a-z, digits, \"-\", \"_\" and \".\" only, {MAX_NAME} at most (it stands in \
                 headers and metrics)",
                one_line(name)
            );
            self.problem(source, at, message);
        } else if let Some((first, place)) = known.get(name) {
            let first = &self.sources.files[*first];
            let line = first.line(*place);
            let message = format!("{what} named \"{name}\" is already in {}:{line}", first.path.display());
            self.problem(source, at, message);
        } else {
            known.insert(name, (source, at));
        }
        name
    }

    fn answer(
        &mut self,
        source: usize,
        name: &Placed<String>,
        raw: &Raw,
        answers: &[Arc<Answer>],
    ) -> Option<Arc<Answer>> {
        let found = answers.binary_search_by(|answer| answer.name.as_ref().cmp(name.get_ref()));
        let found = found.ok().and_then(|at| answers.get(at));
        if found.is_none() && !raw.incomplete {
            let known =
                raw.answers.iter().filter_map(|a: &RawAnswer| a.name.as_ref()).map(|n| n.get_ref().as_str());
            self.problem(source, name.span().start, unknown("answer", name.get_ref(), known));
        }
        found.cloned()
    }

    fn category(&mut self, source: usize, name: &Placed<String>) -> Option<Category> {
        let all = self.vocabulary.categories;
        let found = all.iter().find(|category| category.name() == name.get_ref()).copied();
        if found.is_none() {
            let message = unknown("category", name.get_ref(), all.iter().map(|c| c.name()));
            self.problem(source, name.span().start, message);
        }
        found
    }

    fn conditions(&mut self, source: usize, raw: &RawConditions) -> Conditions {
        let any = self.keywords(source, "any", &raw.any);
        let all = self.keywords(source, "all", &raw.all);
        if raw.only {
            any.iter().chain(&all).for_each(|id| self.keywords.covers(*id));
        }
        Conditions {
            any,
            all,
            none: self.keywords(source, "none", &raw.none),
            regex: raw.regex.iter().filter_map(|pattern| self.pattern(source, pattern)).collect(),
            words: raw.words.unwrap_or_default(),
            when: self.when(source, &raw.when),
            only: raw.only,
        }
    }

    fn keywords(&mut self, source: usize, key: &str, given: &[Placed<String>]) -> Box<[KeywordId]> {
        let mut ids = Vec::with_capacity(given.len());
        for keyword in given {
            let why = match self.keywords.add(keyword.get_ref()) {
                Ok(id) => {
                    ids.push(id);
                    continue;
                }
                Err(BadKeyword::Empty) => "nothing to look for",
                Err(BadKeyword::Star) => {
                    "`*` stands for any ending of a word, at its end; use `regex` for more"
                }
            };
            let message = format!("keyword \"{}\" in `{key}`: {why}", one_line(keyword.get_ref()));
            self.problem(source, keyword.span().start, message);
        }
        ids.into()
    }

    fn pattern(&mut self, source: usize, pattern: &Placed<String>) -> Option<patterns::PatternId> {
        match self.patterns.add(pattern.get_ref()) {
            Ok(id) => Some(id),
            Err(bad) => {
                let at = inside(&self.sources.files[source].text, pattern, bad.offset);
                self.problem(
                    source,
                    at,
                    format!("bad regex \"{}\": {}", one_line(pattern.get_ref()), bad.message),
                );
                None
            }
        }
    }

    fn when(&mut self, source: usize, raw: &RawWhen) -> When {
        let families = self.named(source, "dialect", &raw.dialect, &FAMILIES);
        let languages = self.named(source, "language", &raw.language, &LANGUAGES);
        let has: Vec<(&str, Has)> =
            Has::all_names().filter_map(|name| Some((name, Has::of(name)?))).collect();
        let has = self.named(source, "name in `has`", &raw.has, &has);
        When {
            turns: raw.turns.unwrap_or_default(),
            models: raw.model.iter().map(|glob| Glob::new(glob.get_ref())).collect(),
            families: families.into(),
            has: has.into(),
            languages: languages.into(),
        }
    }

    /// Looks names up among a fixed few.
    fn named<T: Copy>(
        &mut self,
        source: usize,
        what: &str,
        given: &[Placed<String>],
        known: &[(&str, T)],
    ) -> Vec<T> {
        let mut found = Vec::with_capacity(given.len());
        for name in given {
            match known.iter().find(|(known, _)| known == name.get_ref()) {
                Some((_, value)) => found.push(*value),
                None => {
                    let message = unknown(what, name.get_ref(), known.iter().map(|(name, _)| *name));
                    self.problem(source, name.span().start, message);
                }
            }
        }
        found
    }
}
