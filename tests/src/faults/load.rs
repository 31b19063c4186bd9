//! The people: a device on each transport, twice over and through the balancer, in groups and 1:1.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::report::Story;
use crate::account::{Account, Cursors, Id};
use crate::client::{Client, Way};
use crate::cluster::Cluster;
use crate::ledger::Ledger;
use crate::liar::{Liar, Lie};
use crate::line::Transport;
use crate::oracle::judge;
use crate::wait::SOON;

/// How long a sender rests between two messages.
const REST: Duration = Duration::from_millis(250);
/// How often a switching device changes its transport.
const SWITCH: Duration = Duration::from_millis(700);
/// Devices that poll, of which each is lied to in another way.
const DECEIVED: [usize; 5] = [0, 1, 5, 6, 4];
/// They are lied to at every so manieth message.
const LIE_EVERY: u64 = 5;
/// How long is waited in the end for those who may never get what they were lied out of.
const LIED_TO: Duration = Duration::from_secs(5);
/// Of a group, as many devices send.
const SENDERS: usize = 3;

pub(super) struct Load {
    pub(super) ledger: Ledger,
    devices: Vec<Arc<Client>>,
    channels: Vec<Channel>,
    stop: Arc<AtomicBool>,
    lanes: Vec<JoinHandle<()>>,
    liars: Vec<Liar>,
}

/// A conversation, and the devices that are in it.
struct Channel {
    id: Id,
    members: Vec<usize>,
}

impl Load {
    pub(super) async fn start(cluster: &Cluster, lies: &[Lie]) -> Self {
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
        let mut liars = Vec::new();
        for (lie, deceived) in lies.iter().zip(DECEIVED) {
            let liar = Liar::before(balancer, *lie, LIE_EVERY).await;
            users[deceived] = users[deceived].via(liar.address());
            liars.push(liar);
        }
        let ledger = Ledger::default();
        let steady = Transport::ALL.map(Way::Steady).into_iter();
        let ways = steady.chain([Way::Switching(Transport::LongPolling, SWITCH)]).cycle();
        let devices =
            join_all(users.iter().zip(ways).enumerate().map(async |(number, (user, way))| {
                let mine = channels.iter().filter(|channel| channel.members.contains(&number));
                let start: Cursors = mine.map(|channel| (channel.id, 0)).collect();
                Arc::new(Client::start(user, way, &start, &ledger).await)
            }));
        let devices = devices.await;
        let stop = Arc::<AtomicBool>::default();
        let mut lanes = Vec::new();
        for channel in &channels {
            for member in channel.members.iter().take(SENDERS) {
                let (device, stop) = (Arc::clone(&devices[*member]), Arc::clone(&stop));
                lanes.push(tokio::spawn(talk(device, channel.id, stop)));
            }
        }
        Self { ledger, devices, channels, stop, lanes, liars }
    }

    /// Waits until every channel has something new that was acknowledged, and everybody in it has
    /// that; false if that does not come about.
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

    /// Ends the talk, waits until everybody has everything, and judges.
    pub(super) async fn finish(self, cluster: &Cluster) -> Story {
        let Self { ledger, devices, channels, stop, lanes, liars } = self;
        let mut violations = Vec::new();
        stop.store(true, Ordering::Relaxed);
        for lane in lanes {
            if let Err(error) = lane.await {
                violations.push(match error.try_into_panic() {
                    Ok(panic) => match panic.downcast::<String>() {
                        Ok(text) => format!("a sender: {text}"),
                        Err(panic) => resume_unwind(panic),
                    },
                    Err(error) => format!("a sender: {error}"),
                });
            }
        }
        // By a way that nobody lies on.
        let reader = devices[0].account().via(cluster.doors[0].address());
        let histories = channels.iter().map(async |channel| {
            let who = if channel.members.contains(&0) { 0 } else { channel.members[0] };
            let account = devices[who].account().via(reader.address());
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
        // Who has not got everything by then has lost it: the judge says what.
        let patience = if liars.is_empty() { SOON } else { LIED_TO };
        let _ = timeout(patience, hold).await;
        let journals: Vec<_> =
            devices.iter().map(|device| device.look(|journal| journal.clone())).collect();
        for (channel, history) in channels.iter().zip(&histories) {
            let members: Vec<_> =
                channel.members.iter().map(|member| journals[*member].clone()).collect();
            let faults = judge(channel.id, &ledger, history, &members);
            violations.extend(faults.iter().map(|fault| format!("{fault:?}")));
        }
        // A device's own observations are in the verdict on each of its channels.
        violations.sort_unstable();
        violations.dedup();
        let channels = channels.into_iter().map(|channel| (channel.id, channel.members)).collect();
        Story { ledger, journals, channels, violations }
    }
}

/// One message after the other, each until it is acknowledged.
async fn talk(device: Arc<Client>, channel: Id, stop: Arc<AtomicBool>) {
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        device.send(channel, &format!("{number} by {}", device.account().username)).await;
        sleep(REST).await;
    }
}
