//! Log-in and sign-up: with a stored token, or with a password that is prompted for.

use std::fs::{self, File};
use std::io::{ErrorKind, Write, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use pabal_client::{Account, Client, Token};

use crate::Failure;
use crate::flags::Flags;
use crate::requests::describe;
use crate::screen::{Raw, Signals};

/// The variable with the password, which replaces the prompt. There is no flag for it, because every user of
/// the machine can read command lines.
const PASSWORD: &str = "PABAL_PASSWORD";

/// Logs in or signs up.
pub(crate) async fn sign_in(
    flags: &Flags,
    keys: &mut EventStream,
    signals: &mut Signals,
) -> Result<Account, Failure> {
    let client = Client::builder(&flags.url).build()?;
    let file = flags.remember.as_deref();
    if let Some(file) = file
        && let Some(token) = stored_token(file, flags)?
    {
        match client.resume(token).await {
            Err(error) if error.is_unauthenticated() => {}
            resumed => return Ok(resumed?),
        }
    }
    let account = match std::env::var(PASSWORD) {
        Ok(password) => enter(&client, flags, &password).await?,
        Err(_) => {
            let password = prompt(&format!("Password for {}: ", flags.user), keys, signals).await?;
            if flags.sign_up && prompt("Repeat the password: ", keys, signals).await? != password {
                return Err(Failure::PasswordsDiffer);
            }
            enter(&client, flags, &password).await?
        }
    };
    if let Some(file) = file {
        store_token(file, flags, &account)?;
    }
    Ok(account)
}

async fn enter(client: &Client, flags: &Flags, password: &str) -> Result<Account, Failure> {
    if flags.sign_up {
        return Ok(client.sign_up(&flags.user, password).await?);
    }
    let account = client.log_in_on("terminal", &flags.user, password).await;
    account.map_err(|error| match error.is_unauthenticated() {
        true => Failure::NotLoggedIn(describe(&error)),
        false => error.into(),
    })
}

/// Prompts for a secret, which is not echoed.
async fn prompt(
    words: &str,
    keys: &mut EventStream,
    signals: &mut Signals,
) -> Result<String, Failure> {
    let mut err = stderr();
    write!(err, "{words}").and_then(|()| err.flush())?;
    let raw = Raw::enter()?;
    let secret = typed(keys, signals).await;
    drop(raw);
    writeln!(err)?;
    secret
}

async fn typed(keys: &mut EventStream, signals: &mut Signals) -> Result<String, Failure> {
    let mut secret = String::new();
    loop {
        let event = tokio::select! {
            event = keys.next() => event.ok_or(Failure::Canceled)??,
            () = signals.next() => return Err(Failure::Canceled),
        };
        let key = match event {
            Event::Paste(text) => {
                secret.push_str(text.trim_end_matches(['\r', '\n']));
                continue;
            }
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            _ => continue,
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Ok(secret),
            KeyCode::Esc => return Err(Failure::Canceled),
            KeyCode::Char('c' | 'd') if control => return Err(Failure::Canceled),
            KeyCode::Char('u') if control => secret.clear(),
            KeyCode::Char(letter) if !control => secret.push(letter),
            KeyCode::Backspace => drop(secret.pop()),
            _ => {}
        }
    }
}

/// Reads the stored token. The file has three lines: the server, the user and the token. A token of another
/// server or user is never sent.
fn stored_token(file: &Path, flags: &Flags) -> Result<Option<Token>, Failure> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next()) {
        (Some(url), Some(user), Some(token)) if url == flags.url && user == flags.user => {
            Ok(Some(Token::new(token)?))
        }
        _ => Err(Failure::WrongTokenFile(file.to_owned())),
    }
}

fn store_token(file: &Path, flags: &Flags, account: &Account) -> Result<(), Failure> {
    // An existing file was read before, and its token has ended. The file is created anew, so that other
    // users cannot read it at any moment.
    if let Err(error) = fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(out, "{}\n{}\n{}", flags.url, flags.user, account.token().reveal())?;
    Ok(())
}
