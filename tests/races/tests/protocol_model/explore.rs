//! Goes through every state that can be reached, and finds out from which of them
//! each M can still come to run with a P, and each P to be used.
//!
//! That question ("whatever happened, it is still possible") is why this is
//! written here: checkers at hand answer "never" and, on paths without cycles, "in the end
//! always".
//!
//! States that differ in names only are one ([`Model::canonical`]). A
//! transition keeps by which renaming its end got its name, so that "M1 can be served" is
//! asked of the right M on the way back.

use super::state::{At, Model, State};
use super::steps::{self, Rule};
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

/// What was found.
pub(crate) struct Explored {
    /// States, up to names.
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    /// From how many of them some M can never work again, or some P never be used.
    pub(crate) stuck: usize,
    /// A way to the first such state.
    pub(crate) way_to_stuck: String,
}

/// Something that must never happen did.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// States seen until then, up to names.
    pub(crate) states: usize,
    /// The shortest way to it.
    pub(crate) way: String,
}

/// A target's number, and above it that of the renaming.
type Edge = u32;
const NUMBER: u32 = (1 << 28) - 1;

/// Everything that can be reached.
///
/// # Errors
/// The first thing that must never happen and does.
pub(crate) fn explore(model: &Model, rule: Rule) -> Result<Explored, Violation> {
    let mut search = Search::new(model, rule);
    let mut next = Vec::new();
    while search.starts.len() < search.keys.len() {
        let number = search.starts.len();
        search.starts.push(search.edges.len() as u32);
        next.clear();
        let state = model.state(search.keys[number]);
        if let Err(what) = steps::next(model, rule, &state, &mut next) {
            let (way, last) = search.way_to(number);
            next.clear();
            // In the names of the way, which may be others.
            let what = steps::next(model, rule, &last, &mut next)
                .err()
                .unwrap_or(what);
            return Err(Violation {
                what,
                states: search.keys.len(),
                way,
            });
        }
        for (_, state) in &next {
            search.add(state, number as u32);
        }
    }
    search.starts.push(search.edges.len() as u32);
    let hopeful = search.hopeful();
    let all = (1u8 << (model.ms + model.ps)) - 1;
    let is_stuck = |&n: &usize| hopeful[n] != all;
    let stuck: Vec<usize> = (0..search.keys.len()).filter(is_stuck).collect();
    Ok(Explored {
        states: search.keys.len(),
        transitions: search.edges.len(),
        stuck: stuck.len(),
        way_to_stuck: stuck.first().map_or_else(String::new, |&n| {
            let (mut way, last) = search.way_to(n);
            let _ = writeln!(way, "{last:#?}");
            way
        }),
    })
}

struct Search<'a> {
    model: &'a Model,
    rule: Rule,
    numbers: HashMap<u128, u32, BuildHasherDefault<Mix>>,
    /// By number; those below `starts.len()` have been looked at.
    keys: Vec<u128>,
    /// From which each was first reached.
    parents: Vec<u32>,
    /// Where the edges of each begin.
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

impl<'a> Search<'a> {
    fn new(model: &'a Model, rule: Rule) -> Search<'a> {
        let (key, _) = model.canonical(&model.first());
        Search {
            model,
            rule,
            numbers: HashMap::from_iter([(key, 0)]),
            keys: vec![key],
            parents: vec![0],
            starts: vec![],
            edges: vec![],
        }
    }

    fn add(&mut self, state: &State, parent: u32) {
        let (key, renaming) = self.model.canonical(state);
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.parents.push(parent);
            self.keys.len() as u32 - 1
        });
        assert!(number <= NUMBER, "too many states");
        self.edges.push(number | (renaming as u32) << 28);
    }

    /// For each state, the Ms that can come to work from there (one bit each), and
    /// above them the Ps that can come to be used.
    fn hopeful(&self) -> Vec<u8> {
        let (ms, ps) = (self.model.ms, self.model.ps);
        let mut hopeful: Vec<u8> = vec![0; self.keys.len()];
        for (good, &key) in hopeful.iter_mut().zip(&self.keys) {
            let state = self.model.state(key);
            for (i, m) in state.ms[..ms].iter().enumerate() {
                if let (At::Working, Some(p)) = (m.at, m.holds) {
                    *good |= 1 << i | 1 << (ms + usize::from(p));
                }
            }
        }
        // What holds at an edge's end, in the names of its beginning.
        let translate: Vec<Vec<u8>> = self
            .model
            .renamings()
            .iter()
            .map(|names| {
                let new = names.ms.iter().copied();
                let new = new
                    .chain(names.ps.iter().map(|p| p + ms as u8))
                    .collect::<Vec<_>>();
                let back =
                    |good: u8| (0..ms + ps).fold(0, |out, old| out | (good >> new[old] & 1) << old);
                (0..1 << (ms + ps)).map(back).collect()
            })
            .collect();
        // Backwards through the numbers, until nothing changes: most edges lead
        // to a higher number, so a few rounds do.
        loop {
            let mut changed = false;
            for number in (0..hopeful.len()).rev() {
                let before = hopeful[number];
                let mut good = before;
                let (from, to) = (self.starts[number], self.starts[number + 1]);
                for &edge in &self.edges[from as usize..to as usize] {
                    let end = hopeful[(edge & NUMBER) as usize];
                    good |= translate[(edge >> 28) as usize][usize::from(end)];
                }
                hopeful[number] = good;
                changed |= good != before;
            }
            if !changed {
                return hopeful;
            }
        }
    }

    /// How one comes to a state, with one set of names all along, and that state.
    fn way_to(&self, number: usize) -> (String, State) {
        let mut numbers = vec![number];
        while let Some(&n) = numbers.last()
            && n != 0
        {
            numbers.push(self.parents[n] as usize);
        }
        let mut way = String::new();
        let mut state = self.model.first();
        let mut next = Vec::new();
        for &n in numbers.iter().rev().skip(1) {
            next.clear();
            // A state on the way is sound, or its successor would not be there.
            let _ = steps::next(self.model, self.rule, &state, &mut next);
            let same = |to: &State| self.model.canonical(to).0 == self.keys[n];
            let (what, to) = next
                .iter()
                .find(|(_, to)| same(to))
                .expect("it was reached from here");
            let who = (0..self.model.ms).find(|&m| state.ms[m] != to.ms[m]);
            let who = who.map_or_else(String::new, |m| format!("M{m} "));
            let _ = writeln!(way, "{who}{what}");
            state = *to;
        }
        (way, state)
    }
}

/// A hash for keys that are well spread already: a multiplication (Knuth's), and its
/// upper half.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u128");
    }

    fn write_u128(&mut self, key: u128) {
        let folded = (key as u64) ^ ((key >> 64) as u64).rotate_left(32);
        let product = u128::from(folded) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
