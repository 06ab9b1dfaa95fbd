//! `coracle token`: the tokens with which machines join.

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use component_base::{
    Clock, JoinToken, OsEntropy, SystemClock,
    join_token::{self, JoinRole, TokenRecord},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{CliError, context::say, kubeconfig::ClusterOptions};

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print it: the only time that it is shown
    Create {
        /// As what a machine joins with it
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is good for: 30m, 24h, 7d; 0 for ever
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = time_to_live)]
        ttl: SignedDuration,
        /// What it is for, in your words
        #[arg(long, default_value = "", value_name = "TEXT")]
        description: String,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
    /// List tokens
    List {
        /// How
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
    /// Delete a token: nobody joins with it any more
    Delete {
        /// Its ID: its second part
        id: String,
        #[command(flatten)]
        cluster: ClusterOptions,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// A server
    Server,
    /// A node's agent
    Agent,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

impl Token {
    pub(crate) async fn run(self) -> Result<(), CliError> {
        match self {
            Self::Create { role, ttl, description, cluster } => create(role, ttl, description, &cluster).await,
            Self::List { output, cluster } => list(output, &cluster).await,
            Self::Delete { id, cluster } => delete(&id, &cluster).await,
        }
    }
}

fn secrets(client: kube::Client) -> Api<Secret> {
    Api::namespaced(client, join_token::NAMESPACE)
}

async fn create(
    role: Role,
    ttl: SignedDuration,
    description: String,
    cluster: &ClusterOptions,
) -> Result<(), CliError> {
    let client = cluster.client()?;
    let authority = authority(client.clone()).await?;
    let token = JoinToken::generate(&OsEntropy, &authority);
    let role = match role {
        Role::Server => JoinRole::Server,
        Role::Agent => JoinRole::Agent,
    };
    let record = TokenRecord::new(&token, role, expiration(SystemClock.now(), ttl)?, description, &OsEntropy);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(format!("{}{}", join_token::SECRET_PREFIX, token.id())),
            namespace: Some(join_token::NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(join_token::SECRET_TYPE.to_owned()),
        string_data: Some(record.data()),
        ..Secret::default()
    };
    secrets(client).create(&PostParams::default(), &secret).await?;
    say(&token.to_string());
    Ok(())
}

/// The certificate of the cluster's authority, DER.
async fn authority(client: kube::Client) -> Result<Vec<u8>, CliError> {
    let name = "extension-apiserver-authentication";
    let map = Api::<ConfigMap>::namespaced(client, "kube-system").get(name).await?;
    let pem = map.data.as_ref().and_then(|data| data.get("client-ca-file"));
    let pem = pem.ok_or_else(|| CliError::Usage(format!("the ConfigMap kube-system/{name} has no client-ca-file")))?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| CliError::Usage(format!("client-ca-file of the ConfigMap kube-system/{name}: {error}")))?;
    Ok(der.to_vec())
}

async fn list(output: Output, cluster: &ClusterOptions) -> Result<(), CliError> {
    let ours = ListParams::default().fields(&format!("type={}", join_token::SECRET_TYPE));
    let found = secrets(cluster.client()?).list(&ours).await?;
    let now = SystemClock.now();
    let rows: Vec<Row> = found.iter().map(|secret| Row::of(secret, now)).collect();
    match output {
        Output::Json => say(&serde_json::Value::from_iter(rows.iter().map(Row::json)).to_string()),
        Output::Table => table(&rows).iter().for_each(|line| say(line)),
    }
    Ok(())
}

async fn delete(id: &str, cluster: &ClusterOptions) -> Result<(), CliError> {
    // Whoever has the whole token at hand may give that.
    let id = id.parse::<JoinToken>().map_or_else(|_| id.to_owned(), |token| token.id().to_owned());
    let name = format!("{}{id}", join_token::SECRET_PREFIX);
    match secrets(cluster.client()?).delete(&name, &DeleteParams::default()).await {
        Ok(_) => {
            say(&format!("deleted {id}"));
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(CliError::Usage(format!("there is no token {id:?}: `coracle token list` shows those that are")))
        }
        Err(error) => Err(error.into()),
    }
}

/// A token as it is shown.
struct Row {
    id: String,
    role: &'static str,
    expiration: Option<Timestamp>,
    expired: bool,
    description: String,
}

impl Row {
    fn of(secret: &Secret, now: Timestamp) -> Self {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let record = TokenRecord::read(|key| data.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok()));
        let name = secret.name_any();
        let id = name.strip_prefix(join_token::SECRET_PREFIX).unwrap_or(&name).to_owned();
        match record {
            Ok(record) => Self {
                id,
                role: record.role.as_str(),
                expiration: record.expiration,
                expired: record.expiration.is_some_and(|at| now >= at),
                description: record.description,
            },
            // What somebody wrote by hand lets nobody in, and can be deleted.
            Err(error) => {
                Self { id, role: "<broken>", expiration: None, expired: true, description: error.to_string() }
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({"id": self.id, "role": self.role, "expired": self.expired, "description": self.description,
            "expiration": self.expiration.map(|at| at.to_string())})
    }

    fn expires(&self) -> String {
        match self.expiration {
            None => "never".to_owned(),
            Some(at) if self.expired => format!("{at} (expired)"),
            Some(at) => at.to_string(),
        }
    }
}

fn table(rows: &[Row]) -> Vec<String> {
    let line = |id: &str, role: &str, expires: &str, description: &str| {
        format!("{id:<8}{role:<10}{expires:<32}{description}").trim_end().to_owned()
    };
    let head = line("ID", "ROLE", "EXPIRES", "DESCRIPTION");
    let rows = rows.iter().map(|row| line(&row.id, row.role, &row.expires(), &row.description));
    std::iter::once(head).chain(rows).collect()
}

/// A time as people write it: a number with s, m, h or d; 0 for none.
fn time_to_live(text: &str) -> Result<SignedDuration, String> {
    let error = || format!("{text:?} is no time: write it as 30m, 24h or 7d, or 0 for ever");
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let unit = text.chars().next_back().ok_or_else(error)?;
    let number: i64 =
        text[..text.len() - unit.len_utf8()].parse().ok().filter(|number| *number > 0).ok_or_else(error)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(error()),
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs).ok_or_else(error)
}

/// When a token ends that is made now, to the second.
fn expiration(now: Timestamp, ttl: SignedDuration) -> Result<Option<Timestamp>, CliError> {
    if ttl.is_zero() {
        return Ok(None);
    }
    let end = now.as_second().checked_add(ttl.as_secs()).and_then(|second| Timestamp::from_second(second).ok());
    end.map(Some).ok_or_else(|| CliError::Usage("--ttl reaches beyond the calendar: 0 is for ever".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("0", 0)] {
            assert_eq!(time_to_live(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "-1h", "0h", "1.5h", "24", "1w", "9223372036854775807d", "1ä"] {
            assert!(time_to_live(text).expect_err("refused").contains("30m"), "{text}");
        }
    }

    #[test]
    fn a_token_ends_after_its_time_or_never() {
        let now = Timestamp::from_second(1000).expect("a time");
        let after = |seconds| expiration(now, SignedDuration::from_secs(seconds)).expect("in the calendar");
        assert_eq!(after(60), Timestamp::from_second(1060).ok());
        assert_eq!(after(0), None);
        assert!(expiration(now, SignedDuration::MAX).is_err());
    }
}
