//! Systems take turns (A B C A B C), so that the load of other programs affects all alike.

use std::time::{Duration, Instant};

use super::DISTURBED;
use super::host::{System, Transport};
use crate::Outcome;
use crate::process::{SERVER_CORE, Server, core_busy};

/// A system in the middle of a task.
pub(super) trait Scene {
    fn system(&self) -> &dyn System;

    fn server(&self) -> &Server;

    /// Runs and measures the task for this long.
    fn turn(&mut self, span: Duration) -> Outcome<()>;

    /// Replies to what has arrived during the turns of others, such as pings.
    fn attend(&mut self) -> Outcome<()>;
}

/// The systems that take turns on one transport.
pub(super) struct Turns<'a, S> {
    scenes: Vec<Option<S>>,
    over: Transport,
    progress: &'a dyn Fn(&str),
}

impl<'a, S: Scene> Turns<'a, S> {
    /// The prepared systems with this transport.
    pub(super) fn set<'b>(
        systems: &'b [Box<dyn System>],
        over: Transport,
        progress: &'a dyn Fn(&str),
        set: impl Fn(&'b dyn System) -> Outcome<S>,
    ) -> Self {
        let mut scenes = Vec::new();
        for system in systems.iter().map(Box::as_ref).filter(|system| system.speaks(over)) {
            progress(&format!("{}: clients of {}", over.name(), system.name()));
            match set(system) {
                Ok(scene) => scenes.push(Some(scene)),
                Err(error) => left_out(progress, system, over, &*error),
            }
        }
        Self { scenes, over, progress }
    }

    /// Gives each system so many turns; returns the share of the servers' core that other programs used, if there
    /// was a turn.
    pub(super) fn take(&mut self, turns: usize, span: Duration, what: &str) -> Option<f64> {
        let (mut wall, mut others) = (Duration::ZERO, Duration::ZERO);
        for turn in 1..=turns {
            (self.progress)(&format!("{}: {what}, turn {turn} of {turns}", self.over.name()));
            for number in 0..self.scenes.len() {
                self.attempt(number, |scene| {
                    let before = (Instant::now(), core_busy(SERVER_CORE)?, scene.server().cpu()?);
                    scene.turn(span)?;
                    wall += before.0.elapsed();
                    let busy = core_busy(SERVER_CORE)? - before.1;
                    others += busy.saturating_sub(scene.server().cpu()? - before.2);
                    Ok(())
                });
                for other in 0..self.scenes.len() {
                    self.attempt(other, S::attend);
                }
            }
        }
        let share = others.as_secs_f64() / wall.as_secs_f64();
        if share > DISTURBED {
            (self.progress)(&format!(
                "{}: {what}: other programs had {:.0} % of the servers' core: rates are too low and \
                 times too long, compare CPU",
                self.over.name(),
                share * 100.0
            ));
        }
        share.is_finite().then_some(share)
    }

    /// The systems without an error.
    pub(super) fn scenes(&mut self) -> impl Iterator<Item = &mut S> {
        self.scenes.iter_mut().flatten()
    }

    fn attempt(&mut self, number: usize, act: impl FnOnce(&mut S) -> Outcome<()>) {
        let slot = &mut self.scenes[number];
        if let Some(scene) = slot
            && let Err(error) = act(scene)
        {
            left_out(self.progress, scene.system(), self.over, &*error);
            *slot = None;
        }
    }
}

/// Reports why the rows of a system are missing.
pub(super) fn left_out(
    progress: &dyn Fn(&str),
    system: &dyn System,
    over: Transport,
    error: &(dyn std::error::Error + Send + Sync),
) {
    progress(&format!("{} over {} is left out: {error}", system.name(), over.name()));
}
