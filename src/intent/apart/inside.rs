//! The child's side: loads what the first line orders, then answers one line for each.

use std::io::{BufRead, Read, StdinLock, stdin, stdout};

use crossbeam_channel::bounded;

use super::words::{Order, Packed, Said, Task};
use super::{LONGEST, say};
use crate::brain;

/// Serves the parent until it closes its side, then ends the process.
///
/// # Errors
/// If the parent is gone already, or says what is no order.
pub fn run() -> std::io::Result<()> {
    die_with_parent();
    let mut input = stdin().lock();
    let order: Order = serde_json::from_slice(&line(&mut input)?)?;
    drop(input);
    // Read on a thread of its own: a parent that is gone is noticed even while MLX is stuck.
    let (tasks, texts) = bounded(1);
    std::thread::Builder::new().name("parent".into()).spawn(move || {
        let mut input = stdin().lock();
        while let Ok(Ok(task)) = line(&mut input).map(|line| serde_json::from_slice::<Task<String>>(&line)) {
            if tasks.send(task).is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    let mut out = stdout().lock();
    let mut classifier = match brain::load_classifier(&order.model, &order.light) {
        Ok(classifier) => classifier,
        Err(reason) => return say(&mut out, &Said::Failed { reason }),
    };
    say(&mut out, &Said::Ready { about: classifier.describe(), memory: memory() })?;
    for Task { text, fully } in texts {
        let verdict = if fully { classifier.read_fully(&text) } else { classifier.classify(&text) };
        let said = match verdict {
            Ok(verdict) => Said::Verdict { verdict: Packed::of(&verdict), memory: memory() },
            Err(error) => Said::Error { message: error.to_string() },
        };
        say(&mut out, &said)?;
    }
    Ok(())
}

fn line(input: &mut StdinLock<'_>) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    match input.by_ref().take(LONGEST).read_until(b'\n', &mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

fn memory() -> [u64; 3] {
    brain::light_memory().map(|(_, bytes)| bytes as u64)
}

/// Not even a stopped child outlives its parent.
#[cfg(target_os = "linux")]
fn die_with_parent() {
    // Refused only for a signal that there is not.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
