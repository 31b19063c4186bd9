//! Requests on their way: a few at a time, the others in a queue with a bound. They are polled by whoever
//! waits for the next answer, so that none outlives the program's one task.

use std::collections::VecDeque;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use pabal_client::{Account, ChannelId, Error, PageFrom, User};

use crate::input::{Answer, Ask};

/// Requests at a time.
const AT_A_TIME: usize = 4;
/// Requests that wait.
const WAITING: usize = 1_024;

type Answered = (Ask, Result<Answer, String>);

/// Requests on their way.
#[derive(Debug)]
pub(crate) struct Requests {
    account: Account,
    waiting: VecDeque<Ask>,
    running: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// What there was no room for.
    refused: VecDeque<Ask>,
}

impl Requests {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            account,
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            refused: VecDeque::new(),
        }
    }

    /// Asks, when it is its turn. Without room the answer is a refusal.
    pub(crate) fn ask(&mut self, ask: Ask) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(ask);
        } else if self.refused.len() < WAITING {
            self.refused.push_back(ask);
        }
        self.start();
    }

    /// The next answer; never comes while nothing was asked. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Answered {
        if let Some(ask) = self.refused.pop_front() {
            return (ask, Err("too many requests are waiting".into()));
        }
        match self.running.next().await {
            Some(answered) => {
                self.start();
                answered
            }
            None => std::future::pending().await,
        }
    }

    fn start(&mut self) {
        while self.running.len() < AT_A_TIME
            && let Some(ask) = self.waiting.pop_front()
        {
            let account = self.account.clone();
            let answer = async move {
                let answer = answer(&account, &ask).await.map_err(|refusal| refusal.0);
                (ask, answer)
            };
            self.running.push(answer.boxed());
        }
    }
}

/// Why there is no answer, for people.
struct Refusal(String);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(told(&error))
    }
}

/// What went wrong, for people: the server's own words, where it said any.
pub(crate) fn told(error: &Error) -> String {
    let Error::Problem(problem) = error else { return error.to_string() };
    let fields = problem.errors.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.detail));
    let fields: Vec<_> = fields.collect();
    match (problem.detail.as_str(), fields.is_empty()) {
        ("", true) => problem.code.to_string(),
        ("", false) => fields.join("; "),
        (detail, true) => detail.to_owned(),
        (detail, false) => format!("{detail}: {}", fields.join("; ")),
    }
}

async fn answer(account: &Account, ask: &Ask) -> Result<Answer, Refusal> {
    Ok(match ask {
        Ask::Channels => {
            let (mut all, mut from) = (Vec::new(), None);
            loop {
                let page = account.channels(from).await?;
                from = page.entries.last().map(|channel| channel.channel_id);
                all.extend(page.entries);
                if !page.has_more || from.is_none() {
                    break Answer::Channels(all);
                }
            }
        }
        Ask::Channel(channel_id) => Answer::Channel(account.channel(*channel_id).await?),
        Ask::Friends => Answer::Friends(account.friends(None).await?.entries),
        Ask::User(user_id) => Answer::User(account.user_of(*user_id).await?),
        Ask::History(channel_id, before) => {
            let from = before.map_or(PageFrom::Newest, PageFrom::Before);
            let page = account.messages(*channel_id, from).await?;
            Answer::History(page.entries, page.has_more)
        }
        Ask::Members(channel_id) => {
            Answer::Members(account.members(*channel_id, None).await?.entries)
        }
        Ask::Direct(name) => {
            let user = find(account, name).await?;
            Answer::Opened(account.direct(user.user_id).await?, vec![user])
        }
        Ask::DirectWith(user_id) => Answer::Opened(account.direct(*user_id).await?, Vec::new()),
        Ask::Group(name, members) => {
            let mut users = Vec::new();
            for member in members {
                users.push(find(account, member).await?);
            }
            let ids: Vec<_> = users.iter().map(|user| user.user_id).collect();
            Answer::Opened(account.create_group(name, &ids).await?, users)
        }
        Ask::Add(channel_id, name) => add(account, *channel_id, name).await?,
        Ask::Befriend(user_id) => Answer::Befriended(account.befriend(*user_id).await?),
        Ask::Repeat(channel_id, _, content, name) => {
            Answer::Repeated(account.post_message(*channel_id, content, name).await?)
        }
    })
}

async fn add(account: &Account, channel_id: ChannelId, name: &str) -> Result<Answer, Refusal> {
    let user = find(account, name).await?;
    account.put_member(channel_id, user.user_id, None).await?;
    Ok(Answer::Added(user))
}

/// The user of exactly this name.
async fn find(account: &Account, name: &str) -> Result<User, Refusal> {
    let name = name.trim_start_matches('@').to_lowercase();
    let found = account.find_users(&name).await?.entries;
    let nobody = || Refusal(format!("there is no user {name}"));
    found.into_iter().find(|user| user.username == name).ok_or_else(nobody)
}
