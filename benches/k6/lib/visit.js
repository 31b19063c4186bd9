// A visit: a virtual user opens a session, receives and sends, and ends the session when all received messages
// were compared with history. The next visit continues at the cursor, so it receives what was sent in between.

import exec from 'k6/execution';
import { again, ask, call, now, pause, problem } from './api.js';
import { lines } from './lines.js';
import { bytesPerMessage, latency, received, retried, sent, unsettled } from './metrics.js';
import { Oracle, isAbove } from './oracle.js';
import { CONTENT_BYTES, DURATION_S, SAY_EVERY_MS, SETTLE_S, VISIT_S } from './plan.js';

const SEND_WITHIN_MS = 10000;
const PAGE = 200;
/** The pause between a failed visit and the next one. */
const REST_MS = 1000;

/** The user of this VU, for as long as the VU runs. */
let me;

export async function visit(transport, { urls, users }) {
  const tags = { transport };
  if (!me) {
    const number = exec.vu.idInTest - 1;
    // With several nodes, a session stays on its node, and sends rotate over all nodes.
    me = { ...users[number], url: urls[number % urls.length], said: 0, saying: null, bytes: 0, messages: 0 };
    me.oracle = new Oracle(tags);
  }
  me.oracle.tags = tags;
  unsettled.add(1);
  const it = new Visit(transport, tags, urls);
  const end = Math.min(Date.now() + VISIT_S * 1000, exec.scenario.startTime + DURATION_S * 1000);
  // A failure of either ends both, and the visit stays unsettled.
  const failed = async (error) => {
    it.close();
    await pause(REST_MS);
    throw error;
  };
  await Promise.all([it.read().catch(failed), it.speak(end).then(() => it.leave()).catch(failed)]);
  await it.settle();
  unsettled.add(-1);
}

class Visit {
  constructor(transport, tags, urls) {
    Object.assign(this, { transport, tags, urls, me, url: me.url });
    this.isOver = false;
    this.began = now();
    /** For WebSocket, while it is open. */
    this.socket = null;
    this.bytes = 0;
    this.messages = 0;
  }

  /** Reads sessions until the visit is over. A session that has ended is replaced by one at the cursor. */
  async read() {
    let ended = 'gone';
    while (!this.isOver) {
      if (ended === 'gone') {
        const body = { channels: { [me.channel_id]: me.oracle.cursor } };
        this.session = await this.call('POST', '/v1/sessions', { body, name: 'open session' });
        this.next = this.session.next;
      }
      ended = await lines[this.transport](this);
    }
  }

  /** Ends the reading. */
  close() {
    this.isOver = true;
    if (this.socket) this.socket.close();
  }

  /** Processes a batch of the session. */
  async take({ events, next }) {
    for (const event of events) {
      if (event.type === 'message') this.message(event.message);
      else if (event.type === 'resync') await this.fetch(event.cur_max_message_id);
    }
    this.next = next;
  }

  message({ message_id, message_from, content }) {
    if (!me.oracle.take(message_id)) return;
    received.add(1, this.tags);
    this.messages += 1;
    const { at } = JSON.parse(content);
    if (at >= this.began && message_from !== me.user_id) latency.add(now() - at, this.tags);
  }

  /** Reads from history what the mailbox could not hold. */
  async fetch(upto) {
    for (const message of await this.history(me.oracle.cursor, upto)) this.message(message);
  }

  /** The channel's messages after one id, up to another one or to the end, oldest first. */
  async history(after, upto) {
    const all = [];
    for (;;) {
      const path = `/v1/channels/${me.channel_id}/messages?after=${after}&limit=${PAGE}`;
      const { messages, has_more } = await this.call('GET', path, { name: 'history' });
      for (const message of messages) {
        if (upto && isAbove(message.message_id, upto)) return all;
        all.push(message);
        after = message.message_id;
      }
      if (!has_more) return all;
    }
  }

  call(method, path, what) {
    return call(me.token, method, this.url + path, { ...what, tags: this.tags });
  }

  async speak(end) {
    for (;;) {
      const rest = SAY_EVERY_MS * (0.5 + Math.random());
      if (Date.now() + rest > end || this.isOver) break;
      await pause(rest);
      await this.say();
    }
    await pause(end - Date.now());
  }

  /** Sends a message until it is acknowledged, before the next one. */
  async say() {
    if (!me.saying) {
      const n = me.said + 1;
      const content = JSON.stringify({ n, at: now() });
      const fill = '.'.repeat(Math.max(0, CONTENT_BYTES - content.length - ',"fill":""'.length));
      me.saying = { n, id: `${me.user_id}-${n}`, content: `${content.slice(0, -1)},"fill":"${fill}"}` };
    }
    const { n, id, content } = me.saying;
    const deadline = Date.now() + SETTLE_S * 1000;
    for (let attempt = n; ; attempt += 1) {
      const outcome = await this.attempt(id, content, this.urls[attempt % this.urls.length]);
      if (outcome.message_id) {
        Object.assign(me, { said: n, saying: null });
        me.oracle.acknowledged.add(outcome.message_id);
        sent.add(1, this.tags);
        return;
      }
      const rest = again(outcome);
      if (rest === undefined) throw new Error(`send: ${JSON.stringify(outcome)}`);
      // The next visit repeats it with the same client_message_id.
      if (Date.now() + rest > deadline) return;
      retried.add(1, this.tags);
      await pause(rest);
    }
  }

  /** One attempt to send: returns the id of the message, or the problem. */
  async attempt(client_message_id, content, url) {
    const { channel_id } = me;
    if (this.socket) {
      const command = { id: client_message_id, type: 'send', channel_id, client_message_id, content };
      const reply = await this.socket.command(command, SEND_WITHIN_MS);
      return reply ? reply.error || reply : { status: 0 };
    }
    const response = await ask(me.token, 'POST', `${url}/v1/channels/${channel_id}/messages`, {
      body: { client_message_id, content },
      name: 'send',
      tags: this.tags,
      timeout: `${SEND_WITHIN_MS}ms`,
    });
    return response.status === 200 || response.status === 201 ? response.json().message : problem(response);
  }

  /** Waits until every message that history has now was received, and ends the session. */
  async leave() {
    this.past = await this.history(me.oracle.settled);
    this.newest = this.past.length ? this.past[this.past.length - 1].message_id : me.oracle.settled;
    const deadline = Date.now() + SETTLE_S * 1000;
    while (isAbove(this.newest, me.oracle.cursor) && Date.now() < deadline && !this.isOver) await pause(20);
    this.close();
    if (this.session) await this.call('DELETE', `/v1/sessions/${this.session.session_id}`, { name: 'end session' });
  }

  /** Compares all messages up to that point, and those received after it, with history. */
  async settle() {
    const upto = isAbove(me.oracle.cursor, this.newest) ? me.oracle.cursor : this.newest;
    const later = isAbove(upto, this.newest) ? await this.history(this.newest, upto) : [];
    me.oracle.settle([...this.past, ...later], upto);
    me.bytes += this.bytes;
    me.messages += this.messages;
    if (me.messages) {
      bytesPerMessage.add(me.bytes / me.messages, this.tags);
      Object.assign(me, { bytes: 0, messages: 0 });
    }
  }
}
