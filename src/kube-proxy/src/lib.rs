//! Services: a pure rule set, the proxy and activator, connection hand-off.
