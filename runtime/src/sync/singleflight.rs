//! Many callers that want the same thing share one call: Go's `singleflight`.
//!
//! A call is in the map under its key while it runs. The caller that put it there
//! leads: it runs the closure, takes the call out of the map, and publishes what came
//! of it; those who find it in the map follow. `Leader` publishes even when it is
//! dropped on the way (the goroutine could not be spawned, a copy of the value or the hash of the
//! key panicked), so that nobody follows for ever.
//!
//! The map's lock is held while keys are hashed and compared, which is user code, so it is one of
//! goweft's own. Who follows, and how many they are, is settled under it too.

use super::{Mutex, OnceLock};
use crate::channel::{self, Receiver, Sender};
use crate::task::Exited;
use std::any::Any;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls that are on their way, by key.
///
/// # Examples
///
/// ```
/// use goweft::sync::{Barrier, singleflight::Group};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let (lookups, queries, start) = (Group::new(), AtomicU32::new(0), Barrier::new(4));
/// goweft::scope(|s| {
///     for _ in 0..4 {
///         s.spawn(|| {
///             start.wait();
///             let (address, _shared) = lookups.call("gopher.example", || {
///                 queries.fetch_add(1, Ordering::Relaxed);
///                 goweft::task::sleep(std::time::Duration::from_millis(20));
///                 [127, 0, 0, 1]
///             });
///             assert_eq!(address, [127, 0, 0, 1]);
///         });
///     }
/// });
/// assert!(queries.into_inner() <= 4);
/// ```
pub struct Group<K, V> {
    calls: Arc<Calls<K, V>>,
}

type Calls<K, V> = Mutex<HashSet<ByKey<K, V>>>;

struct Call<K, V> {
    key: K,
    /// Somebody follows: set under the map's lock.
    shared: AtomicBool,
    /// Who follows by channel.
    channels: Mutex<Vec<Sender<(V, bool)>>>,
    outcome: OnceLock<Outcome<V>>,
}

enum Outcome<V> {
    Returned(V),
    /// With the text of the panic.
    Panicked(String),
    Exited,
}

/// A call in the map.
struct ByKey<K, V>(Arc<Call<K, V>>);

impl<K, V> Borrow<K> for ByKey<K, V> {
    fn borrow(&self) -> &K {
        &self.0.key
    }
}

impl<K: Hash, V> Hash for ByKey<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl<K: PartialEq, V> PartialEq for ByKey<K, V> {
    fn eq(&self, other: &ByKey<K, V>) -> bool {
        self.0.key == other.0.key
    }
}

impl<K: Eq, V> Eq for ByKey<K, V> {}

impl<K, V> UnwindSafe for Group<K, V> {}
impl<K, V> RefUnwindSafe for Group<K, V> {}

/// What somebody who comes is.
enum Role<K: Hash + Eq, V> {
    Leads(Leader<K, V>),
    Follows(Arc<Call<K, V>>),
}

impl<K: Hash + Eq, V: Clone> Group<K, V> {
    /// Without calls.
    pub fn new() -> Group<K, V> {
        Group {
            calls: Arc::new(Mutex::new(HashSet::new())),
        }
    }

    /// What `f` returns, or what the `f` of a call returns that is on its way under the same
    /// key, which is waited for. The `bool` says whether more than one caller has got it.
    ///
    /// # Panics
    /// With the panic of `f`; who waited panics with its text:
    /// `sync: a singleflight call panicked: …`. When `f` calls
    /// [`task::exit`](crate::task::exit), all of them exit. And in [`no_park`](crate::no_park),
    /// when it has to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = goweft::sync::singleflight::Group::new();
    /// assert_eq!(group.call("key", || 1), (1, false));
    /// ```
    #[doc(alias = "Do")]
    pub fn call<F: FnOnce() -> V>(&self, key: K, f: F) -> (V, bool) {
        match self.join(key, None) {
            Role::Leads(leader) => leader.run(f),
            Role::Follows(call) => match call.outcome.wait() {
                Outcome::Returned(value) => (value.clone(), true),
                Outcome::Panicked(text) => panic!("sync: a singleflight call panicked: {text}"),
                Outcome::Exited => crate::task::exit(),
            },
        }
    }

    /// As [`call`](Self::call), with `f` in a goroutine of its own, and without waiting: the
    /// channel has the result when it is there, and is closed after it (Go's `DoChan` leaves its
    /// channel open). If `f` panics or exits, the channel is closed without one; in Go the process
    /// ends for a panic, and an exit leaves the receivers waiting.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn) does, when `f` is to run; and in [`no_park`](crate::no_park),
    /// when it has to wait, for a moment, for another one who begins or ends a call.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = goweft::sync::singleflight::Group::new();
    /// let result = group.call_chan("key", || 1);
    /// assert_eq!(result.recv(), Ok((1, false)));
    /// ```
    #[doc(alias = "DoChan")]
    pub fn call_chan<F>(&self, key: K, f: F) -> Receiver<(V, bool)>
    where
        F: FnOnce() -> V + Send + 'static,
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let (tx, rx) = channel::bounded(1);
        if let Role::Leads(leader) = self.join(key, Some(tx)) {
            crate::private::go(move || leader.run(f));
        }
        rx
    }

    /// The next call under `key` runs, even if one is on its way.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait, as [`call_chan`](Self::call_chan).
    #[doc(alias = "Forget")]
    pub fn forget(&self, key: &K) {
        let forgotten = self.calls.lock().take(key);
        // Dropped without the lock.
        drop(forgotten);
    }

    fn join(&self, key: K, by_channel: Option<Sender<(V, bool)>>) -> Role<K, V> {
        let mut calls = self.calls.lock();
        if let Some(ByKey(call)) = calls.get(&key) {
            call.shared.store(true, Ordering::Relaxed);
            call.channels.lock().extend(by_channel);
            return Role::Follows(call.clone());
        }
        let call = Arc::new(Call {
            key,
            shared: AtomicBool::new(false),
            channels: Mutex::new(by_channel.into_iter().collect()),
            outcome: OnceLock::new(),
        });
        calls.insert(ByKey(call.clone()));
        Role::Leads(Leader {
            calls: self.calls.clone(),
            call,
            closed: false,
            unlisted: false,
            ended: false,
        })
    }
}

/// Who runs a call.
struct Leader<K: Hash + Eq, V> {
    calls: Arc<Calls<K, V>>,
    call: Arc<Call<K, V>>,
    /// `close` has been called, and has come to an end: nobody follows any more.
    closed: bool,
    unlisted: bool,
    /// What there is to publish is.
    ended: bool,
}

impl<K: Hash + Eq, V> Leader<K, V> {
    fn run<F: FnOnce() -> V>(mut self, f: F) -> (V, bool)
    where
        V: Clone,
    {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => {
                let (shared, channels) = self.close();
                if shared {
                    let copy = value.clone();
                    self.publish(Outcome::Returned(copy));
                }
                self.ended = true;
                for channel in channels {
                    // Its receiver may be gone.
                    let _ = channel.try_send((value.clone(), shared));
                }
                (value, shared)
            }
            Err(payload) => {
                self.close();
                self.publish(Outcome::of_panic(&*payload));
                resume_unwind(payload)
            }
        }
    }

    /// From here on nobody follows: whether somebody does, and who by channel.
    fn close(&mut self) -> (bool, Vec<Sender<(V, bool)>>) {
        let mut calls = self.calls.lock();
        // Not before: in `no_park` the lock may be refused.
        self.closed = true;
        // Unless it was forgotten: then another one may be there.
        let listed = calls
            .get(&self.call.key)
            .is_some_and(|listed| Arc::ptr_eq(&listed.0, &self.call));
        if listed {
            calls.remove(&self.call.key);
        }
        self.unlisted = true;
        let shared = self.call.shared.load(Ordering::Relaxed);
        (shared, std::mem::take(&mut self.call.channels.lock()))
    }

    fn publish(&mut self, outcome: Outcome<V>) {
        self.ended = true;
        let first = self.call.outcome.set(outcome).is_ok();
        debug_assert!(first, "a call has one leader");
    }
}

impl<K: Hash + Eq, V> Drop for Leader<K, V> {
    fn drop(&mut self) {
        if !self.closed {
            drop(self.close());
            self.publish(Outcome::Panicked("it could not be run".into()));
        } else if !self.ended {
            if !self.unlisted {
                // The hash of the key panicked, and is not asked again.
                let mut calls = self.calls.lock();
                calls.retain(|listed| !Arc::ptr_eq(&listed.0, &self.call));
                self.call.channels.lock().clear();
            }
            let text = "its value could not be handed on";
            self.publish(Outcome::Panicked(text.into()));
        }
    }
}

impl<V> Outcome<V> {
    fn of_panic(payload: &(dyn Any + Send)) -> Outcome<V> {
        if payload.is::<Exited>() {
            return Outcome::Exited;
        }
        let text = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(text), _) => (*text).to_string(),
            (_, Some(text)) => text.clone(),
            _ => "Box<dyn Any>".to_string(),
        };
        Outcome::Panicked(text)
    }
}

impl<K: Hash + Eq, V: Clone> Default for Group<K, V> {
    fn default() -> Group<K, V> {
        Group::new()
    }
}

impl<K, V> fmt::Debug for Group<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}
