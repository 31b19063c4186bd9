//! Messages that the user writes, and their delivery.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use pabal_client::{Event, MessageId};

use super::scene::*;
use crate::input::{Effect, Input, Request};
use crate::state::conversation::Delivery;

fn deliveries(scene: &Scene) -> Vec<Delivery> {
    let outgoing = &scene.state.conversations[&DIRECT].outgoing;
    outgoing.iter().map(|own| own.delivery.clone()).collect()
}

#[test]
fn a_message_is_shown_immediately_and_only_once() {
    let mut scene = Scene::talking(WIDE);
    scene.write("김밥?");
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Send(DIRECT, 1, "김밥?".into())]);
    assert!(scene.state.draft().is_empty());
    assert!(scene.screen().contains("◌  김밥?"), "{}", scene.screen());
    scene.input(Input::Named(DIRECT, 1, "m1".into()));
    scene.hear(named(message(DIRECT, MINA, 4, "김밥?"), "m1"));
    assert_eq!(deliveries(&scene), []);
    scene.input(Input::Sent(DIRECT, 1, Ok(MessageId::new(4))));
    assert_eq!(scene.screen().matches("김밥?").count(), 1, "{}", scene.screen());
    assert!(scene.screen().contains("✓  김밥?"));
    let message_id = MessageId::new(4);
    scene.input(Input::Event(Event::Read { channel_id: DIRECT, user_id: JOON, message_id }));
    assert!(scene.screen().contains("✓✓ 김밥?"), "{}", scene.screen());
}

#[test]
fn the_confirmation_may_come_before_the_event() {
    let mut scene = Scene::talking(WIDE);
    scene.write("hello");
    scene.press(KeyCode::Enter);
    scene.input(Input::Sent(DIRECT, 1, Ok(MessageId::new(4))));
    assert_eq!(deliveries(&scene), [Delivery::Stored(MessageId::new(4))]);
    assert!(scene.screen().contains("✓  hello"));
    scene.hear(message(DIRECT, MINA, 4, "hello"));
    assert_eq!(deliveries(&scene), []);
    assert_eq!(scene.screen().matches("hello").count(), 1);
}

#[test]
fn a_failed_message_is_repeated_under_its_name() {
    let mut scene = Scene::talking(WIDE);
    scene.write("hello");
    scene.press(KeyCode::Enter);
    scene.input(Input::Named(DIRECT, 1, "m1".into()));
    scene.input(Input::Sent(DIRECT, 1, Err("joon has blocked you".into())));
    assert!(scene.screen().contains("✗  hello"));
    assert!(scene.screen().contains("not sent: joon has blocked you"), "{}", scene.screen());
    let repeat = Request::Repeat(DIRECT, 1, "hello".into(), "m1".into());
    let effects = scene.chord(KeyCode::Char('r'), KeyModifiers::CONTROL);
    assert_eq!(effects, [Effect::Request(repeat.clone())]);
    assert_eq!(deliveries(&scene), [Delivery::Sending]);
    assert_eq!(
        scene.chord(KeyCode::Char('r'), KeyModifiers::CONTROL),
        [],
        "the repeat is in flight already"
    );
    scene.input(Input::Responded(repeat, Err("still".into())));
    assert_eq!(deliveries(&scene), [Delivery::Failed("still".into())]);
    // The channel held the message; only the confirmation was lost.
    scene.hear(named(message(DIRECT, MINA, 4, "hello"), "m1"));
    assert_eq!(deliveries(&scene), []);
}

#[test]
fn blank_messages_are_not_sent_and_line_breaks_are_kept() {
    let mut scene = Scene::talking(WIDE);
    scene.write("  ");
    assert_eq!(scene.press(KeyCode::Enter), []);
    scene.write("one");
    scene.chord(KeyCode::Enter, KeyModifiers::ALT);
    scene.write("two?");
    assert_eq!(scene.press(KeyCode::Enter), [Effect::Send(DIRECT, 1, "one\ntwo?".into())]);
}

#[test]
fn a_draft_stays_with_its_conversation() {
    let mut scene = Scene::talking(WIDE);
    scene.write("to joon");
    scene.chord(KeyCode::Down, KeyModifiers::ALT);
    assert_eq!(scene.state.open, Some(LUNCH));
    assert!(scene.state.draft().is_empty());
    scene.input(Input::Paste("to\r\nall".into()));
    assert_eq!(scene.state.draft().text(), "to\nall");
    scene.chord(KeyCode::Up, KeyModifiers::ALT);
    assert_eq!(scene.state.draft().text(), "to joon");
}

#[test]
fn typing_notices_are_sent_at_intervals() {
    let mut scene = Scene::talking(WIDE);
    assert_eq!(scene.press(KeyCode::Char('a')), [Effect::Typing(DIRECT)]);
    assert_eq!(scene.press(KeyCode::Char('b')), []);
    scene.now += Duration::from_secs(4);
    assert_eq!(scene.press(KeyCode::Char('c')), [Effect::Typing(DIRECT)]);
}

#[test]
fn typing_users_are_shown_until_they_stop() {
    let mut scene = Scene::talking(WIDE);
    let typing = Input::Event(Event::Typing { channel_id: DIRECT, user_id: JOON });
    scene.input(typing.clone());
    assert!(scene.screen().contains("joon is typing…"));
    scene.hear(message(DIRECT, JOON, 4, "done"));
    assert!(!scene.screen().contains("is typing"));
    scene.input(typing);
    scene.now += Duration::from_secs(7);
    scene.press(KeyCode::Left);
    assert!(!scene.screen().contains("is typing"));
}
