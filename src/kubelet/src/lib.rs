//! The node agent: pod workers over CRI.
