//! The promise of docs/fleet.md, on a virtual clock: placement by who has the model halves the wait at least where
//! models outnumber memory, and is no worse elsewhere.

#[path = "support/fleet.rs"]
mod fleet;

use fleet::{Policy, SCENARIOS, SHIPPED, simulate};

#[test]
fn where_models_outnumber_memory_the_wait_is_halved_at_least() {
    for scenario in &SCENARIOS[..2] {
        for seed in [11, 12, 13] {
            let ours = simulate(*scenario, SHIPPED, seed);
            for other in [Policy::RoundRobin, Policy::LeastConnections] {
                let theirs = simulate(*scenario, other, seed);
                let ratio = theirs.mean / ours.mean;
                assert!(
                    ratio >= 2.0,
                    "{}, {other:?}, seed {seed}: {ratio:.2}; {ours:?}, {theirs:?}",
                    scenario.name
                );
                assert!(
                    theirs.p99 >= ours.p99,
                    "{}, {other:?}, seed {seed}: {ours:?}, {theirs:?}",
                    scenario.name
                );
            }
        }
    }
}

#[test]
fn where_all_fits_it_is_no_worse() {
    for scenario in &SCENARIOS[2..] {
        for seed in [11, 12, 13] {
            let ours = simulate(*scenario, SHIPPED, seed);
            for other in [Policy::RoundRobin, Policy::LeastConnections] {
                let theirs = simulate(*scenario, other, seed);
                assert!(
                    theirs.mean >= ours.mean,
                    "{}, {other:?}, seed {seed}: {ours:?}, {theirs:?}",
                    scenario.name
                );
            }
        }
    }
}

#[test]
fn a_seed_is_a_figure() {
    assert_eq!(simulate(SCENARIOS[0], SHIPPED, 7), simulate(SCENARIOS[0], SHIPPED, 7));
}
