//! The node's Lease: the sign of life by which the cluster knows that the node is there.

use std::time::Duration;

use component_base::SharedClock;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
/// A quarter of it, as a kubelet renews.
const RENEW_EVERY: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Renews the Lease of the node for ever.
pub(super) async fn keep(client: Client, clock: SharedClock, node_name: String, node: Option<Node>) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    loop {
        let now = MicroTime(clock.now());
        let renewal = json!({"spec": {
            "holderIdentity": node_name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now}});
        let renewed = match api.patch(&node_name, &PatchParams::default(), &Patch::Merge(&renewal)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(node_name.clone()),
                        namespace: Some(NAMESPACE.to_owned()),
                        owner_references: node.as_ref().and_then(owner).map(|owner| vec![owner]),
                        ..Default::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(node_name.clone()),
                        lease_duration_seconds: Some(DURATION_SECONDS),
                        renew_time: Some(now),
                        ..Default::default()
                    }),
                };
                api.create(&PostParams::default(), &lease).await
            }
            other => other,
        };
        let pause = match renewed {
            Ok(_) => RENEW_EVERY,
            Err(error) => {
                tracing::warn!(%error, "the node's lease cannot be renewed");
                AGAIN_AFTER
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn owner(node: &Node) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        ..Default::default()
    })
}
