//! Events, of the core group and of `events.k8s.io`.

use serde_json::{Value, json};

use crate::{json::default, kind::Kind};

pub(crate) struct Event;

impl Kind for Event {
    fn defaults(&self, _version: &str, object: &mut Value) {
        for name in ["firstTimestamp", "lastTimestamp", "eventTime"] {
            default(object, name, Value::Null);
        }
        default(object, "source", json!({}));
        default(object, "reportingComponent", "");
        default(object, "reportingInstance", "");
    }
}
