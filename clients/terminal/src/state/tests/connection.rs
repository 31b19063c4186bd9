//! The connection: transports, interruptions and its end.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyModifiers};
use pabal_client::{Policy, State as Line, Transport};

use super::scene::*;
use crate::input::{Effect, Input, Request};

#[test]
fn a_key_selects_the_next_transport() {
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
fn lists_are_fetched_again_after_an_interruption() {
    let mut scene = Scene::new(WIDE);
    let connected = Line::Connected { transport: Transport::Sse };
    assert_eq!(scene.line(Line::Connecting), []);
    assert_eq!(scene.line(connected.clone()), [], "a change of transport loses no event");
    let until = scene.now + Duration::from_millis(2_400);
    scene.line(Line::Waiting { until, why: "no response from the server".into() });
    assert!(
        scene.screen().contains("retry in 3 s · no response from the server"),
        "{}",
        scene.screen()
    );
    scene.line(Line::Connecting);
    assert_eq!(
        scene.line(connected),
        [Effect::Request(Request::Channels), Effect::Request(Request::Friends)]
    );
}

#[test]
fn the_end_of_the_connection_is_shown() {
    let mut scene = Scene::new(WIDE);
    scene.input(Input::Ended("the token has ended".into()));
    assert!(scene.screen().contains("the token has ended. Ctrl-C: quit"), "{}", scene.screen());
    assert_eq!(scene.chord(KeyCode::Char('c'), KeyModifiers::CONTROL), [Effect::Quit]);
}
