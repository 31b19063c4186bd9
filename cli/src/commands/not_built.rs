//! Commands that a smaller build leaves out. Their names remain, so that the program can report what is
//! missing and how to build it.

/// An error for a command that is not part of this build.
#[derive(Debug, thiserror::Error)]
#[error(
    "`pabal {0}` is not part of this build: build the program with all features \
     (`cargo build --release -p pabal-cli`)"
)]
pub(crate) struct NotBuilt(pub(crate) &'static str);

/// Accepts any arguments: the command itself is refused.
#[cfg(not(all(feature = "chat", feature = "lab", feature = "load")))]
#[derive(clap::Args, Debug)]
pub(crate) struct Flags {
    /// Ignored arguments
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    ignored: Vec<std::ffi::OsString>,
}
