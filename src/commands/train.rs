//! `brainstem train`: labelled lines in, the default classifier's weights out.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::decisions::labels;
use crate::intent::figures::Figures;
use crate::intent::labelled::{self, Labelled};
use crate::intent::train::{Progress, TrainOptions, train};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct Train {
    /// Lines of label<TAB>text[<TAB>source]
    #[arg(value_name = "FILE.tsv", required_unless_present = "log")]
    files: Vec<PathBuf>,
    /// What people said of a log of decisions (`brainstem review`)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where the weights go
    #[arg(short, long, value_name = "MODEL")]
    out: PathBuf,
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
        if !problems.is_empty() {
            return Err(problems.into());
        }
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
        trained.weights.save(&self.out).map_err(|e| Failure::new(e.to_string()))?;
        eprintln!("wrote {}", self.out.display());
        Ok(())
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
