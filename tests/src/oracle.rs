//! The verdict on a scenario: acknowledgements, the content of the channel and the journal of every device must
//! agree. No message is lost, repeated or reordered.

use std::collections::{BTreeMap, HashMap};

use crate::account::{Id, Message};
use crate::journal::{Journal, Violation};
use crate::ledger::{Entry, Ledger};

/// A contradiction between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The channel does not hold an acknowledged send under its id, or holds another text.
    Acknowledged {
        /// The sender's name for it.
        client_message_id: String,
        /// What the channel holds under that id.
        found: Option<Message>,
    },
    /// A send became more than one message.
    StoredTwice {
        /// The sender's name for it.
        client_message_id: String,
    },
    /// The channel holds a message that no device sent.
    NeverSaid {
        /// The message.
        message_id: Id,
    },
    /// The ids of history do not rise.
    HistoryOrder {
        /// The message that follows a higher id.
        message_id: Id,
    },
    /// A message has a smaller id than one that was acknowledged before its send began.
    LateSmallerId {
        /// The message.
        message_id: Id,
        /// The one acknowledged before.
        acknowledged: Id,
    },
    /// A device did not receive a message.
    Lost {
        /// The device.
        name: String,
        /// The message.
        message_id: Id,
    },
    /// A device received a message that history does not hold, or holds differently.
    Altered {
        /// The device.
        name: String,
        /// The message.
        message_id: Id,
    },
    /// A device observed a broken guarantee.
    Seen {
        /// The device.
        name: String,
        /// The broken guarantee.
        violation: Violation,
    },
}

/// The faults of one channel. `history` is its whole content, as read from the server.
pub fn judge(
    channel_id: Id,
    ledger: &Ledger,
    history: &[Message],
    journals: &[Journal],
) -> Vec<Fault> {
    let said = ledger.entries();
    let said: Vec<_> = said.iter().filter(|entry| entry.channel_id == channel_id).collect();
    let mut faults = judge_history(&said, history);
    faults.extend(judge_order(&said));
    for journal in journals {
        faults.extend(judge_device(channel_id, history, journal));
    }
    faults
}

/// Checks one channel and shows its faults.
///
/// # Panics
/// If there is any fault.
pub fn expect_whole(channel_id: Id, ledger: &Ledger, history: &[Message], journals: &[Journal]) {
    let faults = judge(channel_id, ledger, history, journals);
    let shown = faults.iter().take(10).map(|fault| format!("\n  {fault:?}"));
    assert!(
        faults.is_empty(),
        "{} faults in channel {channel_id}:{}",
        faults.len(),
        shown.collect::<String>()
    );
}

fn is_same(entry: &Entry, message: &Message) -> bool {
    message.channel_id == entry.channel_id
        && message.from == entry.from
        && message.content == entry.content
        && message.client_message_id.as_ref() == Some(&entry.client_message_id)
}

fn judge_history(said: &[&Entry], history: &[Message]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for pair in history.windows(2) {
        if pair[1].message_id <= pair[0].message_id {
            faults.push(Fault::HistoryOrder { message_id: pair[1].message_id });
        }
    }
    let entries: HashMap<&str, &Entry> =
        said.iter().map(|entry| (entry.client_message_id.as_str(), *entry)).collect();
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for message in history {
        let name = message.client_message_id.as_deref().unwrap_or_default();
        *copies.entry(name).or_default() += 1;
        if !entries.get(name).is_some_and(|entry| is_same(entry, message)) {
            faults.push(Fault::NeverSaid { message_id: message.message_id });
        }
    }
    for (name, count) in copies {
        if count > 1 {
            faults.push(Fault::StoredTwice { client_message_id: name.to_owned() });
        }
    }
    let by_id: HashMap<Id, &Message> =
        history.iter().map(|message| (message.message_id, message)).collect();
    for entry in said {
        let Some((_, message_id)) = entry.acknowledged else {
            continue;
        };
        let found = by_id.get(&message_id).copied();
        if !found.is_some_and(|message| is_same(entry, message)) {
            let client_message_id = entry.client_message_id.clone();
            faults.push(Fault::Acknowledged { client_message_id, found: found.cloned() });
        }
    }
    faults
}

/// Ids must rise with time: a message that was acknowledged before another send began has the smaller id.
fn judge_order(said: &[&Entry]) -> Vec<Fault> {
    let mut stored: Vec<_> = said
        .iter()
        .filter_map(|entry| entry.acknowledged.map(|(at, id)| (id, entry.begun, at)))
        .collect();
    stored.sort_unstable_by_key(|(id, ..)| *id);
    let mut faults = Vec::new();
    // From the highest id down: the earliest acknowledgement among those above.
    let mut earliest: Option<(tokio::time::Instant, Id)> = None;
    for (message_id, begun, at) in stored.into_iter().rev() {
        if let Some((before, acknowledged)) = earliest
            && before < begun
        {
            faults.push(Fault::LateSmallerId { message_id, acknowledged });
        }
        if earliest.is_none_or(|(before, _)| at < before) {
            earliest = Some((at, message_id));
        }
    }
    faults
}

fn judge_device(channel_id: Id, history: &[Message], journal: &Journal) -> Vec<Fault> {
    let name = || journal.name.clone();
    let seen = journal.violations.iter().cloned();
    let mut faults: Vec<_> =
        seen.map(|violation| Fault::Seen { name: name(), violation }).collect();
    let began = journal.started_at.get(&channel_id).copied().unwrap_or_default();
    let received = journal.messages.get(&channel_id).map(Vec::as_slice).unwrap_or_default();
    let by_id: HashMap<Id, &Message> =
        received.iter().map(|message| (message.message_id, message)).collect();
    let mut known = 0;
    for message in history.iter().filter(|message| message.message_id > began) {
        let message_id = message.message_id;
        match by_id.get(&message_id) {
            None => faults.push(Fault::Lost { name: name(), message_id }),
            Some(same) if *same == message => known += 1,
            Some(_) => {
                known += 1;
                faults.push(Fault::Altered { name: name(), message_id });
            }
        }
    }
    if known < received.len() {
        let held: std::collections::HashSet<Id> =
            history.iter().map(|message| message.message_id).collect();
        let foreign = received.iter().filter(|message| !held.contains(&message.message_id));
        faults.extend(
            foreign.map(|message| Fault::Altered { name: name(), message_id: message.message_id }),
        );
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cursors;

    fn message(message_id: Id) -> Message {
        Message {
            message_id,
            channel_id: 7,
            from: 1,
            to: None,
            content: format!("content {message_id}"),
            client_message_id: Some(format!("m{message_id}")),
        }
    }

    fn ledger(ids: impl IntoIterator<Item = Id>) -> Ledger {
        let ledger = Ledger::default();
        for id in ids {
            ledger.begin(7, 1, &format!("m{id}"), &format!("content {id}"));
            ledger.acknowledge(&format!("m{id}"), id);
        }
        ledger
    }

    fn received(ids: &[Id]) -> Journal {
        let mut journal = Journal::new("ann", &Cursors::from([(7, 0)]));
        for id in ids {
            journal.message(message(*id));
        }
        journal
    }

    fn history(ids: &[Id]) -> Vec<Message> {
        ids.iter().copied().map(message).collect()
    }

    #[test]
    fn one_story_has_no_fault() {
        let whole = history(&[1, 2, 3]);
        assert_eq!(judge(7, &ledger([1, 2, 3]), &whole, &[received(&[1, 2, 3])]), []);
        let mut late = Journal::new("bob", &Cursors::from([(7, 2)]));
        late.message(message(3));
        assert_eq!(judge(7, &ledger([1, 2, 3]), &whole, &[late]), []);
    }

    #[test]
    fn a_message_lost_on_the_way_is_found() {
        let faults = judge(7, &ledger([1, 2, 3]), &history(&[1, 2, 3]), &[received(&[1, 3])]);
        assert_eq!(faults, [Fault::Lost { name: "ann".into(), message_id: 2 }]);
        let faults = judge(7, &ledger([1, 2]), &history(&[1, 2]), &[received(&[])]);
        assert_eq!(faults.len(), 2);
    }

    #[test]
    fn a_message_delivered_twice_is_found() {
        let faults = judge(7, &ledger([1, 2]), &history(&[1, 2]), &[received(&[1, 2, 2])]);
        let violation = Violation::Repeated { message_id: 2 };
        assert_eq!(faults, [Fault::Seen { name: "ann".into(), violation }]);
    }

    #[test]
    fn messages_out_of_order_are_found() {
        let faults = judge(7, &ledger([1, 2, 3]), &history(&[1, 2, 3]), &[received(&[1, 3, 2])]);
        let violation = Violation::Reordered { message_id: 2, cursor: 3 };
        assert!(faults.contains(&Fault::Seen { name: "ann".into(), violation }), "{faults:?}");
    }

    #[test]
    fn an_acknowledged_message_that_is_gone_is_found() {
        let faults = judge(7, &ledger([1, 2]), &history(&[1]), &[]);
        let client_message_id = "m2".to_owned();
        assert_eq!(faults, [Fault::Acknowledged { client_message_id, found: None }]);
    }

    #[test]
    fn a_send_that_became_two_is_found() {
        let mut twice = history(&[1, 2]);
        twice.push(Message { message_id: 3, ..message(2) });
        let faults = judge(7, &ledger([1, 2]), &twice, &[]);
        assert_eq!(faults, [Fault::StoredTwice { client_message_id: "m2".into() }]);
    }

    #[test]
    fn what_nobody_said_is_found() {
        let faults = judge(7, &ledger([1]), &history(&[1, 2]), &[]);
        assert_eq!(faults, [Fault::NeverSaid { message_id: 2 }]);
    }

    #[test]
    fn altered_content_is_found() {
        let mut altered = received(&[]);
        altered.message(Message { content: "other".into(), ..message(1) });
        let faults = judge(7, &ledger([1]), &history(&[1]), &[altered]);
        assert_eq!(faults, [Fault::Altered { name: "ann".into(), message_id: 1 }]);
        let faults = judge(7, &ledger([1]), &history(&[1]), &[received(&[1, 2])]);
        assert_eq!(faults, [Fault::Altered { name: "ann".into(), message_id: 2 }]);
    }

    #[test]
    fn history_out_of_order_is_found() {
        let faults = judge(7, &ledger([1, 2]), &history(&[2, 1]), &[]);
        assert_eq!(faults, [Fault::HistoryOrder { message_id: 1 }]);
    }

    #[test]
    fn an_id_below_one_acknowledged_before_is_found() {
        // The ledger notes them one after another, so each began after the previous acknowledgement.
        let faults = judge(7, &ledger([2, 1]), &history(&[1, 2]), &[]);
        assert_eq!(faults, [Fault::LateSmallerId { message_id: 1, acknowledged: 2 }]);
    }
}
