//! What a kubelet knows of one pod: what is wanted, what was seen, and what follows from both.

pub mod actions;
pub mod config;
pub mod environment;
pub mod fields;
pub mod objects;
pub mod observed;
pub mod operations;
pub mod restart;
pub mod start;
pub mod stop;
pub mod traits;
pub mod worker;
