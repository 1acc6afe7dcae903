//! What can happen next: PROTOCOL's steps, each as small as it is in the code (one
//! access to something shared), in any order.
//!
//! Memory is sequentially consistent here. That `rt` and the word are seen in order between
//! enter and theft is the business of the two barriers, and of loom.

use super::state::{At, Kind, MName, Model, Monitor, PName, State, Word};

/// The protocol as it is written, or with one of its parts made simpler. Each of the
/// simpler ones looks right, and is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    AsWritten,
    /// The handler parks a thread that still owns its P, and gives the P away itself, so
    /// that no theft is needed.
    HandlerGivesItsP,
    /// Whoever wakes an M writes the P into its word, so that no `next_p` is needed; an
    /// M that parks may then be made ready first, and gives on the P that its word names.
    OneWordResume,
    /// The rescue wakes a preempted M without taking it out of the queue and
    /// claiming it.
    RescueWithoutClaim,
    /// Whoever wakes a goroutine that lives on an M puts it into the inbox there, and lets the M
    /// look for itself.
    InboxOnly,
    /// An M that finds its inbox empty, rests, without looking once more in the step in which it
    /// takes its place.
    LooksBeforeItRests,
    /// Plain stores where an M releases and the monitor gives a theft up; an M that
    /// finds Pending waits for the monitor.
    StoresForCas,
}

/// What may follow a state; an error is what must never happen.
pub(crate) type Next = Vec<(&'static str, State)>;

/// All that can happen in `s`.
///
/// # Errors
/// What is wrong in this state, or what step goes wrong in it.
pub(crate) fn next(model: &Model, rule: Rule, s: &State, out: &mut Next) -> Result<(), String> {
    each_p_is_in_one_place(model, s)?;
    who_lives_somewhere_is_not_forgotten(model, s)?;
    for m in 0..model.ms as MName {
        signal(rule, s, m, out);
        step(rule, s, m, out)?;
        if model.homes {
            wake_at_home(rule, s, m, out)?;
        }
    }
    monitor(model, rule, s, out)
}

/// No P is used by two, and none is lost.
fn each_p_is_in_one_place(model: &Model, s: &State) -> Result<(), String> {
    for p in 0..model.ps as PName {
        let mut holders = Vec::new();
        for (i, m) in s.ms[..model.ms].iter().enumerate() {
            // One M may have it in hand and in its word.
            if m.holds == Some(p) || m.word == Word::Owns(p) || m.word == Word::Pending(p) {
                holders.push(format!("M{i}"));
            }
            if m.next_p == Some(p) {
                holders.push(format!("on its way to M{i}"));
            }
        }
        if s.idle >> p & 1 == 1 {
            holders.push("idle".into());
        }
        if matches!(s.monitor, Monitor::Took(_, taken) if taken == p) {
            holders.push("the monitor".into());
        }
        match holders.len() {
            0 => return Err(format!("P{p} is lost")),
            1 => {}
            _ => return Err(format!("P{p} is in two places: {}", holders.join(", "))),
        }
    }
    Ok(())
}

/// An M rests only when nobody who lives there is runnable, or it is about to be woken.
fn who_lives_somewhere_is_not_forgotten(model: &Model, s: &State) -> Result<(), String> {
    let rests = |m: &super::state::M| m.at == At::Spare && !m.wake && m.next_p.is_none();
    match s.ms[..model.ms].iter().position(|m| m.home && rests(m)) {
        Some(m) => Err(format!("M{m} rests, and who lives there is runnable")),
        None => Ok(()),
    }
}

/// Step 19, under the lock: who lives on `m` becomes runnable. An M that is not at rest comes by
/// itself.
fn wake_at_home(rule: Rule, s: &State, m: MName, out: &mut Next) -> Result<(), String> {
    if s.ms.iter().any(|m| m.home) {
        return Ok(());
    }
    let woken = s.with(m, |m| m.home = true);
    let it = s.m(m);
    let rests = it.at == At::Spare && !it.wake && it.next_p.is_none();
    if rests && rule != Rule::InboxOnly {
        let queued = enqueue(woken.with(m, |m| m.at = At::AsleepBound), m, Kind::Bound)?;
        out.push(("19: who lives here is runnable, the M is queued", queued));
    } else {
        out.push(("19: who lives here is runnable", woken));
    }
    Ok(())
}

/// Under the lock: an M without a P takes its place.
fn take_place(s: State, m: MName) -> Result<State, String> {
    if s.m(m).home {
        return enqueue(s.with(m, |m| m.at = At::AsleepBound), m, Kind::Bound);
    }
    Ok(s.with(m, |m| m.at = At::Spare))
}

/// A P that nobody has any more is idle.
fn make_idle(mut s: State, p: PName) -> Result<State, String> {
    if s.idle >> p & 1 == 1 {
        return Err(format!("P{p} becomes idle twice"));
    }
    s.idle |= 1 << p;
    Ok(s)
}

fn enqueue(mut s: State, m: MName, kind: Kind) -> Result<State, String> {
    if s.queue.has(m) {
        return Err(format!("M{m} is queued twice"));
    }
    s.queue.push(m, kind);
    Ok(s)
}

/// Step 6. The caller has claimed `m`, or taken it from the spare list.
fn give(rule: Rule, s: State, p: PName, m: MName) -> Result<State, String> {
    if rule == Rule::OneWordResume {
        return Ok(s.with(m, |m| {
            m.word = Word::Owns(p);
            m.wake = true;
        }));
    }
    if let Some(lost) = s.m(m).next_p {
        return Err(format!("next_p is overwritten: P{lost} is lost"));
    }
    Ok(s.with(m, |m| {
        m.next_p = Some(p);
        m.wake = true;
    }))
}

/// SIGURG arrives (step 7).
fn signal(rule: Rule, s: &State, m: MName, out: &mut Next) {
    let it = s.m(m);
    let in_handler = matches!(
        it.at,
        At::InHandler
            | At::QueueingPreempted
            | At::AsleepInHandler
            | At::WokenInHandler
            | At::SawOwns
            | At::WroteWaiting
            | At::QueuedWithP
    );
    if !it.signal || in_handler {
        return;
    }
    if it.at != At::User {
        if it.inside {
            out.push(("handler: inside, returns", s.with(m, |m| m.signal = false)));
        }
    } else if rule == Rule::HandlerGivesItsP {
        let word = it.word;
        let next = s.with(m, |m| {
            m.signal = false;
            if let (false, Word::Owns(p)) = (m.inside, word) {
                m.at = At::SawOwns;
                m.holds = Some(p);
            }
        });
        out.push(("handler: looks at the word", next));
    } else {
        let next = s.with(m, |m| {
            m.signal = false;
            m.inside = true;
            m.at = At::InHandler;
        });
        out.push(("handler: rt odd", next));
    }
}

/// What the thread of `m` does next.
fn step(rule: Rule, s: &State, m: MName, out: &mut Next) -> Result<(), String> {
    let it = *s.m(m);
    let go = |at: At| s.with(m, |m| m.at = at);
    // The P that the M has in hand goes into the idle set.
    let release = |at: At| match it.holds {
        Some(p) => make_idle(
            s.with(m, |m| {
                m.at = at;
                m.holds = None;
            }),
            p,
        ),
        None => Err(format!("M{m} has no P to release")),
    };
    match it.at {
        At::User => out.push((
            "enter: rt odd",
            s.with(m, |m| {
                m.inside = true;
                m.at = At::Entered;
            }),
        )),
        At::Entered => enter(rule, s, m, out)?,
        At::Working => work(rule, s, m, out),
        At::LeavingGoroutine => {
            out.push(("takes its place", take_place(*s, m)?));
            for p in s.idle() {
                let mut taken = s.with(m, |m| own(m, p));
                taken.idle &= !(1 << p);
                out.push(("5a: takes an idle P", taken));
            }
        }
        At::QueueingBound => out.push((
            "into the bound queue",
            enqueue(go(At::AsleepBound), m, Kind::Bound)?,
        )),
        At::AsleepBound | At::AsleepInHandler | At::Spare if it.wake => {
            let at = match it.at {
                At::AsleepBound => At::WokenBound,
                At::AsleepInHandler => At::WokenInHandler,
                _ => At::WokenSpare,
            };
            out.push((
                "wakes",
                s.with(m, |m| {
                    m.wake = false;
                    m.at = at;
                }),
            ));
        }
        At::AsleepBound | At::AsleepInHandler | At::Spare => {}
        At::WokenBound | At::WokenSpare => {
            let given = match (rule, it.word) {
                // A theft that began meanwhile is called off, as at enter.
                (Rule::OneWordResume, Word::Owns(p) | Word::Pending(p)) => Some(p),
                (Rule::OneWordResume, _) => None,
                _ => it.next_p,
            };
            let Some(p) = given else {
                return Err(format!("M{m} was woken without a P"));
            };
            out.push((
                "takes what it was given",
                s.with(m, |m| {
                    m.next_p = None;
                    own(m, p);
                }),
            ));
        }
        At::WokenInHandler => out.push((
            "handler: returns",
            s.with(m, |m| {
                m.word = match (rule, m.word, m.next_p.take()) {
                    (Rule::OneWordResume, Word::Owns(p) | Word::Pending(p), _) => Word::Owns(p),
                    (_, _, Some(p)) => Word::Owns(p),
                    // By rescue.
                    (_, _, None) => Word::Stolen,
                };
                m.inside = false;
                m.at = At::User;
            }),
        )),
        At::Releasing | At::HandingOff => out.push((
            "the word goes to None",
            s.with(m, |m| {
                m.word = Word::None;
                m.at = match m.at {
                    At::Releasing => At::Released,
                    _ => At::HandedOff,
                };
            }),
        )),
        At::Released if rule == Rule::LooksBeforeItRests => {
            out.push(("its P is idle", release(At::Spare)?));
        }
        At::Released => out.push(("its P is idle", take_place(release(At::Spare)?, m)?)),
        At::HandedOff => match s.queue.entries().first() {
            None => out.push(("the queue is empty", go(At::Released))),
            Some(&(x, _)) => {
                let Some(p) = it.holds else {
                    return Err(format!("M{m} has no P to hand off"));
                };
                let mut left = s.with(m, |m| {
                    m.at = At::LeavingGoroutine;
                    m.holds = None;
                });
                left.queue.remove(0);
                let claimed = claim(left, x)?;
                out.push(("6: gives its P to a bound M", give(rule, claimed, p, x)?));
            }
        },
        At::Lending => out.push(("blocking: its P is idle", release(At::Lent)?)),
        At::Lent => out.push(("blocking: rt even", leave(s, m))),
        At::ParkingBound => out.push((
            "8: the word goes to None",
            s.with(m, |m| {
                m.word = Word::None;
                m.at = At::ParkingWithoutWord;
            }),
        )),
        At::ParkingWithoutWord => out.push(("8: its P is idle", release(At::ParkingWithoutP)?)),
        At::ParkingWithoutP => out.push((
            "8: the word goes to Waiting",
            s.with(m, |m| {
                m.word = Word::Waiting;
                m.at = At::QueueingBound;
            }),
        )),
        At::InHandler => out.push(match it.word {
            Word::Stolen => (
                "handler: Stolen to Waiting",
                s.with(m, |m| {
                    m.word = Word::Waiting;
                    m.at = At::QueueingPreempted;
                }),
            ),
            _ => ("handler: not stolen, returns", leave(s, m)),
        }),
        At::QueueingPreempted => out.push((
            "handler: into the queue",
            enqueue(go(At::AsleepInHandler), m, Kind::Preempted)?,
        )),
        At::SawOwns => out.push((
            "handler: rt odd, Waiting",
            s.with(m, |m| {
                m.inside = true;
                m.word = Word::Waiting;
                m.at = At::WroteWaiting;
            }),
        )),
        At::WroteWaiting => out.push((
            "handler: into the queue",
            enqueue(go(At::QueuedWithP), m, Kind::Preempted)?,
        )),
        At::QueuedWithP => out.push(("handler: its P is idle", release(At::AsleepInHandler)?)),
        At::PublishingFirst => {
            let waiting = s.with(m, |m| {
                m.word = Word::Waiting;
                m.at = At::PublishedWithP;
            });
            out.push(("8: made ready", enqueue(waiting, m, Kind::Bound)?));
        }
        At::PublishedWithP => {
            // It gives away what its word says is its.
            let p = match it.word {
                Word::Owns(p) => p,
                _ => it.holds.expect("it parks with a P"),
            };
            let left = s.with(m, |m| {
                m.at = At::AsleepBound;
                m.holds = None;
            });
            out.push(("8: its P is idle", make_idle(left, p)?));
        }
    }
    Ok(())
}

/// The M has `p` now, and uses it.
fn own(m: &mut super::state::M, p: PName) {
    m.word = Word::Owns(p);
    m.holds = Some(p);
    m.at = At::Working;
}

/// Step 2.
fn leave(s: &State, m: MName) -> State {
    s.with(m, |m| {
        m.inside = false;
        m.at = At::User;
        m.holds = None;
    })
}

fn claim(s: State, m: MName) -> Result<State, String> {
    match s.m(m).word {
        Word::Waiting => Ok(s.with(m, |m| m.word = Word::Claimed)),
        // It rested. Who takes it out of the queue, under the lock, has it.
        Word::None if !s.m(m).wake => Ok(s),
        word => Err(format!("M{m} is claimed while its word says {word:?}")),
    }
}

/// Steps 1 and 5: the word, with `rt` odd.
fn enter(rule: Rule, s: &State, m: MName, out: &mut Next) -> Result<(), String> {
    match s.m(m).word {
        Word::Owns(p) => out.push(("enter: it owns a P", s.with(m, |m| own(m, p)))),
        Word::Pending(_) if rule == Rule::StoresForCas => {}
        Word::Pending(p) => out.push(("enter: Pending to Owns", s.with(m, |m| own(m, p)))),
        Word::Stolen => {
            let waiting = s.with(m, |m| {
                m.word = Word::Waiting;
                m.at = At::QueueingBound;
            });
            out.push(("5c: Stolen to Waiting", waiting));
            let left = s.with(m, |m| {
                m.word = Word::None;
                m.at = At::LeavingGoroutine;
            });
            out.push(("5b: Stolen to None", left));
        }
        word => return Err(format!("M{m} enters while its word says {word:?}")),
    }
    Ok(())
}

/// In the runtime with a P: everything that an M may do then.
fn work(rule: Rule, s: &State, m: MName, out: &mut Next) {
    let go = |at: At| s.with(m, |m| m.at = at);
    out.push(("exit: rt even", leave(s, m)));
    if s.m(m).home {
        out.push(("runs who lives here", s.with(m, |m| m.home = false)));
    }
    if rule != Rule::LooksBeforeItRests || !s.m(m).home {
        out.push(("idle", go(At::Releasing)));
    }
    if !s.queue.entries().is_empty() {
        out.push(("runs a bound goroutine next", go(At::HandingOff)));
    }
    let lent = s.with(m, |m| {
        m.word = Word::Stolen;
        m.at = At::Lending;
    });
    out.push(("blocking: the word goes to Stolen", lent));
    let park = match rule {
        Rule::OneWordResume => At::PublishingFirst,
        _ => At::ParkingBound,
    };
    out.push(("its bound goroutine parks", go(park)));
}

/// What the monitor does next.
fn monitor(model: &Model, rule: Rule, s: &State, out: &mut Next) -> Result<(), String> {
    let to = |s: State, monitor: Monitor| State { monitor, ..s };
    let back = |m: MName, p: PName| to(s.with(m, |m| m.word = Word::Owns(p)), Monitor::Watching);
    match s.monitor {
        Monitor::Watching => {
            for x in 0..model.ms as MName {
                if let Word::Owns(p) = s.m(x).word {
                    let pending = s.with(x, |x| x.word = Word::Pending(p));
                    out.push(("theft: Owns to Pending", to(pending, Monitor::Asked(x, p))));
                }
                ask(rule, s, x, out);
            }
            for p in s.idle() {
                serve(model, rule, s, p, out)?;
            }
            rescue(rule, s, out)?;
        }
        Monitor::Asked(m, p) if s.m(m).inside => {
            out.push(("theft: rt is odd", to(*s, Monitor::SawInside(m, p))));
        }
        Monitor::Asked(m, p) => out.push(("theft: rt is even", to(*s, Monitor::SawOutside(m, p)))),
        Monitor::SawInside(m, p) => {
            let given_up = match s.m(m).word {
                _ if rule == Rule::StoresForCas => back(m, p),
                word if word == Word::Pending(p) => back(m, p),
                _ => to(*s, Monitor::Watching),
            };
            out.push(("theft: given up", given_up));
        }
        Monitor::SawOutside(m, p) => {
            let done = match s.m(m).word {
                word if word == Word::Pending(p) => {
                    to(s.with(m, |m| m.word = Word::Stolen), Monitor::Took(m, p))
                }
                _ => to(*s, Monitor::Watching),
            };
            out.push(("theft: Pending to Stolen", done));
        }
        Monitor::Took(m, p) => {
            let idle = make_idle(to(*s, Monitor::Watching), p)?;
            out.push(("theft: the P is idle", idle));
            if s.m(m).word == Word::Stolen {
                out.push(("theft: the P is given back in place", back(m, p)));
            }
        }
    }
    Ok(())
}

/// The signal to a thread that goes on computing without a P.
fn ask(rule: Rule, s: &State, x: MName, out: &mut Next) {
    let wanted = match rule {
        Rule::HandlerGivesItsP => matches!(s.m(x).word, Word::Owns(_)),
        _ => s.m(x).word == Word::Stolen,
    };
    if wanted && !s.m(x).signal {
        out.push(("SIGURG", s.with(x, |x| x.signal = true)));
    }
}

/// Somebody is to use the idle P.
fn serve(model: &Model, rule: Rule, s: &State, p: PName, out: &mut Next) -> Result<(), String> {
    let mut taken = *s;
    taken.idle &= !(1 << p);
    if !s.queue.entries().is_empty() {
        let mut left = taken;
        let x = left.queue.remove(0);
        let claimed = match claim(left, x) {
            Ok(claimed) => claimed,
            // It believes that whoever is in the queue still waits.
            Err(_) if rule == Rule::RescueWithoutClaim => left,
            Err(wrong) => return Err(wrong),
        };
        out.push(("6: an idle P to a bound M", give(rule, claimed, p, x)?));
    }
    for x in 0..model.ms as MName {
        let it = s.m(x);
        if it.word == Word::Stolen {
            let back = taken.with(x, |x| x.word = Word::Owns(p));
            out.push(("a P given back in place", back));
        }
        let asleep = !it.wake && it.next_p.is_none() && it.word == Word::None;
        if it.at == At::Spare && asleep {
            out.push(("6: an idle P to a spare M", give(rule, taken, p, x)?));
        }
    }
    Ok(())
}

/// Step 13: the preempted M that waits longest goes on without a P.
fn rescue(rule: Rule, s: &State, out: &mut Next) -> Result<(), String> {
    let entries = s.queue.entries();
    let Some(i) = entries
        .iter()
        .position(|&(_, kind)| kind == Kind::Preempted)
    else {
        return Ok(());
    };
    if rule == Rule::RescueWithoutClaim {
        let (x, _) = entries[i];
        if !s.m(x).wake && s.m(x).word == Word::Waiting {
            out.push(("rescue: woken", s.with(x, |x| x.wake = true)));
        }
    } else {
        let mut left = *s;
        let x = left.queue.remove(i);
        let claimed = claim(left, x)?.with(x, |x| x.wake = true);
        out.push(("rescue: claimed and woken", claimed));
    }
    Ok(())
}
