//! Asking the classifier: with the request waiting, or in passing, or not at all.

use std::time::{Duration, Instant};

use super::Brain;
use crate::category::Category;
use crate::config::Mode;
use crate::decisions::Note;
use crate::experiment::Arm;
use crate::intent::Verdict;
use crate::intent::worker::Outcome;
use crate::metrics::{Metrics, seconds};

/// What the classifier had to do with a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Consulted {
    /// The ask was none of its business.
    No,
    /// Its mode is off.
    Off,
    /// Asked in passing: its word changes nothing.
    Shadow,
    /// Not asked: the ask is in the experiment's arm `rules`.
    Arm,
    /// Asked, and this came of it, after that long.
    Asked(Outcome, Duration),
}

impl Brain {
    /// Asks the classifier as its mode and the ask's arm say, counts it, and logs the older system's line.
    pub(super) async fn consult(
        &self,
        from: Category,
        text: &str,
        words: usize,
        arm: Option<Arm>,
    ) -> Consulted {
        let Some(intent) = self.intent.as_ref() else { return Consulted::Off };
        let in_shadow = match arm {
            Some(Arm::Rules) => self.config.experiment.is_some_and(|experiment| experiment.shadow),
            Some(Arm::Classifier) => false,
            None => self.config.classifier.mode == Mode::Shadow,
        };
        match arm {
            _ if in_shadow => return Consulted::Shadow,
            Some(Arm::Rules) => return Consulted::Arm,
            Some(Arm::Classifier) | None => {}
        }
        let clock = Instant::now();
        let outcome = intent.ask(text).await;
        let waited = clock.elapsed();
        record(&self.metrics, self.arm_of(arm), from, &outcome, words, waited);
        Consulted::Asked(outcome, waited)
    }

    /// Asks beside the request, which goes on; the decision is logged when the classifier has spoken.
    pub(super) fn ask_in_passing(
        &self,
        from: Category,
        text: &str,
        words: usize,
        arm: Option<Arm>,
        note: Option<Note>,
    ) {
        let Some(intent) = self.intent.clone() else { return };
        let (metrics, text, name) = (self.metrics.clone(), text.to_owned(), self.arm_of(arm));
        tokio::spawn(async move {
            let clock = Instant::now();
            let outcome = match arm {
                // Others wait for the classifier.
                Some(_) => intent.ask_in_passing(&text).await,
                None => intent.ask(&text).await,
            };
            let waited = clock.elapsed();
            record(&metrics, name, from, &outcome, words, waited);
            if let Some(mut note) = note {
                note.heard(from, &outcome, waited);
                note.keep();
            }
        });
    }

    /// The arm of the comparison, as in metrics: the ask's own while an experiment runs, else what the
    /// classifier's mode makes of all asks.
    pub fn arm_of(&self, own: Option<Arm>) -> &'static str {
        match self.config.classifier.mode {
            _ if own.is_some() => own.map_or("none", Arm::name),
            _ if self.config.experiment.is_some() => "none",
            Mode::On => "classifier",
            Mode::Shadow => "shadow",
            Mode::Off => "rules",
        }
    }
}

fn record(metrics: &Metrics, arm: &str, from: Category, outcome: &Outcome, words: usize, waited: Duration) {
    let to = match outcome {
        Outcome::Verdict(verdict) => Verdict::confident(verdict).category(),
        _ => from,
    };
    metrics.classifier_requests.with_label_values(&[outcome.name(from)]).inc();
    if matches!(outcome, Outcome::Busy | Outcome::Open) {
        return;
    }
    metrics.classifier_seconds.observe(seconds(waited));
    if to != from {
        metrics.category_changes.with_label_values(&[from.name(), to.name()]).inc();
        metrics.arm_category_changes.with_label_values(&[arm, from.name(), to.name()]).inc();
    }
    // The older system's own line, to the letter: `brainstem measure --parse-logs` and its scripts read it.
    tracing::info!("[MLX_LIGHT_CLASSIFY] {from} -> {to} goal_len={words} duration_ms={}", waited.as_millis());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Around, Sight};
    use super::*;
    use crate::ask::Ask;
    use crate::config::{self, Config};
    use crate::decide::{By, Decision};
    use crate::decisions::Decisions;
    use crate::dialect::Dialect;
    use crate::intent::worker::{Health, Intent, Load, Manners};
    use crate::intent::{Classifier, ClassifyError, Wish};

    const BODY: &[u8] =
        br#"{"model":"m","messages":[{"role":"user","content":"tell me about the old town"}]}"#;

    /// Says "coding" to everything, but not before it is let.
    struct Held(crossbeam_channel::Receiver<()>);

    impl Classifier for Held {
        fn classify(&mut self, _: &str) -> Result<Verdict, ClassifyError> {
            self.0.recv().map_err(|_| ClassifyError::Absent)?;
            let scores = [0.0, 0.0, 1.0, 0.0, 0.0];
            Ok(Verdict {
                scores,
                embedding: Vec::new(),
                wish: Wish::default(),
                greeting_from: 0.9,
                sure_from: 0.5,
            })
        }

        fn describe(&self) -> String {
            "held".into()
        }
    }

    /// A brain of that experiment without rules, its classifier held until the sender lets it.
    async fn brain(experiment: &str) -> (Brain, crossbeam_channel::Sender<()>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let rules = format!("[proxy]\nrules = {:?}\n[classifier]\nmode = \"off\"\n", dir.path());
        let mut config = Config::of_text(&rules);
        let mut brain = Brain::open(config.clone(), false).unwrap();
        config.classifier.mode = Mode::On;
        config.experiment =
            Config::of_text(&format!("[experiment]\nenabled = true\n{experiment}")).experiment;
        let (let_go, held) = crossbeam_channel::bounded(8);
        let load: Load = Box::new(move || Ok(Box::new(Held(held.clone()))));
        let manners = Manners {
            timeout: Duration::from_secs(10),
            queue: 8,
            cooldown: Duration::from_secs(30),
            preload: true,
        };
        let intent = Intent::start(manners, brain.metrics.light_restarts.clone(), load).unwrap();
        eventually(|| intent.health() != Health::Loading).await;
        (brain.config, brain.intent) = (config, Some(Arc::new(intent)));
        (brain, let_go, dir)
    }

    async fn decide<T>(
        brain: &Brain,
        id: Option<&str>,
        act: impl FnOnce(&Sight<'_>, &Decision<'_>) -> T,
    ) -> T {
        let ask = Ask::parse(Dialect::Chat, BODY).unwrap();
        brain.decide(&ask, Around { id, ..Around::default() }, act).await
    }

    async fn eventually(holds: impl Fn() -> bool) {
        let clock = Instant::now();
        while !holds() {
            assert!(clock.elapsed() < Duration::from_secs(30), "not within 30 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn would_have_changed(brain: &Brain) -> u64 {
        brain.metrics.arm_category_changes.with_label_values(&["rules", "general", "coding"]).get()
    }

    #[tokio::test]
    async fn a_shadow_is_not_waited_for_and_heard_later() {
        let (mut brain, let_go, dir) = brain("classifier_share = 0\nshadow = true\n").await;
        let file = dir.path().join("d.jsonl");
        let log = config::Decisions { file: file.clone(), text: false, max_size: 1 << 20, keep: 1 };
        brain.decisions = Some(Arc::new(Decisions::start(&log, &brain.metrics.decision_log_lines).unwrap()));
        // Nobody lets the classifier go: who waited for it would not come back with this.
        let seen = decide(&brain, Some("a"), |sight, decision| {
            (sight.consulted.clone(), decision.category, decision.by)
        });
        assert_eq!(seen.await, (Consulted::Shadow, Category::GENERAL, By::Default));
        assert_eq!(would_have_changed(&brain), 0);
        let_go.send(()).unwrap();
        eventually(|| would_have_changed(&brain) == 1).await;
        let written = brain.metrics.decision_log_lines.with_label_values(&["written"]);
        eventually(|| written.get() == 1).await;
        let line: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!((&line["category"], &line["classifier"]["label"]), (&"general".into(), &"coding".into()));
    }

    #[tokio::test]
    async fn the_arm_rules_asks_nobody() {
        let (brain, let_go, _dir) = brain("classifier_share = 0\n").await;
        assert_eq!(decide(&brain, None, |sight, _| sight.consulted.clone()).await, Consulted::Arm);
        let_go.send(()).unwrap();
        assert_eq!(let_go.len(), 1, "nobody took it");
    }

    #[tokio::test]
    async fn the_arm_classifier_waits_and_heeds() {
        let (brain, let_go, _dir) = brain("classifier_share = 1\nshadow = true\n").await;
        let_go.send(()).unwrap();
        let seen = decide(&brain, None, |sight, decision| (sight.arm, decision.category, decision.by));
        assert_eq!(seen.await, (Some(Arm::Classifier), Category::CODING, By::Classifier));
        assert_eq!(would_have_changed(&brain), 0);
    }

    #[tokio::test]
    async fn a_classifier_that_hangs_costs_one_ask_its_budget_and_the_others_nothing() {
        let (mut brain, let_go, _dir) = brain("classifier_share = 1\n").await;
        let (budget, cooldown) = (Duration::from_millis(300), Duration::from_millis(900));
        let (let_probe, probes) = crossbeam_channel::bounded(8);
        let load: Load = Box::new(move || Ok(Box::new(Held(probes.clone()))));
        let manners = Manners { timeout: budget, queue: 8, cooldown, preload: true };
        let intent = Arc::new(Intent::start(manners, brain.metrics.light_restarts.clone(), load).unwrap());
        eventually(|| intent.health() != Health::Loading).await;
        brain.intent = Some(intent.clone());
        drop(let_go);
        let general = (Category::GENERAL, By::Default);
        let decided = |sight: &Sight<'_>, decision: &Decision<'_>| {
            (sight.consulted.clone(), (decision.category, decision.by))
        };
        let (first, word) = decide(&brain, None, decided).await;
        assert_eq!(word, general, "the rules' word stands");
        assert!(matches!(first, Consulted::Asked(Outcome::Timeout, waited) if waited >= budget), "{first:?}");
        assert!(matches!(intent.health(), Health::Down(_)), "classifier_up is 0");
        for _ in 0..20 {
            let (next, word) = decide(&brain, None, decided).await;
            assert_eq!(word, general);
            assert!(
                matches!(next, Consulted::Asked(Outcome::Open | Outcome::Busy, waited) if waited < budget)
            );
        }
        // It comes to itself; after the cooldown one ask finds out.
        (0..8).for_each(|_| let_probe.send(()).unwrap());
        let clock = Instant::now();
        while decide(&brain, None, decided).await.1 == general {
            assert!(clock.elapsed() < Duration::from_secs(30), "no probe");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(matches!(intent.health(), Health::Ready(_)));
    }

    #[tokio::test]
    async fn without_an_id_nothing_is_logged() {
        let (mut brain, _let_go, dir) = brain("classifier_share = 0\n").await;
        let file = dir.path().join("d.jsonl");
        let log = config::Decisions { file: file.clone(), text: true, max_size: 1 << 20, keep: 1 };
        let log = Decisions::start(&log, &brain.metrics.decision_log_lines).unwrap();
        let log = brain.decisions.insert(Arc::new(log)).clone();
        decide(&brain, None, |_, _| ()).await;
        decide(&brain, Some("b"), |_, _| ()).await;
        log.settle(Duration::from_secs(30));
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!((text.lines().count(), text.contains("\"id\":\"b\"")), (1, true), "{text}");
    }
}
