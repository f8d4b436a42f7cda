//! The decision: pure, from what is known of an ask to where it goes. The only thing that may happen
//! between its two halves is one question to the classifier.
//!
//! ```text
//! draft()  hint ─ else the best rule ─ else general
//!    │
//!    ├─ still general, 5-25 words?  ask the classifier, once
//!    ▼
//! conclude()  category → route; guards and missing answers turn local into upstream
//! ```

use std::ops::RangeInclusive;

use crate::answers::Answer;
use crate::ask::{Ask, Guard, Guards};
use crate::category::{Category, Label};
use crate::config::{Config, Route};
use crate::intent::Verdict;
use crate::rules::{Facts, Rule, Snapshot};

/// The classifier is asked about messages of that many words: shorter ones are the rules' business, longer
/// ones are work.
pub const CLASSIFIED_WORDS: RangeInclusive<usize> = 5..=25;

/// The names under which a client leaves the choice of model to us.
pub const AUTO: [&str; 2] = ["auto", "brainstem/auto"];

/// Whether the ask leaves the choice of model to us.
pub fn is_auto(model: &str) -> bool {
    let model = model.strip_suffix(":latest").unwrap_or(model);
    AUTO.iter().any(|auto| auto.eq_ignore_ascii_case(model))
}

/// Who had the last word on the category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client named it.
    Hint,
    /// A rule won.
    Rule,
    /// The classifier was asked and sure.
    Classifier,
    /// Nobody knew: `general`.
    Default,
}

impl By {
    /// As in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Rule => "rule",
            Self::Classifier => "classifier",
            Self::Default => "default",
        }
    }
}

/// All that a decision may look at.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// Rules and answers, one generation.
    pub snapshot: &'a Snapshot,
    /// Categories and switches.
    pub config: &'a Config,
    /// The request.
    pub ask: &'a Ask<'a>,
    /// What rules see of it.
    pub facts: &'a Facts<'a>,
    /// The category that the client named, if there is one of that name.
    pub hint: Option<Category>,
    /// Whether the upstream of that index may have the ask's model.
    pub may_have: &'a (dyn Fn(usize) -> bool + Sync),
    /// What the request around the body says, over [`Ask::guards`].
    pub guards: Guards,
}

/// The category before the classifier had its say.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'s> {
    /// What the hint or the rules say.
    pub category: Category,
    /// Which of them.
    pub by: By,
    /// The rule that won.
    pub rule: Option<&'s Rule>,
}

/// Where the ask goes.
#[derive(Debug, Clone, Copy)]
pub enum To<'s> {
    /// Answered here, with this answer.
    Answer(&'s Answer),
    /// Turned away with this text.
    Refusal(&'s str),
    /// Forwarded.
    Upstream {
        /// Index into [`Config::upstreams`].
        index: usize,
        /// The model to put in place of the ask's own.
        model: Option<&'s str>,
    },
}

/// What is to be done with an ask, and why.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'s> {
    /// What it is about.
    pub category: Category,
    /// Who said so.
    pub by: By,
    /// The rule that won, if one did.
    pub rule: Option<&'s Rule>,
    /// What kept it from being answered here, if it would have been.
    pub guard: Option<Guard>,
    /// Where it goes.
    pub to: To<'s>,
}

impl Decision<'_> {
    /// The route, as in headers and metrics.
    pub fn route(&self) -> Route {
        match self.to {
            To::Answer(_) | To::Refusal(_) => Route::Local,
            To::Upstream { .. } => Route::Upstream,
        }
    }
}

/// The first half: hint, rules, default.
pub fn draft<'s>(ground: &Ground<'s>) -> Draft<'s> {
    if let Some(category) = ground.hint {
        return Draft { category, by: By::Hint, rule: None };
    }
    // A harness prompt is a program's text: no rule was written for it.
    if ground.facts.words == 0 || ground.ask.guards.contains(Guard::Harness) {
        return Draft { category: Category::GENERAL, by: By::Default, rule: None };
    }
    match ground.snapshot.winner(ground.facts) {
        Some(rule) => Draft { category: rule.category, by: By::Rule, rule: Some(rule) },
        None => Draft { category: Category::GENERAL, by: By::Default, rule: None },
    }
}

/// Whether the classifier is asked: only where the category is still general, the client did not name it,
/// and the message has 5 to 25 words.
pub fn wants_classifier(draft: &Draft<'_>, ground: &Ground<'_>) -> bool {
    draft.category == Category::GENERAL
        && draft.by != By::Hint
        && draft.rule.is_none_or(|rule| rule.refuse.is_none())
        && CLASSIFIED_WORDS.contains(&ground.facts.words)
        && !ground.ask.guards.contains(Guard::Harness)
}

/// The second half: the verdict, if there is one, then the route.
pub fn conclude<'s>(draft: Draft<'s>, verdict: Option<&Verdict>, ground: &Ground<'s>) -> Decision<'s> {
    let (category, by) = match verdict {
        Some(verdict) => heed(draft, verdict),
        None => (draft.category, draft.by),
    };
    let decision = |guard, to| Decision { category, by, rule: draft.rule, guard, to };
    if let Some(text) = draft.rule.and_then(|rule| rule.refuse.as_deref()) {
        return decision(None, To::Refusal(text));
    }
    let upstream = forward(category, draft.rule, ground);
    if ground.config.policy(category).route == Route::Upstream {
        return decision(None, upstream);
    }
    let answer = match draft.rule.and_then(|rule| rule.answer.as_deref()) {
        Some(answer) => Some(answer),
        None => ground.snapshot.fitting(ground.facts).map(|(answer, _)| answer),
    };
    let Some(answer) = answer else { return decision(None, upstream) };
    match guard(ground, upstream) {
        Some(guard) => decision(Some(guard), upstream),
        None => decision(None, To::Answer(answer)),
    }
}

/// A verdict that is sure of a label decides; one that is not leaves things as they were.
fn heed(draft: Draft<'_>, verdict: &Verdict) -> (Category, By) {
    match verdict.confident() {
        Label::General if verdict.label() != Label::General => (draft.category, draft.by),
        label => (label.category(), By::Classifier),
    }
}

/// The upstream and model of an ask that is forwarded.
fn forward<'s>(category: Category, rule: Option<&'s Rule>, ground: &Ground<'s>) -> To<'s> {
    let policy = ground.config.policy(category);
    let named = rule.and_then(|rule| rule.upstream.as_deref());
    let index = named
        .and_then(|name| ground.config.upstreams.iter().position(|u| u.name == name))
        .unwrap_or(policy.upstream);
    let of_category = || is_auto(&ground.ask.model).then_some(policy.model.as_deref()).flatten();
    To::Upstream { index, model: rule.and_then(|rule| rule.model.as_deref()).or_else(of_category) }
}

/// What speaks against a local answer, most telling first.
fn guard(ground: &Ground<'_>, upstream: To<'_>) -> Option<Guard> {
    let lifted = |guard: &Guard| match guard {
        Guard::Turns => ground.config.proxy.multi_turn,
        Guard::System => ground.config.proxy.allow_system,
        _ => false,
    };
    let unknown_model = || {
        let To::Upstream { index, .. } = upstream else { return None };
        (!is_auto(&ground.ask.model) && !(ground.may_have)(index)).then_some(Guard::UnknownModel)
    };
    let said = ground.ask.guards.union(ground.guards);
    said.iter().find(|guard| !lifted(guard)).or_else(unknown_model)
}
