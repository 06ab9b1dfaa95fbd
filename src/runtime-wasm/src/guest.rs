//! What an instance has of the world: made from its container's environment, dropped with its store.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use wasmtime::{Engine, Store, component::ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, p1::WasiP1Ctx};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::{
    limits::{GuestLimiter, MemoryBudget},
    logs::{CriLog, LogStream, Stream},
    meter::Meter,
    mounts::Preopen,
    names::Resolver,
    outbound::{Outbound, OutboundHooks},
    sockets::NameLookupView,
};

/// What all instances of one container share.
#[derive(Debug)]
pub(crate) struct Environment {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: String,
    pub preopens: Vec<Preopen>,
    pub pod_ip: IpAddr,
    pub resolver: Arc<Resolver>,
    pub outbound: Arc<Outbound>,
    pub log: Arc<CriLog>,
    pub budget: Arc<MemoryBudget>,
    pub meter: Arc<Meter>,
}

/// A component's side of the world.
pub(crate) struct Guest {
    ctx: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: OutboundHooks,
    limiter: GuestLimiter,
    environment: Arc<Environment>,
}

/// A core module's.
pub(crate) struct P1Guest {
    pub wasi: WasiP1Ctx,
    limiter: GuestLimiter,
}

impl Environment {
    /// A store for one instance of a component.
    pub fn component_store(self: &Arc<Self>, engine: &Engine) -> wasmtime::Result<Store<Guest>> {
        let guest = Guest {
            ctx: self.wasi()?.build(),
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: OutboundHooks(self.outbound.clone()),
            limiter: GuestLimiter::new(self.budget.clone()),
            environment: self.clone(),
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        give_way(&mut store);
        Ok(store)
    }

    /// A store for one instance of a core module.
    pub fn module_store(self: &Arc<Self>, engine: &Engine) -> wasmtime::Result<Store<P1Guest>> {
        let mut builder = self.wasi()?;
        // wasip1 has no working directory; its libc looks relative paths up in a preopen of that name.
        if let Some(folder) = self.working_folder() {
            builder.preopened_dir(folder, ".", FsPerms::ReadWrite)?;
        }
        let guest = P1Guest { wasi: builder.build_p1(), limiter: GuestLimiter::new(self.budget.clone()) };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        give_way(&mut store);
        Ok(store)
    }

    fn wasi(&self) -> wasmtime::Result<WasiCtxBuilder> {
        let mut builder = WasiCtxBuilder::new();
        builder
            .args(&self.args)
            .envs(&self.env)
            .stdout(LogStream::new(self.log.clone(), Stream::Stdout))
            .stderr(LogStream::new(self.log.clone(), Stream::Stderr))
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(true)
            .socket_addr_check(|_, _| Box::pin(async { true }));
        if !self.working_dir.is_empty() {
            builder.initial_cwd(&self.working_dir);
        }
        for preopen in &self.preopens {
            let permissions = if preopen.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            builder
                .preopened_dir(&preopen.host, &preopen.guest, permissions)
                .map_err(|error| error.context(format!("open {} for {}", preopen.host.display(), preopen.guest)))?;
        }
        Ok(builder)
    }

    /// The host's folder of the working directory, unless that is the root.
    fn working_folder(&self) -> Option<PathBuf> {
        // The root, which has no parent, is preopened as it is.
        Path::new(&self.working_dir).parent()?;
        let covers = |preopen: &&Preopen| Path::new(&self.working_dir).starts_with(&preopen.guest);
        let preopen = self.preopens.iter().filter(covers).max_by_key(|preopen| preopen.guest.len())?;
        // A read-only mount stays one under its other name: it is left out.
        if preopen.read_only {
            return None;
        }
        let folder = preopen.host.join(Path::new(&self.working_dir).strip_prefix(&preopen.guest).ok()?);
        std::fs::create_dir_all(&folder).ok()?;
        Some(folder)
    }
}

/// Makes the guest of `store` give way at every tick.
fn give_way<T: 'static>(store: &mut Store<T>) {
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
}

impl Guest {
    pub fn pod_ip(&self) -> IpAddr {
        self.environment.pod_ip
    }

    pub fn names(&mut self) -> NameLookupView<'_> {
        NameLookupView { table: &mut self.table, resolver: self.environment.resolver.clone() }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
