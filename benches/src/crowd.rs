//! Virtual users on `pabal-client`, whose server or connections a cell disturbs. Each message of a group
//! carries its number, and every device checks that it receives every number once and in order: a cell
//! fails if a message is lost, repeated or reordered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use pabal_client::{
    Account, ChannelId, Client, Connection, Cursors, Event, Options, Policy, Transport,
};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::Outcome;

/// Concurrent requests while users and channels are made.
const AT_ONCE: usize = 64;
/// Pending orders of a device.
const ORDERS: usize = 4;
/// How long the last messages may take to reach all devices.
const ALL_HEARD_WITHIN: Duration = Duration::from_secs(120);

/// The users and devices of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Groups, each with a user who sends.
    pub groups: usize,
    /// Users of a group.
    pub users: usize,
    /// Devices of a user, on each transport in turn.
    pub devices: usize,
    /// The interval of messages in a group.
    pub pace: Duration,
}

impl Plan {
    /// All devices but those of the senders.
    pub fn devices(&self) -> usize {
        self.groups * self.users * self.devices
    }
}

/// Users who have signed up, in their groups.
#[derive(Debug)]
pub struct People {
    plan: Plan,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    channel_id: ChannelId,
    users: Vec<Account>,
    /// The number of the last message that was acknowledged.
    said: Arc<AtomicU64>,
}

impl People {
    /// Signs the users up and makes their groups.
    ///
    /// # Errors
    /// If the server refuses a request.
    pub async fn gather(server: SocketAddr, plan: Plan) -> Outcome<Self> {
        let client = Client::builder(format!("http://{server}")).build()?;
        let group = |group: usize| {
            let client = client.clone();
            async move {
                let names = (0..plan.users).map(|user| format!("g{group}u{user}"));
                let mut users = Vec::with_capacity(plan.users);
                for name in names {
                    users.push(client.sign_up(&name, "correct horse battery staple").await?);
                }
                let members: Vec<_> = users.iter().map(Account::user_id).collect();
                let channel = users[0].create_group("measured", &members[1..]).await?;
                let said = Arc::default();
                Ok::<_, pabal_client::Error>(Group { channel_id: channel.channel_id, users, said })
            }
        };
        let groups = stream::iter((0..plan.groups).map(group)).buffered(AT_ONCE);
        Ok(Self { plan, groups: groups.try_collect().await? })
    }

    /// A user's access token, for connections outside of [`Crowd`].
    pub fn token(&self, number: usize) -> &str {
        let group = &self.groups[number % self.groups.len()];
        group.users[number / self.groups.len() % group.users.len()].token().reveal()
    }

    /// Connects all devices, and starts the senders.
    ///
    /// # Errors
    /// If a device cannot connect.
    pub async fn come(&self) -> Outcome<Crowd> {
        let devices = self.groups.iter().flat_map(|group| {
            let of_user = |user| std::iter::repeat_n(user, self.plan.devices);
            let users = group.users.iter().flat_map(of_user);
            users.map(move |user| (user.clone(), group.channel_id, Arc::clone(&group.said)))
        });
        let devices = devices.enumerate().map(|(number, (account, channel_id, said))| async move {
            let transport = Transport::ALL[number % Transport::ALL.len()];
            let options = Options { transports: Policy::Only(transport), ..Options::default() };
            let connection = account.connect(options.clone()).await?;
            let heard = said.load(Ordering::Relaxed);
            let (orders, taken) = mpsc::channel(ORDERS);
            let device = Device { account, channel_id, options, heard, silence: Duration::ZERO };
            Ok::<_, pabal_client::Error>((orders, said, device, connection, taken))
        });
        let devices: Vec<_> = stream::iter(devices).buffered(AT_ONCE).try_collect().await?;
        let devices = devices
            .into_iter()
            .map(|(orders, said, device, connection, taken)| Member {
                orders,
                said,
                task: tokio::spawn(device.run(connection, taken)),
            })
            .collect();
        let hush = Arc::new(AtomicBool::new(false));
        let speakers = self.groups.iter().map(|group| {
            let (account, said) = (group.users[0].clone(), Arc::clone(&group.said));
            speak(account, group.channel_id, said, self.plan.pace, Arc::clone(&hush))
        });
        let speakers = speakers.map(tokio::spawn).collect();
        Ok(Crowd { devices, speakers, hush })
    }
}

/// The connected devices and senders.
#[derive(Debug)]
pub struct Crowd {
    devices: Vec<Member>,
    speakers: Vec<JoinHandle<Outcome<()>>>,
    hush: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Member {
    orders: mpsc::Sender<Order>,
    said: Arc<AtomicU64>,
    task: JoinHandle<Outcome<Heard>>,
}

/// An order to a device.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Drop the connection without closing it, and reconnect with the cursors.
    Break,
    /// Stop reading for a while.
    Pause(Duration),
    /// Change the transport of the session.
    Change(Transport),
    /// Disconnect after the message with this number.
    Leave { after: u64 },
}

/// What a device has received.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The number of messages.
    pub messages: u64,
    /// The longest time between two messages.
    pub silence: Duration,
}

impl Crowd {
    /// Disturbs a random device: breaks its connection, stops it from reading for 20 s, or changes its
    /// transport. A device with pending orders is not disturbed.
    pub fn disturb(&self, random: &mut StdRng) {
        let order = match random.random_range(0..3) {
            0 => Order::Break,
            1 => Order::Pause(Duration::from_secs(20)),
            _ => Order::Change(Transport::ALL[random.random_range(0..Transport::ALL.len())]),
        };
        let device = &self.devices[random.random_range(0..self.devices.len())];
        // A device with pending orders is skipped.
        let _ = device.orders.try_send(order);
    }

    /// Stops the senders, waits until every device has every message, and disconnects all.
    ///
    /// # Errors
    /// If a send failed, or a device did not receive every message once and in order.
    pub async fn leave(self) -> Outcome<Vec<Heard>> {
        self.hush.store(true, Ordering::Relaxed);
        for speaker in self.speakers {
            speaker.await??;
        }
        let mut heard = Vec::with_capacity(self.devices.len());
        let members = self.devices.into_iter().map(|Member { orders, said, task }| async move {
            let after = said.load(Ordering::Relaxed);
            // The task of a device that has ended returns its error below.
            let _ = orders.send(Order::Leave { after }).await;
            tokio::time::timeout(ALL_HEARD_WITHIN, task)
                .await
                .map_err(|_| format!("message {after} did not reach every device"))??
        });
        let mut members = stream::iter(members).buffer_unordered(AT_ONCE * 16);
        while let Some(member) = members.next().await {
            heard.push(member?);
        }
        Ok(heard)
    }
}

/// Sends one number after the other to a group, each when the last one is acknowledged.
async fn speak(
    account: Account,
    channel_id: ChannelId,
    said: Arc<AtomicU64>,
    pace: Duration,
    hush: Arc<AtomicBool>,
) -> Outcome<()> {
    let mut connection = account.connect(Options::default()).await?;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !hush.load(Ordering::Relaxed) {
        let number = said.load(Ordering::Relaxed) + 1;
        let mut send = connection.send(channel_id, number.to_string());
        loop {
            tokio::select! {
                acknowledged = &mut send => {
                    acknowledged?;
                    break;
                }
                // Its own messages arrive, too; unread events would delay acknowledgements.
                event = connection.next() => {
                    event.ok_or("the sender's connection ended")??;
                }
            }
        }
        said.store(number, Ordering::Relaxed);
        tokio::select! {
            _ = ticks.tick() => {}
            () = listen(&mut connection) => return Err("the sender's connection ended".into()),
        }
    }
    Ok(connection
        .close()
        .await
        .map_err(|error| format!("the sender cannot disconnect: {error}"))?)
}

/// Reads events until the connection ends.
async fn listen(connection: &mut Connection) {
    while let Some(Ok(_)) = connection.next().await {}
}

/// A connected device.
struct Device {
    account: Account,
    channel_id: ChannelId,
    options: Options,
    /// The number of the last message.
    heard: u64,
    silence: Duration,
}

impl Device {
    async fn run(
        mut self,
        mut connection: Connection,
        mut orders: mpsc::Receiver<Order>,
    ) -> Outcome<Heard> {
        let (began, mut last, mut leave) = (self.heard, Instant::now(), None);
        while leave != Some(self.heard) {
            tokio::select! {
                event = connection.next() => {
                    let event = event.ok_or("a connection ended")??;
                    if self.take(&event)? {
                        self.silence = self.silence.max(last.elapsed());
                        last = Instant::now();
                    }
                }
                order = orders.recv() => match order.ok_or("the crowd was dropped")? {
                    Order::Break => connection = self.come_back(connection).await?,
                    Order::Pause(pause) => {
                        sleep(pause).await;
                        last = Instant::now();
                    }
                    Order::Change(transport) => {
                        connection.use_transports(Policy::Only(transport));
                    }
                    Order::Leave { after } => leave = Some(after),
                }
            }
        }
        connection.close().await.map_err(|error| format!("cannot disconnect: {error}"))?;
        Ok(Heard { messages: self.heard - began, silence: self.silence })
    }

    async fn come_back(&self, connection: Connection) -> Outcome<Connection> {
        let cursors: Cursors = connection.cursors().clone();
        drop(connection);
        let options = Options { cursors: Some(cursors), ..self.options.clone() };
        let back = self.account.connect(options).await;
        Ok(back.map_err(|error| format!("cannot reconnect: {error}"))?)
    }

    /// Checks the number of a message; returns whether the event is a message.
    fn take(&mut self, event: &Event) -> Outcome<bool> {
        let Event::Message(message) = event else {
            return Ok(false);
        };
        let number: u64 = message.content.parse()?;
        if number != self.heard + 1 {
            let (channel_id, heard) = (self.channel_id, self.heard);
            return Err(format!("{number} after {heard} in channel {channel_id}").into());
        }
        self.heard = number;
        Ok(true)
    }
}
