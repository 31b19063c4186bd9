//! The rows that statements return, and their conversion to the model. A value that the model does
//! not allow is [`DirectoryError::Damaged`].

use pabal_core::model::{
    Channel, ChannelId, ChannelKind, Device, DeviceId, Friend, FriendState, Member, Membership,
    MessageId, NotificationLevel, Role, Settings, Timestamp, TokenHash, User, UserId,
};
use pabal_core::ports::{
    Access, Account, Credentials, DirectoryError, PushTarget, Revocation, Revoked, RevokedAccess,
};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

type Conversion<T> = Result<T, DirectoryError>;

/// Reads a struct from the columns that its fields name; after `|` a field that is a row itself. In place of
/// sqlx's derive, whose macros compile the drivers a second time for the compiler itself.
macro_rules! row {
    ($name:ident: $($column:ident),+ $(| $row:ident)?) => {
        impl<'r, R> FromRow<'r, R> for $name
        where
            R: Row,
            &'static str: ColumnIndex<R>,
            bool: Decode<'r, R::Database> + Type<R::Database>,
            i64: Decode<'r, R::Database> + Type<R::Database>,
            String: Decode<'r, R::Database> + Type<R::Database>,
            Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self {
                    $($column: row.try_get(stringify!($column))?,)+
                    $($row: FromRow::from_row(row)?,)?
                })
            }
        }
    };
}

/// A moment as it is stored. The largest is in the year 294246.
pub(super) fn stored_moment(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_micros()).unwrap_or(i64::MAX)
}

/// An id as it is stored. An id of 2^63 or more, which the model forbids, becomes negative: it is
/// never found and the tables reject it.
pub(super) fn stored_id(raw: u64) -> i64 {
    raw.cast_signed()
}

/// The id that a page begins after, as it is stored. Every stored id is above -1.
pub(super) fn stored_start(after: Option<u64>) -> i64 {
    after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX))
}

/// How many rows a statement may return, as it is bound.
pub(super) fn stored_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A username folded to lower case, character by character, so that a prefix of a name stays a
/// prefix. U+0000, which no name contains and PostgreSQL rejects, becomes U+FFFD.
pub(super) fn username_key(username: &str) -> String {
    let fit = |letter| if letter == '\0' { '\u{fffd}' } else { letter };
    username.chars().flat_map(char::to_lowercase).map(fit).collect()
}

fn unsigned(raw: i64) -> Conversion<u64> {
    u64::try_from(raw).map_err(|_| DirectoryError::Damaged(format!("the number {raw} is negative")))
}

pub(super) fn channel_id(raw: i64) -> Conversion<ChannelId> {
    unsigned(raw).map(ChannelId::new)
}

pub(super) fn user_id(raw: i64) -> Conversion<UserId> {
    unsigned(raw).map(UserId::new)
}

pub(super) fn moment(raw: i64) -> Conversion<Timestamp> {
    unsigned(raw).map(Timestamp::from_micros)
}

/// Defines the conversions between an enum of the model and its words in the tables.
macro_rules! words {
    ($model:ident, $to:ident, $from:ident: $($variant:ident = $word:literal)+) => {
        pub(super) const fn $to(value: $model) -> &'static str {
            match value { $($model::$variant => $word,)+ }
        }

        pub(super) fn $from(word: &str) -> Conversion<$model> {
            match word {
                $($word => Ok($model::$variant),)+
                other => Err(DirectoryError::Damaged(format!("the word {other:?} is unknown"))),
            }
        }
    };
}
words!(Role, role_word, role: Member = "member" Admin = "admin" Owner = "owner");
words!(ChannelKind, kind_word, kind: Direct = "direct" Group = "group");
words!(NotificationLevel, level_word, level: All = "all" Mentions = "mentions" None = "none");

pub(super) fn device_id(raw: i64) -> Conversion<DeviceId> {
    unsigned(raw).map(DeviceId::new)
}

pub(super) fn token_hash(raw: Vec<u8>) -> Conversion<TokenHash> {
    let length = raw.len();
    let wrong = |_| DirectoryError::Damaged(format!("a token hash of {length} bytes"));
    raw.try_into().map(TokenHash::from_bytes).map_err(wrong)
}

pub(super) struct UserRow {
    user_id: i64,
    username: String,
    display_name: String,
    status_text: String,
    avatar_url: String,
    created_at: i64,
}
row!(UserRow: user_id, username, display_name, status_text, avatar_url, created_at);

impl UserRow {
    pub(super) fn read(self) -> Conversion<User> {
        Ok(User {
            user_id: user_id(self.user_id)?,
            username: self.username,
            display_name: self.display_name,
            status_text: self.status_text,
            avatar_url: self.avatar_url,
            created_at: moment(self.created_at)?,
        })
    }
}

pub(super) struct CredentialsRow {
    user: UserRow,
    password_hash: String,
}
row!(CredentialsRow: password_hash | user);

impl CredentialsRow {
    pub(super) fn read(self) -> Conversion<Credentials> {
        Ok(Credentials { user: self.user.read()?, password_hash: self.password_hash })
    }
}

pub(super) struct AccessRow {
    device_id: i64,
    user_id: i64,
    name: String,
    expires_at: i64,
}
row!(AccessRow: device_id, user_id, name, expires_at);

impl AccessRow {
    pub(super) fn read(self, token: TokenHash) -> Conversion<Access> {
        let (device, expires_at) = self.device()?;
        Ok(Access { token, device, expires_at })
    }

    pub(super) fn device(self) -> Conversion<(Device, Timestamp)> {
        let device = Device {
            device_id: device_id(self.device_id)?,
            user_id: user_id(self.user_id)?,
            name: self.name,
        };
        Ok((device, moment(self.expires_at)?))
    }
}

/// A device's access with its token hash.
pub(super) struct DeviceAccessRow {
    token_hash: Vec<u8>,
    access: AccessRow,
}
row!(DeviceAccessRow: token_hash | access);

impl DeviceAccessRow {
    pub(super) fn read(self) -> Conversion<Access> {
        self.access.read(token_hash(self.token_hash)?)
    }
}

pub(super) struct AccountRow {
    user: UserRow,
    disabled: bool,
    devices: i64,
}
row!(AccountRow: disabled, devices | user);

impl AccountRow {
    pub(super) fn read(self) -> Conversion<Account> {
        let devices = unsigned(self.devices)?;
        Ok(Account { user: self.user.read()?, disabled: self.disabled, devices })
    }
}

pub(super) struct RevocationRow {
    number: i64,
    kind: String,
    user_id: i64,
    token_hash: Option<Vec<u8>>,
    device_id: Option<i64>,
    channel_id: Option<i64>,
    channel_name: Option<String>,
}
row!(RevocationRow: number, kind, user_id, token_hash, device_id, channel_id, channel_name);

impl RevocationRow {
    pub(super) fn read(self) -> Conversion<Revocation> {
        let number = unsigned(self.number)?;
        let missing = || DirectoryError::Damaged(format!("revocation {number} misses a value"));
        let channel = self.channel_id.map(channel_id).transpose()?;
        let token = self.token_hash.map(token_hash).transpose()?;
        let revoked = match &*self.kind {
            "all" => RevokedAccess::Sessions(Revoked::All),
            "device" => RevokedAccess::Sessions(Revoked::Device {
                device_id: device_id(self.device_id.ok_or_else(missing)?)?,
                token: token.ok_or_else(missing)?,
            }),
            "token" => RevokedAccess::Sessions(Revoked::Token(token.ok_or_else(missing)?)),
            "channel" => RevokedAccess::Channel { channel_id: channel.ok_or_else(missing)? },
            "group" => RevokedAccess::Group {
                channel_id: channel.ok_or_else(missing)?,
                name: self.channel_name,
            },
            other => {
                return Err(DirectoryError::Damaged(format!("the word {other:?} is unknown")));
            }
        };
        Ok(Revocation { number, user_id: user_id(self.user_id)?, revoked })
    }
}

pub(super) struct SettingsRow {
    locale: Option<String>,
    notifications: Option<String>,
    share_presence: Option<bool>,
    share_read: Option<bool>,
}
row!(SettingsRow: locale, notifications, share_presence, share_read);

impl SettingsRow {
    pub(super) fn read(self) -> Conversion<Settings> {
        let defaults = Settings::default();
        let notifications = self.notifications.as_deref().map(level).transpose()?;
        Ok(Settings {
            locale: self.locale.unwrap_or(defaults.locale),
            notifications: notifications.unwrap_or(defaults.notifications),
            share_presence: self.share_presence.unwrap_or(defaults.share_presence),
            share_read: self.share_read.unwrap_or(defaults.share_read),
        })
    }
}

/// Settings with the user who set them.
pub(super) struct UserSettingsRow {
    user_id: i64,
    settings: SettingsRow,
}
row!(UserSettingsRow: user_id | settings);

impl UserSettingsRow {
    pub(super) fn read(self) -> Conversion<(UserId, Settings)> {
        Ok((user_id(self.user_id)?, self.settings.read()?))
    }
}

pub(super) struct FriendRow {
    friend_id: i64,
    /// The user has sent a request.
    asked: bool,
    /// The friend has sent a request.
    was_asked: bool,
}
row!(FriendRow: friend_id, asked, was_asked);

impl FriendRow {
    pub(super) fn read(self) -> Conversion<Friend> {
        let state = match (self.asked, self.was_asked) {
            (true, false) => FriendState::Requested,
            (false, _) => FriendState::Received,
            (true, true) => FriendState::Friends,
        };
        Ok(Friend { user_id: user_id(self.friend_id)?, state })
    }
}

pub(super) struct ChannelRow {
    channel_id: i64,
    kind: String,
    name: Option<String>,
    created_at: i64,
}
row!(ChannelRow: channel_id, kind, name, created_at);

impl ChannelRow {
    pub(super) fn read(self) -> Conversion<Channel> {
        Ok(Channel {
            channel_id: channel_id(self.channel_id)?,
            kind: kind(&self.kind)?,
            name: self.name,
            created_at: moment(self.created_at)?,
        })
    }
}

pub(super) struct MembershipRow {
    channel: ChannelRow,
    role: String,
    peer: Option<i64>,
    blocked: bool,
    read_up_to: i64,
}
row!(MembershipRow: role, peer, blocked, read_up_to | channel);

impl MembershipRow {
    pub(super) fn read(self) -> Conversion<Membership> {
        Ok(Membership {
            channel: self.channel.read()?,
            role: role(&self.role)?,
            peer: self.peer.map(user_id).transpose()?,
            blocked: self.blocked,
            read_up_to: MessageId::new(unsigned(self.read_up_to)?),
        })
    }
}

pub(super) struct MemberRow {
    user_id: i64,
    role: String,
}
row!(MemberRow: user_id, role);

impl MemberRow {
    pub(super) fn read(self) -> Conversion<Member> {
        Ok(Member { user_id: user_id(self.user_id)?, role: role(&self.role)? })
    }
}

pub(super) struct PushTargetRow {
    user_id: i64,
    username: String,
    notifications: Option<String>,
}
row!(PushTargetRow: user_id, username, notifications);

impl PushTargetRow {
    pub(super) fn read(self) -> Conversion<PushTarget> {
        let level = self.notifications.as_deref().map(level).transpose()?.unwrap_or_default();
        Ok(PushTarget { user_id: user_id(self.user_id)?, username: self.username, level })
    }
}
