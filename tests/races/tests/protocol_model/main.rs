//! Who owns a P: the protocol of thefts, hand-offs and preemption as a model, every
//! state of which is looked at.
//!
//! The protocol itself stands in `runtime/src/sched/README.md`; a change of it belongs here
//! first. What is checked in each state that can be reached:
//!
//! - each P is in exactly one place: with an M, on its way to one, idle, or
//!   in the monitor's hand. None is used by two, none is lost;
//! - nobody is woken for nothing, claimed twice, queued twice;
//! - no M rests while a goroutine that lives on it is runnable (step 19; in models with homes);
//! - every M can come to run with a P again, and every P to be used.
//!
//! The other tests here each make one part of the protocol simpler, in a way that looks
//! right, and show what goes wrong. They also show that the model would notice.

mod explore;
mod state;
mod steps;

use explore::explore;
use state::Model;
use steps::Rule;

/// All is well with so many Ms and Ps. The number of states stands for the model: when one
/// changes, so does the other, and both are to be looked at.
#[track_caller]
fn holds(model: &Model, states: usize) {
    match explore(model, Rule::AsWritten) {
        Ok(found) => {
            assert_eq!(found.stuck, 0, "after:\n{}", found.way_to_stuck);
            assert_eq!(found.states, states, "{} transitions", found.transitions);
        }
        Err(found) => panic!("{} after:\n{}", found.what, found.way),
    }
}

/// What goes wrong, after what. Found among few states: it is not far-fetched.
#[track_caller]
fn fails(rule: Rule, model: &Model, what: &str, last_steps: &[&str]) {
    let found = match explore(model, rule) {
        Ok(found) => panic!(
            "{rule:?} is right in {} states, {} of them stuck after:\n{}",
            found.states, found.stuck, found.way_to_stuck
        ),
        Err(found) => found,
    };
    let way: Vec<_> = found.way.lines().collect();
    assert_eq!(found.what, what, "after:\n{}", found.way);
    assert!(way.ends_with(last_steps), "{}", found.way);
    assert!(found.states < 7_000, "{}", found.states);
}

#[test]
fn two_threads_and_one_processor() {
    holds(&Model::new(2, 1), 6_762);
}

#[test]
fn two_threads_and_two_processors() {
    holds(&Model::new(2, 2), 18_381);
}

#[test]
fn three_threads_and_one_processor() {
    holds(&Model::new(3, 1), 110_358);
}

#[test]
fn three_threads_and_two_processors() {
    holds(&Model::new(3, 2), 453_262);
}

/// Between its look at the word and its store the monitor steals the P that it is
/// about to give away.
#[test]
fn a_handler_that_gives_its_own_p_away_gives_a_stolen_one() {
    let last = [
        "M0 handler: looks at the word",
        "M0 theft: Owns to Pending",
        "theft: rt is even",
        "M0 theft: Pending to Stolen",
    ];
    let what = "P0 is in two places: M0, the monitor";
    fails(Rule::HandlerGivesItsP, &Model::new(2, 1), what, &last);
}

/// Made ready before it has given its P on, an M is woken with another one, and gives
/// that away instead of its own.
#[test]
fn a_giver_that_writes_the_word_has_the_taker_give_the_wrong_p_away() {
    let last = [
        "M1 its bound goroutine parks",
        "M1 8: made ready",
        "M1 6: an idle P to a bound M",
        "M1 8: its P is idle",
    ];
    let what = "P0 is in two places: M1, idle";
    fails(Rule::OneWordResume, &Model::new(2, 2), what, &last);
}

/// It is woken, runs, and waits again, while its first entry still stands in the queue.
#[test]
fn a_rescue_that_claims_nothing_leaves_a_running_thread_in_the_queue() {
    let last = [
        "M0 handler: into the queue",
        "M0 rescue: woken",
        "M0 wakes",
        "M0 handler: returns",
        "M0 enter: rt odd",
        "M0 5c: Stolen to Waiting",
    ];
    fails(
        Rule::RescueWithoutClaim,
        &Model::new(2, 1),
        "M0 is queued twice",
        &last,
    );
}

/// The monitor gives a theft up after the thread has given its P on by itself.
#[test]
fn plain_stores_bring_a_p_back_that_was_given_on() {
    let last = [
        "M0 theft: Owns to Pending",
        "M0 blocking: the word goes to Stolen",
        "M0 blocking: its P is idle",
        "theft: rt is odd",
        "M0 theft: given up",
    ];
    let what = "P0 is in two places: M0, idle";
    fails(Rule::StoresForCas, &Model::new(2, 1), what, &last);
}

#[test]
fn two_threads_with_homes_and_one_processor() {
    holds(&Model::with_homes(2, 1), 20_568);
}

#[test]
fn two_threads_with_homes_and_two_processors() {
    holds(&Model::with_homes(2, 2), 57_441);
}

#[test]
fn three_threads_with_homes_and_one_processor() {
    holds(&Model::with_homes(3, 1), 447_292);
}

/// The M that rests does not look at its inbox.
#[test]
fn an_inbox_alone_wakes_nobody() {
    let last = ["M1 19: who lives here is runnable"];
    let what = "M1 rests, and who lives there is runnable";
    fails(Rule::InboxOnly, &Model::with_homes(2, 1), what, &last);
}

/// Between the look and the rest somebody becomes runnable.
#[test]
fn an_m_that_looks_before_it_rests_forgets_who_comes_in_between() {
    let last = ["M0 its P is idle"];
    let what = "M0 rests, and who lives there is runnable";
    fails(
        Rule::LooksBeforeItRests,
        &Model::with_homes(2, 1),
        what,
        &last,
    );
}
