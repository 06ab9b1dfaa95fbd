//! Pull, verify, store and compile images.
