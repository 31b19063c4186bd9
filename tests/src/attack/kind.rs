//! The attacks by name, what each does, and the settings of its node.

use std::fmt;
use std::str::FromStr;

use super::scene::{Scene, escaped};
use super::{answers, connections, floods};
use crate::account::{Account, Id, Session};

/// One attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Pages of history on HTTP/2 streams whose window is closed.
    ClosedWindows,
    /// Pages of history on pipelined HTTP/1.1 connections that are not read.
    PipelinedPages,
    /// Polls of one full session that are not read.
    UnreadPolls,
    /// Sessions with a long catch-up, on connections that close at once.
    AbandonedCatchUps,
    /// Sessions that caught up and are not read.
    UnreadSessions,
    /// Synchronisations that are not read.
    UnreadSyncs,
    /// Bodies whose end does not come, from clients without a token.
    UnfinishedBodies,
    /// `typing` commands to a group.
    Typing,
    /// `read` commands to a group.
    ReadMarks,
    /// WebSocket continuation frames without content.
    EmptyContinuations,
    /// HTTP/2 PRIORITY frames.
    Priorities,
    /// HTTP/2 WINDOW_UPDATE frames.
    WindowUpdates,
    /// Sign-ups, each of which costs a password hash.
    SignUps,
}

/// What an attack needs besides the node. It is released before the memory is compared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) channel_id: Id,
    pub(super) users: Vec<Account>,
    pub(super) sessions: Vec<Session>,
}

impl Attack {
    /// Every attack.
    pub const ALL: [Self; 13] = [
        Self::ClosedWindows,
        Self::PipelinedPages,
        Self::UnreadPolls,
        Self::AbandonedCatchUps,
        Self::UnreadSessions,
        Self::UnreadSyncs,
        Self::UnfinishedBodies,
        Self::Typing,
        Self::ReadMarks,
        Self::EmptyContinuations,
        Self::Priorities,
        Self::WindowUpdates,
        Self::SignUps,
    ];

    /// What it does, for the report.
    pub fn description(self) -> &'static str {
        match self {
            Self::ClosedWindows => "100 pages of 200 messages of 16 KiB, HTTP/2 window 0",
            Self::PipelinedPages => "120 such pages, pipelined over HTTP/1.1 and not read",
            Self::UnreadPolls => "300 polls of one full session, not read",
            Self::AbandonedCatchUps => "60 sessions with 16 MiB to catch up, hanging up at once",
            Self::UnreadSessions => "640 sessions after a catch-up, not read",
            Self::UnreadSyncs => "100 synchronisations of 16 MiB, not read",
            Self::UnfinishedBodies => {
                "1,000 sign-ups with a body of 256 KiB whose last byte is missing"
            }
            Self::Typing => "256 typing commands a request to a group of 150 sessions, for 10 s",
            Self::ReadMarks => "256 read commands a request to a group of 150 sessions, for 10 s",
            Self::EmptyContinuations => "empty WebSocket continuation frames for 5 s",
            Self::Priorities => "HTTP/2 PRIORITY frames for 5 s",
            Self::WindowUpdates => "HTTP/2 WINDOW_UPDATE frames for 5 s",
            Self::SignUps => "sign-ups from 5 addresses for 5 s",
        }
    }

    /// The environment of its node. By default the node has its default budgets and no rate limits.
    pub(super) fn settings(self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    pub(super) async fn prepare(self, scene: &Scene) -> Prepared {
        match self {
            Self::ClosedWindows | Self::PipelinedPages => {
                let channel_id = scene.stored(200, &escaped()).await;
                Prepared { channel_id, ..Prepared::default() }
            }
            Self::UnreadPolls => {
                let session = scene.eve.open(None).await;
                scene.stored(60, &"x".repeat(16 * 1024)).await;
                Prepared { sessions: vec![session], ..Prepared::default() }
            }
            Self::AbandonedCatchUps | Self::UnreadSyncs => {
                let channel_id = scene.stored(1_020, &"x".repeat(16 * 1024)).await;
                Prepared { channel_id, ..Prepared::default() }
            }
            Self::UnreadSessions => answers::prepare_sessions(scene).await,
            Self::Typing | Self::ReadMarks => floods::prepare_group(scene).await,
            Self::UnfinishedBodies
            | Self::EmptyContinuations
            | Self::Priorities
            | Self::WindowUpdates
            | Self::SignUps => Prepared::default(),
        }
    }

    /// Runs the attack. Returns the number of requests or frames.
    pub(super) async fn launch(self, scene: &Scene, prepared: &Prepared) -> u64 {
        match self {
            Self::ClosedWindows => answers::closed_windows(scene, prepared).await,
            Self::PipelinedPages => answers::pipelined_pages(scene, prepared).await,
            Self::UnreadPolls => answers::unread_polls(scene, prepared).await,
            Self::AbandonedCatchUps => answers::abandoned_catch_ups(scene, prepared).await,
            Self::UnreadSessions => answers::unread_sessions(prepared).await,
            Self::UnreadSyncs => answers::unread_syncs(scene, prepared).await,
            Self::UnfinishedBodies => connections::unfinished_bodies(scene).await,
            Self::Typing => floods::typing(scene, prepared).await,
            Self::ReadMarks => floods::read_marks(scene, prepared).await,
            Self::EmptyContinuations => connections::empty_continuations(scene).await,
            Self::Priorities => connections::priorities(scene).await,
            Self::WindowUpdates => connections::window_updates(scene).await,
            Self::SignUps => floods::sign_ups(scene).await,
        }
    }
}

/// The names on the command line.
const NAMES: [(&str, Attack); 13] = [
    ("closed-windows", Attack::ClosedWindows),
    ("pipelined-pages", Attack::PipelinedPages),
    ("unread-polls", Attack::UnreadPolls),
    ("abandoned-catch-ups", Attack::AbandonedCatchUps),
    ("unread-sessions", Attack::UnreadSessions),
    ("unread-syncs", Attack::UnreadSyncs),
    ("unfinished-bodies", Attack::UnfinishedBodies),
    ("typing", Attack::Typing),
    ("read-marks", Attack::ReadMarks),
    ("empty-continuations", Attack::EmptyContinuations),
    ("priorities", Attack::Priorities),
    ("window-updates", Attack::WindowUpdates),
    ("sign-ups", Attack::SignUps),
];

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, attack)| attack == self).map(|(name, _)| *name);
        f.pad(name.unwrap_or_default())
    }
}

impl FromStr for Attack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMES.iter().find(|(name, _)| *name == text).map(|(_, attack)| *attack);
        named.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}
