//! What goes on in a pool of several servers: which asks stand where, which models are being loaded, who is left
//! alone for a while, where conversations live. Its clock is the caller's, so that a simulation can run it too.

use std::sync::Arc;
use std::time::Duration;

use super::place::{Candidate, Placed, Reason, Standing, Wish, place};
use super::seen::{Model, Seen};

/// How long Ollama keeps an idle model in memory unless told otherwise: what is assumed where it does not say.
const KEPT: Duration = Duration::from_secs(300);

/// Models that are remembered of a server between two looks.
const REMEMBERED: usize = 64;

/// From so many errors in a row a model counts as spoiled at a server: the first may be the ask's own fault.
const SPOILED: u32 = 2;

/// Conversations that are remembered; one that falls on another's place takes it.
const HOMES: usize = 4096;

/// A server is left alone for no longer than this many cool-offs in a row doubled.
const DOUBLINGS: u32 = 4;

/// How a pool behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// See [`Wish::spill`].
    pub spill: usize,
    /// How long a server is left alone after its first failure; each one in a row doubles it, up to 16 times this.
    pub cool_off: Duration,
    /// How long a conversation keeps its server after its last ask.
    pub sticky: Duration,
}

/// What an ask is, to a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errand {
    /// The model that it names.
    pub model: Option<Model>,
    /// What all asks of a conversation have in common.
    pub conversation: Option<u64>,
    /// Where it must go.
    pub to: Target,
}

/// Where an errand must go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// Where it is best placed.
    #[default]
    Best,
    /// To the first that answers.
    First,
    /// To this one and no other.
    Named(usize),
}

/// The servers of a pool, and everything that changes about them.
#[derive(Debug)]
pub struct Floor {
    manners: Manners,
    servers: Vec<Station>,
    homes: Box<[Home]>,
    turn: u64,
}

#[derive(Debug, Default)]
struct Station {
    seen: Arc<Seen>,
    inflight: usize,
    loads: Vec<Load>,
    used: Option<Duration>,
    cool_until: Duration,
    strikes: u32,
}

/// A model that was asked for at a server.
#[derive(Debug, Clone, Copy)]
struct Load {
    model: Model,
    inflight: usize,
    last: Duration,
    /// Errors of the server's own in a row.
    errors: u32,
    spoiled_until: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Home {
    conversation: u64,
    server: u16,
    until: Duration,
}

impl Floor {
    /// That many servers, of which nothing is known yet.
    pub fn new(servers: usize, manners: Manners) -> Self {
        let homes = if manners.sticky.is_zero() { 1 } else { HOMES };
        Self {
            manners,
            servers: (0..servers).map(|_| Station::default()).collect(),
            homes: vec![Home::default(); homes].into(),
            turn: 0,
        }
    }

    /// The order in which the servers would be tried now.
    pub fn order(&self, errand: &Errand, now: Duration) -> Vec<Placed> {
        match errand.to {
            Target::Named(server) => vec![Placed { server, reason: Reason::Named }],
            Target::First => {
                let mut order: Vec<usize> = (0..self.servers.len()).collect();
                order.sort_by_key(|at| self.servers[*at].standing(now));
                order.into_iter().map(|server| Placed { server, reason: Reason::First }).collect()
            }
            Target::Best => {
                let candidates: Vec<Candidate> =
                    self.servers.iter().map(|s| s.candidate(errand.model, now)).collect();
                let draw = errand.conversation.unwrap_or(self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let wish = Wish { home: self.home(errand, now), spill: self.manners.spill, draw };
                place(&candidates, &wish)
            }
        }
    }

    /// Places an errand at the first server in its order that is not among the `tried` (bit by bit), and counts it
    /// there until [`Floor::leave`].
    pub fn take(&mut self, errand: &Errand, tried: u64, now: Duration) -> Option<Placed> {
        self.turn = self.turn.wrapping_add(1);
        let order = self.order(errand, now);
        let placed = order.into_iter().find(|p| tried & bit(p.server) == 0)?;
        if let Some(station) = self.servers.get_mut(placed.server) {
            station.enter(errand.model, now);
        }
        if let Some(conversation) = errand.conversation.filter(|_| !self.manners.sticky.is_zero()) {
            let until = now + self.manners.sticky;
            let server = u16::try_from(placed.server).unwrap_or(u16::MAX);
            let at = self.place_of(conversation);
            self.homes[at] = Home { conversation, server, until };
        }
        Some(placed)
    }

    /// An errand is done with its server.
    pub fn leave(&mut self, server: usize, model: Option<Model>, now: Duration) {
        let Some(station) = self.servers.get_mut(server) else { return };
        station.inflight = station.inflight.saturating_sub(1);
        if let Some(load) = station.loads.iter_mut().find(|load| Some(load.model) == model) {
            load.inflight = load.inflight.saturating_sub(1);
            load.last = now;
        }
    }

    /// A look at a server.
    pub fn saw(&mut self, server: usize, seen: Arc<Seen>) {
        let Some(station) = self.servers.get_mut(server) else { return };
        // What was asked for after the look began, it could not see yet.
        let began = seen.began;
        station.loads.retain(|load| load.inflight > 0 || load.last >= began || load.errors > 0);
        station.seen = seen;
    }

    /// A server was busy, refused, or broke off: it is left alone for a while. `false` if it is already.
    pub fn failed(&mut self, server: usize, now: Duration) -> bool {
        let Some(station) = self.servers.get_mut(server) else { return false };
        // Failures of asks that were sent together are one.
        if now < station.cool_until {
            return false;
        }
        station.cool_until = now + self.manners.cool_off * 2_u32.pow(station.strikes.min(DOUBLINGS));
        station.strikes += 1;
        true
    }

    /// A server did what it was asked.
    pub fn served(&mut self, server: usize, model: Option<Model>) {
        let Some(station) = self.servers.get_mut(server) else { return };
        station.strikes = 0;
        if let Some(load) = station.loads.iter_mut().find(|load| Some(load.model) == model) {
            load.errors = 0;
        }
    }

    /// A server said that it cannot (an error of its own that is not "busy"). Once may be the ask's fault; twice in a
    /// row, and asks for that model are kept from it for a while, or it would draw them all by failing fast.
    pub fn spoiled(&mut self, server: usize, model: Option<Model>, now: Duration) {
        let Some(station) = self.servers.get_mut(server) else { return };
        let Some(load) = station.loads.iter_mut().find(|load| Some(load.model) == model) else { return };
        load.errors += 1;
        if load.errors >= SPOILED {
            load.spoiled_until = now + self.manners.cool_off;
        }
    }

    /// Asks that stand at a server, and whether it is left alone.
    pub fn state(&self, server: usize, now: Duration) -> (usize, bool) {
        self.servers.get(server).map_or((0, false), |s| (s.inflight, now < s.cool_until))
    }

    fn home(&self, errand: &Errand, now: Duration) -> Option<usize> {
        let conversation = errand.conversation?;
        let home = &self.homes[self.place_of(conversation)];
        (home.conversation == conversation && now < home.until).then_some(usize::from(home.server))
    }

    fn place_of(&self, conversation: u64) -> usize {
        (conversation % self.homes.len() as u64) as usize
    }
}

impl Station {
    fn standing(&self, now: Duration) -> Standing {
        match self.seen.up {
            false => Standing::Down,
            true if now < self.cool_until => Standing::Cooling,
            true => Standing::Up,
        }
    }

    fn candidate(&self, model: Option<Model>, now: Duration) -> Candidate {
        let load = self.loads.iter().find(|load| Some(load.model) == model);
        let spoiled = load.is_some_and(|load| now < load.spoiled_until);
        let least = if spoiled { Standing::Cooling } else { Standing::Up };
        Candidate {
            standing: self.standing(now).max(least),
            inflight: self.inflight,
            memory: model.is_some_and(|model| self.holds(model, now)),
            vacant: self.loads.is_empty() && self.seen.memory.as_ref().is_some_and(Vec::is_empty),
            disk: model.and_then(|model| self.seen.has(model)),
            idle: self.used.map_or(Duration::MAX, |used| now.saturating_sub(used)),
        }
    }

    /// The look says so, or it was asked for here so lately that the look could not know.
    fn holds(&self, model: Model, now: Duration) -> bool {
        let lately = |load: &Load| match self.seen.memory {
            Some(_) => load.last >= self.seen.began,
            None => now < load.last + KEPT,
        };
        self.seen.holds(model) == Some(true)
            || self.loads.iter().any(|load| load.model == model && (load.inflight > 0 || lately(load)))
    }

    fn enter(&mut self, model: Option<Model>, now: Duration) {
        self.inflight += 1;
        let Some(model) = model else { return };
        self.used = Some(now);
        match self.loads.iter_mut().find(|load| load.model == model) {
            Some(load) => {
                load.inflight += 1;
                load.last = now;
            }
            None => {
                if self.loads.len() >= REMEMBERED {
                    let idle = self.loads.iter().enumerate().filter(|(_, load)| load.inflight == 0);
                    if let Some((oldest, _)) = idle.min_by_key(|(_, load)| load.last) {
                        self.loads.swap_remove(oldest);
                    }
                }
                self.loads.push(Load {
                    model,
                    inflight: 1,
                    last: now,
                    errors: 0,
                    spoiled_until: Duration::ZERO,
                });
            }
        }
    }
}

/// A server's bit among the tried ones.
pub fn bit(server: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(server).unwrap_or(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANNERS: Manners =
        Manners { spill: 4, cool_off: Duration::from_secs(5), sticky: Duration::from_secs(300) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|n| (*n).to_owned()).collect())
    }

    fn floor(servers: usize, disk: &[&str]) -> Floor {
        let mut floor = Floor::new(servers, MANNERS);
        (0..servers).for_each(|s| floor.saw(s, Arc::new(Seen::answered(names(disk), names(&[])))));
        floor
    }

    fn looked(memory: &[&str], began: Duration) -> Arc<Seen> {
        Arc::new(Seen::answered(names(&["a", "b"]), names(memory)).begun(began))
    }

    fn ask(model: &str) -> Errand {
        Errand { model: Some(Model::named(model)), ..Errand::default() }
    }

    #[test]
    fn asks_for_a_cold_model_gather_at_the_server_that_loads_it() {
        let mut floor = floor(8, &["a"]);
        (0..8).for_each(|s| floor.saw(s, looked(&["b"], at(0))));
        let places: Vec<usize> = (0..4).map(|_| floor.take(&ask("a"), 0, at(1)).unwrap().server).collect();
        assert!(places.iter().all(|p| *p == places[0]), "{places:?}");
        assert_eq!(floor.take(&ask("a"), 0, at(1)).unwrap().reason, Reason::Spill);
    }

    #[test]
    fn what_a_look_could_not_know_is_kept_and_what_it_denies_is_not() {
        let mut floor = floor(2, &["a", "b"]);
        let placed = floor.take(&ask("a"), 0, at(10)).unwrap();
        floor.leave(placed.server, ask("a").model, at(12));
        // A look that began while the ask ran says nothing of the model.
        floor.saw(placed.server, looked(&[], at(11)));
        assert_eq!(floor.order(&ask("a"), at(13))[0], Placed { reason: Reason::Memory, ..placed });
        // One that began afterwards says that it is gone.
        floor.saw(placed.server, looked(&["b"], at(14)));
        assert_eq!(floor.order(&ask("a"), at(15))[0].reason, Reason::Disk);
        assert_eq!(floor.order(&ask("b"), at(15))[0], Placed { reason: Reason::Memory, ..placed });
    }

    #[test]
    fn where_a_server_does_not_say_ollamas_own_default_is_believed() {
        let mut floor = Floor::new(2, MANNERS);
        (0..2).for_each(|s| floor.saw(s, Arc::new(Seen::answered(names(&["a"]), None))));
        let placed = floor.take(&ask("a"), 0, at(1)).unwrap();
        floor.leave(placed.server, ask("a").model, at(2));
        assert_eq!(floor.order(&ask("a"), at(200))[0].reason, Reason::Memory);
        assert_eq!(floor.order(&ask("a"), at(400))[0].reason, Reason::Disk);
    }

    #[test]
    fn a_server_that_fails_is_left_alone_longer_each_time() {
        let mut floor = floor(2, &["a"]);
        assert!(floor.failed(0, at(0)));
        assert!(!floor.failed(0, at(1)), "failures of one moment are one");
        assert_eq!(floor.order(&ask("a"), at(4))[0].server, 1);
        assert!(!floor.state(0, at(6)).1);
        assert!(floor.failed(0, at(6)) && floor.state(0, at(15)).1 && !floor.state(0, at(16)).1);
        floor.served(0, None);
        assert!(floor.failed(0, at(20)) && !floor.state(0, at(25)).1);
    }

    #[test]
    fn fast_failures_do_not_attract_traffic() {
        // Server 0 refuses at once, so nothing is ever in flight there.
        let mut floor = floor(3, &["a"]);
        let mut refused = 0;
        for ask_number in 0..300_u64 {
            let now = Duration::from_millis(ask_number * 100);
            let placed = floor.take(&Errand::default(), 0, now).unwrap();
            if placed.server == 0 {
                refused += 1;
                floor.leave(0, None, now);
                floor.failed(0, now);
            }
        }
        // 30 seconds, 300 asks: it was tried at 0, 5 and 15 seconds or so, not a hundred times.
        assert!((1..=4).contains(&refused), "{refused}");
    }

    #[test]
    fn nor_do_fast_errors_of_a_model() {
        // Server 0 cannot load the model, and says so at once; the others take a second for it.
        let mut floor = floor(3, &["a", "b"]);
        let (mut failed, mut done) = (0, Vec::new());
        for number in 0..300_u64 {
            let now = Duration::from_millis(number * 100);
            done.retain(|(server, until)| {
                let over = *until <= now;
                if over {
                    floor.served(*server, ask("a").model);
                    floor.leave(*server, ask("a").model, now);
                }
                !over
            });
            let placed = floor.take(&ask("a"), 0, now).unwrap();
            match placed.server {
                0 => {
                    failed += 1;
                    floor.spoiled(0, ask("a").model, now);
                    floor.leave(0, ask("a").model, now);
                    floor.saw(0, looked(&[], now + Duration::from_millis(1)));
                }
                server => done.push((server, now + at(1))),
            }
        }
        assert!(failed <= 12, "{failed}");
        // Other models are none the wiser.
        floor.spoiled(0, ask("a").model, at(30));
        assert_eq!(floor.order(&ask("b"), at(30)).len(), 3);
        assert!(floor.order(&ask("b"), at(30)).iter().all(|p| p.reason == Reason::Disk));
    }

    #[test]
    fn the_tried_are_not_tried_again() {
        let mut floor = floor(3, &["a"]);
        let mut tried = 0;
        for _ in 0..3 {
            let placed = floor.take(&ask("a"), tried, at(1)).unwrap();
            assert_eq!(tried & bit(placed.server), 0);
            tried |= bit(placed.server);
            floor.leave(placed.server, ask("a").model, at(1));
        }
        assert_eq!(floor.take(&ask("a"), tried, at(1)), None);
        let named = Errand { to: Target::Named(2), ..ask("a") };
        assert_eq!(floor.take(&named, 0, at(1)), Some(Placed { server: 2, reason: Reason::Named }));
        assert_eq!(floor.take(&named, bit(2), at(1)), None);
    }

    #[test]
    fn a_conversation_comes_home_until_it_is_forgotten() {
        let mut floor = floor(4, &["a"]);
        (0..4).for_each(|s| floor.saw(s, looked(&["a"], at(0))));
        let talk = Errand { conversation: Some(77), ..ask("a") };
        let first = floor.take(&talk, 0, at(1)).unwrap();
        floor.leave(first.server, talk.model, at(2));
        for turn in 2..20 {
            let placed = floor.take(&talk, 0, at(turn)).unwrap();
            assert_eq!((placed.server, placed.reason), (first.server, Reason::Home));
            floor.leave(placed.server, talk.model, at(turn));
        }
        assert_eq!(floor.order(&talk, at(400))[0].reason, Reason::Memory);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut floor = floor(2, &["a"]);
        for n in 0..10_000_u64 {
            let errand = Errand { conversation: Some(n), ..ask(&format!("m{n}")) };
            let placed = floor.take(&errand, 0, at(n)).unwrap();
            floor.leave(placed.server, errand.model, at(n));
        }
        assert!(floor.servers.iter().all(|s| s.loads.len() <= REMEMBERED && s.inflight == 0));
        assert_eq!(floor.homes.len(), HOMES);
    }

    #[test]
    fn what_names_no_model_goes_to_the_first_that_answers() {
        let mut floor = floor(3, &["a"]);
        let first = Errand { to: Target::First, ..Errand::default() };
        assert_eq!(floor.order(&first, at(1))[0].server, 0);
        floor.saw(0, Arc::new(Seen::default()));
        assert_eq!(floor.order(&first, at(1))[0].server, 1);
        floor.failed(1, at(1));
        assert_eq!(floor.order(&first, at(2))[0].server, 2);
    }
}
