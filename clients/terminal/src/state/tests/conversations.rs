//! Which conversations there are, in what order, and what of them is unread.

use crossterm::event::{KeyCode, KeyModifiers};
use pabal_client::{ChannelAction, ChannelId, ChannelKind, Event, MessageId};

use super::scene::*;
use crate::input::{Answer, Ask, Effect, Input};
use crate::state::{Entry, Focus};

fn order(scene: &Scene) -> Vec<Entry> {
    scene.state.entries()
}

fn unread(scene: &Scene, channel_id: ChannelId) -> u64 {
    scene.state.conversations[&channel_id].unread
}

#[test]
fn the_latest_comes_first_and_then_people() {
    let mut scene = Scene::new(WIDE);
    let (direct, lunch) = (Entry::Conversation(DIRECT), Entry::Conversation(LUNCH));
    // joon has a conversation already; hana asks to be a friend.
    assert_eq!(order(&scene), [direct, lunch, Entry::Person(HANA)]);
    scene.hear(message(LUNCH, HANA, 9, "김밥?"));
    assert_eq!(order(&scene), [lunch, direct, Entry::Person(HANA)]);
    assert_eq!(scene.state.selected(), Some(lunch), "the top, as nobody has moved");
    scene.press(KeyCode::Down);
    assert_eq!(scene.state.selected(), Some(direct));
    scene.hear(message(DIRECT, JOON, 10, "김밥!"));
    assert_eq!(order(&scene)[0], direct);
    assert_eq!(scene.state.selected(), Some(direct), "the selection does not run away");
}

#[test]
fn what_is_seen_is_read_and_nothing_else() {
    let mut scene = Scene::new(WIDE);
    assert_eq!(scene.hear(message(DIRECT, JOON, 4, "hello?")), []);
    assert_eq!((unread(&scene, DIRECT), unread(&scene, LUNCH)), (3, 0));
    let asked = scene.press(KeyCode::Enter);
    assert!(asked.contains(&Effect::Ask(Ask::History(DIRECT, None))), "{asked:?}");
    assert_eq!(unread(&scene, DIRECT), 0);
    let told = scene.hear(message(DIRECT, JOON, 5, "there you are"));
    assert_eq!(told, [Effect::Read(DIRECT, MessageId::new(5))]);
    assert_eq!(scene.hear(message(DIRECT, MINA, 6, "yes")), [], "one's own is not news");
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
fn nobody_writes_before_a_conversation_is_open() {
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
fn a_conversation_that_others_begin_appears() {
    let mut scene = Scene::new(WIDE);
    let new = ChannelId::new(20);
    let told = scene.input(Input::Event(Event::Channel {
        action: ChannelAction::Added,
        channel_id: new,
        kind: ChannelKind::Group,
        name: Some("여행".into()),
    }));
    assert_eq!(told, [Effect::Ask(Ask::Channel(new))]);
    scene.answer(Ask::Channel(new), Answer::Channel(channel(new, 0, 0)));
    // A message may overtake the answer.
    let newer = ChannelId::new(21);
    let told = scene.hear(message(newer, JOON, 5, "surprise"));
    assert_eq!(told, [Effect::Ask(Ask::Channel(newer))]);
    scene.answer(Ask::Channel(newer), Answer::Channel(channel(newer, 5, 1)));
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
fn a_question_stays_until_it_is_answered() {
    let mut scene = Scene::new(WIDE);
    scene.press(KeyCode::Char('g'));
    scene.write("Trip");
    scene.press(KeyCode::Enter);
    scene.write("joon, 하나");
    let ask = Ask::Group("Trip".into(), vec!["joon".into(), "하나".into()]);
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Ask(ask.clone())]);
    scene.input(Input::Answered(ask.clone(), Err("there is no user 하나".into())));
    assert!(scene.screen().contains("there is no user 하나"), "{}", scene.screen());
    let new = ChannelId::new(20);
    scene.answer(ask, Answer::Opened(channel(new, 0, 0), Vec::new()));
    assert!(scene.state.dialog.is_none());
    assert_eq!((scene.state.open, scene.state.focus), (Some(new), Focus::Writing));
}

#[test]
fn what_was_left_while_away_is_gone() {
    let mut scene = Scene::talking(WIDE);
    scene.hear(message(ChannelId::new(21), JOON, 5, "too early to be known"));
    scene.answer(Ask::Channels, Answer::Channels(vec![channel(LUNCH, 2, 0)]));
    let left: Vec<_> = scene.state.conversations.keys().copied().collect();
    assert_eq!(left, [LUNCH, ChannelId::new(21)]);
    assert_eq!((scene.state.open, scene.state.focus), (None, Focus::List));
}

#[test]
fn an_accepted_friend_is_noticed() {
    let mut scene = Scene::new(WIDE);
    let presence = |user_id| Event::Presence { user_id, online: true };
    assert_eq!(scene.input(Input::Event(presence(JOON))), []);
    let told = scene.input(Input::Event(presence(HANA)));
    assert_eq!(told, [Effect::Ask(Ask::Friends)]);
}

#[test]
fn friends_are_asked_and_members_added() {
    let mut scene = Scene::talking(WIDE);
    assert_eq!(scene.press(KeyCode::F(7)), [Effect::Ask(Ask::Befriend(JOON))]);
    scene.press(KeyCode::F(6));
    assert!(scene.state.notice.as_ref().is_some_and(|notice| notice.wrong), "not in a direct one");
    scene.chord(KeyCode::Down, KeyModifiers::ALT);
    assert_eq!(scene.state.open, Some(LUNCH));
    scene.press(KeyCode::F(6));
    scene.write("hana");
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Ask(Ask::Add(LUNCH, "hana".into()))]);
}
