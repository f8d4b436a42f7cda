//! A decision laid open: what was seen, what matched, who was asked, what follows.

use serde::Serialize;

use crate::ask::{Ask, Guard, Unreadable};
use crate::brain::{Around, Brain, Consulted, Sight};
use crate::decide::{self, By, Decision, Forward, To};
use crate::dialect::Dialect;
use crate::experiment::Arm;
use crate::intent::Scores;
use crate::intent::worker::{Health, Outcome};
use crate::proxy::{errand, say};
use crate::rules::Rule;
use crate::upstream::Placed;

/// Everything that went into a decision and came of it.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The last human message.
    pub text: String,
    /// As the rules' keywords see it.
    pub folded: String,
    /// Its language.
    pub language: &'static str,
    /// Its words.
    pub words: usize,
    /// Human messages in the conversation.
    pub turns: usize,
    /// The surface that it came by.
    pub dialect: &'static str,
    /// The model that it names.
    pub model: String,
    /// Every rule that matched, best first.
    pub rules: Vec<RuleSeen>,
    /// Of the taught phrases (`rules/examples`), the three that are most like it.
    pub neighbours: Vec<NeighbourSeen>,
    /// What the classifier had to do with it.
    pub classifier: ClassifierSeen,
    /// Everything that speaks against a local answer, whether or not it mattered.
    pub guards: Vec<&'static str>,
    /// What it is about.
    pub category: &'static str,
    /// Who said so.
    pub decided_by: &'static str,
    /// The rule that won.
    pub rule: Option<String>,
    /// `local` or `upstream`.
    pub route: &'static str,
    /// The guard that kept it from being answered here.
    pub guard: Option<&'static str>,
    /// Its arm, while an experiment runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<&'static str>,
    /// How much work it is, 1 to 5, if `tasks.complexity` is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complexity: Option<u8>,
    /// It is too vague, if `tasks.clarify` is on.
    #[serde(skip_serializing_if = "is_false")]
    pub vague: bool,
    /// It means harm, if `tasks.safety` is on.
    #[serde(rename = "unsafe", skip_serializing_if = "is_false")]
    pub is_unsafe: bool,
    /// What the light model is tried for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light: Option<&'static str>,
    /// The answer that it gets.
    pub answer: Option<String>,
    /// That answer's words.
    pub reply: Option<String>,
    /// The upstream that it goes to.
    pub upstream: Option<String>,
    /// Where it would be placed now, best first, and why; only if the upstream has several servers and is watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub placement: Vec<PlaceSeen>,
    /// The model put in place of its own.
    pub rewritten_model: Option<String>,
    /// The generation of rules that decided.
    pub generation: u64,
    /// How long each stage took.
    pub micros: Micros,
}

/// A rule that matched.
#[derive(Debug, Serialize)]
pub struct RuleSeen {
    /// Its name.
    pub name: String,
    /// The category that it gives.
    pub category: &'static str,
    /// Its priority.
    pub priority: i32,
    /// What in the message it matched by.
    pub because: String,
    /// `file:line`
    pub at: String,
}

/// A server in the order in which an ask would be tried.
#[derive(Debug, Serialize)]
pub struct PlaceSeen {
    /// `host:port`
    pub server: String,
    /// Why it stands there.
    pub because: &'static str,
}

/// A taught phrase beside the message.
#[derive(Debug, Serialize)]
pub struct NeighbourSeen {
    /// Its label.
    pub label: &'static str,
    /// As written.
    pub phrase: String,
    /// Rarity of the words that both have, natural logarithms added up.
    pub evidence: f32,
    /// How alike both are, 0 to 1.
    pub cosine: f32,
}

/// The classifier's part.
#[derive(Debug, Serialize)]
pub struct ClassifierSeen {
    /// Whether it was asked.
    pub asked: bool,
    /// Why, or why not.
    pub why: String,
    /// Its label, thresholds applied.
    pub label: Option<&'static str>,
    /// The probability of the most probable label.
    pub probability: Option<f32>,
    /// All of them.
    pub scores: Option<Scores>,
}

/// Microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Micros {
    /// Reading the body.
    pub parse: u128,
    /// Folding, words, language.
    pub look: u128,
    /// Hint and rules.
    pub rules: u128,
    /// Waiting for the classifier.
    pub classifier: u128,
    /// Answer and route.
    pub route: u128,
}

/// Explains the decision that this body would get.
///
/// # Errors
/// If the body is no ask of that dialect: it would be forwarded unread.
pub async fn explain(
    brain: &Brain,
    dialect: Dialect,
    body: &[u8],
    around: Around<'_>,
) -> Result<Explanation, Unreadable> {
    let clock = std::time::Instant::now();
    let ask = Ask::parse(dialect, body)?;
    let parse = clock.elapsed().as_micros();
    Ok(brain.decide(&ask, around, |sight, decision| lay_open(brain, sight, decision, around, parse)).await)
}

fn lay_open(
    brain: &Brain,
    sight: &Sight<'_>,
    decision: &Decision<'_>,
    around: Around<'_>,
    parse: u128,
) -> Explanation {
    let facts = sight.facts;
    let seen = sight.snapshot.matches(facts).into_iter().map(|m| RuleSeen {
        name: m.rule.name.to_string(),
        category: m.rule.category.name(),
        priority: m.rule.priority,
        because: m.by.to_string(),
        at: format!("{}:{}", m.rule.file.display(), m.rule.line),
    });
    let neighbours = sight.snapshot.neighbours(facts).into_iter().take(3).map(|n| NeighbourSeen {
        label: n.label.name(),
        phrase: n.phrase.to_owned(),
        evidence: n.evidence,
        cosine: n.cosine,
    });
    let (answer, reply) = match decision.to {
        To::Answer(answer, _) => (Some(answer.name.to_string()), say(brain, sight, answer).ok()),
        To::Unsafe(answer) => (Some(answer.name.to_string()), say(brain, sight, answer).ok()),
        To::Refusal(text) => (None, Some(text.to_owned())),
        To::Question(text, _) => (Some(decide::CLARIFY.to_owned()), Some(text.to_owned())),
        To::Upstream(_) | To::Light(..) => (None, None),
    };
    let (upstream, model) = match decision.to {
        // What the light model does not do is forwarded.
        To::Upstream(Forward { index, model }) | To::Light(_, Forward { index, model }) => {
            (brain.config.upstreams.get(index).map(|u| u.name.clone()), model.map(str::to_owned))
        }
        To::Answer(..) | To::Refusal(_) | To::Unsafe(_) | To::Question(..) => (None, None),
    };
    let stages = sight.stages;
    let placement = match decision.to {
        To::Upstream(to) | To::Light(_, to) => placement(brain, sight.ask, to),
        To::Answer(..) | To::Refusal(_) | To::Unsafe(_) | To::Question(..) => Vec::new(),
    };
    Explanation {
        text: facts.text.to_owned(),
        folded: facts.folded.to_owned(),
        language: facts.language.code(),
        words: facts.words,
        turns: facts.turns,
        dialect: sight.ask.dialect.name(),
        model: sight.ask.model.to_string(),
        rules: seen.collect(),
        neighbours: neighbours.collect(),
        classifier: classifier(brain, sight, decision),
        guards: sight.ask.guards.union(around.guards).iter().map(Guard::name).collect(),
        category: decision.category.name(),
        decided_by: decision.by.name(),
        rule: decision.rule.map(|rule| rule.name.to_string()),
        route: decision.route().name(),
        guard: decision.guard.map(Guard::name),
        arm: sight.arm.map(Arm::name),
        complexity: sight.signals.complexity,
        vague: sight.signals.question.is_some(),
        is_unsafe: sight.signals.is_unsafe,
        light: match decision.to {
            To::Light(work, _) => Some(work.name()),
            _ => None,
        },
        answer,
        reply,
        upstream,
        placement,
        rewritten_model: model,
        generation: sight.snapshot.generation,
        micros: Micros {
            parse,
            look: stages.look.as_micros(),
            rules: stages.rules.as_micros(),
            classifier: stages.classifier.as_micros(),
            route: stages.route.as_micros(),
        },
    }
}

fn is_false(truth: &bool) -> bool {
    !truth
}

fn placement(brain: &Brain, ask: &Ask<'_>, to: Forward<'_>) -> Vec<PlaceSeen> {
    let Some(pool) = brain.upstreams.get(to.index) else { return Vec::new() };
    let seen = pool.seen();
    let listed = seen.models.iter().flatten().next().map(String::as_str);
    let model = to.model.or_else(|| decide::is_auto(&ask.model).then_some(listed).flatten());
    let order = pool.order(&errand::of_ask(ask, model));
    let named = |placed: Placed| {
        let server = pool.servers.get(placed.server)?.authority.clone();
        Some(PlaceSeen { server, because: placed.reason.name() })
    };
    order.into_iter().filter_map(named).collect()
}

fn classifier(brain: &Brain, sight: &Sight<'_>, decision: &Decision<'_>) -> ClassifierSeen {
    let not =
        |why: String| ClassifierSeen { asked: false, why, label: None, probability: None, scores: None };
    match sight.consulted {
        Consulted::No => not(why_not(sight, decision)),
        Consulted::Off => not("classifier.mode is off".into()),
        Consulted::Arm => not("the experiment's arm `rules` goes without it".into()),
        Consulted::Shadow => {
            ClassifierSeen { asked: true, ..not("shadow: asked and counted, not heeded".into()) }
        }
        Consulted::Asked(outcome, _) => match outcome {
            Outcome::Verdict(verdict) => {
                let sure = verdict.confident() == verdict.label();
                let why = if sure {
                    "general by the rules, 5 to 25 words"
                } else {
                    "asked, but not sure: left as it was"
                };
                ClassifierSeen {
                    asked: true,
                    why: why.into(),
                    label: Some(verdict.confident().name()),
                    probability: Some(verdict.probability()),
                    scores: Some(Scores::from(verdict)),
                }
            }
            Outcome::Timeout => ClassifierSeen { asked: true, ..not("asked, no answer in time".into()) },
            Outcome::Error => ClassifierSeen { asked: true, ..not(format!("asked, failed{}", state(brain))) },
            Outcome::Busy => not("busy with others".into()),
            Outcome::Open => not(format!("out of service{}", state(brain))),
        },
    }
}

fn state(brain: &Brain) -> String {
    match brain.classifier_health() {
        Health::Ready(_) => String::new(),
        Health::Loading => ": still loading".into(),
        Health::Down(why) => format!(": {why}"),
    }
}

fn why_not(sight: &Sight<'_>, decision: &Decision<'_>) -> String {
    let words = sight.facts.words;
    if decision.by == By::Hint {
        "the client named the category".into()
    } else if decision.rule.is_some_and(Rule::is_taught) {
        "taught phrases say so".into()
    } else if sight.ask.guards.contains(Guard::Harness) {
        "a program's prompt, not a person's".into()
    } else if decision.category != crate::category::Category::GENERAL {
        format!("the rules already say {}", decision.category)
    } else if !decide::CLASSIFIED_WORDS.contains(&words) {
        format!("{words} words; it is asked about 5 to 25")
    } else {
        "a rule turns the ask away".into()
    }
}
