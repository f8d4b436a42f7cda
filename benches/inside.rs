//! What the parts cost inside the process, without sockets: `cargo bench --bench inside`. Medians of interleaved
//! rounds, in CPU time of the thread; first times and the classifier on the wall clock. `-- --json` prints what
//! `benches/overhead.py` puts into its table.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use brainstem::answers::Live;
use brainstem::ask::{Ask, Has};
use brainstem::brain::{Around, Brain, vocabulary};
use brainstem::config::{Config, Mode};
use brainstem::decide::To;
use brainstem::dialect::{Dialect, Family, Reply, Written};
use brainstem::intent::worker::{Health, Outcome};
use brainstem::rules::{Facts, Snapshot};
use brainstem::text;
use parts::{PROMPTS, SEED, WORDS, body, history, interleaved, median, open, prose, told, write_rules};
use tokio::runtime::Runtime;

mod parts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLASSIFICATIONS: usize = 3000;

/// A line of the table.
struct Row {
    what: String,
    /// Microseconds.
    p50: f64,
    p99: Option<f64>,
    /// What it is held against, and whether it is met.
    floor: Option<(String, bool)>,
}

impl Row {
    fn plain(what: &str, p50: f64) -> Self {
        Self { what: what.to_owned(), p50, p99: None, floor: None }
    }
}

fn main() -> anyhow::Result<()> {
    let rows = measure()?;
    if std::env::args().any(|word| word == "--json") {
        println!("{}", serde_json::Value::Array(rows.iter().map(json).collect()));
        return Ok(());
    }
    for row in rows {
        let p99 = row.p99.map_or(String::new(), |us| format!("p99 {us:.2}"));
        let floor = row
            .floor
            .map_or(String::new(), |(floor, met)| format!("{floor}: {}", if met { "PASS" } else { "MISS" }));
        println!("{:<58} {:>10.2} us {p99:<12} {floor}", row.what, row.p50);
    }
    Ok(())
}

fn json(row: &Row) -> serde_json::Value {
    serde_json::json!({
        "what": row.what,
        "p50_us": row.p50,
        "p99_us": row.p99,
        "floor": row.floor.as_ref().map(|(floor, _)| floor),
        "met": row.floor.as_ref().map(|(_, met)| met),
    })
}

fn measure() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut rows = first_decisions(&runtime)?;
    let brain = open(Mode::Off)?;
    rows.extend(asks(&brain, &runtime)?);
    rows.extend(matching(&brain.config)?);
    rows.extend(classification(&runtime)?);
    Ok(rows)
}

// ---- asks ----

fn asks(brain: &Brain, runtime: &Runtime) -> anyhow::Result<Vec<Row>> {
    const RUSSIAN: &str =
        "и в не на что он как это она по но из за все так его же было мы только когда если уже ещё";
    let heavy = format!("please refactor this function {}", prose(1900, WORDS));
    let bodies = [
        ("a greeting", body(&[("user", "Привет!")])),
        ("2 KB", body(&[("system", "You are a careful assistant."), ("user", &heavy)])),
        ("1 MB, a long history", history(1 << 20)),
        ("1 MB, one message", body(&[("user", &prose(1 << 20, WORDS))])),
        ("1 MB, one message, Russian", body(&[("user", &prose(1 << 20, RUSSIAN))])),
    ];
    for (_, body) in &bodies {
        Ask::parse(Dialect::Chat, body).context("a body of the bench cannot be read")?;
    }
    let Next::Answered(written) = runtime.block_on(whole(brain, &bodies[0].1)) else {
        return Err(anyhow!("the greeting of the bench is not answered: rules changed?"));
    };
    black_box(written.body.len());
    let mut works: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for (_, body) in &bodies {
        works.push(Box::new(move || drop(black_box(Ask::parse(Dialect::Chat, black_box(body))))));
    }
    for (_, body) in &bodies {
        works.push(Box::new(move || {
            runtime.block_on(whole(brain, black_box(body)));
        }));
    }
    for (dialect, stream) in [(Dialect::Chat, false), (Dialect::Chat, true), (Dialect::Messages, true)] {
        works.push(Box::new(move || drop(black_box(written_in(dialect, stream)))));
    }
    let mut borrowed: Vec<&mut dyn FnMut()> = works.iter_mut().map(|work| &mut **work as _).collect();
    let medians = interleaved(&mut borrowed);
    let names = bodies.iter().map(|(name, _)| format!("read an ask (`Ask::parse`), {name}"));
    let names = names.chain(bodies.iter().map(|(name, _)| format!("read, decide, write or forward, {name}")));
    let names = names.chain(
        ["/api/chat", "/api/chat streamed", "/v1/messages streamed"]
            .map(|what| format!("write a reply (`Reply::write`), {what}")),
    );
    Ok(names.zip(medians).map(|(name, us)| Row::plain(&name, us)).collect())
}

enum Next {
    Answered(Written),
    Forwarded,
}

/// What the proxy does with a body, without its sockets.
async fn whole(brain: &Brain, body: &[u8]) -> Next {
    let Ok(ask) = Ask::parse(Dialect::Chat, body) else { return Next::Forwarded };
    brain
        .decide(&ask, Around::default(), |sight, decision| {
            let To::Answer(answer, _) = decision.to else { return Next::Forwarded };
            let live = Live {
                model: &ask.model,
                models: &[],
                upstream_up: true,
                uptime: brain.started.elapsed(),
                version: env!("CARGO_PKG_VERSION"),
                rules: sight.snapshot.rules().len(),
                now: jiff::Zoned::now(),
            };
            match answer.render(sight.facts.language, SEED, &live) {
                Ok(text) => Next::Answered(reply(&ask, &text, ask.dialect, ask.stream).write()),
                Err(_) => Next::Forwarded,
            }
        })
        .await
}

fn reply<'a>(ask: &'a Ask<'_>, text: &'a str, dialect: Dialect, stream: bool) -> Reply<'a> {
    Reply {
        dialect,
        model: &ask.model,
        text,
        length: false,
        stream,
        usage_chunk: ask.usage_chunk,
        prompt_tokens: 12,
        completion_tokens: 24,
        took: Duration::from_micros(100),
        at: SystemTime::now(),
        seed: SEED,
        echo: &ask.echo,
    }
}

fn written_in(dialect: Dialect, stream: bool) -> Option<Written> {
    const BODY: &[u8] = br#"{"model":"llama3.2","messages":[{"role":"user","content":"hi"}]}"#;
    const TEXT: &str = "I am brainstem, a proxy in front of Ollama. I answer greetings and small questions myself; \
                        everything else goes to the model that you have named.";
    let ask = Ask::parse(Dialect::Chat, BODY).ok()?;
    Some(reply(&ask, TEXT, dialect, stream).write())
}

/// The first decision of a process pays for what is compiled when it is first needed.
fn first_decisions(runtime: &Runtime) -> anyhow::Result<Vec<Row>> {
    let greeting = body(&[("user", "Привет!")]);
    let heavy = body(&[("user", &format!("please refactor this function {}", prose(1900, WORDS)))]);
    let (mut loads, mut greetings, mut heavies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let clock = Instant::now();
        let brain = open(Mode::Off)?;
        loads.push(clock.elapsed().as_secs_f64() * 1e6);
        for (asked, seen) in [(&greeting, &mut greetings), (&heavy, &mut heavies)] {
            let clock = Instant::now();
            black_box(matches!(runtime.block_on(whole(&brain, asked)), Next::Answered(_)));
            seen.push(clock.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(vec![
        Row::plain("load the shipped rules and answers", median(loads)),
        Row::plain("the first decision after start, a greeting", median(greetings)),
        Row::plain("the first decision after start, 2 KB", median(heavies)),
    ])
}

// ---- rules ----

fn matching(config: &Config) -> anyhow::Result<Vec<Row>> {
    let heavy = format!("please refactor this function {}", prose(1900, WORDS));
    let mut messages: Vec<String> = PROMPTS.lines().map(str::to_owned).collect();
    messages.extend(["Привет!".to_owned(), "how do I write a unit test for this?".to_owned(), heavy]);
    let seen: Vec<(String, String)> = messages.into_iter().map(|text| (text::fold(&text), text)).collect();
    let facts: Vec<Facts<'_>> = seen
        .iter()
        .map(|(folded, text)| Facts {
            text,
            folded,
            words: text::count_words(text),
            turns: 1,
            model: "m",
            family: Family::Ollama,
            has: Has::default(),
            language: text::language(text),
        })
        .collect();
    let mut sets = Vec::new();
    let mut loads = Vec::new();
    for count in [10, 300, 10_000] {
        let dir = tempfile::tempdir()?;
        write_rules(dir.path(), count)?;
        let clock = Instant::now();
        let set = Snapshot::load(dir.path(), &vocabulary(config).borrow()).map_err(|all| told(&all))?;
        loads.push(clock.elapsed().as_secs_f64() * 1e6);
        let found = facts.iter().filter(|facts| set.winner(facts).is_some()).count();
        anyhow::ensure!(found > 1, "only {found} messages match");
        sets.push((count, set));
    }
    let mut works: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for (_, set) in &sets {
        let facts = &facts;
        works.push(Box::new(move || {
            for facts in facts {
                black_box(set.winner(black_box(facts)));
            }
        }));
    }
    let mut borrowed: Vec<&mut dyn FnMut()> = works.iter_mut().map(|work| &mut **work as _).collect();
    let medians = interleaved(&mut borrowed);
    let few = medians[0];
    let mut rows: Vec<Row> = Vec::new();
    for ((count, _), us) in sets.iter().zip(&medians) {
        let mut row = Row::plain(&format!("match a message, {count} rules"), us / facts.len() as f64);
        if *count == 10_000 {
            let floor = format!("{:.2} × that of 10 rules, at most 2 ×", us / few);
            row.floor = Some((floor, us / few <= 2.0));
        }
        rows.push(row);
    }
    rows.push(Row::plain("load 10000 rules", loads[2]));
    Ok(rows)
}

// ---- the classifier ----

fn classification(runtime: &Runtime) -> anyhow::Result<Vec<Row>> {
    let brain = open(Mode::On)?;
    let Some(intent) = brain.intent.clone() else { return Ok(Vec::new()) };
    let clock = Instant::now();
    let described = loop {
        match brain.classifier_health() {
            Health::Loading => std::thread::sleep(Duration::from_millis(1)),
            Health::Ready(described) => break described,
            Health::Down(why) => {
                eprintln!("no classifier, so nothing of it is measured: {why}");
                return Ok(Vec::new());
            }
        }
        anyhow::ensure!(
            clock.elapsed() < Duration::from_secs(60),
            "the classifier is not ready after a minute"
        );
    };
    let loaded = clock.elapsed().as_secs_f64() * 1e6;
    let mut took = Vec::with_capacity(CLASSIFICATIONS);
    runtime.block_on(async {
        for prompt in PROMPTS.lines().cycle().take(CLASSIFICATIONS) {
            let clock = Instant::now();
            let outcome = intent.ask(prompt).await;
            anyhow::ensure!(matches!(outcome, Outcome::Verdict(_)), "{prompt}: {outcome:?}");
            took.push(clock.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    })?;
    took.sort_by(f64::total_cmp);
    let p99 = took[took.len() * 99 / 100];
    Ok(vec![
        Row::plain(&format!("load the classifier ({described})"), loaded),
        Row {
            what: format!("classify a message of 5 to 25 words, {CLASSIFICATIONS} asks in a row"),
            p50: took[took.len() / 2],
            p99: Some(p99),
            floor: Some(("p99 at most 8 ms".to_owned(), p99 <= 8000.0)),
        },
    ])
}
