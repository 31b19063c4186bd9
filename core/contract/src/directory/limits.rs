//! How many channels, friends and blocks a user may have.

use crate::property::properties;
use pabal_core::model::{ChannelId, FriendState, UserId};
use pabal_core::ports::{DirectoryError, Relation, RelationLimits};

use super::{Dir, LIMITS, at_once, channel_id, direct, group, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        strangers_add_a_user_to_a_few_groups
        a_refused_group_leaves_nothing
        friends_and_the_user_add_to_many_channels
        concurrent_strangers_respect_the_limit
        friend_requests_are_limited_for_both_sides
        blocks_are_limited
        nothing_is_left_of_groups_that_were_completed
    }
}

const FEW: RelationLimits =
    RelationLimits { groups_by_strangers: 2, channels: 3, friends: 2, blocks: 2, ..LIMITS };

#[track_caller]
fn at_limit<T: std::fmt::Debug>(result: Result<T, DirectoryError>, user_id: UserId, of: Relation) {
    let refused = match &result {
        Err(error @ DirectoryError::AtLimit(id, relation)) => {
            *id == user_id && *relation == of && !error.retryable()
        }
        _ => false,
    };
    assert!(refused, "{result:?}");
}

async fn befriend(directory: &Dir, one: UserId, two: UserId) {
    directory.befriend(one, two, LIMITS).await.expect("a request");
    let accepted = directory.befriend(two, one, LIMITS).await.expect("an acceptance");
    assert_eq!(accepted, FriendState::Friends);
}

async fn held(directory: &Dir, user_id: UserId) -> Vec<ChannelId> {
    let memberships = directory.memberships(user_id).await.expect("memberships");
    memberships.into_iter().map(|it| it.channel.channel_id).collect()
}

async fn strangers_add_a_user_to_a_few_groups(directory: Dir) {
    let [victim, one, two, friend] = people(&directory).await;
    let create = async |number, owner, members: &[UserId]| {
        directory.create_group(group(number), owner, members.to_vec(), FEW).await
    };
    // A request that was not accepted makes no friend, in either direction.
    directory.befriend(one, victim, LIMITS).await.expect("a request");
    directory.befriend(victim, two, LIMITS).await.expect("a request");
    create(1, one, &[victim, friend]).await.expect("the first group");
    create(2, two, &[]).await.expect("a group");
    let add =
        async |by, number| directory.put_member(by, channel_id(number), victim, None, FEW).await;
    add(two, 2).await.expect("the second group");
    create(3, one, &[]).await.expect("a group");
    at_limit(add(one, 3).await, victim, Relation::GroupByStranger);
    at_limit(create(4, two, &[friend, victim]).await, victim, Relation::GroupByStranger);
    add(two, 2).await.expect("a member is not added again");
    assert_eq!(held(&directory, victim).await, [1, 2].map(channel_id));
    // Friends and the user are not affected.
    befriend(&directory, friend, victim).await;
    create(5, friend, &[victim]).await.expect("a group of a friend");
    create(6, victim, &[]).await.expect("an own group");
    // Leaving a group makes room for another one.
    directory.remove_member(victim, channel_id(1), victim).await.expect("leaves");
    add(one, 3).await.expect("there is room again");
    at_limit(create(7, two, &[victim]).await, victim, Relation::GroupByStranger);
    assert_eq!(held(&directory, victim).await, [2, 3, 5, 6].map(channel_id));
}

async fn a_refused_group_leaves_nothing(directory: Dir) {
    let [victim, owner, other] = people(&directory).await;
    for number in [1, 2] {
        let members = vec![victim];
        directory.create_group(group(number), owner, members, FEW).await.expect("a group");
    }
    let refused = directory.create_group(group(3), owner, vec![other, victim], FEW).await;
    at_limit(refused, victim, Relation::GroupByStranger);
    assert!(directory.members(channel_id(3)).await.expect("members").is_empty());
    assert!(held(&directory, other).await.is_empty());
    directory.create_group(group(3), owner, vec![other], FEW).await.expect("the id is free");
}

async fn friends_and_the_user_add_to_many_channels(directory: Dir) {
    let [user, friend, other, third] = people(&directory).await;
    befriend(&directory, user, friend).await;
    directory.create_group(group(1), user, vec![], FEW).await.expect("an own group");
    directory.create_group(group(2), friend, vec![user], FEW).await.expect("a friend's group");
    directory.direct_channel([other, user], direct(3), FEW).await.expect("a direct channel");
    at_limit(directory.create_group(group(4), user, vec![], FEW).await, user, Relation::Channel);
    let refused = directory.create_group(group(4), friend, vec![user], FEW).await;
    at_limit(refused, user, Relation::Channel);
    for users in [[user, third], [third, user]] {
        let refused = directory.direct_channel(users, direct(4), FEW).await;
        at_limit(refused, user, Relation::Channel);
    }
    let known = directory.direct_channel([user, other], direct(4), FEW).await.expect("a channel");
    assert_eq!(known, (direct(3), false), "an existing channel is returned at the limit too");
    // Groups by strangers count apart.
    directory.create_group(group(4), other, vec![user], FEW).await.expect("a stranger's group");
    assert_eq!(held(&directory, user).await, [1, 2, 3, 4].map(channel_id));
}

async fn concurrent_strangers_respect_the_limit(directory: Dir) {
    let ids: [UserId; 9] = people(&directory).await;
    let (victim, strangers) = (ids[0], &ids[1..]);
    for owner in strangers {
        let number = owner.get();
        directory.create_group(group(number), *owner, vec![], LIMITS).await.expect("a group");
    }
    let results = at_once(&directory, strangers.to_vec(), move |directory, owner| {
        // Half of them create another group, the other half add to the one that they have.
        let number = owner.get();
        match number % 2 {
            0 => directory.create_group(group(100 + number), owner, vec![victim], FEW),
            _ => Box::pin(async move {
                let put = directory.put_member(owner, channel_id(number), victim, None, FEW);
                put.await.map(drop)
            }),
        }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), FEW.groups_by_strangers);
    for result in results.into_iter().filter(Result::is_err) {
        at_limit(result, victim, Relation::GroupByStranger);
    }
    assert_eq!(held(&directory, victim).await.len(), FEW.groups_by_strangers);
}

async fn friend_requests_are_limited_for_both_sides(directory: Dir) {
    let [one, two, three, four, five] = people(&directory).await;
    let ask = async |from, to| directory.befriend(from, to, FEW).await;
    ask(one, two).await.expect("a request");
    ask(one, three).await.expect("a request");
    at_limit(ask(one, four).await, one, Relation::Friend);
    assert_eq!(ask(one, three).await.expect("a repeat"), FriendState::Requested);
    assert_eq!(ask(two, one).await.expect("an acceptance"), FriendState::Friends);
    at_limit(ask(one, four).await, one, Relation::Friend);
    ask(four, five).await.expect("a request");
    ask(three, five).await.expect("a request");
    at_limit(ask(two, five).await, five, Relation::Friend);
    assert_eq!(ask(five, three).await.expect("an acceptance"), FriendState::Friends);
    directory.unfriend(one, three).await.expect("an end");
    ask(one, four).await.expect("there is room again");
}

async fn blocks_are_limited(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    for other in [two, three] {
        directory.block(one, other, FEW).await.expect("a block");
    }
    at_limit(directory.block(one, four, FEW).await, one, Relation::Block);
    directory.block(one, three, FEW).await.expect("a repeat");
    directory.block(four, one, FEW).await.expect("a block by another user");
    directory.unblock(one, two).await.expect("an end");
    directory.block(one, four, FEW).await.expect("there is room again");
}

async fn nothing_is_left_of_groups_that_were_completed(directory: Dir) {
    let [one, two] = people(&directory).await;
    directory.create_group(group(1), one, vec![two], LIMITS).await.expect("a group");
    directory.create_group(group(2), one, vec![two], LIMITS).await.expect("a group");
    directory.delete_group(one, channel_id(2)).await.expect("a deletion");
    let removed = directory.remove_leftovers(group(9).created_at).await.expect("removes");
    assert_eq!(removed, 0);
    assert_eq!(held(&directory, two).await, [channel_id(1)]);
}
