//! Settings: what a program asks for, what the environment says, what holds.
//!
//! A [`Config`] is installed before the runtime starts. At the start the two are
//! put together, once: the program's word first, then the environment's, then the
//! default. After that nothing here changes.

use crate::env;
use crate::limits;
use crate::sched::m::MAX_MS;
use crate::sched::p::MAX_PROCS;
use crate::task::class_of;
use goweft_stacks::Class;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// What happens when a panic reaches the end of a goroutine. It is printed in
/// any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The goroutine ends, `join` returns the payload, all else goes on.
    #[default]
    Isolate,
    /// The process ends with status 2, as with Go; so it does when `main`
    /// panics. A panic in a closure under [`run`](crate::run) is resumed in the caller
    /// instead.
    Abort,
}

/// Whether goroutines change OS threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Migration {
    /// A goroutine goes on on any thread, as with Go.
    #[default]
    Free,
    /// A goroutine that has run stays on its thread: thread-locals and values that are not `Send`
    /// may be held over calls that park. Only those that have not begun are given to another
    /// thread that has nothing to do.
    ///
    /// The price: many share a thread, and wait for one another. While one computes, or blocks in a
    /// call of the operating system, those that live on its thread wait, though processors be idle;
    /// a `std` lock that is held over a call that parks, and that a neighbour wants, is a deadlock.
    /// So is a goroutine that waits *while it panics* (in a drop, for example) for a neighbour: its
    /// thread sleeps with it.
    ///
    /// For single goroutines: [`Builder::pinned`](crate::Builder::pinned).
    Pinned,
}

/// Settings of the runtime, to be installed once, before its first use.
///
/// ```
/// use goweft::{Config, PanicPolicy};
/// Config::new().maxprocs(2).stack_size(64 << 10).panic(PanicPolicy::Isolate).install()?;
/// assert_eq!(goweft::runtime::maxprocs(), 2);
/// # Ok::<(), goweft::ConfigError>(())
/// ```
///
/// What is set here has precedence over the environment variables (`GOWEFT_MAXPROCS`, `GOMAXPROCS`,
/// `GOWEFT_CONTAINER`, `GOWEFT_STACK`, `GOWEFT_MIGRATION`), and they over the default.
/// `GOWEFT_PREEMPT=off` has no setter: it keeps the runtime from sending signals.
#[derive(Clone, Debug, Default)]
#[must_use = "a Config has no effect until it is installed"]
pub struct Config {
    maxprocs: Option<usize>,
    stack_size: Option<usize>,
    time_slice: Option<Duration>,
    max_threads: Option<usize>,
    affinity: Option<Vec<usize>>,
    container_limits: Option<bool>,
    panic: PanicPolicy,
    migration: Option<Migration>,
    exit_on_sigquit: Option<bool>,
}

impl Config {
    /// Nothing set.
    pub fn new() -> Config {
        Config::default()
    }

    /// How many goroutines run at the same time: 1 to 1024.
    ///
    /// By default it follows the machine: it is the number of CPUs that this process
    /// may run on, or the CPU quota of its cgroups, rounded up and at least 2, if
    /// that is less. Both are looked at again while the program runs, at most once a
    /// second. The quota of every cgroup above this process counts that it can see, and the
    /// smallest holds. What is set here, by the environment or by
    /// [`set_maxprocs`](crate::runtime::set_maxprocs) stays.
    #[doc(alias = "GOMAXPROCS")]
    pub fn maxprocs(mut self, n: usize) -> Config {
        self.maxprocs = Some(n);
        self
    }

    /// Address space for a goroutine's stack, in bytes: 16 KiB to 1 GiB, rounded
    /// up to a power of two; 256 KiB by default. Memory is used as the stack
    /// grows into it.
    pub fn stack_size(mut self, bytes: usize) -> Config {
        self.stack_size = Some(bytes);
        self
    }

    /// How long a goroutine may run while others wait: at least 100 us; 10 ms by default. Then it
    /// gives way at its next call into goweft; one that makes none is stopped, together with its
    /// thread, by the signal SIGURG. What a timer, a descriptor or a plain thread wakes takes the
    /// place of one that computes earlier. Where all have done nothing but compute for some
    /// slices, of 10 ms or more, each lasts up to 16 ms longer, and up to twice as long. More than ten
    /// seconds count as ten, so that nobody waits for ever.
    pub fn time_slice(mut self, d: Duration) -> Config {
        self.time_slice = Some(d);
        self
    }

    /// The most OS threads that run goroutines: 1 to 16,384; 10,000 by default. At the
    /// limit, which is told once on stderr, goroutines that block keep their processors.
    #[doc(alias = "SetMaxThreads")]
    pub fn max_threads(mut self, n: usize) -> Config {
        self.max_threads = Some(n);
        self
    }

    /// The CPUs to which the threads that run goroutines are pinned: the first
    /// processor to the first, and so on, and from the beginning again when there are more
    /// processors than CPUs. Not pinned by default. Unless it is set, `maxprocs` is
    /// then at most the number of these CPUs.
    ///
    /// A thread that is in a call that blocks may run anywhere, so that it is not
    /// in its successor's way. Threads and processes that a goroutine starts
    /// by itself, outside [`blocking`](crate::blocking), inherit the one CPU of the thread
    /// that started them.
    pub fn affinity(mut self, cpus: &[usize]) -> Config {
        self.affinity = Some(cpus.to_vec());
        self
    }

    /// Whether the cgroups' CPU quota limits the default of `maxprocs`. It does
    /// unless this, or `GOWEFT_CONTAINER=off`, says otherwise.
    #[doc(alias = "containermaxprocs")]
    pub fn container_limits(mut self, on: bool) -> Config {
        self.container_limits = Some(on);
        self
    }

    /// What a panic in a goroutine means for the process.
    pub fn panic(mut self, policy: PanicPolicy) -> Config {
        self.panic = policy;
        self
    }

    /// Whether goroutines change OS threads: [`Migration::Free`] by default.
    pub fn migration(mut self, migration: Migration) -> Config {
        self.migration = Some(migration);
        self
    }

    /// Whether SIGQUIT ends the process after the dump of goroutines. **Has no
    /// effect in this version**, which has no such dump: SIGQUIT does what it
    /// did.
    pub fn exit_on_sigquit(mut self, on: bool) -> Config {
        self.exit_on_sigquit = Some(on);
        self
    }

    /// Makes these the settings of the process. Does not start the runtime, and
    /// does not block.
    ///
    /// # Errors
    /// [`ConfigError::Started`] when the runtime was used already, or a `Config`
    /// installed; [`ConfigError::Invalid`] for a value that is not allowed. Nothing
    /// is changed then.
    pub fn install(self) -> Result<(), ConfigError> {
        self.check()?;
        let mut stage = stage();
        match *stage {
            Stage::Open => {
                *stage = Stage::Installed(self);
                Ok(())
            }
            Stage::Installed(_) | Stage::Started => Err(ConfigError::Started),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(n) = self.maxprocs
            && !(1..=MAX_PROCS).contains(&n)
        {
            return Err(ConfigError::invalid("maxprocs", &n, "1 to 1024"));
        }
        if let Some(n) = self.stack_size
            && class_of(n).is_none()
        {
            return Err(ConfigError::invalid(
                "stack_size",
                &n,
                "16 KiB to 1 GiB (16384 to 1073741824 bytes)",
            ));
        }
        if let Some(d) = self.time_slice
            && d < Duration::from_micros(100)
        {
            return Err(ConfigError::invalid(
                "time_slice",
                &format_args!("{d:?}"),
                "100 us or more",
            ));
        }
        if let Some(n) = self.max_threads
            && !(1..=MAX_MS).contains(&n)
        {
            return Err(ConfigError::invalid("max_threads", &n, "1 to 16384"));
        }
        if let Some(cpus) = &self.affinity {
            if cpus.is_empty() {
                return Err(ConfigError::invalid("affinity", &"[]", "at least one CPU"));
            }
            check_affinity(cpus)?;
        }
        Ok(())
    }
}

/// Where the kernel does not tell which CPUs there are, all are believed to be.
fn check_affinity(cpus: &[usize]) -> Result<(), ConfigError> {
    let Some(ours) = limits::cpus() else {
        return Ok(());
    };
    let Some(cpu) = cpus.iter().find(|&&cpu| !ours.contains(cpu)) else {
        return Ok(());
    };
    let there_are = limits::configured_cpus();
    let why = if *cpu < there_are {
        "this process may not run on that one".to_owned()
    } else {
        format!("this machine has {there_are}, counted from 0")
    };
    let allowed = format!("a CPU of {ours}; {why}");
    Err(ConfigError::invalid("affinity", cpu, allowed))
}

/// Why [`Config::install`] refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The runtime was used already, or a `Config` was installed before.
    Started,
    /// A value that is not allowed.
    Invalid {
        /// The setter's name.
        option: &'static str,
        /// What it was given.
        value: String,
        /// What is allowed.
        allowed: Cow<'static, str>,
    },
}

impl ConfigError {
    fn invalid(
        option: &'static str,
        value: &dyn fmt::Display,
        allowed: impl Into<Cow<'static, str>>,
    ) -> ConfigError {
        ConfigError::Invalid {
            option,
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Started => {
                f.write_str("the runtime has started, or a Config was installed; settings must come before its first use")
            }
            ConfigError::Invalid { option, value, allowed } => {
                write!(f, "{option} can't be {value}: allowed is {allowed}")
            }
        }
    }
}

impl Error for ConfigError {}

enum Stage {
    Open,
    Installed(Config),
    Started,
}

static STAGE: Mutex<Stage> = Mutex::new(Stage::Open);
static SETTINGS: OnceLock<Settings> = OnceLock::new();

fn stage() -> std::sync::MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(|e| e.into_inner())
}

/// What holds from the start on.
pub(crate) struct Settings {
    /// None: it follows the machine.
    pub(crate) maxprocs: Option<usize>,
    container_limits: bool,
    pub(crate) class: Class,
    pub(crate) time_slice: Duration,
    max_threads: usize,
    affinity: Option<Vec<usize>>,
    panic: PanicPolicy,
    pub(crate) migration: Migration,
    preempt: bool,
}

/// Puts everything together, at the start. Says on stderr which variables of the
/// environment can't be used.
pub(crate) fn settle() -> &'static Settings {
    let mut stage = stage();
    let config = match std::mem::replace(&mut *stage, Stage::Started) {
        Stage::Installed(config) => config,
        Stage::Open | Stage::Started => Config::new(),
    };
    drop(stage);
    SETTINGS.get_or_init(|| Settings {
        maxprocs: config.maxprocs.or_else(env::maxprocs),
        container_limits: config
            .container_limits
            .or_else(env::container_limits)
            .unwrap_or(true),
        class: config
            .stack_size
            .and_then(class_of)
            .or_else(env::stack_class)
            .unwrap_or(Class::DEFAULT),
        time_slice: config.time_slice.unwrap_or(Duration::from_millis(10)),
        max_threads: config.max_threads.unwrap_or(10_000),
        affinity: config.affinity,
        panic: config.panic,
        migration: config.migration.or_else(env::migration).unwrap_or_default(),
        preempt: env::preempt(),
    })
}

/// The most Ms there may be.
pub(crate) fn max_threads() -> usize {
    SETTINGS.get().map_or(10_000, |s| s.max_threads)
}

/// Whether threads that compute for too long are parked by signal.
pub(crate) fn preempts_by_signal() -> bool {
    SETTINGS.get().is_none_or(|s| s.preempt)
}

/// Whether quotas count.
pub(crate) fn container_limits() -> bool {
    SETTINGS.get().is_none_or(|s| s.container_limits)
}

/// The CPUs to pin Ms to: that of its P.
pub(crate) fn affinity() -> Option<&'static [usize]> {
    SETTINGS.get()?.affinity.as_deref()
}

/// `PanicPolicy::Abort`.
pub(crate) fn panics_end_the_process() -> bool {
    SETTINGS
        .get()
        .is_some_and(|s| s.panic == PanicPolicy::Abort)
}
