//! Attacks on one node: each tries to take more memory or time than the node's limits allow, while two uninvolved
//! users talk. Every attack is limited in count and time and runs on a node and a data folder of its own. The node
//! has one core; attackers and neighbours share another, if the machine has two.

mod answers;
mod connections;
mod floods;
mod kind;
mod memory;
mod neighbours;
mod report;
mod scene;

use std::time::Duration;

pub use kind::Attack;
pub use memory::pin_this_process;
pub use report::{Report, Row};

use scene::Scene;

/// How long the neighbours talk before the attack, for comparison.
const UNDISTURBED: Duration = Duration::from_secs(4);

/// Runs the attacks in order, and passes a line of progress for each to `progress`.
///
/// # Panics
/// If a node does not start, or refuses what an ordinary client asks before the attack.
pub async fn run(attacks: &[Attack], mut progress: impl FnMut(&str)) -> Report {
    let mut report = Report::default();
    for attack in attacks {
        progress(&format!("{attack}: {}", attack.description()));
        let scene = Scene::start(attack.settings()).await;
        let row = play(*attack, &scene).await;
        progress(&format!("  {row}"));
        report.rows.push(row);
    }
    report
}

async fn play(attack: Attack, scene: &Scene) -> Row {
    let prepared = attack.prepare(scene).await;
    scene.warm_up().await;
    let alone = scene.neighbours.measure(tokio::time::sleep(UNDISTURBED)).await.1;
    let warmed_up = scene.memory.resident();
    scene.memory.reset_peak();
    let (requests, beside) = scene.neighbours.measure(attack.launch(scene, &prepared)).await;
    let peak = scene.memory.peak();
    drop(prepared);
    let recovered = scene.memory.returns_to(warmed_up).await;
    let alive = scene.node.runs() && scene.serves().await;
    Row { attack, requests, warmed_up, peak, recovered, alone, beside, alive }
}
