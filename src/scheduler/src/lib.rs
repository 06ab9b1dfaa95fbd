//! The scheduler: queue, snapshot, filter, score, bind.
