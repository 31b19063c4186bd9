//! Pages of lists, and reads of many users in one call.

use std::fmt::Debug;

use crate::property::properties;
use pabal_core::model::{FriendState, Settings, UserId};
use pabal_core::ports::{Directory, DirectoryError, SettingsChange};

use super::{Dir, LIMITS, channel_id, direct, group, people};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        pages_of_friends_follow_each_other
        pages_of_blocks_follow_each_other
        pages_of_memberships_follow_each_other
        pages_of_members_follow_each_other
        settings_of_many_users_come_in_the_order_asked
        a_direct_channel_is_found_from_both_sides
    }
}

/// Reads a list in pages of every size, and asserts that the pages make up the whole list: none is
/// larger than its limit, and no entry is missing, repeated or out of order.
async fn assert_pages<T: Clone + Debug + PartialEq, I: Copy>(
    directory: &Dir,
    whole: &[T],
    id: impl Fn(&T) -> I,
    page: impl AsyncFn(&dyn Directory, Option<I>, usize) -> Result<Vec<T>, DirectoryError>,
) {
    for limit in 1..=whole.len() + 1 {
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let entries = page(&**directory, after, limit).await.expect("a page");
            assert!(entries.len() <= limit, "{} entries, limit {limit}", entries.len());
            let Some(last) = entries.last() else { break };
            after = Some(id(last));
            read.extend(entries);
        }
        assert_eq!(read, whole, "pages of {limit}");
    }
    assert_eq!(page(&**directory, None, 0).await.expect("an empty page"), []);
    assert_eq!(page(&**directory, None, usize::MAX).await.expect("one page"), whole);
}

async fn pages_of_friends_follow_each_other(directory: Dir) {
    let [one, two, three, four, five, six] = people(&directory).await;
    // Requests in both directions and friends are read by one query of two parts.
    for (from, to) in [(three, six), (one, three), (three, one), (five, three), (three, two)] {
        directory.befriend(from, to, LIMITS).await.expect("a request");
    }
    directory.befriend(four, five, LIMITS).await.expect("a request between other users");
    let whole = directory.friends(three).await.expect("friends");
    let states: Vec<_> = whole.iter().map(|friend| (friend.user_id, friend.state)).collect();
    let expected = [
        (one, FriendState::Friends),
        (two, FriendState::Requested),
        (five, FriendState::Received),
        (six, FriendState::Requested),
    ];
    assert_eq!(states, expected);
    let page = async |directory: &dyn Directory, after, limit| {
        directory.friends_after(three, after, limit).await
    };
    assert_pages(&directory, &whole, |friend| friend.user_id, page).await;
}

async fn pages_of_blocks_follow_each_other(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    for (from, to) in [(two, four), (two, one), (two, three), (one, two)] {
        directory.block(from, to, LIMITS).await.expect("a block");
    }
    let page = async |directory: &dyn Directory, after, limit| {
        directory.blocks_after(two, after, limit).await
    };
    assert_pages(&directory, &[one, three, four], |user_id| *user_id, page).await;
}

async fn pages_of_memberships_follow_each_other(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    directory.create_group(group(30), one, vec![two], LIMITS).await.expect("a group");
    directory.create_group(group(10), two, vec![one], LIMITS).await.expect("a group");
    directory
        .create_group(group(40), three, vec![two], LIMITS)
        .await
        .expect("a group of other users");
    directory.direct_channel([three, one], direct(20), LIMITS).await.expect("a channel");
    let whole = directory.memberships(one).await.expect("memberships");
    let ids: Vec<_> = whole.iter().map(|one| one.channel.channel_id).collect();
    assert_eq!(ids, [10, 20, 30].map(channel_id));
    let page = async |directory: &dyn Directory, after, limit| {
        directory.memberships_after(one, after, limit).await
    };
    assert_pages(&directory, &whole, |one| one.channel.channel_id, page).await;
}

async fn pages_of_members_follow_each_other(directory: Dir) {
    let [one, two, three, four] = people(&directory).await;
    directory.create_group(group(1), three, vec![one, four, two], LIMITS).await.expect("a group");
    directory.create_group(group(2), one, vec![], LIMITS).await.expect("another group");
    let whole = directory.members(channel_id(1)).await.expect("members");
    let ids: Vec<_> = whole.iter().map(|member| member.user_id).collect();
    assert_eq!(ids, [one, two, three, four]);
    let page = async |directory: &dyn Directory, after, limit| {
        directory.members_after(channel_id(1), after, limit).await
    };
    assert_pages(&directory, &whole, |member| member.user_id, page).await;
}

async fn settings_of_many_users_come_in_the_order_asked(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    let stranger = UserId::new(99);
    let hidden = SettingsChange { share_presence: Some(false), ..Default::default() };
    directory.change_settings(one, hidden).await.expect("a change");
    let korean = SettingsChange { locale: Some("ko".into()), ..Default::default() };
    directory.change_settings(three, korean).await.expect("a change");
    assert_eq!(directory.settings_of(&[]).await.expect("settings of no user"), []);
    // More users than a statement of a relational database takes at once, one of them repeated.
    let mut asked = vec![three, stranger, two, one, three];
    asked.extend((1_000..2_200).map(UserId::new));
    asked.push(one);
    let settings = directory.settings_of(&asked).await.expect("settings");
    assert_eq!(settings.len(), asked.len());
    let korean = Settings { locale: "ko".into(), ..Settings::default() };
    let hidden = Settings { share_presence: false, ..Settings::default() };
    let first = [korean.clone(), Settings::default(), Settings::default(), hidden.clone(), korean];
    assert_eq!(settings[..5], first);
    assert_eq!(settings.last(), Some(&hidden));
    assert!(settings[5..settings.len() - 1].iter().all(|one| *one == Settings::default()));
}

async fn a_direct_channel_is_found_from_both_sides(directory: Dir) {
    let [one, two, three] = people(&directory).await;
    assert_eq!(directory.find_direct_channel([one, two]).await.expect("none"), None);
    directory.create_group(group(5), one, vec![two], LIMITS).await.expect("a group");
    assert_eq!(directory.find_direct_channel([one, two]).await.expect("none"), None);
    let (made, _) =
        directory.direct_channel([two, one], direct(7), LIMITS).await.expect("a channel");
    for users in [[one, two], [two, one]] {
        let found = directory.find_direct_channel(users).await.expect("a channel");
        assert_eq!(found.as_ref(), Some(&made));
    }
    for users in [[one, three], [three, two], [one, one], [one, UserId::new(99)]] {
        assert_eq!(directory.find_direct_channel(users).await.expect("none"), None);
    }
}
