//! The content of the log in Redis, and logs of an earlier version.

use futures::future::join_all;
use pabal_core::model::{ChannelId, Draft, MessageId, Partition, Timestamp, UserId};
use pabal_core::ports::{LogError, MessageLog, Origin, Sequenced, Trace};
use pabal_servers::{Redis, started};
use pabal_storage::redis::RedisMessageLog;

use crate::{store_in, system_clock};

const PARTITION: Partition = match Partition::new(7) {
    Some(partition) => partition,
    None => panic!("a partition"),
};
const START: MessageId = MessageId::new(0);

fn origin() -> Origin {
    let node = "a-1".parse().expect("a name");
    Origin { node, accepted_at: Timestamp::from_micros(5), trace: Trace::default() }
}

fn draft(name: String) -> Draft {
    Draft {
        channel_id: ChannelId::new(2),
        message_from: UserId::new(1),
        message_to: None,
        content: "hi".into(),
        client_message_id: Some(name.into()),
    }
}

async fn append(log: &RedisMessageLog, name: &str) -> Result<Sequenced, LogError> {
    log.append(PARTITION, START, draft(name.to_owned()), origin()).await
}

async fn read(log: &RedisMessageLog, after: MessageId) -> Vec<MessageId> {
    let entries = log.read(PARTITION, after, 1_000).await.expect("reads");
    entries.into_iter().map(|entry| entry.message.message_id).collect()
}

/// Otherwise the keys would grow without limit, or an empty log would count as full.
#[tokio::test]
async fn a_trim_removes_all_data_of_its_messages() {
    let redis = started!(Redis::start());
    let log = store_in(&redis.url(), "trimmed").await.message_log(system_clock(), 1_000);
    let key = |what| format!("{{trimmed:log:7}}:{what}");
    let mut stored = START;
    for round in 0..3 {
        let drafts = (0..300).map(|number| draft(format!("{round}-{}", number % 200)));
        join_all(drafts.map(|draft| log.append(PARTITION, START, draft, origin()))).await;
        let mut count = 0;
        while count < 200 {
            let ids = read(&log, stored).await;
            count += ids.len();
            // Usually in the middle of an entry.
            for stored in [ids[ids.len() / 2], ids[ids.len() - 1]] {
                log.trim(PARTITION, stored).await.expect("trims");
            }
            stored = ids[ids.len() - 1];
        }
        assert_eq!(redis.command(&["XLEN", &key("entries")]).await, "0");
        assert_eq!(redis.command(&["EXISTS", &key("sent")]).await, "0");
        let last = redis.command(&["GET", &key("last")]).await;
        assert!(last.ends_with(" 0"), "{last:?} counts removed messages");
    }
    let entries = redis.command(&["XINFO", "STREAM", &key("entries")]).await;
    let added: usize = entries
        .lines()
        .skip_while(|line| *line != "entries-added")
        .nth(1)
        .and_then(|count| count.parse().ok())
        .expect("a count");
    assert!(added < 60, "600 messages were appended in {added} entries");
}

/// A log of an earlier version: one message in each entry and no count.
#[tokio::test]
async fn a_log_of_an_earlier_version_is_read_counted_and_trimmed() {
    let redis = started!(Redis::start());
    let log = store_in(&redis.url(), "old").await.message_log(system_clock(), 4);
    let key = |what| format!("{{old:log:7}}:{what}");
    let after_the_key = "\\003a-1\\0\\0\\0\\0\\0\\0\\0\\5\\0\\0\\0\\0\\0\\0\\0\\2\
                          \\1\\2\\0\\0\\0\\0\\0\\0\\0\\1\\0\\0\\0\\1chi";
    let sent_key = "\\247\\163\\161\\054\\237\\214\\156\\237";
    let script = format!(
        "local sent = string.rep('{sent_key}', 2) \
         local rest = '{after_the_key}' \
         redis.call('XADD', KEYS[1], '1900000000000-1', 'm', '\\1\\0' .. rest) \
         redis.call('XADD', KEYS[1], '1900000000000-2', 'm', '\\1\\1' .. sent .. rest) \
         redis.call('XADD', KEYS[1], '1900000000000-3', 'm', '\\1\\0' .. rest) \
         redis.call('HSET', KEYS[2], sent, '1900000000000-2') \
         return redis.call('SET', KEYS[3], '1900000000000-3')"
    );
    let [entries, sent, last] = ["entries", "sent", "last"].map(key);
    let reply = redis.command(&["EVAL", &script, "3", &entries, &sent, &last]).await;
    assert_eq!(reply, "OK");

    let first = MessageId::first_at(Timestamp::from_millis(1_900_000_000_000), PARTITION);
    let id = |sequence| MessageId::new(first.get() + sequence);
    assert_eq!(read(&log, START).await, [id(1), id(2), id(3)]);
    assert_eq!(append(&log, "x").await.expect("has capacity"), Sequenced::New(id(4)));
    assert!(matches!(append(&log, "y").await, Err(LogError::Full)));
    assert_eq!(read(&log, id(1)).await, [id(2), id(3), id(4)]);
    log.trim(PARTITION, id(2)).await.expect("trims");
    assert_eq!(redis.command(&["HLEN", &sent]).await, "1");
    assert_eq!(read(&log, START).await, [id(3), id(4)]);
    assert_eq!(append(&log, "y").await.expect("has capacity"), Sequenced::New(id(5)));
    assert_eq!(append(&log, "z").await.expect("has capacity"), Sequenced::New(id(6)));
    assert!(matches!(append(&log, "w").await, Err(LogError::Full)));
    log.trim(PARTITION, id(6)).await.expect("trims");
    assert_eq!(redis.command(&["GET", &last]).await, "1900000000000-6 0");
}
