//! Scrolling: pages of history, and a position that does not move.

use crossterm::event::KeyCode;
use pabal_client::{Message, MessageId};

use super::scene::*;
use crate::input::{Effect, Input, Request};
use crate::state::conversation::{KEPT, KEPT_OPEN};

/// Messages with these ids, the newest first.
fn page(ids: std::ops::RangeInclusive<u64>) -> Vec<Message> {
    ids.rev().map(|id| message(DIRECT, JOON, id, &format!("number {id}"))).collect()
}

fn long() -> Scene {
    let mut scene = Scene::new(WIDE);
    scene.press(KeyCode::Enter);
    scene.history(DIRECT, None, page(401..=600), true);
    scene
}

#[test]
fn each_page_is_fetched_once_while_scrolling_up() {
    let mut scene = long();
    let mut requests = Vec::new();
    for _ in 0..40 {
        requests.extend(scene.press(KeyCode::PageUp));
    }
    assert_eq!(requests, [Effect::Request(Request::History(DIRECT, Some(MessageId::new(401))))]);
    assert!(scene.screen().contains("fetching"), "{}", scene.screen());
    scene.history(DIRECT, Some(401), page(201..=400), true);
    let requests: Vec<_> = (0..40).flat_map(|_| scene.press(KeyCode::PageUp)).collect();
    assert_eq!(requests, [Effect::Request(Request::History(DIRECT, Some(MessageId::new(201))))]);
    scene.history(DIRECT, Some(201), page(1..=200), false);
    let requests: Vec<_> = (0..40).flat_map(|_| scene.press(KeyCode::PageUp)).collect();
    assert_eq!(requests, []);
    assert!(scene.screen().contains("start of the conversation"), "{}", scene.screen());
    assert!(scene.screen().contains("number 1\n"));
}

#[test]
fn a_page_whose_request_failed_is_requested_again() {
    let mut scene = long();
    let mut requests: Vec<_> = (0..40).flat_map(|_| scene.press(KeyCode::PageUp)).collect();
    let Some(Effect::Request(request)) = requests.pop() else { panic!("{requests:?}") };
    scene.input(Input::Responded(request.clone(), Err("no response".into())));
    assert_eq!(scene.press(KeyCode::PageUp), [Effect::Request(request)]);
}

#[test]
fn visible_rows_stay_while_messages_arrive() {
    let mut scene = long();
    scene.press(KeyCode::PageUp);
    scene.press(KeyCode::PageUp);
    let rows = |scene: &Scene| {
        let screen = scene.screen();
        let said = screen.lines().filter_map(|row| row.split_once('│'));
        said.map(|(_, said)| said.to_owned())
            .filter(|said| said.contains("number"))
            .collect::<Vec<_>>()
    };
    let before = rows(&scene);
    let effects = scene.hear(message(DIRECT, JOON, 601, &"long ".repeat(50)));
    assert_eq!(effects, [], "the message is not read yet");
    assert_eq!(rows(&scene), before);
    assert!(scene.screen().contains("1 new"), "{}", scene.screen());
    assert_eq!(scene.press(KeyCode::Esc), [Effect::Read(DIRECT, MessageId::new(601))]);
    assert!(scene.screen().contains("long long"));
}

#[test]
fn scrolling_stops_at_both_ends() {
    let mut scene = Scene::talking(WIDE);
    let before = scene.screen();
    scene.press(KeyCode::PageUp);
    scene.press(KeyCode::PageDown);
    scene.press(KeyCode::PageDown);
    assert_eq!((scene.screen(), scene.state.scroll), (before, 0));
}

#[test]
fn memory_is_bounded() {
    let mut scene = long();
    for id in 601..=1_000 {
        scene.hear(message(DIRECT, JOON, id, "x"));
        scene.hear(message(LUNCH, JOON, id, "x"));
    }
    let held = |scene: &Scene, id| scene.state.conversations[&id].messages().len();
    assert_eq!((held(&scene, DIRECT), held(&scene, LUNCH)), (600, KEPT));
    for id in 1_001..=6_000 {
        scene.hear(message(DIRECT, JOON, id, "x"));
    }
    assert_eq!(held(&scene, DIRECT), KEPT_OPEN);
    scene.press(KeyCode::Tab);
    scene.press(KeyCode::Down);
    scene.press(KeyCode::Enter);
    assert_eq!(held(&scene, DIRECT), KEPT);
}
