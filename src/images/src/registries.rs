//! What an operator says about registries, and who pulls.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::ImageError;

/// Settings by registry host (`registry.local:5000`). A registry that is not named is spoken to over TLS and trusted
/// by the host's own roots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registries {
    /// By host, with its port where it has one.
    pub registries: BTreeMap<String, Registry>,
}

/// Settings of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Speak plain HTTP to it. Nothing but this setting makes a pull use plain HTTP.
    pub plain_http: bool,
    /// A PEM file of authorities to trust for it beside the host's.
    pub ca_file: Option<PathBuf>,
    /// Credentials for pulls that bring none.
    pub credentials: Option<Credentials>,
}

/// Who pulls.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credentials {
    /// A user and a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that is sent as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(formatter, "Basic({username}, …)"),
            Self::Bearer(_) => formatter.write_str("Bearer(…)"),
        }
    }
}

impl Registry {
    /// The authorities of `ca_file`.
    pub(crate) fn authorities(&self) -> Result<Option<Vec<u8>>, ImageError> {
        self.ca_file.as_ref().map(|path| fs::read(path).map_err(ImageError::io("read", path))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_host_and_misspelt_ones_refused() {
        let text = r#"{"registries":{"registry.local:5000":{"plainHttp":true,
            "credentials":{"basic":{"username":"u","password":"secret"}}}}}"#;
        let registries: Registries = serde_json::from_str(text).expect("settings");
        let registry = &registries.registries["registry.local:5000"];
        assert!(registry.plain_http);
        assert!(!format!("{registry:?}").contains("secret"));
        assert!(serde_json::from_str::<Registries>(r#"{"registries":{"a":{"plainhttp":true}}}"#).is_err());
    }
}
