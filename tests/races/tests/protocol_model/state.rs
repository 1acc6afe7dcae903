//! What the model knows of the runtime at one moment: the words of each M, where its thread
//! is, the shared queues, and the monitor.
//!
//! A state is small and `Copy`. For the set of states seen it is packed into 70 bits
//! ([`State::key`]); two states that differ only in the names of Ms and Ps have
//! the same least key ([`Model::canonical`]), because no step depends on a name.

/// The most Ms and Ps of a model.
pub(crate) const MAX_MS: usize = 3;
pub(crate) const MAX_PS: usize = 2;

/// Names of an M and of a P.
pub(crate) type MName = u8;
pub(crate) type PName = u8;

/// The word of an M: PROTOCOL, "State".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    None,
    Owns(PName),
    Pending(PName),
    Stolen,
    Waiting,
    Claimed,
}

/// Where the thread of an M is. Each name is that of what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum At {
    /// In user code, or in the kernel for it.
    User,
    /// `rt` is odd, the word not looked at yet (step 1).
    Entered,
    /// In the runtime, with a P.
    Working,
    /// The word does not say Stolen any more, and the goroutine goes to the global queue (5b); or
    /// the P was given on. The M is about to rest.
    LeavingGoroutine,
    /// The word says Waiting, the M is not in the queue yet (5c, and the end of 8).
    QueueingBound,
    /// In the bound queue, on the futex. The word says None when it rested there, or was about to,
    /// and somebody at home became runnable.
    AsleepBound,
    WokenBound,
    /// On the futex without a goroutine.
    Spare,
    WokenSpare,
    /// Gives the P into the idle set, and is spare: first the word.
    Releasing,
    /// ... then the P.
    Released,
    /// Gives the P to the first bound M: first the word.
    HandingOff,
    /// ... then the P.
    HandedOff,
    /// `blocking()`: the word says Stolen, the P is still to be given on.
    Lending,
    /// ... it is given on.
    Lent,
    /// Its bound goroutine parks (step 8): first the word,
    ParkingBound,
    /// ... then the P,
    ParkingWithoutWord,
    /// ... then the word again, and then it may be made ready.
    ParkingWithoutP,
    /// In the handler, `rt` odd, the word not looked at yet (step 7).
    InHandler,
    /// The word says Waiting, the M is not in the queue yet.
    QueueingPreempted,
    AsleepInHandler,
    WokenInHandler,
    /// Only with `Rule::HandlerGivesItsP`: it saw Owns, wrote Waiting, queued itself.
    SawOwns,
    WroteWaiting,
    QueuedWithP,
    /// Only with `Rule::OneWordResume`: it is published, and still has its P.
    PublishingFirst,
    PublishedWithP,
}

impl At {
    const ALL: [At; 27] = [
        At::User,
        At::Entered,
        At::Working,
        At::LeavingGoroutine,
        At::QueueingBound,
        At::AsleepBound,
        At::WokenBound,
        At::Spare,
        At::WokenSpare,
        At::Releasing,
        At::Released,
        At::HandingOff,
        At::HandedOff,
        At::Lending,
        At::Lent,
        At::ParkingBound,
        At::ParkingWithoutWord,
        At::ParkingWithoutP,
        At::InHandler,
        At::QueueingPreempted,
        At::AsleepInHandler,
        At::WokenInHandler,
        At::SawOwns,
        At::WroteWaiting,
        At::QueuedWithP,
        At::PublishingFirst,
        At::PublishedWithP,
    ];
}

/// One M.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct M {
    pub(crate) word: Word,
    /// `rt` is odd.
    pub(crate) inside: bool,
    pub(crate) next_p: Option<PName>,
    pub(crate) wake: bool,
    pub(crate) at: At,
    /// The P that its code has in hand, whatever the word says.
    pub(crate) holds: Option<PName>,
    /// SIGURG is on its way.
    pub(crate) signal: bool,
    /// Somebody who lives here is runnable (step 19).
    pub(crate) home: bool,
}

/// Why an M is in the queue of those that want a P.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Bound,
    Preempted,
}

/// Ms that want a P, oldest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Queue {
    len: u8,
    entries: [(MName, Kind); MAX_MS],
}

impl Queue {
    pub(crate) const EMPTY: Queue = Queue {
        len: 0,
        entries: [(0, Kind::Bound); MAX_MS],
    };

    pub(crate) fn entries(&self) -> &[(MName, Kind)] {
        &self.entries[..usize::from(self.len)]
    }

    pub(crate) fn has(&self, m: MName) -> bool {
        self.entries().iter().any(|&(x, _)| x == m)
    }

    /// The M must not be in it.
    pub(crate) fn push(&mut self, m: MName, kind: Kind) {
        self.entries[usize::from(self.len)] = (m, kind);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, i: usize) -> MName {
        let (m, _) = self.entries[i];
        self.entries.copy_within(i + 1.., i);
        self.entries[MAX_MS - 1] = Queue::EMPTY.entries[0];
        self.len -= 1;
        m
    }
}

/// Where the monitor is in a theft (step 4) of P `p` from M `m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Monitor {
    Watching,
    /// The word says Pending; the heavy barrier, then the look at `rt`.
    Asked(MName, PName),
    /// `rt` was odd: the theft is to be given up.
    SawInside(MName, PName),
    /// `rt` was even: the theft is to be completed.
    SawOutside(MName, PName),
    /// The P is the monitor's.
    Took(MName, PName),
}

/// All of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// Those beyond the model's number never change.
    pub(crate) ms: [M; MAX_MS],
    pub(crate) queue: Queue,
    /// The idle Ps, one bit each.
    pub(crate) idle: u8,
    pub(crate) monitor: Monitor,
}

impl State {
    pub(crate) fn m(&self, m: MName) -> &M {
        &self.ms[usize::from(m)]
    }

    /// The same, but for what `change` does to one M.
    pub(crate) fn with(mut self, m: MName, change: impl FnOnce(&mut M)) -> State {
        change(&mut self.ms[usize::from(m)]);
        self
    }

    pub(crate) fn idle(&self) -> impl Iterator<Item = PName> + use<> {
        let idle = self.idle;
        (0..MAX_PS as PName).filter(move |p| idle >> p & 1 == 1)
    }
}

/// How many Ms and Ps there are.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) ms: usize,
    pub(crate) ps: usize,
    /// Goroutines live on Ms; at any time one of them at most is runnable.
    pub(crate) homes: bool,
    renamings: Vec<Renaming>,
}

/// Other names for all Ms and Ps: `ms[old] = new`.
#[derive(Clone)]
pub(crate) struct Renaming {
    pub(crate) ms: Vec<MName>,
    pub(crate) ps: Vec<PName>,
}

impl Model {
    pub(crate) fn new(ms: usize, ps: usize) -> Model {
        assert!(ms <= MAX_MS && ps <= MAX_PS && ps <= ms);
        let renamings = permutations(ms)
            .into_iter()
            .flat_map(|ms| {
                let with = move |ps| Renaming { ms: ms.clone(), ps };
                permutations(ps).into_iter().map(with)
            })
            .collect();
        Model {
            ms,
            ps,
            homes: false,
            renamings,
        }
    }

    /// The same, with goroutines that live on Ms.
    pub(crate) fn with_homes(ms: usize, ps: usize) -> Model {
        Model {
            homes: true,
            ..Model::new(ms, ps)
        }
    }

    pub(crate) fn renamings(&self) -> &[Renaming] {
        &self.renamings
    }

    /// Each P is owned by an M in user code; the others are spare.
    pub(crate) fn first(&self) -> State {
        let owner = |p: usize| M {
            word: Word::Owns(p as PName),
            inside: false,
            next_p: None,
            wake: false,
            at: At::User,
            holds: None,
            signal: false,
            home: false,
        };
        let spare = M {
            word: Word::None,
            inside: true,
            at: At::Spare,
            ..owner(0)
        };
        State {
            ms: std::array::from_fn(|m| if m < self.ps { owner(m) } else { spare }),
            queue: Queue::EMPTY,
            idle: 0,
            monitor: Monitor::Watching,
        }
    }

    /// The least key of all states that differ from this one in names only, and
    /// by which renaming it comes about.
    pub(crate) fn canonical(&self, s: &State) -> (u128, usize) {
        let keys = self.renamings.iter().map(|names| self.key(s, names));
        let (i, key) = keys
            .enumerate()
            .min_by_key(|&(_, key)| key)
            .expect("there is one");
        (key, i)
    }

    /// The state of a key.
    pub(crate) fn state(&self, mut key: u128) -> State {
        let mut take = |bits: u32| {
            let value = (key & ((1 << bits) - 1)) as u8;
            key >>= bits;
            value
        };
        let monitor = match (take(3), take(2), take(1)) {
            (0, ..) => Monitor::Watching,
            (1, m, p) => Monitor::Asked(m, p),
            (2, m, p) => Monitor::SawInside(m, p),
            (3, m, p) => Monitor::SawOutside(m, p),
            (_, m, p) => Monitor::Took(m, p),
        };
        let idle = take(2);
        let mut queue = Queue::EMPTY;
        let len = take(2);
        for _ in 0..len {
            let m = take(2);
            let kind = if take(1) == 0 {
                Kind::Bound
            } else {
                Kind::Preempted
            };
            queue.push(m, kind);
        }
        for _ in usize::from(len)..MAX_MS {
            take(3);
        }
        let mut s = self.first();
        for m in &mut s.ms[..self.ms] {
            let word = (take(3), take(1));
            m.word = match word {
                (0, _) => Word::None,
                (1, p) => Word::Owns(p),
                (2, p) => Word::Pending(p),
                (3, _) => Word::Stolen,
                (4, _) => Word::Waiting,
                _ => Word::Claimed,
            };
            m.next_p = take(2).checked_sub(1);
            m.holds = take(2).checked_sub(1);
            m.at = At::ALL[usize::from(take(5))];
            (m.inside, m.wake, m.signal) = (take(1) == 1, take(1) == 1, take(1) == 1);
            m.home = take(1) == 1;
        }
        State {
            queue,
            idle,
            monitor,
            ..s
        }
    }

    /// The state with other names, packed.
    fn key(&self, s: &State, names: &Renaming) -> u128 {
        let p = |p: PName| u128::from(names.ps[usize::from(p)]);
        let m = |m: MName| u128::from(names.ms[usize::from(m)]);
        let maybe = |held: Option<PName>| held.map_or(0, |held| p(held) + 1);
        let mut key = match s.monitor {
            Monitor::Watching => 0,
            Monitor::Asked(x, y) => 1 | m(x) << 3 | p(y) << 5,
            Monitor::SawInside(x, y) => 2 | m(x) << 3 | p(y) << 5,
            Monitor::SawOutside(x, y) => 3 | m(x) << 3 | p(y) << 5,
            Monitor::Took(x, y) => 4 | m(x) << 3 | p(y) << 5,
        };
        for idle in s.idle() {
            key |= 1 << (6 + p(idle));
        }
        key |= u128::from(s.queue.len) << 8;
        for (i, &(x, kind)) in s.queue.entries().iter().enumerate() {
            key |= (m(x) | u128::from(kind == Kind::Preempted) << 2) << (10 + 3 * i);
        }
        for (i, it) in s.ms[..self.ms].iter().enumerate() {
            let word = match it.word {
                Word::None => 0,
                Word::Owns(x) => 1 | p(x) << 3,
                Word::Pending(x) => 2 | p(x) << 3,
                Word::Stolen => 3,
                Word::Waiting => 4,
                Word::Claimed => 5,
            };
            let flags = u128::from(it.inside)
                | u128::from(it.wake) << 1
                | u128::from(it.signal) << 2
                | u128::from(it.home) << 3;
            let packed = word
                | maybe(it.next_p) << 4
                | maybe(it.holds) << 6
                | (it.at as u128) << 8
                | flags << 13;
            key |= packed << (19 + 17 * m(i as MName));
        }
        key
    }
}

/// All orders of 0..n.
fn permutations(n: usize) -> Vec<Vec<u8>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let insert = |at: usize| {
        shorter.iter().map(move |order| {
            let mut order = order.clone();
            order.insert(at, n as u8 - 1);
            order
        })
    };
    (0..n).flat_map(insert).collect()
}
