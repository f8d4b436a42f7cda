//! The log of decisions: one JSON line each, for people to judge them later. Off unless the config names a file.
//!
//! An [`Entry`] is made where the decision is and handed to a thread of its own through a bounded channel: what
//! finds it full is dropped and counted, so that no request ever waits for a disk. [`file`] turns the files over;
//! [`past`] reads them again; [`labels`] is what people said of them (`brainstem review`). [`recent`] keeps the last
//! ones in memory for the console, log or no log; a [`note`] is one on its way to both.

pub mod disk;
pub mod entry;
pub mod file;
pub mod labels;
pub mod note;
pub mod past;
pub mod recent;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use prometheus::{IntCounter, IntCounterVec};

pub use self::entry::Entry;
use self::file::Rotating;
pub use self::note::Note;
pub use self::recent::Recent;
use crate::config;

/// Lines that may wait for the disk; some megabytes at most, texts included.
const WAITING: usize = 1024;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is none.
    #[error("{0}: no such log of decisions")]
    Absent(PathBuf),
    /// The system says no.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// A line of a file of labels is none.
    #[error("{0}:{1}: no line of labels: {2}")]
    NoLabel(PathBuf, usize, serde_json::Error),
}

impl LogError {
    /// Without the file's name.
    fn why(&self) -> String {
        match self {
            Self::Absent(_) => "no such log of decisions".to_owned(),
            Self::Io(_, error) => error.to_string(),
            Self::NoLabel(_, line, error) => format!("line {line}: {error}"),
        }
    }
}

/// Where entries are handed in. Shared by all requests.
#[derive(Debug)]
pub struct Decisions {
    jobs: Sender<Job>,
    dropped: IntCounter,
    /// Whether entries carry what was asked.
    pub with_text: bool,
}

#[derive(Debug)]
enum Job {
    Write(Arc<Entry>),
    /// Answered when all that came before is written.
    Settle(Sender<()>),
}

impl Decisions {
    /// Opens the file and starts the thread. `lines` counts what becomes of each line, by result.
    ///
    /// # Errors
    /// If the file cannot be opened, or the system gives no thread.
    pub fn start(config: &config::Decisions, lines: &IntCounterVec) -> std::io::Result<Self> {
        let writer = Writer {
            file: Rotating::open(&config.file, config.max_size, config.keep)?,
            written: lines.with_label_values(&["written"]),
            failed: lines.with_label_values(&["failed"]),
            failing: false,
        };
        let (jobs, queue) = bounded(WAITING);
        std::thread::Builder::new().name("decisions".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { jobs, dropped: lines.with_label_values(&["dropped"]), with_text: config.text })
    }

    /// Hands an entry in, or drops it. Never waits.
    pub fn write(&self, entry: Arc<Entry>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.jobs.try_send(Job::Write(entry))
        {
            self.dropped.inc();
        }
    }

    /// Waits until what was handed in is written, but no longer than that. For the end of the process.
    pub fn settle(&self, longest: Duration) {
        let (done, settled) = bounded(1);
        if self.jobs.send_timeout(Job::Settle(done), longest).is_ok() {
            let _ = settled.recv_timeout(longest);
        }
    }
}

struct Writer {
    file: Rotating,
    written: IntCounter,
    failed: IntCounter,
    /// The last line could not be written: said once, not for every line.
    failing: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Write(entry) => self.write(&entry),
                Job::Settle(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, entry: &Entry) {
        let written = serde_json::to_vec(entry).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write(&line)
        });
        match written {
            Ok(()) => {
                self.written.inc();
                self.failing = false;
            }
            Err(error) => {
                self.failed.inc();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("log of decisions: {}: {error}", self.file.path().display());
                }
            }
        }
    }
}

/// The files of a log with their text, oldest first.
fn texts(path: &Path) -> Result<Vec<(PathBuf, String)>, LogError> {
    let files = file::all(path);
    if files.is_empty() {
        return Err(LogError::Absent(path.to_owned()));
    }
    let read = |file: PathBuf| match std::fs::read(&file) {
        // What a crash cut off may end inside a character.
        Ok(bytes) => Ok((file, String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(LogError::Io(file, error)),
    };
    files.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_full_channel_drops_and_counts_and_never_waits() {
        let metrics = Metrics::new().unwrap();
        let count = |result| metrics.decision_log_lines.with_label_values(&[result]);
        // Nobody takes anything out of it.
        let (jobs, queue) = bounded(2);
        let decisions = Decisions { jobs, dropped: count("dropped"), with_text: false };
        for _ in 0..5 {
            decisions.write(Arc::new(entry::sample("hello")));
        }
        assert_eq!((queue.len(), count("dropped").get()), (2, 3));
        drop(queue);
        decisions.write(Arc::new(entry::sample("hello")));
        assert_eq!(count("dropped").get(), 4);
    }

    #[test]
    fn what_was_handed_in_is_there_once_it_has_settled() {
        let metrics = Metrics::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("d.jsonl");
        let config = config::Decisions { file: file.clone(), text: false, max_size: 1 << 20, keep: 1 };
        let decisions = Decisions::start(&config, &metrics.decision_log_lines).unwrap();
        for _ in 0..3 {
            decisions.write(Arc::new(entry::sample("hello")));
        }
        decisions.settle(Duration::from_secs(30));
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 3);
        assert_eq!(metrics.decision_log_lines.with_label_values(&["written"]).get(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_said_at_the_start() {
        let metrics = Metrics::new().unwrap();
        let file = "/nonexistent/d.jsonl".into();
        let config = config::Decisions { file, text: false, max_size: 1 << 20, keep: 1 };
        assert!(Decisions::start(&config, &metrics.decision_log_lines).is_err());
    }
}
