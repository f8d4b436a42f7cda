//! Files that are looked at again and again: keys and certificates.
//!
//! They are few and small, so their contents are simply compared. That sees what events and time stamps
//! miss (a symlink pointed elsewhere, a network file system, two saves in one tick) and needs no watcher of the
//! system's.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks. What has changed is taken up when two looks see the same: a certificate and its key are
/// two files, and nobody writes both at once.
const TICK: Duration = Duration::from_millis(250);

/// Watching, until it is dropped.
#[derive(Debug)]
pub struct Watched {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// Calls `on_change` on a thread of its own whenever the files' contents are others, and once at the start: they
/// may have changed since they were first read.
///
/// # Errors
/// If the system gives no thread.
pub fn watch(
    name: &str,
    files: Vec<PathBuf>,
    mut on_change: impl FnMut() + Send + 'static,
) -> std::io::Result<Watched> {
    let (stop, stopped) = mpsc::channel::<()>();
    let look = move || files.iter().map(|file| std::fs::read(file).ok()).collect::<Vec<_>>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut last = look();
        let mut told = None;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
            let now = look();
            if now == last && told.as_ref() != Some(&now) {
                on_change();
                told = Some(now.clone());
            }
            last = now;
        }
    })?;
    Ok(Watched { stop, thread: Some(thread) })
}

impl Drop for Watched {
    fn drop(&mut self) {
        // An error says that the thread is gone already.
        let _gone = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_count_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let (told, changes) = mpsc::channel();
        let watched = watch("test", vec![file.clone()], move || told.send(()).unwrap()).unwrap();
        let patient = Duration::from_secs(20);
        changes.recv_timeout(patient).unwrap();
        std::fs::write(&file, "2").unwrap();
        changes.recv_timeout(patient).unwrap();
        std::fs::write(dir.path().join("b"), "3").unwrap();
        std::fs::rename(dir.path().join("b"), &file).unwrap();
        changes.recv_timeout(patient).unwrap();
        std::fs::write(&file, "3").unwrap();
        assert!(changes.recv_timeout(Duration::from_secs(1)).is_err(), "the same contents are no change");
        std::fs::remove_file(&file).unwrap();
        changes.recv_timeout(patient).unwrap();
        drop(watched);
        assert!(changes.recv().is_err(), "a dropped watch watches no more");
    }
}
