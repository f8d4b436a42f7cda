//! All regexes of all rules, over the original text.
//!
//! Most patterns cannot match without some literal text ("traceback", "fn "). Those literals are looked for
//! first, all at once and without regard to case, and only patterns whose literal is there are run. So the
//! cost hardly grows with the number of patterns, and none of them pays for `\b` on Cyrillic text, which the
//! regex crate's fast engines do not do.

use std::sync::OnceLock;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::keywords::pieces;
use super::literals::Literals;

/// Compiled size of one pattern.
const SIZE_LIMIT: usize = 1 << 20;

/// Patterns are kept compiled up to so many bytes; more of them are checked at load and compiled again when
/// a message first needs them.
const KEPT_BYTES: usize = 64 << 20;

/// Index of a pattern.
pub(crate) type PatternId = u32;

/// What is wrong with a pattern: a message on one line, and where in the pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadPattern {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

#[derive(Debug)]
struct Pattern {
    text: Box<str>,
    /// Every match has each of these inside.
    signs: Box<[u8]>,
    /// Empty until it is used, if there are so many that keeping all of them compiled costs too much.
    regex: OnceLock<Option<Regex>>,
}

/// Collects patterns.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    patterns: Vec<Pattern>,
    /// In bytes.
    compiled: usize,
    literals: Vec<String>,
    of_literal: Vec<PatternId>,
    free: Vec<bool>,
}

impl Builder {
    pub(crate) fn add(&mut self, pattern: &str) -> Result<PatternId, BadPattern> {
        let hir = regex_syntax::Parser::new().parse(pattern).map_err(|error| syntax(&error))?;
        let regex = compile(&hir)?;
        let id = self.patterns.len() as PatternId;
        self.compiled += regex.memory_usage();
        let kept = if self.compiled <= KEPT_BYTES { OnceLock::from(Some(regex)) } else { OnceLock::new() };
        let signs = (0..128).filter(|sign| signs(&hir) & (1 << sign) != 0).collect();
        self.patterns.push(Pattern { text: pattern.into(), signs, regex: kept });
        let literals = required(&hir);
        self.free.push(literals.is_none());
        for literal in literals.into_iter().flatten() {
            self.literals.push(literal);
            self.of_literal.push(id);
        }
        Ok(id)
    }

    pub(crate) fn build(self) -> Result<Patterns, aho_corasick::BuildError> {
        let literals = match self.literals.is_empty() {
            true => None,
            false => Some(Literals::new(&self.literals)?),
        };
        Ok(Patterns { patterns: self.patterns, literals, of_literal: self.of_literal, free: self.free })
    }
}

/// The compiled patterns.
#[derive(Debug)]
pub(crate) struct Patterns {
    patterns: Vec<Pattern>,
    literals: Option<Literals>,
    of_literal: Vec<PatternId>,
    free: Vec<bool>,
}

impl Patterns {
    pub(crate) fn len(&self) -> usize {
        self.patterns.len()
    }

    pub(crate) fn shown(&self, id: PatternId) -> &str {
        &self.patterns[id as usize].text
    }

    /// A pattern without any literal to look for: possible on every text.
    pub(crate) fn is_free(&self, id: PatternId) -> bool {
        self.free[id as usize]
    }

    /// Calls `hit` with every pattern that may match because one of its literals is in the text (often
    /// twice with the same). `lowered` is room to work in.
    pub(crate) fn scan(&self, text: &str, lowered: &mut String, mut hit: impl FnMut(PatternId)) {
        let Some(literals) = &self.literals else { return };
        for piece in pieces(text) {
            lowered.clear();
            push_lowered(lowered, &text[piece]);
            literals.scan(lowered.as_bytes(), |literal| hit(self.of_literal[literal]));
        }
    }

    pub(crate) fn is_match(&self, id: PatternId, text: &str) -> bool {
        let pattern = &self.patterns[id as usize];
        // A look for one byte costs a fiftieth of a run of the pattern.
        if !pattern.signs.iter().all(|sign| memchr::memchr(*sign, text.as_bytes()).is_some()) {
            return false;
        }
        let compiled = || compile(&regex_syntax::Parser::new().parse(&pattern.text).ok()?).ok();
        let regex = pattern.regex.get_or_init(compiled).as_ref();
        regex.is_some_and(|regex| pieces(text).any(|piece| regex.is_match(&text[piece])))
    }
}

/// Only "does it match" is ever asked: no captures, and no engine that is there for them alone and takes half
/// a megabyte of each pattern with `\b`.
fn compile(hir: &Hir) -> Result<Regex, BadPattern> {
    let config = Config::new()
        .which_captures(WhichCaptures::None)
        .onepass(false)
        .nfa_size_limit(Some(SIZE_LIMIT))
        .hybrid_cache_capacity(SIZE_LIMIT);
    let compiled = Regex::builder().configure(config).build_from_hir(hir);
    compiled.map_err(|error| BadPattern { offset: 0, message: too_big_or(&error) })
}

fn syntax(error: &regex_syntax::Error) -> BadPattern {
    match error {
        regex_syntax::Error::Parse(e) => {
            BadPattern { offset: e.span().start.offset, message: e.kind().to_string() }
        }
        regex_syntax::Error::Translate(e) => {
            BadPattern { offset: e.span().start.offset, message: e.kind().to_string() }
        }
        other => BadPattern { offset: 0, message: super::table::one_line(&other.to_string()) },
    }
}

fn too_big_or(error: &BuildError) -> String {
    match error.size_limit() {
        Some(limit) => format!("compiles to more than {limit} bytes: make its repetitions smaller"),
        None => super::table::one_line(&error.to_string()),
    }
}

/// Case put aside one character at a time, so that a literal inside a text is inside the lowered text too:
/// over upper case, because that also joins "ſ" with "s" and "ᲂ" with "о", as `(?i)` does.
fn push_lowered(out: &mut String, text: &str) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        out[start..].make_ascii_lowercase();
        return;
    }
    for c in text.chars() {
        match c {
            '\0'..='\x7f' => out.push(c.to_ascii_lowercase()),
            'а'..='я' => out.push(c),
            _ => c.to_uppercase().flat_map(char::to_lowercase).for_each(|c| out.push(c)),
        }
    }
}

/// What is known of the texts that a part of a pattern matches, all lowered.
struct Known {
    /// All of them, if they are few.
    exact: Option<Vec<String>>,
    /// Each of them has one of these inside.
    inside: Option<Vec<String>>,
}

/// More alternatives than this are not worth looking for.
const MAX_LITERALS: usize = 32;
/// Longer literals tell no more.
const MAX_LITERAL_BYTES: usize = 24;

/// Literals of which each match of the pattern has one inside; `None` if there are none of any use.
fn required(hir: &Hir) -> Option<Vec<String>> {
    let mut literals = known(hir).best()?;
    if !literals.iter().all(|literal| is_telling(literal)) {
        return None;
    }
    literals.sort();
    literals.dedup();
    Some(literals)
}

/// A single letter is in every text, a single sign ("+") is not.
fn is_telling(literal: &str) -> bool {
    let mut chars = literal.chars();
    match (chars.next(), chars.next()) {
        (None, _) => false,
        (Some(c), None) => !c.is_alphabetic() && !c.is_whitespace(),
        _ => true,
    }
}

impl Known {
    const NOTHING: Self = Self { exact: None, inside: None };

    fn exactly(text: String) -> Self {
        Self { exact: Some(vec![text]), inside: None }
    }

    fn best(self) -> Option<Vec<String>> {
        better(self.exact, self.inside)
    }
}

/// The ASCII characters, other than letters and digits, that every match of the pattern has: one bit each.
fn signs(hir: &Hir) -> u128 {
    let bit = |byte: &u8| if byte.is_ascii() && !byte.is_ascii_alphanumeric() { 1 << byte } else { 0 };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().map(bit).fold(0, |all, sign| all | sign),
        HirKind::Class(class) => {
            class.literal().map_or(0, |only| only.iter().map(bit).fold(0, |all, sign| all | sign))
        }
        HirKind::Capture(capture) => signs(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 => 0,
        HirKind::Repetition(repetition) => signs(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().map(signs).fold(0, |all, sign| all | sign),
        HirKind::Alternation(parts) => parts.iter().map(signs).reduce(|all, sign| all & sign).unwrap_or(0),
    }
}

/// The set whose shortest literal is longer.
fn better(a: Option<Vec<String>>, b: Option<Vec<String>>) -> Option<Vec<String>> {
    let worth = |set: &Option<Vec<String>>| {
        let set = set.as_ref()?;
        let shortest = set.iter().map(|l| l.chars().count()).min()?;
        Some((shortest.min(8), usize::MAX - set.len()))
    };
    if worth(&a) >= worth(&b) { a } else { b }
}

fn known(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Known::exactly(String::new()),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Err(_) => Known::NOTHING,
            Ok(text) => {
                let mut lowered = String::new();
                push_lowered(&mut lowered, text);
                Known::exactly(lowered)
            }
        },
        HirKind::Class(class) => Known { exact: few(class), inside: None },
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = known(&repetition.sub);
            match (repetition.min, repetition.max) {
                (1, Some(1)) => sub,
                (0, Some(1)) => {
                    let exact = sub.exact.map(|mut set| {
                        set.push(String::new());
                        set
                    });
                    Known { exact, inside: None }
                }
                (0, _) => Known::NOTHING,
                _ => Known { exact: None, inside: sub.best() },
            }
        }
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

/// The characters of a class, if they are few but for their case.
fn few(class: &Class) -> Option<Vec<String>> {
    let Class::Unicode(class) = class else { return None };
    let total: usize = class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
    if total > MAX_LITERALS {
        return None;
    }
    let mut set: Vec<String> = Vec::new();
    for c in class.ranges().iter().flat_map(|range| range.start()..=range.end()) {
        let mut lowered = String::new();
        push_lowered(&mut lowered, c.encode_utf8(&mut [0; 4]));
        if !set.contains(&lowered) {
            set.push(lowered);
        }
    }
    Some(set)
}

fn concat(parts: &[Hir]) -> Known {
    let mut inside: Option<Vec<String>> = None;
    let mut run = vec![String::new()];
    let mut whole = true;
    for part in parts.iter().map(known) {
        let joined = part.exact.as_ref().and_then(|set| cross(&run, set));
        match joined {
            Some(longer) => run = longer,
            None => {
                whole = false;
                inside = better(inside, Some(std::mem::take(&mut run)));
                run = part.exact.unwrap_or_else(|| vec![String::new()]);
            }
        }
        inside = better(inside, part.inside);
    }
    if whole {
        return Known { exact: Some(run), inside };
    }
    Known { exact: None, inside: better(inside, Some(run)) }
}

/// Every text of the one followed by every text of the other, while that stays small.
fn cross(left: &[String], right: &[String]) -> Option<Vec<String>> {
    let longest = |set: &[String]| set.iter().map(String::len).max().unwrap_or(0);
    let small = left.len() * right.len() <= MAX_LITERALS;
    if !small || (longest(left) > 0 && longest(left) + longest(right) > MAX_LITERAL_BYTES) {
        return None;
    }
    Some(left.iter().flat_map(|l| right.iter().map(move |r| format!("{l}{r}"))).collect())
}

fn alternation(parts: &[Hir]) -> Known {
    let mut exact = Some(Vec::new());
    let mut inside = Some(Vec::new());
    for part in parts.iter().map(known) {
        exact = exact.zip(part.exact.clone()).map(|(all, set): (Vec<String>, _)| [all, set].concat());
        inside = inside.zip(part.best()).map(|(all, set): (Vec<String>, _)| [all, set].concat());
    }
    let few = |set: &Vec<String>| set.len() <= MAX_LITERALS * 4;
    Known { exact: exact.filter(few), inside: inside.filter(few) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(pattern: &str) -> Option<Vec<String>> {
        required(&regex_syntax::Parser::new().parse(pattern).unwrap())
    }

    fn some(literals: &[&str]) -> Option<Vec<String>> {
        Some(literals.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn patterns_name_the_literals_they_need() {
        assert_eq!(literals(r"(?i)\bfn \w+\("), some(&["fn "]));
        assert_eq!(literals(r"(?i)traceback|exception in"), some(&["exception in", "traceback"]));
        assert_eq!(literals(r"(?i)\bпочини(те)?\b"), some(&["почини", "почините"]));
        assert_eq!(literals(r"\w+(foo|barbaz)\d+"), some(&["barbaz", "foo"]));
        assert_eq!(literals(r"(hello )+"), some(&["hello "]));
        assert_eq!(literals(r"\d+\s*[-+]\s*\d+"), some(&["+", "-"]));
        assert_eq!(literals(r"colou?r"), some(&["color", "colour"]));
    }

    #[test]
    fn patterns_name_the_signs_they_need() {
        let needs = |pattern: &str| {
            let signs = signs(&regex_syntax::Parser::new().parse(pattern).unwrap());
            (0u8..128).filter(|b| signs & (1 << b) != 0).map(char::from).collect::<String>()
        };
        assert_eq!(needs(r"\n\s+at [\w.]+ ?\([^()\n]*:\d+"), "\n (:");
        assert_eq!(needs(r"a(-b|-c)+(=d|==)(#e)?[.]"), "-.=");
        assert_eq!(needs(r"\d+|\(x\)"), "");
    }

    #[test]
    fn patterns_that_need_none_have_none() {
        for pattern in [r"\d+ \d+", r"a?", r"(foo)?", r"foo|\d+", "", "x", r"(?s).*", "[а-я]+"] {
            assert_eq!(literals(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn literals_are_found_in_any_case() {
        let mut builder = Builder::default();
        builder.add("(?i)ПОЧИНИ мой").unwrap();
        builder.add("(?i)kiss").unwrap();
        let patterns = builder.build().unwrap();
        let mut hits = Vec::new();
        patterns.scan("Почини МОЙ код, \u{212a}iſs", &mut String::new(), |id| hits.push(id));
        assert_eq!(hits, [0, 1]);
        assert!(patterns.is_match(0, "почини Мой") && patterns.is_match(1, "\u{212a}iſs"));
    }

    #[test]
    fn a_bad_pattern_is_told_on_one_line_with_its_place() {
        let bad = Builder::default().add(r"ok (\w+").unwrap_err();
        assert_eq!(bad, BadPattern { offset: 3, message: "unclosed group".into() });
        let big = Builder::default().add(r"\w{1000}{100}").unwrap_err();
        assert!(big.message.contains("more than"), "{big:?}");
    }

    proptest::proptest! {
        /// The point of the literals: never to miss a match.
        #[test]
        fn a_match_always_has_one_of_the_literals(
            pattern in "(\\(\\?i\\))?[абKsſ]{0,2}(\\[абв\\]|\\(аб\\|s\\)|\\(а\\|бс\\)\\+|б\\?|\\\\b|s\\{2\\}){0,3}[абk]{0,2}",
            text in "[абвАБВsSſkKс ]{0,12}",
        ) {
            let mut builder = Builder::default();
            let Ok(id) = builder.add(&pattern) else { return Ok(()) };
            let patterns = builder.build().unwrap();
            let mut possible = patterns.is_free(id);
            patterns.scan(&text, &mut String::new(), |_| possible = true);
            proptest::prop_assert!(possible || !patterns.is_match(id, &text));
        }
    }
}
