//! Ten requests, of which five may come at once and the others every 10 ms: with a bucket of tokens
//! that a ticker fills, and with `rate::Limiter`.

use goweft::channel::{self, Receiver, Sender};
use goweft::context::Context;
use goweft::rate::{Limit, Limiter};
use goweft::time::Ticker;
use goweft::{go, select};
use std::time::{Duration, Instant};

const REQUESTS: u32 = 10;
const BURST: u32 = 5;
const INTERVAL: Duration = Duration::from_millis(10);

#[goweft::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let bucket = Bucket::new(BURST as usize, INTERVAL);
    for _ in 0..REQUESTS {
        bucket.take();
    }
    check("bucket and ticker", begin.elapsed());

    let ctx = Context::background();
    let begin = Instant::now();
    let limiter = Limiter::new(Limit::every(INTERVAL), BURST as usize);
    for _ in 0..REQUESTS {
        limiter.wait(&ctx)?;
    }
    check("rate::Limiter", begin.elapsed());

    // Waiting in vain is told at once: the next token would come in an hour.
    let slow = Limiter::new(Limit::every(Duration::from_secs(3600)), 1);
    assert!(slow.allow());
    let (soon, _cancel) = ctx.with_timeout(Duration::from_secs(60));
    let refused = slow.wait(&soon).unwrap_err();
    println!("too late anyway: {refused}");
    println!("rate_limiter: 5 at once, 5 in their time");
    Ok(())
}

fn check(how: &str, took: Duration) {
    println!("{how}: {REQUESTS} requests in {took:?}");
    // Those after the first five each wait for a token. (The limiter counts in fractions of
    // tokens, and so may be off by some nanoseconds.)
    let least = INTERVAL * (REQUESTS - BURST) - Duration::from_micros(1);
    assert!(took >= least, "{took:?} is too fast");
}

/// A channel of tokens. Who takes one may go on; when it is full, new tokens are lost.
struct Bucket {
    tokens: Receiver<()>,
    /// Dropped with the bucket, which ends the goroutine that fills it.
    _stop: Sender<()>,
}

impl Bucket {
    fn new(burst: usize, interval: Duration) -> Bucket {
        let (fill, tokens) = channel::bounded(burst);
        let (_stop, stopped) = channel::bounded::<()>(0);
        for _ in 0..burst {
            fill.send(()).unwrap();
        }
        go! {
            let ticker = Ticker::new(interval);
            loop {
                select! {
                    recv(ticker.channel()) -> _ => _ = fill.try_send(()),
                    recv(stopped) -> _ => return,
                }
            }
        }
        Bucket { tokens, _stop }
    }

    fn take(&self) {
        self.tokens.recv().unwrap();
    }
}
