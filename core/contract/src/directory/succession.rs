//! Who leaves a group, and who leads it then.

use crate::property::properties;
use pabal_core::model::{Role, UserId};

use super::groups::{GROUP, assert_gone, make, now, put, remove};
use super::{Dir, at_once, channel_id, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        a_removal_happens_once
        the_longest_admin_succeeds_the_last_owner
        the_longest_member_succeeds_if_there_is_no_admin
        nobody_succeeds_while_there_is_an_owner
        who_comes_back_has_come_last
        the_group_goes_with_its_last_member
        owners_who_leave_at_once_leave_an_owner
        everyone_leaving_at_once_ends_the_group
    }
}

async fn a_removal_happens_once(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    let answers = at_once(&directory, 0..8, move |directory, _| {
        directory.remove_member(channel_id(GROUP), two)
    })
    .await;
    let removed = answers.into_iter().filter(|a| *a.as_ref().expect("a removal")).count();
    assert_eq!(removed, 1);
    assert!(!remove(&directory, three).await, "who was none");
    assert!(!remove(&directory, UserId::new(99)).await, "a stranger");
    assert_eq!(now(&directory).await, [(one, Role::Owner)]);
    assert_eq!(directory.membership(two, channel_id(GROUP)).await.expect("none"), None);
    assert!(directory.memberships(two).await.expect("memberships").is_empty());
}

async fn the_longest_admin_succeeds_the_last_owner(directory: Dir) {
    let [one, two, three, four, five] = people(&directory).await;
    make(&directory, four, &[five]).await;
    for user_id in [three, two, one] {
        put(&directory, user_id, None).await;
    }
    // Neither the smallest id nor the first admin, but the admin who came first.
    for user_id in [one, two, three] {
        put(&directory, user_id, Some(Role::Admin)).await;
    }
    assert!(remove(&directory, four).await);
    let expected =
        [(one, Role::Admin), (two, Role::Admin), (three, Role::Owner), (five, Role::Member)];
    assert_eq!(now(&directory).await, expected);
}

async fn the_longest_member_succeeds_if_there_is_no_admin(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    make(&directory, two, &[four, one]).await;
    put(&directory, three, None).await;
    remove(&directory, two).await;
    let expected = [(one, Role::Member), (three, Role::Member), (four, Role::Owner)];
    assert_eq!(now(&directory).await, expected);
    remove(&directory, four).await;
    assert_eq!(now(&directory).await, [(one, Role::Owner), (three, Role::Member)]);
}

async fn nobody_succeeds_while_there_is_an_owner(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, one, &[two]).await;
    put(&directory, two, Some(Role::Admin)).await;
    put(&directory, three, Some(Role::Owner)).await;
    remove(&directory, one).await;
    assert_eq!(now(&directory).await, [(two, Role::Admin), (three, Role::Owner)]);
    remove(&directory, two).await;
    assert_eq!(now(&directory).await, [(three, Role::Owner)]);
}

async fn who_comes_back_has_come_last(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    make(&directory, three, &[one, two]).await;
    remove(&directory, one).await;
    assert_eq!(put(&directory, one, None).await, (true, Role::Member));
    remove(&directory, three).await;
    assert_eq!(now(&directory).await, [(one, Role::Member), (two, Role::Owner)]);
}

async fn the_group_goes_with_its_last_member(directory: Dir) {
    let [one, two] = people(&directory).await;
    make(&directory, one, &[two]).await;
    assert!(remove(&directory, one).await);
    assert!(remove(&directory, two).await);
    assert_gone(&directory, &[one, two]).await;
}

async fn owners_who_leave_at_once_leave_an_owner(directory: Dir) {
    let ids: [UserId; 6] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    for user_id in &ids[..4] {
        put(&directory, *user_id, Some(Role::Owner)).await;
    }
    let answers = at_once(&directory, ids.into_iter().take(4), |directory, user_id| {
        directory.remove_member(channel_id(GROUP), user_id)
    })
    .await;
    for removed in answers {
        assert!(removed.expect("a removal"));
    }
    assert_eq!(now(&directory).await, [(ids[4], Role::Owner), (ids[5], Role::Member)]);
}

async fn everyone_leaving_at_once_ends_the_group(directory: Dir) {
    let ids: [UserId; 8] = people(&directory).await;
    make(&directory, ids[0], &ids).await;
    let answers = at_once(&directory, ids, |directory, user_id| {
        directory.remove_member(channel_id(GROUP), user_id)
    })
    .await;
    for removed in answers {
        assert!(removed.expect("a removal"));
    }
    assert_gone(&directory, &ids).await;
}
