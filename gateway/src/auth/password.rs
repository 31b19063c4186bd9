//! Passwords: argon2id with the parameters that OWASP recommends (19 MiB, two passes, one lane).
//!
//! A hash takes about 20 ms of one core and 19 MiB, so they are made on blocking threads, one a
//! core at a time, and only so many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use pabal_core::protocol::{Problem, ProblemCode};
use tokio::sync::Semaphore;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Makes and checks password hashes, so many at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Passwords {
    at_work: Arc<Semaphore>,
    /// Places for those at work and those who wait.
    admitted: Arc<Semaphore>,
    /// What the password of a user who does not exist is compared with.
    nobody: Arc<str>,
    /// As many passwords as were compared with a hash, nobody's among them.
    verified: Arc<AtomicU64>,
}

/// Why a hash could not be made or read. A defect, of the code or of the stored hash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The parameters of the hash are not allowed.
    #[error("argon2 parameters: {0}")]
    Parameters(#[from] argon2::Error),
    /// A hash could not be made, or what is stored is none.
    #[error("password hash: {0}")]
    Hash(String),
}

impl Passwords {
    /// Hashes on `cores` threads at once, while up to `waiting` more wait. Takes the time of one
    /// hash.
    ///
    /// # Errors
    /// [`PasswordError`]; do not retry.
    pub fn new(cores: usize, waiting: usize) -> Result<Self, PasswordError> {
        let cores = cores.max(1);
        Ok(Self {
            at_work: Arc::new(Semaphore::new(cores)),
            admitted: Arc::new(Semaphore::new(cores + waiting)),
            nobody: hash(&super::new_token())?.into(),
            verified: Arc::default(),
        })
    }

    /// The hash to store for `password`, in PHC string format.
    ///
    /// # Errors
    /// `unavailable` when too many wait already; retry.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.run(move || hash(&password)).await
    }

    /// Whether `password` is the one that `stored` was made from. Without a stored hash the answer
    /// is no, after the same time, so that the time does not tell which users exist.
    ///
    /// # Errors
    /// `unavailable` when too many wait already; retry.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Problem> {
        let exists = stored.is_some();
        let (nobody, verified) = (Arc::clone(&self.nobody), Arc::clone(&self.verified));
        let work = move || {
            let same = verify(&password, stored.as_deref().unwrap_or(&nobody));
            verified.fetch_add(1, Ordering::Relaxed);
            same
        };
        Ok(self.run(work).await? && exists)
    }

    /// How many passwords were verified, those of users who do not exist among them.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || {
            Problem::new(ProblemCode::Unavailable, "too many log-ins at once")
                .retry_after(Duration::from_secs(1))
        };
        let place = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.at_work).acquire_owned().await.map_err(|_| busy())?;
        // The permits go along: a caller who left does not make room before the work is done.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        let failed = |error: &dyn std::error::Error| {
            tracing::error!(%error, "a password could not be checked");
            Problem::new(ProblemCode::Internal, "the password cannot be checked")
        };
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = argon2()?
        .hash_password(password.as_bytes())
        .map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

fn verify(password: &str, stored: &str) -> Result<bool, PasswordError> {
    let stored =
        PasswordHash::new(stored).map_err(|error| PasswordError::Hash(error.to_string()))?;
    match argon2()?.verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(PasswordError::Hash(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_same_password_fits() {
        let passwords = Passwords::new(2, 8).expect("parameters");
        let stored = passwords.hash("correct horse".into()).await.expect("hash");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let fits = |password: &str| passwords.verify(password.into(), Some(stored.clone()));
        assert!(fits("correct horse").await.expect("checked"));
        assert!(!fits("correct house").await.expect("checked"));
        assert!(!passwords.verify("any".into(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn beyond_the_bound_clients_are_told_to_come_back() {
        let passwords = Passwords::new(1, 1).expect("parameters");
        let _held = passwords.at_work.acquire().await.expect("open");
        let _places = passwords.admitted.acquire_many(2).await.expect("open");
        let refused = passwords.hash("whatever".into()).await.expect_err("no room");
        assert_eq!(refused.code, ProblemCode::Unavailable);
        assert!(refused.retry_after.is_some());
    }
}
