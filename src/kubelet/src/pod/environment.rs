//! A container's environment. Pure.
//!
//! In Kubernetes' order: the variables of Services, then `envFrom`, then `env`, where later ones win and each value
//! may refer to those before it.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod, Service};

use super::{
    fields::{self, FieldError, NodeFacts},
    objects::{ObjectError, PodObjects},
    traits::PodExt,
};
use crate::expansion::expand;

/// What an environment is made from, besides the pod.
pub struct Sources<'a> {
    /// The pod's ConfigMaps and Secrets.
    pub objects: &'a PodObjects,
    /// All Services of the pod's namespace and of `default`.
    pub services: &'a [std::sync::Arc<Service>],
    /// The node.
    pub node: &'a NodeFacts,
    /// The pod's addresses.
    pub pod_ips: &'a [String],
}

/// Why a container has no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A ConfigMap or Secret.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A field.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A source that this kubelet does not know.
    #[error("environment variable {0} has a source that is not supported")]
    UnsupportedSource(String),
}

/// The environment of `container`, in order.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources<'_>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut result = Ordered::default();
    for (name, value) in service_variables(pod, sources.services) {
        result.set(name, value);
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref
            && let Some(map) = sources.objects.config_map(&reference.name, reference.optional.unwrap_or(false))?
        {
            for (key, value) in map.data.iter().flatten() {
                result.set(format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(reference) = &source.secret_ref
            && let Some(secret) = sources.objects.secret(&reference.name, reference.optional.unwrap_or(false))?
        {
            for (key, value) in secret.data.iter().flatten() {
                result.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, |name| result.get(name))),
            (_, Some(source)) => value_from(pod, container, &variable.name, source, sources)?,
            (_, None) => Some(String::new()),
        };
        if let Some(value) = value {
            result.set(variable.name.clone(), value);
        }
    }
    Ok(result.variables)
}

/// Variables in the order they were first set, each with its last value.
#[derive(Default)]
struct Ordered {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Ordered {
    fn set(&mut self, name: String, value: String) {
        match self.places.get(&name) {
            Some(place) => self.variables[*place].1 = value,
            None => {
                self.places.insert(name.clone(), self.variables.len());
                self.variables.push((name, value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.variables[*place].1.as_str())
    }
}

fn value_from(
    pod: &Pod,
    container: &Container,
    name: &str,
    source: &k8s_openapi::api::core::v1::EnvVarSource,
    sources: &Sources<'_>,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(fields::field_text_env(pod, &field.field_path, sources.node, sources.pod_ips)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        return Ok(Some(fields::resource_text(pod, selector, Some(container), sources.node)?));
    }
    let missing = |kind, name: &str, key: &str| {
        let (namespace, name, key) = (pod.namespace().to_owned(), name.to_owned(), key.to_owned());
        ObjectError::NoKey { kind, namespace, name, key }
    };
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let map = sources.objects.config_map(&reference.name, optional)?;
        let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        return match value {
            None if !optional => Err(missing("ConfigMap", &reference.name, &reference.key).into()),
            value => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let secret = sources.objects.secret(&reference.name, optional)?;
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&reference.key));
        return match value {
            None if !optional => Err(missing("Secret", &reference.name, &reference.key).into()),
            value => Ok(value.map(|value| String::from_utf8_lossy(&value.0).into_owned())),
        };
    }
    Err(EnvironmentError::UnsupportedSource(name.to_owned()))
}

/// `NAME_SERVICE_HOST` and its kin: of the API server's Service always, of the others of the pod's namespace when
/// `enableServiceLinks` says so.
fn service_variables(pod: &Pod, services: &[std::sync::Arc<Service>]) -> Vec<(String, String)> {
    let links = pod.pod_spec().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut chosen: HashMap<&str, &Service> = HashMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let own = namespace == pod.namespace();
        if links && own {
            chosen.insert(name, service);
        } else if namespace == "default" && name == "kubernetes" && !(links && pod.namespace() == "default") {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut chosen: Vec<_> = chosen.into_iter().collect();
    chosen.sort_by_key(|(name, _)| name.to_owned());
    chosen.into_iter().flat_map(|(name, service)| variables_of(name, service)).collect()
}

fn variables_of(name: &str, service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).filter(|ip| !ip.is_empty() && *ip != "None");
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let (Some(address), Some(first)) = (address, ports.first()) else { return Vec::new() };
    let upper = name.to_uppercase().replace('-', "_");
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let mut variables = vec![
        (format!("{upper}_SERVICE_HOST"), address.to_owned()),
        (format!("{upper}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            variables.push((format!("{upper}_SERVICE_PORT_{port_name}"), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            variables.push((format!("{upper}_PORT"), url.clone()));
        }
        let prefix = format!("{upper}_PORT_{}_{protocol}", port.port);
        variables.push((prefix.clone(), url));
        variables.push((format!("{prefix}_PROTO"), lower));
        variables.push((format!("{prefix}_PORT"), port.port.to_string()));
        variables.push((format!("{prefix}_ADDR"), address.to_owned()));
    }
    variables
}

#[cfg(test)]
#[path = "environment_test.rs"]
mod tests;
