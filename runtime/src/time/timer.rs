//! `Timer` and `Ticker`: a channel of ticks that can be stopped and set again; and
//! `after_func`, a timer that calls a function.
//!
//! The ticks are `channel/timer.rs`: a timer that nobody waits on is in no heap. A
//! function is a goroutine that begins later (`sched/later.rs`); each setting is
//! a new one, and whoever sets or stops takes the one before back.

use crate::channel::timer::Channel;
use crate::channel::{self, Receiver, ticks};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::sched::Inside;
use crate::sched::later::Later;
use crate::sync::Mutex;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Delivers the time once, on its [`channel`](Timer::channel).
///
/// What it delivers is the time at which it was due. As in Go since 1.23 nothing
/// stale is ever received: after [`stop`](Timer::stop) or [`reset`](Timer::reset) a
/// tick that was due, but not received, is gone.
///
/// A clone of the channel's receiver outlives the timer: dropping the timer stops nothing, it only
/// takes away who could. What nobody can receive costs nothing.
///
/// # Examples
///
/// ```
/// use goweft::{select, time::Timer};
/// use std::time::Duration;
///
/// let idle = Timer::new(Duration::from_millis(10));
/// let (tx, rx) = goweft::channel::unbounded();
/// tx.send("request").unwrap();
/// let mut requests = 0;
/// loop {
///     select! {
///         recv(rx) -> _ => {
///             requests += 1;
///             idle.reset(Duration::from_millis(10));
///         }
///         recv(idle.channel()) -> _ => break,
///     }
/// }
/// assert_eq!(requests, 1);
/// ```
pub struct Timer {
    what: What,
    channel: Receiver<Instant>,
}

/// What happens when a timer is due.
enum What {
    /// A tick can be received.
    Tick(Arc<Channel>),
    /// A function is called.
    Call(Arc<Call>),
}

impl Timer {
    /// A timer that is due in `duration`.
    #[doc(alias = "NewTimer")]
    pub fn new(duration: Duration) -> Timer {
        let core = Arc::new(Channel::new(clock::due(duration), 0));
        Timer {
            channel: ticks(core.clone()),
            what: What::Tick(core),
        }
    }

    /// Where the tick is received. Nothing ever comes for a timer of
    /// [`after_func`].
    #[doc(alias = "C")]
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// Stops it. True: this prevented the tick from being received, or the function
    /// from being called; false: that happened already, or the timer is stopped. It
    /// does not wait for a function that runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::time::Timer;
    /// use std::time::Duration;
    ///
    /// let timer = Timer::new(Duration::ZERO); // due at once
    /// assert!(timer.stop()); // but nobody had received it
    /// assert!(timer.channel().try_recv().is_err());
    /// assert!(!timer.stop());
    /// ```
    pub fn stop(&self) -> bool {
        match &self.what {
            What::Tick(core) => core.set(None, 0),
            What::Call(call) => call.stop(),
        }
    }

    /// Sets it to be due in `duration` from now. True: what it was set to before was
    /// still to happen, and will not happen any more.
    ///
    /// A timer of [`after_func`] that has called its function calls it once more.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::time::Timer;
    /// use std::time::Duration;
    ///
    /// let timer = Timer::new(Duration::from_secs(3600));
    /// assert!(timer.reset(Duration::from_millis(1)));
    /// timer.channel().recv()?;
    /// assert!(!timer.reset(Duration::from_millis(1))); // it was received
    /// timer.channel().recv()?;
    /// # Ok::<(), goweft::channel::RecvError>(())
    /// ```
    pub fn reset(&self, duration: Duration) -> bool {
        match &self.what {
            What::Tick(core) => core.set(Some(duration), 0),
            What::Call(call) => call.reset(duration),
        }
    }
}

/// Calls `f` after `duration`, in a goroutine of its own.
///
/// The [`Timer`] that this returns can be stopped and set again; dropping it changes
/// nothing. Its [`channel`](Timer::channel) never delivers.
///
/// Where Go may call the function a second time, after a reset, while the first call
/// still runs, here the second one waits for the first: so `f` may change what it
/// owns.
///
/// What `f` returns is dropped there. A closure that consumes something can do so once, though a reset may call it again: put it in an
/// `Option`, and `take` it.
///
/// ```
/// use goweft::{channel, time};
/// use std::time::Duration;
///
/// let (tx, rx) = channel::bounded::<()>(0);
/// let mut tx = Some(tx);
/// time::after_func(Duration::ZERO, move || drop(tx.take()));
/// assert!(rx.recv().is_err());
/// ```
///
/// Until it is due it costs no goroutine: neither a stack nor a place in
/// [`num_goroutines`](crate::runtime::num_goroutines).
///
/// # Examples
///
/// ```
/// use goweft::{channel, time};
/// use std::time::Duration;
///
/// let (tx, rx) = channel::bounded(1);
/// let timer = time::after_func(Duration::from_millis(1), move || tx.send("due").unwrap());
/// assert_eq!(rx.recv(), Ok("due"));
/// assert!(!timer.stop());
/// timer.reset(Duration::ZERO);
/// assert_eq!(rx.recv(), Ok("due"));
/// ```
#[doc(alias = "AfterFunc")]
#[track_caller]
pub fn after_func<F, T>(duration: Duration, mut f: F) -> Timer
where
    F: FnMut() -> T + Send + 'static,
{
    let call = Arc::new(Call {
        f: Mutex::new(Box::new(move || drop(f()))),
        setting: ShortLock::new(None),
        at: Location::caller(),
    });
    call.reset(duration);
    Timer {
        what: What::Call(call),
        channel: channel::never(),
    }
}

/// A function that is called when its timer is due.
struct Call {
    f: Mutex<Box<dyn FnMut() + Send>>,
    /// What was set last; it may have come to pass. None: stopped.
    setting: ShortLock<Option<Later>>,
    at: &'static Location<'static>,
}

impl Call {
    fn stop(&self) -> bool {
        self.set(None, NEVER)
    }

    fn reset(self: &Arc<Self>, duration: Duration) -> bool {
        let call = self.clone();
        let later = crate::task::later(move || (call.f.lock())(), self.at);
        self.set(Some(later), clock::due(duration))
    }

    /// Replaces the setting. True: the one before had not come to pass.
    fn set(&self, new: Option<Later>, when: Nanos) -> bool {
        let mut inside = Inside::enter();
        let old = std::mem::replace(&mut *self.setting.lock(&inside), new);
        let revoked = old.and_then(|old| old.revoke(&mut inside));
        if let Some(later) = new {
            // If somebody has replaced it by now, this does nothing.
            later.arm(&mut inside, when);
        }
        drop(inside);
        revoked.is_some()
    }
}

/// Delivers the time again and again, on its [`channel`](Ticker::channel).
///
/// A slow receiver misses ticks: at most one is kept, and the next one comes when
/// it would have come anyway.
///
/// Dropping the ticker does not stop it for clones of the channel's receiver: they go on
/// ticking, and nobody can stop them any more.
///
/// # Examples
///
/// ```
/// use goweft::time::Ticker;
/// use std::time::Duration;
///
/// let ticker = Ticker::new(Duration::from_millis(1));
/// for _ in 0..3 {
///     ticker.channel().recv()?;
/// }
/// assert!(ticker.stop());
/// # Ok::<(), goweft::channel::RecvError>(())
/// ```
pub struct Ticker {
    core: Arc<Channel>,
    channel: Receiver<Instant>,
}

impl Ticker {
    /// A ticker that ticks each `period`, for the first time one `period` from
    /// now.
    ///
    /// # Panics
    /// When `period` is zero: `time: non-positive interval for Ticker::new`.
    #[doc(alias = "NewTicker")]
    #[track_caller]
    pub fn new(period: Duration) -> Ticker {
        let nanos = positive(period, "new");
        let core = Arc::new(Channel::new(clock::due(period), nanos));
        Ticker {
            channel: ticks(core.clone()),
            core,
        }
    }

    /// Where the ticks are received.
    #[doc(alias = "C")]
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// Stops it; the channel stays open. True: it was ticking.
    pub fn stop(&self) -> bool {
        self.core.set(None, 0)
    }

    /// Lets it tick each `period` from now on. True: it was ticking.
    ///
    /// # Panics
    /// When `period` is zero: `time: non-positive interval for Ticker::reset`.
    #[track_caller]
    pub fn reset(&self, period: Duration) -> bool {
        let nanos = positive(period, "reset");
        self.core.set(Some(period), nanos)
    }
}

/// # Panics
/// When it is not.
#[track_caller]
fn positive(period: Duration, what: &str) -> Nanos {
    assert!(
        !period.is_zero(),
        "time: non-positive interval for Ticker::{what}"
    );
    clock::nanos(period)
}

impl UnwindSafe for Timer {}
impl RefUnwindSafe for Timer {}
impl UnwindSafe for Ticker {}
impl RefUnwindSafe for Ticker {}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer { .. }")
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticker { .. }")
    }
}
