//! How a decision's cost grows with what it is made of, and what loading that much costs: `cargo bench --bench growth`.
//! CPU time of the thread, as in `inside`; no sockets, no classifier. `-- --json` prints what `benches/field` draws,
//! `-- --most N` leaves out what is larger.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use anyhow::Context;
use brainstem::ask::Ask;
use brainstem::brain::{Around, Brain};
use brainstem::category::Category;
use brainstem::config::{CategoryPolicy, Mode};
use brainstem::dialect::Dialect;
use clap::Parser;
use parts::{
    PROMPTS, SEED, WORDS, body, coined, common, cpu, history, interleaved, median, open, open_with, prose,
    write_rules,
};
use tokio::runtime::Runtime;

mod parts;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Flags {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// Leaves out sets that are larger
    #[arg(long, value_name = "N", default_value_t = usize::MAX)]
    most: usize,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// One drawn line: how many, to microseconds.
struct Line {
    key: &'static str,
    what: &'static str,
    points: Vec<(usize, f64)>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let lines = measure(flags.most)?;
    if flags.json {
        let all: serde_json::Map<_, _> = lines
            .iter()
            .map(|line| (line.key.to_owned(), serde_json::json!({"what": line.what, "points": line.points})))
            .collect();
        println!("{}", serde_json::Value::Object(all));
        return Ok(());
    }
    for line in lines {
        println!("{}", line.what);
        for (count, us) in line.points {
            println!("{count:>12} {us:>14.2} us");
        }
    }
    Ok(())
}

fn measure(most: usize) -> anyhow::Result<Vec<Line>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut lines = lengths(&runtime, most)?;
    for set in &SETS {
        lines.extend(grow(&runtime, set, most)?);
    }
    lines.push(categories(&runtime, most)?);
    Ok(lines)
}

async fn decide(brain: &Brain, ask: &Ask<'_>, around: Around<'_>) {
    brain
        .decide(ask, around, |_, decision| {
            black_box(decision.category);
        })
        .await;
}

// ---- the message ----

fn lengths(runtime: &Runtime, most: usize) -> anyhow::Result<Vec<Line>> {
    let brain = open(Mode::Off)?;
    let sizes: Vec<usize> = [8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 1 << 20]
        .into_iter()
        .filter(|size| *size <= most)
        .collect();
    let messages = sizes.iter().map(|size| body(&[("user", &prose(*size, WORDS))]));
    let histories = sizes.iter().filter(|size| **size > 8 << 10).map(|size| history(*size));
    let bodies: Vec<Vec<u8>> = messages.chain(histories).collect();
    for body in &bodies {
        Ask::parse(Dialect::Chat, body).context("a body of the bench cannot be read")?;
    }
    let work = |body: &Vec<u8>| {
        if let Ok(ask) = Ask::parse(Dialect::Chat, black_box(body)) {
            runtime.block_on(decide(&brain, &ask, Around::default()));
        }
    };
    let medians = timed(&bodies, work);
    let mut points = bodies.iter().map(Vec::len).zip(medians);
    let one = points.by_ref().take(sizes.len()).collect();
    Ok(vec![
        Line { key: "message", what: "read and decide, one message of so many bytes", points: one },
        Line {
            key: "history",
            what: "read and decide, a history of so many bytes",
            points: points.collect(),
        },
    ])
}

/// What `work` takes on each, interleaved.
fn timed<T>(all: &[T], work: impl Fn(&T)) -> Vec<f64> {
    let work = &work;
    let mut works: Vec<Box<dyn FnMut() + '_>> =
        all.iter().map(|one| Box::new(move || work(one)) as Box<dyn FnMut()>).collect();
    let mut borrowed: Vec<&mut dyn FnMut()> = works.iter_mut().map(|work| &mut **work as _).collect();
    interleaved(&mut borrowed)
}

// ---- what a rules directory holds ----

/// Directories of growing size: what they are called, how many there are of it, who writes them.
struct Set {
    decide: (&'static str, &'static str),
    load: (&'static str, &'static str),
    counts: &'static [usize],
    write: fn(&Path, usize) -> anyhow::Result<()>,
}

const SETS: [Set; 3] = [
    Set {
        decide: ("rules", "decide, so many rules"),
        load: ("rules-load", "load so many rules"),
        counts: &[10, 100, 1000, 10_000, 100_000],
        write: write_rules,
    },
    Set {
        decide: ("answers", "decide, so many answers"),
        load: ("answers-load", "load so many answers"),
        counts: &[10, 100, 1000, 10_000],
        write: write_answers,
    },
    Set {
        decide: ("examples", "decide, so many taught phrases"),
        load: ("examples-load", "load so many taught phrases"),
        counts: &[10, 100, 1000, 10_000, 100_000],
        write: write_examples,
    },
];

fn grow(runtime: &Runtime, set: &Set, most: usize) -> anyhow::Result<[Line; 2]> {
    let bodies: Vec<Vec<u8>> = asked().iter().map(|text| body(&[("user", text)])).collect();
    let asks: Vec<Ask<'_>> = bodies.iter().filter_map(|body| Ask::parse(Dialect::Chat, body).ok()).collect();
    let (mut brains, mut loads) = (Vec::new(), Vec::new());
    for count in set.counts.iter().copied().filter(|count| *count <= most) {
        let dir = tempfile::tempdir()?;
        (set.write)(dir.path(), count)?;
        let open = || {
            open_with(|config| {
                config.classifier.mode = Mode::Off;
                config.proxy.rules = dir.path().to_owned();
            })
        };
        // What a process makes once (the table of everyday words) is no part of it.
        if brains.is_empty() {
            open()?;
        }
        let (mut took, mut opened) = (Vec::new(), None);
        for _ in 0..if count < 10_000 { 3 } else { 1 } {
            let before = cpu();
            opened = Some(open()?);
            took.push(cpu() - before);
        }
        brains.extend(opened.map(|brain| (count, brain)));
        loads.push((count, median(took)));
    }
    let medians = timed(&brains, |(_, brain)| {
        for ask in &asks {
            runtime.block_on(decide(brain, ask, Around::default()));
        }
    });
    let each = |(at, us): (&(usize, Brain), f64)| (at.0, us / asks.len() as f64);
    let points = brains.iter().zip(medians).map(each).collect();
    let line = |(key, what), points| Line { key, what, points };
    Ok([line(set.decide, points), line(set.load, loads)])
}

/// The prompts, and what finds something in every set.
fn asked() -> Vec<String> {
    let more = ["how do I write a unit test for this?", "answer 7 please", "please, answer 7 my friend"];
    PROMPTS.lines().chain(more).map(str::to_owned).collect()
}

/// Answers as people write them: a few phrases that get it, a few examples, a text in two languages.
fn write_answers(dir: &Path, count: usize) -> anyhow::Result<()> {
    let (mut dice, common) = (fastrand::Rng::with_seed(SEED), common());
    let mut phrase = || {
        let word = dice.choice(&common).map_or_else(String::new, |word| word.to_lowercase());
        format!("{word} {} {}", coined(&mut dice, 3), coined(&mut dice, 2))
    };
    let mut out = String::new();
    for at in 0..count {
        writeln!(out, "[[answer]]\nname = \"a{at}\"\npriority = {}", at % 97)?;
        writeln!(out, "examples = [\"answer {at}\", \"{}\", \"{}\"]", phrase(), phrase())?;
        writeln!(out, "ru = [\"Ответ {at}.\"]\nen = [\"Answer {at}.\"]")?;
        writeln!(
            out,
            "[answer.match]\nonly = true\nany = [\"answer {at}\", \"{}\", \"{}\"]\n",
            phrase(),
            phrase()
        )?;
    }
    std::fs::create_dir(dir.join("answers"))?;
    Ok(std::fs::write(dir.join("answers/made.toml"), out)?)
}

/// Phrases as a team would teach them: everyday words and some that only the team has.
fn write_examples(dir: &Path, count: usize) -> anyhow::Result<()> {
    let (mut dice, common) = (fastrand::Rng::with_seed(SEED), common());
    let labels = ["data_question", "coding", "reasoning", "general"];
    let mut out = String::new();
    for at in 0..count {
        write!(out, "{}\t", labels[at % labels.len()])?;
        for place in 0..dice.usize(4..9) {
            let word = match place {
                0 | 3 => coined(&mut dice, 3),
                _ => dice.choice(&common).map_or_else(String::new, |word| word.to_lowercase()),
            };
            write!(out, "{word} ")?;
        }
        out.push('\n');
    }
    std::fs::create_dir(dir.join("examples"))?;
    Ok(std::fs::write(dir.join("examples/made.tsv"), out)?)
}

// ---- categories ----

/// An ask that names the last of them: what is looked up by name or in order shows.
fn categories(runtime: &Runtime, most: usize) -> anyhow::Result<Line> {
    let body = body(&[("user", "and now something about the old bridge, please")]);
    let ask = Ask::parse(Dialect::Chat, &body).context("a body of the bench cannot be read")?;
    let mut brains = Vec::new();
    for count in [10, 100, 1000, 10_000].into_iter().filter(|count| *count <= most) {
        let brain = open_with(|config| {
            config.classifier.mode = Mode::Off;
            let general = config.policy(Category::GENERAL).clone();
            let named =
                |at| CategoryPolicy { category: Category::intern(&format!("c{at}")), ..general.clone() };
            config.categories.extend((config.categories.len()..count).map(named));
        })?;
        brains.push((count, format!("c{}", count - 1), brain));
    }
    let medians = timed(&brains, |(_, last, brain)| {
        runtime.block_on(decide(brain, &ask, Around { hint: Some(last), ..Around::default() }));
    });
    let points = brains.iter().map(|(count, ..)| *count).zip(medians).collect();
    Ok(Line { key: "categories", what: "decide, so many categories, the last of them asked for", points })
}
