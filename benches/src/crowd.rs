//! People who talk through `pabal-client` while a cell does something to the server or to them. Each
//! message of a group carries its number, and every device checks that it hears every number once and
//! in order: whatever the cell measures, nothing was lost, repeated or reordered meanwhile.

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

/// As many things as are under way at once while the scene is set.
const AT_ONCE: usize = 64;
/// As many orders as wait for a device.
const ORDERS: usize = 4;
/// How long the last messages may take to reach everybody.
const ALL_HEARD_WITHIN: Duration = Duration::from_secs(120);

/// Who there is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Groups, each with somebody who speaks.
    pub groups: usize,
    /// Users of a group.
    pub users: usize,
    /// Devices of a user, on each transport in turn.
    pub devices: usize,
    /// How much time lies between two messages of a group.
    pub pace: Duration,
}

impl Plan {
    /// Devices in all, besides those of the speakers.
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
    /// Signs everybody up and makes their groups.
    ///
    /// # Errors
    /// If the server refuses.
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

    /// A user's access token, for connections of another kind than [`Crowd`]'s.
    pub fn token(&self, number: usize) -> &str {
        let group = &self.groups[number % self.groups.len()];
        group.users[number / self.groups.len() % group.users.len()].token().reveal()
    }

    /// Everybody connects, and those who speak begin to.
    ///
    /// # Errors
    /// If one of them cannot connect.
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

/// Everybody, connected.
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

/// What a device is told to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Lets go of its connection without a word and comes back with its cursors.
    Break,
    /// Takes nothing for a while.
    Pause(Duration),
    /// Goes to another transport in mid-session.
    Change(Transport),
    /// Hears everything up to this number, and leaves.
    Leave { after: u64 },
}

/// What a device can tell in the end.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Messages.
    pub messages: u64,
    /// The longest time between two of them.
    pub silence: Duration,
}

impl Crowd {
    /// Does something to one of them: breaks its connection, keeps it from reading for 20 s, or
    /// changes its transport. Nothing happens to one that still has orders to carry out.
    pub fn disturb(&self, random: &mut StdRng) {
        let order = match random.random_range(0..3) {
            0 => Order::Break,
            1 => Order::Pause(Duration::from_secs(20)),
            _ => Order::Change(Transport::ALL[random.random_range(0..Transport::ALL.len())]),
        };
        let device = &self.devices[random.random_range(0..self.devices.len())];
        // One that is busy is left alone.
        let _ = device.orders.try_send(order);
    }

    /// Those who speak fall silent, everybody hears what was said, and leaves.
    ///
    /// # Errors
    /// If a send failed, or a device did not hear every message once and in order.
    pub async fn leave(self) -> Outcome<Vec<Heard>> {
        self.hush.store(true, Ordering::Relaxed);
        for speaker in self.speakers {
            speaker.await??;
        }
        let mut heard = Vec::with_capacity(self.devices.len());
        let members = self.devices.into_iter().map(|Member { orders, said, task }| async move {
            let after = said.load(Ordering::Relaxed);
            // A device that has ended says why below.
            let _ = orders.send(Order::Leave { after }).await;
            tokio::time::timeout(ALL_HEARD_WITHIN, task)
                .await
                .map_err(|_| format!("message {after} did not reach everybody"))??
        });
        let mut members = stream::iter(members).buffer_unordered(AT_ONCE * 16);
        while let Some(member) = members.next().await {
            heard.push(member?);
        }
        Ok(heard)
    }
}

/// Says one number after the other in a group, each when the last one is acknowledged.
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
                // Its own messages come too; what is not taken would hold the answers up.
                event = connection.next() => {
                    event.ok_or("the speaker's connection ended")??;
                }
            }
        }
        said.store(number, Ordering::Relaxed);
        tokio::select! {
            _ = ticks.tick() => {}
            () = listen(&mut connection) => return Err("the speaker's connection ended".into()),
        }
    }
    Ok(connection.close().await.map_err(|error| format!("the speaker cannot leave: {error}"))?)
}

/// Takes events until the connection ends.
async fn listen(connection: &mut Connection) {
    while let Some(Ok(_)) = connection.next().await {}
}

/// Somebody's device at work.
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
                order = orders.recv() => match order.ok_or("nobody gives orders")? {
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
        connection.close().await.map_err(|error| format!("cannot leave: {error}"))?;
        Ok(Heard { messages: self.heard - began, silence: self.silence })
    }

    async fn come_back(&self, connection: Connection) -> Outcome<Connection> {
        let cursors: Cursors = connection.cursors().clone();
        drop(connection);
        let options = Options { cursors: Some(cursors), ..self.options.clone() };
        let back = self.account.connect(options).await;
        Ok(back.map_err(|error| format!("cannot come back: {error}"))?)
    }

    /// Checks the number of a message; whether it was one.
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
