// HTTP as the contract wants it: what may be repeated is repeated when the server says so.

import http from 'k6/http';
import exec from 'k6/execution';
import { setTimeout } from 'k6/timers';
import { retried } from './metrics.js';

/** How long a call is repeated. */
const PATIENCE_MS = 60000;
const BACK_OFF_MS = 200;

// 410 is an answer: the session has ended, perhaps because it was asked to.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, 410));

/** Time since the run began; the same clock for everybody in it. */
export const now = () => exec.instance.currentTestRunDuration;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(1, ms)));

/** One request. `name` groups requests in the figures, whose paths are all different. */
export function ask(token, method, url, { body = null, name, tags = {}, timeout = '30s' }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  return http.asyncRequest(method, url, body && JSON.stringify(body), { headers, timeout, tags: { ...tags, name } });
}

/** After how long the same may be tried again; nothing if it would not help. */
export function again({ status, retry_after_ms }) {
  const passing = status === 0 || status === 429 || status === 502 || status === 503;
  return passing ? retry_after_ms || BACK_OFF_MS : undefined;
}

/** The problem an answer is, if it is one. */
export function problem(response) {
  let json = {};
  try {
    json = response.json() || {};
  } catch (_) {
    // Not from the server, or from none.
  }
  return { status: response.status, code: json.code, retry_after_ms: json.retry_after_ms, detail: json.detail || response.error };
}

/** A request that has to succeed, repeated while that may help. Gives the JSON of the answer, if it has any. */
export async function call(token, method, url, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const response = await ask(token, method, url, what);
    if (response.status >= 200 && response.status < 300) return response.body ? response.json() : null;
    const it = problem(response);
    // What is to be ended has ended.
    if (it.code === 'session_gone') return null;
    const rest = again(it);
    if (rest === undefined || Date.now() + rest > deadline) {
      throw new Error(`${what.name}: ${it.status} ${it.code || ''} ${it.detail || ''}`);
    }
    retried.add(1, what.tags);
    await pause(rest);
  }
}
