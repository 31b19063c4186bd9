//! Becoming somebody: by what was remembered, or by a password that is asked for.

use std::fs::{self, File};
use std::io::{ErrorKind, Write, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use pabal_client::{Account, Client, Token};

use crate::Failure;
use crate::flags::Flags;
use crate::requests::told;
use crate::screen::{Raw, Signals};

/// Where a password may stand instead of being asked for. On a command line everybody could read it.
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
        && let Some(token) = remembered(file, flags)?
    {
        match client.resume(token).await {
            Err(error) if error.is_unauthenticated() => {}
            resumed => return Ok(resumed?),
        }
    }
    let account = match std::env::var(PASSWORD) {
        Ok(password) => enter(&client, flags, &password).await?,
        Err(_) => {
            let password = ask(&format!("Password of {}: ", flags.user), keys, signals).await?;
            if flags.sign_up && ask("The same again: ", keys, signals).await? != password {
                return Err(Failure::NotTheSame);
            }
            enter(&client, flags, &password).await?
        }
    };
    if let Some(file) = file {
        remember(file, flags, &account)?;
    }
    Ok(account)
}

async fn enter(client: &Client, flags: &Flags, password: &str) -> Result<Account, Failure> {
    if flags.sign_up {
        return Ok(client.sign_up(&flags.user, password).await?);
    }
    let account = client.log_in_on("terminal", &flags.user, password).await;
    account.map_err(|error| match error.is_unauthenticated() {
        true => Failure::NotLoggedIn(told(&error)),
        false => error.into(),
    })
}

/// Asks for a secret: what is typed is not shown.
async fn ask(
    words: &str,
    keys: &mut EventStream,
    signals: &mut Signals,
) -> Result<String, Failure> {
    let mut err = stderr();
    write!(err, "{words}").and_then(|()| err.flush())?;
    let raw = Raw::enter()?;
    let answer = typed(keys, signals).await;
    drop(raw);
    writeln!(err)?;
    answer
}

async fn typed(keys: &mut EventStream, signals: &mut Signals) -> Result<String, Failure> {
    let mut secret = String::new();
    loop {
        let event = tokio::select! {
            event = keys.next() => event.ok_or(Failure::GivenUp)??,
            () = signals.next() => return Err(Failure::GivenUp),
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
            KeyCode::Esc => return Err(Failure::GivenUp),
            KeyCode::Char('c' | 'd') if control => return Err(Failure::GivenUp),
            KeyCode::Char('u') if control => secret.clear(),
            KeyCode::Char(letter) if !control => secret.push(letter),
            KeyCode::Backspace => drop(secret.pop()),
            _ => {}
        }
    }
}

/// Three lines: the server, the user, the token. It is nobody else's business what another server's is.
fn remembered(file: &Path, flags: &Flags) -> Result<Option<Token>, Failure> {
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
        _ => Err(Failure::SomethingElse(file.to_owned())),
    }
}

fn remember(file: &Path, flags: &Flags, account: &Account) -> Result<(), Failure> {
    // One that is there was read before, and its token has ended. A new one is nobody else's from its
    // first moment.
    if let Err(error) = fs::remove_file(file)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(out, "{}\n{}\n{}", flags.url, flags.user, account.token().reveal())?;
    Ok(())
}
