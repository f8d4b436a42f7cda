//! The handle to the light model, shared by all requests.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};

use super::prompt::{About, Limits, Piece, Prompt, Refusal, State, Written};
use super::worker::{Job, Load, Order, Place, Shared, What, Worker};

/// A model that went down is tried again by the first request after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// No text has more pieces.
const MOST_PIECES: usize = 1 << 16;

/// The light model, or that there is none. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Option<Arc<Handle>>);

struct Handle {
    shared: Arc<Shared>,
    /// Never more than the one job that has the place, and now and then a word about loading.
    orders: Sender<Order>,
}

/// How an [`Engine`] behaves.
#[derive(Debug, Clone)]
pub struct Manners {
    /// The model's directory; empty: none yet.
    pub model: PathBuf,
    /// Load now, or when first asked.
    pub preload: bool,
    /// Without a request for so long the model is let go; zero: never.
    pub idle_unload: Duration,
}

impl Engine {
    /// Without a model: refuses everything with [`Refusal::Off`].
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the thread, which begins to load at once if told to. `restarts` counts how often a model is given up.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(manners: Manners, restarts: IntCounter, load: Load) -> std::io::Result<Self> {
        let (orders, queue) = unbounded();
        let state = match (manners.model.as_os_str().is_empty(), manners.preload) {
            (true, _) => State::Off,
            (false, true) => State::Loading,
            (false, false) => State::Resting,
        };
        let shared = Arc::new(Shared::new(state));
        let seen = shared.clone();
        if manners.preload {
            let _ = orders.send(Order::Wake);
        }
        std::thread::Builder::new().name("light".into()).spawn(move || {
            let Manners { model: path, idle_unload: idle, .. } = manners;
            Worker { shared: seen, load, path, model: None, idle, restarts }.run(&queue);
        })?;
        Ok(Self(Some(Arc::new(Handle { shared, orders }))))
    }

    /// How probable each of these continuations is if the model may say nothing else: they sum to 1. Where
    /// continuations go on alike nothing is lost, so a long one does not lose for being long.
    ///
    /// # Errors
    /// Why there is no answer. Past the deadline the wait ends, and the model stops at its next step.
    pub async fn choose(
        &self,
        prompt: &Prompt,
        choices: &[&str],
        deadline: Instant,
    ) -> Result<Vec<f32>, Refusal> {
        let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        self.ask(prompt, deadline, |reply| What::Choose(choices, reply)).await
    }

    /// A text, whole.
    ///
    /// # Errors
    /// Why there is none. Past the deadline what was written so far is dropped.
    pub async fn write(
        &self,
        prompt: &Prompt,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<Written, Refusal> {
        let limits = limits.clone();
        self.ask(prompt, deadline, |reply| What::Write(limits, reply)).await
    }

    /// A text as it is written. Dropping the receiver stops the model at its next token.
    ///
    /// # Errors
    /// Why there is none; what goes wrong later comes as [`Piece::Broken`].
    pub fn stream(
        &self,
        prompt: &Prompt,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<mpsc::Receiver<Piece>, Refusal> {
        let (handle, place) = self.place()?;
        // Room for all there can be: the model never waits for who reads.
        let (pieces, receiver) = mpsc::channel(limits.max_tokens.min(MOST_PIECES) + 4);
        let what = What::Stream(limits.clone(), pieces);
        handle.send(Job { prompt: prompt.clone(), deadline, what, place })?;
        Ok(receiver)
    }

    /// Waits until the model is loaded, and starts to load it if nobody has. For commands; the proxy never waits.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn ready(&self, deadline: Instant) -> Result<About, Refusal> {
        loop {
            match self.state() {
                State::Ready(about) => return Ok(about),
                State::Down(why) => return Err(Refusal::Failed(why)),
                State::Off => return Err(Refusal::Off),
                State::Resting => self.wake(),
                State::Loading => {}
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Deadline);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets the model go and loads that directory's; an empty path: none. A request that runs is served first.
    pub fn swap(&self, model: PathBuf) {
        if let Some(handle) = &self.0 {
            let _ = handle.orders.send(Order::Swap(model));
        }
    }

    /// What is loaded, if anything is.
    pub fn about(&self) -> Option<About> {
        match self.state() {
            State::Ready(about) => Some(about),
            _ => None,
        }
    }

    /// Whether it can be asked.
    pub fn state(&self) -> State {
        self.0.as_ref().map_or(State::Off, |handle| (**handle.shared.state.load()).clone())
    }

    async fn ask<T>(
        &self,
        prompt: &Prompt,
        deadline: Instant,
        what: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> What,
    ) -> Result<T, Refusal> {
        let (handle, place) = self.place()?;
        let (reply, answer) = oneshot::channel();
        handle.send(Job { prompt: prompt.clone(), deadline, what: what(reply), place })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Refusal::Deadline),
        }
    }

    /// The one place, if the model is ready and nobody has it; told at once.
    fn place(&self) -> Result<(&Handle, Place), Refusal> {
        let Some(handle) = &self.0 else { return Err(Refusal::Off) };
        match &**handle.shared.state.load() {
            State::Off => return Err(Refusal::Off),
            State::Loading => return Err(Refusal::Loading),
            State::Resting => {
                self.wake();
                return Err(Refusal::Loading);
            }
            State::Down(why) => {
                let since = **handle.shared.down.load();
                if since.is_none_or(|since| since.elapsed() < AGAIN) {
                    return Err(Refusal::Failed(why.clone()));
                }
                self.wake();
                return Err(Refusal::Loading);
            }
            State::Ready(_) => {}
        }
        let place = handle.shared.take().ok_or(Refusal::Busy)?;
        Ok((handle, place))
    }

    fn wake(&self) {
        if let Some(handle) = &self.0 {
            handle.shared.state.store(Arc::new(State::Loading));
            let _ = handle.orders.send(Order::Wake);
        }
    }
}

impl Handle {
    fn send(&self, job: Job) -> Result<(), Refusal> {
        self.orders.send(Order::Serve(job)).map_err(|_| gone())
    }
}

fn gone() -> Refusal {
    Refusal::Failed("the light model's thread is gone".into())
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.state()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::light::prompt::Finish;
    use crate::light::worker::Generator;

    /// Does what the prompt says: "fail", "panic", "break"; writes a word a token until it is not wanted any more.
    struct Obedient {
        name: String,
        written: Arc<AtomicUsize>,
        broken: bool,
    }

    impl Generator for Obedient {
        fn about(&self) -> About {
            About { name: self.name.clone(), kind: "obedient".into(), parameters: 1, bytes: 1, context: 64 }
        }

        fn choose(
            &mut self,
            prompt: &Prompt,
            choices: &[String],
            _: &dyn Fn() -> bool,
        ) -> Result<Vec<f32>, Refusal> {
            let text = prompt.turns[0].1.as_str();
            assert!(text != "panic", "as told");
            self.broken |= text == "break";
            if text == "fail" || self.broken {
                return Err(Refusal::Failed("as told".into()));
            }
            Ok(vec![1.0 / choices.len() as f32; choices.len()])
        }

        fn write(
            &mut self,
            _: &Prompt,
            limits: &Limits,
            wanted: &dyn Fn() -> bool,
            listener: &mut dyn FnMut(&str) -> bool,
        ) -> Result<Written, Refusal> {
            let mut text = String::new();
            for _ in 0..limits.max_tokens {
                std::thread::sleep(Duration::from_millis(2));
                self.written.fetch_add(1, Ordering::SeqCst);
                text.push_str("word ");
                if !listener("word ") || !wanted() {
                    return Err(Refusal::Deadline);
                }
            }
            Ok(Written { text, prompt_tokens: 1, tokens: limits.max_tokens, finish: Finish::Length })
        }
    }

    fn start(preload: bool, idle: Duration) -> (Engine, Arc<AtomicUsize>, IntCounter) {
        let written = Arc::new(AtomicUsize::new(0));
        let counted = written.clone();
        let load: Load = Box::new(move |path: &Path| match path.to_str() {
            Some("bad") => Err("no such model".into()),
            name => Ok(Box::new(Obedient {
                name: name.unwrap_or_default().to_owned(),
                written: counted.clone(),
                broken: false,
            })),
        });
        let manners = Manners { model: "good".into(), preload, idle_unload: idle };
        let restarts = IntCounter::new("restarts", "restarts").unwrap();
        (Engine::start(manners, restarts.clone(), load).unwrap(), written, restarts)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn long() -> Limits {
        Limits { max_tokens: 100_000, ..Limits::default() }
    }

    async fn until(what: impl Fn() -> bool) {
        let deadline = soon();
        while !what() {
            assert!(Instant::now() < deadline, "it never came");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn without_a_model_everything_is_off() {
        let engine = Engine::off();
        assert_eq!(engine.choose(&Prompt::of("a"), &["yes"], soon()).await, Err(Refusal::Off));
        assert_eq!(engine.stream(&Prompt::of("a"), &long(), soon()).err(), Some(Refusal::Off));
        assert_eq!((engine.state(), engine.about()), (State::Off, None));
    }

    #[tokio::test]
    async fn one_runs_and_none_waits() {
        let (engine, ..) = start(true, Duration::ZERO);
        engine.ready(soon()).await.unwrap();
        let mut pieces = engine.stream(&Prompt::of("a"), &long(), soon()).unwrap();
        assert_eq!(pieces.recv().await, Some(Piece::Text("word ".into())));
        assert_eq!(engine.choose(&Prompt::of("a"), &["yes"], soon()).await, Err(Refusal::Busy));
        drop(pieces);
        // The place is free again at the next token.
        until(|| engine.stream(&Prompt::of("a"), &Limits { max_tokens: 1, ..long() }, soon()).is_ok()).await;
    }

    #[tokio::test]
    async fn who_hears_the_answer_finds_the_place_free() {
        let (engine, ..) = start(true, Duration::ZERO);
        engine.ready(soon()).await.unwrap();
        for _ in 0..50 {
            assert_eq!(engine.choose(&Prompt::of("a"), &["yes", "no"], soon()).await.unwrap(), [0.5, 0.5]);
        }
        let written = engine.write(&Prompt::of("a"), &Limits { max_tokens: 2, ..long() }, soon()).await;
        assert_eq!(written.unwrap().text, "word word ");
    }

    #[tokio::test]
    async fn past_the_deadline_the_wait_ends_and_the_model_stops() {
        let (engine, written, _) = start(true, Duration::ZERO);
        engine.ready(soon()).await.unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(engine.write(&Prompt::of("a"), &long(), deadline).await, Err(Refusal::Deadline));
        until(|| engine.stream(&Prompt::of("a"), &Limits { max_tokens: 0, ..long() }, soon()).is_ok()).await;
        assert!(written.load(Ordering::SeqCst) < 100_000);
    }

    #[tokio::test]
    async fn an_error_is_forgiven_if_the_known_prompt_still_works_and_else_the_model_is_given_up() {
        let (engine, _, restarts) = start(true, Duration::ZERO);
        engine.ready(soon()).await.unwrap();
        for text in ["fail", "panic"] {
            let answer = engine.choose(&Prompt::of(text), &["yes"], soon()).await;
            assert!(matches!(answer, Err(Refusal::Failed(_))), "{answer:?}");
            until(|| engine.stream(&Prompt::of("a"), &Limits { max_tokens: 0, ..long() }, soon()).is_ok())
                .await;
            assert_eq!((engine.about().is_some(), restarts.get()), (true, 0));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until(|| {
            !matches!(
                engine.stream(&Prompt::of("a"), &Limits { max_tokens: 0, ..long() }, soon()),
                Err(Refusal::Busy)
            )
        })
        .await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(engine.choose(&Prompt::of("break"), &["yes"], soon()).await.is_err());
        until(|| matches!(engine.state(), State::Down(_))).await;
        assert_eq!(restarts.get(), 1);
        let after = engine.choose(&Prompt::of("a"), &["yes"], soon()).await;
        assert_eq!(after, Err(Refusal::Failed("as told".into())), "left alone for a while");
    }

    #[tokio::test]
    async fn loaded_when_first_asked_and_let_go_when_nobody_asks() {
        let (engine, ..) = start(false, Duration::from_millis(30));
        assert_eq!(engine.state(), State::Resting);
        assert_eq!(engine.choose(&Prompt::of("a"), &["yes"], soon()).await, Err(Refusal::Loading));
        until(|| engine.about().is_some() || engine.state() == State::Resting).await;
        until(|| engine.state() == State::Resting).await;
    }

    #[tokio::test]
    async fn a_model_is_swapped_and_a_bad_one_is_told() {
        let (engine, ..) = start(true, Duration::ZERO);
        assert_eq!(engine.ready(soon()).await.unwrap().name, "good");
        engine.swap("better".into());
        until(|| engine.about().is_some_and(|about| about.name == "better")).await;
        engine.swap("bad".into());
        until(|| engine.state() == State::Down("no such model".into())).await;
        engine.swap(PathBuf::new());
        until(|| engine.state() == State::Off).await;
    }
}
