//! A guest's sockets, with the pod's address as their own.
//!
//! A guest that binds `0.0.0.0:8080` gets `POD-IP:8080`, so any number of pods listen on one port of one host. Its
//! `localhost` is the pod too, as it would be in a network namespace. Ports below 1024 follow [`cni`]'s rule, and the
//! guest still sees the number it asked for. Done by standing in front of a few functions of `wasi:sockets`; everything
//! else is wasmtime's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wasmtime::{
    StoreContextMut,
    component::{HasData, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    p2::{
        DynPollable, Network, Pollable, SocketError, TcpSocket, UdpSocket,
        bindings::sockets::{
            ip_name_lookup::{self, Host, HostResolveAddressStream, ResolveAddressStream},
            network::{self, ErrorCode, IpAddress, IpSocketAddress},
            udp::{IncomingDatagramStream, OutgoingDatagramStream},
        },
        subscribe,
    },
    runtime::AbortOnDropJoinHandle,
    sockets::WasiSocketsView,
};

use crate::{
    guest::Guest,
    names::{NameError, Resolver},
};

/// Where a guest's bind to `asked` really binds: the pod's address, at the port the host listens on for it.
pub fn bind_address(asked: SocketAddr, pod: IpAddr) -> SocketAddr {
    match asked.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() || ip.is_loopback() => {
            SocketAddr::new(pod, cni::listen_port(asked.port()))
        }
        _other => asked,
    }
}

/// Where a guest's connection to `asked` really goes.
pub fn connect_address(asked: SocketAddr, pod: IpAddr) -> SocketAddr {
    let is_own = |ip: Ipv4Addr| ip.is_unspecified() || (ip.is_loopback() && !cni::is_cluster_address(ip.into()));
    match asked.ip() {
        IpAddr::V4(ip) if is_own(ip) => SocketAddr::new(pod, cni::listen_port(asked.port())),
        _other => cni::dial_address(asked),
    }
}

/// What the guest is told of an address of its own.
pub fn shown_address(real: SocketAddr, pod: IpAddr) -> SocketAddr {
    if real.ip() == pod { SocketAddr::new(pod, cni::shown_port(real.port())) } else { real }
}

type SocketAnswer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// What WIT has as `result<T, error-code>`, or a trap.
fn answer<T>(result: Result<T, SocketError>) -> SocketAnswer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

/// Stands in front of the functions of `linker` that carry addresses, and of the name lookup.
pub(crate) fn shadow(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    shadow_tcp(linker)?;
    shadow_udp(linker)?;
    ip_name_lookup::add_to_linker::<Guest, NameLookup>(linker, Guest::names)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn shadow_tcp(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;

    type Addressed = (Resource<TcpSocket>, Resource<Network>, IpSocketAddress);
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap_async(
        "[method]tcp-socket.start-bind",
        |mut store: StoreContextMut<'_, Guest>, (socket, network, asked): Addressed| {
            Box::new(async move {
                let guest = store.data_mut();
                let address = bind_address(asked.into(), guest.pod_ip());
                answer(guest.sockets().start_bind(socket, network, address.into()).await)
            })
        },
    )?;
    tcp.func_wrap_async(
        "[method]tcp-socket.start-connect",
        |mut store: StoreContextMut<'_, Guest>, (socket, network, asked): Addressed| {
            Box::new(async move {
                let guest = store.data_mut();
                let pod = guest.pod_ip();
                let address = connect_address(asked.into(), pod);
                let mut sockets = guest.sockets();
                // Other pods see who speaks to them. Not for addresses off this host, which loopback cannot reach.
                let borrowed = Resource::new_borrow(socket.rep());
                if address.ip().is_loopback() && sockets.local_address(borrowed).is_err() {
                    let (borrowed, any) = (Resource::new_borrow(socket.rep()), SocketAddr::new(pod, 0));
                    let network = Resource::new_borrow(network.rep());
                    if sockets.start_bind(borrowed, network, any.into()).await.is_ok() {
                        let _ = sockets.finish_bind(Resource::new_borrow(socket.rep()));
                    }
                }
                answer(sockets.start_connect(socket, network, address.into()))
            })
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.local-address",
        |mut store: StoreContextMut<'_, Guest>, (socket,): (Resource<TcpSocket>,)| {
            let pod = store.data().pod_ip();
            let real = store.data_mut().sockets().local_address(socket);
            answer(real.map(|real| IpSocketAddress::from(shown_address(real.into(), pod))))
        },
    )
}

fn shadow_udp(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::sockets::udp::HostUdpSocket;

    type Streams = (Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>);
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap_async(
        "[method]udp-socket.start-bind",
        |mut store: StoreContextMut<'_, Guest>,
         (socket, network, asked): (Resource<UdpSocket>, Resource<Network>, IpSocketAddress)| {
            Box::new(async move {
                let guest = store.data_mut();
                let address = bind_address(asked.into(), guest.pod_ip());
                answer(guest.sockets().start_bind(socket, network, address.into()).await)
            })
        },
    )?;
    udp.func_wrap_async(
        "[method]udp-socket.stream",
        |mut store: StoreContextMut<'_, Guest>, (socket, asked): (Resource<UdpSocket>, Option<IpSocketAddress>)| {
            Box::new(async move {
                let guest = store.data_mut();
                let pod = guest.pod_ip();
                let address = asked.map(|asked| connect_address(asked.into(), pod).into());
                let streams: Result<Streams, _> = guest.sockets().stream(socket, address).await;
                answer(streams)
            })
        },
    )?;
    udp.func_wrap(
        "[method]udp-socket.local-address",
        |mut store: StoreContextMut<'_, Guest>, (socket,): (Resource<UdpSocket>,)| {
            let pod = store.data().pod_ip();
            let real = HostUdpSocket::local_address(&mut store.data_mut().sockets(), socket);
            answer(real.map(|real| IpSocketAddress::from(shown_address(real.into(), pod))))
        },
    )
}

/// `wasi:sockets/ip-name-lookup` by the pod's resolver.
pub(crate) struct NameLookup;

impl HasData for NameLookup {
    type Data<'a> = NameLookupView<'a>;
}

/// What a lookup needs of its store.
pub(crate) struct NameLookupView<'a> {
    pub table: &'a mut ResourceTable,
    pub resolver: std::sync::Arc<Resolver>,
}

/// A lookup under way or done. In the guest's table it stands where wasmtime's own type would: the handle is but a
/// number, and every function that takes it is here.
struct Lookup {
    task: Option<AbortOnDropJoinHandle<Result<Vec<IpAddr>, NameError>>>,
    found: Result<std::vec::IntoIter<IpAddr>, NameError>,
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Some(task) = &mut self.task {
            self.found = task.await.map(IntoIterator::into_iter);
            self.task = None;
        }
    }
}

/// The lookup's functions answer with error codes of `wasi:sockets/network`.
impl network::Host for NameLookupView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for NameLookupView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl Host for NameLookupView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        _ = self.table.get(&network)?;
        if name.is_empty() || name.len() > 253 {
            return Err(ErrorCode::InvalidArgument.into());
        }
        let resolver = self.resolver.clone();
        let task = wasmtime_wasi::runtime::spawn(async move { resolver.lookup(&name).await });
        let lookup = self.table.push(Lookup { task: Some(task), found: Ok(Vec::new().into_iter()) })?;
        Ok(Resource::new_own(lookup.rep()))
    }
}

fn own<T: 'static>(resource: &Resource<ResolveAddressStream>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

impl HostResolveAddressStream for NameLookupView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let lookup: &mut Lookup = self.table.get_mut(&own(&stream))?;
        if let Some(task) = &mut lookup.task {
            match futures::FutureExt::now_or_never(task) {
                None => return Err(ErrorCode::WouldBlock.into()),
                Some(found) => lookup.found = found.map(IntoIterator::into_iter),
            }
            lookup.task = None;
        }
        match &mut lookup.found {
            Ok(addresses) => Ok(addresses.next().map(IpAddress::from)),
            Err(NameError::Invalid) => Err(ErrorCode::InvalidArgument.into()),
            Err(NameError::NotFound) => Err(ErrorCode::NameUnresolvable.into()),
            Err(NameError::Unanswered) => Err(ErrorCode::TemporaryResolverFailure.into()),
        }
    }

    fn subscribe(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, own::<Lookup>(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Lookup>::new_own(stream.rep()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn whatever_a_guest_binds_is_the_pods() {
        let pod = "127.64.0.9".parse().expect("an address");
        assert_eq!(bind_address(address("0.0.0.0:8080"), pod), address("127.64.0.9:8080"));
        assert_eq!(bind_address(address("127.0.0.1:8080"), pod), address("127.64.0.9:8080"));
        assert_eq!(shown_address(bind_address(address("0.0.0.0:80"), pod), pod), address("127.64.0.9:80"));
    }

    #[test]
    fn localhost_is_the_pod_and_the_rest_is_where_it_is() {
        let pod = "127.64.0.9".parse().expect("an address");
        assert_eq!(connect_address(address("127.0.0.1:8080"), pod), address("127.64.0.9:8080"));
        assert_eq!(connect_address(address("127.64.0.7:8080"), pod), address("127.64.0.7:8080"));
        assert_eq!(connect_address(address("10.1.1.1:80"), pod), address("10.1.1.1:80"));
        assert_eq!(connect_address(address("127.96.0.1:443"), pod).port(), cni::listen_port(443));
    }
}
