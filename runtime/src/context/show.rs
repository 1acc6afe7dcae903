//! How a context shows itself: by the calls that made it.

use super::node::{Kind, Node};
use super::value::{Value, WithoutCancel};
use super::{Context, Root};
use std::any::type_name;
use std::fmt;
use std::time::Instant;

/// `background.with_value(u32).with_deadline(in 59.9s)`: the calls by which it came from
/// its root. What was above a `without_cancel` shows its values only.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        enum Step<'a> {
            Node(&'a Node),
            Value(&'a Value),
        }
        // Both chains go from the newest to the oldest; the depths tell how
        // they are to be merged.
        let mut node: Option<&Node> = self.node().map(|node| &**node);
        let mut value = self.values.as_deref();
        let mut steps = Vec::new();
        loop {
            let (n, v) = (node.map_or(0, |n| n.depth), value.map_or(0, |v| v.depth));
            if let Some(newest) = value
                && v > n
            {
                steps.push(Step::Value(newest));
                value = newest.older();
            } else if let Some(newest) = node {
                steps.push(Step::Node(newest));
                node = newest.parent().map(|node| &**node);
            } else {
                break;
            }
        }
        f.write_str(match self.root {
            Root::Background => "background",
            Root::Todo => "todo",
        })?;
        for step in steps.iter().rev() {
            match step {
                Step::Value(value) if value.type_name == type_name::<WithoutCancel>() => {
                    f.write_str(".without_cancel")?;
                }
                Step::Value(value) => write!(f, ".with_value({})", value.type_name)?,
                Step::Node(node) => match (node.kind, node.deadline) {
                    (Kind::Deadline, Some(deadline)) => {
                        let now = Instant::now();
                        match deadline.checked_duration_since(now) {
                            Some(left) => write!(f, ".with_deadline(in {left:.1?})")?,
                            None => write!(
                                f,
                                ".with_deadline({:.1?} ago)",
                                now.duration_since(deadline)
                            )?,
                        }
                    }
                    _ => f.write_str(".with_cancel")?,
                },
            }
        }
        Ok(())
    }
}
