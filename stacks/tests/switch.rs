//! The context switch.

use goweft_stacks::context::{
    self, Context, enter_thread, leave_thread, prepare, run_on_top, switch, switch_final,
};
use goweft_stacks::{Class, Stack};

struct Pair {
    host: Context,
    guest: Context,
    log: Vec<&'static str>,
}

unsafe extern "C" fn save_host(left: Context, pair: *mut ()) {
    // SAFETY: `pair` is the test's, used by one context at a time.
    let pair = unsafe { &mut *pair.cast::<Pair>() };
    pair.host = left;
    pair.log.push("host left");
}

unsafe extern "C" fn save_guest(left: Context, pair: *mut ()) {
    // SAFETY: as above.
    let pair = unsafe { &mut *pair.cast::<Pair>() };
    pair.guest = left;
    pair.log.push("guest left");
}

unsafe extern "C" fn guest(arg: *mut ()) -> ! {
    let pair = arg.cast::<Pair>();
    // SAFETY: as above; the host is suspended whenever we switch to it.
    unsafe {
        (*pair).log.push("guest");
        let to = (*pair).host;
        switch(to, save_guest, arg);
        (*pair).log.push("guest again");
        let to = (*pair).host;
        switch_final(to, save_guest, arg)
    }
}

#[test]
fn actions_run_on_arrival_before_the_destination() {
    enter_thread();
    let stack = Stack::new(Class::DEFAULT).unwrap();
    let mut pair = Pair {
        host: Context::NULL,
        guest: Context::NULL,
        log: Vec::new(),
    };
    let pair = &raw mut pair;
    // SAFETY: `guest` follows the protocol of `Pair`.
    unsafe {
        (*pair).guest = prepare(stack.top(), stack.limit(), guest, pair.cast());
        let to = (*pair).guest;
        switch(to, save_host, pair.cast());
        (*pair).log.push("host");
        let parked = (*pair).guest;
        let mut on_stack = 0;
        run_on_top(parked, &mut || on_stack = (&raw const on_stack).addr());
        assert_eq!(parked, (*pair).guest);
        switch(parked, save_host, pair.cast());
        (*pair).log.push("host again");
        assert_eq!(
            (*pair).log,
            [
                "host left",
                "guest",
                "guest left",
                "host",
                "host left",
                "guest again",
                "guest left",
                "host again"
            ]
        );
    }
    let _ = context::Context::NULL;
    leave_thread();
}
