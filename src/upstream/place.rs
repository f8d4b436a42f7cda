//! Which server of a pool gets an ask: pure, from what is known of the servers to the order in which to try them.
//!
//! Who has the model in memory, then who has it on disk, then who has fewest asks in flight. A model takes seconds
//! to minutes to load and an ask takes seconds, so a short queue at a server that has it is worth more than an idle
//! server that has not; a queue of `spill` asks is not.
//!
//! Pingora's own balancer (`pingora-load-balancing`) is not used: its selectors choose by weight or by the hash of a
//! key among servers that are alike, and have no place for what a server has in memory or how many asks it has;
//! its health check would ask the same server, at the same times, for less than the look that fills [`Candidate`].

use std::cmp::Reverse;
use std::time::Duration;

/// How a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Up,
    /// It was busy or broke off a moment ago: left alone for a while.
    Cooling,
    /// It did not answer the last look.
    Down,
}

/// A server, as far as one ask is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Whether it can be asked at all.
    pub standing: Standing,
    /// Asks that it has of us now.
    pub inflight: usize,
    /// It has the ask's model in memory, or is loading it.
    pub memory: bool,
    /// It has nothing in memory, so loading a model there puts none out.
    pub vacant: bool,
    /// It has the model on disk, if it says what it has.
    pub disk: Option<bool>,
    /// How long nothing was placed there: where it is longest, the least is lost by loading another model.
    pub idle: Duration,
}

/// What an ask wants of its place.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The server that had the conversation so far.
    pub home: Option<usize>,
    /// From so many asks in flight a server that has the model counts as crowded, and another may load it too; from
    /// half as many, if that one has nothing in memory.
    pub spill: usize,
    /// Breaks ties: the same for the same conversation, so that proxies that know nothing of each other agree.
    pub draw: u64,
}

/// Why a server was chosen; a closed set, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client named it.
    Named,
    /// It had the conversation so far.
    Home,
    /// It has the model in memory.
    Memory,
    /// Those that have the model in memory are crowded; this one has it on disk and is to load it.
    Spill,
    /// It has the model on disk.
    Disk,
    /// It does not say whether it has the model, or nobody has it, or no model was named.
    Any,
    /// None answers; it is tried all the same.
    LastResort,
    /// What names no model goes to the first that answers.
    First,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Named,
        Self::Home,
        Self::Memory,
        Self::Spill,
        Self::Disk,
        Self::Any,
        Self::LastResort,
        Self::First,
    ];

    /// As in metrics and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Home => "home",
            Self::Memory => "memory",
            Self::Spill => "spill",
            Self::Disk => "disk",
            Self::Any => "any",
            Self::LastResort => "last_resort",
            Self::First => "first",
        }
    }
}

/// A server's place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Index of the server.
    pub server: usize,
    /// Why it stands there.
    pub reason: Reason,
}

/// The order in which the servers are to be tried. Servers that lack the model are left out, unless all do: their
/// 404 would be worse than the others' "busy".
pub fn place(servers: &[Candidate], wish: &Wish) -> Vec<Placed> {
    let may_have = |s: &Candidate| s.memory || s.disk != Some(false);
    let somebody = servers.iter().any(may_have);
    let mut order: Vec<(usize, &Candidate)> =
        servers.iter().enumerate().filter(|(_, s)| !somebody || may_have(s)).collect();
    order.sort_by_key(|(index, s)| {
        (s.standing, !s.memory, s.disk != Some(true), s.inflight, Reverse(s.idle), tie(wish.draw, *index))
    });
    let reason = |s: &Candidate| match s.standing {
        Standing::Up if s.memory => Reason::Memory,
        Standing::Up if s.disk == Some(true) => Reason::Disk,
        Standing::Up => Reason::Any,
        Standing::Cooling | Standing::Down => Reason::LastResort,
    };
    let mut placed: Vec<Placed> =
        order.iter().map(|(server, s)| Placed { server: *server, reason: reason(s) }).collect();
    let favourite = match spill(&order, wish.spill) {
        Some(server) => Some(Placed { server, reason: Reason::Spill }),
        None => home(&order, wish.home).map(|server| Placed { server, reason: Reason::Home }),
    };
    if let Some(favourite) = favourite {
        placed.retain(|p| p.server != favourite.server);
        placed.insert(0, favourite);
    }
    placed
}

/// Where to load the model once more, if all that have it are crowded and somebody is much less so.
fn spill(order: &[(usize, &Candidate)], spill: usize) -> Option<usize> {
    let up = || order.iter().filter(|(_, s)| s.standing == Standing::Up);
    let least = up().filter(|(_, s)| s.memory).map(|(_, s)| s.inflight).min()?;
    // The order holds: of those that have it on disk, the least loaded stands first.
    let (server, other) = up().find(|(_, s)| !s.memory)?;
    let crowded = if other.vacant { spill.div_ceil(2) } else { spill };
    (least >= crowded && other.inflight * 2 < least).then_some(*server)
}

/// The conversation's own server, if the model is still there and it has no more than its share
/// (consistent hashing with bounded loads: Mirrokni, Thorup, Zadimoghaddam, 2016; a quarter over the mean). One ask
/// beside its own is never too much: the conversation's last one may not be counted out yet.
fn home(order: &[(usize, &Candidate)], home: Option<usize>) -> Option<usize> {
    let warm = || order.iter().filter(|(_, s)| s.standing == Standing::Up && s.memory);
    let (server, own) = warm().find(|(index, _)| Some(*index) == home)?;
    let (all, servers) = (warm().map(|(_, s)| s.inflight).sum::<usize>(), warm().count());
    let share = (5 * (all + 1)).div_ceil(4 * servers).max(2);
    (own.inflight < share).then_some(*server)
}

/// Equal servers in another order for every draw.
fn tie(draw: u64, index: usize) -> u64 {
    let mixed =
        (draw ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Candidate = Candidate {
        standing: Standing::Up,
        inflight: 0,
        memory: false,
        vacant: false,
        disk: Some(true),
        idle: Duration::from_secs(60),
    };
    const WISH: Wish = Wish { home: None, spill: 4, draw: 1 };

    fn warm(inflight: usize) -> Candidate {
        Candidate { memory: true, inflight, ..IDLE }
    }

    fn cold(inflight: usize) -> Candidate {
        Candidate { inflight, ..IDLE }
    }

    fn lacking() -> Candidate {
        Candidate { disk: Some(false), ..IDLE }
    }

    fn unlisted() -> Candidate {
        Candidate { disk: None, ..IDLE }
    }

    fn standing(standing: Standing, of: Candidate) -> Candidate {
        Candidate { standing, ..of }
    }

    fn order(servers: &[Candidate], wish: Wish) -> Vec<(usize, &'static str)> {
        place(servers, &wish).into_iter().map(|p| (p.server, p.reason.name())).collect()
    }

    fn first(servers: &[Candidate], wish: Wish) -> (usize, &'static str) {
        order(servers, wish)[0]
    }

    #[test]
    fn memory_then_disk_then_fewest_in_flight() {
        assert_eq!(
            order(&[cold(0), cold(2), warm(3), warm(1)], WISH),
            [(3, "memory"), (2, "memory"), (0, "disk"), (1, "disk")]
        );
    }

    #[test]
    fn who_lacks_the_model_is_not_asked_unless_all_do() {
        assert_eq!(order(&[lacking(), cold(9)], WISH), [(1, "disk")]);
        let all = order(&[lacking(), Candidate { inflight: 1, ..lacking() }], WISH);
        assert_eq!(all, [(0, "any"), (1, "any")]);
        // One that does not say what it has comes after those that say they have it.
        assert_eq!(order(&[unlisted(), cold(5), lacking()], WISH), [(1, "disk"), (0, "any")]);
        assert_eq!(order(&[unlisted(), lacking()], WISH), [(0, "any")]);
    }

    #[test]
    fn busy_and_dead_servers_come_last() {
        let servers = [standing(Standing::Down, warm(0)), standing(Standing::Cooling, warm(0)), cold(30)];
        assert_eq!(order(&servers, WISH), [(2, "disk"), (1, "last_resort"), (0, "last_resort")]);
    }

    #[test]
    fn a_busy_owner_is_better_than_a_stranger() {
        assert_eq!(order(&[standing(Standing::Cooling, cold(0)), lacking()], WISH), [(0, "last_resort")]);
    }

    #[test]
    fn a_crowded_model_is_loaded_once_more_and_only_where_there_is_room() {
        assert_eq!(first(&[warm(3), cold(0)], WISH), (0, "memory"));
        assert_eq!(first(&[warm(4), cold(0)], WISH), (1, "spill"));
        assert_eq!(first(&[warm(4), cold(2)], WISH), (0, "memory"));
        assert_eq!(first(&[warm(9), warm(2), cold(0)], WISH), (1, "memory"));
        assert_eq!(first(&[warm(9), lacking()], WISH), (0, "memory"));
        assert_eq!(first(&[warm(9), standing(Standing::Cooling, cold(0))], WISH), (0, "memory"));
    }

    #[test]
    fn where_nothing_is_put_out_a_model_is_loaded_sooner() {
        let vacant = Candidate { vacant: true, ..cold(0) };
        assert_eq!(first(&[warm(1), vacant], WISH), (0, "memory"));
        assert_eq!(first(&[warm(2), vacant], WISH), (1, "spill"));
        assert_eq!(first(&[warm(2), cold(0)], WISH), (0, "memory"));
    }

    #[test]
    fn a_server_that_is_loading_counts_as_having_it() {
        // Ten asks for a cold model at once: the first loads it, the next three wait there, then a second
        // server loads it, and so on; never all eight.
        let mut servers = [cold(0); 8];
        for _ in 0..10 {
            let chosen = first(&servers, WISH).0;
            servers[chosen].inflight += 1;
            servers[chosen].memory = true;
        }
        assert_eq!(servers.iter().filter(|s| s.memory).count(), 3);
    }

    #[test]
    fn a_conversation_stays_at_home_as_long_as_home_has_its_share() {
        let at = |home| Wish { home: Some(home), spill: 100, ..WISH };
        assert_eq!(first(&[warm(0), warm(1), warm(1)], at(1)), (1, "home"));
        assert_eq!(first(&[warm(2), warm(2), warm(2)], at(1)), (1, "home"));
        assert_eq!(first(&[warm(2), warm(3), warm(2)], at(1)), (1, "home"));
        assert_eq!(first(&[warm(0), warm(9), warm(0)], at(1)).1, "memory");
        // No longer in memory: nothing to come home to.
        assert_eq!(first(&[warm(0), cold(0)], at(1)), (0, "memory"));
        assert_eq!(first(&[warm(0), standing(Standing::Cooling, warm(0))], at(1)), (0, "memory"));
    }

    #[test]
    fn alone_with_the_model_home_is_never_overloaded_but_crowded() {
        let at_home = Wish { home: Some(0), ..WISH };
        assert_eq!(first(&[warm(3), cold(0)], at_home), (0, "home"));
        assert_eq!(first(&[warm(4), cold(0)], at_home), (1, "spill"));
    }

    #[test]
    fn a_cold_model_goes_where_least_is_lost() {
        let used = Candidate { idle: Duration::from_secs(1), ..IDLE };
        assert_eq!(first(&[used, IDLE, used], WISH), (1, "disk"));
    }

    #[test]
    fn equal_servers_take_turns() {
        let servers = [IDLE; 4];
        let mut hits = [0; 4];
        for draw in 0..4000_u64 {
            hits[first(&servers, Wish { draw: draw.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..WISH }).0] += 1;
        }
        assert!(hits.iter().all(|n| (800..1200).contains(n)), "{hits:?}");
    }

    #[test]
    fn every_server_that_may_have_it_is_in_the_order_once() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2000 {
            let servers: Vec<Candidate> = (0..random.usize(1..9))
                .map(|_| Candidate {
                    standing: [Standing::Up, Standing::Cooling, Standing::Down][random.usize(0..3)],
                    inflight: random.usize(0..9),
                    memory: random.bool(),
                    vacant: random.bool(),
                    disk: [None, Some(true), Some(false)][random.usize(0..3)],
                    idle: Duration::from_secs(random.u64(0..9)),
                })
                .collect();
            let wish =
                Wish { home: Some(random.usize(0..9)), spill: random.usize(1..9), draw: random.u64(..) };
            let placed = place(&servers, &wish);
            let may = |s: &Candidate| s.memory || s.disk != Some(false);
            let expected = if servers.iter().any(may) {
                servers.iter().filter(|s| may(s)).count()
            } else {
                servers.len()
            };
            let mut seen: Vec<usize> = placed.iter().map(|p| p.server).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!((seen.len(), placed.len()), (expected, expected));
            if servers.iter().any(|s| s.standing == Standing::Up && may(s)) {
                assert_eq!(servers[placed[0].server].standing, Standing::Up);
            }
        }
    }
}
