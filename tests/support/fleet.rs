//! A fleet of scripted Ollamas on a virtual clock: how long clients wait for the first byte under one way or another
//! to place asks. Deterministic for a seed; an hour of a fleet takes a moment.
//!
//! A server does as Ollama's scheduler does (`server/sched.go`): asks wait in one queue; the front one goes to its
//! model's runner if there is one (loading or ready), else its model is loaded into free memory, or in place of the
//! idle model that was used longest ago; while no model is idle, the front waits, and everything behind it. A runner
//! works on `parallel` asks at a time, and reads a prompt quickly if it remembers the conversation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use brainstem::upstream::floor::{Floor, Manners};
use brainstem::upstream::{Errand, Model, Seen, Target};

/// Milliseconds.
pub(crate) type Ms = u64;

/// What a fleet is, and what is asked of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) servers: usize,
    /// Models that fit into a server's memory.
    pub(crate) slots: usize,
    /// Asks that a runner works on at a time.
    pub(crate) parallel: usize,
    pub(crate) models: usize,
    /// How uneven the models' shares are: 0 = all alike, 1 = Zipf's law.
    pub(crate) skew: f64,
    /// Conversations that begin in a second.
    pub(crate) rate: f64,
    pub(crate) conversations: usize,
}

/// The scenarios of docs/fleet.md.
pub(crate) const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "24 models, memory for 16",
        servers: 8,
        slots: 2,
        parallel: 2,
        models: 24,
        skew: 1.0,
        rate: 0.16,
        conversations: 1500,
    },
    Scenario { name: "12 models, memory for 8", slots: 1, models: 12, rate: 0.10, ..BASE },
    Scenario { name: "6 models, memory for 16", models: 6, rate: 0.2, ..BASE },
    Scenario { name: "1 model, memory for 16", models: 1, rate: 0.5, ..BASE },
];

const BASE: Scenario = Scenario {
    name: "",
    servers: 8,
    slots: 2,
    parallel: 2,
    models: 24,
    skew: 1.0,
    rate: 0.16,
    conversations: 1500,
};

/// A way to place asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    RoundRobin,
    LeastConnections,
    /// brainstem's own.
    Placed(Knobs),
}

/// The knobs of a pool that matter here, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Knobs {
    pub(crate) spill: usize,
    pub(crate) sticky: u64,
}

/// As `config/brainstem.toml` ships.
pub(crate) const SHIPPED: Policy = Policy::Placed(Knobs { spill: 4, sticky: 300 });

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) asks: usize,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) loads: usize,
    /// The share of later turns that met their conversation in the runner's memory.
    pub(crate) warm: f64,
}

/// A look is taken so often.
const POLL: Ms = 10_000;
/// Between a reply and the next turn, on average.
const THINK: f64 = 15_000.0;
/// Reading a conversation that is remembered.
const REMEMBERED: Ms = 100;
/// Conversations that a runner remembers for each ask that it works on.
const KEPT: usize = 2;

#[derive(Debug, Clone, Copy)]
struct Ask {
    conversation: usize,
    model: usize,
    turn: u64,
    turns: u64,
    arrived: Ms,
    server: usize,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrives(usize),
    Loaded { server: usize, model: usize },
    FirstByte(usize),
    Done(usize),
    Look(usize),
}

#[derive(Default)]
struct Server {
    queue: VecDeque<usize>,
    runners: Vec<Runner>,
}

struct Runner {
    model: usize,
    ready: bool,
    running: usize,
    waiting: VecDeque<usize>,
    used: Ms,
    remembers: VecDeque<usize>,
}

struct World {
    scenario: Scenario,
    random: fastrand::Rng,
    now: Ms,
    number: u64,
    /// Time, number of the event (so that ties are in order), event.
    events: BinaryHeap<Reverse<(Ms, u64, EventKey)>>,
    pending: Vec<Event>,
    asks: Vec<Ask>,
    servers: Vec<Server>,
    load_times: Vec<Ms>,
    first_bytes: Vec<Ms>,
    loads: usize,
    later: usize,
    warm: usize,
}

type EventKey = usize;

/// Chooses, and keeps what it needs for it.
struct Chooser {
    policy: Policy,
    next: usize,
    inflight: Vec<usize>,
    floor: Option<Floor>,
    names: Vec<String>,
    seen: Vec<Arc<Seen>>,
}

/// Lets a day go by.
pub(crate) fn simulate(scenario: Scenario, policy: Policy, seed: u64) -> Outcome {
    let mut world = World::new(scenario, seed);
    let mut chooser = Chooser::new(&scenario, policy);
    for server in 0..scenario.servers {
        world.after(0, Event::Look(server));
    }
    let mut at = 0.0;
    for conversation in 0..scenario.conversations {
        at += exponential(&mut world.random, 1000.0 / scenario.rate);
        let model = zipf(&mut world.random, scenario.models, scenario.skew);
        let turns = 1 + world.random.u64(0..6);
        world.asks.push(Ask { conversation, model, turn: 1, turns, arrived: at as Ms, server: 0 });
        world.after(at as Ms, Event::Arrives(conversation));
    }
    let mut left = scenario.conversations;
    while let Some(Reverse((now, _, key))) = world.events.pop() {
        world.now = now;
        match world.pending[key] {
            Event::Arrives(ask) => {
                let (model, conversation) = (world.asks[ask].model, world.asks[ask].conversation);
                let server = chooser.choose(model, conversation, now);
                world.asks[ask].server = server;
                world.servers[server].queue.push_back(ask);
                world.dispatch(server);
            }
            Event::Loaded { server, model } => {
                if let Some(runner) = world.servers[server].runners.iter_mut().find(|r| r.model == model) {
                    runner.ready = true;
                }
                world.start(server, model);
            }
            Event::FirstByte(ask) => {
                let ask = world.asks[ask];
                world.first_bytes.push(now - ask.arrived);
                if chooser.wants_a_look(ask.server, ask.model) {
                    chooser.look(&world, ask.server, now);
                }
            }
            Event::Done(ask) => {
                let done = world.asks[ask];
                chooser.leave(done.server, done.model, now);
                if let Some(runner) =
                    world.servers[done.server].runners.iter_mut().find(|r| r.model == done.model)
                {
                    runner.running -= 1;
                    runner.used = now;
                }
                world.start(done.server, done.model);
                world.dispatch(done.server);
                if done.turn < done.turns {
                    let pause = exponential(&mut world.random, THINK) as Ms;
                    world.asks.push(Ask { turn: done.turn + 1, arrived: now + pause, ..done });
                    world.after(pause, Event::Arrives(world.asks.len() - 1));
                } else {
                    left -= 1;
                }
            }
            Event::Look(server) => {
                chooser.look(&world, server, now);
                if left > 0 {
                    world.after(POLL, Event::Look(server));
                }
            }
        }
    }
    world.outcome()
}

impl World {
    fn new(scenario: Scenario, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // From a 3B model on an SSD to a 70B one.
        let load_times = (0..scenario.models).map(|_| random.u64(4_000..25_000)).collect();
        Self {
            servers: (0..scenario.servers).map(|_| Server::default()).collect(),
            scenario,
            random,
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            asks: Vec::new(),
            load_times,
            first_bytes: Vec::new(),
            loads: 0,
            later: 0,
            warm: 0,
        }
    }

    fn after(&mut self, wait: Ms, event: Event) {
        self.pending.push(event);
        self.number += 1;
        self.events.push(Reverse((self.now + wait, self.number, self.pending.len() - 1)));
    }

    /// The front of a server's queue, as far as it can go.
    fn dispatch(&mut self, at: usize) {
        while let Some(&ask) = self.servers[at].queue.front() {
            let model = self.asks[ask].model;
            let now = self.now;
            let server = &mut self.servers[at];
            if let Some(runner) = server.runners.iter_mut().find(|r| r.model == model) {
                runner.waiting.push_back(ask);
                server.queue.pop_front();
                self.start(at, model);
                continue;
            }
            if server.runners.len() >= self.scenario.slots {
                let idle = |r: &Runner| r.ready && r.running == 0 && r.waiting.is_empty();
                let oldest =
                    server.runners.iter().enumerate().filter(|(_, r)| idle(r)).min_by_key(|(_, r)| r.used);
                let Some((oldest, _)) = oldest else { return };
                server.runners.swap_remove(oldest);
            }
            server.queue.pop_front();
            server.runners.push(Runner {
                model,
                ready: false,
                running: 0,
                waiting: VecDeque::from([ask]),
                used: now,
                remembers: VecDeque::new(),
            });
            self.loads += 1;
            self.after(self.load_times[model], Event::Loaded { server: at, model });
        }
    }

    /// What a runner can begin.
    fn start(&mut self, at: usize, model: usize) {
        loop {
            let parallel = self.scenario.parallel;
            let Some(runner) = self.servers[at].runners.iter_mut().find(|r| r.model == model) else { return };
            if !runner.ready || runner.running >= parallel {
                return;
            }
            let Some(ask) = runner.waiting.pop_front() else { return };
            runner.running += 1;
            runner.used = self.now;
            let (conversation, turn) = (self.asks[ask].conversation, self.asks[ask].turn);
            let known = runner.remembers.iter().position(|c| *c == conversation);
            known.map(|known| runner.remembers.remove(known));
            runner.remembers.push_back(conversation);
            if runner.remembers.len() > KEPT * parallel {
                runner.remembers.pop_front();
            }
            if turn > 1 {
                self.later += 1;
                self.warm += usize::from(known.is_some());
            }
            // A conversation grows, and all of it is read again where it is not remembered.
            let read = if known.is_some() { REMEMBERED } else { 300 * turn };
            let write = 1_000 + exponential(&mut self.random, 3_000.0) as Ms;
            self.after(read, Event::FirstByte(ask));
            self.after(read + write, Event::Done(ask));
        }
    }

    fn outcome(mut self) -> Outcome {
        self.first_bytes.sort_unstable();
        let all = &self.first_bytes;
        let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        Outcome {
            asks: all.len(),
            mean: all.iter().sum::<Ms>() as f64 / all.len() as f64 / 1000.0,
            p50: at(0.5),
            p99: at(0.99),
            loads: self.loads,
            warm: self.warm as f64 / self.later.max(1) as f64,
        }
    }
}

impl Chooser {
    fn new(scenario: &Scenario, policy: Policy) -> Self {
        let floor = match policy {
            Policy::Placed(manners) => Some(Floor::new(
                scenario.servers,
                Manners {
                    spill: manners.spill,
                    cool_off: Duration::from_secs(5),
                    sticky: Duration::from_secs(manners.sticky),
                },
            )),
            Policy::RoundRobin | Policy::LeastConnections => None,
        };
        Self {
            policy,
            next: 0,
            inflight: vec![0; scenario.servers],
            floor,
            names: (0..scenario.models).map(|n| format!("m{n}:1")).collect(),
            seen: vec![Arc::default(); scenario.servers],
        }
    }

    fn choose(&mut self, model: usize, conversation: usize, now: Ms) -> usize {
        self.next += 1;
        let servers = self.inflight.len();
        let chosen = match (&mut self.floor, self.policy) {
            (Some(floor), _) => {
                let errand = Errand {
                    model: Some(Model::named(&self.names[model])),
                    conversation: Some((conversation as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    to: Target::Best,
                };
                floor.take(&errand, 0, Duration::from_millis(now)).map_or(0, |placed| placed.server)
            }
            (None, Policy::LeastConnections) => {
                let rotated = |at: usize| (at + self.next) % servers;
                (0..servers).map(rotated).min_by_key(|at| self.inflight[*at]).unwrap_or(0)
            }
            (None, _) => self.next % servers,
        };
        self.inflight[chosen] += 1;
        chosen
    }

    fn leave(&mut self, server: usize, model: usize, now: Ms) {
        self.inflight[server] -= 1;
        if let Some(floor) = &mut self.floor {
            floor.leave(server, Some(Model::named(&self.names[model])), Duration::from_millis(now));
        }
    }

    /// As the proxy looks again when a server has served a model that it was not known to have in memory.
    fn wants_a_look(&self, server: usize, model: usize) -> bool {
        self.seen[server].holds(Model::named(&self.names[model])) == Some(false)
    }

    fn look(&mut self, world: &World, server: usize, now: Ms) {
        let Some(floor) = &mut self.floor else { return };
        let memory = world.servers[server].runners.iter().filter(|r| r.ready);
        let memory = memory.map(|r| self.names[r.model].clone()).collect();
        let seen = Seen::answered(Some(self.names.clone()), Some(memory)).begun(Duration::from_millis(now));
        self.seen[server] = Arc::new(seen);
        floor.saw(server, self.seen[server].clone());
    }
}

fn exponential(random: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

fn zipf(random: &mut fastrand::Rng, n: usize, skew: f64) -> usize {
    let weight = |rank: usize| 1.0 / (rank as f64 + 1.0).powf(skew);
    let mut left = random.f64() * (0..n).map(weight).sum::<f64>();
    for rank in 0..n {
        left -= weight(rank);
        if left <= 0.0 {
            return rank;
        }
    }
    n - 1
}
