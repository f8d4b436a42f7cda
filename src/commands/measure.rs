//! `brainstem measure`: how long asks take through a running proxy, or what a log's classifier lines say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::explain::chat_body;
use crate::tls::Trust;

/// Asks of 5 to 25 words without obvious keywords, so that rules alone decide few of them.
const PROMPTS: &str = include_str!("measure_prompts.txt");

/// What marks a classifier line in a log of ours or of the older system.
const MARK: &str = "[MLX_LIGHT_CLASSIFY] ";

/// An ask may take as long as a big model needs to load and answer.
const LONGEST: Duration = Duration::from_secs(600);

/// Arguments of `measure`.
#[derive(Debug, Args)]
pub struct Measure {
    /// A running proxy, agent or Ollama, e.g. http://127.0.0.1:11440
    #[arg(long, value_name = "URL", required_unless_present = "parse_logs")]
    target: Option<String>,
    /// One ask a line instead of the built-in set
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// The model to name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    model: String,
    /// Read a log from stdin instead and count its [MLX_LIGHT_CLASSIFY] lines
    #[arg(long, conflicts_with_all = ["target", "prompts"])]
    parse_logs: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Timed {
    prompt: String,
    status: u16,
    route: String,
    category: String,
    first_byte_ms: f64,
    total_ms: f64,
}

/// What a log's classifier lines add up to.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Log {
    lines: usize,
    changed: usize,
    changes: BTreeMap<String, usize>,
    min_ms: u64,
    mean_ms: f64,
    max_ms: u64,
}

impl Measure {
    /// Prints what was measured.
    ///
    /// # Errors
    /// If the target cannot be reached or the prompts cannot be read.
    pub fn run(&self) -> Result<(), Failure> {
        if self.parse_logs {
            let log = read_log(std::io::stdin().lock())?;
            return show(self.json, &log, || tell_log(&log));
        }
        let target = self.target.as_deref().unwrap_or_default().trim_end_matches('/');
        let prompts = match &self.prompts {
            None => PROMPTS.to_owned(),
            Some(file) => {
                std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?
            }
        };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(LONGEST))
            .http_status_as_error(false)
            .tls_config(tls(target)?)
            .build()
            .into();
        let mut all = Vec::new();
        for prompt in prompts.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let timed = ask(&agent, target, &self.model, prompt)?;
            if !self.json {
                tell(&timed);
            }
            all.push(timed);
        }
        if all.is_empty() {
            return Err(Failure::new("no prompts: the file has no line with text"));
        }
        show(self.json, &all, || tell_summary(&all))
    }
}

/// Whom to trust, where something is encrypted.
fn tls(target: &str) -> Result<ureq::tls::TlsConfig, Failure> {
    if !target.starts_with("https://") {
        return Ok(ureq::tls::TlsConfig::default());
    }
    Trust::load(None).map(|trust| trust.config()).map_err(Failure::new)
}

fn show(json: bool, value: &impl Serialize, tell: impl FnOnce()) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(value).map_err(|e| Failure::new(e.to_string()))?);
    } else {
        tell();
    }
    Ok(())
}

fn ask(agent: &ureq::Agent, target: &str, model: &str, prompt: &str) -> Result<Timed, Failure> {
    let body = chat_body(prompt)?;
    let model = serde_json::to_string(model).map_err(|e| Failure::new(e.to_string()))?;
    let body = String::from_utf8_lossy(&body).replacen("\"auto\"", &model, 1);
    let clock = Instant::now();
    let sent = agent.post(format!("{target}/api/chat")).send(body);
    let mut reply = sent.map_err(|e| Failure::new(format!("{target}: {e}")))?;
    let header =
        |name: &str| reply.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
    let (route, category) = (header("x-brainstem-route"), header("x-brainstem-category"));
    let status = reply.status().as_u16();
    let mut reader = BufReader::new(reply.body_mut().as_reader());
    let broken = |e: std::io::Error| Failure::new(format!("{target}: {e}"));
    reader.fill_buf().map_err(broken)?;
    let first = clock.elapsed();
    std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).map_err(broken)?;
    Ok(Timed {
        prompt: prompt.to_owned(),
        status,
        route,
        category,
        first_byte_ms: first.as_secs_f64() * 1e3,
        total_ms: clock.elapsed().as_secs_f64() * 1e3,
    })
}

fn tell(t: &Timed) {
    println!(
        "{:>10.2} ms {:>10.2} ms  {:>3} {:<8} {:<13} {}",
        t.first_byte_ms, t.total_ms, t.status, t.route, t.category, t.prompt
    );
}

fn tell_summary(all: &[Timed]) {
    println!("\n{:>10} {:>13}  asks   route", "first byte", "total");
    let mut routes: BTreeMap<&str, Vec<&Timed>> = BTreeMap::new();
    for timed in all {
        routes.entry(&timed.route).or_default().push(timed);
    }
    for (route, asks) in routes {
        let first = median(asks.iter().map(|t| t.first_byte_ms).collect());
        let total = median(asks.iter().map(|t| t.total_ms).collect());
        println!("{first:>7.2} ms {total:>10.2} ms  {:>4}   {route} (medians)", asks.len());
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn read_log(log: impl BufRead) -> Result<Log, Failure> {
    let mut found = Log::default();
    let mut sum = 0u64;
    for line in log.split(b'\n') {
        let line = line?;
        let text = String::from_utf8_lossy(&line);
        let Some((from, to, ms)) = classifier_line(&text) else { continue };
        found.min_ms = if found.lines == 0 { ms } else { found.min_ms.min(ms) };
        found.max_ms = found.max_ms.max(ms);
        found.lines += 1;
        sum += ms;
        if from != to {
            found.changed += 1;
            *found.changes.entry(format!("{from} -> {to}")).or_default() += 1;
        }
    }
    if found.lines > 0 {
        found.mean_ms = sum as f64 / found.lines as f64;
    }
    Ok(found)
}

/// `… [MLX_LIGHT_CLASSIFY] general -> coding goal_len=12 duration_ms=3 …`
fn classifier_line(line: &str) -> Option<(&str, &str, u64)> {
    let rest = &line[line.find(MARK)? + MARK.len()..];
    let (from, rest) = rest.split_once(" -> ")?;
    let (to, rest) = rest.split_once(' ')?;
    let digits = rest.split_once("duration_ms=")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Some((from, to, digits[..end].parse().ok()?))
}

fn tell_log(log: &Log) {
    println!("{} classifier lines, {} changed the category", log.lines, log.changed);
    for (change, n) in &log.changes {
        println!("{n:>8}  {change}");
    }
    println!("duration_ms: min {}, mean {:.2}, max {}", log.min_ms, log.mean_ms, log.max_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_either_system_adds_up() {
        let log = "2026-11-23T02:20:41Z  INFO [MLX_LIGHT_CLASSIFY] general -> coding goal_len=12 duration_ms=3\n\
                   noise\n\
                   [MLX_LIGHT_CLASSIFY] general -> general goal_len=7 duration_ms=9\n\
                   {\"message\":\"[MLX_LIGHT_CLASSIFY] general -> coding goal_len=5 duration_ms=6\"}\n\
                   [MLX_LIGHT_CLASSIFY] broken\n";
        let found = read_log(log.as_bytes()).unwrap();
        let changes = BTreeMap::from([("general -> coding".to_owned(), 2)]);
        assert_eq!(found, Log { lines: 3, changed: 2, changes, min_ms: 3, mean_ms: 6.0, max_ms: 9 });
    }

    #[test]
    fn an_empty_log_is_no_error() {
        assert_eq!(read_log(&b""[..]).unwrap(), Log::default());
    }

    #[test]
    fn the_built_in_asks_have_5_to_25_words() {
        for line in PROMPTS.lines() {
            let words = crate::text::count_words(line);
            assert!(crate::decide::CLASSIFIED_WORDS.contains(&words), "{words}: {line}");
        }
    }
}
