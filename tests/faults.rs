//! Every fault that a proxy meets, brought about on purpose: what must hold is that each ends in the dialect's
//! error or the upstream's own bytes, within its time, and that nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

#[cfg(all(feature = "mlx", target_os = "linux"))]
#[path = "faults/classifier.rs"]
mod classifier;
#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/outsiders.rs"]
mod outsiders;
#[path = "faults/reload.rs"]
mod reload;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/upstream.rs"]
mod upstream;

/// Tells a process something.
fn signal(pid: u32, name: &str) {
    let _ = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

/// Done at the end of a scope, also of one that a failure leaves: threads beside it wait for that.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
