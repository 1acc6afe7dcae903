//! The first use of the runtime is by a plain thread that spawns nothing: somebody has to
//! watch timers and descriptors all the same. One test, because there is one first use.

use goweft::net::TcpListener;
use goweft::time;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn a_plain_thread_waits_for_a_socket_and_a_timer_before_there_is_any_goroutine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        // So that the accept below has to wait. If it does not, nothing is shown.
        thread::sleep(Duration::from_millis(20));
        std::net::TcpStream::connect(addr)
            .and_then(|mut stream| stream.write_all(b"weft"))
            .unwrap();
    });
    let mut word = [0; 4];
    listener.accept().unwrap().0.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"weft");
    peer.join().unwrap();

    let (tx, rx) = mpsc::channel();
    time::after_func(Duration::from_millis(1), move || tx.send(()).unwrap());
    rx.recv_timeout(Duration::from_secs(60)).unwrap();
}
