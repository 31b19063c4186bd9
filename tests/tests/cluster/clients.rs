//! The client library in a cluster: its node dies, and it continues on another node by itself.

use futures::future::join_all;
use pabal_client::{Account, Client, Connection, Event, Options, Policy, Transport};
use pabal_tests::cluster::Cluster;
use pabal_tests::node::Port;
use pabal_tests::wait::soon;

use crate::stage::doors;

/// The number of sends in each half.
const HALF: usize = 20;

/// Yields the next `count` messages.
async fn hear(connection: &mut Connection, count: usize) -> Vec<String> {
    let mut heard = Vec::with_capacity(count);
    while heard.len() < count {
        let event = soon("a message", connection.next()).await.expect("goes on").expect("no error");
        if let Event::Message(message) = event {
            heard.push(message.content);
        }
    }
    heard
}

/// A device on each transport uses the node that dies, and knows only its address.
pub(crate) async fn of_a_killed_node(cluster: &Cluster) {
    let doors = doors(cluster).map(|door| format!("http://{}", door.get()));
    let sign_up = async |url: &str, name: &str| -> Account {
        let client = Client::builder(url).build().expect("a client");
        let name = format!("{name}{}", rand::random::<u32>());
        client.sign_up(&name, "correct horse battery staple").await.expect("signs up")
    };
    let mina = sign_up(&doors[0], "mina").await;
    let joon = sign_up(&doors[1], "joon").await;
    let channel_id =
        mina.create_group("measured", &[joon.user_id()]).await.expect("a group").channel_id;
    let mut devices = join_all(Transport::ALL.map(async |transport| {
        let options = Options { transports: Policy::Only(transport), ..Options::default() };
        joon.connect(options).await.expect("connects")
    }))
    .await;
    let speaker = mina.connect(Options::default()).await.expect("connects");
    let say = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            soon("a send", speaker.send(channel_id, number.to_string())).await.expect("is sent");
        }
    };
    let expect = |from: usize| (from..from + HALF).map(|n| n.to_string()).collect::<Vec<_>>();
    say(0..HALF).await;
    for heard in join_all(devices.iter_mut().map(|device| hear(device, HALF))).await {
        assert_eq!(heard, expect(0));
    }
    cluster.nodes[1].kill();
    let (_, heard) = futures::future::join(
        say(HALF..2 * HALF),
        join_all(devices.iter_mut().map(|device| hear(device, HALF))),
    )
    .await;
    for heard in heard {
        assert_eq!(heard, expect(HALF), "nothing is lost, repeated or reordered");
    }
    for device in &devices {
        soon("a send", device.send(channel_id, "back")).await.expect("is sent from elsewhere");
    }
    cluster.nodes[1].restart(Port::Same).await;
    cluster.partitions_assigned().await;
}
