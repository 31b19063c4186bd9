//! The prepared statements of history. All are idempotent: written values and timestamps come from
//! the message.

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;

/// Defines a struct of prepared statements.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)+) => {
        /// The prepared statements of history.
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: PreparedStatement,)+
        }

        impl Statements {
            pub(super) async fn prepare(session: &Session) -> Result<Self, PrepareError> {
                Ok(Self { $($name: {
                    let mut prepared = session.prepare($text).await?;
                    prepared.set_is_idempotent(true);
                    prepared
                },)+ })
            }
        }
    };
}

statements! {
    /// Channel, bucket, id, body, time.
    add_message = "INSERT INTO messages (channel_id, bucket, message_id, body) VALUES (?, ?, ?, ?) \
        USING TIMESTAMP ?";
    /// Channel, bucket, time.
    add_bucket = "INSERT INTO channels (channel_id, bucket) VALUES (?, ?) USING TIMESTAMP ?";
    /// Time, head, channel.
    set_head = "UPDATE channels USING TIMESTAMP ? SET head = ? WHERE channel_id = ?";
    /// Send key, id, time.
    add_sent = "INSERT INTO sends (send_key, message_id) VALUES (?, ?) USING TIMESTAMP ?";
    /// Partition, id, time.
    set_position = "INSERT INTO positions (log_partition, message_id) VALUES (?, ?) \
        USING TIMESTAMP ?";
    /// Partition → id.
    position = "SELECT message_id FROM positions WHERE log_partition = ?";
    /// Send key → id.
    sent = "SELECT message_id FROM sends WHERE send_key = ?";
    /// Channel → head.
    head = "SELECT head FROM channels WHERE channel_id = ? LIMIT 1";
    /// Channel, bucket, id → body.
    message = "SELECT body FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    /// Channel, lowest bucket, limit → buckets, rising.
    buckets_up = "SELECT bucket FROM channels WHERE channel_id = ? AND bucket >= ? \
        ORDER BY bucket ASC LIMIT ?";
    /// Channel, highest bucket, limit → buckets, falling.
    buckets_down = "SELECT bucket FROM channels WHERE channel_id = ? AND bucket <= ? \
        ORDER BY bucket DESC LIMIT ?";
    /// Channel, bucket, lowest id, limit → ids and bodies, rising.
    messages_up = "SELECT message_id, body FROM messages \
        WHERE channel_id = ? AND bucket = ? AND message_id >= ? ORDER BY message_id ASC LIMIT ?";
    /// Channel, bucket, highest id, limit → ids and bodies, falling.
    messages_down = "SELECT message_id, body FROM messages \
        WHERE channel_id = ? AND bucket = ? AND message_id <= ? ORDER BY message_id DESC LIMIT ?";
}
