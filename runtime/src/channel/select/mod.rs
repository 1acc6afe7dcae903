//! Select: the engine, and the two forms in which it is used.

mod arms;
mod dynamic;
mod engine;

pub use arms::{
    RecvOperand, SendArm, SendOperand, choose, choose_by, choose_now, receives, select_nothing,
    sends, slot_for,
};
pub use dynamic::{Select, SelectedOperation};
