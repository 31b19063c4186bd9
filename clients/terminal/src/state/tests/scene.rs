//! A user at a terminal, with every key, event and response chosen by the test.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pabal_client::{
    Channel, ChannelId, Cost, Event, Friend, Message, MessageId, Policy, State as Line, Transport,
    User, UserId,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::input::{Effect, Input, Request, Response};
use crate::state::State;
use crate::view::{Theme, view};

pub(super) const MINA: UserId = UserId::new(1);
pub(super) const JOON: UserId = UserId::new(2);
pub(super) const HANA: UserId = UserId::new(3);
pub(super) const DIRECT: ChannelId = ChannelId::new(10);
pub(super) const LUNCH: ChannelId = ChannelId::new(11);
pub(super) const WIDE: Size = Size { width: 80, height: 24 };
pub(super) const NARROW: Size = Size { width: 40, height: 20 };

/// The user mina at a terminal, with a friend joon and a group.
pub(super) struct Scene {
    pub(super) state: State,
    pub(super) now: Instant,
}

fn read<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

pub(super) fn user(user_id: UserId, name: &str) -> User {
    read(json!({"user_id": user_id, "username": name, "created_at": "2026-11-01T00:00:00Z"}))
}

pub(super) fn channel(channel_id: ChannelId, last: u64, unread: u64) -> Channel {
    let direct = channel_id == DIRECT;
    read(json!({
        "channel_id": channel_id, "kind": if direct { "direct" } else { "group" },
        "name": if direct { Value::Null } else { "점심 Lunch".into() },
        "created_at": "2024-01-01T00:00:00Z", "role": "owner",
        "peer_user_id": direct.then_some(JOON), "last_message_id": last.to_string(),
        "read_up_to": (last - unread).to_string(), "unread": unread,
    }))
}

/// The message with this id, one minute after the previous id.
pub(super) fn message(channel_id: ChannelId, from: UserId, id: u64, content: &str) -> Message {
    let (hour, minute) = (9 + id / 60 % 12, id % 60);
    let day = 22 + id / 720;
    read(json!({
        "message_id": id.to_string(), "channel_id": channel_id, "message_from": from,
        "content": content, "created_at": format!("2026-11-{day}T{hour:02}:{minute:02}:00Z"),
    }))
}

/// The same message with a `client_message_id`.
pub(super) fn named(mut message: Message, name: &str) -> Message {
    message.client_message_id = Some(name.into());
    message
}

impl Scene {
    pub(super) fn new(size: Size) -> Self {
        let state = State::new(user(MINA, "mina"), Clock::utc(), size, Policy::Auto);
        let mut scene = Self { state, now: Instant::now() };
        scene.response(Request::User(JOON), Response::User(user(JOON, "joon")));
        scene.response(Request::User(HANA), Response::User(user(HANA, "하나")));
        let channels = vec![channel(DIRECT, 3, 2), channel(LUNCH, 2, 0)];
        scene.response(Request::Channels, Response::Channels(channels));
        let friend: Friend = read(json!({"user_id": JOON, "state": "friends", "online": true}));
        let asks = read(json!({"user_id": HANA, "state": "received"}));
        scene.response(Request::Friends, Response::Friends(vec![friend, asks]));
        scene.line(Line::Connected { transport: Transport::WebSocket });
        scene
    }

    /// With the direct conversation open, which holds three messages.
    pub(super) fn talking(size: Size) -> Self {
        let mut scene = Self::new(size);
        scene.press(KeyCode::Enter);
        let all = vec![
            message(DIRECT, JOON, 3, "on my way 🐎"),
            message(DIRECT, JOON, 2, "안녕하세요, mina!"),
            message(DIRECT, MINA, 1, "joon, are you there?"),
        ];
        scene.history(DIRECT, None, all, false);
        scene
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<Effect> {
        self.state.update(self.now, input)
    }

    pub(super) fn response(&mut self, request: Request, response: Response) -> Vec<Effect> {
        self.input(Input::Responded(request, Ok(response)))
    }

    pub(super) fn history(
        &mut self,
        channel_id: ChannelId,
        before: Option<u64>,
        messages: Vec<Message>,
        more: bool,
    ) -> Vec<Effect> {
        let request = Request::History(channel_id, before.map(MessageId::new));
        self.response(request, Response::History(messages, more))
    }

    pub(super) fn hear(&mut self, message: Message) -> Vec<Effect> {
        self.input(Input::Event(Event::Message(message)))
    }

    pub(super) fn line(&mut self, line: Line) -> Vec<Effect> {
        let mut cost = Cost::default();
        (cost.requests, cost.received_bytes, cost.sent_bytes) = (12, 4_300, 1_250);
        self.input(Input::Line(line, cost))
    }

    pub(super) fn press(&mut self, code: KeyCode) -> Vec<Effect> {
        self.chord(code, KeyModifiers::NONE)
    }

    pub(super) fn chord(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
        self.input(Input::Key(KeyEvent::new(code, modifiers)))
    }

    pub(super) fn write(&mut self, text: &str) {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
    }

    /// The text of the screen. A wide letter takes the next column as well.
    pub(super) fn screen(&self) -> String {
        let Size { width, height } = self.state.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view(&self.state, Theme::Plain, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let mut out = String::new();
        for y in 0..height {
            let mut row = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                x += u16::try_from(crate::text::width(symbol).max(1)).unwrap();
            }
            out.push_str(row.trim_end());
            out.push('\n');
        }
        out
    }
}
