//! The calls of the API service, by what they are about. Each is one request.

mod people;
mod channels;
mod messages;

use serde::Deserialize;

/// Most entries of a list that the server gives at once.
pub(crate) const MOST: usize = 200;

/// An answer with one thing in it, under whatever name it has in the contract.
macro_rules! answer {
    ($($name:ident { $field:ident: $type:ty })+) => {$(
        #[derive(Deserialize)]
        pub(crate) struct $name {
            pub(crate) $field: $type,
        }
    )+};
}

answer! {
    UserAnswer { user: crate::model::User }
    SettingsAnswer { settings: crate::model::Settings }
    FriendAnswer { friend: crate::model::Friend }
    ChannelAnswer { channel: crate::model::Channel }
    MemberAnswer { member: crate::model::Member }
    MessageAnswer { message: crate::model::Message }
}

/// An answer with a part of a list.
macro_rules! list {
    ($($name:ident { $field:ident: $type:ty })+) => {$(
        #[derive(Deserialize)]
        pub(crate) struct $name {
            $field: Vec<$type>,
            #[serde(default)]
            has_more: bool,
        }

        impl From<$name> for crate::model::Page<$type> {
            fn from(list: $name) -> Self {
                Self { entries: list.$field, has_more: list.has_more }
            }
        }
    )+};
}

list! {
    UsersAnswer { users: crate::model::User }
    FriendsAnswer { friends: crate::model::Friend }
    BlocksAnswer { blocks: Blocked }
    ChannelsAnswer { channels: crate::model::Channel }
    MembersAnswer { members: crate::model::Member }
    MessagesAnswer { messages: crate::model::Message }
}

#[derive(Deserialize)]
pub(crate) struct Blocked {
    pub(crate) user_id: crate::ids::UserId,
}

/// A path with the place in a list where a page begins.
pub(crate) fn after(path: &str, after: Option<impl std::fmt::Display>) -> String {
    match after {
        Some(after) => format!("{path}?limit={MOST}&after={after}"),
        None => format!("{path}?limit={MOST}"),
    }
}

/// Text as a part of a query (RFC 3986, section 2.1).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_hold_any_text() {
        assert_eq!(super::escaped("a b&미"), "a%20b%26%EB%AF%B8");
    }
}
