//! Who may change a group: decided by the roles that hold when the change is written.

use crate::property::properties;
use pabal_core::model::{ChannelId, Denied, Role, UserId};
use pabal_core::ports::DirectoryError;

use super::groups::{GROUP, make, now, put};
use super::{Dir, LIMITS, at_once, channel_id, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        only_members_change_a_group
        each_change_needs_its_role
        an_admin_who_is_being_removed_does_not_add_themselves_again
        an_owner_who_is_being_demoted_does_not_take_the_role_again
        a_removed_member_is_refused_by_the_next_call
    }
}

const ID: ChannelId = ChannelId::new(GROUP);
/// How often a race is run.
const ROUNDS: usize = 40;

/// Every change that `by` can try on the group, with `other` as the member concerned.
async fn changes(directory: &Dir, by: UserId, other: UserId) -> Vec<DirectoryError> {
    let results = [
        directory.rename_group(by, ID, "Taken".into()).await.map(drop),
        directory.put_member(by, ID, other, None, LIMITS).await.map(drop),
        directory.put_member(by, ID, by, Some(Role::Owner), LIMITS).await.map(drop),
        directory.remove_member(by, ID, other).await.map(drop),
        directory.delete_group(by, ID).await.map(drop),
    ];
    results.into_iter().filter_map(Result::err).collect()
}

async fn only_members_change_a_group(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    for by in [three, UserId::new(99)] {
        let refused = changes(&directory, by, two).await;
        assert_eq!(refused.len(), 5);
        for error in refused {
            assert!(matches!(error, DirectoryError::NotAMember) && !error.retryable(), "{error:?}");
        }
        let joined = directory.put_member(by, ID, by, None, LIMITS).await;
        assert!(matches!(joined, Err(DirectoryError::NotAMember)), "{joined:?}");
    }
    assert_eq!(now(&directory).await, [(one, Role::Owner), (two, Role::Member)]);
    let name = directory.membership(one, ID).await.expect("reads").expect("a member").channel.name;
    assert_eq!(name.as_deref(), Some("Group 10"));
}

#[track_caller]
pub(super) fn denied<T: std::fmt::Debug>(result: Result<T, DirectoryError>, why: Denied) {
    assert!(matches!(&result, Err(DirectoryError::Denied(denied)) if *denied == why), "{result:?}");
}

async fn each_change_needs_its_role(directory: Dir) {
    let [owner, admin, other, member, new] = people(&directory).await;
    make(&directory, owner, &[admin, other, member]).await;
    for user_id in [admin, other] {
        put(&directory, user_id, Some(Role::Admin)).await;
    }
    let give = async |by, user_id, role| directory.put_member(by, ID, user_id, role, LIMITS).await;
    denied(directory.rename_group(member, ID, "Taken".into()).await, Denied::NeedsAdmin);
    denied(directory.delete_group(member, ID).await, Denied::NeedsOwner);
    denied(directory.delete_group(admin, ID).await, Denied::NeedsOwner);
    denied(give(member, new, None).await, Denied::NeedsAdmin);
    denied(give(admin, new, Some(Role::Admin)).await, Denied::NeedsOwner);
    denied(give(admin, member, Some(Role::Owner)).await, Denied::NeedsOwner);
    denied(give(admin, admin, Some(Role::Member)).await, Denied::NeedsOwner);
    denied(give(admin, UserId::new(99), Some(Role::Owner)).await, Denied::NeedsOwner);
    denied(directory.remove_member(member, ID, admin).await, Denied::NeedsAdmin);
    denied(directory.remove_member(admin, ID, other).await, Denied::NotBelow);
    denied(directory.remove_member(admin, ID, owner).await, Denied::NotBelow);
    give(admin, new, Some(Role::Member)).await.expect("an admin adds members");
    give(admin, other, Some(Role::Admin)).await.expect("the same role is no change");
    directory.rename_group(admin, ID, "Couriers".into()).await.expect("an admin renames");
    directory.remove_member(admin, ID, new).await.expect("a removal").expect("was a member");
    directory.remove_member(owner, ID, other).await.expect("a removal").expect("was a member");
    directory.remove_member(member, ID, member).await.expect("a member leaves");
    assert_eq!(now(&directory).await, [(owner, Role::Owner), (admin, Role::Admin)]);
}

async fn an_admin_who_is_being_removed_does_not_add_themselves_again(directory: Dir) {
    let [owner, admin] = people(&directory).await;
    make(&directory, owner, &[]).await;
    for round in 0..ROUNDS {
        put(&directory, admin, Some(Role::Admin)).await;
        let calls = [false, false, true, false, false];
        at_once(&directory, calls, move |directory, removes| match removes {
            true => Box::pin(async move {
                let removed = directory.remove_member(owner, ID, admin).await;
                removed.expect("a removal").expect("was a member");
            }),
            false => Box::pin(async move {
                let put = directory.put_member(admin, ID, admin, None, LIMITS).await;
                if let Err(error) = put {
                    assert!(matches!(error, DirectoryError::NotAMember), "{error:?}");
                }
            }),
        })
        .await;
        assert_eq!(now(&directory).await, [(owner, Role::Owner)], "round {round}");
    }
}

async fn an_owner_who_is_being_demoted_does_not_take_the_role_again(directory: Dir) {
    let [owner, rival] = people(&directory).await;
    make(&directory, owner, &[rival]).await;
    for round in 0..ROUNDS {
        put(&directory, rival, Some(Role::Owner)).await;
        let calls = [false, false, true, false, false];
        at_once(&directory, calls, move |directory, demotes| match demotes {
            true => Box::pin(async move {
                let role = Some(Role::Member);
                let put = directory.put_member(owner, ID, rival, role, LIMITS).await;
                assert_eq!(put.expect("a demotion").role, Role::Member);
            }),
            false => Box::pin(async move {
                let role = Some(Role::Owner);
                let put = directory.put_member(rival, ID, rival, role, LIMITS).await;
                if let Err(error) = put {
                    assert!(matches!(error, DirectoryError::Denied(_)), "{error:?}");
                }
            }),
        })
        .await;
        let expected = [(owner, Role::Owner), (rival, Role::Member)];
        assert_eq!(now(&directory).await, expected, "round {round}");
    }
}

async fn a_removed_member_is_refused_by_the_next_call(directory: Dir) {
    let [owner, admin, member] = people(&directory).await;
    make(&directory, owner, &[member]).await;
    for role in [Role::Admin, Role::Owner] {
        put(&directory, admin, Some(role)).await;
        directory
            .put_member(owner, ID, admin, Some(Role::Member), LIMITS)
            .await
            .expect("a demotion");
        let refused = changes(&directory, admin, member).await;
        assert!(refused.iter().all(|it| matches!(it, DirectoryError::Denied(_))), "{refused:?}");
        assert_eq!(refused.len(), 5);
        directory.remove_member(owner, ID, admin).await.expect("a removal");
        let refused = changes(&directory, admin, member).await;
        assert!(refused.iter().all(|it| matches!(it, DirectoryError::NotAMember)), "{refused:?}");
        assert_eq!(refused.len(), 5);
    }
    let id = channel_id(GROUP);
    assert_eq!(directory.members(id).await.expect("members").len(), 2);
}
