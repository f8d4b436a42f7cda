//! `brainstem train`: labelled lines in, weights out: a whole bag of features, or, with `--model`, a head for an
//! encoder.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::category::Label;
use crate::decisions::labels;
use crate::intent::encoder::{Encoder, head, headed};
use crate::intent::figures::Figures;
use crate::intent::labelled::{self, Labelled};
use crate::intent::phrases;
use crate::intent::train::{Progress, TrainError, TrainOptions, train};
use crate::text::fold;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct Train {
    /// Lines of label<TAB>text[<TAB>source]; with --model none is needed, brainstem has phrases of its own
    #[arg(value_name = "FILE.tsv", required_unless_present_any = ["model", "log"])]
    files: Vec<PathBuf>,
    /// What people said of a log of decisions (`brainstem review`)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where the weights go [default with --model: head.safetensors in that directory]
    #[arg(short, long, value_name = "MODEL", required_unless_present = "model")]
    out: Option<PathBuf>,
    /// Train a head for the encoder in this directory (Hugging Face's layout), instead of a bag of features
    #[arg(long, value_name = "DIR", conflicts_with_all = ["holdout", "dev", "no_refit"])]
    model: Option<PathBuf>,
    /// The same lines and seed give the same bytes
    #[arg(long, default_value_t = TrainOptions::default().seed)]
    seed: u64,
    /// The share of lines kept out of training and measured on; 0 measures nothing
    #[arg(long, value_name = "SHARE", default_value_t = TrainOptions::default().holdout)]
    holdout: f32,
    /// Write the held-out lines, with the scores they got, to this file
    #[arg(long, value_name = "FILE.tsv")]
    dev: Option<PathBuf>,
    /// Keep the weights that were measured, without a second pass over all lines
    #[arg(long)]
    no_refit: bool,
}

impl Train {
    /// Trains and writes.
    ///
    /// # Errors
    /// If a file is wrong, a label has no lines, or MLX refuses.
    pub fn run(&self) -> Result<(), Failure> {
        crate::log::quiet();
        match (&self.model, &self.out) {
            (Some(model), out) => self.head(model, out.as_deref()),
            (None, Some(out)) => self.bag(out),
            (None, None) => Err(Failure::new("--out is needed: where the weights go".to_owned())),
        }
    }

    /// The files' lines, or everything that is wrong with them.
    fn lines(&self) -> Result<Vec<Labelled>, Failure> {
        let mut lines = Vec::new();
        let mut problems = Vec::new();
        for file in &self.files {
            match labelled::read(file) {
                Ok(mut read) => lines.append(&mut read),
                Err(mut wrong) => problems.append(&mut wrong),
            }
        }
        if let Some(log) = &self.log {
            match labels::labelled(log) {
                // As in a line of TSV.
                Ok(read) => {
                    lines.extend(read.into_iter().map(|line| Labelled { text: flat(&line.text), ..line }))
                }
                Err(mut wrong) => problems.append(&mut wrong),
            }
        }
        if problems.is_empty() { Ok(lines) } else { Err(problems.into()) }
    }

    /// A head for an encoder: from the lines given, beside brainstem's own phrases where those are a log's alone.
    fn head(&self, model: &Path, out: Option<&Path>) -> Result<(), Failure> {
        let failure = |e: crate::intent::weights::ModelError| Failure::new(e.to_string());
        let mut lines = self.lines()?;
        if self.files.is_empty() {
            lines.extend(phrases::lines(None));
        }
        let lines = distinct(lines);
        if let Some(label) = Label::ALL.into_iter().find(|l| lines.iter().all(|line| line.label != *l)) {
            return Err(Failure::new(TrainError::NoLines(label).to_string()));
        }
        let encoder = Encoder::load(model).map_err(failure)?;
        eprintln!("{} lines through {}", lines.len(), encoder.describe());
        let live = std::io::stderr().is_terminal();
        let told = |done: usize, of: usize| match live && done < of {
            true => eprint!("{done} of {of}\r"),
            // Some lines in a log, not one every few seconds.
            false if done == of || done.is_multiple_of(4096) => eprintln!("{done} of {of}"),
            false => {}
        };
        let (head, [ru, en]) = headed::fit(&encoder, &lines, self.seed, told).map_err(failure)?;
        tell_figures("Russian", &ru);
        tell_figures("English", &en);
        let out = out.map_or_else(|| model.join(head::FILE), Path::to_owned);
        head.save(&out).map_err(failure)?;
        eprintln!("wrote {}", out.display());
        Ok(())
    }

    /// A bag of features.
    fn bag(&self, out: &Path) -> Result<(), Failure> {
        let lines = self.lines()?;
        let options = TrainOptions {
            seed: self.seed,
            holdout: self.holdout,
            refit: !self.no_refit,
            ..TrainOptions::default()
        };
        let files = self.files.len() + usize::from(self.log.is_some());
        eprintln!("{} lines from {files} files", lines.len());
        let trained = train(&lines, &options, tell).map_err(|e| Failure::new(e.to_string()))?;
        if let Some(file) = &self.dev {
            let mut out = String::new();
            for (i, scores) in &trained.dev {
                let line = &lines[*i];
                let scores = scores.map(|s| format!("{s:.4}")).join(" ");
                out += &format!("{}\t{}\t{}\t{scores}\n", line.label, line.text, line.source);
            }
            std::fs::write(file, out).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
        }
        trained.weights.save(out).map_err(|e| Failure::new(e.to_string()))?;
        eprintln!("wrote {}", out.display());
        Ok(())
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Each text once: repetitions across files weigh no more than the first.
fn distinct(lines: Vec<Labelled>) -> Vec<Labelled> {
    let mut seen = HashSet::new();
    lines.into_iter().filter(|line| seen.insert((line.label, fold(&line.text)))).collect()
}

/// On a terminal one line that moves on; in a log one line each.
fn tell(progress: Progress) {
    let live = std::io::stderr().is_terminal();
    match progress {
        Progress::Cut { train, dev } => eprintln!("training on {train} lines, {dev} held out"),
        Progress::Epoch { epoch, of, loss } => {
            let end = if live && epoch < of { "\r" } else { "\n" };
            eprint!("epoch {epoch:>2} of {of}, loss {loss:.4}{end}");
            let _ = std::io::stderr().flush();
        }
        Progress::Measured { ru, en } => {
            tell_figures("Russian", &ru);
            tell_figures("English", &en);
        }
    }
}

fn tell_figures(language: &str, figures: &Figures) {
    eprintln!("{language} held-out lines of 5 to 25 words: {figures}");
}
