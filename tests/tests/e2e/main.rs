//! Every scenario on every transport, against the real server.
//!
//! A scenario is a function of the plan by which its devices choose transports: one transport throughout,
//! or another one every few hundred milliseconds. The table below makes each pair a test of its own:
//! `long_polling::order_with_many_senders`.

mod stage;
mod talking;
mod catching_up;
mod broken;
mod overflow;
mod repeating;
mod ending;
mod tokens;
mod waiting;
mod positions;
mod sockets;
mod events;
mod stopping;
mod killing;
mod corrupted;

use std::time::Duration;

use pabal_tests::client::TransportPlan;
use pabal_tests::line::Transport;

use stage::run;

/// How often a switching device changes its transport.
const SWITCH: Duration = Duration::from_millis(200);

macro_rules! on {
    ($plan:ident, $value:expr, $($name:ident: $scenario:path,)+) => {
        mod $plan {
            use super::*;

            $(
                #[test]
                fn $name() {
                    run($scenario($value));
                }
            )+
        }
    };
}

macro_rules! on_every_transport {
    ($($name:ident: $scenario:path,)+) => {
        on!(short_polling, TransportPlan::Steady(Transport::ShortPolling), $($name: $scenario,)+);
        on!(long_polling, TransportPlan::Steady(Transport::LongPolling), $($name: $scenario,)+);
        on!(websocket, TransportPlan::Steady(Transport::WebSocket), $($name: $scenario,)+);
        on!(sse, TransportPlan::Steady(Transport::Sse), $($name: $scenario,)+);
        on!(switching, TransportPlan::Switching(Transport::LongPolling, SWITCH), $($name: $scenario,)+);
    };
}

on_every_transport! {
    direct_conversation: talking::direct_conversation,
    group_conversation: talking::group_conversation,
    order_with_many_senders: talking::order_with_many_senders,
    catch_up_as_the_session_opens: catching_up::as_the_session_opens,
    catch_up_by_synchronisation: catching_up::by_synchronisation,
    catch_up_by_socket_frame: catching_up::by_socket_frame,
    resume_after_cut_connections: broken::resume_after_cut_connections,
    change_of_transport_under_load: broken::change_of_transport_under_load,
    lost_response_to_a_read: broken::lost_response_to_a_read,
    lost_response_to_a_send: broken::lost_response_to_a_send,
    slow_network: broken::slow_network,
    abandoned_reads: broken::abandoned_reads,
    overflow_without_a_reader: overflow::without_a_reader,
    overflow_of_a_stalled_reader: overflow::of_a_stalled_reader,
    catch_up_with_more_than_fits: overflow::of_catch_up,
    repeated_send: repeating::on_all_routes_at_once,
    repeated_send_after_a_crash: repeating::after_a_crash,
    logout_in_mid_session: ending::logout,
    deleted_session: ending::deleted_session,
    replaced_token: tokens::replaced_token,
    expired_token: tokens::expired_token,
    session_of_another_device: tokens::session_of_another_device,
    device_logged_out: tokens::device_logged_out,
    password_changed: tokens::password_changed,
    logout_everywhere: tokens::logout_everywhere,
    second_reader: ending::second_reader,
    deadline_without_news: waiting::deadline_without_news,
    quiet_reader_keeps_its_session: waiting::a_quiet_reader_keeps_its_session,
    reader_that_falls_silent: waiting::a_reader_that_falls_silent,
    resume_at_a_position: positions::resume_at_a_position,
    socket_in_one_step: sockets::in_one_step,
    socket_of_a_browser: sockets::of_a_browser,
    events_reach_the_right_users: events::reach_the_right_users,
    membership_takes_effect: events::membership_takes_effect,
    drain: stopping::drain,
    a_lost_message_is_detected: corrupted::lost_message,
    a_repeated_message_is_detected: corrupted::repeated_message,
    reordered_messages_are_detected: corrupted::reordered_messages,
    without_corruption_no_fault_is_found: corrupted::no_corruption,
}

mod every_transport_at_once {
    use super::*;

    #[test]
    fn kill_at_twenty_moments() {
        run(killing::at_twenty_moments());
    }
}
