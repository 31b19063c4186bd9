//! Requests: a few in flight, the others in a bounded queue. They are polled by the caller of `next`, so none
//! outlives the program's one task.

use std::collections::VecDeque;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use pabal_client::{Account, ChannelId, Error, PageFrom, User};

use crate::input::{Request, Response};

/// How many requests are in flight at a time.
const AT_A_TIME: usize = 4;
/// How many requests may wait.
const WAITING: usize = 1_024;

type Responded = (Request, Result<Response, String>);

/// Requests that are waiting or in flight.
#[derive(Debug)]
pub(crate) struct Requests {
    account: Account,
    waiting: VecDeque<Request>,
    running: FuturesUnordered<BoxFuture<'static, Responded>>,
    /// Requests for which the queue was full.
    refused: VecDeque<Request>,
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

    /// Sends a request in its turn. While the queue is full the response is an error.
    pub(crate) fn send(&mut self, request: Request) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back(request);
        } else if self.refused.len() < WAITING {
            self.refused.push_back(request);
        }
        self.start();
    }

    /// The next response; pending while there is no request. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Responded {
        if let Some(request) = self.refused.pop_front() {
            return (request, Err("too many requests are waiting".into()));
        }
        match self.running.next().await {
            Some(responded) => {
                self.start();
                responded
            }
            None => std::future::pending().await,
        }
    }

    fn start(&mut self) {
        while self.running.len() < AT_A_TIME
            && let Some(request) = self.waiting.pop_front()
        {
            let account = self.account.clone();
            let response = async move {
                let response = perform(&account, &request).await.map_err(|refusal| refusal.0);
                (request, response)
            };
            self.running.push(response.boxed());
        }
    }
}

/// Why a request failed, for people.
struct Refusal(String);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(describe(&error))
    }
}

/// A description of an error for people: the detail that the server gave, if it gave one.
pub(crate) fn describe(error: &Error) -> String {
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

async fn perform(account: &Account, request: &Request) -> Result<Response, Refusal> {
    Ok(match request {
        Request::Channels => {
            let (mut all, mut from) = (Vec::new(), None);
            loop {
                let page = account.channels(from).await?;
                from = page.entries.last().map(|channel| channel.channel_id);
                all.extend(page.entries);
                if !page.has_more || from.is_none() {
                    break Response::Channels(all);
                }
            }
        }
        Request::Channel(channel_id) => Response::Channel(account.channel(*channel_id).await?),
        Request::Friends => Response::Friends(account.friends(None).await?.entries),
        Request::User(user_id) => Response::User(account.user_of(*user_id).await?),
        Request::History(channel_id, before) => {
            let from = before.map_or(PageFrom::Newest, PageFrom::Before);
            let page = account.messages(*channel_id, from).await?;
            Response::History(page.entries, page.has_more)
        }
        Request::Members(channel_id) => {
            Response::Members(account.members(*channel_id, None).await?.entries)
        }
        Request::Direct(name) => {
            let user = find(account, name).await?;
            Response::Opened(account.direct(user.user_id).await?, vec![user])
        }
        Request::DirectWith(user_id) => {
            Response::Opened(account.direct(*user_id).await?, Vec::new())
        }
        Request::Group(name, members) => {
            let mut users = Vec::new();
            for member in members {
                users.push(find(account, member).await?);
            }
            let ids: Vec<_> = users.iter().map(|user| user.user_id).collect();
            Response::Opened(account.create_group(name, &ids).await?, users)
        }
        Request::Add(channel_id, name) => add(account, *channel_id, name).await?,
        Request::Befriend(user_id) => Response::Befriended(account.befriend(*user_id).await?),
        Request::Repeat(channel_id, _, content, name) => {
            Response::Repeated(account.post_message(*channel_id, content, name).await?)
        }
    })
}

async fn add(account: &Account, channel_id: ChannelId, name: &str) -> Result<Response, Refusal> {
    let user = find(account, name).await?;
    account.put_member(channel_id, user.user_id, None).await?;
    Ok(Response::Added(user))
}

/// The user with exactly this name.
async fn find(account: &Account, name: &str) -> Result<User, Refusal> {
    let name = name.trim_start_matches('@').to_lowercase();
    let found = account.find_users(&name).await?.entries;
    let unknown = || Refusal(format!("there is no user {name}"));
    found.into_iter().find(|user| user.username == name).ok_or_else(unknown)
}
