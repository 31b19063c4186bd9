//! What all scenarios share: the deadline, the users, and the verdict at the end.

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use pabal_tests::account::{Account, Cursors, Id, Message, Session};
use pabal_tests::address::Address;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::{Batch, Break, Line, Transport};
use pabal_tests::oracle::expect_whole;
use pabal_tests::wait;

/// The limit of a scenario, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs a scenario to its end. All its tasks end with it.
pub(crate) fn run(scenario: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let ended = tokio::time::timeout(DEADLINE, scenario).await;
        assert!(ended.is_ok(), "the scenario took longer than {DEADLINE:?}");
    });
}

/// Signs up as many users as there are names.
pub(crate) async fn cast<const N: usize>(address: &Address, names: [&str; N]) -> [Account; N] {
    let accounts = join_all(names.map(|name| Account::sign_up(address, name))).await;
    accounts.try_into().expect("one a name")
}

/// The cursors of a device that holds no message of a channel.
pub(crate) fn from_the_start(channel_id: Id) -> Cursors {
    Cursors::from([(channel_id, 0)])
}

/// Starts a device that reads a channel from its beginning.
pub(crate) async fn listen(
    account: &Account,
    plan: TransportPlan,
    channel_id: Id,
    ledger: &Ledger,
) -> Client {
    Client::start(account, plan, &from_the_start(channel_id), ledger).await
}

/// Short distinct contents.
pub(crate) fn lines(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("line {number}")).collect()
}

/// Waits until every device holds what history holds, and checks that everything agrees.
pub(crate) async fn finish(
    channel_id: Id,
    ledger: &Ledger,
    reader: &Account,
    clients: impl IntoIterator<Item = Client>,
) -> (Vec<Message>, Vec<Journal>) {
    let history = reader.history(channel_id, 0).await;
    let newest = history.last().map_or(0, |message| message.message_id);
    let mut journals = Vec::new();
    for client in clients {
        client.holds(channel_id, newest).await;
        let journal = client.stop().await;
        // Only a canceled line can have reached the server late and replaced another one.
        assert!(journal.replaced < journal.lines.max(1), "no other line can have replaced it");
        journals.push(journal);
    }
    expect_whole(channel_id, ledger, &history, &journals);
    (history, journals)
}

/// Reads after `after` on a line of its own until there are `count` events, and confirms none of them: polls
/// repeat the same position until there are enough.
pub(crate) async fn read_events(
    transport: Transport,
    account: &Account,
    session: &Session,
    after: Id,
    count: usize,
) -> Batch {
    let polls = matches!(transport, Transport::ShortPolling | Transport::LongPolling);
    let what = format!("{count} events after {after} by {transport:?}");
    wait::soon(&what, async {
        let mut line = open(transport, account, session, after).await;
        let mut all = Batch::empty(after);
        while all.events.len() < count {
            if polls {
                all = Batch::empty(after);
            }
            let mut batch = match line.read(all.next, Duration::from_secs(2)).await {
                Ok(batch) => batch,
                Err(broken) if broken.is_replaced() => {
                    // A canceled line has reached the server only now.
                    line = open(transport, account, session, after).await;
                    all = Batch::empty(after);
                    continue;
                }
                Err(broken) => panic!("{transport:?}: {broken}"),
            };
            assert_eq!(batch.next, all.next + batch.events.len() as Id, "no hole");
            all.events.append(&mut batch.events);
            all.next = batch.next;
        }
        all
    })
    .await
}

/// Opens a line, which must succeed.
pub(crate) async fn open(
    transport: Transport,
    account: &Account,
    session: &Session,
    after: Id,
) -> Line {
    let line = Line::open(transport, account, session, after).await;
    line.unwrap_or_else(|broken| panic!("{transport:?}: {broken}"))
}

/// Reads until the line breaks, and returns the events before that.
pub(crate) async fn read_to_the_end(line: &mut Line, after: Id) -> (Batch, Break) {
    let mut all = Batch::empty(after);
    wait::soon("the line ends", async {
        loop {
            match line.read(all.next, Duration::from_secs(30)).await {
                Ok(mut batch) => {
                    all.events.append(&mut batch.events);
                    all.next = batch.next;
                }
                Err(broken) => return (all, broken),
            }
        }
    })
    .await
}

/// The refusal of the opening or of the first read after `after`.
pub(crate) async fn refusal(
    transport: Transport,
    account: &Account,
    session: &Session,
    after: Id,
) -> Break {
    match Line::open(transport, account, session, after).await {
        Err(broken) => broken,
        Ok(mut line) => {
            let read = wait::soon("a refusal", line.read(after, Duration::from_secs(1))).await;
            match read {
                Err(broken) => broken,
                Ok(batch) => panic!("{transport:?} was not refused: {batch:?}"),
            }
        }
    }
}
