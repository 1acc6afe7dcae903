//! All that can happen to one P, and to one queue in which somebody waits: the others come and go,
//! the P is called, taken and given away, as it is worst.

use super::*;
use std::collections::HashMap;

/// In place of 61: who starves does not depend on it.
const EVERY: u32 = 3;
const QUEUES: [Source; 4] = [Source::Global, Source::Own, Source::Next, Source::Home];

/// Who waits for the P.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Who {
    /// Somebody in a queue.
    In(Source),
    /// Some M, for long.
    Bound,
}

/// What is there, beside whoever we look at.
#[derive(Clone, Copy)]
struct Others {
    bound: bool,
    urgent_bound: bool,
    /// Another P gets it.
    bound_leaves: bool,
    /// A bit for each of `QUEUES`.
    queues: u32,
}

impl Others {
    fn have(self, source: Source) -> bool {
        let queue = match source {
            Source::Woken => Source::Global,
            queue => queue,
        };
        let i = QUEUES.iter().position(|&q| q == queue).unwrap();
        self.queues >> i & 1 != 0
    }

    fn are_queued(self) -> bool {
        QUEUES[..3].iter().any(|&queue| self.have(queue))
    }
}

#[derive(Clone, Copy)]
enum Event {
    Schedule {
        asked: bool,
        urgent: bool,
    },
    Theft {
        urgent: bool,
        due: bool,
        at_most: u32,
    },
    Release,
}

fn events() -> Vec<(Event, Others)> {
    let schedule = |asked, urgent| Event::Schedule { asked, urgent };
    let theft = |urgent, due, at_most| Event::Theft {
        urgent,
        due,
        at_most,
    };
    let events = [
        schedule(false, false),
        schedule(true, false),
        schedule(true, true),
        theft(false, false, 1),
        theft(false, true, 1),
        theft(false, true, 3),
        theft(true, false, 1),
        theft(true, true, 3),
        Event::Release,
    ];
    let mut all = Vec::new();
    for event in events {
        for bounds in 0..5 {
            all.extend((0..16).map(|queues| {
                let others = Others {
                    bound: bounds != 0,
                    urgent_bound: bounds > 2,
                    bound_leaves: bounds == 2 || bounds == 4,
                    queues,
                };
                (event, others)
            }));
        }
    }
    all
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    schedules: u32,
    urgent: u32,
    bound: u32,
    queues: u32,
    home_goes: bool,
    called: bool,
    /// With an urgent call.
    called_urgently: bool,
    /// An M has just been given the P for what is queued: it is not robbed before it comes by.
    /// (Where none rests, and a bound one has it instead, what is queued waits for a thread.)
    comes_by: bool,
}

impl State {
    fn all() -> Vec<State> {
        let mut all = Vec::new();
        for i in 0..EVERY * 4 * 4 * 4 * 16 {
            let (flags, i) = (i % 16, i / 16);
            let flag = |n: u32| flags >> n & 1 != 0;
            all.push(State {
                schedules: i % EVERY,
                urgent: i / EVERY % 4,
                bound: i / EVERY / 4 % 4,
                queues: i / EVERY / 16,
                home_goes: flag(0),
                called: flag(1),
                called_urgently: flag(2),
                comes_by: flag(3),
            });
        }
        all
    }

    fn turns(&self) -> Turns {
        Turns {
            urgent: Cell::new(self.urgent),
            bound: Cell::new(self.bound),
            queues: Cell::new(self.queues),
        }
    }

    fn take_back(&mut self, turns: &Turns) {
        self.urgent = turns.urgent.get();
        self.bound = turns.bound.get();
        self.queues = turns.queues.get() % 4;
    }

    /// What comes of it, and who goes. None: it can't happen now.
    fn after(mut self, event: Event, others: Others) -> Option<(State, Option<Who>)> {
        let turns = self.turns();
        let goes = match event {
            Event::Schedule { asked, urgent } => self.schedule(&turns, asked, urgent, others),
            _ if self.comes_by => return None,
            Event::Theft {
                urgent,
                due,
                at_most,
            } => {
                let urgent = urgent && turns.urgent_goes(others.urgent_bound);
                let bound = match urgent {
                    true => others.urgent_bound,
                    false => turns.bound_goes(others.are_queued(), due, at_most),
                };
                (self.called, self.called_urgently) = (!bound, urgent);
                self.comes_by = !bound;
                (bound && others.bound && !others.bound_leaves).then_some(Who::Bound)
            }
            Event::Release => {
                let waits = others.bound && !others.bound_leaves;
                let bound = turns.bound_goes(others.are_queued(), waits, 1);
                self.called |= !bound;
                self.comes_by = !bound;
                (bound && waits).then_some(Who::Bound)
            }
        };
        self.take_back(&turns);
        Some((self, goes))
    }

    fn schedule(
        &mut self,
        turns: &Turns,
        asked: bool,
        urgent: bool,
        others: Others,
    ) -> Option<Who> {
        let asked = asked || std::mem::take(&mut self.called);
        let urgent = urgent || (asked && std::mem::take(&mut self.called_urgently));
        self.comes_by = false;
        self.schedules = (self.schedules + 1) % EVERY;
        let first_of = |sources: &[Source]| sources.iter().copied().find(|&from| others.have(from));
        if asked || self.schedules == 0 {
            let mut turn = turns.next(Visit {
                asked,
                urgent,
                bound: others.bound,
                urgent_bound: others.urgent_bound,
            });
            self.called_urgently = urgent && !turns.was_urgent();
            let before_bound = others.bound && !urgent && turn != Turn::Bound;
            self.called = self.called_urgently || before_bound;
            if turn == Turn::Bound && others.bound_leaves {
                turn = turns.next(Visit::of_queues(asked));
            }
            match turn {
                Turn::Bound => {
                    turns.has_gone_to_bound(others.are_queued());
                    return Some(Who::Bound);
                }
                Turn::Queues(sources) => {
                    if let Some(from) = first_of(sources) {
                        return Some(Who::In(from));
                    }
                }
            }
        }
        // As `next_by_turns` does, and `nothing_here` when that comes to nothing.
        let mut order = [Source::Next, Source::Own, Source::Home, Source::Global];
        if others.have(Source::Home) {
            self.home_goes = !self.home_goes;
            if self.home_goes {
                order = [Source::Home, Source::Next, Source::Own, Source::Global];
            }
        }
        first_of(&order).map(Who::In)
    }
}

/// How many turns `who` may wait from `start` on. None: for ever. Knows what it knows from earlier
/// starts.
fn longest(
    who: Who,
    start: State,
    events: &[(Event, Others)],
    known: &mut HashMap<State, Option<u32>>,
) -> Option<u32> {
    if let Some(&longest) = known.get(&start) {
        return longest;
    }
    // Depth first, without recursion: a chain may be long.
    let mut path = vec![(start, events.iter(), 0)];
    known.insert(start, None);
    loop {
        let (state, left, most) = path.last_mut().expect("it ends with the first");
        let Some(&(mut event, mut others)) = left.next() else {
            let (state, most) = (*state, *most);
            known.insert(state, Some(most));
            path.pop();
            match path.last_mut() {
                Some((_, _, longest)) => *longest = (*longest).max(most + 1),
                None => return Some(most),
            }
            continue;
        };
        match (who, &mut event) {
            (Who::In(source), _) => {
                let i = QUEUES.iter().position(|&queue| queue == source).unwrap();
                others.queues |= 1 << i;
            }
            (Who::Bound, Event::Theft { due, .. }) => (others.bound, *due) = (true, true),
            (Who::Bound, _) => others.bound = true,
        }
        if who == Who::Bound {
            others.bound_leaves = false;
        }
        let Some((next, goes)) = state.after(event, others) else {
            continue;
        };
        // Whoever is at home on an M without a P has that M's turn; which is a bound one.
        let leaves_home = goes == Some(Who::Bound) || !matches!(event, Event::Schedule { .. });
        let served = goes == Some(who)
            || (goes == Some(Who::In(Source::Woken)) && who == Who::In(Source::Global))
            || (leaves_home && who == Who::In(Source::Home));
        if served {
            continue;
        }
        match known.get(&next) {
            // It is on the path: around and around.
            Some(None) => return None,
            Some(&Some(more)) => *most = (*most).max(more + 1),
            None => {
                known.insert(next, None);
                path.push((next, events.iter(), 0));
            }
        }
    }
}

#[test]
fn whoever_waits_has_a_turn_whatever_the_others_do() {
    let events = events();
    for who in [Who::Bound].into_iter().chain(QUEUES.map(Who::In)) {
        let mut known = HashMap::new();
        let longest = State::all()
            .into_iter()
            .map(|start| {
                longest(who, start, &events, &mut known)
                    .unwrap_or_else(|| panic!("{who:?} starves"))
            })
            .max();
        println!("{who:?}: {longest:?} turns");
    }
}
