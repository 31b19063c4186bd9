// The readers of a session, one per transport. A reader ends when the visit is over, or returns `gone` when a new
// session has to be opened. Bytes are those on the wire, without the headers of TCP and IP.

import { clearTimeout, setTimeout } from 'k6/timers';
import { WebSocket } from 'k6/websockets';
import { again, ask, pause, problem } from './api.js';
import { emptyPolls, retried } from './metrics.js';
import { POLL_MS, WAIT_MS } from './plan.js';

export const lines = {
  'short-polling': (visit) => polls(visit, 'polling', '', POLL_MS),
  'long-polling': (visit) => polls(visit, 'long_polling', `&wait_ms=${WAIT_MS}`, 0),
  websocket,
};

async function polls(visit, transport, query, restMs) {
  const { url } = visit.session.transports[transport];
  const name = transport.replace('_', ' ');
  while (!visit.isOver) {
    const response = await ask(visit.me.token, 'GET', `${visit.url}${url}?after=${visit.next}${query}`, {
      name,
      tags: visit.tags,
      timeout: `${WAIT_MS + 30000}ms`,
    });
    if (response.status === 200) {
      const batch = response.json();
      visit.bytes += bytesOf(response);
      if (!visit.isOver) emptyPolls.add(batch.events.length === 0, visit.tags);
      await visit.take(batch);
      if (restMs) await pause(restMs);
      continue;
    }
    const it = problem(response);
    if (it.code === 'session_gone') return 'gone';
    const rest = again(it);
    if (rest === undefined) throw new Error(`${name}: ${it.status} ${it.code || ''} ${it.detail || ''}`);
    retried.add(1, visit.tags);
    await pause(rest);
  }
  return 'over';
}

/** The bytes of a request and its response, with their heads. */
function bytesOf({ request, status_text, headers, body }) {
  const head = (fields) =>
    Object.entries(fields).reduce((sum, [name, values]) => {
      return sum + [].concat(values).reduce((all, value) => all + name.length + value.length + 4, 0);
    }, 2);
  const path = request.url.replace(/^[a-z]+:\/\/[^/]*/, '');
  const host = request.url.length - path.length - 'http://'.length;
  const asked = `GET ${path} HTTP/1.1\r\nHost: \r\n`.length + host + head(request.headers);
  return asked + `HTTP/1.1 ${status_text}\r\n`.length + head(headers) + (body || '').length;
}

function websocket(visit) {
  return new Promise((resolve, reject) => {
    const url = `${visit.session.transports.websocket.url}?after=${visit.next}`;
    const socket = new WebSocket(url, null, {
      headers: { Authorization: `Bearer ${visit.me.token}` },
      tags: { ...visit.tags, name: 'websocket' },
    });
    // Batches are processed in order: one may have to fetch the range of a resync first.
    let taken = Promise.resolve();
    let said;
    let wasOpen = false;
    const replies = {};
    socket.onopen = () => {
      wasOpen = true;
      visit.socket = {
        /** Sends a command; resolves to the reply, or to null without one in time. */
        command: (command, withinMs) =>
          new Promise((finish) => {
            const timer = setTimeout(() => finish(null), withinMs);
            replies[command.id] = (reply) => {
              clearTimeout(timer);
              finish(reply);
            };
            if (!write(command)) replies[command.id](null);
          }),
        close: () => socket.close(1000),
      };
      if (visit.isOver) socket.close(1000);
    };
    const write = (document) => {
      if (socket.readyState !== 1) return false;
      socket.send(JSON.stringify(document));
      return true;
    };
    socket.onmessage = ({ data }) => {
      const document = JSON.parse(data);
      if (document.events) {
        taken = taken.then(async () => {
          await visit.take(document);
          const ack = { ack: document.next };
          if (write(ack)) visit.bytes += frameBytes(JSON.stringify(ack).length) + 4;
          visit.bytes += frameBytes(data.length);
        });
        taken.catch(reject);
      } else if (document.reply) {
        const finish = replies[document.reply.id];
        delete replies[document.reply.id];
        if (finish) finish(document.reply);
      } else if (document.error) {
        said = document.error;
      }
    };
    // The close event follows and has the code.
    socket.onerror = () => {};
    socket.onclose = ({ code }) => {
      visit.socket = null;
      Object.values(replies).forEach((finish) => finish(null));
      taken.then(async () => {
        if (visit.isOver) return resolve('over');
        if (wasOpen && [4400, 4401, 4413].includes(code)) {
          return reject(new Error(`websocket: closed with ${code}: ${JSON.stringify(said)}`));
        }
        if ([4404, 1012].includes(code)) return resolve('gone');
        retried.add(1, visit.tags);
        await pause((said && said.retry_after_ms) || 50);
        // k6 does not report why a handshake was refused. A poll finds out whether the session has ended; if
        // it is on another node of the load balancer, another attempt may reach that node.
        return resolve(wasOpen || !(await hasGone(visit)) ? 'broken' : 'gone');
      }, reject);
    };
  });
}

async function hasGone(visit) {
  const path = `${visit.session.transports.polling.url}?after=${visit.next}&limit=1`;
  const response = await ask(visit.me.token, 'GET', visit.url + path, { name: 'polling', tags: visit.tags });
  return problem(response).code === 'session_gone';
}

/** The length of a frame header of a server (RFC 6455 section 5.2); a client's has 4 bytes more. */
const frameBytes = (length) => length + (length < 126 ? 2 : length < 65536 ? 4 : 10);
