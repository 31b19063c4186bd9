//! The networks from which users log in.

use std::net::IpAddr;
use std::time::Duration;

use super::super::directory::people;
use super::super::property::properties;
use super::AccountsStore;
use pabal_core::model::{Timestamp, UserId};
use pabal_core::ports::{DirectoryError, KNOWN_NETWORKS};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(super) async fn run(fresh: impl AsyncFn() -> AccountsStore) {
    properties! { fresh() =>
        a_network_is_known_to_its_user_only_and_with_the_last_time
        the_networks_seen_last_are_kept
        networks_are_forgotten_by_age_up_to_the_limit
        a_network_of_an_unknown_user_is_refused
    }
}

fn network(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn seen(store: &AccountsStore, user_id: UserId, network: IpAddr) -> Option<Timestamp> {
    store.accounts.seen_from(user_id, network).await.expect("a time")
}

async fn note(store: &AccountsStore, user_id: UserId, network: IpAddr, at: Timestamp) {
    store.accounts.note_seen_from(user_id, network, at).await.expect("is noted");
}

async fn a_network_is_known_to_its_user_only_and_with_the_last_time(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    let six: IpAddr = "2001:db8:1:2::".parse().expect("an address");
    for at in [after(0), after(5)] {
        note(&store, first, network(1), at).await;
        note(&store, first, six, at).await;
        assert_eq!(seen(&store, first, network(1)).await, Some(at));
        assert_eq!(seen(&store, first, six).await, Some(at));
    }
    assert_eq!(seen(&store, second, network(1)).await, None);
    assert_eq!(seen(&store, first, network(2)).await, None);
    assert_eq!(seen(&store, UserId::new(404), network(1)).await, None);
}

async fn the_networks_seen_last_are_kept(store: AccountsStore) {
    let [first, second] = people(&store.directory).await;
    note(&store, second, network(0), after(0)).await;
    let most = KNOWN_NETWORKS as u8;
    for number in 0..most {
        note(&store, first, network(number), after(number.into())).await;
    }
    note(&store, first, network(0), after(100)).await;
    note(&store, first, network(most), after(101)).await;
    assert_eq!(seen(&store, first, network(1)).await, None, "was seen the longest ago");
    for number in (0..=most).filter(|number| *number != 1) {
        assert!(seen(&store, first, network(number)).await.is_some(), "{number}");
    }
    assert!(seen(&store, second, network(0)).await.is_some());
}

async fn networks_are_forgotten_by_age_up_to_the_limit(store: AccountsStore) {
    let [first] = people(&store.directory).await;
    for number in 1..=5 {
        note(&store, first, network(number), after(number.into())).await;
    }
    for forgotten in [2, 1, 0] {
        assert_eq!(store.accounts.forget_seen(after(4), 2).await.expect("forgets"), forgotten);
    }
    for number in 1..=5 {
        assert_eq!(seen(&store, first, network(number)).await.is_some(), number >= 4);
    }
}

async fn a_network_of_an_unknown_user_is_refused(store: AccountsStore) {
    let refused = store.accounts.note_seen_from(UserId::new(404), network(1), NOW).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(_))), "{refused:?}");
}
