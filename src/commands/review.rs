//! `brainstem review`: a person labels logged decisions, the least certain first. Each answer is a line on stdin,
//! so that a pipe can give them; each label is written at once, so that any end is a good one.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use clap::Args;

use super::{Failure, Plain};
use crate::category::Label;
use crate::cli::Settings;
use crate::decisions::LogError;
use crate::decisions::labels::Labels;
use crate::decisions::past::{self, Past};

const KEYS: &str = "g greeting, d data_question, c coding, r reasoning, n general; s skip, u undo, q quit";

/// Arguments of `review`.
#[derive(Debug, Args)]
pub struct Review {
    /// The log of decisions [default: log.decisions of the config]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::new(error.to_string())
    }
}

impl Review {
    /// Walks through the log.
    ///
    /// # Errors
    /// If there is no log, it has no text, or the labels cannot be written.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => settings.load()?.log.decisions.map(|log| log.file).ok_or_else(|| {
                Failure::new(
                    "no log of decisions: name one, or set log.decisions and log.decisions_text = true",
                )
            })?,
        };
        let log = past::read(&file)?;
        if log.decisions.is_empty() && log.without_text > 0 {
            let file = file.display();
            return Err(Failure::new(format!(
                "{file}: its lines have no text; set log.decisions_text = true ([log]) and restart brainstem"
            )));
        }
        let mut labels = Labels::beside(&file)?;
        let all = log.decisions.len();
        let known = labels.texts();
        let open: Vec<Past> = log.decisions.into_iter().filter(|past| !known.contains(&*past.text)).collect();
        for (count, what) in
            [(log.unreadable, "are none of a log of decisions"), (log.without_text, "have no text")]
        {
            if count > 0 {
                eprintln!("note: {count} lines {what}");
            }
        }
        let (input, mut out) = (std::io::stdin().lock(), std::io::stdout().lock());
        let said = match walk(&open, &mut labels, input, &mut out) {
            // Nobody looks any more; what was said is written.
            Err(Stop::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(Stop::Io(error)) => return Err(error.into()),
            Err(Stop::Log(error)) => return Err(error.into()),
            Ok(said) => said,
        };
        let left = open.len() - said;
        super::say(format!(
            "labelled {said} now, {} before, {left} left; written to {}\n",
            all - open.len(),
            labels.path().display()
        ))
    }
}

/// What ends the walk before its end.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a person types.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Label(Label),
    Skip,
    Undo,
    Quit,
}

impl Answer {
    fn of(typed: &str) -> Option<Self> {
        Some(match typed.trim().to_lowercase().as_str() {
            "g" => Self::Label(Label::Greeting),
            "d" => Self::Label(Label::DataQuestion),
            "c" => Self::Label(Label::Coding),
            "r" => Self::Label(Label::Reasoning),
            "n" => Self::Label(Label::General),
            "s" | "skip" => Self::Skip,
            "u" | "undo" => Self::Undo,
            "q" | "quit" => Self::Quit,
            name => Self::Label(Label::of(name)?),
        })
    }
}

/// Shows one after the other and takes an answer for each; the number of those labelled. The end of input quits.
fn walk(
    open: &[Past],
    labels: &mut Labels,
    mut input: impl BufRead,
    out: &mut impl Write,
) -> Result<usize, Stop> {
    // Of those shown so far, whether they were labelled or skipped.
    let mut done: Vec<bool> = Vec::new();
    while let Some(past) = open.get(done.len()) {
        write!(out, "\n{} of {}  {}\n{KEYS} > ", done.len() + 1, open.len(), Shown(past))?;
        out.flush()?;
        let mut typed = String::new();
        if input.read_line(&mut typed)? == 0 {
            writeln!(out)?;
            break;
        }
        match Answer::of(&typed) {
            Some(Answer::Label(label)) => {
                labels.add(past, label)?;
                done.push(true);
            }
            Some(Answer::Skip) => done.push(false),
            Some(Answer::Undo) => match done.pop() {
                Some(true) => labels.take_back(&open[done.len()].text)?,
                Some(false) => {}
                None => writeln!(out, "nothing to undo")?,
            },
            Some(Answer::Quit) => break,
            None => writeln!(out, "no such key: {}", typed.trim().escape_debug())?,
        }
    }
    Ok(done.iter().filter(|labelled| **labelled).count())
}

/// A decision for a person.
struct Shown<'a>(&'a Past);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let past = self.0;
        write!(f, "{} by {}", Plain(&past.category), Plain(&past.decided_by))?;
        if let Some(rule) = &past.rule {
            write!(f, " {}", Plain(rule))?;
        }
        for (i, (label, score)) in past.scores.iter().enumerate() {
            write!(f, "{} {label} {score:.2}", if i == 0 { "; classifier:" } else { "," })?;
        }
        past.text.lines().try_for_each(|line| write!(f, "\n  | {}", Plain(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(text: &str) -> Past {
        Past { scores: vec![(Label::Coding, 0.41), (Label::General, 0.4)], ..past::sample(text) }
    }

    /// What is said of "one", "two" and "three", how many that are, and what was shown.
    fn walked(typed: &str) -> (Vec<&'static str>, usize, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut labels = Labels::beside(&dir.path().join("d")).unwrap();
        let open = ["one", "two", "three"].map(past);
        let mut out = Vec::new();
        let said = walk(&open, &mut labels, typed.as_bytes(), &mut out).unwrap();
        let read = crate::decisions::labels::labelled(labels.path()).unwrap_or_default();
        let of =
            |text: &str| read.iter().find(|line| line.text == text).map_or("-", |line| line.label.name());
        (["one", "two", "three"].map(of).to_vec(), said, String::from_utf8(out).unwrap())
    }

    #[test]
    fn keys_label_skip_and_quit() {
        assert_eq!(walked("g\nd\nc\n").0, ["greeting", "data_question", "coding"]);
        assert_eq!(walked(" R \nn\nreasoning\n").0, ["reasoning", "general", "reasoning"]);
        assert_eq!((walked("s\nc\nq\nr\n").0, walked("s\nc\nq\nr\n").1), (vec!["-", "coding", "-"], 1));
        assert_eq!(walked("g\n").0, ["greeting", "-", "-"], "the end of input quits");
    }

    #[test]
    fn undo_goes_back_over_labels_and_skips() {
        assert_eq!(walked("g\nu\nc\nq\n").0, ["coding", "-", "-"]);
        assert_eq!(walked("g\ns\nu\nd\nq\n").0, ["greeting", "data_question", "-"]);
        let (labels, said, out) = walked("u\ng\nu\nu\nq\n");
        assert_eq!((labels, said), (vec!["-", "-", "-"], 0));
        assert_eq!(out.matches("nothing to undo").count(), 2);
    }

    #[test]
    fn another_key_is_asked_again() {
        let (labels, _, out) = walked("\nx\ng\n");
        assert_eq!((labels, out.matches("no such key").count()), (vec!["greeting", "-", "-"], 2));
        assert!(
            out.contains("1 of 3  general by default; classifier: coding 0.41, general 0.40\n  | one\n"),
            "{out}"
        );
    }

    #[test]
    fn a_prompt_does_not_speak_to_the_terminal() {
        let forged = Past {
            category: "gen\u{1b}[31m".into(),
            rule: Some("x\u{202e}".into()),
            ..past("a\u{1b}[2Jb\r\nc")
        };
        let shown = Shown(&forged).to_string();
        assert!(
            shown.ends_with("\n  | a\u{fffd}[2Jb\n  | c") && !shown.contains(['\u{1b}', '\u{202e}']),
            "{shown:?}"
        );
    }
}
