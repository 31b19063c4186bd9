//! What stands before everything else until it is closed: a list of keys, a table of costs, a
//! question.

use pabal_client::ChannelId;

use super::editor::Editor;
use crate::input::Ask;

/// What stands before everything else.
#[derive(Debug)]
pub(crate) enum Dialog {
    /// Which key does what.
    Keys,
    /// What each transport has cost.
    Costs,
    /// A question.
    Form(Form),
}

/// A question with fields to fill.
#[derive(Debug)]
pub(crate) struct Form {
    about: About,
    pub(crate) fields: Vec<Field>,
    /// The field being filled.
    pub(crate) at: usize,
}

/// One field.
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
        Self::new(About::Group, &["Name of the group", "User names, spaces between"])
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
            About::Direct => "Talk to somebody",
            About::Group => "Make a group",
            About::Member(_) => "Add a member",
        }
    }

    pub(crate) fn editor(&mut self) -> &mut Editor {
        &mut self.fields[self.at].editor
    }

    /// To the next field, around.
    pub(crate) fn turn(&mut self) {
        self.at = (self.at + 1) % self.fields.len();
    }

    /// What to ask the server; nothing while something is missing.
    pub(crate) fn ask(&self) -> Option<Ask> {
        let text = |at: usize| self.fields[at].editor.text().trim().to_owned();
        if text(0).is_empty() {
            return None;
        }
        Some(match self.about {
            About::Direct => Ask::Direct(text(0)),
            About::Member(channel_id) => Ask::Add(channel_id, text(0)),
            About::Group => {
                let names = text(1);
                let names = names.split(|c: char| c.is_whitespace() || c == ',');
                let named = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
                Ask::Group(text(0), named)
            }
        })
    }
}
