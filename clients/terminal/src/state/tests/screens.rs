//! Snapshots of the screen. `PABAL_BLESS=1 cargo test -p pabal-terminal` writes them anew; review the changes.

use std::fs;
use std::path::Path;

use crossterm::event::KeyCode;
use pabal_client::{Event, State as Line, Transport};
use ratatui::layout::Size;

use super::scene::*;
use crate::input::Input;

fn looks(scene: &Scene, name: &str) {
    let Size { width, height } = scene.state.size;
    let file = format!("snapshots/{name}-{width}x{height}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let screen = scene.screen();
    if std::env::var_os("PABAL_BLESS").is_some() {
        fs::write(&path, &screen).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(screen == expected, "{} is now\n{screen}\nand was\n{expected}", path.display());
}

fn on_both_sizes(name: &str, scene: impl Fn(Size) -> Scene) {
    for size in [WIDE, NARROW] {
        looks(&scene(size), name);
    }
}

#[test]
fn list() {
    on_both_sizes("list", Scene::new);
}

#[test]
fn conversation() {
    on_both_sizes("conversation", |size| {
        let mut scene = Scene::talking(size);
        let long = "A courier carries the same letter by horse or on foot, station to station, \
            한양에서 의주까지, and it always arrives. 파발은 조선 시대의 통신 제도이다. 🐎👍";
        scene.hear(message(DIRECT, MINA, 4, "fine"));
        scene.hear(message(DIRECT, JOON, 725, long));
        scene.write("김밥 먹을래?");
        scene.press(KeyCode::Enter);
        scene.input(Input::Sent(DIRECT, 1, Err("the message is not confirmed".into())));
        scene.write("또는 라면");
        scene.input(Input::Event(Event::Typing { channel_id: DIRECT, user_id: JOON }));
        scene
    });
}

#[test]
fn news() {
    on_both_sizes("news", |size| {
        let mut scene = Scene::talking(size);
        scene.hear(message(LUNCH, HANA, 5, "점심 먹자"));
        scene.line(Line::Waiting {
            until: scene.now + std::time::Duration::from_secs(12),
            why: "no response from the server: connection refused".into(),
        });
        scene
    });
}

#[test]
fn keys() {
    on_both_sizes("keys", |size| {
        let mut scene = Scene::talking(size);
        scene.press(KeyCode::Char('?'));
        scene
    });
}

#[test]
fn costs() {
    on_both_sizes("costs", |size| {
        let mut scene = Scene::talking(size);
        scene.hear(message(DIRECT, JOON, 4, "one"));
        scene.line(Line::Connected { transport: Transport::LongPolling });
        scene.press(KeyCode::F(3));
        scene
    });
}

#[test]
fn form() {
    on_both_sizes("form", |size| {
        let mut scene = Scene::new(size);
        scene.press(KeyCode::Char('g'));
        scene.write("여행");
        scene.press(KeyCode::Tab);
        scene.write("joon 하");
        scene
    });
}

#[test]
fn tiny_screens_do_not_panic() {
    for (width, height) in [(1, 1), (3, 2), (10, 3), (20, 5), (61, 2), (200, 60)] {
        let mut scene = Scene::talking(Size { width, height });
        scene.press(KeyCode::PageUp);
        scene.screen();
        for key in [KeyCode::F(1), KeyCode::Esc, KeyCode::F(3), KeyCode::Esc, KeyCode::F(4)] {
            scene.press(key);
            scene.screen();
        }
        scene.input(Input::Resize(WIDE));
        scene.screen();
    }
}
