//! Under which name each controller speaks.

use std::{fmt, sync::Arc};

use kube::Client;

/// A user as the API server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// Makes clients, each under one identity.
#[derive(Clone)]
pub struct Clients(Arc<dyn Fn(Identity) -> Client + Send + Sync>);

impl Clients {
    /// Clients as `make` makes them.
    pub fn new(make: impl Fn(Identity) -> Client + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// A client of a controller's own service account, as `--use-service-account-credentials` gives it: `name` is for
    /// example `deployment-controller`.
    pub fn controller(&self, name: &str) -> Client {
        let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
        (self.0)(Identity {
            name: format!("system:serviceaccount:kube-system:{name}"),
            groups: groups.map(str::to_owned).to_vec(),
        })
    }

    /// A client of the controller manager itself, which may list and watch everything.
    pub fn manager(&self) -> Client {
        (self.0)(Identity {
            name: "system:kube-controller-manager".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
        })
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}
