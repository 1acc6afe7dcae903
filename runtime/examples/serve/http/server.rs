//! Accepts clients, gives each a goroutine, and stops cleanly.
//!
//! Stopping: `stopping` is set, the listener closed, and each connection ended
//! that has no request under way; the others end after theirs, or when the
//! limit is over. `done` counts the goroutines, so nobody is left behind.

use super::connection::Connection;
use super::site::Site;
use goweft::net::{TcpListener, TcpStream};
use goweft::sync::{Mutex, WaitGroup};
use goweft::{Builder, task};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the server waits for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// For a request's head, from its first byte.
    pub(crate) header_timeout: Duration,
    /// For the next request.
    pub(crate) idle_timeout: Duration,
    /// For the client to take the next part of a response.
    pub(crate) write_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// A listening server.
pub(crate) struct Server {
    listener: TcpListener,
    site: Site,
    settings: Settings,
    stopping: AtomicBool,
    /// Those that are open, by number.
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    accepted: AtomicU64,
    served: AtomicU64,
    done: WaitGroup,
}

impl Server {
    /// Listens on `addr`; serves nobody before [`run`](Self::run).
    ///
    /// # Errors
    /// What the system says of the directory or the address, and which.
    pub(crate) fn bind(
        addr: impl ToSocketAddrs + std::fmt::Display,
        directory: &Path,
        settings: Settings,
    ) -> io::Result<Arc<Server>> {
        let site = Site::open(directory).map_err(|e| about(e, directory.display()))?;
        let listener = TcpListener::bind(&addr).map_err(|e| about(e, &addr))?;
        Ok(Arc::new(Server {
            listener,
            site,
            settings,
            stopping: AtomicBool::new(false),
            connections: Mutex::new(HashMap::new()),
            accepted: AtomicU64::new(0),
            served: AtomicU64::new(0),
            done: WaitGroup::new(),
        }))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Requests answered on connections that have ended.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// Accepts until [`stop`](Self::stop).
    ///
    /// # Errors
    /// What the system says of a listener that cannot go on. When it has no
    /// descriptors or memory left, it goes on when others have ended.
    pub(crate) fn run(self: &Arc<Self>) -> io::Result<()> {
        let mut pause = Duration::from_millis(1);
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    pause = Duration::from_millis(1);
                    self.take(stream);
                }
                Err(_) if self.stopping.load(Ordering::SeqCst) => return Ok(()),
                Err(e) if is_passing(&e) => {
                    task::sleep(pause);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Stops accepting, lets requests under way end, and cuts off what is not
    /// done after `limit`. True when nothing had to be cut off.
    pub(crate) fn stop(&self, limit: Duration) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        // Only says that it was closed before.
        let _ = self.listener.close();
        for connection in self.open() {
            connection.close_if_waiting();
        }
        let drained = self.done.wait_timeout(limit);
        if !drained {
            for connection in self.open() {
                connection.close();
            }
            self.done.wait();
        }
        drained
    }

    /// Starts a goroutine for a client. When there is no stack for it, the
    /// client is sent away.
    fn take(self: &Arc<Self>, stream: TcpStream) {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(stream));
        let open = Open {
            server: self.clone(),
            number,
        };
        self.done.add(1);
        self.connections.lock().insert(number, connection.clone());
        // Dropping the closure, run or not, drops `open`.
        let spawned = Builder::new().spawn(move || {
            let server = &open.server;
            // Ahead of `stop`'s look at the table, or seen by it: else this
            // one, accepted while it stopped, would wait out its timeout.
            if server.stopping.load(Ordering::SeqCst) {
                return;
            }
            let served = connection.serve(&server.site, &server.settings, &server.stopping);
            server.served.fetch_add(served, Ordering::SeqCst);
        });
        if let Err(e) = spawned {
            eprintln!("serve: no goroutine for a client: {e}");
        }
    }

    fn open(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().cloned().collect()
    }
}

/// Stands for a connection in the table while it lives.
struct Open {
    server: Arc<Server>,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let connection = self.server.connections.lock().remove(&self.number);
        drop(connection);
        self.server.done.done();
    }
}

/// `accept` failed for one client, or for want of something that comes back.
fn is_passing(e: &io::Error) -> bool {
    match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => true,
        // The client left before it was accepted; see accept(2).
        Some(libc::ECONNABORTED | libc::EPROTO | libc::EPERM | libc::EINTR) => true,
        Some(libc::ENETDOWN | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EHOSTUNREACH) => true,
        _ => false,
    }
}

fn about(e: io::Error, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}
