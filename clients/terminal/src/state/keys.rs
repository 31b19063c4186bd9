//! The keys and their commands.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use pabal_client::{Policy, Transport};

use super::dialog::{Dialog, Form};
use super::editor::Editor;
use super::{Entry, Focus, State, policy_name};
use crate::input::{Effect, Request};

/// The list of keys that is shown to the user.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("Tab", "list ↔ conversation"),
    ("↑ ↓ Enter", "select and open"),
    ("PgUp PgDn", "scroll; Shift ↑ ↓: a row"),
    ("Esc", "newest message"),
    ("Enter", "send; Alt-Enter: newline"),
    ("Alt ↑ ↓", "previous, next in list"),
    ("Ctrl-R", "retry failed messages"),
    ("F2  t", "next transport"),
    ("F3  c", "cost of each transport"),
    ("F4  n", "new conversation"),
    ("F5  g", "new group"),
    ("F6  a", "add a member"),
    ("F7  f", "add or accept a friend"),
    ("F1  ?", "this list of keys"),
    ("Ctrl-C  q", "quit"),
];

/// A command that does not depend on the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Keys,
    Transport,
    Costs,
    Direct,
    Group,
    Member,
    Friend,
    Quit,
}

impl Command {
    fn of(code: KeyCode) -> Option<Self> {
        Some(match code {
            KeyCode::F(1) | KeyCode::Char('?') => Self::Keys,
            KeyCode::F(2) | KeyCode::Char('t') => Self::Transport,
            KeyCode::F(3) | KeyCode::Char('c') => Self::Costs,
            KeyCode::F(4) | KeyCode::Char('n') => Self::Direct,
            KeyCode::F(5) | KeyCode::Char('g') => Self::Group,
            KeyCode::F(6) | KeyCode::Char('a') => Self::Member,
            KeyCode::F(7) | KeyCode::Char('f') => Self::Friend,
            KeyCode::Char('q') => Self::Quit,
            _ => return None,
        })
    }
}

impl State {
    pub(super) fn key(&mut self, key: KeyEvent, out: &mut Vec<Effect>) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return out.push(Effect::Quit);
        }
        // Letters are commands only while the list has the focus.
        let letter = matches!(key.code, KeyCode::Char(_));
        let nothing_written = self.draft().is_empty() && key.code == KeyCode::Char('?');
        match &self.dialog {
            Some(Dialog::Form(_)) => self.key_in_form(key, out),
            Some(Dialog::Keys | Dialog::Costs)
                if matches!(key.code, KeyCode::F(2) | KeyCode::Char('t')) =>
            {
                self.next_transport(out);
            }
            Some(Dialog::Keys | Dialog::Costs) => self.dialog = None,
            None if !letter || self.focus == Focus::List || nothing_written => {
                match Command::of(key.code).filter(|_| key.modifiers.is_empty()) {
                    Some(command) => self.command(command, out),
                    None => self.key_here(key, out),
                }
            }
            None => self.key_here(key, out),
        }
    }

    pub(super) fn paste(&mut self, text: &str, out: &mut Vec<Effect>) {
        match &mut self.dialog {
            Some(Dialog::Form(form)) => drop(form.editor().insert(&text.replace('\n', " "))),
            Some(_) => {}
            None => {
                self.focus = Focus::Writing;
                if !self.draft_mut().insert(text) {
                    self.complain("a message has at most 16 KiB");
                }
                self.written(out);
            }
        }
    }

    fn command(&mut self, command: Command, out: &mut Vec<Effect>) {
        match command {
            Command::Keys => self.dialog = Some(Dialog::Keys),
            Command::Costs => self.dialog = Some(Dialog::Costs),
            Command::Direct => self.dialog = Some(Dialog::Form(Form::direct())),
            Command::Group => self.dialog = Some(Dialog::Form(Form::group())),
            Command::Member => match self.conversation() {
                Some(it) if it.peer.is_none() => {
                    self.dialog = Some(Dialog::Form(Form::member(it.channel_id)));
                }
                _ => self.complain("open a group first: only groups have members to add"),
            },
            Command::Friend => self.befriend(out),
            Command::Transport => self.next_transport(out),
            Command::Quit => out.push(Effect::Quit),
        }
    }

    fn befriend(&mut self, out: &mut Vec<Effect>) {
        let person = match (self.focus, self.selected()) {
            (Focus::List, Some(Entry::Person(user_id))) => Some(user_id),
            (Focus::List, Some(Entry::Conversation(id))) => {
                self.conversations.get(&id).and_then(|it| it.peer)
            }
            _ => self.conversation().and_then(|it| it.peer),
        };
        match person {
            Some(user_id) => out.push(Effect::Request(Request::Befriend(user_id))),
            None => self.complain("select a user or a direct conversation first"),
        }
    }

    /// Selects the next transport; after the last one the automatic choice.
    fn next_transport(&mut self, out: &mut Vec<Effect>) {
        self.policy = match self.policy {
            Policy::Only(transport) => {
                let at = Transport::ALL.iter().position(|it| *it == transport);
                let next = at.and_then(|at| Transport::ALL.get(at + 1));
                next.map_or(Policy::Auto, |next| Policy::Only(*next))
            }
            _ => Policy::Only(Transport::ALL[0]),
        };
        self.say(format!("transport: {}", policy_name(self.policy)));
        out.push(Effect::Use(self.policy));
    }

    fn key_here(&mut self, key: KeyEvent, out: &mut Vec<Effect>) {
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let shift = key.modifiers.contains(KeyModifiers::SHIFT);
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let seen = isize::from(self.panes().timeline.height.min(999).cast_signed());
        match key.code {
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::List if self.open.is_some() => Focus::Writing,
                    // Without an open conversation there is no text to write.
                    _ => Focus::List,
                };
            }
            KeyCode::PageUp => self.scroll((seen - 1).max(1), out),
            KeyCode::PageDown => self.scroll(-(seen - 1).max(1), out),
            KeyCode::Up if shift => self.scroll(1, out),
            KeyCode::Down if shift => self.scroll(-1, out),
            KeyCode::Up if alt => self.neighbour(-1, out),
            KeyCode::Down if alt => self.neighbour(1, out),
            KeyCode::Esc => self.scroll = 0,
            KeyCode::Char('r') if control => self.repeat(out),
            _ => match self.focus {
                Focus::List => self.key_in_list(key, out),
                Focus::Writing => self.key_in_draft(key, out),
            },
        }
    }

    fn key_in_list(&mut self, key: KeyEvent, out: &mut Vec<Effect>) {
        match key.code {
            KeyCode::Up => self.select(-1),
            KeyCode::Down => self.select(1),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Enter | KeyCode::Right => match self.selected() {
                Some(Entry::Conversation(channel_id)) => self.open(channel_id, out),
                Some(Entry::Person(user_id)) => {
                    out.push(Effect::Request(Request::DirectWith(user_id)))
                }
                None => {}
            },
            _ => {}
        }
    }

    fn select(&mut self, by: isize) {
        let entries = self.entries();
        let selected = self.selected();
        let at = entries.iter().position(|entry| Some(*entry) == selected);
        let at = at.map_or(0, |at| at.saturating_add_signed(by));
        self.selected = entries.get(at.min(entries.len().saturating_sub(1))).copied();
    }

    /// Opens the conversation above or below in the list.
    fn neighbour(&mut self, by: isize, out: &mut Vec<Effect>) {
        let entries = self.entries().into_iter().filter_map(|entry| match entry {
            Entry::Conversation(channel_id) => Some(channel_id),
            Entry::Person(_) => None,
        });
        let all: Vec<_> = entries.collect();
        let at = all.iter().position(|id| Some(*id) == self.open);
        let at = at.map_or(0, |at| at.saturating_add_signed(by));
        if let Some(channel_id) = all.get(at).copied().filter(|id| Some(*id) != self.open) {
            self.open(channel_id, out);
        }
    }

    fn key_in_draft(&mut self, key: KeyEvent, out: &mut Vec<Effect>) {
        let more = key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT);
        match key.code {
            KeyCode::Enter if more => drop(self.draft_mut().insert("\n")),
            KeyCode::Enter => self.send(out),
            KeyCode::Up => self.scroll(1, out),
            KeyCode::Down => self.scroll(-1, out),
            _ => {
                if edit(self.draft_mut(), key) == Some(false) {
                    self.complain("a message has at most 16 KiB");
                }
                if matches!(key.code, KeyCode::Char(_)) {
                    self.written(out);
                }
            }
        }
    }

    fn key_in_form(&mut self, key: KeyEvent, out: &mut Vec<Effect>) {
        let Some(Dialog::Form(form)) = &mut self.dialog else { return };
        // The user is correcting the error of the last response.
        self.notice = None;
        match key.code {
            KeyCode::Esc => self.dialog = None,
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Down | KeyCode::Up => form.turn(),
            KeyCode::Enter if form.at + 1 < form.fields.len() => form.turn(),
            // The form stays until the response arrives, so that a wrong name can be corrected.
            KeyCode::Enter => out.extend(form.request().map(Effect::Request)),
            _ => drop(edit(form.editor(), key)),
        }
    }
}

/// Applies a key to a text. Returns whether the text had capacity, if the key inserts a letter.
fn edit(editor: &mut Editor, key: KeyEvent) -> Option<bool> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('a') if control => editor.home(),
        KeyCode::Char('e') if control => editor.end(),
        KeyCode::Char('u') if control => editor.delete_before(),
        KeyCode::Char('w') if control => editor.delete_word(),
        KeyCode::Char('d') if control => editor.delete(),
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => {}
        KeyCode::Char(letter) => return Some(editor.insert(letter.encode_utf8(&mut [0; 4]))),
        KeyCode::Backspace => editor.backspace(),
        KeyCode::Delete => editor.delete(),
        KeyCode::Left => editor.left(),
        KeyCode::Right => editor.right(),
        KeyCode::Home => editor.home(),
        KeyCode::End => editor.end(),
        _ => {}
    }
    None
}
