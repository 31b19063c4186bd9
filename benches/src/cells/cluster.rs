//! Fan-out across nodes: the cost of a message in Redis if the sessions of the group are on one node, and on
//! three. Three nodes with one Redis, PostgreSQL and Cassandra, all on this machine.

use std::process::{Command, Stdio};

use pabal_lab::api::{Account, Client, sign_up_many};
use pabal_lab::group::Group;
use pabal_lab::process::Server;
use pabal_lab::swarm::Swarm;
use pabal_lab::wire::Framing;
use pabal_servers::{Cassandra, Postgres, Redis};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Setting;
use super::scene::{CONTENT, SESSIONS_PER_USER, Transport, open, send_command};
use crate::Outcome;
use crate::report::{Claim, Report, Target, figure};

const NODES: usize = 3;
/// Sessions of the group, and the nodes they are on.
const SCENES: [(usize, usize); 4] = [(100, 1), (1_000, 1), (100, NODES), (1_000, NODES)];

/// What a message cost.
#[derive(Clone, Copy)]
struct Cost {
    /// Calls of Redis: scripts and reads of streams.
    calls: f64,
    /// Its CPU, in microseconds.
    cpu_us: f64,
}

/// The claims about fan-out across nodes.
///
/// # Errors
/// If a server is missing, or a message is lost.
pub fn run(setting: &Setting, report: &mut Report) -> Outcome<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut stage = Stage::start(setting, &runtime)?;
    report.note(format!(
        "{NODES} nodes on one core, {CONTENT} bytes of content; Redis without AOF, PostgreSQL and one \
         Cassandra (commitlog_sync: batch) beside them and the load generator"
    ));
    for &window in &setting.windows {
        let mut costs = Vec::new();
        for (sessions, nodes) in SCENES {
            eprintln!("  W{window}, {sessions} sessions on {nodes} node(s)");
            costs.push(stage.measure((sessions, nodes), window, setting, report)?);
        }
        let [few, many, few_spread, many_spread] = costs[..] else { return Err("scenes".into()) };
        let mut claim = |what: &str, ours: Cost, theirs: Cost, at_most: f64| {
            for (figure, unit, ours, theirs) in [
                ("calls of Redis a message", "", ours.calls, theirs.calls),
                ("Redis CPU a message", "µs", ours.cpu_us, theirs.cpu_us),
            ] {
                report.claim(Claim {
                    cell: "cluster".into(),
                    what: format!("W{window} {figure}, {what}"),
                    ours,
                    theirs: Some(theirs),
                    unit: unit.into(),
                    target: Target::AtMost(at_most),
                });
            }
        };
        claim("1,000 to 100 sessions on one node", many, few, 1.5);
        claim("1,000 to 100 sessions on three nodes", many_spread, few_spread, 1.5);
        claim("1,000 sessions on three nodes to one", many_spread, many, NODES as f64);
    }
    Ok(())
}

/// A sender, and the users of so many sessions.
fn users_of(sessions: usize) -> usize {
    sessions.div_ceil(SESSIONS_PER_USER) + 1
}

/// The nodes and their servers. Nodes are dropped first.
struct Stage<'a> {
    runtime: &'a Runtime,
    nodes: Vec<Server>,
    /// Users of later measurements. Each has users of its own, because sessions outlive their connections and
    /// would count.
    users: Vec<Account>,
    redis: Redis,
    _servers: (Postgres, Cassandra, TempDir),
}

impl<'a> Stage<'a> {
    fn start(setting: &Setting, runtime: &'a Runtime) -> Outcome<Self> {
        eprintln!("  Redis, PostgreSQL and Cassandra start");
        let (redis, postgres, cassandra) = runtime.block_on(async {
            let redis = Redis::start_with(&[("appendonly", "no")]);
            tokio::try_join!(redis, Postgres::start(), Cassandra::start())
        })?;
        let directory = runtime.block_on(postgres.database());
        let folder = setting.folder()?;
        let data = folder.path().join("none");
        let (queue, history) = (redis.url(), cassandra.keyspace());
        let stores = [
            ("PABAL_STORAGE_QUEUE", &*queue),
            ("PABAL_STORAGE_HISTORY", &history),
            ("PABAL_STORAGE_DIRECTORY", &directory),
        ];
        let migrated = Command::new(&setting.pabal)
            .arg("migrate")
            .envs(stores)
            .stdout(Stdio::null())
            .status()?;
        if !migrated.success() {
            return Err("pabal migrate failed".into());
        }
        let mut nodes = Vec::new();
        for number in 1..=NODES {
            let name = format!("n{number}");
            let environment = [&stores[..], &[("PABAL_NODE_NAME", &name)]].concat();
            nodes.push(Server::pabal(&setting.pabal, &data, &environment)?);
        }
        let needed = SCENES.iter().map(|(sessions, _)| users_of(*sessions)).sum::<usize>();
        let users = sign_up_many(nodes[0].address(), needed * setting.windows.len())?;
        Ok(Self { runtime, nodes, users, redis, _servers: (postgres, cassandra, folder) })
    }

    fn measure(
        &mut self,
        (sessions, nodes): (usize, usize),
        window: u64,
        setting: &Setting,
        report: &mut Report,
    ) -> Outcome<Cost> {
        let rest = self.users.len().checked_sub(users_of(sessions)).ok_or("too few users")?;
        let taken = self.users.split_off(rest);
        let (owner, users) = taken.split_last().ok_or("no users")?;
        let channel = Client::connect(self.nodes[0].address())?.group(owner, users)?;
        let (mut swarm, mut listeners) = (Swarm::new()?, Vec::with_capacity(sessions));
        for number in 0..sessions {
            let (node, user) = (&self.nodes[number % nodes], &users[number / SESSIONS_PER_USER]);
            listeners.push(open(node, user, Transport::WebSocket, number, &mut swarm)?);
        }
        let (stream, read) = Client::connect(self.nodes[0].address())?.websocket(Some(owner))?;
        let sender = swarm.add(stream, read, Framing::WebSocket)?;
        let text = send_command(&channel, &"x".repeat(CONTENT)).into_bytes();
        let mut group = Group::new(swarm, listeners, sender, text)?;
        let (calls, sent) = (self.calls()?, group.sent());
        let round = group.run(self.redis.id(), window, 2 * setting.span())?;
        let calls = self.calls()? - calls;
        let cost = Cost {
            calls: calls as f64 / (group.sent() - sent) as f64,
            cpu_us: round.server_cpu.as_secs_f64() * 1e6 / round.messages as f64,
        };
        report.note(format!(
            "W{window}, {sessions} sessions on {nodes} node(s): {} messages/s, {} deliveries/s, latency \
             p50 {} p99 {} ms; {} calls of Redis and {} µs of its CPU a message",
            figure(round.messages as f64 / round.wall.as_secs_f64()),
            figure(round.rate()),
            figure(round.latency_ms(0.5)),
            figure(round.latency_ms(0.99)),
            figure(cost.calls),
            figure(cost.cpu_us),
        ));
        Ok(cost)
    }

    /// All scripts and reads of streams that Redis has received so far.
    fn calls(&self) -> Outcome<u64> {
        let stats = self.runtime.block_on(self.redis.command(&["INFO", "commandstats"]));
        let calls = stats.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let sent = ["evalsha", "eval", "xread"].contains(&name);
            sent.then(|| rest.split(',').next()?.parse::<u64>().ok())?
        });
        let calls = calls.sum();
        if calls == 0 {
            Err(format!("unexpected statistics of Redis: {stats:?}").into())
        } else {
            Ok(calls)
        }
    }
}
