//! `brainstem eval-tasks`: the labelled items of each light task through the same desk that serves requests.

mod measures;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::measures::{Judged, MEASURES};
use super::light::LOADING;
use super::{Failure, classifier_settled, offline_brain, runtime, say};
use crate::brain::Brain;
use crate::cli::Settings;
use crate::intent::worker::Health;
use crate::light::Refusal;
use crate::tasks::desk::Tools;
use crate::tasks::order::{MOST_BYTES, OneOrMany};
use crate::tasks::{Method, Order, Said, Task, fact};
use crate::text::{Language, language};

/// No single item may take longer; the deadline of requests is not what is judged.
const LONGEST: Duration = Duration::from_secs(60);

/// Arguments of `eval-tasks`.
#[derive(Debug, Args)]
pub struct EvalTasks {
    /// Only this task
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// The directory of labelled items
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/tasks")]
    items: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Also list what is wrong in the half that may be looked at, to stderr
    #[arg(long)]
    wrong: bool,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    task: &'static str,
    /// What did it.
    method: &'static str,
    measure: &'static str,
    /// Items that the measure looks at.
    n: usize,
    value: f64,
    /// Of the half that nobody looked at.
    held_out: f64,
    ru: f64,
    en: f64,
    /// What it takes to be used in the routing or by default, if something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    bar: Option<&'static str>,
    p50_us: f64,
    p99_us: f64,
}

/// An item: what is asked and how a result is judged.
struct Item {
    order: Order,
    text: String,
    wanted: Wanted,
}

enum Wanted {
    /// A label in this field.
    Label(&'static str, String),
    /// A number in this field.
    Number(&'static str, f64),
    /// Whether this field is true.
    Truth(&'static str, bool),
    /// This value, or none.
    Value(Option<String>),
    /// Names, project, dates.
    Entities(Vec<String>, Option<String>, Vec<String>),
    /// These items.
    Items(Vec<String>),
    /// One of these stems in this field.
    Stems(&'static str, Vec<String>),
    /// The first vector is nearer to the second than to the third.
    Nearer,
}

impl EvalTasks {
    /// Prints the table.
    ///
    /// # Errors
    /// If config, rules or items are wrong.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let only = match &self.task {
            Some(name) => Some(Task::of(name).ok_or_else(|| Failure::new(super::light::unknown_task(name)))?),
            None => None,
        };
        let brain = offline_brain(settings)?;
        let rows = runtime()?.block_on(async {
            if let Health::Down(why) = classifier_settled(&brain).await {
                eprintln!("note: no classifier: {why}");
            }
            let with_model = match brain.light.ready(Instant::now() + LOADING).await {
                Ok(about) => {
                    eprintln!("note: {}: measured, too, on what it can do", about.name);
                    true
                }
                Err(Refusal::Off) => false,
                Err(why) => return Err(Failure::new(format!("light.model: {why}"))),
            };
            let mut rows = Vec::new();
            for task in Task::ALL.into_iter().filter(|task| only.is_none_or(|only| only == *task)) {
                let measures = || MEASURES.iter().filter(move |m| m.task == task);
                let own = Tools { by_model: &[], ..brain.tools() };
                let judged = self.judge(&brain, own, items(task, &self.items)?).await?;
                rows.extend(measures().map(|measure| row(measure, &judged)));
                if with_model && Task::BY_MODEL.contains(&task) {
                    let model = Tools { by_model: &Task::BY_MODEL, ..brain.tools() };
                    let judged = self.judge(&brain, model, items(task, &self.items)?).await?;
                    rows.extend(measures().map(|measure| row(measure, &judged)));
                }
            }
            Ok::<_, Failure>(rows)
        })?;
        if self.json {
            let all = serde_json::to_string_pretty(&json!({"rows": rows}))
                .map_err(|e| Failure::new(e.to_string()))?;
            return say(format!("{all}\n"));
        }
        say(table(&rows))
    }

    /// Judges the items as these tools do them. The model's own words alone count where it is asked: what does not hold
    /// is no result, though in service the rules would step in.
    async fn judge(&self, brain: &Brain, tools: Tools<'_>, items: Vec<Item>) -> Result<Vec<Judged>, Failure> {
        let mut all = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let clock = Instant::now();
            let said = brain.desk.serve(item.order.clone(), tools, LONGEST).await;
            let took = clock.elapsed();
            let mut said =
                said.map_err(|refused| Failure::new(format!("{}: {refused}", item.order.task().name())))?;
            let by_rule = matches!(said, Said::Result { method: Method::Rule, .. });
            if tools.by_model.contains(&item.order.task()) && by_rule {
                said = Said::Nothing("what the light model wrote does not hold".into());
            }
            let held_out = at % 2 == 1;
            let mut judged = judged(&item, &said, held_out, took);
            if tools.by_model.contains(&item.order.task()) {
                judged.method = Method::Model;
            }
            if self.wrong && !held_out && !judged.right {
                eprintln!(
                    "{}: {:?}: {}",
                    item.order.task().name(),
                    item.text,
                    said.reply(item.order.task(), 0.0)
                );
            }
            all.push(judged);
        }
        Ok(all)
    }
}

fn judged(item: &Item, said: &Said, held_out: bool, took: Duration) -> Judged {
    let (value, method) = match said {
        Said::Result { value, method, .. } => (value.clone(), *method),
        Said::Nothing(_) => (Value::Null, Method::Rule),
    };
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let list = |field: &str| -> Vec<String> {
        value[field].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut judged = Judged {
        held_out,
        russian: language(&item.text) == Language::Ru,
        right: false,
        well_formed: !value.is_null(),
        wanted: 0.0,
        said: 0.0,
        kind: match &item.order {
            Order::Fact { kind: fact::Kind::Project, .. } => "project",
            _ => "",
        },
        method,
        took,
    };
    match &item.wanted {
        Wanted::Label(field, label) => {
            judged.right = text(field).as_deref() == Some(label);
            (judged.wanted, judged.said) = (
                f64::from(u8::from(label == "yes")),
                f64::from(u8::from(text(field).as_deref() == Some("yes"))),
            );
        }
        Wanted::Number(field, number) => {
            (judged.wanted, judged.said) = (*number, value[field].as_f64().unwrap_or(0.0));
            judged.right = (judged.said - number).abs() < 0.5;
        }
        Wanted::Truth(field, truth) => {
            let told = value[field].as_bool().unwrap_or(false);
            (judged.wanted, judged.said) = (f64::from(u8::from(*truth)), f64::from(u8::from(told)));
            judged.right = told == *truth;
        }
        Wanted::Value(wanted) => {
            let low = |value: &str| value.to_lowercase();
            judged.right = text("value").as_deref().map(low) == wanted.as_deref().map(low);
        }
        Wanted::Entities(names, project, dates) => {
            judged.right = list("names") == *names && text("project") == *project && list("dates") == *dates;
        }
        Wanted::Items(items) => {
            let said = list("items");
            judged.right = said == *items;
            judged.well_formed =
                !said.is_empty() && said.len() <= 5 && said.iter().all(|item| item.trim() == item);
        }
        Wanted::Stems(field, stems) => {
            let said = text(field).unwrap_or_default();
            let low = said.to_lowercase();
            judged.right = stems.iter().any(|stem| low.contains(&stem.to_lowercase()));
            let fits = if *field == "title" {
                crate::tasks::title::holds
            } else {
                |s: &str| crate::tasks::summary::holds(s, 2)
            };
            judged.well_formed = fits(&said);
        }
        Wanted::Nearer => {
            let vectors: Vec<Vec<f64>> = value["embeddings"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|v| v.as_array().into_iter().flatten().filter_map(Value::as_f64).collect())
                .collect();
            let dot = |a: usize, b: usize| -> f64 {
                let pair = vectors.get(a).zip(vectors.get(b));
                pair.map_or(0.0, |(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum())
            };
            judged.right = dot(0, 1) > dot(0, 2);
        }
    }
    judged
}

fn row(measure: &measures::Measure, judged: &[Judged]) -> Row {
    let of = |wanted: &dyn Fn(&Judged) -> bool| -> f64 {
        let part: Vec<&Judged> = judged.iter().filter(|j| (measure.among)(j) && wanted(j)).collect();
        ((measure.of)(&part) * 10_000.0).round() / 10_000.0
    };
    let mut times: Vec<Duration> = judged.iter().map(|j| j.took).collect();
    times.sort_unstable();
    let quantile = |share: f64| {
        let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(at).map_or(0.0, |t| (t.as_secs_f64() * 1e7).round() / 10.0)
    };
    let by = |method: Method| judged.iter().filter(|j| j.method == method).count();
    let method = [Method::Rule, Method::Encoder, Method::Model].into_iter().max_by_key(|m| by(*m));
    Row {
        task: measure.task.name(),
        method: method.map_or("rule", Method::name),
        measure: measure.name,
        n: judged.iter().filter(|j| (measure.among)(j)).count(),
        value: of(&|_| true),
        held_out: of(&|j| j.held_out),
        ru: of(&|j| j.russian),
        en: of(&|j| !j.russian),
        bar: measure.bar,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<11} {:<8} {:<16} {:>5} {:>7} {:>8} {:>7} {:>7} {:>8} {:>9} {:>9}\n",
        "task", "method", "measure", "n", "value", "held out", "ru", "en", "bar", "p50 us", "p99 us"
    );
    for row in rows {
        out += &format!(
            "{:<11} {:<8} {:<16} {:>5} {:>7.3} {:>8.3} {:>7.3} {:>7.3} {:>8} {:>9.0} {:>9.0}\n",
            row.task,
            row.method,
            row.measure,
            row.n,
            row.value,
            row.held_out,
            row.ru,
            row.en,
            row.bar.unwrap_or("-"),
            row.p50_us,
            row.p99_us
        );
    }
    out
}

/// The items of a task.
fn items(task: Task, dir: &Path) -> Result<Vec<Item>, Failure> {
    let lines = match task {
        Task::Intent => {
            let mut lines = lines(&dir.join("../asks-real.tsv"), 2)?;
            lines.append(&mut self::lines(&dir.join("../asks-chat.tsv"), 2)?);
            lines
        }
        Task::Embed => lines(&dir.join("duplicate.tsv"), 3)?,
        _ => lines(&dir.join(format!("{}.tsv", task.name())), columns(task))?,
    };
    let mut items = Vec::with_capacity(lines.len());
    for (at, line) in lines.iter().enumerate() {
        let field = |n: usize| line.get(n).cloned().unwrap_or_default();
        let list = |n: usize| -> Vec<String> {
            field(n).split(';').map(str::to_owned).filter(|part| !part.is_empty()).collect()
        };
        let text = field(columns(task) - 1);
        let (order, wanted, text) = match task {
            Task::Intent => {
                let text = field(1);
                // The classifier is asked about these; rules know the shorter ones.
                if !crate::decide::CLASSIFIED_WORDS.contains(&crate::text::count_words(&text)) {
                    continue;
                }
                (Order::Intent(OneOrMany::One(text.clone())), Wanted::Label("label", field(0)), text)
            }
            Task::Complexity => {
                let level = field(0).parse().map_err(|_| Failure::new(format!("{}: no level", field(0))))?;
                (Order::Complexity(text.clone()), Wanted::Number("level", level), text)
            }
            Task::Entities => {
                let project = Some(field(1)).filter(|project| !project.is_empty());
                (Order::Entities(text.clone()), Wanted::Entities(list(0), project, list(2)), text)
            }
            Task::Clarify => (Order::Clarify(text.clone()), Wanted::Truth("needs", field(0) == "yes"), text),
            Task::Safety => {
                (Order::Safety(text.clone()), Wanted::Truth("unsafe", field(0) == "unsafe"), text)
            }
            Task::Summary => {
                (Order::Summary { text: text.clone(), sentences: 2 }, Wanted::Stems("summary", list(0)), text)
            }
            Task::Title => (Order::Title(text.clone()), Wanted::Stems("title", list(0)), text),
            Task::Normalize => {
                let text = text.replace("\\n", "\n").replace("\\t", "\t");
                (Order::Normalize { text: text.clone(), max_items: 5 }, Wanted::Items(list(0)), text)
            }
            Task::Fact => {
                let kind = serde_json::from_value(json!(field(0)))
                    .map_err(|e| Failure::new(format!("fact.tsv:{}: {e}", at + 1)))?;
                let wanted = Some(field(1)).filter(|value| value != "-");
                (Order::Fact { text: text.clone(), kind }, Wanted::Value(wanted), text)
            }
            Task::Duplicate => {
                let (one, other) = (field(1), field(2));
                let order =
                    Order::Duplicate { texts: OneOrMany::One(one.clone()), candidates: vec![other.clone()] };
                (order, Wanted::Label("label", field(0)), format!("{one} / {other}"))
            }
            Task::Embed => {
                let next = lines.get(at + 1).and_then(|next| next.get(1)).cloned();
                let Some(next) = next.filter(|_| field(0) == "yes") else { continue };
                (Order::Embed(vec![field(1), field(2), next]), Wanted::Nearer, field(1))
            }
        };
        if text.len() <= MOST_BYTES {
            items.push(Item { order, text, wanted });
        }
    }
    Ok(items)
}

fn columns(task: Task) -> usize {
    match task {
        Task::Entities => 4,
        Task::Fact | Task::Duplicate | Task::Embed => 3,
        _ => 2,
    }
}

/// A file's lines, each with at least so many columns.
fn lines(file: &Path, columns: usize) -> Result<Vec<Vec<String>>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new(format!("{}: {e}; name another with --items", file.display())))?;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let parts: Vec<String> = line.split('\t').map(str::to_owned).collect();
        if parts.len() < columns {
            return Err(Failure::new(format!("{}:{}: {columns} columns are needed", file.display(), at + 1)));
        }
        lines.push(parts);
    }
    Ok(lines)
}
