//! Makes the weights: the same lines, options and seed give the same bytes on one machine.
//!
//! Two passes. The first leaves the dev lines out and measures on them: the figures, the temperature and the
//! thresholds come from it. The second takes every line and makes the weights that ship.

use std::collections::{BTreeMap, HashSet};

use mlx_rs::error::Exception;

use super::bag::Bag;
use super::features::Settings;
use super::figures::{self, Figures, Outcome};
use super::fit::{Fit, family, fit};
use super::holdout;
use super::labelled::Labelled;
use super::weights::{ModelError, Weights};
use crate::category::Label;
use crate::text::{Language, fold};

/// How to train. The defaults are what the shipped model was made with.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Decides the cut, the order, the variants and the first weights.
    pub seed: u64,
    /// Share of the lines kept out of the first pass and measured on; 0 leaves the first pass out.
    pub holdout: f32,
    /// Whether to train on all lines after measuring; without it the measured weights are the result.
    pub refit: bool,
    /// How features are made.
    pub settings: Settings,
    /// Models trained side by side and averaged.
    pub members: usize,
    /// Width of a row of one member's table.
    pub dim: usize,
    /// Width of one member's hidden layer.
    pub hidden: usize,
    /// How often each line is seen, on average.
    pub epochs: usize,
    /// Lines a step.
    pub batch: usize,
    /// Adam's step at the start; it falls to zero evenly.
    pub rate: f32,
    /// Share of words left out of a line each time it is seen.
    pub dropout: f32,
    /// Share of the target that goes to all labels alike.
    pub smoothing: f32,
    /// Pull of the table's touched rows towards zero, a step, times the rate.
    pub decay: f32,
    /// Rows that fewer lines touch are not trained and stay zero.
    pub rare: u32,
    /// A source of n lines is drawn from as if it had n to this power.
    pub balance: f32,
    /// Share of non-greetings in the dev lines that may pass for greetings.
    pub false_local: f32,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 7,
            holdout: 0.1,
            refit: true,
            settings: Settings { buckets: 240_000, gram_min: 2, gram_max: 5 },
            members: 4,
            dim: 8,
            hidden: 16,
            epochs: 3,
            batch: 64,
            rate: 0.004,
            dropout: 0.05,
            smoothing: 0.05,
            decay: 0.0,
            rare: 2,
            balance: 0.0,
            false_local: 0.004,
        }
    }
}

/// What `train` tells while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The lines are cut.
    Cut {
        /// Lines of the first pass.
        train: usize,
        /// Lines measured on.
        dev: usize,
    },
    /// One round of a pass is over.
    Epoch {
        /// Which, from 1.
        epoch: usize,
        /// Of how many.
        of: usize,
        /// Mean loss of a line.
        loss: f32,
    },
    /// The dev lines are measured: by language (Russian, English), inside the word window.
    Measured {
        /// Russian.
        ru: Box<Figures>,
        /// English.
        en: Box<Figures>,
    },
}

/// What training makes.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The model.
    pub weights: Weights,
    /// Figures of the dev lines of 5 to 25 words in Russian and English; `None` without holdout.
    pub figures: Option<[Figures; 2]>,
    /// The dev lines (by number in the lines given) and the scores that the measured weights gave them.
    pub dev: Vec<(usize, [f32; 5])>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A label that no line has cannot be learned.
    #[error("no line is labelled {0}: every label needs some")]
    NoLines(Label),
    /// An option is out of range.
    #[error("{0}")]
    Option(&'static str),
    /// MLX refused.
    #[error("mlx: {0}")]
    Mlx(String),
    /// The loss is no number any more.
    #[error("the loss became {0}: try a smaller rate")]
    Diverged(f32),
    /// The weights made do not pass the model's own checks.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<Exception> for TrainError {
    fn from(e: Exception) -> Self {
        Self::Mlx(e.what().to_owned())
    }
}

/// Trains on labelled lines.
pub fn train(
    lines: &[Labelled],
    options: &TrainOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Trained, TrainError> {
    check(lines, options)?;
    let kept = distinct(lines);
    let distinct: Vec<Labelled> = kept.iter().map(|i| lines[*i].clone()).collect();
    let mut trained = Trained { weights: Fit::new(options).weights(), figures: None, dev: Vec::new() };
    let (mut temperature, mut greeting_from) = (1.0, 0.9);
    if options.holdout > 0.0 {
        let dev = holdout::cut(&distinct, options.holdout, options.seed);
        let train: Vec<&Labelled> = distinct.iter().zip(&dev).filter(|(_, d)| !**d).map(|(l, _)| l).collect();
        progress(Progress::Cut { train: train.len(), dev: distinct.len() - train.len() });
        trained.weights = fit(&train, options, &mut progress)?;
        let mut bag = Bag::new(&trained.weights)?;
        for (i, line) in distinct.iter().enumerate().filter(|(i, _)| dev[*i]) {
            let verdict = bag.classify(&line.text).map_err(|e| TrainError::Mlx(e.to_string()))?;
            trained.dev.push((kept[i], verdict.scores));
        }
        let outcome = |(i, s): &(usize, [f32; 5])| Outcome::new(lines[*i].label, &lines[*i].text, *s);
        let mut outcomes: Vec<Outcome> = trained.dev.iter().map(outcome).collect();
        temperature = figures::temperature(&outcomes);
        figures::cool(&mut outcomes, temperature);
        greeting_from = figures::greeting_from(&outcomes, options.false_local);
        let [ru, en] = [Language::Ru, Language::En].map(|language| {
            let which = |o: &Outcome| o.language == language && figures::in_window(o);
            Figures::of(&outcomes, greeting_from, 0.0, which)
        });
        trained.figures = Some([ru.clone(), en.clone()]);
        progress(Progress::Measured { ru: Box::new(ru), en: Box::new(en) });
    }
    if options.refit || options.holdout <= 0.0 {
        let all: Vec<&Labelled> = distinct.iter().collect();
        trained.weights = fit(&all, options, &mut progress)?;
    }
    trained.weights.temperature = temperature;
    trained.weights.greeting_from = greeting_from;
    trained.weights.notes = notes(&distinct, options, trained.figures.as_ref());
    Bag::new(&trained.weights)?;
    Ok(trained)
}

fn check(lines: &[Labelled], options: &TrainOptions) -> Result<(), TrainError> {
    if let Some(label) = Label::ALL.into_iter().find(|l| lines.iter().all(|line| line.label != *l)) {
        return Err(TrainError::NoLines(label));
    }
    let wrong = [
        (!(0.0..=0.5).contains(&options.holdout), "the holdout share is allowed from 0 to 0.5"),
        (options.batch == 0 || options.epochs == 0, "batch and epochs are at least 1"),
        (!(1..=16).contains(&options.members), "members are allowed from 1 to 16"),
        (!(1..=64).contains(&options.dim), "dim is allowed from 1 to 64"),
        (!(1..=64).contains(&options.hidden), "hidden is allowed from 1 to 64"),
        (!(1..=1 << 22).contains(&options.settings.buckets), "buckets are allowed from 1 to 4194304"),
        (!(0.0..1.0).contains(&options.dropout), "dropout is allowed from 0 to 1"),
    ];
    wrong
        .into_iter()
        .find(|(wrong, _)| *wrong)
        .map_or(Ok(()), |(_, message)| Err(TrainError::Option(message)))
}

/// The numbers of the lines that are no repetition of an earlier one.
fn distinct(lines: &[Labelled]) -> Vec<usize> {
    let mut seen = HashSet::new();
    (0..lines.len()).filter(|i| seen.insert((lines[*i].label, fold(&lines[*i].text)))).collect()
}

fn notes(
    lines: &[Labelled],
    options: &TrainOptions,
    figures: Option<&[Figures; 2]>,
) -> BTreeMap<String, String> {
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    lines.iter().for_each(|l| *sources.entry(family(&l.source)).or_default() += 1);
    let sources: Vec<String> = sources.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let mut notes = BTreeMap::from([
        ("lines".to_owned(), lines.len().to_string()),
        ("sources".to_owned(), sources.join(", ")),
        ("seed".to_owned(), options.seed.to_string()),
    ]);
    if let Some([ru, en]) = figures {
        notes.insert("dev.ru".to_owned(), ru.to_string());
        notes.insert("dev.en".to_owned(), en.to_string());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A toy task: each label has words of its own.
    fn lines() -> Vec<Labelled> {
        let words = [
            (Label::Greeting, ["hello", "привет", "thanks", "bye", "morning"]),
            (Label::DataQuestion, ["table", "rows", "sales", "отчет", "average"]),
            (Label::Coding, ["python", "функцию", "compile", "bug", "rust"]),
            (Label::Reasoning, ["prove", "докажи", "compare", "probability", "logic"]),
            (Label::General, ["recipe", "poem", "письмо", "weather", "movie"]),
        ];
        let mut lines = Vec::new();
        for (label, words) in words {
            for i in 0..40 {
                let text = format!("{} {} {} x{i}", words[i % 5], words[(i / 5) % 5], words[(i * 3 + 1) % 5]);
                lines.push(Labelled { label, text, source: "toy/one".to_owned() });
            }
        }
        lines
    }

    fn options() -> TrainOptions {
        TrainOptions {
            settings: Settings { buckets: 4096, gram_min: 3, gram_max: 4 },
            members: 2,
            dim: 8,
            hidden: 8,
            epochs: 12,
            batch: 8,
            rate: 0.02,
            ..TrainOptions::default()
        }
    }

    #[test]
    fn a_toy_task_is_learned_and_the_same_seed_makes_the_same_bytes() {
        let (lines, options) = (lines(), options());
        let mut told = Vec::new();
        let made = train(&lines, &options, |p| told.push(p)).unwrap();
        let mut bag = Bag::new(&made.weights).unwrap();
        let right = lines.iter().filter(|l| bag.classify(&l.text).unwrap().label() == l.label).count();
        assert!(right * 10 > lines.len() * 9, "{right} of {}", lines.len());
        assert!(matches!(told.first(), Some(Progress::Cut { .. })));
        assert_eq!(told.iter().filter(|p| matches!(p, Progress::Epoch { .. })).count(), 48);
        assert_eq!(made.weights.notes["sources"], "toy 200");

        let again = train(&lines, &options, |_| {}).unwrap();
        assert!(made.weights.bytes() == again.weights.bytes(), "the same seed made other bytes");
        let other = train(&lines, &TrainOptions { seed: 8, ..options }, |_| {}).unwrap();
        assert!(made.weights.bytes() != other.weights.bytes(), "another seed made the same bytes");
    }

    #[test]
    fn what_cannot_be_trained_is_refused() {
        let none = train(&lines()[..100], &options(), |_| {}).unwrap_err().to_string();
        assert_eq!(none, "no line is labelled reasoning: every label needs some");
        let wrong = TrainOptions { holdout: 0.9, ..options() };
        assert!(train(&lines(), &wrong, |_| {}).unwrap_err().to_string().contains("from 0 to 0.5"));
        let wild = TrainOptions { rate: f32::INFINITY, ..options() };
        assert!(train(&lines(), &wild, |_| {}).is_err());
    }

    #[test]
    fn repetitions_are_dropped() {
        let mut lines = lines();
        let mut copy = lines[0].clone();
        copy.text = copy.text.to_uppercase() + " ";
        lines.push(copy);
        assert_eq!(distinct(&lines).len(), lines.len() - 1);
    }
}
