//! The connection: its transports, its troubles, its end.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use pabal_client::{Policy, State as Line, Transport};

use super::scene::*;
use crate::input::{Ask, Effect, Input};

#[test]
fn a_key_goes_from_transport_to_transport() {
    let mut scene = Scene::talking(WIDE);
    let mut used = Vec::new();
    for _ in 0..6 {
        used.extend(scene.press(KeyCode::F(2)));
    }
    let only = |transport| Effect::Use(Policy::Only(transport));
    let [socket, sse, long, short] = Transport::ALL.map(only);
    assert_eq!(used, [socket.clone(), sse, long, short, Effect::Use(Policy::Auto), socket]);
    assert_eq!(scene.press(KeyCode::Char('t')), [Effect::Typing(DIRECT)], "a letter is a letter");
    scene.press(KeyCode::Tab);
    assert_eq!(scene.press(KeyCode::Char('t')).len(), 1);
}

#[test]
fn after_a_time_away_lists_are_fetched_again() {
    let mut scene = Scene::new(WIDE);
    let connected = Line::Connected { transport: Transport::Sse };
    assert_eq!(scene.line(Line::Connecting), []);
    assert_eq!(scene.line(connected.clone()), [], "a change of transport misses nothing");
    let until = scene.now + Duration::from_millis(2_400);
    scene.line(Line::Waiting { until, why: "no answer from the server".into() });
    assert!(
        scene.screen().contains("retry in 3 s · no answer from the server"),
        "{}",
        scene.screen()
    );
    scene.line(Line::Connecting);
    assert_eq!(scene.line(connected), [Effect::Ask(Ask::Channels), Effect::Ask(Ask::Friends)]);
}

#[test]
fn the_end_is_told() {
    let mut scene = Scene::new(WIDE);
    scene.input(Input::Ended("the token has ended".into()));
    assert!(scene.screen().contains("the token has ended. Ctrl-C leaves"), "{}", scene.screen());
    assert_eq!(scene.chord(KeyCode::Char('c'), KeyModifiers::CONTROL), [Effect::Quit]);
}
