//! The thread that the light model lives on: loads it, serves one request at a time, lets it go when nobody asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};

use super::prompt::{About, Limits, Piece, Prompt, Refusal, State, Written};

/// What can be asked. Lives on one thread of its own (MLX streams cannot move), hence no `Send`.
pub trait Generator {
    /// What it is.
    fn about(&self) -> About;
    /// The share of each continuation; stops early once it is not wanted any more.
    fn choose(
        &mut self,
        prompt: &Prompt,
        choices: &[String],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, Refusal>;
    /// A text, told piece by piece to somebody who says whether to go on.
    fn write(
        &mut self,
        prompt: &Prompt,
        limits: &Limits,
        wanted: &dyn Fn() -> bool,
        listener: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Written, Refusal>;
}

/// Makes the model of a directory, on the worker's thread.
pub type Load = Box<dyn FnMut(&Path) -> Result<Box<dyn Generator>, String> + Send>;

/// What the thread is told.
pub(super) enum Order {
    /// Serve this.
    Serve(Job),
    /// Load the model if it is not loaded.
    Wake,
    /// Let the model go and load that one; an empty path: none.
    Swap(PathBuf),
}

/// One request.
pub(super) struct Job {
    pub(super) prompt: Prompt,
    pub(super) deadline: Instant,
    pub(super) what: What,
    /// Given back when the request is done.
    pub(super) place: Place,
}

pub(super) enum What {
    Choose(Vec<String>, oneshot::Sender<Result<Vec<f32>, Refusal>>),
    Write(Limits, oneshot::Sender<Result<Written, Refusal>>),
    Stream(Limits, mpsc::Sender<Piece>),
}

/// The one place that there is.
pub(super) struct Place(Arc<Shared>);

/// What handles and thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: ArcSwap<State>,
    busy: AtomicBool,
    /// When it went down.
    pub(super) down: ArcSwap<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: ArcSwap::from_pointee(state), busy: AtomicBool::new(false), down: ArcSwap::default() }
    }

    /// The place, if it is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        (!self.busy.swap(true, Ordering::AcqRel)).then(|| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// What lives on the thread.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) load: Load,
    pub(super) path: PathBuf,
    pub(super) model: Option<Box<dyn Generator>>,
    /// Without a request for so long the model is let go; zero: never.
    pub(super) idle: Duration,
    /// Counts the times that a model was given up after an error.
    pub(super) restarts: IntCounter,
}

impl Worker {
    pub(super) fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.model {
                Some(_) if !self.idle.is_zero() => orders.recv_timeout(self.idle),
                _ => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Serve(job)) => self.serve(job),
                Ok(Order::Wake) => self.ensure_loaded(),
                Ok(Order::Swap(path)) => {
                    self.let_go();
                    self.path = path;
                    self.ensure_loaded();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.let_go();
                    tracing::info!("light model unloaded after {} s without a request", self.idle.as_secs());
                    self.tell(State::Resting);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tell(&self, state: State) {
        let down = matches!(state, State::Down(_)).then(Instant::now);
        self.shared.down.store(Arc::new(down));
        self.shared.state.store(Arc::new(state));
    }

    /// The old one is freed before anything else is read.
    fn let_go(&mut self) {
        self.model = None;
        clear_cache();
    }

    fn ensure_loaded(&mut self) {
        if let Some(model) = &self.model {
            // Two may have woken it at once, and the second one's "loading" stands.
            self.tell(State::Ready(model.about()));
            return;
        }
        if self.path.as_os_str().is_empty() {
            self.tell(State::Off);
            return;
        }
        self.tell(State::Loading);
        let start = Instant::now();
        let (load, path) = (&mut self.load, self.path.clone());
        let loaded = catch_unwind(AssertUnwindSafe(|| load(&path)))
            .unwrap_or_else(|_| Err("panicked while loading".into()));
        let loaded = loaded.and_then(|mut model| match canary(&mut *model) {
            Ok(()) => Ok(model),
            Err(why) => Err(format!("{}: the known prompt failed: {why}", path.display())),
        });
        match loaded {
            Ok(model) => {
                let about = model.about();
                let ms = start.elapsed().as_millis();
                tracing::info!("light model ready in {ms} ms: {about}");
                self.model = Some(model);
                self.tell(State::Ready(about));
            }
            Err(why) => {
                clear_cache();
                tracing::warn!("no light model: {why}");
                self.tell(State::Down(why));
            }
        }
    }

    fn serve(&mut self, job: Job) {
        let Job { prompt, deadline, what, place } = job;
        let Some(model) = &mut self.model else {
            // It was let go between the ask and now.
            refuse(what, Refusal::Loading);
            drop(place);
            self.ensure_loaded();
            return;
        };
        let in_time = || Instant::now() < deadline;
        let failed = match what {
            What::Choose(choices, reply) => {
                let wanted = || in_time() && !reply.is_closed();
                let answer = guarded(|| model.choose(&prompt, &choices, &wanted));
                let failed = is_failure(&answer);
                drop_place_then(place, failed, || drop(reply.send(answer)))
            }
            What::Write(limits, reply) => {
                let wanted = || in_time() && !reply.is_closed();
                let answer = guarded(|| model.write(&prompt, &limits, &wanted, &mut |_| true));
                let failed = is_failure(&answer);
                drop_place_then(place, failed, || drop(reply.send(answer)))
            }
            What::Stream(limits, pieces) => {
                let wanted = || in_time() && !pieces.is_closed();
                let mut listener = |text: &str| pieces.try_send(Piece::Text(text.to_owned())).is_ok();
                let answer = guarded(|| model.write(&prompt, &limits, &wanted, &mut listener));
                let failed = is_failure(&answer);
                let last = match answer {
                    Ok(Written { prompt_tokens, tokens, finish, .. }) => {
                        Piece::End { prompt_tokens, tokens, finish }
                    }
                    Err(refusal) => Piece::Broken(refusal),
                };
                // The receiver may be gone.
                drop_place_then(place, failed, || drop(pieces.try_send(last)))
            }
        };
        if let Some(place) = failed {
            self.check_with_canary();
            drop(place);
        }
    }

    /// After an error: does it still know a known prompt? If not, it is let go, and made anew a while later.
    fn check_with_canary(&mut self) {
        let Some(model) = &mut self.model else { return };
        if let Err(why) = canary(&mut **model) {
            tracing::warn!("light model given up after an error, the known prompt failed too: {why}");
            self.let_go();
            self.restarts.inc();
            self.tell(State::Down(why));
        }
    }
}

/// The answer goes out with the place free again, so that who hears it finds it free; after a failure the place stays
/// taken until the model has shown that it is well.
fn drop_place_then(place: Place, failed: bool, answer: impl FnOnce()) -> Option<Place> {
    let kept = if failed {
        Some(place)
    } else {
        drop(place);
        None
    };
    answer();
    kept
}

fn is_failure<T>(answer: &Result<T, Refusal>) -> bool {
    let failed = matches!(answer, Err(Refusal::Failed(_)));
    if let Err(Refusal::Failed(why)) = answer {
        tracing::warn!("light model: {why}");
    }
    failed
}

fn refuse(what: What, refusal: Refusal) {
    match what {
        What::Choose(_, reply) => drop(reply.send(Err(refusal))),
        What::Write(_, reply) => drop(reply.send(Err(refusal))),
        What::Stream(_, pieces) => drop(pieces.try_send(Piece::Broken(refusal))),
    }
}

fn guarded<T>(what: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(what))
        .unwrap_or_else(|_| Err(Refusal::Failed("the evaluation panicked".into())))
}

/// A known prompt: shares must come out that are some.
fn canary(model: &mut dyn Generator) -> Result<(), String> {
    let prompt = Prompt::of("Is water wet?");
    let choices = ["yes".to_owned(), "no".to_owned()];
    let shares = guarded(|| model.choose(&prompt, &choices, &|| true)).map_err(|e| e.to_string())?;
    let sum: f32 = shares.iter().sum();
    if shares.len() == 2 && (sum - 1.0).abs() < 1e-3 { Ok(()) } else { Err(format!("shares {shares:?}")) }
}

#[cfg(feature = "mlx")]
fn clear_cache() {
    if let Err(error) = mlx_rs::memory::clear_cache() {
        tracing::warn!("mlx: {}", error.what());
    }
}

#[cfg(not(feature = "mlx"))]
fn clear_cache() {}
