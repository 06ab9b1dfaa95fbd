//! The ConfigMaps and Secrets a pod refers to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

use super::traits::PodExt;

/// The names of the ConfigMaps and Secrets that a pod refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets, those for pulling images among them.
    pub secrets: BTreeSet<String>,
}

/// One object as last seen.
#[derive(Debug)]
pub enum Lookup<T> {
    /// It is there.
    Found(Arc<T>),
    /// It is not there.
    Absent,
    /// The API server did not say.
    Failed(String),
}

impl<T> Clone for Lookup<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Found(object) => Self::Found(object.clone()),
            Self::Absent => Self::Absent,
            Self::Failed(why) => Self::Failed(why.clone()),
        }
    }
}

/// The objects of a pod as they were at one moment.
#[derive(Debug, Clone, Default)]
pub struct PodObjects {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Lookup<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Lookup<Secret>>,
}

/// Why an object, or a key of it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It is not there.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server did not say.
    #[error("{0}")]
    Failed(String),
}

impl References {
    /// What `pod` refers to.
    pub fn of(pod: &Pod) -> Self {
        let mut references = Self::default();
        let Some(spec) = pod.pod_spec() else { return references };
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            for source in container.env_from.iter().flatten() {
                references.config_maps.extend(source.config_map_ref.iter().map(|source| source.name.clone()));
                references.secrets.extend(source.secret_ref.iter().map(|source| source.name.clone()));
            }
            for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
                references.config_maps.extend(source.config_map_key_ref.iter().map(|source| source.name.clone()));
                references.secrets.extend(source.secret_key_ref.iter().map(|source| source.name.clone()));
            }
        }
        references.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()));
        for volume in spec.volumes.iter().flatten() {
            references.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            references.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
                references.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
                references.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
            }
        }
        references.config_maps.remove("");
        references.secrets.remove("");
        references
    }
}

impl PodObjects {
    /// The ConfigMap of that name; `None` when it is optional and not there.
    pub fn config_map(&self, name: &str, optional: bool) -> Result<Option<&Arc<ConfigMap>>, ObjectError> {
        find(&self.config_maps, "configmap", name, optional)
    }

    /// The Secret of that name; `None` when it is optional and not there.
    pub fn secret(&self, name: &str, optional: bool) -> Result<Option<&Arc<Secret>>, ObjectError> {
        find(&self.secrets, "secret", name, optional)
    }
}

fn find<'a, T>(
    objects: &'a BTreeMap<String, Lookup<T>>,
    kind: &'static str,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Arc<T>>, ObjectError> {
    match objects.get(name) {
        Some(Lookup::Found(object)) => Ok(Some(object)),
        Some(Lookup::Failed(message)) => Err(ObjectError::Failed(message.clone())),
        Some(Lookup::Absent) | None if optional => Ok(None),
        Some(Lookup::Absent) | None => Err(ObjectError::NotFound { kind, name: name.to_owned() }),
    }
}
