//! Why a context is done.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};

/// Why a [`Context`](super::Context) is done.
///
/// It converts into an [`io::Error`], for `?` in functions that do input and output:
/// a missed deadline is of kind [`TimedOut`](io::ErrorKind::TimedOut), a cancellation of
/// kind [`Other`](io::ErrorKind::Other). (Not `Interrupted`: loops around
/// reads try that one again.)
///
/// ```
/// use goweft::context::ContextError;
///
/// assert_eq!(ContextError::Canceled.to_string(), "context canceled");
/// let e = std::io::Error::from(ContextError::DeadlineExceeded);
/// assert_eq!(e.kind(), std::io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ContextError {
    /// It was cancelled: by its own cancel function or that of a context it comes
    /// from.
    Canceled,
    /// Its deadline, or that of a context it comes from, has passed.
    DeadlineExceeded,
}

impl ContextError {
    /// Whether it is the deadline.
    #[doc(alias = "Timeout")]
    pub fn is_timeout(self) -> bool {
        self == ContextError::DeadlineExceeded
    }

    /// Itself as the cause, for those that are done without another one.
    pub(super) fn as_cause(self) -> Cause {
        static CANCELED: LazyLock<Cause> = LazyLock::new(|| Arc::new(ContextError::Canceled));
        static DEADLINE: LazyLock<Cause> =
            LazyLock::new(|| Arc::new(ContextError::DeadlineExceeded));
        match self {
            ContextError::Canceled => CANCELED.clone(),
            ContextError::DeadlineExceeded => DEADLINE.clone(),
        }
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextError::Canceled => "context canceled",
            ContextError::DeadlineExceeded => "context deadline exceeded",
        })
    }
}

impl Error for ContextError {}

impl From<ContextError> for io::Error {
    fn from(e: ContextError) -> io::Error {
        let kind = match e {
            ContextError::Canceled => io::ErrorKind::Other,
            ContextError::DeadlineExceeded => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, e)
    }
}

/// The error with which somebody cancelled a context: see
/// [`Context::cause`](super::Context::cause).
pub type Cause = Arc<dyn Error + Send + Sync>;

/// `e` as a cause. A `Cause` is an error too, and is itself.
pub(super) fn cause_of<E: Error + Send + Sync + 'static>(e: E) -> Cause {
    let any: &dyn std::any::Any = &e;
    match any.downcast_ref::<Cause>() {
        Some(cause) => cause.clone(),
        None => Arc::new(e),
    }
}
