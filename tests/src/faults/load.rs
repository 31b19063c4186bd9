//! The load: ten devices, on every transport and through the balancer, in groups and direct channels.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::report::Story;
use crate::account::{Account, Cursors, Id};
use crate::client::{Client, TransportPlan};
use crate::cluster::Cluster;
use crate::faulty_proxy::{Corruption, FaultyProxy};
use crate::ledger::Ledger;
use crate::line::Transport;
use crate::oracle::judge;
use crate::wait::SOON;

/// How long a sender pauses between two messages.
const REST: Duration = Duration::from_millis(250);
/// How often a switching device changes its transport.
const SWITCH: Duration = Duration::from_millis(700);
/// The devices behind faulty proxies: each has a corruption of its own.
const BEHIND_FAULTY_PROXY: [usize; 5] = [0, 1, 5, 6, 4];
/// Every fifth message for them is corrupted.
const CORRUPT_EVERY: u64 = 5;
/// How long to wait in the end for devices behind faulty proxies, which may never hold every message.
const CORRUPTED_WITHIN: Duration = Duration::from_secs(5);
/// How many devices of a channel send.
const SENDERS: usize = 3;

pub(super) struct Load {
    pub(super) ledger: Ledger,
    devices: Vec<Arc<Client>>,
    channels: Vec<Channel>,
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    faulty_proxies: Vec<FaultyProxy>,
}

/// A channel and the devices of its members.
struct Channel {
    id: Id,
    members: Vec<usize>,
}

impl Load {
    pub(super) async fn start(cluster: &Cluster, corruptions: &[Corruption]) -> Self {
        let balancer = cluster.balancer.address();
        let names = ["ann", "bob", "carl", "dora", "emil", "fritz", "gina", "hans", "ida", "jan"];
        let mut users = join_all(names.map(|name| Account::sign_up(balancer, name))).await;
        let mut channels = Vec::new();
        for members in [(0..10).collect(), vec![0, 2, 4, 6, 8], vec![1, 3, 5, 7, 9]] {
            let others: Vec<&Account> = members[1..].iter().map(|it: &usize| &users[*it]).collect();
            channels.push(Channel { id: users[members[0]].group(&others).await, members });
        }
        for (one, other) in [(0, 5), (1, 6), (2, 7), (3, 8)] {
            let id = users[one].direct(&users[other]).await;
            channels.push(Channel { id, members: vec![one, other] });
        }
        let mut faulty_proxies = Vec::new();
        for (corruption, device) in corruptions.iter().zip(BEHIND_FAULTY_PROXY) {
            let proxy = FaultyProxy::before(balancer, *corruption, CORRUPT_EVERY).await;
            users[device] = users[device].via(proxy.address());
            faulty_proxies.push(proxy);
        }
        let ledger = Ledger::default();
        let steady = Transport::ALL.map(TransportPlan::Steady).into_iter();
        let plans =
            steady.chain([TransportPlan::Switching(Transport::LongPolling, SWITCH)]).cycle();
        let devices =
            join_all(users.iter().zip(plans).enumerate().map(async |(number, (user, plan))| {
                let mine = channels.iter().filter(|channel| channel.members.contains(&number));
                let start: Cursors = mine.map(|channel| (channel.id, 0)).collect();
                Arc::new(Client::start(user, plan, &start, &ledger).await)
            }));
        let devices = devices.await;
        let stop = Arc::<AtomicBool>::default();
        let mut senders = Vec::new();
        for channel in &channels {
            for member in channel.members.iter().take(SENDERS) {
                let (device, stop) = (Arc::clone(&devices[*member]), Arc::clone(&stop));
                senders.push(tokio::spawn(talk(device, channel.id, stop)));
            }
        }
        Self { ledger, devices, channels, stop, senders, faulty_proxies }
    }

    /// Waits until a new message of every channel was acknowledged and delivered to all of its members.
    /// Returns false if that does not happen in time.
    pub(super) async fn moves(&self) -> bool {
        let before: Vec<_> = self.channels.iter().map(|it| self.ledger.newest(it.id)).collect();
        let all = async {
            for (channel, before) in self.channels.iter().zip(before) {
                while self.ledger.newest(channel.id) <= before {
                    sleep(Duration::from_millis(10)).await;
                }
                let newest = self.ledger.newest(channel.id);
                for member in &channel.members {
                    let device = &self.devices[*member];
                    while device.look(|journal| journal.cursor(channel.id)) < newest {
                        sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        };
        timeout(SOON, all).await.is_ok()
    }

    /// Stops the senders, waits until every device holds every message, and collects the faults.
    pub(super) async fn finish(self, cluster: &Cluster) -> Story {
        let Self { ledger, devices, channels, stop, senders, faulty_proxies } = self;
        let mut violations = Vec::new();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            if let Err(error) = sender.await {
                violations.push(match error.try_into_panic() {
                    Ok(panic) => match panic.downcast::<String>() {
                        Ok(text) => format!("a sender: {text}"),
                        Err(panic) => resume_unwind(panic),
                    },
                    Err(error) => format!("a sender: {error}"),
                });
            }
        }
        // Through a node's own proxy, which corrupts no response.
        let reader = devices[0].account().via(cluster.doors[0].address());
        let histories = channels.iter().map(async |channel| {
            let member = if channel.members.contains(&0) { 0 } else { channel.members[0] };
            let account = devices[member].account().via(reader.address());
            account.history(channel.id, 0).await
        });
        let histories = join_all(histories).await;
        let hold = async {
            for (channel, history) in channels.iter().zip(&histories) {
                let newest = history.last().map_or(0, |message| message.message_id);
                for member in &channel.members {
                    while devices[*member].look(|journal| journal.cursor(channel.id)) < newest {
                        sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        };
        // A device that does not hold a message by then has lost it; the oracle names the message.
        let limit = if faulty_proxies.is_empty() { SOON } else { CORRUPTED_WITHIN };
        let _ = timeout(limit, hold).await;
        let journals: Vec<_> =
            devices.iter().map(|device| device.look(|journal| journal.clone())).collect();
        for (channel, history) in channels.iter().zip(&histories) {
            let members: Vec<_> =
                channel.members.iter().map(|member| journals[*member].clone()).collect();
            let faults = judge(channel.id, &ledger, history, &members);
            violations.extend(faults.iter().map(|fault| format!("{fault:?}")));
        }
        // Violations that a device saw itself are reported for each of its channels.
        violations.sort_unstable();
        violations.dedup();
        let channels = channels.into_iter().map(|channel| (channel.id, channel.members)).collect();
        Story { ledger, journals, channels, violations }
    }
}

/// Sends one message after another, each until it is acknowledged.
async fn talk(device: Arc<Client>, channel: Id, stop: Arc<AtomicBool>) {
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        device.send(channel, &format!("{number} by {}", device.account().username)).await;
        sleep(REST).await;
    }
}
