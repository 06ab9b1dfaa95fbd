//! Builds, orders and drains the server role.
