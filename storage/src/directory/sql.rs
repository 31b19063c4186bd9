//! The statements of the directory, each with its parameters and result. Every statement finds its
//! rows through a key or an index; a test checks the plans. Columns are named after the fields of
//! [`super::rows`].

/// $1 user id → a row, if there is such a user.
pub(super) const USER_EXISTS: &str = "SELECT 1 FROM users WHERE user_id = $1";

/// The users among some ids, in order; between the two parts is a [`tuple`].
pub(super) const USERS_AMONG: [&str; 2] =
    ["SELECT user_id FROM users WHERE user_id IN", "ORDER BY user_id"];

/// $1 user id → the friends of that user among some ids; a [`tuple`] from $2 on follows.
pub(super) const FRIENDS_AMONG: &str = "\
    SELECT asked.friend_id
    FROM friends AS asked
    JOIN friends AS back
        ON back.user_id = asked.friend_id AND back.friend_id = asked.user_id
    WHERE asked.user_id = $1 AND asked.friend_id IN";

/// $1 whether added by strangers, $2 limit → those among some users who hold at least so many
/// channels of that kind; between the two parts is a [`tuple`] from $3 on.
pub(super) const FULL_AMONG: [&str; 2] = [
    "SELECT user_id FROM members WHERE by_stranger = $1 AND user_id IN",
    "GROUP BY user_id HAVING COUNT(*) >= $2",
];

/// Parameters for `count` values, the first of them `$first`.
pub(super) fn tuple(first: usize, count: usize) -> String {
    let parameters: Vec<_> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", parameters.join(", "))
}

/// $1 username key → a row, if it is taken.
pub(super) const USERNAME_EXISTS: &str = "SELECT 1 FROM users WHERE username_key = $1";

/// $1 user id, $2 username, $3 username key, $4 display name, $5 status, $6 picture, $7 created at.
pub(super) const ADD_USER: &str = "\
    INSERT INTO users
        (user_id, username, username_key, display_name, status_text, avatar_url, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// $1 user id, $2 hash.
pub(super) const ADD_CREDENTIALS: &str = "\
    INSERT INTO credentials (user_id, password_hash) VALUES ($1, $2)";

/// $1 device id, $2 user id, $3 name.
pub(super) const ADD_DEVICE: &str = "\
    INSERT INTO devices (device_id, user_id, name) VALUES ($1, $2, $3)";

/// $1 hash, $2 device id, $3 expiry.
pub(super) const ADD_TOKEN: &str = "\
    INSERT INTO access_tokens (token_hash, device_id, expires_at) VALUES ($1, $2, $3)";

/// $1 hash.
pub(super) const REMOVE_TOKEN: &str = "DELETE FROM access_tokens WHERE token_hash = $1";

/// $1 now, $2 limit → the devices of the removed tokens, in order of expiry.
pub(super) const REMOVE_EXPIRED: &str = "\
    DELETE FROM access_tokens WHERE token_hash IN (
        SELECT token_hash FROM access_tokens
        WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
    )
    RETURNING device_id";

/// $1 device id → a row, if there is such a device.
pub(super) const DEVICE_EXISTS: &str = "SELECT 1 FROM devices WHERE device_id = $1";

/// $1 device id, which is removed if it has no token.
pub(super) const REMOVE_DEVICE: &str = "\
    DELETE FROM devices WHERE device_id = $1 AND NOT EXISTS (
        SELECT 1 FROM access_tokens WHERE access_tokens.device_id = devices.device_id
    )";

/// $1 user id, $2 device id → the hash of one of its tokens, if that is the user's device.
pub(super) const TOKEN_OF_DEVICE: &str = "\
    SELECT access_tokens.token_hash
    FROM devices JOIN access_tokens ON access_tokens.device_id = devices.device_id
    WHERE devices.device_id = $2 AND devices.user_id = $1 LIMIT 1";

/// $1 device id.
pub(super) const REMOVE_TOKENS_OF_DEVICE: &str = "\
    DELETE FROM access_tokens WHERE device_id = $1";

/// $1 user id, $2 id to begin after, $3 limit → [`super::rows::AccessRow`]s by device, each with the end
/// of its last token.
pub(super) const DEVICES: &str = "\
    SELECT device_id, user_id, name, COALESCE((
        SELECT MAX(expires_at) FROM access_tokens
        WHERE access_tokens.device_id = devices.device_id
    ), 0) AS expires_at
    FROM devices WHERE user_id = $1 AND device_id > $2 ORDER BY device_id LIMIT $3";

/// $1 device id, $2 name.
pub(super) const NAME_DEVICE: &str = "UPDATE devices SET name = $2 WHERE device_id = $1";

/// $1 user id → the hash of the user's password.
pub(super) const PASSWORD_HASH: &str = "\
    SELECT password_hash FROM credentials WHERE user_id = $1";

/// $1 user id, $2 number of devices, $3 limit → the devices beyond so many, the latest to expire first.
pub(super) const SURPLUS_DEVICES: &str = "\
    SELECT device_id FROM devices WHERE user_id = $1
    ORDER BY COALESCE((
        SELECT MAX(expires_at) FROM access_tokens
        WHERE access_tokens.device_id = devices.device_id
    ), 0) DESC, device_id DESC LIMIT $3 OFFSET $2";

/// $1 hash → [`super::rows::AccessRow`].
pub(super) const ACCESS: &str = "\
    SELECT devices.device_id, devices.user_id, devices.name, access_tokens.expires_at
    FROM access_tokens JOIN devices ON devices.device_id = access_tokens.device_id
    WHERE access_tokens.token_hash = $1";

/// $1 username key → [`super::rows::CredentialsRow`].
pub(super) const CREDENTIALS: &str = "\
    SELECT users.user_id, username, display_name, status_text, avatar_url, created_at,
        password_hash
    FROM users JOIN credentials ON credentials.user_id = users.user_id
    WHERE username_key = $1";

/// $1 user id → [`super::rows::UserRow`].
pub(super) const USER: &str = "\
    SELECT user_id, username, display_name, status_text, avatar_url, created_at
    FROM users WHERE user_id = $1";

/// $1 username key, $2 limit → [`super::rows::UserRow`]s from that key on, by key. Names with that
/// prefix come first.
pub(super) const USERS_FROM: &str = "\
    SELECT user_id, username, display_name, status_text, avatar_url, created_at
    FROM users WHERE username_key >= $1 ORDER BY username_key LIMIT $2";

/// $1 user id, $2 display name, $3 status, $4 picture; NULL changes nothing →
/// [`super::rows::UserRow`], if there is such a user.
pub(super) const CHANGE_PROFILE: &str = "\
    UPDATE users SET
        display_name = COALESCE($2, display_name),
        status_text = COALESCE($3, status_text),
        avatar_url = COALESCE($4, avatar_url)
    WHERE user_id = $1
    RETURNING user_id, username, display_name, status_text, avatar_url, created_at";

/// $1 user id → [`super::rows::SettingsRow`], if the user set any.
pub(super) const SETTINGS: &str = "\
    SELECT locale, notifications, share_presence, share_read FROM settings WHERE user_id = $1";

/// $1 user id, $2 locale, $3 notifications, $4 presence, $5 read; NULL changes nothing →
/// [`super::rows::SettingsRow`].
pub(super) const CHANGE_SETTINGS: &str = "\
    INSERT INTO settings (user_id, locale, notifications, share_presence, share_read)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (user_id) DO UPDATE SET
        locale = COALESCE(excluded.locale, settings.locale),
        notifications = COALESCE(excluded.notifications, settings.notifications),
        share_presence = COALESCE(excluded.share_presence, settings.share_presence),
        share_read = COALESCE(excluded.share_read, settings.share_read)
    RETURNING locale, notifications, share_presence, share_read";

/// The start of a statement that returns [`super::rows::UserSettingsRow`]s of those of some users
/// who set any; a [`tuple`] follows.
pub(super) const SETTINGS_AMONG: &str = "\
    SELECT user_id, locale, notifications, share_presence, share_read
    FROM settings WHERE user_id IN";

/// $1 user id, $2 id to begin after, $3 limit → [`super::rows::FriendRow`]s by friend: sent requests, and
/// received ones without an own request.
pub(super) const FRIENDS: &str = "\
    SELECT asked.friend_id, 1 = 1 AS asked, EXISTS (
        SELECT 1 FROM friends AS back
        WHERE back.user_id = asked.friend_id AND back.friend_id = asked.user_id
    ) AS was_asked
    FROM friends AS asked WHERE asked.user_id = $1 AND asked.friend_id > $2
    UNION ALL
    SELECT asked.user_id, 1 = 0, 1 = 1
    FROM friends AS asked
    WHERE asked.friend_id = $1 AND asked.user_id > $2 AND NOT EXISTS (
        SELECT 1 FROM friends AS back
        WHERE back.user_id = asked.friend_id AND back.friend_id = asked.user_id
    )
    ORDER BY 1 LIMIT $3";

/// $1 user id, $2 friend → a row, if the user has sent the friend a request.
pub(super) const HAS_REQUEST: &str = "\
    SELECT 1 FROM friends WHERE user_id = $1 AND friend_id = $2";

/// $1 user id → how many requests the user has sent, those of friends included.
pub(super) const SENT_COUNT: &str = "SELECT COUNT(*) FROM friends WHERE user_id = $1";

/// $1 user id → how many requests the user has received, those of friends included.
pub(super) const RECEIVED_COUNT: &str = "SELECT COUNT(*) FROM friends WHERE friend_id = $1";

/// $1 user id, $2 friend.
pub(super) const ADD_REQUEST: &str = "\
    INSERT INTO friends (user_id, friend_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// $1 and $2, in any order.
pub(super) const UNFRIEND: &str = "\
    DELETE FROM friends
    WHERE (user_id = $1 AND friend_id = $2) OR (user_id = $2 AND friend_id = $1)";

/// $1 user id, $2 id to begin after, $3 limit → blocked ids, in order.
pub(super) const BLOCKS: &str = "\
    SELECT blocked_id FROM blocks
    WHERE user_id = $1 AND blocked_id > $2 ORDER BY blocked_id LIMIT $3";

/// $1 and $2, in any order → a row, if one has blocked the other.
pub(super) const BLOCK_BETWEEN: &str = "\
    SELECT 1 FROM blocks
    WHERE (user_id = $1 AND blocked_id = $2) OR (user_id = $2 AND blocked_id = $1)";

/// $1 user id → how many users that user has blocked.
pub(super) const BLOCK_COUNT: &str = "SELECT COUNT(*) FROM blocks WHERE user_id = $1";

/// $1 user id, $2 blocked → a row, if the user has blocked the other.
pub(super) const HAS_BLOCKED: &str = "\
    SELECT 1 FROM blocks WHERE user_id = $1 AND blocked_id = $2";

/// $1 user id, $2 blocked.
pub(super) const BLOCK: &str = "\
    INSERT INTO blocks (user_id, blocked_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// $1 user id, $2 blocked.
pub(super) const UNBLOCK: &str = "DELETE FROM blocks WHERE user_id = $1 AND blocked_id = $2";

/// $1 smaller and $2 larger user id → [`super::rows::ChannelRow`].
pub(super) const DIRECT_CHANNEL: &str = "\
    SELECT channel_id, kind, name, created_at
    FROM channels WHERE direct_low = $1 AND direct_high = $2";

/// $1 channel id, $2 kind, $3 name, $4 creation time, $5 smaller and $6 larger user id or NULL, $7
/// number of first members, $8 whether it is hidden.
pub(super) const ADD_CHANNEL: &str = "\
    INSERT INTO channels
        (channel_id, kind, name, created_at, direct_low, direct_high, arrivals, hidden)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// $1 channel → [`super::rows::ChannelRow`].
pub(super) const CHANNEL: &str = "\
    SELECT channel_id, kind, name, created_at FROM channels
    WHERE channel_id = $1 AND NOT hidden";

/// $1 channel → a row, if there is such a channel and it is hidden.
pub(super) const IS_HIDDEN: &str = "SELECT 1 FROM channels WHERE channel_id = $1 AND hidden";

/// $1 group.
pub(super) const HIDE_GROUP: &str = "UPDATE channels SET hidden = TRUE WHERE channel_id = $1";

/// $1 group, which all calls see from now on.
pub(super) const SHOW_GROUP: &str = "UPDATE channels SET hidden = FALSE WHERE channel_id = $1";

/// $1 moment, $2 limit → hidden groups that were created before it.
pub(super) const HIDDEN_GROUPS: &str = "\
    SELECT channel_id FROM channels WHERE hidden AND created_at < $1
    ORDER BY created_at LIMIT $2";

/// $1 channel, $2 limit: removes so many members.
pub(super) const REMOVE_SOME_MEMBERS: &str = "\
    DELETE FROM members WHERE channel_id = $1 AND user_id IN (
        SELECT user_id FROM members WHERE channel_id = $1 ORDER BY user_id LIMIT $2
    )";

/// $1 group, $2 name.
pub(super) const RENAME_GROUP: &str = "UPDATE channels SET name = $2 WHERE channel_id = $1";

/// $1 group; its members go with it.
pub(super) const REMOVE_GROUP: &str = "DELETE FROM channels WHERE channel_id = $1";

/// $1 channel → the ids of all its members, in order.
pub(super) const MEMBER_IDS: &str = "\
    SELECT user_id FROM members WHERE channel_id = $1 ORDER BY user_id";

/// $1 channel → the arrival number of the next member.
pub(super) const NEXT_ARRIVAL: &str = "\
    UPDATE channels SET arrivals = arrivals + 1 WHERE channel_id = $1 RETURNING arrivals";

/// The other user of a direct channel; NULL in a group.
macro_rules! peer {
    () => {
        "CASE WHEN channels.direct_low = members.user_id
              THEN channels.direct_high ELSE channels.direct_low END"
    };
}

/// The columns of [`super::rows::MembershipRow`], from members and their channels.
macro_rules! membership {
    ($($rest:literal)+) => {
        concat!(
            "SELECT channels.channel_id, channels.kind, channels.name, channels.created_at, ",
            "members.role, members.read_up_to, ",
            peer!(), " AS peer, ",
            "EXISTS (SELECT 1 FROM blocks WHERE blocks.blocked_id = members.user_id ",
            "AND blocks.user_id = ", peer!(), ") AS blocked ",
            "FROM members JOIN channels ON channels.channel_id = members.channel_id ",
            $($rest,)+
        )
    };
}

/// $1 user id, $2 channel → [`super::rows::MembershipRow`].
pub(super) const MEMBERSHIP: &str =
    membership!("WHERE members.user_id = $1 AND members.channel_id = $2 AND NOT channels.hidden");

/// $1 user id, $2 channel to begin after, $3 limit → [`super::rows::MembershipRow`]s by channel.
pub(super) const MEMBERSHIPS: &str = membership!(
    "WHERE members.user_id = $1 AND members.channel_id > $2 AND NOT channels.hidden "
    "ORDER BY members.channel_id LIMIT $3"
);

/// $1 channel, $2 user to begin after, $3 limit → [`super::rows::MemberRow`]s by user.
pub(super) const MEMBERS: &str = "\
    SELECT user_id, role FROM members
    WHERE channel_id = $1 AND user_id > $2
        AND EXISTS (SELECT 1 FROM channels WHERE channel_id = $1 AND NOT hidden)
    ORDER BY user_id LIMIT $3";

/// $1 channel → how many members it has.
pub(super) const MEMBER_COUNT: &str = "SELECT COUNT(*) FROM members WHERE channel_id = $1";

/// $1 channel, $2 user → the user's role, if a member.
pub(super) const ROLE: &str = "\
    SELECT role FROM members WHERE channel_id = $1 AND user_id = $2";

/// $1 channel, $2 user → a row, if another member is an owner.
pub(super) const OTHER_OWNER: &str = "\
    SELECT 1 FROM members WHERE channel_id = $1 AND role = 'owner' AND user_id <> $2 LIMIT 1";

/// $1 channel, $2 user, $3 role.
pub(super) const CHANGE_ROLE: &str = "\
    UPDATE members SET role = $3 WHERE channel_id = $1 AND user_id = $2";

/// $1 channel, $2 user, $3 role, $4 arrival, $5 whether added by a stranger.
pub(super) const ADD_MEMBER: &str = "\
    INSERT INTO members (channel_id, user_id, role, arrival, read_up_to, by_stranger)
    VALUES ($1, $2, $3, $4, 0, $5)";

/// The start of a statement that adds members; a [`tuple`] for each follows.
pub(super) const ADD_MEMBERS: &str =
    "INSERT INTO members (channel_id, user_id, role, arrival, read_up_to, by_stranger) VALUES";

/// $1 group, $2 user.
pub(super) const REMOVE_MEMBER: &str = "\
    DELETE FROM members WHERE channel_id = $1 AND user_id = $2";

/// $1 channel → [`super::rows::MemberRow`] of the highest role, the earliest arrival among equals.
pub(super) const SUCCESSOR: &str = "\
    SELECT user_id, role FROM members WHERE channel_id = $1
    ORDER BY CASE role WHEN 'owner' THEN 0 WHEN 'admin' THEN 1 ELSE 2 END, arrival LIMIT 1";

/// $1 channel, $2 user, $3 message id.
pub(super) const MARK_READ: &str = "\
    UPDATE members SET read_up_to = $3
    WHERE channel_id = $1 AND user_id = $2 AND read_up_to < $3";

/// $1 channel → [`super::rows::PushTargetRow`]s by user.
pub(super) const PUSH_TARGETS: &str = "\
    SELECT members.user_id, users.username, settings.notifications
    FROM members
    JOIN users ON users.user_id = members.user_id
    LEFT JOIN settings ON settings.user_id = members.user_id
    WHERE members.channel_id = $1 AND NOT users.disabled
        AND EXISTS (SELECT 1 FROM channels WHERE channel_id = $1 AND NOT hidden)
    ORDER BY members.user_id";

/// $1 user id → whether the user is disabled, if the user exists.
pub(super) const DISABLED: &str = "SELECT disabled FROM users WHERE user_id = $1";

/// The columns of [`super::rows::AccountRow`].
macro_rules! account {
    ($rest:literal) => {
        concat!(
            "SELECT user_id, username, display_name, status_text, avatar_url, created_at, ",
            "disabled, (SELECT COUNT(*) FROM devices WHERE devices.user_id = users.user_id) ",
            "AS devices FROM users ",
            $rest
        )
    };
}

/// $1 username key → [`super::rows::AccountRow`].
pub(super) const ACCOUNT: &str = account!("WHERE username_key = $1");

/// $1 username key, $2 limit → [`super::rows::AccountRow`]s after that key, by key.
pub(super) const ACCOUNTS_AFTER: &str =
    account!("WHERE username_key > $1 ORDER BY username_key LIMIT $2");

/// $1 user id → [`super::rows::DeviceAccessRow`]s.
pub(super) const ACCESSES: &str = "\
    SELECT access_tokens.token_hash, devices.device_id, devices.user_id, devices.name,
        access_tokens.expires_at
    FROM devices JOIN access_tokens ON access_tokens.device_id = devices.device_id
    WHERE devices.user_id = $1";

/// $1 user id, $2 whether the user is disabled; changes a row if the value differs.
pub(super) const SET_DISABLED: &str = "\
    UPDATE users SET disabled = $2 WHERE user_id = $1 AND disabled <> $2";

/// $1 user id, $2 hash.
pub(super) const CHANGE_PASSWORD: &str = "\
    UPDATE credentials SET password_hash = $2 WHERE user_id = $1";

/// $1 user id.
pub(super) const REMOVE_TOKENS: &str = "\
    DELETE FROM access_tokens WHERE device_id IN (
        SELECT device_id FROM devices WHERE user_id = $1
    )";

/// $1 user id, who has no token.
pub(super) const REMOVE_DEVICES: &str = "DELETE FROM devices WHERE user_id = $1";

/// $1 kind, $2 user id, $3 token, $4 device.
pub(super) const RECORD_SESSIONS: &str = "\
    INSERT INTO revocations (kind, user_id, token_hash, device_id) VALUES ($1, $2, $3, $4)";

/// $1 user id, $2 channel.
pub(super) const RECORD_CHANNEL: &str = "\
    INSERT INTO revocations (kind, user_id, channel_id) VALUES ('channel', $1, $2)";

/// $1 user id, $2 group, $3 its name.
pub(super) const RECORD_GROUP: &str = "\
    INSERT INTO revocations (kind, user_id, channel_id, channel_name)
    VALUES ('group', $1, $2, $3)";

/// $1 limit → [`super::rows::RevocationRow`]s, the earliest first. Reads the table from its beginning;
/// it is nearly always empty.
pub(super) const REVOCATIONS: &str = "\
    SELECT number, kind, user_id, token_hash, device_id, channel_id, channel_name
    FROM revocations ORDER BY number LIMIT $1";

/// $1 number.
pub(super) const FORGET_REVOCATION: &str = "DELETE FROM revocations WHERE number = $1";

/// $1 user id, $2 network → when the user was seen from it.
pub(super) const SEEN_FROM: &str = "\
    SELECT seen_at FROM known_networks WHERE user_id = $1 AND network = $2";

/// $1 user id, $2 network, $3 time.
pub(super) const NOTE_SEEN: &str = "\
    INSERT INTO known_networks (user_id, network, seen_at) VALUES ($1, $2, $3)
    ON CONFLICT (user_id, network) DO UPDATE SET seen_at = excluded.seen_at";

/// $1 user id, $2 how many networks to keep, $3 a limit: removes the others, which were seen earlier.
pub(super) const KEEP_LAST_SEEN: &str = "\
    DELETE FROM known_networks WHERE user_id = $1 AND network IN (
        SELECT network FROM known_networks
        WHERE user_id = $1 ORDER BY seen_at DESC, network LIMIT $3 OFFSET $2
    )";

/// $1 time, $2 limit: removes networks that were seen before.
pub(super) const FORGET_SEEN: &str = "\
    DELETE FROM known_networks WHERE (user_id, network) IN (
        SELECT user_id, network FROM known_networks WHERE seen_at < $1 ORDER BY seen_at LIMIT $2
    )";

/// All statements that look up rows.
#[cfg(test)]
pub(super) const BY_KEY: &[&str] = &[
    USER_EXISTS,
    USERNAME_EXISTS,
    REMOVE_TOKEN,
    REMOVE_EXPIRED,
    DEVICE_EXISTS,
    REMOVE_DEVICE,
    TOKEN_OF_DEVICE,
    REMOVE_TOKENS_OF_DEVICE,
    DEVICES,
    SURPLUS_DEVICES,
    NAME_DEVICE,
    PASSWORD_HASH,
    ACCESS,
    CREDENTIALS,
    USER,
    USERS_FROM,
    CHANGE_PROFILE,
    SETTINGS,
    FRIENDS,
    HAS_REQUEST,
    SENT_COUNT,
    RECEIVED_COUNT,
    BLOCK_COUNT,
    HAS_BLOCKED,
    IS_HIDDEN,
    HIDE_GROUP,
    SHOW_GROUP,
    HIDDEN_GROUPS,
    REMOVE_SOME_MEMBERS,
    UNFRIEND,
    BLOCKS,
    BLOCK_BETWEEN,
    UNBLOCK,
    DIRECT_CHANNEL,
    CHANNEL,
    MEMBER_IDS,
    RENAME_GROUP,
    REMOVE_GROUP,
    NEXT_ARRIVAL,
    MEMBERSHIP,
    MEMBERSHIPS,
    MEMBERS,
    MEMBER_COUNT,
    ROLE,
    OTHER_OWNER,
    CHANGE_ROLE,
    REMOVE_MEMBER,
    SUCCESSOR,
    MARK_READ,
    PUSH_TARGETS,
    DISABLED,
    ACCOUNT,
    ACCOUNTS_AFTER,
    ACCESSES,
    SET_DISABLED,
    CHANGE_PASSWORD,
    REMOVE_TOKENS,
    REMOVE_DEVICES,
    FORGET_REVOCATION,
    SEEN_FROM,
    KEEP_LAST_SEEN,
    FORGET_SEEN,
];
