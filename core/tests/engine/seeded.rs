//! Random operations of several users, devices and transports, by seed, against a model of what a
//! client can rely on (I3, I4, I5, I6).
//!
//! The model of a device is [`Client`], which checks seqs and ids at every event. The model of a
//! channel is the set of acknowledged ids. At the end each device must hold, by events and by the
//! fetches after a `resync`, all acknowledged messages above its cursor, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pabal_core::engine::{Engine, Reader, SendRequest};
use pabal_core::model::{ChannelId, MessageId, Seq, UserId};
use pabal_core::ports::{Access, Revoked};
use pabal_core::protocol::{Cursors, ProblemCode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Client, World, read, settle, stream, text};

const SEEDS: u64 = 250;
const STEPS: usize = 60;

struct Device {
    access: Access,
    channels: Vec<ChannelId>,
    client: Client,
    reader: Option<Reader>,
}

struct Run {
    world: World,
    engine: Engine,
    rng: StdRng,
    channels: Vec<(ChannelId, Vec<UserId>)>,
    devices: Vec<Device>,
    /// The sends with a name, and the ids with which they were acknowledged.
    named: BTreeMap<(UserId, ChannelId, u8), MessageId>,
    acknowledged: BTreeMap<ChannelId, BTreeSet<MessageId>>,
}

#[tokio::test(start_paused = true)]
async fn clients_lose_repeat_and_reorder_no_message_under_random_operations() {
    for seed in 0..SEEDS {
        let mut run = Run::new(seed).await;
        for _ in 0..STEPS {
            run.step().await;
        }
        run.check(seed).await;
        run.engine.shutdown().await;
    }
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        world.limits.mailbox_events = rng.random_range(4..20);
        world.limits.batch = rng.random_range(1..20);
        world.partitions = rng.random_range(1..4);
        if rng.random() {
            world.inbox.repeat(seed);
        }
        if rng.random() {
            world.history.delay_appends(seed);
            world.history.delay_pages(seed);
        }
        let users = [world.user("ann").await, world.user("ben").await, world.user("cho").await];
        let mut channels = Vec::new();
        for members in [&users[..], &users[..2], &users[1..]] {
            channels.push((world.group(members).await, members.to_vec()));
        }
        let engine = world.start().await;
        let (named, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        let mut run = Self { world, engine, rng, channels, devices: vec![], named, acknowledged };
        for user in users {
            run.open_device(user).await;
        }
        run
    }

    /// A device of `user` opens its first session, from the beginning of its channels.
    async fn open_device(&mut self, user: UserId) {
        let access = self.world.log_in(user).await;
        let of_user = self.channels.iter().filter(|(_, members)| members.contains(&user));
        let channels: Vec<_> = of_user.map(|(channel, _)| *channel).collect();
        let cursors = channels.iter().map(|channel| (*channel, MessageId::new(0))).collect();
        let client = Client::open_from(&self.engine, &access, cursors).await;
        self.devices.push(Device { access, channels, client, reader: None });
    }

    async fn step(&mut self) {
        let device = self.rng.random_range(0..self.devices.len());
        match self.rng.random_range(0..20) {
            0..8 => self.send_hello(device, 1).await,
            // More messages than some mailboxes hold.
            8..10 => {
                let count = self.rng.random_range(2..20);
                self.send_hello(device, count).await;
            }
            10..12 => self.poll(device).await,
            12 => self.long_poll(device).await,
            13..15 => self.stream(device).await,
            15 => self.attach(device),
            16 => self.catch_up(device).await,
            17 => self.reopen(device).await,
            18 if self.devices.len() < 6 => {
                let user = self.devices[device].access.device.user_id;
                self.open_device(user).await;
            }
            _ => settle().await,
        }
    }

    /// Begins `count` sends of a device, some of them repeats, then waits for all of them.
    async fn send_hello(&mut self, device: usize, count: usize) {
        let device = &self.devices[device];
        let from = device.access.device.user_id;
        let mut begun = Vec::new();
        for _ in 0..count {
            let channel = device.channels[self.rng.random_range(0..device.channels.len())];
            let name = self.rng.random_range(0..40u8);
            let send = SendRequest {
                client_message_id: (name < 20).then(|| name.to_string()),
                ..text(channel, "hello")
            };
            let submission = self.engine.begin_submit(from, send).await.expect("is accepted");
            begun.push((channel, name, submission));
        }
        for (channel, name, submission) in begun {
            let sent = submission.stored().await.expect("is acknowledged");
            let message_id = sent.message.message_id;
            let ids = self.acknowledged.entry(channel).or_default();
            let highest = ids.last().copied().unwrap_or_default();
            if name < 20 {
                let first = *self.named.entry((from, channel, name)).or_insert(message_id);
                assert_eq!(message_id, first, "a repeat has another id");
            }
            assert_eq!(sent.repeat, ids.contains(&message_id));
            assert_eq!(ids.insert(message_id), message_id > highest, "no late smaller id");
        }
    }

    async fn poll(&mut self, device: usize) {
        let limit = self.rng.random_range(0..12);
        let response_is_lost = self.rng.random_ratio(1, 4);
        let client = &self.devices[device].client;
        let events = read(&client.session, client.after, limit);
        match events {
            Ok(events) if !response_is_lost => drop(self.devices[device].client.take(events)),
            Ok(_) => {}
            // A stream has evicted events that this client did not receive.
            Err(gone) => {
                assert_eq!(gone.code, ProblemCode::SessionGone);
                self.reopen(device).await;
            }
        }
    }

    async fn long_poll(&mut self, device: usize) {
        let client = &self.devices[device].client;
        let Ok(after) = client.session.position(Some(Seq::new(client.after))) else {
            return self.reopen(device).await;
        };
        let reader = client.session.attach();
        client.session.confirm(after);
        let wait = Duration::from_millis(self.rng.random_range(0..10));
        let _ = tokio::time::timeout(wait, reader.wait(after)).await;
        self.devices[device].reader = Some(reader);
        self.poll(device).await;
    }

    /// Attaches a reader, which replaces the attached one.
    fn attach(&mut self, device: usize) {
        let device = &mut self.devices[device];
        let session = &device.client.session;
        if session.position(Some(Seq::new(device.client.after))).is_ok() {
            device.reader = Some(session.attach());
        }
    }

    async fn stream(&mut self, device: usize) {
        let (bytes, acks) = (self.rng.random_range(1..3_000), self.rng.random::<bool>());
        let connection_is_lost = self.rng.random_ratio(1, 6);
        let Device { client, reader, .. } = &mut self.devices[device];
        let Some(attached) = &*reader else {
            return self.attach(device);
        };
        match stream(attached, client.after, bytes) {
            None => {}
            Some(Ok(_)) if connection_is_lost => *reader = None,
            Some(Ok(events)) => {
                client.take(events);
                if acks {
                    client.session.confirm(Seq::new(client.after));
                }
            }
            Some(Err(_)) => self.reopen(device).await,
        }
    }

    async fn catch_up(&mut self, device: usize) {
        let (session, cursors) = {
            let device = &self.devices[device];
            (device.client.session.clone(), cursors(device))
        };
        let engine = self.engine.clone();
        let catch_up = tokio::spawn(async move { engine.catch_up(&session, cursors).await });
        if self.rng.random_ratio(1, 3) {
            tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..4))).await;
            catch_up.abort();
        }
    }

    /// Closes the session or abandons it, and opens the next one from the cursors of the device.
    async fn reopen(&mut self, device: usize) {
        let closes = self.rng.random();
        let device = &mut self.devices[device];
        device.reader = None;
        device.client.fetch(&self.world).await;
        if closes || device.client.session.ended().is_some() {
            self.engine.close_session(&device.client.session).await;
        }
        let from = cursors(device);
        let opened = self.engine.open_session(&device.access, Some(from)).await;
        let session = match opened {
            Ok(session) => session,
            // The user has abandoned as many sessions as allowed.
            Err(problem) => {
                assert_eq!(problem.code, ProblemCode::RateLimited);
                self.engine.revoke(device.access.device.user_id, Revoked::All).await;
                return;
            }
        };
        device.client.session = session;
        device.client.after = 0;
    }

    async fn check(&mut self, seed: u64) {
        settle().await;
        for device in 0..self.devices.len() {
            if self.devices[device].client.session.ended().is_some() {
                self.reopen(device).await;
            }
        }
        settle().await;
        for device in 0..self.devices.len() {
            loop {
                let client = &mut self.devices[device].client;
                match client.poll_some(7) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(_) => self.reopen(device).await,
                }
            }
            let device = &mut self.devices[device];
            device.client.fetch(&self.world).await;
            for channel in &device.channels {
                let acknowledged = self.acknowledged.get(channel).cloned().unwrap_or_default();
                let held: BTreeSet<_> = device.client.all(*channel).into_iter().collect();
                assert_eq!(held, acknowledged, "seed {seed}, channel {channel}");
                assert!(self.world.stored(*channel).await.iter().eq(&acknowledged));
            }
        }
    }
}

/// The cursors of a device.
fn cursors(device: &Device) -> Cursors {
    let top = |channel: &ChannelId| {
        device.client.channels.get(channel).map_or(MessageId::new(0), |c| c.top)
    };
    device.channels.iter().map(|channel| (*channel, top(channel))).collect()
}
