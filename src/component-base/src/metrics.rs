//! One metrics registry a process, handed down with a prefix a component.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, registry::Registry};

/// The process's metrics, which components register into and `/metrics` renders.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a component register its metrics under `prefix`.
    pub fn register(&self, prefix: &str, register: impl FnOnce(&mut Registry)) {
        register(self.0.lock().sub_registry_with_prefix(prefix));
    }

    /// All metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Formatting into a String cannot fail.
        let _ = encode(&mut text, &self.0.lock());
        text
    }
}
