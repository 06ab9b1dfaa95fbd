//! What an operator says about registries, and who pulls.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::Deserialize;

use crate::ImageError;

/// One file may hold several certificates; the HTTP client takes them one by one.
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";

/// Settings by registry host (`registry.local:5000`). A registry that is not named is spoken to over TLS and trusted
/// by the host's own roots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Registries {
    /// By host, with its port where it has one.
    pub registries: BTreeMap<String, Registry>,
    /// PEM files of authorities to trust for all registries beside the host's.
    pub ca_files: Vec<PathBuf>,
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

impl Registries {
    /// The settings of one registry, by host.
    pub(crate) fn of(&self, host: &str) -> Registry {
        self.registries.get(host).cloned().unwrap_or_default()
    }

    /// The authorities to trust for a registry with these settings, beside the host's; each in PEM.
    pub(crate) fn authorities(&self, registry: &Registry) -> Result<Vec<Vec<u8>>, ImageError> {
        let mut authorities = Vec::new();
        for path in registry.ca_file.iter().chain(&self.ca_files) {
            let text = fs::read_to_string(path).map_err(ImageError::io("read", path))?;
            let certificates = text.split_inclusive(CERTIFICATE_END).filter(|part| part.ends_with(CERTIFICATE_END));
            authorities.extend(certificates.map(|certificate| certificate.as_bytes().to_vec()));
        }
        Ok(authorities)
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

    #[test]
    fn a_file_may_hold_several_authorities_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ca.pem");
        let one = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n{CERTIFICATE_END}\n");
        fs::write(&path, format!("{}{}", one("YQ=="), one("Yg=="))).expect("written");
        let all = Registries { ca_files: vec![path], ..Registries::default() };
        assert_eq!(all.authorities(&Registry::default()).expect("read").len(), 2);
        let missing = Registry { ca_file: Some(folder.path().join("none.pem")), ..Registry::default() };
        assert!(all.authorities(&missing).expect_err("missing").to_string().contains("none.pem"));
    }
}
