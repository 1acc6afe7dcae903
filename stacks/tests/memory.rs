//! Stack memory from outside: promises, magazines, growth, limits, trimming.
//!
//! Tests that count slots use a class of their own: the depots are the process's.

mod child;
mod fiber;

use goweft_stacks::{
    Class, GUARD_SIZE, GuardKind, Magazine, Stack, Stats, decay, reserve, reserve_many, stats,
    trim, unreserve,
};
use proptest::prelude::*;
use std::io::ErrorKind;

fn class(kib: usize) -> Class {
    Class::for_size(kib << 10).unwrap()
}

/// Whether the kernel can read the byte at `address`.
fn readable(address: usize) -> bool {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors; the kernel checks the address.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let n = libc::write(ends[1], std::ptr::with_exposed_provenance(address), 1);
        libc::close(ends[0]);
        libc::close(ends[1]);
        n == 1
    }
}

/// Writes to the uppermost `pages` pages of a stack.
fn touch(stack: &Stack, pages: usize) {
    for page in 0..pages {
        // SAFETY: the stack's own memory, as the class is large enough.
        unsafe { stack.top().sub(64 + page * 4096).write_volatile(0xA5) };
    }
}

#[test]
fn a_stack_is_usable_from_limit_to_top_and_guarded_below() {
    for class in Class::all() {
        let stack = Stack::new(class).unwrap();
        let len = stack.top().addr() - stack.limit().addr();
        assert!(len <= class.usable() && len + 960 >= class.usable());
        assert!(class.usable() + GUARD_SIZE >= class.size());
        assert!(stack.top().addr().is_multiple_of(64));
        // SAFETY: the range is the stack's own memory.
        unsafe {
            stack.limit().write(1);
            stack.top().sub(1).write(2);
            assert_eq!(stack.limit().read() + stack.top().sub(1).read(), 3);
        }
        let limit = stack.limit().addr();
        assert!(
            !readable(limit - 1) && !readable(limit - GUARD_SIZE),
            "{class:?}"
        );
    }
}

#[test]
fn neighbours_have_different_colours() {
    let class = class(32);
    let stacks: Vec<Stack> = (0..16).map(|_| Stack::new(class).unwrap()).collect();
    let mut colours: Vec<usize> = stacks.iter().map(|s| s.top().addr() / 64 % 16).collect();
    colours.sort_unstable();
    colours.dedup();
    assert_eq!(colours.len(), 16);
}

#[test]
fn a_magazine_returns_the_stack_put_last() {
    let mut magazine = Magazine::new();
    let class = class(64);
    reserve_many(class, 2).unwrap();
    let a = magazine.take(class).unwrap();
    let b = magazine.take(class).unwrap();
    let top_b = b.top();
    assert_ne!(a.top(), top_b);
    magazine.put(a);
    magazine.put(b);
    reserve(class).unwrap();
    let c = magazine.take(class).unwrap();
    assert_eq!(c.top(), top_b);
    // SAFETY: the raw pointer is taken back once.
    let c = unsafe { Stack::from_raw(c.into_raw()) };
    assert_eq!(c.top(), top_b);
}

#[test]
fn a_stack_of_256_kib_can_be_used_to_its_end() {
    fiber::run(Class::DEFAULT, || {
        let here = 0u8;
        let bytes = Class::DEFAULT.usable() - (12 << 10);
        assert!(fiber::recurse((&raw const here).addr(), bytes) > 100);
    });
}

#[test]
fn a_stack_of_one_gib_can_be_used_to_its_end() {
    let name = "a_stack_of_one_gib_can_be_used_to_its_end";
    // A child, because it needs a GiB of memory for a moment.
    if child::in_child(name, &[]) {
        return;
    }
    let class = class(1 << 20);
    fiber::run(class, move || {
        let here = 0u8;
        let bytes = class.usable() - (64 << 10);
        assert!(fiber::recurse((&raw const here).addr(), bytes) > 100_000);
    });
}

#[test]
fn pages_come_back_after_a_trim_and_guards_stay() {
    let name = "pages_come_back_after_a_trim_and_guards_stay";
    if child::emulated() || child::in_child(name, &[]) {
        return;
    }
    let (count, pages) = (2000, 4);
    let stacks: Vec<Stack> = (0..count)
        .map(|_| Stack::new(Class::DEFAULT).unwrap())
        .collect();
    stacks.iter().for_each(|s| touch(s, pages));
    let limits: Vec<usize> = stacks.iter().map(|s| s.limit().addr()).collect();
    drop(stacks);
    let full = child::status_bytes("VmRSS:");
    let estimate = stats().resident_bytes;
    let exact = count * pages * 4096;
    assert!(
        (exact / 2..exact * 2).contains(&estimate),
        "{estimate} for {exact}"
    );
    let returned = trim();
    let least = (count - 256) * pages * 4096;
    assert!(returned >= least, "{returned} of {least}");
    let after = child::status_bytes("VmRSS:");
    assert!(full - after >= least * 9 / 10, "{full} -> {after}");
    assert!(stats().cold >= count - 256);
    // All can be taken again, empty, and are still guarded.
    let again: Vec<Stack> = (0..count)
        .map(|_| Stack::new(Class::DEFAULT).unwrap())
        .collect();
    assert_eq!(stats().high_water, count);
    assert!(limits.iter().all(|l| !readable(l - 1)));
    let zeroed = again.iter().filter(|s| {
        // SAFETY: the stack's own memory.
        unsafe { s.top().sub(64).read_volatile() == 0 }
    });
    assert!(zeroed.count() >= count - 256);
}

#[test]
fn decay_spares_what_was_used_since_the_last_look() {
    let name = "decay_spares_what_was_used_since_the_last_look";
    if child::emulated() || child::in_child(name, &[]) {
        return;
    }
    let burst = || {
        let stacks: Vec<Stack> = (0..1000)
            .map(|_| Stack::new(Class::DEFAULT).unwrap())
            .collect();
        stacks.iter().for_each(|s| touch(s, 1));
    };
    burst();
    decay();
    // Used again within the interval: stays.
    burst();
    assert_eq!(decay(), 0);
    assert_eq!(stats().cold, 0);
    // An interval without use.
    assert!(decay() >= 700 * 4096);
}

#[test]
fn a_million_stacks_with_guards_fit_the_default_limits() {
    let name = "a_million_stacks_with_guards_fit_the_default_limits";
    if child::in_child(name, &[]) {
        return;
    }
    if stats().guard == GuardKind::Mprotect {
        return; // The limit of that guard has a test of its own.
    }
    // Half a KiB of page tables each. Fewer where memory is short.
    let available = child::proc_bytes("/proc/meminfo", "MemAvailable:");
    let count = if available >= 3 << 30 {
        1_000_000
    } else {
        100_000
    };
    let tables = child::status_bytes("VmPTE:");
    let stacks: Vec<Stack> = (0..count)
        .map(|_| Stack::new(Class::DEFAULT).unwrap())
        .collect();
    let s = stats();
    assert_eq!((s.live, s.promised, s.free), (count, count, 0));
    let tables = child::status_bytes("VmPTE:") - tables;
    let each = tables as f64 / count as f64;
    assert!(each < 540.0, "{each} bytes of page tables each");
    let ratio = s.page_table_bytes as f64 / tables as f64;
    assert!((0.9..1.1).contains(&ratio), "estimate is off by {ratio}");
    let maps = std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count();
    assert!(maps < 1000, "{maps} mappings");
    let limit = stacks[count / 2].limit().addr();
    assert!(!readable(limit - 1) && readable(limit));
    println!("{count} stacks: {each:.0} bytes of page tables each, {maps} mappings");
}

#[test]
fn the_mapping_limit_is_an_error_that_names_the_sysctl_and_passes() {
    let name = "the_mapping_limit_is_an_error_that_names_the_sysctl_and_passes";
    if child::in_child(name, &[("GOWEFT_STACKS_GUARD", "mprotect")]) {
        return;
    }
    assert_eq!(stats().guard, GuardKind::Mprotect);
    let class = class(16);
    let mut stacks = Vec::new();
    let error = loop {
        match Stack::new(class) {
            Ok(stack) => stacks.push(stack),
            Err(e) => break e,
        }
        if stacks.len() == 1_000_000 {
            return; // Somebody raised the limit that far.
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    // The rest of the process still has mappings.
    std::thread::spawn(|| drop(vec![1u8; 64 << 20]))
        .join()
        .unwrap();
    // It works again for as many as end.
    stacks.truncate(stacks.len() - 100);
    reserve_many(class, 100).unwrap();
    assert!(reserve(class).is_err());
    unreserve(class, 100);
    for _ in 0..100 {
        stacks.push(Stack::new(class).unwrap());
    }
    assert!(stacks.len() > 1000, "{}", stacks.len());
}

#[test]
fn strict_overcommit_charges_slots_as_they_are_promised() {
    let name = "strict_overcommit_charges_slots_as_they_are_promised";
    if child::in_child(name, &[("GOWEFT_STACKS_OVERCOMMIT", "strict")]) {
        return;
    }
    // Only what is open counts as data of the process.
    let data = || child::status_bytes("VmData:");
    let before = data();
    reserve_many(Class::DEFAULT, 100).unwrap();
    let grown = data() - before;
    assert!(
        (100 * (192 << 10)..=110 * (256 << 10)).contains(&grown),
        "{grown}"
    );
    unreserve(Class::DEFAULT, 100);
    a_stack_of_256_kib_can_be_used_to_its_end();
    let stacks: Vec<Stack> = (0..300)
        .map(|_| Stack::new(Class::DEFAULT).unwrap())
        .collect();
    stacks.iter().for_each(|s| touch(s, 40));
    assert!(stacks.iter().all(|s| !readable(s.limit().addr() - 1)));
    let s = stats();
    assert_eq!((s.live, s.promised), (300, 300));
}

#[test]
fn the_limit_on_address_space_is_an_error_and_passes() {
    let name = "the_limit_on_address_space_is_an_error_and_passes";
    if child::in_child(name, &[]) {
        return;
    }
    let limit = libc::rlimit {
        rlim_cur: 3 << 30,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a complete value; the child is ours to limit.
    if unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } != 0 {
        panic!("setrlimit: {}", std::io::Error::last_os_error());
    }
    let class = class(4 << 10);
    let mut stacks = Vec::new();
    let error = loop {
        match Stack::new(class) {
            Ok(stack) => stacks.push(stack),
            Err(e) => break e,
        }
        if stacks.len() > 1000 {
            return; // An emulator does not enforce the limit.
        }
    };
    assert!(error.to_string().contains("ulimit -v"), "{error}");
    assert!(
        stacks.len() > 300,
        "small slabs fill the rest: {}",
        stacks.len()
    );
    stacks.pop();
    stacks.push(Stack::new(class).unwrap());
}

#[test]
fn threads_share_the_depot_without_losing_or_doubling_stacks() {
    let class = class(2 << 10);
    let threads: Vec<_> = (0..4)
        .map(|id: u8| {
            std::thread::spawn(move || {
                let mut magazine = Magazine::new();
                let mut mine: Vec<Stack> = Vec::new();
                for round in 0..3000usize {
                    if round * 7 % 13 < 7 && mine.len() < 40 {
                        magazine.reserve(class).unwrap();
                        let stack = magazine.take(class).unwrap();
                        // SAFETY: ours alone, which is what is tested.
                        unsafe { stack.top().sub(1).write_volatile(id) };
                        mine.push(stack);
                    } else if let Some(stack) = mine.pop() {
                        // SAFETY: as above.
                        assert_eq!(unsafe { stack.top().sub(1).read_volatile() }, id);
                        if round % 5 == 0 {
                            drop(stack)
                        } else {
                            magazine.put(stack)
                        }
                    }
                    if round % 500 == 0 {
                        trim();
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let s = Stats::of(class);
    assert_eq!((s.live, s.promised), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(usize),
    ReserveHere,
    Unreserve,
    Take,
    Put,
    Drop,
    Drain,
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1usize..40).prop_map(Step::Reserve),
        3 => Just(Step::ReserveHere),
        1 => Just(Step::Unreserve),
        8 => Just(Step::Take),
        6 => Just(Step::Put),
        1 => Just(Step::Drop),
        1 => Just(Step::Drain),
        1 => Just(Step::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn promises_are_kept_and_the_sums_add_up(steps in prop::collection::vec((0..2usize, step()), 1..300)) {
        let class = class(512);
        let mut magazines = [Magazine::new(), Magazine::new()];
        let (mut promised, mut live) = (0, Vec::<Stack>::new());
        for (m, step) in steps {
            let magazine = &mut magazines[m];
            match step {
                Step::Reserve(n) => {
                    reserve_many(class, n).unwrap();
                    promised += n;
                }
                Step::ReserveHere => {
                    magazine.reserve(class).unwrap();
                    promised += 1;
                }
                Step::Unreserve if promised > 0 => {
                    magazine.unreserve(class);
                    promised -= 1;
                }
                Step::Take if promised > 0 => {
                    let stack = magazine.take(class).unwrap();
                    prop_assert!(live.iter().all(|s| s.limit() != stack.limit()));
                    promised -= 1;
                    live.push(stack);
                }
                Step::Put if !live.is_empty() => magazine.put(live.remove(0)),
                Step::Drop if !live.is_empty() => drop(live.pop()),
                Step::Drain => magazine.drain(),
                Step::Trim => drop(trim()),
                _ => {}
            }
            let s = Stats::of(class);
            let cached = magazines.iter().map(Magazine::cached).sum::<usize>();
            prop_assert_eq!(s.live, live.len() + cached);
            prop_assert!(s.promised >= live.len() + cached + promised);
            prop_assert!(s.promised <= live.len() + cached + promised + 2 * 64);
            prop_assert!(s.high_water >= s.live);
            let slots = s.live + s.free + s.fresh;
            prop_assert_eq!(slots * class.size(), s.reserved_bytes);
            prop_assert!(s.promised <= slots);
        }
        unreserve(class, promised);
        drop(live);
        drop(magazines);
        let s = Stats::of(class);
        prop_assert_eq!((s.promised, s.live), (0, 0));
    }
}
