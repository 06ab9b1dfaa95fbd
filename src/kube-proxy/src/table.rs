//! The Services and EndpointSlices of the cluster, as last told by the API server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{Resource, runtime::watcher::Event};

use crate::rules::{Rule, rules};

/// What changed.
#[expect(clippy::large_enum_variant, reason = "moved once from the watch to the table and never kept")]
pub enum Change {
    /// A Service.
    Service(Event<Service>),
    /// An EndpointSlice.
    Slice(Event<EndpointSlice>),
}

/// Both kinds, indexed by the Service (`namespace/name`) they belong to.
#[derive(Default)]
pub struct Table {
    services: HashMap<String, Service>,
    slices: HashMap<String, BTreeMap<String, EndpointSlice>>,
    // What a relist has not named again when it is done is gone.
    unseen_services: BTreeSet<String>,
    unseen_slices: BTreeSet<(String, String)>,
}

impl Table {
    /// Takes a change in and names the Services whose rules it may change.
    pub fn apply(&mut self, change: Change) -> Vec<String> {
        match change {
            Change::Service(event) => self.apply_service(event),
            Change::Slice(event) => self.apply_slice(event),
        }
    }

    /// The rules of the Service called `name`.
    pub fn rules(&self, name: &str, node: &str, node_ip: IpAddr) -> Vec<Rule> {
        let Some(service) = self.services.get(name) else { return Vec::new() };
        let slices: Vec<_> = self.slices.get(name).into_iter().flat_map(BTreeMap::values).collect();
        rules(service, &slices, node, node_ip)
    }

    fn apply_service(&mut self, event: Event<Service>) -> Vec<String> {
        match event {
            Event::Init => {
                self.unseen_services = self.services.keys().cloned().collect();
                Vec::new()
            }
            Event::InitApply(service) | Event::Apply(service) => {
                let name = key(&service);
                self.unseen_services.remove(&name);
                self.services.insert(name.clone(), service);
                vec![name]
            }
            Event::Delete(service) => {
                let name = key(&service);
                self.services.remove(&name);
                vec![name]
            }
            Event::InitDone => {
                let gone: Vec<_> = std::mem::take(&mut self.unseen_services).into_iter().collect();
                gone.iter().for_each(|name| drop(self.services.remove(name)));
                gone
            }
        }
    }

    fn apply_slice(&mut self, event: Event<EndpointSlice>) -> Vec<String> {
        match event {
            Event::Init => {
                self.unseen_slices = self
                    .slices
                    .iter()
                    .flat_map(|(owner, slices)| slices.keys().map(move |slice| (owner.clone(), slice.clone())))
                    .collect();
                Vec::new()
            }
            Event::InitApply(slice) | Event::Apply(slice) => {
                let Some(owner) = owner(&slice) else { return Vec::new() };
                let name = key(&slice);
                self.unseen_slices.remove(&(owner.clone(), name.clone()));
                self.slices.entry(owner.clone()).or_default().insert(name, slice);
                vec![owner]
            }
            Event::Delete(slice) => {
                owner(&slice).into_iter().inspect(|owner| self.forget(owner, &key(&slice))).collect()
            }
            Event::InitDone => {
                let gone = std::mem::take(&mut self.unseen_slices);
                gone.iter().for_each(|(owner, slice)| self.forget(owner, slice));
                gone.into_iter().map(|(owner, _)| owner).collect()
            }
        }
    }

    fn forget(&mut self, owner: &str, slice: &str) {
        if let Some(slices) = self.slices.get_mut(owner) {
            slices.remove(slice);
            if slices.is_empty() {
                self.slices.remove(owner);
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// The Service that a slice belongs to.
fn owner(slice: &EndpointSlice) -> Option<String> {
    let service = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(format!("{}/{service}", slice.metadata.namespace.as_deref().unwrap_or_default()))
}
