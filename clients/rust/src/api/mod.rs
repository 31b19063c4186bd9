//! The calls of the API, by topic. Each is one request.

mod people;
mod channels;
mod messages;

use serde::Deserialize;

/// The most entries of a list that the server returns in one response.
pub(crate) const PAGE_MAX: usize = 200;

/// A response with one document, under its name in the API.
macro_rules! response {
    ($($name:ident { $field:ident: $type:ty })+) => {$(
        #[derive(Deserialize)]
        pub(crate) struct $name {
            pub(crate) $field: $type,
        }
    )+};
}

response! {
    UserResponse { user: crate::model::User }
    SettingsResponse { settings: crate::model::Settings }
    FriendResponse { friend: crate::model::Friend }
    ChannelResponse { channel: crate::model::Channel }
    MemberResponse { member: crate::model::Member }
    MessageResponse { message: crate::model::Message }
}

/// A response with a page of a list.
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
    UsersResponse { users: crate::model::User }
    FriendsResponse { friends: crate::model::Friend }
    BlocksResponse { blocks: Blocked }
    DevicesResponse { devices: crate::model::Device }
    ChannelsResponse { channels: crate::model::Channel }
    MembersResponse { members: crate::model::Member }
    MessagesResponse { messages: crate::model::Message }
}

#[derive(Deserialize)]
pub(crate) struct Blocked {
    pub(crate) user_id: crate::ids::UserId,
}

/// A path with the query for the page after an entry.
pub(crate) fn after(path: &str, after: Option<impl std::fmt::Display>) -> String {
    match after {
        Some(after) => format!("{path}?limit={PAGE_MAX}&after={after}"),
        None => format!("{path}?limit={PAGE_MAX}"),
    }
}

/// Text percent-encoded for a query (RFC 3986, section 2.1).
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
    fn any_text_is_encoded_for_a_query() {
        assert_eq!(super::escaped("a b&미"), "a%20b%26%EB%AF%B8");
    }
}
