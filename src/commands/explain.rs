//! `brainstem explain`: the decision that an ask would get, and why.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde::Serialize;

use super::{Failure, classifier_settled, offline_brain, runtime, say};
use crate::ask::Guards;
use crate::brain::Around;
use crate::cli::Settings;
use crate::dialect::Dialect;
use crate::explain::{self, Explanation};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The message, as a user would type it
    #[arg(required_unless_present = "body", value_name = "TEXT")]
    text: Vec<String>,
    /// A whole request body instead of a message ("-": stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    body: Option<PathBuf>,
    /// The path that it would be sent to
    #[arg(long, value_name = "PATH", default_value = "/api/chat")]
    path: String,
    /// The category that the client would name in x-brainstem-category
    #[arg(long, value_name = "CATEGORY")]
    hint: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Chat<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

/// A chat request with one message, as any client would send it.
pub(super) fn chat_body(text: &str) -> Result<Vec<u8>, Failure> {
    let chat = Chat { model: "auto", messages: [Message { role: "user", content: text }] };
    serde_json::to_vec(&chat).map_err(|e| Failure::new(e.to_string()))
}

impl Explain {
    /// Prints the explanation.
    ///
    /// # Errors
    /// If config or rules are wrong, or the body is no ask.
    pub fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let brain = offline_brain(settings)?;
        let (dialect, body) = match &self.body {
            None => (Dialect::Chat, chat_body(&self.text.join(" "))?),
            Some(file) => {
                let dialect = Dialect::of(&Method::POST, &self.path).ok_or_else(|| {
                    Failure::new(format!("{} is no path of an ask; it passes through", self.path))
                })?;
                let named = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
                let read = if file.as_os_str() == "-" {
                    std::io::read_to_string(std::io::stdin()).map(String::into_bytes)
                } else {
                    std::fs::read(file)
                };
                (dialect, read.map_err(named)?)
            }
        };
        let explanation = runtime()?.block_on(async {
            classifier_settled(&brain).await;
            let around = Around { hint: self.hint.as_deref(), guards: Guards::default(), id: None };
            explain::explain(&brain, dialect, &body, around).await
        });
        let explanation =
            explanation.map_err(|e| Failure::new(format!("{e}; it would be forwarded unread")))?;
        if self.json {
            let json = serde_json::to_string_pretty(&explanation).map_err(|e| Failure::new(e.to_string()))?;
            say(format!("{json}\n"))
        } else {
            say(Told(&explanation))
        }
    }
}

/// The explanation for a person.
struct Told<'a>(&'a Explanation);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let e = self.0;
        writeln!(f, "message     {} ({} words, {}, turn {})", e.text, e.words, e.language, e.turns)?;
        for (i, rule) in e.rules.iter().enumerate() {
            let head = if i == 0 { "rules" } else { "" };
            let won = if e.rule.as_deref() == Some(&rule.name) { "  <- won" } else { "" };
            let (name, category, because) = (&rule.name, rule.category, &rule.because);
            writeln!(
                f,
                "{head:<11} {name} -> {category}, priority {}, {because}, {}{won}",
                rule.priority, rule.at
            )?;
        }
        if e.rules.is_empty() {
            writeln!(f, "rules       none matched")?;
        }
        for (i, near) in e.neighbours.iter().enumerate() {
            let head = if i == 0 { "taught" } else { "" };
            writeln!(
                f,
                "{head:<11} {} -> {}, evidence {:.1}, cosine {:.2}",
                near.phrase, near.label, near.evidence, near.cosine
            )?;
        }
        match (&e.classifier.label, e.classifier.probability) {
            (Some(label), Some(p)) => writeln!(f, "classifier  {label}, p={p:.3} ({})", e.classifier.why)?,
            _ => writeln!(f, "classifier  not heeded: {}", e.classifier.why)?,
        }
        if !e.guards.is_empty() {
            writeln!(f, "guards      {}", e.guards.join(", "))?;
        }
        writeln!(f, "category    {} (decided by {})", e.category, e.decided_by)?;
        match (e.route, &e.guard) {
            (_, Some(guard)) => writeln!(f, "route       upstream (guard: {guard})")?,
            (route, None) => writeln!(f, "route       {route}")?,
        }
        if let Some(arm) = e.arm {
            writeln!(f, "arm         {arm} (experiment)")?;
        }
        if let Some(level) = e.complexity {
            writeln!(f, "complexity  {level} of 5")?;
        }
        if e.vague {
            writeln!(f, "clarify     too vague to guess")?;
        }
        if e.is_unsafe {
            writeln!(f, "safety      means harm")?;
        }
        if let Some(work) = e.light {
            writeln!(f, "light       {work}, else forwarded")?;
        }
        if let Some(answer) = &e.answer {
            writeln!(f, "answer      {answer}")?;
        }
        if let Some(reply) = &e.reply {
            writeln!(f, "reply       {reply}")?;
        }
        if let Some(upstream) = &e.upstream {
            let model = e.rewritten_model.as_deref().map_or(String::new(), |m| format!(", as model {m}"));
            writeln!(f, "upstream    {upstream}{model}")?;
        }
        for (i, place) in e.placement.iter().enumerate() {
            let head = if i == 0 { "placed" } else { "" };
            writeln!(f, "{head:<11} {} ({})", place.server, place.because)?;
        }
        let m = e.micros;
        writeln!(
            f,
            "micros      parse {}, look {}, rules {}, classifier {}, route {}",
            m.parse, m.look, m.rules, m.classifier, m.route
        )
    }
}
