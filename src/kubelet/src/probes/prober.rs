//! One look at a container: an HTTP request, a TCP connection, or a command.

use std::time::Duration;

use cri::v1;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, HTTPHeader},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{net::TcpStream, time::timeout};

use super::{http, worker::Assignment};
use crate::pod::traits::PodExt;

/// Where a pod is reached.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub ip: String,
}

/// `Ok(Err(why))` is a failure, `Err(why)` means that the probe could not be made.
pub(super) type Verdict = Result<Result<(), String>, String>;

/// Makes probes.
pub struct Prober {
    client: cri::Clients,
    http: http::Client,
    listen_port: fn(u16) -> u16,
}

impl Prober {
    /// With the runtime, for commands, and the port at which a pod's port is really served.
    pub fn new(client: cri::Clients, listen_port: fn(u16) -> u16) -> Self {
        Self { client, http: http::Client::new(), listen_port }
    }

    pub(super) async fn probe(&self, work: &Assignment) -> Verdict {
        let limit = work.probe.timeout_seconds.and_then(|value| u64::try_from(value).ok()).unwrap_or(1).max(1);
        let limit = Duration::from_secs(limit);
        let Some((container, _)) = work.pod.find_container(&work.container) else {
            return Err(format!("container {} is not in the pod", work.container));
        };
        if let Some(action) = &work.probe.http_get {
            self.http_get(action, container, &work.target, limit).await
        } else if let Some(action) = &work.probe.tcp_socket {
            let port = resolve_port(&action.port, container)?;
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&work.target.ip);
            Ok(self.connect(host, port, host == work.target.ip, limit).await)
        } else if let Some(action) = &work.probe.exec {
            self.exec(&work.container_id, action.command.clone().unwrap_or_default(), limit).await
        } else if work.probe.grpc.is_some() {
            Err("grpc probes are not supported by this node: use an httpGet or tcpSocket probe".to_owned())
        } else {
            Err("missing probe handler".to_owned())
        }
    }

    /// Makes an HTTP request as a probe, or a lifecycle hook, does.
    pub async fn http_get(
        &self,
        action: &HTTPGetAction,
        container: &Container,
        target: &Target,
        limit: Duration,
    ) -> Verdict {
        let port = resolve_port(&action.port, container)?;
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
        let own = host == target.ip;
        let https = action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let headers: &[HTTPHeader] = action.http_headers.as_deref().unwrap_or_default();
        let request = http::Get {
            host: host.to_owned(),
            port,
            real_port: if own { (self.listen_port)(port) } else { port },
            https,
            path: action.path.clone().unwrap_or_default(),
            headers: headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        };
        Ok(self.http.get(request, limit).await)
    }

    async fn connect(&self, host: &str, port: u16, own: bool, limit: Duration) -> Result<(), String> {
        let real = if own { (self.listen_port)(port) } else { port };
        let shown = http::join(host, port);
        match timeout(limit, TcpStream::connect((host, real))).await {
            Ok(Ok(_connection)) => Ok(()),
            Ok(Err(error)) => Err(format!("dial tcp {shown}: {}", http::connect_error(&error))),
            Err(_elapsed) => Err(format!("dial tcp {shown}: i/o timeout")),
        }
    }

    /// Runs a command in a container.
    pub async fn exec(&self, container_id: &str, command: Vec<String>, limit: Duration) -> Verdict {
        let seconds = i64::try_from(limit.as_secs()).unwrap_or(1);
        let request = v1::ExecSyncRequest { container_id: container_id.to_owned(), cmd: command, timeout: seconds };
        match timeout(limit, self.client.runtime.clone().exec_sync(request)).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                if answer.exit_code == 0 {
                    return Ok(Ok(()));
                }
                let output = [answer.stdout, answer.stderr].concat();
                let output = String::from_utf8_lossy(&output).trim().to_owned();
                let why = if output.is_empty() { format!("command exited with {}", answer.exit_code) } else { output };
                Ok(Err(why))
            }
            Ok(Err(status)) => Err(crate::rpc_error(&status)),
            Err(_elapsed) => Ok(Err(format!("command timed out after {}s", limit.as_secs()))),
        }
    }
}

/// The number of a port that a probe names.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
            }
        }
    };
    u16::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| format!("invalid port number: {number}"))
}
