//! The chat client without its terminal against the real server: two users, on every transport.

use crossterm::event::{Event, KeyCode, KeyEvent};
use pabal_client::{Client, Options, Policy, Transport};
use pabal_terminal::Chat;
use pabal_tests::node::Node;
use pabal_tests::wait::soon;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

const SIZE: Size = Size { width: 100, height: 30 };

/// A user at a chat client.
struct Person {
    name: String,
    chat: Chat,
}

impl Person {
    async fn new(node: &Node, name: &str, policy: Policy) -> Self {
        let client = Client::builder(format!("http://{}", node.address().get())).build().unwrap();
        let account = client.sign_up(name, "correct horse").await.unwrap();
        let options = Options { transports: policy, ..Options::default() };
        let connection = account.connect(options).await.unwrap();
        Self { name: name.to_owned(), chat: Chat::new(account, connection, policy, SIZE) }
    }

    fn press(&mut self, code: KeyCode) {
        assert!(self.chat.handle(Event::Key(KeyEvent::from(code))));
    }

    fn write(&mut self, text: &str) {
        text.chars().for_each(|letter| self.press(KeyCode::Char(letter)));
    }

    fn say(&mut self, text: &str) {
        self.write(text);
        self.press(KeyCode::Enter);
    }

    fn screen(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(SIZE.width, SIZE.height)).unwrap();
        terminal.draw(|frame| self.chat.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    /// Handles inputs until the screen shows all of these texts.
    async fn sees(&mut self, words: &[&str]) {
        let sees = |screen: String| words.iter().all(|words| screen.contains(words));
        let what = format!("{} sees {words:?}", self.name);
        soon(&what, async {
            while !sees(self.screen()) {
                assert!(self.chat.advance().await);
            }
        })
        .await;
    }
}

async fn conversation(node: &Node, policy: Policy, transport: &str) {
    let (ann, bob) = (format!("ann.{transport}"), format!("bob.{transport}"));
    let mut at_ann = Person::new(node, &ann, policy).await;
    let mut at_bob = Person::new(node, &bob, policy).await;
    at_ann.sees(&[transport, "n: new conversation"]).await;
    at_ann.press(KeyCode::F(4));
    at_ann.say("unknown.user");
    at_ann.sees(&["there is no user unknown.user"]).await;
    for _ in 0.."unknown.user".len() {
        at_ann.press(KeyCode::Backspace);
    }
    at_ann.say(&bob);
    at_ann.sees(&["type a message"]).await;
    at_ann.say("are you there?");
    at_ann.sees(&["✓  are you there?"]).await;
    // One unread message, of a user whose name was requested just now.
    at_bob.sees(&[&ann, "1 "]).await;
    at_bob.press(KeyCode::Enter);
    at_bob.sees(&["are you there?"]).await;
    at_ann.sees(&["✓✓ are you there?"]).await;
    at_bob.write("y");
    at_ann.sees(&[&format!("{bob} is typing…")]).await;
    at_bob.say("es!");
    at_ann.sees(&["yes!"]).await;
    // Friends see each other's presence.
    at_ann.press(KeyCode::F(7));
    at_ann.sees(&["has received your friend request"]).await;
    at_bob.press(KeyCode::F(7));
    at_bob.sees(&["are friends", "● online"]).await;
    // A group, and a message in it while the transport changes.
    at_bob.press(KeyCode::F(5));
    at_bob.say("Lunch");
    at_bob.say(&ann);
    at_bob.sees(&["Lunch  2: "]).await;
    let next = match policy {
        Policy::Only(Transport::WebSocket) => "sse",
        Policy::Only(Transport::Sse) => "long-polling",
        Policy::Only(Transport::LongPolling) => "polling",
        _ => "websocket",
    };
    at_ann.press(KeyCode::F(2));
    at_bob.say("김밥?");
    at_ann.sees(&[&format!("● {next}"), "# Lunch"]).await;
    at_bob.sees(&["✓  김밥?"]).await;
    at_ann.press(KeyCode::Tab);
    at_ann.press(KeyCode::Home);
    at_ann.press(KeyCode::Enter);
    at_ann.sees(&["김밥?", "requests"]).await;
    at_ann.chat.close().await.unwrap();
    at_bob.chat.close().await.unwrap();
}

fn on(policy: Policy, transport: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let node = Node::shared().await;
        conversation(&node, policy, transport).await;
    });
}

#[test]
fn websocket() {
    on(Policy::Only(Transport::WebSocket), "websocket");
}

#[test]
fn sse() {
    on(Policy::Only(Transport::Sse), "sse");
}

#[test]
fn long_polling() {
    on(Policy::Only(Transport::LongPolling), "long-polling");
}

#[test]
fn short_polling() {
    on(Policy::Only(Transport::ShortPolling), "polling");
}

#[test]
fn auto() {
    on(Policy::Auto, "auto");
}
