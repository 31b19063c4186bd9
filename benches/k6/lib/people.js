// Users and channels: made before the first visit, and logged out after the last one.

import exec from 'k6/execution';
import { call } from './api.js';
import { DISCOVER, GROUP, URLS, people } from './plan.js';

/** Concurrent sign-ups: each costs the server 20 ms of CPU for password hashing. */
const AT_A_TIME = 8;

export async function setup() {
  const urls = DISCOVER ? await nodes() : URLS;
  const at = (index) => urls[index % urls.length];
  const run = `${Date.now().toString(36)}${Math.floor(Math.random() * 46656).toString(36)}`;
  const count = people(exec.test.options);
  const users = await inParts(count, async (index) => {
    const body = { username: `k6-${run}-${index}`, password: 'correct horse battery staple' };
    const { user, token } = await call(null, 'POST', `${at(index)}/v1/users`, { body, name: 'sign up' });
    return { user_id: user.user_id, token };
  });
  // Round down, so that no group has a single member.
  const groups = Math.max(1, Math.floor(count / GROUP));
  const members = (group) => users.filter((_, index) => index % groups === group);
  const channels = await inParts(groups, async (group) => {
    const [owner, ...others] = members(group);
    const body = { name: `k6 ${run} ${group}`, members: others.map((user) => user.user_id) };
    const { channel } = await call(owner.token, 'POST', `${at(group)}/v1/channels`, { body, name: 'make channel' });
    return channel.channel_id;
  });
  return { urls, users: users.map((user, index) => ({ ...user, channel_id: channels[index % groups] })) };
}

/** Logs every user out, which ends remaining sessions and tokens. */
export async function teardown({ urls, users }) {
  await inParts(users.length, (index) =>
    call(users[index].token, 'POST', `${urls[index % urls.length]}/v1/logout`, { name: 'log out' }));
}

async function nodes() {
  const { nodes } = await call(null, 'GET', `${URLS[0]}/v1/discover`, { name: 'discover' });
  if (!nodes.length) throw new Error('discovery knows no node');
  return nodes.map((node) => node.url);
}

async function inParts(count, make) {
  const made = [];
  while (made.length < count) {
    const part = Array.from({ length: Math.min(AT_A_TIME, count - made.length) }, (_, index) => made.length + index);
    made.push(...(await Promise.all(part.map(make))));
  }
  return made;
}
