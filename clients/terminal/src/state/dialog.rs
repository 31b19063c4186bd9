//! Dialogs, which are drawn over everything else until they are closed: the list of keys, the table of costs,
//! forms.

use pabal_client::ChannelId;

use super::editor::Editor;
use crate::input::Request;

/// A dialog.
#[derive(Debug)]
pub(crate) enum Dialog {
    /// The list of keys.
    Keys,
    /// The costs of each transport.
    Costs,
    /// A form.
    Form(Form),
}

/// A form with fields.
#[derive(Debug)]
pub(crate) struct Form {
    about: About,
    pub(crate) fields: Vec<Field>,
    /// The field with the cursor.
    pub(crate) at: usize,
}

/// A field of a form.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) label: &'static str,
    pub(crate) editor: Editor,
}

#[derive(Clone, Copy, Debug)]
enum About {
    Direct,
    Group,
    Member(ChannelId),
}

impl Form {
    pub(crate) fn direct() -> Self {
        Self::new(About::Direct, &["User name"])
    }

    pub(crate) fn group() -> Self {
        Self::new(About::Group, &["Group name", "User names, separated by spaces"])
    }

    pub(crate) fn member(channel_id: ChannelId) -> Self {
        Self::new(About::Member(channel_id), &["User name"])
    }

    fn new(about: About, labels: &[&'static str]) -> Self {
        let field = |&label: &&'static str| Field { label, editor: Editor::default() };
        Self { about, fields: labels.iter().map(field).collect(), at: 0 }
    }

    pub(crate) fn title(&self) -> &'static str {
        match self.about {
            About::Direct => "New conversation",
            About::Group => "New group",
            About::Member(_) => "Add a member",
        }
    }

    pub(crate) fn editor(&mut self) -> &mut Editor {
        &mut self.fields[self.at].editor
    }

    /// Moves to the next field, and from the last to the first.
    pub(crate) fn turn(&mut self) {
        self.at = (self.at + 1) % self.fields.len();
    }

    /// The request of the form; `None` while the first field is empty.
    pub(crate) fn request(&self) -> Option<Request> {
        let text = |at: usize| self.fields[at].editor.text().trim().to_owned();
        if text(0).is_empty() {
            return None;
        }
        Some(match self.about {
            About::Direct => Request::Direct(text(0)),
            About::Member(channel_id) => Request::Add(channel_id, text(0)),
            About::Group => {
                let names = text(1);
                let names = names.split(|c: char| c.is_whitespace() || c == ',');
                let named = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
                Request::Group(text(0), named)
            }
        })
    }
}
