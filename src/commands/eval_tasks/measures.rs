//! What is measured of each task.

use std::time::Duration;

use crate::tasks::{Method, Task};

/// An item's outcome.
pub(super) struct Judged {
    pub(super) held_out: bool,
    pub(super) russian: bool,
    pub(super) right: bool,
    pub(super) well_formed: bool,
    /// As numbers: a level, or 1 for "yes".
    pub(super) wanted: f64,
    pub(super) said: f64,
    /// "project" for facts of that kind, which have no bar.
    pub(super) kind: &'static str,
    pub(super) method: Method,
    pub(super) took: Duration,
}

/// A figure of a task.
pub(super) struct Measure {
    pub(super) task: Task,
    pub(super) name: &'static str,
    pub(super) among: fn(&Judged) -> bool,
    pub(super) of: fn(&[&Judged]) -> f64,
    pub(super) bar: Option<&'static str>,
}

const fn measure(
    task: Task,
    name: &'static str,
    of: fn(&[&Judged]) -> f64,
    bar: Option<&'static str>,
) -> Measure {
    Measure { task, name, among: |_| true, of, bar }
}

/// The table's rows.
pub(super) const MEASURES: [Measure; 20] = [
    measure(Task::Intent, "accuracy", accuracy, None),
    measure(Task::Complexity, "spearman", spearman, Some(">= 0.70")),
    measure(Task::Complexity, "exact", accuracy, None),
    measure(Task::Entities, "all right", accuracy, None),
    measure(Task::Clarify, "accuracy", accuracy, None),
    Measure { among: |j| j.wanted < 0.5, ..measure(Task::Clarify, "false asks", said_yes, None) },
    measure(Task::Summary, "well-formed", well_formed, None),
    measure(Task::Summary, "on the subject", accuracy, None),
    measure(Task::Duplicate, "F1 of yes", f1, Some(">= 0.85")),
    measure(Task::Duplicate, "accuracy of 3", accuracy, None),
    measure(Task::Normalize, "well-formed", well_formed, Some("1.00")),
    measure(Task::Normalize, "exact", accuracy, None),
    Measure {
        among: |j| j.kind.is_empty(),
        ..measure(Task::Fact, "date/number/name", accuracy, Some(">= 0.95"))
    },
    Measure { among: |j| j.kind == "project", ..measure(Task::Fact, "project", accuracy, None) },
    Measure {
        among: |j| j.wanted < 0.5,
        ..measure(Task::Safety, "false positives", said_yes, Some("<= 0.02"))
    },
    Measure { among: |j| j.wanted > 0.5, ..measure(Task::Safety, "recall", said_yes, None) },
    measure(Task::Safety, "accuracy", accuracy, None),
    measure(Task::Title, "<= 10 words", well_formed, Some("1.00")),
    measure(Task::Title, "on the subject", accuracy, None),
    measure(Task::Embed, "nearer", accuracy, None),
];

fn share(judged: &[&Judged], holds: impl Fn(&Judged) -> bool) -> f64 {
    judged.iter().filter(|j| holds(j)).count() as f64 / judged.len().max(1) as f64
}

fn accuracy(judged: &[&Judged]) -> f64 {
    share(judged, |j| j.right)
}

fn well_formed(judged: &[&Judged]) -> f64 {
    share(judged, |j| j.well_formed)
}

fn said_yes(judged: &[&Judged]) -> f64 {
    share(judged, |j| j.said > 0.5)
}

fn f1(judged: &[&Judged]) -> f64 {
    let count = |wanted: bool, said: bool| {
        judged.iter().filter(|j| (j.wanted > 0.5) == wanted && (j.said > 0.5) == said).count() as f64
    };
    let hits = count(true, true);
    2.0 * hits / (2.0 * hits + count(false, true) + count(true, false)).max(1.0)
}

/// Spearman's rank correlation, ties sharing their mean rank.
fn spearman(judged: &[&Judged]) -> f64 {
    let wanted = ranks(&judged.iter().map(|j| j.wanted).collect::<Vec<_>>());
    let said = ranks(&judged.iter().map(|j| j.said).collect::<Vec<_>>());
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let (mw, ms) = (mean(&wanted), mean(&said));
    let spread = |v: &[f64], m: f64| v.iter().map(|x| (x - m).powi(2)).sum::<f64>().sqrt();
    let both: f64 = wanted.iter().zip(&said).map(|(w, s)| (w - mw) * (s - ms)).sum();
    let product = spread(&wanted, mw) * spread(&said, ms);
    if product > 0.0 { both / product } else { 0.0 }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |v: f64| values.iter().filter(|x| **x < v).count() as f64;
    let same = |v: f64| values.iter().filter(|x| (**x - v).abs() < 1e-9).count() as f64;
    values.iter().map(|v| below(*v) + (same(*v) + 1.0) / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(f64, f64)]) -> Vec<Judged> {
        let one = |&(wanted, said): &(f64, f64)| Judged {
            held_out: false,
            russian: false,
            right: false,
            well_formed: true,
            wanted,
            said,
            kind: "",
            method: Method::Rule,
            took: Duration::ZERO,
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn figures_are_what_they_are_called() {
        let of = |measure: fn(&[&Judged]) -> f64, pairs: &[(f64, f64)]| {
            let all = judged(pairs);
            measure(&all.iter().collect::<Vec<_>>())
        };
        assert!((of(spearman, &[(1.0, 2.0), (2.0, 3.0), (3.0, 5.0)]) - 1.0).abs() < 1e-9);
        assert!((of(spearman, &[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]) + 1.0).abs() < 1e-9);
        assert!((of(f1, &[(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]) - 0.5).abs() < 1e-9);
        assert_eq!(of(spearman, &[]), 0.0);
    }
}
