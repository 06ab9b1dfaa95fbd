//! Kubeconfigs: finding the user's, making clients of them, merging ours into it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use component_base::files;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::CliError;

/// Which cluster a verb speaks to.
#[derive(Debug, Args, Clone)]
pub struct ClusterOptions {
    /// The kubeconfig with which the cluster is reached
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The data directory of a server on this machine, whose administrator's kubeconfig is used
    #[arg(long, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl ClusterOptions {
    /// A client of that cluster: what is named on the command line first, then KUBECONFIG, then a cluster in the place
    /// where one is by default, then the user's own kubeconfig.
    pub fn client(&self) -> Result<Client, CliError> {
        let path = self.path()?;
        let text = fs::read_to_string(&path).map_err(CliError::file(&path))?;
        client_from(&text).map_err(|error| match error {
            CliError::Kubeconfig { reason, .. } => invalid(&path, reason),
            other => other,
        })
    }

    fn path(&self) -> Result<PathBuf, CliError> {
        if let Some(path) = self.kubeconfig.clone() {
            return Ok(path);
        }
        if let Some(folder) = &self.data_dir {
            return Ok(folder.join("admin.kubeconfig"));
        }
        let default = Path::new("coracle-data/admin.kubeconfig");
        let named = std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty());
        if !named && default.exists() { Ok(default.to_owned()) } else { users() }
    }
}

fn invalid(path: &Path, reason: impl ToString) -> CliError {
    CliError::Kubeconfig { path: path.to_owned(), reason: reason.to_string() }
}

/// A client that the text of a kubeconfig describes.
pub fn client_from(text: &str) -> Result<Client, CliError> {
    let path = Path::new("(generated)");
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| invalid(path, error))?;
    // Nothing is asked of anyone: all that it needs is in the text.
    let config = futures::executor::block_on(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()))
        .map_err(|error| invalid(path, error))?;
    Ok(Client::try_from(config)?)
}

/// The user's own kubeconfig, as kubectl finds it.
fn users() -> Result<PathBuf, CliError> {
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty())
        && let Some(first) = std::env::split_paths(&paths).find(|path| !path.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        CliError::Usage("neither KUBECONFIG nor HOME is set: say where the kubeconfig is with KUBECONFIG".to_owned())
    })?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Adds the cluster of the kubeconfig at `ours` to the user's, and makes it the current context. What else is in the
/// user's stays; a file that does not parse is left alone.
pub fn merge(ours: &Path) -> Result<(), CliError> {
    let target = users()?;
    let own = fs::read_to_string(ours).map_err(CliError::file(ours))?;
    let own: serde_yaml_ng::Value = serde_yaml_ng::from_str(&own).map_err(|error| invalid(ours, error))?;
    let merged = match fs::read_to_string(&target) {
        Ok(text) if !text.trim().is_empty() => {
            let existing = serde_yaml_ng::from_str(&text).map_err(|error| invalid(&target, error))?;
            merged(existing, &own).ok_or_else(|| invalid(&target, "it is not a mapping, so it is left alone"))?
        }
        Ok(_) => own,
        Err(error) if error.kind() == io::ErrorKind::NotFound => own,
        Err(error) => return Err(CliError::file(&target)(error)),
    };
    let text = serde_yaml_ng::to_string(&merged).map_err(|error| invalid(&target, error))?;
    let folder = target.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| files::write_private(&target, text.as_bytes())).map_err(CliError::file(&target))
}

/// `existing` with the named entries of `own` added or replaced.
fn merged(mut existing: serde_yaml_ng::Value, own: &serde_yaml_ng::Value) -> Option<serde_yaml_ng::Value> {
    let root = existing.as_mapping_mut()?;
    for list in ["clusters", "users", "contexts"] {
        let mut entries = root.get(list).and_then(|entries| entries.as_sequence()).cloned().unwrap_or_default();
        for entry in own.get(list).and_then(|entries| entries.as_sequence()).into_iter().flatten() {
            entries.retain(|other| other.get("name") != entry.get("name"));
            entries.push(entry.clone());
        }
        root.insert(list.into(), entries.into());
    }
    if let Some(context) = own.get("current-context") {
        root.insert("current-context".into(), context.clone());
    }
    Some(existing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> serde_yaml_ng::Value {
        serde_yaml_ng::from_str(text).expect("YAML")
    }

    #[test]
    fn merging_keeps_what_is_there_and_replaces_its_own() {
        let existing = yaml(
            "{clusters: [{name: a}, {name: coracle, old: true}], contexts: [], current-context: a, preferences: {x: 1}}",
        );
        let own = yaml(
            "{clusters: [{name: coracle}], users: [{name: coracle}], contexts: [{name: coracle}], current-context: coracle}",
        );
        let merged = merged(existing, &own).expect("a mapping");
        assert_eq!(merged["clusters"], yaml("[{name: a}, {name: coracle}]"));
        assert_eq!(merged["current-context"], yaml("coracle"));
        assert_eq!(merged["preferences"], yaml("{x: 1}"));
    }

    #[test]
    fn a_kubeconfig_that_is_no_mapping_is_left_alone() {
        assert!(merged(yaml("[1]"), &yaml("{}")).is_none());
    }
}
