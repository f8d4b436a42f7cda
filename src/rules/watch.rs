//! Watches a rules directory, and swaps in what it says as soon as all of it is right.
//!
//! The directory is watched, not its files, so editors that write a new file and rename it over the old one
//! are seen. Its identity is looked at besides: a directory that is a symlink may be pointed elsewhere (so
//! Kubernetes and release scripts do it), or be deleted and made again, and no event tells that to whoever
//! watches the old one. Events only wake; what counts is whether the contents differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Snapshot, VocabularyBuf, compile, file};
use crate::problem::Problem;

/// A change is taken up when nothing has happened for so long, …
const QUIET: Duration = Duration::from_millis(120);
/// … and after so long in any case.
const PATIENCE: Duration = Duration::from_millis(480);
/// How often the directory's identity is looked at.
const TICK: Duration = Duration::from_millis(400);
/// How often files are looked at where the system cannot tell of changes.
const POLL: Duration = Duration::from_millis(700);

/// What came of a change.
#[derive(Debug)]
pub enum Reload {
    /// What the directory says is in the store. With the same generation as before: a refused set has gone
    /// back to what was there.
    Swapped {
        /// Of the set in the store.
        generation: u64,
        /// How many rules it has, those of answers included.
        rules: usize,
        /// How many answers it has.
        answers: usize,
        /// Reading and compiling.
        took: Duration,
    },
    /// The new set is wrong in all these ways, and the old one goes on.
    Refused(Vec<Problem>),
}

impl Reload {
    fn swapped(snapshot: &Snapshot, took: Duration) -> Self {
        let (rules, answers) = (snapshot.rules().len(), snapshot.answers().len());
        Self::Swapped { generation: snapshot.generation, rules, answers, took }
    }
}

/// The watching could not begin.
#[derive(Debug, thiserror::Error)]
#[error("no thread to watch the rules: {0}")]
pub struct WatchError(#[from] std::io::Error);

/// Watching, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Signal {
    Changed,
    Stop,
}

/// Begins to watch `dir` on a thread of its own. `store` already holds what `dir` said a moment ago;
/// `on_event` is called on that thread.
pub fn watch(
    dir: &Path,
    vocabulary: VocabularyBuf,
    store: Arc<ArcSwap<Snapshot>>,
    on_event: impl Fn(Reload) + Send + 'static,
) -> Result<Watch, WatchError> {
    let (stop, signals) = mpsc::channel();
    let watched = Watched {
        dir: dir.to_owned(),
        vocabulary,
        store,
        events: stop.clone(),
        refused: None,
        identity: Vec::new(),
        watcher: None,
    };
    let thread = std::thread::Builder::new()
        .name("rules".to_owned())
        .spawn(move || watched.run(&signals, &on_event))?;
    Ok(Watch { stop, thread: Some(thread) })
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An error says that the thread is gone already.
        let _gone = self.stop.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Watched {
    dir: PathBuf,
    vocabulary: VocabularyBuf,
    store: Arc<ArcSwap<Snapshot>>,
    events: Sender<Signal>,
    /// Hash of the set that was refused last, so that it is complained about once.
    refused: Option<String>,
    /// Where the watched directories really are.
    identity: Vec<Option<Identity>>,
    watcher: Option<Box<dyn Watcher + Send>>,
}

/// A directory beyond its name.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Watched {
    fn run(mut self, signals: &Receiver<Signal>, on_event: &dyn Fn(Reload)) {
        self.arm();
        // The directory may have changed between its loading and now.
        let mut change = Some(Change::now());
        loop {
            let wait =
                change.as_ref().map_or(TICK, |c| c.due().saturating_duration_since(Instant::now()).min(TICK));
            match signals.recv_timeout(wait) {
                Ok(Signal::Changed) => change.get_or_insert_with(Change::now).last = Instant::now(),
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.identity != identity(&self.dir) {
                self.arm();
                change.get_or_insert_with(Change::now);
            }
            if change.as_ref().is_some_and(|c| c.due() <= Instant::now()) {
                change = None;
                if let Some(event) = self.reload() {
                    on_event(event);
                }
            }
        }
    }

    /// Watches the directory as it now is. Where that cannot be done (a limit of the system, a file system
    /// without events), its files are looked at again and again.
    fn arm(&mut self) {
        self.watcher = None;
        self.identity = identity(&self.dir);
        if self.identity.first().is_none_or(Option::is_none) {
            return;
        }
        let config = Config::default().with_poll_interval(POLL).with_compare_contents(true);
        let native = RecommendedWatcher::new(wake(self.events.clone()), config);
        let watcher = native.and_then(|mut watcher| {
            watcher.watch(&self.dir, RecursiveMode::Recursive)?;
            Ok(Box::new(watcher) as Box<dyn Watcher + Send>)
        });
        let watcher = watcher.or_else(|error| {
            tracing::warn!(%error, dir = %self.dir.display(), "no events for the rules directory: polling it");
            poll(&self.dir, config, self.events.clone())
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::error!(%error, dir = %self.dir.display(), "the rules directory cannot be watched");
            }
        }
    }

    /// Reads the directory; `None` if it says nothing new.
    fn reload(&mut self) -> Option<Reload> {
        let began = Instant::now();
        let sources = file::read(&self.dir);
        let current = self.store.load();
        if sources.hash == current.hash {
            return self.refused.take().map(|_| Reload::swapped(&current, began.elapsed()));
        }
        if self.refused.as_ref() == Some(&sources.hash) {
            return None;
        }
        let hash = sources.hash.clone();
        match compile::compile(sources, &self.vocabulary.borrow()) {
            Err(problems) => {
                self.refused = Some(hash);
                Some(Reload::Refused(problems))
            }
            Ok(mut snapshot) => {
                self.refused = None;
                snapshot.generation = current.generation + 1;
                let event = Reload::swapped(&snapshot, began.elapsed());
                self.store.store(Arc::new(snapshot));
                Some(event)
            }
        }
    }
}

/// A change that is not taken up yet.
struct Change {
    first: Instant,
    last: Instant,
}

impl Change {
    fn now() -> Self {
        let now = Instant::now();
        Self { first: now, last: now }
    }

    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }
}

fn poll(dir: &Path, config: Config, events: Sender<Signal>) -> notify::Result<Box<dyn Watcher + Send>> {
    let mut watcher = PollWatcher::new(wake(events), config)?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(Box::new(watcher))
}

/// What a watcher calls: everything wakes but that somebody, brainstem too, has read a file.
fn wake(events: Sender<Signal>) -> impl Fn(notify::Result<Event>) + Send + 'static {
    move |event| {
        let only_read = event.as_ref().is_ok_and(|event| match event.kind {
            EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
            _ => false,
        });
        if !only_read {
            // An error says that the watching has ended.
            let _ended = events.send(Signal::Changed);
        }
    }
}

/// Of the directory, its answers and its examples.
fn identity(dir: &Path) -> Vec<Option<Identity>> {
    [dir.to_owned(), dir.join("answers"), dir.join("examples")]
        .iter()
        .map(|dir| Identity::of(dir).ok())
        .collect()
}

impl Identity {
    fn of(dir: &Path) -> std::io::Result<Self> {
        let path = fs::canonicalize(dir)?;
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt as _;
            let meta = fs::metadata(&path)?;
            (meta.dev(), meta.ino())
        };
        Ok(Self {
            path,
            #[cfg(unix)]
            inode,
        })
    }
}

#[cfg(test)]
mod tests;
