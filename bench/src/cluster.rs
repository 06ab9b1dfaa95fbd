//! The cluster that is measured: a client, a namespace of its own, and what is put into it.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Node, Pod, Service},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde_json::{Value, json};

use crate::{Arguments, error::BenchError};

/// Nothing here takes this long unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "bench";

/// A cluster.
pub struct Cluster {
    /// How it is spoken to.
    pub client: Client,
    /// A node's address, where node ports are served.
    pub node: std::net::IpAddr,
}

/// `future`, or an error that names what did not happen.
pub async fn in_time<T>(what: &str, future: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let late = |_| BenchError::Late(what.to_owned(), DEADLINE.as_secs());
    tokio::time::timeout(DEADLINE, future).await.map_err(late)?
}

/// The client that a kubeconfig describes.
pub async fn client(kubeconfig: Result<Kubeconfig, KubeconfigError>) -> Result<Client, BenchError> {
    let no = |error: KubeconfigError| BenchError::Kubeconfig(error.to_string());
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig.map_err(no)?, &options).await.map_err(no)?;
    Ok(Client::try_from(config)?)
}

/// An address of this machine whose port is free now.
pub fn free_address() -> Result<SocketAddr, BenchError> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(BenchError::file("127.0.0.1:0"))
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, BenchError> {
    serde_json::from_value(value).map_err(|error| BenchError::Other(error.to_string()))
}

impl Cluster {
    /// Connects, and makes a fresh namespace.
    pub async fn connect(arguments: &Arguments) -> Result<Self, BenchError> {
        let kubeconfig = match &arguments.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let client = client(kubeconfig).await?;
        let nodes = Api::<Node>::all(client.clone()).list(&Default::default()).await?;
        let addresses = nodes.items.iter().filter_map(|node| node.status.as_ref()?.addresses.as_ref());
        let node = addresses
            .flatten()
            .find(|address| address.type_ == "InternalIP")
            .and_then(|address| address.address.parse().ok())
            .ok_or_else(|| BenchError::Other("no node of the cluster has an InternalIP".to_owned()))?;
        let cluster = Self { client, node };
        cluster.clean_up().await?;
        let namespace = typed(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::<Namespace>::all(cluster.client.clone()).create(&PostParams::default(), &namespace).await?;
        cluster.wait_for_service_account().await?;
        Ok(cluster)
    }

    /// A handle on the objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Pods may be made once the namespace has its default service account.
    async fn wait_for_service_account(&self) -> Result<(), BenchError> {
        let api: Api<k8s_openapi::api::core::v1::ServiceAccount> = self.api();
        let there = async {
            let events = api.watch(&WatchParams::default().fields("metadata.name=default"), "0").await?;
            futures::pin_mut!(events);
            while let Some(event) = events.try_next().await? {
                if matches!(event, WatchEvent::Added(_)) {
                    return Ok(());
                }
            }
            Err(BenchError::Other("the watch ended".to_owned()))
        };
        in_time("the default service account", there).await
    }

    /// Deletes the namespace, and waits until it is gone.
    pub async fn clean_up(&self) -> Result<(), BenchError> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        if namespaces.get_opt(NAMESPACE).await?.is_none() {
            return Ok(());
        }
        let gone =
            kube::runtime::wait::await_condition(namespaces.clone(), NAMESPACE, |namespace: Option<&Namespace>| {
                namespace.is_none()
            });
        namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
        let gone = async { gone.await.map_err(|error| BenchError::Other(error.to_string())) };
        in_time("the end of the namespace", gone).await?;
        Ok(())
    }

    /// Creates a Deployment of the HTTP guest.
    pub async fn deploy(&self, name: &str, image: &str, port: u16, replicas: usize) -> Result<(), BenchError> {
        let labels = json!({"app": name});
        let deployment: Deployment = typed(json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{
                            "name": "c", "image": image, "imagePullPolicy": "IfNotPresent",
                            "ports": [{"containerPort": port}],
                        }],
                    },
                },
            },
        }))?;
        self.api::<Deployment>().create(&PostParams::default(), &deployment).await?;
        Ok(())
    }

    /// Creates a NodePort Service in front of it; where it answers.
    pub async fn expose(&self, name: &str, port: u16) -> Result<SocketAddr, BenchError> {
        let service: Service = typed(json!({
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": port}]},
        }))?;
        let made = self.api::<Service>().create(&PostParams::default(), &service).await?;
        let ports = made.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports.first().and_then(|port| port.node_port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| BenchError::Other("the Service has no node port".to_owned()))?;
        Ok(SocketAddr::new(self.node, port))
    }

    /// Waits until `count` pods of `app` are Ready.
    pub async fn ready(&self, app: &str, count: usize) -> Result<(), BenchError> {
        let pods: Api<Pod> = self.api();
        let selector = WatchParams::default().labels(&format!("app={app}")).timeout(294);
        let all_ready = async {
            let mut ready = std::collections::HashSet::new();
            let mut events = pods.watch(&selector, "0").await?.boxed();
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
                    && is_ready(&pod)
                {
                    ready.insert(pod.metadata.uid);
                    if ready.len() >= count {
                        return Ok(());
                    }
                }
            }
            Err(BenchError::Other(format!("the watch ended with {} of {count} pods Ready", ready.len())))
        };
        in_time(&format!("{count} Ready pods"), all_ready).await
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
