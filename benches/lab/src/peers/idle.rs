//! The cost of an idle client.

use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::host::{Cast, System, Transport};
use super::turns::left_out;
use super::{Options, PeerRow, Task};
use crate::Outcome;
use crate::process::{self, kernel_tcp_bytes};

/// Clients that connect before memory is first read: they allocate what all clients share.
const FIRST: usize = 100;
/// The interval of readings until memory is stable.
const STEP: Duration = Duration::from_millis(400);
/// The change of memory in an interval below which it is stable.
const STILL: f64 = 0.002;
/// The longest wait for stable memory.
const SETTLE: Duration = Duration::from_secs(4);

/// The rows of all systems with this transport.
pub(super) fn rows(
    systems: &[Box<dyn System>],
    over: Transport,
    options: &Options,
    progress: &dyn Fn(&str),
) -> Vec<PeerRow> {
    let mut rows = Vec::new();
    for system in systems.iter().map(Box::as_ref).filter(|system| system.speaks(over)) {
        let clients = options.idle_clients;
        progress(&format!("{}: {clients} clients of {} at rest", over.name(), system.name()));
        match row(system, over, clients) {
            Ok(row) => rows.push(row),
            Err(error) => left_out(progress, system, over, &*error),
        }
    }
    rows
}

fn row(system: &dyn System, over: Transport, clients: usize) -> Outcome<PeerRow> {
    let mut host = system.start(Cast::Rest { clients: FIRST + clients })?;
    let mut crowd = Crowd::new()?;
    let (start, own) = (Instant::now(), process::cpu(std::process::id())?);
    let mut read = [Memory::default(); 3];
    // The first clients reuse free memory of the allocator, so the later half is measured, too.
    let steps = [FIRST, clients / 2, clients - clients / 2];
    for (step, memory) in steps.into_iter().zip(&mut read) {
        for _ in 0..step {
            let seat = host.listener(over, crowd.len(), crowd.swarm())?;
            crowd.add(seat);
            // Opening all clients takes longer than the timeout of a ping.
            while crowd.turn(Duration::ZERO, |_, _| Ok(()))? {}
        }
        host.wait_for(crowd.len())?;
        *memory = Memory::settled(&mut crowd, &|| host.server().rss())?;
    }
    let [before, half, after] = read;
    let a_client = |of: fn(&Memory) -> u64| {
        let since =
            |earlier, clients| of(&after).saturating_sub(of(earlier)) as f64 / clients as f64;
        f64::max(since(&before, clients), since(&half, clients - clients / 2))
    };
    let busy = (process::cpu(std::process::id())? - own).as_secs_f64();
    let busy = busy / start.elapsed().as_secs_f64();
    Ok(PeerRow {
        rss_per_client: Some(a_client(|memory| memory.server)),
        kernel_per_client: Some(a_client(|memory| memory.kernel)),
        ..PeerRow::empty(system, over, Task::Idle, busy)
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    server: u64,
    kernel: u64,
}

impl Memory {
    /// Memory when it is stable, or after the longest wait. Replies to pings meanwhile.
    fn settled(crowd: &mut Crowd, server: &dyn Fn() -> Outcome<u64>) -> Outcome<Self> {
        let until = Instant::now() + SETTLE;
        let mut last = server()?;
        loop {
            crowd.attend_for(STEP)?;
            let now = server()?;
            let moved = now.abs_diff(last) as f64;
            if moved <= last as f64 * STILL || Instant::now() > until {
                return Ok(Self { server: now, kernel: kernel_tcp_bytes()? });
            }
            last = now;
        }
    }
}
