//! The end-to-end tests: the real binary, real guests, real kubectl, in one test binary.
//!
//! [`cluster`] starts a cluster in a folder of its own, with addresses that no other test uses; every other file is a
//! group of tests by what they show. Tests wait for events (a line of output, `kubectl wait`, a connection) with a
//! deadline, never for a time.

mod bad_input;
mod cluster;
mod crashes;
mod first_light;
mod full_disk;
mod http;
mod joining;
mod kubectl;
mod layers;
mod pods;
mod servers;
