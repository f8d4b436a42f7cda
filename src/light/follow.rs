//! The config file's word on the model, while the proxy runs: a change of `light.model` is loaded without a restart.
//! Nothing else of the file is hot.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Engine;
use crate::problem::Problem;

/// A file's time is looked at this often; that follows renaming editors and swapped links alike.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after a config file for the life of the process. `read` is the whole config, checked: its model's directory.
///
/// # Errors
/// If the system gives no thread.
pub fn follow(
    file: &Path,
    engine: Engine,
    running: PathBuf,
    read: impl Fn() -> Result<PathBuf, Vec<Problem>> + Send + 'static,
) -> std::io::Result<()> {
    let file = file.to_owned();
    let mut seen = stamp(&file);
    let mut running = running;
    std::thread::Builder::new().name("light-config".into()).spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            let now = stamp(&file);
            if now == seen {
                continue;
            }
            seen = now;
            match read() {
                Ok(model) if model != running => {
                    tracing::info!("light.model is {} now", model.display());
                    engine.swap(model.clone());
                    running = model;
                }
                Ok(_) => {}
                Err(problems) => {
                    problems.iter().for_each(|problem| tracing::warn!("config not looked at: {problem}"));
                }
            }
        }
    })?;
    Ok(())
}

/// When it was written and how long it is; None while it is not there.
fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
