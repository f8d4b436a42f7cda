//! `brainstem light TASK`: a light task from the shell, with the request and the reply of `POST /light/v1/TASK`.

use std::io::Read;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Failure, classifier_settled, offline_brain, runtime, say};
use crate::cli::Settings;
use crate::tasks::{Order, Task};

/// The proxy never waits for a model to be read; a command does.
pub(super) const LOADING: Duration = Duration::from_secs(120);

/// Arguments of `light`.
#[derive(Debug, Args)]
pub struct Light {
    /// intent, complexity, entities, clarify, summary, duplicate, normalize, fact, safety, title or embed
    #[arg(value_name = "TASK")]
    task: String,
    /// The text, or the request's whole JSON object; from stdin if there is none
    #[arg(value_name = "TEXT")]
    text: Vec<String>,
    /// fact: date, number, name or project
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// duplicate: what was said before; may be given several times
    #[arg(long, value_name = "TEXT")]
    candidate: Vec<String>,
    /// summary: 1 or 2
    #[arg(long, value_name = "N")]
    sentences: Option<usize>,
    /// normalize: items that are kept at most
    #[arg(long, value_name = "N")]
    max_items: Option<usize>,
    /// The reply in one line
    #[arg(long)]
    json: bool,
}

/// What to say of a name that is no task.
pub(super) fn unknown_task(name: &str) -> String {
    format!("\"{name}\" is no task; there are: {}", Task::ALL.map(Task::name).join(", "))
}

impl Light {
    /// Prints the reply.
    ///
    /// # Errors
    /// If the request is wrong or could not be served.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let task = Task::of(&self.task).ok_or_else(|| Failure::new(unknown_task(&self.task)))?;
        let order = Order::read(task, self.request(task)?.to_string().as_bytes());
        let order = order.map_err(|refused| Failure::new(refused.to_string()))?;
        let brain = offline_brain(settings)?;
        let reply = runtime()?.block_on(async {
            if matches!(task, Task::Intent | Task::Duplicate | Task::Embed) {
                classifier_settled(&brain).await;
            }
            if brain.config.tasks.by_model.contains(&task) {
                // What comes of it shows in the task's reply.
                let _ = brain.light.ready(Instant::now() + LOADING).await;
            }
            let clock = Instant::now();
            let said = brain.desk.serve(order, brain.tools(), brain.config.tasks.timeout).await;
            said.map(|said| said.reply(task, clock.elapsed().as_secs_f64() * 1e3))
        });
        let reply = reply.map_err(|refused| Failure::new(refused.to_string()))?;
        let text =
            if self.json { serde_json::to_string(&reply) } else { serde_json::to_string_pretty(&reply) };
        say(format!("{}\n", text.map_err(|e| Failure::new(e.to_string()))?))
    }

    /// The request as JSON.
    fn request(&self, task: Task) -> Result<Value, Failure> {
        let typed = if self.text.is_empty() {
            let mut stdin = String::new();
            std::io::stdin().read_to_string(&mut stdin)?;
            stdin
        } else {
            self.text.join(" ")
        };
        let typed = typed.trim();
        let whole = serde_json::from_str::<Map<String, Value>>(typed).ok();
        let mut request = whole.unwrap_or_else(|| {
            let field = if task == Task::Embed { "input" } else { "text" };
            Map::from_iter([(field.to_owned(), json!(typed))])
        });
        let mut add = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                request.insert(key.to_owned(), value);
            }
        };
        add("kind", self.kind.as_ref().map(|kind| json!(kind)));
        add("candidates", (!self.candidate.is_empty()).then(|| json!(self.candidate)));
        add("sentences", self.sentences.map(|n| json!(n)));
        add("max_items", self.max_items.map(|n| json!(n)));
        Ok(Value::Object(request))
    }
}
