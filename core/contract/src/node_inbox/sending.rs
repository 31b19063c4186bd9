//! Deliveries arrive in order and unchanged. Owns the properties of `send` below the capacity.

use bytes::Bytes;

use super::{
    Inbox, START, assert_holds, assert_rising, delivery, number, numbered, open, receive,
    spawn_receive,
};
use crate::property::{assert_waits, node, properties, result_of};
use pabal_core::model::{ChannelId, DeviceId, Message, MessageId, Timestamp, TokenHash, UserId};
use pabal_core::ports::{Audience, Delivery, Revoked, Trace};

pub(super) async fn run(fresh: impl AsyncFn() -> Inbox) {
    properties! { fresh() =>
        entries_arrive_in_the_order_of_sending
        the_order_of_each_sender_is_kept
        every_kind_of_delivery_is_returned_unchanged
        an_empty_send_changes_nothing
        inboxes_are_independent
    }
}

async fn entries_arrive_in_the_order_of_sending(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    for start in [0, 10, 20] {
        inbox.send(&a, numbered(start..start + 10)).await.expect("sends");
    }
    assert_holds(&receive(&inbox, "a", START).await, 0..30);
}

async fn the_order_of_each_sender_is_kept(inbox: Inbox) {
    open(&inbox, "a").await;
    let send = |sender: u64| {
        let inbox = inbox.clone();
        tokio::spawn(async move {
            for number in 0..20 {
                let delivery = delivery(sender * 100 + number);
                inbox.send(&node("a"), vec![delivery]).await.expect("sends");
                tokio::task::yield_now().await;
            }
        })
    };
    let senders: Vec<_> = (0..5).map(send).collect();
    for sender in senders {
        result_of(sender).await;
    }
    let numbers: Vec<_> = receive(&inbox, "a", START).await.iter().map(number).collect();
    assert_eq!(numbers.len(), 100);
    for sender in 0..5 {
        let of_sender = numbers.iter().filter(|number| *number / 100 == sender);
        assert!(of_sender.copied().eq(sender * 100..sender * 100 + 20), "{numbers:?}");
    }
}

async fn every_kind_of_delivery_is_returned_unchanged(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let given = every_kind();
    inbox.send(&a, given.clone()).await.expect("sends");
    let entries = receive(&inbox, "a", START).await;
    assert_rising(&entries);
    assert_eq!(entries.into_iter().map(|entry| entry.delivery).collect::<Vec<_>>(), given);
}

async fn an_empty_send_changes_nothing(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    inbox.send(&a, Vec::new()).await.expect("sends nothing");
    let mut receiving = spawn_receive(&inbox, "a", START);
    assert_waits(&mut receiving).await;
    inbox.send(&a, numbered(0..1)).await.expect("sends");
    assert_holds(&result_of(receiving).await.expect("receives"), 0..1);
}

async fn inboxes_are_independent(inbox: Inbox) {
    let a = open(&inbox, "a").await;
    let b = open(&inbox, "b").await;
    let mut receiving = spawn_receive(&inbox, "b", START);
    inbox.send(&a, numbered(0..3)).await.expect("sends");
    assert_waits(&mut receiving).await;
    inbox.send(&b, numbered(3..4)).await.expect("sends");
    assert_holds(&result_of(receiving).await.expect("receives"), 3..4);
    inbox.forget(&b).await.expect("forgets");
    assert_holds(&receive(&inbox, "a", START).await, 0..3);
}

/// Every kind of delivery, with and without optional fields, and with values at the limits.
fn every_kind() -> Vec<Delivery> {
    let (channel_id, user_id) = (ChannelId::new(i64::MAX as u64), UserId::new(7));
    let message = Message {
        message_id: MessageId::new(1 << 62),
        channel_id,
        message_from: user_id,
        message_to: None,
        content: "파발 \u{1f40e} \0\r\n\"\\".into(),
        client_message_id: None,
    };
    let named = Message {
        message_to: Some(UserId::new(8)),
        client_message_id: Some("x:y z".into()),
        content: "말".repeat(5_000).into(),
        ..message.clone()
    };
    let event = Bytes::from_static(r#"{"type":"typing","name":"말"}"#.as_bytes());
    let audiences = [
        Audience::Channel { channel_id, except: None },
        Audience::Channel { channel_id, except: Some(user_id) },
        Audience::Users(Vec::new()),
        Audience::Users(vec![user_id, UserId::new(0), UserId::new(i64::MAX as u64)]),
    ];
    let accepted_at = Timestamp::from_micros(1_800_000_000_123_456);
    let token = TokenHash::of("a token");
    let device_id = DeviceId::new(i64::MAX as u64);
    let revoked = [Revoked::All, Revoked::Device { device_id, token }, Revoked::Token(token)];
    [message, named]
        .map(|message| Delivery::Message { message, accepted_at, trace: Trace::default() })
        .into_iter()
        .chain(audiences.map(|audience| Delivery::Event { audience, event: event.clone() }))
        .chain([true, false].map(|joined| Delivery::Membership { channel_id, user_id, joined }))
        .chain([Delivery::ChannelEnded { channel_id }])
        .chain(revoked.map(|revoked| Delivery::EndSessions { user_id, revoked }))
        .chain([delivery(0), delivery(i64::MAX as u64)])
        .chain([Delivery::Stored { message_id: MessageId::new(5), first_id: MessageId::new(3) }])
        .collect()
}
