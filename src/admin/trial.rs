//! `POST /try`: rules that are not saved yet, against what was asked last or against lines of one's own. They are
//! compiled beside the running set and forgotten again; nothing is swapped in.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ask::{Ask, Guard};
use crate::brain::{self, Brain};
use crate::config::Mode;
use crate::decide::{self, Forward, Ground, To};
use crate::decisions::recent::{Again, KEPT};
use crate::dialect::Dialect;
use crate::intent::worker::Outcome;
use crate::problem::Problem;
use crate::rules::{Facts, Snapshot};
use crate::text;

/// The name of rules that have none yet: last in the order, as a new file mostly is.
const UNSAVED: &str = "unsaved.toml";
/// Lines of one's own, at most.
const LINES: usize = 1000;
/// All questions to the classifier together may take so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is to be tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    /// A rules file's text.
    rules: String,
    /// The file of the rules directory that it is to take the place of, if any.
    file: Option<String>,
    /// Messages to try it on instead of the last decisions.
    lines: Option<Vec<String>>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    ok: bool,
    /// What is wrong with the rules; then nothing else is told.
    problems: Vec<Fault>,
    /// How many were decided again.
    of: usize,
    /// Those that would go another way.
    moved: Vec<Moved>,
    /// Those that somebody else would decide about, and that go the same way all the same.
    same_way: usize,
    /// Of the last decisions, those whose text is not kept.
    without_text: usize,
    /// Those that the classifier would be asked about and was not: it is not here, or had others to serve.
    unasked: usize,
    /// The generation that it was compared with.
    generation: u64,
}

#[derive(Debug, Serialize)]
struct Fault {
    file: String,
    line: usize,
    col: usize,
    message: String,
    /// Whether it is in the text that was sent.
    here: bool,
}

#[derive(Debug, Serialize)]
struct Moved {
    /// The decision's, if it was one.
    number: Option<u64>,
    text: String,
    before: Way,
    after: Way,
}

/// Where an ask goes.
#[derive(Debug, PartialEq, Serialize)]
struct Way {
    category: &'static str,
    decided_by: &'static str,
    rule: Option<String>,
    route: &'static str,
    answer: Option<String>,
    guard: Option<&'static str>,
    upstream: Option<String>,
    model: Option<String>,
    refused: bool,
}

impl Way {
    /// Whether both end at the same place, whoever says so.
    fn leads_where(&self, other: &Self) -> bool {
        let end = |way: &Self| {
            (
                way.category,
                way.route,
                way.refused,
                way.answer.clone(),
                way.upstream.clone(),
                way.model.clone(),
            )
        };
        end(self) == end(other)
    }
}

/// Why it cannot be tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untried {
    #[error("\"{0}\" is no name of a rules file; write it like \"50-mine.toml\" or \"answers/mine.toml\"")]
    Name(String),
    #[error("{0} lines; {LINES} are allowed")]
    Lines(usize),
    #[error("the trial broke off")]
    Broken,
}

impl Trial {
    /// Compiles the rules and decides everything twice.
    pub(super) async fn run(self, brain: &Brain) -> Result<Found, Untried> {
        let name = self.file.unwrap_or_else(|| UNSAVED.to_owned());
        if !is_rules_file(&name) {
            return Err(Untried::Name(name));
        }
        let asks = match self.lines {
            Some(lines) if lines.len() > LINES => return Err(Untried::Lines(lines.len())),
            Some(lines) => Asks::of_lines(&lines),
            None => Asks::of_the_last(brain),
        };
        let (dir, text) = (brain.config.proxy.rules.clone(), self.rules);
        let here = dir.join(&name);
        let vocabulary = brain::vocabulary(&brain.config);
        // Ten thousand rules take a while to compile; this thread has others to answer.
        let tried =
            tokio::task::spawn_blocking(move || Snapshot::load_with(&dir, &name, text, &vocabulary.borrow()));
        let running = brain.snapshot.load_full();
        let tried = match tried.await.map_err(|_| Untried::Broken)? {
            Ok(tried) => tried,
            Err(problems) => {
                let fault = |p: Problem| Fault {
                    here: p.file == here,
                    file: p.file.display().to_string(),
                    line: p.line,
                    col: p.col,
                    message: p.message,
                };
                let problems = problems.into_iter().map(fault).collect();
                return Ok(Found { ok: false, problems, ..Found::nothing(running.generation) });
            }
        };
        let mut found = Found { of: asks.known.len(), ..Found::nothing(running.generation) };
        found.without_text = asks.without_text;
        let until = Instant::now() + PATIENCE;
        for (number, again) in asks.known {
            let again = again.with_verdict(brain, [&running, &tried], until, &mut found.unasked).await;
            let [before, after] = [&running, &tried].map(|snapshot| again.way(brain, snapshot));
            if before.leads_where(&after) {
                found.same_way += usize::from(before != after);
            } else {
                found.moved.push(Moved { number, text: again.kept.ask.text.to_string(), before, after });
            }
        }
        Ok(found)
    }
}

impl Found {
    fn nothing(generation: u64) -> Self {
        let (problems, moved) = (Vec::new(), Vec::new());
        Self { ok: true, problems, of: 0, moved, same_way: 0, without_text: 0, unasked: 0, generation }
    }
}

/// A file directly in the rules directory or in its `answers`.
fn is_rules_file(name: &str) -> bool {
    let file = name.strip_prefix("answers/").unwrap_or(name);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    file.len() <= 128
        && file.strip_suffix(".toml").is_some_and(|stem| !stem.is_empty())
        && !file.starts_with('.')
        && file.chars().all(plain)
}

/// What the rules are tried on.
struct Asks {
    known: Vec<(Option<u64>, std::sync::Arc<Again>)>,
    without_text: usize,
}

impl Asks {
    fn of_the_last(brain: &Brain) -> Self {
        let kept = brain.recent.as_ref().map_or(Vec::new(), |recent| recent.after(0, KEPT));
        let all = kept.len();
        let known: Vec<_> =
            kept.into_iter().filter_map(|kept| Some((Some(kept.number), kept.again?))).collect();
        Self { without_text: all - known.len(), known }
    }

    fn of_lines(lines: &[String]) -> Self {
        let known = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).filter_map(|line| {
            let body = serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": line}]});
            let body = body.to_string();
            let ask = Ask::parse(Dialect::Chat, body.as_bytes()).ok()?;
            Some((None, std::sync::Arc::new(Again::fresh(&ask))))
        });
        Self { known: known.collect(), without_text: 0 }
    }
}

/// An ask, what rules see of it, and what the classifier says of it.
struct Known<'k> {
    kept: &'k Again,
    verdict: Option<std::borrow::Cow<'k, crate::intent::Verdict>>,
}

impl Again {
    /// The classifier's word, if one of these sets wants it: what it said then, or what it says now, asked in
    /// passing.
    async fn with_verdict<'k>(
        &'k self,
        brain: &Brain,
        sets: [&Snapshot; 2],
        until: Instant,
        unasked: &mut usize,
    ) -> Known<'k> {
        let wanted = self.classified
            && brain.config.classifier.mode == Mode::On
            && self.ground(brain, sets[0], |ground| {
                sets.iter().any(|snapshot| {
                    let ground = Ground { snapshot, ..*ground };
                    decide::wants_classifier(&decide::draft(&ground), &ground)
                })
            });
        let verdict = match (&self.verdict, &brain.intent) {
            _ if !wanted => None,
            (Some(verdict), _) => Some(std::borrow::Cow::Borrowed(verdict)),
            (None, Some(intent)) if Instant::now() < until => {
                match intent.ask_in_passing(&self.ask.text).await {
                    Outcome::Verdict(verdict) => Some(std::borrow::Cow::Owned(verdict)),
                    _ => None,
                }
            }
            _ => None,
        };
        *unasked += usize::from(wanted && verdict.is_none());
        Known { kept: self, verdict }
    }

    /// Calls `judge` with this ask's ground under those rules.
    fn ground<T>(&self, brain: &Brain, snapshot: &Snapshot, judge: impl FnOnce(&Ground<'_>) -> T) -> T {
        let seen = text::window(&self.ask.text);
        let folded = text::fold(&seen);
        let facts = Facts::of(&self.ask, &seen, &folded);
        let may_have = |index: usize| brain.seen(index).may_have(&self.ask.model);
        judge(&Ground {
            snapshot,
            config: &brain.config,
            ask: &self.ask,
            facts: &facts,
            hint: self.hint,
            may_have: &may_have,
            guards: self.guards,
            signals: crate::tasks::Signals::of(&brain.config.tasks, &self.ask, &seen),
            light: brain.light.about().is_some(),
        })
    }
}

impl Known<'_> {
    fn way(&self, brain: &Brain, snapshot: &Snapshot) -> Way {
        self.kept.ground(brain, snapshot, |ground| {
            let draft = decide::draft(ground);
            let heeded = decide::wants_classifier(&draft, ground);
            let made = decide::conclude(draft, self.verdict.as_deref().filter(|_| heeded), ground);
            let (answer, to) = match made.to {
                To::Answer(answer, _) | To::Unsafe(answer) => (Some(answer.name.to_string()), None),
                To::Question(..) => (Some(decide::CLARIFY.to_owned()), None),
                To::Refusal(_) => (None, None),
                To::Upstream(Forward { index, model }) | To::Light(_, Forward { index, model }) => {
                    (None, Some((index, model)))
                }
            };
            Way {
                category: made.category.name(),
                decided_by: made.by.name(),
                rule: made.rule.map(|rule| rule.name.to_string()),
                route: made.route().name(),
                answer,
                guard: made.guard.map(Guard::name),
                upstream: to.and_then(|(index, _)| Some(brain.config.upstreams.get(index)?.name.clone())),
                model: to.and_then(|(_, model)| model.map(str::to_owned)),
                refused: matches!(made.to, To::Refusal(_) | To::Unsafe(_)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_rules_files_are_taken() {
        for good in ["50-mine.toml", "answers/mine.toml", "мои правила.toml"] {
            assert!(is_rules_file(good), "{good}");
        }
        for bad in
            ["", ".toml", "../x.toml", "/etc/x.toml", "answers/../x.toml", "a/b.toml", ".a.toml", "x.tsv"]
        {
            assert!(!is_rules_file(bad), "{bad}");
        }
    }
}
