//! Asks that the light model may answer instead of the upstream: tried once, within `tasks.timeout`, and forwarded if
//! nothing comes of it.

use std::time::Instant;

use super::Proxy;
use crate::ask::Ask;
use crate::decide::Work;
use crate::tasks::chores;

impl Proxy {
    /// What the light model says to it, if that holds.
    pub(super) async fn try_light(&self, work: Work, ask: &Ask<'_>) -> Option<String> {
        let (brain, within) = (&self.brain, self.brain.config.tasks.timeout);
        let deadline = Instant::now() + within;
        let said = async {
            match work {
                Work::Chore(chore) => chores::chore(chore, &ask.text, &brain.light, deadline).await,
                Work::SmallTalk => chores::small_talk(&ask.text, &brain.light, deadline).await,
            }
        };
        let said = tokio::time::timeout(within, said).await.ok().flatten();
        let value = if said.is_some() { "light" } else { "fallback" };
        brain.metrics.signals.with_label_values(&[work.signal(), value]).inc();
        said
    }
}
