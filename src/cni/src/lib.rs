//! Pod addresses and links.
