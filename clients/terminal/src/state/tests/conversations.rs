//! The list of conversations: its order, and unread messages.

use crossterm::event::{KeyCode, KeyModifiers};
use pabal_client::{ChannelAction, ChannelId, ChannelKind, Event, MessageId};

use super::scene::*;
use crate::input::{Effect, Input, Request, Response};
use crate::state::{Entry, Focus};

fn order(scene: &Scene) -> Vec<Entry> {
    scene.state.entries()
}

fn unread(scene: &Scene, channel_id: ChannelId) -> u64 {
    scene.state.conversations[&channel_id].unread
}

#[test]
fn conversations_are_ordered_by_time_and_users_follow() {
    let mut scene = Scene::new(WIDE);
    let (direct, lunch) = (Entry::Conversation(DIRECT), Entry::Conversation(LUNCH));
    // joon has a conversation already; hana has sent a friend request.
    assert_eq!(order(&scene), [direct, lunch, Entry::Person(HANA)]);
    scene.hear(message(LUNCH, HANA, 9, "김밥?"));
    assert_eq!(order(&scene), [lunch, direct, Entry::Person(HANA)]);
    assert_eq!(
        scene.state.selected(),
        Some(lunch),
        "the first entry until the user moves the selection"
    );
    scene.press(KeyCode::Down);
    assert_eq!(scene.state.selected(), Some(direct));
    scene.hear(message(DIRECT, JOON, 10, "김밥!"));
    assert_eq!(order(&scene)[0], direct);
    assert_eq!(scene.state.selected(), Some(direct), "the selection stays on its entry");
}

#[test]
fn visible_messages_are_read_and_others_are_not() {
    let mut scene = Scene::new(WIDE);
    assert_eq!(scene.hear(message(DIRECT, JOON, 4, "hello?")), []);
    assert_eq!((unread(&scene, DIRECT), unread(&scene, LUNCH)), (3, 0));
    let requests = scene.press(KeyCode::Enter);
    assert!(requests.contains(&Effect::Request(Request::History(DIRECT, None))), "{requests:?}");
    assert_eq!(unread(&scene, DIRECT), 0);
    let effects = scene.hear(message(DIRECT, JOON, 5, "there you are"));
    assert_eq!(effects, [Effect::Read(DIRECT, MessageId::new(5))]);
    assert_eq!(
        scene.hear(message(DIRECT, MINA, 6, "yes")),
        [],
        "the user's own message is not unread"
    );
    scene.hear(message(LUNCH, HANA, 9, "김밥?"));
    assert_eq!(unread(&scene, LUNCH), 1);
}

#[test]
fn on_a_narrow_screen_the_list_hides_the_conversation() {
    let mut scene = Scene::talking(NARROW);
    scene.press(KeyCode::Tab);
    assert_eq!(scene.hear(message(DIRECT, JOON, 4, "psst")), []);
    assert_eq!(unread(&scene, DIRECT), 1);
    assert_eq!(scene.press(KeyCode::Tab), [Effect::Read(DIRECT, MessageId::new(4))]);
}

#[test]
fn the_list_keeps_the_focus_until_a_conversation_is_open() {
    let mut scene = Scene::new(WIDE);
    scene.press(KeyCode::Tab);
    assert_eq!((scene.state.open, scene.state.focus), (None, Focus::List));
}

#[test]
fn another_device_reads_as_well() {
    let mut scene = Scene::new(WIDE);
    let read =
        |id| Event::Read { channel_id: DIRECT, user_id: MINA, message_id: MessageId::new(id) };
    scene.input(Input::Event(read(2)));
    assert_eq!(unread(&scene, DIRECT), 1);
    scene.input(Input::Event(read(3)));
    assert_eq!(unread(&scene, DIRECT), 0);
}

#[test]
fn a_conversation_that_another_user_starts_appears() {
    let mut scene = Scene::new(WIDE);
    let new = ChannelId::new(20);
    let effects = scene.input(Input::Event(Event::Channel {
        action: ChannelAction::Added,
        channel_id: new,
        kind: ChannelKind::Group,
        name: Some("여행".into()),
    }));
    assert_eq!(effects, [Effect::Request(Request::Channel(new))]);
    scene.response(Request::Channel(new), Response::Channel(channel(new, 0, 0)));
    // A message may arrive before the response.
    let newer = ChannelId::new(21);
    let effects = scene.hear(message(newer, JOON, 5, "surprise"));
    assert_eq!(effects, [Effect::Request(Request::Channel(newer))]);
    scene.response(Request::Channel(newer), Response::Channel(channel(newer, 5, 1)));
    assert_eq!(unread(&scene, newer), 1);
    scene.input(Input::Event(Event::Channel {
        action: ChannelAction::Deleted,
        channel_id: new,
        kind: ChannelKind::Group,
        name: None,
    }));
    assert!(!scene.state.conversations.contains_key(&new));
}

#[test]
fn a_form_stays_until_its_request_succeeds() {
    let mut scene = Scene::new(WIDE);
    scene.press(KeyCode::Char('g'));
    scene.write("Trip");
    scene.press(KeyCode::Enter);
    scene.write("joon, 하나");
    let request = Request::Group("Trip".into(), vec!["joon".into(), "하나".into()]);
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Request(request.clone())]);
    scene.input(Input::Responded(request.clone(), Err("there is no user 하나".into())));
    assert!(scene.screen().contains("there is no user 하나"), "{}", scene.screen());
    let new = ChannelId::new(20);
    scene.response(request, Response::Opened(channel(new, 0, 0), Vec::new()));
    assert!(scene.state.dialog.is_none());
    assert_eq!((scene.state.open, scene.state.focus), (Some(new), Focus::Writing));
}

#[test]
fn a_channel_that_was_left_meanwhile_is_removed() {
    let mut scene = Scene::talking(WIDE);
    scene.hear(message(ChannelId::new(21), JOON, 5, "too early to be known"));
    scene.response(Request::Channels, Response::Channels(vec![channel(LUNCH, 2, 0)]));
    let left: Vec<_> = scene.state.conversations.keys().copied().collect();
    assert_eq!(left, [LUNCH, ChannelId::new(21)]);
    assert_eq!((scene.state.open, scene.state.focus), (None, Focus::List));
}

#[test]
fn presence_of_a_new_friend_refreshes_the_friends() {
    let mut scene = Scene::new(WIDE);
    let presence = |user_id| Event::Presence { user_id, online: true };
    assert_eq!(scene.input(Input::Event(presence(JOON))), []);
    let effects = scene.input(Input::Event(presence(HANA)));
    assert_eq!(effects, [Effect::Request(Request::Friends)]);
}

#[test]
fn friends_are_requested_and_members_added() {
    let mut scene = Scene::talking(WIDE);
    assert_eq!(scene.press(KeyCode::F(7)), [Effect::Request(Request::Befriend(JOON))]);
    scene.press(KeyCode::F(6));
    assert!(
        scene.state.notice.as_ref().is_some_and(|notice| notice.wrong),
        "a direct conversation has no members to add"
    );
    scene.chord(KeyCode::Down, KeyModifiers::ALT);
    assert_eq!(scene.state.open, Some(LUNCH));
    scene.press(KeyCode::F(6));
    scene.write("hana");
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Request(Request::Add(LUNCH, "hana".into()))]);
}
