//! What `/metrics` tells of the API server, under the names by which dashboards know it.

use std::sync::{Arc, atomic::AtomicU64};

use component_base::metrics::Metrics;
use http::StatusCode;
use jiff::SignedDuration;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::{chain::RequestInfo, core::Core};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    verb: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    resource: String,
}

type Durations = Family<VerbLabels, Histogram, fn() -> Histogram>;

/// The API server's metrics.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    all: Metrics,
    requests: Family<RequestLabels, Counter>,
    durations: Durations,
    in_flight: Family<KindLabels, Gauge>,
    objects: Family<ObjectLabels, Gauge>,
    revision: Gauge<f64, AtomicU64>,
}

/// A request that is being measured.
#[derive(Debug)]
pub struct Observed(RequestLabels);

fn buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl ServerMetrics {
    /// Registers them with the process's metrics.
    pub fn new(all: Metrics) -> Self {
        let metrics = Self {
            all: all.clone(),
            requests: Family::default(),
            durations: Family::new_with_constructor(buckets as fn() -> Histogram),
            in_flight: Family::default(),
            objects: Family::default(),
            revision: Gauge::default(),
        };
        let own = metrics.clone();
        all.register("apiserver", |registry| {
            registry.register("request", "Requests answered", own.requests);
            registry.register("request_duration_seconds", "Time from a request to its answer's head", own.durations);
            registry.register("current_inflight_requests", "Requests being worked on", own.in_flight);
            registry.register("storage_objects", "Objects stored", own.objects);
            registry.register("watch_cache_revision", "How far the watch cache is", own.revision);
        });
        metrics
    }

    /// A request has come in.
    pub fn begin(&self, info: &RequestInfo) -> Observed {
        // Only paths of resources become labels: others are made up by whoever asks.
        let text = |text: &str| if info.is_resource { text.to_owned() } else { String::new() };
        Observed(RequestLabels {
            verb: info.verb.to_ascii_uppercase(),
            group: text(&info.group),
            version: text(&info.version),
            resource: text(&info.resource),
            subresource: text(&info.subresource),
            code: 0,
        })
    }

    /// It is answered.
    pub fn end(&self, observed: Observed, code: StatusCode, took: SignedDuration) {
        let mut labels = observed.0;
        labels.code = code.as_u16();
        if code == StatusCode::NOT_FOUND || code == StatusCode::FORBIDDEN {
            // What does not exist must not grow the number of series.
            labels.resource.clear();
            labels.group.clear();
            labels.version.clear();
            labels.subresource.clear();
        }
        if labels.verb != "WATCH" {
            let verb = VerbLabels { verb: labels.verb.clone(), resource: labels.resource.clone() };
            self.durations.get_or_create(&verb).observe(took.as_secs_f64());
        }
        self.requests.get_or_create(&labels).inc();
    }

    /// All metrics of the process as text.
    pub fn render(&self, core: &Arc<Core>) -> String {
        let (reads, writes) = core.inflight.current();
        let gauge = |kind| self.in_flight.get_or_create(&KindLabels { request_kind: kind }).clone();
        gauge("readOnly").set(i64::try_from(reads).unwrap_or(i64::MAX));
        gauge("mutating").set(i64::try_from(writes).unwrap_or(i64::MAX));
        for cache in core.cacher.resources() {
            let resource = crate::fail::qualified(&cache.group, &cache.resource);
            let objects = i64::try_from(cache.len()).unwrap_or(i64::MAX);
            self.objects.get_or_create(&ObjectLabels { resource }).set(objects);
        }
        self.revision.set(core.cacher.revision() as f64);
        self.all.render()
    }
}
