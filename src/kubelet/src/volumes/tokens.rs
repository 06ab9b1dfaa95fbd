//! Service-account tokens for projected volumes, renewed before they expire.

use std::{collections::HashMap, sync::Arc};

use component_base::SharedClock;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;

use crate::pod::traits::PodExt;

/// What a kubelet asks for when the volume does not say.
const SECONDS_DEFAULT: i64 = 3_600;
/// However long it lives, a token is renewed after a day.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A token and when to ask for the next.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token.
    pub token: String,
    /// When to ask for the next.
    pub renew_at: Timestamp,
}

type Key = (String, Option<String>, Option<i64>);

/// The tokens of this node's pods.
#[derive(Clone)]
pub struct Tokens {
    client: Client,
    clock: SharedClock,
    known: Arc<Mutex<HashMap<Key, Token>>>,
}

impl Tokens {
    /// No token is known yet.
    pub fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock, known: Arc::default() }
    }

    /// A token of the pod's service account, bound to the pod.
    pub async fn get(&self, pod: &Pod, audience: Option<&str>, seconds: Option<i64>) -> Result<Token, kube::Error> {
        let key = (pod.uid().to_owned(), audience.map(str::to_owned), seconds);
        let now = self.clock.now();
        if let Some(token) = self.known.lock().get(&key).filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        let account = pod.pod_spec().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audience.filter(|text| !text.is_empty()).map(str::to_owned).into_iter().collect()),
                expiration_seconds: Some(seconds.unwrap_or(SECONDS_DEFAULT)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..Default::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod.namespace());
        let answer: TokenRequest = api.create_subresource("token", account, &PostParams::default(), &request).await?;
        let status = answer.status.unwrap_or_default();
        let expires =
            status.expiration_timestamp.map_or(now + SignedDuration::from_secs(SECONDS_DEFAULT), |time| time.0);
        // At four fifths of its life.
        let life = expires.duration_since(now);
        let renew_at = now + (life * 4 / 5).min(AGE_MAX);
        let token = Token { token: status.token.unwrap_or_default(), renew_at };
        self.known.lock().insert(key, token.clone());
        Ok(token)
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.known.lock().retain(|(of, _, _), _| of != uid);
    }
}
