// Users and channels, made before anybody talks and logged out when all is said.

import exec from 'k6/execution';
import { call } from './api.js';
import { DISCOVER, GROUP, URLS, people } from './plan.js';

/** Sign-ups at a time: each costs the server 20 ms of computing, on purpose. */
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
  // Nobody is left alone in the last one.
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

/** Ends every session that may be left, and the tokens. */
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
