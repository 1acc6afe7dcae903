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
    let bucket = Bucket::new(BURST as usize, INTERVAL);
    let took = timed(|| bucket.take());
    println!("bucket and ticker: {REQUESTS} requests in {took:?}");
    // The ticker ran before the first request: its first token came up to one interval early.
    let least = INTERVAL * (REQUESTS - BURST - 1);
    assert!(took >= least, "{took:?} is too fast");

    let limiter = Limiter::new(Limit::every(INTERVAL), BURST as usize);
    let ctx = Context::background();
    let took = timed(|| limiter.wait(&ctx).unwrap());
    println!("rate::Limiter:     {REQUESTS} requests in {took:?}");
    assert!(took >= least, "{took:?} is too fast");

    // Waiting in vain is told at once: the next token would come in an hour.
    let slow = Limiter::new(Limit::every(Duration::from_secs(3600)), 1);
    assert!(slow.allow());
    let (soon, _cancel) = ctx.with_timeout(Duration::from_secs(60));
    let refused = slow.wait(&soon).unwrap_err();
    println!("too late anyway:   {refused}");
    println!("rate_limiter: 5 at once, 5 in their time");
    Ok(())
}

fn timed(mut request: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..REQUESTS {
        request();
    }
    begin.elapsed()
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
