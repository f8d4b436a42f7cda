//! The light model's speed on this machine: `cargo bench --bench light -- DIR [ROUNDS]` prints one JSON line.
//! `benches/light.py` runs it and mlx-lm in turns on the same weights and prints both and their ratio.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark stops where it is wrong"
)]

#[cfg(not(feature = "mlx"))]
fn main() {
    println!("built without MLX");
}

#[cfg(feature = "mlx")]
fn main() {
    use std::time::Instant;

    use brainstem::light::model::{Bounds, Model};

    /// Of the prompts for the first token and for reading, and tokens written.
    const SHORT: u32 = 20;
    const LONG: u32 = 256;
    const WRITTEN: usize = 48;

    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(dir) = arguments.next() else { return };
    let rounds: usize = arguments.next().map_or(5, |n| n.parse().expect("ROUNDS"));
    mlx_rs::memory::set_cache_limit(64 << 20).unwrap();
    let bounds = Bounds { parameters: u64::MAX, bytes: u64::MAX, context: 4096 };
    let mut model = Model::load(dir.as_ref(), &bounds).unwrap();
    // Each begins otherwise, so that nothing is left of the one before.
    let prompt = |seed: u32, length: u32| -> Vec<u32> {
        (0..length).map(|i| 300 + (seed * 977 + i * 131) % 5000).collect()
    };
    let mut times = [const { Vec::new() }; 3];
    for round in 0..=rounds as u32 {
        let mut clock = Instant::now();
        model.first(&prompt(3 * round, SHORT)).unwrap();
        let first = clock.elapsed().as_secs_f64();
        clock = Instant::now();
        model.first(&prompt(3 * round + 1, LONG)).unwrap();
        let read = clock.elapsed().as_secs_f64();
        let text = prompt(3 * round + 2, SHORT);
        model.first(&text).unwrap();
        clock = Instant::now();
        model.greedy(&text, WRITTEN).unwrap();
        let written = clock.elapsed().as_secs_f64();
        if round > 0 {
            for (list, time) in times.iter_mut().zip([first, read, written]) {
                list.push(time);
            }
        }
    }
    // The least: what the machine does when it is left alone.
    let [first, read, written] = times.map(|list| list.into_iter().fold(f64::INFINITY, f64::min));
    let resident = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    println!(
        "{}",
        serde_json::json!({
            "first_token_ms": first * 1e3,
            "prefill_tokens_s": f64::from(LONG) / read,
            "decode_tokens_s": WRITTEN as f64 / written,
            "resident_mb": resident.map(|kb| kb as f64 / 1024.0),
        })
    );
}
