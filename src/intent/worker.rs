//! The one thread that MLX runs on, and how asks wait for it: once, for a bounded time, or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, never, select};
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::breaker::{Breaker, Failure};
use super::{Classifier, ClassifyError, Verdict};
use crate::category::Category;

/// A running classification this old is stuck or starved; who comes then is told "busy" instead of
/// queueing behind it. A healthy one takes well under a millisecond.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a classifier that was lost again and again is left alone before the next start: doubled each time,
/// from the first to the second of these.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// Classified after every error: an MLX error may surface one call late, or poison what follows.
const CANARY: &str = "привет, are you there?";

/// Makes the classifier. Runs on the worker's thread, again after the classifier was given up.
pub type Load = Box<dyn FnMut() -> Result<Box<dyn Classifier>, String> + Send>;

/// Whether the classifier can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Its weights are being read.
    Loading,
    /// It answers; how it describes itself.
    Ready(String),
    /// It does not; why.
    Down(String),
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It answered.
    Verdict(Verdict),
    /// It did not answer within the budget.
    Timeout,
    /// Others are being served; no time was lost.
    Busy,
    /// It failed.
    Error,
    /// It is out of service (loading, down, or the breaker is open); no time was lost.
    Open,
}

impl Outcome {
    /// As in metrics and the log of decisions; `from` is the category without it.
    pub fn name(&self, from: Category) -> &'static str {
        match self {
            Self::Verdict(verdict) if verdict.confident().category() != from => "changed",
            Self::Verdict(_) => "kept",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Error => "error",
            Self::Open => "open",
        }
    }
}

/// A handle to the classifier, shared by all requests.
#[derive(Debug)]
pub struct Intent {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    breaker: Breaker,
    timeout: Duration,
    /// Somebody asks in passing.
    passing: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    health: ArcSwap<Health>,
    born: Instant,
    /// When the running classification began, in microseconds since `born` plus one; 0 when idle.
    busy_since: AtomicU64,
    /// MLX's memory in the classifier's own process, if it has one.
    memory: ArcSwapOption<[u64; 3]>,
}

#[derive(Debug)]
struct Job {
    text: String,
    /// The embedding is wanted, too.
    fully: bool,
    reply: oneshot::Sender<Result<Verdict, ClassifyError>>,
}

/// How an [`Intent`] behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// The longest that an ask waits.
    pub timeout: Duration,
    /// How many asks may stand behind the running one.
    pub queue: usize,
    /// How long the breaker stays open.
    pub cooldown: Duration,
    /// Load now, or when first asked.
    pub preload: bool,
}

impl Intent {
    /// Starts the thread, which begins to load at once if told to. `restarts` counts how often the classifier
    /// is given up and made anew.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(manners: Manners, restarts: IntCounter, load: Load) -> std::io::Result<Self> {
        let (jobs, queue) = bounded(manners.queue);
        let shared = Arc::new(Shared {
            health: ArcSwap::from_pointee(Health::Loading),
            born: Instant::now(),
            busy_since: AtomicU64::new(0),
            memory: ArcSwapOption::empty(),
        });
        let seen = shared.clone();
        std::thread::Builder::new().name("mlx".into()).spawn(move || {
            let mut thread = Worker { shared: seen, load, classifier: None, restarts, losses: 0 };
            if manners.preload {
                thread.ensure_loaded();
            }
            thread.run(&queue);
        })?;
        let breaker = Breaker::new(manners.cooldown);
        Ok(Self { jobs, shared, breaker, timeout: manners.timeout, passing: AtomicBool::new(false) })
    }

    /// Asks once. Returns within the budget, whatever the classifier does.
    pub async fn ask(&self, text: &str) -> Outcome {
        self.put(text, false).await
    }

    async fn put(&self, text: &str, fully: bool) -> Outcome {
        if matches!(**self.shared.health.load(), Health::Loading) {
            self.wake();
            return Outcome::Open;
        }
        let Some(permit) = self.breaker.admit() else { return Outcome::Open };
        if self.shared.running_for() > PATIENCE {
            return Outcome::Busy;
        }
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job { text: text.to_owned(), fully, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Outcome::Busy,
            Err(TrySendError::Disconnected(_)) => {
                permit.failed(Failure::Error);
                return Outcome::Error;
            }
        }
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(Ok(verdict))) => {
                permit.succeeded();
                Outcome::Verdict(verdict)
            }
            Ok(Ok(Err(ClassifyError::Restarting))) => Outcome::Open,
            Ok(_) => {
                permit.failed(Failure::Error);
                Outcome::Error
            }
            Err(_) => {
                permit.failed(Failure::Timeout);
                Outcome::Timeout
            }
        }
    }

    /// Asks only if nobody else does, one at a time: who waits for an answer stands behind one such ask at most.
    pub async fn ask_in_passing(&self, text: &str) -> Outcome {
        self.pass(text, false).await
    }

    /// The same with the embedding, which [`Classifier::classify`] may do without.
    pub async fn read_in_passing(&self, text: &str) -> Outcome {
        self.pass(text, true).await
    }

    async fn pass(&self, text: &str, fully: bool) -> Outcome {
        let idle = self.jobs.is_empty() && self.shared.busy_since.load(Ordering::Relaxed) == 0;
        if !idle || self.passing.swap(true, Ordering::AcqRel) {
            return Outcome::Busy;
        }
        let _done = Passing(&self.passing);
        self.put(text, fully).await
    }

    /// Whether the breaker keeps asks from it.
    pub fn is_left_alone(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether the next ask would reach it, and if not, why.
    pub fn health(&self) -> Health {
        match &**self.shared.health.load() {
            Health::Ready(_) if self.breaker.is_open() => {
                Health::Down("left alone for a while after a timeout or errors".into())
            }
            health => health.clone(),
        }
    }

    /// MLX's memory in the classifier's own process: active, cached, peak.
    pub fn memory(&self) -> Option<[u64; 3]> {
        self.shared.memory.load().as_deref().copied()
    }

    /// With `preload` off the first ask starts the loading, and does not wait for it.
    fn wake(&self) {
        let (reply, _) = oneshot::channel();
        // Full means that the thread has been woken already.
        let _ = self.jobs.try_send(Job { text: String::new(), fully: false, reply });
    }
}

/// Gives the place of the one who asks in passing back, also if that future is dropped.
struct Passing<'a>(&'a AtomicBool);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn running_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.born.elapsed().saturating_sub(Duration::from_micros(since - 1)),
        }
    }

    fn mark_busy(&self) {
        let now = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.busy_since.store(now + 1, Ordering::Relaxed);
    }
}

/// What lives on the thread.
struct Worker {
    shared: Arc<Shared>,
    load: Load,
    classifier: Option<Box<dyn Classifier>>,
    /// Counts the times that it was given up.
    restarts: IntCounter,
    /// How often it was lost since it last answered.
    losses: u32,
}

impl Worker {
    fn run(&mut self, queue: &Receiver<Job>) {
        loop {
            let lost = self.classifier.as_ref().map_or_else(never, |classifier| classifier.lost());
            select! {
                recv(queue) -> job => match job {
                    Ok(job) => self.serve(job, queue),
                    Err(_) => return,
                },
                recv(lost) -> _ => self.revive(queue),
            }
        }
    }

    fn serve(&mut self, job: Job, queue: &Receiver<Job>) {
        if !self.ensure_loaded() {
            let _ = job.reply.send(Err(ClassifyError::Absent));
            return;
        }
        if job.reply.is_closed() {
            return;
        }
        self.shared.mark_busy();
        let answer = self.classify(&job.text, job.fully);
        match &answer {
            Ok(_) => {
                self.losses = 0;
                // Before the answer is out: who hears it finds the classifier idle.
                self.shared.busy_since.store(0, Ordering::Relaxed);
                let _ = job.reply.send(answer);
            }
            Err(ClassifyError::Gone(why)) => {
                tracing::warn!("classifier: its process is gone: {why}");
                // Before the answer is out, too: who comes now does not queue.
                self.shared.health.store(Arc::new(Health::Loading));
                let _ = job.reply.send(answer);
                self.shared.busy_since.store(0, Ordering::Relaxed);
                self.revive(queue);
            }
            Err(error) => {
                tracing::warn!("classifier: {error}");
                let _ = job.reply.send(answer);
                self.shared.mark_busy();
                self.check_with_canary();
                self.shared.busy_since.store(0, Ordering::Relaxed);
            }
        }
    }

    fn ensure_loaded(&mut self) -> bool {
        if self.classifier.is_none()
            && let Err(reason) = self.make()
        {
            self.shared.health.store(Arc::new(Health::Down(reason)));
        }
        self.classifier.is_some()
    }

    fn make(&mut self) -> Result<(), String> {
        let start = Instant::now();
        let load = &mut self.load;
        let loaded =
            catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("panicked while loading".into()));
        let classifier = loaded.inspect_err(|reason| {
            tracing::warn!("no classifier: {reason}; the rules' word stands");
        })?;
        let name = classifier.describe();
        tracing::info!("classifier ready in {} ms: {name}", start.elapsed().as_millis());
        self.shared.memory.store(classifier.memory().map(Arc::new));
        self.classifier = Some(classifier);
        self.shared.health.store(Arc::new(Health::Ready(name)));
        Ok(())
    }

    /// After its process was lost: starts another one, and meanwhile lets everybody go on without. Nobody has to
    /// ask for that, as after an error in this process: the load costs this thread alone.
    fn revive(&mut self, queue: &Receiver<Job>) {
        self.shared.health.store(Arc::new(Health::Loading));
        self.classifier = None;
        self.restarts.inc();
        loop {
            let again = Instant::now() + backoff(self.losses);
            self.losses = self.losses.saturating_add(1);
            loop {
                match queue.recv_deadline(again) {
                    Ok(job) => {
                        let _ = job.reply.send(Err(ClassifyError::Restarting));
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            if self.make().is_ok() {
                return;
            }
        }
    }

    fn classify(&mut self, text: &str, fully: bool) -> Result<Verdict, ClassifyError> {
        let Some(classifier) = &mut self.classifier else { return Err(ClassifyError::Absent) };
        let judge = || if fully { classifier.read_fully(text) } else { classifier.classify(text) };
        let verdict = catch_unwind(AssertUnwindSafe(judge))
            .unwrap_or_else(|_| Err(ClassifyError::Mlx("the evaluation panicked".into())));
        if let Some(memory) = classifier.memory() {
            self.shared.memory.store(Some(Arc::new(memory)));
        }
        verdict
    }

    /// After an error: does it still know a known text? If not, it is dropped and made anew when the
    /// breaker sends its probe.
    fn check_with_canary(&mut self) {
        if let Err(error) = self.classify(CANARY, false) {
            tracing::warn!("classifier given up after an error, the known text failed too: {error}");
            self.classifier = None;
            self.restarts.inc();
            self.shared.health.store(Arc::new(Health::Down(error.to_string())));
        }
    }
}

/// The wait before the next start, after so many losses in a row: none after the first.
fn backoff(losses: u32) -> Duration {
    let [first, most] = BACKOFF;
    losses.checked_sub(1).map_or(Duration::ZERO, |n| first.saturating_mul(1 << n.min(16)).min(most))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Does what the text says: "sleep MS", "fail", "panic", or answers.
    struct Obedient {
        calls: Arc<AtomicUsize>,
        broken: bool,
    }

    impl Classifier for Obedient {
        fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if let Some(ms) = text.strip_prefix("sleep ") {
                std::thread::sleep(Duration::from_millis(ms.parse().unwrap()));
            }
            assert!(text != "panic", "as told");
            self.broken |= text == "break";
            if text == "fail" || self.broken {
                return Err(ClassifyError::Mlx("as told".into()));
            }
            Ok(Verdict {
                scores: [0.0, 0.0, 1.0, 0.0, 0.0],
                embedding: Vec::new(),
                wish: crate::intent::Wish::default(),
                greeting_from: 0.9,
                sure_from: 0.0,
            })
        }

        fn describe(&self) -> String {
            "obedient".into()
        }
    }

    /// Answers until it is told to die; lost, too, when the test drops its life.
    struct Mortal(Receiver<Infallible>);

    impl Classifier for Mortal {
        fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
            if text == "die" {
                return Err(ClassifyError::Gone("as told".into()));
            }
            Obedient { calls: Arc::default(), broken: false }.classify(text)
        }

        fn describe(&self) -> String {
            "mortal".into()
        }

        fn lost(&self) -> Receiver<Infallible> {
            self.0.clone()
        }
    }

    fn manners(timeout_ms: u64, queue: usize, cooldown_ms: u64) -> Manners {
        Manners {
            timeout: Duration::from_millis(timeout_ms),
            queue,
            cooldown: Duration::from_millis(cooldown_ms),
            preload: true,
        }
    }

    fn restarts() -> IntCounter {
        IntCounter::new("restarts", "restarts").unwrap()
    }

    fn start(manners: Manners) -> (Arc<Intent>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
        let (loads, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, called) = (loads.clone(), calls.clone());
        let load: Load = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Obedient { calls: called.clone(), broken: false }))
        });
        let intent = Arc::new(Intent::start(manners, restarts(), load).unwrap());
        (intent, loads, calls)
    }

    async fn ready(intent: &Intent) {
        while intent.health() == Health::Loading {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_healthy_one_answers() {
        let (intent, ..) = start(manners(8000, 8, 30_000));
        ready(&intent).await;
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
        assert_eq!(intent.health(), Health::Ready("obedient".into()));
    }

    #[tokio::test]
    async fn a_stuck_one_costs_one_ask_its_budget_and_the_rest_nothing() {
        let (intent, ..) = start(manners(300, 1, 30_000));
        ready(&intent).await;
        let stuck = tokio::spawn({
            let intent = intent.clone();
            async move { intent.ask("sleep 2000").await }
        });
        tokio::time::sleep(PATIENCE + Duration::from_millis(20)).await;
        let before = Instant::now();
        assert_eq!(intent.ask("hello").await, Outcome::Busy);
        assert!(before.elapsed() < Duration::from_millis(30), "busy is said at once");
        assert_eq!(stuck.await.unwrap(), Outcome::Timeout);
        assert_eq!(intent.ask("hello").await, Outcome::Open);
        assert!(matches!(intent.health(), Health::Down(_)));
    }

    #[tokio::test]
    async fn who_asks_in_passing_takes_no_place_from_others() {
        let (intent, _, calls) = start(manners(8000, 8, 30_000));
        ready(&intent).await;
        assert!(matches!(intent.ask_in_passing("hello").await, Outcome::Verdict(_)));
        let held = tokio::spawn({
            let intent = intent.clone();
            async move { intent.ask_in_passing("sleep 200").await }
        });
        while calls.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(intent.ask_in_passing("hello").await, Outcome::Busy);
        held.abort();
        assert!(held.await.unwrap_err().is_cancelled());
        // Its place is free again once the classifier is.
        while intent.ask_in_passing("hello").await == Outcome::Busy {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3, "who was told busy cost nothing");
    }

    #[tokio::test]
    async fn a_full_queue_says_busy() {
        let (intent, ..) = start(manners(8000, 1, 30_000));
        ready(&intent).await;
        let asks: Vec<_> = (0..6)
            .map(|_| {
                let intent = intent.clone();
                tokio::spawn(async move { intent.ask("sleep 100").await })
            })
            .collect();
        let mut busy = 0;
        for ask in asks {
            busy += usize::from(ask.await.unwrap() == Outcome::Busy);
        }
        assert!((4..=5).contains(&busy), "one runs, one waits, the rest are told at once: {busy}");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_thread_lives_on() {
        let (intent, ..) = start(manners(8000, 8, 30_000));
        ready(&intent).await;
        assert_eq!(intent.ask("panic").await, Outcome::Error);
        // On a loaded machine the panic's own message may take longer than `PATIENCE`.
        while intent.ask("hello").await == Outcome::Busy {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
    }

    #[tokio::test]
    async fn after_an_error_a_canary_decides_whether_it_is_made_anew() {
        let (intent, loads, _) = start(manners(8000, 8, 20));
        ready(&intent).await;
        assert_eq!(intent.ask("fail").await, Outcome::Error);
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
        assert_eq!(loads.load(Ordering::SeqCst), 1, "the canary was fine");
        assert_eq!(intent.ask("break").await, Outcome::Error);
        // The probe after the cooldown, or the next ask before the second error, loads it again.
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            if let Outcome::Verdict(_) = intent.ask("hello").await {
                break;
            }
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn one_that_is_lost_is_made_anew_and_nobody_waits_for_that() {
        let lives: Arc<std::sync::Mutex<Vec<Sender<Infallible>>>> = Arc::default();
        let (born, (let_load, may_load)) = (lives.clone(), bounded::<()>(8));
        let load: Load = Box::new(move || {
            may_load.recv().map_err(|e| e.to_string())?;
            let (life, lost) = bounded(0);
            born.lock().unwrap().push(life);
            Ok(Box::new(Mortal(lost)))
        });
        let restarts = restarts();
        let intent = Intent::start(manners(8000, 8, 30_000), restarts.clone(), load).unwrap();
        let_load.send(()).unwrap();
        ready(&intent).await;
        // Lost while idle: noticed without an ask.
        lives.lock().unwrap().clear();
        while intent.health() != Health::Loading {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let clock = Instant::now();
        assert_eq!(intent.ask("hello").await, Outcome::Open);
        assert!(clock.elapsed() < Duration::from_secs(4), "half of what an ask may wait");
        let_load.send(()).unwrap();
        ready(&intent).await;
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
        // Lost while asked.
        assert_eq!(intent.ask("die").await, Outcome::Error);
        assert_eq!(intent.ask("hello").await, Outcome::Open);
        let_load.send(()).unwrap();
        ready(&intent).await;
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
        assert_eq!(restarts.get(), 2);
    }

    #[test]
    fn what_is_lost_again_and_again_is_left_alone_for_longer() {
        let waits: Vec<u128> = [0, 1, 2, 3, 8, 9, u32::MAX].map(|n| backoff(n).as_millis()).to_vec();
        assert_eq!(waits, [0, 100, 200, 400, 10_000, 10_000, 10_000]);
    }

    #[tokio::test]
    async fn without_preload_the_first_ask_does_not_wait_for_the_weights() {
        let (intent, loads, _) = start(Manners { preload: false, ..manners(8000, 8, 20) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(loads.load(Ordering::SeqCst), 0);
        assert_eq!(intent.ask("hello").await, Outcome::Open);
        ready(&intent).await;
        assert!(matches!(intent.ask("hello").await, Outcome::Verdict(_)));
    }

    #[tokio::test]
    async fn weights_that_cannot_be_read_are_said_and_open_the_breaker() {
        let load: Load = Box::new(|| Err("models/x.safetensors: no such file".into()));
        let intent = Intent::start(manners(8000, 8, 30_000), restarts(), load).unwrap();
        ready(&intent).await;
        assert_eq!(intent.health(), Health::Down("models/x.safetensors: no such file".into()));
        assert_eq!(intent.ask("hello").await, Outcome::Error);
        assert!(!intent.is_left_alone());
        assert_eq!(intent.ask("hello").await, Outcome::Error);
        assert_eq!(intent.ask("hello").await, Outcome::Open);
        assert!(intent.is_left_alone());
    }
}
