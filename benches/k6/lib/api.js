// HTTP requests by the rules of the protocol: a retryable request is repeated after the delay that the server
// returns.

import http from 'k6/http';
import exec from 'k6/execution';
import { setTimeout } from 'k6/timers';
import { retried } from './metrics.js';

/** How long a request is repeated. */
const RETRY_WITHIN_MS = 60000;
const BACK_OFF_MS = 200;

// 410 is expected: the session has ended, possibly by a request.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 399 }, 410));

/** Milliseconds since the begin of the run; all VUs have the same clock. */
export const now = () => exec.instance.currentTestRunDuration;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.max(1, ms)));

/** One request. `name` groups requests with different paths in the metrics. */
export function ask(token, method, url, { body = null, name, tags = {}, timeout = '30s' }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  return http.asyncRequest(method, url, body && JSON.stringify(body), { headers, timeout, tags: { ...tags, name } });
}

/** Milliseconds until a retry; undefined if a retry is useless. */
export function again({ status, retry_after_ms }) {
  const passing = status === 0 || status === 429 || status === 502 || status === 503;
  return passing ? retry_after_ms || BACK_OFF_MS : undefined;
}

/** The problem document of a response. */
export function problem(response) {
  let json = {};
  try {
    json = response.json() || {};
  } catch (_) {
    // The response is not from the server, or there is none.
  }
  return { status: response.status, code: json.code, retry_after_ms: json.retry_after_ms, detail: json.detail || response.error };
}

/** A request that has to succeed, repeated while it is retryable. Returns the JSON of the response, if any. */
export async function call(token, method, url, what) {
  const deadline = Date.now() + RETRY_WITHIN_MS;
  for (;;) {
    const response = await ask(token, method, url, what);
    if (response.status >= 200 && response.status < 300) return response.body ? response.json() : null;
    const it = problem(response);
    // The session to end has ended already.
    if (it.code === 'session_gone') return null;
    const rest = again(it);
    if (rest === undefined || Date.now() + rest > deadline) {
      throw new Error(`${what.name}: ${it.status} ${it.code || ''} ${it.detail || ''}`);
    }
    retried.add(1, what.tags);
    await pause(rest);
  }
}
