//! Profiles, settings, and the search for users.

use crate::property::properties;
use pabal_core::model::{NotificationLevel, Settings, User, UserId};
use pabal_core::ports::{DirectoryError, ProfileChange, SettingsChange};

use super::{Dir, found, named, people, user};

pub(super) async fn run(fresh: &impl AsyncFn() -> Dir) {
    properties! { fresh() =>
        only_given_fields_of_a_profile_change
        settings_are_the_defaults_until_set
        only_given_settings_change
        users_are_listed_by_prefix_in_order_of_name
        wildcards_in_a_prefix_are_literal
        a_prefix_may_be_in_any_script
        an_empty_prefix_finds_all_users
    }
}

async fn only_given_fields_of_a_profile_change(directory: Dir) {
    let [first, second] = people(&directory).await;
    let change = ProfileChange { status_text: Some("on a horse".into()), ..Default::default() };
    let expected = User { status_text: "on a horse".into(), ..user(1) };
    assert_eq!(directory.change_profile(first, change).await.expect("a change"), expected);
    let change = ProfileChange {
        display_name: Some("민지".into()),
        status_text: Some(String::new()),
        avatar_url: Some("https://example.org/minji.png".into()),
    };
    let expected = User {
        display_name: "민지".into(),
        avatar_url: "https://example.org/minji.png".into(),
        ..user(1)
    };
    assert_eq!(directory.change_profile(first, change).await.expect("a change"), expected);
    let unchanged = directory.change_profile(first, ProfileChange::default()).await;
    assert_eq!(unchanged.expect("no change"), expected);
    assert_eq!(directory.user(first).await.expect("a user"), Some(expected));
    assert_eq!(directory.user(second).await.expect("a user"), Some(user(2)));

    let unknown = UserId::new(9);
    let refused = directory.change_profile(unknown, ProfileChange::default()).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
}

async fn settings_are_the_defaults_until_set(directory: Dir) {
    let [first] = people(&directory).await;
    assert_eq!(directory.settings(first).await.expect("settings"), Settings::default());
    let none = directory.change_settings(first, SettingsChange::default()).await;
    assert_eq!(none.expect("no change"), Settings::default());
    assert_eq!(directory.settings(first).await.expect("settings"), Settings::default());
}

async fn only_given_settings_change(directory: Dir) {
    let [first, second] = people(&directory).await;
    let change = SettingsChange { share_presence: Some(false), ..Default::default() };
    let expected = Settings { share_presence: false, ..Default::default() };
    assert_eq!(directory.change_settings(first, change).await.expect("a change"), expected);
    let change = SettingsChange {
        locale: Some("ko-KR".into()),
        notifications: Some(NotificationLevel::Mentions),
        share_presence: None,
        share_read: Some(false),
    };
    let expected = Settings {
        locale: "ko-KR".into(),
        notifications: NotificationLevel::Mentions,
        share_presence: false,
        share_read: false,
    };
    assert_eq!(directory.change_settings(first, change).await.expect("a change"), expected);
    assert_eq!(directory.settings(first).await.expect("settings"), expected);
    let unchanged = directory.change_settings(first, SettingsChange::default()).await;
    assert_eq!(unchanged.expect("no change"), expected, "nothing falls back to a default");
    let back = SettingsChange { share_read: Some(true), ..Default::default() };
    let expected = Settings { share_read: true, ..expected };
    assert_eq!(directory.change_settings(first, back).await.expect("a change"), expected);
    assert_eq!(directory.settings(second).await.expect("settings"), Settings::default());

    let unknown = UserId::new(9);
    let refused = directory.change_settings(unknown, SettingsChange::default()).await;
    assert!(matches!(refused, Err(DirectoryError::UnknownUser(id)) if id == unknown));
}

async fn users_are_listed_by_prefix_in_order_of_name(directory: Dir) {
    named(&directory, &["minsu", "minji", "min", "mia", "MINA", "jimin"]).await;
    assert_eq!(found(&directory, "min", 10).await, ["min", "MINA", "minji", "minsu"]);
    assert_eq!(found(&directory, "MiN", 10).await, ["min", "MINA", "minji", "minsu"]);
    assert_eq!(found(&directory, "min", 2).await, ["min", "MINA"]);
    assert_eq!(found(&directory, "minji", 10).await, ["minji"]);
    assert!(found(&directory, "min", 0).await.is_empty());
    assert!(found(&directory, "minjia", 10).await.is_empty());
    assert_eq!(found(&directory, "mi", usize::MAX).await.len(), 5);
}

async fn wildcards_in_a_prefix_are_literal(directory: Dir) {
    named(&directory, &["a%b", "a_b", "axb", "a*b", "a?b", "a[b", "a\\b", "%", "_"]).await;
    for name in ["a%", "a_", "a*", "a?", "a[", "a\\"] {
        assert_eq!(found(&directory, name, 10).await, [format!("{name}b")]);
    }
    assert_eq!(found(&directory, "%", 10).await, ["%"]);
    assert_eq!(found(&directory, "_", 10).await, ["_"]);
}

async fn a_prefix_may_be_in_any_script(directory: Dir) {
    let names =
        ["김민지", "김민수", "김", "길동", "émile", "eve", "σας", "σασα", "\u{10ffff}z", "z"];
    named(&directory, &names).await;
    assert_eq!(found(&directory, "김", 10).await, ["김", "김민수", "김민지"]);
    assert_eq!(found(&directory, "김민", 10).await, ["김민수", "김민지"]);
    assert!(found(&directory, "기", 10).await.is_empty(), "a syllable is one character");
    assert_eq!(found(&directory, "É", 10).await, ["émile"]);
    assert_eq!(found(&directory, "ΣΑΣ", 10).await, ["σασα"], "each character is folded alone");
    assert_eq!(found(&directory, "\u{10ffff}", 10).await, ["\u{10ffff}z"]);
}

async fn an_empty_prefix_finds_all_users(directory: Dir) {
    named(&directory, &["c", "a", "B"]).await;
    assert_eq!(found(&directory, "", 10).await, ["a", "B", "c"]);
    assert_eq!(found(&directory, "", 1).await, ["a"]);
}
