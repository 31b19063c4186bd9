//! The Rust client: every scenario on every transport, against the real server behind a proxy that injects
//! faults.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod stage;
mod talking;
mod crowded;
mod broken;
mod away;
mod ending;
mod bounds;
mod fallback;
mod calls;
mod nodes;
mod encrypted;

use pabal_client::{Policy, Transport};
use stage::run;

macro_rules! on {
    ($transport:ident, $policy:expr, $($name:ident: $scenario:path,)+) => {
        mod $transport {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($scenario($policy));
                }
            )+
        }
    };
}

macro_rules! on_every_transport {
    ($($name:ident: $scenario:path,)+) => {
        on!(websocket, Policy::Only(Transport::WebSocket), $($name: $scenario,)+);
        on!(sse, Policy::Only(Transport::Sse), $($name: $scenario,)+);
        on!(long_polling, Policy::Only(Transport::LongPolling), $($name: $scenario,)+);
        on!(short_polling, Policy::Only(Transport::ShortPolling), $($name: $scenario,)+);
        on!(auto, Policy::Auto, $($name: $scenario,)+);
    };
}

on_every_transport! {
    conversation: talking::conversation,
    order_of_sends: talking::order_of_sends,
    change_of_transport: talking::change_of_transport,
    notices: talking::notices,
    group_conversation: crowded::group_conversation,
    order_with_many_senders: crowded::order_with_many_senders,
    change_of_transport_under_load: crowded::change_of_transport_under_load,
    repeated_sends_after_a_crash: crowded::repeated_sends_after_a_crash,
    logout_in_mid_session: crowded::logout_in_mid_session,
    connections_that_break: broken::connections_that_break,
    lost_responses: broken::lost_responses,
    resync: away::resync,
    session_gone: away::session_gone,
    more_channels_than_fit: away::more_channels_than_fit,
    new_channel_while_disconnected: away::new_channel_while_disconnected,
    kept_cursors: away::kept_cursors,
    connect_while_unavailable: away::connect_while_unavailable,
    logout: ending::logout,
    renewed_token: ending::renewed_token,
    refused_renewal: ending::refused_renewal,
    drain: ending::drain,
    drop_ends_everything: ending::drop_ends_everything,
    deadline_of_a_send: bounds::deadline_of_a_send,
    events_that_are_not_taken: bounds::events_that_are_not_taken,
    too_many_sends: bounds::too_many_sends,
    wrong_node: nodes::wrong_node,
}
