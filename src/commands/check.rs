//! `brainstem check`: config, rules and answers as a whole.

use super::Failure;
use crate::brain;
use crate::cli::Settings;
use crate::rules::Snapshot;

/// Names every problem, or says what there is.
///
/// # Errors
/// The problems, one a line.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    let config = settings.load()?;
    let vocabulary = brain::vocabulary(&config);
    let snapshot = Snapshot::load(&config.proxy.rules, &vocabulary.borrow())?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    println!(
        "ok: {} rules and {} answers in {} files, {} upstreams, {} categories",
        snapshot.rules().len(),
        snapshot.answers().len(),
        snapshot.files.len(),
        config.upstreams.len(),
        config.categories.len(),
    );
    Ok(())
}
