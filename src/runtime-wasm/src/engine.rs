//! The engine: how instances are allocated.
//!
//! A pool of slots whose pages are shared copy-on-write with the program's image, so that an instance costs
//! microseconds and the pages it touches. Each slot reserves four gibibytes of address space (then no access needs a
//! check), which is free, and a few memory maps, of which Linux allows a process 65,530 by default: these bound the
//! number of slots.

use std::fs;

use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Maps an instance and its stack need.
const MAPS_PER_GUEST: u64 = 6;
/// What the rest of the process is left.
const MAPS_RESERVED: u64 = 8000;
const LINUX_MAPS_DEFAULT: u64 = 65_530;
/// Every slot costs five microseconds of each start of the runtime, on which all pods of the node wait after a crash.
/// Only running commands and requests under way hold one; whoever runs more says so.
const GUESTS_MAX: u64 = 5_000;
/// Tried in turn: a process whose address space is limited gets fewer slots rather than none.
const FALLBACKS: [u32; 3] = [1000, 100, 10];

/// How many guests may be alive at once, unless told otherwise: as many as a process of this host may have maps for.
pub fn guests_max() -> u32 {
    let maps = fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    let maps: u64 = maps.unwrap_or(LINUX_MAPS_DEFAULT);
    let guests = (maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_GUEST).clamp(10, GUESTS_MAX);
    u32::try_from(guests).expect("clamped to 5000 above")
}

/// An engine for at most `guests` guests at once, or fewer if the host has no room for so many; and how many.
///
/// # Errors
/// When not even the smallest pool can be had.
pub fn pooled(guests: u32) -> wasmtime::Result<(Engine, u32)> {
    let mut outcome = with_pool(guests);
    for fewer in FALLBACKS.into_iter().filter(|fewer| *fewer < guests) {
        if outcome.is_ok() {
            break;
        }
        tracing::warn!(guests, fewer, "no room for so many guests; trying fewer");
        outcome = with_pool(fewer);
    }
    outcome
}

fn with_pool(guests: u32) -> wasmtime::Result<(Engine, u32)> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(guests)
        .total_stacks(guests)
        .total_component_instances(guests)
        .total_core_instances(guests.saturating_mul(6))
        .total_tables(guests.saturating_mul(4))
        .max_core_instances_per_component(200)
        .max_memories_per_component(20)
        .max_tables_per_component(40)
        .max_tables_per_module(4)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        // Pages that a guest wrote are cleared and kept for the next: that doubles the rate of short requests.
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(32)
        .pagemap_scan(Enabled::Auto);
    let mut config = images::engine_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok((Engine::new(&config)?, guests))
}
