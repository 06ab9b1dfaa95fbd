//! Builds, orders and drains the agent role; starts and watches the runtime process.
