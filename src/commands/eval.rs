//! `brainstem eval`: labelled lines through rules and classifier exactly as requests would go.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::explain::chat_body;
use super::{Failure, Plain, classifier_settled, offline_brain_of, runtime, say};
use crate::ask::Ask;
use crate::brain::{Around, Brain};
use crate::category::{Category, Label};
use crate::cli::Settings;
use crate::config::{Config, Route};
use crate::decide::To;
use crate::decisions::labels;
use crate::dialect::Dialect;
use crate::intent::labelled::{self, Labelled};
use crate::intent::worker::Health;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// Lines of label<TAB>text[<TAB>source]
    #[arg(value_name = "FILE.tsv", required_unless_present = "log")]
    file: Option<PathBuf>,
    /// What people said of a log of decisions (`brainstem review`)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Also list the lines that are wrong (with --json: to stderr)
    #[arg(long)]
    wrong: bool,
    /// Also say of each line what was decided, one JSON object each, to stderr
    #[arg(long)]
    each: bool,
}

/// How well the decisions fit the labels.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Lines.
    pub n: usize,
    /// Share of lines whose category is the label's.
    pub accuracy: f64,
    /// Mean of the labels' F1, labels without lines left out.
    pub macro_f1: f64,
    /// Of the lines that are no greeting, the share that would be answered locally.
    pub false_local_rate: f64,
    /// Of all lines, the share that would be answered locally.
    pub local_coverage: f64,
    /// Of the greetings, the share that would be answered locally.
    pub greeting_coverage: f64,
    /// Of the lines answered locally whose third column names an answer, the share that got it, or one that stands for
    /// it; `None` without such lines.
    pub fitting_rate: Option<f64>,
    /// How many lines the classifier was asked about and answered.
    pub classified: usize,
    /// Microseconds of a decision, parsing included.
    pub latency_us: Latency,
    /// By label.
    pub labels: BTreeMap<&'static str, Score>,
    /// Lines by label, then by what was decided.
    pub confusion: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
}

/// Quantiles in microseconds.
#[derive(Debug, Serialize)]
pub struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

/// One label's figures.
#[derive(Debug, Serialize)]
pub struct Score {
    n: usize,
    precision: f64,
    recall: f64,
    f1: f64,
}

struct Judged {
    label: Label,
    decided: &'static str,
    local: Option<String>,
    /// The answer is the one that the line's third column names, if that names one.
    fits: Option<bool>,
    classified: bool,
    took: Duration,
}

impl Eval {
    /// Prints the report.
    ///
    /// # Errors
    /// If the file, config or rules are wrong.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let mut lines = Vec::new();
        if let Some(file) = &self.file {
            lines.append(&mut labelled::read(file)?);
        }
        if let Some(log) = &self.log {
            lines.append(&mut labels::labelled(log)?);
        }
        // Every line is judged with the classifier, whatever arm its request would fall into.
        let brain = offline_brain_of(Config { experiment: None, ..settings.load()? })?;
        let judged = runtime()?.block_on(async {
            if let Health::Down(why) = classifier_settled(&brain).await {
                eprintln!("note: no classifier: {why}");
            }
            let mut judged = Vec::with_capacity(lines.len());
            for line in &lines {
                judged.push(judge(&brain, line).await?);
            }
            Ok::<_, Failure>(judged)
        })?;
        if self.wrong {
            tell_wrong(&lines, &judged);
        }
        if self.each {
            tell_each(&lines, &judged);
        }
        let report = report(&judged);
        if self.json {
            say(format!("{}\n", serde_json::to_string(&report).map_err(|e| Failure::new(e.to_string()))?))
        } else {
            say(Told(&report))
        }
    }
}

async fn judge(brain: &Brain, line: &Labelled) -> Result<Judged, Failure> {
    let body = chat_body(&line.text)?;
    let clock = Instant::now();
    let ask = Ask::parse(Dialect::Chat, &body).map_err(|e| Failure::new(e.to_string()))?;
    let judged = brain.decide(&ask, Around::default(), |sight, decision| {
        let answer = match decision.to {
            To::Answer(answer, _) => Some(answer),
            _ => None,
        };
        let local = answer.map_or_else(|| "refusal".to_owned(), |answer| answer.name.to_string());
        let wanted = sight.snapshot.answer(&line.source);
        let fits = answer.zip(wanted).map(|(a, w)| a.name == w.name || a.covers.contains(&w.name));
        let local = (decision.route() == Route::Local).then_some(local);
        (decision.category, local, fits, sight.stages.classifier > Duration::ZERO)
    });
    let (category, local, fits, classified) = judged.await;
    let decided = label_name(category);
    Ok(Judged { label: line.label, decided, local, fits, classified, took: clock.elapsed() })
}

/// A category as the label that stands for it; one of the user's own is none of the five.
fn label_name(category: Category) -> &'static str {
    Label::ALL.into_iter().find(|l| l.category() == category).map_or("other", Label::name)
}

fn tell_wrong(lines: &[Labelled], judged: &[Judged]) {
    for (line, judged) in lines.iter().zip(judged) {
        let false_local = judged.local.is_some() && line.label != Label::Greeting;
        if judged.decided != judged.label.name() || false_local {
            let local = judged.local.as_deref().map_or(String::new(), |name| format!("  [answered: {name}]"));
            eprintln!("{} -> {}{local}  {}", judged.label, judged.decided, Plain(&line.text));
        }
    }
}

/// For scripts: which answer each line got.
fn tell_each(lines: &[Labelled], judged: &[Judged]) {
    for (line, judged) in lines.iter().zip(judged) {
        let told = serde_json::json!({
            "label": judged.label.name(), "decided": judged.decided, "answer": judged.local, "fits": judged.fits,
            "text": line.text,
        });
        eprintln!("{told}");
    }
}

fn report(judged: &[Judged]) -> Report {
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let count = |what: &dyn Fn(&Judged) -> bool| judged.iter().filter(|j| what(j)).count();
    let n = judged.len();
    let greetings = count(&|j| j.label == Label::Greeting);
    let mut confusion: BTreeMap<&'static str, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for j in judged {
        *confusion.entry(j.label.name()).or_default().entry(j.decided).or_default() += 1;
    }
    let labels: BTreeMap<&'static str, Score> = Label::ALL
        .into_iter()
        .map(|label| {
            let right = count(&|j| j.label == label && j.decided == label.name());
            let n = count(&|j| j.label == label);
            let precision = share(right, count(&|j| j.decided == label.name()));
            let recall = share(right, n);
            let f1 = if right == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
            (label.name(), Score { n, precision, recall, f1 })
        })
        .collect();
    let present: Vec<f64> = labels.values().filter(|s| s.n > 0).map(|s| s.f1).collect();
    let mut took: Vec<f64> = judged.iter().map(|j| j.took.as_secs_f64() * 1e6).collect();
    took.sort_by(f64::total_cmp);
    let quantile =
        |q: f64| took.get(((took.len() as f64 * q) as usize).min(took.len().saturating_sub(1))).copied();
    let named = count(&|j| j.fits.is_some());
    Report {
        n,
        accuracy: share(count(&|j| j.decided == j.label.name()), n),
        macro_f1: present.iter().sum::<f64>() / present.len().max(1) as f64,
        false_local_rate: share(count(&|j| j.label != Label::Greeting && j.local.is_some()), n - greetings),
        local_coverage: share(count(&|j| j.local.is_some()), n),
        greeting_coverage: share(count(&|j| j.label == Label::Greeting && j.local.is_some()), greetings),
        fitting_rate: (named > 0).then(|| share(count(&|j| j.fits == Some(true)), named)),
        classified: count(&|j| j.classified),
        latency_us: Latency {
            p50: quantile(0.5).unwrap_or(0.0),
            p95: quantile(0.95).unwrap_or(0.0),
            p99: quantile(0.99).unwrap_or(0.0),
            max: quantile(1.0).unwrap_or(0.0),
        },
        labels,
        confusion,
    }
}

/// The report for a person.
struct Told<'a>(&'a Report);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let r = self.0;
        let bold = std::io::stdout().is_terminal();
        let (on, off) = if bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(f, "{} lines, {} of them classified", r.n, r.classified)?;
        writeln!(f, "{on}accuracy {:.4}{off}   macro F1 {:.4}", r.accuracy, r.macro_f1)?;
        writeln!(
            f,
            "{on}false-local {:.4}{off}   answered locally {:.4} (greetings: {:.4})",
            r.false_local_rate, r.local_coverage, r.greeting_coverage
        )?;
        if let Some(fitting) = r.fitting_rate {
            writeln!(f, "{on}fitting {fitting:.4}{off} of the answers to lines that name theirs")?;
        }
        let l = &r.latency_us;
        writeln!(
            f,
            "decision, us: p50 {:.0}  p95 {:.0}  p99 {:.0}  max {:.0}\n",
            l.p50, l.p95, l.p99, l.max
        )?;
        writeln!(f, "{:<14}{:>6}{:>11}{:>9}{:>8}", "label", "n", "precision", "recall", "F1")?;
        for (name, s) in &r.labels {
            writeln!(f, "{name:<14}{:>6}{:>11.4}{:>9.4}{:>8.4}", s.n, s.precision, s.recall, s.f1)?;
        }
        writeln!(f, "\nconfusion (row: label, column: decided)")?;
        write!(f, "{:<14}", "")?;
        let columns: Vec<&str> = Label::ALL.into_iter().map(Label::name).chain(["other"]).collect();
        for column in &columns {
            write!(f, "{column:>14}")?;
        }
        writeln!(f)?;
        for (label, row) in &r.confusion {
            write!(f, "{label:<14}")?;
            for column in &columns {
                write!(f, "{:>14}", row.get(column).copied().unwrap_or(0))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(label: Label, decided: &'static str, local: bool) -> Judged {
        let local = local.then(|| "greeting".to_owned());
        let fits = local.as_ref().map(|_| label == Label::Greeting);
        Judged { label, decided, local, fits, classified: false, took: Duration::from_micros(10) }
    }

    #[test]
    fn the_figures_are_what_their_names_say() {
        let report = report(&[
            judged(Label::Greeting, "greeting", true),
            judged(Label::Greeting, "general", false),
            judged(Label::Coding, "coding", false),
            judged(Label::General, "greeting", true),
            judged(Label::General, "general", false),
        ]);
        assert_eq!(report.accuracy, 0.6);
        assert_eq!(report.false_local_rate, 1.0 / 3.0);
        assert_eq!(report.local_coverage, 0.4);
        assert_eq!(report.greeting_coverage, 0.5);
        assert_eq!(report.fitting_rate, Some(0.5));
        assert_eq!(report.labels["greeting"].precision, 0.5);
        assert_eq!(report.confusion["general"]["greeting"], 1);
        assert_eq!(report.latency_us.max.round(), 10.0);
    }

    #[test]
    fn no_lines_are_no_numbers_but_zero() {
        let report = report(&[]);
        assert_eq!((report.n, report.accuracy, report.macro_f1), (0, 0.0, 0.0));
        assert_eq!(report.fitting_rate, None);
        assert!(serde_json::to_string(&report).unwrap().contains("\"accuracy\":0.0"));
    }
}
