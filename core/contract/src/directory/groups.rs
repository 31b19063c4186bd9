//! Groups: creation, names, joining and roles. Leaving is in [`super::succession`].

use crate::property::properties;
use pabal_core::model::{Channel, Membership, MessageId, Role, UserId};
use pabal_core::ports::{DirectoryError, PutMember, RelationLimits, RemovedMember};

use super::{Dir, LIMITS, at_once, channel_id, direct, group, people, roles};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_group_has_its_owner_and_members_once
        a_group_with_an_unknown_user_is_refused
        a_group_with_an_id_in_use_is_refused
        one_of_many_concurrent_groups_of_an_id_is_made
        a_group_is_renamed
        a_deleted_group_is_removed_for_all_members
        a_new_member_has_the_given_role_or_the_lowest
        a_member_keeps_the_role_unless_one_is_given
        the_last_owner_keeps_the_role
        the_last_of_owners_who_step_down_concurrently_keeps_the_role
        only_known_users_join_known_groups
        a_full_group_refuses_new_members
        concurrent_joins_respect_the_limit
        one_of_many_concurrent_joins_of_a_user_is_new
    }
}

pub(super) const GROUP: u64 = 10;

/// An owner of the group.
pub(super) async fn owner(directory: &Dir) -> UserId {
    let members = now(directory).await;
    let owner = members.iter().find(|(_, role)| *role == Role::Owner);
    owner.expect("a group has an owner").0
}

/// An owner adds a member, or changes a role. Returns whether the member is new, and the role.
pub(super) async fn put(directory: &Dir, user_id: UserId, role: Option<Role>) -> (bool, Role) {
    let by = owner(directory).await;
    let put = directory.put_member(by, channel_id(GROUP), user_id, role, LIMITS).await;
    let PutMember { before, role, .. } = put.expect("a member");
    (before.is_none(), role)
}

/// A member leaves.
pub(super) async fn leave(directory: &Dir, user_id: UserId) -> RemovedMember {
    let left = directory.remove_member(user_id, channel_id(GROUP), user_id).await;
    left.expect("leaves").expect("was a member")
}

pub(super) async fn make(directory: &Dir, owner: UserId, members: &[UserId]) {
    directory.create_group(group(GROUP), owner, members.to_vec(), LIMITS).await.expect("a group");
}

pub(super) async fn now(directory: &Dir) -> Vec<(UserId, Role)> {
    roles(directory, channel_id(GROUP)).await
}

pub(super) async fn assert_gone(directory: &Dir, members: &[UserId]) {
    let id = channel_id(GROUP);
    assert!(now(directory).await.is_empty());
    assert!(directory.push_targets(id).await.expect("targets").is_empty());
    for user_id in members {
        assert_eq!(directory.membership(*user_id, id).await.expect("none"), None);
        let listed = directory.memberships(*user_id).await.expect("memberships");
        assert!(listed.iter().all(|membership| membership.channel.channel_id != id));
        assert!(!directory.mark_read(id, *user_id, MessageId::new(1)).await.expect("no group"));
        let calls = [
            directory.remove_member(*user_id, id, *user_id).await.map(drop),
            directory.put_member(*user_id, id, *user_id, None, LIMITS).await.map(drop),
            directory.rename_group(*user_id, id, "Ghosts".into()).await.map(drop),
            directory.delete_group(*user_id, id).await.map(drop),
        ];
        for refused in calls {
            assert!(matches!(refused, Err(DirectoryError::NotAMember)), "{refused:?}");
        }
    }
}

async fn a_group_has_its_owner_and_members_once(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    make(&directory, three, &[two, three, one, two, three]).await;
    let expected = [(one, Role::Member), (two, Role::Member), (three, Role::Owner)];
    assert_eq!(now(&directory).await, expected);
    let membership = directory.membership(three, channel_id(GROUP)).await.expect("a membership");
    let expected = Membership {
        channel: group(GROUP),
        role: Role::Owner,
        peer: None,
        blocked: false,
        read_up_to: MessageId::new(0),
    };
    assert_eq!(membership, Some(expected));
    assert_eq!(directory.membership(four, channel_id(GROUP)).await.expect("none"), None);
    directory.create_group(group(GROUP + 1), four, vec![], LIMITS).await.expect("a group of one");
    assert_eq!(roles(&directory, channel_id(GROUP + 1)).await, [(four, Role::Owner)]);
}

async fn a_group_with_an_unknown_user_is_refused(directory: Dir) {
    let [one, two] = people(&directory).await;
    let [unknown, other] = [UserId::new(99), UserId::new(98)];
    let cases = [(unknown, vec![one]), (one, vec![two, unknown, other]), (unknown, vec![other])];
    for (owner, members) in cases {
        let refused = directory.create_group(group(GROUP), owner, members, LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
    }
    assert_gone(&directory, &[one, two]).await;
    make(&directory, one, &[two]).await;
}

async fn a_group_with_an_id_in_use_is_refused(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    directory.direct_channel([one, two], direct(GROUP + 1), LIMITS).await.expect("a channel");
    for number in [GROUP, GROUP + 1] {
        let refused = directory.create_group(group(number), three, vec![], LIMITS).await;
        assert!(matches!(refused, Err(DirectoryError::IdTaken)), "{refused:?}");
    }
    assert!(directory.memberships(three).await.expect("memberships").is_empty());
    assert_eq!(now(&directory).await, [(one, Role::Owner), (two, Role::Member)]);
}

async fn one_of_many_concurrent_groups_of_an_id_is_made(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    let results = at_once(&directory, ids, |directory, owner| {
        directory.create_group(group(GROUP), owner, vec![], LIMITS)
    })
    .await;
    let made: Vec<UserId> =
        ids.into_iter().zip(&results).filter(|(_, a)| a.is_ok()).map(|(id, _)| id).collect();
    assert_eq!(made.len(), 1);
    for refused in results.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, DirectoryError::IdTaken), "{refused:?}");
    }
    assert_eq!(now(&directory).await, [(made[0], Role::Owner)]);
}

async fn a_group_is_renamed(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    let expected = Channel { name: Some("파발".into()), ..group(GROUP) };
    let renamed = directory.rename_group(one, channel_id(GROUP), "파발".into()).await;
    assert_eq!(renamed.expect("a group"), expected);
    for user_id in [one, two] {
        let listed = directory.memberships(user_id).await.expect("memberships");
        assert_eq!(listed[0].channel, expected);
    }
    let refused = directory.rename_group(one, channel_id(99), "None".into()).await;
    assert!(matches!(refused, Err(DirectoryError::NotAMember)), "{refused:?}");
}

async fn a_deleted_group_is_removed_for_all_members(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    directory.create_group(group(GROUP + 1), one, vec![two], LIMITS).await.expect("a group");
    let deleted = directory.delete_group(one, channel_id(GROUP)).await.expect("a group");
    assert_eq!(deleted, (group(GROUP), vec![one, two]));
    assert_gone(&directory, &[one, two]).await;
    let expected = [(one, Role::Owner), (two, Role::Member)];
    assert_eq!(roles(&directory, channel_id(GROUP + 1)).await, expected);
}

async fn a_new_member_has_the_given_role_or_the_lowest(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    make(&directory, four, &[]).await;
    assert_eq!(put(&directory, three, None).await, (true, Role::Member));
    assert_eq!(put(&directory, two, Some(Role::Admin)).await, (true, Role::Admin));
    assert_eq!(put(&directory, one, Some(Role::Owner)).await, (true, Role::Owner));
    let expected =
        [(one, Role::Owner), (two, Role::Admin), (three, Role::Member), (four, Role::Owner)];
    assert_eq!(now(&directory).await, expected);
    let membership = directory.membership(two, channel_id(GROUP)).await.expect("a membership");
    assert_eq!(membership.map(|membership| membership.role), Some(Role::Admin));
}

async fn a_member_keeps_the_role_unless_one_is_given(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    for role in [Role::Admin, Role::Owner, Role::Member] {
        assert_eq!(put(&directory, two, Some(role)).await, (false, role));
        for _ in 0..2 {
            assert_eq!(put(&directory, two, None).await, (false, role));
            assert_eq!(now(&directory).await, [(one, Role::Owner), (two, role)]);
        }
    }
}

async fn the_last_owner_keeps_the_role(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    for role in [None, Some(Role::Member), Some(Role::Admin), Some(Role::Owner)] {
        assert_eq!(put(&directory, one, role).await, (false, Role::Owner));
    }
    put(&directory, two, Some(Role::Owner)).await;
    assert_eq!(put(&directory, one, Some(Role::Member)).await, (false, Role::Member));
    assert_eq!(put(&directory, two, Some(Role::Member)).await, (false, Role::Owner));
    assert_eq!(now(&directory).await, [(one, Role::Member), (two, Role::Owner)]);
}

async fn the_last_of_owners_who_step_down_concurrently_keeps_the_role(directory: Dir) {
    let ids: [UserId; 6] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    for user_id in ids {
        put(&directory, user_id, Some(Role::Owner)).await;
    }
    let results = at_once(&directory, ids, |directory, user_id| {
        directory.put_member(user_id, channel_id(GROUP), user_id, Some(Role::Admin), LIMITS)
    })
    .await;
    let roles = results.into_iter().map(|put| put.expect("a member").role);
    let stayed = roles.filter(|role| *role == Role::Owner).count();
    assert_eq!(stayed, 1);
    let owners = now(&directory).await.into_iter().filter(|(_, role)| *role == Role::Owner).count();
    assert_eq!(owners, 1);
}

async fn only_known_users_join_known_groups(directory: Dir) {
    let [one] = people(&directory).await;
    make(&directory, one, &[]).await;
    let unknown = UserId::new(99);
    let refused = directory.put_member(one, channel_id(GROUP), unknown, None, LIMITS).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
    let refused = directory.put_member(one, channel_id(99), one, None, LIMITS).await;
    assert!(matches!(refused, Err(DirectoryError::NotAMember)), "{refused:?}");
    assert_eq!(now(&directory).await, [(one, Role::Owner)]);
}

async fn a_full_group_refuses_new_members(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[]).await;
    let two_members = RelationLimits { group_members: 2, ..LIMITS };
    let join = async |user_id, role| {
        let by = owner(&directory).await;
        let put = directory.put_member(by, channel_id(GROUP), user_id, role, two_members).await;
        put.map(|put| (put.before.is_none(), put.role))
    };
    assert_eq!(join(two, None).await.expect("a member"), (true, Role::Member));
    for role in [None, Some(Role::Owner)] {
        let refused = join(three, role).await;
        assert!(matches!(refused, Err(DirectoryError::GroupFull)), "{refused:?}");
    }
    let changed =
        join(two, Some(Role::Admin)).await.expect("a member can change the role in a full group");
    assert_eq!(changed, (false, Role::Admin));
    leave(&directory, one).await;
    assert_eq!(join(three, None).await.expect("the group has capacity"), (true, Role::Member));
}

async fn concurrent_joins_respect_the_limit(directory: Dir) {
    const AT_MOST: RelationLimits = RelationLimits { group_members: 6, ..LIMITS };
    let ids: [UserId; 16] = people(&directory).await;
    make(&directory, ids[0], &[]).await;
    let (owner, others) = (ids[0], ids.into_iter().skip(1));
    let results = at_once(&directory, others, move |directory, user_id| {
        directory.put_member(owner, channel_id(GROUP), user_id, None, AT_MOST)
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), AT_MOST.group_members - 1);
    for refused in results.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, DirectoryError::GroupFull), "{refused:?}");
    }
    assert_eq!(now(&directory).await.len(), AT_MOST.group_members);
}

async fn one_of_many_concurrent_joins_of_a_user_is_new(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[]).await;
    let results = at_once(&directory, 0..16, move |directory, _| {
        directory.put_member(one, channel_id(GROUP), two, None, LIMITS)
    })
    .await;
    let before = results.into_iter().map(|put| put.expect("a member").before);
    let new = before.filter(Option::is_none).count();
    assert_eq!(new, 1);
    assert_eq!(now(&directory).await, [(one, Role::Owner), (two, Role::Member)]);
}
