//! What a controller is given when it starts.

use component_base::{SharedClock, SharedEntropy, Tasks};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use super::{Clients, Informers, Recorder, events::Events};
use crate::Config;

/// Everything that controllers share.
#[derive(Clone)]
pub struct Context {
    /// Makes a client a controller.
    pub clients: Clients,
    /// The shared caches.
    pub informers: Informers,
    /// What time it is.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Where tasks run.
    pub tasks: Tasks,
    /// The authority of the API server's certificate, in PEM.
    pub root_ca: String,
    events: Events,
}

impl Context {
    /// The shared parts; nothing is watched before a controller asks for it.
    pub fn new(config: Config, tasks: &Tasks) -> Self {
        let Config { clients, clock, entropy, root_ca, .. } = config;
        let informers = Informers::new(clients.manager(), tasks.clone());
        Self {
            informers,
            events: Events::new(clock.clone(), tasks),
            clients,
            clock,
            entropy,
            tasks: tasks.clone(),
            root_ca,
        }
    }

    /// The client and the event recorder of a controller, for example `deployment-controller`.
    pub fn identity(&self, name: &'static str) -> (Client, Recorder) {
        self.identity_as(name, name)
    }

    /// Like [`Context::identity`], for a controller whose account is not called as its events say.
    pub fn identity_as(&self, account: &str, component: &'static str) -> (Client, Recorder) {
        let client = self.clients.controller(account);
        let recorder = self.events.recorder(client.clone(), component);
        (client, recorder)
    }

    /// The present second, as objects have it.
    pub fn now(&self) -> Time {
        now(&self.clock)
    }
}

/// The present second, as objects have it: they have no fractions, and what is compared with them must not either.
pub fn now(clock: &SharedClock) -> Time {
    let second = clock.now().as_second();
    Time(Timestamp::from_second(second).expect("a second of a valid time is one"))
}
