//! `pabal user`: the commands of an operator for accounts. They work on the directory itself,
//! whether or not a node runs; a running node reads from the directory which sessions it must end
//! (decision 0007).

use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use pabal_core::ports::{Account, Accounts};

use super::data::DataFlags;
use super::{CommandError, print};
use pabal_gateway::api::password_rule;
use pabal_gateway::auth::{Passwords, new_token};
use pabal_gateway::stores::OpenDirectory;

/// How many accounts are read at a time.
const PAGE: usize = 500;

/// The flags of `pabal user`.
#[derive(Args, Debug)]
pub(crate) struct UserCommand {
    #[command(flatten)]
    data: DataFlags,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all accounts: name, state, number of devices, day of sign-up
    List,
    /// Show an account and its devices
    Show(Name),
    /// Disable an account: end all tokens and sessions, and refuse log-ins
    Disable(Name),
    /// Enable a disabled account
    Enable(Name),
    /// Set a new password, and end all tokens and sessions of the user
    ///
    /// By default a random password is generated and printed.
    ResetPassword {
        #[command(flatten)]
        name: Name,
        /// Read the new password from the first line of standard input
        #[arg(long)]
        stdin: bool,
    },
    /// End all tokens and sessions of a user, who can log in again
    EndSessions(Name),
}

#[derive(Args, Debug)]
struct Name {
    /// Username
    #[arg(value_name = "NAME")]
    name: String,
}

impl UserCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CommandError`]. No account was changed.
    pub(crate) async fn run(&self) -> Result<(), CommandError> {
        let config = self.data.load()?;
        let directory = OpenDirectory::open_existing(&config.storage).await?;
        let done = self.act(directory.accounts()).await;
        directory.close().await;
        print(&done?)?;
        Ok(())
    }

    async fn act(&self, accounts: &dyn Accounts) -> Result<String, CommandError> {
        match &self.action {
            Action::List => list(accounts).await,
            Action::Show(name) => show(accounts, name).await,
            Action::Disable(name) => set_disabled(accounts, name, true).await,
            Action::Enable(name) => set_disabled(accounts, name, false).await,
            Action::ResetPassword { name, stdin } => reset_password(accounts, name, *stdin).await,
            Action::EndSessions(name) => {
                let account = named(accounts, name).await?;
                let ended = accounts.end_access(account.user.user_id).await?;
                Ok(format!("{}: {ended} tokens ended\n", account.user.username))
            }
        }
    }
}

async fn named(accounts: &dyn Accounts, name: &Name) -> Result<Account, CommandError> {
    let found = accounts.account(&pabal_gateway::api::username_form(&name.name)).await?;
    found.ok_or_else(|| CommandError::NoUser(name.name.clone()))
}

fn line(account: &Account) -> String {
    let Account { user, disabled, devices } = account;
    let state = if *disabled { "disabled" } else { "enabled" };
    let created = user.created_at.to_string();
    let day = created.split('T').next().unwrap_or_default();
    format!("{}\t{state}\t{devices}\t{day}\n", user.username)
}

async fn list(accounts: &dyn Accounts) -> Result<String, CommandError> {
    let (mut text, mut after) = (String::new(), String::new());
    loop {
        let page = accounts.accounts(&after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(text);
        };
        after.clone_from(&last.user.username);
        text.extend(page.iter().map(line));
    }
}

async fn show(accounts: &dyn Accounts, name: &Name) -> Result<String, CommandError> {
    let account = named(accounts, name).await?;
    let Account { user, disabled, .. } = &account;
    let mut accesses = accounts.accesses(user.user_id).await?;
    accesses.sort_by_key(|access| access.device.device_id);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "user_id       {}\nusername      {}\ndisplay_name  {}\ncreated_at    {}\nstate         {}",
        user.user_id,
        user.username,
        user.display_name,
        user.created_at,
        if *disabled { "disabled" } else { "enabled" },
    );
    for access in accesses {
        let device = &access.device;
        let name = if device.name.is_empty() { "(no name)" } else { &device.name };
        let until = access.expires_at;
        let _ = writeln!(text, "device        {} {name}, until {until}", device.device_id);
    }
    Ok(text)
}

async fn set_disabled(
    accounts: &dyn Accounts,
    name: &Name,
    disabled: bool,
) -> Result<String, CommandError> {
    let account = named(accounts, name).await?;
    let changed = accounts.set_disabled(account.user.user_id, disabled).await?;
    let state = if disabled { "disabled" } else { "enabled" };
    let before = if changed { "" } else { " already" };
    Ok(format!("{} is{before} {state}\n", account.user.username))
}

async fn reset_password(
    accounts: &dyn Accounts,
    name: &Name,
    stdin: bool,
) -> Result<String, CommandError> {
    let account = named(accounts, name).await?;
    let (password, notice) = match stdin {
        true => (first_line()?, String::new()),
        false => {
            let generated = new_token();
            (generated.clone(), format!("new password: {generated}\n"))
        }
    };
    password_rule("password", &password)
        .map_err(|problem| CommandError::Password(problem.detail))?;
    let passwords = Passwords::new(1, 1)?;
    let hash = passwords.hash(Ipv4Addr::LOCALHOST.into(), password).await;
    let hash = hash.map_err(|problem| CommandError::Password(problem.detail))?;
    accounts.change_password(account.user.user_id, hash).await?;
    Ok(format!("{} has a new password; all tokens ended\n{notice}", account.user.username))
}

fn first_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
