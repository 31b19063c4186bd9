//! Three real nodes on one Redis, one PostgreSQL and one Cassandra: users on different nodes, requests to any node,
//! nodes that stop and die, and load under faults.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod stage;
mod talking;
mod anywhere;
mod effects;
mod ends;
mod clients;
mod faults;

use stage::run;

macro_rules! scenarios {
    ($($name:ident: $scenario:path,)+) => {
        $(
            #[test]
            fn $name() {
                run($scenario);
            }
        )+
    };
}

scenarios! {
    people_on_different_nodes_talk: talking::on_different_nodes,
    people_behind_a_balancer_talk: talking::behind_a_balancer,
    reads_and_commands_are_answered_by_any_node: anywhere::reads_and_commands,
    a_socket_at_the_wrong_node_is_told_the_right_one: anywhere::sockets,
    a_session_is_ended_at_any_node: anywhere::deletion,
    a_logout_is_felt_on_all_nodes: effects::logout,
    membership_is_felt_on_all_nodes: effects::membership,
    a_block_is_felt_on_all_nodes: effects::block,
    what_a_killed_node_did_not_tell_is_told_by_another: effects::of_a_node_that_died_before_it_told,
    what_a_dead_node_had_ends_with_its_lease: ends::of_a_killed_node,
    a_node_that_drains_leaves_discovery: ends::of_a_drained_node,
    reads_through_a_node_that_stops_go_on_elsewhere: ends::reads_through_a_drained_node,
    the_client_goes_on_when_its_node_dies: clients::of_a_killed_node,
    a_rolling_restart_loses_nothing: ends::rolling_restart,
}
