//! `brainstem check`: config, rules and answers as a whole.

use super::Failure;
use crate::auth::Auth;
use crate::brain;
use crate::cli::Settings;
use crate::rules::Snapshot;
use crate::tls::Shown;

/// Names every problem, or says what there is.
///
/// # Errors
/// The problems, one a line.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    let config = settings.load()?;
    let vocabulary = brain::vocabulary(&config);
    let snapshot = Snapshot::load(&config.proxy.rules, &vocabulary.borrow())?;
    let keys = config.auth.as_ref().map(|auth| Auth::open(&auth.keys)).transpose()?;
    if let Some(tls) = &config.proxy.tls {
        Shown::open(&tls.cert, &tls.key).map_err(|problem| vec![problem])?;
    }
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
    if let Some(keys) = keys {
        println!("    {} keys", keys.names().len());
    }
    Ok(())
}
