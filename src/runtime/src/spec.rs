//! From a container in CRI's words and its image to what its guest is made of. Pure.

use std::{collections::HashMap, net::IpAddr, path::PathBuf, time::Duration};

use cri::{labels, v1};
use images::{ImageRecord, ResolvedImage};
use runtime_wasm::{ContainerSpec, Limits, Mount, names::DnsConfig};
use serde::Deserialize;

/// Where an HTTP component is served that names no port.
const HTTP_PORT_DEFAULT: u16 = 8080;

/// What of a sandbox matters to its containers.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The sandbox's configuration.
    pub sandbox: &'a v1::PodSandboxConfig,
    /// Its address.
    pub pod_ip: IpAddr,
    /// The container's own folder.
    pub folder: PathBuf,
    /// The container's log.
    pub log_path: Option<PathBuf>,
}

/// What the guest of container `id` is made of.
///
/// # Errors
/// When an annotation of the container or its pod cannot be read.
pub fn guest_spec(
    id: &str,
    config: v1::ContainerConfig,
    image: ResolvedImage,
    around: Surroundings<'_>,
) -> Result<ContainerSpec, String> {
    let http_port = http_port(&config)?;
    let requests_per_instance = requests_per_instance(&around.sandbox.annotations)?;
    let limits = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()).map(limits).unwrap_or_default();
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let dns = around.sandbox.dns_config.clone().unwrap_or_default();
    let ResolvedImage { record, program, files } = image;
    Ok(ContainerSpec {
        id: id.to_owned(),
        program,
        files,
        folder: around.folder,
        args: arguments(&config.command, &config.args, &record),
        env: environment(&record.env, config.envs),
        working_dir: if config.working_dir.is_empty() { record.working_dir } else { config.working_dir },
        mounts: config
            .mounts
            .into_iter()
            .map(|mount| Mount {
                host: mount.host_path.into(),
                container: mount.container_path,
                read_only: mount.readonly,
            })
            .collect(),
        root_read_only: security.is_some_and(|security| security.readonly_rootfs),
        limits,
        pod_ip: around.pod_ip,
        http_port,
        requests_per_instance,
        dns: DnsConfig::new(&dns.servers, &dns.searches, &dns.options),
        log_path: around.log_path,
    })
}

/// What a container may use; CRI's zero is "no limit".
pub fn limits(resources: &v1::LinuxContainerResources) -> Limits {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let quota = positive(resources.cpu_quota).map(Duration::from_micros);
    let period = Duration::from_micros(positive(resources.cpu_period).unwrap_or(100_000));
    Limits { memory_bytes: positive(resources.memory_limit_in_bytes), cpu: quota.map(|quota| (quota, period)) }
}

/// As Kubernetes has it: `command` stands for the image's entrypoint, `args` for its arguments, and an own command
/// takes the image's arguments away too. An image that names its program in its arguments has it as entrypoint.
fn arguments(command: &[String], args: &[String], image: &ImageRecord) -> Vec<String> {
    if !command.is_empty() {
        return [command, args].concat();
    }
    let (entrypoint, own_args) = match (image.entrypoint.as_slice(), image.cmd.as_slice()) {
        ([], [program, rest @ ..]) if program.ends_with(".wasm") => (vec![program.clone()], rest),
        ([], rest) => (vec![image.program_name.clone()], rest),
        (entrypoint, rest) => (entrypoint.to_vec(), rest),
    };
    [entrypoint.as_slice(), if args.is_empty() { own_args } else { args }].concat()
}

/// The image's variables, then the container's: the last of a name counts.
fn environment(image: &[String], own: Vec<v1::KeyValue>) -> Vec<(String, String)> {
    let image = image.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (pair.clone(), String::new()),
    });
    let mut places = HashMap::new();
    let mut all: Vec<(String, String)> = Vec::with_capacity(own.len());
    for (name, value) in image.chain(own.into_iter().map(|pair| (pair.key, pair.value))) {
        match places.get(&name) {
            Some(place) => all[*place] = (name, value),
            None => {
                places.insert(name.clone(), all.len());
                all.push((name, value));
            }
        }
    }
    all
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    name: String,
    container_port: u16,
    #[serde(default)]
    protocol: String,
}

fn requests_per_instance(annotations: &HashMap<String, String>) -> Result<u32, String> {
    let Some(text) = annotations.get(labels::REQUESTS_PER_INSTANCE) else { return Ok(1) };
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| {
        format!("annotation {}: {text:?} is not a number of requests from 1 on", labels::REQUESTS_PER_INSTANCE)
    })
}

/// The container's port named `http`, else its first TCP port.
fn http_port(config: &v1::ContainerConfig) -> Result<u16, String> {
    let Some(text) = config.annotations.get(labels::CONTAINER_PORTS) else { return Ok(HTTP_PORT_DEFAULT) };
    let ports: Vec<Port> =
        serde_json::from_str(text).map_err(|error| format!("annotation {}: {error}", labels::CONTAINER_PORTS))?;
    let mut tcp = ports.iter().filter(|port| port.protocol.is_empty() || port.protocol == "TCP");
    let named = tcp.clone().find(|port| port.name == "http");
    Ok(named.or_else(|| tcp.next()).map_or(HTTP_PORT_DEFAULT, |port| port.container_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn image(entrypoint: &str, cmd: &str) -> ImageRecord {
        let digest = format!("sha256:{}", "0".repeat(64));
        let mut image: ImageRecord = serde_json::from_value(serde_json::json!({
            "id": digest, "tags": [], "digests": [], "size": 1, "layout": "Compat", "program": digest,
            "program_name": "app", "blobs": [], "since": 0,
        }))
        .expect("a record");
        (image.entrypoint, image.cmd) = (words(entrypoint), words(cmd));
        image
    }

    #[test]
    fn arguments_are_as_kubernetes_says() {
        let cases = [
            // (entrypoint, cmd of the image; command, args of the container; what the guest sees)
            ("/e", "c", "", "", "/e c"),
            ("/e", "c", "", "a b", "/e a b"),
            ("/e", "c", "x", "", "x"),
            ("/e", "c", "x", "a", "x a"),
            ("", "", "", "", "app"),
            ("", "", "", "a", "app a"),
            ("", "c", "", "", "app c"),
            ("", "/app.wasm c", "", "", "/app.wasm c"),
            ("", "/app.wasm c", "", "a", "/app.wasm a"),
        ];
        for (entrypoint, cmd, command, args, seen) in cases {
            let found = arguments(&words(command), &words(args), &image(entrypoint, cmd));
            assert_eq!(found.join(" "), seen, "{entrypoint} | {cmd} | {command} | {args}");
        }
    }

    #[test]
    fn the_containers_variables_win_over_the_images() {
        let own = [("A", "2"), ("B", "3")].map(|(key, value)| v1::KeyValue { key: key.into(), value: value.into() });
        let found = environment(&words("A=1 P=x=y EMPTY"), own.to_vec());
        let shown: Vec<String> = found.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(shown, ["A:2", "P:x=y", "EMPTY:", "B:3"]);
    }

    #[test]
    fn http_is_served_at_the_port_of_that_name_or_the_first() {
        let port = |ports: Option<&str>| {
            let annotations = ports.map(|ports| (labels::CONTAINER_PORTS.to_owned(), ports.to_owned()));
            http_port(&v1::ContainerConfig { annotations: annotations.into_iter().collect(), ..Default::default() })
        };
        assert_eq!(port(None), Ok(8080));
        assert_eq!(port(Some(r#"[{"containerPort":53,"protocol":"UDP"},{"containerPort":80}]"#)), Ok(80));
        let named = r#"[{"containerPort":9000,"name":"metrics"},{"containerPort":80,"name":"http","protocol":"TCP"}]"#;
        assert_eq!(port(Some(named)), Ok(80));
        assert!(port(Some("nonsense")).is_err());
    }

    #[test]
    fn zero_is_no_limit() {
        let given = |quota, memory| {
            limits(&v1::LinuxContainerResources {
                cpu_quota: quota,
                memory_limit_in_bytes: memory,
                ..Default::default()
            })
        };
        assert_eq!(given(0, 0), Limits::default());
        let some = given(10_000, 1 << 20);
        assert_eq!(some.cpu, Some((Duration::from_millis(10), Duration::from_millis(100))));
        assert_eq!(some.memory_bytes, Some(1 << 20));
    }
}
