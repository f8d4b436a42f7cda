//! The classifier in a process of its own: the same binary, told over its standard input what to classify, one
//! line of JSON each way. Whatever ends that process (an abort inside MLX, the kernel's out-of-memory killer)
//! costs this one nothing but a restart.
//!
//! A pair of pipes rather than a socket: no name in the file system that others could open or that would be left
//! behind, and the child sees the end of its parent as the end of its input.

pub mod inside;
mod words;

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::words::{Order, Said, Task};
use super::{Classifier, ClassifyError, Verdict};
use crate::config;

/// The hidden command that the child runs.
pub const COMMAND: &str = "classifier-worker";

/// An encoder without a head makes one at its first start, which takes minutes.
const LOADING: Duration = Duration::from_secs(600);

/// No line of the child's is longer; a child that says more has lost its mind.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A child and the pipes to it.
pub struct Apart {
    child: Child,
    to: ChildStdin,
    from: Receiver<Said>,
    /// Disconnects when the child is gone.
    lost: Receiver<Infallible>,
    about: String,
    memory: [u64; 3],
    /// A classification that takes longer is stuck.
    patience: Duration,
}

impl Apart {
    /// Starts the child and waits until it has loaded. A classification that outlasts `patience` ends it.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn start(classifier: &config::Classifier, light: &config::Light) -> Result<Self, String> {
        let failed = |what: &str, e: std::io::Error| format!("classifier process: {what}: {e}");
        let mut command = Command::new(own_binary().map_err(|e| failed("no binary", e))?);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        apart_from_terminal(&mut command);
        let mut child = command.spawn().map_err(|e| failed("not started", e))?;
        let (Some(mut to), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("classifier process: no pipes".into());
        };
        let (said, from) = bounded(1);
        let (here, lost) = bounded(0);
        let listening = std::thread::Builder::new().name("mlx-apart".into());
        listening.spawn(move || listen(out, &said, here)).map_err(|e| failed("no thread", e))?;
        let order = Order {
            model: classifier.model.clone(),
            only_light: light.only_light,
            max_bytes: light.max_bytes,
            cache_limit: light.cache_limit,
        };
        // Of a child that is gone already the silence tells.
        let _ = say(&mut to, &order);
        let patience = classifier.timeout;
        let mut apart = Self { child, to, from, lost, about: String::new(), memory: [0; 3], patience };
        match apart.from.recv_timeout(LOADING) {
            Ok(Said::Ready { about, memory }) => {
                (apart.about, apart.memory) = (format!("{about}, in process {}", apart.child.id()), memory);
                Ok(apart)
            }
            Ok(Said::Failed { reason }) => Err(reason),
            Ok(_) => Err("classifier process: it does not begin as it should".into()),
            Err(_) => Err("classifier process: it ended or hung while loading".into()),
        }
    }
}

impl Apart {
    fn ask(&mut self, text: &str, fully: bool) -> Result<Verdict, ClassifyError> {
        let gone = |why: &str| ClassifyError::Gone(why.to_owned());
        // No classifier reads more, and a line has its end.
        let text = super::features::clip(text);
        say(&mut self.to, &Task { text: &*text, fully }).map_err(|_| gone("it ended"))?;
        match self.from.recv_timeout(self.patience) {
            Ok(Said::Verdict { verdict, memory }) => {
                self.memory = memory;
                verdict.read().ok_or_else(|| gone("it answers nonsense"))
            }
            Ok(Said::Error { message }) => Err(ClassifyError::Mlx(message)),
            Ok(_) => Err(gone("it answers out of turn")),
            Err(error) if error.is_timeout() => Err(gone("it hung")),
            Err(_) => Err(gone("it ended")),
        }
    }
}

impl Classifier for Apart {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.ask(text, false)
    }

    fn read_fully(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.ask(text, true)
    }

    fn describe(&self) -> String {
        self.about.clone()
    }

    fn lost(&self) -> Receiver<Infallible> {
        self.lost.clone()
    }

    fn memory(&self) -> Option<[u64; 3]> {
        Some(self.memory)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(to: &mut impl Write, what: &impl serde::Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Until the child closes its side or says what is no word of ours; then `_here` is let go.
fn listen(out: ChildStdout, said: &Sender<Said>, _here: Sender<Infallible>) {
    let mut out = BufReader::new(out);
    let mut line = Vec::new();
    loop {
        line.clear();
        match out.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let Ok(words) = serde_json::from_slice(&line) else { return };
        if said.send(words).is_err() {
            return;
        }
    }
}

/// This program, also after its file was replaced by a newer one.
fn own_binary() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Ctrl-C is for the proxy, which then lets its requests finish: the child goes with it, not before.
#[cfg(unix)]
fn apart_from_terminal(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.arg0("brainstem").process_group(0);
}

#[cfg(not(unix))]
fn apart_from_terminal(_: &mut Command) {}
