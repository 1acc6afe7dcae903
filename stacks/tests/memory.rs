//! Stack memory from outside: promises, magazines, growth, trimming.

use goweft_stacks::{Class, Magazine, Stack, reserve, reserve_many, stats, unreserve};

#[test]
fn a_stack_is_usable_from_limit_to_top() {
    for class in Class::all().filter(|c| c.size() <= 16 << 20) {
        let stack = Stack::new(class).unwrap();
        let len = stack.top().addr() - stack.limit().addr();
        assert!(len <= class.usable() && len + 960 >= class.usable());
        assert!(stack.top().addr().is_multiple_of(64));
        // SAFETY: the range is the stack's own memory.
        unsafe {
            stack.limit().write(1);
            stack.top().sub(1).write(2);
            assert_eq!(stack.limit().read() + stack.top().sub(1).read(), 3);
        }
    }
}

#[test]
fn a_magazine_returns_the_stack_put_last() {
    let mut magazine = Magazine::new();
    let class = Class::DEFAULT;
    reserve_many(class, 2).unwrap();
    let a = magazine.take(class).unwrap();
    let b = magazine.take(class).unwrap();
    let (top_a, top_b) = (a.top(), b.top());
    assert_ne!(top_a, top_b);
    magazine.put(a);
    magazine.put(b);
    reserve(class).unwrap();
    let c = magazine.take(class).unwrap();
    assert_eq!(c.top(), top_b);
    // SAFETY: the raw pointer is taken back once.
    let c = unsafe { Stack::from_raw(c.into_raw()) };
    assert_eq!(c.top(), top_b);
    magazine.put(c);
    unreserve(class, 0);
    assert!(stats().live >= 2);
}
