//! The cluster that the scenarios share one after another, and how their results are checked.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use futures::future::join_all;
use pabal_servers::Missing;
use pabal_tests::account::{Account, Cursors, Id, Message};
use pabal_tests::address::Address;
use pabal_tests::client::{Client, TransportPlan};
use pabal_tests::cluster::Cluster;
use pabal_tests::journal::Journal;
use pabal_tests::ledger::Ledger;
use pabal_tests::line::Transport;
use pabal_tests::oracle::expect_whole;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The limit of a scenario, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// Of all tests, because the proxies of the cluster live in it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime")
});

static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());

/// A scenario that fails leaves a cluster in an unknown state: the next one gets a new cluster.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(mut shared) = SHARED.try_lock()
        {
            *shared = Weak::new();
        }
    }
}

/// Ends when the last test drops it.
async fn shared() -> Result<Arc<Cluster>, Missing> {
    let mut shared = SHARED.lock().await;
    if let Some(cluster) = shared.upgrade() {
        return Ok(cluster);
    }
    let cluster = Arc::new(Cluster::on_its_own().await?);
    *shared = Arc::downgrade(&cluster);
    Ok(cluster)
}

/// One scenario at a time: they stop nodes, and the machine is small.
static STAGE: Mutex<()> = Mutex::const_new(());

/// Runs a scenario with a cluster of its own, while no other one runs.
pub(crate) fn alone<T>(scenario: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        let _alone = STAGE.lock().await;
        scenario.await
    })
}

/// Runs a scenario to its end, alone on a complete cluster.
pub(crate) fn run(scenario: impl AsyncFnOnce(&Cluster)) {
    RUNTIME.block_on(async {
        // The cluster is kept while the scenario waits for its turn.
        let _kept = shared().await;
        let _alone = STAGE.lock().await;
        let cluster = match shared().await {
            Ok(cluster) => cluster,
            Err(missing) => return missing.leave_out(),
        };
        let _leave = Leave;
        cluster.partitions_assigned().await;
        let ended = tokio::time::timeout(DEADLINE, scenario(&cluster)).await;
        assert!(ended.is_ok(), "the scenario took longer than {DEADLINE:?}");
    });
}

/// Every transport, and switching between them.
pub(crate) fn plans() -> impl Iterator<Item = TransportPlan> {
    let steady = Transport::ALL.map(TransportPlan::Steady).into_iter();
    steady.chain([TransportPlan::Switching(Transport::LongPolling, Duration::from_millis(300))])
}

/// Signs up as many users as there are names, each at the next of these addresses.
pub(crate) async fn cast<const N: usize>(at: &[&Address], names: [&str; N]) -> [Account; N] {
    let named = names.into_iter().zip(at.iter().cycle());
    let accounts = join_all(named.map(|(name, at)| Account::sign_up(at, name))).await;
    accounts.try_into().expect("one a name")
}

/// The address of each node for clients.
pub(crate) fn doors(cluster: &Cluster) -> [&Address; 3] {
    [0, 1, 2].map(|node: usize| cluster.doors[node].address())
}

/// Starts a device that reads these channels from their beginning.
pub(crate) async fn listen(
    account: &Account,
    plan: TransportPlan,
    channels: &[Id],
    ledger: &Ledger,
) -> Client {
    let start: Cursors = channels.iter().map(|channel| (*channel, 0)).collect();
    Client::start(account, plan, &start, ledger).await
}

/// Waits until every device holds what history holds of these channels, and checks that everything agrees.
pub(crate) async fn finish(
    channels: &[Id],
    ledger: &Ledger,
    reader: &Account,
    clients: impl IntoIterator<Item = Client>,
) -> (Vec<Vec<Message>>, Vec<Journal>) {
    let histories = join_all(channels.iter().map(|channel| reader.history(*channel, 0))).await;
    let mut journals = Vec::new();
    for client in clients {
        for (channel, history) in channels.iter().zip(&histories) {
            client.holds(*channel, history.last().map_or(0, |message| message.message_id)).await;
        }
        journals.push(client.stop().await);
    }
    for (channel, history) in channels.iter().zip(&histories) {
        expect_whole(*channel, ledger, history, &journals);
    }
    (histories, journals)
}
