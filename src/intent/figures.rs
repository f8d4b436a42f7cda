//! How well verdicts fit labels, and the thresholds that follow.

use std::fmt;

use crate::category::Label;
use crate::text::{Language, count_words, language};

/// What came out for one labelled line.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What it should be.
    pub label: Label,
    /// The language of its text.
    pub language: Language,
    /// Words of its text.
    pub words: usize,
    /// What the model says.
    pub scores: [f32; 5],
}

impl Outcome {
    /// Of a line and the model's scores for it.
    pub fn new(label: Label, text: &str, scores: [f32; 5]) -> Self {
        Self { label, language: language(text), words: count_words(text), scores }
    }

    /// The most probable label and its probability.
    fn best(&self) -> (Label, f32) {
        let pairs = Label::ALL.into_iter().zip(self.scores);
        pairs.fold((Label::General, -1.0), |best, (l, p)| if p > best.1 { (l, p) } else { best })
    }

    fn confident(&self, greeting_from: f32, sure_from: f32) -> Label {
        let (label, p) = self.best();
        let from = if label == Label::Greeting { greeting_from } else { sure_from };
        if p >= from { label } else { Label::General }
    }
}

/// Divides every outcome's logits by a temperature.
pub fn cool(outcomes: &mut [Outcome], temperature: f32) {
    for outcome in outcomes {
        let powers = outcome.scores.map(|p| (p.max(1e-12).ln() / temperature).exp());
        let sum: f32 = powers.iter().sum();
        outcome.scores = powers.map(|p| p / sum);
    }
}

/// The temperature at which the right labels are likeliest.
pub fn temperature(outcomes: &[Outcome]) -> f32 {
    let loss = |temperature: f32| {
        let mut cooled = outcomes.to_vec();
        cool(&mut cooled, temperature);
        let right =
            |o: &Outcome| Label::ALL.iter().zip(o.scores).find(|(l, _)| **l == o.label).map_or(0.0, |p| p.1);
        cooled.iter().map(|o| f64::from(-right(o).max(1e-12).ln())).sum::<f64>()
    };
    let steps = (0..=40).map(|i| 0.5 * 1.06f32.powi(i));
    steps.map(|t| (loss(t), t)).fold((f64::INFINITY, 1.0), |a, b| if b.0 < a.0 { b } else { a }).1
}

/// The least greeting threshold (at least one half) at which no more than `share` of what is no greeting
/// passes for one.
pub fn greeting_from(outcomes: &[Outcome], share: f32) -> f32 {
    let others = || outcomes.iter().filter(|o| o.label != Label::Greeting);
    let mut wrong: Vec<f32> =
        others().map(Outcome::best).filter(|b| b.0 == Label::Greeting).map(|b| b.1).collect();
    wrong.sort_by(|a, b| b.total_cmp(a));
    let allowed = (others().count() as f32 * share) as usize;
    // Half of the way from the first that must not pass to certainty: dev lines are not all lines.
    wrong.get(allowed).map_or(0.5, |p| p + (1.0 - p) * 0.1).clamp(0.5, 0.995)
}

/// Figures of a set of outcomes under thresholds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Lines.
    pub n: usize,
    /// Share of lines with the right label.
    pub accuracy: f32,
    /// Share of the lines that are no greetings and would be answered as greetings.
    pub false_local: f32,
    /// Share of the greetings that are known as such.
    pub greetings_caught: f32,
    /// Lines by true label (row) and label given (column), in the order of [`Label::ALL`].
    pub confusion: [[usize; 5]; 5],
}

impl Figures {
    /// Counts the outcomes that `which` chooses.
    pub fn of(
        outcomes: &[Outcome],
        greeting_from: f32,
        sure_from: f32,
        which: impl Fn(&Outcome) -> bool,
    ) -> Self {
        let mut confusion = [[0usize; 5]; 5];
        for outcome in outcomes.iter().filter(|o| which(o)) {
            let place = |l: Label| Label::ALL.iter().position(|x| *x == l).unwrap_or(0);
            confusion[place(outcome.label)][place(outcome.confident(greeting_from, sure_from))] += 1;
        }
        let n: usize = confusion.iter().flatten().sum();
        let right: usize = (0..5).map(|i| confusion[i][i]).sum();
        let greetings: usize = confusion[0].iter().sum();
        let local: usize = confusion[1..].iter().map(|row| row[0]).sum();
        let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f32 / of as f32 };
        Self {
            n,
            accuracy: share(right, n),
            false_local: share(local, n - greetings),
            greetings_caught: share(confusion[0][0], greetings),
            confusion,
        }
    }
}

/// Lines inside the classifier's word window.
pub fn in_window(outcome: &Outcome) -> bool {
    (5..=25).contains(&outcome.words)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines, accuracy {:.3}, false-local {:.2} %, greetings caught {:.1} %",
            self.n,
            self.accuracy,
            self.false_local * 100.0,
            self.greetings_caught * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(label: Label, greeting: f32) -> Outcome {
        let rest = 1.0 - greeting;
        Outcome::new(label, "one two three four five", [greeting, 0.0, rest, 0.0, 0.0])
    }

    #[test]
    fn the_greeting_threshold_lets_no_more_pass_than_told() {
        let mut outcomes: Vec<Outcome> = (0..100)
            .map(|i| outcome(Label::Coding, if i < 4 { 0.9 - i as f32 * 0.1 } else { 0.1 }))
            .collect();
        outcomes.push(outcome(Label::Greeting, 0.95));
        let from = greeting_from(&outcomes, 0.02);
        assert!(from > 0.7 && from < 0.8, "{from}");
        let figures = Figures::of(&outcomes, from, 0.0, in_window);
        assert_eq!((figures.n, figures.confusion[2][0], figures.greetings_caught), (101, 2, 1.0));
        assert!((figures.false_local - 0.02).abs() < 1e-6);
        assert_eq!(greeting_from(&[], 0.0), 0.5);
    }

    #[test]
    fn overconfident_scores_are_cooled() {
        let mut outcomes: Vec<Outcome> =
            (0..10).map(|i| outcome(if i < 7 { Label::Greeting } else { Label::Coding }, 0.99)).collect();
        let t = temperature(&outcomes);
        assert!(t > 2.0, "{t}");
        cool(&mut outcomes, t);
        assert!(outcomes[0].scores[0] < 0.95);
        assert!((outcomes[0].scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}
