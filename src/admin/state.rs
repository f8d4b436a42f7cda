//! What the admin address says of the state of things: `/readyz`, `/rules`, and the same on the console.

use serde::Serialize;

use crate::brain::Brain;
use crate::intent::worker::Health;
use crate::light::State;
use crate::upstream::Pool;

#[derive(Serialize)]
pub(super) struct Ready {
    ready: bool,
    rules: RulesState,
    pub(super) classifier: ClassifierState,
    light: LightState,
    upstreams: Vec<UpstreamState>,
}

#[derive(Serialize)]
struct RulesState {
    generation: u64,
    rules: usize,
    answers: usize,
}

#[derive(Serialize)]
pub(super) struct ClassifierState {
    up: bool,
    state: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct LightState {
    state: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct UpstreamState {
    name: String,
    url: String,
    up: bool,
    models: Option<usize>,
    servers: Vec<ServerState>,
}

#[derive(Serialize)]
pub(super) struct ServerState {
    name: String,
    up: bool,
    cooling: bool,
    inflight: i64,
    models: Option<usize>,
    in_memory: Option<Vec<String>>,
}

#[derive(Serialize)]
pub(super) struct Rules {
    generation: u64,
    hash: String,
    loaded_at: String,
    files: Vec<String>,
    rules: Vec<RuleLine>,
    answers: Vec<String>,
    last_error: Vec<String>,
}

#[derive(Serialize)]
struct RuleLine {
    name: String,
    category: &'static str,
    priority: i32,
    at: String,
}

impl Ready {
    pub(super) fn of(brain: &Brain) -> Self {
        let snapshot = brain.snapshot.load();
        let upstreams = brain.upstreams.iter().map(|upstream| {
            let seen = upstream.seen();
            UpstreamState {
                name: upstream.config.name.clone(),
                url: upstream.config.urls(),
                up: seen.up,
                models: seen.models.as_ref().map(Vec::len),
                servers: ServerState::all(upstream),
            }
        });
        Self {
            // Rules are loaded before anything listens; what else is missing only makes asks slower.
            ready: true,
            rules: RulesState {
                generation: snapshot.generation,
                rules: snapshot.rules().len(),
                answers: snapshot.answers().len(),
            },
            classifier: ClassifierState::of(brain),
            light: LightState::of(&brain.light.state()),
            upstreams: upstreams.collect(),
        }
    }
}

impl LightState {
    fn of(state: &State) -> Self {
        let (state, detail) = match state {
            State::Off => ("off", String::new()),
            State::Resting => ("resting", String::new()),
            State::Loading => ("loading", String::new()),
            State::Ready(about) => ("ready", about.to_string()),
            State::Down(why) => ("down", why.clone()),
        };
        Self { state, detail }
    }
}

impl ServerState {
    /// Of each server of an upstream.
    pub(super) fn all(pool: &Pool) -> Vec<Self> {
        let servers = pool.servers.iter().enumerate().map(|(at, server)| {
            let seen = server.seen();
            let (inflight, cooling) = pool.state(at);
            Self {
                name: server.authority.clone(),
                up: seen.up,
                cooling,
                inflight,
                models: seen.models.as_ref().map(Vec::len),
                in_memory: seen.memory.clone(),
            }
        });
        servers.collect()
    }
}

impl ClassifierState {
    pub(super) fn of(brain: &Brain) -> Self {
        let (up, state, detail) = match brain.classifier_health() {
            Health::Ready(name) => (true, "ready", name),
            Health::Loading => (false, "loading", String::new()),
            Health::Down(why) => (false, "down", why),
        };
        Self { up, state, detail }
    }
}

impl Rules {
    pub(super) fn of(brain: &Brain) -> Self {
        let snapshot = brain.snapshot.load();
        let rules = snapshot.rules().iter().map(|rule| RuleLine {
            name: rule.name.to_string(),
            category: rule.category.name(),
            priority: rule.priority,
            at: format!("{}:{}", rule.file.display(), rule.line),
        });
        Self {
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            loaded_at: loaded_at(&snapshot),
            files: snapshot.files.iter().map(|f| f.display().to_string()).collect(),
            rules: rules.collect(),
            answers: snapshot.answers().map(|a| a.name.to_string()).collect(),
            last_error: last_error(brain),
        }
    }
}

pub(super) fn loaded_at(snapshot: &crate::rules::Snapshot) -> String {
    jiff::Timestamp::try_from(snapshot.loaded_at).map(|t| t.to_string()).unwrap_or_default()
}

/// What the last refused reload complained of.
pub(super) fn last_error(brain: &Brain) -> Vec<String> {
    brain.complaints.load().iter().map(ToString::to_string).collect()
}
