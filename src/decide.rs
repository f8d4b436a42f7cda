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
use crate::ask::{Ask, Chore, Guard, Guards};
use crate::category::{Category, Label};
use crate::config::{Background, Clarifying, Complexity, Config, Route, Safety};
use crate::intent::Verdict;
use crate::rules::{Facts, Rule, Snapshot};
use crate::tasks::Signals;

/// The classifier is asked about messages of that many words: shorter ones are the rules' business, longer
/// ones are work.
pub const CLASSIFIED_WORDS: RangeInclusive<usize> = 5..=25;

/// The names under which a client leaves the choice of model to us.
pub const AUTO: [&str; 2] = ["auto", "brainstem/auto"];

/// The name of the answer that an ask gets which means harm, and what it gets if there is no such answer.
pub const UNSAFE_ANSWER: &str = "unsafe";
/// See [`UNSAFE_ANSWER`].
pub const UNSAFE: &str = "This request asks for help to do harm, and is not served here.";
/// What stands for an answer's name where a vague ask is answered with a question.
pub const CLARIFY: &str = "clarify";

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
    /// What the light tasks say of it, as far as the config wants to hear it.
    pub signals: Signals,
    /// Whether the light model is loaded.
    pub light: bool,
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
    /// Answered here, with this answer; forwarded after all if nothing of it can be said.
    Answer(&'s Answer, Forward<'s>),
    /// Turned away with this text.
    Refusal(&'s str),
    /// It means harm: this answer, whatever its limits.
    Unsafe(&'s Answer),
    /// Too vague: this question; forwarded if its limits leave nothing of it.
    Question(&'static str, Forward<'s>),
    /// The light model may answer it; forwarded if it does not.
    Light(Work, Forward<'s>),
    /// Forwarded.
    Upstream(Forward<'s>),
}

/// What the light model may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Something that a front end wants for itself.
    Chore(Chore),
    /// Social talk that fits no written answer.
    SmallTalk,
}

impl Work {
    /// As in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chore(chore) => chore.name(),
            Self::SmallTalk => "small-talk",
        }
    }

    /// As in metrics.
    pub fn signal(self) -> &'static str {
        match self {
            Self::Chore(_) => "background",
            Self::SmallTalk => "small_talk",
        }
    }
}

/// How an ask is forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'s> {
    /// Index into [`Config::upstreams`].
    pub index: usize,
    /// The model to put in place of the ask's own.
    pub model: Option<&'s str>,
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
            To::Answer(..) | To::Refusal(_) | To::Unsafe(_) | To::Question(..) | To::Light(..) => {
                Route::Local
            }
            To::Upstream(_) => Route::Upstream,
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
    match ground.snapshot.winner(ground.facts).or_else(|| ground.snapshot.taught(ground.facts)) {
        Some(rule) => Draft { category: rule.category, by: By::Rule, rule: Some(rule) },
        None => Draft { category: Category::GENERAL, by: By::Default, rule: None },
    }
}

/// Whether the classifier is asked: only where the category is still general, the client did not name it,
/// and the message has 5 to 25 words.
pub fn wants_classifier(draft: &Draft<'_>, ground: &Ground<'_>) -> bool {
    draft.category == Category::GENERAL
        && draft.by != By::Hint
        && draft.rule.is_none_or(|rule| rule.refuse.is_none() && !rule.is_taught())
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
    if ground.signals.is_unsafe && ground.config.tasks.safety == Safety::Refuse && is_spoken(ground) {
        let answer = ground.snapshot.answer(UNSAFE_ANSWER);
        return decision(None, answer.map_or(To::Refusal(UNSAFE), To::Unsafe));
    }
    let upstream = forward(category, draft.rule, ground);
    if let Some(chore) = ground.signals.chore
        && matches!(ground.config.tasks.background, Background::Light(_))
        && is_plain(ground, upstream)
    {
        return decision(None, To::Light(Work::Chore(chore), upstream));
    }
    if let Some(question) = question(category, upstream, ground) {
        return decision(None, To::Question(question, upstream));
    }
    if ground.config.policy(category).route == Route::Upstream {
        return decision(None, To::Upstream(upstream));
    }
    // A hint names the category, not the answer: the rules are asked for that alone.
    let rule = draft.rule.or_else(|| ground.snapshot.winner(ground.facts).filter(|_| draft.by == By::Hint));
    let named = rule.and_then(|rule| rule.answer.as_deref());
    let nearest = || ground.snapshot.fitting(ground.facts).map(|(answer, _)| answer);
    let foreseen = || ground.snapshot.foreseen(&verdict?.wish, ground.facts);
    let answer = named.or_else(nearest).or_else(foreseen);
    let Some(answer) = answer else {
        let talks = ground.config.tasks.small_talk && ground.light && category == Category::FAST;
        let free = talks && ground.ask.turns > 0 && guard(ground, upstream).is_none();
        let to = if free { To::Light(Work::SmallTalk, upstream) } else { To::Upstream(upstream) };
        return decision(None, to);
    };
    match guard(ground, upstream) {
        Some(guard) => decision(Some(guard), To::Upstream(upstream)),
        None => decision(None, To::Answer(answer, upstream)),
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
fn forward<'s>(category: Category, rule: Option<&'s Rule>, ground: &Ground<'s>) -> Forward<'s> {
    let policy = ground.config.policy(category);
    let named = rule.and_then(|rule| rule.upstream.as_deref());
    let index = named
        .and_then(|name| ground.config.upstreams.iter().position(|u| u.name == name))
        .unwrap_or(policy.upstream);
    // What a front end wants for itself goes to the small model, whichever it names.
    let of_chore = || match &ground.config.tasks.background {
        Background::Model(model) | Background::Light(Some(model)) if ground.signals.chore.is_some() => {
            Some(model.as_str())
        }
        _ => None,
    };
    let by_work = match ground.signals.complexity {
        Some(1..=2) => policy.small_model.as_deref(),
        Some(4..) => policy.heavy_model.as_deref(),
        _ => None,
    };
    let by_work = by_work.filter(|_| ground.config.tasks.complexity == Complexity::Route);
    let of_category = || by_work.or(policy.model.as_deref()).filter(|_| is_auto(&ground.ask.model));
    let of_rule = rule.and_then(|rule| rule.model.as_deref());
    Forward { index, model: of_rule.or_else(of_chore).or_else(of_category) }
}

/// What to ask back instead of guessing: only of a message that stands alone, and once, since the second message of a
/// conversation never does.
fn question(category: Category, upstream: Forward<'_>, ground: &Ground<'_>) -> Option<&'static str> {
    let alone = ground.ask.turns == 1 && !ground.ask.guards.contains(Guard::Turns);
    let wanted = ground.config.tasks.clarify == Clarifying::Ask && alone && category != Category::FAST;
    ground.signals.question.filter(|_| wanted && guard(ground, upstream).is_none())
}

/// It is a message to reply to, not a call to load a model or a request that only the upstream can judge.
fn is_spoken(ground: &Ground<'_>) -> bool {
    const NOT: [Guard; 5] = [Guard::Load, Guard::Unload, Guard::Invalid, Guard::Background, Guard::Debug];
    ground.ask.turns > 0 && !NOT.iter().any(|guard| ground.ask.guards.contains(*guard))
}

/// A front end's prompt that wants a plain text.
fn is_plain(ground: &Ground<'_>, upstream: Forward<'_>) -> bool {
    const FINE: [Guard; 3] = [Guard::Harness, Guard::Turns, Guard::System];
    let fine = ground.ask.guards.union(ground.guards).iter().all(|guard| FINE.contains(&guard));
    fine && (is_auto(&ground.ask.model) || (ground.may_have)(upstream.index))
}

/// What speaks against a local answer, most telling first.
fn guard(ground: &Ground<'_>, upstream: Forward<'_>) -> Option<Guard> {
    let lifted = |guard: &Guard| match guard {
        Guard::Turns => ground.config.proxy.multi_turn,
        Guard::System => ground.config.proxy.allow_system,
        _ => false,
    };
    let unknown_model = || {
        let known = is_auto(&ground.ask.model) || (ground.may_have)(upstream.index);
        (!known).then_some(Guard::UnknownModel)
    };
    let said = ground.ask.guards.union(ground.guards);
    said.iter().find(|guard| !lifted(guard)).or_else(unknown_model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::vocabulary;
    use crate::dialect::Dialect;
    use crate::intent::Wish;
    use crate::text;

    const RULES: &str = r#"
        [[rule]]
        name = "code"
        category = "coding"
        priority = 60
        any = ["функци*", "stack trace"]
        [[rule]]
        name = "shielded"
        category = "general"
        priority = 70
        any = ["horoscope"]
        [[rule]]
        name = "to-big"
        model = "big:70b"
        upstream = "big"
        any = ["very hard"]
        [[rule]]
        name = "no"
        refuse = "not here"
        any = ["forbidden"]
        [[answer]]
        name = "greeting"
        match = { any = ["привет", "hello"], only = true }
        examples = ["доброго времени суток вам от всей души"]
        ru = "Привет!"
        en = "Hello!"
    "#;

    const CONFIG: &str = "[upstream.big]\nurl = \"http://10.0.0.9:1\"\n\
                          [categories.coding]\nmodel = \"coder\"\nupstream = \"big\"\n";

    /// Calls `judge` with the ground of this body, under these rules and answers.
    fn on_ground<T>(
        (rules, answers): (&str, &str),
        config: &str,
        body: &str,
        judge: impl FnOnce(Ground<'_>) -> T,
    ) -> T {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), rules).unwrap();
        std::fs::create_dir(dir.path().join("answers")).unwrap();
        std::fs::write(dir.path().join("answers/a.toml"), answers).unwrap();
        let config = Config::of_text(config);
        let snapshot = Snapshot::load(dir.path(), &vocabulary(&config).borrow()).unwrap();
        let ask = Ask::parse(Dialect::Chat, body.as_bytes()).unwrap();
        let folded = text::fold(&ask.text);
        let facts = Facts {
            text: &ask.text,
            folded: &folded,
            words: text::count_words(&ask.text),
            turns: ask.turns,
            model: &ask.model,
            family: ask.dialect.family(),
            has: ask.has,
            language: text::language(&ask.text),
        };
        judge(Ground {
            snapshot: &snapshot,
            config: &config,
            ask: &ask,
            facts: &facts,
            hint: None,
            may_have: &|_| true,
            guards: Guards::default(),
            signals: Signals::of(&config.tasks, &ask, &ask.text),
            light: true,
        })
    }

    fn verdict(scores: [f32; 5], wish: Wish) -> Verdict {
        Verdict { scores, embedding: Vec::new(), wish, greeting_from: 0.9, sure_from: 0.5 }
    }

    /// What matters of a decision, in one line.
    fn decide(
        body: &str,
        hint: Option<Category>,
        scores: Option<[f32; 5]>,
        config: &str,
        listed: bool,
    ) -> String {
        let (rules, answers) = RULES.split_once("[[answer]]").unwrap();
        let answers = format!("[[answer]]{answers}");
        on_ground((rules, &answers), &format!("{CONFIG}{config}"), body, |ground| {
            let ground = Ground { hint, may_have: &|_| listed, ..ground };
            let draft = draft(&ground);
            let asked = wants_classifier(&draft, &ground);
            let verdict = scores.filter(|_| asked).map(|scores| verdict(scores, Wish::default()));
            let made = conclude(draft, verdict.as_ref(), &ground);
            let to = match made.to {
                To::Answer(answer, _) => format!("answer {}", answer.name),
                To::Refusal(text) => format!("refusal {text}"),
                To::Unsafe(answer) => format!("unsafe {}", answer.name),
                To::Question(..) => "a question".to_owned(),
                To::Light(work, _) => format!("light {}", work.name()),
                To::Upstream(Forward { index, model }) => {
                    let model = model.map_or(String::new(), |m| format!(" as {m}"));
                    format!("{}{model}", ground.config.upstreams[index].name)
                }
            };
            let guard = made.guard.map_or(String::new(), |g| format!(" [{}]", g.name()));
            let asked = if asked { ", asked" } else { "" };
            format!("{} by {}{asked}: {to}{guard}", made.category, made.by.name())
        })
    }

    fn say(text: &str) -> String {
        decide(&chat(text), None, None, "", true)
    }

    fn chat(text: &str) -> String {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#)
    }

    fn classified(text: &str, scores: [f32; 5]) -> String {
        decide(&chat(text), None, Some(scores), "", true)
    }

    #[test]
    fn the_best_rule_decides() {
        assert_eq!(say("Привет!"), "fast by rule: answer greeting");
        assert_eq!(say("привет, напиши функцию сортировки"), "coding by rule: big");
        assert_eq!(say("привет, почему небо голубое"), "general by default: default");
    }

    #[test]
    fn a_hint_is_taken_as_it_is() {
        let hinted = |text, category| decide(&chat(text), Some(category), None, "", true);
        assert_eq!(hinted("привет", Category::REASONING), "reasoning by hint: default");
        assert_eq!(hinted("one two three four five six", Category::GENERAL), "general by hint: default");
        assert_eq!(hinted("привет", Category::FAST), "fast by hint: answer greeting");
        assert_eq!(hinted("what is the height of everest", Category::FAST), "fast by hint: default");
    }

    #[test]
    fn the_classifier_is_asked_only_where_general_meets_5_to_25_words() {
        let words = |n: usize| say(&vec!["word"; n].join(" "));
        for n in [1, 4, 26] {
            assert_eq!(words(n), "general by default: default", "{n}");
        }
        for n in [5, 25] {
            assert_eq!(words(n), "general by default, asked: default", "{n}");
        }
        assert_eq!(say("напиши функцию на расте пожалуйста сегодня"), "coding by rule: big");
        assert_eq!(say("what does my horoscope say about today"), "general by rule, asked: default");
    }

    #[test]
    fn a_sure_verdict_decides_an_unsure_one_does_not() {
        let text = "посмотри почему у меня всё падает";
        assert_eq!(classified(text, [0.0, 0.0, 0.9, 0.1, 0.0]), "coding by classifier, asked: big");
        assert_eq!(classified(text, [0.0, 0.3, 0.4, 0.3, 0.0]), "general by default, asked: default");
        assert_eq!(classified(text, [0.1, 0.0, 0.1, 0.1, 0.7]), "general by classifier, asked: default");
    }

    #[test]
    fn a_greeting_by_verdict_needs_an_answer_that_fits() {
        let sure = [0.99, 0.0, 0.0, 0.0, 0.01];
        let near = "доброго вам времени суток от всей души";
        assert_eq!(classified(near, sure), "fast by classifier, asked: answer greeting");
        assert_eq!(
            classified("ты любишь гулять под дождём вечером", sure),
            "fast by classifier, asked: default"
        );
        let unsure = [0.8, 0.0, 0.0, 0.0, 0.2];
        assert_eq!(classified(near, unsure), "general by default, asked: default");
    }

    /// Which answer a greeting gets on the classifier's word alone.
    fn foreseen(text: &str, wished: &[(&str, f32)]) -> String {
        const ANSWERS: &str = r#"
            [[answer]]
            name = "thanks"
            examples = ["thanks a lot"]
            en = "You are welcome."
            [[answer]]
            name = "models"
            examples = ["which models are there"]
            en = "{{ models }}"
            [[answer]]
            name = "capabilities"
            strict = true
            examples = ["what can you tell me"]
            en = "This and that."
            [[answer]]
            name = "parting"
            covers = ["thanks", "goodbye"]
            en = "You are welcome, bye."
            [[answer]]
            name = "goodbye"
            examples = ["bye"]
            en = "Bye."
        "#;
        let wish = Wish {
            answers: wished.iter().map(|(name, probability)| ((*name).into(), *probability)).collect(),
            one_from: 0.7,
            family_from: 0.8,
        };
        on_ground(("", ANSWERS), "", &chat(text), |ground| {
            let verdict = verdict([0.95, 0.0, 0.0, 0.0, 0.05], wish);
            match conclude(draft(&ground), Some(&verdict), &ground).to {
                To::Answer(answer, _) => answer.name.to_string(),
                _ => "upstream".to_owned(),
            }
        })
    }

    /// The same under these `[tasks]`.
    fn noticed(text: &str, tasks: &str) -> String {
        decide(&chat(text), None, None, &format!("[tasks]\n{tasks}"), true)
    }

    #[test]
    fn a_vague_ask_is_asked_back_once() {
        let ask = "clarify = \"ask\"";
        assert_eq!(noticed("fix it please", ask), "general by default: a question");
        assert_eq!(noticed("fix it please", "clarify = \"annotate\""), "general by default: default");
        assert_eq!(noticed("fix the login redirect loop", ask), "general by default, asked: default");
        let second = r#"{"model":"m","messages":[{"role":"user","content":"fix it"},{"role":"assistant","content":"what?"},
                         {"role":"user","content":"fix it please"}]}"#;
        for multi_turn in ["", "[proxy]\nmulti_turn = true\n"] {
            let config = format!("{multi_turn}[tasks]\n{ask}");
            assert_eq!(decide(second, None, None, &config, true), "general by default: default");
        }
        let formed =
            r#"{"model":"m","format":"json","messages":[{"role":"user","content":"fix it please"}]}"#;
        assert_eq!(
            decide(formed, None, None, &format!("[tasks]\n{ask}"), true),
            "general by default: default"
        );
    }

    #[test]
    fn harm_is_refused_whatever_else_speaks_against_a_local_answer() {
        let refuse = "safety = \"refuse\"";
        let harm = "how to build a bomb";
        assert!(noticed(harm, refuse).starts_with("general by default, asked: refusal This request"));
        assert_eq!(noticed(harm, "safety = \"annotate\""), "general by default, asked: default");
        let formed =
            format!(r#"{{"model":"m","format":"json","messages":[{{"role":"user","content":"{harm}"}}]}}"#);
        assert!(decide(&formed, None, None, &format!("[tasks]\n{refuse}"), true).contains("refusal"));
    }

    #[test]
    fn work_picks_the_model_of_auto_alone() {
        let models = "complexity = \"route\"\n[categories.general]\nmodel = \"mid\"\nsmall_model = \"tiny\"\n\
                      heavy_model = \"huge\"";
        let asked = |model: &str, text: &str| {
            let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#);
            decide(&body, None, None, &format!("[tasks]\n{models}"), true)
        };
        let heavy =
            "design a distributed store, prove it, implement it with tests, analyze trade-offs and a roadmap";
        assert_eq!(asked("auto", "capital of France"), "general by default: default as tiny");
        assert_eq!(asked("auto", heavy), "general by default, asked: default as huge");
        assert_eq!(asked("m", heavy), "general by default, asked: default");
        assert_eq!(
            asked("auto", "very hard"),
            "general by rule: big as big:70b",
            "a rule's model is the rule's"
        );
    }

    #[test]
    fn what_a_front_end_wants_for_itself_goes_to_the_small_model() {
        let task = "### Task:\\nGenerate a concise, 3-5 word title";
        let small = "background = \"model\"\nbackground_model = \"tiny\"";
        assert_eq!(noticed(task, small), "general by default: default as tiny");
        assert_eq!(noticed(task, "background = \"light\""), "general by default: light title");
        assert_eq!(noticed(task, ""), "general by default: default");
        assert_eq!(noticed("### Task:\\nAnswer with the context", small), "general by default: default");
    }

    #[test]
    fn small_talk_that_fits_no_answer_may_be_the_light_models() {
        let hinted =
            |tasks: &str| decide(&chat("do you like the rain"), Some(Category::FAST), None, tasks, true);
        assert_eq!(hinted("[tasks]\nsmall_talk = true"), "fast by hint: light small-talk");
        assert_eq!(hinted(""), "fast by hint: default");
    }

    #[test]
    fn an_answer_may_be_foreseen_by_the_verdict() {
        let text = "ta very much indeed dear old chap";
        assert_eq!(foreseen(text, &[("thanks", 0.9)]), "thanks");
        assert_eq!(foreseen(text, &[("thanks", 0.6)]), "upstream");
        assert_eq!(foreseen(text, &[("nowhere", 0.9)]), "upstream", "no such answer");
        assert_eq!(foreseen("are there models there which are", &[("models", 0.9)]), "models");
        let of_somebody_else = "say how many kinds tesla sells";
        assert_eq!(foreseen(of_somebody_else, &[("models", 0.9)]), "upstream");
        assert_eq!(
            foreseen("so what can you tell me", &[("capabilities", 0.9)]),
            "upstream",
            "\"so\" is unknown"
        );
        assert_eq!(
            foreseen("so what can you tell me", &[("capabilities", 0.95)]),
            "capabilities",
            "it is surer"
        );
        assert_eq!(foreseen("what can you tell me about bees", &[("capabilities", 0.95)]), "upstream");
        assert_eq!(foreseen("can you tell me what", &[("capabilities", 0.9)]), "capabilities");
        assert_eq!(foreseen("what can you tell me about bees", &[("capabilities", 0.9)]), "upstream");
    }

    #[test]
    fn an_answer_that_covers_several_is_given_where_it_is_not_clear_which() {
        let text = "ta very much indeed dear old chap";
        assert_eq!(foreseen(text, &[("thanks", 0.45), ("goodbye", 0.4)]), "parting");
        assert_eq!(foreseen(text, &[("thanks", 0.45), ("models", 0.4)]), "upstream");
        assert_eq!(foreseen(text, &[("thanks", 0.75), ("goodbye", 0.2)]), "thanks");
    }

    #[test]
    fn guards_keep_the_category_and_forward() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hello"}],"format":"json"}"#;
        assert_eq!(decide(body, None, None, "", true), "fast by rule: default [format]");
        assert_eq!(decide(&chat("hello"), None, None, "", false), "fast by rule: default [unknown-model]");
    }

    #[test]
    fn the_config_lifts_two_guards() {
        let turns = r#"{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"hello"}]}"#;
        assert_eq!(decide(turns, None, None, "", true), "fast by rule: default [turns]");
        assert_eq!(
            decide(turns, None, None, "[proxy]\nmulti_turn = true", true),
            "fast by rule: answer greeting"
        );
        let persona = r#"{"model":"m","messages":[{"role":"system","content":"You are a pirate."},{"role":"user","content":"hello"}]}"#;
        assert_eq!(decide(persona, None, None, "", true), "fast by rule: default [system]");
        assert_eq!(
            decide(persona, None, None, "[proxy]\nallow_system = true", true),
            "fast by rule: answer greeting"
        );
    }

    #[test]
    fn a_rule_may_name_model_and_upstream() {
        assert_eq!(say("a very hard one"), "general by rule: big as big:70b");
    }

    #[test]
    fn auto_takes_the_categorys_model() {
        let auto = |text: &str| decide(&chat(text).replace("\"m\"", "\"auto\""), None, None, "", false);
        assert_eq!(auto("вот stack trace"), "coding by rule: big as coder");
        assert_eq!(auto("hello"), "fast by rule: answer greeting");
        for (name, is) in
            [("auto", true), ("brainstem/auto", true), ("AUTO:latest", true), ("automatic", false)]
        {
            assert_eq!(is_auto(name), is, "{name}");
        }
    }

    #[test]
    fn a_refusal_asks_nobody() {
        assert_eq!(say("one forbidden word among these five"), "general by rule: refusal not here");
    }

    #[test]
    fn a_harness_prompt_is_nobodys_business() {
        let task = "### Task:\\nSuggest a title with an emoji for this функция chat";
        assert!(say(task).starts_with("general by default: default"), "{}", say(task));
    }
}
