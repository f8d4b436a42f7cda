//! `brainstem classifier-worker`: the child of a brainstem whose classifier lives in a process of its own. Not for
//! people.

use super::Failure;
use crate::intent::apart::inside;

/// Serves the parent on stdin and stdout.
///
/// # Errors
/// If stdin holds no order of a parent's.
pub fn run() -> Result<(), Failure> {
    inside::run().map_err(|e| Failure::new(format!("brainstem starts this command itself: {e}")))
}
