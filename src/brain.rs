//! What every part of a running brainstem shares, and the decision as it happens: look, draft, perhaps ask,
//! conclude.

mod consult;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

pub use self::consult::Consulted;

use crate::ask::{Ask, Guards};
use crate::auth::{self, Auth};
use crate::config::{Config, Isolation, Light, Mode};
use crate::decide::{self, Decision, Ground};
use crate::decisions::{Decisions, Note, Recent};
use crate::experiment::{self, Arm};
use crate::intent::Classifier;
use crate::intent::apart::Apart;
use crate::intent::worker::{Health, Intent, Load, Manners, Outcome};
use crate::light::Engine;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::rules::{Facts, Reload, Snapshot, VocabularyBuf};
use crate::tasks::desk::Tools;
use crate::tasks::{Desk, Signals};
use crate::text;
use crate::trace::Traces;
use crate::upstream::{Pool, Seen};

/// The shared state. Only the snapshot, the classifier's health and what is seen of upstreams change.
#[derive(Debug)]
pub struct Brain {
    /// Checked, for the life of the process.
    pub config: Config,
    /// Rules and answers, swapped whole.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What the last refused reload complained of; empty after a good one.
    pub complaints: Arc<ArcSwap<Vec<Problem>>>,
    /// The classifier, unless its mode is off.
    pub intent: Option<Arc<Intent>>,
    /// The light model, if one is configured.
    pub light: Engine,
    /// Where light tasks are done.
    pub desk: Desk,
    /// In the config's order; empty in commands that start no proxy.
    pub upstreams: Vec<Arc<Pool>>,
    /// The keys, where they are asked for.
    pub auth: Option<Auth>,
    /// The log of decisions, in a proxy that keeps one.
    pub decisions: Option<Arc<Decisions>>,
    /// The last decisions, in a proxy with an admin address.
    pub recent: Option<Arc<Recent>>,
    /// Where asks are traced, in a proxy that traces.
    pub traces: Option<Traces>,
    /// Of this process.
    pub metrics: Arc<Metrics>,
    /// When it was made.
    pub started: Instant,
}

/// Everything around an ask's body that a decision needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// The category that the client named in a header.
    pub hint: Option<&'a str>,
    /// What the request's headers say against a local answer.
    pub guards: Guards,
    /// The id under which the decision is logged, if decisions are; without one it never is.
    pub id: Option<&'a str>,
}

/// Microseconds of each stage, for `explain`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Folding, words, language.
    pub look: Duration,
    /// Hint and rules.
    pub rules: Duration,
    /// Waiting for the classifier.
    pub classifier: Duration,
    /// Answer and route.
    pub route: Duration,
}

impl Brain {
    /// What the last look at that upstream showed.
    pub fn seen(&self, index: usize) -> Arc<Seen> {
        self.upstreams.get(index).map(|pool| pool.seen()).unwrap_or_default()
    }

    /// What light tasks are done with.
    pub fn tools(&self) -> Tools<'_> {
        Tools { intent: self.intent.as_ref(), light: &self.light, by_model: &self.config.tasks.by_model }
    }

    /// The classifier's state, in words.
    pub fn classifier_health(&self) -> Health {
        match &self.intent {
            Some(intent) => intent.health(),
            None => Health::Down("switched off (classifier.mode)".into()),
        }
    }

    /// MLX's memory, in this process and the classifier's own: active, cached, peak, in bytes.
    pub fn light_memory(&self) -> [(&'static str, usize); 3] {
        match (self.config.classifier.isolation, self.intent.as_ref().and_then(|intent| intent.memory())) {
            (Isolation::InProcess, _) => light_memory(),
            // The light model lives here all the same.
            (Isolation::Process, memory) => {
                let theirs = memory.unwrap_or_default().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                let both = light_memory().into_iter().zip(theirs);
                let mut sums = both.map(|((kind, ours), theirs)| (kind, ours.saturating_add(theirs)));
                std::array::from_fn(|_| sums.next().unwrap_or(("peak", 0)))
            }
        }
    }

    /// Decides about an ask and hands the decision to `act` while its snapshot is held.
    pub async fn decide<T>(
        &self,
        ask: &Ask<'_>,
        around: Around<'_>,
        act: impl FnOnce(&Sight<'_>, &Decision<'_>) -> T,
    ) -> T {
        let mut stages = Stages::default();
        let snapshot = self.snapshot.load_full();
        let clock = Instant::now();
        let seen = text::window(&ask.text);
        let folded = text::fold(&seen);
        let facts = Facts::of(ask, &seen, &folded);
        let hint = around.hint.or(ask.hint.as_deref()).and_then(|name| self.config.category(name));
        let may_have = |index: usize| self.seen(index).may_have(&ask.model);
        let ground = Ground {
            snapshot: &snapshot,
            config: &self.config,
            ask,
            facts: &facts,
            hint,
            may_have: &may_have,
            guards: around.guards,
            signals: Signals::of(&self.config.tasks, ask, &seen),
            light: self.light.about().is_some(),
        };
        stages.look = clock.elapsed();
        let clock = Instant::now();
        let draft = decide::draft(&ground);
        stages.rules = clock.elapsed();
        let from = draft.category;
        let arm = self.config.experiment.map(|experiment| experiment.arm(experiment::hash(ask)));
        let consulted = if decide::wants_classifier(&draft, &ground) {
            self.consult(from, &ask.text, facts.words, arm).await
        } else {
            Consulted::No
        };
        if let Consulted::Asked(_, waited) = consulted {
            stages.classifier = waited;
        }
        let clock = Instant::now();
        let verdict = match &consulted {
            Consulted::Asked(Outcome::Verdict(verdict), _) => Some(verdict),
            _ => None,
        };
        let decision = decide::conclude(draft, verdict, &ground);
        stages.route = clock.elapsed();
        let signals = ground.signals;
        let sight =
            Sight { snapshot: &snapshot, ask, facts: &facts, consulted: &consulted, arm, signals, stages };
        let done = act(&sight, &decision);
        let note = Note::of(self, &sight, &decision, from, around, hint);
        if consulted == Consulted::Shadow {
            self.ask_in_passing(from, &ask.text, facts.words, arm, note);
        } else if let Some(note) = note {
            note.keep();
        }
        done
    }
}

/// What `act` may look at besides the decision.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The generation that decided.
    pub snapshot: &'a Snapshot,
    /// The ask.
    pub ask: &'a Ask<'a>,
    /// What the rules saw.
    pub facts: &'a Facts<'a>,
    /// What the classifier had to do with it.
    pub consulted: &'a Consulted,
    /// The ask's arm, while an experiment runs.
    pub arm: Option<Arm>,
    /// What the light tasks say of it.
    pub signals: Signals,
    /// How long it took.
    pub stages: Stages,
}

impl Brain {
    /// Reads rules and answers, starts the classifier's thread, and, for a proxy, looks at the upstreams.
    ///
    /// # Errors
    /// Everything that is wrong with rules and answers, or what the system refuses.
    pub fn open(config: Config, with_upstreams: bool) -> Result<Self, Vec<Problem>> {
        let whole = |what: &str, why: String| vec![Problem::whole(Path::new(what), why)];
        let snapshot = Snapshot::load(&config.proxy.rules, &vocabulary(&config).borrow())?;
        let auth = config.auth.as_ref().filter(|_| with_upstreams);
        let auth = auth.map(|auth| Auth::open(&auth.keys)).transpose()?;
        let metrics = Arc::new(Metrics::new().map_err(|e| whole("metrics", e.to_string()))?);
        metrics.rules_generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        metrics.rules_last_success.set(seconds_since_epoch(snapshot.loaded_at));
        let upstreams = match with_upstreams {
            true => config.upstreams.iter().map(|u| Pool::watch(u.clone(), metrics.clone())).collect(),
            false => Ok(Vec::new()),
        };
        let upstreams = upstreams.map_err(|e| whole("upstream", format!("no thread to watch it: {e}")))?;
        let intent = start_intent(&config, &metrics)
            .map_err(|e| whole("classifier", format!("no thread for it: {e}")))?;
        let light = crate::light::load::start(&config.light, with_upstreams, metrics.light_restarts.clone())
            .map_err(|e| whole("light", format!("no thread for it: {e}")))?;
        let decisions = match (&config.log.decisions, with_upstreams) {
            (Some(log), true) => {
                let started = Decisions::start(log, &metrics.decision_log_lines);
                let named = |e| whole("log.decisions", format!("{}: {e}", log.file.display()));
                Some(Arc::new(started.map_err(named)?))
            }
            _ => None,
        };
        let traces = match (&config.trace, with_upstreams) {
            (Some(trace), true) => {
                let started = Traces::start(trace, &metrics.traces);
                Some(started.map_err(|e| whole("trace", format!("{}: {e}", trace.endpoint)))?)
            }
            _ => None,
        };
        let recent =
            (with_upstreams && config.admin.is_some()).then(|| Arc::new(Recent::new(config.log.text)));
        Ok(Self {
            auth,
            decisions,
            recent,
            traces,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            complaints: Arc::default(),
            intent,
            light,
            desk: Desk::default(),
            upstreams,
            metrics,
            started: Instant::now(),
            config,
        })
    }

    /// Looks at the keys file again.
    pub fn reload_keys(&self) {
        let Some(auth) = &self.auth else { return };
        match auth.reload() {
            auth::Reload::Same => {}
            auth::Reload::Swapped(count) => {
                self.metrics.keys_reloads.with_label_values(&["ok"]).inc();
                tracing::info!("{count} keys from {}", auth.file().display());
            }
            auth::Reload::Refused(problems) => {
                self.metrics.keys_reloads.with_label_values(&["refused"]).inc();
                for problem in problems {
                    tracing::warn!("keys not reloaded: {problem}");
                }
            }
        }
    }

    /// What happened to a change of the rules directory.
    pub fn note_reload(&self, reload: &Reload) {
        match reload {
            Reload::Swapped { generation, rules, answers, .. } => {
                self.complaints.store(Arc::default());
                self.metrics.rules_problems.set(0);
                self.metrics.rules_reloads.with_label_values(&["ok"]).inc();
                self.metrics.rules_generation.set(i64::try_from(*generation).unwrap_or(i64::MAX));
                self.metrics.rules_last_success.set(seconds_since_epoch(SystemTime::now()));
                tracing::info!("rules generation {generation}: {rules} rules, {answers} answers");
            }
            Reload::Refused(problems) => {
                self.metrics.rules_reloads.with_label_values(&["refused"]).inc();
                for problem in problems {
                    tracing::warn!("rules not reloaded: {problem}");
                }
                self.metrics.rules_problems.set(i64::try_from(problems.len()).unwrap_or(i64::MAX));
                self.complaints.store(Arc::new(problems.clone()));
            }
        }
    }
}

/// What rule files may name under this config.
pub fn vocabulary(config: &Config) -> VocabularyBuf {
    VocabularyBuf { categories: config.category_names(), upstreams: config.upstream_names() }
}

fn start_intent(config: &Config, metrics: &Metrics) -> std::io::Result<Option<Arc<Intent>>> {
    if config.classifier.mode == Mode::Off {
        return Ok(None);
    }
    let manners = Manners {
        timeout: config.classifier.timeout,
        queue: config.classifier.queue,
        cooldown: config.classifier.cooldown,
        preload: config.light.preload,
    };
    let config = config.clone();
    let load: Load = Box::new(move || match config.classifier.isolation {
        Isolation::InProcess => load_classifier(&config.classifier.model, &config.light),
        Isolation::Process => Ok(Box::new(Apart::start(&config.classifier, &config.light)?)),
    });
    Ok(Some(Arc::new(Intent::start(manners, metrics.light_restarts.clone(), load)?)))
}

/// The classifier in that place, on the calling thread, where it must stay.
///
/// # Errors
/// Why there is none, in one line.
#[cfg(feature = "mlx")]
pub fn load_classifier(model: &Path, light: &Light) -> Result<Box<dyn Classifier>, String> {
    crate::intent::load::load(model, light)
}

/// Built without MLX: there is none.
///
/// # Errors
/// Always.
#[cfg(not(feature = "mlx"))]
pub fn load_classifier(_: &Path, _: &Light) -> Result<Box<dyn Classifier>, String> {
    Err("this brainstem was built without MLX".into())
}

/// MLX's memory: active, cached, peak, in bytes. Counters of the allocator; safe from any thread.
#[cfg(feature = "mlx")]
pub fn light_memory() -> [(&'static str, usize); 3] {
    use mlx_rs::memory::{active_memory, cache_memory, peak_memory};
    let known = |bytes: Result<usize, mlx_rs::error::Exception>| bytes.unwrap_or(0);
    [("active", known(active_memory())), ("cache", known(cache_memory())), ("peak", known(peak_memory()))]
}

/// Built without MLX: none.
#[cfg(not(feature = "mlx"))]
pub fn light_memory() -> [(&'static str, usize); 3] {
    [("active", 0), ("cache", 0), ("peak", 0)]
}

fn seconds_since_epoch(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
