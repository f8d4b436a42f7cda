//! Which models the upstreams have in memory, by their own `/api/ps`: looked at only while somebody watches the
//! console, and never on the request path.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::brain::Brain;

/// A look waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// A server with more models in memory is none.
const MOST: usize = 64;

/// Models in memory by upstream; one that does not say is not in it.
pub(super) type Loaded = BTreeMap<String, Vec<InMemory>>;

/// A model in an upstream's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InMemory {
    name: String,
    /// Bytes, all of it.
    #[serde(default)]
    size: u64,
    /// Bytes on the graphics card.
    #[serde(default)]
    size_vram: u64,
}

#[derive(Deserialize)]
struct Processes {
    models: Option<Vec<InMemory>>,
}

/// Asks every upstream that is up. Blocks.
pub(super) fn look(brain: &Brain) -> Loaded {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let up = brain.upstreams.iter().filter(|upstream| upstream.seen().up);
    let told = up.filter_map(|upstream| {
        let reply = agent.get(format!("{}/api/ps", upstream.config.url())).call();
        let told = reply.and_then(|mut reply| reply.body_mut().read_json::<Processes>()).ok()?;
        let mut models = told.models.unwrap_or_default();
        models.truncate(MOST);
        Some((upstream.config.name.clone(), models))
    });
    told.collect()
}
