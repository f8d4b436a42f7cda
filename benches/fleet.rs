//! Eight simulated servers under three ways to place asks: `cargo bench --bench fleet` prints the table of
//! docs/fleet.md. `-- --knobs` tries other values of `spill` and `sticky`. No sockets and no clock: the figures are
//! the same on every machine.

#[path = "../tests/support/fleet.rs"]
mod fleet;

use fleet::{Knobs, Outcome, Policy, SCENARIOS, SHIPPED, Scenario, simulate};

/// Each figure is the mean over these.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn main() {
    println!("| scenario | placed by | mean s | p50 s | p99 s | loads | conversation at hand |");
    println!("|---|---|---|---|---|---|---|");
    for scenario in SCENARIOS {
        if std::env::args().any(|word| word == "--knobs") {
            for spill in [2, 3, 4, 6, 8, 12, 1000] {
                for sticky in [0, 300] {
                    let policy = Policy::Placed(Knobs { spill, sticky });
                    row(scenario, &format!("spill {spill}, sticky {sticky}s"), policy);
                }
            }
            continue;
        }
        row(scenario, "round robin", Policy::RoundRobin);
        row(scenario, "least connections", Policy::LeastConnections);
        row(scenario, "brainstem", SHIPPED);
    }
}

fn row(scenario: Scenario, name: &str, policy: Policy) {
    let all: Vec<Outcome> = SEEDS.iter().map(|seed| simulate(scenario, policy, *seed)).collect();
    let mean = |of: fn(&Outcome) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    println!(
        "| {} | {name} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} % |",
        scenario.name,
        mean(|o| o.mean),
        mean(|o| o.p50),
        mean(|o| o.p99),
        mean(|o| o.loads as f64),
        100.0 * mean(|o| o.warm),
    );
}
