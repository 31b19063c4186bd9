//! Checks that every row of a history is readable and consistent with the others.

use std::ops::Bound;
use std::time::Duration;

use fjall::Readable;
use pabal_core::model::{ChannelId, Message, MessageId, Partition, Timestamp};

use super::chain;
use super::database::Database;
use super::findings::StoreReport;
use crate::codec;

/// How far an id may be ahead of the clock without a note: clocks of nodes differ.
const AHEAD: Duration = Duration::from_secs(60 * 60);
/// How many ids from the future are named.
const NAMED_AHEAD: u64 = 10;

/// Checks messages, stored positions and send keys. Names ids that are ahead of `now`.
pub(super) fn verify(database: &Database, now: Timestamp, report: &mut StoreReport) {
    positions(database, report);
    let ahead = messages(database, now, report);
    if ahead > 0 {
        report.findings.note(format!(
            "history: {ahead} messages have ids from the future: the clock was wrong when they were \
             sent, or is wrong now ({now})"
        ));
    }
    sends(database, report);
}

fn positions(database: &Database, report: &mut StoreReport) {
    for row in database.durable().iter(&database.positions) {
        let (key, value) = match row.into_inner() {
            Ok(row) => row,
            Err(error) => {
                return report.findings.wrong(format!("stored positions: cannot be read: {error}"));
            }
        };
        if *key == chain::KEY {
            continue;
        }
        let read = codec::decode_position_key(&key)
            .and_then(|partition| Ok((partition, codec::decode_id(&value)?)));
        match read {
            Ok((partition, id)) if partition.get() >= report.partitions => {
                let partition = partition.get();
                let of = report.partitions;
                report.findings.wrong(format!("position {id} is of partition {partition} of {of}"));
            }
            Ok(_) => {}
            Err(error) => report.findings.wrong(format!("stored position {key:02x?}: {error}")),
        }
    }
}

/// Returns how many messages have ids from the future.
fn messages(database: &Database, now: Timestamp, report: &mut StoreReport) -> u64 {
    let mut ahead = 0;
    let durable = database.durable();
    let mut last: Option<(ChannelId, MessageId)> = None;
    for row in durable.iter(&database.messages) {
        let (key, value) = match row.into_inner() {
            Ok(row) => row,
            Err(error) => {
                let after = last.map_or_else(
                    || "from the first one on".to_owned(),
                    |(channel, id)| format!("after message {id} of channel {channel}"),
                );
                report.findings.wrong(format!("messages {after} cannot be read: {error}"));
                break;
            }
        };
        if *key == chain::KEY {
            continue;
        }
        let Some((channel_id, message_id)) = ids(&key) else {
            report.findings.wrong(format!("message with the key {key:02x?}: it is not a key"));
            continue;
        };
        if let Some((channel, id)) = last
            && channel == channel_id
            && id >= message_id
        {
            report
                .findings
                .wrong(format!("message {message_id} of channel {channel} is stored after {id}"));
        }
        if last.is_none_or(|(channel, _)| channel != channel_id) {
            report.channels += 1;
            head(database, last, report);
        }
        last = Some((channel_id, message_id));
        if message_id.created_at() > now.plus(AHEAD) {
            ahead += 1;
            if ahead <= NAMED_AHEAD {
                let moment = message_id.created_at();
                report.findings.note(format!(
                    "history: message {message_id} of channel {channel_id} is of {moment}"
                ));
            }
        }
        match codec::decode_message(channel_id, message_id, &value) {
            Ok(message) => {
                report.messages += 1;
                check_consistency(database, &message, report);
            }
            Err(error) => report
                .findings
                .wrong(format!("message {message_id} of channel {channel_id}: {error}")),
        }
    }
    head(database, last, report);
    ahead
}

/// Checks that a message has the right partition and matches the other keyspaces.
fn check_consistency(database: &Database, message: &Message, report: &mut StoreReport) {
    let Message { message_id, channel_id, .. } = *message;
    let name = format!("message {message_id} of channel {channel_id}");
    let (actual, expected) = (message_id.partition(), Partition::of(channel_id, report.partitions));
    if actual != expected {
        let (actual, expected) = (actual.get(), expected.get());
        report.findings.wrong(format!("{name} has an id of partition {actual}, not {expected}"));
        return;
    }
    let position = database.stored.get(actual);
    if message_id > position {
        report.findings.wrong(format!("{name} is above the stored position {position}"));
    }
    let Some(send_key) = message.send_key() else {
        return;
    };
    if !database.stored.still_known(message_id) {
        return;
    }
    match database.durable().get(&database.sent, codec::sent_key(&send_key)) {
        // A later id, if the send key was used again after the window.
        Ok(Some(value)) if codec::decode_id(&value).is_ok_and(|id| id >= message_id) => {}
        Ok(Some(_)) => {
            report.findings.wrong(format!("{name} does not match the id of its send key"))
        }
        Ok(None) => report.findings.wrong(format!("{name}: a repeat of its send is not known")),
        Err(error) => report.findings.wrong(format!("{name}: its send cannot be read: {error}")),
    }
}

/// Checks that the newest message of a channel is also the first in a reverse read.
fn head(database: &Database, last: Option<(ChannelId, MessageId)>, report: &mut StoreReport) {
    let Some((channel_id, message_id)) = last else {
        return;
    };
    let key = |id| Bound::Included(codec::message_key(channel_id, MessageId::new(id)));
    let newest = database.durable().range(&database.messages, (key(0), key(u64::MAX))).next_back();
    let found = newest.and_then(|row| codec::id_in_key(&row.key().ok()?).ok());
    if found != Some(message_id) {
        let found = found.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
        report.findings.wrong(format!("channel {channel_id} ends with {message_id}, not {found}"));
    }
}

fn sends(database: &Database, report: &mut StoreReport) {
    for row in database.durable().iter(&database.sent) {
        match row.into_inner() {
            Ok((key, _)) if *key == chain::KEY => {}
            Ok((key, value)) => match codec::decode_id(&value) {
                Ok(_) if key.len() == size_of::<codec::SentKey>() => report.sends += 1,
                Ok(_) => report.findings.wrong(format!("send {key:02x?}: it is not a key")),
                Err(error) => report.findings.wrong(format!("send {key:02x?}: {error}")),
            },
            Err(error) => {
                return report.findings.wrong(format!("sends cannot be read: {error}"));
            }
        }
    }
}

fn ids(key: &[u8]) -> Option<(ChannelId, MessageId)> {
    let (channel_id, message_id) = key.split_first_chunk()?;
    let message_id = codec::decode_id(message_id).ok()?;
    Some((ChannelId::new(u64::from_be_bytes(*channel_id)), message_id))
}
