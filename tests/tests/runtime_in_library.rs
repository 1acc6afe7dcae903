//! The runtime in a library that a program loads, where its thread-locals may be anywhere.

use std::ffi::{CStr, CString};
use std::thread;

type SumBelow = extern "C" fn(u64) -> u64;

/// A function of `examples/plugin.rs`. The library stays loaded.
fn load() -> SumBelow {
    let program = std::env::current_exe().unwrap();
    let built = program.parent().unwrap().parent().unwrap();
    let path = built.join("examples/libplugin.so");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p goweft-tests --examples",
        path.display()
    );
    let path = CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: the library's initialisers are those of a Rust library, and the function is what it
    // says.
    unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let sum_below = libc::dlsym(library, c"sum_below".as_ptr());
        assert!(!sum_below.is_null());
        std::mem::transmute::<*mut libc::c_void, SumBelow>(sum_below)
    }
}

#[test]
fn goroutines_of_a_loaded_library_run() {
    // A thread that was there before it.
    let (send, receive) = std::sync::mpsc::channel::<SumBelow>();
    let early = thread::spawn(move || receive.recv().unwrap()(1_000));
    let sum_below = load();
    send.send(sum_below).unwrap();
    assert_eq!(sum_below(1_000), 499_500);
    assert_eq!(early.join().unwrap(), 499_500);
}
