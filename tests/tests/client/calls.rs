//! Every call of the API, once.

use std::time::Duration;

use pabal_client::{
    Client, Code, Cursors, FriendState, MessageId, Notifications, PageFrom, ProfileChange, Role,
    SettingsChange, Situation, Token,
};

use crate::stage::{PASSWORD, World, client, lines, run, say};

#[test]
fn accounts() {
    run(async {
        let world = World::shared().await;
        let mina = world.user().await;
        let server = client(world.node.address());
        let name = mina.user().username.clone();
        let taken = server.sign_up(&name, PASSWORD).await.unwrap_err();
        assert_eq!(taken.code(), Some(&Code::UsernameTaken));
        let wrong = server.log_in(&name, "wrong password").await.unwrap_err();
        assert!(wrong.is_unauthenticated() && !wrong.retryable());
        let again = server.log_in_on("phone", &name, PASSWORD).await.unwrap();
        assert!(again.device_id().is_some() && again.device_id() != mina.device_id());
        let kept = Token::new(again.token().reveal()).unwrap();
        assert_eq!(server.resume(kept.clone()).await.unwrap().user(), &mina.me().await.unwrap());
        again.log_out().await.unwrap();
        assert!(server.resume(kept).await.unwrap_err().is_unauthenticated());
        let change = ProfileChange { status_text: Some("먹는 중".into()), ..Default::default() };
        assert_eq!(mina.change_profile(&change).await.unwrap().status_text, "먹는 중");
        let change =
            SettingsChange { notifications: Some(Notifications::Mentions), ..Default::default() };
        let changed = mina.change_settings(&change).await.unwrap();
        assert_eq!(changed.notifications, Notifications::Mentions);
        assert_eq!(mina.settings().await.unwrap(), changed);
        assert_eq!(mina.user_of(mina.user_id()).await.unwrap().username, name);
        let found = mina.find_users(&name).await.unwrap();
        assert_eq!(found.entries[0].user_id, mina.user_id());
        let situation = Situation {
            location: Some((37.6, 127.0)),
            message_rate: Some(0.01),
            latency: Some(Duration::from_secs(60)),
        };
        let discovered = server.discover(&situation).await.unwrap();
        assert_eq!(discovered.nodes.len(), 1);
        assert!(!discovered.advice.transport.is_empty());
    });
}

#[test]
fn people() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        let asked = mina.befriend(joon.user_id()).await.unwrap();
        assert_eq!(asked.state, FriendState::Requested);
        assert_eq!(joon.friends(None).await.unwrap().entries[0].state, FriendState::Received);
        assert_eq!(joon.befriend(mina.user_id()).await.unwrap().state, FriendState::Friends);
        joon.unfriend(mina.user_id()).await.unwrap();
        assert!(mina.friends(None).await.unwrap().entries.is_empty());
        mina.block(joon.user_id()).await.unwrap();
        assert_eq!(mina.blocks(None).await.unwrap().entries, [joon.user_id()]);
        let blocked = joon.post_message(channel_id, "hello?", "m1").await.unwrap_err();
        assert_eq!(blocked.code(), Some(&Code::Blocked));
        mina.unblock(joon.user_id()).await.unwrap();
        joon.post_message(channel_id, "hello?", "m1").await.unwrap();
    });
}

#[test]
fn channels() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, direct) = world.pair().await;
        let group = mina.create_group("Lunch", &[]).await.unwrap().channel_id;
        let refused = joon.channel(group).await.unwrap_err();
        assert_eq!(refused.code(), Some(&Code::NotAMember));
        let member = mina.put_member(group, joon.user_id(), Some(Role::Admin)).await.unwrap();
        assert_eq!(member.role, Role::Admin);
        assert_eq!(joon.rename(group, "Supper").await.unwrap().name.as_deref(), Some("Supper"));
        assert_eq!(mina.members(group, None).await.unwrap().entries.len(), 2);
        let channels = joon.channels(None).await.unwrap();
        let ids: Vec<_> = channels.entries.iter().map(|channel| channel.channel_id).collect();
        assert_eq!(ids, [direct, group]);
        assert_eq!(channels.entries[0].peer_user_id, Some(mina.user_id()));
        joon.remove_member(group, joon.user_id()).await.unwrap();
        mina.delete_group(group).await.unwrap();
        assert!(mina.channel(group).await.is_err());
    });
}

#[test]
fn messages() {
    run(async {
        let world = World::shared().await;
        let (mina, joon, channel_id) = world.pair().await;
        say(&mina, channel_id, &lines("line", 10)).await;
        let first = mina.post_message(channel_id, "again", "name").await.unwrap();
        let repeat = mina.post_message(channel_id, "again", "name").await.unwrap();
        assert_eq!(first, repeat);
        let ids = |page: pabal_client::Page<pabal_client::Message>| {
            page.entries.iter().map(|message| message.message_id).collect::<Vec<_>>()
        };
        let all = ids(joon.messages(channel_id, PageFrom::After(MessageId::START)).await.unwrap());
        assert_eq!(all.len(), 11);
        let mut newest = ids(joon.messages(channel_id, PageFrom::Newest).await.unwrap());
        newest.reverse();
        assert_eq!(newest, all);
        let mut before = ids(joon.messages(channel_id, PageFrom::Before(all[3])).await.unwrap());
        before.reverse();
        assert_eq!(before, all[..3]);
        let around = ids(joon.messages(channel_id, PageFrom::Around(all[5])).await.unwrap());
        assert_eq!(around, all);
        let held = Cursors::from([(channel_id, all[6])]);
        let beyond = joon.sync(&held, 3).await.unwrap().remove(&channel_id).unwrap();
        assert_eq!(beyond.messages.len(), 3);
        assert_eq!((beyond.cur_max_message_id, beyond.has_more), (all[9], true));
    });
}

#[test]
fn a_url_without_a_pabal_server_fails_at_once() {
    run(async {
        let world = World::shared().await;
        let mina = world.user_behind_proxy().await;
        world.proxy.refuse(&["/v1/"]);
        let error = mina.connect(Default::default()).await.unwrap_err();
        assert!(!error.retryable(), "{error}");
        assert!(Client::builder("chat.example").build().is_err());
    });
}

#[test]
fn a_request_is_repeated_if_its_idle_connection_was_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const RESPONSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 52\r\n\r\n\
        {\"nodes\":[],\"advice\":{\"transport\":\"sse\",\"why\":\"\"}}  ";
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Client::builder(format!("http://{}", listener.local_addr().unwrap()));
        let server = server.build().unwrap();
        let answering = tokio::spawn(async move {
            let mut asked = Vec::new();
            // The first connection carries one response, and is closed at the second request.
            for limit in [1, usize::MAX] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut responses = 0;
                let mut request = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut request).await {
                    asked.push(String::from_utf8_lossy(&request[..read]).into_owned());
                    if responses == limit {
                        break;
                    }
                    stream.write_all(RESPONSE.as_bytes()).await.unwrap();
                    responses += 1;
                    if asked.len() == 3 {
                        return asked;
                    }
                }
            }
            asked
        });
        for _ in 0..2 {
            server.discover(&Situation::default()).await.unwrap();
        }
        let asked = answering.await.unwrap();
        assert!(asked.len() == 3 && asked.iter().all(|request| request.starts_with("GET ")));
    });
}
