//! What the subcommands do. Each returns `Ok` or the one text to print before exit code 1.

pub mod check;
pub mod classifier_worker;
pub mod classify;
pub mod eval;
pub mod eval_tasks;
pub mod explain;
pub mod key;
pub mod light;
pub mod measure;
pub mod pages;
pub mod pull;
pub mod review;
pub mod serve;
#[cfg(feature = "mlx")]
pub mod train;

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::brain::Brain;
use crate::cli::Settings;
use crate::config::Config;
use crate::intent::worker::Health;
use crate::problem::Problem;

/// What ends a command badly; printed as it stands.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Failure {
    /// A failure in one line.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A brain for commands that start no proxy: no upstream is looked at.
fn offline_brain(settings: &Settings) -> Result<Arc<Brain>, Failure> {
    offline_brain_of(settings.load()?)
}

fn offline_brain_of(config: Config) -> Result<Arc<Brain>, Failure> {
    crate::log::quiet();
    Ok(Arc::new(Brain::open(config, false)?))
}

/// Waits until the classifier is ready, or known not to be.
async fn classifier_settled(brain: &Brain) -> Health {
    /// Reading the weights takes tens of milliseconds; an encoder that has no head yet makes one first.
    const LONGEST: Duration = Duration::from_secs(300);
    let clock = Instant::now();
    loop {
        match brain.classifier_health() {
            Health::Loading if clock.elapsed() < LONGEST => {
                tokio::time::sleep(Duration::from_millis(2)).await
            }
            health => return health,
        }
    }
}

/// Prints a command's result. A reader that has seen enough (`| head`) is no error.
fn say(text: impl fmt::Display) -> Result<(), Failure> {
    match write!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A stranger's text, which must not speak to the terminal: no control characters, and none that turn the
/// direction of writing or cannot be seen.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |c: char| {
            matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
                || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        };
        self.0.chars().try_for_each(|c| match c.is_control() || hidden(c) {
            true => f.write_char('\u{fffd}'),
            false => f.write_char(c),
        })
    }
}
