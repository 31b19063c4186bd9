//! Direct channels, the content of a membership, read positions and push targets.

use crate::property::properties;
use pabal_core::model::{
    ChannelId, ChannelKind, Denied, Membership, MessageId, NotificationLevel, Role, UserId,
};
use pabal_core::ports::{DirectoryError, PushTarget, SettingsChange};

use super::permissions::denied;
use super::{Dir, LIMITS, at_once, channel_id, direct, group, people, roles, user};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_pair_has_one_direct_channel
        concurrent_calls_make_one_direct_channel
        a_direct_channel_needs_two_known_users
        a_direct_channel_with_an_id_in_use_is_refused
        each_of_a_pair_sees_the_other
        a_direct_channel_cannot_be_changed
        a_block_is_visible_in_direct_channels_of_the_blocked_user
        memberships_are_listed_by_id_and_agree_with_each_one
        a_read_position_never_moves_back
        the_highest_of_concurrent_read_positions_is_kept
        only_members_have_a_read_position
        push_targets_have_the_level_of_their_settings
    }
}

async fn open(directory: &Dir, users: [UserId; 2], number: u64) -> ChannelId {
    let (channel, _) =
        directory.direct_channel(users, direct(number), LIMITS).await.expect("a channel");
    channel.channel_id
}

async fn membership_of(directory: &Dir, user_id: UserId, channel_id: ChannelId) -> Membership {
    let membership = directory.membership(user_id, channel_id).await.expect("a membership");
    membership.expect("a member")
}

async fn a_pair_has_one_direct_channel(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let made = directory.direct_channel([two, one], direct(10), LIMITS).await.expect("a channel");
    assert_eq!(made, (direct(10), true));
    for (users, number) in [([two, one], 11), ([one, two], 12), ([one, two], 10)] {
        let found =
            directory.direct_channel(users, direct(number), LIMITS).await.expect("a channel");
        assert_eq!(found, (direct(10), false));
    }
    for (users, number) in [([three, one], 11), ([two, three], 12)] {
        let made =
            directory.direct_channel(users, direct(number), LIMITS).await.expect("a channel");
        assert_eq!(made, (direct(number), true), "another pair has another channel");
    }
}

async fn concurrent_calls_make_one_direct_channel(directory: Dir) {
    let [one, two] = people(&directory).await;
    let results = at_once(&directory, 0..24, move |directory, number| {
        let users = if number % 2 == 0 { [one, two] } else { [two, one] };
        // Some of the ids occur twice.
        directory.direct_channel(users, direct(10 + number / 2), LIMITS)
    })
    .await;
    let results: Vec<_> = results.into_iter().map(|a| a.expect("a channel")).collect();
    assert_eq!(results.iter().filter(|(_, made)| *made).count(), 1);
    assert!(results.iter().all(|(channel, _)| *channel == results[0].0), "{results:?}");
    for user_id in [one, two] {
        assert_eq!(directory.memberships(user_id).await.expect("memberships").len(), 1);
    }
}

async fn a_direct_channel_needs_two_known_users(directory: Dir) {
    let [one] = people(&directory).await;
    let [unknown, other] = [UserId::new(98), UserId::new(99)];
    let cases = [
        ([one, unknown], unknown),
        ([unknown, one], unknown),
        ([other, unknown], other),
        ([one, one], one),
    ];
    for (users, unknown) in cases {
        let refused = directory.direct_channel(users, direct(10), LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
    }
    assert!(directory.memberships(one).await.expect("memberships").is_empty());
    assert!(directory.members(channel_id(10)).await.expect("members").is_empty());
}

async fn a_direct_channel_with_an_id_in_use_is_refused(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    directory.create_group(group(10), one, vec![], LIMITS).await.expect("a group");
    open(&directory, [one, two], 11).await;
    for number in [10, 11] {
        let refused = directory.direct_channel([one, three], direct(number), LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");
    }
    assert!(directory.memberships(three).await.expect("memberships").is_empty());
    assert_eq!(open(&directory, [one, three], 12).await, channel_id(12));
}

async fn each_of_a_pair_sees_the_other(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let id = open(&directory, [two, one], 10).await;
    for (me, peer) in [(one, two), (two, one)] {
        let expected = Membership {
            channel: direct(10),
            role: Role::Member,
            peer: Some(peer),
            blocked: false,
            read_up_to: MessageId::new(0),
        };
        assert_eq!(membership_of(&directory, me, id).await, expected);
    }
    assert_eq!(directory.membership(three, id).await.expect("no member"), None);
    assert_eq!(roles(&directory, id).await, [(one, Role::Member), (two, Role::Member)]);
}

async fn a_direct_channel_cannot_be_changed(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let id = open(&directory, [one, two], 10).await;
    for (user_id, role) in [(three, None), (one, Some(Role::Owner))] {
        denied(directory.put_member(one, id, user_id, role, LIMITS).await, Denied::DirectChannel);
    }
    denied(directory.rename_group(one, id, "Us".into()).await, Denied::DirectChannel);
    denied(directory.delete_group(one, id).await, Denied::DirectChannel);
    for user_id in [one, two] {
        denied(directory.remove_member(one, id, user_id).await, Denied::DirectChannel);
    }
    let stranger = directory.remove_member(three, id, one).await;
    assert!(matches!(stranger, Err(DirectoryError::NotAMember)), "{stranger:?}");
    assert_eq!(roles(&directory, id).await, [(one, Role::Member), (two, Role::Member)]);
    assert_eq!(membership_of(&directory, one, id).await.channel, direct(10));
}

async fn a_block_is_visible_in_direct_channels_of_the_blocked_user(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let pair = open(&directory, [one, two], 10).await;
    let other_pair = open(&directory, [two, three], 11).await;
    directory.create_group(group(12), one, vec![two], LIMITS).await.expect("a group");
    let blocked = async |user_id, id| {
        let membership = membership_of(&directory, user_id, id).await;
        let listed = directory.memberships(user_id).await.expect("memberships");
        assert!(listed.contains(&membership), "both calls return the same membership");
        membership.blocked
    };
    directory.block(one, two, LIMITS).await.expect("a block");
    assert!(blocked(two, pair).await, "the blocked user may not send");
    assert!(!blocked(one, pair).await, "the blocking user may send");
    assert!(!blocked(two, other_pair).await, "no other user blocked");
    for user_id in [one, two] {
        assert!(!blocked(user_id, channel_id(12)).await, "blocks do not apply to groups");
    }
    directory.block(two, one, LIMITS).await.expect("a block");
    assert!(blocked(one, pair).await && blocked(two, pair).await);
    directory.unblock(one, two).await.expect("an end");
    assert!(blocked(one, pair).await && !blocked(two, pair).await);
}

async fn memberships_are_listed_by_id_and_agree_with_each_one(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    directory.create_group(group(30), two, vec![one], LIMITS).await.expect("a group");
    open(&directory, [one, two], 20).await;
    directory.create_group(group(10), one, vec![three], LIMITS).await.expect("a group");
    open(&directory, [two, three], 15).await;
    directory.mark_read(channel_id(20), one, MessageId::new(5)).await.expect("a read");
    let listed = directory.memberships(one).await.expect("memberships");
    let ids: Vec<_> = listed.iter().map(|membership| membership.channel.channel_id.get()).collect();
    assert_eq!(ids, [10, 20, 30]);
    let seen: Vec<_> =
        listed.iter().map(|membership| (membership.channel.kind, membership.role)).collect();
    let expected = [
        (ChannelKind::Group, Role::Owner),
        (ChannelKind::Direct, Role::Member),
        (ChannelKind::Group, Role::Member),
    ];
    assert_eq!(seen, expected);
    for listed in listed {
        assert_eq!(membership_of(&directory, one, listed.channel.channel_id).await, listed);
        assert_eq!(listed.peer.is_some(), listed.channel.kind == ChannelKind::Direct);
    }
}

async fn a_read_position_never_moves_back(directory: Dir) {
    let [one, two] = people(&directory).await;
    let [pair, team] = [open(&directory, [one, two], 10).await, channel_id(11)];
    directory.create_group(group(11), one, vec![two], LIMITS).await.expect("a group");
    for id in [pair, team] {
        let largest = i64::MAX as u64;
        let reads =
            [(0, false), (7, true), (7, false), (3, false), (8, true), (largest, true), (9, false)];
        let mut furthest = 0;
        for (up_to, moves) in reads {
            let moved = directory.mark_read(id, one, MessageId::new(up_to)).await.expect("a read");
            assert_eq!(moved, moves, "to {up_to}");
            furthest = furthest.max(up_to);
            assert_eq!(membership_of(&directory, one, id).await.read_up_to.get(), furthest);
        }
        assert_eq!(
            membership_of(&directory, two, id).await.read_up_to.get(),
            0,
            "each member has an own position"
        );
    }
}

async fn the_highest_of_concurrent_read_positions_is_kept(directory: Dir) {
    let [one, two] = people(&directory).await;
    let id = open(&directory, [one, two], 10).await;
    let moved = at_once(&directory, 0..24, move |directory, number| {
        directory.mark_read(id, one, MessageId::new(1 + number * 7 % 24))
    })
    .await;
    assert!(moved.into_iter().any(|moved| moved.expect("a read")));
    assert_eq!(membership_of(&directory, one, id).await.read_up_to.get(), 24);
}

async fn only_members_have_a_read_position(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let id = open(&directory, [one, two], 10).await;
    for (channel_id, user_id) in [(id, three), (id, UserId::new(99)), (channel_id(99), one)] {
        let moved = directory.mark_read(channel_id, user_id, MessageId::new(5)).await;
        assert!(!moved.expect("a read"));
    }
    assert_eq!(directory.membership(three, id).await.expect("no member"), None);
}

async fn push_targets_have_the_level_of_their_settings(directory: Dir) {
    let [one, two, three, _outside] = people(&directory).await;
    directory.create_group(group(10), three, vec![two, one], LIMITS).await.expect("a group");
    let pair = open(&directory, [three, two], 11).await;
    for (user_id, level) in [(one, NotificationLevel::None), (three, NotificationLevel::Mentions)] {
        let change = SettingsChange { notifications: Some(level), ..Default::default() };
        directory.change_settings(user_id, change).await.expect("a change");
    }
    // Another setting leaves the level at its default.
    let change = SettingsChange { share_read: Some(false), ..Default::default() };
    directory.change_settings(two, change).await.expect("a change");
    let target = |user_id: UserId, level| PushTarget {
        user_id,
        username: user(user_id.get()).username,
        level,
    };
    let [first, second, third] = [
        target(one, NotificationLevel::None),
        target(two, NotificationLevel::All),
        target(three, NotificationLevel::Mentions),
    ];
    let targets = directory.push_targets(channel_id(10)).await.expect("targets");
    assert_eq!(targets, [first, second.clone(), third.clone()]);
    assert_eq!(directory.push_targets(pair).await.expect("targets"), [second, third]);
    directory.remove_member(two, channel_id(10), two).await.expect("a removal");
    let targets = directory.push_targets(channel_id(10)).await.expect("targets");
    assert!(targets.iter().all(|target| target.user_id != two), "a former member is no target");
}
