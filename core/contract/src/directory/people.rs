//! Friends and blocks.

use crate::property::properties;
use pabal_core::model::{Friend, FriendState, UserId};
use pabal_core::ports::DirectoryError;

use super::{Dir, LIMITS, at_once, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_request_is_seen_from_both_sides
        a_repeated_request_changes_nothing
        two_users_with_mutual_requests_are_friends
        two_users_with_concurrent_requests_are_friends
        a_users_own_friends_are_listed_by_id
        either_side_ends_a_friendship_or_a_request
        an_ended_friendship_starts_with_a_new_request
        requests_to_unknown_users_and_to_oneself_are_refused
        no_friend_request_passes_a_block_in_either_direction
        a_block_and_a_request_at_once_happen_one_after_the_other
        a_users_own_blocks_are_listed_by_id
        block_and_unblock_are_idempotent
        blocks_of_unknown_users_and_of_oneself_are_refused
    }
}

async fn befriend(directory: &Dir, user_id: UserId, other: UserId) -> FriendState {
    directory.befriend(user_id, other, LIMITS).await.expect("a request")
}

/// The friend state of each user towards the other.
async fn views(directory: &Dir, one: UserId, two: UserId) -> [Option<FriendState>; 2] {
    let mut views = [None; 2];
    for (view, (from, to)) in views.iter_mut().zip([(one, two), (two, one)]) {
        let friends = directory.friends(from).await.expect("friends");
        *view = friends.iter().find(|friend| friend.user_id == to).map(|friend| friend.state);
    }
    views
}

const ASKED: [Option<FriendState>; 2] = [Some(FriendState::Requested), Some(FriendState::Received)];
const FRIENDS: [Option<FriendState>; 2] = [Some(FriendState::Friends); 2];
const NOTHING: [Option<FriendState>; 2] = [None; 2];

async fn a_request_is_seen_from_both_sides(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    assert_eq!(befriend(&directory, two, one).await, FriendState::Requested);
    assert_eq!(views(&directory, two, one).await, ASKED);
    assert_eq!(views(&directory, one, three).await, NOTHING);
    assert_eq!(views(&directory, two, three).await, NOTHING);
}

async fn a_repeated_request_changes_nothing(directory: Dir) {
    let [one, two] = people(&directory).await;
    for _ in 0..3 {
        assert_eq!(befriend(&directory, one, two).await, FriendState::Requested);
        assert_eq!(views(&directory, one, two).await, ASKED);
    }
}

async fn two_users_with_mutual_requests_are_friends(directory: Dir) {
    let [one, two] = people(&directory).await;
    befriend(&directory, one, two).await;
    assert_eq!(befriend(&directory, two, one).await, FriendState::Friends);
    assert_eq!(views(&directory, one, two).await, FRIENDS);
    assert_eq!(befriend(&directory, one, two).await, FriendState::Friends);
    assert_eq!(befriend(&directory, two, one).await, FriendState::Friends);
    assert_eq!(views(&directory, one, two).await, FRIENDS);
}

async fn two_users_with_concurrent_requests_are_friends(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    for (index, one) in ids.into_iter().enumerate() {
        for two in ids.into_iter().skip(index + 1) {
            let requests = [(one, two), (two, one), (one, two), (two, one)];
            let results =
                at_once(&directory, requests, |d, (from, to)| d.befriend(from, to, LIMITS)).await;
            let results: Vec<_> = results.into_iter().map(|a| a.expect("a request")).collect();
            assert_eq!(views(&directory, one, two).await, FRIENDS);
            assert!(
                results.contains(&FriendState::Friends),
                "the last request is mutual: {results:?}"
            );
            assert!(
                !results.contains(&FriendState::Received),
                "a sent request is not a received one: {results:?}"
            );
        }
    }
}

async fn a_users_own_friends_are_listed_by_id(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    befriend(&directory, two, four).await;
    befriend(&directory, three, two).await;
    befriend(&directory, one, two).await;
    befriend(&directory, two, one).await;
    befriend(&directory, three, four).await;
    let expected = [
        Friend { user_id: one, state: FriendState::Friends },
        Friend { user_id: three, state: FriendState::Received },
        Friend { user_id: four, state: FriendState::Requested },
    ];
    assert_eq!(directory.friends(two).await.expect("friends"), expected);
    let expected = [Friend { user_id: two, state: FriendState::Friends }];
    assert_eq!(directory.friends(one).await.expect("friends"), expected);
}

async fn either_side_ends_a_friendship_or_a_request(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    befriend(&directory, one, three).await;
    for mutual in [false, true] {
        for (from, to) in [(one, two), (two, one)] {
            befriend(&directory, one, two).await;
            if mutual {
                befriend(&directory, two, one).await;
            }
            assert!(directory.unfriend(from, to).await.expect("an end"));
            assert_eq!(views(&directory, one, two).await, NOTHING);
            assert!(!directory.unfriend(from, to).await.expect("again"));
            assert!(!directory.unfriend(to, from).await.expect("again"));
        }
    }
    assert_eq!(views(&directory, one, three).await, ASKED, "a third user is not affected");
    assert!(!directory.unfriend(one, UserId::new(99)).await.expect("an unknown user"));
    assert!(!directory.unfriend(UserId::new(99), one).await.expect("an unknown user"));
}

async fn an_ended_friendship_starts_with_a_new_request(directory: Dir) {
    let [one, two] = people(&directory).await;
    befriend(&directory, one, two).await;
    befriend(&directory, two, one).await;
    directory.unfriend(one, two).await.expect("an end");
    assert_eq!(befriend(&directory, two, one).await, FriendState::Requested);
    assert_eq!(views(&directory, two, one).await, ASKED);
}

async fn requests_to_unknown_users_and_to_oneself_are_refused(directory: Dir) {
    let [one] = people(&directory).await;
    let unknown = UserId::new(99);
    for (from, to, unknown) in [(one, unknown, unknown), (unknown, one, unknown), (one, one, one)] {
        let refused = directory.befriend(from, to, LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
    }
    assert!(directory.friends(one).await.expect("friends").is_empty());
    assert!(directory.friends(unknown).await.expect("friends").is_empty());
}

async fn no_friend_request_passes_a_block_in_either_direction(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    directory.block(one, two, LIMITS).await.expect("a block");
    for (from, to) in [(one, two), (two, one)] {
        let refused = directory.befriend(from, to, LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::Blocked)), "{refused:?}");
    }
    assert_eq!(views(&directory, one, two).await, NOTHING);
    befriend(&directory, two, three).await;
    befriend(&directory, three, one).await;
    directory.unblock(one, two).await.expect("an end");
    assert_eq!(befriend(&directory, one, two).await, FriendState::Requested);
    // A request that came before the block cannot be accepted, and can be ended.
    directory.block(two, one, LIMITS).await.expect("a block");
    let refused = directory.befriend(two, one, LIMITS).await;
    assert!(matches!(refused, Err(DirectoryError::Blocked)), "{refused:?}");
    assert_eq!(views(&directory, one, two).await, ASKED);
    assert!(directory.unfriend(two, one).await.expect("an end"));
}

async fn a_block_and_a_request_at_once_happen_one_after_the_other(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    for (index, one) in ids.into_iter().enumerate() {
        for two in ids.into_iter().skip(index + 1) {
            let calls = [false, true, false, true];
            let results = at_once(&directory, calls, move |d, blocks| match blocks {
                true => Box::pin(async move { d.block(one, two, LIMITS).await.map(|()| None) }),
                false => Box::pin(async move { d.befriend(two, one, LIMITS).await.map(Some) }),
            })
            .await;
            let states = |result: &Result<_, _>| match result {
                Ok(state) => *state,
                Err(DirectoryError::Blocked) => None,
                Err(error) => panic!("{error}"),
            };
            let asked = results.iter().any(|result| states(result).is_some());
            let expected = if asked { ASKED } else { NOTHING };
            assert_eq!(views(&directory, two, one).await, expected);
        }
    }
}

async fn a_users_own_blocks_are_listed_by_id(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    for (from, to) in [(two, four), (two, one), (two, three), (one, two)] {
        directory.block(from, to, LIMITS).await.expect("a block");
    }
    assert_eq!(directory.blocks_after(two, None, 100).await.expect("blocks"), [one, three, four]);
    assert_eq!(directory.blocks_after(one, None, 100).await.expect("blocks"), [two]);
    assert!(directory.blocks_after(three, None, 100).await.expect("blocks").is_empty());
}

async fn block_and_unblock_are_idempotent(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    for blocked in at_once(&directory, 0..8, move |d, _| d.block(one, two, LIMITS)).await {
        blocked.expect("a block");
    }
    directory.block(one, three, LIMITS).await.expect("a block");
    assert_eq!(directory.blocks_after(one, None, 100).await.expect("blocks"), [two, three]);
    directory.unblock(two, one).await.expect("the reverse direction");
    assert_eq!(directory.blocks_after(one, None, 100).await.expect("blocks"), [two, three]);
    for _ in 0..2 {
        directory.unblock(one, two).await.expect("an end");
        assert_eq!(directory.blocks_after(one, None, 100).await.expect("blocks"), [three]);
    }
    directory.unblock(one, UserId::new(99)).await.expect("an unknown user");
    directory.unblock(UserId::new(99), one).await.expect("an unknown user");
}

async fn blocks_of_unknown_users_and_of_oneself_are_refused(directory: Dir) {
    let [one] = people(&directory).await;
    let unknown = UserId::new(99);
    for (from, to, unknown) in [(one, unknown, unknown), (unknown, one, unknown), (one, one, one)] {
        let refused = directory.block(from, to, LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
    }
    assert!(directory.blocks_after(one, None, 100).await.expect("blocks").is_empty());
}
